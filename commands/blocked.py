"""What holds each waiting deployment up now, kept on its card, and the question whether one may start."""

from collections.abc import Callable

from commands.blocks import Waits, blocks, told
from commands.facts import Facts
from storage import locks
from storage.phases import Phase
from storage.unit_of_work import Store, UnitOfWork


def may_start(uow: UnitOfWork, facts: Facts) -> Callable[[Waits], bool]:
    """The question for everything that is looked at in this transaction: the locks are read once."""
    in_force = locks.in_force(uow, uow.now)

    def clear(request: Waits) -> bool:
        return not blocks(request, in_force, facts.in_force, uow.now)

    return clear


def refresh_blocked(store: Store, facts: Facts) -> int:
    """Write anew what holds waiting deployments up, where that is no longer what their cards say; how many changed.

    For once a second and after everything that is locked or lifted: one short read while nothing waits or changes.
    What two replicas write at once is the same; what a crash leaves undone, the next call does.
    """
    with store.read() as uow:
        if not _behind(uow, facts):
            return 0
    changed = 0
    with store.write() as uow:
        for deployment_id, text in _behind(uow, facts):
            row = uow.deployment(deployment_id)
            if row is None:
                continue
            uow.hold(row)
            if Phase(row.phase) in locks.WAITING and row.blocked != text:
                row.blocked = text
                uow.changed(row)
                changed += 1
    return changed


def _behind(uow: UnitOfWork, facts: Facts) -> list[tuple[str, str]]:
    """Ids of waiting deployments whose card says something else than is so, with what is so."""
    in_force = locks.in_force(uow, uow.now)
    # Mostly nothing is in anybody's way: then only those need a look for which something was, or that have a time.
    waiting = locks.waiting(uow, said_or_timed=not in_force and facts.in_force.lets_all_pass)
    now = ((one, told(blocks(one, in_force, facts.in_force, uow.now))) for one in waiting)
    return [(one.id, text) for one, text in now if text != one.blocked]
