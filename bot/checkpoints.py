"""The daily checkpoint: the record's signed note goes where whoever can write the database cannot take it back.

Into git, on a ref of its own, and into the deployments channel. Commits carry one each, too (`ledger_keys.trailer`);
on a day without any, these two still date the record.
"""

from typing import Protocol

import structlog

from commands.reasons import Fault
from storage import ledger_keys
from storage.models import Target
from storage.signing import SignedHead
from storage.unit_of_work import AuditEntry, Note, Store

log = structlog.get_logger("checkpoints")


class Keeper(Protocol):
    """The repository that keeps checkpoints: `GitInfraRepo` is one."""

    def append_checkpoint(self, text: str) -> str:
        """Add it to the chain; the commit's id. Refused, Retry or Unknown."""
        ...


def publish(store: Store, infra: Keeper, channel: str) -> bool:
    """Let today's checkpoint out, once a day whoever calls and however often; True when this call did.

    A host that takes no such ref does not matter: the record says so, and the channel has the note. Nothing happens
    while the record's last row is not signed; `audit verify` says why. Raises what the database raises. After a crash
    at any instant the next call of the day makes up for it.
    """
    with store.read() as uow:
        key = f"checkpoint:{uow.now:%Y-%m-%d}"
        if uow.noted(key):
            return False
    found = ledger_keys.leave(store)
    if found is None:
        log.warning("checkpoints.not_signed")
        return False
    details: dict[str, object] = {"size": found.head.size, "root": found.head.root.hex()}
    try:
        details["commit"] = infra.append_checkpoint(found.note)
    except Fault as fault:
        details["refused"] = fault.reason
        log.warning("checkpoints.not_kept", reason=fault.reason)
    with store.write() as uow:
        if uow.noted(key):  # another replica was faster
            return False
        uow.send(Note(key, Target.CHANNEL, _message(found), channel=channel))
        uow.audit(AuditEntry("audit:checkpoint", details=details))
    return True


def _message(found: SignedHead) -> dict[str, object]:
    rows = f"{found.head.size:,} rows" if found.head.size != 1 else "1 row"
    said = f"The deployment record has {rows} today. Whoever changes one of them now contradicts this checkpoint:"
    note = found.note.strip()
    blocks = [
        {"type": "section", "text": {"type": "plain_text", "text": said}},
        {
            "type": "rich_text",
            "elements": [{"type": "rich_text_preformatted", "elements": [{"type": "text", "text": note}]}],
        },
    ]
    return {"text": f"{said} {rows}, root {found.head.root.hex()[:16]}…", "blocks": blocks}
