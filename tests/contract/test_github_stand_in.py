"""The GitHub stand-in's pull requests: what opens, merges, closes and is refused, with GitHub's status and words.

Left out: whether every answer has GitHub's shape (`test_github_stand_in_contract.py`), branch protection
(`..._rules.py`), tokens and limits (`..._edge.py`), webhooks (`..._webhooks.py`).
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import github as pygithub
import pytest

from bot.sandbox.github import BOT, GitHubError
from tests.contract.git_rig import git
from tests.contract.github_stand_in_rig import FILE, REPOSITORY, REST, TOKEN, Subject, served


@pytest.fixture
def subject(tmp_path: Path) -> Iterator[Subject]:
    with served(tmp_path) as subject:
        yield subject


# ---------------------------------------------------------------- open


@pytest.mark.parametrize("prefix", ["", "/api/v3"])
def test_pygithub_opens_looks_and_merges(subject: Subject, prefix: str) -> None:
    subject.github.push("deploy/1", {FILE: 'newTag: "1.4.2"\n'}, BOT)
    with pygithub.Github(
        base_url=subject.url + prefix,
        auth=pygithub.Auth.Token(TOKEN),
        seconds_between_requests=0,
        seconds_between_writes=0,
        retry=None,
    ) as client:
        repository = client.get_repo(REPOSITORY)
        pull = repository.create_pull(base="main", head="deploy/1", title="Deploy", body="from to")
        pull.create_issue_comment("hello")
        pull.edit(title="Deploy web")
        assert repository.get_pull(1).mergeable
        done = repository.get_pull(1).merge(
            sha=pull.head.sha, commit_title="Deploy web", commit_message="Deployment-Id: 1"
        )
        assert done.merged
        merged = repository.get_pull(1)
        assert (merged.merged, merged.merge_commit_sha, merged.merged_by.login) == (True, done.sha, BOT)
        assert repository.get_branch("main").commit.sha == done.sha
        assert [file.filename for file in merged.get_files()] == [FILE]


def test_a_second_request_from_the_same_branch_is_refused(subject: Subject) -> None:
    subject.open()
    answer = subject.call("POST", f"{REST}/pulls", {"title": "Again", "head": "deploy/1", "base": "main"})
    assert answer.status_code == 422
    assert answer.json()["message"] == "Validation Failed"
    message = "A pull request already exists for company:deploy/1."
    assert answer.json()["errors"] == [{"resource": "PullRequest", "code": "custom", "message": message}]


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ({"head": "nowhere"}, {"field": "head", "code": "invalid"}),
        ({"base": "nowhere"}, {"field": "base", "code": "invalid"}),
        ({"head": "stranger:deploy/1"}, {"field": "head", "code": "invalid"}),
        ({"head": "same"}, {"code": "custom", "message": "No commits between main and same"}),
        ({"title": ""}, {"field": "title", "code": "missing_field"}),
        ({"title": 7}, {"field": "title", "code": "invalid"}),
    ],
)
def test_what_cannot_be_opened_says_why(subject: Subject, words: dict[str, Any], error: dict[str, str]) -> None:
    subject.github.push("deploy/1", {FILE: "x\n"}, BOT)
    git("branch", "same", "main", cwd=subject.git.path(REPOSITORY))
    answer = subject.call("POST", f"{REST}/pulls", {"title": "T", "head": "deploy/1", "base": "main", **words})
    assert answer.status_code == 422
    assert answer.json()["errors"] == [{"resource": "PullRequest", **error}]


def test_requests_are_found_by_head_state_and_base(subject: Subject) -> None:
    first, second = subject.open("deploy/1"), subject.open("deploy/2")
    subject.github.close(first, "octo-dev")

    def numbers(query: str) -> list[int]:
        return [pull["number"] for pull in subject.get(f"{REST}/pulls{query}")]

    assert numbers("") == [second]
    assert numbers("?state=all") == [second, first]
    assert numbers("?state=all&head=company:deploy/1") == [first]
    assert numbers("?head=company:deploy/1") == []
    assert numbers("?state=all&base=other") == []
    # A head without its owner is not understood; GitHub then lists everything.
    assert numbers("?state=all&head=deploy/1") == [second, first]


def test_mergeability_is_worked_out_after_the_first_look(subject: Subject) -> None:
    number = subject.open()  # opening is a look by itself
    assert subject.get(f"{REST}/pulls/{number}")["mergeable_state"] == "clean"
    subject.github.push("main", {"README.md": "moved\n"}, "octo-dev")
    first, second = (subject.get(f"{REST}/pulls/{number}") for _ in range(2))
    assert (first["mergeable"], first["mergeable_state"]) == (None, "unknown")
    assert (second["mergeable"], second["mergeable_state"]) == (True, "clean")


def test_the_recorded_base_stays_while_the_branch_moves(subject: Subject) -> None:
    number = subject.open()
    before = subject.get(f"{REST}/pulls/{number}")["base"]["sha"]
    subject.github.push("main", {"README.md": "moved\n"}, "octo-dev")
    assert subject.get(f"{REST}/pulls/{number}")["base"]["sha"] == before
    subject.github.push("deploy/1", {FILE: "again\n"}, BOT)
    assert subject.get(f"{REST}/pulls/{number}")["base"]["sha"] == subject.github.branch("main")


# ---------------------------------------------------------------- merge


def test_a_merge_commit_is_by_the_merger_and_committed_by_github(subject: Subject) -> None:
    number = subject.open()
    tip, head = subject.github.branch("main"), subject.head(number)
    sha = subject.merge(number, sha=head).json()["sha"]
    log = git("show", "-s", "--format=%P|%an|%cn <%ce>|%s|%b", sha, cwd=subject.git.path(REPOSITORY))
    subject_line = f"Merge pull request #{number} from company/deploy/1"
    assert log == f"{tip} {head}|{BOT}|GitHub <noreply@github.com>|{subject_line}|Deploy web 1.4.2"
    assert git("show", f"{sha}:{FILE}", cwd=subject.git.path(REPOSITORY)) == 'newTag: "deploy/1"'


def test_the_words_of_a_merge_can_be_given(subject: Subject) -> None:
    number = subject.open()
    sha = subject.merge(number, commit_title="Deploy web", commit_message="Body\n\nDeployment-Id: d1").json()["sha"]
    shown = git("show", "-s", "--format=%B", sha, cwd=subject.git.path(REPOSITORY))
    assert shown == "Deploy web\n\nBody\n\nDeployment-Id: d1"


def test_a_squash_is_one_commit_by_whoever_opened_and_thanks_the_others(subject: Subject) -> None:
    number = subject.open()
    subject.github.push("deploy/1", {"more": "x\n"}, "octo-dev", message="More")
    sha = subject.merge(number, merge_method="squash").json()["sha"]
    bare = subject.git.path(REPOSITORY)
    assert git("show", "-s", "--format=%an|%s", sha, cwd=bare) == f"{BOT}|Deploy web 1.4.2 (#{number})"
    trailer = git("show", "-s", "--format=%(trailers:key=Co-authored-by,valueonly)", sha, cwd=bare)
    assert trailer.strip() == "octo-dev <octo-dev@company.example>"
    assert len(git("show", "-s", "--format=%P", sha, cwd=bare).split()) == 1


def test_a_rebase_makes_every_commit_again_on_the_moved_base(subject: Subject) -> None:
    number = subject.open()
    old = subject.head(number)
    subject.github.push("main", {"README.md": "moved\n"}, "octo-dev")
    sha = subject.merge(number, merge_method="rebase", token="token-octo-lead").json()["sha"]
    bare = subject.git.path(REPOSITORY)
    assert sha != old
    assert git("show", "-s", "--format=%an|%cn", sha, cwd=bare) == f"{BOT}|octo-lead"
    assert git("show", f"{sha}:README.md", cwd=bare) == "moved"
    assert git("show", f"{sha}:{FILE}", cwd=bare) == 'newTag: "deploy/1"'


def test_a_merge_with_another_head_is_a_conflict(subject: Subject) -> None:
    number = subject.open()
    approved = subject.head(number)
    subject.github.push("deploy/1", {FILE: "sneaked in\n"}, "octo-dev")
    answer = subject.merge(number, sha=approved)
    assert answer.status_code == 409
    assert answer.json()["message"] == "Head branch was modified. Review and try the merge again."
    assert not subject.github.pull(number).merged


def test_a_second_merge_is_refused_and_makes_nothing(subject: Subject) -> None:
    number = subject.open()
    done = subject.merge(number).json()["sha"]
    answer = subject.merge(number)
    assert (answer.status_code, answer.json()["message"]) == (405, "Pull Request is not mergeable")
    assert subject.github.branch("main") == done


def test_a_conflict_is_dirty_and_not_merged(subject: Subject) -> None:
    number = subject.open()
    subject.github.push("main", {FILE: "something else\n"}, "octo-dev")
    subject.get(f"{REST}/pulls/{number}")
    told = subject.get(f"{REST}/pulls/{number}")
    assert (told["mergeable"], told["mergeable_state"]) == (False, "dirty")
    for method in ("merge", "squash", "rebase"):
        answer = subject.merge(number, merge_method=method)
        assert (answer.status_code, answer.json()["message"]) == (405, "Pull Request is not mergeable")


@pytest.mark.parametrize(
    ("method", "words"),
    [
        ("merge", "Merge commits are not allowed on this repository."),
        ("squash", "Squash merges are not allowed on this repository."),
        ("rebase", "Rebase merges are not allowed on this repository."),
    ],
)
def test_a_method_that_is_off_is_refused(subject: Subject, method: str, words: str) -> None:
    number = subject.open()
    settings = subject.github.settings
    settings.merge = settings.squash = settings.rebase = False
    answer = subject.merge(number, merge_method=method)
    assert (answer.status_code, answer.json()["message"]) == (405, words)


def test_drafts_and_unknown_methods_are_refused(subject: Subject) -> None:
    number = subject.open()
    assert subject.merge(number, merge_method="fast-forward").status_code == 422
    subject.github.pull(number).draft = True
    answer = subject.merge(number)
    assert (answer.status_code, answer.json()["message"]) == (405, "Pull Request is still a draft")
    assert subject.merge(99).status_code == 404


# ---------------------------------------------------------------- what pushes do


def test_a_branch_that_goes_away_closes_its_request(subject: Subject) -> None:
    number = subject.open()
    assert subject.call("DELETE", f"{REST}/git/refs/heads/deploy/1").status_code == 204
    told = subject.get(f"{REST}/pulls/{number}")
    assert (told["state"], told["merged"]) == ("closed", False)
    assert subject.call("DELETE", f"{REST}/git/refs/heads/deploy/1").status_code == 422
    with pytest.raises(GitHubError, match="branch has been deleted"):
        subject.github.reopen(number, "octo-dev")


def test_a_head_that_is_pushed_into_the_base_is_merged_by_the_pusher(subject: Subject) -> None:
    number = subject.open()
    subject.github.force("main", subject.head(number), "octo-dev")
    told = subject.get(f"{REST}/pulls/{number}")
    assert (told["state"], told["merged"], told["merged_by"]["login"]) == ("closed", True, "octo-dev")
    assert told["merge_commit_sha"] == subject.head(number)


def test_a_ref_moved_behind_the_stand_ins_back_is_noticed(subject: Subject) -> None:
    number = subject.open()
    new = git("commit-tree", "main^{tree}", "-p", "deploy/1", "-m", "sneak", cwd=subject.git.path(REPOSITORY))
    git("update-ref", "refs/heads/deploy/1", new, cwd=subject.git.path(REPOSITORY))
    assert subject.get(f"{REST}/pulls/{number}")["head"]["sha"] == new


def test_closing_and_opening_again(subject: Subject) -> None:
    number = subject.open()
    assert subject.call("PATCH", f"{REST}/pulls/{number}", {"state": "closed"}).json()["state"] == "closed"
    assert subject.call("PATCH", f"{REST}/pulls/{number}", {"state": "closed"}).json()["state"] == "closed"
    assert subject.merge(number).status_code == 405
    assert subject.call("PATCH", f"{REST}/pulls/{number}", {"state": "open"}).json()["state"] == "open"
    assert subject.merge(number).status_code == 200
    answer = subject.call("PATCH", f"{REST}/pulls/{number}", {"state": "open"})
    assert answer.status_code == 422


def test_merged_requests_keep_their_commits_and_files(subject: Subject) -> None:
    number = subject.open()
    subject.merge(number)
    assert len(subject.get(f"{REST}/pulls/{number}/commits")) == 1
    assert [file["filename"] for file in subject.get(f"{REST}/pulls/{number}/files")] == [FILE]
    told = subject.get(f"{REST}/pulls/{number}")
    assert (told["commits"], told["additions"], told["deletions"], told["changed_files"]) == (1, 1, 1, 1)


# ---------------------------------------------------------------- reviews and comments


def test_the_author_can_neither_approve_nor_refuse(subject: Subject) -> None:
    number = subject.open()
    for event, words in (("APPROVE", "approve"), ("REQUEST_CHANGES", "request changes on")):
        answer = subject.call("POST", f"{REST}/pulls/{number}/reviews", {"event": event, "body": "me"})
        assert answer.status_code == 422
        assert answer.json()["errors"] == [f"Can not {words} your own pull request"]
    assert subject.call("POST", f"{REST}/pulls/{number}/reviews", {"event": "COMMENT", "body": "me"}).is_success


def test_a_review_keeps_the_head_it_was_given_on(subject: Subject) -> None:
    number = subject.open()
    head = subject.head(number)
    subject.github.review(number, "octo-lead", "APPROVE")
    subject.github.push("deploy/1", {FILE: "later\n"}, BOT)
    review = subject.get(f"{REST}/pulls/{number}/reviews")[0]
    assert (review["state"], review["commit_id"], review["user"]["login"]) == ("APPROVED", head, "octo-lead")


def test_a_refusal_needs_words_and_a_dismissal_a_message(subject: Subject) -> None:
    number = subject.open()
    with pytest.raises(GitHubError, match="blank"):
        subject.github.review(number, "octo-lead", "REQUEST_CHANGES")
    review = subject.github.review(number, "octo-lead", "APPROVE")
    path = f"{REST}/pulls/{number}/reviews/{review.id}/dismissals"
    assert subject.call("PUT", path, {"message": ""}).status_code == 422
    assert subject.call("PUT", path, {"message": "late"}).json()["state"] == "DISMISSED"
    answer = subject.call("PUT", path, {"message": "late"})
    assert answer.status_code == 422


def test_a_review_that_is_not_submitted_is_its_authors_own(subject: Subject) -> None:
    number = subject.open()
    path = f"{REST}/pulls/{number}/reviews"
    assert subject.call("POST", path, {"body": "thinking"}, token="token-octo-lead").json()["state"] == "PENDING"
    assert subject.get(path) == []
    assert len(subject.get(path, token="token-octo-lead")) == 1
    assert subject.call("POST", path, {"body": "again"}, token="token-octo-lead").status_code == 422


def test_reviewers_are_asked_and_taken_off_once_they_have_spoken(subject: Subject) -> None:
    number = subject.open()
    path = f"{REST}/pulls/{number}/requested_reviewers"
    assert subject.call("POST", path, {"reviewers": [BOT]}).status_code == 422
    assert subject.call("POST", path, {"reviewers": ["octo-stranger"]}).status_code == 422
    body = {"reviewers": ["octo-dev"], "team_reviewers": ["platform"]}
    assert subject.call("POST", path, body).status_code == 201
    asked = subject.get(path)
    assert [user["login"] for user in asked["users"]] == ["octo-dev"]
    assert [team["slug"] for team in asked["teams"]] == ["platform"]
    subject.github.review(number, "octo-lead", "COMMENT", "hm")
    subject.github.review(number, "octo-dev", "APPROVE")
    assert subject.get(path) == {"users": [], "teams": []}


def test_who_closed_it_is_told_where_it_is_shown_as_an_issue_alone(subject: Subject) -> None:
    number = subject.open()
    issue = f"{REST}/issues/{number}"
    assert subject.get(issue)["closed_by"] is None
    subject.github.close(number, "octo-dev")
    assert subject.get(issue)["closed_by"]["login"] == "octo-dev"
    assert "closed_by" not in subject.get(f"{REST}/pulls/{number}")
    assert subject.call("GET", f"{REST}/issues/4711").status_code == 404


def test_comments_are_written_read_and_written_anew(subject: Subject) -> None:
    number = subject.open()
    made = subject.call("POST", f"{REST}/issues/{number}/comments", {"body": "one"}).json()
    subject.call("PATCH", f"{REST}/issues/comments/{made['id']}", {"body": "two"})
    assert [comment["body"] for comment in subject.get(f"{REST}/issues/{number}/comments")] == ["two"]
    assert subject.call("POST", f"{REST}/issues/{number}/comments", {"body": ""}).status_code == 422
    foreign = subject.call("PATCH", f"{REST}/issues/comments/{made['id']}", {"body": "x"}, token="token-octo-reader")
    assert foreign.status_code == 403
    assert subject.call("DELETE", f"{REST}/issues/comments/{made['id']}").status_code == 204
    assert subject.get(f"{REST}/issues/{number}/comments") == []
