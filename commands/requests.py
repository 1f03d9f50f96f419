"""What people can ask for, as values, and the answers they get.

Parsing (`bot.slack.parse`) makes the first, `bot.slack.cards` shows the second. Texts in answers are plain: names in
backticks, people as `mention(user_id)`. Whoever shows them escapes the rest.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum

from commands.grammar import unsafe_characters
from commands.reasons import Fault, ReasonCode

_OPEN, _CLOSE = "\ue000", "\ue001"  # private-use characters: no keyboard types them, and outside text loses them


def mention(user_id: str) -> str:
    """A person in a text, for whoever shows it to turn into a name or a mention."""
    return f"{_OPEN}{user_id}{_CLOSE}"


_PRIVATE = re.compile("[\ue000-\uf8ff]")


def outside(text: str) -> str:
    """Outside text that cannot be taken for a mention or a link: private-use characters are ours alone."""
    return _PRIVATE.sub("", text)


def typed(text: str) -> str:
    """A person's own words in backticks, cut to what fits a message and made harmless to read.

    What cannot be seen, turns text round or would end the quotation early becomes a replacement character.
    """
    short = f"{text[:60]}…" if len(text) > 60 else text
    seen = "".join("\ufffd" if unsafe_characters(one) or one == "`" else one for one in outside(short))
    return f"`{seen}`"


class Source(StrEnum):
    """How a request came in."""

    SLASH = "slash"
    MENTION = "mention"
    BUTTON = "button"
    CLI = "cli"
    API = "api"
    PAGE = "page"


@dataclass(frozen=True)
class Asker:
    """Who asks, from where, and under which delivery key: the same key twice is the same request."""

    team_id: str
    user_id: str
    delivery_key: str
    channel_id: str = ""
    source: Source = Source.SLASH
    response_url: str = ""
    thread_ts: str = ""
    message_ts: str = ""  # the message whose button was clicked


@dataclass(frozen=True)
class Deploy:
    """`/deploy APP VERSION [ENVIRONMENT] [--reason TEXT] [--at TIME] [--dry-run] [--break-glass]`, names as typed."""

    app: str
    version: str
    environment: str
    reason: str = ""
    dry_run: bool = False
    at: str = ""
    break_glass: bool = False


@dataclass(frozen=True)
class Promote:
    """`/promote APP[,APP…]|all [FROM] [TO]`; without environments, the last step of the promotion path.

    `apps` is `("all",)` for every app that both environments have. `force` promotes from a source that is not healthy,
    and asks for a reason.
    """

    apps: tuple[str, ...]
    source: str = ""
    target: str = ""
    reason: str = ""
    at: str = ""
    force: bool = False
    break_glass: bool = False


@dataclass(frozen=True)
class Rollback:
    """`/rollback APP ENVIRONMENT [to VERSION|COMMIT|DEPLOYMENT] --reason TEXT [--exact]`.

    `to` is empty for the version before that was verified healthy. `exact` restores the base too. `failed` is the
    deployment whose card has the button that was clicked.
    """

    app: str
    environment: str
    to: str = ""
    reason: str = ""
    exact: bool = False
    break_glass: bool = False
    failed: str = ""


@dataclass(frozen=True)
class Lock:
    """`/deploy lock APP|ENVIRONMENT|APP ENVIRONMENT|all [2h] --reason TEXT`; words are looked up later."""

    words: tuple[str, ...]
    reason: str = ""


@dataclass(frozen=True)
class Unlock:
    """`/deploy unlock APP|ENVIRONMENT|APP ENVIRONMENT|all [--reason TEXT]`: lifts a lock, or a hold of a rollback."""

    words: tuple[str, ...]
    reason: str = ""


@dataclass(frozen=True)
class Freeze:
    """`/deploy freeze ENVIRONMENT|all 2h --reason TEXT`."""

    words: tuple[str, ...]
    reason: str = ""


@dataclass(frozen=True)
class Unfreeze:
    """`/deploy unfreeze ENVIRONMENT|all [--reason TEXT]`: ends an ad hoc freeze, never one of the catalogue."""

    words: tuple[str, ...]
    reason: str = ""


@dataclass(frozen=True)
class Why:
    """`/deploy why ID` or `/deploy why APP [ENVIRONMENT]`: what blocks, and who can lift it."""

    words: tuple[str, ...]


@dataclass(frozen=True)
class Queue:
    """`/deploy queue [APP] [ENVIRONMENT]`: what waits and runs, in the order in which it will start."""

    words: tuple[str, ...] = ()


@dataclass(frozen=True)
class Approve:
    """The Approve button, or `/deploy approve ID [--reason TEXT]`. `token` is the button's random value or an id."""

    token: str
    comment: str = ""


@dataclass(frozen=True)
class Reject:
    """The Reject button with the reason from its form, or `/deploy reject ID --reason TEXT`."""

    token: str
    reason: str = ""


