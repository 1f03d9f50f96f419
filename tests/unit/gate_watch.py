"""Watches a town and says what must never be: a model of its own, that asks none of the code it judges.

It knows what was shown under each button from the commits that were there, who is who from the rig's own list, and
what a merge did from the commit itself, at the very instant of the merge.
"""

import json
import sqlite3
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from sqlalchemy import select, text

from bot.steps.base import Point
from commands.catalogue import Catalogue
from commands.code_host import Verdict
from commands.reasons import ReasonCode
from commands.requests import Answer
from storage.models import Change, ChangeState, Deployment, Kind, Lock, LockKind
from storage.phases import Phase
from storage.record_models import AuditRow
from tests.unit.gate_git import MAIN, Stored, blob_id
from tests.unit.gate_host import MergeSeen
from tests.unit.gate_infra import PEOPLE, REVIEWED, overlay_path
from tests.unit.gate_rig import Town

LIVE = {ChangeState.PREPARING, ChangeState.OPEN, ChangeState.APPROVED}


class ViolationError(AssertionError):
    """Something that must never be has happened."""


@dataclass(frozen=True)
class Content:
    """What somebody decides on. `reach` is what the apps are built from, before the change; `rules` who may decide."""

    head: str
    files: Mapping[str, str]
    reach: Mapping[str, str]
    rules: str


@dataclass(frozen=True)
class Heard:
    """A yes, to what was shown. `who` is a Slack id, or a login."""

    change_id: str
    content: Content
    who: str
    review: int = 0


