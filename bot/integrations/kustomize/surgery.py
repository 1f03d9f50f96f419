"""Where to cut: the smallest change of a kustomization's text that sets one field of its `images:` list. Pure.

Each function looks at one parsed document and answers one `Splice`; `edit.set_image` applies it, parses again and asks
for the next, so no two cuts can overlap. Nothing here is trusted: `edit` compares what the result says with what was
meant.
"""

import re
from dataclasses import dataclass
from enum import StrEnum

from bot.integrations.kustomize.document import Document, Mapping, Node, Pair, Scalar, Sequence, end_of, not_a_string


class Field(StrEnum):
    """The fields of an entry that an edit decides, in the order in which people write them."""

    NEW_NAME = "newName"
    NEW_TAG = "newTag"
    TAG_SUFFIX = "tagSuffix"
    DIGEST = "digest"


@dataclass(frozen=True)
class Wanted:
    """What the entry `name` must say in the end: `present` fields with their values, `absent` ones not at all."""

    name: str
    present: tuple[tuple[Field, str], ...]
    absent: tuple[Field, ...]


@dataclass(frozen=True)
class Splice:
    """Replace the characters from `start` up to `end` by `text`."""

    start: int
    end: int
    text: str

    def apply(self, text: str) -> str:
        """The text after the cut."""
        return text[: self.start] + self.text + text[self.end :]


_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]*(:[A-Za-z0-9._/-]+)?")
_GAP = re.compile(r"\s*,\s*")
_COLON = re.compile(r"[ \t]*:[ \t]*")


def entry_of(document: Document, name: str) -> Mapping | None:
    """The entry of the `images:` list with this name."""
    images = document.root.get("images") if isinstance(document.root, Mapping) else None
    for item in images.items if isinstance(images, Sequence) else ():
        if isinstance(item, Mapping) and isinstance(found := item.get("name"), Scalar) and found.value == name:
            return item
    return None


def next_splice(document: Document, wanted: Wanted) -> Splice | None:
    """The next cut on the way to what is wanted; None when the document says it already."""
    text = document.text
    entry = entry_of(document, wanted.name)
    if entry is None:
        return _add_entry(document, wanted)
    missing = [(key, value) for key, value in wanted.present if entry.pair(key) is None]
    superfluous = [pair for key in wanted.absent if (pair := entry.pair(key))]
    if superfluous and missing and missing[0][0] is not Field.NEW_NAME:
        return _rewrite(text, superfluous[0], *missing[0])  # a digest becomes a tag on its own line, or the reverse
    for key, value in wanted.present:
        pair = entry.pair(key)
        if pair and isinstance(pair.value, Scalar) and not (pair.value.is_string and pair.value.value == value):
            return _replace(text, pair.value, _written(key, value, quoted=pair.value.style != "" or entry.flow))
    if missing:
        return _insert(text, entry, *missing[0])
    return _remove(text, entry, superfluous[0]) if superfluous else None


# ---------------------------------------------------------------- one field of an entry


def _replace(text: str, scalar: Scalar, written: str) -> Splice:
    gap = " " if scalar.start == scalar.end and text[scalar.start - 1 : scalar.start] == ":" else ""
    return Splice(scalar.start, scalar.end, gap + written)


def _rewrite(text: str, pair: Pair, key: Field, value: str) -> Splice:
    written = _key(key, pair.key) + _colon(text, pair) + _written(key, value, quoted=True)
    return Splice(pair.key.start, end_of(pair.value), written)


def _insert(text: str, entry: Mapping, key: Field, value: str) -> Splice:
    """After the fields that come before it by habit, or after `name`."""
    before = ["name", *list(Field)[: list(Field).index(key)]]
    index = max(i for i, pair in enumerate(entry.pairs) if pair.key.value in before)
    anchor = entry.pairs[index]
    if entry.flow:
        written = _key(key, anchor.key) + _colon(text, anchor) + _written(key, value, quoted=True)
        at = end_of(anchor.value)
        return Splice(at, at, _flow_gap(text, entry, index) + written)
    first = entry.pairs[0].key
    line = " " * _column(text, first.start) + f"{_key(key, first)}: {_written(key, value, quoted=False)}"
    return _lines_after(text, end_of(anchor.value), [line])


