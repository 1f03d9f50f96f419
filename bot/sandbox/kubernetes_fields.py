"""Patches and field ownership of the stand-in: merge patch, strategic merge, server-side apply with `managedFields`.

https://kubernetes.io/docs/reference/using-api/server-side-apply/ is what this follows. Left out: ownership of status
and of subresources, `$patch: replace` and `$setElementOrder`, and schemas other than the built-in ones listed here.
"""

import copy
import json
from collections.abc import Iterator
from dataclasses import dataclass

from bot.sandbox.kubernetes_store import ApiError, Json, now

Path = tuple[str, ...]  # f:name | k:{"name":"web"} | v:"text", as fieldsV1 spells them
MERGE_KEYS: dict[str, tuple[str, ...]] = {
    "containers": ("name",),
    "initContainers": ("name",),
    "env": ("name",),
    "volumes": ("name",),
    "imagePullSecrets": ("name",),
    "volumeMounts": ("mountPath",),
    "ports": ("containerPort", "protocol"),
    "conditions": ("type",),
}
UNOWNED = frozenset({"apiVersion", "kind", "status"})
UNOWNED_META = frozenset(
    {"name", "namespace", "uid", "resourceVersion", "generation", "creationTimestamp", "managedFields", "selfLink"}
)


@dataclass(frozen=True)
class Manager:
    """Who writes: `operation` is Apply or Update."""

    name: str
    operation: str
    api_version: str


