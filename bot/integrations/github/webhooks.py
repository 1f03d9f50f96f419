"""GitHub's webhooks: whether one is GitHub's, and what it says happened. Pure.

https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries. A webhook only ever says where to
look: what it tells is read again from the API before anything rests on it.
"""

import hashlib
import hmac
import re
from dataclasses import dataclass
from enum import StrEnum

from bot.integrations.github.answers import Account, Answer

_SIGNATURE = re.compile(r"sha256=[0-9a-f]{64}", re.ASCII)
_GONE = "0" * 40
_LARGEST_NUMBER = 2**53


class Kind(StrEnum):
    """The events that are listened to, by the names in `X-GitHub-Event`."""

    PULL_REQUEST = "pull_request"
    PULL_REQUEST_REVIEW = "pull_request_review"
    PUSH = "push"
    STATUS = "status"
    CHECK_RUN = "check_run"
    CHECK_SUITE = "check_suite"


@dataclass(frozen=True)
class Happened:
    """Something happened in `repository` (`owner/name`). `delivery` is GitHub's id: the same again is a repetition.

    Empty and 0 stand for what an event does not tell. `head_sha` is empty when a branch was deleted; `branch` is the
    one that was pushed to, or the pull request's own.
    """

    kind: Kind
    delivery: str
    repository: str
    number: int = 0
    branch: str = ""
    head_sha: str = ""
    sender: str = ""  # a login, in lower case


def verify(secret: str, body: bytes, signature_header: str | None) -> bool:
    """True when `X-Hub-Signature-256` is the body's under this secret, in constant time. Never true without one."""
    if not secret or signature_header is None or not _SIGNATURE.fullmatch(signature_header):
        return False
    expected = "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(expected, signature_header)


def parse(event: str, delivery: str, body: bytes) -> Happened | None:
    """What a verified delivery says; None for events that do not concern us, and for what is no event at all."""
    try:
        kind = Kind(event)
        return _READERS[kind].model_validate_json(body).happened(kind, delivery)
    except ValueError:  # among them pydantic's
        return None


class _Repository(Answer):
    full_name: str


class _Event(Answer):
    repository: _Repository
    sender: Account | None = None

    def happened(self, kind: Kind, delivery: str) -> Happened | None:
        number, branch, sha = self.where()
        if not 0 <= number < _LARGEST_NUMBER:
            return None
        login = self.sender.login.lower() if self.sender else ""
        return Happened(kind, delivery, self.repository.full_name, number, branch, sha, login)

    def where(self) -> tuple[int, str, str]:
        raise NotImplementedError


class _End(Answer):
    ref: str
    sha: str


class _Pull(Answer):
    number: int
    head: _End


class _PullEvent(_Event):
    pull_request: _Pull

    def where(self) -> tuple[int, str, str]:
        return self.pull_request.number, self.pull_request.head.ref, self.pull_request.head.sha


class _PushEvent(_Event):
    ref: str
    after: str

    def happened(self, kind: Kind, delivery: str) -> Happened | None:
        return super().happened(kind, delivery) if self.ref.startswith("refs/heads/") else None  # tags are not ours

    def where(self) -> tuple[int, str, str]:
        return 0, self.ref.removeprefix("refs/heads/"), "" if self.after == _GONE else self.after


class _Named(Answer):
    name: str


class _StatusEvent(_Event):
    sha: str
    branches: tuple[_Named, ...] = ()

    def where(self) -> tuple[int, str, str]:
        return 0, self.branches[0].name if self.branches else "", self.sha


class _Numbered(Answer):
    number: int


class _Suite(Answer):
    head_sha: str
    head_branch: str | None = None
    pull_requests: tuple[_Numbered, ...] = ()

    def where(self) -> tuple[int, str, str]:
        return self.pull_requests[0].number if self.pull_requests else 0, self.head_branch or "", self.head_sha


class _InSuite(Answer):
    head_branch: str | None = None


class _Run(Answer):
    head_sha: str
    check_suite: _InSuite = _InSuite()
    pull_requests: tuple[_Numbered, ...] = ()


class _RunEvent(_Event):
    check_run: _Run

    def where(self) -> tuple[int, str, str]:
        run = self.check_run
        number = run.pull_requests[0].number if run.pull_requests else 0
        return number, run.check_suite.head_branch or "", run.head_sha


class _SuiteEvent(_Event):
    check_suite: _Suite

    def where(self) -> tuple[int, str, str]:
        return self.check_suite.where()


_READERS: dict[Kind, type[_Event]] = {
    Kind.PULL_REQUEST: _PullEvent,
    Kind.PULL_REQUEST_REVIEW: _PullEvent,
    Kind.PUSH: _PushEvent,
    Kind.STATUS: _StatusEvent,
    Kind.CHECK_RUN: _RunEvent,
    Kind.CHECK_SUITE: _SuiteEvent,
}
