"""`/audit history`: filters, pages and what a row says, against a scan of the whole record.

Full text, times and exports come with the larger form of the command.
"""

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from commands.audit import PAGE, history
from commands.deploy import deploy
from commands.reasons import ReasonCode
from commands.requests import Answer, Deploy, History
from storage.history import AuditFilter, audit_history
from storage.unit_of_work import AuditEntry, Store
from tests.desk_rig import ALICE, APP, BOB, asker, check_refusal, check_words, facts, requested
from tests.rows import audit_rows

APPS, ENVIRONMENTS, ACTORS, IDS = ("", "web", "shop"), ("", "dev", "prod"), (ALICE, BOB, "locktender"), ("", "d1", "d2")


def ask(store: Store, request: History, **who: str) -> Answer:
    answer = history(store, facts(), asker(**who), request)
    check_words(answer)
    return answer


def filled(store: Store, count: int) -> None:
    with store.write() as uow:
        for number in range(count):
            uow.audit(
                AuditEntry(
                    "test:write",
                    actor=ACTORS[number % 3],
                    app=APPS[number // 2 % 3],
                    environment=ENVIRONMENTS[number // 3 % 3],
                    deployment_id=IDS[number // 5 % 3],
                )
            )


def test_an_empty_record_says_so_and_reading_it_is_recorded(store: Store) -> None:
    assert ask(store, History()).what == "The record is empty."
    (row,) = audit_rows(store)
    assert (row.action, row.actor) == ("audit:read", ALICE)


def test_pages_lead_from_the_newest_row_to_the_first_without_a_gap(store: Store) -> None:
    filled(store, 25)
    page: History | None = History()
    seen: list[int] = []
    while page is not None:
        answer = ask(store, page)
        numbers = [int(row.text.split()[0].removeprefix("#")) for row in answer.rows]
        assert len(numbers) <= PAGE
        seen += numbers
        page = answer.older
    # Rows that were written while the pages were read are newer: they are on none of them.
    assert seen == list(range(25, 0, -1))


def test_a_page_that_is_exactly_full_has_no_next_one(store: Store) -> None:
    filled(store, PAGE)
    answer = ask(store, History())
    assert len(answer.rows) == PAGE
    assert answer.older is None


def test_a_next_page_keeps_the_filters(store: Store) -> None:
    filled(store, 90)
    wanted = History(app="web", actor=ALICE)
    answer = ask(store, wanted)
    assert answer.older is not None
    assert replace(answer.older, before=0) == wanted


def test_a_filter_without_rows_says_what_was_looked_for(store: Store) -> None:
    filled(store, 3)
    answer = ask(store, History(app="no-such-app", environment="moon\u202e`"))
    assert "`app:no-such-app env:moon\ufffd\ufffd`" in answer.what
    assert answer.next_step


def test_a_row_tells_what_happened_to_what_by_whom(store: Store) -> None:
    deployment_id = requested(store, facts())
    deploy(store, facts(), asker(BOB), Deploy("../..", "1", "`staging\u202e"))
    refused, accepted = ask(store, History()).rows
    assert "deployment:request" in accepted.text
    assert f"`{APP}` in `staging` `1.4.2`" in accepted.text
    assert ALICE in accepted.text
    assert deployment_id in accepted.detail
    assert "deployment:refuse (unknown_app)" in refused.text
    assert BOB in refused.text


def test_a_stranger_reads_nothing(store: Store) -> None:
    filled(store, 3)
    answer = history(store, facts(), asker(team="T2"), History())
    check_refusal(store, answer, ReasonCode.WRONG_WORKSPACE, before=3)
    assert answer.rows == ()


@pytest.mark.parametrize("before", [-1, 10**15, 10**30])
def test_a_page_from_nowhere_is_an_answer_too(store: Store, before: int) -> None:
    filled(store, 3)
    answer = ask(store, History(before=before))
    assert len(answer.rows) == 3


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    wanted=st.builds(
        AuditFilter,
        app=st.sampled_from((*APPS, "x' OR 1=1 --", "%")),
        environment=st.sampled_from(ENVIRONMENTS),
        actor=st.sampled_from(("", *ACTORS)),
        deployment_id=st.sampled_from(IDS),
        before=st.integers(0, 70),
        limit=st.integers(1, 20),
    )
)
def test_any_filter_finds_what_a_scan_of_the_record_finds(store: Store, wanted: AuditFilter) -> None:
    rows = audit_rows(store)
    if not rows:
        filled(store, 60)
        rows = audit_rows(store)
    scanned = [
        row.seq
        for row in reversed(rows)
        if wanted.app in {"", row.app}
        and wanted.environment in {"", row.environment}
        and wanted.actor in {"", row.actor}
        and wanted.deployment_id in {"", row.deployment_id}
        and (not wanted.before or row.seq < wanted.before)
    ]
    with store.read() as uow:
        assert [row.seq for row in audit_history(uow, wanted)] == scanned[: wanted.limit + 1]
