"""The pages' routes: who may come in, what each page is made of, and one edge for what goes wrong.

Everything that blocks (the database, names from Slack, rendering) happens in worker threads.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import structlog
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from bot.web.api_auth import place
from bot.web.limits import Buckets
from bot.web.pages import board, numbers, proof, search, story
from bot.web.pages.doors import Doors, Shut, Visitor
from bot.web.pages.names import Names
from bot.web.pages.render import HEADERS, Pages, Reader
from bot.web.pages.seal import LINK_FOR, SESSION_FOR, Seal
from commands import audit, audit_filter, audit_report, audit_show
from commands.facts import Facts
from commands.ports import Person
from commands.reasons import Refused
from commands.requests import Asker
from storage.unit_of_work import Store, UnitOfWork

T = TypeVar("T")
Make = Callable[[Request, Visitor, Reader], Response]
_LARGEST_FORM = 4096  # bytes; a form of ours has one field
_ID = re.compile(r"[0-9a-z]{3,32}")
log = structlog.get_logger("pages")


@dataclass(frozen=True)
class Limits:
    """How often: pages by person, what nobody known asks for by address. Rows about refusals: one a minute of each."""

    pages: Buckets = field(default_factory=lambda: Buckets(90, 45))
    strangers: Buckets = field(default_factory=lambda: Buckets(30, 30))
    rows: Buckets = field(default_factory=lambda: Buckets(1, 1))


@dataclass(frozen=True)
class Parts:
    """What the pages work on. `origin` is the record's name; `public_url` is where browsers find the pages."""

    store: Store
    facts: Callable[[], Facts]
    seal: Seal
    person: Callable[[str, str], Person]
    commit: Callable[[str], str]
    origin: str
    public_url: str
    limits: Limits = field(default_factory=Limits)


