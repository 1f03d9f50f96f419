"""Checks what is recorded and told of commits that reached the branch past Locktender, over real git and the stand-in.

Leaves out what an overlay is built from (`tests/unit/test_kustomize_reach.py`) and how alerts look in Slack.
"""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from bot.gate.effects import Effects
from bot.integrations.infra_repo import GitInfraRepo
from bot.integrations.kustomize.render import KustomizeRenderer
from bot.outside import MARK, ExternalChanges
from bot.sandbox.server import Fault, Misbehaviour
from commands.catalogue import Catalogue
from commands.catalogue_reader import read
from commands.code_host import CodeHost, PullRequestDraft, PullState
from commands.facts import CatalogueInForce, Facts
from commands.ports import CommitAuthor
from storage import marks
from storage.database import Database, sqlite_url
from storage.models import Deployment
from storage.phases import Phase
from storage.record_models import AuditRow
from storage.unit_of_work import Store
from tests.contract.git_rig import git
from tests.contract.github_rig import GitHubRig
from tests.rows import audit_rows, messages

STAGING = "environments/staging/kustomization.yaml"
PRODUCTION = "environments/production/kustomization.yaml"
BASE = "base/kustomization.yaml"
FILES: dict[str, str | None] = {
    BASE: "resources: []\n",
    STAGING: "resources: [../../base]\nimages: [{name: web, newTag: '1.0'}]\n",
    PRODUCTION: "resources: [../../base]\nimages: [{name: web, newTag: '1.0'}]\n",
}
YAML = b"""
promotion: [staging, production]
environments:
  staging: {reconciler: none}
  production: {reconciler: none, change: pull-request, approval: {from: [leads]}}
apps: {web: {image: registry.example/web}}
groups: {leads: {members: [U0LEAD1, U0LEAD2]}}
channels: {deployments: C0DEPLOYMENTS}
"""


def changed(version: str) -> str:
    """An overlay that says this version."""
    return f"resources: [../../base]\nimages: [{{name: web, newTag: '{version}'}}]\n"


class OutsideRig(GitHubRig):
    """A branch that somebody else moves, and replicas that look at it."""

    def start(self, template: Path) -> None:
        self.github.push("main", FILES, "alice", message="Start")
        shutil.copy(template, self.root / "outside.db")
        self.store = Store(Database(sqlite_url(self.root / "outside.db")))
        known = read(YAML)
        assert isinstance(known, Catalogue)
        self.facts = Facts(CatalogueInForce(known))
        self.main = self.replica("one")

    def replica(self, name: str, host: CodeHost | None = None) -> "Replica":
        return Replica(self, name, host or self.host)

    def rows(self, action: str = "external-change") -> list[AuditRow]:
        return [row for row in audit_rows(self.store) if row.action == action]

    def details(self) -> dict[str, Any]:
        """Of the one external change."""
        (row,) = self.rows()
        told: dict[str, Any] = json.loads(row.details)
        return told

    def alerts(self) -> list[dict[str, Any]]:
        return [json.loads(message.body) for message in messages(self.store)]

    def deployment(self, **fields: Any) -> str:
        """One that is in the storage, as its delivery would have it."""
        with self.store.write() as uow:
            row = Deployment(app="web", environment="staging", version="1.1", team_id="T1", requested_by="U1")
            row.requested_at = uow.now
            for name, value in fields.items():
                setattr(row, name, value)
            uow.session.add(row)
            return row.id


class Replica:
    """One process with a mirror of its own."""

    def __init__(self, rig: OutsideRig, name: str, host: CodeHost) -> None:
        committer = CommitAuthor("Locktender", "locktender@localhost")
        self.infra = GitInfraRepo(f"file://{rig.bare}", "main", rig.root / name, committer=committer, token="")
        effects = Effects(KustomizeRenderer())
        self.external = ExternalChanges(rig.store, self.infra, effects, lambda: rig.facts, host=host)

    def look(self) -> int:
        self.infra.refresh()
        return self.external.look()


