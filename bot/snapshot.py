"""What every overlay says about its app's image, read again only where git changed."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from bot.integrations.kustomize.edit import FILE_NAMES, read_image
from commands.catalogue import Catalogue
from commands.ports import ImageRef, ImageSnapshot, Tree
from commands.reasons import Refused


@dataclass(frozen=True)
class _Place:
    """Where an app's overlay may be."""

    app: str
    environment: str
    image: str
    folder: str

    @property
    def prefix(self) -> str:
        """The first two folders of the path: `apps/web`, `environments/staging`. Unchanged ones are not read again."""
        return "/".join(self.folder.split("/")[:2])


@dataclass(frozen=True)
class _Said:
    """What was read of a place under a prefix, when the prefix had this object id. None: there is no overlay."""

    prefix_id: str
    image: ImageRef | None


@dataclass
class Snapshots:
    """Reads snapshots, and remembers the last one: a commit to one app costs reading that app. One thread at a time."""

    _catalogue: Catalogue | None = None
    _places: tuple[_Place, ...] = ()
    _said: dict[_Place, _Said] = field(default_factory=dict)

    def __call__(self, tree: Tree, catalogue: Catalogue) -> ImageSnapshot:
        """The snapshot at a commit. Overlays that are missing or cannot be read say nothing."""
        if catalogue is not self._catalogue:
            self._catalogue, self._places, self._said = catalogue, _places(catalogue), {}
        ids = _prefix_ids(tree, self._places)
        fresh = [place for place in self._places if self._is_news(place, ids)]
        files = _read(tree, [path for place in fresh if ids.get(place.prefix) for path in _paths(place)])
        for place in fresh:
            self._said[place] = _Said(ids.get(place.prefix, ""), _image(place, files))
        images: dict[tuple[str, str], ImageRef] = {}
        for place in self._places:
            said = self._said[place].image
            if said is not None:
                images.setdefault((place.app, place.environment), said)
        return ImageSnapshot(tree.commit, images)

    def _is_news(self, place: _Place, ids: Mapping[str, str]) -> bool:
        said = self._said.get(place)
        return said is None or said.prefix_id != ids.get(place.prefix, "")


def _places(catalogue: Catalogue) -> tuple[_Place, ...]:
    return tuple(
        _Place(app.name, environment.name, app.image, folder)
        for app in catalogue.apps.values()
        for environment in (catalogue.environments[name] for name in app.environments)
        for folder in catalogue.overlays(app, environment)
    )


def _prefix_ids(tree: Tree, places: tuple[_Place, ...]) -> dict[str, str]:
    """The object id of every prefix that exists."""
    parents = {place.prefix.rpartition("/")[0] for place in places}
    entries = [entry for parent in sorted(parents) for entry in tree.entries(parent)]
    return {entry.path: entry.object_id for entry in entries}


def _paths(place: _Place) -> list[str]:
    return [f"{place.folder}/{name}" for name in FILE_NAMES]


def _image(place: _Place, files: Mapping[str, bytes]) -> ImageRef | None:
    source = next((files[path] for path in _paths(place) if path in files), None)
    if source is None:
        return None
    try:
        return read_image(source, place.image) or ImageRef("")
    except Refused:
        return ImageRef("")


def _read(tree: Tree, paths: list[str]) -> dict[str, bytes]:
    try:
        return tree.read_many(paths)
    except Refused:
        pass  # a link in the way of one overlay says nothing about the others: read them one by one
    files: dict[str, bytes] = {}
    for path in paths:
        try:
            content = tree.read(path)
        except Refused:
            continue
        if content is not None:
            files[path] = content
    return files
