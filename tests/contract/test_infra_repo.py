"""The infra-repo adapter against real git, over HTTP and as a file: one request, one commit, whatever happens between.

Left out: hostile names and trees (test_infra_repo_hostile), damage to the mirror (test_infra_repo_mirror), ssh to a
real server (only the command line that ssh is given is checked, there).
"""

import subprocess
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from bot.integrations.infra_repo import GitInfraRepo
from bot.sandbox.server import Fault, Misbehaviour
from commands.ports import Commit, CommitAuthor, CommitRequest, Edit, Tree
from commands.reasons import ReasonCode, Refused, Retry
from tests.contract.git_rig import DEV, STAGING, Rig, append, bump, git, request


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


def test_asked_twice_it_commits_once(rig: Rig, either: GitInfraRepo) -> None:
    first = either.ensure_commit(request("d1"), bump("1.1"))
    second = either.ensure_commit(request("d1"), bump("1.1"))
    assert (first.tries, second.tries) == (1, 0)
    assert (first.sha, first.parent) == (second.sha, second.parent)
    assert rig.commits_of("d1") == [first.sha]
    assert rig.log("%H") == [first.sha, first.parent]


def test_only_the_file_that_was_edited_changes(rig: Rig, repo: GitInfraRepo) -> None:
    commit = repo.ensure_commit(request("d1"), bump("1.1"))
    assert git("diff", "--name-only", commit.parent, commit.sha, cwd=rig.bare) == DEV
    assert rig.show(DEV) == '# kept\nnewTag: "1.1"'
    git("fsck", "--strict", cwd=rig.bare)


def test_new_files_make_their_folders_and_modes_are_kept(rig: Rig, repo: GitInfraRepo) -> None:
    rig.outside({"run.sh": "#!/bin/sh\n"}, mode="100755")
    edit: dict[str, bytes] = {
        "run.sh": b"#!/bin/sh\ntrue\n",
        "apps/new/overlays/dev/k.yaml": b"a: 1\n",
        "apps/z.yaml": b"b: 2\n",
    }
    repo.ensure_commit(request("d1"), lambda _: edit)
    listed = git("ls-tree", "-r", "--format=%(objectmode) %(path)", "main", cwd=rig.bare).splitlines()
    assert listed[:2] == ["100644 apps/new/overlays/dev/k.yaml", "100644 apps/z.yaml"]
    assert "100755 run.sh" in listed
    git("fsck", "--strict", cwd=rig.bare)


def test_author_is_the_person_and_committer_is_the_bot(rig: Rig, repo: GitInfraRepo) -> None:
    repo.ensure_commit(request("d1"), bump("1.1"))
    assert rig.log("%an <%ae> / %cn <%ce>", "-1") == [
        "Alice Example <alice@example.com> / Locktender <locktender@example.com>"
    ]


def test_git_reads_the_trailers_back(rig: Rig, repo: GitInfraRepo) -> None:
    asked = CommitRequest(
        "d1",
        "Deploy web 1.1",
        CommitAuthor("Al\n<evil@example.com>", "a l@example.com>"),
        (
            ("Deployment-Id", "d1"),
            ("Reason", "fix it\nDeployment-Id: d2\r\n\nApproved-by: nobody"),
            ("Requested-by", "Ålice \u202egnp.exe\x1b[31m"),
            ("Empty", "  "),
        ),
        body="Why: because\n\nDeployment-Id: d3\n---\nDeployment-Id: d4",
    )
    repo.ensure_commit(asked, bump("1.1"))
    message = git("log", "-1", "--format=%B", "main", cwd=rig.bare)
    assert git("interpret-trailers", "--parse", cwd=rig.bare, stdin=message).splitlines() == [
        "Deployment-Id: d1",
        "Reason: fix it Deployment-Id: d2 Approved-by: nobody",
        "Requested-by: Ålice gnp.exe[31m",
    ]
    assert rig.log("%an <%ae>", "-1") == ["Al evil@example.com <al@example.com>"]
    assert [repo.find_commit(other) for other in ("d2", "d3", "d4")] == [None, None, None]


def test_a_request_without_its_own_id_in_the_trailers_is_a_fault_of_the_program(repo: GitInfraRepo) -> None:
    asked = CommitRequest("d1", "Deploy", CommitAuthor("A", "a@example.com"), (("Deployment-Id", "d2"),))
    with pytest.raises(ValueError, match="deployment id"):
        repo.ensure_commit(asked, bump("1.1"))


def test_an_edit_that_changes_nothing_makes_no_commit(rig: Rig, repo: GitInfraRepo) -> None:
    edits: list[Edit] = [bump("1.0"), lambda _: {}]
    for edit in edits:
        with pytest.raises(Refused) as refusal:
            repo.ensure_commit(request("d1"), edit)
        assert refusal.value.reason is ReasonCode.ALREADY_LIVE
    assert len(rig.log("%H")) == 1


