"""The one way of outside text into Slack. Left out: what is made of it (test_cards)."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.slack.text import cut, escape, foreign, link, middle, plain, quoted
from commands.requests import mention

ANY = st.text(st.characters(exclude_categories=()), max_size=300)


@given(ANY)
def test_nothing_outside_becomes_markup_a_mention_or_a_link(text: str) -> None:
    safe = escape(foreign(text))
    assert "<" not in safe
    assert ">" not in safe
    assert re.sub(r"&(amp|lt|gt);", "", safe).count("&") == 0
    safe.encode()  # no half of a surrogate pair is left, which no database or network takes


@given(ANY, st.integers(1, 200))
def test_cutting_never_leaves_half_an_entity_or_half_a_mention(text: str, most: int) -> None:
    whole = escape(f"{mention('U0DEVELOPER')}{text}{mention('W1')}&")
    short = cut(whole, most)
    assert len(short) <= most
    assert re.sub(r"<@[UW][A-Z0-9]+>", "", short).count("<") == 0
    assert re.sub(r"&(amp|lt|gt);", "", short).count("&") == 0


@given(ANY, st.integers(20, 3000))
def test_a_quotation_is_one_closed_code_block_and_keeps_the_end(text: str, most: int) -> None:
    block = quoted(f"{text}THE END", most)
    assert len(block) <= most
    assert block.startswith("```\n")
    assert block.endswith("THE END\n```")
    assert block.count("```") == 2


def test_a_quotation_cut_in_an_entity_does_not_show_its_rest() -> None:
    for length in range(40, 60):
        shown = quoted("&" * 40 + "x", length)
        assert re.sub(r"&amp;", "", shown) == "```\n…x\n```"


@pytest.mark.parametrize("unseen", ["\u202e", "\u2066", "\u200b", "\u061c", "\ufeff", "\u0000", "\x9b", "\U000e0041"])
def test_what_cannot_be_seen_is_dropped_everywhere(unseen: str) -> None:
    assert foreign(f"a{unseen}b") == "ab"
    assert escape(f"a{unseen}b") == "ab"
    assert plain(f"a{unseen}b") == "ab"


def test_a_build_logs_colours_are_dropped_whole() -> None:
    assert foreign("\x1b[1;31mFAILED\x1b[0m in 3 s\x1b[K") == "FAILED in 3 s"


def test_lines_and_tabs_of_a_log_stay() -> None:
    assert foreign("a\tb\nc") == "a\tb\nc"


def test_only_user_ids_are_mentioned() -> None:
    assert escape(mention("U0DEVELOPER")) == "<@U0DEVELOPER>"
    assert escape(mention("locktender")) == "locktender"
    assert plain(mention("U0DEVELOPER")) == "@U0DEVELOPER"


def test_a_link_is_made_of_an_address_and_nothing_else() -> None:
    assert link("https://ci.example/7/", "deploy #7") == "<https://ci.example/7/|deploy #7>"
    assert link("https://ci.example/a|b c>d&e", "x|y<z") == "<https://ci.example/a%7Cb%20c%3Ed&amp;e|x¦y&lt;z>"
    assert link("javascript:alert(1)", "deploy #7") == "deploy #7"
    assert link("", "deploy") == "deploy"


def test_the_middle_of_a_long_name_goes_first() -> None:
    short = middle("sha-" + "0" * 100 + "-hotfix", 28)
    assert len(short) == 28
    assert short.startswith("sha-0")
    assert short.endswith("-hotfix")
