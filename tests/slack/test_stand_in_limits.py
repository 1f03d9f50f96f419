"""The limits of blocks, views and options in the stand-in: what fits exactly is posted, one more is refused.

Numbers from Slack's Block Kit reference. Left out: images, rich text and video beyond their required fields.
"""

from collections.abc import Callable

import pytest

from bot.sandbox.slack_blocks import blocks_too_long, message_faults, metadata_error, view_faults
from bot.sandbox.slack_model import Json


def plain(length: int) -> Json:
    return {"type": "plain_text", "text": "x" * length}


def mrkdwn(length: int) -> Json:
    return {"type": "mrkdwn", "text": "x" * length}


def button(**more: object) -> Json:
    return {"type": "button", "action_id": "go", "text": plain(5), **more}


def actions(*elements: Json) -> Json:
    return {"type": "actions", "elements": list(elements)}


def confirm(**more: object) -> Json:
    return {"title": plain(5), "text": plain(5), "confirm": plain(5), "deny": plain(5), **more}


def select(kind: str, options: int, *, text: int = 5, value: int = 5) -> Json:
    made = [{"text": plain(text), "value": str(n).rjust(value, "v")} for n in range(options)]
    return {"type": kind, "action_id": "pick", "options": made}


def table(rows: int, columns: int) -> Json:
    return {"type": "table", "rows": [[{"type": "raw_text", "text": "x"}] * columns for _ in range(rows)]}


LIMITS: dict[str, tuple[int, Callable[[int], list[Json]]]] = {
    "blocks in a message": (50, lambda n: [{"type": "divider"}] * n),
    "section text": (3000, lambda n: [{"type": "section", "text": mrkdwn(n)}]),
    "section fields": (10, lambda n: [{"type": "section", "fields": [mrkdwn(5)] * n}]),
    "section field": (2000, lambda n: [{"type": "section", "fields": [mrkdwn(n)]}]),
    "header": (150, lambda n: [{"type": "header", "text": plain(n)}]),
    "context elements": (10, lambda n: [{"type": "context", "elements": [mrkdwn(5)] * n}]),
    "actions elements": (25, lambda n: [actions(*(button(action_id=str(i)) for i in range(n)))]),
    "button text": (75, lambda n: [actions(button(text=plain(n)))]),
    "button value": (2000, lambda n: [actions(button(value="x" * n))]),
    "action_id": (255, lambda n: [actions(button(action_id="x" * n))]),
    "block_id": (255, lambda n: [{"type": "divider", "block_id": "x" * n}]),
    "confirm title": (100, lambda n: [actions(button(confirm=confirm(title=plain(n))))]),
    "confirm text": (300, lambda n: [actions(button(confirm=confirm(text=plain(n))))]),
    "confirm button": (30, lambda n: [actions(button(confirm=confirm(confirm=plain(n))))]),
    "options in a select": (100, lambda n: [actions(select("static_select", n))]),
    "options in an overflow": (5, lambda n: [actions(select("overflow", n))]),
    "option text": (75, lambda n: [actions(select("static_select", 1, text=n))]),
    "option value": (150, lambda n: [actions(select("static_select", 1, value=n))]),
    "table rows": (100, lambda n: [table(n, 1)]),
    "table columns": (20, lambda n: [table(1, n)]),
    "tables": (1, lambda n: [table(1, 1)] * n),
    "markdown in all": (12_000, lambda n: [{"type": "markdown", "text": "x" * (n // 2)}] * 2 + _rest(n)),
}


def _rest(length: int) -> list[Json]:
    return [{"type": "markdown", "text": "x"}] if length % 2 else []


@pytest.mark.parametrize("name", LIMITS)
def test_a_message_at_the_limit_is_posted(name: str) -> None:
    most, make = LIMITS[name]
    assert message_faults(make(most)) == []


@pytest.mark.parametrize("name", LIMITS)
def test_a_message_one_over_the_limit_is_refused(name: str) -> None:
    most, make = LIMITS[name]
    assert message_faults(make(most + 1)) != []


REFUSED: dict[str, list[object]] = {
    "no object": ["text"],
    "an invented block": [{"type": "banner"}],
    "an empty text": [{"type": "section", "text": plain(0)}],
    "a section of nothing": [{"type": "section"}],
    "mrkdwn on a button": [actions(button(text=mrkdwn(5)))],
    "mrkdwn in a header": [{"type": "header", "text": mrkdwn(5)}],
    "an invented style": [actions(button(style="warning"))],
    "no actions": [actions()],
    "two blocks of one id": [{"type": "divider", "block_id": "a"}, {"type": "divider", "block_id": "a"}],
    "two actions of one id": [{"block_id": "a", **actions(button(), button())}],
    "an image nobody can hear": [{"type": "image", "image_url": "https://example.com/x.png"}],
    "a confirm without a text": [actions(button(confirm=confirm(text=None)))],
    "a button as an input": [{"type": "input", "label": plain(5), "element": button()}],
    "an initial option that is none": [
        actions({**select("static_select", 2), "initial_option": {"text": plain(1), "value": "else"}})
    ],
    "an empty cell": [{"type": "table", "rows": [[{"type": "raw_text", "text": ""}]]}],
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_slack_does_not_understand_is_refused(name: str) -> None:
    assert message_faults(REFUSED[name]) != []


def modal(**more: object) -> Json:
    return {"type": "modal", "title": plain(5), "blocks": [{"type": "divider"}], **more}


VIEW_LIMITS: dict[str, tuple[int, Callable[[int], Json]]] = {
    "blocks": (100, lambda n: modal(blocks=[{"type": "divider"}] * n)),
    "title": (24, lambda n: modal(title=plain(n))),
    "submit": (24, lambda n: modal(submit=plain(n))),
    "close": (24, lambda n: modal(close=plain(n))),
    "private_metadata": (3000, lambda n: modal(private_metadata="x" * n)),
    "callback_id": (255, lambda n: modal(callback_id="x" * n)),
}


@pytest.mark.parametrize("name", VIEW_LIMITS)
def test_a_view_fits_up_to_its_limit_and_no_further(name: str) -> None:
    most, make = VIEW_LIMITS[name]
    assert view_faults(make(most)) == []
    assert view_faults(make(most + 1)) != []


def test_a_form_needs_a_submit_button_and_views_take_no_tables() -> None:
    field = {"type": "input", "label": plain(5), "element": {"type": "plain_text_input", "action_id": "a"}}
    assert view_faults(modal(blocks=[field])) != []
    assert view_faults(modal(blocks=[field], submit=plain(5))) == []
    assert view_faults(modal(blocks=[table(1, 1)])) != []


def test_long_markdown_among_other_blocks_is_too_long() -> None:
    fine: list[Json] = [{"type": "markdown", "text": "x" * 12_000}, {"type": "section", "text": mrkdwn(1000)}]
    assert not blocks_too_long(fine)
    assert blocks_too_long([*fine, {"type": "section", "text": mrkdwn(1000)}])


def test_metadata_is_an_event_with_a_payload() -> None:
    assert metadata_error({}) == ""
    assert metadata_error({"event_type": "card", "event_payload": {}}) == ""
    assert metadata_error({"event_type": "card", "event_payload": []}) == "invalid_metadata_format"
    assert metadata_error("card") == "invalid_metadata_format"
