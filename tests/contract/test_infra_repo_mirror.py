"""The mirror of the infra-repo damaged in every way a kill or a bad disk damages it: it repairs itself, silently.

Left out: power cuts (what they leave, empty and cut-off files, is made by hand here) and the crash sweep over every
system call, which is in tests/crash.
"""

import fcntl
import multiprocessing
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bot.integrations.git.locks import Queue
from bot.integrations.infra_repo import GitInfraRepo
from commands.reasons import ReasonCode, Retry, Unknown
from tests.contract.git_rig import BOT, DEV, STAGING, Rig, append, bump, git, request


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    with Rig(tmp_path) as rig:
        rig.outside({DEV: 'newTag: "1.0"\n', STAGING: 'newTag: "1.0"\n'}, "start")
        yield rig


def _lock_refs(mirror: Path) -> None:
    for place in ("refs/remotes/origin/main.lock", "packed-refs.lock", "config.lock", "HEAD.lock", "shallow.lock"):
        (mirror / place).write_text("")


def _cut_objects(mirror: Path) -> None:
    for place in (mirror / "objects").rglob("*"):
        if place.is_file():
            place.chmod(0o644)
            place.write_bytes(place.read_bytes()[: place.stat().st_size // 2])


def _empty_objects(mirror: Path) -> None:
    for place in (mirror / "objects").rglob("*"):
        if place.is_file():
            place.chmod(0o644)
            place.write_bytes(b"")


def _lose_objects(mirror: Path) -> None:
    shutil.rmtree(mirror / "objects")
    (mirror / "objects").mkdir()


def _empty_ref(mirror: Path) -> None:
    (mirror / "refs/remotes/origin/main").write_text("")


def _dangling_ref(mirror: Path) -> None:
    (mirror / "refs/remotes/origin/main").write_text("1" * 40 + "\n")


def _lose_head(mirror: Path) -> None:
    (mirror / "HEAD").unlink()


def _spoil_config(mirror: Path) -> None:
    (mirror / "config").write_text("[core\n")


def _lose_everything(mirror: Path) -> None:
    shutil.rmtree(mirror)


def _half_made(mirror: Path) -> None:
    for place in mirror.iterdir():
        if place.name != "objects":
            shutil.rmtree(place) if place.is_dir() else place.unlink()


DAMAGES = [
    _lock_refs,
    _cut_objects,
    _empty_objects,
    _lose_objects,
    _empty_ref,
    _dangling_ref,
    _lose_head,
    _spoil_config,
    _lose_everything,
    _half_made,
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_mirror_is_repaired_after_a_restart(rig: Rig, damage: Callable[[Path], None]) -> None:
    rig.repo(rig.file_url).ensure_commit(request("d1"), append("# d1"))
    damage(_mirror(rig))
    repo = rig.repo(rig.file_url)
    assert repo.ensure_commit(request("d1"), append("# d1")).tries == 0
    assert repo.ensure_commit(request("d2"), append("# d2")).tries == 1
    assert rig.show(DEV).splitlines()[1:] == ["# d1", "# d2"]
    assert repo.tree(repo.refresh()).read(STAGING) == b'newTag: "1.0"\n'
    git("fsck", "--strict", "--no-dangling", cwd=_mirror(rig))


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_mirror_that_is_damaged_while_we_run_is_repaired(rig: Rig, damage: Callable[[Path], None]) -> None:
    repo = rig.repo(rig.file_url)
    repo.ensure_commit(request("d1"), append("# d1"))
    damage(_mirror(rig))
    assert repo.ensure_commit(request("d2"), append("# d2")).tries >= 1
    assert repo.ensure_commit(request("d1"), append("# d1")).tries == 0
    assert rig.show(DEV).splitlines()[1:] == ["# d1", "# d2"]


@pytest.mark.parametrize("damage", [_cut_objects, _lose_objects, _lose_everything, _half_made, _spoil_config])
def test_reading_repairs_a_damaged_mirror(rig: Rig, damage: Callable[[Path], None]) -> None:
    rig.repo(rig.file_url).refresh()
    repo = rig.repo(rig.file_url)
    head = repo.head()
    assert head is not None
    damage(_mirror(rig))
    assert repo.tree(head).read(DEV) == b'newTag: "1.0"\n'
    assert repo.find_commit("d1") is None


@pytest.mark.parametrize("damage", [_cut_objects, _lose_objects, _lose_everything, _half_made, _spoil_config])
def test_a_tree_that_is_held_for_many_questions_survives_a_damaged_mirror(
    rig: Rig, damage: Callable[[Path], None]
) -> None:
    rig.repo(rig.file_url).refresh()
    repo = rig.repo(rig.file_url)
    head = repo.head()
    assert head is not None
    with repo.tree(head).held() as tree:
        assert tree.entry("environments") is not None
        damage(_mirror(rig))
        assert tree.read(DEV) == b'newTag: "1.0"\n'
        assert tree.entries("environments")


def test_a_branch_that_was_rewritten_while_the_mirror_was_lost_is_read_anew(rig: Rig) -> None:
    repo = rig.repo(rig.file_url)
    gone = repo.ensure_commit(request("d1"), append("# d1"))
    assert repo.find_commit("d1") is not None
    git("update-ref", "refs/heads/main", gone.parent, cwd=rig.bare)
    git("reflog", "expire", "--expire=now", "--all", cwd=rig.bare)
    git("gc", "--quiet", "--prune=now", cwd=rig.bare)
    shutil.rmtree(_mirror(rig))
    repo.refresh()
    assert repo.find_commit("d1") is None


def test_a_process_killed_while_it_clones_or_pushes_leaves_nothing_in_the_way(rig: Rig) -> None:
    context = multiprocessing.get_context("fork")
    kills = 0
    while kills < 6 or not list((rig.root / "home").glob("*.git")):  # a busy machine gets less far in the same time
        writer = context.Process(target=_write, args=(rig.root / "home", rig.file_url, kills % 6), daemon=True)
        writer.start()
        time.sleep(min(0.02 + 0.015 * kills, 1))
        kills += 1
        if writer.pid is not None:
            os.kill(writer.pid, signal.SIGKILL)
        writer.join()
    repo = rig.repo(rig.file_url)
    stray = _mirror(rig) / "locktender-stray"
    stray.mkdir()
    for number in range(6):
        repo.ensure_commit(request(f"k{number}"), append(f"# k{number}"))
    assert not stray.exists()
    assert sorted(rig.show(DEV).splitlines()[1:]) == [f"# k{number}" for number in range(6)]
    assert not [place for place in (rig.root / "home").iterdir() if place.suffix in {".new", ".old"}]


def test_a_mirror_that_another_process_uses_is_waited_for(rig: Rig) -> None:
    rig.repo(rig.file_url).refresh()
    (lock,) = (rig.root / "home").glob("*.lock")
    repo = rig.repo(rig.file_url)
    with lock.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(Retry) as fault, repo._mirror.held(0.1):
            raise AssertionError("held twice")
    assert fault.value.reason is ReasonCode.PUSH_RACE
    assert repo.ensure_commit(request("d1"), bump("1.1")).tries == 1


def test_a_home_that_cannot_be_written_is_said_plainly(rig: Rig, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file where the folder should be")
    with pytest.raises(Unknown) as fault:
        rig.repo(rig.file_url, home="taken").ensure_commit(request("d1"), bump("1.1"))
    assert fault.value.reason is ReasonCode.INTERNAL
    assert "disk" in fault.value.next_step


def test_a_file_in_the_place_of_the_mirror_gives_way(rig: Rig) -> None:
    repo = rig.repo(rig.file_url)
    repo.refresh()
    mirror = _mirror(rig)
    shutil.rmtree(mirror)
    mirror.write_text("a file where the mirror should be")
    assert repo.ensure_commit(request("d1"), bump("1.1")).tries == 1
    assert len(list(mirror.parent.iterdir())) == 3  # the mirror, its lock and the empty home


def test_many_loose_objects_are_packed_and_everything_is_still_there(rig: Rig) -> None:
    repo = rig.repo(rig.file_url)
    commit = repo.ensure_commit(request("d1"), bump("1.1"))
    repo.tidy()
    assert repo.ensure_commit(request("d1"), bump("1.1")).sha == commit.sha


def test_waiting_threads_are_served_in_the_order_they_came() -> None:
    queue = Queue()
    assert queue.acquire(0)
    served: list[int] = []

    def wait(number: int) -> None:
        assert queue.acquire(10)
        served.append(number)
        queue.release()

    threads = [threading.Thread(target=wait, args=(number,)) for number in range(5)]
    for number, thread in enumerate(threads):
        thread.start()
        while len(queue._waiting) <= number:
            time.sleep(0.001)
        assert not queue.acquire(0.001)  # gives up, and is then not in the way of those who come later
    queue.release()
    for thread in threads:
        thread.join()
    assert served == [0, 1, 2, 3, 4]
    assert queue.acquire(0)


def _mirror(rig: Rig, home: str = "home") -> Path:
    (mirror,) = (rig.root / home).glob("*.git")
    return mirror


def _write(home: Path, url: str, number: int) -> None:
    os.setsid()
    repo = GitInfraRepo(url, "main", home, committer=BOT)
    repo.ensure_commit(request(f"k{number}"), append(f"# k{number}"))
