"""What differs between commits, the log, and commits named by their first digits: against real git.

Left out: how a commit gets there (test_infra_repo, test_infra_repo_branches).
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from bot.integrations.infra_repo import GitInfraRepo
from commands.reasons import ReasonCode, Refused
from tests.contract.git_rig import DEV, STAGING, Rig, bump, git, request


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    with Rig(tmp_path) as rig:
        rig.outside({DEV: '# kept\nnewTag: "1.0"\n', STAGING: 'newTag: "1.0"\n'}, "start")
        yield rig


@pytest.fixture
def repo(rig: Rig) -> GitInfraRepo:
    return rig.repo(rig.file_url)


def test_changes_tell_content_mode_and_what_is_missing(rig: Rig, repo: GitInfraRepo) -> None:
    before = rig.outside({"gone.yaml": "g\n", "run.sh": "x\n", "odd\tname\u202e.yaml": "a\n"})
    git("update-ref", "refs/heads/main", before, cwd=rig.bare)
    rig.outside({"run.sh": "x\n"}, mode="100755")
    rig.outside({"link.yaml": DEV}, mode="120000")
    rig.outside({"odd\tname\u202e.yaml": "b\n", "new/n.yaml": "n\n"})
    after = _without(rig, "gone.yaml")
    repo.refresh()
    found = repo.changes(before, after)
    (gone, script, was, now, new, link) = (
        git("hash-object", "--stdin", cwd=rig.bare, stdin=text) for text in ("g\n", "x\n", "a\n", "b\n", "n\n", DEV)
    )
    assert found == {
        "gone.yaml": (f"100644 {gone}", ""),
        "run.sh": (f"100644 {script}", f"100755 {script}"),
        "link.yaml": ("", f"120000 {link}"),
        "odd\tname\u202e.yaml": (f"100644 {was}", f"100644 {now}"),
        "new/n.yaml": ("", f"100644 {new}"),
    }
    assert repo.changes(after, after) == {}


def test_a_file_that_was_moved_is_gone_here_and_new_there(rig: Rig, repo: GitInfraRepo) -> None:
    before = rig.outside({"a.yaml": "a long enough text to be found again\n" * 20})
    rig.outside({"b.yaml": "a long enough text to be found again\n" * 20})
    after = _without(rig, "a.yaml")
    repo.refresh()
    found = repo.changes(before, after)
    assert sorted(found) == ["a.yaml", "b.yaml"]
    assert found["a.yaml"][0] == found["b.yaml"][1]


@pytest.mark.parametrize("commit", ["HEAD", "--output=/tmp/owned", "main", "0" * 40, "1" * 39, ""])
def test_only_fetched_commits_are_compared_and_logged(repo: GitInfraRepo, commit: str) -> None:
    head = repo.refresh()
    for ask in (
        lambda: repo.changes(commit, head),
        lambda: repo.changes(head, commit),
        lambda: repo.log(commit, None, (), 1),
        lambda: repo.log(head, commit, (), 1),
    ):
        with pytest.raises(Refused) as refusal:
            ask()
        assert refusal.value.reason is ReasonCode.UNKNOWN_VERSION


def test_the_log_of_everything_goes_by_the_empty_path_too(rig: Rig, repo: GitInfraRepo) -> None:
    start = repo.refresh()
    rig.outside({STAGING: "x\n"}, "staging")
    head = rig.outside({DEV: "y\n"}, "dev")
    repo.refresh()
    assert [one.subject for one in repo.log(head, None, (), 2)] == ["dev", "staging"]
    assert [one.subject for one in repo.log(head, start, ("",), 9)] == ["dev", "staging"]
    assert [one.subject for one in repo.log(head, start, ("environments/staging",), 9)] == ["staging"]


def test_a_prefix_names_a_commit_of_the_branch_only(rig: Rig, repo: GitInfraRepo) -> None:
    assert repo.resolve("1234567") is None
    start = repo.refresh()
    side = repo.ensure_branch(request("d1"), "deploy/d1", start, bump("1.1"))
    head = rig.outside({STAGING: "x\n"})
    tree = git("rev-parse", "main^{tree}", cwd=rig.bare)
    assert repo.resolve(head) is None  # not fetched yet
    repo.refresh()
    for length in (7, 12, 40):
        assert repo.resolve(start[:length]) == start
        assert repo.resolve(head[:length].upper()) == head
        assert repo.resolve(side[:length]) is None
        assert repo.resolve(tree[:length]) is None


def test_a_prefix_that_several_commits_share_names_none(rig: Rig, repo: GitInfraRepo) -> None:
    seen: dict[str, str] = {}
    parent, number = rig.log("%H")[0], 0
    tree = git("rev-parse", "main^{tree}", cwd=rig.bare)
    raw = f"tree {tree}\nparent {parent}\nauthor A <a@b> 1 +0000\ncommitter A <a@b> 1 +0000\n\n"
    # Seven digits collide after some 20,000 commits: found by hashing them, not by making them.
    while True:
        body = f"{raw}{number}\n".encode()
        sha = hashlib.sha1(b"commit %d\0" % len(body) + body, usedforsecurity=False).hexdigest()
        if sha[:7] in seen:
            break
        seen[sha[:7]] = f"{raw}{number}\n"
        number += 1
    pair = [_raw_commit(rig, seen[sha[:7]]), _raw_commit(rig, f"{raw}{number}\n")]
    merge = git("commit-tree", tree, "-p", pair[0], "-p", pair[1], "-m", "both", cwd=rig.bare)
    git("update-ref", "refs/heads/main", merge, cwd=rig.bare)
    repo.refresh()
    assert repo.resolve(sha[:7]) is None
    assert [repo.resolve(one) for one in pair] == pair


def test_what_is_no_prefix_never_reaches_git(repo: GitInfraRepo, monkeypatch: pytest.MonkeyPatch) -> None:
    repo.refresh()
    monkeypatch.setenv("PATH", "/nonexistent")  # git cannot even be started
    for text in ("", "abcdef", "--all", "HEAD~1", "g" * 7, "0" * 41, "abcdef1\n", "-" * 7, "\u0661" * 7, "^abcdef1"):
        assert repo.resolve(text) is None


def _without(rig: Rig, path: str) -> str:
    """Somebody else removes a file at the root of the remote's main branch."""
    kept = [line for line in git("ls-tree", "-z", "main", cwd=rig.bare).split("\0") if not line.endswith(f"\t{path}")]
    tree = git("mktree", "-z", cwd=rig.bare, stdin="\0".join(kept))
    commit = git("commit-tree", tree, "-p", "main", "-m", "remove", cwd=rig.bare)
    git("update-ref", "refs/heads/main", commit, cwd=rig.bare)
    return commit


def _raw_commit(rig: Rig, text: str) -> str:
    return git("hash-object", "-t", "commit", "-w", "--stdin", cwd=rig.bare, stdin=text)
