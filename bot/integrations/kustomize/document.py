"""Kustomization files read with the place of every value, so that an edit can touch single bytes.

Built from libyaml's events and not from its composer: the depth is capped before anything recurses (a file of 5,000
brackets overflows the C stack otherwise), and aliases are seen before they are followed. Go's YAML reader, which
kustomize uses, is a port of libyaml: what is refused here on top are the ways in which the two could differ on what
a file says (explicit tags such as `!!binary`, repeated keys, several documents).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import yaml
from yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from commands.reasons import ReasonCode, Refused

MAX_BYTES = 1024 * 1024
MAX_DEPTH = 64

# What Go's YAML reader takes for a number, a boolean or null when it is not quoted. A little wider than Go is: whatever
# matches is written in quotes, which is right either way.
_NOT_A_STRING = re.compile(
    r"~?|null|<<|y|yes|n|no|on|off|true|false|[-+]?\.inf|\.nan"
    r"|[-+]?(0[xob])?[0-9a-f_]*[0-9][0-9_]*"
    r"|[-+]?0x[0-9a-f_]+"
    r"|[-+]?(\.[0-9_]+|[0-9][0-9_]*(\.[0-9_]*)?)(e[-+]?[0-9]+)?",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Scalar:
    """One value. `start` and `end` count characters of the document's text; `style` is libyaml's, empty if unquoted."""

    value: str
    style: str
    start: int
    end: int

    @property
    def is_string(self) -> bool:
        """Whether kustomize reads it as a string, not as a number, a boolean or null."""
        return self.style != "" or not not_a_string(self.value)

    @property
    def is_null(self) -> bool:
        """Whether there is nothing here."""
        return self.style == "" and self.value in {"", "~", "null", "Null", "NULL"}


@dataclass(frozen=True, slots=True)
class Sequence:
    """A list; `flow` is the bracketed form. The end of a block form is where the next thing starts: see `end_of`."""

    items: tuple["Node", ...]
    flow: bool
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Pair:
    """A key and its value in a mapping."""

    key: Scalar
    value: "Node"


@dataclass(frozen=True, slots=True)
class Mapping:
    """A mapping, its pairs in the file's order; `flow` is the braced form."""

    pairs: tuple[Pair, ...]
    flow: bool
    start: int
    end: int

    def pair(self, key: str) -> Pair | None:
        """The pair with exactly this key."""
        return next((pair for pair in self.pairs if pair.key.value == key), None)

    def get(self, key: str) -> "Node | None":
        """The value under exactly this key."""
        pair = self.pair(key)
        return pair.value if pair else None


Node = Scalar | Sequence | Mapping


@dataclass(frozen=True, slots=True)
class Document:
    """One YAML document. Aliases are the very node they point to: walk with care, never expand."""

    text: str  # without a byte order mark
    root: Node
    anchored: bool  # has anchors or aliases


def not_a_string(value: str) -> bool:
    """Whether this text, unquoted, is something else than a string to kustomize: `1.10`, `no`, `0123`, `1e8`."""
    return _NOT_A_STRING.fullmatch(value) is not None


def end_of(node: Node) -> int:
    """Where the last character of the node is, without the comments and blank lines that follow a block."""
    if isinstance(node, Sequence) and not node.flow:
        return end_of(node.items[-1])
    if isinstance(node, Mapping) and not node.flow:
        return end_of(node.pairs[-1].value)
    return node.end


def invalid(path: str, why: str, next_step: str = "Correct the file in the infra-repo, then ask again.") -> Refused:
    """The fault for a file that cannot be understood without doubt."""
    return Refused(ReasonCode.OVERLAY_INVALID, f"`{path}` cannot be used: {why}.", next_step)


def unsafe(path: str, why: str, next_step: str = "Correct the file in the infra-repo, then ask again.") -> Refused:
    """The fault for a file that looks like an attack, or could be one."""
    return Refused(ReasonCode.OVERLAY_UNSAFE, f"`{path}` was not read further: {why}.", next_step)


def decode(source: bytes, path: str) -> str:
    """The file as text, a byte order mark included. Refused over 1 MiB and when it is not UTF-8."""
    if len(source) > MAX_BYTES:
        raise unsafe(path, f"it is {len(source):,} bytes long, and more than {MAX_BYTES:,} are not read")
    try:
        return source.decode("utf-8")
    except UnicodeDecodeError as error:
        raise invalid(path, f"it is not UTF-8 text (byte {error.start} is not)") from error


