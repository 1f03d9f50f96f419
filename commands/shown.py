"""What a card shows of a change, as it is stored beside it."""

import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class ShownApp:
    """One app of a change: `summary` is what its rendered manifests change in a few words."""

    app: str
    before: str
    after: str
    digest: str
    summary: str
    told: tuple[str, ...] = ()
    commits: int = 0  # of the app's own source, between the two versions; 0 where that is not known
    commits_url: str = ""


@dataclass(frozen=True)
class Shown:
    """A change at a glance. `others` is the blast radius: where else something changes, and what.

    `strangers` are names of people who have pushed to its branch; `groups` may approve it.
    """

    apps: tuple[ShownApp, ...] = ()
    others: tuple[tuple[str, str], ...] = ()
    files: tuple[str, ...] = ()
    strangers: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    comment_required: bool = False

    @classmethod
    def from_json(cls, text: str) -> "Shown":
        """What `as_json` wrote; nothing when nothing was shown yet."""
        stored = json.loads(text or "{}")
        return cls(
            tuple(ShownApp(**(one | {"told": tuple(one["told"])})) for one in stored.get("apps", ())),
            tuple((name, told) for name, told in stored.get("others", ())),
            tuple(stored.get("files", ())),
            tuple(stored.get("strangers", ())),
            tuple(stored.get("groups", ())),
            bool(stored.get("comment_required", False)),
        )

    def as_json(self) -> str:
        """For the change's row."""
        return json.dumps(asdict(self), ensure_ascii=False)
