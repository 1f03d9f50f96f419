"""The verdict on a rollout, case by case, from hand-made looks: no server, no clock.

Left out: how looks are gathered (`test_cluster.py`), and that the API server's JSON means what is read from it, which
`test_cluster_real.py` finds out by running the same scenarios on a real one.
"""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from bot.integrations import cluster_objects as objects
from bot.integrations.cluster_judge import Look, judge
from bot.integrations.cluster_objects import Condition, Container, FieldOwner, Pod, ReplicaSet, Workload
from commands.ports import Rollout, RolloutRequest, RolloutState, WorkloadRef
from commands.reasons import ReasonCode

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
OURS = "registry.example.com/web:1.4.2"
THEIRS = "registry.example.com/web:1.4.1"
REQUEST = RolloutRequest("d-1", WorkloadRef("deployment", "web", "staging"), {"web": OURS})
GRACE = 15.0
SEEN = Rollout(RolloutState.PROGRESSING, seen=True)

DONE = Workload(
    kind="deployment",
    name="web",
    uid="u",
    generation=2,
    observed_generation=2,
    images={"web": OURS, "proxy": "proxy:9"},
    owners={},
    selector="app=web",
    desired=1,
    updated=1,
    available=1,
    total=1,
    paused=False,
    revision="2",
    current_revision="",
    partition=0,
    on_delete=False,
    conditions=(),
)
UNDER_WAY = replace(DONE, available=0, total=2)
NEW_SET = ReplicaSet("web-new", "rs-new", "u", 2, {"web": OURS}, ())
OLD_SET = ReplicaSet("web-old", "rs-old", "u", 1, {"web": THEIRS}, ())


def pod(
    *containers: Container, owner: str = "rs-new", age: float = 60.0, image: str = OURS, revision: str = "", **more: Any
) -> Pod:
    ready = bool(containers) and all(c.ready for c in containers)
    conditions = (Condition("Ready", str(ready), "", "", None), *more.pop("conditions", ()))
    born = NOW - timedelta(seconds=age)
    return Pod("web-1", owner, revision, born, False, "Running", {"web": image}, containers, conditions, **more)


READY = Container("web", ready=True, running_since=NOW - timedelta(minutes=1))


def verdict(w: Workload | None, *pods: Pod, last: Rollout | None = None, sets: Any = (OLD_SET, NEW_SET)) -> Rollout:
    return judge(Look(w, NOW, sets, pods), REQUEST, last, grace=GRACE).rollout


def test_all_counts_equal_and_our_pods_ready_is_done() -> None:
    look = verdict(DONE, pod(READY))
    assert look.state is RolloutState.DONE
    assert (look.desired, look.updated, look.available, look.total, look.generation) == (1, 1, 1, 1, 2)


@pytest.mark.parametrize("off", [replace(DONE, updated=0), replace(DONE, available=0), replace(DONE, total=2)])
def test_any_count_that_differs_is_not_done(off: Workload) -> None:
    assert verdict(off, pod(READY)).state is RolloutState.PROGRESSING


def test_counts_of_a_generation_not_yet_observed_mean_nothing() -> None:
    stale = replace(DONE, generation=3)
    look = verdict(stale, pod(READY))
    assert look.state is RolloutState.PROGRESSING
    assert look.seen


def test_a_deadline_of_a_generation_not_yet_observed_is_not_believed() -> None:
    timed_out = Condition("Progressing", "False", "ProgressDeadlineExceeded", 'ReplicaSet "web-new" has…', NOW)
    assert verdict(replace(UNDER_WAY, generation=3, conditions=(timed_out,))).state is RolloutState.PROGRESSING


def test_a_deadline_that_names_another_replica_set_is_not_believed() -> None:
    message = 'ReplicaSet "web-old" has timed out progressing.'
    timed_out = Condition("Progressing", "False", "ProgressDeadlineExceeded", message, NOW)
    assert verdict(replace(UNDER_WAY, conditions=(timed_out,))).state is RolloutState.PROGRESSING


