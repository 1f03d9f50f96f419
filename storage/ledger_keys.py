"""When keys come and go: the first use of one is a row of the record, and so is each change, signed by both keys."""

from dataclasses import replace
from datetime import datetime

from sqlalchemy import bindparam, text

from storage import ledger
from storage.keys import Keys
from storage.models import UtcDateTime
from storage.prepared import Prepared
from storage.signing import PrivateKey, PublicKey, SignedHead
from storage.unit_of_work import BOT, AuditEntry, Store, UnitOfWork

_LEFT = Prepared(
    text(
        "INSERT INTO checkpoints (size, root, note, at) VALUES (:size, :root, :note, :at) ON CONFLICT (size) DO NOTHING"
    ).bindparams(bindparam("at", type_=UtcDateTime))
)


def introduce(store: Store) -> None:
    """Have the record say which key signs it. Call it at start, before anything else is recorded.

    Does nothing when it says so already, or when the store has no signer. Also when the key file says that the key has
    signed rows, and the record knows nothing of that: then the rows are not the ones that were signed, and saying it
    again would hide that. Raises what the database raises. After a crash at any instant the next call makes up for it.
    """
    signer = store.signer
    if signer is None:
        return
    with store.write() as uow:
        uow.hold_audit()
        keys = signer.keys
        known = {change.key: seq for seq, change in ledger.key_changes(uow.run)}
        since = known.get(keys.key.public)
        if since is None and keys.before is not None and keys.before.public in known:
            _rotate_to(uow, signer, keys)  # somebody was killed after the key was changed, before it was recorded
            since = keys.since
        elif since is None and not keys.since:
            since = uow.audit(_entry(ledger.change_details(ledger.tail(uow.run), keys.key, None))).seq
    if since and not signer.keys.since:
        signer.file.remember_since(since)


def rotate(store: Store, by: str = BOT) -> PublicKey:
    """Make a new key that signs from here on; the record says so in a row that both keys have signed.

    Running processes that share the key file go on with the new key by themselves. ValueError without a signer;
    KeyFileError when the file cannot be written: then nothing has changed.
    """
    signer = store.signer
    if signer is None:
        raise ValueError("a store without a signer has no key to change")
    introduce(store)
    with store.write() as uow:
        uow.hold_audit()
        old = signer.keys
        new = Keys(PrivateKey.generate(signer.origin), old.key, old.since)
        _rotate_to(uow, signer, new, by)
        # Before the transaction ends: from then on all others sign with the new key, which is in the file by then.
        signer.file.remember(new)
    signer.file.remember(replace(new, before=None))
    return new.key.public


def _rotate_to(uow: UnitOfWork, signer: ledger.Signer, new: Keys, by: str = BOT) -> None:
    """Record the change in a row that the old key signs."""
    if new.before is None:
        raise ValueError("a change of keys has an old one")
    signer.file.use(Keys(new.before, None, new.since))
    try:
        uow.audit(_entry(ledger.change_details(ledger.tail(uow.run), new.key, new.before), by))
    finally:
        signer.file.use(new)


def _entry(details: ledger.Details, by: str = BOT) -> AuditEntry:
    return AuditEntry(ledger.KEY_ACTION, by, details=details)


# ------------------------------------------------------------------ checkpoints


def checkpoint(uow: UnitOfWork, origin: str) -> SignedHead | None:
    """The latest checkpoint, as its last row has been signed; None while that row is not signed (or there is none)."""
    return ledger.signed_head(ledger.head(uow.run), origin)


def leave(store: Store) -> SignedHead | None:
    """The latest checkpoint, noted in the database as one that left it; None as in `checkpoint`."""
    if store.signer is None:
        return None
    with store.write() as uow:
        found = checkpoint(uow, store.signer.origin)
        if found is not None:
            _note(uow, found, uow.now)
        return found


def trailer(store: Store) -> tuple[tuple[str, str], ...]:
    """The pair for a commit's trailers, `Audit-Checkpoint: size root key signature`; none while there is nothing."""
    found = leave(store)
    return (("Audit-Checkpoint", found.trailer),) if found is not None else ()


def _note(uow: UnitOfWork, found: SignedHead, at: datetime) -> None:
    said = {"size": found.head.size, "root": found.head.root.hex(), "note": found.note, "at": at}
    uow.run(_LEFT, said)
