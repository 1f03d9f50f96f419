"""The gate against a model of it: whatever people, git, the code host, the clock and crashes do, and in any order.

Requests of every kind by several people, approvals in Slack and on the code host, locks, freezes and holds, pushes,
rules that change, merges by hand, and a program that dies before or after any call; the watch (`gate_watch`) says
after each step what must never be. Left out: threads and replicas at once (crash tests, `test_storage_at_once`), real
git, GitHub and kustomize (contract and end-to-end tests), and what cards say.
"""

import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from commands.code_host import Verdict
from tests.unit.gate_fate import Blow
from tests.unit.gate_host import Check
from tests.unit.gate_infra import ANN, ANN_AGAIN, APPS, LOGINS, PAT, RHEA, ROB, STRANGER, VERSIONS
from tests.unit.gate_moves import Moves
from tests.unit.gate_rig import town
from tests.unit.gate_watch import Watch

users = st.sampled_from((ANN, ANN, ROB, RHEA, PAT, ANN_AGAIN, STRANGER))
logins = st.sampled_from(LOGINS)
apps = st.sampled_from(APPS)
environments = st.sampled_from(("production", "production", "preprod", "staging"))
versions = st.sampled_from(VERSIONS)
some = st.integers(0, 3)
scopes = st.sampled_from(["production", "preprod", "web", "web production", "api staging", "all"])
sets = st.sampled_from([("web",), ("api",), ("web", "api"), ("all",)])
managers = st.sampled_from(
    [frozenset({ANN, ANN_AGAIN, ROB, RHEA}), frozenset({ANN, RHEA}), frozenset({ROB}), frozenset(), None]
)
ASKS = ("deploy", "deploy", "later", "glass", "rollback", "restore")
IN_THE_WAY = ("reject", "cancel", "debt", "lock", "lock 10m", "unlock", "unlock", "freeze", "unfreeze")
ON_THE_HOST = ("merge", "close", "pending", "failed", "passed", "owners", "passed")
OUTSIDE = (*ON_THE_HOST, "delete", "branch", "dull", "force", "base", "shared", "settings", "version")
RULES: tuple[dict[str, object], ...] = (
    {"required": 1},
    {"required": 2},
    {"platform": (PAT, RHEA)},
    {"platform": (PAT,)},
    {"frozen": True},
    {"frozen": False},
    {"deployers": "managers"},
    {"deployers": "everyone"},
    {"sound": False},
    {"sound": True},
)


