"""Approve, reject, and review after the fact: what approvers say, bound to exactly what their card showed."""

from collections.abc import Callable

from commands import policy
from commands.approvals import Compared, Reviewed, Voice, compared, counted, may_approve
from commands.binding import Binding
from commands.catalogue import Accept, Catalogue, Comment
from commands.catalogue import Approval as Rule
from commands.change_rows import change_entry
from commands.closing import close
from commands.desk import answer_once
from commands.endings import Ending
from commands.facts import Facts
from commands.own_card import on_its_card
from commands.policy import Target as Place
from commands.reasons import ReasonCode, Refused
from commands.requests import Answer, Approve, Asker, Reject, Review, listed, mention
from storage import gate
from storage.models import Approval, Change, ChangeState, Target
from storage.phases import Phase
from storage.unit_of_work import AuditEntry, Note, Store, UnitOfWork

APPROVED, REJECTED = "approved", "rejected"
_TOKEN = 32  # characters of a button's random value; ids are shorter


def approve(store: Store, facts: Facts, asker: Asker, request: Approve) -> Answer:
    """Count one person's yes to what their card showed. The merge comes later, and asks all of this again."""

    def decide(uow: UnitOfWork) -> Answer:
        known = policy.catalogue(facts)
        change = _shown(uow, request.token)
        on_its_card(uow, asker, change.card_id)
        _open(uow, change)
        rule = _rule(known, change)
        if rule.accept is Accept.GITHUB:
            raise Refused(
                ReasonCode.NOT_PERMITTED,
                f"Changes to `{change.environment}` are approved by reviews on GitHub, not in Slack.",
                f"Review the pull request: {change.pr_url}",
            )
        if rule.comment is Comment.REQUIRED and not request.comment.strip():
            raise Refused(
                ReasonCode.COMMENT_REQUIRED,
                f"An approval for `{change.environment}` needs a comment, and none was given.",
                "Click Approve again and write what you looked at.",
            )
        policy.check_reason(request.comment)
        policy.may_change(facts, _place(known, change))
        wanted = reviewed(known, change)
        who = may_approve(known, facts, wanted, Voice(slack_user=asker.user_id))
        if any(one.person == who.key and one.verdict == APPROVED for one in gate.approvals(uow, change)):
            return _already(uow, change, known, facts)
        record_approval(
            uow,
            change,
            Approval(
                change_id=change.id,
                content=change.content,
                person=who.key,
                verdict=APPROVED,
                team_id=asker.team_id,
                slack_user=asker.user_id,
                source=asker.source,
                comment=request.comment,
                at=uow.now,
            ),
            compared(known, wanted, Voice(slack_user=asker.user_id)),
        )
        have = len(voices(uow, known, facts, change))
        left = change.required - have
        if left > 0:
            return Answer(
                ReasonCode.APPROVED,
                f"Your approval is recorded: {have} of {change.required}.",
                f"{left} more of {listed(rule.groups)} {'has' if left == 1 else 'have'} to approve.",
                deployment_id=change.card_id,
            )
        return Answer(
            ReasonCode.APPROVED,
            "Your approval is recorded; it has all it needs.",
            "It is merged as soon as nothing else is in its way; its card says what happens.",
            deployment_id=change.card_id,
        )

    return answer_once(store, facts, asker, "change:approve", {"token": request.token[:64]}, decide, _of(request.token))


def reject(store: Store, facts: Facts, asker: Asker, request: Reject) -> Answer:
    """End the change: whoever may approve it may refuse it, with a reason. An id will do: no is of any content."""

    def decide(uow: UnitOfWork) -> Answer:
        known = policy.catalogue(facts)
        change = _named(uow, request.token) if len(request.token) < _TOKEN else _shown(uow, request.token)
        on_its_card(uow, asker, change.card_id)
        _open(uow, change)
        policy.need_reason(request.reason, "A rejection")
        policy.check_reason(request.reason)
        who = may_approve(known, facts, reviewed(known, change), Voice(slack_user=asker.user_id))
        approval = Approval(
            change_id=change.id,
            content=change.content,
            person=who.key,
            verdict=REJECTED,
            team_id=asker.team_id,
            slack_user=asker.user_id,
            source=asker.source,
            comment=request.reason,
            at=uow.now,
        )
        uow.audit(said(uow, change, approval))
        what = f"{mention(asker.user_id)} rejected it: {request.reason}"
        ending = Ending(
            Phase.REJECTED, ReasonCode.REJECTED_BY_PERSON, what, "Nothing was merged. See to it, then ask again."
        )
        close(uow, change, ending, actor=asker.user_id)
        return Answer(
            ReasonCode.REJECTED_BY_PERSON,
            "Rejected; the pull request is being closed.",
            f"{mention(change.requested_by)} sees your reason on the card.",
            deployment_id=change.card_id,
        )

    return answer_once(store, facts, asker, "change:reject", {"token": request.token[:64]}, decide, _of(request.token))