class Site:
    """Everything below `/` that people look at."""

    def __init__(self, parts: Parts) -> None:
        address = urlsplit(parts.public_url)
        self._parts = parts
        self._root = address.path.rstrip("/")
        self._pages = Pages(self._root)
        self._doors = Doors(parts.store, parts.facts, parts.seal, parts.limits.rows)
        self._https = address.scheme == "https"
        # The prefix makes browsers refuse this cookie from any other host, and without TLS.
        self.cookie = "__Host-locktender" if self._https else "locktender"

    def link(self, asker: Asker, deployment_id: str = "") -> str:
        """A link that signs this person in once, within five minutes."""
        return f"{self._parts.public_url}/open?t={self._parts.seal.link(asker.team_id, asker.user_id, deployment_id)}"

    def routes(self) -> list[Route]:
        """What to serve at the root."""
        return [
            Route("/", self._guarded(self._board)),
            Route("/deployments/{name}", self._guarded(self._story)),
            Route("/changes/{name}", self._guarded(self._story)),
            Route("/sets/{name}", self._guarded(self._story)),
            Route("/audit", self._guarded(self._search)),
            Route("/audit/{seq}", self._guarded(self._row)),
            Route("/reports", self._guarded(self._report)),
            Route("/open", self._open, methods=["GET"]),
            Route("/open", self._sign_in, methods=["POST"]),
            Route("/sign-out", self._sign_out, methods=["POST"]),
            Route("/pages.css", self._style),
            Route("/icon.svg", self._icon),
        ]

    # ------------------------------------------------------------ coming in

    async def _open(self, request: Request) -> Response:
        """What a link leads to: a button. Whoever only fetches the link, a preview for one, uses nothing up."""
        token = request.query_params.get("t", "")

        def look() -> Response:
            found = self._doors.look_at(token)
            if isinstance(found, Shut):
                return self._shut(found)
            minutes = int(LINK_FOR.total_seconds() // 60)
            hours = int(SESSION_FOR.total_seconds() // 3600)
            values = {"token": token, "minutes": minutes, "hours": hours, "user_id": found.user_id, "here": ""}
            return self._pages.page("open", self._reader(found.team_id), values)

        return self._too_often(request) or await self._answer(look)

    async def _sign_in(self, request: Request) -> Response:
        """The button. Only our own page can press it: a form elsewhere would sign people in as somebody else."""
        try:
            form = await _form(request)
        except ClientDisconnect:
            return Response(status_code=400)
        if form is None or not _from_here(request):
            return self._message(400, "This form was not sent from here.", "Open the link from Slack again.")
        token = form.get("t", "")

        def enter() -> Response:
            found = self._doors.sign_in(token)
            if isinstance(found, Shut):
                return self._shut(found)
            link, cookie = found
            answer = RedirectResponse(f"{self._root}{link.page}", 303, HEADERS | {"Cache-Control": "no-store"})
            seconds = int(SESSION_FOR.total_seconds())
            # Lax, not Strict: a link on a card in Slack comes from another site, and has to find people signed in.
            # What a foreign site can do with that is to open a page for its reader; no address changes anything.
            answer.set_cookie(
                self.cookie, cookie, max_age=seconds, path="/", secure=self._https, httponly=True, samesite="lax"
            )
            return answer

        return self._too_often(request) or await self._answer(enter)

    async def _sign_out(self, request: Request) -> Response:
        """End the session, here and of every copy of its cookie."""
        if not _from_here(request):
            return self._message(400, "This form was not sent from here.", "Use the button on a page.")
        cookie = request.cookies.get(self.cookie, "")

        def leave() -> Response:
            self._doors.sign_out(cookie)
            answer = self._message(200, "You are signed out.", "`/audit open` in Slack brings you back.")
            answer.delete_cookie(self.cookie, path="/", secure=self._https, httponly=True, samesite="lax")
            return answer

        return self._too_often(request) or await self._answer(leave)

    def _guarded(self, make: Make) -> Callable[[Request], object]:
        """The page, for who is signed in and may read: both are asked at each request."""

        async def page(request: Request) -> Response:
            cookie = request.cookies.get(self.cookie, "")

            def serve() -> Response:
                found = self._doors.visitor(cookie)
                if isinstance(found, Shut):
                    return self._too_often(request) or self._closed(request, found)
                wait = self._parts.limits.pages.take(found.user_id)
                if wait:
                    return self._slower(wait)
                return make(request, found, self._reader(found.team_id, found.user_id))

            return await self._answer(serve)

        return page

    # ------------------------------------------------------------ pages

    def _board(self, request: Request, visitor: Visitor, reader: Reader) -> Response:
        del request, visitor
        found = self._read(lambda uow: board.board(uow, self._parts.facts()))
        return self._pages.page("board", reader, {"board": found, "here": "board"})

    def _story(self, request: Request, visitor: Visitor, reader: Reader) -> Response:
        name = request.path_params["name"]
        parts = self._parts
        try:
            found = self._read(lambda uow: story.story_page(uow, name, parts.commit, parts.origin))
        except Refused:
            return self._nothing(reader)
        self._record(lambda uow: audit_show.record(uow, visitor.asker, found.name, len(found.events)))
        return self._pages.page("story", reader, {"story": found, "here": ""})

    def _search(self, request: Request, visitor: Visitor, reader: Reader) -> Response:
        query = dict(request.query_params)
        values: dict[str, object] = {"here": "audit", "fields": search.FIELDS, "names": self._names()}
        try:
            asked = search.asked(query, visitor.user_id)
            found = self._read(lambda uow: search.search_page(uow, asked, self._root))
        except Refused as fault:
            shown = {name: query.get(name, "") for name in (*search.FIELDS, "words")}
            return self._pages.page("audit", reader, values | {"page": None, "asked": shown, "problem": fault}, 400)
        filters = audit_filter.said(asked)
        self._record(lambda uow: audit.record(uow, visitor.asker, filters, len(found.rows)))
        return self._pages.page("audit", reader, values | {"page": found, "asked": found.asked, "problem": None})

    def _row(self, request: Request, visitor: Visitor, reader: Reader) -> Response:
        text = request.path_params["seq"]
        seq = int(text) if re.fullmatch(r"[0-9]{1,10}", text) else 0
        found = self._read(lambda uow: proof.row_page(uow, seq, self._parts.origin))
        if found is None:
            return self._nothing(reader)
        self._record(lambda uow: audit.record(uow, visitor.asker, {"row": str(seq)}, 1))
        return self._pages.page("row", reader, {"page": found, "here": "audit"})

    def _report(self, request: Request, visitor: Visitor, reader: Reader) -> Response:
        query = dict(request.query_params)
        values: dict[str, object] = {"here": "reports", "names": self._names()}
        try:
            asked = numbers.asked(query)
            found = self._read(lambda uow: numbers.report_page(uow, asked))
        except Refused as fault:
            shown = {name: query.get(name, "") for name in numbers.FIELDS}
            return self._pages.page("reports", reader, values | {"page": None, "asked": shown, "problem": fault}, 400)
        self._record(lambda uow: audit_report.record(uow, visitor.asker, asked))
        return self._pages.page("reports", reader, values | {"page": found, "asked": found.asked, "problem": None})

    # ------------------------------------------------------------ parts

    async def _answer(self, work: Callable[[], Response]) -> Response:
        """The edge: whatever is wrong with us is a sentence with an id for the log."""
        try:
            return await run_in_threadpool(work)
        except Exception:  # the edge: a person who waits for a page is never left with a stack trace
            error_id = uuid4().hex[:8]
            log.exception("pages.defect", error_id=error_id)
            return self._message(
                500,
                "This page could not be made.",
                f"Try again in a minute; if it stays so, give the platform team the error id `{error_id}`.",
            )

    def _too_often(self, request: Request) -> Response | None:
        """Whoever is not signed in is counted by address."""
        wait = self._parts.limits.strangers.take(place(request.client.host if request.client else ""))
        return self._slower(wait) if wait else None

    def _read(self, read: Callable[[UnitOfWork], T]) -> T:
        with self._parts.store.read() as uow:
            return read(uow)

    def _record(self, write: Callable[[UnitOfWork], None]) -> None:
        """Before anything is shown: what cannot be recorded is not read."""
        with self._parts.store.write() as uow:
            write(uow)

    def _reader(self, team_id: str = "", user_id: str = "") -> Reader:
        return Reader(self._parts.store.clock(), Names(self._parts.person, team_id), user_id)

    def _names(self) -> Mapping[str, tuple[str, ...]]:
        """What the forms suggest."""
        known = self._parts.facts().in_force.catalogue
        return {"app": tuple(known.apps) if known else (), "env": tuple(known.environments) if known else ()}

    def _closed(self, request: Request, why: Shut) -> Response:
        """The page that somebody gets who is not let in: the same whether there is such a thing or not."""
        name = str(request.path_params.get("name", ""))
        return self._shut(why, name if _ID.fullmatch(name) else "")

    def _shut(self, why: Shut, name: str = "") -> Response:
        again = f"`/audit open{f' {name}' if name else ''}`"
        step = f"Type {again} in Slack, or open my Home tab there: either gives you a link of your own."
        if why is Shut.NOT_A_READER:
            step = "Who may is said by `audit` in `locktender.yaml`: ask one of them, or have it changed."
            return self._message(403, "You may not read the record.", step)
        what = {
            Shut.NONE: "You are not signed in.",
            Shut.EXPIRED: "That was too long ago: a link works for five minutes, being signed in lasts eight hours.",
            Shut.USED: "This link has been used already.",
        }[why]
        answer = self._message(401, what, step)
        answer.headers["WWW-Authenticate"] = 'Slack-Link realm="Locktender"'
        return answer

    def _nothing(self, reader: Reader) -> Response:
        values = {"what": "There is nothing at this address.", "step": "", "status": 404, "here": ""}
        return self._pages.page("message", reader, values, 404)

    def _slower(self, wait: int) -> Response:
        answer = self._message(429, "That was too often.", f"Try again in {wait} second{'s' if wait > 1 else ''}.")
        answer.headers["Retry-After"] = str(wait)
        return answer

    def _message(self, status: int, what: str, step: str) -> Response:
        values = {"what": what, "step": step, "status": status, "here": ""}
        return self._pages.page("message", self._reader(), values, status)

    async def _style(self, request: Request) -> Response:
        del request
        return _file(self._pages.style, "text/css")

    async def _icon(self, request: Request) -> Response:
        del request
        return _file(self._pages.icon, "image/svg+xml")


def _file(content: bytes, kind: str) -> Response:
    return Response(content, headers=HEADERS | {"Cache-Control": "public, max-age=86400"}, media_type=kind)


async def _form(request: Request) -> Mapping[str, str] | None:
    """The fields of a form of ours; None for anything larger."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > _LARGEST_FORM:
            return None
    fields = parse_qs(body.decode("utf-8", "replace"), max_num_fields=8)
    return {name: values[0] for name, values in fields.items()}


def _from_here(request: Request) -> bool:
    """False when the browser says that another site sent this. Browsers that say nothing are let through.

    They are years old; SameSite keeps the cookie of whoever is signed in from such a form all the same.
    """
    return request.headers.get("sec-fetch-site", "same-origin") in {"same-origin", "none"}
