"""The command line. Exit codes: 0 done, 1 refused or failed, 2 usage, 3 could not tell."""

import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from bot import cli_backup, cli_evidence, cli_export, cli_token
from bot.cli_audit import app as audit_app
from bot.settings import RecordPlaces, Settings, SettingsError, forget_secrets, load
from storage import database

REFUSED, USAGE, COULD_NOT_TELL = 1, 2, 3

app = typer.Typer(
    name="locktender",
    help="A Slack bot and delivery engine for GitOps.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
database_app = typer.Typer(help="The database's schema.", no_args_is_help=True)
app.add_typer(database_app, name="db")
audit_app.add_typer(cli_export.app)
audit_app.add_typer(cli_evidence.app)
app.add_typer(audit_app, name="audit")
app.add_typer(cli_token.app, name="token")
app.command("backup")(cli_backup.backup)
errors = Console(stderr=True, highlight=False, soft_wrap=True)
console = Console(highlight=False, soft_wrap=True)


@app.command()
def serve() -> None:
    """Run the bot: Slack, deliveries, health and metrics, until SIGTERM."""
    settings = _settings()
    forget_secrets()
    _make_home(settings.home)
    from bot import runtime
    from bot.app import run
    from bot.engine import AlreadyRunningError
    from bot.serving import StartError

    try:
        runtime.serve(run(settings))
    except StartError as error:
        errors.print(f"[red]Locktender cannot start.[/] {escape(str(error))}")
        raise typer.Exit(COULD_NOT_TELL) from None
    except AlreadyRunningError as error:
        errors.print(f"[red]Locktender cannot start:[/] {escape(str(error))}.")
        raise typer.Exit(REFUSED) from None


@app.command()
def demo(
    script: Annotated[
        bool, typer.Option("--script", help="One deploy without a person; fails unless it ends live.")
    ] = False,
    full: Annotated[
        bool,
        typer.Option(
            "--tour", help="Deploy, promote, approve, roll back, without a person; fails unless all end well."
        ),
    ] = False,
    svg: Annotated[Path | None, typer.Option(help="With --script or --tour: save a picture of what was shown.")] = None,
) -> None:
    """Run the bot against stand-ins of Slack, GitHub, Jenkins and Kubernetes on this machine."""
    from bot.sandbox.demo import interactive, scripted
    from bot.sandbox.tour import tour

    with tempfile.TemporaryDirectory(prefix="locktender-demo-") as home:
        run = tour if full else scripted
        code = run(Path(home), svg) if full or script else interactive(Path(home))
    raise typer.Exit(code)


@app.command()
def doctor(
    backup: Annotated[
        Path | None, typer.Option(help="A restore drill of this backup, and nothing else: it needs no settings.")
    ] = None,
) -> None:
    """Look at everything the bot needs, and say what is missing and what is in effect."""
    from bot.doctor import drill, examine

    if backup is not None:
        raise typer.Exit(drill(RecordPlaces.load(), backup, console))
    raise typer.Exit(examine(_settings(), console))


@app.command()
def manifest(
    http: Annotated[str, typer.Option(help="The public https address, for HTTP instead of Socket Mode.")] = "",
    socket: Annotated[bool, typer.Option("--socket", help="Socket Mode, the default.")] = False,
) -> None:
    """Print the Slack app's manifest, to paste at api.slack.com/apps."""
    from bot.slack.manifest import for_http, for_socket_mode

    if http and socket:
        errors.print("Give --socket or --http, not both.")
        raise typer.Exit(USAGE)
    if http and not http.startswith("https://"):
        errors.print("--http takes an https address: Slack sends to nothing else.")
        raise typer.Exit(USAGE)
    print(for_http(http) if http else for_socket_mode(), end="")  # noqa: T201 - the output is the product


@database_app.command()
def upgrade() -> None:
    """Bring the schema to this version's. SQLite needs no call: `serve` does it."""
    settings = _settings()
    _make_home(settings.home)
    engine = database.create(settings.database)
    database.upgrade(engine)
    engine.dispose()
    console.print("The schema is this version's.")


def _make_home(home: Path) -> None:
    """Make the program's own folder, or say why there can be none."""
    try:
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryFile(dir=home):
            return
    except OSError as error:
        errors.print(
            f"[red]Locktender cannot start.[/] Its folder LOCKTENDER_HOME={escape(str(home))} cannot be written: "
            f"{error.strerror or type(error).__name__}. Name a folder that belongs to the user who runs it."
        )
        raise typer.Exit(COULD_NOT_TELL) from None


def _settings() -> Settings:
    try:
        return load()
    except SettingsError as error:
        count = len(error.faults)
        errors.print(f"[red]The environment has {count} fault{'s' if count > 1 else ''}:[/]")
        for fault in error.faults:
            errors.print(f"  {escape(str(fault))}")
        raise typer.Exit(USAGE) from None


def main() -> None:
    """The console script."""
    app()


if __name__ == "__main__":
    main()
