"""Branch protection in the GitHub stand-in: what blocks a merge and in which words, CODEOWNERS, and stale approvals.

Left out: the shape of the answers (`test_github_stand_in_contract.py`).
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bot.sandbox.github import BOT, GitHubError, Rules
from bot.sandbox.github_model import RuleSource
from bot.sandbox.github_rules import owners_of, parse_owners
from tests.contract.github_stand_in_rig import FILE, REST, TOKEN, Subject, served

ONE_REVIEW = "At least 1 approving review is required by reviewers with write access."


@pytest.fixture
def subject(tmp_path: Path) -> Iterator[Subject]:
    with served(tmp_path) as subject:
        yield subject


def refused(subject: Subject, number: int) -> str:
    """GitHub's words when the merge is asked for."""
    answer = subject.merge(number)
    assert answer.status_code == 405
    assert not subject.github.pull(number).merged
    return str(answer.json()["message"])


def test_a_missing_review_blocks_until_somebody_else_approves(subject: Subject) -> None:
    subject.github.require(reviews=1)
    number = subject.open()
    assert subject.github.mergeable(number) == "blocked"
    assert refused(subject, number) == ONE_REVIEW
    for login in ("octo-reader", "octo-stranger"):  # who may not write does not count
        subject.github.review(number, login, "APPROVE")
    assert refused(subject, number) == ONE_REVIEW
    subject.github.review(number, "octo-lead", "APPROVE")
    assert subject.github.mergeable(number) == "clean"
    assert subject.merge(number).status_code == 200


def test_two_reviews_are_two_people(subject: Subject) -> None:
    subject.github.require(reviews=2)
    number = subject.open()
    for _ in range(2):
        subject.github.review(number, "octo-lead", "APPROVE")
    assert refused(subject, number) == "At least 2 approving reviews are required by reviewers with write access."
    subject.github.review(number, "octo-dev", "APPROVE")
    assert subject.merge(number).status_code == 200


def test_a_refusal_blocks_until_its_author_takes_it_back_or_it_is_dismissed(subject: Subject) -> None:
    subject.github.require(reviews=1)
    number = subject.open()
    subject.github.review(number, "octo-lead", "APPROVE")
    review = subject.github.review(number, "octo-dev", "REQUEST_CHANGES", "no")
    subject.github.review(number, "octo-dev", "COMMENT", "still no")  # a comment takes nothing back
    assert refused(subject, number) == "1 review requesting changes by reviewers with write access."
    subject.github.dismiss(number, review.id, "octo-admin")
    assert subject.merge(number).status_code == 200


def test_a_push_dismisses_approvals_where_the_rules_say_so(subject: Subject) -> None:
    subject.github.require(reviews=1, dismiss_stale=True)
    number = subject.open()
    subject.github.review(number, "octo-lead", "APPROVE")
    subject.github.push("deploy/1", {FILE: "sneaked in\n"}, BOT)
    assert [review["state"] for review in subject.get(f"{REST}/pulls/{number}/reviews")] == ["DISMISSED"]
    assert refused(subject, number) == ONE_REVIEW


def test_a_push_keeps_approvals_where_the_rules_do_not(subject: Subject) -> None:
    subject.github.require(reviews=1)
    number = subject.open()
    subject.github.review(number, "octo-lead", "APPROVE")
    subject.github.push("deploy/1", {FILE: "sneaked in\n"}, BOT)
    assert subject.merge(number).status_code == 200


def test_the_last_pusher_cannot_be_the_only_one_to_approve(subject: Subject) -> None:
    subject.github.require(reviews=1, last_push=True)
    number = subject.open()
    subject.github.push("deploy/1", {FILE: "mine\n"}, "octo-lead")
    subject.github.review(number, "octo-lead", "APPROVE")
    assert refused(subject, number) == "New changes require approval from someone other than the last pusher."
    subject.github.review(number, "octo-dev", "APPROVE")
    assert subject.merge(number).status_code == 200


def test_code_owners_are_asked_named_and_needed(subject: Subject) -> None:
    owners = "* @octo-dev\n/environments/production/ @company/platform @octo-admin\n"
    subject.github.push("main", {".github/CODEOWNERS": owners}, "octo-dev")
    subject.github.require(reviews=1, code_owners=True)
    number = subject.open()
    asked = subject.get(f"{REST}/pulls/{number}/requested_reviewers")
    assert [team["slug"] for team in asked["teams"]] == ["platform"]
    assert [user["login"] for user in asked["users"]] == ["octo-admin"]
    subject.github.review(number, "octo-dev", "APPROVE")  # counts, and owns nothing of this
    assert refused(subject, number) == "Waiting on code owner review from company/platform and/or octo-admin."
    subject.github.review(number, "octo-lead", "APPROVE")  # in the team
    assert subject.merge(number).status_code == 200


