"""Slack's limits on blocks, views and metadata, enforced: each fault is a sentence as Slack words it.

Numbers from Slack's Block Kit reference: https://docs.slack.dev/reference/block-kit/blocks
"""

import json
from collections.abc import Iterator

from bot.sandbox.slack_model import Json

MESSAGE_BLOCKS = 50
VIEW_BLOCKS = 100
VIEW_BYTES = 250_000
TEXT = 4000
MARKDOWN = 12_000
MESSAGE_WITH_MARKDOWN = 13_200  # found by people who ran into msg_blocks_too_long (slackapi/bolt-js#2509)
METADATA_BYTES = 8000

_ELEMENTS_IN_ACTIONS = 25
_ELEMENTS_IN_CONTEXT = 10
_TEXT_IN_ELEMENT = {"button": 75, "workflow_button": 75}
_OPTION_ELEMENTS = {
    "static_select": 100,
    "multi_static_select": 100,
    "overflow": 5,
    "checkboxes": 10,
    "radio_buttons": 10,
}
_INTERACTIVE = frozenset(
    {
        *_TEXT_IN_ELEMENT,
        *_OPTION_ELEMENTS,
        "channels_select",
        "conversations_select",
        "datepicker",
        "datetimepicker",
        "email_text_input",
        "external_select",
        "file_input",
        "multi_channels_select",
        "multi_conversations_select",
        "multi_external_select",
        "multi_users_select",
        "number_input",
        "plain_text_input",
        "rich_text_input",
        "timepicker",
        "url_text_input",
        "users_select",
    }
)
_INPUT_ONLY = frozenset({"email_text_input", "file_input", "number_input", "rich_text_input", "url_text_input"})
_BLOCKS = frozenset(
    {"actions", "context", "divider", "file", "header", "image", "input", "markdown", "rich_text", "section", "table"}
    | {"video", "context_actions", "alert", "card", "carousel", "container", "plan", "task_card"}
    | {"data_table", "data_visualization"}
)
_MESSAGE_ONLY = frozenset({"file", "markdown", "table", "context_actions"})


def message_faults(blocks: object) -> list[str]:
    """What Slack would refuse in a message's blocks; empty when it would post them."""
    return [*_blocks(blocks, "/blocks", MESSAGE_BLOCKS, "message")]


def blocks_too_long(blocks: list[Json]) -> bool:
    """Whether a message with markdown blocks is over the undocumented sum that Slack refuses."""
    texts = [block.get("text") for block in blocks]
    spent = sum(len(text) if isinstance(text, str) else len((text or {}).get("text", "")) for text in texts)
    return any(block.get("type") == "markdown" for block in blocks) and spent > MESSAGE_WITH_MARKDOWN


def view_faults(view: object) -> list[str]:
    """What Slack would refuse in a modal or home tab."""
    return [*_view(view)]


def metadata_error(metadata: object) -> str:
    """Slack's error for this message metadata, or `""`."""
    if not isinstance(metadata, dict):
        return "invalid_metadata_format"
    if not metadata:
        return ""  # an empty object removes what was there
    if not isinstance(metadata.get("event_type"), str) or not isinstance(metadata.get("event_payload"), dict):
        return "invalid_metadata_format"
    return "metadata_too_large" if len(json.dumps(metadata).encode()) > METADATA_BYTES else ""


def with_ids(blocks: list[Json], stem: str) -> tuple[Json, ...]:
    """A copy of the blocks in which whatever lacks a block or action id has one, as Slack does when it stores them."""
    copies: list[Json] = json.loads(json.dumps(blocks))
    for at, block in enumerate(copies):
        block.setdefault("block_id", f"{stem}{at}")
        for number, inside in enumerate([*block.get("elements", []), block.get("accessory"), block.get("element")]):
            if isinstance(inside, dict) and inside.get("type") in _INTERACTIVE:
                inside.setdefault("action_id", f"{stem}{at}_{number}")
    return tuple(copies)


def _fault(what: str, where: str) -> str:
    return f"{what} [json-pointer:{where}]"


def _view(view: object) -> Iterator[str]:
    if not isinstance(view, dict):
        yield _fault("must be an object", "/view")
        return
    if view.get("type") not in {"modal", "home"}:
        yield _fault("unsupported type", "/view/type")
        return
    yield from _titles(view)
    for name, most in (("private_metadata", 3000), ("callback_id", 255), ("external_id", 255)):
        if len(str(view.get(name) or "")) > most:
            yield _fault(f"must be less than {most + 1} characters", f"/view/{name}")
    blocks = view.get("blocks")
    yield from _blocks(blocks, "/view/blocks", VIEW_BLOCKS, str(view["type"]))
    if view["type"] == "modal" and not view.get("submit") and _has_input(blocks):
        yield _fault("missing required field: submit (the view has input blocks)", "/view")
    if len(json.dumps(view).encode()) > VIEW_BYTES:
        yield _fault("view is too large", "/view")


