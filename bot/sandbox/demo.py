"""`locktender demo`: the production program on the stand-ins, with a prompt to type commands and cards to look at."""

import re
import select
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.text import Text

from bot.sandbox.slack_model import AUDITOR, DEVELOPER, RELEASE_MANAGER, CommandResult, Message, User
from bot.sandbox.world import Running, Sandbox, Speed

CHANNEL = "C0DEPLOYMENTS"
PERSONAS = {"developer": DEVELOPER, "release-manager": RELEASE_MANAGER, "auditor": AUDITOR}
TURN = {"✅": "green", "❌": "red", "⚠️": "yellow", "🚫": "red", "🚀": "blue", "⏳": "cyan"}
GOING_ON = {"🚀", "⏳"}
PATIENCE = 90.0
"""Seconds that the scripted deploy may take before it counts as failed."""

WELCOME = """\
You are the developer in #deployments of a company whose Slack, git, Jenkins and Kubernetes are stand-ins on this
machine. The bot is the production program. Try:

  /deploy my-application 1.4.2            to staging, which is where it goes unless you say otherwise
  /deploy my-application 1.4.3-crash      a version that crashes; also 1.4.3-pull and 1.4.3-slow
  /deploy my-application 1.4.22           a version that the registry does not have
  /deploy my-application 1.4.2 dev --dry-run
  /deploy status                          what runs where
  /audit history app:my-application       the record
  /audit open                             the same in your browser, and what runs where
  as release-manager /deploy my-application 1.4.1 dev
                                          speak as developer, release-manager or auditor
  /promote my-application                 what runs in staging, to production: somebody else has to approve it
  as release-manager click Approve        press a button of the latest card that has it; Reject asks for a reason
  /rollback my-application production --reason it is broken
  /deploy lock production 2h --reason an incident
  git log                                 the infra-repo's commits
  help, quit

Cards are shown as they change. You may type on meanwhile: while one version is on its way, ask for another one, see
it wait its turn, and take it back with `click Cancel`, which presses the button of the latest card that has it.
"""


def _as_it_is(sandbox: Sandbox) -> None:
    del sandbox


def scripted(
    home: Path,
    svg: Path | None,
    *,
    prepare: Callable[[Sandbox], None] = _as_it_is,
    speed: Speed = Speed(),  # noqa: B008 - it is frozen
) -> int:
    """One deploy without a person: 0 when it ended live, 1 otherwise. `svg` gets a picture of what was shown.

    `prepare` may change the sandbox before the program starts.
    """
    console = Console(record=svg is not None, width=104, highlight=False)
    with Sandbox(home, speed=speed) as sandbox:
        prepare(sandbox)
        with sandbox.program() as program:
            live = _scripted(console, sandbox, program)
    if svg is not None:
        console.save_svg(str(svg), title="Locktender")
    if not live:
        console.print("[red]The deploy did not end live.[/] The end of the bot's log:")
        console.print(Text(program.log.read_text(errors="replace")[-3000:]))
    return 0 if live else 1


def _scripted(console: Console, sandbox: Sandbox, program: Running) -> bool:
    typed = "my-application 1.4.2 --reason the cart total is right again"
    console.print(Text.assemble(("developer", "bold"), f"  /deploy {typed}"))
    result = sandbox.slack.workspace.command(DEVELOPER, "/deploy", typed, channel=CHANNEL)
    console.print(_shown(result.text, f"only you, {result.seconds * 1000:.0f} ms"))
    if not result.acked:
        return False
    deadline, seen = time.monotonic() + PATIENCE, 0
    while time.monotonic() < deadline and program.process.poll() is None:
        versions = sandbox.slack.workspace.versions(card) if (card := _card(sandbox)) else ()
        for version in versions[seen:]:
            if len(versions) == 1 or version is not versions[0]:
                console.print(card_panel(version, sandbox))
        seen = len(versions)
        if versions and versions[-1].text[:1] in {"✅", "❌", "⚠"}:
            break
        time.sleep(0.05)
    card = _card(sandbox)
    live = card is not None and card.text.startswith("✅")
    if card is not None:
        _settle(sandbox, card)
        for reply in sandbox.slack.workspace.thread(CHANNEL, card.ts)[1:]:
            console.print(card_panel(reply, sandbox, title="in its thread"))
    console.print(Text.assemble(("auditor", "bold"), "  /audit history app:my-application"))
    record = sandbox.slack.workspace.command(AUDITOR, "/audit", "history app:my-application", channel=CHANNEL)
    console.print(_shown(_names(record.text, sandbox), "only you"))
    console.print(Text.assemble(("git log", "bold"), f"  {sandbox.log('%h %s (%an)')[0]}"))
    return live


