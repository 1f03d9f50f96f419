"""What the bot knows of git, with the real adapter on a real repository, on both databases.

The catalogue's own grammar is in test_catalogue; fetching through damage and outages, in test_infra_repo_*.
"""

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import text as sql
from sqlalchemy.exc import SQLAlchemyError

from bot.factbook import FILE, GROUPS_FOR, Factbook
from bot.sandbox.infra_example import create_example
from bot.snapshot import Snapshots
from commands.ports import Person
from commands.reasons import ReasonCode
from storage.unit_of_work import Store
from tests.contract.git_rig import Rig, git
from tests.rows import audit_rows, messages

BROKEN = "environments: {staging: {}}\napps: {web: {image: registry.example.com/web}}\nnonsense: true\n"
APP = "my-application"


class People:
    """Slack's user groups, as they are told to be."""

    def __init__(self) -> None:
        self.groups: dict[str, frozenset[str]] = {}

    def person(self, team_id: str, user_id: str) -> Person:
        return Person(team_id, user_id)

    def members(self, group_id: str) -> frozenset[str] | None:
        return self.groups.get(group_id)


class Bench:
    """An infra-repo with the example in it, and factbooks on it, one per process that would have one."""

    def __init__(self, store: Store, root: Path) -> None:
        self.store = store
        self.rig = Rig(root)
        create_example(self.rig.bare)
        self.people = People()
        self.good = self.rig.show(FILE) + "\n"
        self._homes = iter(range(100))

    def factbook(self, clock: Callable[[], float] = time.monotonic) -> Factbook:
        infra = self.rig.repo(self.rig.file_url, home=f"home-{next(self._homes)}")
        return Factbook(self.store, infra, self.people, Snapshots(), clock)

    @contextmanager
    def without_table(self, name: str) -> Iterator[None]:
        """A database that fails: this table is away."""
        self._rename(name, f"{name}_away")
        yield
        self._rename(f"{name}_away", name)

    def _rename(self, name: str, other: str) -> None:
        with self.store.database.engine.begin() as connection:
            connection.execute(sql(f"ALTER TABLE {name} RENAME TO {other}"))

    def push(self, files: Mapping[str, str]) -> str:
        return self.rig.outside(files)

    def remove(self, path: str) -> str:
        """Commit a tree without this file."""
        listing = git("ls-tree", "main", cwd=self.rig.bare).splitlines()
        kept = "\n".join(line for line in listing if not line.endswith(f"\t{path}")) + "\n"
        tree = git("mktree", cwd=self.rig.bare, stdin=kept)
        commit = git("commit-tree", tree, "-p", "main", "-m", "by hand", cwd=self.rig.bare)
        git("update-ref", "refs/heads/main", commit, cwd=self.rig.bare)
        return commit

    def told(self) -> list[str]:
        return [row.body for row in messages(self.store)]

    def recorded(self) -> list[str]:
        return [row.action for row in audit_rows(self.store)]


@pytest.fixture
def bench(store: Store, tmp_path: Path) -> Iterator[Bench]:
    made = Bench(store, tmp_path / "git")
    with made.rig:
        yield made


@pytest.fixture
def book(bench: Bench) -> Factbook:
    made = bench.factbook()
    made.refresh()
    return made


def test_before_the_first_look_nothing_is_known(bench: Bench) -> None:
    book = bench.factbook()
    facts = book.facts()
    assert facts.in_force.catalogue is None
    assert facts.in_force.reason is ReasonCode.CATALOGUE_MISSING
    assert facts.snapshot is None
    assert facts.snapshot_age > timedelta(days=365)


def test_a_look_finds_the_catalogue_and_what_git_says_of_every_environment(bench: Bench, book: Factbook) -> None:
    facts = book.facts()
    assert facts.in_force.catalogue is not None
    assert facts.snapshot is not None
    assert {key[1]: image.tag for key, image in facts.snapshot.images.items()} == {
        "dev": "1.4.0",
        "staging": "1.4.0",
        "production": "1.4.0",
    }
    assert facts.snapshot_age < timedelta(minutes=1)
    assert (bench.recorded(), bench.told()) == (["catalogue:load"], [])
    assert book.trouble == ""


def test_a_new_catalogue_takes_effect_at_the_next_look(bench: Bench, book: Factbook) -> None:
    commit = bench.push({FILE: bench.good.replace("apps:\n", "apps:\n  web: {image: registry.example.com/web}\n")})
    book.refresh()
    in_force = book.in_force()
    assert in_force.catalogue is not None
    assert in_force.catalogue.app("web") is not None
    assert in_force.commit == in_force.newest == commit
    assert bench.recorded() == ["catalogue:load"] * 2


