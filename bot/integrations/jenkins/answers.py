"""What Jenkins' REST API answers, as far as it is read here. Unknown fields are ignored, absent ones have defaults."""

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, Field, JsonValue


class Answer(BaseModel):
    """The common ground of all answers; `_class` tells Jenkins' own answers from a proxy's."""

    model_config = ConfigDict(extra="ignore", frozen=True, populate_by_name=True)

    kind: str = Field(default="", alias="_class")


class Parameter(Answer):
    """One parameter value. Only plain text concerns us; other kinds (booleans, files) are left as they are."""

    name: str = ""
    value: JsonValue = None


class Action(Answer):
    """One of the many things attached to builds and queue items; only those with parameters matter."""

    parameters: tuple[Parameter, ...] = ()


class Labelled(Answer):
    """What carries parameters: queue items and builds. Jenkins puts `null` and `{}` among the actions."""

    actions: tuple[Action | None, ...] = ()

    def parameter(self, name: str) -> str | None:
        """The text value of a parameter, or None."""
        for action in self.actions:
            for parameter in action.parameters if action else ():
                if parameter.name == name and isinstance(parameter.value, str):
                    return parameter.value
        return None


class Executable(Answer):
    """The build that a queue item became."""

    number: int


class Task(Answer):
    """What a queue item wants to run. `url` is the job's, under the address that Jenkins believes to have."""

    url: str = ""


class QueueItem(Labelled):
    """A request to build, until about five minutes after it left the queue."""

    id: int
    why: str | None = None
    cancelled: bool = False
    task: Task | None = None
    executable: Executable | None = None


class QueueList(Answer):
    """Everything that waits."""

    items: tuple[QueueItem, ...] = ()


class BuildInfo(Labelled):
    """One build. `result` may be set while it still runs; `timestamp` and `duration` are milliseconds."""

    number: int
    queue_id: int | None = Field(default=None, alias="queueId")
    building: bool = False
    result: str | None = None
    url: str = ""
    timestamp: int = 0
    duration: int = 0


class ParameterDefinition(Answer):
    """A parameter that a job declares; `choices` only for those that offer some (plugins may put anything there)."""

    name: str
    choices: JsonValue = None

    def offers(self) -> tuple[str, ...]:
        """The values it is limited to; empty when anything goes."""
        return tuple(c for c in self.choices if isinstance(c, str)) if isinstance(self.choices, list) else ()


class JobProperty(Answer):
    """One of the job's properties; only the one with parameters matters."""

    definitions: tuple[ParameterDefinition, ...] | None = Field(default=None, alias="parameterDefinitions")


class JobInfo(Answer):
    """A job with its newest builds, newest first."""

    builds: tuple[BuildInfo, ...] = ()
    properties: tuple[JobProperty | None, ...] = Field(default=(), alias="property")

    def declared(self) -> Mapping[str, tuple[str, ...]] | None:
        """Names of the declared parameters and their choices (empty: anything goes); None when none are declared."""
        return {d.name: d.offers() for p in self.properties if p for d in p.definitions or ()} or None


class Stage(Answer):
    """One stage of a pipeline run."""

    name: str = ""
    status: str = ""


class Stages(Answer):
    """What the pipeline stage view knows of a build."""

    stages: tuple[Stage, ...] = ()

    def current(self) -> tuple[str, str]:
        """Name and status of the stage that runs, waits, failed or was stopped; empty texts when there is none."""
        for status in ("PAUSED_PENDING_INPUT", "IN_PROGRESS", "FAILED", "ABORTED", "UNSTABLE"):
            for stage in self.stages:
                if stage.status == status:
                    return stage.name, status
        return "", ""