def test_what_the_edit_raises_passes_through(rig: Rig, repo: GitInfraRepo) -> None:
    def refuse(tree: Tree) -> Mapping[str, bytes]:
        raise Refused(ReasonCode.OVERLAY_MISSING, f"Nothing at {tree.commit}.", "Look.")

    def stumble(_: Tree) -> Mapping[str, bytes]:
        raise KeyError("a fault of the program")

    with pytest.raises(Refused, match="overlay_missing"):
        repo.ensure_commit(request("d1"), refuse)
    with pytest.raises(KeyError):
        repo.ensure_commit(request("d1"), stumble)
    assert repo.ensure_commit(request("d1"), bump("1.1")).tries == 1
    assert len(rig.log("%H")) == 2


def test_a_refusal_about_an_old_head_is_asked_again_on_the_fresh_one(rig: Rig, repo: GitInfraRepo) -> None:
    repo.refresh()
    rig.outside({DEV: 'newTag: "7.0"\n'})
    # On the head that the adapter knows, 1.0 is live; on the remote it is not any more.
    commit = repo.ensure_commit(request("d1"), bump("1.0"))
    assert rig.show(DEV) == 'newTag: "1.0"'
    assert commit.tries == 1


def test_a_push_from_outside_in_between_is_kept(rig: Rig, either: GitInfraRepo) -> None:
    heads: list[str] = []

    def edit(tree: Tree) -> Mapping[str, bytes | None]:
        heads.append(tree.commit)
        if len(heads) == 1:
            rig.outside({DEV: '# kept\n# by hand\nnewTag: "1.0"\n'})
        return bump("1.1")(tree)

    commit = either.ensure_commit(request("d1"), edit)
    assert commit.tries == 2
    assert heads == [rig.log("%H")[2], rig.log("%H")[1]]
    assert rig.show(DEV) == '# kept\n# by hand\nnewTag: "1.1"'


def test_a_branch_that_was_moved_back_is_not_moved_forth(rig: Rig, either: GitInfraRepo) -> None:
    bad = either.ensure_commit(request("bad"), bump("6.6.6"))
    git("update-ref", "refs/heads/main", bad.parent, bad.sha, cwd=rig.bare)
    good = either.ensure_commit(request("good"), append("# more"))
    assert good.parent == bad.parent
    assert rig.show(DEV) == '# kept\nnewTag: "1.0"\n# more'
    assert either.find_commit("bad") is None


@pytest.mark.parametrize("kind", [Misbehaviour.DROP_AFTER, Misbehaviour.FAIL_AFTER])
def test_a_push_whose_answer_was_lost_is_found_again(rig: Rig, kind: Misbehaviour) -> None:
    repo = rig.repo()
    repo.refresh()
    # Twice: when a connection that was used before is cut, curl sends the request again by itself.
    times = 2 if kind is Misbehaviour.DROP_AFTER else 1
    rig.faults.add(Fault("POST", "git-receive-pack", kind, times=times, status=502))
    with pytest.raises(Retry) as fault:
        repo.ensure_commit(request("d1"), bump("1.1"))
    assert fault.value.reason is ReasonCode.REPO_UNREACHABLE
    for replica in (repo, rig.repo(home="restarted")):
        assert replica.ensure_commit(request("d1"), bump("1.1")).tries == 0
    assert len(rig.commits_of("d1")) == 1


def test_a_push_that_curl_sent_twice_is_one_commit(rig: Rig) -> None:
    repo = rig.repo()
    cut = rig.faults.add(Fault("POST", "git-receive-pack", Misbehaviour.DROP_AFTER))
    commit = repo.ensure_commit(request("d1"), append("# d1"))
    assert cut.hits == 1
    assert rig.commits_of("d1") == [commit.sha]
    assert rig.show(DEV).count("# d1") == 1


def test_a_push_that_never_arrived_is_made(rig: Rig) -> None:
    repo = rig.repo()
    rig.faults.add(Fault("POST", "git-receive-pack", Misbehaviour.DROP_BEFORE, times=2))
    with pytest.raises(Retry):
        repo.ensure_commit(request("d1"), bump("1.1"))
    assert repo.ensure_commit(request("d1"), bump("1.1")).tries == 1
    assert len(rig.commits_of("d1")) == 1


def test_a_server_that_hangs_is_given_up_and_asked_again(rig: Rig) -> None:
    repo = GitInfraRepo(rig.file_url, "main", rig.root / "home", committer=CommitAuthor("b", "b@b"), timeout=0.5)
    repo.refresh()
    hook = rig.bare / "hooks" / "post-receive"  # by now the ref has moved
    hook.write_text("#!/bin/sh\nexec sleep 5\n")
    hook.chmod(0o755)
    with pytest.raises(Retry) as fault:
        repo.ensure_commit(request("d1"), bump("1.1"))
    assert fault.value.reason is ReasonCode.REPO_UNREACHABLE
    hook.unlink()
    assert repo.ensure_commit(request("d1"), bump("1.1")).tries == 0


