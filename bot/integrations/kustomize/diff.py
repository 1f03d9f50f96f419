"""What a change means, object by object and field by field, with nothing of a Secret in it. Pure."""

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import yaml

from bot.integrations.kustomize.manifests import Manifest, ObjectRef, load

_MOST_LINES_COMPARED = 4000  # of one object: difflib is quadratic when little matches
_MOST_SHOWN = 3  # changes that the summary names
_MOST_VALUE = 200  # characters of a value in a summary or a field change
_PLAIN_KEY = re.compile(r"[A-Za-z0-9_-]+")
_DIGEST_TAIL = re.compile(r"(?<=@sha256:.{12})[0-9a-f]{52}")
_BETWEEN = "\n---\n"
_REDACTED = "(hidden)"
_BEFORE, _AFTER = "(hidden, before)", "(hidden, after)"


@dataclass(frozen=True)
class FieldChange:
    """One field: its path, and the values as they would be written; None where the field is not there."""

    path: str
    before: str | None
    after: str | None


@dataclass(frozen=True)
class ObjectChange:
    """An object that is on both sides and differs. `left` and `right` are its bodies without secrets."""

    ref: ObjectRef
    fields: tuple[FieldChange, ...]
    left: object = field(compare=False, repr=False)
    right: object = field(compare=False, repr=False)

    @cached_property
    def before(self) -> str:
        """What it was, as YAML without secrets."""
        return _yaml(self.left)

    @cached_property
    def after(self) -> str:
        """What it will be, as YAML without secrets."""
        return _yaml(self.right)


@dataclass(frozen=True)
class Whole:
    """An object that is on one side only, as YAML without secrets."""

    ref: ObjectRef
    text: str


@dataclass(frozen=True)
class ManifestDiff:
    """The difference between two rendered texts; each part sorted by object."""

    added: tuple[Whole, ...]
    removed: tuple[Whole, ...]
    changed: tuple[ObjectChange, ...]

    @property
    def empty(self) -> bool:
        """Whether both sides ask for the same."""
        return not (self.added or self.removed or self.changed)

    def summary(self) -> str:
        """One line: how much changes, and the first few changes by name."""
        parts = [
            _count(len(objects), verb)
            for objects, verb in ((self.changed, "changed"), (self.added, "added"), (self.removed, "removed"))
            if objects
        ]
        if not parts:
            return "Nothing changes."
        told = [_told(change) for change in self.changed]
        told += [f"new {whole.ref}" for whole in self.added] + [f"{whole.ref} goes" for whole in self.removed]
        more = f" and {len(told) - _MOST_SHOWN} more" if len(told) > _MOST_SHOWN else ""
        return f"{', '.join(parts)}: {', '.join(told[:_MOST_SHOWN])}{more}"

    def unified(self, most: int = 400) -> str:
        """A unified diff of at most `most` lines, one file per object; the last line says how much is left out."""
        lines = list(_unified(self))
        if len(lines) > most:
            left = len(lines) - most + 1
            lines = [*lines[: most - 1], f"… {left} more lines"]
        return "".join(f"{line}\n" for line in lines)


def diff(before: str, after: str) -> ManifestDiff:
    """Compare two rendered texts. Values of Secrets never leave this function. Refused as in `manifests.load`."""
    left_text, right_text = _differing(before, after)
    old = {manifest.ref: manifest for manifest in load(left_text)}
    new = {manifest.ref: manifest for manifest in load(right_text)}
    changed = []
    for ref in sorted(old.keys() & new.keys()):
        left, right = _hide(old[ref], new[ref])
        fields = tuple(_changes("", left, right))
        if fields:
            changed.append(ObjectChange(ref, fields, left, right))
    return ManifestDiff(
        added=tuple(_whole(new[ref]) for ref in sorted(new.keys() - old.keys())),
        removed=tuple(_whole(old[ref]) for ref in sorted(old.keys() - new.keys())),
        changed=tuple(changed),
    )


