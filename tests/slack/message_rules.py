"""What every message of ours must keep, as one list of broken rules: Slack's limits, and that nothing outside acts.

Limits come from three places that were written apart: slack_sdk's models, slackblocks' tables, and the stand-in.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

from slack_sdk.models.blocks import Block
from slackblocks import _limits as limits

from bot.sandbox.slack_blocks import message_faults
from bot.slack.blocks import SlackMessage

OURS = re.compile(r"<@[UW][A-Z0-9]{2,}>|<https?://[^\s<>|]+\|[^<>|]+>")
ENTITY = re.compile(r"&(amp|lt|gt);")
UNSEEN = re.compile(
    "[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200b-\u200f\u202a-\u202e\u2066-\u2069\ue000-\uf8ff]"
)
TEXT = 4000
BLOCKS = 50


def broken_rules(message: SlackMessage) -> list[str]:
    """Empty for a message that Slack takes and that says only what we say."""
    blocks = list(message.blocks)
    return [
        *_length("text", message.text, TEXT),
        *_markup("text", message.text),
        *([f"{len(blocks)} blocks"] if len(blocks) > BLOCKS else []),
        *message_faults(blocks),
        *(f"slack_sdk reads another block: {one}" for one in blocks if not _same(one)),
        *(fault for one in blocks for fault in _block(one)),
        *(["something unseen in the blocks"] if UNSEEN.search(json.dumps(blocks, ensure_ascii=False)) else []),
    ]


def _same(block: dict[str, Any]) -> bool:
    parsed = Block.parse(block)
    return parsed is not None and parsed.to_dict() == block


def _block(block: dict[str, Any]) -> Iterator[str]:
    match block["type"]:
        case "header":
            yield from _length("header", block["text"]["text"], limits.HEADER_TEXT_MAX_LENGTH)
        case "section":
            yield from _length("section", block["text"]["text"], limits.TEXT_MAX_LENGTH)
            yield from _mrkdwn(block["text"])
        case "context":
            if not 1 <= len(block["elements"]) <= 10:
                yield f"{len(block['elements'])} elements in a context"
            for one in block["elements"]:
                yield from _length("context", one["text"], limits.TEXT_MAX_LENGTH)
                yield from _mrkdwn(one)
        case "actions":
            for button in block["elements"]:
                yield from _length("button", button["text"]["text"], limits.BUTTON_TEXT_MAX_LENGTH)
                yield from _length("button value", button["value"], limits.BUTTON_VALUE_MAX_LENGTH)
                yield from _length("action_id", button["action_id"], limits.ACTION_ID_MAX_LENGTH)
        case other:
            yield f"a block of a type that no card has: {other}"


def _length(name: str, text: str, most: int) -> Iterator[str]:
    if not text.strip() or len(text) > most:
        yield f"{name} has {len(text)} characters"


def _mrkdwn(text: dict[str, Any]) -> Iterator[str]:
    if text["type"] == "mrkdwn":
        yield from _markup("mrkdwn", text["text"])
        if text.get("verbatim") is not True:
            yield "Slack may turn plain addresses and names into links"
        if text["text"].count("```") % 2:
            yield "an open code block"


def _markup(name: str, text: str) -> Iterator[str]:
    bare = ENTITY.sub("", OURS.sub("", text))
    if re.search(r"[<>&]", bare):
        yield f"{name} has markup that is not ours: …{bare[max(0, re.search(r'[<>&]', bare).start() - 20) :][:60]}"  # type: ignore[union-attr]  # searched just above
    if UNSEEN.search(text):
        yield f"{name} has a character that cannot be seen"
