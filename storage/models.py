"""What is remembered of requests and of what is said: SQLModel tables. Rows change only inside a unit of work.

The record's tables are in storage.record_models.
"""

import secrets
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Column, DateTime, Dialect, Index, String, Text, TypeDecorator, text
from sqlalchemy import false as sql_false
from sqlmodel import Field, SQLModel

from storage import phases
from storage.phases import Phase, Stage

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32: nothing to misread, nothing to escape


def new_id() -> str:
    """A deployment id: 10 characters, 50 random bits; short enough to say aloud, safe in a branch name."""
    bits = secrets.randbits(50)
    return "".join(_ALPHABET[bits >> shift & 31] for shift in range(0, 50, 5))


class UtcDateTime(TypeDecorator[datetime]):
    """An aware datetime in UTC on both databases (SQLite alone would forget the zone)."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuse naive times; store UTC."""
        del dialect
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without a zone must not be stored")
        return value if value.tzinfo is UTC else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Give UTC back."""
        del dialect
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def time_column(*, nullable: bool = True) -> Any:  # noqa: ANN401 - sqlmodel's Field is typed Any
    """A column for a time in UTC."""
    return Field(default=None, sa_column=Column(UtcDateTime, nullable=nullable))


def added_column(default: str | int) -> Any:  # noqa: ANN401 - sqlmodel's Field is typed Any
    """A column that an earlier release did not have."""
    server = sql_false() if default is False else text("''" if default == "" else str(default))
    return Field(default=default, sa_column_kwargs={"server_default": server})


class Kind(StrEnum):
    """What sort of request a deployment came from."""

    DEPLOY = "deploy"
    PROMOTE = "promote"
    ROLLBACK = "rollback"
    PREVIEW = "preview"  # --dry-run: everything up to the commit, and no commit


IS_OPEN = f"phase IN ({', '.join(repr(str(phase)) for phase in phases.OPEN)})"
"""As text: a database takes an index of some rows only where it can read in the question that it asks for no others."""
_PLANNED = "visit_at IS NOT NULL"


class Deployment(SQLModel, table=True):
    """One request to run one version of one app in one environment, from the command to its end."""

    __tablename__ = "deployments"
    __table_args__ = (
        Index(
            "one_running_deployment",
            "app",
            "environment",
            unique=True,
            sqlite_where=text("phase = 'running' AND kind <> 'preview'"),
            postgresql_where=text("phase = 'running' AND kind <> 'preview'"),
        ),
        Index(
            "open_deployments",
            "app",
            "environment",
            "requested_at",
            sqlite_where=text(IS_OPEN),
            postgresql_where=text(IS_OPEN),
        ),
        Index("deployments_by_target", "app", "environment", "requested_at"),
        Index("deployments_by_phase", "phase", "requested_at"),
        Index("deployments_by_time", "requested_at"),
        Index("deployments_by_card", "card_id"),
        Index("deployments_by_change", "change_id"),
    )

    id: str = Field(default_factory=new_id, primary_key=True, max_length=32)
    kind: Kind = Field(default=Kind.DEPLOY, sa_type=String)
    app: str
    environment: str
    version: str
    digest: str = ""
    previous: str = ""  # what git said before: a tag or digest
    reason: str = Field(default="", sa_type=Text)

    team_id: str
    requested_by: str
    requested_in: str = ""  # the Slack channel of the command
    requested_thread: str = ""  # where a mention asked
    answer_url: str = ""  # a preview's response_url; wiped once used
    source: str = "slash"  # slash | mention | cli

    phase: Phase = Field(default=Phase.QUEUED, sa_type=String)
    stage: Stage = Field(default=Stage.WAITING, sa_type=String)
    reason_code: str = ""
    what: str = Field(default="", sa_type=Text)
    next_step: str = Field(default="", sa_type=Text)
    detail: str = Field(default="", sa_type=Text)
    note: str = Field(default="", sa_type=Text)  # a trouble that may pass: "Jenkins does not answer; trying again"

    overlay: str = ""
    base_sha: str = ""
    commit_sha: str = ""
    reconciler: str = ""
    job: str = ""
    queue_id: int | None = None
    build_number: int | None = None
    build_url: str = ""
    build_state: str = ""
    build_stage: str = ""
    workload: str = ""
    namespace: str = ""
    context: str = ""
    images: str = Field(default="{}", sa_type=Text)  # JSON: container name -> image, as rendered
    rollout: str = Field(default="", sa_type=Text)  # JSON of the last look at the cluster

    requested_at: datetime = time_column(nullable=False)
    started_at: datetime | None = time_column()
    committed_at: datetime | None = time_column()
    finished_at: datetime | None = time_column()
    stage_started: datetime | None = time_column()
    stage_deadline: datetime | None = time_column()  # when the present stage gives up

    attempt: int = 0
    executor: str = ""
    heartbeat_at: datetime | None = time_column()
    revision: int = 0  # grows with every change that a person can see

    # Added after the first release: the server's defaults are what rows of before have.
    card_id: str = added_column("")  # whose card shows it: its own (empty, too), or that of its change set
    change_id: str = added_column("")  # the reviewed change it is a part of; empty where nothing is reviewed
    priority: int = added_column(
        0
    )  # what starts first among those that wait for one target: rollbacks before all others
    not_before: datetime | None = time_column()  # --at
    break_glass: bool = added_column(False)
    exact: bool = added_column(False)
    promoted_from: str = added_column("")  # the environment whose image this is
    restores: str = added_column("")  # the deployment whose content a rollback brings back
    restore_commit: str = added_column("")  # the commit whose overlay a rollback brings back
    blocked: str = added_column("")  # what holds it up now, and who can lift that
    superseded_by: str = added_column("")
    no_way_back: bool = added_column(False)  # it failed where the catalogue wants no rollback to be offered
    soak_restarts: int | None = None  # container restarts when the soak began
    soak_until: datetime | None = time_column()  # until when it must stay well
    on_behalf_of: str = added_column("")  # whom an API token named: a Slack user id, an address, or github:<login>

    def to(self, phase: Phase) -> None:
        """Change phase; the only way to. Raises IllegalTransitionError for a change the table does not have."""
        phases.check(Phase(self.phase), phase)
        self.phase = phase

    def back_to(self, phase: Phase, blocked: str = "") -> None:
        """Stand down before anything was written: it waits again, as if it had not begun."""
        self.to(phase)
        self.stage, self.stage_started, self.stage_deadline = Stage.WAITING, None, None
        self.note, self.blocked = "", blocked


class ChangeState(StrEnum):
    """Where a reviewed change is. The last three are ends."""

    PREPARING = "preparing"  # worked out and rendered; the pull request is opened
    OPEN = "open"  # waits for approvals
    APPROVED = "approved"  # waits for its turn, then is merged
    MERGED = "merged"
    CLOSED = "closed"  # rejected, expired, cancelled, superseded, or closed by hand
    FAILED = "failed"  # it cannot be done, or what was merged is not what was approved


class Change(SQLModel, table=True):
    """A change that has to be reviewed: one pull request, one approval, for one deployment or a set of them."""

    __tablename__ = "changes"
    __table_args__ = (
        Index("changes_by_state", "state", "visit_at"),
        Index("changes_by_token", "token"),
        Index("changes_by_review", "review_due"),
        Index("changes_due", "visit_at", sqlite_where=text(_PLANNED), postgresql_where=text(_PLANNED)),
    )

    id: str = Field(default_factory=new_id, primary_key=True, max_length=32)  # of a single deployment: its id
    kind: Kind = Field(default=Kind.DEPLOY, sa_type=String)
    state: ChangeState = Field(default=ChangeState.PREPARING, sa_type=String)
    app: str = ""  # of a single deployment; a set has several
    environment: str
    team_id: str
    requested_by: str
    requested_at: datetime = time_column(nullable=False)
    reason: str = Field(default="", sa_type=Text)
    card_id: str = ""

    token: str = ""  # what the buttons carry: random, new for every content that is shown, empty while none is
    required: int = 1
    expires_at: datetime | None = time_column()

    branch: str = ""
    pr_number: int | None = None
    pr_url: str = ""
    base_sha: str = ""  # the commit that it was worked out on
    own_sha: str = ""  # the commit that we put on the branch
    head_sha: str = ""  # the branch's head as it is shown: ours, or one with other people's commits on top
    binding: str = Field(default="", sa_type=Text)  # JSON of what an approval is bound to
    content: str = ""  # SHA-256 of the binding: an approval counts for this content only
    shown: str = Field(default="{}", sa_type=Text)  # JSON: what the card says of it
    diff: str = Field(default="", sa_type=Text)
    moved: str = Field(default="", sa_type=Text)  # what moved since it was shown last
    wants: str = Field(default="[]", sa_type=Text)  # JSON: what the code host still asks for, in sentences
    note: str = Field(default="", sa_type=Text)

    merge_sha: str = ""
    merged_by: str = ""
    merged_at: datetime | None = time_column()
    break_glass: bool = False
    review_due: datetime | None = time_column()  # break-glass: until when a second person must have looked
    reviewed_by: str = ""
    reviewed_at: datetime | None = time_column()
    on_behalf_of: str = added_column("")  # whom an API token named: counts as having asked, never as having a right

    visit_at: datetime | None = time_column()  # when it is looked at next; in the future while somebody looks
    visits: int = 0  # in a row without success
    revision: int = 0  # grows with every change that a person can see


class Approval(SQLModel, table=True):
    """What one person said about one content of a change. Void for any other content."""

    __tablename__ = "approvals"
    __table_args__ = (Index("approvals_by_change", "change_id", "content", "person", unique=True),)

    id: int | None = Field(default=None, primary_key=True)
    change_id: str
    content: str
    person: str  # the same human everywhere: the catalogue's name of them, or slack:<id>
    verdict: str  # approved | rejected
    team_id: str = ""
    slack_user: str = ""
    login: str = ""  # on the code host, for reviews that were given there
    source: str = "slack"
    comment: str = Field(default="", sa_type=Text)
    at: datetime = time_column(nullable=False)


class LockKind(StrEnum):
    """What holds requests up."""

    LOCK = "lock"
    FREEZE = "freeze"
    HOLD = "hold"  # set by a rollback, so that nothing overwrites it by itself


class Lock(SQLModel, table=True):
    """A lock, an ad hoc freeze or a hold. An empty app or environment means every one of them."""

    __tablename__ = "locks"
    __table_args__ = (
        Index("locks_in_force", "lifted_at", "environment", "app"),
        Index("locks_by_deployment", "deployment_id"),
    )

    id: str = Field(default_factory=new_id, primary_key=True, max_length=32)
    kind: LockKind = Field(sa_type=String)
    app: str = ""
    environment: str = ""
    reason: str = Field(default="", sa_type=Text)
    team_id: str = ""
    owner: str
    at: datetime = time_column(nullable=False)
    expires_at: datetime | None = time_column()
    lifted_at: datetime | None = time_column()
    lifted_by: str = ""
    deployment_id: str = ""  # the rollback that set a hold


class Card(SQLModel, table=True):
    """The one Slack message of a deployment or change set: where it is, and whether it shows the latest revision."""

    __tablename__ = "cards"
    __table_args__ = (
        Index("cards_behind", "not_before", sqlite_where=text("behind"), postgresql_where=text("behind")),
    )

    deployment_id: str = Field(primary_key=True, max_length=32)
    channel: str
    ts: str = ""
    behind: bool = True  # the deployment changed since the card was last posted
    shown: str = ""  # hash of what was posted last
    attempts: int = 0
    not_before: datetime = time_column(nullable=False)
    error: str = Field(default="", sa_type=Text)


class Target(StrEnum):
    """How a message leaves."""

    THREAD = "thread"  # a reply below the deployment's card
    CHANNEL = "channel"
    EPHEMERAL = "ephemeral"  # chat.postEphemeral to one person
    RESPONSE = "response"  # a command's response_url


class Message(SQLModel, table=True):
    """The outbox: a message to Slack, written with the change it tells of, sent at least once and found if sent."""

    __tablename__ = "messages"
    __table_args__ = (
        Index("messages_waiting", "not_before", sqlite_where=text("waiting"), postgresql_where=text("waiting")),
    )

    id: int | None = Field(default=None, primary_key=True)
    key: str = Field(unique=True)
    target: Target = Field(sa_type=String)
    deployment_id: str = ""
    channel: str = ""
    user_id: str = ""
    thread_ts: str = ""
    url: str = ""  # response_url; wiped once used
    body: str = Field(sa_type=Text)  # JSON: {"text", "blocks"?, "replace_original"?}
    waiting: bool = True
    attempts: int = 0
    created_at: datetime = time_column(nullable=False)
    not_before: datetime = time_column(nullable=False)
    sent_at: datetime | None = time_column()
    ts: str = ""
    error: str = Field(default="", sa_type=Text)


class Seen(SQLModel, table=True):
    """A delivery that was handled, under its dedupe key, with the answer that was given."""

    __tablename__ = "seen"
    __table_args__ = (Index("seen_by_time", "at"),)

    key: str = Field(primary_key=True)
    at: datetime = time_column(nullable=False)
    answer: str = Field(default="", sa_type=Text)  # JSON


class Mark(SQLModel, table=True):
    """How far something has been looked at, by name: the infra-repo's commits, for one."""

    __tablename__ = "marks"

    name: str = Field(primary_key=True)
    value: str = Field(default="", sa_type=Text)


class CatalogueVersion(SQLModel, table=True):
    """A version of locktender.yaml that was seen: the last good one stays in force across restarts."""

    __tablename__ = "catalogues"

    commit: str = Field(primary_key=True)
    source: str = Field(sa_type=Text)
    valid: bool
    faults: str = Field(default="", sa_type=Text)
    seen_at: datetime = time_column(nullable=False)