def _titles(view: Json) -> Iterator[str]:
    if view["type"] == "modal":
        yield from _text(view.get("title"), "/view/title", 24, kinds={"plain_text"})
        for name in ("submit", "close"):
            if view.get(name) is not None:
                yield from _text(view[name], f"/view/{name}", 24, kinds={"plain_text"})


def _has_input(blocks: object) -> bool:
    return isinstance(blocks, list) and any(isinstance(one, dict) and one.get("type") == "input" for one in blocks)


def _blocks(blocks: object, where: str, most: int, surface: str) -> Iterator[str]:
    if not isinstance(blocks, list):
        yield _fault("must be an array", where)
        return
    if len(blocks) > most:
        yield _fault(f"no more than {most} items allowed", where)
    seen: set[str] = set()
    actions: set[tuple[str, str]] = set()
    for at, block in enumerate(blocks):
        here = f"{where}/{at}"
        if not isinstance(block, dict) or block.get("type") not in _BLOCKS:
            yield _fault("unsupported type", f"{here}/type")
            continue
        if surface != "message" and block["type"] in _MESSAGE_ONLY:
            yield _fault(f"unsupported type in a {surface}: {block['type']}", f"{here}/type")
        block_id = str(block.get("block_id", ""))
        if len(block_id) > 255:
            yield _fault("must be less than 256 characters", f"{here}/block_id")
        if block_id and block_id in seen:
            yield _fault(f"duplicate block_id: {block_id}", f"{here}/block_id")
        seen.add(block_id)
        yield from _block(block, here)
        for inside in [*(block.get("elements") or []), block.get("accessory"), block.get("element")]:
            key = (block_id, str(inside.get("action_id", ""))) if isinstance(inside, dict) else ("", "")
            if key[1] and block_id and key in actions:
                yield _fault(f"duplicate action_id: {key[1]}", here)
            actions.add(key)
    yield from _sums(blocks, where)


def _sums(blocks: list[object], where: str) -> Iterator[str]:
    known = [block for block in blocks if isinstance(block, dict)]
    if sum(len(str(b.get("text", ""))) for b in known if b.get("type") == "markdown") > MARKDOWN:
        yield _fault(f"markdown text must be less than {MARKDOWN + 1} characters in all", where)
    if sum(b.get("type") == "table" for b in known) > 1:
        yield _fault("only_one_table_allowed", where)


def _block(block: Json, here: str) -> Iterator[str]:
    match block["type"]:
        case "section":
            yield from _section(block, here)
        case "header":
            yield from _text(block.get("text"), f"{here}/text", 150, kinds={"plain_text"})
        case "context":
            yield from _context(block, here)
        case "actions":
            yield from _elements(block, here, _ELEMENTS_IN_ACTIONS)
        case "input":
            yield from _input(block, here)
        case "image":
            yield from _image(block, here)
        case "table":
            yield from _table(block, here)
        case "markdown" if not isinstance(block.get("text"), str) or not block["text"]:
            yield _fault("missing required field: text", here)


def _input(block: Json, here: str) -> Iterator[str]:
    yield from _text(block.get("label"), f"{here}/label", 2000, kinds={"plain_text"})
    if block.get("hint") is not None:
        yield from _text(block["hint"], f"{here}/hint", 2000, kinds={"plain_text"})
    yield from _element(block.get("element"), f"{here}/element", inputs=True)


def _section(block: Json, here: str) -> Iterator[str]:
    fields = block.get("fields")
    if block.get("text") is None and not fields:
        yield _fault("missing required field: text or fields", here)
    if block.get("text") is not None:
        yield from _text(block["text"], f"{here}/text", 3000)
    if fields is not None:
        if not 1 <= len(fields) <= 10:
            yield _fault("no more than 10 items allowed", f"{here}/fields")
        for at, field in enumerate(fields):
            yield from _text(field, f"{here}/fields/{at}", 2000)
    if block.get("accessory") is not None:
        yield from _element(block["accessory"], f"{here}/accessory")


def _context(block: Json, here: str) -> Iterator[str]:
    inside = block.get("elements")
    if not isinstance(inside, list) or not 1 <= len(inside) <= _ELEMENTS_IN_CONTEXT:
        yield _fault(f"must have 1 to {_ELEMENTS_IN_CONTEXT} items", f"{here}/elements")
        return
    for at, one in enumerate(inside):
        if isinstance(one, dict) and one.get("type") == "image":
            yield from _image(one, f"{here}/elements/{at}")
        else:
            yield from _text(one, f"{here}/elements/{at}", 3000)


def _elements(block: Json, here: str, most: int) -> Iterator[str]:
    inside = block.get("elements")
    if not isinstance(inside, list) or not 1 <= len(inside) <= most:
        yield _fault(f"must have 1 to {most} items", f"{here}/elements")
        return
    for at, one in enumerate(inside):
        yield from _element(one, f"{here}/elements/{at}")