@pytest.fixture
def rig(tmp_path: Path, sqlite_template: Path) -> Iterator[OutsideRig]:
    with OutsideRig(tmp_path) as made:
        made.start(sqlite_template)
        made.main.look()
        yield made
        made.store.database.close()


def test_what_was_there_at_the_first_start_is_not_judged(rig: OutsideRig) -> None:
    assert rig.rows() == []
    assert rig.alerts() == []
    with rig.store.read() as uow:
        assert marks.mark(uow, MARK) == rig.github.branch("main")


def test_a_direct_push_to_production_is_recorded_and_told_of(rig: OutsideRig) -> None:
    sha = rig.github.push("main", {PRODUCTION: changed("6.6")}, "mallory", message="Quick fix <!channel>")
    assert rig.main.look() == 1
    told = rig.details()
    assert told["commit"] == sha
    assert "mallory" in told["author"]
    assert "pull_request" not in told
    (row,) = rig.rows()
    assert (row.app, row.environment, row.actor) == ("web", "production", "git:mallory@company.example")
    (alert,) = rig.alerts()
    assert f"`{sha[:12]}` changes `web` in `production`" in alert["text"]
    assert "No pull request brought it." in alert["quote"]
    assert "<!channel>" not in alert["text"]  # what people write goes into the quotation, which is made inert


def test_a_change_to_what_several_environments_are_built_from_is_recorded_for_each(rig: OutsideRig) -> None:
    rig.github.push("main", {BASE: "resources: []\ncommonLabels: {a: b}\n"}, "mallory")
    rig.main.look()
    assert sorted(row.environment for row in rig.rows()) == ["production", "staging"]
    assert "staging" not in rig.alerts()[0]["text"]


def test_a_push_that_touches_staging_alone_is_recorded_and_wakes_nobody(rig: OutsideRig) -> None:
    rig.github.push("main", {STAGING: changed("6.6")}, "mallory")
    rig.main.look()
    assert [row.environment for row in rig.rows()] == ["staging"]
    assert rig.alerts() == []


def test_a_push_that_touches_no_environment_is_nothing(rig: OutsideRig) -> None:
    rig.github.push("main", {"README.md": "More\n"}, "mallory")
    assert rig.main.look() == 0
    assert rig.rows() == []
    assert rig.main.look() == 0


def test_our_own_commits_are_nothing(rig: OutsideRig) -> None:
    before = rig.github.branch("main") or ""
    sha = rig.github.push("main", {STAGING: changed("1.1")}, "alice")
    rig.deployment(commit_sha=sha, base_sha=before, phase=Phase.SUCCEEDED)
    assert rig.main.look() == 0
    assert rig.rows() == []


