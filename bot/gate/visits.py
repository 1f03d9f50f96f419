"""One look at a change: what is due for it, done and recorded. Read `Visits.__call__` first."""

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from hashlib import sha256
from uuid import uuid4

import structlog
from sqlalchemy.exc import OperationalError

from bot.gate import words
from bot.gate.endings import Endings
from bot.gate.outside import Outside, OverError, record
from bot.gate.proposals import Seen, still_asked_for
from bot.gate.reviews import Reviews
from bot.gate.rows import back, queue
from commands import approve, policy
from commands.binding import Binding, moved
from commands.catalogue import Catalogue
from commands.change_rows import change_entry
from commands.closing import close
from commands.code_host import Mergeability, MergeVerdict, PullRequest, PullState, StatusState
from commands.endings import Ending
from commands.policy import Target
from commands.reasons import Fault, ReasonCode, Refused, Retry, Unknown
from commands.requests import Asker
from storage import gate, models
from storage.models import Change, ChangeState, Deployment
from storage.phases import Phase
from storage.unit_of_work import Store, UnitOfWork

SOON = timedelta(seconds=2)
PATIENCE = timedelta(minutes=10)
"""How long git, the registry and the code host may be out of reach before a change that was never shown gives up."""
GIVE_UP_VISITS = 5
NOT_KNOWN_YET = frozenset({ReasonCode.FACTS_TOO_OLD, ReasonCode.GROUP_UNREADABLE})
"""What the next look may find in order; nothing is decided while it is not."""
PASSING = NOT_KNOWN_YET | {
    ReasonCode.CATALOGUE_INVALID,
    ReasonCode.CATALOGUE_MISSING,
    ReasonCode.HOST_CREDENTIALS,
    ReasonCode.REPO_CREDENTIALS,
    ReasonCode.REPO_MISSING,
    ReasonCode.BRANCH_MISSING,
    ReasonCode.REGISTRY_CREDENTIALS,
}
"""A change that was shown waits for a person to mend these; its own time runs on."""
log = structlog.get_logger("gate")