@dataclass
class Watch:
    """One per town. `look` after everything that happens; it raises ViolationError."""

    town: Town
    shown: dict[str, Content] = field(default_factory=dict)  # by token
    yes: list[Heard] = field(default_factory=list)
    accepted: set[str] = field(default_factory=set)
    permitted_glass: set[str] = field(default_factory=set)
    merges: dict[str, str] = field(default_factory=dict)  # merge commit -> change
    by_hand: dict[str, bool] = field(default_factory=dict)  # merge commit -> whether it was approved as it is
    """Merges that we did not do, or did not know the base of."""
    writing: set[str] = field(default_factory=set)
    phases: dict[str, str] = field(default_factory=dict)
    audited: int = 0
    walked: str = ""
    found: list[str] = field(default_factory=list)  # in the middle of the program, which must not catch it
    reader: sqlite3.Connection = field(init=False)
    _version: int = -1
    _read: dict[Any, list[Any]] = field(default_factory=dict)
    _looked: tuple[int, str] = (-1, "")

    def __post_init__(self) -> None:
        self.reader = sqlite3.connect(str(self.town.store.database.engine.url.database), check_same_thread=False)
        self.town.on_merge = self.merged
        self.town.on_reached = self.reached
        self.walked = self.town.remote.branches[MAIN]

    def close(self) -> None:
        self.reader.close()

    # ------------------------------------------------------------ what is heard

    def answered(self, user: str, answer: Answer, *, glass: bool = False) -> None:
        """A request was accepted: it may not be lost."""
        if answer.reason is ReasonCode.ACCEPTED and answer.deployment_id:
            self.accepted.add(answer.deployment_id)
            if glass and user in self.town.rules_in_force().groups["platform"].members:
                self.permitted_glass.add(answer.deployment_id)

    def see(self) -> None:
        """Note what is shown now, under which token."""
        for change in self.rows(Change):
            if change.token and change.token not in self.shown:
                apps = [row.app for row in self._members(change.id)]
                self.shown[change.token] = self.content(change, apps, change.head_sha, change.base_sha)

    def said_yes(self, token: str, user: str, answer: Answer) -> None:
        if answer.reason is ReasonCode.APPROVED and token in self.shown:
            change = next(one for one in self.rows(Change) if one.token == token)
            if change.expires_at is not None and self.town.clock.now >= change.expires_at:
                raise ViolationError(f"an approval of change {change.id} was taken when its time was over")
            self.yes.append(Heard(change.id, self.shown[token], user))

    def reviewed(self, change: Change, login: str) -> None:
        """A review says yes to what the code host shows: the head as it is, on what main is, under the rules of now."""
        apps = [row.app for row in self._members(change.id)]
        pull = self.town.host.pulls[change.pr_number or 0]
        head, main = self.town.host.head(pull), self.town.remote.branches[MAIN]
        review = pull.reviews[-1].id if pull.reviews else 0
        self.yes.append(Heard(change.id, self.content(change, apps, head, main), login, review))

    def content(self, change: Change, apps: Iterable[str], head: str, base: str) -> Content:
        remote = self.town.remote
        start = remote.merge_base(base, head) or base
        files = {path: after for path, (_, after) in remote.differences(start, head).items()}
        reach: dict[str, str] = {}
        for path, content in remote.commits[base].files.items():
            for app in apps:
                mine = path.startswith((f"apps/{app}/base/", "platform/"))
                if mine or path == overlay_path(app, change.environment):
                    reach[path] = blob_id(content)
        return Content(head, files, reach, rules_of(self.town.rules_in_force(), change.environment))

    # ------------------------------------------------------------ at the instant

    def merged(self, seen: MergeSeen) -> None:
        """A pull request reached the branch: with what it takes, or not at all."""
        change = next(one for one in self.rows(Change) if one.branch == seen.pull.branch)
        rows = self._members(change.id)
        now = self.content(change, [row.app for row in rows], seen.head, seen.parent)
        merge = {path: after for path, (_, after) in self.town.remote.differences(seen.parent, seen.commit).items()}
        humans = self._humans(change, now, seen)
        environment = self.town.rules_in_force().environments[change.environment]
        assert environment.approval is not None
        approval = environment.approval
        wanted = approval.rollback_required if change.kind == Kind.ROLLBACK else approval.required
        enough = len(humans) >= wanted and merge == now.files
        if change.break_glass:  # nobody is asked, but what is merged was shown
            enough = merge in [one.files for one in self.shown.values() if one.head == now.head]
        if seen.request is None:
            self.by_hand[seen.commit] = enough
            return
        if change.id in self.merges.values():
            self.found.append(f"change {change.id} was merged twice")
        self.merges[seen.commit] = change.id
        if change.break_glass and change.id not in self.permitted_glass:
            self.found.append(f"change {change.id} broke the glass without leave")
        if not enough and not self.town.mirror.knows(seen.parent):
            # Somebody pushed between the last look and the merge, and no code host can be told which base to take:
            # then what was merged must at least not be rolled out.
            self.by_hand[seen.commit] = False
        elif not enough:
            self.found.append(
                f"change {change.id} was merged with {sorted(humans)} of {wanted} approvals: "
                f"heard {[one.who for one in self.yes if one.change_id == change.id]}"
            )
        if any(row.phase != Phase.RUNNING for row in rows if not Phase(row.phase).ended):
            self.found.append(f"change {change.id} was merged while some of its deployments were not running")

    def _humans(self, change: Change, now: Content, seen: MergeSeen) -> set[str]:
        """Different people whose yes to exactly this counts now."""
        remote = self.town.remote
        mine = remote.ancestors(seen.head) - remote.ancestors(seen.parent)
        authors = {human(remote.commits[one].author.email) for one in mine if not remote.commits[one].made_by_bot}
        barred = authors | {human(change.requested_by)}
        found = set()
        for one in self.yes:
            if one.change_id != change.id or one.content != now or self._withdrawn(one, seen):
                continue
            if human(one.who) not in barred and self._member(one.who):
                found.add(human(one.who))
        return found

    @staticmethod
    def _withdrawn(one: Heard, seen: MergeSeen) -> bool:
        """A review that is not its reviewer's last word any more; it is enough here that the code host says so."""
        if not one.review:
            return False
        words = [review for review in seen.pull.reviews if review.login == one.who]
        return words[-1].verdict is not Verdict.APPROVED

    def _member(self, who: str) -> bool:
        facts = self.town.program.factbook.facts()
        managers = facts.groups.get("S0MANAGERS") or frozenset()
        team = facts.teams.get("example/managers") or frozenset()
        platform = self.town.rules_in_force().groups["platform"].members
        logins = next((logins for ids, logins, _ in PEOPLE.values() if who in ids), ())
        return who in managers or who in platform or who in team or bool(set(logins) & team)

    def reached(self, point: Point, deployment_id: str) -> None:
        """Nothing begins to write while something blocks it."""
        if point is not Point.WRITE_RECORDED or deployment_id in self.writing:
            return
        row = next(one for one in self.rows(Deployment) if one.id == deployment_id)
        way = self.in_the_way(row)
        if way:
            self.found.append(f"{row.app} in {row.environment} is written although {way}")
        self.writing.add(deployment_id)

    def claimed(self, before: Iterable[str]) -> None:
        """What has just started could start, whole, and alone on its target."""
        for row in self.rows(Deployment):
            if row.id in before or row.phase != Phase.RUNNING:
                continue
            if way := self.in_the_way(row):
                raise ViolationError(f"{row.app} in {row.environment} started although {way}")
            others = [one for one in self._members(row.change_id) if not Phase(one.phase).ended]
            if any(one.phase != Phase.RUNNING for one in others):
                raise ViolationError(f"of change {row.change_id} only some started")

    def in_the_way(self, row: Deployment) -> str:
        """What blocks it now, told from the stored locks and the file alone; empty when nothing does."""
        now = self.town.clock.now
        if row.not_before is not None and row.not_before > now:
            return "its time has not come"
        in_force = self.town.program.factbook.in_force()
        if in_force.faults and row.environment in REVIEWED:
            return "the rules are in doubt"
        if row.break_glass:
            return ""
        rollback = row.kind == Kind.ROLLBACK
        for lock in self.rows(Lock):
            if lock.lifted_at is not None or (lock.expires_at is not None and lock.expires_at <= now):
                continue
            if lock.app not in {"", row.app} or lock.environment not in {"", row.environment}:
                continue
            if lock.kind == LockKind.LOCK or not rollback:
                return f"there is a {lock.kind}"
        windows = [one.name for one in self.town.rules_in_force().freeze_windows]
        return "the file freezes it" if windows and row.environment == "preprod" and not rollback else ""

    # ------------------------------------------------------------ after everything

    def look(self) -> None:
        """Everything that must hold whenever nothing is under way."""
        if self.found:
            raise ViolationError(self.found[0])
        self.rows(Change)
        now = (self._version, self.town.remote.branches[MAIN])
        if now == self._looked:
            return
        self._looked = now
        self.see()
        deployments, changes = self.rows(Deployment), self.rows(Change)
        self._nothing_is_lost(deployments)
        self._one_of_each(deployments)
        self._endings(deployments)
        self._changes(deployments, changes)
        self._record(deployments, changes)
        self._branch(deployments)
        self.writing -= {row.id for row in deployments if row.phase != Phase.RUNNING}

    def _nothing_is_lost(self, deployments: list[Deployment]) -> None:
        there = {row.id for row in deployments} | {row.card_id for row in deployments}
        if lost := self.accepted - there:
            raise ViolationError(f"{lost} was accepted and is gone")

    @staticmethod
    def _one_of_each(deployments: list[Deployment]) -> None:
        running = [(row.app, row.environment) for row in deployments if row.phase == Phase.RUNNING]
        if len(set(running)) < len(running):
            raise ViolationError(f"two deployments run in one place: {running}")

    def _endings(self, deployments: list[Deployment]) -> None:
        for row in deployments:
            ended = Phase(row.phase).ended
            if ended != bool(row.reason_code) or ended != (row.finished_at is not None):
                raise ViolationError(f"deployment {row.id} is {row.phase} with reason {row.reason_code!r}")
            if ended and row.phase != Phase.SUCCEEDED and not row.what:
                raise ViolationError(f"deployment {row.id} ended {row.phase} without a word")
            if row.reason_code == ReasonCode.INTERNAL:
                raise ViolationError(f"deployment {row.id} ended by a mistake of ours: {row.what}")
            if row.commit_sha in self.by_hand and not self.by_hand[row.commit_sha]:
                raise ViolationError(f"deployment {row.id} rolls out a merge without approvals")

    @staticmethod
    def _changes(deployments: list[Deployment], changes: list[Change]) -> None:
        waiting = {row.change_id for row in deployments if row.phase in {Phase.QUEUED, Phase.AWAITING_APPROVAL}}
        for change in changes:
            if change.visits:
                raise ViolationError(f"a visit to change {change.id} failed by a mistake of ours")
            if change.state in {ChangeState.CLOSED, ChangeState.FAILED} and change.id in waiting:
                raise ViolationError(f"change {change.id} is {change.state}, and a deployment of it waits")
            if change.state in LIVE and change.visit_at is None:
                raise ViolationError(f"change {change.id} is {change.state}, and nobody will look at it")
            if change.break_glass and change.state == ChangeState.MERGED and change.review_due is None:
                raise ViolationError(f"change {change.id} broke the glass and owes nothing")

    def _record(self, deployments: list[Deployment], changes: list[Change]) -> None:
        table = cast("Any", AuditRow)
        with self.town.store.read() as uow:
            rows = uow.session.execute(
                select(table.seq, table.deployment_id, table.action, table.app, table.details)
                .where(table.seq > self.audited)
                .order_by(table.seq)
            ).all()
        if [row.seq for row in rows] != list(range(self.audited + 1, self.audited + 1 + len(rows))):
            raise ViolationError("audit rows are missing")
        for row in rows:
            of_change = row.action.startswith("change:") and not row.action.endswith(":refuse")
            if of_change and not (row.app or json.loads(row.details).get("apps")):
                raise ViolationError(f"audit row {row.seq} ({row.action}) is found by no app")
        self.audited += len(rows)
        about = {row.deployment_id for row in rows}
        told: dict[str, tuple[str, set[str]]] = {row.id: (row.phase, {row.id, row.change_id}) for row in deployments}
        told |= {f"change {one.id}": (one.state, {one.id}) for one in changes}
        for key, (phase, ids) in told.items():
            before = self.phases.get(key, "")
            started = (before, phase) == (Phase.QUEUED, Phase.RUNNING)  # what it does next is recorded before it is
            if before != phase and not started and not ids & about:
                raise ViolationError(f"{key} went from {before or 'nothing'} to {phase} without an audit row")
            self.phases[key] = phase

    def _branch(self, deployments: list[Deployment]) -> None:
        """Every commit of ours on the branch is of one deployment's doing, and where it may be."""
        remote = self.town.remote
        by_id = {row.id: row for row in deployments}
        head, news = remote.branches[MAIN], True
        counts = Counter[str]()
        for one in remote.first_parents(head):
            ids = [value for key, value in one.trailers if key == "Deployment-Id"]
            counts.update(ids)
            news = news and one.sha != self.walked
            if news and one.made_by_bot and one.sha not in self.merges:
                self._committed(one, [by_id[name] for name in ids])
        self.walked = head
        if twice := [name for name, count in counts.items() if count > 1]:
            raise ViolationError(f"{twice} are on the branch more than once")

    def _committed(self, one: Stored, mine: list[Deployment]) -> None:
        touched = self.town.remote.differences(one.parents[0], one.sha)
        if any(row.environment in REVIEWED for row in mine):
            raise ViolationError(f"commit {one.sha[:7]} went to a reviewed environment without a review")
        if set(touched) - {overlay_path(row.app, row.environment) for row in mine}:
            raise ViolationError(f"commit {one.sha[:7]} touches {sorted(touched)}")

    # ------------------------------------------------------------ parts

    def rows(self, model: Any) -> list[Any]:
        """All rows of a table as they are committed now; read again only after somebody has written."""
        version = self.reader.execute("PRAGMA data_version").fetchone()[0]
        if version != self._version:
            self._version = version
            self._read.clear()
        if model not in self._read:
            with self.town.store.read() as uow:
                # In the order in which they came: ids are random, and what is played again must go the same way.
                self._read[model] = list(uow.session.execute(select(model.__table__).order_by(text("rowid"))))
        return self._read[model]

    def _members(self, change_id: str) -> list[Deployment]:
        return [row for row in self.rows(Deployment) if change_id and row.change_id == change_id]


def human(name: str) -> str:
    """Who it is, by any of their names."""
    return next((who for who, (ids, logins, mails) in PEOPLE.items() if name in (*ids, *logins, *mails)), name)


def rules_of(known: Catalogue, environment: str) -> str:
    """Who may decide here, as one text."""
    place = known.environments[environment]
    return repr((place.approval, place.deployers, place.break_glass, place.change, known.groups, known.people))
