"""`/deploy status`: what it says of git, of what is on its way, of what ended last, and of how old all that is."""

from datetime import timedelta

import pytest
from sqlalchemy import event

from commands.facts import CatalogueInForce, Facts
from commands.reasons import ReasonCode
from commands.requests import Answer, Status
from commands.status import MOST_ROWS, status
from storage.phases import Phase, Stage
from storage.unit_of_work import Store
from tests.desk_rig import ALICE, APP, MINIMAL, WIDE, asker, broken, check_refusal, check_words, facts, moved, requested
from tests.rows import audit_rows


def ask(store: Store, known: Facts, *words: str) -> Answer:
    answer = status(store, known, asker(), Status(words))
    check_words(answer)
    return answer


def test_every_app_is_told_where_it_runs(store: Store) -> None:
    answer = ask(store, facts(WIDE, images={"staging": "1.4.2", "production": "1.3.0"}))
    assert answer.reason is ReasonCode.ANSWERED
    assert [row.text for row in answer.rows] == [
        "`web` in `dev`: not set in git",
        "`my-application` in `dev`: not set in git",
        "`my-application` in `staging`: `1.4.2`",
        "`my-application` in `production`: `1.3.0`",
    ]
    assert "`ccccccc`" in answer.what


def test_it_is_not_recorded(store: Store) -> None:
    ask(store, facts())
    assert audit_rows(store) == []


@pytest.mark.parametrize(
    ("words", "rows"),
    [((APP,), 3), (("staging",), 1), ((APP, "staging"), 1), (("website",), 1), (("web", "web"), 1), (("dev",), 2)],
)
def test_apps_and_environments_can_be_named_in_any_order(store: Store, words: tuple[str, ...], rows: int) -> None:
    for given in (words, tuple(reversed(words))):
        assert len(ask(store, facts(WIDE), *given).rows) == rows


def test_what_is_on_its_way_is_told_with_its_stage_and_id(store: Store) -> None:
    running, waiting = requested(store, facts(), "1"), requested(store, facts(), "2")
    moved(store, running, Phase.RUNNING, Stage.ROLLOUT)
    (row,) = ask(store, facts(), "staging").rows
    assert f"rollout (`{running}`)" in row.detail
    assert f"waiting (`{waiting}`)" in row.detail


def test_what_ended_last_is_told_when_nothing_is_on_its_way(store: Store) -> None:
    moved(store, requested(store, facts()), Phase.FAILED)
    (row,) = ask(store, facts(), "staging").rows
    assert "last: `1.4.2`" in row.detail
    assert ALICE in row.detail
    assert "failed just now" in row.detail


@pytest.mark.parametrize(
    ("age", "words"),
    [
        (timedelta(seconds=100), "`ccccccc`)"),
        (timedelta(minutes=5), "last read 5 minutes ago"),
        (timedelta.max, "last read 365 days ago"),
    ],
)
def test_old_knowledge_says_how_old_it_is(store: Store, age: timedelta, words: str) -> None:
    assert words in ask(store, facts(images={"staging": "1"}, age=age)).what


def test_what_is_in_doubt_is_said(store: Store) -> None:
    assert "has not been read yet" in ask(store, facts()).what
    assert "has faults" in ask(store, broken(facts())).what


def test_an_unknown_word_is_refused_with_what_was_meant(store: Store) -> None:
    answer = ask(store, facts(), "stagin")
    check_refusal(store, answer, ReasonCode.UNKNOWN_APP)
    assert "Did you mean `staging`?" in answer.next_step


@pytest.mark.parametrize("word", ["../..", "\u202egnigats", "x" * 4000, "`<!channel>`"])
def test_a_hostile_word_is_shown_harmlessly(store: Store, word: str) -> None:
    check_refusal(store, ask(store, facts(), word), ReasonCode.UNKNOWN_APP)


def test_without_a_catalogue_the_reason_is_told(store: Store) -> None:
    answer = status(store, Facts(CatalogueInForce(), team_id="T1"), asker(), Status())
    check_refusal(store, answer, ReasonCode.CATALOGUE_MISSING)


def test_many_apps_are_cut_to_a_page_and_cost_no_more_than_a_page(store: Store) -> None:
    apps = "".join(f"  app-{number}: {{image: registry.company.com/app-{number}}}\n" for number in range(200))
    known = facts(MINIMAL.replace("apps:\n", f"apps:\n{apps}"))
    statements: list[str] = []

    def note(*words: object) -> None:
        statements.append(str(words[2]))

    event.listen(store.database.engine, "before_cursor_execute", note)
    answer = ask(store, known)
    assert len(answer.rows) == MOST_ROWS
    assert f"{201 * 3 - MOST_ROWS} more" in answer.next_step
    assert len(statements) < MOST_ROWS * 3
