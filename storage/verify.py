"""Judges a record: are these the rows that were written, all of them, in this order? Names the first that is not.

1. Every row is hashed again, and the tree over the hashes made again (`verify_rows`).
2. The last row's signature has to fit that tree: then all rows are as they were when it was signed. Where it does not
   fit, or a row is wrong by itself, the first row that no signature vouches for is found by binary search.
3. Checkpoints that left (commits, the channel, `refs/locktender/checkpoints`) have to fit too: they find rows that were
   cut off, and a record that was exchanged for an older one.
"""

import os
import threading
import time
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import closing, contextmanager
from multiprocessing import get_all_start_methods, get_context

from storage.ledger import edge_text
from storage.merkle import Frontier, parent_of
from storage.signing import NotSignedTextError, SignedHead
from storage.verdict import Anchor, Finding, Kind, State, Trust, Verdict, finding, forged, told, tree_finding
from storage.verify_keys import Keys
from storage.verify_rows import BLOCK, LEVELS, Block, Book, End, Reader, Run, Task, look_at

MANY = 8 * BLOCK
"""Rows from which on several processes pay: starting one takes as long as hashing a good part of that."""


class OutOfTimeError(Exception):
    """The deadline came first."""


Progress = Callable[[int, int], None]
"""Called with the rows that are done, and all of them."""


def verify(
    book: Book,
    trust: Trust,
    anchors: Sequence[Anchor] = (),
    *,
    progress: Progress = lambda _done, _all: None,
    seconds: float | None = None,
    processes: int | None = None,
) -> Verdict:
    """Judge the whole record, in bounded memory. UNKNOWN when it takes longer than so many `seconds`.

    Reads alone; a record that grows meanwhile is judged as it was at the beginning. Several processes share the work
    when there are many rows; `processes` says how many, by default one for each processor. Raises what the database's
    driver raises (sqlite3.Error, psycopg.Error).
    """
    limit = None if seconds is None else time.monotonic() + seconds
    with closing(Reader(book)) as reader:
        end = reader.end()
    with _looker(book, end.rows, processes) as look, closing(Reader(book)) as reader:
        judge = _Judge(reader, end, trust, anchors, limit)
        try:
            judge.read(look or reader.look_at_all, progress)
            return judge.verdict()
        except OutOfTimeError:
            done = f"{judge.tree.size:,} of {end.rows:,} rows were looked at in {seconds:.0f} seconds, and are right."
            said = f"{done} Run `locktender audit verify`, which has no limit."
            return Verdict(State.UNKNOWN, end.rows, notes=(said,))


