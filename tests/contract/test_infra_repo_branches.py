"""Branches of deployments under review, against real git over HTTP and as a file.

Left out: commits straight onto the main branch (test_infra_repo), comparisons (test_infra_repo_compare), pull requests
(the code host's tests), and a kill at every system call (tests/crash): here a kill is the same call made again by
another process.
"""

import itertools
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from bot.integrations.infra_repo import GitInfraRepo
from bot.sandbox.server import Fault, Misbehaviour
from commands.ports import CommitAuthor, CommitRequest, Tree
from commands.reasons import ReasonCode, Refused, Retry
from tests.contract.git_rig import DEV, STAGING, Rig, bump, edit_to, git, request

BRANCH = "deploy/d1"
HOSTILE = (
    "--upload-pack=touch /tmp/owned",
    "deploy/../x",
    "deploy/",
    "deploy/.x",
    "deploy/x.lock",
    "deploy/a b",
    "deploy/a:b",
    "deploy/a\n",
    "deploy/\u202egnp",
    "+deploy/x",
    "deploy/@{u}",
    "deploy/" + "x" * 300,
    "",
)


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    with Rig(tmp_path) as rig:
        rig.outside({DEV: '# kept\nnewTag: "1.0"\n', STAGING: 'newTag: "1.0"\n'}, "start")
        yield rig


@pytest.fixture
def repo(rig: Rig) -> GitInfraRepo:
    return rig.repo(rig.file_url)


@pytest.fixture(params=["http", "file"])
def either(request: pytest.FixtureRequest, rig: Rig) -> GitInfraRepo:
    """For what is not certain to be the same over HTTP and as a file."""
    return rig.repo(rig.url if request.param == "http" else rig.file_url)


def test_the_branch_is_one_commit_on_the_parent_and_asked_twice_it_stays(rig: Rig, either: GitInfraRepo) -> None:
    parent = either.refresh()
    first = either.ensure_branch(request("d1", Requested_by="alice"), BRANCH, parent, bump("1.1"))
    assert either.ensure_branch(request("d1", Requested_by="alice"), BRANCH, parent, bump("1.1")) == first
    assert _on(rig, BRANCH) == [first, parent]
    assert git("show", f"{BRANCH}:{DEV}", cwd=rig.bare) == '# kept\nnewTag: "1.1"'
    assert git("log", "-1", "--format=%an / %cn / %(trailers:only,separator=%x20)", BRANCH, cwd=rig.bare) == (
        "Alice Example / Locktender / Deployment-Id: d1 Requested-by: alice"
    )
    assert rig.log("%H") == [parent]
    git("fsck", "--strict", cwd=rig.bare)


def test_a_protected_main_branch_does_not_stand_in_the_way(rig: Rig) -> None:
    rig.server.protect("acme/infra", "main")
    repo = rig.repo()
    made = repo.ensure_branch(request("d1"), BRANCH, repo.refresh(), bump("1.1"))
    assert _on(rig, BRANCH)[0] == made
    repo.ensure_no_branch(BRANCH)
    assert _on(rig, BRANCH) == []


def test_a_protected_deploy_branch_says_what_the_bot_needs(rig: Rig) -> None:
    rig.server.protect("acme/infra", BRANCH)
    repo = rig.repo()
    with pytest.raises(Refused) as refusal:
        repo.ensure_branch(request("d1"), BRANCH, repo.refresh(), bump("1.1"))
    assert refusal.value.reason is ReasonCode.BRANCH_PROTECTED
    assert "branches `deploy/…`" in refusal.value.next_step


def test_other_content_of_the_same_deployment_replaces_the_commit(rig: Rig, either: GitInfraRepo) -> None:
    parent = either.refresh()
    old = either.ensure_branch(request("d1"), BRANCH, parent, bump("1.1"))
    new = either.ensure_branch(request("d1"), BRANCH, parent, bump("1.2"))
    assert old != new
    assert _on(rig, BRANCH) == [new, parent]


