"""Runs git: fixed arguments, an environment of our own, a time limit that ends the whole process group.

This is the only module that imports GitPython, and of it only `Git.execute` with a list of words: its dynamic
methods (`repo.git.fetch(text)`) turn text into options, and its object readers keep helper processes alive.
Needs git 2.31 or later (`GIT_CONFIG_COUNT`).
"""

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from git.cmd import Git

from bot.integrations.git.access import Access
from commands.reasons import ReasonCode, Retry

# A shared ssh connection (ControlMaster) would outlive its command and keep the mirror's lock, which it inherits.
_SSH = (
    "ssh -oBatchMode=yes -oConnectTimeout=10 -oServerAliveInterval=5 -oServerAliveCountMax=3"
    " -oControlMaster=no -oControlPath=none"
)


TEMPORARY = "locktender-"
"""What our own temporary folders in a mirror are called, so that they can be swept away after a kill."""


class MirrorBrokenError(Exception):
    """The local mirror cannot be used as it is: build it anew, then do the same again."""


@dataclass(frozen=True)
class Finished:
    """What a git process left behind. `stderr` is redacted."""

    status: int
    stdout: bytes
    stderr: str

    def local(self) -> bytes:
        """Its output, when it only touched the mirror: a failure then means that the mirror is broken."""
        if self.status != 0:
            raise MirrorBrokenError(self.stderr)
        return self.stdout


class Conversation:
    """A git process that is asked and answers line by line, for the length of one operation."""

    def __init__(self, process: "subprocess.Popen[bytes]", seconds: float) -> None:
        if process.stdin is None or process.stdout is None:  # pragma: no cover - opened with pipes
            raise ValueError("the process has no pipes")
        self._process = process
        self._input: IO[bytes] = process.stdin
        self._output: IO[bytes] = process.stdout
        self._watchdog = threading.Timer(seconds, _kill, [process])
        self._watchdog.daemon = True
        self._watchdog.start()

    def say(self, data: bytes) -> None:
        """Send, now."""
        try:
            self._input.write(data)
            self._input.flush()
        except OSError as error:
            raise MirrorBrokenError("git ended while it was asked") from error

    def line(self) -> bytes:
        """One line of its answer, without the line break."""
        line = self._output.readline()
        if not line.endswith(b"\n"):
            raise MirrorBrokenError("git ended while it answered")
        return line[:-1]

    def take(self, size: int) -> bytes:
        """Exactly this many bytes of its answer."""
        data = self._output.read(size)
        if len(data) != size:
            raise MirrorBrokenError("git ended while it answered")
        return data

    def close(self) -> None:
        """End it. What it had left to say is lost."""
        self._watchdog.cancel()
        with contextlib.suppress(OSError):
            self._input.close()
        _kill(self._process)
        self._output.close()
        if self._process.stderr is not None:
            self._process.stderr.close()
        self._process.wait()


