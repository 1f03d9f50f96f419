"""Checks the GitHub adapter against the stand-in over real git: every call, every `ensure_` twice, lost answers.

Leaves out errors that the stand-in does not make: `test_github_host_trouble.py`; and what GitHub still wants before it
merges: `test_github_host_wants.py`.
"""

import logging
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from bot.integrations.github.host import GitHubHost
from bot.integrations.github.login import AppKey
from bot.sandbox.github import App
from bot.sandbox.server import Fault, Misbehaviour
from commands.code_host import MergeRequest, PullRequestDraft, PullState, StatusState, Verdict
from commands.reasons import ReasonCode
from tests.contract.github_rig import REPOSITORY, TOKEN, GitHubRig, refusal, retry

BRANCH = "deploy/d-1"
DRAFT = PullRequestDraft("d-1", BRANCH, "Deploy web 1.4.2 to production", "Asked for by Alice.\n\n* web\n")
LOST = [Misbehaviour.DROP_AFTER, Misbehaviour.FAIL_AFTER]


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[GitHubRig]:
    with GitHubRig(tmp_path) as made:
        made.github.push(BRANCH, {"environments/production/kustomization.yaml": "tag: 1.4.2\n"}, "alice")
        yield made


def merge_of(rig: GitHubRig, number: int) -> MergeRequest:
    head = rig.github.pull(number).head_sha
    return MergeRequest("d-1", number, head, "Deploy web 1.4.2", "Deployment-Id: d-1\nRequested-by: Alice")


# ---------------------------------------------------------------- opening


def test_a_pull_request_is_opened_once(rig: GitHubRig) -> None:
    first = rig.host.ensure_pull_request(DRAFT)
    again = rig.host.ensure_pull_request(DRAFT)
    assert first == again
    assert (first.state, first.head_branch, first.base_branch) == (PullState.OPEN, BRANCH, "main")
    assert first.head_sha == rig.github.branch(BRANCH)
    assert (first.merge_sha, first.ended_by, first.draft) == ("", "", False)
    assert [(one.title, one.body) for one in rig.github.pulls()] == [(DRAFT.title, DRAFT.body)]
    assert rig.count("POST") == 1
    assert rig.count("PATCH") == 0


@pytest.mark.parametrize("kind", LOST)
def test_an_opening_whose_answer_is_lost_is_found(rig: GitHubRig, kind: Misbehaviour) -> None:
    rig.github.faults.add(Fault("POST", r".*/pulls", kind))
    assert retry(lambda: rig.host.ensure_pull_request(DRAFT)).reason is ReasonCode.HOST_UNREACHABLE
    assert rig.host.ensure_pull_request(DRAFT).number == rig.github.pulls()[0].number
    assert len(rig.github.pulls()) == 1


def test_an_open_one_gets_title_and_body(rig: GitHubRig) -> None:
    number = rig.host.ensure_pull_request(DRAFT).number
    rig.host.ensure_pull_request(PullRequestDraft("d-1", BRANCH, "Another title", "Another body"))
    assert (rig.github.pull(number).title, rig.github.pull(number).body) == ("Another title", "Another body")
    assert rig.count("PATCH") == 1


def test_one_that_was_closed_is_found_and_left_closed(rig: GitHubRig) -> None:
    number = rig.host.ensure_pull_request(DRAFT).number
    rig.github.close(number, "alice")
    found = rig.host.ensure_pull_request(DRAFT)
    assert (found.number, found.state) == (number, PullState.CLOSED)
    assert len(rig.github.pulls()) == 1


def test_one_that_was_merged_is_found_with_who_merged_it(rig: GitHubRig) -> None:
    number = rig.host.ensure_pull_request(DRAFT).number
    merged = rig.github.merge(number, "Alice")
    found = rig.host.ensure_pull_request(DRAFT)
    assert (found.number, found.state, found.merge_sha) == (number, PullState.MERGED, merged)
    assert found.ended_by == "alice"


