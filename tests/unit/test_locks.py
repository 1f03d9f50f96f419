"""`/deploy lock`, `unlock`, `freeze`, `unfreeze`, what runs out, and what cards say of it, on both databases.

What a lock keeps from starting is `test_blocks`; here is who may, what is recorded and told, and that it happens once.
"""

import json
import threading
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commands import requests, scopes
from commands.blocked import may_start, refresh_blocked
from commands.catalogue import Catalogue
from commands.facts import CatalogueInForce, Facts
from commands.grammar import unsafe_characters
from commands.holds import hold
from commands.locks import expire, lock, unlock
from commands.reasons import ReasonCode, Refused
from commands.requests import Answer
from commands.scopes import Scope
from storage import locks
from storage.database import Database
from storage.models import Card, Kind, LockKind
from storage.phases import Phase, Stage
from storage.unit_of_work import Store
from tests.desk_rig import ALICE, APP, BOB, asker, check_refusal, check_words, deployment, moved
from tests.rows import audit_rows
from tests.unit.lock_rig import (
    GUARDED,
    HOUR,
    NOW,
    OPEN_TO_ALL,
    WINDOW,
    Ask,
    Clock,
    accepted,
    announced,
    frozen,
    known,
    locked,
    put,
    stored,
    unfrozen,
    unlocked,
)

PLATFORM = "U0PLATFORM1"


@pytest.fixture
def clock(store: Store) -> Clock:
    """The store's clock, to be set by hand."""
    made = Clock()
    store.clock = made
    return made


def said(store: Store) -> str:
    """What the channel was told last."""
    return str(json.loads(announced(store)[-1].body)["text"])


# ---------------------------------------------------------------- setting


@pytest.mark.parametrize(
    ("words", "app", "environment"),
    [
        ("all", "", ""),
        ("ALL", "", ""),
        ("production", "", "production"),
        (APP, APP, ""),
        ("website", "web", ""),
        (f"{APP} production", APP, "production"),
        (f"production {APP}", APP, "production"),
        (f"{APP} in production", APP, "production"),
    ],
)
def test_words_name_a_scope_in_either_order(words: str, app: str, environment: str) -> None:
    assert scopes.parse(_catalogue(), words.split(), "").scope == Scope(app, environment)


def test_a_lock_covers_what_its_words_name(store: Store) -> None:
    check_words(accepted(locked(store, f"production {APP}")))
    (one,) = stored(store)
    assert (one.kind, one.app, one.environment) == (LockKind.LOCK, APP, "production")
    assert (one.owner, one.reason, one.lifted_at) == (ALICE, "migration", None)


@pytest.mark.parametrize("words", ["production 2h", "2h production", "production for 2h", "production 120m"])
def test_a_duration_may_stand_anywhere(words: str) -> None:
    assert scopes.parse(_catalogue(), words.split(), "").span == 2 * HOUR


def test_a_duration_counts_from_now(store: Store, clock: Clock) -> None:
    answer = accepted(locked(store, "production 2h"))
    assert stored(store)[0].expires_at == clock.now + 2 * HOUR
    assert "until 2026-11-20 14:00 UTC" in answer.what


def test_a_lock_without_a_duration_stays_until_it_is_lifted(store: Store, clock: Clock) -> None:
    assert "until it is lifted" in accepted(locked(store, "production")).what
    clock.now += timedelta(days=400)
    assert expire(store, known()) == 0
    with store.read() as uow:
        assert len(locks.in_force(uow, uow.now)) == 1


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("", ReasonCode.BAD_USAGE),
        ("2h", ReasonCode.BAD_USAGE),
        ("production 2h 3h", ReasonCode.BAD_USAGE),
        (f"{APP} production staging", ReasonCode.BAD_USAGE),
        ("production 2w", ReasonCode.BAD_TIME),
        ("production 99d", ReasonCode.BAD_TIME),
        ("production 0m", ReasonCode.BAD_TIME),
        ("prod", ReasonCode.UNKNOWN_APP),
        ("../..", ReasonCode.UNKNOWN_APP),
        ("web prod", ReasonCode.UNKNOWN_ENVIRONMENT),
        ("wob production", ReasonCode.UNKNOWN_APP),
        ("all production", ReasonCode.UNKNOWN_APP),
    ],
)
def test_words_that_name_nothing_are_refused(words: str, reason: ReasonCode) -> None:
    with pytest.raises(Refused) as refused:
        scopes.parse(_catalogue(), words.split(), "`/deploy lock production`")
    assert refused.value.reason is reason
    assert refused.value.next_step


