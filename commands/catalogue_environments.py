"""Reads the environments of `locktender.yaml`, and the file's defaults for them."""

from dataclasses import dataclass

from commands import catalogue_grammar as shapes
from commands import grammar
from commands.catalogue import (
    DEFAULT_JOB,
    EVERYONE,
    Approval,
    Change,
    Environment,
    Group,
    Reconciler,
    ReconcilerKind,
    RolloutWatch,
    Timeouts,
)
from commands.catalogue_faults import did_you_mean, quoted
from commands.catalogue_values import Value

_SETTINGS = (
    "change",
    "approval",
    "deployers",
    "namespace",
    "context",
    "overlay",
    "reconciler",
    "rollout",
    "timeout",
)
_MOST_APPROVERS = 20
_JENKINS = Reconciler(ReconcilerKind.JENKINS, DEFAULT_JOB)
_READY = (ReconcilerKind.JENKINS, ReconcilerKind.NONE)


@dataclass(frozen=True)
class Known:
    """What the environments may mention, read before them."""

    groups: dict[str, Group]
    timeouts: Timeouts
    reconciler: Value | None  # the file's own default, for all environments or by environment


def read_environments(value: Value | None, known: Known) -> dict[str, Environment]:
    """Every environment that has a proper name; what is wrong in it is reported and has its default."""
    found: dict[str, Environment] = {}
    entries = value.entries("staging: {}") if value else []
    if value and not entries and (value.is_empty or value.is_mapping):
        value.fault("there is no environment", "write at least one, as in `staging: {}`")
    names = [str(key.node.value) for key, _ in entries]
    reconcilers = _Reconcilers(known.reconciler, names)
    for key, setting in entries:
        name = key.name("an environment")
        if name is not None:
            found[name] = _environment(name, setting, known, reconcilers)
    return found


def _environment(name: str, value: Value, known: Known, reconcilers: "_Reconcilers") -> Environment:
    section = value.section(_SETTINGS)
    change = section.read("change", lambda setting: setting.choice(Change)) or Change.COMMIT
    approval = section.read("approval", lambda setting: _approval(setting, known.groups))
    if approval and change is Change.COMMIT:
        where = section.get("change") or section.get("approval") or value
        where.fault("an approval is given to a pull request", f"write `change: pull-request` for {name}")
    reconciler = section.read("reconciler", read_reconciler) or reconcilers.of(name)
    watched = RolloutWatch.NONE if reconciler.kind is ReconcilerKind.NONE else RolloutWatch.WATCH
    return Environment(
        name=name,
        namespace=section.read("namespace", shapes.namespace) or name,
        change=change,
        approval=approval,
        deployers=section.read("deployers", lambda setting: _deployers(setting, known.groups)) or (EVERYONE,),
        context=section.read("context", lambda setting: setting.text("my-cluster")) or "",
        overlay=section.read("overlay", shapes.overlay) or "",
        reconciler=reconciler,
        rollout=section.read("rollout", lambda setting: setting.choice(RolloutWatch)) or watched,
        timeouts=read_timeouts(section.get("timeout"), known.timeouts),
    )


def _approval(value: Value, groups: dict[str, Group]) -> Approval | None:
    section = value.section(("from", "required", "expires_after"))
    source = section.need("from", "write the groups that may approve, as in `from: [release-managers]`")
    names = _groups(source, groups) if source else ()
    if source and EVERYONE in names:
        source.fault("`everyone` cannot approve", "name the groups that may")
    count = section.read("required", lambda setting: setting.number(1, _MOST_APPROVERS)) or 1
    can = _people(names, groups)
    if can is not None and names and count > len(can):
        (section.get("required") or value).fault(
            f"{count} must approve and only {len(can)} can", "add members, or ask for fewer"
        )
    length = section.read("expires_after", lambda setting: setting.duration("4h"))
    return Approval(names, count, length) if length else Approval(names, count)