def test_another_parent_of_the_same_deployment_replaces_the_commit(rig: Rig, repo: GitInfraRepo) -> None:
    repo.ensure_branch(request("d1"), BRANCH, repo.refresh(), bump("1.1"))
    moved = rig.outside({STAGING: "moved\n"})
    repo.refresh()
    new = repo.ensure_branch(request("d1"), BRANCH, moved, bump("1.1"))
    assert _on(rig, BRANCH)[:2] == [new, moved]
    assert git("show", f"{BRANCH}:{STAGING}", cwd=rig.bare) == "moved"


def test_the_same_files_on_another_parent_are_another_commit(rig: Rig, repo: GitInfraRepo) -> None:
    repo.ensure_branch(request("d1"), BRANCH, repo.refresh(), bump("1.1"))
    moved = rig.outside({STAGING: 'newTag: "1.0"\n'}, "changes nothing")
    new = repo.ensure_branch(request("d1"), BRANCH, moved, bump("1.1"))
    assert _on(rig, BRANCH)[:2] == [new, moved]


def test_a_strangers_commit_below_ours_is_not_thrown_away_either(rig: Rig, repo: GitInfraRepo) -> None:
    parent = repo.refresh()
    theirs = _push(rig, "feature", parent, {"dev.yaml": "theirs\n"}, "Not on main")
    assert repo.fetch_branch("feature") == theirs
    for tag in ("1.1", "1.2"):
        ours = repo.ensure_branch(request("d1"), BRANCH, theirs, bump(tag, "dev.yaml"))
    with pytest.raises(Refused, match="branch_taken"):
        repo.ensure_branch(request("d1"), BRANCH, parent, bump("1.1"))
    assert _on(rig, BRANCH) == [ours, theirs, parent]


def test_a_parent_that_only_another_replica_has_fetched_is_fetched(rig: Rig, repo: GitInfraRepo) -> None:
    repo.refresh()
    parent = rig.outside({STAGING: "newer\n"})
    made = repo.ensure_branch(request("d1"), BRANCH, parent, bump("1.1"))
    assert _on(rig, BRANCH)[:2] == [made, parent]


def test_a_parent_that_is_nowhere_is_refused(repo: GitInfraRepo) -> None:
    repo.refresh()
    with pytest.raises(Refused) as refusal:
        repo.ensure_branch(request("d1"), BRANCH, "1" * 40, bump("1.1"))
    assert refusal.value.reason is ReasonCode.UNKNOWN_VERSION


def test_a_replica_with_an_old_main_does_not_take_its_commits_for_a_strangers(rig: Rig, repo: GitInfraRepo) -> None:
    start = repo.refresh()
    other = rig.repo(rig.file_url, home="other")
    newer = rig.outside({STAGING: "newer\n"})
    other.refresh()
    other.ensure_branch(request("d1"), BRANCH, newer, bump("1.1"))
    mine = repo.ensure_branch(request("d1"), BRANCH, start, bump("1.1"))
    assert _on(rig, BRANCH) == [mine, start]


def test_a_commit_that_somebody_pushed_on_top_is_not_thrown_away(rig: Rig, either: GitInfraRepo) -> None:
    parent = either.refresh()
    ours = either.ensure_branch(request("d1"), BRANCH, parent, bump("1.1"))
    theirs = _push(rig, BRANCH, ours, {"evil.yaml": "x\n"}, "More, please")
    for edit in (bump("1.1"), bump("1.2")):
        with pytest.raises(Refused) as refusal:
            either.ensure_branch(request("d1"), BRANCH, parent, edit)
        assert refusal.value.reason is ReasonCode.BRANCH_TAKEN
        assert "Outsider <outsider@example.com>" in refusal.value.what
        assert "Alice" not in refusal.value.what
        assert refusal.value.detail == f"{theirs[:12]} Outsider <outsider@example.com>: More, please"
    assert _on(rig, BRANCH) == [theirs, ours, parent]


