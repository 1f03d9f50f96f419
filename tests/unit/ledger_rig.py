"""A record with a key of its own, and a forger who owns the database but not the key."""

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import text

from storage import ledger, ledger_keys
from storage.audit_text import audit_text
from storage.canonical import leaf_hash
from storage.database import Database
from storage.keys import KeyFile
from storage.record_models import AuditRow
from storage.signing import PublicKey, SignedHead
from storage.unit_of_work import AuditEntry, Store
from storage.verdict import Anchor, Trust, Verdict
from storage.verify import verify
from storage.verify_rows import Book
from tests.rows import audit_rows

ORIGIN = "locktender/git.example/infra"
START = datetime(2026, 3, 1, 12, tzinfo=UTC)
NASTY = 'na\u00efve "quotes" \\ \u2028\n\t\x01 \U0001f680'


@dataclass
class Record:
    """A record, as the bot writes it. Row 1 introduces the key."""

    url: str
    key_file: Path

    def __post_init__(self) -> None:
        self.store = self.open()
        ledger_keys.introduce(self.store)

    def open(self) -> Store:
        """Open it as another process does."""
        hours = iter(range(10_000))
        signer = ledger.Signer(KeyFile(self.key_file, ORIGIN))
        return Store(Database(self.url), lambda: START + timedelta(hours=next(hours)), signer)

    def close(self) -> None:
        self.store.database.close()

    def write(self, count: int = 1) -> None:
        for number in range(count):
            with self.store.write() as uow:
                said = {"version": f"1.{number}", "reason": NASTY}
                uow.audit(AuditEntry("deployment:request", "U0ALICE", "T1", "web", "staging", f"d{number}", "", said))

    @property
    def key(self) -> PublicKey:
        assert self.store.signer is not None
        return self.store.signer.keys.key.public

    def anchor(self, where: str = "commit 0123abcd") -> Anchor:
        """The latest checkpoint, as a commit keeps it."""
        with self.store.read() as uow:
            found = ledger_keys.checkpoint(uow, ORIGIN)
        assert found is not None
        return Anchor(where, SignedHead.parse_trailer(found.trailer, ORIGIN))

    def verify(self, *anchors: Anchor, trust: Trust | None = None) -> Verdict:
        return verify(Book(self.url), trust or Trust((self.key,)), anchors, processes=1)

    # ------------------------------------------------------------ the forger

    def sql(self, *statements: str) -> None:
        """What somebody does who owns the database: past the triggers."""
        with self.store.write() as uow:
            if self.store.database.is_sqlite:
                for name in ("audit_no_update", "audit_no_delete", "audit_no_replace"):
                    uow.session.execute(text(f"DROP TRIGGER IF EXISTS {name}"))
            else:
                uow.session.execute(text("SET LOCAL session_replication_role = replica"))
            for statement in statements:
                uow.session.execute(text(statement))

    def reforge(self) -> None:
        """Hash every row again and make the tree again, as if nothing had happened. The signatures stay."""
        changed = {
            row.seq: leaf_hash(audit_text(row))
            for row in audit_rows(self.store)
            if row.leaf != leaf_hash(audit_text(row))
        }
        self.sql(*(f"UPDATE audit SET leaf = '{leaf}' WHERE seq = {seq}" for seq, leaf in changed.items()))  # noqa: S608 - a test's own words
        with self.store.write() as uow:
            ledger.rebuild(uow.run)

    def renumber(self, first: int, by: int) -> None:
        """Move the rows from `first` on, signatures and all."""
        # Past each other without meeting: first out of the way, then to their places.
        self.sql(
            f"UPDATE audit SET seq = seq + 100000 WHERE seq >= {first}",  # noqa: S608 - a test's own words
            f"UPDATE audit SET seq = seq - 100000 + {by} WHERE seq > 100000",  # noqa: S608 - a test's own words
        )

    def insert(self, seq: int, like: int, sig: str = "") -> None:
        """Put a row in that looks like another one."""
        columns = "at, action, team_id, actor, app, environment, deployment_id, reason_code, details"
        self.sql(
            f"INSERT INTO audit (seq, {columns}, leaf, sig) SELECT {seq}, {columns}, leaf, '{sig}' "  # noqa: S608 - a test's own words
            f"FROM audit WHERE seq = {like}"
        )
        found = next(row for row in audit_rows(self.store) if row.seq == seq)
        self.sql(f"UPDATE audit SET leaf = '{leaf_hash(audit_text(found))}' WHERE seq = {seq}")  # noqa: S608 - a test's own words

    def rows(self) -> list[AuditRow]:
        return audit_rows(self.store)


def record(url: str, folder: Path, rows: int = 20) -> Iterator[Record]:
    """A record of so many rows, closed at the end."""
    made = Record(url, folder / "audit.key")
    with closing(made):
        made.write(rows - 1)
        yield made


def forged_edge() -> str:
    return json.dumps(["00" * 32])
