"""Jenkins as the pipeline that applies what git says: triggered once per deployment, followed to its end.

Triggering has no idempotency key, so the key is made: every build carries the parameter DEPLOYMENT_ID, and
`ensure_build` looks for it in the queue and among the job's newest builds before it triggers. Three windows remain
between looking and triggering, and each is closed:

* Two threads of this process: one lock per deployment id.
* A trigger whose outcome is unknown (time-out, cut connection, error 500): Jenkins may still be working on it, and an
  item that has left the queue is not a build in the list at once. For `settle` seconds after such a failure the
  looking is repeated before anything is triggered again.
* The same after a crash, which forgets that a trigger was under way: so the first `settle` seconds of this object's
  life count as doubtful for every deployment.

What is left needs Jenkins to take longer than `settle` over a request that it will still serve. Then its own rule
helps: an equal item that still waits (the quiet period is 5 seconds unless a job sets it to 0) is answered with 303
and that item, instead of a second one. Two processes that work on one deployment are kept apart by the engine.
"""

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import NoReturn
from urllib.parse import unquote, urljoin, urlsplit

from bot.integrations.jenkins.answers import BuildInfo, JobInfo, QueueItem, QueueList, Stages
from bot.integrations.jenkins.connection import Connection, Pool, Reply
from bot.integrations.jenkins.console import console_tail
from bot.integrations.jenkins.faults import Trouble, fault
from bot.integrations.jenkins.names import ID, base_url, check_declared, check_request, job_path, link, undeclared
from commands.ports import Build, BuildRef, BuildRequest, BuildState
from commands.reasons import Refused, Retry

_ACTIONS = "actions[parameters[name,value]]"
_ITEM = f"id,why,cancelled,task[url],executable[number],{_ACTIONS}"
_BUILD = f"number,queueId,building,result,url,timestamp,duration,{_ACTIONS}"
# 100 is what Jenkins itself lists at most without loading older builds from disk.
_JOB = f"builds[number,queueId,{_ACTIONS}]{{0,100}},property[parameterDefinitions[name,choices]]"
_LOOK_EVERY = 0.25  # seconds, while an outcome is in doubt
_QUEUE_URL = re.compile(r"/queue/item/(\d{1,18})/?$")
_ENDS = {
    "SUCCESS": BuildState.SUCCESS,
    "UNSTABLE": BuildState.UNSTABLE,
    "FAILURE": BuildState.FAILURE,
    "ABORTED": BuildState.ABORTED,
    "NOT_BUILT": BuildState.ABORTED,  # a milestone or a condition ended it before it did anything
}