def test_an_open_one_comes_before_those_that_ended(rig: GitHubRig) -> None:
    first = rig.host.ensure_pull_request(DRAFT).number
    rig.github.close(first, "alice")
    second = rig.github.open("alice", BRANCH, "Again").number
    assert rig.host.ensure_pull_request(DRAFT).number == second


def test_a_branch_without_changes_opens_nothing(rig: GitHubRig) -> None:
    rig.github.force(BRANCH, rig.github.branch("main") or "", "alice")
    fault = refusal(lambda: rig.host.ensure_pull_request(DRAFT))
    assert fault.reason is ReasonCode.HOST_REFUSED
    assert "nothing that its base does not have" in fault.what


def test_a_long_body_is_cut_where_github_takes_it(rig: GitHubRig) -> None:
    body = "<details>\n\n```diff\n" + "+ a line of a diff 😀\n" * 6000 + "```\n\n</details>\n"
    number = rig.host.ensure_pull_request(PullRequestDraft("d-1", BRANCH, "T" * 300, body)).number
    kept = rig.github.pull(number).body or ""
    assert 60_000 < len(kept.encode("utf-16-le")) // 2 <= 65_536
    assert kept.count("```") == 2
    assert "\n\n</details>" in kept
    assert "was cut here" in kept


# ---------------------------------------------------------------- reading


def test_a_pull_request_that_is_not_there_is_refused(rig: GitHubRig) -> None:
    assert "#99" in refusal(lambda: rig.host.pull_request(99)).what


def test_reviews_are_told_oldest_first_with_the_head_they_were_given_on(rig: GitHubRig) -> None:
    number = rig.host.ensure_pull_request(DRAFT).number
    first_head = rig.github.branch(BRANCH)
    rig.github.review(number, "Alice", "COMMENT", "hm")
    rig.github.review(number, "bob", "REQUEST_CHANGES", "no")
    second_head = rig.github.push(BRANCH, {"x": "1"}, "alice")
    rig.github.review(number, "bob", "APPROVE")
    found = rig.host.reviews(number)
    assert [(one.login, one.verdict, one.commit_sha) for one in found] == [
        ("alice", Verdict.COMMENTED, first_head),
        ("bob", Verdict.CHANGES_REQUESTED, first_head),
        ("bob", Verdict.APPROVED, second_head),
    ]
    assert [one.body for one in found[:2]] == ["hm", "no"]


def test_a_dismissed_review_is_told_as_dismissed(rig: GitHubRig) -> None:
    number = rig.host.ensure_pull_request(DRAFT).number
    review = rig.github.review(number, "bob", "APPROVE")
    rig.github.dismiss(number, review.id, "alice")
    assert [one.verdict for one in rig.host.reviews(number)] == [Verdict.DISMISSED]


def test_all_pages_of_reviews_are_read(rig: GitHubRig) -> None:
    number = rig.host.ensure_pull_request(DRAFT).number
    for at in range(230):
        rig.github.review(number, "bob", "COMMENT", str(at))
    assert [one.body for one in rig.host.reviews(number)] == [str(at) for at in range(230)]
    assert rig.count("GET", "/reviews") == 3


def test_commits_name_everyone_behind_them(rig: GitHubRig) -> None:
    rig.github.push(BRANCH, {"y": "2"}, "bob")
    number = rig.host.ensure_pull_request(DRAFT).number
    first, second = rig.host.commits(number)
    assert ("alice" in first.logins, "alice@company.example" in first.emails) == (True, True)
    assert ("bob" in second.logins, "bob@company.example" in second.emails) == (True, True)
    assert second.sha == rig.github.branch(BRANCH)


def test_all_members_of_a_team_are_read_and_kept_for_a_minute(rig: GitHubRig) -> None:
    people = [f"Person{at}" for at in range(205)]
    for name in people:
        rig.github.user(name)
    rig.github.team("company/platform", people)
    assert rig.host.team_members("company/platform") == frozenset(name.lower() for name in people)
    rig.github.team("company/platform", ["alice"])
    rig.clock.now += 59
    assert len(rig.host.team_members("company/platform") or ()) == 205
    rig.clock.now += 2
    assert rig.host.team_members("company/Platform") == frozenset({"alice"})