def _remove(text: str, entry: Mapping, pair: Pair) -> Splice:
    index = entry.pairs.index(pair)
    start, end = pair.key.start, end_of(pair.value)
    if entry.flow:
        if index:
            return Splice(end_of(entry.pairs[index - 1].value), end, "")
        return Splice(start, entry.pairs[1].key.start, "")
    line = _line_start(text, start)
    if text[line:start].strip():  # shares its line with the dash
        following = entry.pairs[1].key.start
        if "#" not in text[end:following]:
            return Splice(start, following, "")
        return Splice(start, end + len(text[end:]) - len(text[end:].lstrip(" ")), "")  # the comments stay
    after = _line_end(text, end)
    if after == len(text):
        return Splice(_line_end_before(text, line), after, "")
    return Splice(line, text.index("\n", after) + 1, "")


# ---------------------------------------------------------------- a whole entry


def _add_entry(document: Document, wanted: Wanted) -> Splice:
    text, root = document.text, document.root
    assert isinstance(root, Mapping)  # noqa: S101 - edit refuses anything else
    images = root.pair("images")
    if images is None:
        return _add_list(text, root, wanted)
    value = images.value
    if isinstance(value, Sequence) and not value.flow:
        return _append_block(text, value, wanted)
    if isinstance(value, Sequence):
        inline = _inline(wanted, value.items[-1] if value.items else images.key)
        at = end_of(value.items[-1]) if value.items else value.start + 1
        return Splice(at, at, (_flow_gap(text, value, len(value.items) - 1) if value.items else "") + inline)
    if root.flow or value.start != value.end:
        assert isinstance(value, Scalar)  # noqa: S101 - edit lets only null pass
        return _replace(text, value, f"[{_inline(wanted, images.key)}]")
    indent = " " * (_column(text, images.key.start) + _dash_offset(text, root))
    return _lines_after(text, value.end, _block(wanted, indent, " "))


def _add_list(text: str, root: Mapping, wanted: Wanted) -> Splice:
    """An `images:` list at the end of the file."""
    last = root.pairs[-1] if root.pairs else None
    if root.flow:
        key = last.key if last else None
        gap = _flow_gap(text, root, len(root.pairs) - 1) if last else ""
        at = end_of(last.value) if last else root.start + 1
        quote = key.style if key else ""
        return Splice(at, at, f"{gap}{quote}images{quote}: [{_inline(wanted, key)}]")
    margin = " " * _column(text, root.pairs[0].key.start)
    indent = margin + " " * _dash_offset(text, root)
    lines = [f"{margin}images:", *_block(wanted, indent, " ")]
    eol = _eol(text, len(text))
    if not text.endswith("\n") and _ends_in_literal(root):
        # A line break after the last line would become part of the literal text: go before its key instead.
        at = _line_start(text, root.pairs[-1].key.start)
        return Splice(at, at, "".join(line + eol for line in lines))
    if text.endswith("\n"):
        return Splice(len(text), len(text), "".join(line + eol for line in lines))
    return Splice(len(text), len(text), "".join(eol + line for line in lines))


def _ends_in_literal(node: Node) -> bool:
    if isinstance(node, Scalar):
        return node.style in {"|", ">"}
    if node.flow:
        return False
    return _ends_in_literal(node.pairs[-1].value if isinstance(node, Mapping) else node.items[-1])


def _append_block(text: str, images: Sequence, wanted: Wanted) -> Splice:
    last = images.items[-1]
    column = _column(text, images.start)
    before = text[_line_start(text, last.start) : last.start]
    gap = before[column + 1 :] if before[column : column + 1] == "-" and not before[column + 1 :].strip() else " "
    if isinstance(last, Mapping) and last.flow:
        lines = [f"{' ' * column}-{gap}{_inline(wanted, last)}"]
    else:
        lines = _block(wanted, " " * column, gap)
    return _lines_after(text, end_of(last), lines)


