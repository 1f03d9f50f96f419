"""What an approval is bound to: if any of it moves, what was approved is not what would happen. Pure."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from commands.code_host import PullCommit
from storage.canonical import canonical


@dataclass(frozen=True)
class Part:
    """One app of a change. `base` is the fingerprint of all that its overlay reaches in git, before the change."""

    app: str
    version: str
    digest: str
    overlay: str
    base: str
    manifests: str  # fingerprint of what kustomize renders with the change


@dataclass(frozen=True)
class Binding:
    """The content of a change as it was shown.

    `files` are the paths that it changes, with what they become (git's mode and object id). `strangers` are commits on
    the branch that the bot did not make.
    """

    head: str
    policy: str
    parts: tuple[Part, ...]
    files: Mapping[str, str] = field(default_factory=dict)
    strangers: tuple[PullCommit, ...] = ()

    def as_json(self) -> str:
        """For the change's row."""
        return canonical(json.loads(json.dumps(asdict(self))))

    @property
    def content(self) -> str:
        """SHA-256 of all of it: what an approval names."""
        return hashlib.sha256(self.as_json().encode()).hexdigest()

    @classmethod
    def from_json(cls, text: str) -> "Binding":
        """What `as_json` wrote."""
        stored = json.loads(text)
        return cls(
            head=stored["head"],
            policy=stored["policy"],
            parts=tuple(Part(**part) for part in stored["parts"]),
            files=stored["files"],
            strangers=tuple(
                PullCommit(one["sha"], tuple(one["logins"]), tuple(one["emails"])) for one in stored["strangers"]
            ),
        )


def moved(before: Binding, now: Binding) -> tuple[str, ...]:
    """What moved between two contents, as sentences for the card; empty when they are the same."""
    told: list[str] = []
    if before.policy != now.policy:
        told.append("The rules for this environment in `locktender.yaml` have changed.")
    then = {part.app: part for part in before.parts}
    for part in now.parts:
        old = then.get(part.app)
        if old is None:
            told.append(f"`{part.app}` is new in this change.")
            continue
        if (old.version, old.digest) != (part.version, part.digest):
            told.append(f"The image of `{part.app}` is another one now.")
        if old.base != part.base:
            told.append(f"What `{part.app}` is built from in git has changed since: `{part.overlay}` or its base.")
        elif old.manifests != part.manifests:
            told.append(f"The rendered manifests of `{part.app}` are different now.")
    told += [f"`{app}` is no longer in this change." for app in then.keys() - {part.app for part in now.parts}]
    if before.strangers != now.strangers:
        told.append("Somebody has pushed to the pull request's branch.")
    elif before.files != now.files and not told:
        told.append("The files of the pull request have changed.")
    elif before.head != now.head and not told:
        told.append("The head of the pull request has moved.")
    return tuple(told)