@given(
    st.lists(st.one_of(st.text(max_size=80), st.sampled_from(["all", "web", "production", "for", "2h"])), max_size=5)
)
def test_whatever_is_typed_is_a_scope_or_a_refusal_that_can_be_read(words: list[str]) -> None:
    found = _scope_or_refusal(words)
    if isinstance(found, Refused):
        assert unsafe_characters(found.what + found.next_step) is None
        assert len(found.what) < 500
    else:
        assert scopes.environments(_catalogue(), found)


def _scope_or_refusal(words: list[str]) -> Scope | Refused:
    try:
        return scopes.parse(_catalogue(), words, "`/deploy lock production`").scope
    except Refused as refused:
        return refused


@pytest.mark.parametrize("ask", [locked, frozen, unlocked, unfrozen])
def test_what_is_refused_sets_nothing_and_tells_nobody(store: Store, ask: Ask) -> None:
    check_refusal(store, ask(store, "prod"), ReasonCode.UNKNOWN_APP)
    assert stored(store) == []
    assert announced(store) == []


@pytest.mark.parametrize(("word", "meant"), [("prod", "`production`"), ("my-aplication", f"`{APP}`")])
def test_the_nearest_names_are_offered(store: Store, word: str, meant: str) -> None:
    assert meant in locked(store, word).next_step


def test_a_word_that_is_an_app_and_an_environment_is_asked_back(store: Store) -> None:
    text = OPEN_TO_ALL.replace("  web:", "  staging: {image: registry.company.com/s}\n  web:")
    check_refusal(store, locked(store, "staging", text=text), ReasonCode.BAD_USAGE)
    accepted(locked(store, "staging staging", text=text))


@pytest.mark.parametrize("ask", [locked, frozen])
def test_a_reason_is_asked_for_with_the_words_that_were_typed(store: Store, ask: Ask) -> None:
    answer = ask(store, "production 2h", "")
    check_refusal(store, answer, ReasonCode.REASON_REQUIRED)
    assert "production 2h --reason" in answer.next_step


@pytest.mark.parametrize(("reason", "code"), [("x" * 501, ReasonCode.BAD_USAGE), ("a\u202eb", ReasonCode.UNSAFE_TEXT)])
def test_a_reason_that_cannot_be_read_as_it_is_is_refused(store: Store, reason: str, code: ReasonCode) -> None:
    check_refusal(store, locked(store, "production", reason), code)
    assert stored(store) == []


def test_a_freeze_takes_a_duration_and_no_app(store: Store) -> None:
    check_refusal(store, frozen(store, "production"), ReasonCode.BAD_USAGE)
    answer = frozen(store, f"{APP} production 2h")
    check_refusal(store, answer, ReasonCode.BAD_USAGE, before=1)
    assert f"/deploy lock {APP} production" in answer.next_step
    accepted(frozen(store, "all 2h"))
    assert [(one.kind, one.app, one.environment) for one in stored(store)] == [(LockKind.FREEZE, "", "")]


@pytest.mark.parametrize(("ask", "action"), [(locked, "lock:set"), (frozen, "freeze:set")], ids=["lock", "freeze"])
def test_it_is_recorded_and_told_in_the_channel(store: Store, clock: Clock, ask: Ask, action: str) -> None:
    accepted(ask(store, "production 2h"))
    (row,) = audit_rows(store)
    (one,) = stored(store)
    assert (row.action, row.actor, row.environment, row.team_id) == (action, ALICE, "production", "T1")
    details = json.loads(row.details)
    assert (details["lock"], details["reason"]) == (one.id, one.reason)
    assert details["expires_at"] == (clock.now + 2 * HOUR).isoformat()
    (note,) = announced(store)
    assert note.channel == "C0DEPLOYMENTS"
    for part in (ALICE, "`production`", "until 2026-11-20 14:00 UTC", f"`{one.reason}`", f"un{one.kind} production"):
        assert part in said(store)


def test_a_lock_of_an_app_is_told_in_the_apps_channel(store: Store) -> None:
    accepted(locked(store, "web"))
    accepted(locked(store, APP))
    assert [note.channel for note in announced(store)] == ["C0WEB", "C0DEPLOYMENTS"]


