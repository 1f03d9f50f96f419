"""Questions to GitHub and its answers as values: pages, errors by meaning, tokens that are renewed."""

import unicodedata
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol, TypeVar
from urllib.parse import urlsplit

from pydantic import ValidationError
from pydantic_core import from_json

from bot.integrations.github import names
from bot.integrations.github.answers import Answer, Trouble
from bot.integrations.github.connection import PER_PAGE, Client
from bot.integrations.github.faults import AnsweredError, Reply, answered, judged, strange
from bot.integrations.recent import Recent
from bot.logs import redact
from storage.secrets import GONE

_MOST_PAGES = 100
_LONGEST_TEXT = 500

T = TypeVar("T", bound=Answer)
Body = Mapping[str, object]


REMEMBERED_BYTES = 8 * 2**20
"""Answers that are asked for again with their ETag: https://docs.github.com/en/rest/using-the-rest-api/best-practices."""


@dataclass(frozen=True)
class _Remembered:
    tag: str
    headers: Mapping[str, str]
    text: str


class Credentials(Protocol):
    """Where tokens come from."""

    def token(self) -> str:
        """A token that is good now."""
        ...

    def renew(self, refused: str) -> bool:
        """GitHub did not take this token: True when another can be tried."""
        ...


class Wire:
    """Asks GitHub and reads its answers. Safe to call from many threads. `need` names the permission a call takes.

    Raises Refused, among them `AnsweredError` for what depends on the question, and Retry. `timeout` is seconds
    without a byte. `clock` gives epoch seconds.
    """

    def __init__(self, api: str, credentials: Credentials, *, timeout: float, clock: Callable[[], float]) -> None:
        self.host = urlsplit(api).netloc
        self._api, self._credentials, self._timeout, self._clock = api, credentials, timeout, clock
        self._idle: list[Client] = []  # append and pop are atomic
        self._remembered = Recent[str, _Remembered](REMEMBERED_BYTES, weigh=lambda one: len(one.text) + 500)

    def close(self) -> None:
        """Close idle connections. It may be used again afterwards."""
        while self._idle:
            self._idle.pop().close()

    def get(self, kind: type[T], path: str, *, need: str, query: Mapping[str, str] | None = None) -> T:
        """The answer at `path`."""
        return self._parse(kind, self._exchange("GET", path, query or {}, None, need)[1])

    def find(self, kind: type[T], path: str, *, need: str, query: Mapping[str, str] | None = None) -> T | None:
        """The answer at `path`, or None when GitHub says that there is none (which it says of hidden things too)."""
        try:
            return self.get(kind, path, need=need, query=query)
        except AnsweredError as error:
            if error.reply.status != 404:
                raise
            return None

    def scopes(self, path: str, *, need: str) -> tuple[str, ...]:
        """The scopes of a classic token, which GitHub tells with any answer; empty for other tokens."""
        headers, _ = self._exchange("GET", path, {}, None, need)
        return tuple(one.strip() for one in headers.get("x-oauth-scopes", "").split(",") if one.strip())

    def send(self, kind: type[T], method: str, path: str, body: Body, *, need: str) -> T:
        """Ask for a change. A Retry may mean that it was made."""
        return self._parse(kind, self._exchange(method, path, {}, body, need)[1])

    def query(self, kind: type[T], text: str, variables: Mapping[str, str], *, need: str) -> T:
        """Ask GraphQL, for the little that REST does not tell."""
        return self.send(kind, "POST", names.graphql_url(self._api), {"query": text, "variables": variables}, need=need)

    def items(self, kind: type[T], path: str, *, need: str, query: Mapping[str, str] | None = None) -> Iterator[T]:
        """Everything in a list, page after page."""
        for text in self._pages(path, query or {}, need):
            try:
                listed = from_json(text)
                found = [kind.model_validate(one) for one in listed]
            except (ValueError, TypeError):  # among them pydantic's; TypeError for what has nothing in it
                raise strange(self.host) from None
            if not isinstance(listed, list):
                raise strange(self.host)
            yield from found

    def pages(self, kind: type[T], path: str, *, need: str, query: Mapping[str, str] | None = None) -> Iterator[T]:
        """The pages of an answer that has its list inside an object."""
        for text in self._pages(path, query or {}, need):
            yield self._parse(kind, text)

    def _pages(self, path: str, query: Mapping[str, str], need: str) -> Iterator[str]:
        # By number: the addresses in Link headers are GitHub's to choose, and ours to send a token to.
        for page in range(1, _MOST_PAGES + 1):
            numbered = {**query, "per_page": str(PER_PAGE), "page": str(page)}
            headers, text = self._exchange("GET", path, numbered, None, need)
            yield text
            if 'rel="next"' not in headers.get("link", ""):
                return
        raise strange(self.host)

    def _parse(self, kind: type[T], text: str) -> T:
        try:
            return kind.model_validate_json(text)
        except ValidationError:
            raise strange(self.host) from None

    def _exchange(
        self, method: str, path: str, query: Mapping[str, str], body: Body | None, need: str
    ) -> tuple[Mapping[str, str], str]:
        """Headers and text of a good answer; a refused token is renewed once, which comes before anything is done."""
        key = f"{path}?{sorted(query.items())}" if method == "GET" else ""
        known = self._remembered.get(key) if key else None
        tag = known.tag if known else ""
        with self._lend() as client:
            token = self._credentials.token()
            status, headers, text = client.send(method, path, query, body, token, tag)
            if status == 401 and self._credentials.renew(token):
                token = self._credentials.token()
                status, headers, text = client.send(method, path, query, body, token, tag)
        if status == 304 and known is not None:  # not counted by GitHub, which is what makes polling affordable
            return known.headers, known.text
        if status < 300:
            if key and headers.get("etag"):
                self._remembered.put(key, _Remembered(headers["etag"], dict(headers), text))
            return headers, text
        said = _said(text)
        fault = judged(Reply(status, headers, _clean(said or "", token), self.host, need), self._clock())
        if fault is not None and (said is not None or status >= 429 or status == 408):
            raise fault
        if said is None:
            raise strange(self.host)  # The 404 of a proxy during a restart must not read as "there is none".
        raise answered(Reply(status, headers, _clean(said, token), self.host, need))

    @contextmanager
    def _lend(self) -> Iterator[Client]:
        try:
            client = self._idle.pop()
        except IndexError:
            client = Client(self._api, self._timeout)
        try:
            yield client
        finally:
            self._idle.append(client)


def _said(text: str) -> str | None:
    """GitHub's sentences in an error; None when it is no error of GitHub's."""
    try:
        trouble = Trouble.model_validate_json(text)
    except ValidationError:
        return None
    if not trouble.message:
        return None
    listed = trouble.errors if isinstance(trouble.errors, list) else [trouble.errors]
    more = [e.get("message") if isinstance(e, dict) else e for e in listed]
    return " ".join([trouble.message, *(one for one in more if isinstance(one, str))])


def _clean(text: str, token: str) -> str:
    """For people's eyes: one line, cut, and without anything that looks like a secret, should it be echoed."""
    line = " ".join("".join(" " if unicodedata.category(c).startswith("C") else c for c in text).split())
    line = redact(line.replace(token, GONE) if token else line)
    return line if len(line) <= _LONGEST_TEXT else f"{line[: _LONGEST_TEXT - 1]}…"
