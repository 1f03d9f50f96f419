"""As whom the bot speaks to GitHub: with a token, or as a GitHub App, whose tokens live for an hour.

https://docs.github.com/en/apps/creating-github-apps/authenticating-with-a-github-app/authenticating-as-a-github-app-installation
"""

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from github.Auth import AppAuth

from bot.integrations.github.answers import Installation, InstallationToken
from bot.integrations.github.faults import AnsweredError
from bot.integrations.github.names import Repository
from bot.integrations.github.wire import Wire
from commands.reasons import ReasonCode, Refused, Retry

EARLY = 300.0
"""Seconds before its end at which a token is replaced: longer than any one operation, a git push included."""

_JWT_SECONDS = 540  # GitHub takes ten minutes at most, and clocks differ
_INSTALLATION = "an installation on it"
_TOKEN = re.compile(r"[\x21-\x7e]+")


@dataclass(frozen=True)
class Token:
    """A personal access token, or any other that does not change."""

    value: str = field(repr=False)


@dataclass(frozen=True)
class AppKey:
    """A GitHub App: its id (or client id) and the file with its private key, read whenever a token is asked for."""

    app_id: str
    private_key_file: Path


def credentials(
    login: Token | AppKey, repository: Repository, api: str, *, timeout: float, clock: Callable[[], float]
) -> "FixedToken | InstallationTokens":
    """Where tokens come from with this login. Refused (NOT_CONFIGURED) for what cannot be a token."""
    if isinstance(login, AppKey):
        return InstallationTokens(login, repository, api, timeout=timeout, clock=clock)
    if not _TOKEN.fullmatch(login.value):
        raise Refused(
            ReasonCode.NOT_CONFIGURED,
            "GITHUB_TOKEN is empty, or has spaces or other characters in it that no token has.",
            "Ask an operator to set it to the token alone.",
        )
    return FixedToken(login.value)


class FixedToken:
    """The one token that there is."""

    def __init__(self, value: str) -> None:
        self._value = value

    def token(self) -> str:
        """It."""
        return self._value

    def renew(self, refused: str) -> bool:
        """There is no other."""
        del refused
        return False

    def close(self) -> None:
        """Nothing is open."""


class InstallationTokens:
    """Tokens of the App's installation on the repository, fetched when needed. Safe to call from many threads.

    A token covers what the App was installed on, so install it on the repositories that it is for and no others.
    """

    def __init__(
        self, key: AppKey, repository: Repository, api: str, *, timeout: float, clock: Callable[[], float]
    ) -> None:
        self._key, self._repository, self._clock = key, repository, clock
        self._wire = Wire(api, _SignedTokens(key), timeout=timeout, clock=clock)
        self._current: InstallationToken | None = None
        self._guard = threading.Lock()

    def token(self) -> str:
        """A token that is good for minutes at least. Refused (HOST_CREDENTIALS, NOT_CONFIGURED) or Retry."""
        with self._guard:
            left = self._current.expires_at.timestamp() - self._clock() if self._current else 0.0
            if self._current is None or left < EARLY:
                try:
                    self._current = self._fetch()
                except Retry:
                    if self._current is None or left < EARLY / 10:
                        raise
            return self._current.token

    def renew(self, refused: str) -> bool:
        """Forget the token that was refused (it may have been revoked); another can be had."""
        with self._guard:
            if self._current is not None and self._current.token == refused:
                self._current = None
        return True

    def close(self) -> None:
        """Close idle connections."""
        self._wire.close()

    def installation(self) -> Installation:
        """The App's installation on the repository. Refused (HOST_CREDENTIALS, NOT_CONFIGURED) or Retry."""
        try:
            return self._wire.get(Installation, f"{self._repository.path}/installation", need=_INSTALLATION)
        except AnsweredError as error:
            raise self._missing(error) from None

    def _fetch(self) -> InstallationToken:
        found = self.installation()
        try:
            path = f"/app/installations/{found.id}/access_tokens"
            return self._wire.send(InstallationToken, "POST", path, {}, need=_INSTALLATION)
        except AnsweredError as error:
            raise self._missing(error) from None

    def _missing(self, error: AnsweredError) -> Refused:
        return Refused(
            ReasonCode.HOST_CREDENTIALS,
            f"The GitHub App {self._key.app_id} is not installed on `{self._repository}`.",
            "Ask an owner of the repository to install it there, with contents, pull requests and commit statuses "
            "to read and write, and members to read.",
            detail=error.detail,
        )


class _SignedTokens:
    """What the App itself speaks with: a statement signed by its key, good for minutes."""

    def __init__(self, key: AppKey) -> None:
        self._key = key

    def token(self) -> str:
        """A new one each time: it costs a millisecond and is asked for once an hour."""
        try:
            pem = self._key.private_key_file.read_bytes()
            usable = isinstance(load_pem_private_key(pem, None), RSAPrivateKey) and bool(self._key.app_id)
        except (OSError, ValueError, TypeError, UnsupportedAlgorithm):
            usable = False  # Their texts are not repeated: some quote the key.
        if not usable:
            raise Refused(
                ReasonCode.NOT_CONFIGURED,
                "The private key of the GitHub App cannot be used.",
                "Ask an operator to check that GITHUB_APP_PRIVATE_KEY_FILE is the .pem file that GitHub made, that the "
                "bot may read it, and that GITHUB_APP_ID is set.",
            )
        return AppAuth(self._key.app_id, pem.decode("ascii", "replace")).create_jwt(_JWT_SECONDS)

    def renew(self, refused: str) -> bool:
        """Another would be refused the same."""
        del refused
        return False