def review(store: Store, facts: Facts, asker: Asker, request: Review) -> Answer:
    """Close the debt of a break-glass change: a second person has looked at what was done."""

    def decide(uow: UnitOfWork) -> Answer:
        known = policy.catalogue(facts)
        change = gate.held(uow, request.token)
        if change is None or not change.break_glass or change.review_due is None:
            raise Refused(
                ReasonCode.UNKNOWN_DEPLOYMENT,
                "No change made by break-glass waits for a review under that id.",
                "Give the id from its card, as in `/deploy review ID`.",
            )
        on_its_card(uow, asker, change.card_id)
        if change.reviewed_at is not None:
            raise Refused(
                ReasonCode.ALREADY_DECIDED,
                f"{mention(change.reviewed_by)} has reviewed it already.",
                "There is nothing left to do.",
            )
        policy.check_reason(request.comment)
        voice, wanted = Voice(slack_user=asker.user_id), reviewed(known, change)
        who = may_approve(known, facts, wanted, voice)
        change.reviewed_by, change.reviewed_at = asker.user_id, uow.now
        late = uow.now > change.review_due
        uow.audit(
            change_entry(
                uow,
                change,
                "change:review",
                {
                    "comment": request.comment,
                    "late": late,
                    "merge": change.merge_sha,
                    "person": who.key,
                    **compared(known, wanted, voice).details(),
                },
                actor=asker.user_id,
                team_id=asker.team_id,
            )
        )
        text = f"{mention(asker.user_id)} reviewed this break-glass change. {request.comment}".strip()
        uow.send(Note(f"thread:{change.card_id}:reviewed", Target.THREAD, {"text": text}, deployment_id=change.card_id))
        gate.change_shown(uow, change)
        return Answer(
            ReasonCode.APPROVED,
            "Your review is recorded; the debt is closed.",
            "If it should not stay, `/rollback` goes back.",
            deployment_id=change.card_id,
        )

    return answer_once(store, facts, asker, "change:review", {"token": request.token[:64]}, decide, _of(request.token))


# ---------------------------------------------------------------- shared with the gatekeeper


def reviewed(known: Catalogue, change: Change) -> Reviewed:
    """What a decision needs to know of this change."""
    rule = _rule(known, change)
    strangers = Binding.from_json(change.binding).strangers if change.binding else ()
    return Reviewed(rule.groups, change.required, change.requested_by, strangers, change.on_behalf_of)


def voices(uow: UnitOfWork, known: Catalogue, facts: Facts, change: Change) -> tuple[str, ...]:
    """Keys of the people whose approval of the shown content counts now."""
    said_yes = [one for one in gate.approvals(uow, change) if one.verdict == APPROVED]
    heard = [Voice(one.slack_user, one.login) for one in said_yes]
    return tuple(who.key for who in counted(known, facts, reviewed(known, change), heard))


def record_approval(uow: UnitOfWork, change: Change, approval: Approval, compared_with: Compared) -> None:
    """Store one person's yes with its audit row, have the change looked at. One that was taken back counts anew."""
    before = next((one for one in gate.approvals(uow, change) if one.person == approval.person), None)
    if before is None:
        uow.session.add(approval)
    else:
        before.verdict, before.at, before.comment = approval.verdict, approval.at, approval.comment
        before.slack_user, before.login, before.source = approval.slack_user, approval.login, approval.source
    uow.session.flush()
    uow.audit(said(uow, change, approval, compared_with))
    gate.change_shown(uow, change)
    gate.visit_soon(uow, change)


