"""What a decision is made from, gathered before it is made: nothing here waits for the network."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from types import MappingProxyType

from commands.catalogue import Catalogue
from commands.ports import ImageSnapshot
from commands.reasons import ReasonCode


@dataclass(frozen=True)
class CatalogueInForce:
    """The last good locktender.yaml, and what is wrong with a newer one.

    `catalogue` is None until a first good version was seen; `problem` then says why in a sentence, with `reason`.
    `faults` are the lines of a newer version that was refused; production waits while there are any.
    """

    catalogue: Catalogue | None = None
    commit: str = ""
    newest: str = ""
    faults: tuple[str, ...] = ()
    reason: ReasonCode = ReasonCode.CATALOGUE_MISSING
    problem: str = "The infra-repo has not been read yet."
    next_step: str = "Wait a few seconds and run the command again."

    @property
    def lets_all_pass(self) -> bool:
        """True when the file holds nobody up, at whatever time: it is known, without faults, and has no freezes."""
        return self.catalogue is not None and not self.faults and not self.catalogue.freeze_windows


@dataclass(frozen=True)
class Facts:
    """Everything a decision looks at, with its age. Maps are read-only."""

    in_force: CatalogueInForce
    snapshot: ImageSnapshot | None = None
    snapshot_age: timedelta = timedelta.max
    groups: Mapping[str, frozenset[str]] = field(default_factory=lambda: MappingProxyType({}))
    """Slack user group id -> user ids, only for groups that were read recently: a missing one is unknown."""
    teams: Mapping[str, frozenset[str]] = field(default_factory=lambda: MappingProxyType({}))
    """`org/team` on the code host -> logins in lower case, only for teams that were read recently."""
    team_id: str = ""
    """The workspace that the bot belongs to."""
    reviews: bool = False
    """A code host is configured, where pull requests can be opened."""
