"""A button counts on the card that it is of, and nowhere else: in a copy of it nobody sees what they decide on."""

from commands.reasons import ReasonCode, Refused
from commands.requests import Asker, Source
from storage import gate
from storage.models import Card
from storage.unit_of_work import UnitOfWork

_TOKEN = 32  # characters of a button's random value; ids are shorter


def on_its_card(uow: UnitOfWork, asker: Asker, card_id: str) -> None:
    """Refused (STALE_BUTTON) when a button of this card was clicked on any other message. Typed words pass.

    The place of a card is what Slack answered to our own post. A second one, which a crash can leave behind, is not on
    record, is never brought up to date, and so does not count.
    """
    if asker.source is not Source.BUTTON:
        return
    card = uow.session.get(Card, card_id)
    if card is not None and card.ts and (card.channel, card.ts) == (asker.channel_id, asker.message_ts):
        return
    if card is not None and not card.ts:
        raise Refused(
            ReasonCode.STALE_BUTTON,
            "Where the card of this is has not been recorded yet, so the click counts for nothing.",
            "Click again in a few seconds.",
        )
    raise Refused(
        ReasonCode.STALE_BUTTON,
        f"That button is on a message that is not the card of `{card_id}`, so the click counts for nothing.",
        "Use the buttons of the card itself: `/deploy status` lists what is under way.",
    )


def is_placed(uow: UnitOfWork, value: str) -> bool:
    """False while the card of what a button names (by its token or an id) is being posted and its place not known."""
    change = gate.change_by_token(uow, value) if len(value) == _TOKEN else gate.change_of(uow, value)
    deployment = uow.deployment(value) if change is None else None
    card_id = change.card_id if change else (deployment.card_id or deployment.id if deployment else value)
    card = uow.session.get(Card, card_id)
    return card is None or bool(card.ts)