def _differing(before: str, after: str) -> tuple[str, str]:
    """Both texts without the documents that are the same in both, to the letter: most are, and reading YAML is slow.

    In a text that kustomize printed nothing but the end of a document looks like one. In any other, whatever is cut
    where it should not be is cut on both sides or differs.
    """
    left, right = (text.removesuffix("\n").split(_BETWEEN) for text in (before, after))
    same = set(left) & set(right)
    return _joined_again(left, same), _joined_again(right, same)


def _joined_again(documents: list[str], without: set[str]) -> str:
    kept = [document for document in documents if document not in without]
    return _BETWEEN.join(kept) + "\n" if kept else ""


# ---------------------------------------------------------------- secrets


def _hide(left: Manifest, right: Manifest) -> tuple[object, object]:
    """Both bodies, in which it can still be seen that a hidden value differs, but not how."""
    return _hidden(left, right, _BEFORE), _hidden(right, left, _AFTER)


def _hidden(manifest: Manifest, other: Manifest | None, side: str) -> object:
    """The body of a Secret without its values; of anything else, the body.

    Annotations are hidden as well: `kubectl apply` keeps the whole object, values included, in one of them.
    """
    if manifest.ref.kind != "Secret":
        return manifest.body
    body = dict(manifest.body)
    for part in ("data", "stringData"):
        if part in body:
            body[part] = _hide_values(body[part], other.body.get(part) if other else None, side)
    metadata = body.get("metadata")
    if isinstance(metadata, dict) and "annotations" in metadata:
        theirs = other.body.get("metadata") if other else None
        notes = theirs.get("annotations") if isinstance(theirs, dict) else None
        body["metadata"] = metadata | {"annotations": _hide_values(metadata["annotations"], notes, side)}
    return body


def _hide_values(values: object, others: object, side: str) -> object:
    if not isinstance(values, dict):
        return _REDACTED if values == others else side
    others = others if isinstance(others, dict) else {}
    return {key: _REDACTED if key not in others or _same(value, others[key]) else side for key, value in values.items()}


# ---------------------------------------------------------------- fields


def _changes(path: str, left: object, right: object) -> Iterator[FieldChange]:
    both = _members(path, left, right)
    if both is None:
        if not _same(left, right):
            yield FieldChange(path, _shown(left), _shown(right))
        return
    ours, theirs = both
    for where in [*ours, *(where for where in theirs if where not in ours)]:
        if where not in theirs:
            yield FieldChange(where, _shown(ours[where]), None)
        elif where not in ours:
            yield FieldChange(where, None, _shown(theirs[where]))
        else:
            yield from _changes(where, ours[where], theirs[where])
    if isinstance(left, list) and ours.keys() == theirs.keys() and list(ours) != list(theirs):
        yield FieldChange(f"{path} (order)", _shown(list(ours)), _shown(list(theirs)))


def _members(path: str, left: object, right: object) -> tuple[dict[str, object], dict[str, object]] | None:
    """What is inside of both, by path, so that the same thing has the same path; None when they have no inside."""
    if isinstance(left, dict) and isinstance(right, dict):
        return _of_mapping(path, left), _of_mapping(path, right)
    if isinstance(left, list) and isinstance(right, list):
        if (ours := _by_name(path, left)) is not None and (theirs := _by_name(path, right)) is not None:
            return ours, theirs
        return _by_index(path, left), _by_index(path, right)
    return None


def _of_mapping(path: str, value: Mapping[object, object]) -> dict[str, object]:
    return {_joined(path, str(key)): item for key, item in value.items()}


def _joined(path: str, key: str) -> str:
    if not _PLAIN_KEY.fullmatch(key):
        return f'{path}["{key}"]'
    return f"{path}.{key}" if path else key


