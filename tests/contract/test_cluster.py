"""The rollout watcher on the stand-in: the shared scenarios, and what only a stand-in can be told to do.

Left out: the verdict's finer cases, which `test_cluster_judge.py` tells one by one without a server.
"""

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bot.integrations.cluster import KubernetesCluster, clean
from bot.sandbox.kubernetes import KubernetesServer, write_kubeconfig
from bot.sandbox.server import Fault, Misbehaviour
from commands.ports import Rollout, RolloutRequest, RolloutState
from commands.reasons import ReasonCode, Refused, Retry
from tests.contract.cluster_rig import IMAGE, POD_SECONDS, Rig, manifest, served_stand_in, stand_in_rig
from tests.contract.cluster_scenarios import ClusterScenarios


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[KubernetesServer, str]]:
    with served_stand_in() as served:
        yield served


@pytest.fixture
def rig(tmp_path: Path, served: tuple[KubernetesServer, str]) -> Iterator[Rig]:
    with stand_in_rig(tmp_path, *served) as rig:
        yield rig


@pytest.fixture
def server(rig: Rig) -> KubernetesServer:
    assert rig.stand_in is not None
    return rig.stand_in


@pytest.mark.slow
class TestClusterOnTheStandIn(ClusterScenarios):
    @pytest.fixture
    def rig(self, tmp_path: Path, served: tuple[KubernetesServer, str]) -> Iterator[Rig]:
        with stand_in_rig(tmp_path, *served) as rig:
            yield rig


def test_a_crash_shows_its_exit_code_and_last_lines_without_control_characters(rig: Rig) -> None:
    rig.apply(manifest("1.0-crash"))
    end = rig.watch_to_end(rig.cluster(), rig.request("1.0-crash"))[-1]
    assert "exit code 1" in end.what
    assert "panic: DATABASE_URL is not set" in end.log_tail
    assert "BackOff: back-off" in end.log_tail
    assert "\x1b" not in end.log_tail


def test_running_out_of_memory_is_said_to_be_that(rig: Rig) -> None:
    rig.apply(manifest("1.0-oom"))
    end = rig.watch_to_end(rig.cluster(), rig.request("1.0-oom"))[-1]
    assert end.reason is ReasonCode.CRASH_LOOP
    assert "OOMKilled, exit code 137" in end.what
    assert "memory limit" in end.next_step


def test_a_missing_config_map_is_named(rig: Rig) -> None:
    rig.apply(manifest("1.0-config"))
    end = rig.watch_to_end(rig.cluster(), rig.request("1.0-config"))[-1]
    assert end.reason is ReasonCode.CONTAINER_CONFIG
    assert 'configmap "web-settings" not found' in end.what


def test_a_pod_that_no_node_takes_is_told_and_left_to_the_deadline(rig: Rig) -> None:
    cluster, request = rig.cluster(grace=0.1), rig.request("1.0-unsched")
    rig.apply(manifest("1.0-unsched", progressDeadlineSeconds=1))
    looks = rig.watch_to_end(cluster, request)
    assert any(look.reason is ReasonCode.UNSCHEDULABLE for look in looks if look.state is RolloutState.PROGRESSING)
    assert looks[-1].reason is ReasonCode.UNSCHEDULABLE
    assert "Insufficient cpu" in looks[-1].what
    assert "FailedScheduling" in looks[-1].log_tail


def test_a_pod_that_never_becomes_ready_runs_into_the_progress_deadline(rig: Rig) -> None:
    rig.apply(manifest("1.0-hang", progressDeadlineSeconds=1))
    end = rig.watch_to_end(rig.cluster(), rig.request("1.0-hang"))[-1]
    assert end.reason is ReasonCode.PROGRESS_DEADLINE
    assert "runs but is not ready" in end.what
    assert "listening on :8080" in end.log_tail


def test_a_log_that_may_not_be_read_is_not_missed(rig: Rig) -> None:
    rig.apply(manifest("1.0-crash"))
    end = rig.watch_to_end(rig.cluster(), rig.request("1.0-crash", context="logless"))[-1]
    assert end.reason is ReasonCode.CRASH_LOOP
    assert end.log_tail == ""