def test_whoever_locks_is_told_what_goes_on_and_what_waits(store: Store) -> None:
    put(store, "running001", phase=Phase.RUNNING, stage=Stage.ROLLOUT)
    put(store, "waiting001")
    put(store, "elsewhere1", environment="staging", phase=Phase.RUNNING)
    put(store, "preview001", kind=Kind.PREVIEW)
    rows = accepted(locked(store, "production")).rows
    assert len(rows) == 2
    assert "running001" in rows[0].text
    assert "Waiting there now: 1." in rows[1].text


def test_a_delivery_that_comes_twice_locks_once(store: Store) -> None:
    request = requests.Lock(("production",), "migration")
    answers = [lock(store, known(), asker(key="again"), request) for _ in range(2)]
    assert answers[0] == answers[1]
    assert len(stored(store)) == len(audit_rows(store)) == len(announced(store)) == 1


# ---------------------------------------------------------------- twice


def test_a_second_lock_of_the_same_scope_is_refused_with_whose_it_is(store: Store) -> None:
    accepted(locked(store, "production 2h"))
    answer = locked(store, "production", by=BOB)
    check_refusal(store, answer, ReasonCode.LOCKED, before=1)
    assert ALICE in answer.what
    assert "`migration`" in answer.what
    check_refusal(store, _second_freeze(store), ReasonCode.FROZEN, before=3)
    assert len(stored(store)) == 2


def _second_freeze(store: Store) -> Answer:
    accepted(frozen(store, "production 2h"))
    return frozen(store, "production 2h", by=BOB)


@pytest.mark.parametrize("other", ["all", APP, f"{APP} production", "staging"])
def test_another_scope_can_be_locked_by_somebody_else(store: Store, other: str) -> None:
    accepted(locked(store, "production"))
    accepted(locked(store, other, by=BOB))
    assert len(stored(store)) == 2


@pytest.mark.parametrize(
    ("words", "reason", "hours", "kept"),
    [
        ("production 4h", "", 5, "migration"),
        ("production", "longer than thought", 2, "longer than thought"),
        ("production 1h", "shorter", 2, "shorter"),
    ],
)
def test_ones_own_lock_gets_a_new_time_or_reason(
    store: Store, clock: Clock, words: str, reason: str, hours: int, kept: str
) -> None:
    accepted(locked(store, "production 2h"))
    clock.now += HOUR
    check_words(accepted(locked(store, words, reason)))
    (one,) = stored(store)
    assert (one.expires_at, one.reason) == (NOW + hours * HOUR, kept)
    row = audit_rows(store)[-1]
    assert row.action == "lock:extend"
    assert "14:00 UTC: `migration`" in json.loads(row.details)["before"]
    assert len(announced(store)) == 2


def test_each_change_of_ones_own_lock_is_told(store: Store, clock: Clock) -> None:
    for _ in range(3):
        accepted(locked(store, "production 2h"))
        clock.now += HOUR
    assert len(announced(store)) == 3


def test_a_lock_that_ran_out_is_no_lock_to_the_next_one(store: Store, clock: Clock) -> None:
    accepted(locked(store, "production 2h"))
    clock.now += 2 * HOUR
    accepted(locked(store, "production 2h", by=BOB))
    with store.read() as uow:
        assert [one.owner for one in locks.in_force(uow, uow.now)] == [BOB]


def test_of_two_who_lock_at_once_one_is_told_of_the_other(store: Store, database_url: str) -> None:
    replica = Store(Database(database_url))
    answers: list[Answer] = []
    start = threading.Barrier(2)

    def click(where: Store, who: str) -> None:
        start.wait()
        answers.append(locked(where, "production", by=who))

    threads = [threading.Thread(target=click, args=pair) for pair in ((store, ALICE), (replica, BOB))]
    for one in threads:
        one.start()
    for one in threads:
        one.join(timeout=30)
    replica.database.close()
    assert sorted(answer.reason for answer in answers) == [ReasonCode.ACCEPTED, ReasonCode.LOCKED]
    assert len(stored(store)) == 1


# ---------------------------------------------------------------- lifting


def test_a_lock_is_lifted_by_whoever_set_it(store: Store) -> None:
    accepted(locked(store, "production"))
    answer = accepted(unlocked(store, "production", "done"))
    check_words(answer)
    (one,) = stored(store)
    assert one.lifted_by == ALICE
    assert one.lifted_at is not None
    assert audit_rows(store)[-1].action == "lock:lift"
    assert json.loads(audit_rows(store)[-1].details)["why"] == "done"
    assert "their own lock on `production`: `done`" in said(store)


