"""A code host in memory that holds to `code_host.CodeHost` on the same remote, and what people do on its pages.

Not kinder than GitHub: whether a pull request can be merged is unknown at the first look after anything moved; a merge
wants the pinned head, conflicts, required checks and code owners stop it; nobody reviews their own pull request; a
pull request whose branch is deleted is closed. Rejections are what the real adapter makes of GitHub's 405, 409 and 422.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from commands.code_host import (
    Comparison,
    Mergeability,
    MergeRequest,
    MergeVerdict,
    PullCommit,
    PullRequest,
    PullRequestDraft,
    PullState,
    Review,
    StatusState,
    Verdict,
)
from commands.ports import CommitAuthor
from commands.reasons import ReasonCode, Refused, Retry
from tests.unit.gate_git import MAIN, Remote

BOT_LOGIN = "locktender-bot"
BOT_MERGER = CommitAuthor("Locktender", "bot@users.noreply.github.com")


class Check(StrEnum):
    """A check that the branch's protection requires."""

    PASSED = "passed"
    PENDING = "pending"
    FAILED = "failed"


@dataclass
class Pull:
    number: int
    branch: str
    deployment_id: str
    title: str
    body: str
    state: PullState = PullState.OPEN
    last_head: str = ""  # while it is open, the branch's head counts
    merge_sha: str = ""
    ended_by: str = ""
    reviews: list[Review] = field(default_factory=list)
    looked_at: tuple[str, str] = ("", "")
    statuses: list[tuple[str, StatusState]] = field(default_factory=list)


@dataclass(frozen=True)
class MergeSeen:
    """A merge at its instant: what it was asked with, and by whom; an empty login is the bot's."""

    pull: Pull
    head: str
    parent: str
    commit: str
    login: str
    request: MergeRequest | None


