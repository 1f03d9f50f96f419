"""One HTTP connection to Jenkins on top of python-jenkins, fenced: time, size, origin, and errors by meaning.

python-jenkins gives the session, authentication and the crumb. What it does not give is replaced in one place, its
`_request`: it follows redirects (and so turns the 303 for a build that is already queued into "not found"), reads
answers of any size, and folds every kind of failure into one exception.
"""

import io
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import TypeVar
from urllib.parse import urljoin, urlsplit

import jenkins
import requests
import urllib3
from pydantic import ValidationError
from requests.auth import HTTPBasicAuth

from bot.integrations.jenkins.answers import Answer
from bot.integrations.jenkins.faults import Trouble, fault
from bot.integrations.jenkins.names import origin

CONNECT_TIMEOUT = 3.0  # seconds
JSON_LIMIT = 4 * 2**20  # bytes; 100 builds with their parameters are about 50 KiB
_CHUNK = 64 * 2**10
_MAX_RETRY_AFTER = 60.0  # seconds

T = TypeVar("T", bound=Answer)


@dataclass(frozen=True)
class Reply:
    """An HTTP answer, read to its end or to the limit. Header values are empty when absent."""

    url: str
    status: int
    body: bytes
    whole: bool
    location: str
    retry_after: str
    text_size: str
    from_jenkins: bool  # it carries X-Jenkins

    @classmethod
    def read(cls, response: requests.Response, limit: int, deadline: float) -> "Reply":
        """Read at most `limit` bytes until `deadline` (monotonic seconds), then let go of the connection.

        Raises urllib3's and `TimeoutError`: a server that drips a byte at a time never trips the socket's time-out.
        """
        body, whole = bytearray(), False
        try:
            while len(body) < limit and not whole:
                if time.monotonic() > deadline:
                    raise TimeoutError
                chunk = response.raw.read1(min(_CHUNK, limit - len(body)), decode_content=False)
                body += chunk
                whole = not chunk
        finally:
            if not whole:
                response.raw.close()  # Not to be used again: the rest of the answer is still in it.
            response.close()
        head = response.headers
        return cls(
            url=response.url,
            status=response.status_code,
            body=bytes(body),
            whole=whole,
            location=head.get("Location", ""),
            retry_after=head.get("Retry-After", ""),
            text_size=head.get("X-Text-Size", ""),
            from_jenkins="X-Jenkins" in head,
        )


class _Session(requests.Session):
    """Leaves redirects alone: requests reads the whole body of one even when it is told not to follow."""

    def get_redirect_target(self, resp: requests.Response) -> None:
        """Nowhere."""
        del resp