def interactive(home: Path) -> int:
    """A prompt until `quit` or the end of input."""
    console = Console(highlight=False)
    with console.status("Starting Slack, git, Jenkins, Kubernetes and the bot …"):
        sandbox = Sandbox(home).__enter__()
    try:
        with sandbox.program(more=_served()) as program:
            console.print(Panel(WELCOME, title="Locktender", border_style="blue"))
            channel = Channel(console, sandbox)
            for line in _lines(console, channel):
                _one(console, sandbox, line)
                if program.process.poll() is not None:
                    console.print(f"[red]The bot ended.[/] The end of its log, {program.log}:")
                    console.print(Text(program.log.read_text(errors="replace")[-3000:]))
                    return 1
    except KeyboardInterrupt:
        console.print("Good-bye.")
    finally:
        sandbox.__exit__(None, None, None)
    return 0


def _served() -> dict[str, str]:
    """Where the pages are: on a port that is free now."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    return {"LOCKTENDER_PORT": str(port), "LOCKTENDER_PUBLIC_URL": f"http://127.0.0.1:{port}"}


class Channel:
    """What #deployments shows: every version of every message, once."""

    def __init__(self, console: Console, sandbox: Sandbox) -> None:
        self._console = console
        self._sandbox = sandbox
        self._seen: dict[str, int] = {}

    def show(self) -> bool:
        """Print what is new; True while a card's deployment is under way."""
        going_on = False
        workspace = self._sandbox.slack.workspace
        for message in workspace.messages(CHANNEL):
            versions = workspace.versions(message)
            title = "in a thread" if message.thread_ts else "#deployments"
            for version in versions[self._seen.get(message.ts, 0) :]:
                self._console.print(card_panel(version, self._sandbox, title=title))
            self._seen[message.ts] = len(versions)
            going_on = going_on or message.text[:1] in GOING_ON
        return going_on

    def follow(self) -> None:
        """Show what happens until nothing is under way any more, or the person has typed a line."""
        quiet_at = time.monotonic() + 1.0  # the card of what was just asked for may not be there yet
        while not _typed():
            if self.show():
                quiet_at = time.monotonic() + 1.0
            elif time.monotonic() > quiet_at:
                return
            time.sleep(0.05)


def _typed() -> bool:
    """True when a line waits to be read."""
    return bool(select.select([sys.stdin], [], [], 0)[0])


def _lines(console: Console, channel: Channel) -> Iterator[str]:
    while True:
        channel.follow()
        try:
            line = console.input("" if _typed() else "[bold]>[/] ").strip()
        except EOFError:
            return
        if line in {"quit", "exit"}:
            return
        if line:
            yield line


def _one(console: Console, sandbox: Sandbox, line: str) -> None:
    user = DEVELOPER
    if line.startswith("as "):
        _, name, *rest = line.split(" ", 2)
        if name not in PERSONAS or not rest:
            console.print(f"Speak as one of {', '.join(PERSONAS)}: `as auditor /audit history`.")
            return
        user, line = PERSONAS[name], rest[0]
    if line == "git log":
        for entry in sandbox.log("%h %s (%an)")[:10]:
            console.print(Text(entry))
    elif line == "help":
        console.print(Panel(WELCOME, title="Locktender", border_style="blue"))
    elif line.startswith("click "):
        _click(console, sandbox, user, line.removeprefix("click ").strip())
    elif line.startswith("/"):
        command, _, text = line.partition(" ")
        _command(console, sandbox, user, command, text)
    else:
        console.print("Type a command such as [bold]/deploy help[/], [bold]git log[/], [bold]help[/] or [bold]quit[/].")


