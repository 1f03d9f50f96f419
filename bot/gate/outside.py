"""What a look at a change needs of the world, and how it writes down what it found."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

from bot.gate.proposals import Proposals
from commands.code_host import CodeHost
from commands.facts import Facts
from commands.ports import InfraRepo
from storage import gate
from storage.models import Change
from storage.phases import Phase
from storage.unit_of_work import Store, UnitOfWork


class OverError(Exception):
    """The change is no longer what this visit began with: another visit sees to it."""


@dataclass(frozen=True)
class Outside:
    """What a visit needs of the world. `poll` is the time between two looks when nothing tells us to look."""

    infra: InfraRepo
    host: CodeHost
    facts: Callable[[], Facts]
    proposals: Proposals
    poll: timedelta
    shared: Callable[[str], bool | None]
    """Whether a channel is shared with other workspaces; None when nobody can tell."""
    changed: Callable[[], None]
    """Told after every change that a person can see."""
    ready: Callable[[], None]
    """Told when a deployment may start."""
    read_rules: Callable[[str], None]
    """Have `facts` go by the rules that are in git at this fetched head."""
    checkpoint: Callable[[], tuple[tuple[str, str], ...]] = tuple
    """The trailers that anchor the record in a commit."""


@contextmanager
def record(store: Store, change: Change) -> Iterator[tuple[UnitOfWork, Change]]:
    """One transaction on the change, provided it is as this visit found it; its card follows. Else OverError.

    Once a delivery runs, the change is the delivery's alone.
    """
    with store.write() as uow:
        mine = gate.held(uow, change.id)
        if mine is None or (mine.state, mine.content) != (change.state, change.content):
            raise OverError
        for row in gate.members(uow, mine.id):
            uow.hold(row)
            if row.phase == Phase.RUNNING:
                raise OverError
        yield uow, mine
        gate.change_shown(uow, mine)
