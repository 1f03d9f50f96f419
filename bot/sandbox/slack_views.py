"""The Web API's views and files methods, as the stand-in answers them."""

import secrets
from dataclasses import replace

from bot.sandbox.slack_blocks import view_faults
from bot.sandbox.slack_model import File, Json, View
from bot.sandbox.slack_state import Draft, SlackError, State
from bot.sandbox.slack_wire import Args


def checked_view(args: Args, *, kinds: frozenset[str]) -> Json:
    """The view in these arguments. SlackError invalid_arguments with every fault found."""
    view = args.nested("view")
    faults = view_faults(view)
    if isinstance(view, dict) and view.get("type") not in kinds:
        faults.append("unsupported type for this method [json-pointer:/view/type]")
    if faults or not isinstance(view, dict):
        raise SlackError("invalid_arguments", response_metadata={"messages": [f"[ERROR] {one}" for one in faults]})
    return view


_MODAL = frozenset({"modal"})


def open_view(state: State, args: Args) -> Json:
    """`views.open`: the trigger id lives three seconds and opens one view."""
    view = checked_view(args, kinds=_MODAL)
    user = state.spend_trigger(args.required("trigger_id"))
    return {"view": state.open_view(user, view, on_top=False).wire}


def push_view(state: State, args: Args) -> Json:
    """`views.push`: at most three on top of each other."""
    view = checked_view(args, kinds=_MODAL)
    user = state.spend_trigger(args.required("trigger_id"))
    return {"view": state.open_view(user, view, on_top=True).wire}


def update_view(state: State, args: Args) -> Json:
    """`views.update`: an open modal, by its id or the app's; `hash` guards against a newer one."""
    view = checked_view(args, kinds=_MODAL)
    old = state.find_view(args.text("view_id"), args.text("external_id"))
    if old is None:
        raise SlackError("not_found")
    _unchanged(args, old)
    return {"view": state.update_view(old, view).wire}


def publish_view(state: State, args: Args) -> Json:
    """`views.publish`: a user's home tab."""
    view = checked_view(args, kinds=frozenset({"home"}))
    user = args.required("user_id")
    if user not in state.users:
        raise SlackError("user_not_found")
    old = state.home(user)
    if old is not None:
        _unchanged(args, old)
    return {"view": state.publish(user, view).wire}


def _unchanged(args: Args, old: View) -> None:
    if args.text("hash") and args.text("hash") != old.wire["hash"]:
        raise SlackError("hash_conflict")


def upload_url(state: State, args: Args) -> Json:
    """`files.getUploadURLExternal`: where to post the bytes."""
    name, length = args.required("filename"), args.number("length", 0)
    if length <= 0:
        raise SlackError("invalid_arguments", response_metadata={"messages": ["[ERROR] length must be positive"]})
    file = File(f"F{secrets.token_hex(5).upper()}", name, name, length)
    with state.changed:
        state.files[file.id] = file
    return {"file_id": file.id, "upload_url": f"{state.hook_base.rsplit('/', 1)[0]}/upload/{file.id}"}


def receive(state: State, file_id: str, content: bytes) -> int:
    """The bytes of an upload: the HTTP status to answer."""
    with state.changed:
        file = state.files.get(file_id)
        if file is None:
            return 404
        state.files[file_id] = replace(file, content=content)
    return 200 if len(content) == file.length else 400


def complete_upload(state: State, args: Args) -> Json:
    """`files.completeUploadExternal`: the files appear in a channel as one message."""
    listed = args.nested("files")
    if not isinstance(listed, list) or not listed:
        raise SlackError("invalid_arguments", response_metadata={"messages": ["[ERROR] missing required field: files"]})
    target = args.text("channel_id") or args.text("channels").split(",")[0]
    channel = state.channel(target) if target else None
    if channel is not None and not state.bot_in(channel):
        raise SlackError("not_in_channel")
    done: list[File] = []
    with state.changed:
        for one in listed:
            file = state.files.get(str(one.get("id")))
            if file is None or file.content is None or len(file.content) != file.length:
                raise SlackError("file_not_found")
            shared = (channel.id,) if channel else ()
            done.append(replace(file, title=str(one.get("title") or file.name), channels=shared))
        for file in done:
            state.files[file.id] = file
    if channel is not None:
        ids = tuple(file.id for file in done)
        comment = Draft(args.text("initial_comment"), thread_ts=args.text("thread_ts"), files=ids)
        state.post(channel, state.world.app.bot_user_id, comment)
    return {"files": [{"id": file.id, "name": file.name, "title": file.title} for file in done]}
