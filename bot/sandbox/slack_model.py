"""What the stand-in of Slack is made of: people, channels, the app, its clocks, and what is seen of them."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

Json = dict[str, Any]
"""A JSON object as it travels: Slack's own wire format, which a stand-in must not tidy."""

TEAM = "T0LOCKTENDER"
PARTNER_TEAM = "T0PARTNER"


@dataclass(frozen=True)
class User:
    """A person. `team_id` differs from the workspace's for a stranger in a Slack Connect channel."""

    id: str
    name: str
    real_name: str
    email: str = ""
    team_id: str = TEAM
    deleted: bool = False


@dataclass(frozen=True)
class Channel:
    """A conversation and who is in it, by user id. The bot is a member when its user id is listed."""

    id: str
    name: str
    members: frozenset[str] = frozenset()
    private: bool = False
    archived: bool = False
    ext_shared: bool = False


@dataclass(frozen=True)
class UserGroup:
    """A user group (`@release-managers`): real workspaces have these on paid plans only."""

    id: str
    handle: str
    name: str
    users: tuple[str, ...] = ()
    disabled: bool = False


MANIFEST_SCOPES = frozenset(
    {
        "app_mentions:read",
        "channels:history",
        "channels:read",
        "chat:write",
        "chat:write.public",
        "commands",
        "files:write",
        "groups:history",
        "groups:read",
        "usergroups:read",
        "users:read",
        "users:read.email",
    }
)


@dataclass(frozen=True)
class SlackApp:
    """The installed app: its ids, its two tokens and the scopes each was granted, and the signing secret."""

    app_id: str = "A0LOCKTENDER"
    bot_id: str = "B0LOCKTENDER"
    bot_user_id: str = "U0LOCKTENDER"
    bot_name: str = "locktender"
    bot_token: str = "xoxb-stand-in-bot-token"
    app_token: str = "xapp-1-A0LOCKTENDER-stand-in-app-token"
    signing_secret: str = "stand-in-signing-secret"
    verification_token: str = "stand-in-verification-token"
    bot_scopes: frozenset[str] = MANIFEST_SCOPES
    app_scopes: frozenset[str] = frozenset({"connections:write"})
    deactivated: bool = False  # every call answers account_inactive


@dataclass(frozen=True)
class Timing:
    """Slack's clocks, in seconds; the defaults are the real ones, tests shorten them."""

    ack: float = 3.0
    trigger: float = 3.0
    event_retries: tuple[float, ...] = (0.0, 60.0, 300.0)
    response_url: float = 1800.0
    ticket: float = 30.0
    refresh_lead: float = 10.0  # between the `warning` and the `refresh_requested` that ends the connection


DEVELOPER = User("U0DEVELOPER", "dev", "Developer", "developer@company.example")
RELEASE_MANAGER = User("U0RELEASE", "release", "Release manager", "release@company.example")
AUDITOR = User("U0AUDITOR", "audit", "Auditor", "auditor@company.example")
ON_CALL = User("U0ONCALL", "oncall", "On-call", "oncall@company.example")
OUTSIDER = User("U0OUTSIDER", "stranger", "Outsider", "outsider@partner.example", PARTNER_TEAM)
PERSONAS = (DEVELOPER, RELEASE_MANAGER, AUDITOR, ON_CALL, OUTSIDER)

_COLLEAGUES = frozenset({DEVELOPER.id, RELEASE_MANAGER.id, AUDITOR.id, ON_CALL.id})
DEPLOYMENTS = Channel("C0DEPLOYMENTS", "deployments", _COLLEAGUES | {"U0LOCKTENDER"})
GENERAL = Channel("C0GENERAL", "general", _COLLEAGUES)
SHARED = Channel("C0SHARED", "ext-partner", _COLLEAGUES | {OUTSIDER.id, "U0LOCKTENDER"}, ext_shared=True)
PRIVATE = Channel("G0PRIVATE", "release-council", frozenset({RELEASE_MANAGER.id, AUDITOR.id}), private=True)
ARCHIVED = Channel("C0ARCHIVED", "deployments-2019", _COLLEAGUES | {"U0LOCKTENDER"}, archived=True)
RELEASE_MANAGERS = UserGroup("S0RELEASE", "release-managers", "Release managers", (RELEASE_MANAGER.id,))


@dataclass(frozen=True)
class World:
    """The workspace a stand-in starts with. The personas are roles, not people."""

    team_id: str = TEAM
    team_domain: str = "locktender-sandbox"
    app: SlackApp = SlackApp()
    users: tuple[User, ...] = PERSONAS
    channels: tuple[Channel, ...] = (DEPLOYMENTS, GENERAL, SHARED, PRIVATE, ARCHIVED)
    groups: tuple[UserGroup, ...] = (RELEASE_MANAGERS,)


@dataclass(frozen=True)
class Element:
    """Something on a message or view that a person can press, choose from or fill in."""

    block_id: str
    action_id: str
    kind: str  # button, static_select, plain_text_input, …
    text: str
    value: str
    wire: Json  # as the app sent it