def test_owners_are_read_from_the_base_not_from_the_branch_under_review(subject: Subject) -> None:
    subject.github.push("main", {"CODEOWNERS": "* @octo-lead\n"}, "octo-dev")
    subject.github.require(reviews=1, code_owners=True)
    number = subject.open()
    subject.github.push("deploy/1", {"CODEOWNERS": "* @octo-dev\n"}, BOT)
    subject.github.review(number, "octo-dev", "APPROVE")
    assert refused(subject, number) == "Waiting on code owner review from octo-lead."


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({}, 'Required status check "ci" is expected.'),
        ({"ci": "pending"}, 'Required status check "ci" is pending.'),
        ({"ci": "failure"}, 'Required status check "ci" is failing.'),
        ({"ci": "error"}, 'Required status check "ci" is errored.'),
        ({"other": "success"}, 'Required status check "ci" is expected.'),
    ],
)
def test_a_required_check_is_named(subject: Subject, said: dict[str, str], words: str) -> None:
    subject.github.require(checks=("ci",))
    number = subject.open()
    for context, state in said.items():
        subject.github.set_status(subject.head(number), context, state, "octo-dev")
    assert refused(subject, number) == words


def test_several_checks_are_counted_not_named(subject: Subject) -> None:
    subject.github.require(reviews=1, checks=("ci", "lint", "scan"))
    number = subject.open()
    head = subject.head(number)
    assert refused(subject, number) == f"{ONE_REVIEW} 3 of 3 required status checks are expected."
    subject.github.set_status(head, "ci", "success", "octo-dev")
    subject.github.set_check(head, "lint", "")
    words = "2 of 3 required status checks have not succeeded: 1 in progress and 1 expected."
    assert refused(subject, number) == f"{ONE_REVIEW} {words}"


def test_checks_count_on_the_head_alone(subject: Subject) -> None:
    subject.github.require(checks=("ci",))
    number = subject.open()
    subject.github.set_status(subject.head(number), "ci", "success", "octo-dev")
    assert subject.github.mergeable(number) == "clean"
    subject.github.push("deploy/1", {FILE: "later\n"}, BOT)
    assert refused(subject, number) == 'Required status check "ci" is expected.'


def test_a_check_nobody_requires_makes_it_unstable_but_mergeable(subject: Subject) -> None:
    number = subject.open()
    subject.github.set_check(subject.head(number), "lint", "failure")
    assert subject.github.mergeable(number) == "unstable"
    assert subject.merge(number).status_code == 200


def test_strict_rules_want_the_newest_base(subject: Subject) -> None:
    subject.github.protect(Rules(strict=True, enforce_admins=False))
    number = subject.open()
    assert subject.github.mergeable(number) == "clean"
    subject.github.push("main", {"README.md": "moved\n"}, "octo-admin")
    assert subject.github.mergeable(number) == "behind"
    assert refused(subject, number) == "The head branch is not up to date with the base branch."


def test_administrators_are_spared_only_where_the_rules_say_so(subject: Subject) -> None:
    subject.github.protect(Rules(reviews=1))
    number = subject.open()
    with pytest.raises(GitHubError, match="At least 1 approving review"):
        subject.github.merge(number, "octo-admin")
    with pytest.raises(GitHubError, match="GH006"):
        subject.github.push("main", {"README.md": "by hand\n"}, "octo-admin")
    subject.github.protect(Rules(reviews=1, enforce_admins=False))
    with pytest.raises(GitHubError, match="At least 1 approving review"):
        subject.github.merge(number, "octo-dev")
    subject.github.push("main", {"README.md": "by hand\n"}, "octo-admin")
    subject.github.merge(number, "octo-admin")


def test_a_ruleset_words_its_refusal_in_its_own_way(subject: Subject) -> None:
    subject.github.protect(Rules(reviews=1, checks=("ci",), source=RuleSource.RULESET))
    number = subject.open()
    words = f'Repository rule violations found\n\n{ONE_REVIEW}\n\nRequired status check "ci" is expected.'
    assert refused(subject, number) == words
    kinds = [rule["type"] for rule in subject.get(f"{REST}/rules/branches/main")]
    assert kinds == ["pull_request", "required_status_checks"]
    answer = subject.call("GET", f"{REST}/branches/main/protection", token="token-octo-admin")
    assert (answer.status_code, answer.json()["message"]) == (404, "Branch not protected")