def test_a_lock_that_somebody_else_lifts_is_told_with_both_names(store: Store) -> None:
    accepted(locked(store, "production"))
    accepted(unlocked(store, "production", by=BOB))
    row = audit_rows(store)[-1]
    assert (row.action, row.actor, json.loads(row.details)["owner"]) == ("lock:lift", BOB, ALICE)
    assert said(store).index(BOB) < said(store).index(ALICE)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("staging", "There is nothing to end"),
        (APP, "`/deploy unlock production` ends it"),
        (f"{APP} production", "`/deploy unlock production` ends it"),
        ("all", "`/deploy unlock production` ends it"),
    ],
)
def test_what_is_not_locked_as_such_is_refused_with_what_is(store: Store, words: str, told: str) -> None:
    accepted(locked(store, "production"))
    answer = unlocked(store, words)
    check_refusal(store, answer, ReasonCode.NOT_LOCKED, before=1)
    assert told in answer.next_step


def test_a_lock_is_lifted_once(store: Store) -> None:
    accepted(locked(store, "production"))
    accepted(unlocked(store, "production"))
    check_refusal(store, unlocked(store, "production"), ReasonCode.NOT_LOCKED, before=2)


def test_unlocking_takes_no_duration(store: Store) -> None:
    accepted(locked(store, "production"))
    check_refusal(store, unlocked(store, "production 2h"), ReasonCode.BAD_USAGE, before=1)
    assert stored(store)[0].lifted_at is None


def test_what_still_holds_is_told_to_whoever_lifts(store: Store) -> None:
    accepted(locked(store, "all"))
    accepted(frozen(store, "production 2h"))
    accepted(locked(store, "staging"))
    accepted(locked(store, "production"))
    rows = accepted(unlocked(store, "production")).rows
    assert len(rows) == 2
    assert "the lock on everything" in rows[0].text
    assert "`/deploy unfreeze production` ends it" in rows[1].text


def test_a_freeze_is_ended_by_unfreeze_alone(store: Store) -> None:
    accepted(frozen(store, "production 2h"))
    check_refusal(store, unlocked(store, "production"), ReasonCode.NOT_LOCKED, before=1)
    accepted(unfrozen(store, "production", by=BOB))
    assert audit_rows(store)[-1].action == "freeze:lift"
    check_refusal(store, unfrozen(store, "production"), ReasonCode.NOT_LOCKED, before=3)


def test_a_freeze_of_the_catalogue_is_ended_by_the_catalogue_alone(store: Store, clock: Clock) -> None:
    clock.now = NOW.replace(hour=17)
    answer = unfrozen(store, "production", text=WINDOW)
    check_refusal(store, answer, ReasonCode.NOT_LOCKED)
    assert "`weekend`" in answer.next_step


# ---------------------------------------------------------------- who may


@pytest.mark.parametrize(
    ("user", "words", "reason"),
    [
        (PLATFORM, "production", ReasonCode.ACCEPTED),  # an approver there
        ("U0RELEASE1", "production", ReasonCode.ACCEPTED),  # a deployer there
        (BOB, "production", ReasonCode.NOT_PERMITTED),
        (BOB, "staging", ReasonCode.ACCEPTED),
        (BOB, APP, ReasonCode.NOT_PERMITTED),  # it runs in production too
        (BOB, f"{APP} staging", ReasonCode.ACCEPTED),
        (BOB, f"{APP} production", ReasonCode.NOT_PERMITTED),
        (BOB, "all", ReasonCode.NOT_PERMITTED),
        (PLATFORM, "all", ReasonCode.ACCEPTED),
    ],
)
def test_locking_takes_the_right_for_every_environment_it_reaches(
    store: Store, user: str, words: str, reason: ReasonCode
) -> None:
    members = known(GUARDED, {"S0RELEASE": frozenset({"U0RELEASE1"})})
    answer = lock(store, members, asker(user), requests.Lock(tuple(words.split()), "migration"))
    if reason is ReasonCode.ACCEPTED:
        accepted(answer)
    else:
        check_refusal(store, answer, reason)
        assert "`release-managers` or `platform-team`" in answer.what


def test_whose_membership_cannot_be_read_is_not_let_through(store: Store) -> None:
    check_refusal(store, locked(store, "production", by=BOB, text=GUARDED), ReasonCode.GROUP_UNREADABLE)
    accepted(locked(store, "production", by=PLATFORM, text=GUARDED))  # the file itself names them


