"""What GitHub still wants before it merges, in sentences that say what and from whom. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from bot.integrations.github.answers import Branch, CheckRun, Protection, Pull, Rule, Status, UpdateRule
from bot.integrations.github.codeowners import Owned
from commands.code_host import Mergeability, MergeVerdict

OURS = "locktender/approval"
"""The commit status that we set: what waits for it waits for us."""

_LEFT_OVER = {
    "required_signatures": "GitHub wants the commits to be signed.",
    "required_deployments": "GitHub wants a deployment to succeed first, as a rule of `{base}` says.",
    "merge_queue": "GitHub wants merges into `{base}` to go through its merge queue, which the bot does not use: "
    "somebody who administers the repository can let the bot merge directly.",
    "update": "GitHub lets only some people change `{base}`, and the bot may not be among them: somebody who "
    "administers the repository can say.",
    "lock_branch": "GitHub keeps `{base}` locked: somebody who administers the repository can unlock it.",
    "workflows": "GitHub wants a workflow to pass first, as a rule of `{base}` says.",
    "code_scanning": "GitHub wants the results of code scanning first, as a rule of `{base}` says.",
    "code_quality": "GitHub wants the results of a code quality check first, as a rule of `{base}` says.",
    "conversations": "GitHub wants every conversation on the pull request to be resolved.",
}


class Outcome(StrEnum):
    """How a check stands."""

    PASSED = "passed"
    RUNNING = "running"
    FAILED = "failed"


@dataclass(frozen=True)
class Check:
    """A check on the head; `word` is GitHub's own for how it stands."""

    outcome: Outcome
    word: str


@dataclass(frozen=True)
class Rules:
    """What the base branch asks of a merge, from rulesets and branch protection together.

    `whole` is False when a part could not be read. `others` are the types of rules whose state GitHub does not tell.
    """

    reviews: int = 0
    code_owners: bool = False
    last_push: bool = False
    strict: bool = False
    checks: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    whole: bool = True


@dataclass(frozen=True)
class Unreviewed:
    """A line of CODEOWNERS that decides about changed files, and that none of its owners approved yet."""

    owned: Owned


@dataclass(frozen=True)
class Facts:
    """What was read about a pull request that GitHub holds back. Logins are those of people with write access."""

    rules: Rules
    approvals: frozenset[str] = frozenset()
    approved_head: bool = False  # one of the approvals is on the head
    objections: tuple[str, ...] = ()
    unreviewed: tuple[Unreviewed, ...] = ()
    checks: Mapping[str, Check] = field(default_factory=dict)


def at_a_glance(pull: Pull) -> Mergeability | None:
    """The verdict when the pull request alone tells it; None when one must look why GitHub holds it back."""
    sha, base = pull.head.sha, pull.base.ref
    if pull.state != "open":
        return Mergeability(MergeVerdict.ENDED, sha)
    if pull.draft or pull.mergeable_state == "draft":
        return Mergeability(
            MergeVerdict.BLOCKED, sha, ("The pull request is a draft: somebody has to mark it as ready for review.",)
        )
    if pull.mergeable_state == "dirty" or pull.mergeable is False:
        return Mergeability(
            MergeVerdict.CONFLICT,
            sha,
            (f"The branch `{pull.head.ref}` no longer applies to `{base}`.",),
        )
    if pull.mergeable is None or pull.mergeable_state == "unknown":
        return Mergeability(
            MergeVerdict.PENDING, sha, ("GitHub is still working out whether the pull request can be merged.",)
        )
    if pull.mergeable_state in {"clean", "unstable", "has_hooks"}:  # unstable: a check failed that nobody requires
        return Mergeability(MergeVerdict.READY, sha)
    return None


def judge(pull: Pull, facts: Facts) -> Mergeability:
    """The verdict on a pull request that GitHub holds back, or that is behind its base."""
    sha, base = pull.head.sha, pull.base.ref
    waiting = tuple(_checks(facts, running=True))
    wants = (*_reviews(facts), *_checks(facts, running=False), *_update(pull, facts.rules))
    if wants:
        return Mergeability(MergeVerdict.BLOCKED, sha, (*wants, *waiting))
    if waiting:
        return Mergeability(MergeVerdict.PENDING, sha, waiting)
    ours = facts.checks.get(OURS)
    waits_for_us = OURS in facts.rules.checks and (ours is None or ours.outcome is not Outcome.PASSED)
    if waits_for_us or pull.mergeable_state == "behind":
        return Mergeability(MergeVerdict.READY, sha)
    rest = tuple(_LEFT_OVER[one].format(base=base) for one in facts.rules.others if one in _LEFT_OVER)
    return Mergeability(
        MergeVerdict.BLOCKED,
        sha,
        rest or ("GitHub holds the merge back and does not tell the bot why: the page of the pull request does.",),
    )


