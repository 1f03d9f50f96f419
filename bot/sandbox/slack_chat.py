"""The Web API's chat, reactions and response_url methods, as the stand-in answers them."""

from dataclasses import replace

from bot.sandbox.slack_blocks import TEXT, blocks_too_long, message_faults, metadata_error
from bot.sandbox.slack_model import Channel, Json, Message
from bot.sandbox.slack_state import Draft, SlackError, State
from bot.sandbox.slack_wire import Args


def draft(args: Args) -> Draft:
    """The message in these arguments. SlackError no_text, msg_too_long, invalid_blocks, metadata_too_large and kin."""
    text = args.text("text") or args.text("markdown_text")
    given = args.nested("blocks")
    attachments = args.nested("attachments")
    if given is not None and (faults := message_faults(given)):
        raise SlackError(
            "invalid_blocks",
            errors=faults,
            response_metadata={"messages": [f"[ERROR] {fault}" for fault in faults]},
        )
    blocks = None if given is None else tuple(given) if isinstance(given, list) else ()
    if blocks and blocks_too_long(list(blocks)):
        raise SlackError("msg_blocks_too_long")
    if not text and not blocks and not attachments:
        raise SlackError("no_text")
    if len(text) > TEXT:
        # Slack documents this for chat.update; chat.postMessage cuts longer text to pieces, which nobody wants either.
        raise SlackError("msg_too_long")
    metadata = args.nested("metadata")
    if metadata is not None and (error := metadata_error(metadata)):
        raise SlackError(error)
    return Draft(
        text,
        blocks,
        args.text("thread_ts"),
        args.flag("reply_broadcast"),
        metadata if isinstance(metadata, dict) else None,
    )


def _writable(state: State, args: Args) -> Channel:
    channel = state.channel(args.required("channel"))
    if channel.archived:
        raise SlackError("is_archived")
    return channel


def _mine(state: State, args: Args, error: str) -> Message:
    channel = state.channel(args.required("channel"))
    message = state.find(channel.id, args.required("ts"))
    if message is None:
        raise SlackError("message_not_found")
    if message.bot_id != state.world.app.bot_id:
        raise SlackError(error)
    if channel.archived:
        raise SlackError("is_archived")
    return message


def post_message(state: State, args: Args) -> Json:
    """`chat.postMessage`: into a public channel also without being a member (`chat:write.public`)."""
    target = args.required("channel")
    if target in state.users:
        target = _direct(state, target)
    channel = _writable(state, replace(args, given=args.given | {"channel": target}))
    if not state.bot_in(channel) and "chat:write.public" not in state.world.app.bot_scopes:
        raise SlackError("not_in_channel")
    wanted = draft(args)
    if wanted.thread_ts and state.find(channel.id, wanted.thread_ts) is None:
        raise SlackError("thread_not_found")
    message = state.post(channel, state.world.app.bot_user_id, wanted)
    shown = message.wire() | ({"metadata": message.metadata} if message.metadata else {})
    return {"channel": channel.id, "ts": message.ts, "message": shown}


def _direct(state: State, user_id: str) -> str:
    """The direct conversation with a user, made when it is first written to."""
    name = f"D{user_id[1:]}"
    if name not in state.channels:
        members = frozenset({user_id, state.world.app.bot_user_id})
        state.put_channel(Channel(name, f"dm-{user_id}", members, private=True))
    return name


def update(state: State, args: Args) -> Json:
    """`chat.update`: only our own messages, and never an ephemeral (it is not found)."""
    message = _mine(state, args, "cant_update_message")
    edited = state.edit(message, draft(args))
    return {"channel": edited.channel, "ts": edited.ts, "text": edited.text, "message": edited.wire()}


def delete(state: State, args: Args) -> Json:
    """`chat.delete`: only our own messages."""
    message = _mine(state, args, "cant_delete_message")
    state.delete(message)
    return {"channel": message.channel, "ts": message.ts}


def post_ephemeral(state: State, args: Args) -> Json:
    """`chat.postEphemeral`: both the bot and the user must be in the channel."""
    channel = _writable(state, args)
    user = args.required("user")
    if user not in channel.members:
        raise SlackError("user_not_in_channel")
    if not state.bot_in(channel):
        raise SlackError("not_in_channel")
    return {"message_ts": state.whisper(user, channel.id, draft(args)).ts}


def permalink(state: State, args: Args) -> Json:
    """`chat.getPermalink`."""
    channel = state.channel(args.required("channel"))
    message = state.find(channel.id, args.required("message_ts"))
    if message is None:
        raise SlackError("message_not_found")
    thread = f"?thread_ts={message.thread_ts}&cid={channel.id}" if message.thread_ts else ""
    path = f"archives/{channel.id}/p{message.ts.replace('.', '')}{thread}"
    return {"channel": channel.id, "permalink": f"https://{state.world.team_domain}.slack.com/{path}"}


def react(state: State, args: Args) -> Json:
    """`reactions.add`."""
    channel = state.channel(args.required("channel"))
    name = args.required("name")
    message = state.find(channel.id, args.required("timestamp"))
    if message is None:
        raise SlackError("message_not_found")
    if name in message.reactions:
        raise SlackError("already_reacted")
    state.put(replace(message, reactions=(*message.reactions, name)))
    return {}


def respond(state: State, hook: str, args: Args) -> None:
    """A post to a response_url. SlackError used_url, expired_url, invalid_url, and what `draft` raises."""
    wanted = Draft("") if args.flag("delete_original") else draft(args)
    flags = {name: args.flag(name) for name in ("delete_original", "replace_original")}
    state.respond(hook, {**flags, "response_type": args.text("response_type")}, wanted)
