"""How a deployment ends: one way, with its audit row, its card and the word to whoever asked."""

from dataclasses import dataclass

from commands.reasons import Fault, ReasonCode
from commands.requests import mention
from storage.models import Deployment, Kind, Target
from storage.phases import Phase, Stage
from storage.unit_of_work import BOT, AuditEntry, Note, UnitOfWork


@dataclass(frozen=True)
class Ending:
    """What is said of an end. `detail` is outside text: log lines, a tool's own words."""

    phase: Phase
    reason: ReasonCode
    what: str
    next_step: str = ""
    detail: str = ""

    @classmethod
    def of(cls, phase: Phase, fault: Fault) -> "Ending":
        """The ending that a fault makes."""
        return cls(phase, fault.reason, fault.what, fault.next_step, fault.detail)


def end(uow: UnitOfWork, deployment: Deployment, ending: Ending, *, actor: str = BOT) -> None:
    """Move to the end and record it; the card and, when something went wrong, a word in its thread follow."""
    deployment.to(ending.phase)
    deployment.reason_code = ending.reason
    deployment.what = ending.what
    deployment.next_step = ending.next_step
    deployment.detail = ending.detail
    deployment.note = ""
    deployment.finished_at = uow.now
    deployment.stage_deadline = None
    deployment.answer_url = ""  # nobody is answered there any more, and it is as good as a token
    if ending.phase is Phase.SUCCEEDED:
        deployment.stage = Stage.DONE
    uow.changed(deployment)
    uow.audit(
        AuditEntry(
            action="deployment:finish",
            actor=actor,
            team_id=deployment.team_id if actor != BOT else "",
            app=deployment.app,
            environment=deployment.environment,
            deployment_id=deployment.id,
            reason_code=ending.reason,
            details={
                "phase": str(ending.phase),
                "what": ending.what,
                "version": deployment.version,
                "digest": deployment.digest,
                "commit": deployment.commit_sha,
                "build_url": deployment.build_url,
                "seconds": int((uow.now - deployment.requested_at).total_seconds()),
            },
        )
    )
    if ending.phase in {Phase.FAILED, Phase.ERRORED} and deployment.kind != Kind.PREVIEW:
        _tell_asker(uow, deployment, ending)


def _tell_asker(uow: UnitOfWork, deployment: Deployment, ending: Ending) -> None:
    """A word below the card. What stops a whole set before its merge is said once, what stops one app names it."""
    card_id, of_app, key = deployment.id, "", deployment.id
    if deployment.card_id:
        card_id = deployment.card_id
        merged = bool(deployment.commit_sha)
        of_app, key = (f"`{deployment.app}`: ", deployment.id) if merged else ("", f"{card_id}:{ending.reason}")
    text = f"{mention(deployment.requested_by)} {of_app}{ending.what} {ending.next_step}".strip()
    body = {"text": text, "quote": ending.detail}
    uow.send(Note(key=f"thread:{key}:end", target=Target.THREAD, deployment_id=card_id, body=body))
