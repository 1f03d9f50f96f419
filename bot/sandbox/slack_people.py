"""The Web API's conversations, users and usergroups methods, as the stand-in answers them."""

from base64 import b64decode, b64encode
from collections.abc import Sequence
from dataclasses import replace

from bot.sandbox.slack_model import Channel, Json, Message, User, UserGroup
from bot.sandbox.slack_state import SlackError, State
from bot.sandbox.slack_wire import Args


def _page(args: Args, name: str, items: Sequence[Json], limit: int) -> Json:
    """One page of items, with Slack's cursor. SlackError invalid_cursor, invalid_limit."""
    size = args.number("limit", limit)
    if not 1 <= size <= 1000:
        raise SlackError("invalid_limit")
    cursor = args.text("cursor")
    try:
        start = int(b64decode(cursor, validate=True).decode().removeprefix("next:")) if cursor else 0
    except ValueError:
        raise SlackError("invalid_cursor") from None
    more = start + size < len(items)
    after = b64encode(f"next:{start + size}".encode()).decode() if more else ""
    return {name: list(items[start : start + size]), "has_more": more, "response_metadata": {"next_cursor": after}}


def _readable(state: State, args: Args) -> Channel:
    channel = state.channel(args.required("channel"))
    needed = "groups:history" if channel.private else "channels:history"
    _need(state, needed)
    if not state.bot_in(channel):
        raise SlackError("not_in_channel")
    return channel


def _need(state: State, scope: str) -> None:
    scopes = state.world.app.bot_scopes
    if scope not in scopes:
        raise SlackError("missing_scope", needed=scope, provided=",".join(sorted(scopes)))


def _within(args: Args, messages: list[Message]) -> list[Message]:
    oldest, latest = float(args.text("oldest") or 0), float(args.text("latest") or "inf")
    if args.flag("inclusive"):
        return [message for message in messages if oldest <= float(message.ts) <= latest]
    return [message for message in messages if oldest < float(message.ts) < latest]


def _shown(args: Args, message: Message, replies: list[Message]) -> Json:
    wire = message.wire()
    if replies:
        wire |= {"thread_ts": message.ts, "reply_count": len(replies), "latest_reply": replies[-1].ts}
    if message.metadata is not None and args.flag("include_all_metadata"):
        wire["metadata"] = message.metadata
    return wire


def history(state: State, args: Args) -> Json:
    """`conversations.history`: newest first, without the replies in threads."""
    channel = _readable(state, args)
    every = state.messages(channel.id)
    top = [one for one in every if not one.thread_ts or one.thread_ts == one.ts or one.broadcast]
    shown = [
        _shown(args, one, [reply for reply in every if reply.thread_ts == one.ts and reply.ts != one.ts])
        for one in reversed(_within(args, top))
    ]
    return _page(args, "messages", shown, 100)


def replies(state: State, args: Args) -> Json:
    """`conversations.replies`: the parent, then its replies, oldest first."""
    channel = _readable(state, args)
    asked = state.find(channel.id, args.required("ts"))
    if asked is None:
        raise SlackError("thread_not_found")
    root = asked.thread_ts or asked.ts
    under = [one for one in state.messages(channel.id) if one.thread_ts == root and one.ts != root]
    parent = state.find(channel.id, root)
    first = [_shown(args, parent, under)] if parent is not None else []
    return _page(args, "messages", first + [_shown(args, one, []) for one in _within(args, under)], 1000)


def _channel_wire(state: State, channel: Channel) -> Json:
    return {
        "id": channel.id,
        "name": channel.name,
        "is_channel": not channel.private,
        "is_group": channel.private,
        "is_private": channel.private,
        "is_archived": channel.archived,
        "is_member": state.bot_in(channel),
        "is_ext_shared": channel.ext_shared,
        "is_shared": channel.ext_shared,
        "is_org_shared": False,
        "num_members": len(channel.members),
        "context_team_id": state.world.team_id,
    }


def info(state: State, args: Args) -> Json:
    """`conversations.info`."""
    channel = state.channel(args.required("channel"))
    _need(state, "groups:read" if channel.private else "channels:read")
    return {"channel": _channel_wire(state, channel)}


def channels(state: State, args: Args) -> Json:
    """`conversations.list`: public channels unless `types` says more; private ones only where the bot is."""
    types = set((args.text("types") or "public_channel").replace(" ", "").split(","))
    for kind, scope in (("public_channel", "channels:read"), ("private_channel", "groups:read")):
        if kind in types:
            _need(state, scope)
    shown = [
        _channel_wire(state, channel)
        for channel in list(state.channels.values())
        if (channel.private and "private_channel" in types and state.bot_in(channel) and not channel.id.startswith("D"))
        or (not channel.private and "public_channel" in types)
    ]
    if args.flag("exclude_archived"):
        shown = [one for one in shown if not one["is_archived"]]
    return _page(args, "channels", shown, 100)


def join(state: State, args: Args) -> Json:
    """`conversations.join`: public channels only."""
    channel = state.channel(args.required("channel"))
    if channel.archived:
        raise SlackError("is_archived")
    if channel.private:
        raise SlackError("method_not_supported_for_channel_type")
    joined = replace(channel, members=channel.members | {state.world.app.bot_user_id})
    state.put_channel(joined)
    return {"channel": _channel_wire(state, joined)}


def _user_wire(state: State, user: User) -> Json:
    profile: Json = {"real_name": user.real_name, "display_name": user.name, "team": user.team_id}
    if user.email and "users:read.email" in state.world.app.bot_scopes and user.team_id == state.world.team_id:
        profile["email"] = user.email
    return {
        "id": user.id,
        "team_id": user.team_id,
        "name": user.name,
        "real_name": user.real_name,
        "deleted": user.deleted,
        "is_bot": False,
        "is_stranger": user.team_id != state.world.team_id,
        "profile": profile,
    }


def user(state: State, args: Args) -> Json:
    """`users.info`: a stranger's e-mail is not shown."""
    found = state.users.get(args.required("user"))
    if found is None:
        raise SlackError("user_not_found")
    return {"user": _user_wire(state, found)}


def users(state: State, args: Args) -> Json:
    """`users.list`."""
    own = [one for one in list(state.users.values()) if one.team_id == state.world.team_id]
    return _page(args, "members", [_user_wire(state, one) for one in own], 1000)


def user_by_email(state: State, args: Args) -> Json:
    """`users.lookupByEmail`."""
    email = args.required("email").lower()
    for one in list(state.users.values()):
        if one.email.lower() == email and not one.deleted and one.team_id == state.world.team_id:
            return {"user": _user_wire(state, one)}
    raise SlackError("users_not_found")


def _group_wire(state: State, group: UserGroup, args: Args) -> Json:
    wire: Json = {
        "id": group.id,
        "team_id": state.world.team_id,
        "handle": group.handle,
        "name": group.name,
        "date_delete": 1 if group.disabled else 0,
        "user_count": len(group.users),
    }
    return wire | ({"users": list(group.users)} if args.flag("include_users") else {})


def groups(state: State, args: Args) -> Json:
    """`usergroups.list`."""
    shown = [one for one in list(state.groups.values()) if not one.disabled or args.flag("include_disabled")]
    return {"usergroups": [_group_wire(state, one, args) for one in shown]}


def group_users(state: State, args: Args) -> Json:
    """`usergroups.users.list`. SlackError no_such_subteam, also for a disabled group unless it is asked for."""
    group = state.groups.get(args.required("usergroup"))
    if group is None or (group.disabled and not args.flag("include_disabled")):
        raise SlackError("no_such_subteam")
    return {"users": list(group.users)}