def test_a_deadline_of_our_replica_set_fails() -> None:
    message = 'ReplicaSet "web-new" has timed out progressing.'
    timed_out = Condition("Progressing", "False", "ProgressDeadlineExceeded", message, NOW)
    look = verdict(replace(UNDER_WAY, conditions=(timed_out,)), pod(Container("web")))
    assert look.state is RolloutState.FAILED
    assert look.reason is ReasonCode.PROGRESS_DEADLINE
    assert "0 of 1 pods are up" in look.what
    assert "has not started" in look.what


def test_pods_of_another_image_are_not_done_whatever_the_counts_say() -> None:
    look = verdict(DONE, pod(READY, image="mirror/web:1.4.2"))
    assert look.state is RolloutState.PROGRESSING
    assert "web-1 runs another image" in look.warning


def test_the_newest_replica_set_must_have_our_image() -> None:
    other = replace(NEW_SET, images={"web": THEIRS})
    assert verdict(DONE, pod(READY), sets=(OLD_SET, other)).state is RolloutState.PROGRESSING


def test_zero_pods_is_done_with_a_warning() -> None:
    look = verdict(replace(DONE, desired=0, updated=0, available=0, total=0))
    assert look.state is RolloutState.DONE
    assert "0 pods" in look.warning


def test_our_image_in_one_container_of_two_is_not_applied() -> None:
    request = replace(REQUEST, images={"web": OURS, "proxy": "proxy:10"})
    look = judge(Look(DONE, NOW), request, None, grace=GRACE).rollout
    assert look.state is RolloutState.NOT_APPLIED
    assert "still asks for proxy:9; proxy:10" in look.what


def test_a_container_that_is_not_there_is_named() -> None:
    look = judge(Look(DONE, NOW), replace(REQUEST, images={"wep": OURS}), None, grace=GRACE).rollout
    assert "has no container called wep" in look.what


def test_replaced_names_manager_operation_and_time() -> None:
    owner = FieldOwner("kubectl-set", "Update", NOW)
    look = verdict(replace(DONE, images={"web": THEIRS}, owners={"web": owner}), last=SEEN)
    assert look.state is RolloutState.REPLACED
    assert f"changed from {OURS} to {THEIRS} by kubectl-set (Update at 12:00:00 UTC)" in look.what


def test_replaced_without_managed_fields_still_says_from_and_to() -> None:
    assert verdict(replace(DONE, images={"web": THEIRS}), last=SEEN).what.endswith(f"from {OURS} to {THEIRS}.")


def test_seen_sticks() -> None:
    assert verdict(replace(DONE, images={"web": THEIRS})).seen is False
    assert verdict(DONE, pod(READY)).seen is True


def test_missing_is_not_applied_before_and_a_failure_after_it_was_seen() -> None:
    assert verdict(None).state is RolloutState.NOT_APPLIED
    gone = verdict(None, last=SEEN)
    assert (gone.state, gone.reason) == (RolloutState.FAILED, ReasonCode.WORKLOAD_MISSING)


@pytest.mark.parametrize(
    ("waiting", "reason"),
    [
        ("ErrImagePull", ReasonCode.IMAGE_PULL),
        ("ImagePullBackOff", ReasonCode.IMAGE_PULL),
        ("CrashLoopBackOff", ReasonCode.CRASH_LOOP),
        ("CreateContainerConfigError", ReasonCode.CONTAINER_CONFIG),
        ("CreateContainerError", ReasonCode.CONTAINER_CONFIG),
    ],
)
def test_trouble_is_a_warning_within_the_grace_and_a_failure_after(waiting: str, reason: ReasonCode) -> None:
    trouble = Container("web", waiting=waiting)
    young = verdict(UNDER_WAY, pod(trouble, age=GRACE - 1))
    assert (young.state, young.reason) == (RolloutState.PROGRESSING, reason)
    assert young.warning
    assert young.next_step
    old = verdict(UNDER_WAY, pod(trouble, age=GRACE + 1))
    assert (old.state, old.reason) == (RolloutState.FAILED, reason)