def test_our_commit_amended_by_somebody_else_is_not_taken_for_ours(rig: Rig, repo: GitInfraRepo) -> None:
    parent = repo.refresh()
    ours = repo.ensure_branch(request("d1"), BRANCH, parent, bump("1.1"))
    words = ("commit-tree", f"{ours}^{{tree}}", "-p", parent, "-F", "-")
    amended = git(*words, cwd=rig.bare, stdin="Deploy d1\n\nDeployment-Id: d1\nApproved-by: nobody\n")
    git("update-ref", f"refs/heads/{BRANCH}", amended, cwd=rig.bare)
    with pytest.raises(Refused, match="branch_taken"):
        repo.ensure_branch(request("d1"), BRANCH, parent, bump("1.1"))
    assert _on(rig, BRANCH)[0] == amended


def test_a_merge_of_main_into_the_branch_is_somebody_elses_commit(rig: Rig, repo: GitInfraRepo) -> None:
    parent = repo.refresh()
    ours = repo.ensure_branch(request("d1"), BRANCH, parent, bump("1.1"))
    moved = rig.outside({STAGING: "moved\n"}, "Not on the branch")
    merge = git("commit-tree", f"{ours}^{{tree}}", "-p", ours, "-p", moved, "-m", "Update branch", cwd=rig.bare)
    git("update-ref", f"refs/heads/{BRANCH}", merge, cwd=rig.bare)
    with pytest.raises(Refused) as refusal:
        repo.ensure_branch(request("d1"), BRANCH, parent, bump("1.1"))
    assert refusal.value.detail.splitlines() == [f"{merge[:12]} Outsider <outsider@example.com>: Update branch"]


def test_a_branch_of_another_deployment_is_taken(rig: Rig, repo: GitInfraRepo) -> None:
    parent = repo.refresh()
    other = repo.ensure_branch(request("d2"), BRANCH, parent, bump("1.1"))
    with pytest.raises(Refused) as refusal:
        repo.ensure_branch(request("d1"), BRANCH, parent, bump("1.1"))
    assert refusal.value.reason is ReasonCode.BRANCH_TAKEN
    assert _on(rig, BRANCH)[0] == other


def test_a_branch_that_holds_nothing_of_its_own_is_used(rig: Rig, repo: GitInfraRepo) -> None:
    parent = rig.outside({STAGING: "more\n"})
    git("update-ref", f"refs/heads/{BRANCH}", f"{parent}~1", cwd=rig.bare)
    made = repo.ensure_branch(request("d1"), BRANCH, parent, bump("1.1"))
    assert _on(rig, BRANCH)[:2] == [made, parent]


def test_a_name_in_a_commit_cannot_deceive_whoever_reads_the_refusal(rig: Rig, repo: GitInfraRepo) -> None:
    parent = repo.refresh()
    theirs = _push(rig, BRANCH, parent, {"x": "y"}, "sub\ue000U0BOSS\ue001ject \u202e`evil`")
    with pytest.raises(Refused) as refusal:
        repo.ensure_branch(request("d1"), BRANCH, parent, bump("1.1"))
    assert refusal.value.detail == f"{theirs[:12]} Outsider <outsider@example.com>: subU0BOSSject 'evil'"


def test_an_edit_that_changes_nothing_makes_no_branch(rig: Rig, repo: GitInfraRepo) -> None:
    parent = repo.refresh()
    for edit in (bump("1.0"), edit_to({})):
        with pytest.raises(Refused) as refusal:
            repo.ensure_branch(request("d1"), BRANCH, parent, edit)
        assert refusal.value.reason is ReasonCode.NO_CHANGE
    assert _on(rig, BRANCH) == []


def test_the_edit_sees_the_parent_and_what_it_raises_passes_through(rig: Rig, repo: GitInfraRepo) -> None:
    parent = repo.refresh()
    rig.outside({DEV: "newer\n"})
    repo.refresh()
    seen: list[str] = []

    def stumble(tree: Tree) -> Mapping[str, bytes]:
        seen.append(tree.commit)
        raise KeyError("a fault of the program")

    with pytest.raises(KeyError):
        repo.ensure_branch(request("d1"), BRANCH, parent, stumble)
    assert seen == [parent]
    assert _on(rig, BRANCH) == []