def test_lifting_takes_the_same_right_but_for_ones_own(store: Store) -> None:
    accepted(locked(store, "production", by=BOB))
    nobody = known(GUARDED, {"S0RELEASE": frozenset()})
    request = requests.Unlock(("production",))
    check_refusal(store, unlock(store, nobody, asker(ALICE), request), ReasonCode.NOT_PERMITTED, before=1)
    accepted(unlock(store, nobody, asker(BOB), request))


def test_a_member_of_a_team_on_the_code_host_is_known_by_their_login(store: Store) -> None:
    text = GUARDED.replace("release-managers: {slack: S0RELEASE}", "release-managers: {github: company/release}")
    text += "people:\n  bob: {slack: U0BOB, github: octo-bob}\n"
    request = requests.Lock(("production",), "migration")
    unreadable = known(text)
    check_refusal(store, lock(store, unreadable, asker(BOB), request), ReasonCode.GROUP_UNREADABLE)
    others = replace(unreadable, teams={"company/release": frozenset({"octo-eve"})})
    check_refusal(store, lock(store, others, asker(BOB), request), ReasonCode.NOT_PERMITTED, before=1)
    accepted(lock(store, replace(others, teams={"company/release": frozenset({"octo-bob"})}), asker(BOB), request))


def test_strangers_lock_nothing(store: Store) -> None:
    answer = lock(store, known(), asker(team="T2"), requests.Lock(("production",), "x"))
    check_refusal(store, answer, ReasonCode.WRONG_WORKSPACE)


def test_nothing_is_locked_without_a_catalogue(store: Store) -> None:
    none = Facts(CatalogueInForce(), team_id="T1")
    answer = lock(store, none, asker(), requests.Lock(("production",), "x"))
    check_refusal(store, answer, ReasonCode.CATALOGUE_MISSING)


# ---------------------------------------------------------------- running out


def test_what_ran_out_is_recorded_and_told_once(store: Store, clock: Clock) -> None:
    accepted(locked(store, "production 1h"))
    accepted(frozen(store, "staging 2h"))
    clock.now = NOW + HOUR - timedelta(microseconds=1)
    assert expire(store, known()) == 0
    clock.now = NOW + HOUR
    assert [expire(store, known()) for _ in range(2)] == [1, 0]
    row = audit_rows(store)[-1]
    assert (row.action, row.actor, row.environment) == ("lock:expire", "locktender", "production")
    assert "is over" in said(store)
    clock.now = NOW + 2 * HOUR
    assert expire(store, known()) == 1
    assert audit_rows(store)[-1].action == "freeze:expire"
    assert len(announced(store)) == 4


def test_two_replicas_tell_of_it_once(store: Store, clock: Clock, database_url: str) -> None:
    accepted(locked(store, "production 1h"))
    accepted(locked(store, "staging 1h"))
    clock.now += HOUR
    replica = Store(Database(database_url), clock)
    counts: list[int] = []
    threads = [
        threading.Thread(target=lambda where=one: counts.append(expire(where, known()))) for one in (store, replica)
    ]
    for one in threads:
        one.start()
    for one in threads:
        one.join(timeout=30)
    replica.database.close()
    assert sum(counts) == 2
    assert [row.action for row in audit_rows(store)].count("lock:expire") == 2
    assert len(announced(store)) == 4


def test_without_a_catalogue_the_record_alone_tells(store: Store, clock: Clock) -> None:
    accepted(locked(store, "production 1h"))
    clock.now += HOUR
    assert expire(store, Facts(CatalogueInForce(), team_id="T1")) == 1
    assert audit_rows(store)[-1].action == "lock:expire"
    assert len(announced(store)) == 1


# ---------------------------------------------------------------- holds


def _rollback(store: Store, name: str = "roll000001", **more: str) -> None:
    put(store, name, kind=Kind.ROLLBACK, version="1.4.1", reason="error rate", phase=Phase.RUNNING, **more)
    with store.write() as uow:
        row = uow.deployment(name)
        assert row is not None
        hold(uow, _catalogue(), row)


def _catalogue() -> Catalogue:
    found = known().in_force.catalogue
    assert found is not None
    return found


