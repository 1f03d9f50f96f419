"""What a deployment makes of a tree, on real git: another image, or an overlay as it was; and trees that are not yet.

What an image edit does to a file is test_kustomize_edit; that it is committed once, test_infra_repo.
"""

from collections.abc import Mapping
from pathlib import Path

import pytest

from bot.content import Content, Contents, Wanted
from bot.integrations.infra_repo import GitInfraRepo
from bot.integrations.overlaid import Overlaid
from commands.ports import ImageRef, Tree
from commands.reasons import ReasonCode, Refused
from tests.contract.git_rig import Rig, git
from tests.desk_rig import catalogue

OVERLAY = "apps/web/overlays/production"
KUSTOMIZATION = f"{OVERLAY}/kustomization.yaml"
SHARED = "environments/production/kustomization.yaml"
ONE = """\
promotion: [staging, production]
environments: {staging: {}, production: {}}
apps:
  web: {image: registry.company.com/web}
channels: {deployments: C0DEPLOYMENTS}
"""
TWO = ONE.replace("channels", "  api: {image: registry.company.com/api}\nchannels")


def kustomization(tag: str, *more: str, base: str = "../../base") -> str:
    lines = ["resources:", f"- {base}", *more, "images:", "- name: registry.company.com/web", f'  newTag: "{tag}"']
    return "".join(f"{line}\n" for line in lines)


START = {
    KUSTOMIZATION: kustomization("1.0", "- extra.yaml"),
    f"{OVERLAY}/extra.yaml": "kind: ConfigMap\nmetadata: {name: extra}\n",
    "apps/web/base/kustomization.yaml": "resources:\n- web.yaml\n",
    "apps/web/base/web.yaml": "kind: Deployment\nmetadata: {name: web}\n",
    "README.md": "kept\n",
}


class Repository:
    """A remote whose whole content is set at once, so that files can go; `infra` is what the program sees of it."""

    def __init__(self, root: Path) -> None:
        self.rig = Rig(root)
        self.infra: GitInfraRepo = self.rig.repo(self.rig.file_url)
        self._number = 0

    def commit(self, files: Mapping[str, str]) -> str:
        """One more commit with exactly these files."""
        self._number += 1
        index = ["env", f"GIT_INDEX_FILE={self.rig.root / f'exact-{self._number}'}", "git"]
        bare = self.rig.bare
        lines = (
            f"100644 {git('hash-object', '-w', '--stdin', cwd=bare, stdin=text)}\t{path}\n"
            for path, text in files.items()
        )
        script = f"{' '.join(index)} update-index --add --index-info && {' '.join(index)} write-tree"
        tree = git("-c", f"alias.exact=!{script}", "exact", cwd=bare, stdin="".join(lines))
        parent = git("for-each-ref", "--format=%(objectname)", "refs/heads/main", cwd=bare)
        commit = git("commit-tree", tree, *(("-p", parent) if parent else ()), "-m", "by hand", cwd=bare)
        git("update-ref", "refs/heads/main", commit, cwd=bare)
        self.infra.refresh()
        return commit

    def of(self, to: str = "", *, text: str = ONE, exact: bool = False, version: str = "1.1") -> Content:
        """What a deployment, or a rollback to this commit, makes of the branch's head."""
        known = catalogue(text)
        head = self.infra.head()
        assert head is not None
        wanted = Wanted(known.apps["web"], known.environments["production"], version, "", to, exact)
        return Contents(self.infra).of(self.infra.tree(head), known, wanted)

    def after(self, content: Content) -> dict[str, str]:
        """Every file, once this content is committed."""
        head = self.infra.head()
        assert head is not None
        return files_of(Overlaid(self.infra.tree(head), content.changes))


def files_of(tree: Tree, folder: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for entry in tree.entries(folder):
        if entry.kind == "tree":
            found |= files_of(tree, entry.path)
        else:
            found[entry.path] = (tree.read(entry.path) or b"").decode()
    return found


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path)


# ---------------------------------------------------------------- another image


def test_a_version_changes_its_tag_and_nothing_else(repository: Repository) -> None:
    repository.commit(START)
    content = repository.of(version="1.1")
    assert repository.after(content) == START | {KUSTOMIZATION: kustomization("1.1", "- extra.yaml")}
    assert (content.overlay, content.before.tag, content.image.tag) == (OVERLAY, "1.0", "1.1")


def test_what_git_says_already_is_no_change(repository: Repository) -> None:
    repository.commit(START)
    assert repository.of(version="1.0").changes == {}