def test_a_log_that_breaks_off_is_not_missed(rig: Rig, server: KubernetesServer) -> None:
    server.faults.add(Fault("GET", "/log$", Misbehaviour.REFUSE, times=5, status=500))
    rig.apply(manifest("1.0-crash"))
    end = rig.watch_to_end(rig.cluster(), rig.request("1.0-crash"))[-1]
    assert "panic" not in end.log_tail
    assert "BackOff" in end.log_tail


def test_done_is_noticed_within_a_second(rig: Rig, server: KubernetesServer) -> None:
    rig.apply(manifest("1.0-slow", replicas=1))
    cluster, request = rig.cluster(), rig.request("1.0-slow")
    last = cluster.rollout(request, None, 0)
    done_at: list[float] = []

    def note() -> None:
        until = time.monotonic() + 8 * POD_SECONDS + 5
        while time.monotonic() < until:
            if server.store.get("deployments", rig.namespace, "web").get("status", {}).get("availableReplicas"):
                done_at.append(time.monotonic())
                return
            time.sleep(0.01)

    noter = threading.Thread(target=note)
    noter.start()
    rig.watch_to_end(cluster, request, last)
    seen_at = time.monotonic()
    noter.join()
    assert seen_at - done_at[0] < 1.0


def test_an_unreachable_server_is_retried_and_the_rollout_goes_on(rig: Rig, server: KubernetesServer) -> None:
    cluster, request = rig.cluster(), rig.request("1.4.2")
    rig.apply(manifest("1.4.2"))
    server.faults.add(Fault("GET", "/deployments$", Misbehaviour.DROP_BEFORE))
    with pytest.raises(Retry) as unreachable:
        cluster.rollout(request, None, 0)
    assert unreachable.value.reason is ReasonCode.CLUSTER_UNREACHABLE
    assert rig.watch_to_end(cluster, request)[-1].state is RolloutState.DONE


def test_a_server_that_is_not_there_is_retried(tmp_path: Path, rig: Rig) -> None:
    config = write_kubeconfig(tmp_path / "nowhere", "http://127.0.0.1:1", {"nowhere": "token"})
    with pytest.raises(Retry, match="connection was refused"):
        KubernetesCluster(str(config), timeout=1.0).rollout(rig.request("1.4.2", context="nowhere"), None, 0)


def test_a_server_that_hangs_is_retried_after_the_time_out(rig: Rig, server: KubernetesServer) -> None:
    server.faults.add(Fault("GET", "/deployments$", Misbehaviour.DELAY, seconds=0.8))
    with pytest.raises(Retry, match="no answer in time"):
        KubernetesCluster(str(rig.kubeconfig), timeout=0.3).rollout(rig.request("1.4.2"), None, 0)


def test_a_busy_server_says_when_to_come_back(rig: Rig, server: KubernetesServer) -> None:
    server.faults.add(Fault("GET", "/deployments$", Misbehaviour.RATE_LIMIT, seconds=7.0))
    with pytest.raises(Retry) as busy:
        rig.cluster().rollout(rig.request("1.4.2"), None, 0)
    assert busy.value.after == 7.0


def test_a_revoked_token_is_refused_without_repeating_it(rig: Rig) -> None:
    with pytest.raises(Refused) as refused:
        rig.cluster().rollout(rig.request("1.4.2", context="stale"), None, 0)
    assert refused.value.reason is ReasonCode.CLUSTER_CREDENTIALS
    assert "revoked-token" not in f"{refused.value!r}"


def test_a_token_that_was_renewed_in_the_kubeconfig_is_picked_up(rig: Rig, server: KubernetesServer) -> None:
    cluster, request = rig.cluster(), rig.request("1.4.2")
    cluster.rollout(request, None, 0)
    server.users["renewed-token"] = server.users.pop("reader-token")
    write_kubeconfig(rig.kubeconfig, rig.server.url, {"reader": "renewed-token"})
    assert cluster.rollout(request, None, 0).state is RolloutState.NOT_APPLIED


def test_a_role_that_may_not_list_pods_is_told_which_right_it_lacks(rig: Rig) -> None:
    rig.apply(manifest("1.4.2"))
    time.sleep(0.3)  # until the controller has seen it: before, pods are of no interest
    with pytest.raises(Refused) as refused:
        rig.watch_to_end(rig.cluster(), rig.request("1.4.2", context="podless"))
    assert refused.value.reason is ReasonCode.CLUSTER_CREDENTIALS
    assert f"may not list pods in namespace {rig.namespace}" in refused.value.what


