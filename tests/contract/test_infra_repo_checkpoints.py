"""Checkpoints in a real git repository: a chain on a ref of its own, trailers of the branch, and forged ones.

What a checkpoint says is in test_signed_note; what a verifier makes of it, in test_verify.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from bot import checkpoints, record
from bot.integrations.git.checkpoints import REF, Checkpoints, Kept, opened, read
from bot.integrations.infra_repo import GitInfraRepo
from bot.record import Sources
from commands.reasons import ReasonCode, Refused
from storage import ledger_keys
from storage.database import sqlite_url
from storage.verdict import Kind, State, Trust
from storage.verify_rows import Book
from tests.contract.git_rig import BOT, git
from tests.rows import audit_rows, messages
from tests.unit import ledger_rig
from tests.unit.ledger_rig import Record


@pytest.fixture
def remote(tmp_path: Path) -> Path:
    bare = tmp_path / "remote.git"
    git("init", "--quiet", "--bare", "--initial-branch=main", str(bare), cwd=tmp_path)
    commit(bare, "Begin")
    return bare


@pytest.fixture
def repo(remote: Path, tmp_path: Path) -> GitInfraRepo:
    made = GitInfraRepo(str(remote), "main", tmp_path / "git", committer=BOT)
    made.refresh()
    return made


@pytest.fixture
def kept(sqlite_template: Path, tmp_path: Path) -> Iterator[Record]:
    path = tmp_path / "locktender.db"
    path.write_bytes(sqlite_template.read_bytes())
    yield from ledger_rig.record(sqlite_url(path), tmp_path, 8)


def commit(bare: Path, message: str) -> str:
    """An empty commit on the branch, as anybody makes one."""
    tree = git("hash-object", "-t", "tree", "-w", "--stdin", cwd=bare)
    heads = git("for-each-ref", "--format=%(objectname)", "refs/heads/main", cwd=bare).split()
    made = git(
        "commit-tree", *(word for head in heads for word in ("-p", head)), "-F", "-", tree, cwd=bare, stdin=message
    )
    git("update-ref", "refs/heads/main", made, cwd=bare)
    return made


def sources(kept: Record, repository: Path) -> Sources:
    return Sources(Book(kept.url), None, repository, "main", Trust((kept.key,)))


def judged(kept: Record, repository: Path) -> tuple[State, list[tuple[Kind, int]], int]:
    verdict = record.verify(sources(kept, repository), lambda _done, _all: None)
    return verdict.state, [(one.kind, one.row) for one in verdict.findings], verdict.anchors


def test_checkpoints_are_a_chain_outside_of_the_branches(repo: GitInfraRepo, remote: Path) -> None:
    first, second = repo.append_checkpoint("one\n"), repo.append_checkpoint("two\n")
    assert git("rev-parse", REF, cwd=remote) == second
    assert git("rev-parse", f"{REF}^", cwd=remote) == first
    assert git("show", f"{REF}:checkpoint", cwd=remote) == "two"
    assert git("log", "--format=%an %ce", "-1", REF, cwd=remote) == f"{BOT.name} {BOT.email}"
    assert git("branch", "--list", cwd=remote).strip("* ") == "main"
    assert repo.checkpoints().notes == (Kept(second, "two\n"), Kept(first, "one\n"))


def test_the_same_checkpoint_is_kept_once(repo: GitInfraRepo, remote: Path, tmp_path: Path) -> None:
    first = repo.append_checkpoint("one\n")
    again = GitInfraRepo(str(remote), "main", tmp_path / "another", committer=BOT)
    assert again.append_checkpoint("one\n") == first
    assert again.append_checkpoint("two\n") != first
    assert git("rev-list", "--count", REF, cwd=remote) == "2"
    assert repo.append_checkpoint("three\n")
    assert git("rev-list", "--count", REF, cwd=remote) == "3"


def test_a_host_that_takes_no_such_ref_says_so(repo: GitInfraRepo, remote: Path) -> None:
    hook = remote / "hooks" / "update"
    hook.write_text("#!/bin/sh\ncase $1 in refs/heads/*) ;; *) echo only branches here; exit 1;; esac\n")
    hook.chmod(0o755)
    with pytest.raises(Refused) as refusal:
        repo.append_checkpoint("one\n")
    assert refusal.value.reason is ReasonCode.PUSH_REFUSED


def test_trailers_are_read_from_the_branch_alone(repo: GitInfraRepo, remote: Path) -> None:
    on_it = commit(remote, "Deploy\n\nAudit-Checkpoint: 1 root key sig\n")
    git("update-ref", "refs/heads/elsewhere", on_it, cwd=remote)
    aside = commit(remote, "Aside\n\nAudit-Checkpoint: forged\n")
    git("update-ref", "refs/heads/elsewhere", aside, cwd=remote)
    git("update-ref", "refs/heads/main", on_it, cwd=remote)
    repo.refresh()
    assert repo.checkpoints() == Checkpoints((Kept(on_it, "1 root key sig"),), ())
    with opened(remote) as commands:
        assert read(commands, "main").trailers == (Kept(on_it, "1 root key sig"),)


def test_a_clone_is_read_as_well_as_a_mirror(remote: Path, tmp_path: Path) -> None:
    made = commit(remote, "Deploy\n\nAudit-Checkpoint: x\n")
    git("clone", "--quiet", str(remote), "clone", cwd=tmp_path)
    with opened(tmp_path / "clone") as commands:
        assert read(commands, "main").trailers == (Kept(made, "x"),)


def test_a_place_without_a_repository_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="no git repository"), opened(tmp_path):
        pass


def test_trailers_and_the_ref_vouch_for_the_record(kept: Record, repo: GitInfraRepo, remote: Path) -> None:
    ((name, value),) = ledger_keys.trailer(kept.store)
    commit(remote, f"Deploy\n\n{name}: {value}\n")
    kept.write(2)
    checkpoints.publish(kept.store, repo, "C0DEPLOYMENTS")
    assert judged(kept, remote)[:2] == (State.PROVEN, [])
    kept.sql(
        "DELETE FROM audit WHERE seq > 7",
        "DELETE FROM ledger_nodes",
        "DELETE FROM ledger_state",
        "DELETE FROM checkpoints",
    )
    kept.reforge()
    assert judged(kept, remote)[:2] == (State.TAMPERED, [(Kind.CUT_OFF, 8)])


def test_a_forged_trailer_is_named_with_its_commit(kept: Record, remote: Path) -> None:
    ((name, value),) = ledger_keys.trailer(kept.store)
    commit(remote, f"Deploy\n\n{name}: {value}\n")
    size, root, key, sig = value.split(" ")
    for forged in (f"{size} {root} {key} {'A' * 86}==", "nonsense", f"{int(size) - 1} {root} {key} {sig}"):
        made = commit(remote, f"Forged\n\n{name}: {forged}\n")
        verdict = record.verify(sources(kept, remote), lambda _done, _all: None)
        assert (verdict.state, verdict.proven) == (State.TAMPERED, 8)
        assert made[:12] in " ".join(one.what for one in verdict.findings)
        assert {one.kind for one in verdict.findings} == {Kind.CHECKPOINT}


def test_the_daily_checkpoint_goes_out_once_a_day(kept: Record, repo: GitInfraRepo) -> None:
    assert checkpoints.publish(kept.store, repo, "C0DEPLOYMENTS")
    assert not checkpoints.publish(kept.store, repo, "C0DEPLOYMENTS")
    (told,) = messages(kept.store)
    assert told.channel == "C0DEPLOYMENTS"
    assert repo.checkpoints().notes[0].text.splitlines()[0] in told.body
    assert "8 rows" in told.body
    last = audit_rows(kept.store)[-1]
    assert last.action == "audit:checkpoint"
    assert repo.checkpoints().notes[0].commit in last.details


def test_a_host_that_keeps_no_checkpoints_is_told_of_in_the_record(
    kept: Record, repo: GitInfraRepo, remote: Path
) -> None:
    hook = remote / "hooks" / "update"
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    assert checkpoints.publish(kept.store, repo, "C0DEPLOYMENTS")
    assert '"refused":"push-refused"' in audit_rows(kept.store)[-1].details.replace("_", "-").lower()
    assert len(messages(kept.store)) == 1
