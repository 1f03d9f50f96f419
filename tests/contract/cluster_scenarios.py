"""What a rollout looks like from outside, as scenarios that the stand-in and a real API server both pass.

Subclasses give `rig`. Left out here: what only a stand-in can be told to do (break off, revoke, forget), and what a
control plane without kubelets does not do (logs, daemon sets); see `test_cluster.py`.
"""

import threading
import time

import pytest
import yaml
from _pytest.fixtures import SubRequest

from bot.sandbox.kubernetes_apply import ApplyFailed, Conflicts
from commands.ports import RolloutState
from commands.reasons import ReasonCode, Refused
from tests.contract.cluster_rig import IMAGE, Rig, manifest


class ClusterScenarios:
    @pytest.fixture
    def rig(self, request: SubRequest) -> Rig:
        raise NotImplementedError(request.node)

    def test_what_is_not_there_yet_is_not_applied_and_then_goes_live(self, rig: Rig) -> None:
        cluster, request = rig.cluster(), rig.request("1.4.2")
        first = cluster.rollout(request, None, 0)
        assert first.state is RolloutState.NOT_APPLIED
        assert "no deployment/web" in first.what
        applier = threading.Timer(0.3, rig.apply, [manifest("1.4.2")])
        applier.start()
        looks = rig.watch_to_end(cluster, request, first)
        applier.join()
        assert looks[-1].state is RolloutState.DONE
        assert (looks[-1].desired, looks[-1].updated, looks[-1].available, looks[-1].total) == (2, 2, 2, 2)
        assert looks[-1].seen
        assert looks[-1].revision == "1"
        assert cluster.running_images(request.workload) == {"web": f"{IMAGE}:1.4.2"}

    def test_a_new_version_replaces_the_old_one(self, rig: Rig) -> None:
        cluster = rig.cluster()
        rig.apply(manifest("1.4.1"))
        rig.watch_to_end(cluster, rig.request("1.4.1"))
        before = cluster.rollout(rig.request("1.4.2"), None, 0)
        assert before.state is RolloutState.NOT_APPLIED
        assert f"still asks for {IMAGE}:1.4.1" in before.what
        rig.apply(manifest("1.4.2"))
        looks = rig.watch_to_end(cluster, rig.request("1.4.2"), before)
        assert looks[-1].state is RolloutState.DONE
        assert looks[-1].revision == "2"
        assert all(look.state is RolloutState.PROGRESSING for look in looks[:-1])

    def test_a_look_that_does_not_differ_comes_back_after_the_wait(self, rig: Rig) -> None:
        cluster, request = rig.cluster(), rig.request("1.4.2")
        first = cluster.rollout(request, None, 0)
        started = time.monotonic()
        assert cluster.rollout(request, first, 1.3) == first
        assert 1.2 < time.monotonic() - started < 2.5

    def test_an_image_that_cannot_be_pulled_is_told_first_and_then_fails(self, rig: Rig) -> None:
        cluster = rig.cluster(grace=2.0)
        rig.apply(manifest("1.0-pull"))
        looks = rig.watch_to_end(cluster, rig.request("1.0-pull"))
        assert any("cannot be pulled" in look.warning for look in looks if look.state is RolloutState.PROGRESSING)
        assert looks[-1].reason is ReasonCode.IMAGE_PULL
        assert f"cannot pull {IMAGE}:1.0-pull" in looks[-1].what
        assert "1.0-pull was pushed to registry.example.com" in looks[-1].next_step

    def test_a_crash_loop_fails(self, rig: Rig) -> None:
        rig.apply(manifest("1.0-crash"))
        end = rig.watch_to_end(rig.cluster(), rig.request("1.0-crash"))[-1]
        assert end.state is RolloutState.FAILED
        assert end.reason is ReasonCode.CRASH_LOOP
        assert "Container web of pod web-" in end.what

    def test_restarts_of_the_new_versions_pods_are_counted(self, rig: Rig) -> None:
        cluster, request = rig.cluster(grace=60.0), rig.request("1.0-crash")
        rig.apply(manifest("1.0-crash", replicas=1))
        look = cluster.rollout(request, None, 0)
        until = time.monotonic() + rig.patience
        while look.restarts < 2:
            assert time.monotonic() < until, look
            look = cluster.rollout(request, look, 1.0)
        rig.apply(manifest("1.4.2", replicas=1))
        assert rig.watch_to_end(cluster, rig.request("1.4.2"))[-1].restarts == 0

    def test_a_failing_old_version_does_not_count_against_the_new_one(self, rig: Rig) -> None:
        cluster, crashing = rig.cluster(grace=60.0), rig.request("1.0-crash")
        rig.apply(manifest("1.0-crash", replicas=1))
        look = cluster.rollout(crashing, None, 0)
        while look.reason is not ReasonCode.CRASH_LOOP:
            look = cluster.rollout(crashing, look, 1.0)
        rig.apply(manifest("1.0-slow", replicas=1))
        looks = rig.watch_to_end(cluster, rig.request("1.0-slow"))
        assert looks[-1].state is RolloutState.DONE

    def test_a_slow_rollout_is_watched_to_its_end(self, rig: Rig) -> None:
        rig.apply(manifest("1.0-slow", replicas=1))
        looks = rig.watch_to_end(rig.cluster(), rig.request("1.0-slow"))
        assert looks[-1].state is RolloutState.DONE
        assert len(looks) >= 3

    def test_what_somebody_else_put_in_its_place_is_named_with_its_manager(self, rig: Rig) -> None:
        cluster, request = rig.cluster(), rig.request("1.0-slow")
        rig.apply(manifest("1.0-slow"))
        last = cluster.rollout(request, None, 0)
        assert last.seen
        with pytest.raises(ApplyFailed, match='conflict with "jenkins"'):
            rig.apply(manifest("6.6.6"), manager="laptop-kubectl")
        rig.apply(manifest("6.6.6"), manager="laptop-kubectl", conflicts=Conflicts.TAKE_OVER)
        end = rig.watch_to_end(cluster, request, last)[-1]
        assert end.state is RolloutState.REPLACED
        assert end.reason is ReasonCode.ROLLOUT_REPLACED
        assert f"from {IMAGE}:1.0-slow to {IMAGE}:6.6.6 by laptop-kubectl (Apply at " in end.what

    def test_an_update_by_hand_is_named_too(self, rig: Rig) -> None:
        cluster, request = rig.cluster(), rig.request("1.0-slow")
        rig.apply(manifest("1.0-slow"))
        last = cluster.rollout(request, None, 0)
        patch = {"spec": {"template": {"spec": {"containers": [{"name": "web", "image": f"{IMAGE}:6.6.6"}]}}}}
        content = "application/strategic-merge-patch+json"
        rig.call("PATCH", f"{rig.apps()}?fieldManager=kubectl-set", patch, content).raise_for_status()
        end = rig.watch_to_end(cluster, request, last)[-1]
        assert "by kubectl-set (Update at " in end.what

    def test_a_passed_progress_deadline_fails_and_is_not_believed_after_an_undo(self, rig: Rig) -> None:
        cluster = rig.cluster(grace=3600.0)  # the deadline has to speak, not the crash
        rig.apply(manifest("1.4.1", progressDeadlineSeconds=1))
        rig.watch_to_end(cluster, rig.request("1.4.1"))
        rig.apply(manifest("1.0-pull", progressDeadlineSeconds=1))
        failed = rig.watch_to_end(cluster, rig.request("1.0-pull"))[-1]
        assert failed.state is RolloutState.FAILED
        assert failed.reason is ReasonCode.IMAGE_PULL  # the cause, which says more than the deadline
        rig.apply(manifest("1.4.1", progressDeadlineSeconds=1))
        looks = rig.watch_to_end(cluster, rig.request("1.4.1"))
        assert looks[-1].state is RolloutState.DONE

    def test_a_workload_deleted_halfway_fails(self, rig: Rig) -> None:
        cluster, request = rig.cluster(), rig.request("1.0-slow")
        rig.apply(manifest("1.0-slow"))
        last = cluster.rollout(request, None, 0)
        rig.call("DELETE", rig.apps()).raise_for_status()
        end = rig.watch_to_end(cluster, request, last)[-1]
        assert end.reason is ReasonCode.WORKLOAD_MISSING
        assert "was deleted while" in end.what

    def test_zero_pods_is_done_and_says_so(self, rig: Rig) -> None:
        rig.apply(manifest("1.4.2", replicas=0))
        end = rig.watch_to_end(rig.cluster(), rig.request("1.4.2"))[-1]
        assert end.state is RolloutState.DONE
        assert "0 pods" in end.warning

    def test_a_sidecar_is_not_ours_to_judge(self, rig: Rig) -> None:
        two = manifest("1.4.2").replace(
            "      containers:\n", f"      containers:\n      - name: proxy\n        image: {IMAGE}-proxy:9\n"
        )
        rig.apply(two)
        end = rig.watch_to_end(rig.cluster(), rig.request("1.4.2"))[-1]
        assert end.state is RolloutState.DONE

    def test_a_paused_deployment_is_said_to_be_paused(self, rig: Rig) -> None:
        cluster = rig.cluster()
        rig.apply(manifest("1.4.1"))
        rig.watch_to_end(cluster, rig.request("1.4.1"))
        rig.apply(manifest("1.4.2", paused=True))
        look = cluster.rollout(rig.request("1.4.2"), None, 0)
        for _ in range(5):
            if look.reason is not None:
                break
            look = cluster.rollout(rig.request("1.4.2"), look, 1.0)
        assert look.state is RolloutState.PROGRESSING
        assert look.reason is ReasonCode.ROLLOUT_PAUSED

    def test_a_quota_that_leaves_no_room_is_named(self, rig: Rig) -> None:
        hard = {"hard": {"pods": "0"}}
        quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "small"}, "spec": hard}
        base = f"/api/v1/namespaces/{rig.namespace}/resourcequotas"
        rig.call("POST", base, quota).raise_for_status()
        status = {"status": {"hard": {"pods": "0"}, "used": {"pods": "0"}}}
        rig.call("PATCH", f"{base}/small/status", status, "application/merge-patch+json").raise_for_status()
        rig.apply(manifest("1.4.2", progressDeadlineSeconds=1))
        looks = rig.watch_to_end(rig.cluster(), rig.request("1.4.2"))
        assert any("quota" in look.warning for look in looks[:-1])
        assert looks[-1].reason is ReasonCode.QUOTA
        assert "exceeded quota: small" in looks[-1].what

    def test_a_stateful_set_is_watched_to_its_end(self, rig: Rig) -> None:
        cluster = rig.cluster()
        rig.apply(manifest("1.4.1", kind="StatefulSet"))
        rig.watch_to_end(cluster, rig.request("1.4.1", kind="statefulset"))
        rig.apply(manifest("1.4.2", kind="StatefulSet"))
        looks = rig.watch_to_end(cluster, rig.request("1.4.2", kind="statefulset"))
        assert looks[-1].state is RolloutState.DONE
        assert (looks[-1].desired, looks[-1].updated) == (2, 2)
        assert looks[-1].revision.startswith("web-")

    def test_a_partitioned_stateful_set_says_what_stays_behind(self, rig: Rig) -> None:
        cluster = rig.cluster()
        rig.apply(manifest("1.4.1", kind="StatefulSet"))
        rig.watch_to_end(cluster, rig.request("1.4.1", kind="statefulset"))
        partition = {"type": "RollingUpdate", "rollingUpdate": {"partition": 1}}
        rig.apply(manifest("1.4.2", kind="StatefulSet", updateStrategy=partition))
        end = rig.watch_to_end(cluster, rig.request("1.4.2", kind="statefulset"))[-1]
        assert end.state is RolloutState.DONE
        assert end.warning == "1 of 2 pods keep the earlier version (partition 1)"

    def test_a_stateful_set_that_crashes_fails(self, rig: Rig) -> None:
        rig.apply(manifest("1.0-crash", kind="StatefulSet"))
        end = rig.watch_to_end(rig.cluster(), rig.request("1.0-crash", kind="statefulset"))[-1]
        assert end.reason is ReasonCode.CRASH_LOOP

    def test_an_unknown_context_is_refused_with_those_there_are(self, rig: Rig) -> None:
        with pytest.raises(Refused) as refused:
            rig.cluster().rollout(rig.request("1.4.2", context="elsewhere"), None, 0)
        assert refused.value.reason is ReasonCode.NOT_CONFIGURED
        assert "no context called elsewhere" in refused.value.what
        assert rig.context in refused.value.what

    def test_the_check_reads_all_that_a_rollout_reads(self, rig: Rig) -> None:
        assert rig.cluster().check(rig.context, rig.namespace).startswith("v1.")

    def test_a_dry_run_changes_nothing(self, rig: Rig) -> None:
        path = f"{rig.apps()}?fieldManager=jenkins&dryRun=All"
        content = "application/apply-patch+yaml"
        answer = rig.call("PATCH", path, _json(manifest("1.4.2")), content)
        assert answer.status_code == 201
        assert answer.json()["metadata"]["name"] == "web"
        assert rig.call("GET", rig.apps()).status_code == 404

    def test_a_stale_write_is_a_conflict_and_the_same_write_again_is_no_change(self, rig: Rig) -> None:
        rig.apply(manifest("1.4.2", replicas=0, paused=True))
        time.sleep(0.5)  # until the controller has written its status
        first = rig.call("GET", rig.apps()).json()
        same = rig.call("PUT", rig.apps(), first)
        assert same.status_code == 200
        assert same.json()["metadata"]["generation"] == first["metadata"]["generation"]
        stale = {**first, "metadata": {**first["metadata"], "resourceVersion": "1"}}
        answer = rig.call("PUT", rig.apps(), stale)
        assert (answer.status_code, answer.json()["reason"]) == (409, "Conflict")

    def test_generation_grows_with_the_spec_alone(self, rig: Rig) -> None:
        rig.apply(manifest("1.4.2", replicas=0, paused=True))
        merge = "application/merge-patch+json"
        labelled = rig.call("PATCH", rig.apps(), {"metadata": {"labels": {"team": "a"}}}, merge).json()
        assert labelled["metadata"]["generation"] == 1
        scaled = rig.call("PATCH", rig.apps(), {"spec": {"replicas": 1}}, merge).json()
        assert scaled["metadata"]["generation"] == 2

    def test_creating_twice_and_creating_nowhere_are_refused(self, rig: Rig) -> None:
        body = _json(manifest("1.4.2", replicas=0))
        path = rig.apps().rsplit("/", 1)[0]
        assert rig.call("POST", path, body).status_code == 201
        again = rig.call("POST", path, body)
        assert (again.status_code, again.json()["reason"]) == (409, "AlreadyExists")
        nowhere = rig.call("POST", "/apis/apps/v1/namespaces/nowhere/deployments", body)
        assert (nowhere.status_code, nowhere.json()["reason"]) == (404, "NotFound")

    def test_an_apply_drops_what_it_no_longer_names(self, rig: Rig) -> None:
        path, content = f"/api/v1/namespaces/{rig.namespace}/configmaps/c", "application/apply-patch+yaml"
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a": "1", "b": "2"}}
        rig.call("PATCH", f"{path}?fieldManager=jenkins", body, content).raise_for_status()
        merge = "application/merge-patch+json"
        rig.call("PATCH", f"{path}?fieldManager=hand", {"data": {"c": "3"}}, merge).raise_for_status()
        answer = rig.call("PATCH", f"{path}?fieldManager=jenkins", {**body, "data": {"a": "1"}}, content)
        assert answer.json()["data"] == {"a": "1", "c": "3"}
        managers = {entry["manager"] for entry in answer.json()["metadata"]["managedFields"]}
        assert managers == {"jenkins", "hand"}

    def test_a_watch_from_too_long_ago_or_with_a_selector_behaves(self, rig: Rig) -> None:
        rig.apply(manifest("1.4.2", replicas=0))
        listing = rig.call("GET", rig.apps().rsplit("/", 1)[0] + "?fieldSelector=metadata.name=web").json()
        assert [item["metadata"]["name"] for item in listing["items"]] == ["web"]
        none = rig.call("GET", rig.apps().rsplit("/", 1)[0] + "?labelSelector=app%20in%20(web)").json()
        assert none["items"] == []  # the labels are the template's, not the workload's
        version = listing["metadata"]["resourceVersion"]
        path = f"{rig.apps().rsplit('/', 1)[0]}?watch=true&timeoutSeconds=1&resourceVersion={version}"
        assert rig.call("GET", path).status_code == 200


def _json(text: str) -> object:
    parsed: object = yaml.safe_load(text)
    return parsed
