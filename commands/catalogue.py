"""What `locktender.yaml` says: apps, environments, the promotion path, groups and people, with every default filled in.

The file is read by `catalogue_reader.read`; what is here is true by construction: every name that another part
mentions exists, every path and image fits its grammar.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from functools import cached_property

from commands import grammar
from commands.catalogue_audit import AuditRules, audit_lines
from commands.catalogue_explain import app_lines, environment_lines, freeze_line, group_line
from commands.catalogue_parts import (
    CLASSIC_OVERLAY,
    DEFAULT_JOB,
    DEFAULT_OVERLAYS,
    DEFAULT_WORKLOAD,
    EVERYONE,
    NO_VERIFICATION,
    PER_APP_OVERLAY,
    Accept,
    App,
    Approval,
    BreakGlass,
    Change,
    Channels,
    Comment,
    Environment,
    Group,
    KnownPerson,
    OnFailure,
    Reconciler,
    ReconcilerKind,
    RegistryHost,
    RolloutWatch,
    Timeouts,
    Verify,
    Workload,
    WorkloadKind,
    fill,
    span,
)
from commands.catalogue_version import all_rules_version, rules_text, rules_version
from commands.freezes import FreezeInForce, FreezeWindow, in_force
from commands.ports import WorkloadRef

__all__ = [
    "CLASSIC_OVERLAY",
    "DEFAULT_JOB",
    "DEFAULT_OVERLAYS",
    "DEFAULT_WORKLOAD",
    "EVERYONE",
    "NO_VERIFICATION",
    "PER_APP_OVERLAY",
    "Accept",
    "App",
    "Approval",
    "BreakGlass",
    "Catalogue",
    "Change",
    "Channels",
    "Comment",
    "Environment",
    "FreezeInForce",
    "FreezeWindow",
    "Group",
    "Kind",
    "KnownPerson",
    "OnFailure",
    "Reconciler",
    "ReconcilerKind",
    "RegistryHost",
    "RolloutWatch",
    "Timeouts",
    "Verify",
    "Workload",
    "WorkloadKind",
    "fill",
    "span",
]


class Kind(StrEnum):
    """What a word was meant to name, for suggestions."""

    APP = "app"
    ENVIRONMENT = "environment"
    GROUP = "group"


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
    freeze_windows: tuple[FreezeWindow, ...] = ()
    audit: AuditRules = AuditRules()  # noqa: RUF009 - frozen

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

    def freezes(self, app: str, environment: str, at: datetime) -> tuple[FreezeInForce, ...]:
        """The freeze windows that hold for this app (not an alias) in this environment at this instant.

        Raises ValueError for a time without a zone. Freezes that people set ad hoc are not in the file.
        """
        return in_force(self.freeze_windows, app, environment, at)

    def verify(self, app: App, environment: Environment) -> Verify | None:
        """What shows that this app is well here, its address filled in: the app's own, else the environment's."""
        found = app.verify or environment.verify
        if found is None or found == NO_VERIFICATION:
            return None
        return replace(found, url=fill(found.url, app.name, environment.name))

    def may_lock_groups(self, environment: str) -> tuple[str, ...]:
        """Whose members may lock and freeze this environment, or `everyone`; nobody's when it is not known."""
        found = self.environments.get(environment)
        return found.lockers if found else ()

    def person_of_slack(self, user_id: str) -> KnownPerson | None:
        """Who has this Slack user id, when `people` says so."""
        return self._people_by_slack.get(user_id)

    def person_of_login(self, login: str) -> KnownPerson | None:
        """Who has this GitHub login, in any case, when `people` says so."""
        return self._people_by_login.get(login.lower())

    def person_of_email(self, email: str) -> KnownPerson | None:
        """Whose commits carry this address, in any case, when `people` says so."""
        return self._people_by_email.get(email.lower())

    def policy_version(self, environment: str | None = None) -> str:
        """SHA-256, in hex, of the rules that decide who may change this environment (None: any of them).

        The same for a file that is only written otherwise. An environment that is not known has none: KeyError.
        """
        if environment is not None:
            return self._rules_versions[environment]
        return all_rules_version(self._rules_versions)

    def rules_text(self, environment: str) -> str:
        """The rules whose hash is the `policy_version` of this environment, as canonical JSON. KeyError."""
        return rules_text(self.environments[environment], self.groups, tuple(self.people.values()))

    def registry(self, app: App) -> RegistryHost | None:
        """The registry to ask about this app's versions; None when the file does not turn that on."""
        image = grammar.image_name(app.image)
        return self.registries.get(image.host) if image else None

    def explain(self) -> tuple[str, ...]:
        """Every setting as it is in effect, defaults filled in, one `path: value` a line, for `doctor`."""
        lines = [f"promotion: {' → '.join(self.promotion) or 'none'}"]
        lines.append(f"channels.deployments: {self.channels.deployments}")
        for environment in self.environments.values():
            lines += [f"environments.{environment.name}.{line}" for line in environment_lines(environment)]
        for app in self.apps.values():
            lines += [f"apps.{app.name}.{line}" for line in self._explain_app(app)]
        lines += [f"groups.{group.name}: {group_line(group)}" for group in self.groups.values()]
        lines.append(f"people: {len(self.people) or 'none'} known by more than a Slack id")
        lines += [f"freezes.{freeze.name}: {freeze_line(freeze)}" for freeze in self.freeze_windows]
        lines += [] if self.freeze_windows else ["freezes: none"]
        lines += [f"audit.{line}" for line in audit_lines(self.audit)]
        lines += [f"registries.{registry.host}: asked at {registry.url}" for registry in self.registries.values()]
        if not self.registries:
            lines.append("registries: none, versions are not checked before they are deployed")
        return tuple(lines)

    def _explain_app(self, app: App) -> list[str]:
        lines = app_lines(app, self.channel(app))
        for name in app.environments:
            environment = self.environments[name]
            workload = self.workload(app, environment)
            overlay = " or ".join(self.overlays(app, environment))
            lines.append(f"{name}: overlay {overlay}, workload {workload} in namespace {workload.namespace}")
        return lines

    @cached_property
    def _rules_versions(self) -> Mapping[str, str]:
        people = tuple(self.people.values())
        return {name: rules_version(one, self.groups, people) for name, one in self.environments.items()}

    @cached_property
    def _people_by_slack(self) -> Mapping[str, KnownPerson]:
        return {user: person for person in self.people.values() for user in person.slack}

    @cached_property
    def _people_by_login(self) -> Mapping[str, KnownPerson]:
        return {login: person for person in self.people.values() for login in person.github}

    @cached_property
    def _people_by_email(self) -> Mapping[str, KnownPerson]:
        return {email: person for person in self.people.values() for email in person.emails}