def parse(source: bytes, path: str) -> Document:
    """The only document of a file. Refused: OVERLAY_INVALID, OVERLAY_UNSAFE; `path` is for the messages alone."""
    documents = parse_all(source, path)
    if len(documents) != 1:
        found = "several YAML documents" if documents else "nothing"
        raise invalid(path, f"it holds {found}, and a kustomization is exactly one document")
    return documents[0]


def parse_all(source: bytes, path: str) -> list[Document]:
    """Every document of a file. Refused as in `parse`."""
    text = decode(source, path).removeprefix("\ufeff")
    composer = _Composer(text, path)
    try:
        return list(composer.documents())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f" (line {mark.line + 1})" if mark else ""
        raise invalid(path, f"it is not valid YAML: {error.problem or error.context}{line}") from error
    except yaml.YAMLError as error:
        raise invalid(path, "it is not valid YAML: it holds a character that YAML does not allow") from error


def _span(event: Event, last: Event | None = None) -> tuple[int, int]:
    """The first character of `event`, and the one after the last of `last` (or of itself)."""
    end = (last or event).end_mark
    assert event.start_mark is not None and end is not None  # noqa: S101, PT018 - libyaml marks every event
    return event.start_mark.index, end.index


def _line(event: Event) -> int:
    assert event.start_mark is not None  # noqa: S101 - libyaml marks every event
    return event.start_mark.line + 1


class _Composer:
    """Nodes from events, one document at a time."""

    def __init__(self, text: str, path: str) -> None:
        self._text = text
        self._path = path
        self._events: Iterator[Event] = iter(yaml.parse(text, Loader=yaml.CSafeLoader))
        self._anchors: dict[str, Node] = {}
        self._anchored = False

    def documents(self) -> Iterator[Document]:
        for event in self._events:
            if isinstance(event, DocumentStartEvent):
                self._anchors, self._anchored = {}, False
                root = self._node(next(self._events), depth=0)
                yield Document(self._text, root, self._anchored)

    def _node(self, event: Event, depth: int) -> Node:
        if depth > MAX_DEPTH:
            raise unsafe(self._path, f"it is nested more than {MAX_DEPTH} levels deep")
        if isinstance(event, AliasEvent):
            return self._alias(event)
        assert isinstance(event, ScalarEvent | SequenceStartEvent | MappingStartEvent)  # noqa: S101 - the grammar says so
        if event.tag is not None:
            line = _line(event)
            raise unsafe(
                self._path, f"line {line} has an explicit YAML tag ({event.tag}), which can hide what is meant"
            )
        node: Node
        if isinstance(event, ScalarEvent):
            node = Scalar(event.value, event.style or "", *_span(event))
        elif isinstance(event, SequenceStartEvent):
            node = self._sequence(event, depth)
        else:
            node = self._mapping(event, depth)
        if event.anchor is not None:
            self._anchored = True
            self._anchors[event.anchor] = node
        return node

    def _alias(self, event: AliasEvent) -> Node:
        self._anchored = True
        node = self._anchors.get(event.anchor or "")
        if node is None:  # unknown, or an alias inside the thing it names: a loop
            raise invalid(self._path, f"line {_line(event)} has an alias (*{event.anchor}) of nothing")
        return node

    def _sequence(self, event: SequenceStartEvent, depth: int) -> Sequence:
        items: list[Node] = []
        while not isinstance(following := next(self._events), SequenceEndEvent):
            items.append(self._node(following, depth + 1))
        return Sequence(tuple(items), bool(event.flow_style), *_span(event, following))

    def _mapping(self, event: MappingStartEvent, depth: int) -> Mapping:
        pairs: dict[str, Pair] = {}
        while not isinstance(following := next(self._events), MappingEndEvent):
            key = self._node(following, depth + 1)
            if not isinstance(key, Scalar):
                raise invalid(self._path, f"line {_line(following)} has a key that is not a plain word")
            if key.value in pairs:
                line = _line(following)
                raise invalid(self._path, f"line {line} repeats the key `{key.value[:80]}`")
            pairs[key.value] = Pair(key, self._node(next(self._events), depth + 1))
        return Mapping(tuple(pairs.values()), bool(event.flow_style), *_span(event, following))