@pytest.mark.parametrize("team", ["company/nobody", "company", "company/a/b", "company/..", "", "a b/c"])
def test_a_team_that_cannot_be_read_is_nobody_knows_who(rig: GitHubRig, team: str) -> None:
    assert rig.host.team_members(team) is None


def test_an_unreadable_team_is_asked_for_again_soon(rig: GitHubRig) -> None:
    rig.github.faults.add(Fault("GET", r".*/members", Misbehaviour.REFUSE, status=500))
    rig.github.team("company/platform", ["alice"])
    assert rig.host.team_members("company/platform") is None
    rig.clock.now += 6
    assert rig.host.team_members("company/platform") == frozenset({"alice"})


# ---------------------------------------------------------------- statuses


def test_a_status_is_set_once(rig: GitHubRig) -> None:
    sha = rig.github.branch(BRANCH) or ""
    for _ in range(2):
        rig.host.ensure_status(sha, StatusState.PENDING, "waits for bob", "https://example.com/x")
    status = rig.github.status(sha, "locktender/approval")
    assert status is not None
    assert (status.state, status.description, status.target_url) == (
        "pending",
        "waits for bob",
        "https://example.com/x",
    )
    assert rig.count("POST", "/statuses/") == 1


def test_a_status_that_somebody_else_changed_is_set_again(rig: GitHubRig) -> None:
    sha = rig.github.branch(BRANCH) or ""
    rig.host.ensure_status(sha, StatusState.PENDING, "waits")
    rig.github.set_status(sha, "locktender/approval", "success", "alice", "trust me")
    rig.host.ensure_status(sha, StatusState.PENDING, "waits")
    status = rig.github.status(sha, "locktender/approval")
    assert status is not None
    assert status.state == "pending"


@pytest.mark.parametrize("kind", LOST)
def test_a_status_whose_answer_is_lost_is_found(rig: GitHubRig, kind: Misbehaviour) -> None:
    sha = rig.github.branch(BRANCH) or ""
    rig.github.faults.add(Fault("POST", r".*/statuses/.*", kind))
    retry(lambda: rig.host.ensure_status(sha, StatusState.SUCCESS, "x"))
    rig.host.ensure_status(sha, StatusState.SUCCESS, "x")
    assert rig.count("POST", "/statuses/") == 1


def test_a_long_description_is_cut(rig: GitHubRig) -> None:
    sha = rig.github.branch(BRANCH) or ""
    for _ in range(2):
        rig.host.ensure_status(sha, StatusState.SUCCESS, "approved by " + "x" * 300)
    status = rig.github.status(sha, "locktender/approval")
    assert status is not None
    assert len(status.description or "") == 140
    assert rig.count("POST", "/statuses/") == 1


def test_a_status_on_a_commit_that_is_not_there_is_refused(rig: GitHubRig) -> None:
    fault = refusal(lambda: rig.host.ensure_status("f" * 40, StatusState.SUCCESS, "x"))
    assert fault.reason is ReasonCode.HOST_REFUSED


@pytest.mark.parametrize("status", [403, 429])
def test_the_secondary_limit_is_waited_for(rig: GitHubRig, status: int) -> None:
    rig.github.limits.strike(1, retry_after=7, status=status)
    fault = retry(lambda: rig.host.ensure_pull_request(DRAFT))
    assert (fault.reason, fault.after) == (ReasonCode.HOST_RATE_LIMITED, 7.0)
    assert rig.host.ensure_pull_request(DRAFT).number


def test_the_hourly_limit_is_waited_for_until_it_is_over(rig: GitHubRig) -> None:
    rig.clock.now = datetime.now(UTC).timestamp()
    rig.github.limits.exhaust(datetime.now(UTC) + timedelta(minutes=10))
    fault = retry(lambda: rig.host.reviews(1))
    assert fault.reason is ReasonCode.HOST_RATE_LIMITED
    assert 590 < fault.after <= 600


