"""A stand-in for a Kubernetes API server and its controllers: REST and watch on loopback, rollouts that take time.

It is held to a real control plane by `tests/contract/test_cluster_real.py`, which runs the same scenarios. How pods
fare is decided by their images' tags: see `kubernetes_pods`. Left out: Table and protobuf answers, OpenAPI, JSON patch,
`limit` with `continue`, admission webhooks, finalizers and graceful deletion.
"""

import asyncio
import contextlib
import json
import threading
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import yaml
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from bot.sandbox.kubernetes_defaults import admit, immutable
from bot.sandbox.kubernetes_deployments import Deployments, owner_name, owner_uid
from bot.sandbox.kubernetes_fields import Manager, apply, merge_patch, own_changes, strategic_merge
from bot.sandbox.kubernetes_paths import Target, change_lines, discovery, event_line, selected, target_of, verb_of
from bot.sandbox.kubernetes_pods import Kubelet, log
from bot.sandbox.kubernetes_sets import DaemonSets, StatefulSets
from bot.sandbox.kubernetes_store import RESOURCES, ApiError, Json, Resource, Store
from bot.sandbox.server import Faults

ADMIN_TOKEN = "sandbox-admin-token"
TICK = 0.02  # seconds between two passes of the controllers, and between two looks of a watch
REST = 0.1  # seconds between two passes when nothing has changed for long: a sandbox that waits must cost little
DEFAULT_WATCH = 300  # seconds a watch lasts that asks for nothing else
PATCHES: dict[str, Callable[[Json, Json], object]] = {
    "application/merge-patch+json": merge_patch,
    "application/strategic-merge-patch+json": strategic_merge,
}
APPLY = frozenset({"application/apply-patch+yaml", "application/apply-patch+json"})


@dataclass
class User:
    """Who a token belongs to. `may` decides on (verb, resource, namespace); subresources are spelt `pods/log`."""

    name: str
    may: Callable[[str, str, str], bool]


def reader(*, without: frozenset[str] = frozenset()) -> Callable[[str, str, str], bool]:
    """The rights of a role that reads everything but these resources."""
    return lambda verb, resource, _: verb in {"get", "list", "watch"} and resource not in without