@dataclass(frozen=True)
class Review:
    """`/deploy review ID [--reason TEXT]`, or its button: a second person looked at a change made by break-glass."""

    token: str
    comment: str = ""


@dataclass(frozen=True)
class Status:
    """`/deploy status [APP] [ENVIRONMENT]`."""

    words: tuple[str, ...] = ()


@dataclass(frozen=True)
class Cancel:
    """`/deploy cancel ID` or `/deploy cancel APP ENVIRONMENT`."""

    words: tuple[str, ...]


@dataclass(frozen=True)
class Help:
    """`/deploy help`, and what an empty command gets."""

    command: str = "deploy"


@dataclass(frozen=True)
class History:
    """`/audit history [app:… env:… by:… id:… since:… until:… status:… commit:… version:… action:…] [words…]`.

    A page of it: `before` is the last seq of the page shown. Times are as typed; `words` have spaces between them.
    """

    app: str = ""
    environment: str = ""
    actor: str = ""
    deployment_id: str = ""
    before: int = 0
    since: str = ""
    until: str = ""
    status: str = ""
    commit: str = ""
    version: str = ""
    action: str = ""
    words: str = ""


@dataclass(frozen=True)
class Show:
    """`/audit show ID`: the whole story of a deployment or a change."""

    words: tuple[str, ...]


@dataclass(frozen=True)
class Evidence:
    """`/audit evidence ID`: everything about one change, in files that prove themselves. A commit or `#ROW` will do."""

    name: str


class ExportForm(StrEnum):
    """What kind of file."""

    CSV = "csv"
    JSONL = "jsonl"


@dataclass(frozen=True)
class Export:
    """`/audit export csv|jsonl [filters]`: the record as a file, for whoever asks."""

    form: ExportForm
    filters: History = History()


@dataclass(frozen=True)
class Report:
    """`/audit report [since:30d] [until:…] [app:…] [env:…]`: how often, how fast, how well."""

    app: str = ""
    environment: str = ""
    since: str = ""
    until: str = ""


@dataclass(frozen=True)
class Verify:
    """`/audit verify`: whether the record is what was written."""


@dataclass(frozen=True)
class Open:
    """`/audit open [ID]`: a link to the pages for whoever asks, to what is named if anything is."""

    words: tuple[str, ...] = ()


@dataclass(frozen=True)
class Mistake:
    """Words that are no request: answered with what would be right, and recorded."""

    reason: ReasonCode
    what: str
    next_step: str
    words: str = ""


_DONE = {
    ReasonCode.ACCEPTED,
    ReasonCode.ANSWERED,
    ReasonCode.APPROVED,
    ReasonCode.CANCELLED_BY_PERSON,
    ReasonCode.REJECTED_BY_PERSON,
}
Request = (
    Deploy
    | Promote
    | Rollback
    | Approve
    | Reject
    | Review
    | Lock
    | Unlock
    | Freeze
    | Unfreeze
    | Why
    | Queue
    | Status
    | Cancel
    | Help
    | History
    | Show
    | Evidence
    | Export
    | Report
    | Verify
    | Open
    | Mistake
)


@dataclass(frozen=True)
class Row:
    """One line of a list in an answer: `text`, a second, quieter line `detail`, and a `url` that leads on."""

    text: str
    detail: str = ""
    url: str = ""


@dataclass(frozen=True)
class Answer:
    """What the person who asked is told. `public` answers are for the channel, others for them alone.

    `older` is set when there is a next page: the request that fetches it.
    """

    reason: ReasonCode
    what: str
    next_step: str = ""
    rows: tuple[Row, ...] = ()
    quote: str = ""
    deployment_id: str = ""
    older: History | None = None

    @property
    def refused(self) -> bool:
        """True when nothing was done."""
        return self.reason not in _DONE

    def as_json(self) -> str:
        """For the row that remembers what a delivery was answered."""
        said = dict(vars(self))  # asdict copies every value, and every ack would wait for that
        said["rows"] = [vars(row) for row in self.rows]
        said["older"] = asdict(self.older) if self.older else None
        return json.dumps(said)  # ASCII: both databases can hold whatever a person typed

    @classmethod
    def from_json(cls, text: str) -> "Answer":
        """What `as_json` wrote."""
        stored = json.loads(text)
        stored["reason"] = ReasonCode(stored["reason"])
        stored["rows"] = tuple(Row(**row) for row in stored["rows"])
        stored["older"] = History(**stored["older"]) if stored["older"] else None
        return cls(**stored)


def refusal(fault: Fault) -> Answer:
    """A fault as an answer."""
    return Answer(fault.reason, fault.what, fault.next_step, quote=fault.detail)


def listed(words: Sequence[str], *, joiner: str = "or") -> str:
    """`a`, `b` or `c`."""
    quoted = [f"`{word}`" for word in words]
    if len(quoted) < 2:
        return "".join(quoted)
    return f"{', '.join(quoted[:-1])} {joiner} {quoted[-1]}"