# ---------------------------------------------------------------- comments and closing


def test_a_comment_is_written_once_and_anew_when_its_text_changes(rig: GitHubRig) -> None:
    number = rig.host.ensure_pull_request(DRAFT).number
    for text in ("one", "one", "two", "two"):
        rig.host.ensure_comment(number, "approval", text)
    rig.host.ensure_comment(number, "other", "three")
    bodies = [comment.body for comment in rig.github.comments(number)]
    assert bodies == ["<!-- locktender:approval -->\ntwo", "<!-- locktender:other -->\nthree"]
    assert (rig.count("POST", "/comments"), rig.count("PATCH", "/comments")) == (2, 1)


@pytest.mark.parametrize("kind", LOST)
def test_a_comment_whose_answer_is_lost_is_found(rig: GitHubRig, kind: Misbehaviour) -> None:
    number = rig.host.ensure_pull_request(DRAFT).number
    rig.github.faults.add(Fault("POST", r".*/comments", kind))
    retry(lambda: rig.host.ensure_comment(number, "approval", "one"))
    rig.host.ensure_comment(number, "approval", "one")
    assert len(rig.github.comments(number)) == 1


def test_a_comment_behind_a_hundred_others_is_found(rig: GitHubRig) -> None:
    number = rig.host.ensure_pull_request(DRAFT).number
    for at in range(120):
        rig.github.comment(number, "alice", f"chat {at}")
    for _ in range(2):
        rig.host.ensure_comment(number, "approval", "one")
    assert len(rig.github.comments(number)) == 121


def test_a_quoted_marker_is_not_ours(rig: GitHubRig) -> None:
    number = rig.host.ensure_pull_request(DRAFT).number
    rig.github.comment(number, "alice", "> <!-- locktender:approval -->\n> one\n\nreally?")
    rig.host.ensure_comment(number, "approval", "two")
    assert [comment.login for comment in rig.github.comments(number)] == ["alice", rig.bot]


def test_a_pull_request_is_closed_once_with_a_comment(rig: GitHubRig) -> None:
    number = rig.host.ensure_pull_request(DRAFT).number
    for _ in range(2):
        rig.host.ensure_closed(number, "Rejected by Bob: not on a Friday.")
    assert rig.host.pull_request(number).state is PullState.CLOSED
    assert ["not on a Friday" in comment.body for comment in rig.github.comments(number)] == [True]
    assert rig.count("PATCH", "/pulls/") == 1


@pytest.mark.parametrize("kind", LOST)
def test_closing_again_after_a_lost_answer_comments_once(rig: GitHubRig, kind: Misbehaviour) -> None:
    number = rig.host.ensure_pull_request(DRAFT).number
    rig.github.faults.add(Fault("PATCH", r".*/pulls/.*", kind))
    retry(lambda: rig.host.ensure_closed(number, "why"))
    rig.host.ensure_closed(number, "why")
    assert len(rig.github.comments(number)) == 1


def test_closing_one_that_was_merged_does_nothing(rig: GitHubRig) -> None:
    number = rig.host.ensure_pull_request(DRAFT).number
    rig.github.merge(number, "alice")
    rig.host.ensure_closed(number, "why")
    assert rig.github.comments(number) == []


# ---------------------------------------------------------------- merging


def test_a_merge_happens_once(rig: GitHubRig) -> None:
    number = rig.host.ensure_pull_request(DRAFT).number
    request = merge_of(rig, number)
    first, again = rig.host.ensure_merged(request), rig.host.ensure_merged(request)
    assert first == again
    assert (first.state, first.merge_sha, first.ended_by) == (PullState.MERGED, rig.github.branch("main"), rig.bot)
    assert rig.message(first.merge_sha) == "Deploy web 1.4.2\n\nDeployment-Id: d-1\nRequested-by: Alice"
    assert rig.count("PUT", "/merge") == 1


