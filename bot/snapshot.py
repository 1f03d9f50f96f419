"""What every overlay says about its app's image, read again only where git changed."""

from dataclasses import dataclass

from bot.integrations.kustomize.edit import FILE_NAMES, read_image
from commands.catalogue import Catalogue
from commands.ports import ImageRef, ImageSnapshot, Tree
from commands.reasons import Refused

MOST_REMEMBERED = 20_000


@dataclass(frozen=True)
class _Place:
    app: str
    environment: str
    image: str
    folder: str


class Snapshots:
    """Reads snapshots; remembers what a file said by its content, so that one changed file costs one parse."""

    def __init__(self) -> None:
        self._said: dict[tuple[bytes, str], ImageRef | None] = {}

    def __call__(self, tree: Tree, catalogue: Catalogue) -> ImageSnapshot:
        """The snapshot at a commit. Overlays that are missing or cannot be read say nothing."""
        places = [
            _Place(app.name, environment.name, app.image, folder)
            for app in catalogue.apps.values()
            for environment in (catalogue.environments[name] for name in app.environments)
            for folder in catalogue.overlays(app, environment)
        ]
        paths = [f"{place.folder}/{name}".lstrip("/") for place in places for name in FILE_NAMES]
        try:
            files = tree.read_many(paths)
        except Refused:
            files = _one_by_one(tree, paths)  # a link in the way of one overlay says nothing about the others
        images: dict[tuple[str, str], ImageRef] = {}
        for place in places:
            key = (place.app, place.environment)
            if key in images:
                continue
            for name in FILE_NAMES:
                source = files.get(f"{place.folder}/{name}".lstrip("/"))
                if source is not None:
                    said = self._read(source, place.image)
                    images[key] = said or ImageRef("")
                    break
        return ImageSnapshot(tree.commit, images)

    def _read(self, source: bytes, image: str) -> ImageRef | None:
        key = (source, image)
        if key not in self._said:
            if len(self._said) >= MOST_REMEMBERED:
                self._said.clear()
            try:
                self._said[key] = read_image(source, image)
            except Refused:
                self._said[key] = None
        return self._said[key]


def _one_by_one(tree: Tree, paths: list[str]) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    for path in paths:
        try:
            content = tree.read(path)
        except Refused:
            continue
        if content is not None:
            files[path] = content
    return files