def said(uow: UnitOfWork, change: Change, approval: Approval, compared_with: Compared | None = None) -> AuditEntry:
    """What somebody said of a change, with what they were shown and, for a yes, who they were told apart from."""
    verb = "approve" if approval.verdict == APPROVED else "reject"
    details = {
        "content": change.content,
        "head": change.head_sha,
        "pull_request": change.pr_url,
        "source": approval.source,
        "comment": approval.comment,
        "person": approval.person,
        **(compared_with.details() if compared_with else {}),
    }
    actor = approval.slack_user or f"github:{approval.login}"
    return change_entry(uow, change, f"change:{verb}", details, actor=actor, team_id=approval.team_id)


def _rule(known: Catalogue, change: Change) -> Rule:
    environment = known.environments.get(change.environment)
    if environment is None or environment.approval is None:
        raise Refused(
            ReasonCode.APPROVAL_NOT_OPEN,
            f"`locktender.yaml` no longer says who approves changes to `{change.environment}`.",
            "Mend the file, then ask again.",
        )
    return environment.approval


def _of(token: str) -> Callable[[UnitOfWork], Change | None]:
    """The change that a button's value or an id names, as far as there is one."""
    if len(token) > _TOKEN:
        return lambda _: None
    return lambda uow: gate.change_by_token(uow, token) if len(token) == _TOKEN else gate.change_of(uow, token)


def _place(known: Catalogue, change: Change) -> Place:
    """Any app will do: what is asked is whether the rules of the environment are in doubt."""
    return Place(next(iter(known.apps.values())), known.environments[change.environment])


def _shown(uow: UnitOfWork, token: str) -> Change:
    """The change whose present content this button shows, held."""
    if len(token) < _TOKEN:
        named = _named(uow, token)
        _open(uow, named)
        raise Refused(
            ReasonCode.STALE_BUTTON,
            "An approval is of what a card shows, so it is given there.",
            f"Review {named.pr_url} or use the buttons on the card of `{named.id}`.",
        )
    found = gate.change_by_token(uow, token) if len(token) == _TOKEN else None
    if found is None:
        raise Refused(
            ReasonCode.STALE_BUTTON,
            "That button was of something else than what waits now: it moved, or it has been decided.",
            "Look at the card as it is now.",
        )
    uow.hold(found)
    if found.token != token:  # it moved while we waited for it
        raise Refused(ReasonCode.STALE_BUTTON, "It moved just now.", "Look at the card as it is now.")
    return found


def _named(uow: UnitOfWork, change_id: str) -> Change:
    """The change of this id, held."""
    found = gate.held(uow, change_id)
    if found is None:
        raise Refused(
            ReasonCode.UNKNOWN_DEPLOYMENT,
            "No change waits for a decision under that id.",
            "Give the id from its card; `/deploy queue` lists what waits.",
        )
    return found


def _open(uow: UnitOfWork, change: Change) -> None:
    if change.state == ChangeState.PREPARING:
        raise Refused(
            ReasonCode.APPROVAL_NOT_OPEN,
            "What it changes is still being worked out, so nobody can decide on it yet.",
            f"Wait for the buttons on its card; `/deploy cancel {change.id}` takes it back at once.",
        )
    if change.state == ChangeState.APPROVED:
        raise Refused(
            ReasonCode.ALREADY_DECIDED,
            "It has all its approvals already.",
            "Its card says what it waits for.",
        )
    if change.state != ChangeState.OPEN:
        raise Refused(
            ReasonCode.ALREADY_DECIDED,
            "It has been decided already.",
            "Its card says how.",
        )
    if change.expires_at is not None and uow.now >= change.expires_at:
        raise Refused(
            ReasonCode.APPROVAL_EXPIRED,
            f"The time to approve it ended at {change.expires_at:%H:%M:%S} UTC.",
            "Ask for it again.",
        )


def _already(uow: UnitOfWork, change: Change, known: Catalogue, facts: Facts) -> Answer:
    have = len(voices(uow, known, facts, change))
    return Answer(
        ReasonCode.APPROVED,
        f"You have approved it already: {have} of {change.required}.",
        "One person counts once.",
        deployment_id=change.card_id,
    )