@pytest.mark.parametrize("kind", [Misbehaviour.DROP_AFTER, Misbehaviour.FAIL_AFTER])
def test_a_push_whose_answer_was_lost_is_found_again(rig: Rig, kind: Misbehaviour) -> None:
    repo = rig.repo()
    parent = repo.refresh()
    times = 2 if kind is Misbehaviour.DROP_AFTER else 1  # curl sends it again by itself once
    rig.faults.add(Fault("POST", "git-receive-pack", kind, times=times, status=502))
    with pytest.raises(Retry) as fault:
        repo.ensure_branch(request("d1"), BRANCH, parent, bump("1.1"))
    assert fault.value.reason is ReasonCode.REPO_UNREACHABLE
    (done, _) = _on(rig, BRANCH)
    for replica in (repo, rig.repo(home="restarted")):
        assert replica.ensure_branch(request("d1"), BRANCH, parent, bump("1.1")) == done


def test_a_push_that_curl_sent_twice_is_one_commit(rig: Rig) -> None:
    repo = rig.repo()
    parent = repo.refresh()
    cut = rig.faults.add(Fault("POST", "git-receive-pack", Misbehaviour.DROP_AFTER))
    made = repo.ensure_branch(request("d1"), BRANCH, parent, bump("1.1"))
    assert cut.hits == 1
    assert _on(rig, BRANCH) == [made, parent]


def test_a_deletion_whose_answer_was_lost_is_done(rig: Rig) -> None:
    repo = rig.repo()
    repo.ensure_branch(request("d1"), BRANCH, repo.refresh(), bump("1.1"))
    rig.faults.add(Fault("POST", "git-receive-pack", Misbehaviour.FAIL_AFTER, status=502))
    with pytest.raises(Retry):
        repo.ensure_no_branch(BRANCH)
    repo.ensure_no_branch(BRANCH)
    assert _on(rig, BRANCH) == []


def test_a_deletion_that_the_server_declines_is_quoted(rig: Rig, repo: GitInfraRepo) -> None:
    repo.ensure_branch(request("d1"), BRANCH, repo.refresh(), bump("1.1"))
    git("config", "receive.denyDeletes", "true", cwd=rig.bare)
    with pytest.raises(Refused) as refusal:
        repo.ensure_no_branch(BRANCH)
    assert refusal.value.reason is ReasonCode.PUSH_REFUSED
    assert "deletion prohibited" in refusal.value.detail


def test_wrong_credentials_and_a_server_in_trouble_are_told_apart(rig: Rig) -> None:
    asks: list[Callable[[GitInfraRepo], object]] = [
        lambda repo: repo.fetch_branch(BRANCH),
        lambda repo: repo.ensure_no_branch(BRANCH),
    ]
    for ask in asks:
        with pytest.raises(Refused) as refusal:
            ask(rig.repo(token="wrong", home="wrong"))
        assert refusal.value.reason is ReasonCode.REPO_CREDENTIALS
        repo = rig.repo()
        repo.refresh()
        rig.faults.add(Fault("*", "", Misbehaviour.REFUSE, times=4, status=503))
        with pytest.raises(Retry) as fault:
            ask(repo)
        assert fault.value.reason is ReasonCode.REPO_UNREACHABLE
        rig.faults.clear()


def test_two_replicas_at_one_branch_leave_one_commit(rig: Rig) -> None:
    replicas = [rig.repo(home=name) for name in ("one", "two")]
    (parent,) = {replica.refresh() for replica in replicas}
    made: list[str] = []
    meeting = threading.Barrier(2)

    def ask(replica: GitInfraRepo) -> None:
        meeting.wait()
        made.append(replica.ensure_branch(request("d1"), BRANCH, parent, bump("1.1")))

    threads = [threading.Thread(target=ask, args=(replica,)) for replica in replicas]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert made == [made[0]] * 2
    assert _on(rig, BRANCH) == [made[0], parent]


