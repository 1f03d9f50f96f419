"""Checks the catalogue's model: defaults of the minimal file, what overrides what, and the questions asked of it.

Leaves out what is wrong with a file: `test_catalogue_faults.py`.
"""

from dataclasses import FrozenInstanceError
from datetime import timedelta

import pytest

from commands.catalogue import (
    Approval,
    Catalogue,
    Change,
    Group,
    Kind,
    Reconciler,
    ReconcilerKind,
    RegistryHost,
    RolloutWatch,
    Timeouts,
    span,
)
from commands.catalogue_reader import read
from commands.ports import WorkloadRef

MINIMAL = """\
promotion: [dev, staging, production]
environments:
  dev: {}
  staging: {}
  production:
    change: pull-request
    approval: {from: [release-managers, platform-team], required: 1, expires_after: 4h}
apps:
  my-application:
    image: registry.company.com/my-application
groups:
  release-managers: {slack: S0RELEASE}
  platform-team: {members: [U0PLATFORM1, U0PLATFORM2]}
channels: {deployments: C0DEPLOYMENTS}
"""

FULL = """\
promotion: [staging, production]
overlay: k8s/{environment}/{app}
workload: statefulset/{app}
reconciler:
  lab: none
  staging: {jenkins: {job: platform/apply}}
timeout: {build: 10m}
environments:
  lab:                       # nothing after it means the defaults
  staging:
    deployers: [developers]
    namespace: "{app}-{environment}"
    context: arn:aws:eks:eu-1:1:cluster/staging
    timeout: {rollout: 90s}
  production:
    change: pull-request
    approval: {from: [managers], required: 2, expires_after: 7d}
    deployers: everyone
    overlay: live
    reconciler: jenkins
    rollout: none
apps:
  web:
    image: registry.company.com:5000/team/web
    aliases: [website, frontend]
    environments: [staging, production]
    overlay: {production: apps/web/live}
    channel: C0WEB
    source: https://github.com/example/web
    workload: deployment/web-{environment}
  agent:
    image: grafana/agent
    environments: [lab, staging]
    namespace: monitoring
    overlay: agents/{environment}
    workload: daemonset/agent
groups:
  developers: {slack: S0DEVS}
  managers: {members: [U0ANN, W0BOB], github: example/managers}
people:
  Ann: {slack: U0ANN, github: Ann-Example, emails: [Ann@example.com]}
channels: {deployments: C0DEPLOYMENTS}
registries:
  docker.io: {}
  registry.company.com:5000: {url: "https://images.company.com/"}
"""


def catalogue(text: str) -> Catalogue:
    found = read(text.encode())
    assert isinstance(found, Catalogue), str(found)
    return found


@pytest.fixture(scope="module")
def minimal() -> Catalogue:
    return catalogue(MINIMAL)


@pytest.fixture(scope="module")
def full() -> Catalogue:
    return catalogue(FULL)


def test_the_minimal_file_is_enough(minimal: Catalogue) -> None:
    assert minimal.promotion == ("dev", "staging", "production")
    assert list(minimal.environments) == ["dev", "staging", "production"]
    staging = minimal.environments["staging"]
    assert staging.change is Change.COMMIT
    assert staging.approval is None
    assert staging.anyone_may_deploy
    assert staging.reconciler == Reconciler(ReconcilerKind.JENKINS, "infra-deploy")
    assert staging.rollout is RolloutWatch.WATCH
    assert staging.timeouts == Timeouts(timedelta(minutes=30), timedelta(minutes=15))
    production = minimal.environments["production"]
    assert production.change is Change.PULL_REQUEST
    assert production.approval == Approval(("release-managers", "platform-team"), 1, timedelta(hours=4))
    assert minimal.groups["platform-team"] == Group("platform-team", members=("U0PLATFORM1", "U0PLATFORM2"))
    assert minimal.channels.deployments == "C0DEPLOYMENTS"


def test_the_minimal_apps_overlay_is_looked_for_per_app_and_then_in_the_classic_place(minimal: Catalogue) -> None:
    app, staging = minimal.apps["my-application"], minimal.environments["staging"]
    assert minimal.overlays(app, staging) == ("apps/my-application/overlays/staging", "environments/staging")


def test_the_minimal_apps_workload_is_a_deployment_of_its_name_in_the_environments_namespace(
    minimal: Catalogue,
) -> None:
    app, staging = minimal.apps["my-application"], minimal.environments["staging"]
    assert minimal.workload(app, staging) == WorkloadRef("deployment", "my-application", "staging", "")


