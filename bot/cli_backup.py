"""`locktender backup FILE`. Exit codes: 0 it is on the disk, 1 refused, 2 usage."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from bot import record
from bot.backup import BackupError, back_up
from bot.settings import RecordPlaces
from storage.verify_rows import Book

REFUSED, USAGE = 1, 2
console = Console(highlight=False, soft_wrap=True)
errors = Console(stderr=True, highlight=False, soft_wrap=True)


def backup(file: Annotated[Path, typer.Argument(help="The file to write; it must not exist yet.")]) -> None:
    """Copy the record to a file, while the bot runs. Needs DATABASE_URL or LOCKTENDER_HOME alone."""
    places = RecordPlaces.load()
    try:
        made = back_up(record.book(places, "", needed=True) or Book(places.database), file)
    except record.UsageError as error:
        errors.print(escape(str(error)))
        raise typer.Exit(USAGE) from None
    except BackupError as error:
        errors.print(f"[red]No backup was made.[/] {escape(str(error))}")
        raise typer.Exit(REFUSED) from None
    console.print(f"{made.rows:,} rows of the audit log, {made.size / 1e6:.1f} MB, in {escape(str(made.file))}.")
    console.print(
        f"The key that signs the record is not in it: keep {escape(str(places.audit_key))} with your secrets."
    )
    console.print(f"Try it: locktender doctor --backup {escape(str(made.file))}")