@pytest.mark.parametrize("kind", LOST)
def test_a_merge_whose_answer_is_lost_is_found(rig: GitHubRig, kind: Misbehaviour) -> None:
    number = rig.host.ensure_pull_request(DRAFT).number
    request = merge_of(rig, number)
    rig.github.faults.add(Fault("PUT", r".*/merge", kind))
    assert retry(lambda: rig.host.ensure_merged(request)).reason is ReasonCode.HOST_UNREACHABLE
    assert rig.host.ensure_merged(request).merge_sha == rig.github.branch("main")
    assert rig.count("PUT", "/merge") == 1


def test_a_head_that_moved_is_not_merged(rig: GitHubRig) -> None:
    number = rig.host.ensure_pull_request(DRAFT).number
    request = merge_of(rig, number)
    before = rig.github.branch("main")
    rig.github.push(BRANCH, {"evil": "1"}, "mallory")
    assert refusal(lambda: rig.host.ensure_merged(request)).reason is ReasonCode.HEAD_MOVED
    assert rig.github.branch("main") == before


def test_a_head_that_moves_between_looking_and_merging_is_not_merged(rig: GitHubRig) -> None:
    number = rig.host.ensure_pull_request(DRAFT).number
    request = merge_of(rig, number)
    before = rig.github.branch("main")
    pushed: list[str] = []

    def push(method: str, path: str) -> None:
        if method == "PUT" and path.endswith("/merge") and not pushed:
            pushed.append(rig.github.push(BRANCH, {"evil": "1"}, "mallory"))

    rig.github.faults.before = push
    assert refusal(lambda: rig.host.ensure_merged(request)).reason is ReasonCode.HEAD_MOVED
    assert (rig.github.branch("main"), len(pushed)) == (before, 1)


def test_one_that_was_closed_is_not_merged(rig: GitHubRig) -> None:
    number = rig.host.ensure_pull_request(DRAFT).number
    rig.github.close(number, "alice")
    fault = refusal(lambda: rig.host.ensure_merged(merge_of(rig, number)))
    assert fault.reason is ReasonCode.PULL_REQUEST_CLOSED


def test_a_conflict_is_not_merged(rig: GitHubRig) -> None:
    number = rig.host.ensure_pull_request(DRAFT).number
    rig.github.push("main", {"environments/production/kustomization.yaml": "tag: 9.9.9\n"}, "bob")
    rig.host.pull_request(number)
    assert refusal(lambda: rig.host.ensure_merged(merge_of(rig, number))).reason is ReasonCode.MERGE_CONFLICT


@pytest.mark.parametrize(("merge", "squash", "parents"), [(False, True, 1), (False, False, 1), (True, False, 2)])
def test_what_the_repository_allows_is_used(rig: GitHubRig, *, merge: bool, squash: bool, parents: int) -> None:
    rig.github.settings.merge, rig.github.settings.squash = merge, squash
    number = rig.host.ensure_pull_request(DRAFT).number
    done = rig.host.ensure_merged(merge_of(rig, number))
    assert (done.merge_sha, len(rig.parents(done.merge_sha))) == (rig.github.branch("main"), parents)


# ---------------------------------------------------------------- comparing


def test_versions_are_compared_by_tag_then_by_commit(rig: GitHubRig) -> None:
    start = rig.github.branch("main") or ""
    rig.tag("v1.0.0", start)
    middle = rig.github.push("main", {"a": "1"}, "alice", message="Fix the lamp\n\nlong text")
    rig.tag("1.1.0", middle)
    last = rig.github.push("main", {"a": "2"}, "bob", message="Paint the door")
    source = f"{rig.url}/{REPOSITORY}"
    found = rig.host.compare(source, "1.0.0", last[:10])
    assert found is not None
    assert (found.total, found.url) == (2, f"{source}/compare/v1.0.0...{last}")
    assert [(one.subject, one.author, one.login) for one in found.commits] == [
        ("Fix the lamp", "alice", "alice"),
        ("Paint the door", "bob", "bob"),
    ]
    assert found.commits[0].url == f"{source}/commit/{middle}"
    one = rig.host.compare(f"{source}.git", "v1.1.0", last)
    assert one is not None
    assert one.total == 1