class Connection(jenkins.Jenkins):  # type: ignore[misc]  # python-jenkins ships no types
    """One session with its cookies and crumb, which belong together. Used by one thread at a time (see `Pool`)."""

    crumb: object  # python-jenkins': None not asked yet, False there is no issuer, else field and value

    def __init__(self, base: str, user: str, token: str, *, timeout: float, ca_file: str) -> None:
        super().__init__(base, user, token, timeout=timeout)
        self._base = base
        # In place of python-jenkins' own, which takes headers and "do not verify" from the environment.
        self._session = _Session()
        self._auth_resolved = True
        self._session.auth = HTTPBasicAuth(user.encode(), token.encode())
        self._session.trust_env = False  # no proxies and no netrc from there either
        self._session.verify = ca_file or True
        # The body is counted in bytes as they arrive, so nothing may unfold into more than was counted.
        self._session.headers["Accept-Encoding"] = "identity"

    def close(self) -> None:
        """Close the sockets."""
        self._session.close()

    def get(self, path: str, query: Mapping[str, str], *, limit: int = JSON_LIMIT) -> Reply | None:
        """The answer, or None when Jenkins itself says that there is no such thing."""
        reply = self._exchange(requests.Request("GET", urljoin(self._base, path), params=dict(query)), limit)
        self.refuse_failure(reply)
        if reply.status == HTTPStatus.NOT_FOUND:
            self.confirm_jenkins()
            return None
        return reply

    def read(self, kind: type[T], path: str, tree: str) -> T | None:
        """The JSON answer at `path`, limited to what `tree` names, or None when there is no such thing."""
        reply = self.get(f"{path}api/json", {"tree": tree})
        return self.parse(kind, reply) if reply else None

    def parse(self, kind: type[T], reply: Reply) -> T:
        """The answer as a value; Retry when it is not what Jenkins would say (a proxy's page, a cut answer)."""
        try:
            return kind.model_validate_json(reply.body)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            detail = f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
            raise fault(Trouble.NOT_JENKINS, url=self._base, detail=detail) from None

    def post(self, path: str, form: Mapping[str, str]) -> Reply:
        """POST once more with a fresh crumb after a 403, which comes from a filter before anything is done."""
        url = urljoin(self._base, path)
        reply = self._exchange(self._form(url, form), JSON_LIMIT)
        if reply.status == HTTPStatus.FORBIDDEN and self._fetch_crumb():
            reply = self._exchange(self._form(url, form), JSON_LIMIT)
        return reply

    def _form(self, url: str, form: Mapping[str, str]) -> requests.Request:
        request = requests.Request("POST", url, data=dict(form))
        if self.crumb:
            self.maybe_add_crumb(request)
        return request

    def _fetch_crumb(self) -> bool:
        """True when there is a crumb to try: API tokens need none, and crumbs of a restarted Jenkins are stale."""
        self.crumb = None
        request = requests.Request("POST", self._base)
        try:
            self.maybe_add_crumb(request)
        except (jenkins.JenkinsException, requests.HTTPError, ValueError, KeyError, TypeError):
            self.crumb = None  # What answered is no crumb issuer; the 403 stands.
        return bool(request.headers)

    def refuse_failure(self, reply: Reply) -> None:
        """Raise what the answer means, unless it is an answer: 2xx, and 404, whose meaning the caller knows."""
        if reply.status < 300 or reply.status == HTTPStatus.NOT_FOUND:
            return
        if reply.status < 400:
            raise self._moved(reply)
        if reply.status == HTTPStatus.UNAUTHORIZED:
            raise fault(Trouble.CREDENTIALS, url=self._base)
        if reply.status == HTTPStatus.FORBIDDEN:
            raise fault(Trouble.FORBIDDEN, url=self._base)
        busy = reply.status in {HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS}
        after = float(reply.retry_after) if reply.retry_after.isascii() and reply.retry_after.isdigit() else 2.0
        trouble = Trouble.BUSY if busy else Trouble.BROKEN
        raise fault(trouble, url=self._base, status=str(reply.status), after=min(after, _MAX_RETRY_AFTER))

    def _moved(self, reply: Reply) -> Exception:
        """Redirects are never followed: a login page means credentials, all else a wrong JENKINS_URL."""
        target = urljoin(reply.url, reply.location)
        same = origin(target) == origin(self._base)
        if same and ("login" in urlsplit(target).path.lower() or "securityrealm" in urlsplit(target).path.lower()):
            return fault(Trouble.CREDENTIALS, url=self._base)
        scheme, host, port = origin(target)
        shown = "another page of its own" if same else f"{scheme}://{host}:{port}"
        return fault(Trouble.MOVED, url=self._base, target=shown)

    def confirm_jenkins(self) -> None:
        """Retry unless Jenkins is there: the 404 of a proxy during a restart must not read as "job missing"."""
        reply = self._exchange(
            requests.Request("GET", urljoin(self._base, "api/json"), params={"tree": "mode"}), _CHUNK
        )
        self.refuse_failure(reply)
        if not self.is_jenkins(reply):
            raise fault(Trouble.NOT_JENKINS, url=self._base)

    def is_jenkins(self, reply: Reply) -> bool:
        """True when this answer to `/api/json` is Jenkins' own: by header, or by its class where a proxy hides that."""
        return reply.status == HTTPStatus.OK and (
            reply.from_jenkins or self.parse(Answer, reply).kind.startswith("hudson.model.")
        )

    def _request(self, req: requests.Request, stream: bool | None = None) -> requests.Response:  # noqa: FBT001 - theirs
        """What python-jenkins sends all its requests through (here: the crumb's)."""
        del stream
        reply = self._exchange(req, _CHUNK)
        response = requests.Response()
        response.status_code, response.url, response.encoding = reply.status, reply.url, "utf-8"
        response.raw = io.BytesIO(reply.body)
        return response

    def _exchange(self, request: requests.Request, limit: int) -> Reply:
        """Send and read; Retry for every failure of the transport, DOWN when surely nothing was sent."""
        connecting = min(CONNECT_TIMEOUT, self.timeout)
        deadline = time.monotonic() + connecting + 2 * self.timeout
        try:
            response = self._session.send(
                self._session.prepare_request(request),
                stream=True,
                timeout=(connecting, self.timeout),
                allow_redirects=False,
            )
            return Reply.read(response, limit, deadline)
        except requests.ConnectTimeout:
            raise fault(Trouble.DOWN, url=self._base) from None
        except requests.ConnectionError as error:
            never_sent = isinstance(getattr(error.args[0] if error.args else None, "reason", None), _NEVER_SENT)
            raise fault(Trouble.DOWN if never_sent else Trouble.SILENT, url=self._base) from None
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError):
            raise fault(Trouble.SILENT, url=self._base) from None


_NEVER_SENT = urllib3.exceptions.NewConnectionError


class Pool:
    """Connections for many threads: each is lent to one thread at a time, and there are as many as threads at once."""

    def __init__(self, base: str, user: str, token: str, *, timeout: float, ca_file: str) -> None:
        self._base, self._user, self._token = base, user, token
        self._timeout, self._ca_file = timeout, ca_file
        self._idle: list[Connection] = []  # append and pop are atomic

    @contextmanager
    def lend(self) -> Iterator[Connection]:
        """A connection for the length of the block."""
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = Connection(self._base, self._user, self._token, timeout=self._timeout, ca_file=self._ca_file)
        try:
            yield connection
        finally:
            self._idle.append(connection)

    def close(self) -> None:
        """Close what is idle."""
        while self._idle:
            self._idle.pop().close()
