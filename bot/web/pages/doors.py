"""Who is let in: a link from Slack opens a session once, and every request asks again whether its person may read."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from bot.web.limits import Buckets
from bot.web.pages.seal import Pass, Purpose, Seal
from commands.audit_policy import is_reader
from commands.facts import Facts
from commands.reasons import ReasonCode
from commands.requests import Asker, Source
from storage.unit_of_work import AuditEntry, Store


class Shut(StrEnum):
    """Why somebody is not let in."""

    NONE = "none"  # nothing was shown, or nothing that we signed
    EXPIRED = "expired"
    USED = "used"
    NOT_A_READER = "not-a-reader"


@dataclass(frozen=True)
class Visitor:
    """Who is signed in, by signed ids."""

    team_id: str
    user_id: str
    session: Pass

    @property
    def asker(self) -> Asker:
        """The same for use cases; no delivery of Slack's brought it."""
        return Asker(self.team_id, self.user_id, "", source=Source.PAGE)


class Doors:
    """Lets people in and out. Blocks for short transactions: call it in a worker thread.

    `rows` is how often the record says of somebody that they were refused, who may knock far more often than that.
    """

    def __init__(self, store: Store, facts: Callable[[], Facts], seal: Seal, rows: Buckets) -> None:
        self._store = store
        self._facts = facts
        self._seal = seal
        self._rows = rows

    def look_at(self, token: str) -> Pass | Shut:
        """What a link would do, without using it up: whoever fetches a link to preview it does no harm."""
        found = self._seal.read(Purpose.LINK, token)
        if found is None:
            return Shut.NONE
        if found.expired(self._store.clock()):
            return Shut.EXPIRED
        with self._store.read() as uow:
            used = uow.answered(_used(found)) is not None
        return Shut.USED if used else found

    def sign_in(self, token: str) -> tuple[Pass, str] | Shut:
        """Use a link up: where it leads, and the cookie. That, its row in the record, and the use are one transaction.

        A crash before its end leaves the link as it was.
        """
        found = self._seal.read(Purpose.LINK, token)
        if found is None:
            return Shut.NONE
        with self._store.write() as uow:
            uow.in_turn()
            if found.expired(uow.now):
                return Shut.EXPIRED
            if uow.answered(_used(found)) is not None:
                return Shut.USED
            uow.first_time(_used(found), "{}")
            session, cookie = self._seal.session(found)
            reader = is_reader(self._facts(), Asker(found.team_id, found.user_id, ""))
            action, reason = ("pages:sign-in", "") if reader else ("pages:sign-in:refuse", ReasonCode.NOT_PERMITTED)
            details = {"until": session.until.isoformat(timespec="seconds"), "page": found.page} if reader else {}
            uow.audit(AuditEntry(action, found.user_id, found.team_id, reason_code=reason, details=details))
        return (found, cookie) if reader else Shut.NOT_A_READER

    def visitor(self, cookie: str) -> Visitor | Shut:
        """Who this cookie is of. Asked at each request: signing out, and a change of the rules, count at once."""
        found = self._seal.read(Purpose.SESSION, cookie)
        if found is None:
            return Shut.NONE
        if found.expired(self._store.clock()):
            return Shut.EXPIRED
        with self._store.read() as uow:
            if uow.answered(_out(found)) is not None:
                return Shut.NONE
        who = Visitor(found.team_id, found.user_id, found)
        if is_reader(self._facts(), who.asker):
            return who
        if self._rows.take(who.user_id) == 0:
            with self._store.write() as uow:
                uow.audit(AuditEntry("pages:refuse", who.user_id, who.team_id, reason_code=ReasonCode.NOT_PERMITTED))
        return Shut.NOT_A_READER

    def sign_out(self, cookie: str) -> None:
        """End a session for good: a copy of its cookie is of no use either. Nothing happens to what is no session."""
        found = self._seal.read(Purpose.SESSION, cookie)
        if found is None:
            return
        with self._store.write() as uow:
            uow.in_turn()
            if found.expired(uow.now) or uow.answered(_out(found)) is not None:
                return
            uow.first_time(_out(found), "{}")
            uow.audit(AuditEntry("pages:sign-out", found.user_id, found.team_id))


def _used(link: Pass) -> str:
    return f"pages:link:{link.nonce}"


def _out(session: Pass) -> str:
    return f"pages:out:{session.nonce}"
