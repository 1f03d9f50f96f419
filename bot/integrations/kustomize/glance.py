"""A change in a few lines for a card, what matters most first. Pure; `diff` has hidden the values of Secrets."""

import re
from dataclasses import dataclass

from bot.integrations.kustomize.diff import FieldChange, ManifestDiff, ObjectChange, Whole, versions
from bot.integrations.kustomize.manifests import ObjectRef

_MOST_FIELDS = 3  # of one object
_MOST_VALUE = 60  # characters
_HASH = re.compile(r"-[2456789bcdfghkmt]{10}$")  # kustomize's alphabet, so that `-production` is not taken for one
_RESOURCE = re.compile(r"\.resources\.(?P<what>(?:limits|requests)\b.*)$")
_VARIABLE = re.compile(r"\.env\[(?P<name>[^\]]+)\](?:\.(?P<part>.*))?$")
_IMAGE, _REPLICAS, _RESOURCES, _ENV, _OBJECT, _OTHER = range(6)


@dataclass(frozen=True)
class _Line:
    rank: int
    ref: ObjectRef
    text: str


def glance(difference: ManifestDiff, most: int = 6) -> tuple[str, ...]:
    """At most `most` lines, one per object: `Deployment/web: image 1.4.1 → 1.4.2; replicas 2 → 3`.

    Images come first, then replicas, resources, environment, objects that come or go, and the rest. The last line says
    how many objects are left out. Nothing at all when nothing changes.
    """
    lines = [_changed(change) for change in difference.changed] + _wholes(difference.added, difference.removed)
    texts = [line.text for line in sorted(lines, key=lambda line: (line.rank, line.ref))]
    if len(texts) <= most:
        return tuple(texts)
    left = len(texts) - most + 1
    return (*texts[: most - 1], f"… and {left} more object{'s' * (left != 1)}")


def _changed(change: ObjectChange) -> _Line:
    told = sorted((_told(field) for field in change.fields), key=lambda item: item[0])
    texts = list(dict.fromkeys(text for _, text in told))
    more = f"; {len(texts) - _MOST_FIELDS} more" if len(texts) > _MOST_FIELDS else ""
    return _Line(told[0][0], change.ref, f"{_name(change.ref)}: {'; '.join(texts[:_MOST_FIELDS])}{more}")


def _told(field: FieldChange) -> tuple[int, str]:
    rank, what = _meaning(field.path)
    before, after = field.before, field.after
    if rank == _IMAGE and before and after:
        before, after = versions(before, after)
    if before is None:
        return rank, f"{what} added: {_short(after)}"
    if after is None:
        return rank, f"{what} removed"
    if _unreadable(before) or _unreadable(after):
        return rank, f"{what} changed"
    return rank, f"{what} {_short(before)} → {_short(after)}"


def _meaning(path: str) -> tuple[int, str]:
    last = path.rpartition(".")[2]
    if last == "image":
        return _IMAGE, "init image" if "initContainers" in path else "image"
    if last in {"replicas", "minReplicas", "maxReplicas"}:
        return _REPLICAS, last
    if found := _RESOURCE.search(path):
        return _RESOURCES, found["what"]
    if found := _VARIABLE.search(path):
        part = found["part"]
        return _ENV, f"env {found['name']}" + (f" {part}" if part and part != "value" else "")
    return _OTHER, path


def _unreadable(value: str) -> bool:
    """Hidden, or too much for a line."""
    return value.startswith("(hidden") or "\n" in value


def _short(value: str | None) -> str:
    value = " ".join((value or "").split()) or '""'
    return value if len(value) <= _MOST_VALUE else value[: _MOST_VALUE - 1] + "…"


def _wholes(added: tuple[Whole, ...], removed: tuple[Whole, ...]) -> list[_Line]:
    """Objects that come or go. One that only got another hash in its name is one whose content changed."""
    gone = {whole.ref for whole in removed}
    lines: list[_Line] = []
    for whole in added:
        ref = _without_hash(whole.ref)
        before = next((other for other in sorted(gone) if ref != whole.ref and _without_hash(other) == ref), None)
        if before is None:
            lines.append(_Line(_OBJECT, whole.ref, f"{_name(whole.ref)}: new"))
        else:
            gone.remove(before)
            lines.append(_Line(_OBJECT, ref, f"{_name(ref)}: new content, so a new name ({whole.ref.name})"))
    return lines + [_Line(_OBJECT, ref, f"{_name(ref)}: removed") for ref in sorted(gone)]


def _without_hash(ref: ObjectRef) -> ObjectRef:
    if ref.kind not in {"ConfigMap", "Secret"}:
        return ref
    return ObjectRef(ref.group, ref.kind, ref.namespace, _HASH.sub("", ref.name))


def _name(ref: ObjectRef) -> str:
    return f"{ref.kind}/{ref.name}"
