"""What the stand-in of Slack remembers, behind one lock: every method may be called from any thread."""

import hashlib
import json
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from bot.sandbox.slack_blocks import with_ids
from bot.sandbox.slack_model import (
    ApiCall,
    Channel,
    File,
    Json,
    Message,
    Timing,
    User,
    UserGroup,
    View,
    World,
)

VIEW_STACK = 3
RESPONSES = 5


class SlackError(Exception):
    """An answer `{"ok": false, "error": …}`; `extra` is what Slack adds to it."""

    def __init__(self, error: str, **extra: object) -> None:
        super().__init__(error)
        self.error = error
        self.extra = extra


@dataclass
class _Trigger:
    user: str
    expires: float
    used: bool = False


@dataclass
class _Hook:
    """A response_url: where it answers, and what it may replace."""

    user: str
    channel: str
    expires: float
    message: Message | None
    uses: int = 0


@dataclass(frozen=True)
class Draft:
    """What an app wants to show: the parts of a message that it chooses."""

    text: str
    blocks: tuple[Json, ...] | None = None  # None: not said
    thread_ts: str = ""
    broadcast: bool = False
    metadata: Json | None = None
    files: tuple[str, ...] = ()


@dataclass
class State:
    """Users, channels, messages, views, files, and the tickets that come with interactions."""

    world: World
    timing: Timing
    clock: Callable[[], float] = time.monotonic
    changed: threading.Condition = field(default_factory=threading.Condition)
    hook_base: str = ""
    calls: list[ApiCall] = field(default_factory=list)
    files: dict[str, File] = field(default_factory=dict)
    users: dict[str, User] = field(default_factory=dict)
    channels: dict[str, Channel] = field(default_factory=dict)
    groups: dict[str, UserGroup] = field(default_factory=dict)
    _messages: dict[tuple[str, str], list[Message]] = field(default_factory=dict)  # every version, newest last
    _ephemerals: dict[str, list[Message]] = field(default_factory=dict)
    _triggers: dict[str, _Trigger] = field(default_factory=dict)
    _hooks: dict[str, _Hook] = field(default_factory=dict)
    _stacks: dict[str, list[View]] = field(default_factory=dict)
    _homes: dict[str, View] = field(default_factory=dict)
    _last_ts: int = 0

    def __post_init__(self) -> None:
        self.users = {user.id: user for user in self.world.users}
        self.channels = {channel.id: channel for channel in self.world.channels}
        self.groups = {group.id: group for group in self.world.groups}

    # ------------------------------------------------------------ messages

    def ts(self) -> str:
        """A message timestamp that no other message has."""
        with self.changed:
            self._last_ts = max(self._last_ts + 1, time.time_ns() // 1000)
            return f"{self._last_ts // 10**6}.{self._last_ts % 10**6:06d}"

    def channel(self, channel_id: str) -> Channel:
        """The channel; also by `#name`. SlackError channel_not_found, also for a private one the bot is not in."""
        with self.changed:
            found = self.channels.get(channel_id) or next(
                (channel for channel in self.channels.values() if f"#{channel.name}" == channel_id), None
            )
        if found is None or (found.private and not self.bot_in(found)):
            raise SlackError("channel_not_found")
        return found

    def bot_in(self, channel: Channel) -> bool:
        """Whether the bot is a member."""
        return self.world.app.bot_user_id in channel.members

    def put_channel(self, channel: Channel) -> None:
        """Add a channel or replace it (join, archive, share it …)."""
        with self.changed:
            self.channels[channel.id] = channel
            self.changed.notify_all()

    def post(self, channel: Channel, author: str, draft: Draft) -> Message:
        """Store a message of `author` (a user id; the bot's makes it a bot message)."""
        app = self.world.app
        with self.changed:
            ts = self.ts()
            ours = author == app.bot_user_id
            thread = draft.thread_ts
            if thread and (parent := self.find(channel.id, thread)) is not None:
                thread = parent.thread_ts or parent.ts
            message = Message(
                channel=channel.id,
                ts=ts,
                text=draft.text,
                blocks=with_ids(list(draft.blocks or ()), f"b{ts[-6:]}"),
                user=author,
                bot_id=app.bot_id if ours else "",
                app_id=app.app_id if ours else "",
                thread_ts=thread,
                broadcast=draft.broadcast,
                metadata=draft.metadata or None,
                files=draft.files,
            )
            self._messages[channel.id, ts] = [message]
            self.changed.notify_all()
            return message

    def edit(self, message: Message, draft: Draft) -> Message:
        """Store a new version. What the draft does not mention stays, as Slack documents for blocks and metadata."""
        with self.changed:
            edited = replace(
                message,
                text=draft.text,
                blocks=message.blocks if draft.blocks is None else with_ids(list(draft.blocks), f"b{message.ts[-6:]}"),
                metadata=message.metadata if draft.metadata is None else (draft.metadata or None),
                edited=self.ts(),
            )
            self._messages[message.channel, message.ts].append(edited)
            self.changed.notify_all()
            return edited

    def put(self, message: Message) -> None:
        """Replace the newest version without marking it edited (a reaction)."""
        with self.changed:
            self._messages[message.channel, message.ts][-1] = message
            self.changed.notify_all()

    def delete(self, message: Message) -> None:
        """Forget a message."""
        with self.changed:
            self._messages.pop((message.channel, message.ts), None)
            self.changed.notify_all()

    def find(self, channel_id: str, ts: str) -> Message | None:
        """The message as it is now."""
        with self.changed:
            versions = self._messages.get((channel_id, ts))
            return versions[-1] if versions else None

    def versions(self, channel_id: str, ts: str) -> tuple[Message, ...]:
        """Every version of a message, oldest first."""
        with self.changed:
            return tuple(self._messages.get((channel_id, ts), ()))

    def messages(self, channel_id: str) -> tuple[Message, ...]:
        """All public messages of a channel, threads included, oldest first."""
        with self.changed:
            return tuple(versions[-1] for (channel, _), versions in self._messages.items() if channel == channel_id)

    def whisper(self, user_id: str, channel_id: str, draft: Draft, *, author: str = "") -> Message:
        """Show something to one user only. Nobody can update it; only a response_url that came with it replaces it."""
        app = self.world.app
        with self.changed:
            ts = self.ts()
            message = Message(
                channel=channel_id,
                ts=ts,
                text=draft.text,
                blocks=with_ids(list(draft.blocks or ()), f"e{ts[-6:]}"),
                user=author or app.bot_user_id,
                bot_id="" if author else app.bot_id,
                app_id="" if author else app.app_id,
                thread_ts=draft.thread_ts,
                only_for=user_id,
            )
            self._ephemerals.setdefault(user_id, []).append(message)
            self.changed.notify_all()
            return message

    def ephemerals(self, user_id: str) -> tuple[Message, ...]:
        """What only this user sees, oldest first."""
        with self.changed:
            return tuple(self._ephemerals.get(user_id, ()))

    # ------------------------------------------------------------ tickets of an interaction

    def trigger(self, user_id: str) -> str:
        """A trigger id: three seconds, one use."""
        with self.changed:
            name = f"{self._last_ts}.{secrets.randbelow(10**12)}.{secrets.token_hex(16)}"
            self._triggers[name] = _Trigger(user_id, self.clock() + self.timing.trigger)
            return name

    def spend_trigger(self, name: str) -> str:
        """Use it up and return its user id. SlackError when it is unknown, used or too old."""
        with self.changed:
            trigger = self._triggers.get(name)
            if trigger is None:
                raise SlackError("invalid_trigger_id")
            if trigger.used:
                raise SlackError("exchanged_trigger_id")
            if self.clock() > trigger.expires:
                raise SlackError("expired_trigger_id")
            trigger.used = True
            return trigger.user

    def response_url(self, user_id: str, channel_id: str, message: Message | None) -> str:
        """A URL that may answer five times in half an hour; `message` is what it may replace."""
        with self.changed:
            name = secrets.token_urlsafe(18)
            self._hooks[name] = _Hook(user_id, channel_id, self.clock() + self.timing.response_url, message)
            return f"{self.hook_base}/{name}"

    def respond(self, name: str, wire: Json, draft: Draft) -> None:
        """What a post to a response_url does. SlackError used_url, expired_url or invalid_url."""
        with self.changed:
            hook = self._hooks.get(name)
            if hook is None:
                raise SlackError("invalid_url")
            if self.clock() > hook.expires:
                raise SlackError("expired_url")
            if hook.uses >= RESPONSES:
                raise SlackError("used_url")
            hook.uses += 1
            if hook.message is not None and wire.get("delete_original"):
                self._drop(hook.message)
            elif hook.message is not None and wire.get("replace_original"):
                self._replace(hook.message, draft)
            elif wire.get("response_type") == "in_channel":
                self.post(self.channels[hook.channel], self.world.app.bot_user_id, draft)
            else:
                self.whisper(hook.user, hook.channel, draft)

    def _drop(self, original: Message) -> None:
        if original.only_for:
            kept = [one for one in self._ephemerals.get(original.only_for, []) if one.ts != original.ts]
            self._ephemerals[original.only_for] = kept
            self.changed.notify_all()
        else:
            self.delete(original)

    def _replace(self, original: Message, draft: Draft) -> None:
        """An ephemeral stays ephemeral and a public message public, whatever response_type says."""
        if not original.only_for:
            current = self.find(original.channel, original.ts)
            if current is not None:
                self.edit(current, replace(draft, blocks=draft.blocks or ()))
            return
        seen = self._ephemerals.get(original.only_for, [])
        blocks = with_ids(list(draft.blocks or ()), f"e{original.ts[-6:]}")
        self._ephemerals[original.only_for] = [
            replace(one, text=draft.text, blocks=blocks) if one.ts == original.ts else one for one in seen
        ]
        self.changed.notify_all()

    # ------------------------------------------------------------ views

    def open_view(self, user_id: str, wire: Json, *, on_top: bool) -> View:
        """Open a modal, alone or on top of the open ones. SlackError push_limit_reached."""
        with self.changed:
            stack = self._stacks.setdefault(user_id, [])
            if on_top and len(stack) >= VIEW_STACK:
                raise SlackError("push_limit_reached")
            if not on_top:
                stack.clear()
            view = self._made(user_id, f"V{secrets.token_hex(5).upper()}", wire)
            stack.append(view)
            self.changed.notify_all()
            return view

    def update_view(self, old: View, wire: Json) -> View:
        """Replace what an open modal shows."""
        with self.changed:
            new = self._made(old.user, old.id, wire)
            stack = self._stacks.get(old.user, [])
            self._stacks[old.user] = [new if one.id == old.id else one for one in stack]
            self.changed.notify_all()
            return new

    def find_view(self, view_id: str, external_id: str = "") -> View | None:
        """An open modal by its id, or by the id the app gave it."""
        with self.changed:
            every = [view for stack in self._stacks.values() for view in stack]
        for view in every:
            if view.id == view_id or (external_id and view.wire.get("external_id") == external_id):
                return view
        return None

    def close_views(self, user_id: str, *, last_only: bool) -> None:
        """Close the modal on top, or all of them."""
        with self.changed:
            stack = self._stacks.get(user_id, [])
            del stack[-1 if last_only else 0 :]
            self.changed.notify_all()

    def views(self, user_id: str) -> tuple[View, ...]:
        """The modals a user has open, the one on top last."""
        with self.changed:
            return tuple(self._stacks.get(user_id, ()))

    def publish(self, user_id: str, wire: Json) -> View:
        """Set a user's home tab."""
        with self.changed:
            old = self._homes.get(user_id)
            view = self._made(user_id, old.id if old else f"VH{secrets.token_hex(5).upper()}", wire)
            self._homes[user_id] = view
            self.changed.notify_all()
            return view

    def home(self, user_id: str) -> View | None:
        """A user's home tab as last published."""
        with self.changed:
            return self._homes.get(user_id)

    def _made(self, user_id: str, view_id: str, wire: Json) -> View:
        app = self.world.app
        blocks = with_ids(wire.get("blocks", []), f"v{view_id[-4:]}")
        stamped = hashlib.sha256(json.dumps([wire, self.ts()]).encode()).hexdigest()[:10]
        whole = wire | {
            "id": view_id,
            "team_id": self.world.team_id,
            "blocks": list(blocks),
            "state": {"values": {}},
            "hash": f"{self.ts()}.{stamped}",
            "private_metadata": wire.get("private_metadata") or "",
            "callback_id": wire.get("callback_id") or "",
            "previous_view_id": None,
            "root_view_id": view_id,
            "app_id": app.app_id,
            "external_id": wire.get("external_id") or "",
            "app_installed_team_id": self.world.team_id,
            "bot_id": app.bot_id,
        }
        return View(view_id, user_id, str(wire["type"]), whole["callback_id"], whole["private_metadata"], blocks, whole)
