"""The database side of the outbox: which cards and messages are due, who has taken them, what became of them."""

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast

import structlog
from prometheus_client import Counter
from sqlalchemy import and_, func, or_, select

from bot.slack.cards import CommitLink, SlackMessage, deployment_card
from storage.models import Card, Deployment, Message, Target
from storage.phases import Phase
from storage.unit_of_work import Store, UnitOfWork

LEASE = timedelta(seconds=30)
"""How long a row belongs to whoever took it; longer than one call to Slack may last."""
UPDATE_GAP = timedelta(seconds=1)
"""Between two updates of one card: chat.update allows about 50 a minute, and nobody reads faster."""
BATCH = 20
POSTS = 4
"""New cards in one round: Slack takes about one post a second and channel, and little more at once."""
NEXT_REPLY = timedelta(seconds=1)
"""How soon a reply is looked at again while the one before it is tried, perhaps by another replica."""
GIVE_UP_AFTER = 12
"""Tries to give one person an answer: after these, a few minutes later, it is no answer any more."""
KEEP_FOR = timedelta(hours=24)
"""How long a message for a channel or a thread is tried: an outage or a lost right is mended by then, or it is old."""
MEND_FIRST = 60.0
"""Seconds between tries where a person has to mend something: the bot's place in a channel, its rights, its token."""
HOPELESS = frozenset(
    {
        "account_inactive",
        "cant_update_message",
        "channel_not_found",
        "edit_window_closed",
        "invalid_auth",
        "is_archived",
        "missing_scope",
        "not_authed",
        "not_in_channel",
        "restricted_action",
        "token_expired",
        "token_revoked",
    }
)
"""Errors that a person has to mend first: looked at again every minute."""
UNSENDABLE = frozenset({"invalid_blocks", "msg_too_long", "no_text", "user_not_found", "user_not_in_channel"})
"""Errors of the message itself: it is given up, so that what comes after it in its thread is not held up."""
RATE_LIMITED = "ratelimited"
SENT = Counter("locktender_slack_messages_total", "Messages sent to Slack, by outcome", ["outcome"])
log = structlog.get_logger("outbox")


@dataclass(frozen=True)
class CardJob:
    """A card to post (no `ts`) or to update."""

    deployment_id: str
    channel: str
    ts: str
    attempts: int
    shown: str
    requested_at: datetime
    revision: int
    message: SlackMessage


@dataclass(frozen=True)
class NoteJob:
    """A message to send."""

    id: int
    target: Target
    deployment_id: str
    channel: str
    user_id: str
    thread_ts: str
    url: str
    attempts: int
    body: dict[str, Any]


@dataclass(frozen=True)
class Quiet:
    """What Slack has asked not to be called for now: updates of cards, and posts to these channels."""

    updates: bool
    channels: frozenset[str]


