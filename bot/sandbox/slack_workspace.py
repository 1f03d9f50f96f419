"""What people do in Slack: they type commands, mention the bot, press buttons and fill in forms.

Every method may be called from any thread, and waits for the app as a person does: at most three seconds.
"""

import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from bot.sandbox import slack_payloads as payloads
from bot.sandbox.slack_blocks import message_faults, view_faults
from bot.sandbox.slack_delivery import Kind, Transport
from bot.sandbox.slack_model import (
    ApiCall,
    Channel,
    CommandResult,
    Delivery,
    File,
    Json,
    Message,
    Trouble,
    User,
    UserGroup,
    View,
    element,
)
from bot.sandbox.slack_payloads import Filled
from bot.sandbox.slack_state import Draft, State

SLACKBOT = "USLACKBOT"


class Mention(NamedTuple):
    """A message that mentions the bot. Without an event id, the bot is not in that channel and hears nothing."""

    message: Message
    event_id: str


@dataclass
class Workspace:
    """The people's side of the stand-in."""

    state: State
    transport: Transport
    _events: dict[str, list[Delivery]] = field(default_factory=dict)
    _timers: list[threading.Timer] = field(default_factory=list)

    # ------------------------------------------------------------ doing

    def command(
        self, user: User, name: str, text: str = "", *, channel: Channel | str = "", copies: int = 1
    ) -> CommandResult:
        """Type `/deploy web 1.4.2`. With `copies`, the very same payload is delivered that often at once.

        The person sees the ack's text, or why there is none; Slack never delivers a command again by itself.
        """
        where = self.channel(channel)
        trigger = self.state.trigger(user.id)
        hook = self.state.response_url(user.id, where.id, None)
        payload = payloads.command(self.state, user, where, name=name, text=text, trigger_id=trigger, response_url=hook)
        result = CommandResult(self._deliver(Kind.COMMAND, payload, copies), trigger, hook)
        if result.acked:
            self._show_ack(user, where, result.body)
        else:
            self._complain(user, where, f'{name} failed with the error "{result.trouble}"')
        return result

    def mention(
        self, user: User, channel: Channel | str, text: str, *, thread_ts: str = "", copies: int = 1
    ) -> Mention:
        """Write `@locktender …`.

        `text` goes after the mention. An event that is not acked comes again, up to three times, in the background.
        """
        where = self.channel(channel)
        words = f"<@{self.state.world.app.bot_user_id}> {text}"
        message = self.state.post(where, user.id, Draft(words, thread_ts=thread_ts))
        if not self.state.bot_in(where):
            return Mention(message, "")
        inner = payloads.app_mention(message, user)
        return Mention(message, self._event(inner, shared=where.ext_shared, copies=copies))

    def say(self, user: User, channel: Channel | str, text: str, *, thread_ts: str = "") -> Message:
        """Write something that is not for the bot."""
        return self.state.post(self.channel(channel), user.id, Draft(text, thread_ts=thread_ts))

    def open_home(self, user: User) -> str:
        """Open the bot's home tab; returns the event id."""
        return self._event(payloads.home_opened(self.state, user, self.state.home(user.id)), shared=False, copies=1)

    def click(
        self, user: User, message: Message, action_id: str, *, value: Filled | None = None, copies: int = 1
    ) -> CommandResult:
        """Press a button (by action id or label) on a message, as the person sees it: it may be an older version.

        `value` chooses in a select or overflow. LookupError when there is nothing of that name on it.
        """
        trigger = self.state.trigger(user.id)
        hook = self.state.response_url(user.id, message.channel, message)
        pressed = payloads.pressed(element(message.blocks, action_id), value, self.state.ts())
        payload = payloads.click_on_message(self.state, user, message, pressed, trigger_id=trigger, response_url=hook)
        result = CommandResult(self._deliver(Kind.INTERACTIVE, payload, copies), trigger, hook)
        if not result.acked:
            self._complain(user, self.state.channels[message.channel], f'The click failed: "{result.trouble}"')
        return result

    def click_view(
        self, user: User, view: View, action_id: str, *, value: Filled | None = None, copies: int = 1
    ) -> CommandResult:
        """Press a button, or choose, in a modal or on the home tab."""
        trigger = self.state.trigger(user.id)
        pressed = payloads.pressed(element(view.blocks, action_id), value, self.state.ts())
        payload = payloads.click_on_view(self.state, view, user, pressed, trigger_id=trigger)
        return CommandResult(self._deliver(Kind.INTERACTIVE, payload, copies), trigger)

    def submit_view(
        self, user: User, view: View, values: Mapping[str, Filled] | None = None, *, copies: int = 1
    ) -> CommandResult:
        """Fill in a modal (by action id) and press its submit button.

        A required field left empty is refused by Slack itself (`errors`, no delivery), and so are answers of the app
        that Slack would not show. What the app answers decides what is open afterwards.
        """
        given = values or {}
        missing = payloads.empty_inputs(view, given)
        if missing:
            return CommandResult((), errors=missing)
        trigger = self.state.trigger(user.id)
        payload = payloads.view_done(self.state, view, user, given, trigger_id=trigger)
        result = CommandResult(self._deliver(Kind.INTERACTIVE, payload, copies), trigger)
        return self._after_submit(user, view, result) if result.acked else result

    def close_view(self, user: User, view: View) -> CommandResult:
        """Press a modal's close button; the app hears of it when the view says notify_on_close."""
        self.state.close_views(user.id, last_only=True)
        if not view.wire.get("notify_on_close"):
            return CommandResult(())
        payload = payloads.view_done(self.state, view, user, {})
        return CommandResult(self._deliver(Kind.INTERACTIVE, payload, 1))

    # ------------------------------------------------------------ seeing

    def channel(self, channel: Channel | str) -> Channel:
        """The channel as it is now; the first one when none is named."""
        name = channel.id if isinstance(channel, Channel) else channel
        return self.state.channels[name or self.state.world.channels[0].id]

    def channels(self) -> tuple[Channel, ...]:
        """Every channel as it is now, direct conversations with the bot included."""
        with self.state.changed:
            return tuple(self.state.channels.values())

    def users(self) -> tuple[User, ...]:
        """Everybody who can do something here."""
        with self.state.changed:
            return tuple(self.state.users.values())

    def messages(self, channel: Channel | str = "") -> tuple[Message, ...]:
        """A channel's messages as they are now, threads included, oldest first."""
        return self.state.messages(self.channel(channel).id)

    def thread(self, channel: Channel | str, ts: str) -> tuple[Message, ...]:
        """A message and the replies under it, oldest first."""
        return tuple(one for one in self.messages(channel) if ts in {one.ts, one.thread_ts})

    def message(self, channel: Channel | str, ts: str) -> Message | None:
        """One message as it is now."""
        return self.state.find(self.channel(channel).id, ts)

    def versions(self, message: Message) -> tuple[Message, ...]:
        """Every version of a message, oldest first."""
        return self.state.versions(message.channel, message.ts)

    def ephemerals(self, user: User) -> tuple[Message, ...]:
        """What only this person was shown, oldest first."""
        return self.state.ephemerals(user.id)

    def views(self, user: User) -> tuple[View, ...]:
        """The modals this person has open, the one on top last."""
        return self.state.views(user.id)

    def home(self, user: User) -> View | None:
        """The home tab of this person, as last published."""
        return self.state.home(user.id)

    def files(self) -> tuple[File, ...]:
        """Uploaded files."""
        with self.state.changed:
            return tuple(self.state.files.values())

    def calls(self, method: str = "") -> tuple[ApiCall, ...]:
        """The Web API calls so far, or those of one method."""
        with self.state.changed:
            return tuple(call for call in self.state.calls if method in {"", call.method})

    def tries(self, event_id: str) -> tuple[Delivery, ...]:
        """The deliveries of an event so far."""
        with self.state.changed:
            return tuple(self._events.get(event_id, ()))

    def wait(self, until: Callable[[], object], seconds: float = 5.0) -> None:
        """Block until something is so. TimeoutError after `seconds`."""
        deadline = time.monotonic() + seconds
        with self.state.changed:
            while not until():
                if time.monotonic() > deadline:
                    raise TimeoutError(f"nothing of the kind within {seconds} s")
                self.state.changed.wait(0.05)

    # ------------------------------------------------------------ changing the workspace

    def put_user(self, user: User) -> None:
        """Add a person or change one."""
        with self.state.changed:
            self.state.users[user.id] = user

    def put_group(self, group: UserGroup) -> None:
        """Add a user group or change one."""
        with self.state.changed:
            self.state.groups[group.id] = group

    def put_channel(self, channel: Channel) -> None:
        """Add a channel or change one."""
        self.state.put_channel(channel)

    def stop(self) -> None:
        """Give up the retries that are still to come."""
        for timer in self._timers:
            timer.cancel()

    # ------------------------------------------------------------ inside

    def _deliver(self, kind: Kind, payload: Json, copies: int) -> tuple[Delivery, ...]:
        if copies == 1:
            return (self.transport.deliver(kind, payload),)
        with ThreadPoolExecutor(copies) as pool:
            return tuple(pool.map(lambda _: self.transport.deliver(kind, payload), range(copies)))

    def _event(self, inner: Json, *, shared: bool, copies: int) -> str:
        payload = payloads.event(self.state, inner, shared=shared)
        name = str(payload["event_id"])
        tries = self._deliver(Kind.EVENT, payload, copies)
        with self.state.changed:
            self._events[name] = list(tries)
            self.state.changed.notify_all()
        self._perhaps_again(name, payload, tries[0])
        return name

    def _perhaps_again(self, name: str, payload: Json, last: Delivery) -> None:
        waits = self.state.timing.event_retries
        if last.trouble is Trouble.NONE or last.no_retry or last.attempt >= len(waits):
            return
        timer = threading.Timer(waits[last.attempt], self._again, (name, payload, last))
        timer.daemon = True
        self._timers.append(timer)
        timer.start()

    def _again(self, name: str, payload: Json, last: Delivery) -> None:
        reason = "http_timeout" if last.trouble is Trouble.TIMEOUT else "http_error"
        delivery = self.transport.deliver(Kind.EVENT, payload, attempt=last.attempt + 1, reason=reason)
        with self.state.changed:
            self._events[name].append(delivery)
            self.state.changed.notify_all()
        self._perhaps_again(name, payload, delivery)

    def _show_ack(self, user: User, channel: Channel, body: Json | str | None) -> None:
        if isinstance(body, str):
            body = {"text": body}
        if not body or not (body.get("text") or body.get("blocks")):
            return
        if message_faults(body.get("blocks") or []):
            self._complain(user, channel, 'The command failed with the error "invalid_command_response"')
            return
        shown = Draft(str(body.get("text", "")), tuple(body.get("blocks") or ()))
        if body.get("response_type") == "in_channel":
            self.state.post(channel, self.state.world.app.bot_user_id, shown)
        else:
            self.state.whisper(user.id, channel.id, shown)

    def _complain(self, user: User, channel: Channel, text: str) -> None:
        self.state.whisper(user.id, channel.id, Draft(text), author=SLACKBOT)

    def _after_submit(self, user: User, view: View, result: CommandResult) -> CommandResult:
        body = result.body if isinstance(result.body, dict) else {}
        match body.get("response_action"):
            case None:
                self.state.close_views(user.id, last_only=True)
            case "clear":
                self.state.close_views(user.id, last_only=False)
            case "errors":
                return replace(result, errors=self._form_errors(view, body.get("errors")))
            case ("update" | "push") as action if not view_faults(body.get("view")):
                if action == "update":
                    self.state.update_view(view, body["view"])
                else:
                    self.state.open_view(user.id, body["view"], on_top=True)
            case _:
                return replace(result, errors=(("", "We had some trouble connecting. Try again?"),))
        return result

    def _form_errors(self, view: View, errors: object) -> tuple[tuple[str, str], ...]:
        """Slack shows errors at input blocks that exist, and a general complaint for any other."""
        inputs = {block["block_id"] for block in view.blocks if block.get("type") == "input"}
        if not isinstance(errors, dict) or not errors or not set(errors) <= inputs:
            return (("", "We had some trouble connecting. Try again?"),)
        return tuple((str(block), str(text)) for block, text in errors.items())