def test_two_replicas_with_the_same_deployment_commit_once(rig: Rig) -> None:
    replicas = [rig.repo(home=name) for name in ("one", "two")]
    for replica in replicas:
        replica.refresh()
    results: list[Commit] = []
    meeting = threading.Barrier(2)

    def ask(replica: GitInfraRepo) -> None:
        meeting.wait()
        results.append(replica.ensure_commit(request("d1"), append("# d1")))

    _run([threading.Thread(target=ask, args=(replica,)) for replica in replicas])
    assert len({commit.sha for commit in results}) == 1
    assert rig.commits_of("d1") == [results[0].sha], "in the same second both make the very same commit"
    assert rig.show(DEV).count("# d1") == 1


def test_eight_writers_lose_nothing_and_try_twice_at_most(rig: Rig) -> None:
    repo = rig.repo(rig.file_url)
    results: list[Commit] = []

    def write(name: int) -> None:
        for number in range(10):
            asked = f"w{name}-{number}"
            results.append(repo.ensure_commit(request(asked), append(f"# {asked}")))

    _run([threading.Thread(target=write, args=(name,)) for name in range(8)])
    assert len({commit.sha for commit in results}) == 80
    assert max(commit.tries for commit in results) <= 2
    assert sorted(rig.show(DEV).splitlines()[2:]) == sorted(f"# w{a}-{b}" for a in range(8) for b in range(10))
    assert len(rig.log("%H")) == 81


def test_writers_and_an_outsider_lose_nothing(rig: Rig) -> None:
    replicas = [rig.repo(rig.file_url, home=name) for name in ("one", "two")]

    def write(name: int) -> None:
        for number in range(3):
            replicas[name % 2].ensure_commit(request(f"w{name}-{number}"), append(f"# w{name}-{number}"))

    def push(pushed: list[int]) -> None:
        for number in range(12):
            try:
                rig.outside({f"outside/{number}.yaml": f"{number}\n"})
            except subprocess.CalledProcessError:
                continue  # the outsider lost a race: theirs to repeat
            pushed.append(number)

    pushed: list[int] = []
    outsider = threading.Thread(target=push, args=(pushed,))
    _run([outsider, *(threading.Thread(target=write, args=(name,)) for name in range(4))])
    assert sorted(rig.show(DEV).splitlines()[2:]) == sorted(f"# w{a}-{b}" for a in range(4) for b in range(3))
    assert len(rig.log("%H")) == 1 + 12 + len(pushed)


def test_a_commit_that_somebody_else_brought_in_by_a_merge_is_found(rig: Rig, repo: GitInfraRepo) -> None:
    repo.refresh()
    merged = rig.outside({DEV: "merged\n"}, "Merge pull request #7\n\nDeployment-Id: d7\nReason: fix\n")
    assert repo.find_commit("d7") is None
    assert repo.ensure_commit(request("d7"), bump("1.1")).sha == merged
    assert repo.find_commit("d7") == Commit(merged, rig.log("%H")[1], 0)


def test_an_id_that_only_begins_like_another_is_not_found(repo: GitInfraRepo) -> None:
    repo.ensure_commit(request("d10"), bump("1.1"))
    assert repo.find_commit("d1") is None
    assert repo.ensure_commit(request("d1"), bump("1.2")).tries == 1


def test_a_remote_with_a_shallow_history_serves(rig: Rig, tmp_path: Path) -> None:
    for number in range(4):
        rig.outside({STAGING: f"{number}\n"})
    git("clone", "--quiet", "--bare", "--depth=2", rig.file_url, "shallow.git", cwd=tmp_path)
    repo = rig.repo(f"file://{tmp_path}/shallow.git")
    first = repo.ensure_commit(request("d1"), bump("1.1"))
    assert repo.ensure_commit(request("d1"), bump("1.1")).sha == first.sha
    assert repo.find_commit("d1") == Commit(first.sha, first.parent, 0)
    assert len(repo.commits_since(None)) == 3


def test_the_head_is_known_without_the_network_after_a_restart(rig: Rig) -> None:
    assert rig.repo().head() is None
    head = rig.repo().refresh()
    rig.faults.add(Fault("*", "", Misbehaviour.DROP_BEFORE, times=99))
    assert rig.repo().head() == head == rig.log("%H")[0]


def test_the_log_tells_who_did_what_to_these_paths(rig: Rig, repo: GitInfraRepo) -> None:
    start = repo.refresh()
    rig.outside({STAGING: "by hand\n"}, "Fix staging by hand")
    commit = repo.ensure_commit(request("d1", Reason="a: b"), bump("1.1"))
    (logged,) = repo.commits_since(start, ("environments/dev",))
    assert (logged.sha, logged.parents, logged.subject) == (commit.sha, (commit.parent,), "Deploy d1")
    assert logged.author.email == "alice@example.com"
    assert logged.trailers == (("Deployment-Id", "d1"), ("Reason", "a: b"))
    assert [entry.subject for entry in repo.commits_since(start)] == ["Deploy d1", "Fix staging by hand"]
    assert [entry.subject for entry in repo.commits_since(None, limit=1)] == ["Deploy d1"]
    with pytest.raises(Refused):
        repo.commits_since("0" * 40)


def _run(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