def test_the_check_finds_the_lacking_right_before_a_rollout_does(rig: Rig) -> None:
    with pytest.raises(Refused, match="list pods"):
        rig.cluster().check("podless", rig.namespace)


def test_a_watch_that_is_gone_lists_again(rig: Rig, server: KubernetesServer) -> None:
    cluster, request = rig.cluster(), rig.request("1.4.2")
    first = cluster.rollout(request, None, 0)
    forgotten: list[str] = []

    def forget(method: str, path: str) -> None:
        """Compact between the first list and the watch, and apply at that very moment."""
        if method == "GET" and path.endswith("/deployments") and not forgotten:
            forgotten.append(path)
            server.store.forget()
            applier.start()

    applier = threading.Thread(target=rig.apply, args=[manifest("1.4.2")])
    server.faults.after = forget
    looks = rig.watch_to_end(cluster, request, first)
    applier.join()
    assert looks[-1].state is RolloutState.DONE


def test_a_watch_from_before_the_history_ends_with_410(rig: Rig, server: KubernetesServer) -> None:
    server.store.forget()
    answer = rig.call("GET", rig.apps().rsplit("/", 1)[0] + "?watch=true&timeoutSeconds=1&resourceVersion=50")
    assert '"code": 410' in answer.text


def test_watches_that_break_off_are_routine(rig: Rig, server: KubernetesServer) -> None:
    cluster, request = rig.cluster(), rig.request("1.0-slow")
    rig.apply(manifest("1.0-slow"))
    last = cluster.rollout(request, None, 0)
    server.faults.add(Fault("GET", "/deployments$", Misbehaviour.DROP_AFTER, times=6))
    faults = 0
    while last.state is RolloutState.PROGRESSING:
        try:
            last = cluster.rollout(request, last, 2.0)
        except Retry:
            faults += 1
    assert last.state is RolloutState.DONE
    assert 1 <= faults <= 6


def test_a_daemon_set_is_watched_to_its_end(rig: Rig) -> None:
    cluster = rig.cluster()
    rig.apply(manifest("1.4.1", kind="DaemonSet", replicas=None))
    rig.watch_to_end(cluster, rig.request("1.4.1", kind="daemonset"))
    rig.apply(manifest("1.4.2", kind="DaemonSet", replicas=None))
    looks = rig.watch_to_end(cluster, rig.request("1.4.2", kind="daemonset"))
    assert looks[-1].state is RolloutState.DONE
    assert (looks[-1].desired, looks[-1].updated) == (2, 2)


def test_a_stateful_set_whose_pods_are_refused_says_why(rig: Rig) -> None:
    rig.apply(manifest("1.0-quota", kind="StatefulSet"))
    cluster, request = rig.cluster(), rig.request("1.0-quota", kind="statefulset")
    look = cluster.rollout(request, None, 0)
    for _ in range(3):
        if look.reason is not None:
            break
        look = cluster.rollout(request, look, 1.0)
    assert look.reason is ReasonCode.QUOTA
    assert look.state is RolloutState.PROGRESSING


def test_a_kind_that_has_no_rollout_is_refused(rig: Rig) -> None:
    with pytest.raises(Refused, match="cronjob"):
        rig.cluster().rollout(rig.request("1.4.2", kind="cronjob"), None, 0)


def test_something_else_at_the_address_is_not_taken_for_a_cluster(rig: Rig, server: KubernetesServer) -> None:
    server.faults.add(Fault("GET", "/deployments$", Misbehaviour.REFUSE, status=200))
    with pytest.raises(Refused, match="not a Kubernetes API server"):
        rig.cluster().rollout(rig.request("1.4.2"), None, 0)


def test_a_missing_kubeconfig_is_refused(tmp_path: Path, rig: Rig) -> None:
    with pytest.raises(Refused) as refused:
        KubernetesCluster(str(tmp_path / "none")).rollout(rig.request("1.4.2"), None, 0)
    assert refused.value.reason is ReasonCode.NOT_CONFIGURED