def test_only_administrators_see_the_protection_and_everyone_the_required_checks(subject: Subject) -> None:
    subject.github.require(reviews=2, checks=("ci",), code_owners=True, dismiss_stale=True)
    path = f"{REST}/branches/main/protection"
    assert subject.call("GET", path).json()["message"] == "Not Found"
    told = subject.get(path, token="token-octo-admin")
    assert told["required_pull_request_reviews"]["required_approving_review_count"] == 2
    assert told["required_pull_request_reviews"]["dismiss_stale_reviews"] is True
    assert told["enforce_admins"]["enabled"] is True
    seen = subject.get(f"{REST}/branches/main")
    assert seen["protected"] is True
    assert seen["protection"]["required_status_checks"]["contexts"] == ["ci"]
    assert subject.get(f"{REST}/rules/branches/main") == []  # classic protection is no ruleset


@pytest.mark.parametrize("path", ["/graphql", "/api/graphql"])
def test_graphql_shows_more_of_the_protection_to_those_who_are_no_administrators(subject: Subject, path: str) -> None:
    subject.github.require(reviews=2, checks=("ci",), code_owners=True)
    fields = "requiredApprovingReviewCount requiresCodeOwnerReviews requiredStatusCheckContexts"

    def ask(fields: str, ref: str = "refs/heads/main", token: str = TOKEN) -> Any:
        query = (
            "query ($owner: String!, $name: String!, $ref: String!) { repository(owner: $owner, name: $name) "
            f"{{ ref(qualifiedName: $ref) {{ refUpdateRule {{ {fields} }} }} }} }}"
        )
        body = {"query": query, "variables": {"owner": "company", "name": "infra", "ref": ref}}
        return subject.call("POST", path, body, token=token).json()

    rule = ask(fields)["data"]["repository"]["ref"]["refUpdateRule"]
    assert list(rule.values()) == [2, True, ["ci"]]
    assert ask(fields, "refs/heads/nowhere") == {"data": {"repository": {"ref": None}}}
    assert "Could not resolve" in ask(fields, token="token-octo-stranger")["errors"][0]["message"]
    assert "requiresMagic" in ask("requiresMagic")["errors"][0]["message"]
    assert ask("(")["errors"]
    subject.github.protect(Rules(reviews=2, source=RuleSource.RULESET))
    assert ask(fields)["data"]["repository"]["ref"]["refUpdateRule"] is None
    subject.github.settings.graphql = False
    assert subject.call("POST", path, {"query": "{ repository }"}).status_code == 404


def test_a_protected_branch_cannot_be_deleted(subject: Subject) -> None:
    subject.github.require()
    answer = subject.call("DELETE", f"{REST}/git/refs/heads/main")
    assert (answer.status_code, answer.json()["message"]) == (422, "Cannot delete this protected ref")


# ---------------------------------------------------------------- CODEOWNERS, line by line


@pytest.mark.parametrize(
    ("pattern", "inside", "outside"),
    [
        ("*", ("a", "a/b/c"), ()),
        ("*.yaml", ("a.yaml", "x/a.yaml"), ("a.yml", "a.yaml.txt")),
        ("/build/", ("build/x", "build/x/y"), ("other/build/x", "build")),
        ("docs/*", ("docs/a",), ("docs/a/b", "x/docs/a")),
        ("apps/", ("apps/a", "x/apps/a"), ("apps.yaml",)),
        ("/docs", ("docs", "docs/a/b"), ("x/docs",)),
        ("**/logs", ("logs/x", "a/b/logs/x"), ("logs.txt",)),
        ("/apps/**/prod/", ("apps/prod/x", "apps/a/b/prod/x"), ("apps/a/dev/x",)),
        ("/a?c", ("abc",), ("a/c", "abbc")),
        ("/a.c", ("a.c",), ("abc",)),
    ],
)
def test_patterns_match_as_gitignores_do(pattern: str, inside: tuple[str, ...], outside: tuple[str, ...]) -> None:
    rules = parse_owners(f"{pattern} @octo-lead")
    assert [path for path in inside if owners_of(rules, path) != ("octo-lead",)] == []
    assert [path for path in outside if owners_of(rules, path)] == []


def test_the_last_line_that_matches_says_who_and_may_say_nobody() -> None:
    rules = parse_owners("# who\n* @a @company/b # everything\n\n/docs/ c@example.com\n/docs/free\n")
    assert owners_of(rules, "x") == ("a", "company/b")
    assert owners_of(rules, "docs/x") == ("c@example.com",)
    assert owners_of(rules, "docs/free") == ()