def test_a_name_that_can_never_be_pulled_fails_at_once() -> None:
    look = verdict(UNDER_WAY, pod(Container("web", waiting="InvalidImageName"), age=0))
    assert (look.state, look.reason) == (RolloutState.FAILED, ReasonCode.IMAGE_PULL)


def test_the_first_crash_is_given_the_grace_from_when_it_happened() -> None:
    once = Container("web", waiting="CrashLoopBackOff", restarts=1, exit_code=1, exited=NOW - timedelta(seconds=5))
    assert verdict(UNDER_WAY, pod(once, age=600)).state is RolloutState.PROGRESSING
    assert verdict(UNDER_WAY, pod(replace(once, restarts=2), age=600)).state is RolloutState.FAILED


def test_out_of_memory_is_named_with_its_exit_code() -> None:
    oom = Container("web", waiting="CrashLoopBackOff", restarts=3, exit_code=137, exit_reason="OOMKilled")
    assert "(OOMKilled, exit code 137)" in verdict(UNDER_WAY, pod(oom)).what


def test_a_container_that_only_just_came_back_is_not_yet_done() -> None:
    back = replace(READY, restarts=1, exit_code=1, running_since=NOW - timedelta(seconds=3))
    look = verdict(DONE, pod(back))
    assert look.state is RolloutState.PROGRESSING
    assert "whether it stays up" in look.warning
    assert verdict(DONE, pod(replace(back, running_since=NOW - timedelta(minutes=1)))).state is RolloutState.DONE


def test_restarts_are_summed_over_our_pods_without_init_containers() -> None:
    long_ago = NOW - timedelta(hours=1)
    web = replace(READY, restarts=2, exit_code=1, running_since=long_ago)
    proxy = Container("proxy", ready=True, restarts=3, running_since=long_ago)
    migrate = Container("migrate", ready=True, ended=True, exit_code=0, restarts=9, init=True)
    two = replace(DONE, desired=2, updated=2, available=2, total=2)
    look = verdict(two, pod(migrate, web, proxy), replace(pod(web), name="web-2"))
    assert (look.state, look.restarts) == (RolloutState.DONE, 7)


def test_restarts_of_old_going_and_foreign_pods_are_not_ours() -> None:
    shaky = replace(READY, restarts=5)
    others = (
        pod(shaky, owner="rs-old", image=THEIRS),
        replace(pod(shaky), deleting=True),
        pod(shaky, image="mirror/web:1.4.2"),
    )
    assert verdict(DONE, pod(READY), *others).restarts == 0


def test_a_crash_loop_that_failed_still_counts_its_restarts() -> None:
    crashing = Container("web", waiting="CrashLoopBackOff", restarts=4, exit_code=1)
    assert verdict(UNDER_WAY, pod(crashing)).restarts == 4


def test_an_init_container_that_has_done_its_work_is_no_trouble() -> None:
    migrated = Container("migrate", ready=True, ended=True, exit_code=0, init=True)
    assert verdict(UNDER_WAY, pod(migrated, Container("web"))).reason is None
    failed = replace(migrated, ready=False, exit_code=2)
    assert verdict(UNDER_WAY, pod(failed, Container("web"))).reason is ReasonCode.CRASH_LOOP


def test_troubles_of_old_and_of_going_pods_do_not_count() -> None:
    crashing = Container("web", waiting="CrashLoopBackOff", restarts=9)
    assert verdict(UNDER_WAY, pod(crashing, owner="rs-old")).reason is None
    assert verdict(UNDER_WAY, replace(pod(crashing), deleting=True)).reason is None