class _Judge:
    """One look at one record."""

    def __init__(self, reader: Reader, end: End, trust: Trust, anchors: Sequence[Anchor], limit: float | None) -> None:
        self._reader = reader
        self._limit = limit
        self.end = end
        self._trust = trust
        self._keys = Keys.of(trust, self.end.changes)
        self.tree = Frontier()
        self._starts: list[Frontier] = []  # the tree before each block
        self._blocks: list[bytes] = []  # hashes of the blocks that are whole
        self._roots: dict[int, bytes] = {0: Frontier().root()}
        self._begun = trust.since  # the first row that has to be signed; 0 while none had to
        self._fault: Finding | None = None
        self._bad_node: tuple[int, int] | None = None
        self._findings: list[Finding] = []
        self._notes: list[str] = []
        self._outside = self._checked(anchors)

    # ------------------------------------------------------------ reading

    def read(self, look: Callable[[Sequence[Task]], Iterator[Block]], progress: Progress) -> None:
        """Hash all rows, up to the first that is wrong by itself."""
        rows = self.end.rows
        wanted = sorted({one.signed.head.size for one in self._outside if one.signed.head.size <= rows})
        tasks = []
        for first in range(1, rows + 1, BLOCK):
            last = min(first + BLOCK - 1, rows)
            inside = tuple(wanted[bisect_right(wanted, first - 1) : bisect_right(wanted, last)])
            tasks.append(Task(first, last, inside, self.end.size is not None))
        progress(0, rows)
        for block in look(tasks):
            self._take(block)
            progress(self.tree.size, rows)
            if self._fault is not None:
                return
            self._check_time()

    def _take(self, block: Block) -> None:
        before = self.tree
        self._starts.append(before)
        self.tree = before.join(block.tree)
        if block.tree.size == BLOCK:
            self._blocks.append(block.tree.root())
        self._roots |= {size: before.join(edge).root() for size, edge in block.edges}
        self._bad_node = self._bad_node or block.bad_node
        unsigned = next((found for run in block.runs if (found := self._unvouched(run)) is not None), None)
        by_itself = told(block.fault) if block.fault else None
        both = [one for one in (unsigned, by_itself) if one is not None]
        self._fault = min(both, key=lambda one: one.row, default=None)

    def _unvouched(self, run: Run) -> Finding | None:
        """Rows that no key that counts has signed, where it should have."""
        key = self._keys.known.get(run.key_id)
        if key is not None:
            self._begun = min(self._begun or run.first, run.first)
            until = self._keys.until.get(key.id, run.last)
            if run.last <= until:
                return None
            row, why = max(run.first, until + 1), f"signed with the key {key.id}, which was replaced in row {until}"
            return finding(Kind.OTHER_KEY, row, f"Row {row} is {why}.")
        if not self._begun or run.last < self._begun or not self._trust.keys:
            return None
        row = max(run.first, self._begun)
        if run.key_id:
            why = f"Row {row} is signed with a key ({run.key_id!r}) that none of the keys you trust vouches for."
            step = " If it is that of another replica, name it with --key, and let the replicas share one file."
            return finding(Kind.OTHER_KEY, row, why, step)
        return finding(Kind.UNSIGNED, row, f"Row {row} has no signature: it was not written with the record's key.")

    def _check_time(self) -> None:
        if self._limit is not None and time.monotonic() > self._limit:
            raise OutOfTimeError

    # ------------------------------------------------------------ judging

    def verdict(self) -> Verdict:
        """What all of it comes to."""
        sound = min(self.tree.size, self._fault.row - 1 if self._fault else self.end.rows)
        proven = self._proven(sound)
        first = self._first(sound, proven)
        if first is not None:
            self._findings.append(first)
        self._introduced(proven)
        anchored, count = self._compare(proven)
        if first is None:
            self._look_at_the_tree()
        self._cut_off()
        findings = tuple(sorted(self._findings, key=lambda one: (one.row == 0, one.row)))
        state = State.TAMPERED if findings else State.PROVEN if proven == self.end.rows > 0 else State.UNKNOWN
        if state is State.UNKNOWN:
            self._notes.insert(0, self._why_unknown())
        return Verdict(state, self.end.rows, proven, anchored, count, findings, tuple(self._notes))

    def _first(self, sound: int, proven: int) -> Finding | None:
        """The first row that is not as it was written."""
        if proven == sound or not self._keys.known:
            return self._fault
        if not self._begun or sound < self._begun:
            if self._fault is None and self._signed_by_others(sound):
                return self._other_record()
            return self._fault
        first = max(proven + 1, 1)
        if proven == 0 and self._begun > 1:
            said = f"One of the rows 1 to {self._begun} was changed, and its hash and the tree were made to fit"
        else:
            said = (
                f"Row {first} is not the one that was signed: it was changed, put in or moved, and its hash made to fit"
            )
        return finding(Kind.REFORGED, first, f"{said}.")

    def _signed_by_others(self, sound: int) -> bool:
        return sound > 0 and bool(self._reader.stamp(sound))

    def _other_record(self) -> Finding:
        names = ", ".join(sorted({change.key.name for _, change in self.end.changes if change is not None}))
        said = f" It calls itself `{names}`." if names else ""
        ours = ", ".join(f"`{key.name}` ({key.id})" for key in self._trust.keys)
        what = f"Row 1 and all after it are signed with another key than the one you trust, {ours}.{said}"
        return finding(
            Kind.OTHER_KEY, 1, what, " If the key was lost and replaced on purpose, verify with the new one too."
        )

    def _introduced(self, proven: int) -> None:
        """Whoever begins to sign says so in the first row that is signed: else rows before it have lost theirs."""
        begun = self._begun
        if not begun or begun > proven or self._findings or begun in self._keys.vouched:
            return
        if self._reader.stamp(begun):
            what = f"Row {begun} is the first that is signed, and not the one in which the key was introduced."
            self._findings.append(finding(Kind.REPLACED, max(1, begun - 1), what))

    def _proven(self, sound: int) -> int:
        """The last of the rows 1 to `sound` whose signature fits; 0 when none does."""
        if sound == 0 or not self._keys.known or self._fits(sound):
            return sound if self._keys.known else 0
        low, high = 0, sound
        while True:
            while high - low > 1:
                middle = (low + high) // 2
                low, high = (middle, high) if self._fits(middle) else (low, middle)
            # Signatures may have been damaged to mislead the search: one that fits further on counts for all before.
            later = self._next_fitting(low + 1, sound)
            if later is None:
                return low
            low, high = later, sound

    def _fits(self, row: int) -> bool:
        return self._keys.fits(self._reader.stamp(row), self._tree_at(row))

    def _tree_at(self, size: int) -> Frontier:
        block = (size - 1) // BLOCK
        tree = self._starts[block]
        for _, leaf, _ in self._reader.stamps(block * BLOCK + 1, size):
            tree, _ = tree.append(leaf)
        return tree

    def _next_fitting(self, row: int, last: int) -> int | None:
        if row > last:
            return None
        tree = self._tree_at(row - 1) if row > 1 else Frontier()
        for number, leaf, sig in self._reader.stamps(row, last):
            self._check_time()
            tree, _ = tree.append(leaf)
            if self._keys.fits(sig, tree):
                return number
        return None

    # ------------------------------------------------------------ what is outside of the rows

    def _checked(self, anchors: Sequence[Anchor]) -> list[Anchor]:
        """The checkpoints that are signed as they should be; the others are findings."""
        stored = []
        for size, note in self.end.left:
            where = f"the row {size} of the table `checkpoints`"
            try:
                stored.append(Anchor(where, SignedHead.parse_note(note)))
            except NotSignedTextError:
                self._findings.append(forged(where, "it cannot be read"))
        keys = dict(self._keys.known)
        for _, change in self.end.changes:  # of a key that was lost, too: what it has signed can be looked at
            if change is not None:
                keys.setdefault(change.key.id, change.key)
        sound = []
        for anchor in (*anchors, *stored) if self._trust.keys else ():
            if any(anchor.signed.signed_by(keys[one.key_id]) for one in anchor.signed.stamps if one.key_id in keys):
                sound.append(anchor)
            else:
                ids = ", ".join(one.key_id for one in anchor.signed.stamps)
                self._findings.append(forged(anchor.where, f"its signature is not by the key of this record ({ids})"))
        for row, change in self._keys.vouched.items():
            signed = SignedHead(change.head, ())
            sound.append(Anchor(f"row {row}, where the key {change.key.id} was introduced", signed))
            if change.head.size != row - 1:
                what = f"Row {row} introduces a key, and says that it is row {change.head.size + 1}."
                self._findings.append(finding(Kind.REPLACED, min(row, change.head.size + 1), what))
        return sound

    def _compare(self, proven: int) -> tuple[int, int]:
        """Up to which row checkpoints from outside fit, and how many do."""
        reached, count = 0, 0
        for anchor in sorted(self._outside, key=lambda one: one.signed.head.size):
            head = anchor.signed.head
            root = self._roots.get(head.size)
            if root is None or head.size > proven:
                continue
            if root == head.root:
                if anchor.signed.stamps:
                    reached, count = head.size, count + 1
                continue
            span = f"one of the rows {reached + 1} to {head.size}" if head.size > reached + 1 else f"row {head.size}"
            what = f"The record was exchanged: by {anchor.where}, {span} was another one when it was written."
            self._findings.append(finding(Kind.REPLACED, reached + 1, what))
            break
        return reached, count

    def _cut_off(self) -> None:
        rows = self.end.rows
        beyond = [(one.signed.head.size, one.where) for one in self._outside if one.signed.head.size > rows]
        if self.end.size is not None and self.end.size > rows:
            beyond.append((self.end.size, "the table `ledger_state`"))
        if self.end.size is not None and self.end.reach > rows:
            beyond.append((self.end.reach, "the table `ledger_nodes`"))
        if beyond:
            size, where = max(beyond)
            what = f"Row {rows + 1} is missing, and all after it: by {where} there were {size:,} rows, now {rows:,}."
            self._findings.append(finding(Kind.CUT_OFF, rows + 1, what))

    def _look_at_the_tree(self) -> None:
        """The stored tree is there to prove things with: it must be the one over the rows."""
        if self.end.size is None:
            return
        bad = self._bad_node or self._bad_top()
        if bad is not None:
            level, index = bad
            first, last = (index << level) + 1, index + 1 << level
            what = f"The stored tree is wrong where it is over the rows {first} to {last}; the rows are right."
            self._findings.append(tree_finding(what))
        if self.end.size < self.end.rows:
            said = f"The tree is over {self.end.size:,} rows; the next row that is written takes in the rest."
            self._notes.append(said)
        elif self.end.size == self.end.rows and self.end.edge != edge_text(self.tree):
            said = "The stored edge of the tree (`ledger_state`) is wrong; the rows are right."
            self._findings.append(tree_finding(said))

    def _bad_top(self) -> tuple[int, int] | None:
        """The first stored subtree above those inside of blocks that is not what it should be."""
        level, hashes = LEVELS, self._blocks
        while len(hashes) > 1:
            hashes = [parent_of(one, other) for one, other in zip(hashes[::2], hashes[1::2], strict=False)]
            level += 1
            there = self._reader.nodes(level, 0, len(hashes) - 1)
            if there != b"".join(hashes).hex():
                wrong = (at for at, one in enumerate(hashes) if there[at * 64 : at * 64 + 64] != one.hex())
                return level, next(wrong, len(hashes))
        return None

    def _why_unknown(self) -> str:
        if not self.end.rows:
            return "The record is empty."
        if not self._trust.keys:
            said = "The rows fit their hashes, but whoever re-forged them would have made them fit."
            return f"{said} Name the public key that you trust: --key, or the key file of the bot."
        return "No row is signed yet: the rows fit their hashes, and nothing outside of the database vouches for them."


Look = Callable[[Sequence[Task]], Iterator[Block]]


@contextmanager
def _looker(book: Book, rows: int, processes: int | None) -> Iterator[Look | None]:
    """What looks at blocks in several processes, and gives them in order; None where they would not pay."""
    count = processes if processes is not None else min(os.cpu_count() or 1, 8)
    if count < 2 or rows < MANY:
        yield None
        return
    # A fork is there at once, but takes no threads along, and must take no open connection: the bot, which has, spawns.
    alone = threading.active_count() == 1 and "fork" in get_all_start_methods()
    with ProcessPoolExecutor(count, mp_context=get_context("fork" if alone else "spawn")) as pool:
        pool.submit(os.getpid).result()  # they are there now, before a connection is opened

        def look(tasks: Sequence[Task]) -> Iterator[Block]:
            ahead: deque[Future[Block]] = deque()
            for task in tasks:
                ahead.append(pool.submit(look_at, book, task))
                if len(ahead) > 2 * count:  # no more than are looked at soon: blocks that wait take memory
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()

        try:
            yield look
        finally:
            pool.shutdown(cancel_futures=True)
