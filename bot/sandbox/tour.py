"""`locktender demo --tour`: the whole way without a person, from staging through an approval to a rollback and back."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from rich.console import Console
from rich.rule import Rule
from rich.text import Text

from bot.sandbox.demo import CHANNEL, answer_panel, card_panel
from bot.sandbox.slack_model import AUDITOR, DEVELOPER, ON_CALL, RELEASE_MANAGER, Message, User
from bot.sandbox.world import Running, Sandbox, Speed

PATIENCE = 90.0
"""Seconds that one stop of the tour may take before it counts as failed."""
APP = "my-application"


T = TypeVar("T")


class TourFailedError(RuntimeError):
    """A stop of the tour did not end as it must: a sentence that says which."""


def tour(home: Path, svg: Path | None, *, speed: Speed = Speed(stage=0.2, pod=0.3, poll=0.5)) -> int:  # noqa: B008 - it is frozen
    """Every stop in order: 0 when each ended as it must, 1 otherwise. `svg` gets a picture of what was shown."""
    console = Console(record=svg is not None, width=104, highlight=False)
    with Sandbox(home, speed=speed) as sandbox, sandbox.program() as program:
        try:
            _Tour(console, sandbox, program).run()
            code = 0
        except TourFailedError as error:
            console.print(f"[red]{error}[/] The end of the bot's log:")
            console.print(Text(program.log.read_text(errors="replace")[-3000:]))
            code = 1
    if svg is not None:
        console.save_svg(str(svg), title="Locktender")
    return code


class _Tour:
    """The stops."""

    def __init__(self, console: Console, sandbox: Sandbox, program: Running) -> None:
        self._console = console
        self._sandbox = sandbox
        self._program = program
        self._slack = sandbox.slack.workspace

    def run(self) -> None:
        """Deploy, promote, approve, roll back, hold, unlock, and read the record."""
        for version in ("1.4.1", "1.4.2"):
            self._stop(f"The developer deploys {version} to staging")
            self._type(DEVELOPER, "/deploy", f"{APP} {version}")
            self._card(f"{version} · staging · live")
            self._stop(f"… promotes it to production, and the release manager approves what the card shows ({version})")
            self._type(DEVELOPER, "/promote", f"{APP} staging production --reason weekly release")
            self._click(RELEASE_MANAGER, "Approve")
            self._card(f"{version} · production · live")
        self._stop("Production is broken: on-call rolls back, by the same gate with one approval")
        self._type(ON_CALL, "/rollback", f"{APP} production --reason checkout answers 500")
        self._click(RELEASE_MANAGER, "Approve")
        self._card("1.4.2 → 1.4.1 · production · live")
        self._stop("What was rolled back is on hold: nothing overwrites it until somebody lifts the hold")
        self._type(DEVELOPER, "/promote", f"{APP} staging production --reason try it again")
        self._card("which is held")
        self._type(DEVELOPER, "/deploy", f"why {APP} production")
        self._type(RELEASE_MANAGER, "/deploy", f"unlock {APP} production --reason the cause is mended")
        self._click(RELEASE_MANAGER, "Reject", words="Not on a Friday.")
        self._card("production · rejected")
        self._stop("The auditor reads the record, and git")
        self._type(AUDITOR, "/audit", f"history app:{APP} env:production")
        for line in self._sandbox.log("%h %s (%an)")[:8]:
            self._console.print(Text(line))

    # ------------------------------------------------------------ parts

    def _stop(self, title: str) -> None:
        self._console.print(Rule(title, align="left"))

    def _type(self, user: User, command: str, text: str) -> None:
        self._console.print(Text.assemble((user.real_name.lower(), "bold"), f"  {command} {text}"))
        result = self._slack.command(user, command, text, channel=CHANNEL)
        self._console.print(answer_panel(result.text, f"only {user.real_name}", self._sandbox))
        if not result.acked or result.text.startswith("🚫"):
            raise TourFailedError(f"`{command} {text}` was not taken.")

    def _click(self, user: User, label: str, *, words: str = "") -> None:
        card = self._wait(f"a card with the button {label}", lambda: self._with_button(label))
        self._console.print(card_panel(card, self._sandbox))
        self._console.print(Text.assemble((user.real_name.lower(), "bold"), f"  clicks {label}"))
        self._slack.click(user, card, label)
        if words:
            view = self._wait("a form", lambda: next(iter(self._slack.views(user)), None))
            self._slack.submit_view(user, view, {"text": words})

    def _card(self, said: str) -> None:
        """Wait for a card that says this, and show it."""

        def found() -> Message | None:
            cards = [one for one in self._slack.messages(CHANNEL) if not one.thread_ts]
            return next((one for one in reversed(cards) if said in one.text), None)

        self._console.print(card_panel(self._wait(f"a card that says “{said}”", found), self._sandbox))

    def _with_button(self, label: str) -> Message | None:
        shown = [one for one in self._slack.messages(CHANNEL) if label in {button.text for button in one.buttons}]
        return shown[-1] if shown else None

    def _wait(self, what: str, look: Callable[[], T | None]) -> T:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline and self._program.process.poll() is None:
            found = look()
            if found is not None:
                return found
            time.sleep(0.05)
        raise TourFailedError(f"Waited {PATIENCE:g} seconds in vain for {what}.")
