"""`locktender token create|list|revoke`: the tokens of the JSON API. The only place where they are made."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from sqlalchemy.exc import SQLAlchemyError

from bot import keyboard
from bot.record import signer
from bot.settings import SettingsError, load
from bot.slack.text import plain
from commands import tokens
from commands.reasons import Refused
from storage import database, ledger_keys
from storage.database import Database
from storage.keys import KeyFileError
from storage.unit_of_work import Store

REFUSED, USAGE, COULD_NOT_TELL = 1, 2, 3
app = typer.Typer(help="Tokens of the JSON API.", no_args_is_help=True)
errors = Console(stderr=True, highlight=False, soft_wrap=True)
console = Console(highlight=False, soft_wrap=True)


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="What the record will call it: `api:NAME`.")],
    scope: Annotated[
        list[str],
        typer.Option(help="records, images, read, deploy:ENVIRONMENT or deploy:ENVIRONMENT:APP; may be repeated."),
    ],
) -> None:
    """Make a token and print it, once. Nothing but its hash is kept."""
    with _store() as store:
        made = tokens.create(store, keyboard.who(), name, scope)
    scopes = ", ".join(map(str, made.scopes))
    errors.print(
        f"The token `{made.name}` may: {escape(scopes)}. It is shown this once; put it where secrets are kept."
    )
    console.print(made.token)


@app.command(name="list")
def list_() -> None:
    """Show every token there ever was, without anything secret."""
    with _store() as store:
        lines = tokens.all_tokens(store)
    if not lines:
        console.print("There are no tokens. `locktender token create NAME --scope records` makes one.")
        return
    for line in lines:
        used = f"last used {line.last_used_at:%Y-%m-%d %H:%M}" if line.last_used_at else "never used"
        state = f"revoked {line.revoked_at:%Y-%m-%d %H:%M}" if line.revoked_at else "in use"
        console.print(f"{line.name} ({line.id}), {state}: {' '.join(line.scopes)}")
        console.print(f"    made {line.created_at:%Y-%m-%d %H:%M} by {escape(line.created_by)}, {used} UTC")


@app.command()
def revoke(name: Annotated[str, typer.Argument(help="Its name or id.")]) -> None:
    """Take a token back: the very next request with it is refused."""
    with _store() as store:
        gone = tokens.revoke(store, keyboard.who(), name)
    console.print(f"Revoked `{gone.name}` ({gone.id}). What it asked for before goes on; cancel that in Slack.")


@contextmanager
def _store() -> Iterator[Store]:
    """The program's own database, and its words for what is wrong."""
    try:
        settings = load()
    except SettingsError as error:
        count = len(error.faults)
        errors.print(f"[red]The environment has {count} fault{'s' if count > 1 else ''}:[/]")
        for fault in error.faults:
            errors.print(f"  {escape(str(fault))}")
        raise typer.Exit(USAGE) from None
    try:
        settings.home.mkdir(parents=True, exist_ok=True, mode=0o700)
        opened = Database(settings.database)
        try:
            if opened.is_sqlite:
                database.upgrade(opened.engine)
            elif not database.is_current(opened.engine):
                errors.print("The database's schema is not this version's: run `locktender db upgrade` first.")
                raise typer.Exit(COULD_NOT_TELL)
            store = Store(opened, signer=signer(settings, settings.infra_repo_url))
            ledger_keys.introduce(store)  # this may be the first row of the record
            yield store
        finally:
            opened.close()
    except Refused as fault:
        errors.print(f"[red]Refused.[/] {escape(plain(f'{fault.what} {fault.next_step}'))}")
        raise typer.Exit(REFUSED) from None
    except KeyFileError as error:
        errors.print(escape(str(error)))
        raise typer.Exit(COULD_NOT_TELL) from None
    except (SQLAlchemyError, OSError) as error:
        errors.print(
            f"[red]The database cannot be used ({type(error).__name__}).[/] Look at DATABASE_URL and its server."
        )
        raise typer.Exit(COULD_NOT_TELL) from None