def test_an_overlay_that_the_file_names_is_the_only_candidate_and_the_closest_one_wins(full: Catalogue) -> None:
    web, agent = full.apps["web"], full.apps["agent"]
    lab, staging, production = full.environments.values()
    assert full.overlays(web, production) == ("apps/web/live",)  # the app's own for this environment
    assert full.overlays(web, staging) == ("k8s/staging/web",)  # the file's
    assert full.overlays(agent, lab) == ("agents/lab",)  # the app's own for all
    assert full.overlays(agent, production) == ("agents/production",)  # which beats the environment's


def test_an_environments_overlay_beats_the_files() -> None:
    found = catalogue(FULL.replace("    overlay: {production: apps/web/live}\n", ""))
    assert found.overlays(found.apps["web"], found.environments["production"]) == ("live",)


def test_workload_namespace_and_context_follow_app_then_environment_then_file(full: Catalogue) -> None:
    web, agent, staging = full.apps["web"], full.apps["agent"], full.environments["staging"]
    context = "arn:aws:eks:eu-1:1:cluster/staging"
    assert full.workload(web, staging) == WorkloadRef("deployment", "web-staging", "web-staging", context)
    assert full.workload(agent, staging) == WorkloadRef("daemonset", "agent", "monitoring", context)
    other = catalogue(FULL.replace("    workload: daemonset/agent\n", ""))
    assert other.workload(other.apps["agent"], staging).kind == "statefulset"


def test_reconcilers_may_be_given_for_all_for_one_and_in_the_environment(full: Catalogue) -> None:
    found = {name: environment.reconciler for name, environment in full.environments.items()}
    assert found["lab"] == Reconciler(ReconcilerKind.NONE)
    assert found["staging"] == Reconciler(ReconcilerKind.JENKINS, "platform/apply")
    assert found["production"] == Reconciler(ReconcilerKind.JENKINS, "infra-deploy")
    for_all = catalogue(MINIMAL + "reconciler: {jenkins: {job: apply}}\n")
    assert {environment.reconciler.job for environment in for_all.environments.values()} == {"apply"}


def test_nothing_is_watched_where_nothing_reconciles_unless_asked_for(full: Catalogue) -> None:
    assert full.environments["lab"].rollout is RolloutWatch.NONE
    assert full.environments["staging"].rollout is RolloutWatch.WATCH
    assert full.environments["production"].rollout is RolloutWatch.NONE
    watched = catalogue(MINIMAL.replace("staging: {}", "staging: {reconciler: none, rollout: watch}"))
    assert watched.environments["staging"].rollout is RolloutWatch.WATCH


def test_timeouts_are_filled_in_from_the_file_and_then_from_the_defaults(full: Catalogue) -> None:
    assert full.environments["staging"].timeouts == Timeouts(timedelta(minutes=10), timedelta(seconds=90))
    assert full.environments["lab"].timeouts == Timeouts(timedelta(minutes=10), timedelta(minutes=15))


def test_deployers_are_groups_or_everyone(full: Catalogue) -> None:
    assert full.environments["staging"].deployers == ("developers",)
    assert not full.environments["staging"].anyone_may_deploy
    assert full.environments["production"].anyone_may_deploy


def test_an_app_is_found_by_its_name_and_its_aliases(full: Catalogue) -> None:
    assert full.app("web") is full.app("website") is full.app("frontend") is full.apps["web"]
    assert full.app("Web") is None


def test_an_environment_is_found_by_its_exact_name_only(minimal: Catalogue) -> None:
    assert minimal.environment("production") is minimal.environments["production"]
    assert minimal.environment("prod") is None


def test_near_names_are_suggested_by_kind(full: Catalogue) -> None:
    assert full.nearest(Kind.ENVIRONMENT, "prod") == ("production",)
    assert full.nearest(Kind.ENVIRONMENT, "stg") == ("staging",)
    assert full.nearest(Kind.APP, "websit") == ("website", "web")
    assert full.nearest(Kind.GROUP, "manager") == ("managers",)


def test_what_is_reviewed_is_production_like_and_so_is_what_is_unknown(minimal: Catalogue) -> None:
    assert minimal.production_like("production")
    assert not minimal.production_like("staging")
    assert minimal.production_like("no-such-place")


def test_an_app_takes_the_promotion_path_as_far_as_it_has_environments(full: Catalogue) -> None:
    assert full.path(full.apps["web"]) == ("staging", "production")
    assert full.path(full.apps["agent"]) == ("staging",)


def test_cards_go_to_the_apps_channel_or_the_common_one(full: Catalogue) -> None:
    assert full.channel(full.apps["web"]) == "C0WEB"
    assert full.channel(full.apps["agent"]) == "C0DEPLOYMENTS"


