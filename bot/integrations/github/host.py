"""GitHub as the code host: pull requests, reviews, statuses and merges of the infra-repo.

Every writing call looks first. What keeps a second one from doubling the first is GitHub's: one open pull request per
branch, the latest status per context, a marker in a comment, and a merge that happens once.
"""

import re
import time
from collections.abc import Callable
from datetime import UTC, datetime

from bot.integrations.github import login as logins
from bot.integrations.github import merging, names, texts
from bot.integrations.github.answers import Comment, Commit, Issue, Pull, PullReview, Signature, Statuses
from bot.integrations.github.answers import Status as LatestStatus
from bot.integrations.github.faults import AnsweredError
from bot.integrations.github.login import AppKey, Token
from bot.integrations.github.mergeability import Inspector
from bot.integrations.github.sources import Sources
from bot.integrations.github.standing import Standing
from bot.integrations.github.teams import Teams
from bot.integrations.github.wants import OURS
from bot.integrations.github.wire import Wire
from commands.code_host import (
    Comparison,
    Mergeability,
    MergeRequest,
    PullCommit,
    PullRequest,
    PullRequestDraft,
    PullState,
    Review,
    StatusState,
    Verdict,
)
from commands.reasons import ReasonCode, Refused

_READ = "pull requests to read"
_WRITE = "pull requests to read and write"
_STATUSES = "commit statuses to read and write"
_MOST_COMMITS = 250  # GitHub lists no more commits of a pull request, and does not say so
_MOST_PULLS = 5  # of one commit
_CO_AUTHOR = re.compile(r"^co-authored-by:.*<([^<>\s]+)>\s*$", re.IGNORECASE | re.MULTILINE)
_KEY = re.compile(r"[A-Za-z0-9._:/-]{1,100}")


