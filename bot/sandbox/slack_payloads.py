"""The payloads Slack sends to an app, field by field as its documentation shows them.

https://docs.slack.dev/reference/interaction-payloads and https://docs.slack.dev/apis/events-api
"""

import json
import secrets
import time
from collections.abc import Mapping, Sequence

from bot.sandbox.slack_model import Channel, Element, Json, Message, User, View, elements
from bot.sandbox.slack_state import State

Filled = str | Sequence[str]
"""What a person put into one element: a text, the value of an option, or several."""


def _team(state: State, user: User) -> Json:
    """The person's own workspace: in a shared channel it is not the app's."""
    own = user.team_id == state.world.team_id
    return {"id": user.team_id, "domain": state.world.team_domain if own else "partner"}


def _person(user: User) -> Json:
    return {"id": user.id, "username": user.name, "name": user.name, "team_id": user.team_id}


def _common(state: State, user: User, trigger_id: str) -> Json:
    return {
        "team": _team(state, user),
        "user": _person(user),
        "api_app_id": state.world.app.app_id,
        "token": state.world.app.verification_token,
        "trigger_id": trigger_id,
        "enterprise": None,
        "is_enterprise_install": False,
    }


def command(
    state: State, user: User, channel: Channel, *, name: str, text: str, trigger_id: str, response_url: str
) -> Json:
    """A slash command: a flat form."""
    team = _team(state, user)
    return {
        "token": state.world.app.verification_token,
        "team_id": team["id"],
        "team_domain": team["domain"],
        "channel_id": channel.id,
        "channel_name": channel.name,
        "user_id": user.id,
        "user_name": user.name,
        "command": name,
        "text": text,
        "api_app_id": state.world.app.app_id,
        "is_enterprise_install": "false",
        "response_url": response_url,
        "trigger_id": trigger_id,
    }


def event(state: State, inner: Json, *, shared: bool) -> Json:
    """An event_callback around `inner`, with a new event id."""
    world = state.world
    return {
        "token": world.app.verification_token,
        "team_id": world.team_id,
        "context_team_id": world.team_id,
        "context_enterprise_id": None,
        "api_app_id": world.app.app_id,
        "event": inner,
        "type": "event_callback",
        "event_id": f"Ev{secrets.token_hex(5).upper()}",
        "event_time": int(time.time()),
        "authorizations": [
            {
                "enterprise_id": None,
                "team_id": world.team_id,
                "user_id": world.app.bot_user_id,
                "is_bot": True,
                "is_enterprise_install": False,
            }
        ],
        "is_ext_shared_channel": shared,
        "event_context": f"4-{secrets.token_urlsafe(24)}",
    }


def app_mention(message: Message, user: User) -> Json:
    """The inner event of a mention."""
    inner: Json = {
        "type": "app_mention",
        "user": user.id,
        "text": message.text,
        "ts": message.ts,
        "channel": message.channel,
        "event_ts": message.ts,
        "team": user.team_id,
        "user_team": user.team_id,
        "source_team": user.team_id,
    }
    return inner | ({"thread_ts": message.thread_ts} if message.thread_ts else {})


def home_opened(state: State, user: User, view: View | None) -> Json:
    """The inner event of opening the home tab."""
    inner: Json = {"type": "app_home_opened", "user": user.id, "channel": f"D{user.id[1:]}", "tab": "home"}
    return inner | {"event_ts": state.ts()} | ({"view": view.wire} if view else {})


def click_on_message(
    state: State, user: User, message: Message, pressed: Json, *, trigger_id: str, response_url: str
) -> Json:
    """A block_actions from a message."""
    channel = state.channels[message.channel]
    return {
        **_common(state, user, trigger_id),
        "type": "block_actions",
        "container": {
            "type": "message",
            "message_ts": message.ts,
            "channel_id": channel.id,
            "is_ephemeral": bool(message.only_for),
        }
        | ({"thread_ts": message.thread_ts} if message.thread_ts else {}),
        "channel": {"id": channel.id, "name": channel.name},
        "message": message.wire(),
        "state": {"values": {}},
        "response_url": response_url,
        "actions": [pressed],
    }


