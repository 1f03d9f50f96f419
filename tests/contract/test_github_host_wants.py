"""Checks what is said about why GitHub does not merge yet: what is wanted and from whom, and when it is our turn.

The stand-in holds merges back by rulesets and classic protections; states that it does not have are made by hand.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from bot.integrations.github.codeowners import owned
from bot.sandbox.github import Role, Rules
from bot.sandbox.github_model import RuleSource
from commands.code_host import Mergeability, MergeRequest, MergeVerdict, PullRequestDraft, StatusState
from commands.reasons import ReasonCode
from tests.contract.github_rig import GitHubRig, odd_github, pull, refusal, retry, said

BRANCH = "deploy/d-1"
OWNERS = "# who owns what\n*  @bob\n/environments/production/  @company/platform\n"
ONE_REVIEW = "GitHub wants 1 more approving review from someone with write access."


class GateRig(GitHubRig):
    """With a pull request that a rule holds back."""

    number = 0

    def open(self) -> None:
        self.github.push(BRANCH, {"environments/production/kustomization.yaml": "tag: 1.4.2\n"}, "mallory")
        self.number = self.host.ensure_pull_request(PullRequestDraft("d-1", BRANCH, "Deploy", "")).number

    def require(self, source: RuleSource = RuleSource.RULESET, **rules: Any) -> None:
        self.github.protect(Rules(**rules, source=source))

    def look(self) -> Mergeability:
        """What is said once GitHub has worked it out: at the first look it has not."""
        self.host.mergeability(self.number)
        return self.host.mergeability(self.number)

    @property
    def head(self) -> str:
        return self.github.branch(BRANCH) or ""


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[GateRig]:
    with GateRig(tmp_path) as made:
        made.github.push("main", {"CODEOWNERS": OWNERS}, "bob")
        made.github.team("company/platform", ["alice"])
        made.open()
        yield made


def test_at_first_github_is_still_working_it_out(rig: GateRig) -> None:
    rig.github.push(BRANCH, {"more": "1"}, "alice")
    found = rig.host.mergeability(rig.number)
    assert found.verdict is MergeVerdict.PENDING
    assert "still working out" in found.wants[0]


def test_without_rules_it_is_ready(rig: GateRig) -> None:
    assert rig.look() == Mergeability(MergeVerdict.READY, rig.head)


@pytest.mark.parametrize("source", list(RuleSource))
def test_missing_reviews_are_counted(rig: GateRig, source: RuleSource) -> None:
    rig.github.user(rig.bot, role=Role.ADMIN)
    rig.require(source, reviews=2)
    assert rig.look().wants == ("GitHub wants 2 more approving reviews from people with write access.",)
    rig.github.review(rig.number, "alice", "APPROVE")
    assert rig.look() == Mergeability(MergeVerdict.BLOCKED, rig.head, (ONE_REVIEW,))
    rig.github.review(rig.number, "bob", "APPROVE")
    assert rig.look().verdict is MergeVerdict.READY


def test_a_protection_that_may_not_be_read_says_where_to_look(rig: GateRig) -> None:
    rig.github.settings.graphql = False
    rig.require(RuleSource.PROTECTION, reviews=1)
    found = rig.look()
    assert found.verdict is MergeVerdict.BLOCKED
    assert "page of the pull request" in found.wants[0]


def test_its_reviews_are_told_where_graphql_is_let_through(rig: GateRig) -> None:
    rig.github.settings.graphql = True
    rig.require(RuleSource.PROTECTION, reviews=1, code_owners=True)
    owners = "GitHub wants a review by a code owner of `environments/production/`: @company/platform."
    assert rig.look().wants == (ONE_REVIEW, owners)


def test_its_checks_are_told_all_the_same(rig: GateRig) -> None:
    rig.require(RuleSource.PROTECTION, checks=("ci/validate",))
    rig.github.set_status(rig.head, "ci/validate", "failure", "bob")
    assert rig.look().wants == ("The check `ci/validate` has not passed (failure).",)


def test_an_approval_without_write_access_does_not_count(rig: GateRig) -> None:
    rig.require(reviews=1)
    rig.github.review(rig.number, "reader", "APPROVE")
    assert rig.look().wants == (ONE_REVIEW,)


def test_an_approval_that_was_dismissed_does_not_count_and_a_comment_takes_nothing_back(rig: GateRig) -> None:
    rig.require(reviews=1)
    review = rig.github.review(rig.number, "alice", "APPROVE")
    rig.github.review(rig.number, "alice", "COMMENT", "by the way")
    assert rig.look().verdict is MergeVerdict.READY
    rig.github.dismiss(rig.number, review.id, "bob")
    assert rig.look().wants == (ONE_REVIEW,)


def test_who_asked_for_changes_is_named(rig: GateRig) -> None:
    rig.require(reviews=1)
    rig.github.review(rig.number, "alice", "APPROVE")
    rig.github.review(rig.number, "bob", "REQUEST_CHANGES", "no")
    assert rig.look().wants == (
        "@bob asked for changes: GitHub waits until @bob approves or that review is dismissed.",
    )


def test_code_owners_are_named_with_what_they_own(rig: GateRig) -> None:
    rig.require(reviews=1, code_owners=True)
    rig.github.review(rig.number, "bob", "APPROVE")
    assert rig.look().wants == (
        "GitHub wants a review by a code owner of `environments/production/`: @company/platform.",
    )
    rig.github.review(rig.number, "alice", "APPROVE")
    assert rig.look().verdict is MergeVerdict.READY


def test_running_checks_are_waited_for_and_failed_ones_hold_it_back(rig: GateRig) -> None:
    rig.require(checks=("ci/validate", "lint"))
    rig.github.set_check(rig.head, "lint", "")
    found = rig.look()
    assert found.verdict is MergeVerdict.PENDING
    assert found.wants == (
        "The check `ci/validate` has not passed (not reported yet).",
        "The check `lint` has not passed (in progress).",
    )
    rig.github.set_status(rig.head, "ci/validate", "pending", "bob")
    rig.github.set_check(rig.head, "lint", "timed_out")
    found = rig.look()
    assert found.verdict is MergeVerdict.BLOCKED
    assert found.wants == (
        "The check `lint` has not passed (timed out).",
        "The check `ci/validate` has not passed (pending).",
    )
    rig.github.set_check(rig.head, "lint", "skipped")
    assert rig.look().wants == ("The check `ci/validate` has not passed (pending).",)
    rig.github.set_status(rig.head, "ci/validate", "success", "bob")
    assert rig.look().verdict is MergeVerdict.READY


@pytest.mark.parametrize("source", list(RuleSource))
def test_our_own_status_is_never_wanted(rig: GateRig, source: RuleSource) -> None:
    rig.require(source, checks=("locktender/approval",))
    assert rig.look() == Mergeability(MergeVerdict.READY, rig.head)
    rig.host.ensure_status(rig.head, StatusState.PENDING, "waits for bob")
    assert rig.look() == Mergeability(MergeVerdict.READY, rig.head)
    rig.host.ensure_status(rig.head, StatusState.SUCCESS, "approved")
    assert rig.look() == Mergeability(MergeVerdict.READY, rig.head)


def test_a_branch_behind_its_base_is_told_where_rules_ask_for_that(rig: GateRig) -> None:
    rig.require(checks=("locktender/approval",), strict=True)
    rig.host.ensure_status(rig.head, StatusState.SUCCESS, "approved")
    rig.github.unprotect()
    rig.github.push("main", {"other": "1"}, "bob")
    assert rig.look().verdict is MergeVerdict.READY
    rig.require(checks=("locktender/approval",), strict=True)
    found = rig.look()
    assert (found.verdict, found.wants) == (
        MergeVerdict.BLOCKED,
        ("GitHub wants the branch to hold the newest commits of `main` first.",),
    )


def test_a_conflict_is_told(rig: GateRig) -> None:
    rig.github.push("main", {"environments/production/kustomization.yaml": "tag: 9\n"}, "bob")
    assert rig.look().verdict is MergeVerdict.CONFLICT


def test_one_that_ended_is_told(rig: GateRig) -> None:
    rig.github.merge(rig.number, "alice")
    assert rig.look().verdict is MergeVerdict.ENDED


def test_a_draft_is_told(rig: GateRig) -> None:
    rig.github.pull(rig.number).draft = True
    found = rig.look()
    assert found.verdict is MergeVerdict.BLOCKED
    assert "draft" in found.wants[0]


def test_a_merge_that_is_held_back_names_what_is_wanted(rig: GateRig) -> None:
    rig.require(reviews=1, code_owners=True)
    rig.look()
    fault = refusal(lambda: rig.host.ensure_merged(MergeRequest("d-1", rig.number, rig.head, "x", "")))
    assert fault.reason is ReasonCode.MERGE_BLOCKED
    assert ONE_REVIEW in fault.what
    assert "@company/platform" in fault.what
    assert "At least 1 approving review is required" in fault.detail


def test_a_merge_while_checks_run_is_tried_again(rig: GateRig) -> None:
    rig.require(checks=("ci/validate",))
    rig.look()
    request = MergeRequest("d-1", rig.number, rig.head, "x", "")
    assert retry(lambda: rig.host.ensure_merged(request)).reason is ReasonCode.MERGE_PENDING
    rig.github.set_status(rig.head, "ci/validate", "success", "bob")
    assert rig.host.ensure_merged(request).merge_sha == rig.github.branch("main")


# ---------------------------------------------------------------- states that the stand-in does not have


def blocked_by(*rules: dict[str, Any], state: str = "blocked") -> Callable[[Request], Response]:
    """A GitHub that holds pull request 7 back by these rules of rulesets, and shows nothing else."""

    def answer(request: Request) -> Response:
        path = request.url.path
        if path.endswith("/pulls/7"):
            return JSONResponse(pull(mergeable_state=state))
        if "/rules/branches/" in path:
            return JSONResponse(list(rules))
        if path.endswith("/branches/main"):
            return JSONResponse({"protected": True, "protection": {"enabled": False}})
        return said(403, "Resource not accessible by integration")

    return answer


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("required_signatures", "signed"),
        ("merge_queue", "merge queue"),
        ("required_deployments", "deployment"),
        ("update", "only some people"),
        ("code_scanning", "code scanning"),
        ("something_new", "page of the pull request"),
    ],
)
def test_other_rules_are_told_when_nothing_else_explains_it(rule: str, words: str) -> None:
    with odd_github(blocked_by({"type": rule, "parameters": {"unknown": [1]}})) as odd:
        found = odd.host.mergeability(7)
        assert found.verdict is MergeVerdict.BLOCKED
        assert words in found.wants[0]


def test_open_conversations_are_told() -> None:
    parameters = {"required_approving_review_count": 0, "required_review_thread_resolution": True}
    with odd_github(blocked_by({"type": "pull_request", "parameters": parameters})) as odd:
        assert "conversation" in odd.host.mergeability(7).wants[0]


def test_behind_without_a_rule_that_asks_for_more_is_ready() -> None:
    with odd_github(blocked_by(state="behind")) as odd:
        assert odd.host.mergeability(7).verdict is MergeVerdict.READY


@pytest.mark.parametrize("state", ["unstable", "has_hooks"])
def test_checks_that_nobody_requires_do_not_hold_it_back(state: str) -> None:
    with odd_github(blocked_by(state=state)) as odd:
        assert odd.host.mergeability(7).verdict is MergeVerdict.READY


UPDATE_RULE = {
    "requiredApprovingReviewCount": 1,
    "requiresCodeOwnerReviews": False,
    "requiresConversationResolution": False,
    "requiresSignatures": False,
    "requiredStatusCheckContexts": ["ci/validate", "locktender/approval"],
}


@pytest.mark.parametrize(("prefix", "place"), [("", "/graphql"), ("/api/v3", "/api/graphql")])
def test_a_protection_that_only_administrators_read_is_seen_by_graphql(prefix: str, place: str) -> None:
    def answer(request: Request) -> Response:
        path = request.url.path
        if path == place:
            return JSONResponse({"data": {"repository": {"ref": {"refUpdateRule": UPDATE_RULE}}}})
        if path.endswith("/pulls/7"):
            return JSONResponse(pull(mergeable_state="blocked"))
        if path.endswith("/branches/main") and "rules" not in path:
            return JSONResponse({"protected": True, "protection": {"enabled": True}})
        return JSONResponse([]) if path.endswith(("/reviews", "/rules/branches/main")) else said(404, "Not Found")

    with odd_github(answer, prefix=prefix) as odd:
        found = odd.host.mergeability(7)
        assert found.wants == (ONE_REVIEW, "The check `ci/validate` has not passed (not reported yet).")


@pytest.mark.parametrize("told", [{"data": None, "errors": [{"type": "RATE_LIMITED"}]}, {}, {"data": {}}])
def test_what_graphql_does_not_show_is_left_out(told: dict[str, Any]) -> None:
    def answer(request: Request) -> Response:
        if request.url.path == "/graphql":
            return JSONResponse(told)
        if request.url.path.endswith("/repos/company/infra/branches/main"):
            return JSONResponse({"protected": True, "protection": {"enabled": True}})
        return blocked_by()(request)

    with odd_github(answer) as odd:
        assert odd.host.mergeability(7).verdict is MergeVerdict.BLOCKED
        assert ("POST", "/graphql") in odd.calls


def test_what_may_not_be_read_is_left_out() -> None:
    """Neither rules, reviews nor checks: still an answer, and no fault."""

    def answer(request: Request) -> Response:
        if request.url.path.endswith("/pulls/7"):
            return JSONResponse(pull(mergeable_state="blocked"))
        return said(403, "Resource not accessible by integration")

    with odd_github(answer) as odd:
        assert odd.host.mergeability(7).verdict is MergeVerdict.BLOCKED


# ---------------------------------------------------------------- CODEOWNERS


@pytest.mark.parametrize(
    ("pattern", "path", "hits"),
    [
        ("*", "a/b.txt", True),
        ("*.js", "a/b.js", True),
        ("*.js", "a/b.ts", False),
        ("/build/logs/", "build/logs/today/x", True),
        ("/build/logs/", "src/build/logs/x", False),
        ("docs/*", "docs/a.md", True),
        ("docs/*", "docs/build/a.md", False),
        ("docs/*", "src/docs/a.md", False),
        ("apps/", "x/apps/y/z", True),
        ("apps/", "apps", False),
        ("/apps", "apps/web/x", True),
        ("**/logs", "a/b/logs/x", True),
        ("**/logs", "logs", True),
        ("a/**/z", "a/z", True),
        ("a/**/z", "a/b/c/z", True),
        ("/env/**", "env/prod/x", True),
        ("/env/**", "envy/x", False),
        ("a.b", "axb", False),
        ("a+b(c)", "x/a+b(c)", True),
        (r"with\ space/", "with space/x", True),
        ("!a", "a", False),
        ("[ab]", "a", False),
        ("Env/", "env/x", False),
    ],
)
def test_patterns_mean_what_github_says(pattern: str, path: str, *, hits: bool) -> None:
    assert bool(owned(f"{pattern} @alice\n", [path])) is hits


def test_the_last_line_that_matches_decides() -> None:
    text = "* @a\n/env/ @b @c # and a comment\n/env/dev/\n"
    assert [one.owners for one in owned(text, ["env/x"])] == [("@b", "@c")]
    assert owned(text, ["env/dev/x"]) == ()
    assert [one.pattern for one in owned(text, ["x", "env/x", "env/y"])] == ["*", "/env/"]


@pytest.mark.parametrize("text", ["", "\n\n", "#", "# * @a", "/x", "\\", "/ @a", "\x00 @a"])
def test_odd_files_own_nothing(text: str) -> None:
    assert owned(text, ["x"]) == ()