NOTHING_QUIET = Quiet(updates=False, channels=frozenset())


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
        """
        with self._store.read() as uow:
            due = self._due(uow, quiet)
        if not due:
            return [], []
        with self._store.write() as uow:
            return self._lease_cards(uow, quiet), self._lease_notes(uow, quiet)

    def _due(self, uow: UnitOfWork, quiet: Quiet) -> bool:
        message = cast("Any", Message)
        cards = _due_cards(select(cast("Any", Card).deployment_id), uow, quiet).limit(1)
        notes = _due_notes(select(message.id), uow, quiet).limit(1)
        return uow.session.execute(cards).first() is not None or uow.session.execute(notes).first() is not None

    def _lease_cards(self, uow: UnitOfWork, quiet: Quiet) -> list[CardJob]:
        table = cast("Any", Card)
        due = _due_cards(select(Card), uow, quiet).order_by(table.not_before)
        updates = uow.session.scalars(self._locked(due.where(table.ts != "").limit(BATCH))).all()
        posts = uow.session.scalars(self._locked(due.where(table.ts == "").limit(POSTS))).all()
        jobs = []
        for card in (*updates, *posts):
            deployment = uow.deployment(card.deployment_id)
            if deployment is None:
                card.behind = False
                continue
            try:
                job = self._job(uow, card, deployment)
            except (ValueError, LookupError, TypeError):
                # A row that this version cannot read (written by a newer one, say) must not hold up all the others.
                log.exception("outbox.card_unreadable", deployment=card.deployment_id)
                card.not_before = uow.now + timedelta(seconds=MEND_FIRST)
                continue
            jobs.append(job)
            card.attempts += 1
            card.not_before = uow.now + LEASE
        return jobs

    def _job(self, uow: UnitOfWork, card: Card, deployment: Deployment) -> CardJob:
        if Phase(deployment.phase).ended:
            self._tell_waiting(uow, deployment)
        return CardJob(
            card.deployment_id,
            card.channel,
            card.ts,
            card.attempts,
            card.shown,
            deployment.requested_at,
            deployment.revision,
            deployment_card(deployment, self._commit_link, ahead=_ahead(uow, deployment)),
        )

    @staticmethod
    def _tell_waiting(uow: UnitOfWork, ended: Deployment) -> None:
        """Those that wait behind it name it on their cards: have them looked at again."""
        for other in uow.open_for(ended.app, ended.environment):
            card = uow.session.get(Card, other.id) if other.phase == Phase.QUEUED else None
            if card is not None:
                card.behind = True

    def _lease_notes(self, uow: UnitOfWork, quiet: Quiet) -> list[NoteJob]:
        table = cast("Any", Message)
        query = _due_notes(select(Message), uow, quiet).order_by(table.not_before, table.id).limit(BATCH)
        jobs: list[NoteJob] = []
        for note in uow.session.scalars(self._locked(query)):
            thread, channel = note.thread_ts, note.channel
            if note.target == Target.THREAD:
                first = self._first_in_thread(uow, note.deployment_id)
                if first.id != note.id and any(job.id == first.id for job in jobs):
                    continue  # due again as soon as the one before it is sent, in the next round
                if first.id != note.id:
                    # Replies keep their order: this one waits for the one before it, wherever that is tried.
                    soon = uow.now + NEXT_REPLY
                    note.not_before = max(first.not_before, soon) if first.error else soon
                    continue
                card = uow.session.get(Card, note.deployment_id)
                if card is None:
                    note.waiting = False
                    continue
                if not card.ts:
                    wait = MEND_FIRST if card.error in HOPELESS else 0.5
                    note.not_before = uow.now + timedelta(seconds=wait)  # the card first
                    note.error = card.error
                    continue
                thread, channel = card.ts, card.channel
            jobs.append(
                NoteJob(
                    note.id or 0,
                    Target(note.target),
                    note.deployment_id,
                    channel,
                    note.user_id,
                    thread,
                    note.url,
                    note.attempts,
                    json.loads(note.body),
                )
            )
            note.attempts += 1
            note.not_before = uow.now + LEASE
        return jobs

    @staticmethod
    def _first_in_thread(uow: UnitOfWork, deployment_id: str) -> Message:
        table = cast("Any", Message)
        query = (
            select(Message)
            .where(table.waiting, table.target == Target.THREAD, table.deployment_id == deployment_id)
            .order_by(table.id)
            .limit(1)
        )
        first: Message = uow.session.scalars(query).one()
        return first

    def _locked(self, query: Any) -> Any:  # noqa: ANN401 - SQLAlchemy's select, whichever rows it gives
        return query if self._store.database.is_sqlite else query.with_for_update(skip_locked=True)

    def card_sent(self, job: CardJob, ts: str, shown: str) -> None:
        """It shows the revision that was leased; it is still behind when there is a newer one."""
        with self._store.write() as uow:
            card = uow.session.get(Card, job.deployment_id)
            deployment = uow.deployment(job.deployment_id)
            if card is not None:
                card.ts, card.shown, card.attempts, card.error = ts, shown, 0, ""
                card.behind = deployment is not None and deployment.revision != job.revision
                card.not_before = uow.now + UPDATE_GAP

    def card_failed(self, job: CardJob, code: str, seconds: float) -> None:
        """Look again in `seconds`; in a minute at the earliest when a person has to mend something first."""
        SENT.labels("failed").inc()
        log.warning("outbox.card_failed", deployment=job.deployment_id, channel=job.channel, error=code)
        self._card_later(job, code, max(seconds, MEND_FIRST) if code in HOPELESS else seconds)

    def card_held(self, job: CardJob, seconds: float) -> None:
        """Slack said not to call for a while: the card was not tried."""
        self._card_later(job, RATE_LIMITED, seconds)

    def _card_later(self, job: CardJob, code: str, seconds: float) -> None:
        with self._store.write() as uow:
            card = uow.session.get(Card, job.deployment_id)
            if card is None:
                return
            card.error = code
            if code == RATE_LIMITED:
                card.attempts = job.attempts  # it certainly was not posted: no need to look for it first
            card.not_before = uow.now + timedelta(seconds=seconds)

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

    def note_held(self, job: NoteJob, seconds: float) -> None:
        """Slack said not to call for a while: the message was not tried."""
        with self._store.write() as uow:
            note = uow.session.get(Message, job.id)
            if note is not None:
                note.attempts, note.error = job.attempts, RATE_LIMITED
                note.not_before = uow.now + timedelta(seconds=seconds)

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


def _due_cards(query: Any, uow: UnitOfWork, quiet: Quiet) -> Any:  # noqa: ANN401 - a select of whichever columns
    table = cast("Any", Card)
    query = query.where(table.behind, table.not_before <= uow.now)
    if quiet.updates:
        query = query.where(table.ts == "")
    if quiet.channels:
        query = query.where(or_(table.ts != "", table.channel.not_in(sorted(quiet.channels))))
    return query


def _due_notes(query: Any, uow: UnitOfWork, quiet: Quiet) -> Any:  # noqa: ANN401 - a select of whichever columns
    message, card = cast("Any", Message), cast("Any", Card)
    query = query.where(message.waiting, message.not_before <= uow.now)
    if quiet.channels:
        there = sorted(quiet.channels)
        replies = select(card.deployment_id).where(card.deployment_id == message.deployment_id, card.channel.in_(there))
        private = message.target.in_([Target.RESPONSE, Target.EPHEMERAL])
        query = query.where(or_(private, and_(message.channel.not_in(there), ~replies.exists())))
    return query


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


def _ahead(uow: UnitOfWork, deployment: Deployment) -> str:
    if deployment.phase != Phase.QUEUED:
        return ""
    others = [one for one in uow.open_for(deployment.app, deployment.environment) if one.id != deployment.id]
    before = [one for one in others if one.requested_at <= deployment.requested_at]
    if not before:
        return ""
    first = before[0]
    more = f" and {len(before) - 1} more" if len(before) > 1 else ""
    return f"{first.version} (`{first.id}`){more} to end first"
