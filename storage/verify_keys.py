"""Which keys count, from and until which row: the trusted ones, and those that they vouch for."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from storage.ledger import KeyChange
from storage.merkle import Frontier
from storage.signing import PublicKey, Stamp, TreeHead
from storage.verdict import Trust


@dataclass
class Keys:
    """The keys that count, and from and until which row they do."""

    known: dict[str, PublicKey] = field(default_factory=dict)
    until: dict[str, int] = field(default_factory=dict)
    introduced: dict[str, int] = field(default_factory=dict)
    vouched: dict[int, KeyChange] = field(default_factory=dict)

    @classmethod
    def of(cls, trust: Trust, changes: Sequence[tuple[int, KeyChange | None]]) -> "Keys":
        """The trusted ones, and those that they vouch for: by a change that the old and the new one have signed."""
        keys = cls({key.id: key for key in trust.keys})
        sound = [(row, one) for row, one in changes if one is not None and one.is_signed]
        grown = True
        while grown:
            grown = False
            for _, change in sound:
                if change.previous is None:
                    continue
                pair = {change.key.id: change.key, change.previous.id: change.previous}
                if pair.keys() & keys.known.keys() and not pair.keys() <= keys.known.keys():
                    keys.known |= pair
                    grown = True
        for row, change in sound:
            if keys.known.get(change.key.id) == change.key:
                keys.vouched[row] = change
                keys.introduced.setdefault(change.key.id, row)
                if change.previous is not None:
                    keys.until.setdefault(change.previous.id, row)
        return keys

    def fits(self, text: str, tree: Frontier) -> bool:
        """True when this is the signature of a key that counts, over that tree."""
        stamp = Stamp.parse(text)
        key = self.known.get(stamp.key_id) if stamp else None
        if stamp is None or key is None:
            return False
        return key.signed(TreeHead(key.name, tree.size, tree.root()).text, stamp.signature)