@pytest.mark.parametrize("moment", [("GET", "info/refs", 3), ("POST", "git-receive-pack", 1)])
def test_a_push_from_outside_between_look_and_push_is_not_overwritten(rig: Rig, moment: tuple[str, str, int]) -> None:
    repo = rig.repo()
    parent = repo.refresh()
    old = repo.ensure_branch(request("d1"), BRANCH, parent, bump("1.1"))
    # The branch and the main branch are fetched; then the push asks what is there, and then it is sent.
    pushed = _at(rig, moment, lambda: _push(rig, BRANCH, old, {"theirs": "x"}, "theirs"))
    with pytest.raises(Refused) as refusal:
        repo.ensure_branch(request("d1"), BRANCH, parent, bump("1.2"))
    assert refusal.value.reason is ReasonCode.BRANCH_TAKEN
    assert _on(rig, BRANCH) == [*pushed, old, parent]


@pytest.mark.parametrize("moment", [("GET", "info/refs", 2), ("POST", "git-receive-pack", 1)])
def test_a_branch_that_appears_between_look_and_push_is_not_overwritten(rig: Rig, moment: tuple[str, str, int]) -> None:
    repo = rig.repo()
    parent = repo.refresh()
    pushed = _at(rig, moment, lambda: _push(rig, BRANCH, parent, {"theirs": "x"}, "theirs"))
    with pytest.raises(Refused, match="branch_taken"):
        repo.ensure_branch(request("d1"), BRANCH, parent, bump("1.1"))
    assert _on(rig, BRANCH) == [*pushed, parent]


def test_a_branch_that_never_rests_is_left_for_later(rig: Rig) -> None:
    repo = rig.repo()
    parent = repo.refresh()
    moves = [repo.ensure_branch(request("d1"), BRANCH, parent, bump(tag)) for tag in ("2.0", "2.1")]
    turns = 0

    def between(method: str, path: str) -> None:
        """Another replica with another idea of the same deployment."""
        nonlocal turns
        if method == "POST" and path.endswith("git-receive-pack"):
            git("update-ref", f"refs/heads/{BRANCH}", moves[turns % 2], cwd=rig.bare)
            turns += 1

    rig.faults.before = between
    with pytest.raises(Retry) as fault:
        repo.ensure_branch(request("d1"), BRANCH, parent, bump("1.1"))
    assert fault.value.reason is ReasonCode.PUSH_RACE
    assert turns > 2
    assert _on(rig, BRANCH)[0] in moves


def test_hostile_branch_names_reach_nothing(rig: Rig, repo: GitInfraRepo) -> None:
    parent = repo.refresh()
    asks: list[Callable[[str], object]] = [
        lambda branch: repo.ensure_branch(request("d1"), branch, parent, bump("1.1")),
        repo.ensure_no_branch,
        repo.fetch_branch,
    ]
    for branch, ask in itertools.product(HOSTILE, asks):
        with pytest.raises(Refused) as refusal:
            ask(branch)
        assert refusal.value.reason in {ReasonCode.NOT_PERMITTED, ReasonCode.NOT_CONFIGURED}
        assert "\u202e" not in refusal.value.what
    assert git("for-each-ref", "--format=%(refname)", cwd=rig.bare) == "refs/heads/main"


def test_only_deploy_branches_are_made_or_deleted(rig: Rig, repo: GitInfraRepo) -> None:
    parent = repo.refresh()
    git("update-ref", "refs/heads/feature", parent, cwd=rig.bare)
    asks: list[Callable[[str], object]] = [
        lambda branch: repo.ensure_branch(request("d1"), branch, parent, bump("1.1")),
        repo.ensure_no_branch,
    ]
    for branch, ask in itertools.product(("main", "feature", "deploy", "refs/heads/deploy/x"), asks):
        with pytest.raises(Refused) as refusal:
            ask(branch)
        assert refusal.value.reason is ReasonCode.NOT_PERMITTED
    assert git("rev-parse", "main", "feature", cwd=rig.bare).split() == [parent, parent]