def merge_patch(target: object, patch: object) -> object:
    """RFC 7386."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    merged = copy.deepcopy(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge_patch(merged.get(key), value)
    return merged


def strategic_merge(target: object, patch: object, field: str = "") -> object:
    """Like a merge patch, but lists with a merge key are merged element by element (`$patch: delete` removes one)."""
    if isinstance(patch, dict):
        merged = copy.deepcopy(target) if isinstance(target, dict) else {}
        for key, value in patch.items():
            if key.startswith("$"):
                continue
            if value is None:
                merged.pop(key, None)
            else:
                merged[key] = strategic_merge(merged.get(key), value, key)
        return merged
    keys = merge_keys(field, patch)
    if isinstance(patch, list) and isinstance(target, list) and keys:
        return _merge_list(target, patch, keys)
    return copy.deepcopy(patch)


def merge_keys(field: str, value: object) -> tuple[str, ...]:
    """The merge keys of a list of objects, or none: it is replaced as a whole."""
    keys = MERGE_KEYS.get(field, ())
    if field == "ports" and isinstance(value, list) and value and "port" in value[0]:
        keys = ("port", "protocol")  # of a Service
    return keys if isinstance(value, list) and all(isinstance(item, dict) for item in value) else ()


def _identity(item: Json, keys: tuple[str, ...]) -> tuple[object, ...]:
    return tuple(item.get(key, "TCP" if key == "protocol" else None) for key in keys)


def _merge_list(target: list[Json], patch: list[Json], keys: tuple[str, ...]) -> list[Json]:
    merged = copy.deepcopy(target)
    for item in patch:
        at = next((i for i, have in enumerate(merged) if _identity(have, keys) == _identity(item, keys)), None)
        if item.get("$patch") == "delete":
            if at is not None:
                del merged[at]
        elif at is None:
            merged.append(copy.deepcopy(item))
        else:
            whole = strategic_merge(merged[at], item)
            merged[at] = whole if isinstance(whole, dict) else merged[at]
    return merged


def leaves(value: object, field: str = "", path: Path = ()) -> Iterator[tuple[Path, object]]:
    """Every field that can be owned, with its value. Elements of keyed lists are fields too, with value None."""
    if isinstance(value, dict) and (value or not path):
        for key, inner in value.items():
            if (not path and key in UNOWNED) or (path == ("f:metadata",) and key in UNOWNED_META):
                continue
            yield from leaves(inner, key, (*path, f"f:{key}"))
        return
    keys = merge_keys(field, value)
    if isinstance(value, list) and keys:
        for item in value:
            named = dict(zip(keys, _identity(item, keys), strict=True))
            step = "k:" + json.dumps(named, separators=(",", ":"))
            yield (*path, step), None
            yield from leaves(item, "", (*path, step))
        return
    if path:
        yield path, value


def apply(live: Json | None, config: Json, manager: Manager, *, force: bool) -> Json:
    """Server-side apply. ApiError 409 that names the other managers, unless `force` takes their fields."""
    wanted = dict(leaves(config))
    if live is None:
        created = copy.deepcopy(config)
        _record(created, manager, set(wanted))
        return created
    have = dict(leaves(live))
    owners = _owners(live)
    others = {key: paths for key, paths in owners.items() if key != _key(manager)}
    taken = {
        (key, path)
        for key, paths in others.items()
        for path in paths
        if path in wanted and path in have and have[path] != wanted[path]
    }
    if taken and not force:
        raise _conflict(sorted({(key[0], key[2], path) for key, path in taken}))
    result = strategic_merge(live, config)
    if not isinstance(result, dict):
        raise ApiError(400, "BadRequest", "the applied configuration is not an object")
    mine = owners.get(_key(manager), set())
    dropped = mine - set(wanted) - {path for paths in others.values() for path in paths}
    for path in sorted(dropped, key=len, reverse=True):
        _remove(result, path)
    for key, path in taken:
        owners[key].discard(path)
    changed = dict(leaves(result)) != have or mine != set(wanted)
    _rewrite(result, owners)
    if changed:
        _record(result, manager, set(wanted))
    return result


def own_changes(old: Json | None, new: Json, manager: Manager) -> None:
    """After a create, PUT or PATCH: what changed belongs to this manager, and to nobody else any more."""
    before = dict(leaves(old)) if old else {}
    after = dict(leaves(new))
    changed = {path for path, value in after.items() if path not in before or before[path] != value}
    owners = _owners(old) if old else {}
    mine = owners.get(_key(manager), set())
    kept = set(after) - changed
    _rewrite(new, {key: paths & kept for key, paths in owners.items()})
    if changed:
        _record(new, manager, (mine & set(after)) | changed)


OwnerKey = tuple[str, str, str]


def _key(manager: Manager) -> OwnerKey:
    return manager.name, manager.operation, manager.api_version


def _owners(item: Json) -> dict[OwnerKey, set[Path]]:
    return {
        (e["manager"], e["operation"], e["apiVersion"]): set(_paths(e["fieldsV1"]))
        for e in item["metadata"].get("managedFields", [])
    }


def _paths(fields: Json, path: Path = ()) -> Iterator[Path]:
    for step, inner in fields.items():
        if step == ".":
            yield path
        elif inner:
            yield from _paths(inner, (*path, step))
        else:
            yield (*path, step)


def _tree(paths: set[Path]) -> Json:
    tree: Json = {}
    for path in sorted(paths):
        node = tree
        for step in path:
            node = node.setdefault(step, {})
        if path[-1].startswith("k:"):
            node["."] = {}
    return tree


def _record(item: Json, manager: Manager, paths: set[Path]) -> None:
    entries = item["metadata"].setdefault("managedFields", [])
    entry = {
        "manager": manager.name,
        "operation": manager.operation,
        "apiVersion": manager.api_version,
        "time": now(),
        "fieldsType": "FieldsV1",
        "fieldsV1": _tree(paths),
    }
    same = [e for e in entries if (e["manager"], e["operation"], e["apiVersion"]) == _key(manager)]
    for old in same:
        entries.remove(old)
    entries.append(entry)


def _rewrite(item: Json, owners: dict[OwnerKey, set[Path]]) -> None:
    entries = item["metadata"].get("managedFields", [])
    for entry in entries:
        entry["fieldsV1"] = _tree(owners.get((entry["manager"], entry["operation"], entry["apiVersion"]), set()))
    item["metadata"]["managedFields"] = [entry for entry in entries if entry["fieldsV1"]]


def _remove(item: Json, path: Path) -> None:
    node: object = item
    for step in path[:-1]:
        node = _step(node, step)
    last = path[-1]
    if isinstance(node, dict) and last.startswith("f:"):
        node.pop(last[2:], None)
    elif isinstance(node, list) and last.startswith("k:"):
        found = _step(node, last)
        if found is not None:
            node.remove(found)


def _step(node: object, step: str) -> object:
    if isinstance(node, dict) and step.startswith("f:"):
        return node.get(step[2:])
    if isinstance(node, list) and step.startswith("k:"):
        named = json.loads(step[2:])
        keys = tuple(named)
        return next((item for item in node if _identity(item, keys) == tuple(named.values())), None)
    return None


def _conflict(fields: list[tuple[str, str, Path]]) -> ApiError:
    causes = [
        {
            "reason": "FieldManagerConflict",
            "message": f'conflict with "{manager}" using {api_version}',
            "field": _spelt(path),
        }
        for manager, api_version, path in fields
    ]
    count = f"{len(causes)} conflict{'s' if len(causes) > 1 else ''}"
    said = ", ".join(f"{cause['message']}: {cause['field']}" for cause in causes)
    return ApiError(409, "Conflict", f"Apply failed with {count}: {said}", causes)


def _spelt(path: Path) -> str:
    text = ""
    for step in path:
        if step.startswith("f:"):
            text += f".{step[2:]}"
        else:
            named = json.loads(step[2:])
            text += "[" + ",".join(f"{k}={json.dumps(v)}" for k, v in named.items()) + "]"
    return text
