"""The Merkle tree over the audit rows: row n is leaf n-1. It grows in the transaction of each row, which it signs.

What a row's `sig` signs is the checkpoint whose last row it is. So whoever changes a row would have to sign it, and all
rows after it, again; and the first row that cannot be theirs is found by looking at signatures alone.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

from sqlalchemy import bindparam, func, select, text

from storage.keys import KeyFile, Keys
from storage.merkle import EMPTY, Frontier, leaf_of
from storage.prepared import Prepared, Row
from storage.record_models import AuditRow, LedgerState
from storage.signing import PrivateKey, PublicKey, SignedHead, Stamp, TreeHead

Run = Callable[[Prepared, Mapping[str, object]], list[Row]]
Details = Mapping[str, object]
KEY_ACTION = "audit:key"
NO_ROW = leaf_of(b"")
"""The leaf of a row that is missing, so that all others keep their places."""

_AUDIT, _STATE = (cast("Any", model).__table__ for model in (AuditRow, LedgerState))
_TAIL = Prepared(
    select(
        select(func.max(_AUDIT.c.seq)).scalar_subquery(),
        select(_STATE.c.size).where(_STATE.c.id == 1).scalar_subquery(),
        select(_STATE.c.frontier).where(_STATE.c.id == 1).scalar_subquery(),
        select(_AUDIT.c.sig).order_by(_AUDIT.c.seq.desc()).limit(1).scalar_subquery(),
    )
)
_LEAVES = Prepared(
    select(_AUDIT.c.seq, _AUDIT.c.leaf)
    .where(_AUDIT.c.seq > bindparam("after"), _AUDIT.c.seq <= bindparam("until"))
    .order_by(_AUDIT.c.seq)
)
_KEYS = Prepared(
    select(_AUDIT.c.seq, _AUDIT.c.details).where(_AUDIT.c.action == bindparam("action")).order_by(_AUDIT.c.seq)
)
# What somebody else put there must not stop the record: it is overwritten, and found by whoever verifies.
_SET_NODE = Prepared(
    text(
        "INSERT INTO ledger_nodes (level, idx, hash) VALUES (:level, :idx, :hash) "
        "ON CONFLICT (level, idx) DO UPDATE SET hash = excluded.hash"
    )
)
_SET_STATE = Prepared(
    text(
        "INSERT INTO ledger_state (id, size, frontier) VALUES (1, :size, :frontier) "
        "ON CONFLICT (id) DO UPDATE SET size = excluded.size, frontier = excluded.frontier"
    )
)
_ADOPTED_AT_ONCE = 5_000


@dataclass(frozen=True)
class Tail:
    """The end of the record, before a row is appended: the tree, and what its last row was signed with."""

    frontier: Frontier
    sig: str

    @property
    def next_seq(self) -> int:
        """The number of the row that comes next."""
        return self.frontier.size + 1


class Signer:
    """What one process signs audit rows with, and what it remembers of the tree that it signed last.

    The frontier is in the database, where somebody may have changed it: before a tree is signed that is not the
    remembered one, the last row's signature has to fit it. Where it does not, the new row stays without a signature,
    so that nothing forged is ever vouched for; deployments go on, and `audit verify` names the row.
    """

    def __init__(self, file: KeyFile) -> None:
        self.file = file
        self._left: Frontier | None = None

    @property
    def keys(self) -> Keys:
        """What signs now."""
        return self.file.keys

    @property
    def origin(self) -> str:
        """The name of the log."""
        return self.keys.key.public.name

    def sign(self, tail: Tail, grown: Frontier) -> str:
        """The `sig` of the row that made the tree grow like this; empty where it cannot be vouched for."""
        trusted = self._trusts(tail)
        self._left = grown
        if not trusted:
            return ""
        key = self.keys.key
        return Stamp(key.public.id, key.sign(TreeHead(self.origin, grown.size, grown.root()).text)).text

    def _trusts(self, tail: Tail) -> bool:
        if self._left == tail.frontier:
            return True
        size, since, root = tail.frontier.size, self.keys.since, tail.frontier.root()
        if not tail.sig:
            return not 0 < since <= max(size, 1)  # rows of before the first signed one
        stamp = Stamp.parse(tail.sig)
        if stamp is None:
            return False
        ours = [one.public for one in (self.keys.key, self.keys.before) if one is not None]
        known = next((one for one in ours if one.id == stamp.key_id), None)
        # Another replica's key, or one of long ago: whoever verifies looks at every row's key.
        return known is None or known.signed(TreeHead(self.origin, size, root).text, stamp.signature)


def tail(run: Run) -> Tail:
    """The end of the record, in the transaction that holds the right to append.

    Rows that are not in the tree yet are taken in: a replica of an earlier release may still write some.
    """
    last, size, edge, sig = run(_TAIL, {})[0]
    frontier = _frontier(size, edge)
    if (last or 0) > frontier.size:
        frontier = _adopt(run, frontier, int(last))
    return Tail(frontier, str(sig or "") if last == frontier.size else "")


def extend(run: Run, end: Tail, leaf: str, signer: Signer | None) -> Tail:
    """Make the tree one leaf longer; returns its new end, whose `sig` the row must keep."""
    if signer is not None:
        _follow(run, signer)
    frontier, nodes = end.frontier.append(bytes.fromhex(leaf))
    for node in nodes:
        run(_SET_NODE, {"level": node.level, "idx": node.index, "hash": node.hash.hex()})
    run(_SET_STATE, {"size": frontier.size, "frontier": edge_text(frontier)})
    return Tail(frontier, "" if signer is None else signer.sign(end, frontier))


def rebuild(run: Run) -> int:
    """Make the tree over all rows anew, in a transaction that holds the right to append; returns its size."""
    run(Prepared(text("DELETE FROM ledger_nodes")), {})
    run(_SET_STATE, {"size": 0, "frontier": "[]"})
    return tail(run).frontier.size


def head(run: Run) -> Tail:
    """The end of the record as it is stored, for who only reads."""
    _, size, edge, sig = run(_TAIL, {})[0]
    return Tail(_frontier(size, edge), str(sig or ""))


# ------------------------------------------------------------------ keys


@dataclass(frozen=True)
class KeyChange:
    """What an `audit:key` row says: this key signs from here on, and after which tree.

    `previous` is empty where no earlier key vouches for it: at first use, or when that one was lost.
    """

    key: PublicKey
    previous: PublicKey | None
    head: TreeHead
    by_key: bytes
    by_previous: bytes

    @property
    def text(self) -> str:
        """What both keys sign."""
        return _change_text(self.key, self.previous, self.head)

    @property
    def is_signed(self) -> bool:
        """True when both keys signed it."""
        if not self.key.signed(self.text, self.by_key):
            return False
        return self.previous is None or self.previous.signed(self.text, self.by_previous)


def key_change(details: str) -> KeyChange | None:
    """Read an `audit:key` row's details; None when they are not what we write."""
    try:
        said = json.loads(details)
        key = PublicKey.parse(said["key"])
        return KeyChange(
            key,
            PublicKey.parse(said["previous"]) if said["previous"] else None,
            TreeHead(key.name, int(said["size"]), bytes.fromhex(said["root"])),
            bytes.fromhex(said["by_key"]),
            bytes.fromhex(said["by_previous"]),
        )
    except (ValueError, KeyError, TypeError):
        return None