def elements(blocks: tuple[Json, ...]) -> Iterator[Element]:
    """Every interactive element in these blocks, in reading order."""
    for block in blocks:
        inside = [*block.get("elements", []), block.get("accessory"), block.get("element")]
        for wire in inside:
            if isinstance(wire, dict) and "action_id" in wire:
                label = wire.get("text") or wire.get("placeholder") or {}
                yield Element(
                    block.get("block_id", ""),
                    wire["action_id"],
                    wire["type"],
                    label.get("text", ""),
                    wire.get("value", ""),
                    wire,
                )


def element(blocks: tuple[Json, ...], action_id: str) -> Element:
    """The element with this action id (or, failing that, this exact label). LookupError names what there is."""
    every = list(elements(blocks))
    for found in every:
        if found.action_id == action_id:
            return found
    for found in every:
        if found.text == action_id:
            return found
    raise LookupError(f"nothing called {action_id!r} to press here, only {[found.action_id for found in every]}")


@dataclass(frozen=True)
class Message:
    """A message as it is now; `only_for` is the one user who sees an ephemeral, empty for a public message."""

    channel: str
    ts: str
    text: str
    blocks: tuple[Json, ...] = ()
    user: str = ""
    bot_id: str = ""
    app_id: str = ""
    thread_ts: str = ""
    broadcast: bool = False
    only_for: str = ""
    metadata: Json | None = None
    edited: str = ""  # ts of the last edit
    reactions: tuple[str, ...] = ()
    files: tuple[str, ...] = ()

    @property
    def buttons(self) -> tuple[Element, ...]:
        """What can be pressed on it, in reading order."""
        return tuple(elements(self.blocks))

    def wire(self) -> Json:
        """The message object as the Web API and payloads show it."""
        shown: Json = {"type": "message", "ts": self.ts, "text": self.text, "team": TEAM}
        if self.user:
            shown["user"] = self.user
        if self.bot_id:
            shown |= {"bot_id": self.bot_id, "app_id": self.app_id}
        if self.blocks:
            shown["blocks"] = list(self.blocks)
        if self.thread_ts:
            shown["thread_ts"] = self.thread_ts
        if self.edited:
            shown["edited"] = {"user": self.user, "ts": self.edited}
        if self.reactions:
            shown["reactions"] = [{"name": name, "count": 1, "users": [self.user]} for name in self.reactions]
        if self.files:
            shown["files"] = [{"id": file} for file in self.files]
        return shown


@dataclass(frozen=True)
class View:
    """An open modal or a published home tab. `wire` is what the app sent plus what Slack adds (id, hash, state)."""

    id: str
    user: str
    kind: str  # modal | home
    callback_id: str
    private_metadata: str
    blocks: tuple[Json, ...]
    wire: Json

    @property
    def title(self) -> str:
        """The modal's title; empty for a home tab."""
        return str(self.wire.get("title", {}).get("text", ""))

    @property
    def elements(self) -> tuple[Element, ...]:
        """What can be pressed, chosen or filled in, in reading order."""
        return tuple(elements(self.blocks))


@dataclass(frozen=True)
class File:
    """An uploaded file; `channels` is empty until the upload was completed into a channel."""

    id: str
    name: str
    title: str
    length: int  # bytes, as announced
    content: bytes | None = None
    channels: tuple[str, ...] = ()


@dataclass(frozen=True)
class ApiCall:
    """One Web API call that was answered: its method, and Slack's error or `""`."""

    method: str
    error: str
    channel: str = ""


class Trouble(StrEnum):
    """What a person is told when the app did not answer a command, click or form."""

    NONE = ""
    TIMEOUT = "operation_timeout"
    UNREACHABLE = "dispatch_failed"


@dataclass(frozen=True)
class Delivery:
    """One try to hand a payload to the app. `status` is HTTP's (200 for a socket's ack), None without an answer."""

    trouble: Trouble
    seconds: float
    status: int | None = None
    body: Json | str | None = None
    attempt: int = 0  # 0 the first, 1… a retry of an event
    no_retry: bool = False  # the app asked for none (x-slack-no-retry)


@dataclass(frozen=True)
class CommandResult:
    """What came of a command, a click or a form. With `copies` > 1, `deliveries` holds each; the first one counts."""

    deliveries: tuple[Delivery, ...]
    trigger_id: str = ""
    response_url: str = ""
    errors: tuple[tuple[str, str], ...] = ()  # of a form: block id, what is wrong with it

    @property
    def acked(self) -> bool:
        """Whether the app acknowledged in time."""
        return self.trouble is Trouble.NONE

    @property
    def trouble(self) -> Trouble:
        """What the person was told instead of an answer."""
        return self.deliveries[0].trouble if self.deliveries else Trouble.NONE

    @property
    def status(self) -> int | None:
        """The HTTP status of the ack (200 for Socket Mode), None when none came."""
        return self.deliveries[0].status if self.deliveries else None

    @property
    def seconds(self) -> float:
        """From sending to the ack, or to giving up."""
        return self.deliveries[0].seconds if self.deliveries else 0.0

    @property
    def body(self) -> Json | str | None:
        """What the ack said: an object, a text, or nothing."""
        return self.deliveries[0].body if self.deliveries else None

    @property
    def text(self) -> str:
        """The text in the ack, empty when it had none."""
        return str(self.body.get("text", "")) if isinstance(self.body, dict) else (self.body or "")
