"""What the Jenkins stand-in knows: jobs, what waits, builds, and what a job's own code may call."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum


class Result(StrEnum):
    """How a build ended, in Jenkins' words and in Jenkins' order: the later, the worse."""

    SUCCESS = "SUCCESS"
    UNSTABLE = "UNSTABLE"
    FAILURE = "FAILURE"
    NOT_BUILT = "NOT_BUILT"
    ABORTED = "ABORTED"


class StageStatus(StrEnum):
    """How a stage stands, in the words of the pipeline stage view."""

    IN_PROGRESS = "IN_PROGRESS"
    PAUSED = "PAUSED_PENDING_INPUT"
    SUCCESS = "SUCCESS"
    FAILED = "FAILED"
    ABORTED = "ABORTED"


class StageFailed(Exception):  # noqa: N818 - named for what happened in the job, not for a fault of the program
    """Raised by a job's code to fail the build with one line in the console."""


class Stopped(Exception):  # noqa: N818 - as above
    """Raised in a job's code when somebody stopped the build. Let it pass."""


@dataclass(frozen=True)
class Parameter:
    """A parameter that a job declares: a text, or a choice when `choices` are given (its default is the first)."""

    name: str
    choices: tuple[str, ...] = ()
    default: str = ""


DEPLOY_PARAMETERS = (
    Parameter("ENVIRONMENT"),
    Parameter("GIT_COMMIT"),
    Parameter("DEPLOYMENT_ID"),
    Parameter("DRY_RUN", choices=("false", "true")),
)


def walk_stages(context: "BuildContext") -> Result:
    """What a job does that was given no code: it passes through its stages."""
    for name in context.job.stages:
        with context.stage(name):
            context.log(f"{name} {context.parameters.get('ENVIRONMENT', '')}".rstrip())
    return context.job.result


@dataclass
class Job:
    """A job; `run` is what its builds do. The rest may be changed at any time, as people do in Jenkins.

    `parameters=None` is a job that is not parameterized. `stage_seconds` is spent in each stage, `fails_at` names the
    stage that fails: both act inside `BuildContext.stage`, so they also spoil jobs with code of their own.
    """

    name: str  # the full name, folders with `/`
    parameters: tuple[Parameter, ...] | None = DEPLOY_PARAMETERS
    stages: tuple[str, ...] = ("Checkout", "Validate", "Apply", "Verify")
    run: "Callable[[BuildContext], Result]" = walk_stages
    result: Result = Result.SUCCESS  # what the default `run` returns when no stage failed
    pipeline: bool = True  # False: a freestyle job, which has no stage view
    concurrent: bool = True
    disabled: bool = False
    refuses_queue: bool = False  # as when a plugin vetoes: 302 instead of 201
    quiet_period: float | None = None  # seconds; None is the server's
    stage_seconds: float = 0.0
    fails_at: str = ""


@dataclass
class QueueItem:
    """A request to build. `left_at` is set when it left the queue: started or cancelled."""

    id: int
    job: Job
    parameters: Mapping[str, str]
    user: str
    queued_at: float  # seconds since 1970
    due: float
    cancelled: bool = False
    left_at: float | None = None
    number: int | None = None  # of the build that it became


@dataclass
class StageRecord:
    """A stage of a build as it went."""

    name: str
    started: float
    status: StageStatus = StageStatus.IN_PROGRESS
    seconds: float = 0.0


@dataclass
class BuildRecord:
    """A build. `result` is None until it has ended, or was marked with one on the way."""

    number: int
    queue_id: int
    job: Job
    parameters: Mapping[str, str]
    user: str
    started: float
    result: Result | None = None
    seconds: float = 0.0
    stages: list[StageRecord] = field(default_factory=list)
    console: bytearray = field(default_factory=bytearray)
    stop: threading.Event = field(default_factory=threading.Event)
    ended: threading.Event = field(default_factory=threading.Event)

    @property
    def building(self) -> bool:
        """True until it has ended."""
        return not self.ended.is_set()


class BuildContext:
    """What a job's code gets: its parameters, stages, a console, and word of being stopped."""

    def __init__(self, build: BuildRecord) -> None:
        self._build = build
        self.job = build.job
        self.number = build.number
        self.parameters = build.parameters

    @property
    def aborted(self) -> bool:
        """True when somebody stopped the build: end soon, or call `wait`, which raises `Stopped`."""
        return self._build.stop.is_set()

    def log(self, line: str) -> None:
        """Write a line to the console."""
        self._build.console += line.encode() + b"\n"

    def wait(self, seconds: float) -> None:
        """Let time pass; raises `Stopped` as soon as somebody stops the build."""
        if self._build.stop.wait(seconds):
            raise Stopped

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Run a stage. It fails when its code raises, or when the job was told to fail at it."""
        record = StageRecord(name, time.time())
        self._build.stages.append(record)
        self.log(f"[Pipeline] stage\n[Pipeline] {{ ({name})")
        status = StageStatus.FAILED
        try:
            self.wait(self.job.stage_seconds)
            if self.job.fails_at == name:
                raise StageFailed(f"the stage {name} was told to fail")
            yield
            status = StageStatus.SUCCESS
        except Stopped:
            status = StageStatus.ABORTED
            raise
        finally:
            record.status, record.seconds = status, time.time() - record.started
            self.log("[Pipeline] }")

    def mark(self, result: Result) -> None:
        """Set a result and go on, as `unstable()` and `currentBuild.result = …` do: the build ends at least as bad."""
        self._build.result = result

    def ask(self, question: str, answered: threading.Event) -> None:
        """Stand still, as the `input` step does, until `answered` is set; call it within a stage."""
        self.log(question)
        record = self._build.stages[-1]
        record.status = StageStatus.PAUSED
        while not answered.wait(0.01):
            self.wait(0)
        record.status = StageStatus.IN_PROGRESS
