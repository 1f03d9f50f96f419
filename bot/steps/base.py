"""What every step of a delivery shares: who owns the deployment, how long there is, and how faults become endings."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum
from typing import ClassVar
from uuid import uuid4

import structlog
from sqlalchemy.exc import OperationalError

from bot.gate.merges import Merges
from bot.metrics import STEP_SECONDS
from bot.writing import Writing
from commands import policy
from commands.blocks import blocks, told
from commands.catalogue import App, Catalogue, Environment
from commands.closing import close
from commands.endings import Ending, end
from commands.facts import Facts
from commands.policy import Target
from commands.ports import Cluster, Health, Pipeline
from commands.reasons import Fault, ReasonCode, Refused, Retry, Unknown
from commands.requests import Asker
from commands.rollback import after_failure, offers_rollback
from storage import gate, locks, models
from storage.models import Deployment, Kind
from storage.phases import STAGE_ORDER, Phase, Stage
from storage.unit_of_work import AuditEntry, Note, StaleAttemptError, Store, UnitOfWork

DONE = 0.0
"""A step's answer: the next step may come."""
ENDED = -1.0
"""A step's answer: the deployment has ended, or belongs to somebody else now."""

WRITE_PATIENCE = timedelta(minutes=5)
"""How long git, the registry and the renderer may be out of reach before a deployment gives up."""

log = structlog.get_logger("delivery")


class Point(StrEnum):
    """Instants between an effect and its record, in order: where a crash test kills the process."""

    CLAIMED = "claimed"
    CHECKED = "checked"
    WRITE_RECORDED = "write_recorded"
    PUSHED = "pushed"
    COMMIT_RECORDED = "commit_recorded"
    BUILD_RECORDED = "build_recorded"
    BUILD_TRIGGERED = "build_triggered"
    BUILD_STORED = "build_stored"
    BUILD_ENDED = "build_ended"
    ROLLOUT_SEEN = "rollout_seen"
    ROLLOUT_DONE = "rollout_done"
    VERIFIED = "verified"
    FINISHED = "finished"


Reached = Callable[[Point, str], None]
"""Called with the point and the deployment id; does nothing in production."""


def nothing(point: Point, deployment_id: str) -> None:
    """The Reached of production."""
    del point, deployment_id


@dataclass(frozen=True)
class World:
    """The outside, as a deployment meets it. `pipeline` and `cluster` are None where none is configured."""

    writing: Writing
    pipeline: Pipeline | None
    cluster: Cluster | None
    facts: Callable[[], Facts]
    pushed: Callable[[str], None]
    """Told the new head after a push, so that what is remembered of git is looked at again."""
    changed: Callable[[], None]
    """Told after every change that a person can see, so that the card is posted soon."""
    merges: Merges | None = None
    """How reviewed changes reach the branch; None where no code host is configured."""
    health: Health | None = None
    """Looks at health URLs."""


CANNOT_LOOK = frozenset(
    {
        ReasonCode.CATALOGUE_INVALID,
        ReasonCode.CATALOGUE_MISSING,
        ReasonCode.CLUSTER_CREDENTIALS,
        ReasonCode.NOT_CONFIGURED,
        ReasonCode.OVERLAY_INVALID,
        ReasonCode.OVERLAY_MISSING,
        ReasonCode.OVERLAY_UNSAFE,
        ReasonCode.BRANCH_MISSING,
        ReasonCode.REPO_CREDENTIALS,
        ReasonCode.REPO_MISSING,
        ReasonCode.UNKNOWN_APP,
        ReasonCode.UNKNOWN_ENVIRONMENT,
    }
)
"""After the commit and the build, these say that we may not look, not that anything went wrong."""