class Gate(RuleBasedStateMachine):
    """One town, and anything that may happen in it. `template` is a database with the schema and nothing in it.

    Few rules with many forms: what must come together for a merge (a request, visits, yeses, rounds) is drawn as often
    as everything that gets into its way.
    """

    template: Path

    def __init__(self) -> None:
        super().__init__()
        self._stack = ExitStack()
        folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory()))
        place = self._stack.enter_context(town(self.template, folder))
        watch = Watch(place)
        self._stack.callback(watch.close)
        self.moves = Moves(place, watch)

    def teardown(self) -> None:
        with self._stack:
            self.moves.settle()

    # ------------------------------------------------------------ people

    @initialize(required=st.integers(1, 2), chosen=sets, user=users)
    def begin(self, required: int, chosen: tuple[str, ...], user: str) -> None:
        """Something runs in staging and waits for production."""
        if required > 1:
            self.moves.rule(required=required)
        for app in APPS:
            self.moves.deploy(PAT, app, "staging", "1.0")
        self.moves.rounds(1)
        self.moves.promote(user, chosen)
        self.moves.visit()

    @rule(user=users, app=apps, environment=environments, version=versions, how=st.sampled_from(ASKS))
    def ask(self, user: str, app: str, environment: str, version: str, how: str) -> None:
        match how:
            case "deploy":
                self.moves.deploy(user, app, environment, version)
            case "later":
                self.moves.deploy(user, app, environment, version, at="+10m")
            case "glass":
                self.moves.deploy(user, app, environment, version, glass=True)
            case "rollback":
                self.moves.rollback(user, app, environment)
            case _:
                self.moves.rollback(user, app, environment, "0.9", exact=True)
        self.moves.visit()

    @rule(user=users, chosen=sets, how=st.sampled_from(["", "", "force", "glass"]))
    def promote(self, user: str, chosen: tuple[str, ...], how: str) -> None:
        self.moves.promote(user, chosen, force=how == "force", glass=how == "glass")
        self.moves.visit()

    @rule(user=users, nth=some, stale=st.booleans())
    def approve(self, user: str, nth: int, stale: bool) -> None:  # noqa: FBT001 - drawn by name
        (self.moves.approve_stale if stale else self.moves.approve)(user, nth)

    @rule(nth=some, first=st.sampled_from([ROB, RHEA]))
    def enough_approve(self, nth: int, first: str) -> None:
        self._approved(nth, first)

    @rule(nth=some, first=st.sampled_from([ROB, RHEA]), steps=st.integers(0, 3))
    def it_goes_on(self, nth: int, first: str, steps: int) -> None:
        """What every flow needs, so that it is drawn often: approvals, a claim, and some steps of the delivery."""
        self._approved(nth, first)
        self.moves.wait(2)
        self.moves.visit()
        self.moves.claim()
        if steps:
            self.moves.deliver(nth, steps)

    def _approved(self, nth: int, first: str) -> None:
        self.moves.visit()
        for user in (first, PAT):
            self.moves.approve(user, nth)
        self.moves.visit()

    @rule(user=users, nth=some, words=scopes, how=st.sampled_from(IN_THE_WAY))
    def get_in_the_way(self, user: str, nth: int, words: str, how: str) -> None:
        match how:
            case "reject":
                self.moves.reject(user, nth)
            case "cancel":
                self.moves.cancel(user, nth)
            case "debt":
                self.moves.look_at_debt(user)
            case "lock":
                self.moves.lock(user, words)
            case "lock 10m":
                self.moves.lock(user, f"{words} 10m")
            case "unlock":
                self.moves.unlock(user, words)
            case "freeze":
                self.moves.freeze(user, "production 10m")
            case _:
                self.moves.unfreeze(user, "production")

    # ------------------------------------------------------------ the world

    @rule(login=logins, nth=some, how=st.sampled_from(["approve", "approve", "changes", "dismiss"]))
    def review(self, login: str, nth: int, how: str) -> None:
        match how:
            case "approve":
                self.moves.review(login, Verdict.APPROVED, nth)
            case "changes":
                self.moves.review(login, Verdict.CHANGES_REQUESTED, nth)
            case _:
                self.moves.dismiss(login, nth)

    @rule(by=logins, nth=some, app=apps, number=st.integers(1, 3), how=st.sampled_from(OUTSIDE))
    def outside(self, by: str, nth: int, app: str, number: int, how: str) -> None:
        match how:
            case "merge":
                self.moves.merge_by_hand("mallory", nth)
            case "close":
                self.moves.close_by_hand("mallory", nth)
            case "pending" | "failed" | "passed":
                self.moves.require(Check(how))
            case "owners":
                self.moves.require(Check.PASSED, owners=True)
            case "delete":
                self.moves.delete_branch(nth)
            case "branch" | "dull" | "force":
                self.moves.push_branch(by, nth, dull=how == "dull", force=how == "force")
            case _:
                self._push_main(app, number, how)

    def _push_main(self, app: str, number: int, what: str) -> None:
        match what:
            case "base":
                self.moves.push_base(app, number)
            case "shared":
                self.moves.push_shared(number)
            case "settings":
                self.moves.push_settings(app, "production", number)
            case _:
                self.moves.push_overlay(app, "production", VERSIONS[number - 1])

    @rule(news=st.sampled_from(RULES), who=managers, ill=st.sampled_from(["", "web"]), how=st.integers(0, 4))
    def change_the_rules(self, news: dict[str, object], who: frozenset[str] | None, ill: str, how: int) -> None:
        """Of the file (how 0 to 2), or who is in the group; the program may know of it at once or not."""
        if how < 3:
            self.moves.rule(**news)
        else:
            self.moves.town.everybody.managers = who
        self.moves.town.health.sick = {ill}
        if how != 0:
            self.moves.look_around()

    # ------------------------------------------------------------ time, and the program

    @rule(seconds=st.sampled_from([1, 1, 30, 30, 125, 600, 15_000, -1, -2]), looks=st.booleans())
    def wait(self, seconds: int, looks: bool) -> None:  # noqa: FBT001 - drawn by name
        """Below nought: until the very second of an expiry, and until the second before it."""
        if seconds < 0:
            self.moves.wait_for_expiry(-1 - seconds)
        else:
            self.moves.wait(seconds)
        if looks:
            self.moves.look_around()

    @rule(nth=some, what=st.sampled_from(["look", "visit", "claim", "deliver", "deliver", "restart", "take over"]))
    def one_thing(self, nth: int, what: str) -> None:
        match what:
            case "look":
                self.moves.look_around()
            case "visit":
                self.moves.visit()
            case "claim":
                self.moves.claim()
            case "deliver":
                self.moves.deliver(nth)
            case "restart":
                self.moves.restart()
            case _:
                self.moves.take_over(nth)

    @rule(count=st.integers(1, 3))
    def rounds(self, count: int) -> None:
        self.moves.rounds(count)

    @rule(calls=st.integers(0, 25), blow=st.sampled_from([one for one in Blow if one is not Blow.INTRUDE]))
    def strike(self, calls: int, blow: Blow) -> None:
        """Something breaks within what the program does next."""
        self.moves.strike(calls, blow)
        self.moves.rounds(2)

    @rule(calls=st.integers(0, 12), app=apps, number=st.integers(1, 3), what=st.integers(0, 6))
    def intrude(self, calls: int, app: str, number: int, what: int) -> None:
        """Somebody acts in the middle of what the program does next."""
        place = self.moves.town
        pushes: list[Callable[[], object]] = [
            lambda: self._push_main(app, number, "base"),
            lambda: self._push_main(app, number, "settings"),
            lambda: self._push_main(app, number, "version"),
            lambda: self.moves.push_branch("mallory", number),
            lambda: place.rule(required=min(number, 2)),
            lambda: self.moves.merge_by_hand("mallory", number),
            lambda: self.moves.dismiss("rob", number),
        ]
        self.moves.strike(calls, Blow.INTRUDE, pushes[what])
        self.moves.round()


def _play(template: Path, examples: int, steps: int, *phases: Phase) -> None:
    machine = type("GateOnTemplate", (Gate,), {"template": template})
    how = settings(
        max_examples=examples,
        stateful_step_count=steps,
        derandomize=True,
        phases=[Phase.generate, *phases],
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(machine, settings=how)


@pytest.mark.timeout(400)  # twelve seconds of work, on machines that do much else at the same time too
def test_no_path_goes_round_the_gate_and_none_is_lost(sqlite_template: Path) -> None:
    _play(sqlite_template, examples=12, steps=30)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_no_long_path_goes_round_the_gate(sqlite_template: Path) -> None:
    _play(sqlite_template, 100, 50, Phase.shrink)
