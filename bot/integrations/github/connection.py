"""One connection to GitHub on top of PyGithub, fenced: time, size, origin, and Retry for failures of the transport.

PyGithub gives authentication, addresses and encoding; its retries and pauses are off, so that waiting is the caller's
decision. What it lacks is replaced in the one class it sends everything through, its connection: that keeps a request
in attributes between two calls (so two threads can send each other's), follows redirects with credentials, sleeps on
202, and reads answers of any size.
"""

import logging
import math
import time
from collections.abc import Mapping
from urllib.parse import urlsplit

import github
import requests
import urllib3
from github import Consts
from github.Auth import Auth
from github.Requester import HTTPSRequestsConnectionClass, RequestsResponse

from bot.integrations.github import names
from bot.integrations.github.faults import moved, strange, unreachable

PER_PAGE = 100
CONNECT_TIMEOUT = 3.0  # seconds
_LIMIT = 16 * 2**20  # bytes; a page of 100 changed files with their patches is a few MiB at worst
_CHUNK = 64 * 2**10
_PATIENCE = 3  # times the time-out: how long one answer may drip in


class _Presented(Auth):
    """The token of the request at hand, which the caller looked up: asking for one may take requests of its own."""

    def __init__(self) -> None:
        self.value = ""

    @property
    def token_type(self) -> str:
        return "Bearer"

    @property
    def token(self) -> str:
        return self.value


class Client:
    """One PyGithub client on one connection. Used by one thread at a time (`Wire` sees to that)."""

    def __init__(self, api: str, timeout: float) -> None:
        # At the level DEBUG PyGithub logs whole answers, and the answer to the request for a token is a token.
        logging.getLogger("github.Requester").setLevel(logging.INFO)
        self._auth = _Presented()
        self._github = github.Github(
            auth=self._auth,
            base_url=api,
            timeout=math.ceil(timeout),
            user_agent="locktender",
            per_page=PER_PAGE,
            retry=None,
            seconds_between_requests=None,
            seconds_between_writes=None,
            api_version=Consts.API_VERSION_2022_11_28,
        )
        self._connection = _Connection(api, timeout)

    def close(self) -> None:
        """Close the sockets."""
        self._connection.close()
        self._github.close()

    def send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        body: Mapping[str, object] | None,
        token: str,
        known: str = "",
    ) -> tuple[int, Mapping[str, str], str]:
        """Status, headers (names in lower case) and text of the answer, of any status.

        `known` is the ETag of an answer that is remembered: 304 says that it still holds.
        """
        self._auth.value = token
        condition = {"If-None-Match": known} if known else {}
        try:
            return self._github.requester.requestJson(
                method,
                path,
                parameters=dict(query),
                headers={"Accept": "application/vnd.github+json", "Accept-Encoding": "identity", **condition},
                input=None if body is None else dict(body),
                cnx=self._connection,
            )
        finally:
            self._auth.value = ""


class _Session(requests.Session):
    """Leaves redirects alone: requests reads the whole body of one even when it is told not to follow."""

    def get_redirect_target(self, resp: requests.Response) -> None:
        """Nowhere."""
        del resp


class _Read(RequestsResponse):
    """An answer that was read to its end already."""

    def __init__(self, response: requests.Response, body: bytes) -> None:
        super().__init__(response)
        self._body = body

    def read(self) -> str:
        """The text; GitHub writes nothing but UTF-8."""
        return self._body.decode("utf-8", "replace")


class _Connection(HTTPSRequestsConnectionClass):
    """In place of PyGithub's: bounded in time and size, no redirects, and Retry for every failure of the transport."""

    def __init__(self, api: str, timeout: float) -> None:
        parts = urlsplit(api)
        super().__init__(parts.hostname or "", parts.port or {"http": 80}.get(parts.scheme, 443))
        self.session.close()
        self.session = _Session()
        # An auth of its own keeps requests from looking for one in a netrc file. Proxies and certificates are taken
        # from the environment, as companies need for GitHub on the internet, but not for this very machine.
        self.session.auth = _as_it_is
        self.session.trust_env = not names.is_loopback(api)
        self._origin, self._named = f"{parts.scheme}://{parts.netloc}", parts.netloc
        self._seconds = timeout

    def getresponse(self) -> RequestsResponse:
        """Send what `request` was told, and read the answer to its end."""
        deadline = time.monotonic() + CONNECT_TIMEOUT + _PATIENCE * self._seconds
        try:
            response = self.session.request(
                self.verb,
                self._origin + self.url,
                headers=self.headers,
                data=self.input,
                timeout=(min(CONNECT_TIMEOUT, self._seconds), self._seconds),
                stream=True,
                allow_redirects=False,
            )
            answer = _Read(response, self._read(response, deadline))
        except requests.exceptions.SSLError:
            raise unreachable(self._named, "its certificate is not one that is trusted here") from None
        except (requests.ConnectTimeout, requests.exceptions.ProxyError):
            raise unreachable(self._named, "no connection could be made") from None
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError):
            # Their texts are not repeated: some quote the headers.
            raise unreachable(self._named, "the connection failed, or the time was up") from None
        if 300 <= answer.status < 400 and answer.status != 304:
            raise moved(self._named)
        if answer.status == 202:
            raise strange(self._named)  # "Come back later", which GitHub does not say to what is asked here.
        return answer

    def _read(self, response: requests.Response, deadline: float) -> bytes:
        body, whole = bytearray(), False
        try:
            while not whole:
                if time.monotonic() > deadline:
                    raise TimeoutError  # A server that drips a byte at a time never trips the socket's time-out.
                if len(body) > _LIMIT:
                    raise strange(self._named)
                chunk = response.raw.read1(_CHUNK, decode_content=False)
                body += chunk
                whole = not chunk
        finally:
            if not whole:
                response.raw.close()  # Not to be used again: the rest of the answer is still in it.
            response.close()
        return bytes(body)


def _as_it_is(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request
