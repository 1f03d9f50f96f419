"""Reads who may ask, approve, lock and break glass in an environment, and finds approvals that could never come."""

from collections.abc import Mapping

from commands import grammar
from commands.catalogue_faults import did_you_mean, quoted
from commands.catalogue_parts import EVERYONE, Accept, Approval, BreakGlass, Comment, Group
from commands.catalogue_people import Circle, human
from commands.catalogue_values import Value

_SETTINGS = ("from", "required", "expires_after", "accept", "comment", "rollback_required")
_MOST_APPROVERS = 20
_USUAL = Approval(())


def read_approval(value: Value, circle: Circle) -> Approval:
    """`{from: [release-managers], required: 1, …}`."""
    section = value.section(_SETTINGS)
    source = section.need("from", "write the groups that may approve, as in `from: [release-managers]`")
    required = section.read("required", lambda setting: setting.number(1, _MOST_APPROVERS)) or _USUAL.required
    approval = Approval(
        _named(source, circle, "approve"),
        required,
        section.read("expires_after", lambda setting: setting.duration("4h")) or _USUAL.expires_after,
        section.read("accept", lambda setting: setting.choice(Accept)) or _USUAL.accept,
        section.read("comment", lambda setting: setting.choice(Comment)) or _USUAL.comment,
        section.read("rollback_required", lambda setting: setting.number(1, _MOST_APPROVERS)) or 1,
    )
    for_rollbacks = section.get("rollback_required")
    if for_rollbacks and approval.rollback_required > required:
        what = f"{approval.rollback_required} for a rollback are more than the {required} for every other change"
        for_rollbacks.fault(what, f"write at most `{required}`")
    if approval.groups:
        _look_at_reach(approval, circle, section.get("required") or section.get("accept") or value)
    return approval


def read_break_glass(value: Value, circle: Circle) -> BreakGlass:
    """`{from: [on-call], review_within: 24h}`."""
    section = value.section(("from", "review_within"))
    source = section.need("from", "write the groups that may break glass, as in `from: [on-call]`")
    groups = _named(source, circle, "break glass")
    within = section.read("review_within", lambda setting: setting.duration("24h"))
    return BreakGlass(groups, within) if within else BreakGlass(groups)


def read_groups_or_everyone(value: Value, circle: Circle) -> tuple[str, ...]:
    """`everyone`, or a list of groups."""
    if value.is_word(EVERYONE):
        return (EVERYONE,)
    names = _groups(value, circle.groups)
    if EVERYONE in names and len(names) > 1:
        value.fault("`everyone` makes the other groups meaningless", "write `everyone`, or the groups alone")
    return names


def usual_lockers(deployers: tuple[str, ...], approval: Approval | None) -> tuple[str, ...]:
    """Who may lock where the file does not say: whoever may deploy or approve."""
    names = dict.fromkeys((*deployers, *(approval.groups if approval else ())))
    return (EVERYONE,) if EVERYONE in names else tuple(names)


def _named(value: Value | None, circle: Circle, verb: str) -> tuple[str, ...]:
    names = _groups(value, circle.groups) if value else ()
    if value and EVERYONE in names:
        value.fault(f"`everyone` cannot {verb}", "name the groups that may")
    return names


def _groups(value: Value, groups: Mapping[str, Group]) -> tuple[str, ...]:
    names: dict[str, None] = {}
    for item in value.items("[release-managers]"):
        name = item.text("release-managers")
        if name is None:
            continue
        if name in names:
            item.fault(f"{quoted(name)} is there twice", "write it once")
        elif name not in groups and name != EVERYONE:
            otherwise = (
                f"write `{name}: {{slack: S0…}}` below `groups`" if grammar.NAME.fullmatch(name) else "name a group"
            )
            guesses = grammar.nearest(name, groups, 1)
            item.fault(f"there is no group {quoted(name)}", did_you_mean(guesses, otherwise))
        names[name] = None
    return tuple(names)


def _look_at_reach(approval: Approval, circle: Circle, value: Value) -> None:
    """An approval that nobody, or too few, can give would leave every change waiting until it expires."""
    can = _reach(approval, circle)
    if can is None or len(can) >= approval.required:
        return
    if can:
        what = f"{approval.required} must approve and only {len(can)} can"
        value.fault(what, "add members, or ask for fewer")
    elif approval.accept is Accept.GITHUB:
        what = "approvals are taken from GitHub only, and nobody in these groups is known there"
        value.fault(what, "give a group its `github: org/team`, write logins below `people`, or write `accept: slack`")
    else:
        what = "approvals are taken from Slack only, and nobody in these groups is known there"
        value.fault(what, "give a group `slack` or `members`, or write `accept: github`")


def _reach(approval: Approval, circle: Circle) -> set[str] | None:
    """Everyone who could approve, when the file itself names them all; None when Slack or GitHub knows more.

    Where a group lives on the other side only, it takes someone who is known on both to approve, so those who are
    bound how many there can be.
    """
    chosen = [circle.groups[name] for name in approval.groups if name in circle.groups]
    in_slack, on_github = approval.accept is not Accept.GITHUB, approval.accept is not Accept.SLACK
    if len(chosen) < len(approval.groups):
        return None
    if any((in_slack and group.slack) or (on_github and group.github) for group in chosen):
        return None
    members = {circle.human(member) for group in chosen for member in group.members}
    on_both = {human(one.name) for one in circle.people.values() if one.slack and one.github}
    can: set[str] = set()
    if in_slack:
        can |= members | (on_both if any(group.github for group in chosen) else set())
    if on_github:
        can |= on_both if any(group.slack for group in chosen) else on_both & members
    return can
