"""The hold that a rollback sets: nothing overwrites what was brought back until a person lifts it."""

from commands.catalogue import Catalogue
from commands.lock_record import Act, record
from commands.requests import mention
from commands.scopes import Scope
from storage import locks
from storage.models import Deployment, Lock, LockKind
from storage.unit_of_work import BOT, UnitOfWork


def hold(uow: UnitOfWork, known: Catalogue | None, rollback: Deployment) -> Lock:
    """Hold the rollback's target, once: called again for the same rollback, it finds what it set, lifted or not.

    It takes the place of an earlier rollback's hold, so that one `/deploy unlock` is always enough. Recorded and told
    in the app's channel, in the caller's transaction. Nothing asks here who may: whoever may roll back may hold.
    """
    mine = locks.of_deployment(uow, rollback.id)
    if mine is not None:
        return mine
    earlier = locks.of_scope(uow, LockKind.HOLD, rollback.app, rollback.environment)
    if earlier is not None:
        locks.lift(uow, earlier, BOT)
    stored = locks.add(
        uow,
        Lock(
            kind=LockKind.HOLD,
            app=rollback.app,
            environment=rollback.environment,
            reason=rollback.reason,
            team_id=rollback.team_id,
            owner=rollback.requested_by,
            at=uow.now,
            deployment_id=rollback.id,
        ),
    )
    scope = Scope(rollback.app, rollback.environment)
    text = (
        f"{scope.name} is held at `{rollback.version}` since {mention(rollback.requested_by)} rolled it back: no "
        f"deployment or promotion starts there; rollbacks pass. `/deploy unlock {scope.words}` lifts the hold."
    )
    record(uow, known, stored, Act("set", before=f"the hold of {earlier.deployment_id}" if earlier else ""), text)
    return stored
