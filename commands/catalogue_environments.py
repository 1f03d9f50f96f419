"""Reads the environments of `locktender.yaml`, and the file's defaults for them."""

from dataclasses import dataclass

from commands import catalogue_grammar as shapes
from commands import grammar
from commands.catalogue_approvals import read_approval, read_break_glass, read_groups_or_everyone, usual_lockers
from commands.catalogue_faults import did_you_mean
from commands.catalogue_parts import (
    DEFAULT_JOB,
    EVERYONE,
    Change,
    Environment,
    OnFailure,
    Reconciler,
    ReconcilerKind,
    RolloutWatch,
    Timeouts,
)
from commands.catalogue_people import Circle
from commands.catalogue_values import Section, Value
from commands.catalogue_verify import read_verify

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
    "lockers",
    "break_glass",
    "verify",
    "on_failure",
)
_JENKINS = Reconciler(ReconcilerKind.JENKINS, DEFAULT_JOB)
_READY = (ReconcilerKind.JENKINS, ReconcilerKind.NONE)


@dataclass(frozen=True)
class Known:
    """What the environments may mention, read before them."""

    circle: Circle
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
    before = len(value.report)
    section = value.section(_SETTINGS)
    misspelt = len(value.report) > before
    change = section.read("change", lambda setting: setting.choice(Change)) or Change.COMMIT
    approval = section.read("approval", lambda setting: read_approval(setting, known.circle))
    if not misspelt:  # what seems to be missing may be the misspelt setting
        _look_at_review(name, section, change)
    deployers = section.read("deployers", lambda setting: read_groups_or_everyone(setting, known.circle)) or (EVERYONE,)
    lockers = section.read("lockers", lambda setting: read_groups_or_everyone(setting, known.circle))
    reconciler = section.read("reconciler", read_reconciler) or reconcilers.of(name)
    watched = RolloutWatch.NONE if reconciler.kind is ReconcilerKind.NONE else RolloutWatch.WATCH
    return Environment(
        name=name,
        namespace=section.read("namespace", shapes.namespace) or name,
        change=change,
        approval=approval,
        deployers=deployers,
        context=section.read("context", lambda setting: setting.text("my-cluster")) or "",
        overlay=section.read("overlay", shapes.overlay) or "",
        reconciler=reconciler,
        rollout=section.read("rollout", lambda setting: setting.choice(RolloutWatch)) or watched,
        timeouts=read_timeouts(section.get("timeout"), known.timeouts),
        lockers=lockers or usual_lockers(deployers, approval),
        break_glass=section.read("break_glass", lambda setting: read_break_glass(setting, known.circle)),
        verify=section.read("verify", read_verify),
        on_failure=section.read("on_failure", lambda setting: setting.choice(OnFailure)) or OnFailure.OFFER,
    )


def _look_at_review(name: str, section: Section, change: Change) -> None:
    """A pull request and its approval come together: either alone would look reviewed and not be."""
    written, approval, glass = section.get("change"), section.get("approval"), section.get("break_glass")
    if approval and change is Change.COMMIT:
        what = "an approval is given to a pull request"
        (written or approval).fault(what, f"write `change: pull-request` for {name}")
    if written and change is Change.PULL_REQUEST and approval is None:
        what = "a pull request that nobody has to approve is not a review"
        written.fault(what, "write who may approve, as in `approval: {from: [release-managers]}`")
    elif glass and approval is None:
        what = "nothing has to be approved here, so there is nothing to break and nobody to review it afterwards"
        glass.fault(what, "write `change: pull-request` and `approval`, or leave `break_glass` out")


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
