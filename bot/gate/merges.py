"""The merge of an approved change: everything asked once more, merged while the head is the approved one, compared."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import structlog

from bot.gate.outside import Outside
from bot.gate.reviews import Reviews
from bot.gate.texts import merge_message, title
from commands import approve, policy
from commands.binding import Binding, moved
from commands.catalogue import Catalogue
from commands.change_rows import change_entry
from commands.code_host import MergeRequest, PullRequest, PullState
from commands.facts import Facts
from commands.policy import Target as Place
from commands.reasons import ReasonCode, Refused, Retry
from commands.requests import mention
from storage import gate
from storage.models import Change, ChangeState, Deployment, Kind, Target
from storage.phases import Phase
from storage.unit_of_work import Note, Store

NOT_ROLLED_OUT = "It is in git and was not rolled out. Look at the merge now; `/rollback` goes back."
log = structlog.get_logger("gate")


class NotNowError(Exception):
    """What was approved cannot be merged now: it goes back to where approvals are asked for. `what` says why."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what


@dataclass(frozen=True)
class Merged:
    """A change that is on the branch. `parent` is the branch's head before it."""

    commit: str
    parent: str
    by: str  # a login, when somebody did it by hand


class Merges:
    """Merges changes, once each. Thread-safe: the deployments of one change meet here."""

    def __init__(self, store: Store, outside: Outside) -> None:
        self._store = store
        self._out = outside
        self._reviews = Reviews(store, outside.facts)
        self._guard = threading.Lock()
        self._locks: dict[str, threading.Lock] = {}

    def ensure(self, row: Deployment) -> Merged:
        """Merge the change that this deployment belongs to, or find it merged.

        Raises NotNowError when anything moved or an approval no longer counts; Refused (MERGED_OTHER, MERGED_BY_HAND)
        when what was merged is not what was approved, or was not approved any more; Retry when the code host cannot be
        reached. A crash at any instant is mended by the next call, which looks first.
        """
        with self._lock(row.change_id):
            with self._store.read() as uow:
                change = gate.change_of(uow, row.change_id)
                rows = gate.members(uow, row.change_id)
            if change is None:
                raise Refused(ReasonCode.INTERNAL, "The change of this deployment is gone.", "Ask for it again.")
            if change.state == ChangeState.MERGED:
                return self._merged(change.merge_sha, change.merged_by)
            pull = self._out.host.pull_request(change.pr_number or 0)
            if pull.state is PullState.OPEN:
                voices = self._still_approved(change, rows, pull)
                self._begin(change, voices)
                pull = self._merge(change, rows, voices)
            if pull.state is not PullState.MERGED:
                raise NotNowError("The pull request was closed.")
            self._out.infra.refresh()
            done = self._merged(pull.merge_sha, pull.ended_by)
            self._still_wanted(change, rows, done)
            self._compare(change, done)
            self._record(change, done)
            return done

    def _lock(self, change_id: str) -> threading.Lock:
        with self._guard:
            return self._locks.setdefault(change_id, threading.Lock())

    def _still_approved(self, change: Change, rows: Sequence[Deployment], pull: PullRequest) -> tuple[str, ...]:
        """Who approved it, when that still holds for what would be merged now; NotNowError otherwise."""
        if change.state != ChangeState.APPROVED:
            raise NotNowError("It has lost an approval.")
        # The rules of the very head that it is merged onto, and the last word of reviewers: nothing tells us of either
        # in time.
        base = self._out.infra.refresh()
        self._out.read_rules(base)
        facts = self._out.facts()
        known = policy.catalogue(facts)
        _rules_stand(facts, known, rows)
        seen = self._out.proposals.look(change, rows, known, pull)
        if seen.base != base:
            raise Retry(ReasonCode.PUSH_RACE, "The infra-repo is moving just now.", "It is tried again.", after=0.5)
        if seen.binding.content != change.content:
            raise NotNowError(" ".join(moved(Binding.from_json(change.binding), seen.binding)))
        self._reviews.read(change, self._out.host.reviews(pull.number), known)
        with self._store.read() as uow:
            heard = [one for one in gate.approvals(uow, change) if one.verdict == approve.APPROVED]
            who = approve.voices(uow, known, facts, change)
        required = _required(known, change, rows)
        if len(who) < required:
            raise NotNowError(f"{len(who)} of {required} approvals count now.")
        return tuple(one.slack_user or f"github:{one.login}" for one in heard if one.person in who)

    def _begin(self, change: Change, approved_by: Sequence[str]) -> None:
        """No row, no effect: that it is merged now, and whose approvals count, is recorded before it is."""
        with self._store.write() as uow:
            uow.audit(
                change_entry(
                    uow,
                    change,
                    "change:merge",
                    details={
                        "content": change.content,
                        "head": change.head_sha,
                        "pull_request": change.pr_url,
                        "approved_by": list(approved_by),
                    },
                )
            )

    def _merge(self, change: Change, rows: Sequence[Deployment], approved_by: Sequence[str]) -> PullRequest:
        request = MergeRequest(
            change.id,
            change.pr_number or 0,
            change.head_sha,
            title(change, rows),
            merge_message(change, rows, approved_by, self._out.checkpoint()),
        )
        try:
            return self._out.host.ensure_merged(request)
        except Refused as fault:
            if fault.reason in {ReasonCode.HEAD_MOVED, ReasonCode.MERGE_BLOCKED, ReasonCode.MERGE_CONFLICT}:
                raise NotNowError(fault.what) from fault
            raise

    def _merged(self, commit: str, by: str) -> Merged:
        (logged,) = self._out.infra.log(commit, None, (), 1)
        return Merged(commit, logged.parents[0] if logged.parents else commit, by)

    def _compare(self, change: Change, done: Merged) -> None:
        """Raise Refused (MERGED_OTHER) unless the merge did to the branch exactly what was approved.

        A code host pins the head that it merges, never what it merges it onto: what was pushed since the last look is
        found here. Broken glass asks nobody, so that what it is built from may have moved.
        """
        bound = Binding.from_json(change.binding)
        approved, found = bound.files, self._out.proposals.merged_files(done.commit)
        differs = sorted(path for path in found.keys() | approved.keys() if found.get(path) != approved.get(path))
        if not differs and not change.break_glass:
            moved_apps = self._out.proposals.built_otherwise(done.commit, bound.parts)
            differs = [f"what {app} is built from" for app in moved_apps]
        if not differs:
            return
        what = (
            f"What was merged (`{done.commit[:12]}`) is not what was approved: "
            f"{', '.join(f'`{path}`' for path in differs[:5])} {'differs' if len(differs) == 1 else 'differ'}."
        )
        details = {"merge": done.commit, "differs": differs[:50], "content": change.content}
        raise self._failed(
            change, done, "change:merged-other", Refused(ReasonCode.MERGED_OTHER, what, NOT_ROLLED_OUT), details
        )

    def _still_wanted(self, change: Change, rows: Sequence[Deployment], done: Merged) -> None:
        """Raise Refused (MERGED_BY_HAND) when somebody else merged it, and its approvals do not count any more."""
        (logged,) = self._out.infra.log(done.commit, None, (), 1)
        if ("Change-Id", change.id) in logged.trailers:
            return  # our own merge, whose record was lost in a crash: all of this was asked before it
        facts = self._out.facts()
        known = policy.catalogue(facts)
        self._reviews.read(change, self._out.host.reviews(change.pr_number or 0), known)
        with self._store.read() as uow:
            have = len(approve.voices(uow, known, facts, change))
        same_rules = Binding.from_json(change.binding).policy == known.policy_version(change.environment)
        if have >= _required(known, change, rows) and (same_rules or change.break_glass):
            return
        who = f"`{done.by}`" if done.by else "somebody"
        since = "" if same_rules else ", and the rules have changed since"
        what = (
            f"{who} merged the pull request by hand (`{done.commit[:12]}`) when its approvals did not count any more: "
            f"{have} of {_required(known, change, rows)} do{since}."
        )
        details = {"merge": done.commit, "by": done.by, "pull_request": change.pr_url}
        fault = Refused(ReasonCode.MERGED_BY_HAND, what, NOT_ROLLED_OUT)
        raise self._failed(change, done, "change:external-merge", fault, details)

    def _failed(
        self, change: Change, done: Merged, action: str, fault: Refused, details: Mapping[str, object]
    ) -> Refused:
        """Record once, and tell everybody, that what is in git is not what was approved; the fault, to be raised."""
        with self._store.write() as uow:
            mine = gate.held(uow, change.id)
            if mine is not None and mine.state != ChangeState.FAILED:
                mine.state, mine.merge_sha, mine.merged_by = ChangeState.FAILED, done.commit, done.by
                uow.audit(
                    change_entry(
                        uow,
                        change,
                        action,
                        reason_code=fault.reason,
                        details=details,
                    )
                )
                channel = policy.catalogue(self._out.facts()).channels.deployments
                text = f"⚠️ {fault.what} {fault.next_step}"
                uow.send(Note(f"alert:{change.id}", Target.CHANNEL, {"text": text}, channel=channel))
                gate.visit_soon(uow, mine)
        return fault

    def _record(self, change: Change, done: Merged) -> None:
        facts = self._out.facts()
        environment = policy.catalogue(facts).environment(change.environment)
        with self._store.write() as uow:
            mine = gate.held(uow, change.id)
            if mine is None or mine.state == ChangeState.MERGED:
                return
            mine.state, mine.token, mine.note, mine.moved = ChangeState.MERGED, "", "", ""
            mine.merge_sha, mine.merged_by, mine.merged_at = done.commit, done.by, uow.now
            if mine.break_glass and environment is not None and environment.break_glass is not None:
                mine.review_due = uow.now + environment.break_glass.review_within
                text = (
                    f"🔨 {mention(mine.requested_by)} broke the glass in `{mine.environment}`: {mine.reason} "
                    f"Nobody has approved {mine.pr_url}; a second person has to look at it by "
                    f"{mine.review_due:%Y-%m-%d %H:%M} UTC: `/deploy review {mine.id}`."
                )
                channel = policy.catalogue(facts).channels.deployments
                uow.send(Note(f"glass:{mine.id}:merged", Target.CHANNEL, {"text": text}, channel=channel))
            uow.audit(
                change_entry(
                    uow,
                    change,
                    "change:merged",
                    details={"merge": done.commit, "by": done.by, "content": change.content},
                )
            )
            gate.change_shown(uow, mine)
            gate.visit_soon(uow, mine)


