"""From a typed command to its commit on the remote, through the whole program: ack, claim, check, render, push.

On the repository of `benchmarks.push` (500 apps, 2,000 commits), against what a script would do: the git CLI in a fresh
shallow clone, over the same server, in the same run. Run alone: `python -m benchmarks delivery`.
"""

import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from benchmarks.table import Row
from bot.sandbox.infra_example import create_monorepo
from bot.sandbox.slack_model import DEVELOPER
from bot.sandbox.world import GIT_TOKEN, REPOSITORY, Sandbox, Speed

ROUNDS = 15
CLONES = 5


class _BigSandbox(Sandbox):
    """The big repository; nothing is deployed to the cluster beforehand, and no registry is asked."""

    def __init__(self, home: Path) -> None:
        speed = Speed(stage=60, pod=1, poll=5, executors=2)
        super().__init__(home, speed=speed, create=lambda bare: create_monorepo(bare, 500, 2000), applied=())

    def connect_registry(self) -> None:
        """Not asked."""


def rows() -> list[Row]:
    """Ours and the clone's, turn by turn."""
    ours: list[float] = []
    clones: list[float] = []
    with (
        tempfile.TemporaryDirectory(prefix="locktender-bench-") as folder,
        _BigSandbox(Path(folder)) as sandbox,
        sandbox.program(),
    ):
        time.sleep(3)
        for number in range(ROUNDS):
            ours.append(_deploy(sandbox, number))
            if number < CLONES:
                clones.append(_clone(sandbox, number))
    milliseconds, baseline = statistics.median(ours[1:]) * 1000, statistics.median(clones) * 1000
    what = "typed command to commit on the remote"
    return [Row(what, milliseconds, "ms", 0.3, "git CLI in a fresh shallow clone", baseline)]


def _deploy(sandbox: Sandbox, number: int) -> float:
    version = f"9.0.{number}"
    began = time.perf_counter()
    sandbox.slack.workspace.command(
        DEVELOPER, "/deploy", f"app-{number:04d} {version} staging", channel="C0DEPLOYMENTS"
    )
    subject = f"Deploy app-{number:04d} {version} to staging"
    ref = sandbox.repository / "refs" / "heads" / "main"
    before, deadline = "", time.monotonic() + 30
    while time.monotonic() < deadline:
        now = ref.read_text() if ref.exists() else ""
        if now != before:
            took = time.perf_counter() - began
            if sandbox.commits()[0] == subject:
                return took
            before = now
        time.sleep(0.001)
    raise TimeoutError(f"{subject} was not committed")


def _clone(sandbox: Sandbox, number: int) -> float:
    """What a script does: clone, edit, commit, push."""
    url = f"{sandbox.git_url}/{REPOSITORY}.git".replace("http://", f"http://bot:{GIT_TOKEN}@")
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()

        def git(*words: str) -> None:
            subprocess.run(["git", *words], check=True, capture_output=True)

        git("clone", "--quiet", "--depth=1", "--branch=main", url, folder)
        overlay = Path(folder, "apps", f"app-{400 + number:04d}", "overlays", "staging", "kustomization.yaml")
        overlay.write_text(overlay.read_text() + f"# {number}\n")
        git("-C", folder, "-c", "user.name=Script", "-c", "user.email=script@localhost", "commit", "-qam", "Bump")
        git("-C", folder, "push", "--quiet", "origin", "HEAD:main")
        return time.perf_counter() - began
