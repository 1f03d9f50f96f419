"""What commands and deliveries need from the code host, as a Protocol; the adapter lives in `bot/integrations/github`.

What `commands.ports` says of calls and faults holds here too.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol


class PullState(StrEnum):
    """Where a pull request is. The last two are ends."""

    OPEN = "open"
    MERGED = "merged"
    CLOSED = "closed"


@dataclass(frozen=True)
class PullRequest:
    """A pull request as the code host tells it now. `merge_sha` and `ended_by` (a login) are empty while it is open.

    `author` is the login of who opened it; empty where that account is gone.
    """

    number: int
    url: str
    state: PullState
    head_sha: str
    head_branch: str
    base_branch: str
    merge_sha: str = ""
    ended_by: str = ""
    draft: bool = False
    author: str = ""


@dataclass(frozen=True)
class PullRequestDraft:
    """A pull request to open, from `branch` (`deploy/<id>`) into the infra-repo's branch. `body` is Markdown."""

    deployment_id: str
    branch: str
    title: str
    body: str


class Verdict(StrEnum):
    """What a review on the code host says."""

    APPROVED = "approved"
    CHANGES_REQUESTED = "changes_requested"
    COMMENTED = "commented"
    DISMISSED = "dismissed"


@dataclass(frozen=True)
class Review:
    """One review. `commit_sha` is the head it was given on; `login` is in lower case."""

    id: int
    login: str
    verdict: Verdict
    commit_sha: str
    body: str
    at: datetime
    url: str = ""


@dataclass(frozen=True)
class PullCommit:
    """A commit of a pull request: its id and everyone whom git or the code host names as its author or committer.

    Logins and e-mail addresses are in lower case; a login is empty where the code host knows nobody by the address.
    """

    sha: str
    logins: tuple[str, ...]
    emails: tuple[str, ...]


class MergeVerdict(StrEnum):
    """Whether the code host would merge now."""

    READY = "ready"
    PENDING = "pending"  # it is still working that out, or checks run
    BLOCKED = "blocked"  # it wants something: see `wants`
    CONFLICT = "conflict"  # the branch no longer applies to its base
    ENDED = "ended"


@dataclass(frozen=True)
class Mergeability:
    """Whether the code host would merge this head, and what it still wants: sentences that name what and from whom."""

    verdict: MergeVerdict
    head_sha: str
    wants: tuple[str, ...] = ()


class StatusState(StrEnum):
    """A commit status, in the code host's words."""

    PENDING = "pending"
    SUCCESS = "success"
    FAILURE = "failure"
    ERROR = "error"


@dataclass(frozen=True)
class SourceCommit:
    """A commit of an app's own source between two versions; `login` may be empty."""

    sha: str
    subject: str
    author: str
    login: str = ""
    url: str = ""


@dataclass(frozen=True)
class Comparison:
    """What lies between two versions of an app's source. `total` may be more than the commits that are listed."""

    url: str
    total: int
    commits: tuple[SourceCommit, ...]


@dataclass(frozen=True)
class MergeRequest:
    """Merge this pull request while its head is `head_sha`. The trailers are in `message`."""

    deployment_id: str
    number: int
    head_sha: str
    subject: str
    message: str


class CodeHost(Protocol):
    """Pull requests, reviews and merges, as GitHub has them.

    Refused: HOST_CREDENTIALS, HOST_REFUSED, HEAD_MOVED, MERGE_CONFLICT, MERGE_BLOCKED, PULL_REQUEST_CLOSED. Retry:
    HOST_UNREACHABLE, HOST_RATE_LIMITED (with the seconds the host asks for), MERGE_PENDING. A writing call whose answer
    is lost raises Retry: made again, it finds what it did.
    """

    def ensure_pull_request(self, draft: PullRequestDraft) -> PullRequest:
        """The pull request from this branch, open or not: found, or opened; one that is open gets title and body."""
        ...

    def pull_request(self, number: int) -> PullRequest:
        """As it is now."""
        ...

    def pulls_of(self, sha: str) -> tuple[PullRequest, ...]:
        """Those that brought this commit to the branch, or would: a few at most, oldest first."""
        ...

    def ensure_status(self, sha: str, state: StatusState, description: str, url: str = "") -> None:
        """Set the commit status `locktender/approval` unless the latest one says the same already."""
        ...

    def reviews(self, number: int) -> tuple[Review, ...]:
        """All reviews, oldest first, all pages."""
        ...

    def commits(self, number: int) -> tuple[PullCommit, ...]:
        """All commits of the pull request, oldest first, all pages."""
        ...

    def mergeability(self, number: int) -> Mergeability:
        """Whether it could be merged now, and if not, what is wanted and from whom. Our own status does not count."""
        ...

    def ensure_merged(self, request: MergeRequest) -> PullRequest:
        """Merge, or find it merged. Refused (HEAD_MOVED) when the head is another by now."""
        ...

    def ensure_closed(self, number: int, comment: str) -> None:
        """Close it with a comment, once; no fault when it has ended already."""
        ...

    def ensure_comment(self, number: int, key: str, text: str) -> None:
        """One comment per key (kept in an HTML comment), written again when its text changes."""
        ...

    def team_members(self, team: str) -> frozenset[str] | None:
        """Logins (lower case) of `org/team`, from a cache of a minute; None when they cannot be read (fail closed)."""
        ...

    def compare(self, source: str, before: str, after: str) -> Comparison | None:
        """Commits between two versions of the repository at this https link; None when that cannot be told.

        A version is looked for as a tag `v1.2.3` or `1.2.3`, then as a commit.
        """
        ...
