"""The whole outside on loopback: Slack, a git server, Jenkins with its CD job, Kubernetes and a registry, put together.

    with Sandbox(home) as sandbox, sandbox.program() as program:
        sandbox.slack.workspace.command(DEVELOPER, "/deploy", "my-application 1.4.2")

The program is the production one, in a process of its own, and knows nothing but its environment.
"""

import contextlib
import io
import os
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import httpx

from bot.integrations.kustomize.command import find_command
from bot.sandbox.cluster import Cluster, of_stand_in
from bot.sandbox.git_http import GitServer
from bot.sandbox.github import GitHub
from bot.sandbox.infra_example import create_example
from bot.sandbox.jenkins import JenkinsServer
from bot.sandbox.jenkins_engine import Pace
from bot.sandbox.jenkins_model import BuildContext, Job, Result, StageFailed
from bot.sandbox.kubernetes import KubernetesServer
from bot.sandbox.kubernetes_apply import ApplyFailed, Conflicts, apply_manifests
from bot.sandbox.registry import SandboxRegistry
from bot.sandbox.server import Faults, Server
from bot.sandbox.slack import SlackServer

REPOSITORY = "company/infra"
GIT_TOKEN = "sandbox-git-token"
IMAGE = "registry.company.com/my-application"
VERSIONS = ("1.4.0", "1.4.1", "1.4.2", "1.4.3", "1.4.3-crash", "1.4.3-pull", "1.4.3-slow", "1.10", "1.10.0")

START_PATIENCE = 120.0
"""Seconds for the program to start: a busy machine takes long to read it."""

_SOMEBODY = {"NAME": "Platform engineer", "EMAIL": "platform@company.example"}


@dataclass(frozen=True)
class Speed:
    """How fast the stand-ins are, in seconds where no unit is named: the defaults suit a person who watches."""

    stage: float = 0.6
    pod: float = 1.2
    poll: float = 1.0
    executors: int = 4  # builds that run at once


class Process(Protocol):
    """The program's process, as `subprocess.Popen` has it."""

    @property
    def pid(self) -> int:
        """Its number."""

    @property
    def returncode(self) -> int | None:
        """The exit code once it was waited for, negative for a signal; None before."""

    def poll(self) -> int | None:
        """The exit code, or None while it runs."""

    def send_signal(self, number: int, /) -> None:
        """Send it a signal."""

    def terminate(self) -> None:
        """SIGTERM."""

    def kill(self) -> None:
        """SIGKILL."""

    def wait(self, timeout: float | None = None) -> int:
        """The exit code when it has ended; subprocess.TimeoutExpired after so many seconds."""


Launch = Callable[[Mapping[str, str], Path], Process]
"""Starts the program with an environment, and has it write to a log."""

FAST = Speed(stage=0.02, pod=0.1, poll=0.5)