def test_the_branch_that_is_deployed_from_is_never_a_deploy_branch(rig: Rig) -> None:
    git("branch", "deploy/all", "main", cwd=rig.bare)
    repo = rig.repo(rig.file_url, branch="deploy/all")
    parent = repo.refresh()
    with pytest.raises(Refused, match="not_permitted"):
        repo.ensure_branch(request("d1"), "deploy/all", parent, bump("1.1"))
    with pytest.raises(Refused, match="not_permitted"):
        repo.ensure_no_branch("deploy/all")
    assert _on(rig, "deploy/all") == [parent]


def test_a_request_without_its_own_id_in_the_trailers_is_a_fault_of_the_program(repo: GitInfraRepo) -> None:
    asked = CommitRequest("d1", "Deploy", CommitAuthor("A", "a@example.com"), (("Deployment-Id", "d2"),))
    with pytest.raises(ValueError, match="deployment id"):
        repo.ensure_branch(asked, BRANCH, repo.refresh(), bump("1.1"))


def test_a_fetched_branch_can_be_read_and_compared(rig: Rig, either: GitInfraRepo) -> None:
    parent = either.refresh()
    made = rig.repo(rig.file_url, home="writer").ensure_branch(request("d1"), BRANCH, parent, bump("1.1"))
    assert either.fetch_branch(BRANCH) == made
    assert either.tree(made).read(DEV) == b'# kept\nnewTag: "1.1"\n'
    assert list(either.changes(parent, made)) == [DEV]
    assert either.head() == parent
    (logged,) = either.log(made, parent, (), 10)
    assert (logged.sha, logged.trailers) == (made, (("Deployment-Id", "d1"),))


def test_a_branch_that_is_not_there_or_not_any_more_is_none(rig: Rig, either: GitInfraRepo) -> None:
    parent = either.refresh()
    assert either.fetch_branch(BRANCH) is None
    either.ensure_branch(request("d1"), BRANCH, parent, bump("1.1"))
    git("update-ref", "-d", f"refs/heads/{BRANCH}", cwd=rig.bare)
    assert either.fetch_branch(BRANCH) is None
    either.ensure_no_branch(BRANCH)
    assert _refs(rig) == ["refs/remotes/origin/main"]


def test_a_deleted_branch_is_gone_there_and_forgotten_here(rig: Rig, either: GitInfraRepo) -> None:
    either.ensure_branch(request("d1"), BRANCH, either.refresh(), bump("1.1"))
    assert _refs(rig) == [f"refs/remotes/origin/{BRANCH}", "refs/remotes/origin/main"]
    either.ensure_no_branch(BRANCH)
    either.ensure_no_branch(BRANCH)
    assert _on(rig, BRANCH) == []
    assert _refs(rig) == ["refs/remotes/origin/main"]


def test_a_branch_that_moves_while_it_is_deleted_is_deleted_as_it_is(rig: Rig) -> None:
    repo = rig.repo()
    old = repo.ensure_branch(request("d1"), BRANCH, repo.refresh(), bump("1.1"))
    moves = _at(rig, ("POST", "git-receive-pack", 1), lambda: _push(rig, BRANCH, old, {"x": "y"}, "late"))
    repo.ensure_no_branch(BRANCH)
    assert (len(moves), _on(rig, BRANCH)) == (1, [])


def test_a_branch_below_the_place_of_one_that_is_gone_can_be_fetched(rig: Rig, repo: GitInfraRepo) -> None:
    parent = repo.refresh()
    repo.ensure_branch(request("d1"), BRANCH, parent, bump("1.1"))
    git("update-ref", "-d", f"refs/heads/{BRANCH}", cwd=rig.bare)
    git("update-ref", f"refs/heads/{BRANCH}/nested", parent, cwd=rig.bare)
    assert repo.fetch_branch(f"{BRANCH}/nested") == parent
    assert repo.fetch_branch(BRANCH) is None