def stand_down(store: Store, change_id: str, what: str) -> None:
    """Every deployment of the change waits for approval again; the change is looked at at once."""
    with store.write() as uow:
        change = gate.held(uow, change_id)
        if change is None:
            return
        for row in gate.members(uow, change_id):
            uow.hold(row)
            if row.phase == Phase.RUNNING and not row.commit_sha:
                row.back_to(Phase.AWAITING_APPROVAL)
                uow.changed(row)
        if change.state == ChangeState.APPROVED:
            change.state, change.moved = ChangeState.OPEN, what
        uow.audit(
            change_entry(
                uow,
                change,
                "change:stand-down",
                details={"what": what, "content": change.content},
            )
        )
        gate.change_shown(uow, change)
        gate.visit_soon(uow, change)


def _rules_stand(facts: Facts, known: Catalogue, rows: Sequence[Deployment]) -> None:
    """Raise NotNowError when the rules are in doubt: the visits wait until the file is mended."""
    for row in rows:
        app, environment = known.apps.get(row.app), known.environments.get(row.environment)
        if app is None or environment is None:
            raise NotNowError(f"`{row.app}` or `{row.environment}` is no longer in `locktender.yaml`.")
        try:
            policy.may_change(facts, Place(app, environment))
        except Refused as fault:
            raise NotNowError(fault.what) from fault


def _required(known: Catalogue, change: Change, rows: Sequence[Deployment]) -> int:
    """What the rules of now ask for, and never less than was asked when it was shown."""
    environment = known.environments.get(change.environment)
    if environment is None:
        raise NotNowError("The environment is no longer in `locktender.yaml`.")
    now = policy.required_approvals(environment, Kind(rows[0].kind), break_glass=change.break_glass)
    return max(now, change.required)