def test_many_of_our_own_commits_are_passed_in_one_transaction(
    rig: OutsideRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        before = rig.github.branch("main") or ""
        sha = rig.github.push("main", {STAGING: changed(f"1.{number}")}, "alice")
        rig.deployment(commit_sha=sha, base_sha=before, phase=Phase.SUCCEEDED)
    write = Mock(side_effect=rig.store.write)
    monkeypatch.setattr(rig.store, "write", write)
    assert rig.main.look() == 0
    assert write.call_count == 1
    with rig.store.read() as uow:
        assert marks.mark(uow, MARK) == rig.github.branch("main")


def test_what_lies_between_commits_of_ours_is_found(rig: OutsideRig) -> None:
    for number in range(4):
        before = rig.github.branch("main") or ""
        author = "mallory" if number in {1, 2} else "alice"
        sha = rig.github.push("main", {PRODUCTION: changed(f"1.{number}")}, author)
        if author == "alice":
            rig.deployment(commit_sha=sha, base_sha=before, phase=Phase.SUCCEEDED)
    assert rig.main.look() == 2
    assert [row.actor for row in rig.rows()] == ["git:mallory@company.example"] * 2
    assert rig.main.look() == 0


def test_a_trailer_alone_makes_a_commit_nobodys(rig: OutsideRig) -> None:
    ours = rig.deployment(commit_sha="a" * 40, base_sha="b" * 40, phase=Phase.SUCCEEDED)
    rig.github.push("main", {PRODUCTION: changed("6.6")}, "mallory", message=f"Deploy\n\nDeployment-Id: {ours}")
    assert rig.main.look() == 1
    assert len(rig.alerts()) == 1


def test_a_commit_between_its_push_and_its_record_is_waited_for(rig: OutsideRig) -> None:
    ours = rig.deployment(phase=Phase.RUNNING)
    before = rig.github.branch("main") or ""
    sha = rig.github.push("main", {STAGING: changed("1.1")}, "alice", message=f"Deploy\n\nDeployment-Id: {ours}")
    rig.github.push("main", {PRODUCTION: changed("6.6")}, "mallory")
    assert rig.main.look() == 0  # the later commit waits with it: they are examined in order
    with rig.store.write() as uow:
        row = uow.session.get_one(Deployment, ours)
        row.commit_sha, row.base_sha = sha, before
    assert rig.main.look() == 1
    assert [row.environment for row in rig.rows()] == ["production"]


# ---------------------------------------------------------------- rewritten history


def test_a_branch_that_was_set_back_is_told_of_once(rig: OutsideRig) -> None:
    before = rig.github.branch("main") or ""
    sha = rig.github.push("main", {PRODUCTION: changed("1.1")}, "alice")
    rig.main.look()
    rig.github.force("main", before, "mallory")
    assert rig.main.look() == 1
    assert rig.main.look() == 0
    (row,) = rig.rows("external-rewrite")
    assert json.loads(row.details) == {"before": sha, "after": before, "changed": ["web in production"]}
    assert "was rewritten" in rig.alerts()[-1]["text"]
    assert "`web` in `production` is not what it said before" in rig.alerts()[-1]["text"]


def test_a_branch_with_another_history_is_told_of(rig: OutsideRig) -> None:
    tip = rig.github.branch("main") or ""
    other = git("commit-tree", f"{tip}^{{tree}}", "-m", "Orphan", cwd=rig.bare)
    rig.github.force("main", other, "mallory")
    assert rig.main.look() == 1
    assert len(rig.rows("external-rewrite")) == 1


def test_a_rewrite_is_found_by_a_mirror_that_never_had_what_was_there(rig: OutsideRig) -> None:
    before = rig.github.branch("main") or ""
    rig.github.push("main", {PRODUCTION: changed("1.1")}, "alice")
    rig.main.look()
    rig.github.force("main", before, "mallory")
    assert rig.replica("fresh").look() == 1
    assert len(rig.rows("external-rewrite")) == 1


# ---------------------------------------------------------------- replicas


def test_two_replicas_record_each_commit_once(rig: OutsideRig) -> None:
    other = rig.replica("two")
    for version in ("2.0", "2.1", "2.2"):
        rig.github.push("main", {PRODUCTION: changed(version)}, "mallory")
    other.infra.refresh()
    assert rig.main.look() + other.external.look() == 3
    assert len(rig.rows()) == len(rig.alerts()) == 3


def test_a_replica_that_was_overtaken_does_not_take_the_mark_back(rig: OutsideRig) -> None:
    """The other one examines everything while this one asks the code host about its first commit."""
    other = rig.replica("two")
    for version in ("2.0", "2.1"):
        rig.github.push("main", {PRODUCTION: changed(version)}, "mallory")
    slow = rig.replica("slow", host=Overtaken(rig, other))
    slow.look()
    assert len(rig.rows()) == 2
    assert len(rig.alerts()) == 2
    with rig.store.read() as uow:
        assert marks.mark(uow, MARK) == rig.github.branch("main")


class Overtaken:
    """A code host during whose answer another replica looks at everything. Only what is asked here is answered."""

    def __init__(self, rig: OutsideRig, other: Replica) -> None:
        self._rig, self._other = rig, other

    def __getattr__(self, name: str) -> Any:
        if name == "pulls_of":
            self._other.look()
        return getattr(self._rig.host, name)


# ---------------------------------------------------------------- pull requests


def merged(rig: OutsideRig, *approvers: str) -> int:
    """A pull request of Mallory's to production, approved by these, merged by Bob by its button."""
    rig.github.push("fix", {PRODUCTION: changed("6.6")}, "mallory")
    number = rig.github.open("mallory", "fix", "Fix").number
    for login in approvers:
        rig.github.review(number, login, "APPROVE")
    rig.github.merge(number, "bob")
    return number


def test_a_merge_by_hand_names_its_pull_request_and_who_approved_it_there(rig: OutsideRig) -> None:
    number = merged(rig, "alice", "bob")
    rig.main.look()
    told = rig.details()
    assert (told["pull_request"], told["pull_request_author"], told["merged_by"]) == (number, "mallory", "bob")
    assert told["approved_by"] == ["alice", "bob"]
    assert told["pull_request_url"].endswith(f"/pull/{number}")
    quote = rig.alerts()[0]["quote"]
    assert f"Pull request #{number} by mallory, approved there by alice and bob, merged by bob" in quote


def test_a_merge_that_nobody_approved_says_so(rig: OutsideRig) -> None:
    merged(rig)
    rig.main.look()
    assert rig.details()["approved_by"] == []
    assert "approved there by nobody" in rig.alerts()[0]["quote"]


def test_an_approval_of_an_earlier_commit_is_not_one_of_what_was_merged(rig: OutsideRig) -> None:
    rig.github.push("fix", {PRODUCTION: changed("6.5")}, "mallory")
    number = rig.github.open("mallory", "fix", "Fix").number
    rig.github.review(number, "alice", "APPROVE")
    rig.github.push("fix", {PRODUCTION: changed("6.6")}, "mallory")
    rig.github.review(number, "bob", "APPROVE")
    rig.github.review(number, "bob", "REQUEST_CHANGES", "No")
    rig.github.merge(number, "bob")
    rig.main.look()
    assert (rig.details()["approved_by"], rig.details()["approved_before"]) == ([], ["alice"])
    assert "alice approved an earlier commit" in rig.alerts()[0]["quote"]


def test_a_code_host_that_does_not_answer_holds_up_no_alert(rig: OutsideRig) -> None:
    merged(rig, "alice")
    rig.github.faults.add(Fault("GET", "/commits/.*/pulls", Misbehaviour.REFUSE, times=9))
    assert rig.main.look() == 1
    assert "not known" in rig.details()["pull_request_unknown"]
    assert "could not be asked" in rig.alerts()[0]["quote"]


# ---------------------------------------------------------------- pulls_of itself


def test_the_pull_requests_of_a_commit_are_told_with_author_and_end(rig: OutsideRig) -> None:
    number = merged(rig, "alice")
    tip = rig.github.branch("main") or ""
    (found,) = rig.host.pulls_of(tip)
    assert (found.number, found.state, found.merge_sha) == (number, PullState.MERGED, tip)
    assert (found.author, found.ended_by) == ("mallory", "bob")
    assert rig.host.pulls_of(found.head_sha) == (found,)


def test_an_open_pull_request_brought_nothing_yet(rig: OutsideRig) -> None:
    sha = rig.github.push("deploy/d-1", {PRODUCTION: changed("1.1")}, "alice")
    opened = rig.host.ensure_pull_request(PullRequestDraft("d-1", "deploy/d-1", "Deploy", ""))
    assert [one.number for one in rig.host.pulls_of(sha)] == [opened.number]
    assert rig.host.pulls_of(rig.github.branch("main") or "") == ()
