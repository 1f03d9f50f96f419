"""What everything that happens to a lock, a freeze or a hold leaves behind: an audit row, and a word in the channel."""

from dataclasses import dataclass

from commands.catalogue import Catalogue
from commands.lock_words import sentence
from commands.requests import Asker
from storage.models import Lock, Target
from storage.unit_of_work import BOT, AuditEntry, Note, UnitOfWork


@dataclass(frozen=True)
class Act:
    """What was done (`set`, `extend`, `lift`, `expire`) and by whom; None is the bot, when the time was over.

    `why` is what the person said of it, `before` what an extension replaced.
    """

    verb: str
    asker: Asker | None = None
    why: str = ""
    before: str = ""


def record(uow: UnitOfWork, known: Catalogue | None, lock: Lock, act: Act, text: str) -> None:
    """Append the audit row, and put the text in the outbox for the channel of what the lock covers.

    Without a catalogue nobody can tell the channel: the record alone tells then. The message is keyed by the audit
    row, so a transaction that is run again tells once.
    """
    asker = act.asker
    row = uow.audit(
        AuditEntry(
            action=f"{lock.kind}:{act.verb}",
            actor=asker.user_id if asker else BOT,
            team_id=asker.team_id if asker else "",
            app=lock.app,
            environment=lock.environment,
            deployment_id=lock.deployment_id,
            details={
                "lock": lock.id,
                "owner": lock.owner,
                "reason": lock.reason,
                "expires_at": lock.expires_at.isoformat() if lock.expires_at else "",
                "why": act.why,
                "before": act.before,
                "channel": asker.channel_id if asker else "",
                "source": str(asker.source) if asker else "",
            },
        )
    )
    channel = _channel(known, lock)
    if channel:
        key = f"lock:{lock.id}:{act.verb}" + (f":{row.seq}" if act.verb == "extend" else "")
        uow.send(Note(key, Target.CHANNEL, {"text": sentence(text)}, channel=channel))


def _channel(known: Catalogue | None, lock: Lock) -> str:
    if known is None:
        return ""
    app = known.app(lock.app) if lock.app else None
    return known.channel(app) if app else known.channels.deployments
