"""What the outbox would do next, worked out in a snapshot: which cards and messages are due, and what they say."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, cast

import structlog
from sqlalchemy import and_, bindparam, func, or_, select, update

from bot.slack.blocks import SlackMessage
from bot.slack.cards import CommitLink, deployment_card, set_card
from bot.slack.review import ReviewView
from commands.approve import APPROVED
from commands.shown import Shown
from storage import gate
from storage.models import Card, Change, ChangeState, Deployment, Message, Target
from storage.phases import Phase
from storage.unit_of_work import UnitOfWork

BATCH = 20
POSTS = 4
"""New cards in one round: Slack takes about one post a second and channel, and little more at once."""
NEXT_REPLY = timedelta(seconds=1)
"""How soon a reply is looked at again while the one before it is tried, perhaps by another replica."""
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
CARDS, MESSAGES = (cast("Any", model).__table__ for model in (Card, Message))
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

    updates: bool = False
    channels: frozenset[str] = frozenset()
    slow: frozenset[str] = frozenset()
    """Channels where it lately said so: one post at a time."""
    notes_first: bool = False
    """Whose turn that one is: messages or cards. Hundreds of cards may wait, and replies must not wait for all."""


NOTHING_QUIET = Quiet()


@dataclass
class Aside:
    """What the look found that is no job. `put` writes it; done twice, or by two replicas, it is done once."""

    nothing_to_show: list[str] = field(default_factory=list)
    """Cards without a deployment."""
    unreadable: list[str] = field(default_factory=list)
    """Cards of rows that this version cannot read (written by a newer one, say): they must not hold up the others."""
    named_anew: list[str] = field(default_factory=list)
    """Cards that name a deployment ahead of theirs, which has ended."""
    no_thread: list[int] = field(default_factory=list)
    """Replies without a card to reply to."""
    later: list[tuple[int, datetime, str]] = field(default_factory=list)
    """Replies that wait for the card or for the reply before them: until when, and for which error."""

    def __bool__(self) -> bool:
        return any((self.nothing_to_show, self.unreadable, self.named_anew, self.no_thread, self.later))

    def put(self, uow: UnitOfWork) -> None:
        """Write it, in the transaction that leases."""
        connection = uow.session.connection()
        cards, key = update(CARDS), CARDS.c.deployment_id
        due = CARDS.c.behind & (CARDS.c.not_before <= uow.now)
        if self.nothing_to_show:
            connection.execute(cards.where(key.in_(self.nothing_to_show)).values(behind=False))
        if self.unreadable:
            until = uow.now + timedelta(seconds=MEND_FIRST)
            connection.execute(cards.where(key.in_(self.unreadable), due).values(not_before=until))
        if self.named_anew:
            connection.execute(cards.where(key.in_(self.named_anew)).values(behind=True))
        if self.no_thread:
            connection.execute(update(MESSAGES).where(MESSAGES.c.id.in_(self.no_thread)).values(waiting=False))
        if self.later:
            waits = update(MESSAGES).where(MESSAGES.c.id == bindparam("note"), MESSAGES.c.waiting)
            connection.execute(
                waits.values(not_before=bindparam("until"), error=bindparam("why")),
                [{"note": note, "until": until, "why": why} for note, until, why in self.later],
            )


class Look:
    """One look at what is due. Cards that Slack does not take now (`quiet`) are left alone."""

    def __init__(self, uow: UnitOfWork, quiet: Quiet, commit_link: CommitLink) -> None:
        self.aside = Aside()
        self._uow = uow
        self._quiet = quiet
        self._commit_link = commit_link
        self._posted: set[str] = set()

    def all(self) -> tuple[list[CardJob], list[NoteJob]]:
        """Cards and messages that are next."""
        if self._quiet.notes_first:
            notes = self.notes()
            self._uow.give_way()
            return self.cards(), notes
        cards = self.cards()
        self._uow.give_way()
        return cards, self.notes()

    def cards(self) -> list[CardJob]:
        """The next updates and posts, those that wait longest first."""
        table = cast("Any", Card)
        due = due_cards(select(Card), self._uow, self._quiet).order_by(table.not_before)
        updates = self._uow.session.scalars(due.where(table.ts != "").limit(BATCH)).all()
        self._uow.give_way()
        new = self._uow.session.scalars(due.where(table.ts == "").limit(POSTS)).all()
        self._uow.give_way()
        posts = [card for card in new if self._room(card.channel)]
        shown = self._deployments([card.deployment_id for card in (*updates, *posts)])
        jobs = []
        for card in (*updates, *posts):
            rows = shown.get(card.deployment_id)
            if rows is None:
                self.aside.nothing_to_show.append(card.deployment_id)
                continue
            self._uow.give_way()
            try:
                jobs.append(self._job(card, rows))
            except (ValueError, LookupError, TypeError):
                log.exception("outbox.card_unreadable", deployment=card.deployment_id)
                self.aside.unreadable.append(card.deployment_id)
        return jobs

    def _deployments(self, ids: Sequence[str]) -> Mapping[str, list[Deployment]]:
        """What each card shows: one deployment, or those of a set."""
        if not ids:
            return {}
        table = cast("Any", Deployment)
        query = select(Deployment).where(or_(table.id.in_(ids), table.card_id.in_(ids))).order_by(table.app, table.id)
        found: dict[str, list[Deployment]] = {}
        for row in self._uow.session.scalars(query):
            found.setdefault(row.card_id or row.id, []).append(row)
        return found

    def _job(self, card: Card, rows: Sequence[Deployment]) -> CardJob:
        deployment = rows[0]
        if Phase(deployment.phase).ended:
            waiting = self._uow.waiting_for(deployment.app, deployment.environment)
            self.aside.named_anew += [other.id for other in waiting if other.phase is Phase.QUEUED]
        change = gate.change_of(self._uow, deployment.change_id)
        review = review_of(self._uow, change) if change is not None else None
        message = (
            set_card(rows, self._commit_link, review=review)
            if deployment.card_id
            else deployment_card(deployment, self._commit_link, ahead=self._ahead(deployment), review=review)
        )
        return CardJob(
            card.deployment_id,
            card.channel,
            card.ts,
            card.attempts,
            card.shown,
            deployment.requested_at,
            sum(row.revision for row in rows) + (change.revision if change is not None else 0),
            message,
        )

    def _ahead(self, deployment: Deployment) -> str:
        if deployment.phase != Phase.QUEUED:
            return ""
        waiting = self._uow.waiting_for(deployment.app, deployment.environment)
        before = [one for one in waiting if one.id != deployment.id and one.requested_at <= deployment.requested_at]
        if not before:
            return ""
        first = before[0]
        more = f" and {len(before) - 1} more" if len(before) > 1 else ""
        return f"{first.version} (`{first.id}`){more} to end first"

    def notes(self) -> list[NoteJob]:
        """The next messages. Replies keep their order: one waits for the one before it, wherever that is tried."""
        table = cast("Any", Message)
        query = due_notes(select(Message), self._uow, self._quiet).order_by(table.not_before, table.id).limit(BATCH)
        due = self._uow.session.scalars(query).all()
        threads = sorted({note.deployment_id for note in due if note.target == Target.THREAD})
        self._uow.give_way()
        firsts, cards = self._first_in(threads), self._cards_of(threads)
        jobs: list[NoteJob] = []
        for note in due:
            thread, channel = note.thread_ts, note.channel
            if note.target == Target.THREAD:
                first = firsts[note.deployment_id]
                if first.id != note.id and any(job.id == first.id for job in jobs):
                    continue  # due again as soon as the one before it is sent, in the next round
                if first.id != note.id:
                    soon = self._uow.now + NEXT_REPLY
                    self._later(note, max(first.not_before, soon) if first.error else soon, note.error)
                    continue
                card = cards.get(note.deployment_id)
                if card is None:
                    self.aside.no_thread.append(note.id or 0)
                    continue
                thread, channel = card.ts, card.channel
            if note.target in {Target.THREAD, Target.CHANNEL} and not self._room(channel):
                continue
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
        return jobs

    def _later(self, note: Message, until: datetime, error: str) -> None:
        self.aside.later.append((note.id or 0, until, error))

    def _first_in(self, threads: Sequence[str]) -> Mapping[str, Message]:
        """The reply that is next in each of these threads."""
        if not threads:
            return {}
        table = cast("Any", Message)
        here = (table.waiting, table.target == Target.THREAD, table.deployment_id.in_(threads))
        firsts = select(func.min(table.id)).where(*here).group_by(table.deployment_id)
        return {
            note.deployment_id: note for note in self._uow.session.scalars(select(Message).where(table.id.in_(firsts)))
        }

    def _cards_of(self, threads: Sequence[str]) -> Mapping[str, Card]:
        if not threads:
            return {}
        query = select(Card).where(CARDS.c.deployment_id.in_(threads))
        return {card.deployment_id: card for card in self._uow.session.scalars(query)}

    def _room(self, channel: str) -> bool:
        """Whether something more may be posted there at this look: one thing where Slack has limited us lately."""
        if channel not in self._quiet.slow:
            return True
        first = channel not in self._posted
        self._posted.add(channel)
        return first


def due_cards(query: Any, uow: UnitOfWork, quiet: Quiet) -> Any:  # noqa: ANN401 - a select of whichever columns
    """The query, of the cards that are due now."""
    table = cast("Any", Card)
    query = query.where(table.behind, table.not_before <= uow.now)
    if quiet.updates:
        query = query.where(table.ts == "")
    if quiet.channels:
        query = query.where(or_(table.ts != "", table.channel.not_in(sorted(quiet.channels))))
    return query


def due_notes(query: Any, uow: UnitOfWork, quiet: Quiet) -> Any:  # noqa: ANN401 - a select of whichever columns
    """The query, of the messages that are due now."""
    message, card = cast("Any", Message), cast("Any", Card)
    unposted = select(card.deployment_id).where(card.deployment_id == message.deployment_id, card.ts == "")
    query = query.where(
        message.waiting,
        message.not_before <= uow.now,
        or_(message.target != Target.THREAD, ~unposted.exists()),  # the card first
    )
    if quiet.channels:
        there = sorted(quiet.channels)
        replies = select(card.deployment_id).where(card.deployment_id == message.deployment_id, card.channel.in_(there))
        private = message.target.in_([Target.RESPONSE, Target.EPHEMERAL])
        query = query.where(or_(private, and_(message.channel.not_in(there), ~replies.exists())))
    return query


def review_of(uow: UnitOfWork, change: Change) -> ReviewView:
    """A change as its card shows it."""
    said = [one for one in gate.approvals(uow, change) if one.verdict == APPROVED]
    return ReviewView(
        id=change.id,
        state=ChangeState(change.state),
        requested_by=change.requested_by,
        required=change.required,
        token=change.token,
        approved_by=tuple(one.slack_user or f"github:{one.login}" for one in said),
        expires_at=change.expires_at,
        pr_number=change.pr_number,
        pr_url=change.pr_url,
        shown=Shown.from_json(change.shown),
        moved=change.moved,
        wants=tuple(json.loads(change.wants)),
        note=change.note,
        merged_by=change.merged_by,
        break_glass=change.break_glass,
        review_due=change.review_due,
        reviewed_by=change.reviewed_by,
    )
