"""Commits that reached the branch past Locktender: each that touches an environment is recorded, and told of."""

import threading
from collections.abc import Callable

import structlog

from bot import provenance
from bot.gate.effects import Effects
from bot.provenance import Provenance
from commands.catalogue import Catalogue
from commands.code_host import CodeHost
from commands.facts import Facts
from commands.ports import InfraRepo, LoggedCommit
from commands.reasons import Refused
from storage import marks
from storage.models import Target
from storage.unit_of_work import AuditEntry, Note, Store, UnitOfWork

MARK = "infra-repo:examined"
MOST = 200
"""Commits in one look; the next look goes on from there."""
FARTHEST = 20_000
"""Commits that may have come since the last look: years of them, after which the oldest are not looked at."""
Places = tuple[tuple[str, str], ...]
"""Apps with their environments."""
_OURS = {"deployment-id", "change-id"}
_MOST_TOLD = 5
log = structlog.get_logger("outside")


class ExternalChanges:
    """Looks at every first-parent commit once, in order. `look` may be called from any thread, as often as wanted."""

    def __init__(
        self,
        store: Store,
        infra: InfraRepo,
        effects: Effects,
        facts: Callable[[], Facts],
        *,
        host: CodeHost | None = None,
    ) -> None:
        self._store = store
        self._host = host
        self._infra = infra
        self._effects = effects
        self._facts = facts
        self._guard = threading.Lock()

    def look(self) -> int:
        """Examine what is new on the branch as last fetched; how many commits were not ours and touch something."""
        head, facts = self._infra.head(), self._facts()
        known = facts.in_force.catalogue
        if head is None or known is None or not self._guard.acquire(blocking=False):
            return 0
        try:
            with self._store.read() as uow:
                examined = marks.mark(uow, MARK)
            if examined == head:
                return 0
            if not examined:
                self._move(head)  # the first look: what was there before us is not for us to judge
                return 0
            return self._examine(examined, head, known)
        finally:
            self._guard.release()

    def _examine(self, examined: str, head: str, known: Catalogue) -> int:
        if not self._leads_to(head, examined):
            self._rewritten(examined, head, known)
            return 1
        commits = self._infra.log(head, examined, (), FARTHEST)[: -MOST - 1 : -1]  # the oldest first
        with self._store.read() as uow:
            ours = marks.recorded(uow, [commit.sha for commit in commits])
        found, before, passed = 0, examined, None
        for commit in commits:
            touched = () if commit.sha in ours else self._brings(commit, known)
            if touched is None:
                break  # its record follows within a moment: it is looked at again then
            if touched:
                if not self._record(before, commit, touched, known):
                    return found  # another replica is ahead
                found, before, passed = found + 1, commit.sha, None
            else:
                passed = commit  # many of ours may follow one another: one transaction for all of them
        if passed is not None:
            self._record(before, passed, (), known)
        return found

    def _brings(self, commit: LoggedCommit, known: Catalogue) -> Places | None:
        """What a commit that was not ours a moment ago touches; None when it is just being recorded as ours."""
        with self._store.read() as uow:  # both in one snapshot: it may be recorded between two
            ours = bool(marks.recorded(uow, [commit.sha]))
            soon = marks.may_be_recorded_soon(uow, _ids(commit))
        if ours:
            return ()
        return None if soon else self._touched(commit, known)

    def _leads_to(self, head: str, examined: str) -> bool:
        """False when the history was rewritten. Then the old commit may be gone from the mirror, or there as before."""
        try:
            return self._infra.merge_base(examined, head) == examined
        except Refused:
            return False

    def _touched(self, commit: LoggedCommit, known: Catalogue) -> Places:
        """The apps and environments whose overlays this commit reaches."""
        return self._between(commit.parents[0], commit.sha, known) if commit.parents else ()

    def _between(self, one: str, other: str, known: Catalogue) -> Places:
        before, after = self._infra.tree(one), self._infra.tree(other)
        return tuple(
            (app.name, name)
            for app in known.apps.values()
            for name in app.environments
            if self._effects.differs(before, after, known, app, known.environments[name])
        )

    def _record(self, before: str, commit: LoggedCommit, touched: Places, known: Catalogue) -> bool:
        """Record and tell, and move the mark on from `before`. False when somebody else has moved it."""
        brought = provenance.of(self._host, commit.sha) if touched else Provenance()  # it takes a moment: ask first
        with self._store.write() as uow:
            uow.in_turn()  # two replicas look at the same branch
            if marks.mark(uow, MARK) != before:
                return False
            marks.set_mark(uow, MARK, commit.sha)
            if not touched:
                return True
            for app, environment in touched:
                uow.audit(
                    AuditEntry(
                        "external-change",
                        actor=f"git:{commit.author.email}",
                        app=app,
                        environment=environment,
                        details={
                            "commit": commit.sha,
                            "author": f"{commit.author.name} <{commit.author.email}>",
                            "committer": f"{commit.committer.name} <{commit.committer.email}>",
                            "subject": commit.subject[:200],
                            **brought.details(),
                        },
                    )
                )
            self._alert(uow, commit, touched, brought, known)
        log.warning("outside.commit", commit=commit.sha, touched=len(touched), pull_request=brought.number)
        return True

    def _alert(
        self,
        uow: UnitOfWork,
        commit: LoggedCommit,
        touched: Places,
        brought: Provenance,
        known: Catalogue,
    ) -> None:
        """Only what should have been reviewed is told to everybody."""
        reviewed = tuple(place for place in touched if known.production_like(place[1]))
        if not reviewed:
            return
        text = (
            f"⚠️ Commit `{commit.sha[:12]}` changes {_some(reviewed)}, and no request or "
            "approval in Locktender belongs to it. Look at it with whoever made it; `/rollback` goes back, or revert."
        )
        about = f"\n{brought.sentence()}" if self._host is not None else ""
        quote = f"{commit.author.name} <{commit.author.email}>: {commit.subject[:200]}{about}"
        body = {"text": text, "quote": quote}
        uow.send(Note(f"external:{commit.sha}", Target.CHANNEL, body, channel=known.channels.deployments))

    def _rewritten(self, examined: str, head: str, known: Catalogue) -> None:
        """The branch no longer leads to what was examined: its history was rewritten."""
        try:
            touched = self._between(examined, head, known)
        except Refused:  # what there was before is not in this mirror
            touched = ()
        places = [f"{app} in {name}" for app, name in touched]
        with self._store.write() as uow:
            uow.in_turn()
            if marks.mark(uow, MARK) != examined:
                return
            marks.set_mark(uow, MARK, head)
            uow.audit(AuditEntry("external-rewrite", details={"before": examined, "after": head, "changed": places}))
            text = (
                f"⚠️ The history of the infra-repo's branch was rewritten: `{examined[:12]}` is no longer in it, the "
                f"head is `{head[:12]}`. Nobody can tell from git alone what was taken away; the record still can."
            )
            if touched:
                text += f" What it says of {_some(touched)} is not what it said before."
            uow.send(Note(f"rewritten:{head}", Target.CHANNEL, {"text": text}, channel=known.channels.deployments))

    def _move(self, head: str) -> None:
        with self._store.write() as uow:
            marks.set_mark(uow, MARK, head)


def _some(places: Places) -> str:
    """The first few of them."""
    more = f" and {len(places) - _MOST_TOLD} more" if len(places) > _MOST_TOLD else ""
    return ", ".join(f"`{app}` in `{name}`" for app, name in places[:_MOST_TOLD]) + more


def _ids(commit: LoggedCommit) -> list[str]:
    return [value for key, value in commit.trailers if key.lower() in _OURS]