def _command(console: Console, sandbox: Sandbox, user: User, command: str, text: str) -> None:
    workspace = sandbox.slack.workspace
    told = len(workspace.ephemerals(user))
    result: CommandResult = workspace.command(user, command, text, channel=CHANNEL)
    if not result.acked:
        console.print(f"[red]Slack: {result.trouble}[/]")
        return
    console.print(_shown(_names(result.text, sandbox), f"only {user.real_name}, {result.seconds * 1000:.0f} ms"))
    for link in re.findall(r"<(http://127\.0\.0\.1:\d+/open\?[^|>]+)\|", result.text):
        console.print(Text(link), soft_wrap=True)  # outside of the panel, whose border would cut it in pieces
    if "Working out" in result.text:
        _await_private(console, sandbox, user, told + 1)


def _await_private(console: Console, sandbox: Sandbox, user: User, told: int) -> None:
    workspace = sandbox.slack.workspace
    try:
        workspace.wait(lambda: len(workspace.ephemerals(user)) > told, 20)
    except TimeoutError:
        console.print("Nothing came within 20 seconds.")
        return
    console.print(_shown(_names(workspace.ephemerals(user)[-1].text, sandbox), f"only {user.real_name}"))


def _click(console: Console, sandbox: Sandbox, user: User, label: str) -> None:
    """Press a button of the latest message that has it."""
    workspace = sandbox.slack.workspace
    shown = (*workspace.messages(CHANNEL), *workspace.ephemerals(user))
    pressable = [one for one in shown if label in {button.text for button in one.buttons}]
    if not pressable:
        console.print(f"Nothing that {user.real_name} sees has a button {label!r} (any more).")
        return
    before = [one.text for one in workspace.ephemerals(user)]
    workspace.click(user, pressable[-1], label)
    views = workspace.views(user)
    if views:
        words = console.input(f"[bold]{views[0].title}[/]: your reason> ").strip()
        refused = workspace.submit_view(user, views[0], {"text": words}).errors
        if refused:
            workspace.close_view(user, views[0])
            console.print(f"[red]Slack: {refused}[/]")
            return
    try:
        workspace.wait(lambda: [one.text for one in workspace.ephemerals(user)] != before, 20)
    except TimeoutError:
        console.print("Nothing came within 20 seconds.")
        return
    console.print(_shown(_names(workspace.ephemerals(user)[-1].text, sandbox), f"only {user.real_name}"))


def _card(sandbox: Sandbox) -> Message | None:
    """The latest card in the channel."""
    cards = [
        one
        for one in sandbox.slack.workspace.messages(CHANNEL)
        if (one.metadata or {}).get("event_type") == "locktender_deployment"
    ]
    return cards[-1] if cards else None


def _settle(sandbox: Sandbox, card: Message) -> None:
    """Give the thread a moment to have its last line."""
    deadline = time.monotonic() + 3
    while len(sandbox.slack.workspace.thread(CHANNEL, card.ts)) < 3 and time.monotonic() < deadline:
        time.sleep(0.05)


def card_panel(message: Message, sandbox: Sandbox, *, title: str = "#deployments") -> RenderableType:
    """A message as the terminal shows it."""
    parts: list[RenderableType] = []
    for block in message.blocks:
        match block.get("type"):
            case "header":
                parts.append(Text(str(block["text"]["text"]), style="bold"))
            case "section":
                parts.append(Text(_names(str(block["text"]["text"]), sandbox)))
            case "context":
                parts.append(
                    Text(_names(" ".join(str(one["text"]) for one in block["elements"]), sandbox), style="dim")
                )
            case "actions":
                labels = "  ".join(f"[ {one['text']['text']} ]" for one in block["elements"])
                parts.append(Text(labels, style="bold red"))
    style = next((colour for mark, colour in TURN.items() if message.text.startswith(mark)), "dim")
    return Panel(Group(*parts), title=title, title_align="left", border_style=style)


def answer_panel(text: str, who: str, sandbox: Sandbox) -> RenderableType:
    """An answer as the terminal shows it."""
    return _shown(_names(text, sandbox), who)


def _shown(text: str, who: str) -> RenderableType:
    return Panel(Text(text), subtitle=who, subtitle_align="left", border_style="dim")


def _names(text: str, sandbox: Sandbox) -> str:
    """Slack's markup as a person sees it."""
    people = {user.id: user.real_name for user in PERSONAS.values()}
    text = re.sub(r"<@([A-Z0-9]+)>", lambda match: "@" + people.get(match[1], match[1]), text)
    text = re.sub(r"<(https?://[^|>]+)\|([^>]+)>", r"\2", text)
    text = text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&").replace("*", "")
    return text.replace(str(sandbox.home), "…")
