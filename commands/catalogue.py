"""What `locktender.yaml` says: apps, environments, the promotion path, groups and people, with every default filled in.

The file is read by `catalogue_reader.read`; what is here is true by construction: every name that another part
mentions exists, every path and image fits its grammar.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum

from commands import grammar
from commands.ports import WorkloadRef

EVERYONE = "everyone"
"""In an environment's deployers: anyone in the workspace. No group can have this name."""

PER_APP_OVERLAY = "apps/{app}/overlays/{environment}"
CLASSIC_OVERLAY = "environments/{environment}"
DEFAULT_OVERLAYS = (PER_APP_OVERLAY, CLASSIC_OVERLAY)
DEFAULT_WORKLOAD = "{app}"
DEFAULT_JOB = "infra-deploy"


class Change(StrEnum):
    """How a change reaches the branch of an environment."""

    COMMIT = "commit"
    PULL_REQUEST = "pull-request"


class ReconcilerKind(StrEnum):
    """Who applies what git says."""

    JENKINS = "jenkins"
    ARGOCD = "argocd"
    FLUX = "flux"
    NONE = "none"


class RolloutWatch(StrEnum):
    """Whether the workload is watched until it runs the new image."""

    WATCH = "watch"
    NONE = "none"


class WorkloadKind(StrEnum):
    """The kinds of workload whose rollout can be watched."""

    DEPLOYMENT = "deployment"
    STATEFULSET = "statefulset"
    DAEMONSET = "daemonset"


class Kind(StrEnum):
    """What a word was meant to name, for suggestions."""

    APP = "app"
    ENVIRONMENT = "environment"
    GROUP = "group"


@dataclass(frozen=True)
class Approval:
    """Who has to say yes: `required` different people of these groups, within `expires_after`."""

    groups: tuple[str, ...]
    required: int = 1
    expires_after: timedelta = timedelta(hours=4)


@dataclass(frozen=True)
class Reconciler:
    """Who applies the environment. `job` is the Jenkins job's full name (`folder/job`); empty for the others."""

    kind: ReconcilerKind
    job: str = ""


@dataclass(frozen=True)
class Timeouts:
    """How long a build and a rollout may take before a deployment stops waiting for them."""

    build: timedelta = timedelta(minutes=30)
    rollout: timedelta = timedelta(minutes=15)


@dataclass(frozen=True)
class Workload:
    """What runs an app. `name` may hold `{app}` and `{environment}`."""

    kind: WorkloadKind = WorkloadKind.DEPLOYMENT
    name: str = DEFAULT_WORKLOAD


@dataclass(frozen=True)
class Environment:
    """A place where apps run. `deployers` are group names or `everyone`; `context` "" is the kubeconfig's current one.

    `namespace` may hold `{app}` and `{environment}`, as may `overlay`, which is empty when the file says nothing.
    """

    name: str
    namespace: str
    change: Change = Change.COMMIT
    approval: Approval | None = None
    deployers: tuple[str, ...] = (EVERYONE,)
    context: str = ""
    overlay: str = ""
    reconciler: Reconciler = Reconciler(ReconcilerKind.JENKINS, DEFAULT_JOB)
    rollout: RolloutWatch = RolloutWatch.WATCH
    timeouts: Timeouts = Timeouts()

    @property
    def anyone_may_deploy(self) -> bool:
        """True when no group is needed to ask for a deployment here."""
        return EVERYONE in self.deployers

    @property
    def production_like(self) -> bool:
        """True when a change here is reviewed: by approval, by pull request, or both."""
        return self.approval is not None or self.change is Change.PULL_REQUEST


@dataclass(frozen=True)
class App:
    """Something that is deployed. `image` has no tag; `channel`, `namespace`, `overlay` and `source` may be empty.

    `overlays` are the app's own, per environment; `overlay` is its own for all others. `source` is an https link.
    """

    name: str
    image: str
    environments: tuple[str, ...]
    workload: Workload = Workload()
    overlay: str = ""
    overlays: Mapping[str, str] = field(default_factory=dict)
    namespace: str = ""
    channel: str = ""
    source: str = ""
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True)
class Group:
    """People, by ids that Slack signs: a user group's id, or members named one by one; `github` is `org/team`."""

    name: str
    slack: str = ""
    members: tuple[str, ...] = ()
    github: str = ""


@dataclass(frozen=True)
class KnownPerson:
    """Who is the same human: a Slack user id, a GitHub login and the e-mail addresses their commits carry.

    Logins and addresses are in lower case: neither GitHub nor mail tells cases apart.
    """

    name: str
    slack: str = ""
    github: str = ""
    emails: tuple[str, ...] = ()


@dataclass(frozen=True)
class Channels:
    """Where cards are posted, by channel id."""

    deployments: str


@dataclass(frozen=True)
class RegistryHost:
    """A registry that is asked whether a tag exists before it is deployed. `url` has no path."""

    host: str
    url: str