def _by_name(path: str, items: list[object]) -> dict[str, object] | None:
    """Items under their `name`, which is how Kubernetes tells containers, variables and volumes apart."""
    named: dict[str, object] = {}
    for item in items:
        name = item.get("name") if isinstance(item, dict) else None
        where = f"{path}[{name}]"
        if not isinstance(name, str) or where in named:
            return None
        named[where] = item
    return named


def _by_index(path: str, items: list[object]) -> dict[str, object]:
    return {f"{path}[{number}]": item for number, item in enumerate(items)}


def _same(left: object, right: object) -> bool:
    """Equality in which `true` is not 1."""
    return type(left) is type(right) and left == right


def _shown(value: object) -> str:
    if isinstance(value, str):
        text = value
    elif isinstance(value, bool):
        text = "true" if value else "false"
    else:
        text = yaml.dump(value, Dumper=yaml.CSafeDumper, default_flow_style=True, width=10_000).removesuffix("...\n")
    text = text.strip("\n")
    return text if len(text) <= _MOST_VALUE else text[: _MOST_VALUE - 1] + "…"


# ---------------------------------------------------------------- words


def _whole(manifest: Manifest) -> Whole:
    return Whole(manifest.ref, _yaml(_hidden(manifest, None, _REDACTED)))


class _Dumper(yaml.CSafeDumper):
    """Text of several lines as lines, so that a diff of a configuration file can be read."""

    def represent_text(self, text: str) -> yaml.ScalarNode:
        """A string, as a literal block when it has lines."""
        return self.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _Dumper.represent_text)


def _yaml(body: object) -> str:
    return yaml.dump(body, Dumper=_Dumper, sort_keys=False, default_flow_style=False, allow_unicode=True, width=200)


def _count(number: int, verb: str) -> str:
    return f"{number} object{'s' * (number != 1)} {verb}"


def _told(change: ObjectChange) -> str:
    """The object with its most telling change: an image if one moved, else the first field."""
    first = next((field for field in change.fields if field.path.endswith(".image")), change.fields[0])
    what = first.path.rpartition(".")[2]
    before, after = first.before, first.after
    if what == "image" and before and after:
        before, after = versions(before, after)
    if before is None:
        move = f"gets {what} {after}"
    elif after is None:
        move = f"loses {what}"
    else:
        move = f"{what} {before} → {after}"
    others = len(change.fields) - 1
    return f"{change.ref} {move}" + (f" (and {others} more field{'s' * (others != 1)})" if others else "")


def versions(before: str, after: str) -> tuple[str, str]:
    """Only the tags, where the repository stays the same and the tag says that something moved."""
    left, right = (re.fullmatch(r"([^@]+):([^:/@]+)(@sha256:[0-9a-f]+)?", image) for image in (before, after))
    if left and right and left[1] == right[1] and left[2] != right[2]:
        return left[2], right[2]
    shortened = (_DIGEST_TAIL.sub("…", image) for image in (before, after))
    return next(shortened), next(shortened)


def _unified(difference: ManifestDiff) -> Iterator[str]:
    for change in difference.changed:
        before, after = change.before.splitlines(), change.after.splitlines()
        if len(before) + len(after) > _MOST_LINES_COMPARED:
            yield from (f"--- {change.ref}", f"+++ {change.ref}")
            for field in change.fields:
                yield from ([] if field.before is None else [f"-{field.path}: {field.before}"])
                yield from ([] if field.after is None else [f"+{field.path}: {field.after}"])
        else:
            name = str(change.ref)
            yield from difflib.unified_diff(before, after, name, name, lineterm="")
    for mark, wholes in (("-", difference.removed), ("+", difference.added)):
        for whole in wholes:
            lines = whole.text.splitlines()
            yield f"--- {whole.ref if mark == '-' else '/dev/null'}"
            yield f"+++ {whole.ref if mark == '+' else '/dev/null'}"
            yield f"@@ -{'0,0 +1,' if mark == '+' else '1,'}{len(lines)}{' +0,0' if mark == '-' else ''} @@"
            yield from (f"{mark}{line}" for line in lines)