class JenkinsPipeline:
    """`ports.Pipeline` on a Jenkins server. Safe to call from many threads.

    `url` is Jenkins' root, with its path prefix if it has one. `timeout` is seconds without a byte on any one answer
    (connecting has 3 seconds). `settle` is how long (seconds) an unknown outcome is looked for before triggering
    again. `ca_file` is a bundle of certificates to trust instead of the built-in ones. Nothing is sent by making one.
    """

    def __init__(
        self, url: str, user: str, token: str, *, timeout: float = 10.0, settle: float = 2.0, ca_file: str = ""
    ) -> None:
        self._base = base_url(url)
        self._pool = Pool(self._base, user, token, timeout=timeout, ca_file=ca_file)
        self._settle = settle
        self._locks: dict[str, tuple[threading.Lock, int]] = {}  # by deployment id, with the number of users
        self._guard = threading.Lock()  # over the two dicts around it
        self._born = time.monotonic()
        self._doubtful: dict[str, float] = {}  # by deployment id: until when (monotonic seconds)

    def close(self) -> None:
        """Close idle connections. It may be used again afterwards."""
        self._pool.close()

    def check(self) -> None:
        """Return when Jenkins answers and knows us. Refused (JENKINS_CREDENTIALS, NOT_CONFIGURED) or Retry."""
        with self._pool.lend() as connection:
            reply = connection.get("api/json", {"tree": "mode"})
            if reply is None or not connection.is_jenkins(reply):
                raise fault(Trouble.NOT_JENKINS, url=self._base)

    def check_job(self, job: str) -> None:
        """Return when the job exists and declares DEPLOYMENT_ID. Refused (JOB_MISSING, JOB_…) or Retry."""
        with self._pool.lend() as connection:
            declared = self._job(connection, job).declared()
            if declared is None:
                raise fault(Trouble.NOT_PARAMETERIZED, job=job)
            if ID not in declared:
                raise undeclared(job, [ID])

    def ensure_build(self, request: BuildRequest) -> BuildRef:
        """The one build of this deployment: found by DEPLOYMENT_ID, or triggered.

        Refused: JOB_MISSING, JOB_DISABLED, JOB_NOT_PARAMETERIZED, JOB_REFUSED_PARAMETERS, JENKINS_CREDENTIALS,
        NOT_CONFIGURED. A Retry may mean that the build was started: call again, it will be found. May take `settle`
        seconds longer than Jenkins does.
        """
        check_request(request)
        with self._only_one(request.deployment_id), self._pool.lend() as connection:
            while True:
                found, job = self._look(connection, request.job, request.deployment_id)
                if found is not None:
                    return found
                if not self._in_doubt(request.deployment_id):
                    break
                time.sleep(_LOOK_EVERY)
            check_declared(request, job)
            try:
                return self._trigger(connection, request)
            except Retry:
                with self._guard:
                    self._doubtful[request.deployment_id] = time.monotonic() + self._settle
                raise

    def build(self, deployment_id: str, ref: BuildRef) -> Build:
        """One look at a build that `ensure_build` returned, or whose `ref` an earlier look made more precise.

        LOST only when Jenkins answered and knows it neither in the queue nor among the builds that it lists. An
        ABORTED without a number was cancelled in the queue. Refused (JOB_MISSING, …) or Retry when there is no answer.
        """
        job_path(ref.job)
        with self._pool.lend() as connection:
            if ref.number is None and ref.queue_id is not None:
                item = connection.read(QueueItem, f"queue/item/{ref.queue_id}/", _ITEM)
                if item is not None and item.parameter(ID) == deployment_id:
                    return self._queued(connection, ref, item)
            elif ref.number is not None:
                info = self._info(connection, ref.job, ref.number)
                if info is not None and info.parameter(ID) == deployment_id:
                    return self._told(connection, ref, info)
            return self._searched(connection, deployment_id, ref)

    # ------------------------------------------------------------ looking

    def _look(self, connection: Connection, job: str, deployment_id: str) -> tuple[BuildRef | None, JobInfo]:
        """Queue first, then builds: that is the way an item goes, so it cannot pass between the two looks unseen."""
        waiting = connection.read(QueueList, "queue/", f"items[{_ITEM}]")
        path = unquote("/" + job_path(job))
        for item in waiting.items if waiting else ():
            ours = item.task is not None and unquote(urlsplit(item.task.url).path).endswith(path)
            if ours and item.parameter(ID) == deployment_id and not item.cancelled:
                return BuildRef(job, item.id, item.executable.number if item.executable else None), JobInfo()
        info = self._job(connection, job)
        # Newest first: the oldest is the one we triggered, later ones are somebody's rebuilds of it.
        for build in reversed(info.builds):
            if build.parameter(ID) == deployment_id:
                return BuildRef(job, build.queue_id, build.number), info
        return None, info

    def _job(self, connection: Connection, job: str) -> JobInfo:
        info = connection.read(JobInfo, job_path(job), _JOB)
        if info is None:
            raise fault(Trouble.JOB_MISSING, job=job)
        return info

    def _info(self, connection: Connection, job: str, number: int) -> BuildInfo | None:
        return connection.read(BuildInfo, f"{job_path(job)}{number}/", _BUILD)

    def _in_doubt(self, deployment_id: str) -> bool:
        now = time.monotonic()
        with self._guard:
            for past in [key for key, until in self._doubtful.items() if until <= now]:
                del self._doubtful[past]
            return deployment_id in self._doubtful or now < self._born + self._settle

    @contextmanager
    def _only_one(self, deployment_id: str) -> Iterator[None]:
        """One thread per deployment id at a time; others wait and then find what the first one did."""
        with self._guard:
            lock, users = self._locks.get(deployment_id, (threading.Lock(), 0))
            self._locks[deployment_id] = lock, users + 1
        try:
            with lock:
                yield
        finally:
            with self._guard:
                lock, users = self._locks.pop(deployment_id)
                if users > 1:
                    self._locks[deployment_id] = lock, users - 1

    # ------------------------------------------------------------ triggering

    def _trigger(self, connection: Connection, request: BuildRequest) -> BuildRef:
        """POST, and see that what Jenkins queued carries our id: 303 names an equal item that waited already."""
        # In the form, not in the address: there is less of it in access logs.
        reply = connection.post(f"{job_path(request.job)}buildWithParameters", request.parameters)
        if reply.status not in {HTTPStatus.CREATED, HTTPStatus.SEE_OTHER}:
            self._refuse(connection, request.job, reply)
        # Only the number is taken from the address: behind a proxy, Jenkins may not know how it is reached.
        at = _QUEUE_URL.search(urlsplit(reply.location).path)
        if at is None:
            connection.refuse_failure(reply)
            raise fault(Trouble.NOT_JENKINS, url=self._base)
        item = connection.read(QueueItem, f"queue/item/{at[1]}/", _ITEM)
        if item is None:
            raise fault(Trouble.SILENT, url=self._base)  # It is gone too soon to be ours; the next call will look.
        if item.parameter(ID) != request.deployment_id:
            raise undeclared(request.job, [ID])
        return BuildRef(request.job, item.id, item.executable.number if item.executable else None)

    def _refuse(self, connection: Connection, job: str, reply: Reply) -> NoReturn:
        """Raise what an answer other than "queued" means."""
        troubles = {
            HTTPStatus.NOT_FOUND: Trouble.JOB_MISSING,
            HTTPStatus.CONFLICT: Trouble.JOB_DISABLED,
            HTTPStatus.BAD_REQUEST: Trouble.NOT_PARAMETERIZED,
        }
        if reply.status == HTTPStatus.NOT_FOUND:
            connection.confirm_jenkins()
        if reply.status in troubles:
            raise fault(troubles[HTTPStatus(reply.status)], job=job)
        # `.` is the page of the job itself, however far a proxy has rewritten the address before it.
        target = unquote(urlsplit(urljoin(reply.url, reply.location)).path).rstrip("/") + "/"
        if reply.status == HTTPStatus.FOUND and target.endswith(unquote("/" + job_path(job))):
            raise fault(Trouble.QUEUE_REFUSED, job=job, after=5.0)
        known = {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.TOO_MANY_REQUESTS}
        if 400 <= reply.status < 500 and reply.status not in known:
            raise fault(Trouble.REJECTED, job=job, status=str(reply.status))
        connection.refuse_failure(reply)
        raise fault(Trouble.NOT_JENKINS, url=self._base)  # A success that queued nothing.

    # ------------------------------------------------------------ telling

    def _queued(self, connection: Connection, ref: BuildRef, item: QueueItem) -> Build:
        if item.executable is not None:
            ref = BuildRef(ref.job, item.id, item.executable.number)
            info = self._info(connection, ref.job, item.executable.number)
            # Named by the queue and not there yet: it is being made.
            return self._told(connection, ref, info) if info else Build(ref, BuildState.RUNNING)
        if item.cancelled:
            return Build(ref, BuildState.ABORTED, why="It was cancelled in Jenkins' queue before it started.")
        return Build(ref, BuildState.QUEUED, why=item.why or "")

    def _searched(self, connection: Connection, deployment_id: str, ref: BuildRef) -> Build:
        """The queue forgot it, or the number is somebody else's: builds deleted and the job made anew, say."""
        found, _ = self._look(connection, ref.job, deployment_id)
        if found is None:
            return Build(ref, BuildState.LOST)
        if found.number is None:
            return Build(found, BuildState.QUEUED)
        info = self._info(connection, found.job, found.number)
        return self._told(connection, found, info) if info else Build(ref, BuildState.LOST)

    def _told(self, connection: Connection, ref: BuildRef, info: BuildInfo) -> Build:
        """A result counts only once the build has stopped: pipelines set UNSTABLE or FAILURE while they go on."""
        path = f"{job_path(ref.job)}{info.number}/"
        running = info.building or info.result is None
        state = BuildState.RUNNING if running else _ENDS.get(info.result or "", BuildState.FAILURE)
        stage, status = ("", "") if state is BuildState.SUCCESS else self._stage(connection, path)
        why = "It waits for somebody to answer its input step in Jenkins." if status == "PAUSED_PENDING_INPUT" else ""
        if info.result == "NOT_BUILT" and not running:
            why = "Jenkins ended it before it did anything (NOT_BUILT)."
        tail = "" if running or state is BuildState.SUCCESS else self._tail(connection, path)
        milliseconds = time.time() * 1000 - info.timestamp if running else info.duration
        return Build(
            ref=BuildRef(ref.job, ref.queue_id or info.queue_id, info.number),
            state=state,
            url=link(info.url, self._base, path),
            stage=stage,
            why=why,
            log_tail=tail,
            seconds=max(0.0, milliseconds / 1000) if info.timestamp else 0.0,
        )

    def _stage(self, connection: Connection, path: str) -> tuple[str, str]:
        """What the stage view says; nothing for freestyle jobs, nor when that plugin fails or forbids."""
        try:
            reply = connection.get(f"{path}wfapi/describe", {})
            return connection.parse(Stages, reply).current() if reply else ("", "")
        except (Retry, Refused):
            return "", ""  # The state is known, and that is what counts.

    def _tail(self, connection: Connection, path: str) -> str:
        try:
            return console_tail(connection, path)
        except (Retry, Refused):
            return ""  # The build has failed, and that is worth telling without its last words.
