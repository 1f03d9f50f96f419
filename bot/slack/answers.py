"""What whoever asked reads, and replies below a card. Pure: values in, Slack messages out."""

from typing import Any

from bot.slack.audit_pages import older_value
from bot.slack.blocks import Block, SlackMessage, button, fallback, section
from bot.slack.text import FALLBACK, SECTION, cut, escape, foreign, link, quoted
from commands.requests import Answer, Row

OLDER = "audit:older"


def answer_message(answer: Answer) -> SlackMessage:
    """What the person who asked reads."""
    head = f"{'🚫 ' if answer.refused else ''}{answer.what}"
    next_step = cut(escape(answer.next_step), 1000)
    what = cut(escape(head), 1800)
    blocks: list[Block] = [section("\n".join(part for part in (what, next_step) if part))]
    told = [part for part in (what, next_step) if part]
    blocks += [section(chunk) for chunk in _chunks(answer.rows)]
    told += _told_rows(answer.rows)
    if answer.quote:
        blocks.append(section(quoted(answer.quote)))
        told.append(escape(foreign(answer.quote)))
    if answer.older is not None:
        blocks.append({"type": "actions", "elements": [button("Older", OLDER, older_value(answer.older))]})
    return SlackMessage(fallback(told, "\n"), tuple(blocks))


def thread_message(body: dict[str, Any]) -> SlackMessage:
    """A reply below a card: our text, then outside text as a quotation."""
    text = cut(escape(str(body.get("text", ""))), SECTION)
    quote = str(body.get("quote", ""))
    blocks = [section(part) for part in (text, quoted(quote) if quote else "") if part]
    return SlackMessage(fallback([text, escape(foreign(quote))], "\n"), tuple(blocks))


def _chunks(rows: tuple[Row, ...]) -> list[str]:
    """Rows as texts that each fit a section."""
    chunks: list[str] = []
    for row in rows:
        line = cut(f"• {escape(row.text)}", 700)
        if row.url.startswith("http"):
            line += f" {link(row.url, 'open')}"
        if row.detail:
            line += f"\n      {cut(escape(row.detail), 700)}"
        if chunks and len(chunks[-1]) + len(line) < SECTION - 1:
            chunks[-1] += f"\n{line}"
        else:
            chunks.append(line)
    return chunks[:40]


def _told_rows(rows: tuple[Row, ...]) -> list[str]:
    """Rows for the text without blocks: without their details where all of them would not fit."""
    full = [_told_row(row) for row in rows]
    if sum(len(line) + 1 for line in full) < FALLBACK - 600:
        return full
    return [f"• {escape(row.text)}" for row in rows]


def _told_row(row: Row) -> str:
    detail = f" ({escape(row.detail)})" if row.detail else ""
    where = f" {link(row.url, 'open')}" if row.url.startswith("http") else ""
    return f"• {escape(row.text)}{detail}{where}"
