"""What a protected branch still wants before a merge, in GitHub's own words; and CODEOWNERS. Pure.

The words are those the merge call answers 405 with: several wants make one text, one sentence after the other.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from bot.sandbox.github_model import Pull, Review, ReviewState, Role, Rules

CODEOWNERS_PLACES = (".github/CODEOWNERS", "CODEOWNERS", "docs/CODEOWNERS")  # the first that is there counts
_DECIDES = {ReviewState.APPROVED, ReviewState.CHANGES_REQUESTED, ReviewState.DISMISSED}


@dataclass(frozen=True)
class OwnerRule:
    """One line of CODEOWNERS: a pattern and who owns what it matches (no one, when there is no owner)."""

    pattern: re.Pattern[str]
    owners: tuple[str, ...]


def parse_owners(text: str) -> tuple[OwnerRule, ...]:
    """The rules of a CODEOWNERS file; owners without their `@`."""
    rules = []
    for line in text.splitlines():
        words = line.split("#", 1)[0].split()
        if words:
            rules.append(OwnerRule(_pattern(words[0]), tuple(word.removeprefix("@") for word in words[1:])))
    return tuple(rules)


def owners_of(rules: tuple[OwnerRule, ...], path: str) -> tuple[str, ...]:
    """Who owns a file: the last rule that matches says it."""
    return next((rule.owners for rule in reversed(rules) if rule.pattern.fullmatch(path)), ())


def _pattern(glob: str) -> re.Pattern[str]:
    """The rules of gitignore: a slash at the start or inside anchors, a folder holds all below it, `/*` one level."""
    anchored = "/" in glob.rstrip("/")
    folder = glob.endswith("/")
    inner = glob.strip("/")
    text, place = "", 0
    while place < len(inner):
        if inner.startswith("**/", place):
            text, place = text + "(?:.*/)?", place + 3
        elif inner.startswith("**", place):
            text, place = text + ".*", place + 2
        elif inner[place] in "*?":
            text, place = text + ("[^/]*" if inner[place] == "*" else "[^/]"), place + 1
        else:
            text, place = text + re.escape(inner[place]), place + 1
    below = "/.+" if folder else "" if anchored and inner.endswith("/*") else "(?:/.+)?"
    return re.compile(f"{'' if anchored else '(?:.*/)?'}{text}{below}")


@dataclass(frozen=True)
class Facts:
    """What the rules are held against. `checks` maps a context to pending, in_progress, success, failure or error."""

    pull: Pull
    role: Callable[[str], Role]
    members: Callable[[str], tuple[str, ...]]  # of `org/team`; empty when there is no such team
    owned: tuple[tuple[str, ...], ...]  # the owners of each changed file that has any
    checks: Mapping[str, str]
    up_to_date: bool


def latest(reviews: list[Review]) -> dict[str, Review]:
    """The review of each person that counts: the last that decides something. A comment takes nothing back."""
    return {review.login: review for review in reviews if review.state in _DECIDES}


def wants(rules: Rules, facts: Facts) -> list[str]:
    """What is missing, as sentences; empty when the merge may go on."""
    counted = {
        login: review
        for login, review in latest(facts.pull.reviews).items()
        if facts.role(login) >= Role.WRITE and login != facts.pull.login
    }
    approvals = {login for login, review in counted.items() if review.state is ReviewState.APPROVED}
    refusals = sum(review.state is ReviewState.CHANGES_REQUESTED for review in counted.values())
    found = []
    if rules.strict and not facts.up_to_date:
        found.append("The head branch is not up to date with the base branch.")
    found += _reviews(rules, facts, approvals, refusals)
    found += _checks(rules, facts.checks)
    return found


def _reviews(rules: Rules, facts: Facts, approvals: set[str], refusals: int) -> list[str]:
    if not (rules.reviews or rules.code_owners or rules.last_push):
        return []
    found = []
    if refusals:
        are = "review" if refusals == 1 else "reviews"
        found.append(f"{refusals} {are} requesting changes by reviewers with write access.")
    elif len(approvals) < rules.reviews:
        many = "approving review is" if rules.reviews == 1 else "approving reviews are"
        found.append(f"At least {rules.reviews} {many} required by reviewers with write access.")
    if rules.code_owners:
        waiting = [owners for owners in facts.owned if not approvals & _people(owners, facts)]
        names = list(dict.fromkeys(owner for owners in waiting for owner in owners))
        if names:
            found.append(f"Waiting on code owner review from {' and/or '.join(names)}.")
    if rules.last_push and not found and not approvals - {facts.pull.pusher}:
        found.append("New changes require approval from someone other than the last pusher.")
    return found


def _people(owners: tuple[str, ...], facts: Facts) -> set[str]:
    people: set[str] = set()
    for owner in owners:
        people |= set(facts.members(owner)) if "/" in owner else {owner}
    return people


_SAID = {
    "expected": "expected",
    "pending": "pending",
    "in_progress": "in progress",
    "failure": "failing",
    "error": "errored",
}


def _checks(rules: Rules, checks: Mapping[str, str]) -> list[str]:
    states = {context: checks.get(context, "expected") for context in rules.checks}
    missing = {context: _SAID[state] for context, state in states.items() if state != "success"}
    if len(missing) == 1 and len(states) == 1:
        context, state = next(iter(missing.items()))
        return [f'Required status check "{context}" is {state}.']
    if not missing:
        return []
    kinds = list(dict.fromkeys(missing.values()))
    if len(kinds) == 1 and len(missing) == len(states):
        return [f"{len(missing)} of {len(states)} required status checks are {kinds[0]}."]
    counts = " and ".join(f"{list(missing.values()).count(kind)} {kind}" for kind in kinds)
    return [f"{len(missing)} of {len(states)} required status checks have not succeeded: {counts}."]