@dataclass
class KubernetesServer:
    """The stand-in. Serve `app`; use it as a context manager to run its controllers.

    `pod_seconds` is what a healthy pod takes to become ready, `lag` how long controllers take to notice a change of a
    spec, both in seconds. `users` maps bearer tokens to users: add to it.
    """

    pod_seconds: float = 2.0
    lag: float = 0.1
    faults: Faults = field(default_factory=Faults)
    store: Store = field(default_factory=Store)
    users: dict[str, User] = field(default_factory=dict)
    app: ASGIApp = field(init=False)

    def __post_init__(self) -> None:
        self.users.setdefault(ADMIN_TOKEN, User("admin", lambda *_: True))
        for namespace in ("default", "kube-system"):
            self.add_namespace(namespace)
        self.app = self.faults.wrap(Starlette(routes=[Route("/{path:path}", self._handle, methods=METHODS)]))
        self._kubelet = Kubelet(self.store, self.pod_seconds)
        self._halt = threading.Event()
        self._thread = threading.Thread(target=self._run, name="kubernetes-controllers", daemon=True)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def start(self) -> None:
        """Start the controllers."""
        self._thread.start()

    def stop(self) -> None:
        """Stop the controllers and end every watch."""
        self._halt.set()
        self._thread.join(timeout=5)

    def add_namespace(self, name: str) -> None:
        """Make a namespace, without a request."""
        self.store.create("namespaces", "", {"metadata": {"name": name}, "status": {"phase": "Active"}})

    def restart(self, namespace: str, app: str, times: int = 1) -> str:
        """One running pod of the workload `app` exits and starts again, so many times; returns the pod's name.

        LookupError when none runs. It is told of with the kubelet's next pass.
        """
        with self.store.lock:
            sets = {i["metadata"]["uid"]: i for owner in OWNERS for i in self.store.all(owner, namespace)}
            pods = sorted(self.store.all("pods", namespace), key=lambda pod: str(pod["metadata"]["name"]))
            for pod in pods:
                owner = sets.get(owner_uid(pod))
                runs = pod.get("status", {}).get("phase") == "Running"
                if runs and owner is not None and app in {owner["metadata"]["name"], owner_name(owner)}:
                    self._kubelet.restart(pod["metadata"]["uid"], times)
                    return str(pod["metadata"]["name"])
        raise LookupError(f"no pod of {app} runs in namespace {namespace}")

    def _run(self) -> None:
        controllers = (
            Deployments(self.store, self.lag),
            StatefulSets(self.store, self.lag),
            DaemonSets(self.store, self.lag),
            self._kubelet,
        )
        seen, quiet = -1, 0
        while not self._halt.wait(min(TICK + quiet * TICK / 20, REST)):
            with self.store.lock:  # a pass sees one state of the world, as if it were instantaneous
                quiet += 1
                if self.store.version != seen:
                    quiet = 0
                    self._collect_garbage()  # first: nothing is made in a namespace that has gone
                    seen = self.store.version
                for controller in controllers:
                    with contextlib.suppress(ApiError):  # tried again in the next pass, as real controllers do
                        controller.tick()

    def _collect_garbage(self) -> None:
        """What belonged to something that is gone goes too, a namespace included."""
        namespaces = {i["metadata"]["name"] for i in self.store.all("namespaces")}
        for plural in (r.plural for r in RESOURCES.values() if r.namespaced):
            for item in self.store.all(plural):
                if item["metadata"]["namespace"] not in namespaces:
                    self.store.delete(plural, item["metadata"]["namespace"], item["metadata"]["name"])
        owners = {i["metadata"]["uid"] for r in ("deployments", *OWNERS) for i in self.store.all(r)}
        for resource in ("replicasets", "pods"):
            for item in self.store.all(resource):
                if owner_uid(item) and owner_uid(item) not in owners:
                    self.store.delete(resource, item["metadata"]["namespace"], item["metadata"]["name"])

    async def _handle(self, request: Request) -> Response:
        try:
            body = await request.body()
            return self._answer(request, body)
        except ApiError as error:
            return JSONResponse(error.status(), status_code=error.code)

    def _answer(self, request: Request, body: bytes) -> Response:
        path = "/" + str(request.path_params["path"])
        user = self._user(request)
        if path in {"/healthz", "/readyz", "/livez"}:
            return PlainTextResponse("ok")
        if path == "/version":
            return JSONResponse({"major": "1", "minor": "30", "gitVersion": "v1.30.0-standin"})
        target = target_of(path)
        if target is None:
            self._allow(user, request.method.lower(), path, "")
            return JSONResponse(discovery(path))
        verb = verb_of(request.method, target, request.query_params)
        self._allow(user, verb, target.spelt, target.namespace, target)
        return self._do(verb, request, target, body, user)

    def _user(self, request: Request) -> User:
        header = request.headers.get("authorization", "")
        if not header:
            return User("system:anonymous", lambda *_: False)
        user = self.users.get(header.removeprefix("Bearer "))
        if user is None:
            raise ApiError(401, "Unauthorized", "Unauthorized")
        return user

    def _allow(self, user: User, verb: str, resource: str, namespace: str, target: Target | None = None) -> None:
        if target is None:
            if user.name == "system:anonymous":
                raise ApiError(403, "Forbidden", f'forbidden: User "{user.name}" cannot {verb} path "{resource}"')
            return
        if not user.may(verb, resource, namespace):
            name = f' "{target.name}"' if target.name else ""
            where = f' in the namespace "{namespace}"' if namespace else " at the cluster scope"
            raise ApiError(
                403,
                "Forbidden",
                f'{target.resource.qualified}{name} is forbidden: User "{user.name}" cannot {verb} resource '
                f'"{resource}" in API group "{target.resource.group}"{where}',
            )

    def _do(self, verb: str, request: Request, target: Target, body: bytes, user: User) -> Response:
        resource, store, dry = target.resource, self.store, _dry(request)
        if target.subresource == "log":
            return self._log(request, target)
        match verb:
            case "get":
                return JSONResponse(store.get(resource.plural, target.namespace, target.name))
            case "list":
                return self._list(request, target)
            case "watch":
                return self._watch(request, target)
            case "delete":
                return JSONResponse(store.delete(resource.plural, target.namespace, target.name, dry=dry))
            case "create":
                new = _parse(body)
                admit(resource, new)
                own_changes(None, new, _manager(request, "Update", resource, user))
                return JSONResponse(store.create(resource.plural, target.namespace, new, dry=dry), status_code=201)
            case "update":
                with store.lock:
                    old = store.get(resource.plural, target.namespace, target.name)
                    new = _parse(body)
                    return self._put(request, target, old, new, user)
            case "patch":
                with store.lock:
                    return self._patch(request, target, body, user)
        raise ApiError(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")

    def _put(self, request: Request, target: Target, old: Json, new: Json, user: User) -> Response:
        resource = target.resource
        if target.subresource == "status":
            changed = {**old, "status": new.get("status", {})}
            changed["metadata"] = {**old["metadata"], "resourceVersion": new["metadata"].get("resourceVersion", "")}
        else:
            changed = {**new, "status": old["status"]} if "status" in old else new
            admit(resource, changed)
            immutable(resource, old, changed)
            changed["metadata"].pop("managedFields", None)
            if "managedFields" in old["metadata"]:
                changed["metadata"]["managedFields"] = old["metadata"]["managedFields"]
            own_changes(old, changed, _manager(request, "Update", resource, user))
        return JSONResponse(self.store.replace(resource.plural, target.namespace, changed, dry=_dry(request)))

    def _patch(self, request: Request, target: Target, body: bytes, user: User) -> Response:
        content = request.headers.get("content-type", "").partition(";")[0]
        resource, patch = target.resource, _parse(body)
        if content in APPLY:
            return self._apply(request, target, patch, user)
        if content not in PATCHES:
            raise ApiError(415, "UnsupportedMediaType", f"the body of the request was in an unknown format: {content}")
        old = self.store.get(resource.plural, target.namespace, target.name)
        new = PATCHES[content](old, patch)
        if not isinstance(new, dict):
            raise ApiError(400, "BadRequest", "the patch does not make an object")
        return self._put(request, target, old, new, user)

    def _apply(self, request: Request, target: Target, config: Json, user: User) -> Response:
        resource, namespace = target.resource, target.namespace
        if not request.query_params.get("fieldManager"):
            raise ApiError(422, "Invalid", "PatchOptions is invalid: fieldManager: Required value: apply needs one")
        manager = _manager(request, "Apply", resource, user)
        old = self.store.find(resource.plural, namespace, target.name)
        new = apply(old, config, manager, force=request.query_params.get("force") == "true")
        new["metadata"]["name"] = target.name
        admit(resource, new)
        if old is None:
            created = self.store.create(resource.plural, namespace, new, dry=_dry(request))
            return JSONResponse(created, status_code=201)
        immutable(resource, old, new)
        return JSONResponse(self.store.replace(resource.plural, namespace, new, dry=_dry(request)))

    def _log(self, request: Request, target: Target) -> Response:
        pod = self.store.get("pods", target.namespace, target.name)
        query = request.query_params
        container = query.get("container", pod["spec"]["containers"][0]["name"])
        text = log(pod, container, previous=query.get("previous") == "true")
        if text is None:
            said = f'container "{container}" in pod "{target.name}" is waiting to start: no instance to read from'
            raise ApiError(400, "BadRequest", said)
        lines = text.splitlines(keepends=True)[-int(query.get("tailLines", "1000000")) :]
        return PlainTextResponse("".join(lines)[: int(query.get("limitBytes", "10000000"))])

    def _list(self, request: Request, target: Target) -> Response:
        with self.store.lock:
            items = self.store.all(target.resource.plural, target.namespace)
            version = str(self.store.version)
        chosen = [item for item in items if selected(request.query_params, item)]
        for item in chosen:  # items of a list do not repeat what they are
            item.pop("kind", None)
            item.pop("apiVersion", None)
        kind, api = f"{target.resource.kind}List", target.resource.api_version
        return JSONResponse(
            {"kind": kind, "apiVersion": api, "metadata": {"resourceVersion": version}, "items": chosen}
        )

    def _watch(self, request: Request, target: Target) -> Response:
        asked = request.query_params.get("resourceVersion", "")
        seconds = float(request.query_params.get("timeoutSeconds", DEFAULT_WATCH))
        if asked in {"", "0"}:
            with self.store.lock:
                current, version = self.store.all(target.resource.plural, target.namespace), self.store.version
        else:
            current, version = [], int(asked)
        first = [event_line("ADDED", item) for item in current if selected(request.query_params, item)]
        return StreamingResponse(
            self._events(request, target, version, first, time.monotonic() + seconds), media_type="application/json"
        )

    async def _events(
        self, request: Request, target: Target, version: int, first: list[bytes], until: float
    ) -> AsyncIterator[bytes]:
        for line in first:
            yield line
        while time.monotonic() < until and not self._halt.is_set():
            try:
                version, changes = self.store.since(version)
            except ApiError as error:  # in the stream, as the real one does: the answer has begun
                yield json.dumps({"type": "ERROR", "object": error.status()}).encode() + b"\n"
                return
            for change in changes:
                if change.key[0] == target.resource.plural and target.namespace in {"", change.key[1]}:
                    for line in change_lines(request.query_params, change):
                        yield line
            await asyncio.sleep(TICK)
        if request.query_params.get("allowWatchBookmarks") == "true":
            mark = {"kind": target.resource.kind, "metadata": {"resourceVersion": str(version)}}
            yield event_line("BOOKMARK", mark)


METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]
OWNERS = ("replicasets", "statefulsets", "daemonsets")