def _people(names: tuple[str, ...], groups: dict[str, Group]) -> set[str] | None:
    """Everyone in these groups, when the file itself names them all; None when Slack or GitHub knows more."""
    chosen = [groups[name] for name in names if name in groups]
    if len(chosen) < len(names) or any(group.slack or group.github for group in chosen):
        return None
    return {member for group in chosen for member in group.members}


def _deployers(value: Value, groups: dict[str, Group]) -> tuple[str, ...]:
    if value.is_word(EVERYONE):
        return (EVERYONE,)
    names = _groups(value, groups)
    if EVERYONE in names and len(names) > 1:
        value.fault("`everyone` makes the other groups meaningless", "write `everyone`, or the groups alone")
    return names


def _groups(value: Value, groups: dict[str, Group]) -> tuple[str, ...]:
    names: dict[str, None] = {}
    for item in value.items("[release-managers]"):
        name = item.text("release-managers")
        if name is None:
            continue
        if name in names:
            item.fault(f"{quoted(name)} is there twice", "write it once")
        elif name not in groups and name != EVERYONE:
            otherwise = (
                f"write `{name}: {{slack: S0…}}` below `groups`" if grammar.NAME.fullmatch(name) else "name a group"
            )
            guesses = grammar.nearest(name, groups, 1)
            item.fault(f"there is no group {quoted(name)}", did_you_mean(guesses, otherwise))
        names[name] = None
    return tuple(names)


class _Reconcilers:
    """The file's default reconciler: one for all environments, or one each."""

    def __init__(self, value: Value | None, environments: list[str]) -> None:
        self._default = _JENKINS
        self._own: dict[str, Reconciler] = {}
        if value is None:
            return
        entries = value.entries("jenkins: {job: infra-deploy}") if value.is_mapping else []
        if not entries or any(str(key.node.value) in set(ReconcilerKind) for key, _ in entries):
            self._default = read_reconciler(value)
            return
        for key, setting in entries:
            name = str(key.node.value)
            if name in environments:
                self._own[name] = read_reconciler(setting)
            else:
                words = [*environments, *(kind.value for kind in ReconcilerKind)]
                guesses = grammar.nearest(name, words, 1)
                key.fault(
                    "is neither a reconciler nor an environment", did_you_mean(guesses, "write `jenkins` or `none`")
                )

    def of(self, environment: str) -> Reconciler:
        """The default for this environment."""
        return self._own.get(environment, self._default)


def read_reconciler(value: Value) -> Reconciler:
    """`jenkins`, `none`, or `{jenkins: {job: …}}`; Argo CD and Flux are known and refused."""
    settings: Value | None = None
    named: Value | None = value
    if value.is_mapping:
        entries = value.entries("jenkins: {job: infra-deploy}")
        if len(entries) != 1:
            value.fault(f"{len(entries)} reconcilers are named", "write one, as in `{jenkins: {job: infra-deploy}}`")
        named, settings = entries[0] if entries else (None, None)
    kind = named.choice(ReconcilerKind) if named else None
    if kind is None:
        return _JENKINS
    if named and kind not in _READY:
        named.fault(f"reconciler {kind} is not supported in this version", "write `jenkins` or `none`")
    if kind is not ReconcilerKind.JENKINS:
        if settings and kind in _READY and not settings.is_empty and settings.entries("{}"):
            settings.fault(f"{kind} has no settings", f"write `reconciler: {kind}`")
        return Reconciler(kind)
    section = settings.section(("job",)) if settings else None
    job = section.read("job", shapes.job) if section else None
    return Reconciler(kind, job or DEFAULT_JOB)


def read_timeouts(value: Value | None, default: Timeouts) -> Timeouts:
    """`{build: 30m, rollout: 15m}`, each with its default."""
    if value is None:
        return default
    section = value.section(("build", "rollout"))
    build = section.read("build", lambda setting: setting.duration("30m"))
    rollout = section.read("rollout", lambda setting: setting.duration("15m"))
    return Timeouts(build or default.build, rollout or default.rollout)
