"""What the bot knows without asking: the catalogue in force, what git says, who is in which group.

Kept fresh by a thread, so that a command is decided in milliseconds; everything carries its age, and what is too old
counts as unknown.
"""

import hashlib
import threading
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from types import MappingProxyType

import structlog

from commands.catalogue import Catalogue
from commands.catalogue_faults import Faults
from commands.catalogue_reader import read
from commands.code_host import CodeHost
from commands.facts import CatalogueInForce, Facts
from commands.ports import ImageSnapshot, InfraRepo, People, Tree
from commands.reasons import Fault, ReasonCode, Refused
from storage.models import CatalogueVersion, Target
from storage.unit_of_work import BOT, AuditEntry, Note, Store

FILE = "locktender.yaml"
GROUPS_FOR = 900.0
"""Seconds after which groups that could not be read again count as unknown: longer than the rarest poll."""
log = structlog.get_logger("factbook")

ReadImages = Callable[[Tree, Catalogue], ImageSnapshot]


class Factbook:
    """One per process. `refresh` may be called from any thread; `facts` never waits."""

    def __init__(
        self,
        store: Store,
        infra: InfraRepo,
        people: People,
        images: ReadImages,
        clock: Callable[[], float] = time.monotonic,
        host: CodeHost | None = None,
    ) -> None:
        self._store = store
        self._host = host
        self._infra = infra
        self._people = people
        self._images = images
        self._clock = clock
        self.team_id = ""
        """The bot's own workspace, once Slack has said which; requests from others are refused."""
        self._refreshing = threading.Lock()
        self._in_force = CatalogueInForce()
        self._snapshot: ImageSnapshot | None = None
        self._read_at = float("-inf")
        self._groups: Mapping[str, frozenset[str]] = MappingProxyType({})
        self._groups_at = float("-inf")
        self._teams: Mapping[str, frozenset[str]] = MappingProxyType({})
        self._seen = ""
        self._blob = b""
        self.trouble = ""
        """Why the infra-repo could not be read at the last try; empty when it could."""

    def restore(self) -> None:
        """Take the last good catalogue from the database: a restart while the newest is broken changes nothing."""
        with self._store.read() as uow:
            stored, last = uow.last_good_catalogue(), uow.last_catalogue()
        if stored is None or last is None:
            return
        catalogue = read(stored.source.encode())
        if isinstance(catalogue, Catalogue):
            # What was closed stays closed, also while git cannot be reached to look whether it was mended.
            faults = () if last.valid else tuple(last.faults.splitlines()) or (f"{FILE} has faults",)
            self._in_force = CatalogueInForce(catalogue, commit=stored.commit, newest=last.commit, faults=faults)

    def facts(self) -> Facts:
        """Everything a decision needs, as known now."""
        recent = self._clock() - self._groups_at <= GROUPS_FOR
        return Facts(
            in_force=self._in_force,
            snapshot=self._snapshot,
            snapshot_age=timedelta(seconds=min(self._clock() - self._read_at, 1e9)),
            groups=self._groups if recent else MappingProxyType({}),
            teams=self._teams if recent else MappingProxyType({}),
            team_id=self.team_id,
            reviews=self._host is not None,
        )

    def in_force(self) -> CatalogueInForce:
        """The catalogue, for a delivery that acts now."""
        return self._in_force

    def head(self) -> str:
        """A head that is at most as old as the last refresh; fetched when there was none, or the last one failed."""
        head = self._infra.head()
        if head is None or self.trouble:
            return self._infra.refresh()
        return head

    def refresh(self) -> None:
        """Fetch the branch and look at what is new. Never raises for the world's sake: `trouble` says what is wrong."""
        with self._refreshing:
            try:
                self._fetch()
            finally:  # also when the database is away: who was removed from a group must not stay in it for that
                self._groups, self._teams = self._read_groups(), self._read_teams()
                self._groups_at = self._clock()

    def _fetch(self) -> None:
        try:
            self._look(self._infra.refresh())
            self._read_at = self._clock()
            self.trouble = ""
        except Fault as fault:
            if self.trouble != fault.what:
                log.warning("factbook.infra_repo", reason=str(fault.reason), what=fault.what)
            self.trouble = fault.what
            if self._in_force.catalogue is None:
                self._in_force = CatalogueInForce(reason=fault.reason, problem=fault.what, next_step=fault.next_step)

    def pushed(self, head: str) -> None:
        """Our own commit became the head: look at it soon, without the network."""
        if not self._refreshing.acquire(blocking=False):
            return  # a refresh is under way; it sees this head or the next one does
        try:
            self._look(head)
        except Fault as fault:
            log.warning("factbook.after_push", reason=str(fault.reason))
        finally:
            self._refreshing.release()

    def read_rules(self, head: str) -> None:
        """Go by the rules of this fetched head from now on: for whoever is about to act by them.

        Waits for a refresh that is under way. Raises what reading the file raises.
        """
        with self._refreshing:
            self._look(head)

    # ------------------------------------------------------------ looking

    def _look(self, head: str) -> None:
        if head == self._seen:
            return
        tree = self._infra.tree(head)
        self._read_catalogue(tree)
        if self._in_force.catalogue is not None:
            self._snapshot = self._images(tree, self._in_force.catalogue)
        self._seen = head

    def _read_catalogue(self, tree: Tree) -> None:
        try:
            source = tree.read(FILE)
        except Refused as fault:
            self._refuse(tree.commit, b"", (f"{FILE}: {fault.what}",))
            return
        if source is None:
            self._refuse(
                tree.commit,
                b"",
                (f"{FILE}: there is no such file at the root of the infra-repo's branch; add one, see the README",),
                reason=ReasonCode.CATALOGUE_MISSING,
            )
            return
        if source == self._blob and self._in_force.catalogue is not None and not self._in_force.faults:
            self._in_force = CatalogueInForce(
                self._in_force.catalogue, commit=self._in_force.commit, newest=tree.commit
            )
            return
        found = read(source)
        if isinstance(found, Faults):
            self._refuse(tree.commit, source, tuple(str(one) for one in found.faults))
            return
        self._accept(tree.commit, source, found)
        # Only now: rules that could not be recorded are not in force, and are read again at the next look.
        self._in_force = CatalogueInForce(found, commit=tree.commit, newest=tree.commit)
        self._blob = source

    def _brought(self, commit: str, source: bytes) -> tuple[str, dict[str, object]]:
        """Who changed the file last, as the record names them, and what it says of that. Git may be unable to tell."""
        details: dict[str, object] = {"commit": commit, "sha256": hashlib.sha256(source).hexdigest()}
        try:
            last = next(iter(self._infra.log(commit, None, (FILE,), 1)), None)
        except Fault:
            last = None
        if last is None:
            return BOT, details
        author = f"{last.author.name} <{last.author.email}>"
        return f"git:{last.author.email}", details | {"changed_in": last.sha, "author": author}

    def _accept(self, commit: str, source: bytes, catalogue: Catalogue) -> None:
        actor, details = self._brought(commit, source)
        with self._store.write() as uow:
            uow.in_turn()  # another replica may be reading the same commit
            last = uow.last_catalogue()
            mended = last is not None and not last.valid
            now = CatalogueVersion(commit=commit, source=source.decode(), valid=True, seen_at=uow.now)
            if not uow.remember_catalogue(now):
                return
            uow.audit(AuditEntry("catalogue:load", actor, details=details))
            if mended:
                text = f"`{FILE}` is in order again as of `{commit[:7]}`; it is in force now."
                note = Note(
                    f"catalogue:{commit}", Target.CHANNEL, {"text": text}, channel=catalogue.channels.deployments
                )
                uow.send(note)
        log.info("factbook.catalogue_loaded", commit=commit)

    def _refuse(
        self,
        commit: str,
        source: bytes,
        faults: tuple[str, ...],
        *,
        reason: ReasonCode = ReasonCode.CATALOGUE_INVALID,
    ) -> None:
        """Keep the last good catalogue in force, and say once what is wrong with the new one.

        Later commits that leave the file as it is, our own deployments among them, are not told of again.
        """
        last = self._in_force.catalogue
        count = f"{len(faults)} fault{'s' if len(faults) > 1 else ''}"
        self._in_force = CatalogueInForce(
            last,
            commit=self._in_force.commit,
            newest=commit,
            faults=faults,
            reason=reason,
            problem=f"`{FILE}` in the infra-repo at `{commit[:7]}` has {count}, and there is no earlier good version.",
            next_step="Mend the file: the faults are listed below. It is read again within seconds.",
        )
        text = "\n".join(faults)
        now = CatalogueVersion(commit=commit, source=source.decode(errors="replace"), valid=False, faults=text)
        actor, details = self._brought(commit, source)
        with self._store.write() as uow:
            uow.in_turn()
            now.seen_at = uow.now
            if not uow.remember_catalogue(now):
                return
            uow.audit(
                AuditEntry(
                    "catalogue:refuse", actor, reason_code=reason, details=details | {"faults": list(faults[:50])}
                )
            )
            if last is not None:
                told = (
                    f"The new `{FILE}` at `{commit[:7]}` has {count} and is not in force. The last good version stays, "
                    "and environments with approvals are closed until it is mended."
                )
                channel = last.channels.deployments
                uow.send(Note(f"catalogue:{commit}", Target.CHANNEL, {"text": told, "quote": text}, channel=channel))
        log.warning("factbook.catalogue_refused", commit=commit, faults=len(faults))

    def _read_groups(self) -> Mapping[str, frozenset[str]]:
        catalogue = self._in_force.catalogue
        if catalogue is None:
            return MappingProxyType({})
        wanted = [group.slack for group in catalogue.groups.values() if group.slack]
        found = {group: members for group in wanted if (members := self._people.members(group)) is not None}
        return MappingProxyType(found)

    def _read_teams(self) -> Mapping[str, frozenset[str]]:
        """Teams on the code host, of the groups that name one; one that cannot be read is unknown."""
        catalogue = self._in_force.catalogue
        if catalogue is None or self._host is None:
            return MappingProxyType({})
        wanted = [group.github for group in catalogue.groups.values() if group.github]
        found = {team: members for team in wanted if (members := self._host.team_members(team)) is not None}
        return MappingProxyType(found)
