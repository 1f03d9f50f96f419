"""Tokens that expire: the adapter asks for one whenever it talks to the server, and repeats none of them.

Left out: tokens that never change (test_infra_repo_hostile), and where renewed ones come from.
"""

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bot.integrations.infra_repo import GitInfraRepo
from commands.reasons import ReasonCode, Refused, Retry
from tests.contract.git_rig import BOT, DEV, STAGING, TOKEN, Rig, bump, request

BRANCH = "deploy/d1"


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    with Rig(tmp_path) as rig:
        rig.outside({DEV: '# kept\nnewTag: "1.0"\n', STAGING: 'newTag: "1.0"\n'}, "start")
        yield rig


def test_a_token_is_renewed_for_every_operation(rig: Rig) -> None:
    given: list[str] = []

    def token() -> str:
        given.append(f"ghs_hourly{len(given)}")
        rig.server.token = given[-1]  # the one before is worth nothing any more
        return given[-1]

    repo = _renewing(rig, token)
    assert given == []
    parent = repo.refresh()
    repo.ensure_branch(request("d1"), BRANCH, parent, bump("1.1"))
    repo.ensure_commit(request("d2"), bump("1.2"))
    repo.tidy()
    assert len(given) >= 5


def test_reading_needs_no_token(rig: Rig) -> None:
    def refuse() -> str:
        raise Retry(ReasonCode.HOST_UNREACHABLE, "No token could be had.", "Wait.")

    head = rig.repo().refresh()
    repo = _renewing(rig, refuse)
    assert repo.tree(head).read(STAGING) == b'newTag: "1.0"\n'
    assert repo.resolve(head[:8]) == head
    with pytest.raises(Retry, match="host_unreachable"):
        repo.refresh()


def test_no_token_that_was_ever_used_is_repeated(rig: Rig) -> None:
    current = "ghs_first_canary"
    repo = _renewing(rig, lambda: current)
    for current in ("ghs_first_canary", "ghs_second_canary"):
        rig.server.token = current
        repo.refresh()
    hook = rig.bare / "hooks" / "pre-receive"
    hook.write_text("#!/bin/sh\necho ghs_first_canary ghs_second_canary >&2\nexit 1\n")
    with pytest.raises(Refused) as refusal:
        repo.ensure_branch(request("d1"), BRANCH, repo.refresh(), bump("1.1"))
    assert "canary" not in refusal.value.detail
    assert "*** ***" in refusal.value.detail


def test_a_token_with_a_line_break_is_refused_when_it_is_used(rig: Rig) -> None:
    with pytest.raises(Refused) as refusal:
        _renewing(rig, lambda: f"{TOKEN}\r\nX-Evil: 1").refresh()
    assert refusal.value.reason is ReasonCode.NOT_CONFIGURED
    assert TOKEN not in f"{refusal.value}"


def test_local_git_processes_are_not_given_the_token(rig: Rig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    real = shutil.which("git")
    said = tmp_path / "said"
    spy = tmp_path / "bin" / "git"
    spy.parent.mkdir()
    spy.write_text(f'#!/bin/sh\nenv | grep -c Authorization | sed "s/^/$1 /" >> {said}\nexec {real} "$@"\n')
    spy.chmod(0o755)
    monkeypatch.setenv("PATH", f"{spy.parent}:{Path(str(real)).parent}:/usr/bin:/bin")
    repo = rig.repo()
    repo.ensure_branch(request("d1"), BRANCH, repo.refresh(), bump("1.1"))
    told = set(said.read_text().splitlines())
    assert {line.split()[0] for line in told if line.endswith(" 1")} >= {"fetch", "push"}
    assert not [line for line in told if re.match(r"(commit-tree|hash-object|cat-file|mktree|log|init) [^0]", line)]


def _renewing(rig: Rig, token: Callable[[], str]) -> GitInfraRepo:
    return GitInfraRepo(rig.url, "main", rig.root / "home", committer=BOT, token=token, timeout=20)
