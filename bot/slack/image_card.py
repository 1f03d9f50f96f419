"""The card of an image that is ready, with a button for each place that it may go to. Pure."""

from collections.abc import Mapping

from bot.slack.blocks import Block, SlackMessage, button, context, fallback, section
from bot.slack.text import cut, escape, foreign, link, middle
from commands.images import ImageCard, Offer

DEPLOY, REQUEST = "image:deploy", "image:request"


def image_card(card: ImageCard) -> SlackMessage:
    """One line of what it is, one of where it came from, and the buttons."""
    ready = card.ready
    version = middle(foreign(ready.tag), 60)
    title = f"📦 *{escape(card.app)}* `{escape(version)}` is ready"
    digest = f" `{escape(foreign(ready.digest[:19]))}`" if ready.digest else ""
    source = [f"`{escape(foreign(ready.image))}`{digest}"]
    if ready.commit:
        source.append(f"commit `{escape(foreign(ready.commit[:12]))}`")
    if ready.branch:
        source.append(f"branch {cut(escape(foreign(ready.branch)), 120)}")
    if ready.build_url:
        source.append(link(ready.build_url, "its build"))
    source.append(f"told by {escape(card.told_by)}")
    blocks: list[Block] = [section(title), context(" · ".join(source))]
    if card.offers:
        blocks.append({"type": "actions", "elements": [_button(card.id, offer) for offer in card.offers]})
    where = " or ".join(f"`/deploy {card.app} {ready.tag} {offer.environment}`" for offer in card.offers)
    told = [f"📦 {escape(card.app)} {escape(version)} is ready", " · ".join(source), escape(where)]
    return SlackMessage(fallback(told, " "), tuple(blocks))


def body(card: ImageCard) -> Mapping[str, object]:
    """The card as the outbox takes it."""
    message = image_card(card)
    return {"text": message.text, "fallback": message.text, "blocks": list(message.blocks)}


def _button(name: str, offer: Offer) -> Block:
    verb, action = ("Request", REQUEST) if offer.reviewed else ("Deploy to", DEPLOY)
    label = middle(f"{verb} {offer.environment}", 70)
    return button(label, action, f"{name}:{offer.environment}", style="" if offer.reviewed else "primary")
