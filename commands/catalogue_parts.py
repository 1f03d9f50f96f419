"""What the catalogue is made of: environments, apps, groups and people, with every default of `locktender.yaml`.

`commands.catalogue` is the door to these: it has them all, and the questions that are asked of the whole file.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum

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


class Accept(StrEnum):
    """Where an approval may be given."""

    SLACK = "slack"
    GITHUB = "github"
    BOTH = "both"


class Comment(StrEnum):
    """Whether an approval needs a sentence with it. A rejection always does."""

    OPTIONAL = "optional"
    REQUIRED = "required"


class OnFailure(StrEnum):
    """What follows a deployment that went wrong after its commit: a button, a rollback of its own, or neither."""

    OFFER = "offer"
    ROLLBACK = "rollback"
    NONE = "none"


@dataclass(frozen=True)
class Approval:
    """Who has to say yes: `required` different people of these groups, within `expires_after`.

    An expedited rollback takes `rollback_required` of them, at least one and never more than `required`.
    """

    groups: tuple[str, ...]
    required: int = 1
    expires_after: timedelta = timedelta(hours=4)
    accept: Accept = Accept.SLACK
    comment: Comment = Comment.OPTIONAL
    rollback_required: int = 1


@dataclass(frozen=True)
class BreakGlass:
    """Who may act without waiting, and how soon a second person has to have looked at it."""

    groups: tuple[str, ...]
    review_within: timedelta = timedelta(hours=24)


@dataclass(frozen=True)
class Verify:
    """What shows that an app is well after its rollout.

    `url` (may hold `{app}` and `{environment}`; empty: no address is asked) has to answer with `status` (None: any
    from 200 to 299) within `timeout`; then nothing may restart for `soak`.
    """

    url: str = ""
    status: int | None = None
    soak: timedelta = timedelta(0)
    timeout: timedelta = timedelta(minutes=2)


NO_VERIFICATION = Verify()
"""What an app says that is not verified although its environment's apps are."""


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
    """A place where apps run. `context` "" is the kubeconfig's current one.

    `deployers` and `lockers` (who may lock and freeze) are group names or `everyone`. Without `break_glass` nobody may.

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
    lockers: tuple[str, ...] = (EVERYONE,)
    break_glass: BreakGlass | None = None
    verify: Verify | None = None
    on_failure: OnFailure = OnFailure.OFFER

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

    `verify` is None when the environment's holds.

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
    verify: Verify | None = None


@dataclass(frozen=True)
class Group:
    """People, by ids that Slack signs: a user group's id, or members named one by one; `github` is `org/team`."""

    name: str
    slack: str = ""
    members: tuple[str, ...] = ()
    github: str = ""


@dataclass(frozen=True)
class KnownPerson:
    """Who is the same human: their Slack user ids, GitHub logins and the e-mail addresses that their commits carry.

    Logins and addresses are in lower case: neither GitHub nor mail tells cases apart.
    """

    name: str
    slack: tuple[str, ...] = ()
    github: tuple[str, ...] = ()
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


def fill(template: str, app: str, environment: str) -> str:
    """A template with its two placeholders replaced."""
    return template.replace("{app}", app).replace("{environment}", environment)


def span(duration: timedelta) -> str:
    """A duration as the file writes it: `90s`, `15m`, `4h`, `7d`."""
    seconds = int(duration.total_seconds())
    for unit, length in (("d", 86_400), ("h", 3600), ("m", 60)):
        if seconds and seconds % length == 0:
            return f"{seconds // length}{unit}"
    return f"{seconds}s"