def test_only_registries_that_the_file_names_are_asked(full: Catalogue, minimal: Catalogue) -> None:
    assert full.registry(full.apps["web"]) == RegistryHost("registry.company.com:5000", "https://images.company.com")
    assert full.registry(full.apps["agent"]) == RegistryHost("docker.io", "https://registry-1.docker.io")
    assert minimal.registry(minimal.apps["my-application"]) is None


def test_people_are_known_by_ids_and_by_what_tells_no_cases_apart(full: Catalogue) -> None:
    ann = full.people["Ann"]
    assert (ann.slack, ann.github, ann.emails) == (("U0ANN",), ("ann-example",), ("ann@example.com",))


def test_every_default_is_explained(minimal: Catalogue) -> None:
    assert minimal.explain() == (
        "promotion: dev → staging → production",
        "channels.deployments: C0DEPLOYMENTS",
        "environments.dev.change: commit",
        "environments.dev.approval: none",
        "environments.dev.break_glass: nobody",
        "environments.dev.deployers: everyone",
        "environments.dev.lockers: everyone",
        "environments.dev.namespace: dev",
        "environments.dev.context: the current context of the kubeconfig",
        "environments.dev.reconciler: jenkins, job infra-deploy",
        "environments.dev.rollout: watched, for at most 15m",
        "environments.dev.timeout.build: 30m",
        "environments.dev.verify: none, a finished rollout is enough",
        "environments.dev.on_failure: offer",
        "environments.staging.change: commit",
        "environments.staging.approval: none",
        "environments.staging.break_glass: nobody",
        "environments.staging.deployers: everyone",
        "environments.staging.lockers: everyone",
        "environments.staging.namespace: staging",
        "environments.staging.context: the current context of the kubeconfig",
        "environments.staging.reconciler: jenkins, job infra-deploy",
        "environments.staging.rollout: watched, for at most 15m",
        "environments.staging.timeout.build: 30m",
        "environments.staging.verify: none, a finished rollout is enough",
        "environments.staging.on_failure: offer",
        "environments.production.change: pull-request",
        (
            "environments.production.approval: 1 of release-managers, platform-team (1 for a rollback), in Slack, "
            "within 4h, comment optional, never the requester or an author"
        ),
        "environments.production.break_glass: nobody",
        "environments.production.deployers: everyone",
        "environments.production.lockers: everyone",
        "environments.production.namespace: production",
        "environments.production.context: the current context of the kubeconfig",
        "environments.production.reconciler: jenkins, job infra-deploy",
        "environments.production.rollout: watched, for at most 15m",
        "environments.production.timeout.build: 30m",
        "environments.production.verify: none, a finished rollout is enough",
        "environments.production.on_failure: offer",
        "apps.my-application.image: registry.company.com/my-application",
        "apps.my-application.channel: C0DEPLOYMENTS",
        (
            "apps.my-application.dev: overlay apps/my-application/overlays/dev or environments/dev, "
            "workload deployment/my-application in namespace dev"
        ),
        (
            "apps.my-application.staging: overlay apps/my-application/overlays/staging or environments/staging, "
            "workload deployment/my-application in namespace staging"
        ),
        (
            "apps.my-application.production: overlay apps/my-application/overlays/production "
            "or environments/production, workload deployment/my-application in namespace production"
        ),
        "groups.release-managers: Slack user group S0RELEASE",
        "groups.platform-team: members U0PLATFORM1, U0PLATFORM2",
        "people: none known by more than a Slack id",
        "freezes: none",
        "audit.readers: everyone",
        "audit.exporters: the approvers of any environment",
        "registries: none, versions are not checked before they are deployed",
    )


def test_what_is_set_is_explained_too(full: Catalogue) -> None:
    lines = full.explain()
    assert "environments.production.rollout: not watched" in lines
    assert "environments.lab.reconciler: none" in lines
    assert "apps.web.aliases: website, frontend" in lines
    assert "groups.managers: members U0ANN, W0BOB; GitHub team example/managers" in lines
    assert "registries.registry.company.com:5000: asked at https://images.company.com" in lines


@pytest.mark.parametrize(("seconds", "said"), [(90, "90s"), (120, "2m"), (3600, "1h"), (86_400, "1d"), (0, "0s")])
def test_a_duration_is_said_in_the_files_own_words(seconds: int, said: str) -> None:
    assert span(timedelta(seconds=seconds)) == said


def test_the_catalogue_cannot_be_changed(minimal: Catalogue) -> None:
    with pytest.raises(FrozenInstanceError):
        minimal.promotion = ()  # type: ignore[misc]  # that it is frozen is what is checked
    with pytest.raises(TypeError):
        minimal.environments["x"] = minimal.environments["dev"]  # type: ignore[index]  # as above
