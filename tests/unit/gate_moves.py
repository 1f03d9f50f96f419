"""Everything that can happen to a town, one method each, watched: what the machine plays, and scripts are made of."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from commands import requests
from commands.code_host import PullState, Verdict
from commands.requests import Answer
from storage.models import Change, ChangeState, Deployment, Lock
from storage.phases import Phase
from tests.unit.gate_fate import Blow
from tests.unit.gate_git import MAIN
from tests.unit.gate_host import Check, Pull
from tests.unit.gate_infra import base_path, overlay_path
from tests.unit.gate_rig import Town
from tests.unit.gate_watch import LIVE, ViolationError, Watch

SETTLED_AFTER = 80
"""Rounds without trouble after which everything must have found its place."""


@dataclass
class Moves:
    """Moves in a town. Each ends with the watch's look."""

    town: Town
    watch: Watch

    # ------------------------------------------------------------ people ask

    def deploy(
        self, user: str, app: str, environment: str, version: str, *, at: str = "", glass: bool = False
    ) -> Answer:
        reason = "it burns" if glass else ""
        return self._ask(
            user, requests.Deploy(app, version, environment, reason, at=at, break_glass=glass), glass=glass
        )

    def promote(self, user: str, apps: tuple[str, ...], *, force: bool = False, glass: bool = False) -> Answer:
        request = requests.Promote(apps, reason="weekly release", force=force, break_glass=glass)
        return self._ask(user, request, glass=glass)

    def rollback(self, user: str, app: str, environment: str, to: str = "", *, exact: bool = False) -> Answer:
        return self._ask(user, requests.Rollback(app, environment, to, "it burns", exact))

    def cancel(self, user: str, nth: int) -> None:
        found = [row for row in self.rows(Deployment) if not Phase(row.phase).ended]
        if found:
            self._ask(user, requests.Cancel((found[nth % len(found)].id,)))

    def approve(self, user: str, nth: int = 0) -> Answer | None:
        """Click on a card that shows buttons now."""
        shown = [change.token for change in self.rows(Change) if change.token]
        return self.approve_token(user, shown[nth % len(shown)]) if shown else None

    def approve_stale(self, user: str, nth: int = 0) -> Answer | None:
        """Click on buttons that were shown at some time."""
        shown = list(self.watch.shown)
        return self.approve_token(user, shown[nth % len(shown)]) if shown else None

    def approve_token(self, user: str, token: str) -> Answer:
        self.watch.see()
        answer = self.town.ask(user, requests.Approve(token, "looked at it"))
        self.watch.said_yes(token, user, answer)
        self.watch.look()
        return answer

    def reject(self, user: str, nth: int = 0) -> None:
        shown = [change.token for change in self.rows(Change) if change.token]
        if shown:
            self._ask(user, requests.Reject(shown[nth % len(shown)], "not today"))

    def look_at_debt(self, user: str) -> None:
        for change in self.rows(Change):
            if change.review_due is not None and change.reviewed_at is None:
                self._ask(user, requests.Review(change.id, "looked at it"))

    def lock(self, user: str, words: str) -> Answer:
        return self._ask(user, requests.Lock(tuple(words.split()), "migration"))

    def unlock(self, user: str, words: str) -> Answer:
        return self._ask(user, requests.Unlock(tuple(words.split())))

    def freeze(self, user: str, words: str) -> Answer:
        return self._ask(user, requests.Freeze(tuple(words.split()), "audit"))

    def unfreeze(self, user: str, words: str) -> Answer:
        return self._ask(user, requests.Unfreeze(tuple(words.split())))

    # ------------------------------------------------------------ the code host

    def review(self, login: str, verdict: Verdict, nth: int = 0) -> None:
        if pull := self._pull(nth):
            self.town.host.review(pull.number, login, verdict)
            change = next(one for one in self.rows(Change) if one.branch == pull.branch)
            if verdict is Verdict.APPROVED and change.pr_number is not None:
                self.watch.reviewed(change, login)
        self.watch.look()

    def dismiss(self, login: str, nth: int = 0) -> None:
        if pull := self._pull(nth):
            self.town.host.dismiss(pull.number, login)
        self.watch.look()

    def merge_by_hand(self, login: str, nth: int = 0) -> None:
        if pull := self._pull(nth):
            self.town.host.merge_by_hand(pull.number, login)
        self.watch.look()

    def close_by_hand(self, login: str, nth: int = 0) -> None:
        if pull := self._pull(nth):
            self.town.host.close(pull.number, login)
        self.watch.look()

    def require(self, check: Check, *, owners: bool = False) -> None:
        self.town.host.check, self.town.host.owners_want = check, owners
        self.watch.look()

    # ------------------------------------------------------------ git

    def push_branch(self, by: str, nth: int = 0, *, dull: bool = False, force: bool = False) -> None:
        """Somebody pushes to a change's branch: another file, another version, or what was there before it."""
        if pull := self._pull(nth):
            remote, head = self.town.remote, self.town.host.head(pull)
            if force:
                remote.branches[pull.branch] = remote.commits[head].parents[0]
            elif dull:
                self.town.push({"README.md": f"by {by}\n".encode()}, by, pull.branch)
            else:
                touched = remote.differences(remote.commits[head].parents[0], head)
                path = next((path for path in touched if path.endswith("kustomization.yaml")), "")
                if path:
                    self.town.edit(path, "# settings: 0", "# settings: 1", by, pull.branch)
        self.watch.look()

    def delete_branch(self, nth: int = 0) -> None:
        if pull := self._pull(nth):
            self.town.remote.branches.pop(pull.branch, None)
        self.watch.look()

    def push_base(self, app: str, number: int) -> None:
        """Somebody changes what an app is built from."""
        head = self.town.remote.commits[self.town.remote.branches[MAIN]]
        text = head.files[base_path(app)].decode()
        lines = [f"  replicas: {number}" if "replicas" in line else line for line in text.split("\n")]
        self.town.push({base_path(app): "\n".join(lines).encode()})
        self.watch.look()

    def push_comment(self, app: str, words: str) -> None:
        """Somebody changes what an app is built from, and nothing of what is built."""
        head = self.town.remote.commits[self.town.remote.branches[MAIN]]
        self.town.push({base_path(app): head.files[base_path(app)] + f"# {words}\n".encode()})
        self.watch.look()

    def push_shared(self, number: int) -> None:
        text = f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: quota}}\ndata: {{n: '{number}'}}\n"
        self.town.push({"platform/quota.yaml": text.encode()})
        self.watch.look()

    def push_overlay(self, app: str, environment: str, version: str) -> None:
        """Somebody deploys past us."""
        path = overlay_path(app, environment)
        text = self.town.remote.commits[self.town.remote.branches[MAIN]].files[path].decode()
        lines = [f'  newTag: "{version}"' if "newTag" in line else line for line in text.split("\n")]
        self.town.push({path: "\n".join(lines).encode()})
        self.watch.look()

    def push_settings(self, app: str, environment: str, number: int) -> None:
        """Somebody changes another line of an overlay."""
        path = overlay_path(app, environment)
        text = self.town.remote.commits[self.town.remote.branches[MAIN]].files[path].decode()
        lines = [f"# settings: {number}" if "# settings" in line else line for line in text.split("\n")]
        self.town.push({path: "\n".join(lines).encode()})
        self.watch.look()

    def rule(self, **news: object) -> None:
        self.town.rule(**news)
        self.watch.look()

    # ------------------------------------------------------------ time, and the program

    def wait(self, seconds: float) -> None:
        self.town.clock.forward(seconds)

    def wait_for_expiry(self, before: float = 0.0) -> None:
        """Until so many seconds before the second at which some change expires."""
        ends = [one.expires_at for one in self.rows(Change) if one.state in LIVE and one.expires_at]
        if ends:
            left = (min(ends) - self.town.clock.now).total_seconds() - before
            self.town.clock.forward(max(0.0, left))

    def look_around(self) -> None:
        self._act(self.town.program.look_around)

    def visit(self) -> None:
        self._act(self.town.program.visit)

    def claim(self) -> None:
        before = {one for one, _ in self.town.running()}

        def claim() -> None:
            self.town.program.claim()
            self.watch.claimed(before)

        self._act(claim)

    def deliver(self, nth: int = 0, steps: int = 1) -> None:
        running = self.town.running()
        if running:
            one = running[nth % len(running)]
            self._act(lambda: self.town.program.deliver(*one, steps))

    def round(self, steps: int = 6) -> None:
        """Everything that the program does by itself, once."""
        self.look_around()
        self.visit()
        self.claim()
        for one in range(len(self.town.running())):
            self.deliver(one, steps)

    def rounds(self, count: int, seconds: float = 3.0) -> None:
        for _ in range(count):
            self.round()
            self.wait(seconds)

    def restart(self) -> None:
        self.town.restart()
        self.watch.look()

    def take_over(self, nth: int = 0) -> None:
        """A replica gives up on another, whose delivery goes on all the same with a stale attempt."""
        running = self.town.running()
        if running:
            name, attempt = running[nth % len(running)]
            self.town.take_over(name)
            self._act(lambda: self.town.program.deliver(name, attempt, 2))

    def strike_at(self, name: str, blow: Blow, intrusion: Callable[[], object] = lambda: None) -> None:
        self.town.fate.arm_at(name, blow, intrusion)

    def strike(self, calls: int, blow: Blow, intrusion: Callable[[], object] = lambda: None) -> None:
        self.town.fate.arm(calls, blow, intrusion)

    # ------------------------------------------------------------ the end of all trouble

    def settle(self) -> None:
        """Nobody does anything wrong any more: everything waits for a person visibly, or ends."""
        town = self.town
        town.fate.disarm()
        town.health.sick.clear()
        self.require(Check.PASSED)
        town.everybody.managers = town.everybody.managers or frozenset()
        if not town.rules.sound:
            self.rule(sound=True)
        self._until_quiet()
        self._all_wait_for_somebody()
        if town.rules.frozen:
            self.rule(frozen=False)
        with town.store.write() as uow:
            for lock in uow.session.scalars(select(Lock)):
                lock.lifted_at = lock.lifted_at or uow.now
        town.clock.forward(40 * 86_400)
        self._until_quiet()
        for row in self.rows(Deployment):
            if not Phase(row.phase).ended:
                raise ViolationError(f"{row.app} in {row.environment} ({row.id}) never ended: {row.phase}")
        for change in self.rows(Change):
            self._tidied(change)

    def _until_quiet(self) -> None:
        for _ in range(SETTLED_AFTER):
            self.round()
            self.wait(31)
            if not self.town.running() and not self._busy():
                return
        raise ViolationError(f"it does not come to rest: {[(one.state, one.note) for one in self.rows(Change)]}")

    def _busy(self) -> bool:
        """Whether anything would still move by itself."""
        now = self._print()
        self.round()
        self.wait(31)
        return now != self._print()

    def _print(self) -> list[tuple[str, ...]]:
        found: list[tuple[str, ...]] = [(row.id, row.phase, row.blocked) for row in self.rows(Deployment)]
        return found + [(one.id, one.state, one.token, one.note) for one in self.rows(Change)]

    def _all_wait_for_somebody(self) -> None:
        deployments = self.rows(Deployment)
        for row in deployments:
            together = [
                one for one in deployments if one.id == row.id or (row.change_id and one.change_id == row.change_id)
            ]
            said = any(one.blocked for one in together)  # they share a card, which shows what holds each of them up
            if row.phase == Phase.RUNNING or (row.phase == Phase.QUEUED and not said):
                raise ViolationError(f"{row.app} in {row.environment} is {row.phase}, and nothing says why")
        for change in self.rows(Change):
            if change.state == ChangeState.PREPARING:
                raise ViolationError(f"change {change.id} is never shown: {change.note}")
            if change.state == ChangeState.OPEN and not change.token:
                raise ViolationError(f"change {change.id} is open without buttons: {change.note}")

    def _tidied(self, change: Change) -> None:
        if change.state in LIVE or change.visit_at is not None:
            raise ViolationError(f"change {change.id} is {change.state}, to be looked at {change.visit_at}")
        if change.branch in self.town.remote.branches:
            raise ViolationError(f"the branch of change {change.id} stays")
        pull = self.town.host.pulls.get(change.pr_number or 0)
        if pull is not None and pull.state is PullState.OPEN:
            raise ViolationError(f"the pull request of change {change.id} stays open")

    # ------------------------------------------------------------ parts

    def _ask(self, user: str, request: requests.Request, *, glass: bool = False) -> Answer:
        self.watch.see()
        answer = self.town.ask(user, request)
        self.watch.answered(user, answer, glass=glass)
        self.watch.look()
        return answer

    def _act(self, what: Callable[[], object]) -> None:
        self.town.act(what)
        self.watch.look()

    def _pull(self, nth: int) -> Pull | None:
        found = self.town.host.open_pulls()
        return found[nth % len(found)] if found else None

    def rows(self, model: Any) -> list[Any]:
        """All rows of a table, in the order in which they came."""
        return self.watch.rows(model)