@pytest.mark.parametrize("content", ["good", "broken"])
def test_the_record_says_who_changed_the_rules_and_to_what(bench: Bench, book: Factbook, content: str) -> None:
    text = BROKEN if content == "broken" else f"{bench.good}# reviewed\n"
    commit = bench.push({FILE: text})
    bench.push({"README.md": "later, by somebody else\n"})
    book.refresh()
    row = audit_rows(bench.store)[-1]
    assert row.action == ("catalogue:refuse" if content == "broken" else "catalogue:load")
    said = json.loads(row.details)
    name, email = git("log", "-1", "--format=%an%x00%ae", commit, cwd=bench.rig.bare).split("\0")
    assert row.actor == f"git:{email}"
    assert (said["changed_in"], said["author"]) == (commit, f"{name} <{email}>")
    assert said["sha256"] == hashlib.sha256(text.encode()).hexdigest()


def test_a_new_version_in_an_overlay_is_seen(bench: Bench, book: Factbook) -> None:
    path = "environments/staging/kustomization.yaml"
    bench.push({path: bench.rig.show(path).replace("1.4.0", "1.4.1") + "\n"})
    book.refresh()
    snapshot = book.facts().snapshot
    assert snapshot is not None
    assert snapshot.images[APP, "staging"].tag == "1.4.1"
    assert bench.recorded() == ["catalogue:load"]


def test_a_broken_catalogue_is_refused_and_told_of_once(bench: Bench, book: Factbook) -> None:
    commit = bench.push({FILE: BROKEN})
    book.refresh()
    book.refresh()
    in_force = book.in_force()
    assert in_force.catalogue is not None
    assert in_force.catalogue.app(APP) is not None
    assert in_force.newest == commit != in_force.commit
    assert any("nonsense" in fault for fault in in_force.faults)
    assert bench.recorded() == ["catalogue:load", "catalogue:refuse"]
    (told,) = bench.told()
    assert commit[:7] in told
    assert "nonsense" in told
    assert messages(bench.store)[0].channel == in_force.catalogue.channels.deployments


def test_later_commits_that_leave_it_broken_are_not_told_of_again(bench: Bench, book: Factbook) -> None:
    bench.push({FILE: BROKEN})
    book.refresh()
    for number in range(3):
        bench.push({"README.md": f"{number}\n"})
        book.refresh()
    assert book.in_force().faults
    assert len(bench.told()) == 1
    bench.push({FILE: BROKEN + "more: nonsense\n"})
    book.refresh()
    assert len(bench.told()) == 2


def test_a_broken_catalogue_does_not_hide_what_git_says(bench: Bench, book: Factbook) -> None:
    path = "environments/staging/kustomization.yaml"
    bench.push({FILE: BROKEN, path: bench.rig.show(path).replace("1.4.0", "1.4.1") + "\n"})
    book.refresh()
    snapshot = book.facts().snapshot
    assert snapshot is not None
    assert snapshot.images[APP, "staging"].tag == "1.4.1"


@pytest.mark.parametrize("same", [True, False])
def test_a_mended_catalogue_is_told_of_and_in_force(bench: Bench, book: Factbook, *, same: bool) -> None:
    bench.push({FILE: BROKEN})
    book.refresh()
    commit = bench.push({FILE: bench.good if same else bench.good + "# mended\n"})
    book.refresh()
    assert book.in_force().faults == ()
    assert book.in_force().commit == commit
    assert bench.recorded() == ["catalogue:load", "catalogue:refuse", "catalogue:load"]
    assert "in order again" in bench.told()[1]


def test_a_restart_while_the_newest_is_broken_changes_nothing(bench: Bench, book: Factbook) -> None:
    good = book.in_force().commit
    bench.push({FILE: BROKEN})
    book.refresh()
    again = bench.factbook()
    again.restore()
    assert again.in_force().catalogue is not None
    again.refresh()
    assert again.in_force().catalogue == book.in_force().catalogue
    assert again.in_force().commit == good
    assert again.in_force().faults == book.in_force().faults
    assert len(bench.told()) == 1
    assert bench.recorded() == ["catalogue:load", "catalogue:refuse"]


def test_a_restart_after_it_was_mended_tells_so(bench: Bench, book: Factbook) -> None:
    bench.push({FILE: BROKEN})
    book.refresh()
    bench.push({FILE: bench.good})
    again = bench.factbook()
    again.restore()
    again.refresh()
    assert "in order again" in bench.told()[1]


def test_a_restart_with_nothing_new_records_nothing(bench: Bench, book: Factbook) -> None:
    del book
    again = bench.factbook()
    again.restore()
    again.refresh()
    assert bench.recorded() == ["catalogue:load"]


def test_a_second_replica_tells_nothing_twice(bench: Bench, book: Factbook) -> None:
    replica = bench.factbook()
    replica.refresh()
    for text in (BROKEN, bench.good):
        bench.push({FILE: text})
        book.refresh()
        replica.refresh()
    assert len(bench.told()) == 2
    assert bench.recorded() == ["catalogue:load", "catalogue:refuse", "catalogue:load"]


def test_a_catalogue_that_is_gone_is_a_fault_and_the_last_one_stays(bench: Bench, book: Factbook) -> None:
    bench.remove(FILE)
    book.refresh()
    assert book.in_force().catalogue is not None
    assert "no such file" in book.in_force().faults[0]
    assert len(bench.told()) == 1