def test_tidying_keeps_what_is_under_review_and_forgets_what_is_gone(rig: Rig, repo: GitInfraRepo) -> None:
    parent = repo.refresh()
    kept = repo.ensure_branch(request("d1"), BRANCH, parent, bump("1.1"))
    gone = repo.ensure_branch(request("d2"), "deploy/d2", parent, bump("1.2"))
    git("update-ref", "-d", "refs/heads/deploy/d2", cwd=rig.bare)
    repo.tidy()
    (mirror,) = (rig.root / "home").glob("*.git")
    git("gc", "--quiet", "--prune=now", cwd=mirror)
    fresh = rig.repo(rig.file_url)  # nothing is remembered: what it reads is on the disk
    assert fresh.tree(kept).read(DEV) == b'# kept\nnewTag: "1.1"\n'
    assert _refs(rig) == [f"refs/remotes/origin/{BRANCH}", "refs/remotes/origin/main"]
    with pytest.raises(Refused, match="unknown_version"):
        fresh.tree(gone).read(DEV)


@pytest.mark.parametrize("loss", ["everything", "objects", "refs"])
def test_a_mirror_that_was_lost_knows_what_is_under_review_again(rig: Rig, repo: GitInfraRepo, loss: str) -> None:
    parent = repo.refresh()
    made = repo.ensure_branch(request("d1"), BRANCH, parent, bump("1.1"))
    (mirror,) = (rig.root / "home").glob("*.git")
    match loss:
        case "everything":
            shutil.rmtree(mirror)
        case "objects":
            for place in (mirror / "objects").rglob("*"):
                if place.is_file():
                    place.chmod(0o644)
                    place.write_bytes(b"")
        case _:
            (mirror / "refs/remotes/origin" / BRANCH).write_text("1" * 40 + "\n")
    restarted = rig.repo(rig.file_url)
    if loss != "refs":
        assert restarted.tree(made).read(DEV) == b'# kept\nnewTag: "1.1"\n'
    assert restarted.ensure_branch(request("d1"), BRANCH, parent, bump("1.1")) == made
    assert restarted.fetch_branch(BRANCH) == made
    assert repo.ensure_branch(request("d1"), BRANCH, parent, bump("1.2")) != made
    assert list(repo.changes(parent, made)) == [DEV]


def _on(rig: Rig, branch: str) -> list[str]:
    """Commits of a branch of the remote, newest first; none without the branch."""
    if not git("for-each-ref", f"refs/heads/{branch}", cwd=rig.bare):
        return []
    return git("log", "--format=%H", f"refs/heads/{branch}", cwd=rig.bare).splitlines()


def _refs(rig: Rig) -> list[str]:
    """What the mirror holds on to."""
    (mirror,) = (rig.root / "home").glob("*.git")
    return git("for-each-ref", "--format=%(refname)", cwd=mirror).splitlines()


def _at(rig: Rig, moment: tuple[str, str, int], act: Callable[[], str]) -> list[str]:
    """Have it done when so many such requests have come; returns what it made, later."""
    method, path, count = moment
    made: list[str] = []
    seen = itertools.count(1)

    def before(asked: str, where: str) -> None:
        if asked == method and where.endswith(path) and next(seen) == count:
            made.append(act())

    rig.faults.before = before
    return made


def _push(rig: Rig, branch: str, parent: str, files: Mapping[str, str], message: str) -> str:
    """Somebody else's commit on a branch of the remote. Only these files are left in its tree."""
    lines = "".join(
        f"100644 blob {git('hash-object', '-w', '--stdin', cwd=rig.bare, stdin=text)}\t{path}\n"
        for path, text in files.items()
    )
    tree = git("mktree", cwd=rig.bare, stdin=lines)
    commit = git("commit-tree", tree, "-p", parent, "-F", "-", cwd=rig.bare, stdin=message)
    git("update-ref", f"refs/heads/{branch}", commit, cwd=rig.bare)
    return commit