def _table(block: Json, here: str) -> Iterator[str]:
    rows = block.get("rows")
    if not isinstance(rows, list) or not rows or len(rows) > 100:
        yield _fault("must have 1 to 100 items", f"{here}/rows")
        return
    for at, row in enumerate(rows):
        if not isinstance(row, list) or not 1 <= len(row) <= 20:
            yield _fault("must have 1 to 20 items", f"{here}/rows/{at}")
            continue
        for number, cell in enumerate(row):
            if not isinstance(cell, dict) or cell.get("type") not in {"raw_text", "rich_text", "raw_number"}:
                yield _fault("unsupported type", f"{here}/rows/{at}/{number}/type")
            elif cell["type"] == "raw_text" and not cell.get("text"):
                yield _fault("must be more than 0 characters", f"{here}/rows/{at}/{number}/text")


def _image(block: Json, here: str) -> Iterator[str]:
    if not (block.get("image_url") or block.get("slack_file")):
        yield _fault("missing required field: image_url", here)
    if not block.get("alt_text"):
        yield _fault("missing required field: alt_text", here)
    if len(str(block.get("image_url", ""))) > 3000:
        yield _fault("must be less than 3001 characters", f"{here}/image_url")


def _element(wire: object, here: str, *, inputs: bool = False) -> Iterator[str]:
    if not isinstance(wire, dict):
        yield _fault("must be an object", here)
        return
    kind = wire.get("type")
    if kind == "image":
        yield from _image(wire, here)
        return
    if kind not in _INTERACTIVE or (kind in _INPUT_ONLY and not inputs) or (inputs and kind in _TEXT_IN_ELEMENT):
        yield _fault(f"unsupported type: {kind}", f"{here}/type")
        return
    if len(str(wire.get("action_id", ""))) > 255:
        yield _fault("must be less than 256 characters", f"{here}/action_id")
    if kind in _TEXT_IN_ELEMENT:
        yield from _button(wire, here, _TEXT_IN_ELEMENT[kind])
    if wire.get("placeholder") is not None:
        yield from _text(wire["placeholder"], f"{here}/placeholder", 150, kinds={"plain_text"})
    if wire.get("confirm") is not None:
        yield from _confirm(wire["confirm"], f"{here}/confirm")
    if kind in _OPTION_ELEMENTS:
        yield from _options(wire, here, _OPTION_ELEMENTS[kind])


def _button(wire: Json, here: str, most: int) -> Iterator[str]:
    yield from _text(wire.get("text"), f"{here}/text", most, kinds={"plain_text"})
    if len(str(wire.get("value", ""))) > 2000:
        yield _fault("must be less than 2001 characters", f"{here}/value")
    if len(str(wire.get("url", ""))) > 3000:
        yield _fault("must be less than 3001 characters", f"{here}/url")
    if wire.get("style") not in {None, "primary", "danger"}:
        yield _fault("must be one of: primary, danger", f"{here}/style")


def _confirm(confirm: object, here: str) -> Iterator[str]:
    if not isinstance(confirm, dict):
        yield _fault("must be an object", here)
        return
    for name, most in (("title", 100), ("text", 300), ("confirm", 30), ("deny", 30)):
        kinds = {"plain_text", "mrkdwn"} if name == "text" else {"plain_text"}
        yield from _text(confirm.get(name), f"{here}/{name}", most, kinds=kinds)


def _options(wire: Json, here: str, most: int) -> Iterator[str]:
    groups = wire.get("option_groups")
    options = [option for group in groups for option in group.get("options", [])] if groups else wire.get("options")
    if not isinstance(options, list) or not 1 <= len(options) <= most:
        yield _fault(f"must have 1 to {most} items", f"{here}/options")
        return
    for at, option in enumerate(options):
        yield from _text(option.get("text"), f"{here}/options/{at}/text", 75)
        if not 1 <= len(str(option.get("value", ""))) <= 150:
            yield _fault("must be less than 151 characters", f"{here}/options/{at}/value")
        if option.get("description") is not None:
            yield from _text(option["description"], f"{here}/options/{at}/description", 75)
    first = wire.get("initial_option")
    if first is not None and first not in options:
        yield _fault("initial option must exactly match one of the options", f"{here}/initial_option")


def _text(wire: object, here: str, most: int, *, kinds: frozenset[str] | set[str] | None = None) -> Iterator[str]:
    if not isinstance(wire, dict) or not isinstance(wire.get("text"), str):
        yield _fault("missing required field: text", here)
        return
    if wire.get("type") not in (kinds or {"plain_text", "mrkdwn"}):
        yield _fault("unsupported type", f"{here}/type")
    if not wire["text"]:
        yield _fault("must be more than 0 characters", f"{here}/text")
    if len(wire["text"]) > most:
        yield _fault(f"must be less than {most + 1} characters", f"{here}/text")
