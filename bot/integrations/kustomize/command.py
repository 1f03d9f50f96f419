"""Which program renders, and how it is run behind a fence."""

import json
import os
import re
import resource
import selectors
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from commands.reasons import ReasonCode, Refused

_OLDEST = (5, 0)  # older ones do not know `labels` and other keys of files that are written today
_CHUNK = 64 * 1024
_MOST_STDERR = 256 * 1024
_OUT_OF_MEMORY = re.compile(
    rb"out of memory|cannot allocate memory|failed to reserve|failed to allocate", re.IGNORECASE
)


class Stopped(StrEnum):
    """Why a program was not let finish."""

    TIME = "time"
    MEMORY = "memory"
    OUTPUT = "output"


@dataclass(frozen=True)
class Fence:
    """What a build may use: wall-clock seconds, bytes of address space, bytes of output.

    A Go program reserves about 0.7 GiB of address space before it does anything (kubectl 1.37 dies below that), so the
    address space that is allowed must be well above what a build may really use: of 2 GiB it gets 0.7 for its heap.
    """

    seconds: float = 20.0
    memory: int = 2 * 1024**3
    output: int = 32 * 1024**2


@dataclass(frozen=True)
class Finished:
    """How the program ended. `stopped` is set when it ran into the fence."""

    code: int
    stdout: bytes
    stderr: bytes
    stopped: Stopped | None


def find_command() -> tuple[str, ...]:
    """The program that builds an overlay, to be followed by the folder: standalone kustomize, else kubectl's.

    Looks beside the running Python first: that is where a virtual environment has the kubectl that was installed with
    this program, while PATH may hold one that is years old. Refused (NOT_CONFIGURED) when neither is new enough.
    """
    beside = str(Path(sys.executable).parent)
    places = os.pathsep.join([beside, os.environ.get("PATH", os.defpath)])
    for name, build in (("kustomize", ("build",)), ("kubectl", ("kustomize",))):
        for place in places.split(os.pathsep):
            program = shutil.which(name, path=place)
            if program and _version(program) >= _OLDEST:
                return (program, *build)
    raise Refused(
        ReasonCode.NOT_CONFIGURED,
        "There is no kustomize 5 or kubectl 1.27 (or newer) on this machine, so overlays cannot be rendered.",
        "Install `locktender[kubectl]`, or put kustomize on the PATH.",
    )


def _version(program: str) -> tuple[int, ...]:
    """The version of kustomize in the program; (0,) when it does not say."""
    standalone = Path(program).name.startswith("kustomize")
    arguments = ["version"] if standalone else ["version", "--client", "-o", "json"]
    try:
        told = subprocess.run([program, *arguments], capture_output=True, timeout=20, check=False, env=environment("/"))
        text = told.stdout.decode(errors="replace")
        if not standalone:
            text = str(json.loads(text).get("kustomizeVersion", ""))
    except (OSError, subprocess.TimeoutExpired, ValueError, AttributeError):
        return (0,)
    found = re.search(r"v?(\d+)\.(\d+)\.(\d+)", text)
    return tuple(int(part) for part in found.groups()) if found else (0,)


def environment(home: str, *, memory: int = Fence.memory) -> Mapping[str, str]:
    """All that the program gets to know: no tokens, no kubeconfig, no PATH on which it could find git, helm or plugins.

    The proxies lead nowhere. They are a second lock on a door that `references` has closed: nothing remote gets here.
    """
    nowhere = "http://127.0.0.1:9"
    return {
        "HOME": home,
        "TMPDIR": home,
        "PATH": "/nonexistent",
        "KUBECONFIG": "/nonexistent",
        "KUBECTL_KUBERC": "false",
        "HTTP_PROXY": nowhere,
        "HTTPS_PROXY": nowhere,
        "GOGC": "400",  # a small build is over before collecting garbage pays: a fifth less time
        "GOMEMLIMIT": str(memory // 3),  # collect in earnest before the address space runs out
        "GOTRACEBACK": "none",
    }


def run(command: tuple[str, ...], folder: Path, fence: Fence) -> Finished:
    """Run the command in the folder until it ends or meets the fence; then it and all its children are gone.

    The limits are set from here with prlimit(2) right after the start. A `preexec_fn` would run Python between fork and
    exec, which can deadlock in a program with threads, and a shell with `ulimit` would need a shell in the image. The
    moment before they hold is too short for a program to have read its first file.
    """
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=environment(str(folder), memory=fence.memory),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        _limit(process.pid, fence)
        stdout, stderr, stopped = _read(process, time.monotonic() + fence.seconds, fence.output)
        if stopped is None:
            try:
                process.wait(timeout=1)
            except subprocess.TimeoutExpired:  # closed its output and stays: it has nothing more to say
                stopped = Stopped.TIME
    finally:
        _kill(process)
    killed = process.returncode == -signal.SIGKILL  # not by us: the container's own memory limit did it
    if stopped is None and (killed or (process.returncode != 0 and _OUT_OF_MEMORY.search(stderr))):
        stopped = Stopped.MEMORY
    return Finished(process.returncode, stdout, stderr, stopped)


def _limit(pid: int, fence: Fence) -> None:
    if sys.platform != "linux":  # pragma: no cover - elsewhere GOMEMLIMIT and the clock are all there is
        return
    # Processor seconds count all threads. They end a build whose parent was killed and watches no clock any more.
    processor = int(fence.seconds * (os.cpu_count() or 1)) + 1
    for what, most in ((resource.RLIMIT_AS, fence.memory), (resource.RLIMIT_CPU, processor), (resource.RLIMIT_CORE, 0)):
        try:
            resource.prlimit(pid, what, (most, most))
        except ProcessLookupError:  # it is done already
            return
        except (PermissionError, ValueError):  # a lower limit holds for this whole program: that one will do
            continue


def _read(process: subprocess.Popen[bytes], deadline: float, most: int) -> tuple[bytes, bytes, Stopped | None]:
    """Both outputs up to their ends, read side by side so that neither pipe can fill up and block."""
    assert process.stdout is not None  # noqa: S101 - both are pipes
    assert process.stderr is not None  # noqa: S101
    stdout, stderr = bytearray(), bytearray()
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ, stdout)
        selector.register(process.stderr, selectors.EVENT_READ, stderr)
        while selector.get_map():
            ready = selector.select(max(0.0, deadline - time.monotonic()))
            if not ready and time.monotonic() >= deadline:
                return bytes(stdout), bytes(stderr), Stopped.TIME
            for key, _ in ready:
                chunk = os.read(key.fd, _CHUNK)
                if not chunk:
                    selector.unregister(key.fileobj)
                elif key.data is stdout or len(stderr) < _MOST_STDERR:
                    key.data.extend(chunk)
            if len(stdout) > most:
                return b"", bytes(stderr), Stopped.OUTPUT
    return bytes(stdout), bytes(stderr), None


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End the whole process group, then collect the process and its pipes."""
    if process.poll() is None:  # once it is collected its number may belong to somebody else
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    for pipe in (process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()
