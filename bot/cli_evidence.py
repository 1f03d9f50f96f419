"""`locktender audit evidence`: what the record holds of one change, for an auditor, written on the server."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from bot import keyboard, record
from bot.cli_audit import DatabaseOption, told
from bot.cli_export import USAGE, sign
from bot.evidence_files import write
from bot.settings import RecordPlaces
from commands.evidence import take
from commands.requests import Source

app = typer.Typer()
console = Console(highlight=False, soft_wrap=True)


@app.command()
def evidence(
    name: Annotated[
        str, typer.Argument(metavar="ID", help="Of a deployment or change; a commit; '#' and a row's number.")
    ],
    out: Annotated[Path, typer.Option(help="The folder for the two files.")] = Path(),
    database: DatabaseOption = "",
) -> None:
    """Write a page to read and a JSON file that proves itself: `locktender audit verify --evidence FILE`."""
    if not out.is_dir():
        console.print(escape(f"There is no folder {out}. Make it, or name another one with --out."))
        raise typer.Exit(USAGE)
    with told(), record.opened(RecordPlaces.load(), database) as store:
        sign(store)
        taken = take(store, name, keyboard.who(), "", Source.CLI)
        files = write(taken, out)
    console.print(escape(f"{taken.told.what}. {len(taken.rows)} rows."))
    console.print(escape(f"{files.statement}\n{files.page}"))