def test_the_same_comparison_is_asked_for_once(rig: GitHubRig) -> None:
    start, last = rig.github.branch("main") or "", rig.github.push("main", {"a": "1"}, "alice")
    for _ in range(3):
        rig.host.compare(f"{rig.url}/{REPOSITORY}", start, last)
    assert rig.count("GET", "/compare/") == 1


def test_a_tag_that_moved_is_compared_anew(rig: GitHubRig) -> None:
    start = rig.github.branch("main") or ""
    first = rig.github.push("main", {"a": "1"}, "alice")
    rig.tag("2.0", first)
    assert (found := rig.host.compare(f"{rig.url}/{REPOSITORY}", start, "2.0"))
    rig.tag("2.0", rig.github.push("main", {"a": "2"}, "alice"))
    assert (again := rig.host.compare(f"{rig.url}/{REPOSITORY}", start, "2.0"))
    assert (found.total, again.total) == (1, 2)


def test_a_branch_is_no_version(rig: GitHubRig) -> None:
    start = rig.github.branch("main") or ""
    rig.github.push("deadbeef", {"a": "1"}, "alice")
    assert rig.host.compare(f"{rig.url}/{REPOSITORY}", start, "deadbeef") is None
    assert rig.host.compare(f"{rig.url}/{REPOSITORY}", start, "main") is None


@pytest.mark.parametrize(
    "source",
    [
        "https://github.com/company/infra",
        "{url}/company/other",
        "{url}/company",
        "{url}/company/infra/tree/main",
        "{url}/company/infra?x=1",
        "{url}@evil.example/company/infra",
        "not a link",
        "",
    ],
)
def test_what_is_not_on_this_github_is_not_asked_for(rig: GitHubRig, source: str) -> None:
    start = rig.github.branch("main") or ""
    assert rig.host.compare(source.format(url=rig.url), start, BRANCH) is None


@pytest.mark.parametrize("version", ["1.2.3", "../../secrets", "", "a..b", "--upload-pack=x", "f" * 40, "x" * 500])
def test_a_version_that_is_not_there_compares_to_nothing(rig: GitHubRig, version: str) -> None:
    start = rig.github.branch("main") or ""
    assert rig.host.compare(f"{rig.url}/{REPOSITORY}", start, version) is None


# ---------------------------------------------------------------- logging in


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


@pytest.fixture
def app_host(rig: GitHubRig, key: rsa.RSAPrivateKey, tmp_path: Path) -> Callable[[], GitHubHost]:
    path = tmp_path / "app.pem"
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()))
    rig.github.install(App(77, key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)))
    rig.clock.now = datetime.now(UTC).timestamp()
    return lambda: rig.client(AppKey("77", path))


def test_an_app_works_with_a_token_of_its_installation(rig: GitHubRig, app_host: Callable[[], GitHubHost]) -> None:
    host = app_host()
    assert host.ensure_pull_request(DRAFT).head_branch == BRANCH
    assert rig.github.pulls()[0].login == "locktender[bot]"
    assert [host.token(), host.token()] == rig.github.installation_tokens() * 2


def test_an_apps_token_is_replaced_before_it_ends(rig: GitHubRig, app_host: Callable[[], GitHubHost]) -> None:
    host = app_host()
    first = host.token()
    rig.clock.now += timedelta(minutes=54).total_seconds()
    assert host.token() == first
    rig.clock.now += timedelta(minutes=2).total_seconds()
    assert host.token() != first


def test_a_token_that_is_still_good_is_used_while_no_other_can_be_had(
    rig: GitHubRig, app_host: Callable[[], GitHubHost]
) -> None:
    host = app_host()
    first = host.token()
    rig.clock.now += timedelta(minutes=56).total_seconds()
    rig.github.faults.add(Fault("POST", r".*access_tokens", Misbehaviour.REFUSE, status=502, times=2))
    assert host.token() == first
    rig.clock.now += timedelta(minutes=5).total_seconds()
    assert retry(host.token).reason is ReasonCode.HOST_UNREACHABLE


