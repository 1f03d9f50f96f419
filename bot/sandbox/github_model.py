"""What the GitHub stand-in remembers: accounts, pull requests, reviews, statuses, rules."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import IntEnum, StrEnum
from typing import Any

Json = dict[str, Any]
"""JSON as GitHub says it: what the OpenAPI description knows, not a type of ours."""


class Role(IntEnum):
    """What an account may do in the repository; each can do what the one before can."""

    NONE = 0
    READ = 1
    WRITE = 2
    ADMIN = 3


class Kind(StrEnum):
    """What an account is, in GitHub's words."""

    USER = "User"
    BOT = "Bot"
    ORGANIZATION = "Organization"


@dataclass(frozen=True)
class Account:
    """Somebody with a login. The e-mail address is what ties commits to the account."""

    id: int
    login: str
    name: str
    email: str
    role: Role = Role.WRITE
    kind: Kind = Kind.USER


@dataclass(frozen=True)
class Grant:
    """What one token is good for. `permissions` are an App's (`contents` -> `write`); None is a person's token.

    `expires` is when it stops being accepted; None is never. `scopes` are a classic token's, which GitHub tells its
    holder and no limit here; a fine-grained one has none.
    """

    login: str
    permissions: Mapping[str, str] | None = None
    expires: datetime | None = None
    scopes: tuple[str, ...] = ("repo",)


@dataclass(frozen=True)
class Team:
    """A team of an organization: `company/platform`."""

    id: int
    organization: str
    slug: str
    members: tuple[str, ...]

    @property
    def name(self) -> str:
        """As CODEOWNERS names it, without the `@`."""
        return f"{self.organization}/{self.slug}"


class ReviewState(StrEnum):
    """What a review says, in GitHub's words."""

    APPROVED = "APPROVED"
    CHANGES_REQUESTED = "CHANGES_REQUESTED"
    COMMENTED = "COMMENTED"
    DISMISSED = "DISMISSED"
    PENDING = "PENDING"


@dataclass
class Review:
    """A review of a pull request, given on `commit`."""

    id: int
    login: str
    state: ReviewState
    body: str
    commit: str
    at: datetime


@dataclass
class Comment:
    """A comment below a pull request."""

    id: int
    number: int
    login: str
    body: str
    created: datetime
    updated: datetime


@dataclass(frozen=True)
class Status:
    """A commit status. `state` is one of pending, success, failure and error."""

    id: int
    sha: str
    context: str
    state: str
    description: str | None
    target_url: str | None
    login: str
    at: datetime


@dataclass(frozen=True)
class CheckRun:
    """A check run: `conclusion` is empty until it is completed."""

    id: int
    sha: str
    name: str
    conclusion: str
    at: datetime


@dataclass
class Pull:
    """A pull request. `base_sha` is the base as of the last push to the head: GitHub does not keep it fresh."""

    id: int
    number: int
    title: str
    body: str | None
    login: str
    head_branch: str
    base_branch: str
    head_sha: str
    base_sha: str
    created: datetime
    updated: datetime
    pusher: str  # who pushed the head last
    draft: bool = False
    open: bool = True
    closed: datetime | None = None
    merged: datetime | None = None
    ended_by: str = ""
    merge_sha: str = ""
    reviewers: list[str] = field(default_factory=list)
    teams: list[str] = field(default_factory=list)
    reviews: list[Review] = field(default_factory=list)
    looked_at: tuple[str, str] | None = None  # head and base for which mergeability was asked before


class RuleSource(StrEnum):
    """Where rules are kept: the two are worded and read differently."""

    PROTECTION = "protection"  # classic branch protection
    RULESET = "ruleset"


@dataclass(frozen=True)
class Rules:
    """What a protected branch asks of a merge."""

    reviews: int = 0
    code_owners: bool = False
    checks: tuple[str, ...] = ()
    dismiss_stale: bool = False
    last_push: bool = False  # somebody else than the last pusher must approve
    strict: bool = False  # the head must hold the base's newest commit
    enforce_admins: bool = True
    source: RuleSource = RuleSource.PROTECTION
    bypass: tuple[str, ...] = ()  # logins that may pass by; told, and not acted on
    checks_from: int | None = None  # the App that the checks have to come from; None: anyone who may write


@dataclass
class Settings:
    """The repository's own settings that a client can see or feel."""

    default_branch: str = "main"
    private: bool = True
    merge: bool = True
    squash: bool = True
    rebase: bool = True
    delete_branch_on_merge: bool = False
    graphql: bool = True  # off is as behind a gateway that lets REST through alone: less is told, never more


class GitHubError(Exception):
    """GitHub says no: a status, its message, and for 422 the errors, objects or plain sentences."""

    def __init__(
        self, status: int, message: str, errors: tuple[Json | str, ...] = (), *, page: str = "", header: str = ""
    ) -> None:
        super().__init__(f"{status} {message} {list(errors) if errors else ''}".strip())
        self.status, self.message, self.errors, self.page, self.retry_after = status, message, errors, page, header


def invalid(resource: str, code: str, field_name: str = "", message: str = "") -> GitHubError:
    """A 422 "Validation Failed" with one error, as GitHub words it."""
    error: Json = {"resource": resource, "code": code}
    if field_name:
        error["field"] = field_name
    if message:
        error["message"] = message
    return GitHubError(422, "Validation Failed", (error,))


def not_found() -> GitHubError:
    """What is not there, and what the token may not see: the answer is the same."""
    return GitHubError(404, "Not Found")


def stamp(at: datetime) -> str:
    """A moment as GitHub writes it."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
