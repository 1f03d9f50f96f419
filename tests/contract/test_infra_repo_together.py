"""Deployments that wait for each other: they travel in one push, as a commit each, and nobody pays for another's fault.

Left out: how fast that is (benchmarks/push.py), and writers that do not wait (test_infra_repo).
"""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from functools import partial
from pathlib import Path

import pytest

from bot.integrations.infra_repo import GitInfraRepo
from bot.sandbox.server import Fault, Misbehaviour
from commands.ports import Commit, Tree
from commands.reasons import ReasonCode, Refused, Retry
from tests.contract.git_rig import DEV, Rig, append, edit_to, request

_caller: ContextVar[str] = ContextVar("_caller", default="nobody")


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    with Rig(tmp_path) as rig:
        rig.outside({DEV: 'newTag: "1.0"\n'}, "start")
        yield rig


def test_those_who_wait_travel_in_one_push_with_a_commit_each(rig: Rig) -> None:
    repo, pushes = rig.repo(), _pushes(rig)
    asks = [_deploy(repo, f"d{number}") for number in range(5)]
    outcomes = _together(repo, asks)
    assert len(pushes) == 1
    commits = [outcome for outcome in outcomes if isinstance(outcome, Commit)]
    assert [commit.tries for commit in commits] == [1] * 5
    assert {commit.sha for commit in commits} == set(rig.log("%H")[:5])
    for number, commit in enumerate(commits):
        assert rig.commits_of(f"d{number}") == [commit.sha]
        assert repo.find_commit(f"d{number}") == Commit(commit.sha, commit.parent, 0)
    assert sorted(rig.show(DEV).splitlines()[1:]) == [f"# d{number}" for number in range(5)]


def test_the_same_deployment_asked_twice_at_once_is_one_commit(rig: Rig) -> None:
    repo = rig.repo(rig.file_url)
    outcomes = _together(repo, [_deploy(repo, "d1")] * 3)
    assert len({outcome.sha for outcome in outcomes if isinstance(outcome, Commit)}) == 1
    assert rig.show(DEV).count("# d1") == 1


def test_a_faulty_edit_is_heard_by_its_own_caller_only(rig: Rig) -> None:
    repo = rig.repo(rig.file_url)

    def stumble(_: Tree) -> Mapping[str, bytes]:
        raise KeyError("a fault of the program")

    outcomes = _together(
        repo,
        [
            _deploy(repo, "d0"),
            partial(repo.ensure_commit, request("d1"), stumble),
            partial(repo.ensure_commit, request("d2"), edit_to({})),
            _deploy(repo, "d3"),
        ],
    )
    assert [type(outcome) for outcome in outcomes] == [Commit, KeyError, Refused, Commit]
    assert sorted(rig.show(DEV).splitlines()[1:]) == ["# d0", "# d3"]


def test_a_declined_commit_does_not_take_the_others_along(rig: Rig) -> None:
    repo = rig.repo(rig.file_url)
    hook = rig.bare / "hooks" / "pre-receive"
    hook.write_text(
        '#!/bin/sh\nwhile read old new ref; do\n  if git log --format=%s "$old..$new" | grep -q bad; then\n'
        "    echo no ticket >&2\n    exit 1\n  fi\ndone\n"
    )
    asks = [_deploy(repo, name) for name in ("d0", "bad", "d2", "d3")]
    outcomes = _together(repo, asks)
    assert [type(outcome) for outcome in outcomes] == [Commit, Refused, Commit, Commit]
    refusal = outcomes[1]
    assert isinstance(refusal, Refused)
    assert (refusal.reason, "no ticket" in refusal.detail) == (ReasonCode.PUSH_REFUSED, True)
    assert sorted(rig.show(DEV).splitlines()[1:]) == ["# d0", "# d2", "# d3"]
    assert max(outcome.tries for outcome in outcomes if isinstance(outcome, Commit)) <= 3


def test_a_lost_answer_leaves_everybody_with_one_commit(rig: Rig) -> None:
    repo = rig.repo()
    rig.faults.add(Fault("POST", "git-receive-pack", Misbehaviour.FAIL_AFTER, status=502))
    asks = [_deploy(repo, f"d{number}") for number in range(3)]
    outcomes = _together(repo, asks)
    assert [type(outcome) for outcome in outcomes] == [Retry, Commit, Commit]
    assert repo.ensure_commit(request("d0"), append("# d0")).tries == 0
    assert sorted(rig.show(DEV).splitlines()[1:]) == ["# d0", "# d1", "# d2"]


def test_an_edit_runs_with_the_context_of_whoever_asked(rig: Rig) -> None:
    repo = rig.repo(rig.file_url)
    seen: list[tuple[str, str]] = []

    def ask(name: str) -> Commit:
        _caller.set(name)

        def edit(tree: Tree) -> Mapping[str, bytes | None]:
            seen.append((name, _caller.get()))
            return append(f"# {name}")(tree)

        return repo.ensure_commit(request(name), edit)

    _together(repo, [partial(ask, name) for name in ("d0", "d1", "d2")])
    assert seen == [("d0", "d0"), ("d1", "d1"), ("d2", "d2")]


def _deploy(repo: GitInfraRepo, name: str) -> Callable[[], Commit]:
    return partial(repo.ensure_commit, request(name), append(f"# {name}"))


def _together(repo: GitInfraRepo, asks: list[Callable[[], Commit]]) -> list[Commit | Exception]:
    """Ask in this order while the mirror is taken, so that all wait; then let go. What came out, in the same order."""
    repo.refresh()
    outcomes: dict[int, Commit | Exception] = {}

    def run(number: int, ask: Callable[[], Commit]) -> None:
        try:
            outcomes[number] = ask()
        except Exception as error:  # noqa: BLE001 - whatever it is, the test looks at it
            outcomes[number] = error

    threads = [threading.Thread(target=run, args=(number, ask)) for number, ask in enumerate(asks)]
    pause = threading.Event()
    with repo._mirror.held(5):
        for number, thread in enumerate(threads):
            thread.start()
            while len(repo._mirror._lock._queue._waiting) <= number:
                pause.wait(0.001)
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    return [outcomes[number] for number in range(len(asks))]


def _pushes(rig: Rig) -> list[str]:
    pushes: list[str] = []

    def count(method: str, path: str) -> None:
        if method == "POST" and path.endswith("git-receive-pack"):
            pushes.append(path)

    rig.faults.before = count
    return pushes