def test_no_room_in_the_cluster_waits_for_the_deadline() -> None:
    full = Condition("PodScheduled", "False", "Unschedulable", "0/3 nodes are available.", NOW - timedelta(hours=1))
    look = verdict(UNDER_WAY, pod(Container("web"), conditions=(full,)))
    assert (look.state, look.reason) == (RolloutState.PROGRESSING, ReasonCode.UNSCHEDULABLE)
    message = 'ReplicaSet "web-new" has timed out progressing.'
    timed_out = Condition("Progressing", "False", "ProgressDeadlineExceeded", message, NOW)
    late = verdict(replace(UNDER_WAY, conditions=(timed_out,)), pod(Container("web"), conditions=(full,)))
    assert (late.state, late.reason) == (RolloutState.FAILED, ReasonCode.UNSCHEDULABLE)


def test_refused_pods_of_our_replica_set_count_and_those_of_the_old_one_do_not() -> None:
    failure = Condition("ReplicaFailure", "True", "FailedCreate", "exceeded quota: small, requested: pods=1", NOW)
    ours = verdict(UNDER_WAY, sets=(OLD_SET, replace(NEW_SET, conditions=(failure,))))
    assert ours.reason is ReasonCode.QUOTA
    assert verdict(UNDER_WAY, sets=(replace(OLD_SET, conditions=(failure,)), NEW_SET)).reason is None
    webhook = replace(failure, message="admission webhook denied the request: no root")
    policy = verdict(UNDER_WAY, sets=(OLD_SET, replace(NEW_SET, conditions=(webhook,))))
    assert policy.reason is ReasonCode.CONTAINER_CONFIG


STATEFUL = replace(DONE, kind="statefulset", revision="web-b", current_revision="web-b")


def test_a_stateful_set_is_done_when_its_revisions_meet() -> None:
    mine = pod(READY, owner="u", revision="web-b")
    assert verdict(STATEFUL, mine).state is RolloutState.DONE
    assert verdict(replace(STATEFUL, current_revision="web-a"), mine).state is RolloutState.PROGRESSING


def test_a_stateful_set_held_up_by_an_old_pod_says_so() -> None:
    waiting = replace(STATEFUL, updated=0, available=0, current_revision="web-a")
    look = verdict(waiting, pod(Container("web"), owner="u", revision="web-a"))
    assert "earlier version is not ready" in look.warning


def test_an_update_strategy_that_waits_for_people_is_said() -> None:
    assert "OnDelete" in verdict(replace(STATEFUL, updated=0, current_revision="web-a", on_delete=True)).warning


def test_a_daemon_set_without_nodes_is_done_and_says_so() -> None:
    none = replace(DONE, kind="daemonset", desired=0, updated=0, available=0, total=0)
    assert "no node" in verdict(none).warning


def test_the_same_look_twice_is_equal() -> None:
    trouble = pod(Container("web", waiting="ImagePullBackOff"), age=1)
    first = verdict(UNDER_WAY, trouble)
    assert verdict(UNDER_WAY, trouble, last=first) == first


def test_managed_fields_name_the_latest_owner_of_each_image() -> None:
    def entry(manager: str, time: str) -> dict[str, Any]:
        spec: dict[str, Any] = {"f:containers": {'k:{"name":"web"}': {".": {}, "f:image": {}}}}
        fields = {"f:spec": {"f:template": {"f:spec": spec}}}
        return {"manager": manager, "operation": "Apply", "time": time, "fieldsV1": fields}

    fields = [entry("new", "2026-03-01T12:00:00Z"), entry("old", "2026-02-01T12:00:00Z")]
    read = objects.workload("deployment", {"metadata": {"managedFields": fields}})
    assert read.owners["web"] == FieldOwner("new", "Apply", NOW)


def test_selectors_are_spelt_as_the_query_wants_them() -> None:
    expressions = [
        {"key": "tier", "operator": "In", "values": ["a", "b"]},
        {"key": "old", "operator": "DoesNotExist"},
    ]
    text = objects.selector_text({"matchLabels": {"app": "web"}, "matchExpressions": expressions})
    assert text == "app=web,tier in (a,b),!old"
