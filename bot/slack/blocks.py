"""What messages are made of: blocks, and the text that says everything without them. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bot.slack.text import FALLBACK, SECTION, cut

Block = dict[str, Any]


@dataclass(frozen=True)
class SlackMessage:
    """A message ready to post. `text` says everything: screen readers read only that."""

    text: str
    blocks: tuple[Block, ...]


def fallback(parts: list[str], joiner: str) -> str:
    """The text without blocks, of parts that are escaped; sentences end in a stop, so that they are read as such."""
    said = [part for part in parts if part]
    if joiner == " ":
        said = [part if part.endswith((".", "!", "?", "…")) else f"{part}." for part in said]
    return cut(joiner.join(said), FALLBACK)


def bold(text: str) -> str:
    """Bold ends at a line's end in Slack, so every line is made bold; a star of its own would end it too."""
    return "\n".join(f"*{line.replace('*', '∗')}*" for line in text.split("\n") if line.strip())  # noqa: RUF001 - a star that is no markup


def section(text: str) -> Block:
    """A section of mrkdwn, cut to what fits."""
    return {"type": "section", "text": mrkdwn(cut(text, SECTION))}


def context(text: str) -> Block:
    """A quiet line of mrkdwn."""
    return {"type": "context", "elements": [mrkdwn(cut(text, 2000))]}


def mrkdwn(text: str) -> Block:
    """`verbatim`: Slack must not turn an outside address, channel or `@everyone` into a link or a mention."""
    return {"type": "mrkdwn", "text": text, "verbatim": True}


def button(label: str, action: str, value: str, *, style: str = "") -> Block:
    """A button; `style` is empty, primary or danger."""
    made: Block = {
        "type": "button",
        "text": {"type": "plain_text", "text": label},
        "action_id": action,
        "value": value,
    }
    if style:
        made["style"] = style
    return made


def chunked(lines: Sequence[str], *, most: int = 30) -> list[str]:
    """Lines as texts that each fit a section."""
    chunks: list[str] = []
    for line in lines:
        if chunks and len(chunks[-1]) + len(line) < SECTION - 1:
            chunks[-1] += f"\n{line}"
        else:
            chunks.append(cut(line, SECTION))
    return chunks[:most]
