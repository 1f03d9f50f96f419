"""Who we are to the git server, at this very moment: tokens of a GitHub App live for an hour and are renewed."""

import threading
from collections import deque
from collections.abc import Callable

from bot.integrations.git import names

Token = str | Callable[[], str]
"""A token, or what returns the one that is valid now: called before every network operation, so it should remember."""

_REMEMBERED = 64  # secrets: those of a day and a half of hourly tokens


class Access:
    """Where the infra-repo is, and what opens it. Thread-safe.

    Refused (NOT_CONFIGURED) when the address is none that git can be given. What a renewing `token` raises passes
    through whatever git operation needed it.
    """

    def __init__(self, url: str, token: Token, user: str) -> None:
        self._url = url
        self._user = user
        self._token = token
        self._fixed = names.remote(url, token=token if isinstance(token, str) else "", user=user)
        self._secrets: deque[str] = deque(self._fixed.secrets, maxlen=_REMEMBERED)
        self._guard = threading.Lock()

    @property
    def address(self) -> str:
        """Where the repository is, without credentials."""
        return self._fixed.address

    @property
    def origin(self) -> str:
        """Scheme and host of an HTTP address, the only place that is sent the authorization; empty for others."""
        return self._fixed.origin

    def authorization(self) -> str:
        """The HTTP header value of now; empty when there is none to give."""
        if isinstance(self._token, str) or not self.origin:
            return self._fixed.authorization
        now = names.remote(self._url, token=self._token(), user=self._user)
        with self._guard:
            self._secrets.extend(secret for secret in now.secrets if secret not in self._secrets)
        return now.authorization

    def redact(self, text: str) -> str:
        """The same text without any credential that was used lately."""
        with self._guard:
            secrets = tuple(self._secrets)
        for secret in secrets:
            text = text.replace(secret, "***")
        return text