class StandDownError(Exception):
    """Something is in the way before anything was written: the deployment waits again. `what` names it."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what


@dataclass(frozen=True)
class Place:
    """Where a deployment goes, as the catalogue in force says now."""

    known: Catalogue
    app: App
    environment: Environment


class Step(ABC):
    """One step. Call it with a deployment id and an attempt; it answers DONE, ENDED, or a pause in seconds.

    It looks, acts and records; run again after a crash at any instant, it finds what it did. Faults become the
    deployment's ending here, and nowhere else.
    """

    name: ClassVar[str]
    stage: ClassVar[Stage]
    blind: ClassVar[frozenset[ReasonCode]] = frozenset()
    """Refusals that tell nothing about the deployment: it ends ERRORED, because how it went is not known."""

    def __init__(self, store: Store, world: World, reached: Reached) -> None:
        self.store = store
        self.world = world
        self.reached = reached

    @abstractmethod
    def work(self, row: Deployment, attempt: int) -> float:
        """The step itself, on a fresh copy of the deployment that this attempt owns."""

    def __call__(self, deployment_id: str, attempt: int) -> float:
        """Run the step; the one place where a fault is caught and becomes an ending."""
        began = time.perf_counter()
        try:
            with self.store.read() as uow:
                row = uow.running(deployment_id, attempt)
            if STAGE_ORDER.index(Stage(row.stage)) > STAGE_ORDER.index(self.stage):
                # An earlier attempt went past here. Going back would forget what was replaced, and would let a
                # deployment be cancelled that git already has.
                return DONE
            return self._logged(deployment_id, attempt, self.work(row, attempt))
        except StaleAttemptError:
            log.info("delivery.stale", deployment=deployment_id, attempt=attempt, step=self.name)
            return ENDED
        except StandDownError as way:
            return self._stand_down(deployment_id, attempt, way.what)
        except Retry as fault:
            return self._again(deployment_id, attempt, fault)
        except Refused as fault:
            phase = Phase.ERRORED if fault.reason in self.blind else Phase.FAILED
            return self._end(deployment_id, attempt, phase, fault)
        except Unknown as fault:
            return self._end(deployment_id, attempt, Phase.ERRORED, fault)
        except OperationalError:
            raise  # the database is away: nothing can be recorded, and the next attempt starts where this one stopped
        except Exception:  # the one edge: whatever is wrong with us, the person is told and can find it
            error_id = uuid4().hex[:8]
            log.exception("delivery.defect", deployment=deployment_id, step=self.name, error_id=error_id)
            defect = Unknown(
                ReasonCode.INTERNAL,
                f"Locktender made a mistake in the step `{self.name}` and stopped.",
                f"Look at git and the cluster before you deploy again; the log line has error id `{error_id}`.",
            )
            return self._end(deployment_id, attempt, Phase.ERRORED, defect)
        finally:
            STEP_SECONDS.labels(self.name).observe(time.perf_counter() - began)

    def _logged(self, deployment_id: str, attempt: int, answer: float) -> float:
        if answer == DONE:
            log.info("delivery.step_done", deployment=deployment_id, attempt=attempt, step=self.name)
        return answer

    # ------------------------------------------------------------ for the steps

    def place(self, row: Deployment) -> Place:
        """Look the names up again. After the commit this is all: to stop then would leave a place unlike git."""
        known = policy.catalogue(self.world.facts())
        app = policy.find_app(known, row.app)
        return Place(known, app, policy.find_environment(known, app, row.environment))

    def allowed(self, row: Deployment) -> Place:
        """Look the names up and check the rules again: what was asked must still be allowed when it is written."""
        place = self.place(row)
        if row.kind != Kind.PREVIEW:
            facts, asker = self.world.facts(), Asker(row.team_id, row.requested_by, row.id)
            policy.may_deploy(facts, asker, place.environment)  # it may have waited for hours
            self._reviewed(row, place)
            policy.may_change(facts, Target(place.app, place.environment))
            self._not_blocked(row, facts)
        return place

    @staticmethod
    def _reviewed(row: Deployment, place: Place) -> None:
        """Raise Refused for what was accepted without a review, where the rules of now ask for one."""
        if place.environment.production_like and not row.change_id:
            raise Refused(
                ReasonCode.APPROVAL_REQUIRED,
                f"Changes to `{row.environment}` have to be reviewed since this was asked for. Nothing was committed.",
                "Ask again: it will be shown to those who may approve it.",
            )

    def _not_blocked(self, row: Deployment, facts: Facts) -> None:
        """Raise StandDownError for a lock or a freeze that came since it was claimed, unless git may have it."""
        if STAGE_ORDER.index(Stage(row.stage)) >= STAGE_ORDER.index(Stage.WRITE):
            return
        with self.store.read() as uow:
            found = blocks(row, locks.in_force(uow, uow.now), facts.in_force, uow.now)
        if found:
            raise StandDownError(told(found))

    @contextmanager
    def record(self, row: Deployment, attempt: int) -> Iterator[tuple[UnitOfWork, Deployment]]:
        """One transaction on the deployment, provided this attempt still owns it; its card follows."""
        with self.store.write() as uow:
            mine = uow.running(row.id, attempt)
            mine.heartbeat_at = uow.now
            yield uow, mine
            if not Phase(mine.phase).ended:
                uow.changed(mine)
        self.world.changed()

    def patience(self, row: Deployment, attempt: int, stage: Stage, span: timedelta) -> Deployment:
        """Enter a stage, with a stored time at which it gives up; entering it again keeps the first time."""
        if row.stage == stage and row.stage_deadline is not None:
            return row
        with self.record(row, attempt) as (uow, mine):
            mine.stage, mine.stage_started, mine.stage_deadline = stage, uow.now, uow.now + span
        return mine

    def out_of_time(self, row: Deployment, fault: Fault) -> None:
        """Raise the fault when the stage's time is over."""
        if row.stage_deadline is not None and self.store.clock() > row.stage_deadline:
            raise fault

    # ------------------------------------------------------------ endings

    def _again(self, deployment_id: str, attempt: int, fault: Retry) -> float:
        """Note the trouble on the card and come back, until the stage's time is over."""
        log.info("delivery.retry", deployment=deployment_id, step=self.name, reason=str(fault.reason), what=fault.what)
        try:
            with self.store.read() as uow:
                row = uow.running(deployment_id, attempt)
            if row.stage_deadline is not None and self.store.clock() > row.stage_deadline:
                return self._end(deployment_id, attempt, Phase.ERRORED, fault.as_unknown())
            note = f"{fault.what} Trying again."
            if row.note != note:
                with self.record(row, attempt) as (_, mine):
                    mine.note = note
        except StaleAttemptError:
            return ENDED
        return max(0.2, min(fault.after, self._left(row)))

    def _stand_down(self, deployment_id: str, attempt: int, what: str) -> float:
        """Back into the queue, with all that starts together."""
        log.info("delivery.stood_down", deployment=deployment_id, step=self.name, what=what)
        try:
            with self.store.write() as uow:
                row = uow.running(deployment_id, attempt)
                for one in gate.members(uow, row.change_id) or [row]:
                    uow.hold(one)
                    if one.phase == Phase.RUNNING and not one.commit_sha:
                        one.back_to(Phase.QUEUED, what)
                        uow.changed(one)
                uow.audit(entry(row, "deployment:stand-down", {"what": what}))
        except StaleAttemptError:
            return ENDED
        self.world.changed()
        return ENDED

    def _left(self, row: Deployment) -> float:
        """Seconds until the stage gives up: a server may ask for more patience than there is."""
        if row.stage_deadline is None:
            return float("inf")
        return (row.stage_deadline - self.store.clock()).total_seconds() + 0.2

    def _end(self, deployment_id: str, attempt: int, phase: Phase, fault: Fault) -> float:
        log.info("delivery.ended", deployment=deployment_id, step=self.name, phase=str(phase), reason=str(fault.reason))
        try:
            with self.store.write() as uow:
                known = uow.deployment(deployment_id)
                change = gate.held(uow, known.change_id) if known is not None else None  # before any of its rows
                row = uow.running(deployment_id, attempt)
                if row.kind == Kind.PREVIEW:
                    tell_asker(uow, row, f"{fault.what} {fault.next_step}", fault.detail)
                facts = self.world.facts()
                row.no_way_back = not offers_rollback(facts, row)
                if change is not None and change.state in gate.LIVE and not row.commit_sha:
                    close(uow, change, _of_all(row, Ending.of(phase, fault)))  # what it shares its merge with, too
                else:
                    end(uow, row, Ending.of(phase, fault))
                if phase is Phase.FAILED and row.commit_sha:
                    after_failure(uow, facts, row)
        except StaleAttemptError:
            return ENDED
        self.world.changed()
        return ENDED