class GitCommands:
    """Git on one bare repository. `home` is an empty folder of ours, so that nobody's dotfiles are read."""

    def __init__(self, git_dir: Path, home: Path, access: Access, *, timeout: float) -> None:
        self.git_dir = git_dir
        self.timeout = timeout
        self._access = access
        self._settings = _settings(git_dir, access, timeout)
        self._environment = _environment(git_dir, home)
        self._git = Git(str(home))

    def run(
        self,
        *words: str,
        stdin: bytes = b"",
        environment: Mapping[str, str] | None = None,
        keep: tuple[int, ...] = (),
    ) -> Finished:
        """Run to the end on the mirror alone. Retry (REPO_UNREACHABLE) when it takes longer than the time limit.

        `keep` are descriptors that the process holds open as long as it lives, even when we are killed.
        """
        return self._finish(self._start(words, self._variables(environment or {}), keep), words, stdin)

    def call(self, *words: str, keep: tuple[int, ...] = ()) -> Finished:
        """Run to the end something that talks to the server: as `run`, and it alone is given our credentials."""
        authorization = self._access.authorization()
        header = [(f"http.{self._access.origin}/.extraHeader", f"Authorization: {authorization}")]
        return self._finish(self._start(words, self._variables({}, header if authorization else []), keep), words, b"")

    def _finish(self, process: "subprocess.Popen[bytes]", words: tuple[str, ...], stdin: bytes) -> Finished:
        try:
            stdout, stderr = process.communicate(stdin, timeout=self.timeout)
        except subprocess.TimeoutExpired as error:
            _kill(process)
            process.communicate()
            raise Retry(
                ReasonCode.REPO_UNREACHABLE,
                f"The infra-repo did not answer `git {words[0]}` within {self.timeout:g} seconds.",
                "Wait: it is tried again. If it goes on, look whether the git server is up.",
            ) from error
        except BaseException:
            _kill(process)
            process.communicate()
            raise
        return Finished(process.returncode, stdout, self._access.redact(stderr.decode("utf-8", "replace")))

    @contextlib.contextmanager
    def talk(self, *words: str) -> Iterator[Conversation]:
        """Run a process that is asked and answers; it ends with the block."""
        conversation = Conversation(self._start(words, self._variables({}), ()), self.timeout)
        try:
            yield conversation
        finally:
            conversation.close()

    def _variables(self, more: Mapping[str, str], settings: Sequence[tuple[str, str]] = ()) -> Mapping[str, str]:
        """Our environment for git. Settings travel in it too: command lines and files can be read by others."""
        variables = {**self._environment, **more}
        every = [*self._settings, *settings]
        variables["GIT_CONFIG_COUNT"] = str(len(every))
        for number, (key, value) in enumerate(every):
            variables[f"GIT_CONFIG_KEY_{number}"] = key
            variables[f"GIT_CONFIG_VALUE_{number}"] = value
        return variables

    def _start(
        self, words: tuple[str, ...], variables: Mapping[str, str], keep: tuple[int, ...]
    ) -> "subprocess.Popen[bytes]":
        # GitPython always hands down our own environment. Foreign GIT_ variables (GIT_EXTERNAL_DIFF, GIT_PROXY_COMMAND,
        # a hook's GIT_QUARANTINE_PATH) change what git does, so they are taken away, at the price of one exec.
        foreign = sorted(name for name in os.environ if _is_foreign(name) and name not in variables)
        prefix = [part for name in foreign for part in ("-u", name)]
        command = [*(["env", *prefix] if prefix else []), "git", *words]
        started = self._git.execute(
            command,
            istream=subprocess.PIPE,
            as_process=True,
            env=dict(variables),
            start_new_session=True,
            pass_fds=keep,
        )
        process = started.proc
        if process is None:  # pragma: no cover - set until it is ended
            raise MirrorBrokenError("git did not start")
        started.proc = None  # its owner is whoever called: GitPython would only end the first process of the group
        return process


def _is_foreign(name: str) -> bool:
    return name.startswith("GIT_") and not name.startswith("GIT_PYTHON_")


def _kill(process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def _settings(git_dir: Path, access: Access, timeout: float) -> Sequence[tuple[str, str]]:
    return [
        ("core.hooksPath", os.devnull),
        ("core.fsmonitor", "false"),
        ("core.askPass", ""),
        ("core.logAllRefUpdates", "false"),
        # The mirror is a cache: what a power cut damages is fetched again, so no write waits for the disk.
        ("core.fsync", "none"),
        ("credential.helper", ""),
        ("gc.auto", "0"),  # `Mirror.tidy` does it, in the foreground and under the lock
        ("maintenance.auto", "false"),
        ("fetch.writeCommitGraph", "false"),
        ("pack.threads", "1"),
        ("push.followTags", "false"),
        ("push.gpgSign", "false"),
        ("push.recurseSubmodules", "no"),
        ("submodule.recurse", "false"),
        ("safe.directory", str(git_dir)),
        # A redirect would take the token along, and a moved repository is news that a person should hear.
        ("http.followRedirects", "false"),
        ("http.lowSpeedLimit", "1"),
        ("http.lowSpeedTime", str(max(1, round(timeout)))),
        ("remote.origin.url", access.address),
        ("remote.origin.fetch", "+refs/heads/*:refs/remotes/origin/*"),
    ]


def _environment(git_dir: Path, home: Path) -> Mapping[str, str]:
    return {
        "GIT_DIR": str(git_dir),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_SYSTEM": os.devnull,
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "",
        "SSH_ASKPASS": "",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_LITERAL_PATHSPECS": "1",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_ALLOW_PROTOCOL": "http:https:ssh:file",
        "GIT_SSH_COMMAND": _SSH,
        "GIT_SSH_VARIANT": "ssh",
        "GIT_DEFAULT_HASH": "sha1",
        "GIT_DEFAULT_REF_FORMAT": "files",
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home),
    }