def _fields(wanted: Wanted) -> list[tuple[str, str]]:
    return [("name", wanted.name), *wanted.present]


def _block(wanted: Wanted, indent: str, gap: str) -> list[str]:
    lines = [f"{key}: {_written(key, value, quoted=False)}" for key, value in _fields(wanted)]
    return [indent + (f"-{gap}" if number == 0 else f" {' ' * len(gap)}") + line for number, line in enumerate(lines)]


def _inline(wanted: Wanted, like: Node | None) -> str:
    """`{name: …, newTag: "…"}`, in JSON's quotes where the neighbour has them."""
    if isinstance(like, Mapping) and like.pairs:
        like = like.pairs[0].key
    json = isinstance(like, Scalar) and like.style == '"'
    quote = '"' if json else ""
    pairs = (f"{quote}{key}{quote}: {_written(key, value, quoted=json)}" for key, value in _fields(wanted))
    return "{" + ", ".join(pairs) + "}"


# ---------------------------------------------------------------- words and lines


def _written(key: str, value: str, *, quoted: bool) -> str:
    """Tags and digests always in double quotes: `1.10`, `no` and `0123` are not strings without them."""
    if quoted or key not in {"name", Field.NEW_NAME} or not _PLAIN.fullmatch(value) or not_a_string(value):
        return f'"{value}"'
    return value


def _key(key: str, like: Scalar) -> str:
    return f"{like.style}{key}{like.style}" if like.style in {"'", '"'} else key


def _colon(text: str, pair: Pair) -> str:
    between = text[pair.key.end : pair.value.start]
    return between if _COLON.fullmatch(between) and (pair.key.style or between.endswith(" ")) else ": "


def _flow_gap(text: str, parent: Mapping | Sequence, index: int) -> str:
    """What stands between two members of a flow collection, so that a new one is spaced like its neighbours."""
    members = _spans(parent)
    if len(members) > 1:
        index = max(index, 1)
        gap = text[members[index - 1][1] : members[index][0]]
    else:
        lead = text[parent.start + 1 : members[0][0]]
        gap = "," + (lead if "\n" in lead else " ")
    return gap if _GAP.fullmatch(gap) else ", "


def _spans(parent: Mapping | Sequence) -> list[tuple[int, int]]:
    if isinstance(parent, Mapping):
        return [(pair.key.start, end_of(pair.value)) for pair in parent.pairs]
    return [(item.start, end_of(item)) for item in parent.items]


def _dash_offset(text: str, root: Mapping) -> int:
    """How far this file's authors indent the dashes of a list under its key."""
    for pair in root.pairs:
        if isinstance(pair.value, Sequence) and not pair.value.flow:
            return max(0, _column(text, pair.value.start) - _column(text, pair.key.start))
    return 0


def _lines_after(text: str, position: int, lines: list[str]) -> Splice:
    eol = _eol(text, position)
    if position and text[position - 1] == "\n":  # a literal block ends after its line break
        return Splice(position, position, "".join(line + eol for line in lines))
    at = _line_end(text, position)
    return Splice(at, at, "".join(eol + line for line in lines))


def _line_start(text: str, position: int) -> int:
    return text.rfind("\n", 0, position) + 1


def _line_end(text: str, position: int) -> int:
    """Where the line's break begins, or the text ends."""
    feed = text.find("\n", position)
    if feed < 0:
        return len(text)
    return feed - 1 if feed > position and text[feed - 1] == "\r" else feed


def _line_end_before(text: str, line: int) -> int:
    """Where the break that ends the line before `line` begins."""
    return max(0, line - (2 if text[max(0, line - 2) : line] == "\r\n" else 1))


def _column(text: str, position: int) -> int:
    return position - _line_start(text, position)


def _eol(text: str, position: int) -> str:
    feed = text.find("\n", position)
    if feed < 0:
        feed = text.rfind("\n")
    return "\r\n" if feed > 0 and text[feed - 1] == "\r" else "\n"