def test_a_repository_without_a_catalogue_says_what_to_do(bench: Bench) -> None:
    bench.remove(FILE)
    book = bench.factbook()
    book.refresh()
    in_force = book.in_force()
    assert in_force.catalogue is None
    assert in_force.reason is ReasonCode.CATALOGUE_MISSING
    assert in_force.next_step
    assert bench.told() == []  # nobody knows a channel yet
    bench.push({FILE: bench.good})
    book.refresh()
    assert book.in_force().catalogue is not None


def test_a_catalogue_that_is_a_link_is_not_followed(bench: Bench, book: Factbook) -> None:
    bench.rig.outside({FILE: "/etc/passwd"}, mode="120000")
    book.refresh()
    assert book.in_force().faults
    assert "root:" not in "".join(bench.told())


@pytest.mark.parametrize("content", ["\0\0\0", "a: &a [*a]\n", "[" * 5000, "\x1b[31m: {}\n"])
def test_whatever_is_in_the_file_the_last_good_one_stays(bench: Bench, book: Factbook, content: str) -> None:
    bench.push({FILE: content})
    book.refresh()
    assert book.in_force().catalogue is not None
    assert book.in_force().faults
    assert len(bench.told()) == 1


def test_a_repository_that_cannot_be_reached_is_a_trouble_that_passes(bench: Bench, book: Factbook) -> None:
    away = bench.rig.bare.with_suffix(".away")
    shutil.move(bench.rig.bare, away)
    book.refresh()
    assert book.trouble
    assert book.in_force().catalogue is not None
    other = bench.factbook()
    other.refresh()
    assert other.in_force().catalogue is None
    assert other.in_force().problem == other.trouble
    shutil.move(away, bench.rig.bare)
    other.refresh()
    book.refresh()
    assert book.trouble == other.trouble == ""
    assert other.in_force().catalogue is not None


def test_the_age_of_what_is_known_grows_while_git_cannot_be_read(bench: Bench, book: Factbook) -> None:
    shutil.rmtree(bench.rig.bare)
    before = book.facts().snapshot_age
    book.refresh()
    assert book.facts().snapshot_age > before


def test_our_own_commit_is_seen_without_a_fetch(bench: Bench, book: Factbook) -> None:
    path = "environments/staging/kustomization.yaml"
    commit = bench.push({path: bench.rig.show(path).replace("1.4.0", "1.5.0") + "\n"})
    book.refresh()
    book.pushed(commit)
    snapshot = book.facts().snapshot
    assert snapshot is not None
    assert snapshot.commit == commit
    assert book.head() == commit


def test_groups_that_cannot_be_read_are_left_out(bench: Bench, book: Factbook) -> None:
    catalogue = book.in_force().catalogue
    assert catalogue is not None
    groups = [group.slack for group in catalogue.groups.values() if group.slack]
    assert groups
    assert book.facts().groups == {}
    bench.people.groups[groups[0]] = frozenset({"U1"})
    book.refresh()
    assert book.facts().groups == {groups[0]: frozenset({"U1"})}
    bench.people.groups.clear()
    book.refresh()
    assert book.facts().groups == {}


def test_a_catalogue_that_cannot_be_recorded_is_not_in_force_until_it_can(bench: Bench, book: Factbook) -> None:
    before = book.in_force()
    commit = bench.push({FILE: bench.good + "# another\n"})
    with bench.without_table("catalogues"), pytest.raises(SQLAlchemyError):
        book.refresh()
    assert book.in_force() == before
    book.refresh()
    assert book.in_force().commit == commit
    assert bench.recorded() == ["catalogue:load", "catalogue:load"]


def test_after_a_restart_without_git_what_was_closed_stays_closed(bench: Bench, book: Factbook) -> None:
    bench.push({FILE: BROKEN})
    book.refresh()
    shutil.rmtree(bench.rig.bare)
    again = bench.factbook()
    again.restore()
    again.refresh()
    assert again.trouble
    assert again.in_force().catalogue is not None
    assert again.in_force().faults == book.in_force().faults != ()


def test_groups_are_read_again_while_the_database_is_away(bench: Bench, book: Factbook) -> None:
    bench.people.groups["S0RELEASE"] = frozenset({"U1"})
    book.refresh()
    assert book.facts().groups == {"S0RELEASE": frozenset({"U1"})}
    bench.people.groups["S0RELEASE"] = frozenset()
    bench.push({FILE: bench.good + "# another\n"})
    with bench.without_table("catalogues"), pytest.raises(SQLAlchemyError):
        book.refresh()
    assert book.facts().groups == {"S0RELEASE": frozenset()}


def test_groups_that_nobody_reads_again_become_unknown(bench: Bench) -> None:
    now = [1000.0]
    book = bench.factbook(clock=lambda: now[0])
    bench.people.groups["S0RELEASE"] = frozenset({"U1"})
    book.refresh()
    now[0] += GROUPS_FOR
    assert book.facts().groups == {"S0RELEASE": frozenset({"U1"})}
    now[0] += 1
    assert book.facts().groups == {}
