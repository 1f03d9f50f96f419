"""Paths, discovery and selectors of the Kubernetes API: what a request names, and which objects it selects."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from bot.sandbox.kubernetes_store import RESOURCES, ApiError, Change, Json, Resource

COLLECTION = re.compile(
    r"/(?:api/(?P<core>v1)|apis/(?P<group>[^/]+)/(?P<version>[^/]+))(?:/namespaces/(?P<namespace>[^/]+))?"
    r"/(?P<plural>[^/]+)(?:/(?P<name>[^/]+))?(?:/(?P<sub>log|status))?"
)


@dataclass(frozen=True)
class Target:
    """What a path names. A namespace itself is cluster-wide: its own name is `name`."""

    resource: Resource
    namespace: str
    name: str
    subresource: str

    @property
    def spelt(self) -> str:
        """As roles spell it: `pods`, `pods/log`."""
        return self.resource.plural + (f"/{self.subresource}" if self.subresource else "")


def target_of(path: str) -> Target | None:
    """What a path names; None for discovery; ApiError 404 for what there is not."""
    namespaces = re.fullmatch(r"/api/v1/namespaces(?:/([^/]+))?(?:/(status))?", path)
    if namespaces:
        return Target(RESOURCES["namespaces"], "", namespaces[1] or "", namespaces[2] or "")
    match = COLLECTION.fullmatch(path)
    if match is None:
        return None
    resource = RESOURCES.get(match["plural"])
    group, version = match["group"] or "", match["core"] or match["version"]
    if resource is None or (resource.group, resource.version) != (group, version):
        raise ApiError(404, "NotFound", "the server could not find the requested resource")
    return Target(resource, match["namespace"] or "", match["name"] or "", match["sub"] or "")


def verb_of(method: str, target: Target, query: Mapping[str, str]) -> str:
    """What is asked for, as roles spell it. ApiError 405."""
    match method:
        case "GET" if target.name:
            return "get"
        case "GET":
            return "watch" if query.get("watch") in {"true", "1"} else "list"
        case "POST" if not target.name:
            return "create"
        case "PUT" | "PATCH" | "DELETE" if target.name:
            return {"PUT": "update", "PATCH": "patch", "DELETE": "delete"}[method]
    raise ApiError(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")


def discovery(path: str) -> Json:
    """The answer to a path of the API's discovery. ApiError 404."""
    groups = sorted({(r.group, r.version) for r in RESOURCES.values() if r.group})
    if path == "/api":
        return {"kind": "APIVersions", "versions": ["v1"]}
    if path == "/apis":
        versions = [(g, {"groupVersion": f"{g}/{v}", "version": v}) for g, v in groups]
        listing = [{"name": g, "versions": [v], "preferredVersion": v} for g, v in versions]
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": listing}
    for group, version in [("", "v1"), *groups]:
        if path in {f"/apis/{group}/{version}", f"/api/{version}" if not group else ""}:
            mine = [r for r in RESOURCES.values() if (r.group, r.version) == (group, version)]
            verbs = ["create", "delete", "get", "list", "patch", "update", "watch"]
            listed = [{"name": r.plural, "namespaced": r.namespaced, "kind": r.kind, "verbs": verbs} for r in mine]
            name = f"{group}/{version}" if group else version
            return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": name, "resources": listed}
    raise ApiError(404, "NotFound", "the server could not find the requested resource")


def selected(query: Mapping[str, str], item: Json) -> bool:
    """Whether an object is in the label and field selectors of a query."""
    labels = item["metadata"].get("labels") or {}
    for part in re.split(r",(?![^(]*\))", query.get("labelSelector", "")):
        if part.strip() and not _label_matches(part.strip(), labels):
            return False
    for part in filter(None, query.get("fieldSelector", "").split(",")):
        name, equal, value = re.split(r"(!=|==?)", part, maxsplit=1)
        found: object = item
        for step in name.split("."):
            found = found.get(step, "") if isinstance(found, dict) else ""
        if (str(found) == value) == (equal == "!="):
            return False
    return True


def _label_matches(part: str, labels: Json) -> bool:
    among = re.fullmatch(r"(\S+) (in|notin) \(([^)]*)\)", part)
    if among:
        values = [value.strip() for value in among[3].split(",")]
        return (labels.get(among[1]) in values) == (among[2] == "in")
    if "!=" in part:
        key, _, value = part.partition("!=")
        return bool(labels.get(key) != value)
    if "=" in part:
        key, _, value = part.partition("=")
        return bool(labels.get(key) == value.lstrip("="))
    return part[1:] not in labels if part.startswith("!") else part in labels


def change_lines(query: Mapping[str, str], change: Change) -> list[bytes]:
    """A change as this watch sees it: an object that leaves or enters the selection is deleted or added."""
    now_in = selected(query, change.object)
    was_in = change.before is not None and selected(query, change.before)
    if change.type == "DELETED" or (was_in and not now_in):
        return [event_line("DELETED", change.object)] if was_in else []
    if now_in:
        return [event_line("MODIFIED" if was_in else "ADDED", change.object)]
    return []


def event_line(kind: str, item: Json) -> bytes:
    """One event of a watch."""
    return json.dumps({"type": kind, "object": item}).encode() + b"\n"