def key_changes(run: Run) -> tuple[tuple[int, KeyChange], ...]:
    """Every key that the record introduces, and the row that does."""
    found = ((int(seq), key_change(str(details))) for seq, details in run(_KEYS, {"action": KEY_ACTION}))
    return tuple((seq, change) for seq, change in found if change is not None)


def change_details(end: Tail, new: PrivateKey, previous: PrivateKey | None) -> Details:
    """The details of the row that introduces a key after this tree."""
    before = TreeHead(new.public.name, end.frontier.size, end.frontier.root())
    said = _change_text(new.public, previous.public if previous else None, before)
    return {
        "key": new.public.vkey,
        "previous": previous.public.vkey if previous else "",
        "size": before.size,
        "root": before.root.hex(),
        "by_key": new.sign(said).hex(),
        "by_previous": previous.sign(said).hex() if previous else "",
    }


def _change_text(key: PublicKey, previous: PublicKey | None, before: TreeHead) -> str:
    return f"locktender-audit-key/1\n{previous.vkey if previous else '-'}\n{key.vkey}\n{before.text}"


def _follow(run: Run, signer: Signer) -> None:
    """Somebody rotated the key: use the new one, provided the record says so.

    Who rotates holds the right to append until both are done, as we do now. So when the record does not say it, they
    failed in between, and the old key goes on until the next start makes up for it.
    """
    new = signer.file.changed()
    if new is None or new.key.public == signer.keys.key.public:
        return
    if any(change.key == new.key.public for _, change in key_changes(run)):
        signer.file.use(replace(new, before=new.before or signer.keys.key))


# ------------------------------------------------------------------ storage of the tree


def _frontier(size: int | None, edge: str | None) -> Frontier:
    """The stored edge of the tree; that of an empty one when it cannot be read, which takes all rows in again."""
    if not size or not edge:
        return Frontier()
    try:
        return Frontier(size, tuple(bytes.fromhex(one) for one in json.loads(edge)))
    except (ValueError, TypeError):
        return Frontier()


def edge_text(frontier: Frontier) -> str:
    """The edge of a tree as it is stored."""
    return json.dumps([one.hex() for one in frontier.hashes])


def _adopt(run: Run, frontier: Frontier, last: int) -> Frontier:
    while frontier.size < last:
        until = min(frontier.size + _ADOPTED_AT_ONCE, last)
        found = {int(seq): str(leaf) for seq, leaf in run(_LEAVES, {"after": frontier.size, "until": until})}
        for leaf in _in_places(found, range(frontier.size + 1, until + 1)):
            frontier, nodes = frontier.append(leaf)
            for node in nodes:
                run(_SET_NODE, {"level": node.level, "idx": node.index, "hash": node.hash.hex()})
    run(_SET_STATE, {"size": frontier.size, "frontier": edge_text(frontier)})
    return frontier


def _in_places(found: Mapping[int, str], places: Iterable[int]) -> Iterable[bytes]:
    for seq in places:
        try:
            leaf = bytes.fromhex(found.get(seq, ""))
        except ValueError:
            leaf = b""
        yield leaf if len(leaf) == len(EMPTY) else NO_ROW


def signed_head(end: Tail, origin: str) -> SignedHead | None:
    """The checkpoint of the last row; None when that one is not signed."""
    stamp = Stamp.parse(end.sig)
    if stamp is None:
        return None
    return SignedHead(TreeHead(origin, end.frontier.size, end.frontier.root()), (stamp,))
