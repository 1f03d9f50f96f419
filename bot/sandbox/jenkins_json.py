"""How the Jenkins stand-in tells its state: the JSON of its REST API, and the `tree` filter over it. Pure."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from urllib.parse import quote

from bot.sandbox.jenkins_engine import Engine
from bot.sandbox.jenkins_model import BuildRecord, Job, QueueItem

Json = dict[str, object]
_JOB = "org.jenkinsci.plugins.workflow.job.Workflow"


def job_path(name: str) -> str:
    """`a/b` -> `job/a/job/b/`."""
    return "".join(f"job/{quote(part, safe='')}/" for part in name.split("/"))


def _actions(parameters: Mapping[str, str], user: str) -> list[Json]:
    values = [{"_class": "hudson.model.StringParameterValue", "name": n, "value": v} for n, v in parameters.items()]
    cause = {"_class": "hudson.model.Cause$UserIdCause", "shortDescription": f"Started by user {user}", "userId": user}
    return [
        {},  # Jenkins shows actions that export nothing as empty objects.
        {"_class": "hudson.model.CauseAction", "causes": [cause]},
        {"_class": "hudson.model.ParametersAction", "parameters": values},
    ]


def item_json(engine: Engine, item: QueueItem, root: str) -> Json:
    """A queue item, waiting or gone."""
    left, blocked = item.left_at is not None, engine.blocked(item)
    quiet = not left and (engine.why(item) or "").startswith("In the quiet")
    kind = "LeftItem" if left else "WaitingItem" if quiet else "BlockedItem" if blocked else "BuildableItem"
    told: Json = {
        "_class": f"hudson.model.Queue${kind}",
        "actions": _actions(item.parameters, item.user),
        "blocked": blocked and not left,
        "buildable": kind == "BuildableItem",
        "id": item.id,
        "inQueueSince": int(item.queued_at * 1000),
        "params": "".join(f"\n{name}={value}" for name, value in item.parameters.items()),
        "stuck": False,
        "task": {
            "_class": _JOB + "Job",
            "name": item.job.name.rpartition("/")[2],
            "url": root + job_path(item.job.name),
            "color": "blue",
        },
        "url": f"queue/item/{item.id}/",
        "why": engine.why(item),
    }
    if left:
        url = f"{root}{job_path(item.job.name)}{item.number}/"
        told["cancelled"] = item.cancelled
        told["executable"] = (
            {"_class": _JOB + "Run", "number": item.number, "url": url} if item.number is not None else None
        )
    return told


def build_json(build: BuildRecord, root: str) -> Json:
    """A build."""
    return {
        "_class": _JOB + "Run" if build.job.pipeline else "hudson.model.FreeStyleBuild",
        "actions": _actions(build.parameters, build.user),
        "artifacts": [],
        "building": build.building,
        "description": None,
        "displayName": f"#{build.number}",
        "duration": int(build.seconds * 1000),
        "estimatedDuration": -1,
        "fullDisplayName": f"{build.job.name.replace('/', ' » ')} #{build.number}",
        "id": str(build.number),
        "keepLog": False,
        "number": build.number,
        "queueId": build.queue_id,
        "result": str(build.result) if build.result else None,
        "timestamp": int(build.started * 1000),
        "url": f"{root}{job_path(build.job.name)}{build.number}/",
    }


def job_json(engine: Engine, job: Job, root: str) -> Json:
    """A job with its newest 100 builds, which is how many Jenkins lists."""
    builds = [build_json(build, root) for build in engine.builds(job.name)[:100]]
    waiting = [item for item in engine.waiting() if item.job is job]
    properties: list[Json] = [{"_class": "jenkins.model.BuildDiscarderProperty"}]
    if job.parameters is not None:
        definitions: list[Json] = []
        for parameter in job.parameters:
            kind = "Choice" if parameter.choices else "String"
            definition: Json = {
                "_class": f"hudson.model.{kind}ParameterDefinition",
                "name": parameter.name,
                "type": f"{kind}ParameterDefinition",
                "defaultParameterValue": {"name": parameter.name, "value": parameter.default},
            }
            definitions.append(definition | ({"choices": list(parameter.choices)} if parameter.choices else {}))
        properties.append({"_class": "hudson.model.ParametersDefinitionProperty", "parameterDefinitions": definitions})
    return {
        "_class": _JOB + "Job" if job.pipeline else "hudson.model.FreeStyleProject",
        "buildable": not job.disabled,
        "builds": builds,
        "color": "disabled" if job.disabled else "blue",
        "fullName": job.name,
        "inQueue": bool(waiting),
        "lastBuild": builds[0] if builds else None,
        "name": job.name.rpartition("/")[2],
        "nextBuildNumber": engine.next_number(job.name),
        "property": properties,
        "queueItem": item_json(engine, waiting[0], root) if waiting else None,
        "url": root + job_path(job.name),
    }


def stages_json(build: BuildRecord) -> Json:
    """What the pipeline stage view tells of a build (`wfapi/describe`)."""
    words = {None: "IN_PROGRESS", "FAILURE": "FAILED"}
    told = str(build.result) if build.result else None
    stages = [
        {
            "id": str(index),
            "name": stage.name,
            "execNode": "",
            "status": str(stage.status),
            "startTimeMillis": int(stage.started * 1000),
            "durationMillis": int(stage.seconds * 1000),
            "pauseDurationMillis": 0,
        }
        for index, stage in enumerate(list(build.stages), start=6)
    ]
    return {
        "id": str(build.number),
        "name": f"#{build.number}",
        "status": words.get(told, told),
        "startTimeMillis": int(build.started * 1000),
        "durationMillis": int(build.seconds * 1000),
        "stages": stages,
    }


# ---------------------------------------------------------------- tree


@dataclass
class Node:
    """What a `tree` query asks of one object: fields by name, and which part of a list."""

    fields: "dict[str, Node]" = field(default_factory=dict)
    first: int = 0
    last: int | None = None


class BadTreeError(ValueError):
    """The `tree` query cannot be read."""


_TOKEN = re.compile(r"([A-Za-z_*][\w*]*)|([\[\],])|\{(\d*)(,?)(\d*)\}")


def parse_tree(query: str) -> Node:
    """`builds[number,actions[parameters[name]]]{0,50},name` as nodes."""
    root = Node()
    stack, latest, at = [root], root, 0
    while at < len(query):
        token = _TOKEN.match(query, at)
        if token is None:
            raise BadTreeError(query)
        at = token.end()
        name, mark = token[1], token[2]
        if name:
            latest = stack[-1].fields.setdefault(name, Node())
        elif mark == "[":
            stack.append(latest)
        elif mark == "]":
            if len(stack) == 1:
                raise BadTreeError(query)
            latest = stack.pop()
        elif mark != ",":
            start, comma, end = token[3], token[4], token[5]
            latest.first = int(start or 0)
            latest.last = (int(end) if end else None) if comma else latest.first + 1
    if len(stack) != 1:
        raise BadTreeError(query)
    return root


def select(value: object, node: Node) -> object:
    """The part of a value that the tree asks for; `_class` always comes along."""
    if isinstance(value, list):
        return [select(part, node) for part in value[node.first : node.last]]
    if not isinstance(value, dict):
        return value
    kept = {name: select(value[name], child) for name, child in node.fields.items() if name in value}
    return ({"_class": value["_class"]} if "_class" in value else {}) | kept


def shallow(told: Json, lists: Iterable[str] = ("builds", "lastBuild")) -> Json:
    """What Jenkins shows without `tree` and `depth`: builds by number and address alone."""
    brief = Node({name: Node() for name in ("number", "url")})
    return told | {name: select(told[name], brief) for name in lists if name in told}
