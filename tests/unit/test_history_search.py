"""Searching the record by every filter at once, on both databases, against a scan that reads every row.

The scan has its own idea of a word: a piece of the row's text with no letter or digit beside it. Speed at a million
rows is in benchmarks/history.py; what people type and read is in test_history and test_parse_audit.
"""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from storage import audit_index
from storage.audit_index import MARK, catch_up
from storage.database import Database
from storage.history import AuditFilter, audit_history, search
from storage.marks import mark
from storage.record_models import AuditRow
from storage.unit_of_work import AuditEntry, Store
from tests.rows import audit_rows

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
APPS, ENVIRONMENTS = ("", "web", "Web", "my-application"), ("", "staging", "production")
ACTORS, IDS = ("U0ALICE", "U0BOB", "locktender", "github:alice"), ("", "0123456789", "0123456abc")
ACTIONS = ("deployment:finish", "deployment:refuse", "change:approve", "change", "external-change")
COMMITS = ("", "ab" * 20, "abc1234" + "0" * 33, "g" * 40, "ABC12345" + "f" * 32)
VERSIONS = ("", "1.4.2", "1.4.20", "1.4", "latest", "v1.4.2-rc.1")
PHASES = ("", "succeeded", "failed", "refused")
SETS: tuple[tuple[str, ...], ...] = ((), (), ("web",), (), ("my-application", "web"), (), (), ("Web", "worker"))
TEXTS = (
    "",
    "Checkout is slow, again",
    "na\u00efve caf\u00e9 \u4f60\u597d",
    "see my-application_1.4.2!",
    "a--b x.y.z",
    "x" * 90,
)
WORDS = (
    "checkout", "SLOW", "slow", "caf\u00e9", "cafe", "\u4f60\u597d", "my-application", "application", "my", "my-appli",
    "1.4.2", "1.4", "4.2", "rc", "abc1234", "abc12", "0123456", "U0ALICE", "alice", "a-b", "a--b", "x.y", "x" * 90,
    "deployment", "approve", "change:approve", "true", "7", "no-such-word", '"', "x' OR 1=1 --", "AND", "NEAR(a b)",
    "*",
)  # fmt: skip


class Clock:
    """Mostly forward; sometimes it is set back by hours, as clocks are."""

    def __init__(self) -> None:
        self.looks = 0

    def __call__(self) -> datetime:
        self.looks += 1
        back = timedelta(hours=5) if self.looks % 17 == 0 else timedelta(0)
        return NOON + timedelta(minutes=self.looks) - back


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    made = Store(Database(database_url), Clock())
    yield made
    made.database.close()


