"""What a deployment makes of a tree: another image in its overlay, or the overlay as it was at an earlier commit."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from bot.integrations.kustomize.edit import image_edit, overlay_file, read_image
from bot.integrations.kustomize.reach import ReachIndex
from commands.catalogue import App, Catalogue, Environment
from commands.ports import ImageEdit, ImageRef, InfraRepo, Tree
from commands.reasons import ReasonCode, Refused
from commands.requests import listed


@dataclass(frozen=True)
class Wanted:
    """What is asked of git for one app. With `restore_commit` the overlay of that commit, else the image.

    `exact` restores what the overlay is built from as well.
    """

    app: App
    environment: Environment
    version: str
    digest: str = ""
    restore_commit: str = ""
    exact: bool = False


@dataclass(frozen=True)
class Content:
    """What becomes of a tree. `changes` are whole files (None: taken away), empty when git says it already.

    `image` is what the overlay says afterwards. `told` are sentences for people who decide on it. `restored` is the
    whole id of the commit whose overlay comes back.
    """

    overlay: str
    before: ImageRef
    image: ImageRef
    changes: Mapping[str, bytes | None]
    told: tuple[str, ...] = ()
    restored: str = ""


class Contents:
    """Works out contents. Thread-safe."""

    def __init__(self, infra: InfraRepo) -> None:
        self._infra = infra
        self._reach = ReachIndex()

    def of(self, tree: Tree, known: Catalogue, wanted: Wanted) -> Content:
        """What this deployment would change in this tree. Refused when it cannot be done."""
        overlay = find_overlay(tree, known, wanted.app, wanted.environment)
        before = current_image(tree, overlay, wanted.app)
        if wanted.restore_commit:
            return self._restored(tree, known, wanted, overlay, before)
        return _with_image(tree, wanted.app, overlay, before, ImageRef("", wanted.version, wanted.digest))

    def _restored(self, tree: Tree, known: Catalogue, wanted: Wanted, overlay: str, before: ImageRef) -> Content:
        old = self._infra.tree(self._commit(wanted.restore_commit))
        then = find_overlay(old, known, wanted.app, wanted.environment)
        image = current_image(old, then, wanted.app)
        if not image.tag and not image.digest:
            raise Refused(
                ReasonCode.NOTHING_TO_RESTORE,
                f"Commit `{old.commit[:12]}` names no version of `{wanted.app.name}` in `{then}`.",
                "Name another commit, a version or a deployment.",
            )
        others = sharing(known, wanted.app, wanted.environment, overlay)
        if others or then != overlay:
            why = f"`{overlay}` is also the overlay of {listed(others, joiner='and')}" if others else "it has moved"
            content = _with_image(tree, wanted.app, overlay, before, image)
            told = (f"Only the image is restored, because {why}.",)
            return Content(content.overlay, before, content.image, content.changes, told, old.commit)
        folders, said = [overlay], ""
        changed = self._changed_bases(tree, old, overlay)
        names = listed(changed, joiner="and")
        if changed and wanted.exact:
            folders += changed
            said = f"What it is built from is restored too: {names}."
        elif changed:
            stays = "stays" if len(changed) == 1 else "stay"
            said = f"{names} changed since that commit and {stays} as now; `--exact` restores that too."
        changes = {path: content for folder in folders for path, content in _restore(tree, old, folder)}
        return Content(overlay, before, image, changes, (said,) if said else (), old.commit)

    def _commit(self, prefix: str) -> str:
        """The full id. Refused when the branch has no such commit."""
        found = self._infra.resolve(prefix)
        if found is None:
            raise Refused(
                ReasonCode.NOTHING_TO_RESTORE,
                f"The infra-repo's branch has no commit `{prefix[:40]}`.",
                "Name a commit of that branch by at least 7 of its digits, a version, or a deployment.",
            )
        return found

    def _changed_bases(self, tree: Tree, old: Tree, overlay: str) -> list[str]:
        """Folders outside the overlay that it is built from and that are not what they were."""
        now = set(self._reach.reach(tree, overlay).folders) | set(self._reach.reach(old, overlay).folders)
        outside = sorted(folder for folder in now if folder != overlay and not folder.startswith(f"{overlay}/"))
        return [folder for folder in outside if _id(tree, folder) != _id(old, folder)]


def sharing(known: Catalogue, app: App, environment: Environment, overlay: str) -> tuple[str, ...]:
    """Other apps of the catalogue whose overlay this is too."""
    return tuple(
        other.name
        for other in known.apps.values()
        if other.name != app.name
        and environment.name in other.environments
        and overlay in known.overlays(other, environment)
    )


def find_overlay(tree: Tree, known: Catalogue, app: App, environment: Environment) -> str:
    """The first of the app's possible overlay folders that exists. Refused (OVERLAY_MISSING) naming all of them."""
    candidates = known.overlays(app, environment)
    for overlay in candidates:
        if tree.entry(overlay) is not None:
            overlay_file(tree, overlay)
            return overlay
    raise Refused(
        ReasonCode.OVERLAY_MISSING,
        f"The infra-repo has no overlay for `{app.name}` in `{environment.name}`: looked for {listed(candidates)}.",
        "Add the folder with a kustomization.yaml, or name the right one with `overlay:` in `locktender.yaml`.",
    )


def current_image(tree: Tree, overlay: str, app: App) -> ImageRef:
    """What the overlay says about the app's image; an ImageRef without tag and digest when it says nothing."""
    path = overlay_file(tree, overlay)
    return read_image(tree.read(path) or b"", app.image, path=path) or ImageRef("")


def _with_image(tree: Tree, app: App, overlay: str, before: ImageRef, image: ImageRef) -> Content:
    changes = image_edit(overlay, ImageEdit(app.image, image.tag, image.digest))(tree)
    return Content(overlay, before, ImageRef(before.name or app.image, image.tag, image.digest), changes)


def _restore(tree: Tree, old: Tree, folder: str) -> Iterator[tuple[str, bytes | None]]:
    """What makes a folder what it was: files that differ, and those that were not there."""
    then, now = dict(_files(old, folder)), dict(_files(tree, folder))
    content = old.read_many([path for path, object_id in then.items() if now.get(path) != object_id])
    yield from content.items()
    for path in now.keys() - then.keys():
        yield path, None


def _files(tree: Tree, folder: str) -> Iterator[tuple[str, str]]:
    """Every file below a folder with its object id. Refused (OVERLAY_UNSAFE) for links, which are never followed."""
    entry = tree.entry(folder)
    if entry is not None and entry.kind == "blob":
        yield entry.path, entry.object_id
        return
    for one in tree.entries(folder):
        if one.kind == "tree":
            yield from _files(tree, one.path)
        elif one.kind == "blob" and one.mode != "120000":
            yield one.path, one.object_id
        else:
            raise Refused(
                ReasonCode.OVERLAY_UNSAFE,
                f"`{one.path}` is a link to somewhere else, and links are never followed.",
                "Replace it by the file itself.",
            )


def _id(tree: Tree, path: str) -> str:
    entry = tree.entry(path)
    return entry.object_id if entry else ""
