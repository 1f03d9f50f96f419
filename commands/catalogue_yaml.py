"""From bytes to a tree of YAML nodes with line numbers, or faults; never an exception, whatever the bytes are.

The file comes from a repository that many people can write to, so size, depth and count are bounded before the tree
is built, and what makes YAML dangerous or ambiguous (aliases, tags, several documents, tabs) is refused.
"""

import re
from collections.abc import Iterator
from typing import Protocol

import yaml

from commands import grammar
from commands.catalogue_faults import Report, quoted

LARGEST = 1024 * 1024  # bytes
_DEEPEST = 20  # the deepest sensible setting is 6 levels down
_MOST_VALUES = 100_000

_INDENTED_BY_TAB = re.compile(r"[ ]*\t")
_NO_CHARACTER = re.compile("[\ufffe\uffff]")
_LINE_BREAK = re.compile(r"\r\n|\r|\n")  # what YAML counts as one; `splitlines` knows more of them


def compose(source: bytes, report: Report) -> yaml.Node | None:
    """The root node; None when the report says why there is none."""
    text = _decode(source, report)
    if text is None:
        return None
    before = len(report)
    _look_at_lines(text, report)
    if len(report) > before:
        return None
    try:
        if not _look_at_events(text, report):
            return None
        root = yaml.compose(text, Loader=yaml.CSafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = "; ".join(part for part in (error.context, error.problem) if part)
        line, column = place(mark)
        report.add(line, column, "", f"this is not YAML ({what})", "check indentation, quotes and brackets up to here")
        return None
    except yaml.YAMLError as error:
        # The C reader's own complaint, about a character that `_look_at_lines` has no name for.
        what = str(error).partition("\n")[0]
        report.add(1, 1, "", f"this is not YAML ({what})", "write the file as plain UTF-8 text")
        return None
    if root is None or (isinstance(root, yaml.ScalarNode) and not root.value):
        report.add(1, 1, "", "the file is empty", "write at least `environments`, `apps` and `channels`")
        return None
    return root


class Mark(Protocol):
    """A place in the text, counted from 0, as both the C parser and the Python one have it."""

    line: int
    column: int


def place(mark: Mark | None) -> tuple[int, int]:
    """Line and column, both from 1, of a mark that the parser left."""
    return (mark.line + 1, mark.column + 1) if mark else (1, 1)


def _decode(source: bytes, report: Report) -> str | None:
    if len(source) > LARGEST:
        report.add(1, 1, "", f"the file has {len(source):,} bytes", f"write at most {LARGEST:,} bytes")
        return None
    try:
        # Windows editors begin UTF-8 files with a byte order mark; it means nothing.
        return source.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = source.count(b"\n", 0, error.start) + 1
        column = error.start - source.rfind(b"\n", 0, error.start)
        what = f"byte 0x{source[error.start]:02x} is not UTF-8"
        report.add(line, column, "", what, "save the file as UTF-8")
        return None


def _look_at_lines(text: str, report: Report) -> None:
    for number, line in enumerate(_LINE_BREAK.split(text), start=1):
        if tab := _INDENTED_BY_TAB.match(line):
            report.add(number, tab.end(), "", "a tab indents this line", "write spaces: YAML allows no tabs there")
        unsafe = grammar.unsafe_characters(line.replace("\t", " "))
        if unsafe is None and (stray := _NO_CHARACTER.search(line)):
            unsafe = f"a code that is no character (U+{ord(stray[0]):04X})"
        if unsafe:
            report.add(number, 1, "", f"there is {unsafe} in this line", "write the line without it")


def _look_at_events(text: str, report: Report) -> bool:
    """Refuse what could explode or surprise, looking at a stream of events that needs no memory."""
    before = len(report)
    depth = documents = 0
    for count, event in enumerate(_events(text)):
        line, column = place(event.start_mark)
        if count > _MOST_VALUES:
            report.add(line, column, "", "the file has too many values", f"write at most {_MOST_VALUES:,} of them")
            return False
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents > 1:
                report.add(line, column, "", "a second document begins here", "write one document, without `---`")
                return False
        _look_at_properties(event, line, column, report)
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > _DEEPEST:
                report.add(line, column, "", f"more than {_DEEPEST} levels are nested here", "write fewer")
                return False
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
    return len(report) == before


def _look_at_properties(event: yaml.Event, line: int, column: int, report: Report) -> None:
    if isinstance(event, yaml.AliasEvent):
        report.add(
            line,
            column,
            "",
            f"{quoted(f'*{event.anchor}')} is an alias",
            "write the value out",
        )
        return
    if not isinstance(event, yaml.NodeEvent):
        return
    if event.anchor:
        report.add(line, column, "", f"{quoted(f'&{event.anchor}')} is an anchor", "write the value without it")
    tag = event.tag if isinstance(event, yaml.ScalarEvent | yaml.CollectionStartEvent) else None
    if tag is not None:
        report.add(line, column, "", f"the value has a tag ({quoted(tag)})", "write the value without it")


def _events(text: str) -> Iterator[yaml.Event]:
    yield from yaml.parse(text, Loader=yaml.CSafeLoader)