def test_without_an_overlay_every_place_that_was_looked_at_is_named(repository: Repository) -> None:
    repository.commit({"README.md": "nothing\n"})
    with pytest.raises(Refused) as fault:
        repository.of()
    assert fault.value.reason is ReasonCode.OVERLAY_MISSING
    assert OVERLAY in fault.value.what
    assert "environments/production" in fault.value.what


# ---------------------------------------------------------------- the overlay as it was

CHANGED = START | {
    KUSTOMIZATION: kustomization("1.1", "- added.yaml"),
    f"{OVERLAY}/added.yaml": "kind: Secret\nmetadata: {name: added}\n",
    f"{OVERLAY}/deep/er.yaml": "kind: Secret\n",
    "README.md": "changed\n",
}
del CHANGED[f"{OVERLAY}/extra.yaml"]


@pytest.mark.parametrize("digits", [40, 12, 7])
def test_the_whole_overlay_is_restored_with_what_was_added_since_taken_away(
    repository: Repository, digits: int
) -> None:
    old = repository.commit(START)
    repository.commit(CHANGED)
    content = repository.of(old[:digits])
    assert repository.after(content) == START | {"README.md": "changed\n"}
    assert content.changes[f"{OVERLAY}/deep/er.yaml"] is None
    assert content.image == ImageRef("registry.company.com/web", "1.0")
    assert (content.before.tag, content.told) == ("1.1", ())


def test_an_overlay_that_is_as_it_was_is_no_change(repository: Repository) -> None:
    old = repository.commit(START)
    repository.commit(START | {"README.md": "changed\n"})
    assert repository.of(old).changes == {}


def test_a_base_that_changed_since_stays_and_that_is_said(repository: Repository) -> None:
    old = repository.commit(START)
    base = {"apps/web/base/web.yaml": "kind: StatefulSet\nmetadata: {name: web}\n"}
    repository.commit(CHANGED | base)
    content = repository.of(old)
    assert repository.after(content) == START | base | {"README.md": "changed\n"}
    (said,) = content.told
    assert said == "`apps/web/base` changed since that commit and stays as now; `--exact` restores that too."


def test_exact_restores_the_base_too_and_says_so(repository: Repository) -> None:
    old = repository.commit(START)
    repository.commit(
        CHANGED | {"apps/web/base/web.yaml": "kind: StatefulSet\n", "apps/web/base/new.yaml": "kind: Service\n"}
    )
    content = repository.of(old, exact=True)
    assert repository.after(content) == START | {"README.md": "changed\n"}
    assert content.told == ("What it is built from is restored too: `apps/web/base`.",)
    assert content.restored == old
    assert repository.of(old[:9], exact=True).restored == old, "whole, where its beginning was typed"


def test_exact_restores_a_base_that_is_gone_and_leaves_one_that_came_for_others(repository: Repository) -> None:
    old = repository.commit(START)
    moved = {path: text for path, text in CHANGED.items() if "/base/" not in path}
    moved[KUSTOMIZATION] = kustomization("1.1", base="../../../shared")
    others = {"apps/shared/kustomization.yaml": "resources:\n- all.yaml\n", "apps/shared/all.yaml": "kind: Service\n"}
    repository.commit(moved | others)
    after = repository.after(repository.of(old, exact=True))
    assert {path: text for path, text in after.items() if path in START} == START | {"README.md": "changed\n"}


def test_of_an_overlay_that_other_apps_share_only_the_image_is_restored(repository: Repository) -> None:
    api = "- name: registry.company.com/api\n  newTag: "
    old = repository.commit({SHARED: kustomization("1.0", base="../../base") + f'{api}"3.0"\n'})
    now = {SHARED: kustomization("1.1", "- new.yaml", base="../../base") + f'{api}"3.1"\n'}
    repository.commit(now | {"environments/production/new.yaml": "kind: ConfigMap\n"})
    content = repository.of(old, text=TWO)
    after = repository.after(content)
    assert after[SHARED] == now[SHARED].replace('"1.1"', '"1.0"')
    assert "environments/production/new.yaml" in after
    assert content.told == (
        "Only the image is restored, because `environments/production` is also the overlay of `api`.",
    )


def test_of_an_overlay_that_has_moved_since_only_the_image_is_restored(repository: Repository) -> None:
    old = repository.commit({SHARED: kustomization("1.0")})
    repository.commit(START | {KUSTOMIZATION: kustomization("1.1")})
    content = repository.of(old)
    assert content.image.tag == "1.0"
    assert content.told == ("Only the image is restored, because it has moved.",)


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"README.md": "x\n"}, ReasonCode.OVERLAY_MISSING),
        ({KUSTOMIZATION: "resources: []\n"}, ReasonCode.NOTHING_TO_RESTORE),
    ],
)
def test_a_commit_that_has_nothing_to_go_back_to_is_refused(
    repository: Repository, files: dict[str, str], reason: ReasonCode
) -> None:
    old = repository.commit(files)
    repository.commit(START)
    with pytest.raises(Refused) as fault:
        repository.of(old)
    assert fault.value.reason is reason