class Sandbox:
    """Every stand-in, wired. `home` gets the repositories and the program's own folder.

    `create` writes the infra-repo; what it says of the `applied` environments runs in the cluster from the start.
    With a `cluster`, that one is used as it is and the Kubernetes stand-in is not started.
    """

    def __init__(
        self,
        home: Path,
        *,
        speed: Speed = Speed(),
        create: Callable[[Path], object] = create_example,
        applied: tuple[str, ...] = ("dev", "staging", "production"),
        cluster: Cluster | None = None,
    ) -> None:
        self.home = home
        self.speed = speed
        self._applied = applied
        self._given = cluster
        self.slack = SlackServer()
        self.git_faults = Faults()
        self.git = GitServer(home / "git", GIT_TOKEN)
        self.kubernetes = KubernetesServer(pod_seconds=speed.pod)
        self.job = Job("infra-deploy", run=self._deploy, stage_seconds=speed.stage)
        self.jenkins = JenkinsServer(self.job, pace=Pace(executors=speed.executors))
        self.registry = SandboxRegistry()
        self.repository = self.git.create(REPOSITORY)
        create(self.repository)
        self.github = GitHub(self.git, REPOSITORY, GIT_TOKEN)
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        stack = self._stack
        stack.enter_context(self.slack)
        stack.enter_context(self.jenkins)
        self.git_url = stack.enter_context(Server(self.git_faults.wrap(self.git))).url
        stack.enter_context(self.github)
        self.github_url = stack.enter_context(Server(self.github.app)).url
        self.jenkins_url = stack.enter_context(Server(self.jenkins.app)).url
        self.cluster = self._given or self._serve_stand_in()
        self.registry_url = stack.enter_context(Server(self.registry.app)).url
        self.connect_registry()
        for version in VERSIONS:
            self.registry.push("my-application", version)
        for environment in self._applied:
            self.apply("main", environment, manager="setup")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stack.close()

    def _serve_stand_in(self) -> Cluster:
        self._stack.enter_context(self.kubernetes)
        url = self._stack.enter_context(Server(self.kubernetes.app)).url
        for environment in ("dev", "staging", "production"):
            self.kubernetes.add_namespace(environment)
        return of_stand_in(self.kubernetes, url, self.home)

    def connect_registry(self) -> None:
        """Have locktender.yaml name the registry, so that versions are checked and digests pinned."""
        self.commit(
            "locktender.yaml",
            f"{self.read('locktender.yaml')}registries: {{registry.company.com: {{url: '{self.registry_url}'}}}}\n",
            "Ask the registry which versions there are",
        )

    # ------------------------------------------------------------ the program

    def environment(self) -> dict[str, str]:
        """What the program is told: addresses and tokens, nothing of this process's own environment but the paths."""
        app = self.slack.app
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(self.home),
            "LANG": "C.UTF-8",
            "SLACK_BOT_TOKEN": app.bot_token,
            "SLACK_APP_TOKEN": app.app_token,
            "SLACK_API_URL": self.slack.api_url,
            "INFRA_REPO_URL": f"{self.git_url}/{REPOSITORY}.git",
            "GITHUB_REPOSITORY": REPOSITORY,
            "GITHUB_API_URL": self.github_url,
            "GITHUB_TOKEN": GIT_TOKEN,
            "JENKINS_URL": self.jenkins_url,
            "JENKINS_USER": self.jenkins.login.user,
            "JENKINS_TOKEN": self.jenkins.login.token,
            "KUBECONFIG": str(self.cluster.kubeconfig),
            "LOCKTENDER_HOME": str(self.home / "var"),
            "LOCKTENDER_PORT": "0",
            "LOCKTENDER_POLL_SECONDS": str(self.speed.poll),
            "LOCKTENDER_GATE_POLL_SECONDS": str(self.speed.poll),
        }

    @contextlib.contextmanager
    def program(self, command: tuple[str, ...] = (), *, more: Mapping[str, str] | None = None) -> Iterator["Running"]:
        """`locktender serve` in its own process, connected to Slack; stopped at the end."""
        running = self.start_program(command, more=more)
        try:
            yield running
        finally:
            running.stop()

    def start_program(
        self, command: tuple[str, ...] = (), *, more: Mapping[str, str] | None = None, launch: Launch | None = None
    ) -> "Running":
        """Start the program, by `launch` if that is given, and wait until Slack has a connection to it."""
        words = command or (sys.executable, "-m", "bot.cli", "serve")
        log = self.home / "locktender.log"
        deadline = time.monotonic() + 5
        while self.slack.hub.connections and time.monotonic() < deadline:
            time.sleep(0.01)  # the last one's connection is not the new one's
        environment = self.environment() | dict(more or {})
        running = Running(launch(environment, log) if launch else _open(words, environment, log), log)
        try:
            running.wait_until(lambda: self.slack.hub.connections, START_PATIENCE)
        except BaseException:
            running.kill()
            raise
        return running

    # ------------------------------------------------------------ the CD job

    def _deploy(self, context: BuildContext) -> Result:
        """What the company's Jenkinsfile does: check out, render, apply, look."""
        commit, environment = context.parameters["GIT_COMMIT"], context.parameters["ENVIRONMENT"]
        with context.stage("Checkout"):
            context.log(f"+ git checkout {commit}")
        with context.stage("Validate"):
            text = self.render(commit, environment)
            context.log(f"+ kubectl kustomize environments/{environment}")
        with context.stage("Apply"):
            if context.parameters["DRY_RUN"] == "true":
                context.log("dry run: nothing is applied")
                return Result.SUCCESS
            for line in self._apply(text, environment, "jenkins"):
                context.log(line)
        with context.stage("Verify"):
            context.log("applied")
        return Result.SUCCESS

    def apply(self, revision: str, environment: str, *, manager: str) -> None:
        """Apply what a revision says of an environment, as somebody with kubectl would. StageFailed when refused."""
        self._apply(self.render(revision, environment), environment, manager)

    def _apply(self, text: str, environment: str, manager: str) -> list[str]:
        try:
            applied = apply_manifests(
                self.cluster.admin, text, manager, namespace=environment, conflicts=Conflicts.TAKE_OVER
            )
        except (ApplyFailed, httpx.HTTPError) as error:
            raise StageFailed(str(error)) from error
        return [str(one) for one in applied]

    def render(self, revision: str, environment: str) -> str:
        """What kustomize makes of an environment at a revision. StageFailed with its words when it cannot."""
        with tempfile.TemporaryDirectory() as folder:
            archive = subprocess.run(
                ["git", f"--git-dir={self.repository}", "archive", "--format=tar", revision],
                check=True,
                capture_output=True,
            ).stdout
            with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
                tar.extractall(folder, filter="data")
            overlays = [Path(folder, "environments", environment)]
            if not overlays[0].is_dir():
                overlays = sorted(Path(folder).glob(f"apps/*/overlays/{environment}"))
            texts = []
            for overlay in overlays:
                built = subprocess.run([*_kustomize(), str(overlay)], capture_output=True, text=True, check=False)
                if built.returncode != 0:
                    raise StageFailed(built.stderr.strip())
                texts.append(built.stdout)
            return "\n---\n".join(texts)

    # ------------------------------------------------------------ what is where

    def read(self, path: str, revision: str = "main") -> str:
        """A file's text."""
        return self._git("show", f"{revision}:{path}")

    def commit(self, path: str, text: str, subject: str, *, mode: str = "100644") -> str:
        """Somebody else's commit on the branch, pushed past the bot; returns its id.

        `mode` is git's: with 120000 the text is where a symbolic link points to.
        """
        with tempfile.TemporaryDirectory() as folder:
            index = {"GIT_INDEX_FILE": f"{folder}/index"}
            head = self._git("rev-parse", "main").strip()
            blob = self._git("hash-object", "-w", "--stdin", stdin=text).strip()
            self._git("read-tree", head, more=index)
            self._git("update-index", "--add", "--cacheinfo", f"{mode},{blob},{path}", more=index)
            tree = self._git("write-tree", more=index).strip()
        who = {f"GIT_{role}_{key}": value for role in ("AUTHOR", "COMMITTER") for key, value in _SOMEBODY.items()}
        made = self._git("commit-tree", tree, "-p", head, "-m", subject, more=who).strip()
        self._git("update-ref", "refs/heads/main", made, head)
        return made

    def _git(self, *words: str, stdin: str = "", more: Mapping[str, str] | None = None) -> str:
        answer = subprocess.run(
            ["git", f"--git-dir={self.repository}", *words],
            input=stdin,
            env=dict(os.environ) | dict(more or {}),
            check=True,
            capture_output=True,
            text=True,
        )
        return answer.stdout

    def commits(self) -> list[str]:
        """The subjects of the branch's commits, newest first."""
        return self.log("%s")

    def log(self, form: str) -> list[str]:
        """The branch's commits, newest first, in one of git's formats."""
        return self._git("log", "-z", f"--format={form}", "main").rstrip("\0").split("\0")


