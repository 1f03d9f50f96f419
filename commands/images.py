"""An image is ready: one card in its app's channel, from which people deploy it or ask for production."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass

from commands import policy
from commands.catalogue import App, Catalogue
from commands.facts import Facts
from commands.grammar import image_name, nearest
from commands.reasons import ReasonCode, Refused
from commands.records import Kept, identity
from commands.requests import Deploy, listed, typed
from commands.tokens import Bearer, Right, need
from storage import told
from storage.models import Target
from storage.record_models import AuditRow
from storage.unit_of_work import AuditEntry, Note, Store, UnitOfWork

USUAL = "staging"
"""Where `/deploy` goes when nothing is said."""


@dataclass(frozen=True)
class ImageReady:
    """What a pipeline says it has pushed. `image` is without tag and digest."""

    image: str
    tag: str
    digest: str = ""
    commit: str = ""
    branch: str = ""
    build_url: str = ""


@dataclass(frozen=True)
class Offer:
    """A place that the card offers: `reviewed` ones are asked for, the others are deployed to."""

    environment: str
    reviewed: bool


@dataclass(frozen=True)
class ImageCard:
    """What the card says. `id` finds the image again when a button is clicked."""

    id: str
    app: str
    ready: ImageReady
    told_by: str
    offers: tuple[Offer, ...]


Draw = Callable[[ImageCard], Mapping[str, object]]
"""From a card to the body of its message."""


def image_ready(store: Store, facts: Facts, bearer: Bearer, ready: ImageReady, draw: Draw) -> tuple[Kept, ...]:
    """Record it and post its card, once for each image, tag, digest and app that has the image.

    Refused without the scope, and for an image that no app has.
    """
    need(bearer, Right.IMAGES)
    known = policy.catalogue(facts)
    apps = _apps(known, ready.image)
    if not apps:
        near = nearest(ready.image, [app.image for app in known.apps.values()])
        raise Refused(
            ReasonCode.UNKNOWN_APP,
            f"No app in `locktender.yaml` has the image {typed(ready.image)}.",
            f"Did you mean {listed(near)}?" if near else "Add the app, or give the image as its `image:` says it.",
        )
    with store.write() as uow:
        uow.in_turn()
        return tuple(Kept(_kept(uow, facts, known, app, bearer, ready, draw)) for app in apps)


def chosen(uow: UnitOfWork, value: str) -> Deploy | None:
    """What a click on a card's button asks for: its value names an image of the record, and a place."""
    name, _, environment = value.partition(":")
    row = told.of_id(uow, told.IMAGE, name)
    return Deploy(row.app, str(json.loads(row.details)["version"]), environment) if row is not None else None


def offers(known: Catalogue, app: App) -> tuple[Offer, ...]:
    """The usual place, or the first that nobody has to approve; and the end of the path."""
    path = known.path(app)
    free = [name for name in path if not known.production_like(name)]
    first = USUAL if USUAL in free else next(iter(free), "")
    wanted = dict.fromkeys(name for name in (first, *path[-1:]) if name)
    return tuple(Offer(name, known.production_like(name)) for name in wanted)


def _kept(
    uow: UnitOfWork, facts: Facts, known: Catalogue, app: App, bearer: Bearer, ready: ImageReady, draw: Draw
) -> AuditRow:
    name = identity("image", app.name, app.image, ready.tag, ready.digest)
    row = told.of_id(uow, told.IMAGE, name)
    if row is not None:
        return row
    said = {key: value for key, value in asdict(ready).items() if value and key != "tag"}
    uow.audit(
        AuditEntry(
            action=told.IMAGE,
            actor=bearer.actor,
            team_id=facts.team_id,
            app=app.name,
            deployment_id=name,
            details=said | {"version": ready.tag, "token": bearer.id},
        )
    )
    card = ImageCard(name, app.name, ready, bearer.actor, offers(known, app))
    uow.send(Note(f"image:{name}", Target.CHANNEL, draw(card), channel=known.channel(app)))
    row = told.of_id(uow, told.IMAGE, name)
    if row is None:
        raise LookupError("a row that was just written cannot be read")
    return row


def _apps(known: Catalogue, image: str) -> list[App]:
    """By what the names mean: `nginx` and `docker.io/library/nginx` are one image."""
    wanted = image_name(image)
    return [app for app in known.apps.values() if wanted is not None and image_name(app.image) == wanted]