def test_a_rollback_holds_its_target_once(store: Store) -> None:
    _rollback(store)
    with store.write() as uow:
        row = uow.deployment("roll000001")
        assert row is not None
        again = hold(uow, _catalogue(), row)
    (one,) = stored(store)
    assert again.id == one.id
    assert (one.kind, one.app, one.environment, one.deployment_id) == (LockKind.HOLD, APP, "production", "roll000001")
    (row_,) = audit_rows(store)
    assert (row_.action, row_.deployment_id) == ("hold:set", "roll000001")
    assert f"/deploy unlock {APP} production" in said(store)


def test_a_hold_that_was_lifted_stays_lifted(store: Store) -> None:
    _rollback(store)
    accepted(unlocked(store, f"{APP} production", by=BOB))
    assert audit_rows(store)[-1].action == "hold:lift"
    with store.write() as uow:
        row = uow.deployment("roll000001")
        assert row is not None
        hold(uow, _catalogue(), row)
    with store.read() as uow:
        assert locks.in_force(uow, uow.now) == []


def test_a_newer_rollback_takes_the_hold_over(store: Store) -> None:
    _rollback(store)
    moved(store, "roll000001", Phase.SUCCEEDED)
    _rollback(store, "roll000002")
    with store.read() as uow:
        assert [one.deployment_id for one in locks.in_force(uow, uow.now)] == ["roll000002"]
    accepted(unlocked(store, f"{APP} production"))
    with store.read() as uow:
        assert locks.in_force(uow, uow.now) == []


def test_one_unlock_lifts_the_lock_and_the_hold_of_a_target(store: Store) -> None:
    _rollback(store)
    accepted(locked(store, f"{APP} production"))
    answer = accepted(unlocked(store, f"production {APP}"))
    assert "the lock" in answer.what
    assert "the hold" in answer.what
    assert {row.action for row in audit_rows(store)[-2:]} == {"lock:lift", "hold:lift"}


# ---------------------------------------------------------------- cards


def _with_card(store: Store, deployment_id: str) -> None:
    with store.write() as uow:
        uow.session.add(Card(deployment_id=deployment_id, channel="C1", behind=False, not_before=NOW))


def _behind(store: Store, deployment_id: str) -> bool:
    with store.write() as uow:
        card = uow.session.get(Card, deployment_id)
        assert card is not None
        was, card.behind = card.behind, False
        return was


@pytest.mark.parametrize("phase", [Phase.QUEUED, Phase.AWAITING_APPROVAL])
def test_the_card_of_what_waits_says_what_holds_it_up_and_no_longer_does(store: Store, phase: Phase) -> None:
    put(store, "waiting001", phase=phase)
    _with_card(store, "waiting001")
    assert refresh_blocked(store, known()) == 0
    accepted(locked(store, "production"))
    assert [refresh_blocked(store, known()) for _ in range(2)] == [1, 0]
    assert "is locked by" in deployment(store, "waiting001").blocked
    assert _behind(store, "waiting001")
    accepted(unlocked(store, "production"))
    assert [refresh_blocked(store, known()) for _ in range(2)] == [1, 0]
    row = deployment(store, "waiting001")
    assert (row.blocked, row.revision) == ("", 2)
    assert _behind(store, "waiting001")


def test_what_is_not_concerned_is_left_alone(store: Store) -> None:
    put(store, "elsewhere1", environment="staging")
    put(store, "running001", phase=Phase.RUNNING)
    put(store, "ended00001", phase=Phase.FAILED)
    put(store, "preview001", kind=Kind.PREVIEW)
    put(store, "urgent0001", break_glass=True)
    accepted(locked(store, "production"))
    assert refresh_blocked(store, known()) == 0


def test_a_time_that_has_come_clears_the_card(store: Store, clock: Clock) -> None:
    put(store, "later00001", not_before=NOW + HOUR)
    assert refresh_blocked(store, known()) == 1
    assert "2026-11-20 13:00 UTC" in deployment(store, "later00001").blocked
    clock.now += HOUR
    assert refresh_blocked(store, known()) == 1
    assert deployment(store, "later00001").blocked == ""


def test_what_may_start_is_asked_of_the_locks_of_now(store: Store, clock: Clock) -> None:
    put(store, "waiting001")
    accepted(locked(store, "production 1h"))
    asked = []
    for _ in range(2):
        with store.read() as uow:
            (one,) = locks.waiting(uow)
            asked.append(may_start(uow, known())(one))
        clock.now += HOUR
    assert asked == [False, True]