def _of_all(row: Deployment, ending: Ending) -> Ending:
    """The ending of everything that was to be merged with this deployment."""
    return replace(ending, what=f"`{row.app}` stops the whole set: {ending.what}") if row.card_id else ending


def entry(row: Deployment, action: str, details: Mapping[str, object]) -> AuditEntry:
    """An audit entry of what the delivery does."""
    return AuditEntry(action=action, app=row.app, environment=row.environment, deployment_id=row.id, details=details)


def tell_thread(uow: UnitOfWork, row: Deployment, what: str, text: str, quote: str = "") -> None:
    """A line below the card, once per deployment and `what`."""
    of_set = f"`{row.app}`: " if row.card_id else ""
    body = {"text": f"{of_set}{text}", "quote": quote}
    key = f"thread:{row.id}:{what}"
    uow.send(Note(key=key, target=models.Target.THREAD, deployment_id=row.card_id or row.id, body=body))


def tell_asker(uow: UnitOfWork, row: Deployment, text: str, quote: str = "") -> None:
    """A word to whoever asked for a preview, and to nobody else."""
    uow.send(
        Note(
            key=f"preview:{row.id}",
            target=models.Target.RESPONSE if row.answer_url else models.Target.EPHEMERAL,
            url=row.answer_url,
            channel=row.requested_in,
            user_id=row.requested_by,
            thread_ts=row.requested_thread,
            body={"text": text, "quote": quote},
        )
    )
    row.answer_url = ""
