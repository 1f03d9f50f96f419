"""Reads the groups and the people of `locktender.yaml`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from commands import catalogue_grammar as shapes
from commands.catalogue_faults import quoted
from commands.catalogue_parts import EVERYONE, Group, KnownPerson
from commands.catalogue_values import Section, Value


@dataclass(frozen=True)
class Circle:
    """The groups and people that rules may name."""

    groups: Mapping[str, Group]
    people: Mapping[str, KnownPerson]

    def human(self, user_id: str) -> str:
        """One key for the human behind a Slack user id, the same for all ids of one person."""
        name = next((one.name for one in self.people.values() if user_id in one.slack), None)
        return user_id if name is None else human(name)


def human(name: str) -> str:
    """The key of a known person; no Slack user id looks like it."""
    return f"people.{name}"


def read_groups(value: Value | None) -> dict[str, Group]:
    """Every group that has a proper name."""
    found: dict[str, Group] = {}
    for key, setting in value.entries("release-managers: {slack: S0123ABCD}") if value else []:
        name = key.name("a group")
        if name == EVERYONE:
            key.fault("`everyone` means anyone in the workspace", "name the group otherwise")
        if name is None:
            continue
        section = setting.section(("slack", "members", "github"))
        if not section.values and (setting.is_mapping or setting.is_empty):
            setting.fault("nobody is in this group", "write `slack: S0123ABCD` or `members: [U0123ABCD]`")
        found[name] = _group(name, section)
    return found


def _group(name: str, section: Section) -> Group:
    return Group(
        name,
        slack=section.read("slack", shapes.user_group) or "",
        members=section.read("members", _members) or (),
        github=section.read("github", shapes.github_team) or "",
    )


def _members(value: Value) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for item in value.items("[U0123ABCD]"):
        member = shapes.user(item)
        if member is not None and member in found:
            item.fault(f"{quoted(member)} is there twice", "write each member once")
        if member is not None:
            found[member] = None
    return tuple(found)


def read_people(value: Value | None) -> dict[str, KnownPerson]:
    """Who is the same human: an identity in two entries would break the checks against approving one's own change."""
    found: dict[str, KnownPerson] = {}
    taken: dict[str, tuple[str, int]] = {}
    for key, setting in value.entries("alice: {slack: U0123ABCD, github: alice}") if value else []:
        name = key.text("alice")
        if name is None:
            continue
        section = setting.section(("slack", "github", "emails"))
        read = _Identities(name, taken)
        found[name] = KnownPerson(
            name,
            slack=read.of(section.get("slack"), shapes.user, "[U0123ABCD, U0456EFGH]"),
            github=read.of(section.get("github"), shapes.github_login, "[alice, alice-work]"),
            emails=read.of(section.get("emails"), shapes.email, "[alice@example.com]"),
        )
    return found


class _Identities:
    """One person's ids, logins and addresses. `taken` knows whose each is, and in which line, over all people."""

    def __init__(self, name: str, taken: dict[str, tuple[str, int]]) -> None:
        self._name = name
        self._taken = taken

    def of(self, value: Value | None, shape: Callable[[Value], str | None], example: str) -> tuple[str, ...]:
        """One identity, or a list of them."""
        if value is None:
            return ()
        items = value.items(example) if value.is_list else [value]
        return tuple(identity for item in items if (identity := shape(item)) and self._is_new(item, identity))

    def _is_new(self, item: Value, identity: str) -> bool:
        if identity not in self._taken:
            self._taken[identity] = (self._name, item.line)
            return True
        other, line = self._taken[identity]
        if other == self._name:
            item.fault(f"{quoted(identity)} is there twice: first in line {line}", "write it once")
        else:
            item.fault(f"{quoted(identity)} is {quoted(other)} too, in line {line}", "write it for one of them only")
        return False