@dataclass
class Running:
    """The program's process."""

    process: Process
    log: Path

    def wait_until(self, condition: Callable[[], object], seconds: float) -> None:
        """Wait for something; TimeoutError, or RuntimeError with the log's end when the program died meanwhile."""
        deadline = time.monotonic() + seconds
        while not condition():
            if self.process.poll() is not None:
                tail = self.log.read_text(errors="replace")[-2000:]
                raise RuntimeError(f"the program ended with {self.process.returncode}:\n{tail}")
            if time.monotonic() > deadline:
                raise TimeoutError(f"waited {seconds} s in vain; the log ends:\n{self.log.read_text()[-2000:]}")
            time.sleep(0.05)

    def kill(self) -> None:
        """End it at once, as `kill -9` does."""
        self.process.kill()
        self.process.wait(timeout=10)

    def stop(self) -> int:
        """SIGTERM, and its exit code."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                self.kill()
        return self.process.wait(timeout=0)


@cache
def _kustomize() -> tuple[str, ...]:
    """Looked for once: to find it costs as much as to build an overlay with it."""
    return find_command()


def _open(words: tuple[str, ...], environment: Mapping[str, str], log: Path) -> Process:
    with log.open("ab") as logs:
        return subprocess.Popen(words, env=environment, stdout=logs, stderr=logs, stdin=subprocess.DEVNULL)