def write_kubeconfig(path: Path, server: str, contexts: dict[str, str]) -> Path:
    """A kubeconfig for a server: context name -> bearer token; the first context is the current one."""
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "sandbox", "cluster": {"server": server}}],
        "users": [{"name": name, "user": {"token": token}} for name, token in contexts.items()],
        "contexts": [{"name": name, "context": {"cluster": "sandbox", "user": name}} for name in contexts],
        "current-context": next(iter(contexts)),
    }
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    path.chmod(0o600)
    return path


def _parse(body: bytes) -> Json:
    try:
        parsed = yaml.safe_load(body)  # JSON is YAML
    except yaml.YAMLError as error:
        raise ApiError(400, "BadRequest", "the body of the request cannot be parsed") from error
    if not isinstance(parsed, dict):
        raise ApiError(400, "BadRequest", "the body of the request is not an object")
    parsed.setdefault("metadata", {})
    return parsed


def _manager(request: Request, operation: str, resource: Resource, user: User) -> Manager:
    agent = request.headers.get("user-agent", user.name).partition("/")[0]
    return Manager(request.query_params.get("fieldManager", agent), operation, resource.api_version)


def _dry(request: Request) -> bool:
    asked = request.query_params.get("dryRun")
    if asked not in {None, "", "All"}:
        raise ApiError(422, "Invalid", f'dryRun: Unsupported value: "{asked}": supported values: "All"')
    return asked == "All"
