"""One row of the record: what it says, letter by letter, and the proof that it is in the signed tree."""

from dataclasses import dataclass, replace
from typing import Any, cast

from sqlalchemy import select

from bot.web.pages.story import TIME
from commands.audit_rows import told_row
from storage import ledger_keys, proofs
from storage.audit_text import audit_text
from storage.canonical import leaf_hash
from storage.proofs import NoProofError
from storage.record_models import AuditRow
from storage.unit_of_work import UnitOfWork

LARGEST = 2**31 - 1


@dataclass(frozen=True)
class RowPage:
    """Everything on the page. `steps` are the hashes of RFC 6962's audit path, in hex; `trouble` says why none are."""

    row: AuditRow
    told: str
    detail: str
    text: str
    size: int = 0
    root: str = ""
    steps: tuple[str, ...] = ()
    holds: bool = False
    note: str = ""
    trouble: str = ""


def row_page(uow: UnitOfWork, seq: int, origin: str) -> RowPage | None:
    """The page of this row; None when there is none."""
    if not 0 < seq <= LARGEST:
        return None
    row = uow.session.scalars(select(AuditRow).where(cast("Any", AuditRow).seq == seq)).first()
    if row is None:
        return None
    said = told_row(row)
    page = RowPage(row, said.text[TIME:], said.detail.partition(" · ")[2], audit_text(row))
    try:
        proof = proofs.inclusion(uow.run, origin, seq)
    except NoProofError as error:
        return replace(page, trouble=str(error))
    signed = ledger_keys.checkpoint(uow, origin)
    return replace(
        page,
        size=proof.head.size,
        root=proof.head.root.hex(),
        steps=tuple(one.hex() for one in proof.steps),
        holds=proof.holds and proof.leaf.hex() == leaf_hash(page.text),
        note=signed.note if signed is not None and signed.head.size == proof.head.size else "",
    )
