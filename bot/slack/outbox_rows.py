"""The database side of the outbox: what is taken, and what became of it. What is due: bot.slack.outbox_look."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, cast

import structlog
from prometheus_client import Counter
from sqlalchemy import bindparam, func, select, update

from bot.slack.cards import CommitLink
from bot.slack.outbox_look import CARDS, HOPELESS, MEND_FIRST, MESSAGES, NOTHING_QUIET, CardJob, Look, NoteJob, Quiet
from storage import gate
from storage.models import Card, Message, Target
from storage.prepared import Prepared
from storage.unit_of_work import Store, UnitOfWork

LEASE = timedelta(seconds=30)
"""How long a row belongs to whoever took it; longer than one call to Slack may last."""
UPDATE_GAP = timedelta(seconds=1)
"""Between two updates of one card: chat.update allows about 50 a minute, and nobody reads faster."""
GIVE_UP_AFTER = 12
"""Tries to give one person an answer: after these, a few minutes later, it is no answer any more."""
KEEP_FOR = timedelta(hours=24)
"""How long a message for a channel or a thread is tried: an outage or a lost right is mended by then, or it is old."""
UNSENDABLE = frozenset({"invalid_blocks", "msg_too_long", "no_text", "user_not_found", "user_not_in_channel"})
"""Errors of the message itself: it is given up, so that what comes after it in its thread is not held up."""
RATE_LIMITED = "ratelimited"
Outcome = Callable[[UnitOfWork], None]
"""What became of a card, to be put on record."""
SENT = Counter("locktender_slack_messages_total", "Messages sent to Slack, by outcome", ["outcome"])
_MINE = CARDS.c.deployment_id == bindparam("card")
_HOLD = Prepared(select(CARDS.c.deployment_id).where(_MINE).with_for_update())
_CARD_SENT = Prepared(
    update(CARDS)
    .where(_MINE)
    .values(
        ts=bindparam("at"),
        shown=bindparam("hash"),
        behind=bindparam("more"),
        not_before=bindparam("until"),
        attempts=0,
        error="",
    )
)
_CARD_LATER = Prepared(update(CARDS).where(_MINE).values(error=bindparam("why"), not_before=bindparam("until")))
_CARD_NOT_TRIED = Prepared(
    update(CARDS)
    .where(_MINE)
    .values(error=bindparam("why"), not_before=bindparam("until"), attempts=bindparam("tried"))
)
log = structlog.get_logger("outbox")


class OutboxRows:
    """Leases rows and records what became of them. Blocks: called in a worker thread."""

    def __init__(self, store: Store, commit_link: CommitLink) -> None:
        self._store = store
        self._commit_link = commit_link

    def reclaim(self) -> None:
        """At the start of the only process: whatever was leased was leased by a dead one."""
        card, message = cast("Any", Card), cast("Any", Message)
        with self._store.write() as uow:
            for row in uow.session.scalars(select(Card).where(card.behind)):
                row.not_before = uow.now
            for note in uow.session.scalars(select(Message).where(message.waiting)):
                note.not_before = uow.now

    def lease(self, quiet: Quiet = NOTHING_QUIET) -> tuple[list[CardJob], list[NoteJob]]:
        """What is due, taken for LEASE: a crash before the record makes it due again then.

        Cards that Slack does not take now (`quiet`) are left alone: hundreds may wait in a channel that takes one post
        a second, and the updates of those that are there must not wait behind them.

        It is worked out in a snapshot, and taken in a transaction of three short statements: every ack waits for that.
        """
        with self._store.read() as uow:
            look = Look(uow, quiet, self._commit_link)
            (cards, notes), aside = look.all(), look.aside
        if not (cards or notes or aside):
            return [], []
        with self._store.write() as uow:
            aside.put(uow)
            my_cards = self._taken(
                uow, CARDS.c.deployment_id, CARDS.c.behind, {job.deployment_id: (job.attempts, job.ts) for job in cards}
            )
            my_notes = self._taken(
                uow, MESSAGES.c.id, MESSAGES.c.waiting, {job.id: (job.attempts, "") for job in notes}
            )
        return [job for job in cards if job.deployment_id in my_cards], [job for job in notes if job.id in my_notes]

    def _taken(self, uow: UnitOfWork, key: Any, wanted: Any, seen: dict[Any, tuple[int, str]]) -> set[Any]:  # noqa: ANN401 - columns of either table
        """Take those that are as they were seen: since then another replica may have tried one, or posted it."""
        if not seen:
            return set()
        table, connection = key.table, uow.session.connection()
        due = select(key, table.c.attempts, table.c.ts).where(
            key.in_(list(seen)), wanted, table.c.not_before <= uow.now
        )
        rows = connection.execute(due if self._store.database.is_sqlite else due.with_for_update(skip_locked=True))
        taken = {name for name, attempts, ts in rows if seen[name] == (attempts, ts)}
        values = {"attempts": table.c.attempts + 1, "not_before": uow.now + LEASE}
        connection.execute(update(table).where(key.in_(list(taken))).values(**values))
        return taken

    def record(self, outcomes: Sequence[Outcome]) -> None:
        """What became of cards, in one transaction: several end at the same time, and acks wait for each write."""
        with self._store.write() as uow:
            for outcome in outcomes:
                outcome(uow)

    def card_sent(self, job: CardJob, ts: str, shown: str) -> Outcome:
        """It shows the revision that was leased; it is still behind when there is a newer one."""

        def put(uow: UnitOfWork) -> None:
            if not uow.run(_HOLD, {"card": job.deployment_id}):
                return
            behind = gate.revision(uow, job.deployment_id) != job.revision
            until = uow.now + UPDATE_GAP
            uow.run(_CARD_SENT, {"card": job.deployment_id, "at": ts, "hash": shown, "more": behind, "until": until})

        return put

    def card_failed(self, job: CardJob, code: str, seconds: float) -> Outcome:
        """Look again in `seconds`; in a minute at the earliest when a person has to mend something first."""
        SENT.labels("failed").inc()
        log.warning("outbox.card_failed", deployment=job.deployment_id, channel=job.channel, error=code)
        return self._card_later(job, code, max(seconds, MEND_FIRST) if code in HOPELESS else seconds)

    def card_held(self, job: CardJob, seconds: float) -> Outcome:
        """Slack said not to call for a while: the card was not tried."""
        return self._card_later(job, RATE_LIMITED, seconds)

    @staticmethod
    def _card_later(job: CardJob, code: str, seconds: float) -> Outcome:
        def put(uow: UnitOfWork) -> None:
            later = {"card": job.deployment_id, "why": code, "until": uow.now + timedelta(seconds=seconds)}
            if code == RATE_LIMITED:  # it certainly was not posted: no need to look for it first
                uow.run(_CARD_NOT_TRIED, later | {"tried": job.attempts})
            else:
                uow.run(_CARD_LATER, later)

        return put

    def note_sent(self, job: NoteJob, ts: str) -> None:
        """Done; its address is forgotten."""
        with self._store.write() as uow:
            note = uow.session.get(Message, job.id)
            if note is not None:
                note.waiting, note.sent_at, note.ts, note.url, note.error = False, uow.now, ts, "", ""

    def note_failed(self, job: NoteJob, code: str, seconds: float) -> None:
        """Look again in `seconds`, unless that is hopeless or was tried for too long."""
        SENT.labels("failed").inc()
        log.warning("outbox.message_failed", message=job.id, target=str(job.target), error=code)
        with self._store.write() as uow:
            note = uow.session.get(Message, job.id)
            if note is None:
                return
            seconds = max(seconds, MEND_FIRST) if code in HOPELESS else seconds
            note.error = code
            note.not_before = uow.now + timedelta(seconds=seconds)
            if code == RATE_LIMITED:
                note.attempts = job.attempts
            for_all = job.target in {Target.THREAD, Target.CHANNEL}
            old = uow.now - note.created_at > KEEP_FOR if for_all else job.attempts >= GIVE_UP_AFTER
            if old or code in UNSENDABLE or (code in HOPELESS and not for_all):
                self._give_up(note, code)

    def notes_held(self, held: Sequence[tuple[NoteJob, float]]) -> None:
        """Slack said not to call for so many seconds: these messages were not tried."""
        note = update(MESSAGES).where(MESSAGES.c.id == bindparam("note"))
        later = note.values(attempts=bindparam("tried"), not_before=bindparam("until"), error=RATE_LIMITED)
        with self._store.write() as uow:
            rows = [
                {"note": job.id, "tried": job.attempts, "until": uow.now + timedelta(seconds=seconds)}
                for job, seconds in held
            ]
            uow.session.connection().execute(later, rows)

    def note_undeliverable(self, job: NoteJob, code: str) -> None:
        """Nothing can deliver it any more: its address is used up, or refuses it."""
        SENT.labels("failed").inc()
        with self._store.write() as uow:
            note = uow.session.get(Message, job.id)
            if note is not None:
                note.error = code
                self._give_up(note, code)

    @staticmethod
    def _give_up(note: Message, code: str) -> None:
        SENT.labels("given_up").inc()
        log.error("outbox.given_up", message=note.id, target=str(note.target), error=code)
        note.waiting, note.url = False, ""


def depth(uow: UnitOfWork) -> int:
    """How many cards and messages wait to be sent."""
    card, message = cast("Any", Card), cast("Any", Message)
    cards = uow.session.scalar(select(func.count()).select_from(Card).where(card.behind)) or 0
    notes = uow.session.scalar(select(func.count()).select_from(Message).where(message.waiting)) or 0
    return int(cards) + int(notes)


def failing(uow: UnitOfWork) -> dict[str, int]:
    """How many of those that wait failed at their last try, by Slack's error."""
    found: dict[str, int] = {}
    for table, waits in ((Card, cast("Any", Card).behind), (Message, cast("Any", Message).waiting)):
        error = cast("Any", table).error
        query = select(error, func.count()).where(waits, error != "").group_by(error)
        for code, count in uow.session.execute(query).all():
            found[str(code)] = found.get(str(code), 0) + int(count)
    return found
