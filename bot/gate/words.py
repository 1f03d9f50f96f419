"""What a visit says: audit entries, replies below a card, who is mentioned, the status on the head. Pure."""

from collections.abc import Mapping, Sequence

from commands.binding import Binding
from commands.catalogue import Catalogue
from commands.requests import mention
from storage import models
from storage.models import Change
from storage.unit_of_work import AuditEntry, Note

_MOST_MENTIONS = 10


def base_moved(before: Binding, now: Binding) -> bool:
    """True when what an overlay is built from is another than it was."""
    then = {part.app: part.base for part in before.parts}
    return any(then.get(part.app) != part.base for part in now.parts)


def entry(change: Change, action: str, details: Mapping[str, object]) -> AuditEntry:
    """An audit entry of what happened to a change by itself."""
    return AuditEntry(action=action, environment=change.environment, deployment_id=change.id, details=details)


def reply(change: Change, what: str, text: str, quote: str = "") -> Note:
    """A line below the change's card, once per `what`."""
    body = {"text": text, "quote": quote}
    return Note(f"thread:{change.card_id}:{what}", models.Target.THREAD, body, deployment_id=change.card_id)


def mentions(known: Catalogue, groups: Sequence[str]) -> list[str]:
    """The approvers, to be pinged once: a user group where there is one, else its members."""
    found: list[str] = []
    for name in groups:
        group = known.group(name)
        if group is not None:
            found += [mention(group.slack)] if group.slack else [mention(user) for user in group.members]
    return list(dict.fromkeys(found))[:_MOST_MENTIONS]


def status(change: Change, have: int) -> str:
    """The words of the status on an approved head."""
    if change.break_glass:
        return "Break-glass: to be reviewed afterwards"
    return f"Approved by {have} of {change.required}"