@dataclass(frozen=True)
class Catalogue:
    """The whole file. Mappings keep the file's order; `overlay` is the file's default, empty when it has none."""

    promotion: tuple[str, ...]
    environments: Mapping[str, Environment]
    apps: Mapping[str, App]
    groups: Mapping[str, Group]
    channels: Channels
    people: Mapping[str, KnownPerson]
    registries: Mapping[str, RegistryHost]
    overlay: str = ""

    def app(self, name: str) -> App | None:
        """The app of this name or alias."""
        found = self.apps.get(name)
        return found or next((app for app in self.apps.values() if name in app.aliases), None)

    def environment(self, name: str) -> Environment | None:
        """The environment of exactly this name: abbreviations are suggested (`nearest`), never assumed."""
        return self.environments.get(name)

    def group(self, name: str) -> Group | None:
        """The group of this name; None for `everyone`, which is not a group."""
        return self.groups.get(name)

    def nearest(self, kind: Kind, word: str) -> tuple[str, ...]:
        """Up to three names of this kind that were probably meant, best first."""
        match kind:
            case Kind.APP:
                aliases = [alias for app in self.apps.values() for alias in app.aliases]
                return grammar.nearest(word, [*self.apps, *aliases])
            case Kind.ENVIRONMENT:
                return grammar.nearest(word, self.environments)
            case Kind.GROUP:
                return grammar.nearest(word, self.groups)

    def production_like(self, environment: str) -> bool:
        """True when changes to it are reviewed. An environment that is not known counts as production."""
        found = self.environments.get(environment)
        return found is None or found.production_like

    def path(self, app: App) -> tuple[str, ...]:
        """The promotion path as far as this app takes it."""
        return tuple(name for name in self.promotion if name in app.environments)

    def overlays(self, app: App, environment: Environment) -> tuple[str, ...]:
        """Where this app's overlay may be, best first: only the one the file names, else both usual places.

        The caller takes the first that exists in the tree.
        """
        named = app.overlays.get(environment.name) or app.overlay or environment.overlay or self.overlay
        templates = (named,) if named else DEFAULT_OVERLAYS
        return tuple(fill(template, app.name, environment.name) for template in templates)

    def workload(self, app: App, environment: Environment) -> WorkloadRef:
        """Which workload of which cluster runs this app here."""
        return WorkloadRef(
            kind=app.workload.kind,
            name=fill(app.workload.name, app.name, environment.name),
            namespace=fill(app.namespace or environment.namespace, app.name, environment.name),
            context=environment.context,
        )

    def channel(self, app: App) -> str:
        """The id of the channel where this app's cards are posted."""
        return app.channel or self.channels.deployments

    def registry(self, app: App) -> RegistryHost | None:
        """The registry to ask about this app's versions; None when the file does not turn that on."""
        image = grammar.image_name(app.image)
        return self.registries.get(image.host) if image else None

    def explain(self) -> tuple[str, ...]:
        """Every setting as it is in effect, defaults filled in, one `path: value` a line, for `doctor`."""
        lines = [f"promotion: {' → '.join(self.promotion) or 'none'}"]
        lines.append(f"channels.deployments: {self.channels.deployments}")
        for environment in self.environments.values():
            lines += [f"environments.{environment.name}.{line}" for line in _explain_environment(environment)]
        for app in self.apps.values():
            lines += [f"apps.{app.name}.{line}" for line in self._explain_app(app)]
        lines += [f"groups.{group.name}: {_explain_group(group)}" for group in self.groups.values()]
        lines += [f"registries.{registry.host}: asked at {registry.url}" for registry in self.registries.values()]
        if not self.registries:
            lines.append("registries: none, versions are not checked before they are deployed")
        return tuple(lines)

    def _explain_app(self, app: App) -> list[str]:
        lines = [f"image: {app.image}", f"channel: {self.channel(app)}"]
        lines += [f"aliases: {', '.join(app.aliases)}"] if app.aliases else []
        lines += [f"source: {app.source}"] if app.source else []
        for name in app.environments:
            environment = self.environments[name]
            workload = self.workload(app, environment)
            overlay = " or ".join(self.overlays(app, environment))
            lines.append(f"{name}: overlay {overlay}, workload {workload} in namespace {workload.namespace}")
        return lines


def fill(template: str, app: str, environment: str) -> str:
    """A template with its two placeholders replaced."""
    return template.replace("{app}", app).replace("{environment}", environment)


def _explain_environment(environment: Environment) -> list[str]:
    approval = environment.approval
    asked = (
        f"{approval.required} of {', '.join(approval.groups)}, within {span(approval.expires_after)}, "
        "never the requester or an author"
        if approval
        else "none"
    )
    watch = environment.rollout is RolloutWatch.WATCH
    job = f", job {environment.reconciler.job}" if environment.reconciler.job else ""
    return [
        f"change: {environment.change}",
        f"approval: {asked}",
        f"deployers: {', '.join(environment.deployers)}",
        f"namespace: {environment.namespace}",
        f"context: {environment.context or 'the current context of the kubeconfig'}",
        f"reconciler: {environment.reconciler.kind}{job}",
        f"rollout: {f'watched, for at most {span(environment.timeouts.rollout)}' if watch else 'not watched'}",
        f"timeout.build: {span(environment.timeouts.build)}",
    ]


def _explain_group(group: Group) -> str:
    parts = [f"Slack user group {group.slack}"] if group.slack else []
    parts += [f"members {', '.join(group.members)}"] if group.members else []
    parts += [f"GitHub team {group.github}"] if group.github else []
    return "; ".join(parts)


def span(duration: timedelta) -> str:
    """A duration as the file writes it: `90s`, `15m`, `4h`, `7d`."""
    seconds = int(duration.total_seconds())
    for unit, length in (("d", 86_400), ("h", 3600), ("m", 60)):
        if seconds and seconds % length == 0:
            return f"{seconds // length}{unit}"
    return f"{seconds}s"