class GitHubHost:
    """`code_host.CodeHost` on GitHub or a GitHub server. Safe to call from many threads.

    `repository` is `owner/name`, `branch` the one that pull requests go into, `api_url` as in GITHUB_API_URL.
    `timeout` is seconds without a byte on any one answer (connecting has 3 seconds). `clock` gives epoch seconds.
    Nothing is sent by making one. Refused (NOT_CONFIGURED) when it cannot be used as it is.
    """

    def __init__(
        self,
        repository: str,
        *,
        api_url: str = "https://api.github.com",
        login: Token | AppKey,
        branch: str = "main",
        timeout: float = 10.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        api = names.api_url(api_url)
        self._repository, self._branch = names.repository(repository), branch
        self._path = self._repository.path
        self._credentials = logins.credentials(login, self._repository, api, timeout=timeout, clock=clock)
        self._wire = Wire(api, self._credentials, timeout=timeout, clock=clock)
        self._teams = Teams(self._wire, clock)
        self._sources = Sources(self._wire, api)
        self._inspector = Inspector(self._wire, self._repository, reviews=self.reviews, members=self._teams.members)

    def close(self) -> None:
        """Close idle connections. It may be used again afterwards."""
        self._wire.close()
        self._credentials.close()

    def token(self) -> str:
        """A token for git over https (user `x-access-token`), good for five minutes at least.

        With a GitHub App this may ask GitHub: Refused (HOST_CREDENTIALS, NOT_CONFIGURED) or Retry.
        """
        return self._credentials.token()

    def standing(self) -> Standing:
        """What the bot may do here and what protects the branch, for `locktender doctor`."""
        return Standing(self._wire, self._credentials, self._repository, self._branch)

    def ensure_pull_request(self, draft: PullRequestDraft) -> PullRequest:
        """See `code_host.CodeHost`. One that was closed or merged is returned as it is, never opened again."""
        wanted = {"title": texts.line(draft.title, texts.LONGEST_TITLE), "body": texts.body(draft.body)}
        found = self._from_branch(draft.branch)
        if found is None:
            body = {**wanted, "head": draft.branch, "base": self._branch}
            try:
                return self._told(self._wire.send(Pull, "POST", f"{self._path}/pulls", body, need=_WRITE))
            except AnsweredError as error:
                found = self._from_branch(draft.branch) if error.reply.says_exists() else None
                if found is None:
                    raise
        if found.state == "open" and (found.title, _lines(found.body)) != (wanted["title"], _lines(wanted["body"])):
            return self._told(self._wire.send(Pull, "PATCH", self._pull_path(found.number), wanted, need=_WRITE))
        # Lists leave out who merged it.
        return self._told(found) if found.state == "open" else self.pull_request(found.number)

    def pull_request(self, number: int) -> PullRequest:
        """See `code_host.CodeHost`."""
        return self._told(self._pull(number))

    def pulls_of(self, sha: str) -> tuple[PullRequest, ...]:
        """See `code_host.CodeHost`. A pull request from a fork counts; the newest commits come a moment late."""
        path = f"{self._path}/commits/{_checked(sha)}/pulls"
        found = sorted(one.number for one in self._wire.items(Pull, path, need=_READ) if one.base.ref == self._branch)
        # One by one: lists leave out who merged it.
        return tuple(self.pull_request(number) for number in found[:_MOST_PULLS])

    def ensure_status(self, sha: str, state: StatusState, description: str, url: str = "") -> None:
        """See `code_host.CodeHost`. The description is cut at 140 characters."""
        wanted = LatestStatus(
            context=OURS,
            state=str(state),
            description=texts.line(description, texts.LONGEST_DESCRIPTION),
            target_url=url or None,
        )
        path = f"{self._path}/commits/{_checked(sha)}/status"
        for page in self._wire.pages(Statuses, path, need=_STATUSES):
            if any(_same(status, wanted) for status in page.statuses):
                return
        body = wanted.model_dump(exclude_none=True)
        self._wire.send(LatestStatus, "POST", f"{self._path}/statuses/{sha}", body, need=_STATUSES)

    def reviews(self, number: int) -> tuple[Review, ...]:
        """See `code_host.CodeHost`. Reviews that are not submitted yet are nobody's verdict."""
        path = f"{self._pull_path(number)}/reviews"
        found = [_review(one) for one in self._wire.items(PullReview, path, need=_READ)]
        return tuple(sorted((one for one in found if one is not None), key=lambda one: (one.at, one.id)))

    def commits(self, number: int) -> tuple[PullCommit, ...]:
        """See `code_host.CodeHost`. Refused (HOST_REFUSED) at 250: GitHub lists no more, and who wrote the rest counts.

        Co-authors that a commit's message names count as its authors.
        """
        path = f"{self._pull_path(number)}/commits"
        found = tuple(_commit(one) for one in self._wire.items(Commit, path, need=_READ))
        if len(found) >= _MOST_COMMITS:
            raise Refused(
                ReasonCode.HOST_REFUSED,
                f"Pull request #{number} has {_MOST_COMMITS} commits or more, and GitHub lists no further ones.",
                "Who wrote them cannot be told, so it cannot be approved here: make it smaller.",
            )
        return found

    def mergeability(self, number: int) -> Mergeability:
        """See `code_host.CodeHost`."""
        return self._inspector.look(self._pull(number))

    def ensure_merged(self, request: MergeRequest) -> PullRequest:
        """See `code_host.CodeHost`. One that was merged at another head is returned too: its `head_sha` tells."""
        _checked(request.head_sha)
        pull = self._pull(request.number)
        if not _is_merged(pull):
            if pull.state != "open":
                raise merging.ended(request.number)
            if pull.head.sha != request.head_sha:
                raise merging.head_moved(request.number)
            pull = self._merge(request, pull)
        if not pull.merge_commit_sha:
            raise merging.pending(request.number)  # It is merged; as which commit, GitHub will say in a moment.
        return self._told(pull)

    def _merge(self, request: MergeRequest, before: Pull) -> Pull:
        try:
            answer = merging.merge(self._wire, self._path, request)
        except AnsweredError as error:
            if error.reply.status not in {405, 409, 422}:
                raise
            pull = self._pull(request.number)
            if _is_merged(pull):  # by an earlier request of ours, which GitHub was still working on
                return pull
            raise merging.meaning(error, pull, self._inspector.look(pull), request) from None
        if not answer.merged:
            raise merging.pending(request.number)
        pull = self._pull(request.number)
        return pull if _is_merged(pull) and pull.merge_commit_sha else merging.as_merged(before, answer)

    def ensure_closed(self, number: int, comment: str) -> None:
        """See `code_host.CodeHost`. The comment comes first, so that whoever hears of the end can read why."""
        if self._pull(number).state != "open":
            return
        self.ensure_comment(number, "closed", comment)
        self._wire.send(Pull, "PATCH", self._pull_path(number), {"state": "closed"}, need=_WRITE)

    def ensure_comment(self, number: int, key: str, text: str) -> None:
        """See `code_host.CodeHost`. The key is letters, digits and `._:/-`, 100 at most.

        The marker counts at the beginning of a comment only: a quotation of one is not it.
        """
        if not _KEY.fullmatch(key):
            raise ValueError(key)
        marker = f"<!-- locktender:{key} -->"
        body = texts.body(f"{marker}\n{text}")
        path = f"{self._path}/issues/{number}/comments"
        ours = [c for c in self._wire.items(Comment, path, need=_WRITE) if (c.body or "").startswith(marker)]
        if not ours:
            self._wire.send(Comment, "POST", path, {"body": body}, need=_WRITE)
        elif _lines(ours[0].body) != _lines(body):
            path = f"{self._path}/issues/comments/{ours[0].id}"
            self._wire.send(Comment, "PATCH", path, {"body": body}, need=_WRITE)

    def team_members(self, team: str) -> frozenset[str] | None:
        """See `code_host.CodeHost`."""
        return self._teams.members(team)

    def compare(self, source: str, before: str, after: str) -> Comparison | None:
        """See `code_host.CodeHost`. At most 250 commits, oldest first."""
        return self._sources.compare(source, before, after)

    def _pull_path(self, number: int) -> str:
        return f"{self._path}/pulls/{number}"

    def _pull(self, number: int) -> Pull:
        try:
            return self._wire.get(Pull, self._pull_path(number), need=_READ)
        except AnsweredError as error:
            if error.reply.status == 404:
                error.what = (
                    f"GitHub has no pull request #{number} in `{self._repository}`, or does not show it to the bot."
                )
            raise

    def _from_branch(self, branch: str) -> Pull | None:
        """The pull request from this branch of this repository: the open one, else a merged one, else the newest."""
        query = {
            "head": f"{self._repository.owner}:{branch}",
            "base": self._branch,
            "state": "all",
            "sort": "created",
            "direction": "desc",
        }
        found = [
            pull
            for pull in self._wire.items(Pull, f"{self._path}/pulls", need=_READ, query=query)
            # GitHub leaves a filter out that it cannot read, and the same branch name in a fork is somebody else's.
            if pull.head.ref == branch and pull.base.ref == self._branch and self._is_ours(pull)
        ]
        return min(found, key=lambda one: (one.state != "open", not _is_merged(one), -one.number), default=None)

    def _is_ours(self, pull: Pull) -> bool:
        return pull.head.repo is not None and self._repository.is_called(pull.head.repo.full_name)

    def _told(self, pull: Pull) -> PullRequest:
        """The pull request as the port has it; who closed it takes a question of its own."""
        state, ended_by = PullState.OPEN, ""
        if _is_merged(pull):
            state, ended_by = PullState.MERGED, pull.merged_by.login.lower() if pull.merged_by else ""
        elif pull.state != "open":
            issue = self._wire.find(Issue, f"{self._path}/issues/{pull.number}", need=_READ)
            state, ended_by = PullState.CLOSED, issue.closed_by.login.lower() if issue and issue.closed_by else ""
        return PullRequest(
            number=pull.number,
            url=pull.html_url,
            state=state,
            head_sha=pull.head.sha,
            head_branch=pull.head.ref,
            base_branch=pull.base.ref,
            # While it is open, this is the trial merge that GitHub checks for conflicts with.
            merge_sha=pull.merge_commit_sha or "" if state is PullState.MERGED else "",
            ended_by=ended_by,
            draft=pull.draft,
            author=pull.user.login.lower() if pull.user else "",
        )


_VERDICTS = {
    "APPROVED": Verdict.APPROVED,
    "CHANGES_REQUESTED": Verdict.CHANGES_REQUESTED,
    "COMMENTED": Verdict.COMMENTED,
    "DISMISSED": Verdict.DISMISSED,
}


def _review(one: PullReview) -> Review | None:
    verdict = _VERDICTS.get(one.state.upper())
    if verdict is None:
        return None
    return Review(
        id=one.id,
        login=one.user.login.lower() if one.user else "",
        verdict=verdict,
        commit_sha=one.commit_id or "",
        body=one.body or "",
        at=one.submitted_at or datetime.fromtimestamp(0, UTC),
        url=one.html_url,
    )


def _commit(one: Commit) -> PullCommit:
    accounts = [who.login for who in (one.author, one.committer) if who and who.login]
    signed: list[Signature] = [who for who in (one.commit.author, one.commit.committer) if who]
    emails = [*(who.email for who in signed), *_CO_AUTHOR.findall(one.commit.message)]
    return PullCommit(one.sha, _each(accounts), _each(emails))


def _each(texts_: list[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(text.lower() for text in texts_))


def _is_merged(pull: Pull) -> bool:
    return pull.merged or pull.merged_at is not None


def _same(one: LatestStatus, other: LatestStatus) -> bool:
    keys = [(s.context, s.state, s.description or "", s.target_url or "") for s in (one, other)]
    return keys[0] == keys[1]


def _lines(text: str | None) -> str:
    """For comparing: GitHub gives line ends back as a browser would have sent them."""
    return (text or "").replace("\r\n", "\n").strip()


def _checked(sha: str) -> str:
    """It goes into a path."""
    if not names.is_sha(sha):
        raise ValueError(sha)
    return sha
