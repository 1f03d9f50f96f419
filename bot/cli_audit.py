"""`locktender audit …`: proves that the record is what was written, without Slack, the network or the running bot.

Exit codes: 0 proven or done, 1 tampered or refused, 2 usage, 3 could not tell.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, NoReturn

import psycopg
import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from bot import evidence_files, keyboard, record
from bot.settings import RecordPlaces
from commands.evidence_file import NotEvidenceError
from commands.reasons import Fault
from storage import ledger, ledger_keys, proofs
from storage.keys import KeyFile, KeyFileError, load
from storage.signing import NotSignedTextError
from storage.unit_of_work import AuditEntry
from storage.verdict import State, Verdict
from storage.verify_export import NotAnExportError

REFUSED, USAGE, COULD_NOT_TELL = 1, 2, 3
_CODES = {State.PROVEN: 0, State.TAMPERED: REFUSED, State.UNKNOWN: COULD_NOT_TELL}
_COLOURS = {State.PROVEN: "green", State.TAMPERED: "red", State.UNKNOWN: "yellow"}
_WORDS = {State.PROVEN: "Proven.", State.TAMPERED: "TAMPERED.", State.UNKNOWN: "Could not tell."}

app = typer.Typer(help="The deployment record: verify it, prove rows of it, change its key.", no_args_is_help=True)
console = Console(highlight=False, soft_wrap=True)
errors = Console(stderr=True, highlight=False, soft_wrap=True)

DatabaseOption = Annotated[
    str, typer.Option("--database", help="A SQLite file or a Postgres URL, instead of DATABASE_URL or LOCKTENDER_HOME.")
]


@app.command()
def verify(
    export: Annotated[
        Path | None, typer.Option(help="A file of `/audit export jsonl`, with or without a database.")
    ] = None,
    evidence: Annotated[
        Path | None, typer.Option(help="A JSON file of `audit evidence`: it is judged, and nothing else.")
    ] = None,
    repo: Annotated[
        Path | None, typer.Option(help="A clone of the infra-repo; by default the bot's own mirror.")
    ] = None,
    key: Annotated[
        list[str] | None, typer.Option(help="A public key to trust, or a file with keys; may be repeated.")
    ] = None,
    branch: Annotated[str, typer.Option(help="The branch of the infra-repo that is deployed from.")] = "",
    database: DatabaseOption = "",
) -> None:
    """Prove that no row was edited, deleted, moved, put in or cut off, or name the first that was."""
    places = RecordPlaces.load()
    if evidence is not None:
        _verify_evidence(places, evidence, key or [], database)
    with told():
        sources = record.Sources(
            database=record.book(places, database, needed=export is None),
            export=export,
            repository=record.repository(places, repo),
            branch=branch or places.branch,
            trust=record.trust(places, key or []),
        )
        if sources.database is None and export is None:
            errors.print(
                "There is no record here: name one with --database, DATABASE_URL, LOCKTENDER_HOME or --export."
            )
            raise typer.Exit(COULD_NOT_TELL)
        with _bar() as progress:
            verdict = record.verify(sources, progress)
    _print(verdict, sources)
    raise typer.Exit(_CODES[verdict.state])


def _verify_evidence(places: RecordPlaces, path: Path, keys: list[str], database: str) -> NoReturn:
    """Judge one file; also against a database, where one is named."""
    with told():
        book = record.book(places, database, needed=False) if database else None
        verdict = evidence_files.verify(path, record.trust(places, keys), book)
    say = f"All of it follows from {verdict.rows:,} signed rows of the record, and none of these is missing."
    console.print(
        f"[{_COLOURS[verdict.state]}]{_WORDS[verdict.state]}[/] "
        f"{escape(say if verdict.state is State.PROVEN else verdict.summary)}"
    )
    if verdict.findings:
        console.print(f"  {escape(verdict.findings[0].next_step)}")
    for note in verdict.notes[verdict.state is State.UNKNOWN :]:
        console.print(f"  {escape(note)}")
    raise typer.Exit(_CODES[verdict.state])


@app.command()
def prove(
    seq: Annotated[int, typer.Argument(min=1, help="The row's number.")],
    size: Annotated[int, typer.Option(min=0, help="In the tree over so many rows; over all, by default.")] = 0,
    database: DatabaseOption = "",
) -> None:
    """Print the proof that a row is in the record: the hashes of RFC 6962, and the checkpoint they lead to."""
    places = RecordPlaces.load()
    with told(), record.opened(places, database) as store, store.read() as uow:
        origin = record.origin(places, uow)
        found = proofs.inclusion(uow.run, origin, seq, size)
        signed = proofs.checkpoint_at(uow.run, origin, found.head.size)
    _say(f"row {found.seq}\nindex {found.seq - 1}\nleaf {found.leaf.hex()}")
    for step in found.steps:
        _say(f"step {step.hex()}")
    _say(f"\n{signed.note if signed is not None else found.head.text}", end="")
    if not found.holds:
        errors.print("The stored tree does not prove it: run `locktender audit verify`.")
        raise typer.Exit(REFUSED)


@app.command()
def growth(
    old: Annotated[int, typer.Argument(min=0, help="Rows of the earlier checkpoint.")],
    new: Annotated[int, typer.Argument(min=0, help="Rows of the later one; all, by default.")] = 0,
    database: DatabaseOption = "",
) -> None:
    """Print the proof that the record only grew between two checkpoints."""
    places = RecordPlaces.load()
    with told(), record.opened(places, database) as store, store.read() as uow:
        found = proofs.growth(uow.run, record.origin(places, uow), old, new)
    _say(found.old.text)
    for step in found.steps:
        _say(f"step {step.hex()}")
    _say(f"\n{found.new.text}", end="")
    if not found.holds:
        errors.print("The stored tree does not prove it: run `locktender audit verify`.")
        raise typer.Exit(REFUSED)


@app.command()
def checkpoint(database: DatabaseOption = "") -> None:
    """Print the latest checkpoint, a signed note: keep it where nobody who can write the database can."""
    places = RecordPlaces.load()
    with told(), record.opened(places, database) as store, store.read() as uow:
        found = ledger_keys.checkpoint(uow, record.origin(places, uow))
    if found is None:
        errors.print("The record's last row is not signed: run `locktender audit verify`.")
        raise typer.Exit(COULD_NOT_TELL)
    _say(found.note, end="")


@app.command()
def key() -> None:
    """Print the public key that the record is signed with: give it to whoever will verify it."""
    with told():
        _say(load(RecordPlaces.load().audit_key).key.public.vkey)


@app.command(name="rotate-key")
def rotate_key(database: DatabaseOption = "") -> None:
    """Make a new key; the record says so, signed with both. A running bot goes on with it by itself."""
    places = RecordPlaces.load()
    with told(), record.opened(places, database) as store:
        store.signer = ledger.Signer(KeyFile(places.audit_key, load(places.audit_key).key.public.name))
        _say(ledger_keys.rotate(store, keyboard.who()).vkey)


@app.command()
def rebuild(database: DatabaseOption = "") -> None:
    """Make the stored tree again from the rows, when `verify` says that the tree is wrong and the rows are right."""
    places = RecordPlaces.load()
    with told(), record.opened(places, database) as store:
        store.signer = ledger.Signer(KeyFile(places.audit_key, load(places.audit_key).key.public.name))
        with store.write() as uow:
            uow.hold_audit()
            size = ledger.rebuild(uow.run)
            uow.audit(AuditEntry("audit:rebuild", keyboard.who(), details={"size": size}))
    console.print(f"The tree is the one over the {size:,} rows that are there. Verify them now.")


def _print(verdict: Verdict, sources: record.Sources) -> None:
    colour, word = _COLOURS[verdict.state], _WORDS[verdict.state]
    console.print(f"[{colour}]{word}[/] {escape(verdict.summary)}")
    for one in verdict.findings[1:]:
        console.print(f"  {escape(one.what)}")
    if verdict.findings:
        console.print(f"  {escape(verdict.findings[0].next_step)}")
    if verdict.state is not State.PROVEN and verdict.proven:
        console.print(f"  Rows 1 to {verdict.proven:,} are as they were written.")
    if verdict.anchors:
        count = "1 checkpoint" if verdict.anchors == 1 else f"{verdict.anchors:,} checkpoints"
        agree = "agrees" if verdict.anchors == 1 else "agree"
        console.print(f"  {count} outside of the database {agree}, the last with rows 1 to {verdict.anchored:,}.")
    elif sources.repository is None:
        console.print("  No infra-repo was looked at: that no rows were cut off at the end, only it can show (--repo).")
    for note in verdict.notes if verdict.state is not State.UNKNOWN else verdict.notes[1:]:
        console.print(f"  {escape(note)}")


@contextmanager
def _bar() -> Iterator[record.Counted]:
    """Shows how far it is, on a terminal."""
    columns = (TextColumn("Rows"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    # No thread of its own: processes can be forked only where there is one thread.
    with Progress(*columns, console=errors, transient=True, auto_refresh=False, disable=not errors.is_terminal) as bar:
        task = bar.add_task("rows", total=None)
        yield lambda done, whole: bar.update(task, completed=done, total=whole, refresh=True)


@contextmanager
def told() -> Iterator[None]:
    """What goes wrong, in a sentence and with the exit code for it."""
    try:
        yield
    except record.UsageError as error:
        errors.print(escape(str(error)))
        raise typer.Exit(USAGE) from None
    except (KeyFileError, NotSignedTextError, NotAnExportError, NotEvidenceError, proofs.NoProofError) as error:
        errors.print(escape(str(error)))
        raise typer.Exit(COULD_NOT_TELL) from None
    except Fault as fault:
        errors.print(escape(f"{fault.what} {fault.next_step}"))
        raise typer.Exit(COULD_NOT_TELL) from None
    except (SQLAlchemyError, sqlite3.Error, psycopg.Error, ArgumentError) as error:
        errors.print(f"The database cannot be read ({type(error).__name__}). Is it a record of this version?")
        raise typer.Exit(COULD_NOT_TELL) from None
    except OSError as error:
        errors.print(escape(f"{error.filename or 'A file'} cannot be read ({error.strerror})."))
        raise typer.Exit(COULD_NOT_TELL) from None


def _say(text: str, end: str = "\n") -> None:
    print(text, end=end)  # noqa: T201 - the output is the product
