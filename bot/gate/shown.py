"""What a card shows of a change, as it is stored beside it."""

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bot.gate.proposals import Seen

_LONGEST = 600


@dataclass(frozen=True)
class ShownApp:
    """One app of a change: `summary` is what its rendered manifests change in a few words."""

    app: str
    before: str
    after: str
    digest: str
    summary: str
    told: tuple[str, ...] = ()


@dataclass(frozen=True)
class Shown:
    """A change at a glance. `others` is the blast radius: where else something changes, and what."""

    apps: tuple[ShownApp, ...] = ()
    others: tuple[tuple[str, str], ...] = ()
    files: tuple[str, ...] = ()
    strangers: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, text: str) -> "Shown":
        """What `shown_json` wrote; nothing when nothing was shown yet."""
        stored = json.loads(text or "{}")
        return cls(
            tuple(ShownApp(**(one | {"told": tuple(one["told"])})) for one in stored.get("apps", ())),
            tuple((name, told) for name, told in stored.get("others", ())),
            tuple(stored.get("files", ())),
            tuple(stored.get("strangers", ())),
        )


def shown_json(seen: "Seen") -> str:
    """For the change's row."""
    apps = tuple(
        ShownApp(
            app=app,
            before=content.before.tag or content.before.digest[:19],
            after=content.image.tag or content.image.digest[:19],
            digest=content.image.digest,
            summary=seen.effect.apps[app].summary[:_LONGEST],
            told=content.told,
        )
        for app, content in seen.contents.items()
    )
    others = tuple((name, told[:_LONGEST]) for name, told in sorted(seen.effect.others.items()))
    strangers = tuple(sorted({name for one in seen.binding.strangers for name in (*one.logins, *one.emails)}))
    return json.dumps(asdict(Shown(apps, others, tuple(sorted(seen.binding.files)), strangers)), ensure_ascii=False)