def _reviews(facts: Facts) -> Iterable[str]:
    for login in facts.objections if facts.rules.reviews else ():
        yield f"@{login} asked for changes: GitHub waits until @{login} approves or that review is dismissed."
    missing = facts.rules.reviews - len(facts.approvals)
    if missing == 1:
        yield "GitHub wants 1 more approving review from someone with write access."
    elif missing > 1:
        yield f"GitHub wants {missing} more approving reviews from people with write access."
    for one in facts.unreviewed:
        place = one.owned.pattern.lstrip("/") or one.owned.pattern
        yield f"GitHub wants a review by a code owner of `{place}`: {' or '.join(one.owned.owners)}."
    if facts.rules.last_push and missing <= 0 and not facts.approved_head:
        yield "GitHub wants an approval given after the last push, by someone else than who pushed."


def _checks(facts: Facts, *, running: bool) -> Iterable[str]:
    for name in facts.rules.checks:
        check = facts.checks.get(name, Check(Outcome.RUNNING, "not reported yet"))
        wanted = Outcome.RUNNING if running else Outcome.FAILED
        if name != OURS and check.outcome is wanted:
            yield f"The check `{name}` has not passed ({check.word})."


def _update(pull: Pull, rules: Rules) -> Iterable[str]:
    if pull.mergeable_state == "behind" and (rules.strict or not rules.whole):
        yield f"GitHub wants the branch to hold the newest commits of `{pull.base.ref}` first."


def of_rulesets(rules: Iterable[Rule]) -> Rules:
    """What the rules of rulesets ask for, together."""
    found = Rules()
    for rule in rules:
        asked = rule.parameters
        found = replace(found, others=(*found.others, rule.type))
        if asked is None:
            continue
        found = replace(
            found,
            reviews=max(found.reviews, asked.required_approving_review_count),
            code_owners=found.code_owners or asked.require_code_owner_review,
            last_push=found.last_push or asked.require_last_push_approval,
            strict=found.strict or asked.strict_required_status_checks_policy,
            checks=(*found.checks, *(one.context for one in asked.required_status_checks)),
            others=(*found.others, *(["conversations"] if asked.required_review_thread_resolution else [])),
        )
    return found


def of_protection(protection: Protection) -> Rules:
    """What a classic branch protection asks for."""
    reviews, checks = protection.required_pull_request_reviews, protection.required_status_checks
    switches = {
        "conversations": protection.required_conversation_resolution,
        "required_signatures": protection.required_signatures,
        "lock_branch": protection.lock_branch,
    }
    return Rules(
        reviews=reviews.required_approving_review_count if reviews else 0,
        code_owners=bool(reviews and reviews.require_code_owner_reviews),
        last_push=bool(reviews and reviews.require_last_push_approval),
        strict=bool(checks and checks.strict),
        checks=(*checks.contexts, *(one.context for one in checks.checks)) if checks else (),
        others=tuple(name for name, switch in switches.items() if switch.enabled),
    )


def of_update_rule(rule: UpdateRule) -> Rules:
    """What those who may not administer the repository see of a classic branch protection: not all of it."""
    switches = {"conversations": rule.conversations, "required_signatures": rule.signatures}
    return Rules(
        reviews=rule.reviews or 0,
        code_owners=rule.code_owners,
        checks=tuple(one for one in rule.checks or () if one),
        others=tuple(name for name, enabled in switches.items() if enabled),
        whole=False,
    )


def of_summary(branch: Branch) -> Rules:
    """What REST shows everyone of a classic branch protection: its checks."""
    checks = branch.protection.required_status_checks
    return Rules(checks=checks.contexts if checks else (), whole=False)


def together(one: Rules, other: Rules) -> Rules:
    """Both: GitHub holds a merge to the strictest of all that is in force."""
    return Rules(
        reviews=max(one.reviews, other.reviews),
        code_owners=one.code_owners or other.code_owners,
        last_push=one.last_push or other.last_push,
        strict=one.strict or other.strict,
        checks=tuple(dict.fromkeys((*one.checks, *other.checks))),
        others=tuple(dict.fromkeys((*one.others, *other.others))),
        whole=one.whole and other.whole,
    )


def of_status(status: Status) -> Check:
    """A commit status as a check."""
    outcome = {"success": Outcome.PASSED, "pending": Outcome.RUNNING}.get(status.state, Outcome.FAILED)
    return Check(outcome, status.state)


def of_run(run: CheckRun) -> Check:
    """A check run as a check. A neutral or skipped one is good enough for GitHub."""
    if run.status != "completed":
        return Check(Outcome.RUNNING, run.status.replace("_", " ") or "running")
    word = run.conclusion or "no conclusion"
    passed = word in {"success", "neutral", "skipped"}
    return Check(Outcome.PASSED if passed else Outcome.FAILED, word.replace("_", " "))