def click_on_view(state: State, view: View, user: User, pressed: Json, *, trigger_id: str) -> Json:
    """A block_actions from a modal or the home tab."""
    return {
        **_common(state, user, trigger_id),
        "type": "block_actions",
        "container": {"type": "view", "view_id": view.id},
        "view": view.wire,
        "actions": [pressed],
    }


def view_done(state: State, view: View, user: User, values: Mapping[str, Filled], *, trigger_id: str = "") -> Json:
    """A view_submission; without a trigger id, a view_closed."""
    wire = view.wire | {"state": {"values": state_values(view.blocks, values)}}
    kind: Json = {"type": "view_submission", "response_urls": []} if trigger_id else {"type": "view_closed"}
    whole = {**_common(state, user, trigger_id), **kind, "view": wire}
    return whole if trigger_id else whole | {"is_cleared": False}


def pressed(element: Element, value: Filled | None, ts: str) -> Json:
    """The action object of one press or choice."""
    action: Json = {
        "type": element.kind,
        "block_id": element.block_id,
        "action_id": element.action_id,
        "action_ts": ts,
    }
    if element.kind == "button":
        action |= {"text": element.wire["text"]}
        action |= {"value": element.value} if "value" in element.wire else {}
        return action | ({"style": element.wire["style"]} if "style" in element.wire else {})
    return action | _filled(element, value if value is not None else "")


def state_values(blocks: tuple[Json, ...], values: Mapping[str, Filled]) -> Json:
    """`state.values` of a view: block id, action id, what is there. Left alone, an element keeps its initial value."""
    filled: Json = {}
    unknown = set(values)
    for element in elements(blocks):
        if element.kind in {"button", "overflow"}:
            continue
        unknown.discard(element.action_id)
        value = values.get(element.action_id, _initial(element))
        filled.setdefault(element.block_id, {})[element.action_id] = {"type": element.kind, **_filled(element, value)}
    if unknown:
        raise LookupError(f"the form has no {sorted(unknown)}, only {[one.action_id for one in elements(blocks)]}")
    return filled


def empty_inputs(view: View, values: Mapping[str, Filled]) -> tuple[tuple[str, str], ...]:
    """The required inputs a person left empty: Slack does not send such a form at all."""
    missing = []
    for block in view.blocks:
        if block.get("type") == "input" and not block.get("optional"):
            (one,) = elements((block,))
            if not values.get(one.action_id, _initial(one)):
                missing.append((one.block_id, "Please complete this required field."))
    return tuple(missing)


def _initial(element: Element) -> Filled:
    wire = element.wire
    if "initial_option" in wire:
        return str(wire["initial_option"]["value"])
    if "initial_options" in wire:
        return [option["value"] for option in wire["initial_options"]]
    names = ("initial_value", "initial_date_time", "initial_date", "initial_time", "initial_user", "initial_channel")
    return next((str(wire[name]) for name in names if name in wire), "")


_SINGLE = {
    "users_select": "selected_user",
    "channels_select": "selected_channel",
    "conversations_select": "selected_conversation",
    "datepicker": "selected_date",
    "timepicker": "selected_time",
    "datetimepicker": "selected_date_time",
}
_MANY = {"multi_users_select": "selected_users", "multi_channels_select": "selected_channels"}


def _filled(element: Element, value: Filled) -> Json:
    many = [value] if isinstance(value, str) and value else list(value)
    match element.kind:
        case "static_select" | "external_select" | "radio_buttons" | "overflow":
            return {"selected_option": _option(element, str(value)) if value else None}
        case "multi_static_select" | "multi_external_select" | "checkboxes":
            return {"selected_options": [_option(element, one) for one in many]}
        case "datetimepicker":
            return {"selected_date_time": int(str(value)) if value else None}
        case kind if kind in _SINGLE:
            return {_SINGLE[kind]: value or None}
        case kind if kind in _MANY:
            return {_MANY[kind]: many}
        case _:
            return {"value": value or None}


def _option(element: Element, value: str) -> Json:
    groups = element.wire.get("option_groups") or [element.wire]
    options = [option for group in groups for option in group.get("options", [])]
    for option in options:
        if option["value"] == value:
            return {"text": option["text"], "value": value}
    if "external" in element.kind:
        return {"text": {"type": "plain_text", "text": value}, "value": value}
    raise LookupError(f"{element.action_id} has no option {value!r}: {json.dumps([o['value'] for o in options])}")