class Visits:
    """Call it with the id of a leased change, and the time until which it is leased."""

    def __init__(self, store: Store, outside: Outside) -> None:
        self._store = store
        self._out = outside
        self._reviews = Reviews(store, outside.facts)
        self._endings = Endings(store, outside)

    def __call__(self, change_id: str, until: datetime) -> None:
        """Do what is due; whatever stops it becomes a note, another try, or the end of the change."""
        with self._store.read() as uow:
            change = gate.change_of(uow, change_id)
            rows = gate.members(uow, change_id)
        if change is None:
            return
        again: timedelta | None = self._out.poll
        try:
            match change.state:
                case ChangeState.PREPARING:
                    self._prepare(change, rows)
                    again = timedelta()
                case ChangeState.OPEN | ChangeState.APPROVED:
                    again = self._watch(change, rows)
                case _:
                    again = self._endings.tidy(change)
        except OverError:
            again = timedelta()
        except Retry as fault:
            again = self._trouble(change, fault)
        except (Refused, Unknown) as fault:
            passing = PASSING if change.content else NOT_KNOWN_YET
            again = self._trouble(change, fault) if fault.reason in passing else self._stop(change, fault)
        except OperationalError:
            raise  # the database is away: the lease runs out, and another visit does it
        except Exception:  # the one edge: whatever is wrong with us, nobody waits for ever without a word
            error_id = uuid4().hex[:8]
            log.exception("gate.defect", change=change.id, error_id=error_id)
            again = self._defect(change, error_id)
        with self._store.write() as uow:
            mine = gate.held(uow, change_id)
            if mine is not None:
                gate.visited(mine, until, None if again is None else uow.now + again)
        self._out.changed()

    # ------------------------------------------------------------ preparing

    def _prepare(self, change: Change, rows: Sequence[Deployment]) -> None:
        """Open the pull request, work out what it does, and show it: only now can anybody approve."""
        known = self._allowed(change, rows)
        words.among_ourselves(rows[0], self._out.shared)
        if self._endings.is_over(change):
            return
        try:
            seen = self._out.proposals.make(change, rows, known)
        except Refused:
            if self._endings.is_over(change):
                return
            raise
        self._out.host.ensure_status(seen.pull.head_sha, StatusState.PENDING, words.WAITS)
        self._show(change, seen, known)

    def _allowed(self, change: Change, rows: Sequence[Deployment]) -> Catalogue:
        """What was asked must still be allowed by the rules of now."""
        facts = self._out.facts()
        known = policy.catalogue(facts)
        asker = Asker(change.team_id, change.requested_by, change.id)
        for row in rows:
            app = policy.find_app(known, row.app)
            environment = policy.find_environment(known, app, row.environment)
            policy.may_deploy(facts, asker, environment)
            policy.may_change(facts, Target(app, environment))
        return known

    def _show(self, change: Change, seen: Seen, known: Catalogue) -> None:
        """Record what was seen as what people decide on. Other content than before has other buttons."""
        content = seen.binding.content
        with record(self._store, change) as (uow, mine):
            news = moved(Binding.from_json(mine.binding), seen.binding) if mine.binding else ()
            if content != mine.content:
                self._void(uow, mine, news)
                mine.token = gate.new_token()
            environment = known.environments[mine.environment]
            mine.required = policy.required_approvals(environment, models.Kind(mine.kind), break_glass=mine.break_glass)
            mine.pr_number, mine.pr_url = seen.pull.number, seen.pull.url
            mine.base_sha, mine.own_sha, mine.head_sha = seen.base, seen.own, seen.pull.head_sha
            mine.binding, mine.content = seen.binding.as_json(), content
            mine.shown, mine.diff = words.shown(seen, environment.approval).as_json(), seen.effect.text
            mine.state, mine.note, mine.wants, mine.visits = ChangeState.OPEN, "", "[]", 0
            for row in gate.members(uow, mine.id):
                words.fill(row, seen)
                uow.changed(row)
            uow.audit(
                change_entry(
                    uow,
                    mine,
                    "change:propose",
                    {
                        "content": content,
                        "head": mine.head_sha,
                        "base": mine.base_sha,
                        "pull_request": mine.pr_url,
                        "moved": list(news),
                        "blast_radius": sorted(seen.effect.others),
                        "policy": seen.binding.policy,
                        "rules_commit": self._out.facts().in_force.commit,
                        "required": mine.required,
                        "shown": sha256(mine.shown.encode()).hexdigest(),
                        "diff": sha256(mine.diff.encode()).hexdigest(),
                    },
                )
            )
            for note in words.ready(mine, known, seen.effect.text):
                uow.send(note)
        log.info("gate.shown", change=change.id, pull_request=seen.pull.number, content=content[:12])

    # ------------------------------------------------------------ watching

    def _watch(self, change: Change, rows: Sequence[Deployment]) -> timedelta | None:
        """Look whether it has moved, was decided elsewhere, has run out, or has what it needs."""
        if any(row.phase == Phase.RUNNING for row in rows):
            return self._out.poll  # its delivery merges it, and looks at all of this itself
        now = self._store.clock()
        if change.state == ChangeState.OPEN and change.expires_at is not None and now >= change.expires_at:
            self._endings.expire(change)
            return timedelta()
        pull = self._out.host.pull_request(change.pr_number or 0)
        if pull.state is not PullState.OPEN:
            self._endings.ended_outside(change, pull)
            return self._out.poll if change.state == ChangeState.APPROVED else timedelta()
        known = self._allowed(change, rows)
        seen = self._out.proposals.look(change, rows, known, pull)
        if seen.binding.content != change.content:
            self._moved(change, rows, seen, known)
            return timedelta()
        self._reviews.read(change, self._out.host.reviews(pull.number), known)
        return self._settle(change, pull, known)

    def _moved(self, change: Change, rows: Sequence[Deployment], seen: Seen, known: Catalogue) -> None:
        """What was shown is not what would happen: nothing that was said of it counts any more; it is shown anew."""
        still_asked_for(rows, seen)
        # What was said until now was said of what was shown until now, also where the head stays the same.
        self._reviews.read(change, self._out.host.reviews(seen.pull.number), known)
        if seen.binding.strangers or not words.base_moved(Binding.from_json(change.binding), seen.binding):
            # Other people's commits are on the branch, or the rules are others: shown as it is, never replaced.
            self._show(change, seen, known)
            self._out.host.ensure_status(seen.pull.head_sha, StatusState.PENDING, words.WAITS)
            return
        with record(self._store, change) as (uow, mine):
            self._void(uow, mine, moved(Binding.from_json(mine.binding), seen.binding))
            mine.state = ChangeState.PREPARING  # made again, on what its base is now

    def _void(self, uow: UnitOfWork, change: Change, news: Sequence[str]) -> None:
        """Take the buttons away, and have its deployments wait again."""
        had, taken = change.content, not change.token
        change.token = ""
        if not had:
            return
        change.moved = " ".join(news) or change.moved
        if taken:  # that is on record already: it is only being made again
            return
        back(uow, change)
        uow.audit(change_entry(uow, change, "change:void", {"content": had, "moved": list(news)}))

    def _settle(self, change: Change, pull: PullRequest, known: Catalogue) -> timedelta:
        """Count what was said; with enough of it, ask the code host whether it would merge."""
        facts = self._out.facts()
        with self._store.read() as uow:
            fresh = gate.change_of(uow, change.id)
            have = len(approve.voices(uow, known, facts, fresh)) if fresh else 0
        if have < change.required:
            # It may have said success before an approval was lost, and whoever can write can overwrite it.
            self._out.host.ensure_status(pull.head_sha, StatusState.PENDING, words.WAITS)
            self._reviews.forget(change, known)
            if change.state == ChangeState.APPROVED:
                self._lost(change, have)
            return self._out.poll
        self._out.host.ensure_status(pull.head_sha, StatusState.SUCCESS, words.status(change, have))
        return self._as_host_says(change, self._out.host.mergeability(pull.number), have)

    def _as_host_says(self, change: Change, host: Mergeability, have: int) -> timedelta:
        """With enough approvals: into the queue when the code host would merge it, out of it when it would not."""
        if host.verdict is MergeVerdict.CONFLICT:
            with record(self._store, change) as (uow, mine):
                self._void(uow, mine, ["The branch no longer applied to what it changes."])
                mine.state = ChangeState.PREPARING  # made again on the newest head
            return timedelta()
        ready, approved = host.verdict is MergeVerdict.READY, change.state == ChangeState.APPROVED
        wants = json.dumps([] if ready else list(host.wants))
        if host.verdict is MergeVerdict.PENDING and approved and change.wants == "[]":
            # After every push the code host has to think for a moment: only what lasts until the next look takes it
            # out of the queue.
            with record(self._store, change) as (_, mine):
                mine.wants = wants
            return SOON
        state = ChangeState.APPROVED if ready else ChangeState.OPEN
        if (change.state, change.wants) != (state, wants):
            with record(self._store, change) as (uow, mine):
                mine.wants, mine.state = wants, state
                if ready and not approved:
                    uow.audit(change_entry(uow, mine, "change:approved", {"content": mine.content, "approvals": have}))
                if ready:
                    queue(uow, mine)
                elif approved:
                    details = {"content": mine.content, "wants": list(host.wants)}
                    uow.audit(change_entry(uow, mine, "change:wait", details))
                    back(uow, mine)
        if ready:
            self._out.ready()
            return self._out.poll
        return SOON if host.verdict is MergeVerdict.PENDING else self._out.poll

    def _lost(self, change: Change, have: int) -> None:
        with record(self._store, change) as (uow, mine):
            mine.state = ChangeState.OPEN
            mine.moved = f"An approval no longer counts: {have} of {mine.required} are left."
            back(uow, mine)
            uow.audit(change_entry(uow, mine, "change:void", {"content": mine.content, "moved": [mine.moved]}))

    # ------------------------------------------------------------ trouble

    def _trouble(self, change: Change, fault: Fault) -> timedelta | None:
        """Say it on the card and come back; what was never shown is not waited for for ever."""
        log.info("gate.retry", change=change.id, reason=str(fault.reason), what=fault.what)
        if not change.content and self._store.clock() - change.requested_at > PATIENCE:
            return self._stop(change, Unknown(fault.reason, fault.what, fault.next_step, detail=fault.detail))
        note = f"{fault.what} {'Trying again.' if isinstance(fault, Retry) else fault.next_step}"
        if change.note != note and change.state in gate.LIVE:
            with record(self._store, change) as (_, mine):
                mine.note = note
        after = fault.after if isinstance(fault, Retry) else self._out.poll.total_seconds()
        return timedelta(seconds=max(1.0, min(after, 300.0)))

    def _stop(self, change: Change, fault: Fault) -> timedelta | None:
        if change.state not in gate.LIVE:
            log.warning("gate.not_tidied", change=change.id, reason=str(fault.reason), what=fault.what)
            return None
        phase = Phase.ERRORED if isinstance(fault, Unknown) else Phase.FAILED
        with record(self._store, change) as (uow, mine):
            close(uow, mine, Ending.of(phase, fault))
        return timedelta()

    def _defect(self, change: Change, error_id: str) -> timedelta | None:
        if change.state not in gate.LIVE:
            return None if change.visits >= GIVE_UP_VISITS else SOON
        if change.visits >= GIVE_UP_VISITS:
            return self._stop(
                change,
                Unknown(
                    ReasonCode.INTERNAL,
                    "Locktender made a mistake with this change and stopped.",
                    f"Look at the pull request; the log line has error id `{error_id}`.",
                ),
            )
        with self._store.write() as uow:
            mine = gate.held(uow, change.id)
            if mine is not None:
                mine.visits += 1
        return SOON * (change.visits + 1)