class PullRequests:
    """Implements `code_host.CodeHost`. `merged` is told of every merge at its instant."""

    def __init__(self, remote: Remote, clock: Callable[[], datetime], merged: Callable[[MergeSeen], None]) -> None:
        self.remote = remote
        self.pulls: dict[int, Pull] = {}
        self.check = Check.PASSED
        self.owners_want = False
        self.teams: dict[str, frozenset[str] | None] = {}
        self.logins: dict[str, str] = {}
        """E-mail address -> login, of those whom the host knows by it."""
        self._clock = clock
        self._merged = merged
        self._review_id = 0

    # ------------------------------------------------------------ the port

    def ensure_pull_request(self, draft: PullRequestDraft) -> PullRequest:
        self.notice()
        mine = [one for one in self.pulls.values() if one.branch == draft.branch]
        found = min(
            mine,
            key=lambda one: (one.state is not PullState.OPEN, one.state is not PullState.MERGED, -one.number),
            default=None,
        )
        if found is None:
            head = self.remote.branches.get(draft.branch)
            if head is None or head in self.remote.ancestors(self.remote.branches[MAIN]):
                raise Refused(ReasonCode.HOST_REFUSED, "No commits between the two branches (422).", "Look at it.")
            found = Pull(len(self.pulls) + 1, draft.branch, draft.deployment_id, draft.title, draft.body)
            self.pulls[found.number] = found
        if found.state is PullState.OPEN:
            found.title, found.body = draft.title, draft.body
        return self._told(found)

    def pull_request(self, number: int) -> PullRequest:
        self.notice()
        return self._told(self._pull(number))

    def pulls_of(self, sha: str) -> tuple[PullRequest, ...]:
        return tuple(self._told(one) for one in self.pulls.values() if sha in {one.merge_sha, self.head(one)})

    def ensure_status(self, sha: str, state: StatusState, description: str, url: str = "") -> None:
        del description, url
        for one in self.pulls.values():
            if self.head(one) == sha and (not one.statuses or one.statuses[-1] != (sha, state)):
                one.statuses.append((sha, state))

    def reviews(self, number: int) -> tuple[Review, ...]:
        return tuple(self._pull(number).reviews)

    def commits(self, number: int) -> tuple[PullCommit, ...]:
        pull = self._pull(number)
        head = self.head(pull)
        before = self.remote.commits[pull.merge_sha].parents[0] if pull.merge_sha else self.remote.branches[MAIN]
        theirs = self.remote.ancestors(head) - self.remote.ancestors(before)
        found = []
        for sha in sorted(theirs):
            one = self.remote.commits[sha]
            emails = tuple(dict.fromkeys(who.email.lower() for who in (one.author, one.committer)))
            logins = tuple(dict.fromkeys(self.logins[email] for email in emails if email in self.logins))
            found.append(PullCommit(sha, logins, emails))
        return tuple(found)

    def mergeability(self, number: int) -> Mergeability:
        self.notice()
        pull = self._pull(number)
        head = self.head(pull)
        seen = (head, self.remote.branches[MAIN])
        if pull.state is PullState.OPEN and pull.looked_at != seen:
            pull.looked_at = seen
            return Mergeability(MergeVerdict.PENDING, head, ("It is still being worked out.",))
        return self._judged(pull)

    def ensure_merged(self, request: MergeRequest) -> PullRequest:
        self.notice()
        pull = self._pull(request.number)
        if pull.state is PullState.MERGED:
            return self._told(pull)
        if pull.state is PullState.CLOSED:
            raise Refused(ReasonCode.PULL_REQUEST_CLOSED, "It was closed without being merged.", "Ask again.")
        if self.head(pull) != request.head_sha:
            raise Refused(ReasonCode.HEAD_MOVED, "The branch moved after it was approved.", "Look again.")
        now = self._judged(pull)
        if now.verdict is MergeVerdict.CONFLICT:
            raise Refused(ReasonCode.MERGE_CONFLICT, "It conflicts.", "Ask again.")
        if now.verdict is MergeVerdict.BLOCKED:
            raise Refused(ReasonCode.MERGE_BLOCKED, " ".join(now.wants), "See to it.")
        if now.verdict is MergeVerdict.PENDING:
            raise Retry(ReasonCode.MERGE_PENDING, "Checks run.", "It is tried again.", after=3.0)
        self._merge(pull, "", request)
        return self._told(pull)

    def ensure_closed(self, number: int, comment: str) -> None:
        del comment
        self.close(number, BOT_LOGIN)

    def ensure_comment(self, number: int, key: str, text: str) -> None:
        raise NotImplementedError  # nobody comments here

    def team_members(self, team: str) -> frozenset[str] | None:
        return self.teams.get(team)

    def compare(self, source: str, before: str, after: str) -> Comparison | None:
        del source, before, after
        return None

    # ------------------------------------------------------------ people on its pages

    def open_pulls(self) -> list[Pull]:
        self.notice()
        return [one for one in self.pulls.values() if one.state is PullState.OPEN]

    def review(self, number: int, login: str, verdict: Verdict) -> None:
        """Somebody reviews the head as it is; GitHub refuses that to whoever opened it (the bot) and after the end."""
        pull = self._pull(number)
        if pull.state is not PullState.OPEN or login == BOT_LOGIN:
            return
        self._review_id += 1
        body = "" if verdict is Verdict.APPROVED else "not like this"
        pull.reviews.append(Review(self._review_id, login, verdict, self.head(pull), body, self._clock()))

    def dismiss(self, number: int, login: str) -> None:
        """Somebody dismisses a review: it keeps its place and its id."""
        reviews = self._pull(number).reviews
        for index, one in enumerate(reviews):
            if one.login == login and one.verdict in {Verdict.APPROVED, Verdict.CHANGES_REQUESTED}:
                reviews[index] = Review(one.id, login, Verdict.DISMISSED, one.commit_sha, one.body, one.at)

    def close(self, number: int, login: str) -> None:
        pull = self._pull(number)
        if pull.state is PullState.OPEN:
            pull.last_head = self.head(pull)
            pull.state, pull.ended_by = PullState.CLOSED, login

    def merge_by_hand(self, number: int, login: str) -> bool:
        """An administrator's click: nothing but a conflict stops it."""
        pull = self._pull(number)
        if pull.state is not PullState.OPEN or self.remote.merged(self.head(pull), self.remote.branches[MAIN]) is None:
            return False
        self._merge(pull, login, None)
        return True

    def notice(self) -> None:
        """What a push has done to pull requests: a deleted branch closes its own, a head that main has is merged."""
        for one in self.pulls.values():
            if one.state is PullState.OPEN and one.branch not in self.remote.branches:
                one.state, one.ended_by = PullState.CLOSED, ""
            elif one.state is PullState.OPEN:
                one.last_head = self.remote.branches[one.branch]

    def head(self, pull: Pull) -> str:
        if pull.state is PullState.OPEN:
            return self.remote.branches.get(pull.branch, pull.last_head)
        return pull.last_head

    # ------------------------------------------------------------ parts

    def _pull(self, number: int) -> Pull:
        if number not in self.pulls:
            raise Refused(ReasonCode.HOST_REFUSED, f"There is no pull request #{number} (404).", "Look at it.")
        return self.pulls[number]

    def _judged(self, pull: Pull) -> Mergeability:
        head = self.head(pull)
        if pull.state is not PullState.OPEN:
            return Mergeability(MergeVerdict.ENDED, head)
        if self.remote.merged(head, self.remote.branches[MAIN]) is None:
            return Mergeability(MergeVerdict.CONFLICT, head, ("It conflicts.",))
        wants = []
        if self.owners_want:
            wants.append("Code owners have to review it.")
        if self.check is Check.FAILED:
            wants.append("The check `ci` failed.")
        if wants:
            return Mergeability(MergeVerdict.BLOCKED, head, tuple(wants))
        if self.check is Check.PENDING:
            return Mergeability(MergeVerdict.PENDING, head, ("The check `ci` runs.",))
        return Mergeability(MergeVerdict.READY, head)

    def _merge(self, pull: Pull, login: str, request: MergeRequest | None) -> None:
        head, parent = self.head(pull), self.remote.branches[MAIN]
        files = self.remote.merged(head, parent)
        assert files is not None
        lines = request.message.splitlines() if request else []
        trailers = tuple((key, value) for key, _, value in (line.partition(": ") for line in lines) if value)
        subject = request.subject if request else f"Merge pull request #{pull.number}"
        author = BOT_MERGER if request else CommitAuthor(login, f"{login}@users.noreply.github.com")
        commit = self.remote.commit((parent, head), files, author, subject, trailers, made_by_bot=request is not None)
        self.remote.branches[MAIN] = commit
        pull.last_head, pull.state = head, PullState.MERGED
        pull.merge_sha, pull.ended_by = commit, login or BOT_LOGIN
        self._merged(MergeSeen(pull, head, parent, commit, login, request))

    def _told(self, pull: Pull) -> PullRequest:
        return PullRequest(
            number=pull.number,
            url=f"https://code.example/infra/pull/{pull.number}",
            state=pull.state,
            head_sha=self.head(pull),
            head_branch=pull.branch,
            base_branch=MAIN,
            merge_sha=pull.merge_sha,
            ended_by=pull.ended_by,
        )