def test_an_apps_token_that_was_revoked_is_replaced(rig: GitHubRig, app_host: Callable[[], GitHubHost]) -> None:
    host = app_host()
    rig.github.revoke(host.token())
    assert host.ensure_pull_request(DRAFT).number
    assert len(rig.github.installation_tokens()) == 2


def test_an_app_that_is_not_installed_says_so(rig: GitHubRig, app_host: Callable[[], GitHubHost]) -> None:
    rig.github.faults.add(Fault("GET", r"/installation$", Misbehaviour.REFUSE, status=404))
    assert retry(app_host().token).reason is ReasonCode.HOST_UNREACHABLE  # somebody's 404, but not GitHub's
    fault = refusal(rig.client(AppKey("77", rig.root / "app.pem"), "company/elsewhere").token)
    assert fault.reason is ReasonCode.HOST_CREDENTIALS
    assert "not installed on `company/elsewhere`" in fault.what


def test_an_apps_token_is_not_logged(
    rig: GitHubRig, app_host: Callable[[], GitHubHost], caplog: pytest.LogCaptureFixture
) -> None:
    """PyGithub logs whole answers at the level DEBUG, and here the answer is the token."""
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, logger="github")
    host = app_host()
    host.ensure_pull_request(DRAFT)
    assert host.token() == rig.github.installation_tokens()[0]
    assert host.token() not in caplog.text


def test_an_app_with_a_wrong_key_is_a_matter_of_credentials(rig: GitHubRig, tmp_path: Path) -> None:
    other = rsa.generate_private_key(65537, 2048)
    path = tmp_path / "other.pem"
    path.write_bytes(other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    rig.github.install(App(77, other.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)))
    assert rig.client(AppKey("77", path)).token()
    for app_id in ("78", "x"):
        fault = refusal(rig.client(AppKey(app_id, path)).token)
        assert fault.reason is ReasonCode.HOST_CREDENTIALS


@pytest.mark.parametrize("content", ["", "not a key", "-----BEGIN RSA PRIVATE KEY-----\ncanary\n", None])
def test_a_key_that_cannot_be_used_is_told_without_repeating_it(
    rig: GitHubRig, tmp_path: Path, content: str | None
) -> None:
    path = tmp_path / "bad.pem"
    if content is not None:
        path.write_text(content)
    fault = refusal(rig.client(AppKey("77", path)).token)
    assert fault.reason is ReasonCode.NOT_CONFIGURED
    assert "canary" not in str(fault.args)


def test_a_fixed_token_is_itself(rig: GitHubRig) -> None:
    assert rig.host.token() == TOKEN


# ---------------------------------------------------------------- asking again


def test_what_has_not_changed_is_not_sent_again_and_does_not_count(rig: GitHubRig) -> None:
    number = rig.host.ensure_pull_request(DRAFT).number
    for _ in range(3):
        rig.host.pull_request(number)
        rig.host.commits(number)
    seen = len(rig.github.calls)
    first = (rig.host.pull_request(number), rig.host.commits(number), rig.host.reviews(number))
    again = (rig.host.pull_request(number), rig.host.commits(number), rig.host.reviews(number))
    assert first == again
    statuses = [status for _, _, status in rig.github.calls[seen:]]
    assert statuses.count(304) >= 4


def test_what_has_changed_is_seen_at_once(rig: GitHubRig) -> None:
    number = rig.host.ensure_pull_request(DRAFT).number
    before = rig.host.pull_request(number)
    rig.github.push(BRANCH, {"more.txt": "more\n"}, "alice")
    assert rig.host.pull_request(number).head_sha not in {"", before.head_sha}
    rig.github.close(number, "alice")
    assert rig.host.pull_request(number).state is PullState.CLOSED
