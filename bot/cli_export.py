"""`locktender audit export` and `report`: the same files and numbers as in Slack, on the server."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Annotated
from uuid import uuid4

import typer
from rich.console import Console
from rich.markup import escape

from bot import keyboard, record
from bot.audit_files import Written, write
from bot.cli_audit import DatabaseOption, told
from bot.settings import RecordPlaces
from bot.slack.parse_audit import parse_audit
from commands.audit_export import record as note
from commands.audit_report import report
from commands.facts import CatalogueInForce, Facts
from commands.reasons import Fault
from commands.requests import Asker, Export, Mistake, Report, Request, Source
from storage import ledger
from storage.keys import KeyFile, load
from storage.proofs import NoProofError
from storage.unit_of_work import Store

REFUSED, USAGE, COULD_NOT_TELL = 1, 2, 3
app = typer.Typer()
console = Console(highlight=False, soft_wrap=True)
errors = Console(stderr=True, highlight=False, soft_wrap=True)


@app.command()
def export(
    form: Annotated[str, typer.Argument(help="csv or jsonl.")],
    filters: Annotated[
        list[str] | None, typer.Argument(help="As in Slack: app:web env:production since:30d words")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The file to write; standard output, by default.")] = None,
    database: DatabaseOption = "",
) -> None:
    """Write the record to a file: csv for a spreadsheet, jsonl for `locktender audit verify --export`."""
    request = _request(["export", form, *(filters or [])])
    if not isinstance(request, Export):
        raise typer.Exit(USAGE)
    with told(), record.opened(RecordPlaces.load(), database) as store:
        sign(store)
        with store.write() as uow:
            note(uow, Asker("", keyboard.who(), "", source=Source.CLI), request)
        now = store.clock()
        with _output(out) as file:
            written = _written(lambda: write(store, request.form, request.filters, now, file))
    errors.print(f"{written.rows:,} rows, of {written.size:,} in the record.")


@app.command(name="report")
def print_report(
    filters: Annotated[list[str] | None, typer.Argument(help="As in Slack: since:30d app:web env:production")] = None,
    database: DatabaseOption = "",
) -> None:
    """How often, how fast, how well: DORA's four keys, and what people waited for."""
    request = _request(["report", *(filters or [])])
    if not isinstance(request, Report):
        raise typer.Exit(USAGE)
    with told(), record.opened(RecordPlaces.load(), database) as store:
        sign(store)
        asker = Asker("", keyboard.who(), f"cli:{uuid4().hex}", source=Source.CLI)
        answer = report(store, Facts(CatalogueInForce()), asker, request)
    console.print(escape(f"{answer.what} {answer.next_step}".strip()))
    for row in answer.rows:
        console.print(f"{escape(row.text)}\n    [dim]{escape(row.detail)}[/]")
    if answer.refused:
        raise typer.Exit(REFUSED)


def sign(store: Store) -> None:
    """What is recorded here is signed as the bot's own rows are, where its key is at hand."""
    places = RecordPlaces.load()
    if places.audit_key.exists():
        store.signer = ledger.Signer(KeyFile(places.audit_key, load(places.audit_key).key.public.name))


def _request(words: list[str]) -> Request:
    request = parse_audit(" ".join(words), me=keyboard.who())
    if isinstance(request, Mistake):
        errors.print(escape(f"{request.what} {request.next_step}"))
    return request


def _written(make: Callable[[], Written]) -> Written:
    try:
        return make()
    except Fault as fault:
        errors.print(escape(f"{fault.what} {fault.next_step}"))
        raise typer.Exit(USAGE) from None
    except NoProofError as error:
        errors.print(escape(str(error)))
        raise typer.Exit(COULD_NOT_TELL) from None


@contextmanager
def _output(out: Path | None) -> Iterator[IO[str]]:
    """A file that only its owner can read, or standard output."""
    if out is None:
        yield sys.stdout
        return
    with os.fdopen(
        os.open(out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8", newline=""
    ) as file:
        yield file
