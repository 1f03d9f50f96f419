"""Reads typed values from YAML nodes and words what is wrong with them.

Every reading method answers None when it has put a fault into the report, so that the caller goes on and finds the
other faults too.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import TypeVar

import yaml

from commands import grammar
from commands.catalogue_faults import Report, did_you_mean, quoted
from commands.catalogue_yaml import place

Choice = TypeVar("Choice", bound=StrEnum)
Result = TypeVar("Result")

_STRING = "tag:yaml.org,2002:str"
_NULL = "tag:yaml.org,2002:null"
_BOOL = "tag:yaml.org,2002:bool"
_READ_AS = {  # what YAML 1.1 makes of a bare word
    _BOOL: "true or false",
    "tag:yaml.org,2002:int": "a number",
    "tag:yaml.org,2002:float": "a number",
    "tag:yaml.org,2002:timestamp": "a date",
}
_NUMBER = re.compile(r"0|[1-9][0-9]{0,4}")
_DURATION = re.compile(r"([1-9][0-9]{0,7})([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_LONGEST = timedelta(days=365)
_NAME_RULE = "lower-case letters, digits and hyphens, at most 63, with a letter or digit at both ends"


@dataclass(frozen=True)
class Value:
    """One value of the file, and the way to it."""

    node: yaml.Node
    path: str
    report: Report
    key: yaml.Node | None = None

    @property
    def is_empty(self) -> bool:
        """True when nothing is written after the colon."""
        return isinstance(self.node, yaml.ScalarNode) and self.node.tag == _NULL

    @property
    def is_mapping(self) -> bool:
        """True for `key: value` pairs."""
        return isinstance(self.node, yaml.MappingNode)

    @property
    def is_list(self) -> bool:
        """True for `[a, b]`, with or without anything in it."""
        return isinstance(self.node, yaml.SequenceNode)

    @property
    def is_empty_list(self) -> bool:
        """True for `[]`."""
        return isinstance(self.node, yaml.SequenceNode) and not self.node.value

    @property
    def line(self) -> int:
        """The line of the file, from 1."""
        return place(self.node.start_mark)[0]

    def is_word(self, word: str) -> bool:
        """True when exactly this is written."""
        return isinstance(self.node, yaml.ScalarNode) and self.node.value == word

    def fault(self, what: str, instead: str) -> None:
        """Report this value."""
        # What stands below its key begins a line later than a reader looks for it.
        below = isinstance(self.node, yaml.CollectionNode) and not self.node.flow_style
        line, column = place((self.key if self.key and below else self.node).start_mark)
        self.report.add(line, column, self.path, what, instead)

    def text(self, example: str) -> str | None:
        """A string that is not empty and hides nothing. `example` shows what belongs here."""
        node = self.node
        if not isinstance(node, yaml.ScalarNode):
            self.fault(f"is {_shape(node)}, not text", f"write one value, as in `{example}`")
            return None
        if node.tag == _NULL or not node.value:
            hint = " (a `#` after a space begins a comment)" if node.tag == _NULL else ""
            self.fault(f"is empty{hint}", f"write a value, as in `{example}`")
            return None
        if node.tag != _STRING:
            read_as = _READ_AS.get(node.tag, "something else")
            in_quotes = '"' + node.value + '"'
            self.fault(f"YAML reads {quoted(node.value)} as {read_as}", f"write it in quotes: {quoted(in_quotes)}")
            return None
        if unsafe := grammar.unsafe_characters(node.value):
            self.fault(f"contains {unsafe}", "write it without")
            return None
        return str(node.value)

    def written(self, example: str) -> str | None:
        """Text as `text` takes it, and also what YAML takes for a number or a date (`16:00` is 960 to YAML 1.1)."""
        node = self.node
        if isinstance(node, yaml.ScalarNode) and node.tag in _READ_AS and node.tag != _BOOL:
            return str(node.value)
        return self.text(example)

    def matching(self, pattern: re.Pattern[str], rule: str, example: str) -> str | None:
        """A string of this grammar, which `rule` puts in words."""
        text = self.text(example)
        if text is None or pattern.fullmatch(text):
            return text
        self.fault(f"{quoted(text)} is not {rule}", f"write it as in `{example}`")
        return None

    def name(self, what: str) -> str | None:
        """The name of an app, an environment or a group."""
        text = self.text("my-name")
        if text is None or grammar.NAME.fullmatch(text):
            return text
        better = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:63].strip("-")
        instead = f"write `{better}`, say" if better else "write one as in `my-name`"
        self.fault(f"{quoted(text)} cannot name {what} ({_NAME_RULE})", instead)
        return None

    def number(self, low: int, high: int) -> int | None:
        """A whole number between two, written plainly."""
        node = self.node
        plain = isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:int"
        if plain and _NUMBER.fullmatch(node.value) and low <= int(node.value) <= high:
            return int(node.value)
        self.fault(f"{_shape(node)} is not a number from {low} to {high}", f"write `{low}`, without quotes")
        return None

    def duration(self, example: str) -> timedelta | None:
        """How long: a number and one of s, m, h, d."""
        node = self.node
        if isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:int":
            self.fault(f"{quoted(node.value)} has no unit", f"write `{example}` (units are s, m, h and d)")
            return None
        text = self.text(example)
        if text is None:
            return None
        match = _DURATION.fullmatch(text)
        if match is None:
            self.fault(f"{quoted(text)} is not a duration", f"write one as in `{example}` (s, m, h or d)")
            return None
        length = timedelta(**{_UNITS[match[2]]: int(match[1])})
        if length > _LONGEST:
            self.fault(f"{quoted(text)} is more than a year", f"write one as in `{example}`")
            return None
        return length

    def choice(self, choices: type[Choice]) -> Choice | None:
        """One of a closed list of words."""
        words = [choice.value for choice in choices]
        text = self.text(words[0])
        if text is None:
            return None
        if text in words:
            return choices(text)
        otherwise = f"write {' or '.join(f'`{word}`' for word in words)}"
        self.fault(f"{quoted(text)} is not a choice here", did_you_mean(grammar.nearest(text, words, 1), otherwise))
        return None

    def items(self, example: str) -> list["Value"]:
        """The values of a list that is not empty; an empty list after a fault."""
        if not isinstance(self.node, yaml.SequenceNode):
            self.fault(f"{_shape(self.node)} is not a list", f"write a list, as in `{example}`")
            return []
        if not self.node.value:
            self.fault("is an empty list", f"write at least one, as in `{example}`")
        return [Value(item, f"{self.path}[{index}]", self.report) for index, item in enumerate(self.node.value)]

    def entries(self, example: str) -> list[tuple["Value", "Value"]]:
        """The keys and values of a mapping, each key once; nothing after the colon is an empty mapping."""
        if self.is_empty:
            return []
        if not isinstance(self.node, yaml.MappingNode):
            self.fault(f"{_shape(self.node)} is not a mapping", f"write settings below it, as in `{example}`")
            return []
        found: dict[str, tuple[Value, Value]] = {}
        for key_node, node in self.node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                Value(key_node, self.path, self.report).fault("the key is not a word", f"write it as in `{example}`")
                continue
            shown = quoted(key_node.value)[1:-1]
            path = f"{self.path}.{shown}" if self.path else shown
            key = Value(key_node, path, self.report)
            if key_node.value in found:
                line = place(found[key_node.value][0].node.start_mark)[0]
                key.fault(f"is there twice: first in line {line}", "write it once")
                continue
            found[key_node.value] = (key, Value(node, path, self.report, key_node))
        return list(found.values())

    def section(self, known: tuple[str, ...]) -> "Section":
        """The settings of a mapping, of which these are known; the others are faults."""
        values: dict[str, Value] = {}
        for key, value in self.entries(f"{known[0]}: …"):
            word = str(key.node.value)
            if word in known:
                values[word] = value
                continue
            otherwise = f"the settings here are {', '.join(f'`{name}`' for name in known)}"
            key.fault("is not a setting", did_you_mean(grammar.nearest(word, known, 1), otherwise))
        return Section(self, values)


@dataclass(frozen=True)
class Section:
    """The known settings of one mapping."""

    itself: Value
    values: dict[str, Value]

    def get(self, key: str) -> Value | None:
        """The setting, or None when it is not written."""
        return self.values.get(key)

    def read(self, key: str, reader: Callable[[Value], Result | None]) -> Result | None:
        """What the reader makes of the setting; None when it is not written or has a fault."""
        found = self.values.get(key)
        return reader(found) if found else None

    def need(self, key: str, instead: str) -> Value | None:
        """The setting; None after a fault when it is not written. `instead` says what to write."""
        found = self.values.get(key)
        if found is None:
            path = f"{self.itself.path}.{key}" if self.itself.path else key
            Value(self.itself.node, path, self.itself.report, self.itself.key).fault("is missing", instead)
        return found


def _shape(node: yaml.Node) -> str:
    if isinstance(node, yaml.ScalarNode):
        return "nothing" if node.tag == _NULL else quoted(node.value)
    return "a list" if isinstance(node, yaml.SequenceNode) else "a mapping"