@pytest.mark.parametrize("word", ["0" * 40, "abcdef0", "HEAD", "--all"])
def test_a_commit_that_the_branch_does_not_have_is_refused(repository: Repository, word: str) -> None:
    repository.commit(START)
    with pytest.raises(Refused) as fault:
        repository.of(word)
    assert fault.value.reason is ReasonCode.NOTHING_TO_RESTORE


# ---------------------------------------------------------------- trees that are not yet

HERE = {"a.yaml": "1\n", "d/b.yaml": "2\n", "d/e/c.yaml": "3\n", "z/only.yaml": "4\n", "d-e/x": "5\n"}
STEPS: list[dict[str, str | None]] = [
    {},
    {"a.yaml": "changed\n"},
    {"a.yaml": None},
    {"new.yaml": "n\n", "d/new.yaml": "n\n", "d/e/f/g/new.yaml": "n\n", "q/r.yaml": "n\n"},
    {"z/only.yaml": None},
    {"d/b.yaml": None, "d/e/c.yaml": None},
    {"z/only.yaml": None, "z/other.yaml": "o\n"},
    {"d/e/c.yaml": None, "d/e.yaml": "o\n"},
    {"d-e/x": "6\n", "d/e/c.yaml": "6\n", "a.yaml": "6\n", "d/b.yaml": None},
    {"nothing/there.yaml": None},
]


@pytest.mark.parametrize("step", STEPS, ids=lambda step: ",".join(step) or "nothing")
def test_a_tree_with_changes_is_read_like_the_commit_that_has_them(
    repository: Repository, step: dict[str, str | None], tmp_path: Path
) -> None:
    before = repository.infra.tree(repository.commit(HERE))
    after = {path: text for path, text in (HERE | step).items() if text is not None}
    real = repository.infra.tree(repository.commit(after))
    changes = {path: text.encode() if text is not None else None for path, text in step.items()}
    made = Overlaid(before, changes)
    paths = {*HERE, *step, ""} | {"/".join(path.split("/")[:depth]) for path in (*HERE, *step) for depth in range(1, 5)}
    for path in sorted(paths):
        mine, gits = made.entry(path), real.entry(path)
        assert (mine is None) == (gits is None), path
        if mine is not None and gits is not None:
            assert (mine.mode, mine.kind, mine.path) == (gits.mode, gits.kind, gits.path)
            if mine.kind == "blob":
                assert mine.object_id == gits.object_id, "caches are keyed by these"
                assert made.read(path) == real.read(path)
        assert [(one.path, one.kind) for one in made.entries(path)] == [
            (one.path, one.kind) for one in real.entries(path)
        ]
    files = sorted(path for path in paths if "." in path or path.endswith("/x"))
    assert made.read_many(files) == real.read_many(files)
    for folders in (["d"], [""], ["d/e", "z", "q"], ["d-e"]):
        assert exported(made, folders, tmp_path / "made") == exported(real, folders, tmp_path / "real")


def exported(tree: Tree, folders: list[str], base: Path) -> dict[str, bytes]:
    target = base / ("-".join(folders).replace("/", "_") or "root")
    target.mkdir(parents=True)
    tree.export([folder for folder in folders if tree.entry(folder) is not None], target)
    return {str(path.relative_to(target)): path.read_bytes() for path in target.rglob("*") if path.is_file()}


def test_every_folder_above_a_change_is_another_one_and_no_other_is(repository: Repository) -> None:
    before = repository.infra.tree(repository.commit(HERE))
    made = Overlaid(before, {"d/e/c.yaml": b"changed\n"})

    def ids(path: str) -> tuple[str, str]:
        mine, gits = made.entry(path), before.entry(path)
        assert mine is not None
        assert gits is not None
        return mine.object_id, gits.object_id

    assert all(mine != gits for mine, gits in map(ids, ("", "d", "d/e", "d/e/c.yaml")))
    assert all(mine == gits for mine, gits in map(ids, ("z", "d-e", "d/b.yaml", "a.yaml")))
    same, other = Overlaid(before, {"d/e/c.yaml": b"changed\n"}), Overlaid(before, {"d/e/c.yaml": b"otherwise\n"})
    assert [one.object_id for one in same.entries("d")] == [one.object_id for one in made.entries("d")]
    assert [one.object_id for one in other.entries("d")] != [one.object_id for one in made.entries("d")]