def test_one_client_serves_many_threads(rig: Rig) -> None:
    cluster, request = rig.cluster(), rig.request("1.4.2")
    rig.apply(manifest("1.4.2"))
    ends: list[RolloutState] = []
    threads = [
        threading.Thread(target=lambda: ends.append(rig.watch_to_end(cluster, request)[-1].state)) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ends == [RolloutState.DONE] * 8
    cluster.close()


def test_a_restart_after_the_rollout_is_seen_and_counted(rig: Rig, server: KubernetesServer) -> None:
    cluster, request = rig.cluster(grace=60.0), rig.request("1.4.2")
    rig.apply(manifest("1.4.2"))
    done = rig.watch_to_end(cluster, request)[-1]
    assert done.restarts == 0
    name = server.restart(rig.namespace, "web", 3)
    assert cluster.rollout(request, done, 5.0).restarts == 3
    assert _once_restarted(rig, request, 3) == replace(done, restarts=3)
    pod = rig.call("GET", f"/api/v1/namespaces/{rig.namespace}/pods/{name}").json()
    assert pod["status"]["containerStatuses"][0]["restartCount"] == 3
    assert pod["status"]["containerStatuses"][0]["lastState"]["terminated"]["exitCode"] == 1


def test_restarts_add_up_and_go_with_the_pod(rig: Rig, server: KubernetesServer) -> None:
    cluster, request = rig.cluster(), rig.request("1.4.2", kind="statefulset")
    rig.apply(manifest("1.4.2", kind="StatefulSet", replicas=1))
    rig.watch_to_end(cluster, request)
    for times in (1, 2):
        server.restart(rig.namespace, "web")
        _once_restarted(rig, request, times)
    rig.apply(manifest("1.4.3", kind="StatefulSet", replicas=1))
    assert rig.watch_to_end(cluster, rig.request("1.4.3", kind="statefulset"))[-1].restarts == 0


def test_a_restart_that_just_happened_is_watched_for_a_while(rig: Rig, server: KubernetesServer) -> None:
    rig.apply(manifest("1.4.2", replicas=1))
    rig.watch_to_end(rig.cluster(), rig.request("1.4.2"))
    server.restart(rig.namespace, "web")
    time.sleep(POD_SECONDS * 2)
    look = rig.cluster(grace=60.0).rollout(rig.request("1.4.2"), None, 0)
    assert (look.state, look.restarts) == (RolloutState.PROGRESSING, 1)
    assert "was restarted (exit code 1)" in look.warning


def test_what_does_not_run_cannot_restart(rig: Rig, server: KubernetesServer) -> None:
    with pytest.raises(LookupError, match="no pod of web"):
        server.restart(rig.namespace, "web")


def test_only_reading_requests_are_made(rig: Rig, server: KubernetesServer) -> None:
    rig.apply(manifest("1.0-crash"))
    methods: set[str] = set()
    server.faults.before = lambda method, _: methods.add(method)
    rig.watch_to_end(rig.cluster(), rig.request("1.0-crash"))
    assert methods == {"GET"}


def test_lines_are_cleaned_of_what_could_deceive() -> None:
    assert clean("\x1b[31mred\x1b[0m\u202eevil\x07\tend") == "redevil  end"
    assert len(clean("x" * 5000)) == 400


def test_the_stand_in_forbids_strangers_and_does_not_know_others(rig: Rig) -> None:
    listing = f"/api/v1/namespaces/{rig.namespace}/pods"
    assert rig.call("GET", f"/api/v1/namespaces/{rig.namespace}/poodles").status_code == 404
    assert rig.call("POST", rig.apps()).status_code == 405
    assert rig.call("GET", listing).json()["kind"] == "PodList"
    assert rig.call("GET", "/apis").json()["kind"] == "APIGroupList"
    assert IMAGE not in rig.call("GET", listing).text


def _once_restarted(rig: Rig, request: RolloutRequest, times: int) -> Rollout:
    """The first look at which all is up again after so many restarts."""
    cluster, until = rig.cluster(), time.monotonic() + rig.patience
    while time.monotonic() < until:
        look = cluster.rollout(request, None, 0)
        if look.restarts == times and look.state is RolloutState.DONE:
            return look
        time.sleep(0.05)
    raise AssertionError(f"not up again within {rig.patience} s")