def pick(values: tuple[str, ...], number: int, step: int) -> str:
    return values[number // step % len(values)]


def filled(store: Store, count: int) -> None:
    for first in range(0, count, 3):
        with store.write() as uow:  # rows of one transaction have one time
            for number in range(first, min(first + 3, count)):
                details = {
                    "commit": pick(COMMITS, number, 2),
                    "version": pick(VERSIONS, number, 3),
                    "phase": pick(PHASES, number, 5),
                    "what": pick(TEXTS, number, 1),
                    "apps": list(SETS[number % len(SETS)]),
                    "deep": [{"n": number % 9, "on": True}],
                }
                uow.audit(
                    AuditEntry(
                        pick(ACTIONS, number, 2),
                        actor=pick(ACTORS, number, 3),
                        app=pick(APPS, number, 1),
                        environment=pick(ENVIRONMENTS, number, 4),
                        deployment_id=pick(IDS, number, 7),
                        details={name: value for name, value in details.items() if value},
                    )
                )


def caught_up(store: Store) -> None:
    while catch_up(store):
        pass


# ---------------------------------------------------------------- the scan


def texts(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        for one in value.values():
            yield from texts(one)
    elif isinstance(value, list):
        for one in value:
            yield from texts(one)
    elif not isinstance(value, bool):
        yield str(value)


def says(row: AuditRow, word: str) -> bool:
    """Each run of letters and digits of the word, its inner hyphens and dots kept, stands free in the row's text."""
    everything = " ".join(
        (
            row.action,
            row.app,
            row.environment,
            row.actor,
            row.deployment_id,
            row.reason_code,
            *texts(json.loads(row.details)),
        )
    ).casefold()
    for piece in re.findall(r"[^\W_]+(?:[-._]+[^\W_]+)*", word.casefold()):
        begins = bool(re.fullmatch(r"[0-9a-f]{6,}|[0-9a-z]*[0-9][0-9a-z]*", piece)) and len(piece) >= 6
        end = "" if begins else r"(?![^\W_])"
        if not re.search(rf"(?<![^\W_]){re.escape(piece)}{end}", everything):
            return False
    return True


def is_wished(row: AuditRow, wished: AuditFilter) -> bool:
    details = json.loads(row.details)
    status = "refused" if row.action.endswith(":refuse") else details.get("phase", "")
    commit = details.get("commit", "").lower()
    commit = commit if re.fullmatch("[0-9a-f]+", commit) else ""
    return all(
        (
            wished.app in {"", row.app, *details.get("apps", [])},
            wished.environment in {"", row.environment},
            wished.actor in {"", row.actor},
            wished.deployment_id in {"", row.deployment_id},
            wished.status in {"", status},
            wished.version in {"", details.get("version", "")},
            wished.action in {"", row.action, row.action.split(":")[0]},
            commit.startswith(wished.commit),
            wished.since is None or row.at >= wished.since,
            wished.until is None or row.at < wished.until,
            not wished.before or row.seq < wished.before,
            all(says(row, word) for word in wished.words),
        )
    )


MOMENTS = st.none() | st.integers(-600, 300).map(lambda minutes: NOON + timedelta(minutes=minutes))
WISHES = st.builds(
    AuditFilter,
    app=st.sampled_from((*APPS, "worker", "x' OR 1=1 --", "%")),
    environment=st.sampled_from(ENVIRONMENTS),
    actor=st.sampled_from(("", "", *ACTORS)),
    deployment_id=st.sampled_from(("", "", *IDS)),
    before=st.integers(0, 130),
    limit=st.integers(1, 20),
    since=MOMENTS,
    until=MOMENTS,
    status=st.sampled_from(("", "", *PHASES)),
    commit=st.sampled_from(("", "", "ab", "abc1234", "f")),
    version=st.sampled_from(("", "", *VERSIONS)),
    action=st.sampled_from(("", "", "deployment", "approve", *ACTIONS)),
    words=st.lists(st.sampled_from(WORDS), max_size=2).map(tuple),
)
FEW = st.fixed_dictionaries({}, optional={
    "app": st.sampled_from((*APPS[1:], "worker")), "status": st.sampled_from(PHASES[1:]),
    "words": st.sampled_from(WORDS).map(lambda word: (word,)), "until": MOMENTS, "actor": st.sampled_from(ACTORS),
    "action": st.sampled_from(ACTIONS),
    "before": st.integers(0, 130), "commit": st.sampled_from(("ab", "abc1")), "since": MOMENTS,
}).map(lambda chosen: AuditFilter(**chosen))  # fmt: skip


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(wished=WISHES | FEW, indexed=st.integers(0, 40))
def test_a_search_finds_exactly_what_a_scan_finds(store: Store, wished: AuditFilter, indexed: int) -> None:
    rows = audit_rows(store)
    if not rows:
        filled(store, 120)
        rows = audit_rows(store)
    catch_up(store, indexed)  # the more examples, the further the index has got: in the end, all the way
    scanned = [row.seq for row in reversed(rows) if is_wished(row, wished)]
    with store.read() as uow:
        assert [row.seq for row in audit_history(uow, wished)] == scanned[: wished.limit + 1]


def test_a_word_is_found_where_a_scan_finds_it(store: Store) -> None:
    filled(store, 60)
    rows = audit_rows(store)
    for batch in (1, 60):  # first nearly all rows are behind the index, then none
        catch_up(store, batch)
        for word in WORDS:
            wished = AuditFilter(words=(word,), limit=60)
            with store.read() as uow:
                found = [row.seq for row in audit_history(uow, wished)]
            assert found == [row.seq for row in reversed(rows) if is_wished(row, wished)], (word, batch)


def test_a_time_is_found_also_where_the_clock_went_back(database_url: str) -> None:
    hours = iter([10, 12, 9, 11, 11, 8, 13, 12])
    times: list[datetime] = []

    def clock() -> datetime:
        times.append(datetime(2026, 3, 1, next(hours), tzinfo=UTC))
        return times[-1]

    store = Store(Database(database_url), clock)
    for _ in range(8):
        with store.write() as uow:
            uow.audit(AuditEntry("test:write"))
    written, here = tuple(times), Store(store.database)
    caught_up(here)
    moments = [None, *(datetime(2026, 3, 1, hour, tzinfo=UTC) for hour in range(7, 15))]
    for since in moments:
        for until in moments:
            wished = AuditFilter(since=since, until=until)
            with here.read() as uow:
                found = {row.seq for row in audit_history(uow, wished)}
            within = {
                seq
                for seq, at in enumerate(written, 1)
                if (since is None or at >= since) and (until is None or at < until)
            }
            assert found == within, (since, until)
    store.database.close()


def test_rows_that_the_index_has_not_got_to_are_found_too(store: Store) -> None:
    filled(store, 9)
    assert catch_up(store, 4) == 4
    with store.read() as uow:
        assert [row.seq for row in audit_history(uow, AuditFilter())] == list(range(9, 0, -1))
        assert search(uow, AuditFilter()).unread is None


def test_too_many_of_them_are_named_not_hidden(store: Store) -> None:
    filled(store, 12)
    catch_up(store, 3)
    with store.read() as uow:
        found = search(uow, AuditFilter(limit=20), look_through=5)
    assert found.unread == (4, 7)
    assert [row.seq for row in found.rows] == [12, 11, 10, 9, 8, 3, 2, 1]


def test_an_index_that_broke_off_goes_on_where_it_was(store: Store) -> None:
    filled(store, 12)
    catch_up(store, 5)
    with store.write() as uow:
        assert audit_index.extend(uow, 5) == 5
        uow.session.rollback()  # as a crash would
    with store.read() as uow:
        assert audit_index.progress(uow).seq == 5
    caught_up(store)
    with store.read() as uow:
        assert audit_index.progress(uow).seq == 12
        assert [row.seq for row in audit_history(uow, AuditFilter(limit=20))] == list(range(12, 0, -1))


def test_catching_up_with_nothing_to_do_writes_nothing(store: Store) -> None:
    assert catch_up(store) == 0
    with store.read() as uow:
        assert mark(uow, MARK) == ""


def test_a_database_that_was_never_indexed_is_searched_all_the_same(store: Store) -> None:
    filled(store, 30)
    with store.read() as uow:
        found = audit_history(uow, AuditFilter(app="web", limit=3))
    wished = [row.seq for row in audit_rows(store) if is_wished(row, AuditFilter(app="web"))]
    assert [row.seq for row in found] == wished[:-5:-1]
