"""Which pull request brought a commit, and who approved it there: what the code host knows."""

from dataclasses import dataclass

from commands.code_host import CodeHost, PullState, Review, Verdict
from commands.reasons import Fault

_DECISIVE = {Verdict.APPROVED, Verdict.CHANGES_REQUESTED, Verdict.DISMISSED}


@dataclass(frozen=True)
class Provenance:
    """How a commit reached the branch. `number` is 0 when no pull request brought it, or none is known.

    `approved_by` approved what was merged; the approvals of `approved_before` are of an earlier commit. Logins are in
    lower case. `trouble` says why nothing is known, in a sentence.
    """

    number: int = 0
    url: str = ""
    author: str = ""
    merged_by: str = ""
    approved_by: tuple[str, ...] = ()
    approved_before: tuple[str, ...] = ()
    trouble: str = ""

    def details(self) -> dict[str, object]:
        """For the record: what is known, and nothing empty but the approvals of a pull request."""
        if not self.number:
            return {"pull_request_unknown": self.trouble} if self.trouble else {}
        told: dict[str, object] = {
            "pull_request": self.number,
            "pull_request_url": self.url,
            "pull_request_author": self.author,
            "merged_by": self.merged_by,
            "approved_by": list(self.approved_by),
        }
        return told | ({"approved_before": list(self.approved_before)} if self.approved_before else {})

    def sentence(self) -> str:
        """The same for a person."""
        if not self.number:
            return self.trouble or "No pull request brought it."
        approved = f"approved there by {_listed(self.approved_by)}" if self.approved_by else "approved there by nobody"
        stale = f" ({_listed(self.approved_before)} approved an earlier commit)" if self.approved_before else ""
        merged = f", merged by {self.merged_by}" if self.merged_by else ""
        return f"Pull request #{self.number} by {self.author or 'somebody'}, {approved}{stale}{merged}: {self.url}"


def of(host: CodeHost | None, sha: str) -> Provenance:
    """Ask the code host. Never raises for what it cannot tell: a change that nobody explains has to be told of too."""
    if host is None:
        return Provenance()
    try:
        merged = [one for one in host.pulls_of(sha) if one.state is PullState.MERGED]
        # The one whose merge it is, before those that merely have it among their commits.
        pull = min(merged, key=lambda one: (one.merge_sha != sha, one.number), default=None)
        if pull is None:
            return Provenance()
        reviews = host.reviews(pull.number)
    except Fault as fault:
        return Provenance(trouble=f"Whether a pull request brought it is not known. {fault.what}")
    approved = [one for one in _last_words(reviews) if one.verdict is Verdict.APPROVED]
    return Provenance(
        number=pull.number,
        url=pull.url,
        author=pull.author,
        merged_by=pull.ended_by,
        approved_by=tuple(one.login for one in approved if one.commit_sha == pull.head_sha),
        approved_before=tuple(one.login for one in approved if one.commit_sha != pull.head_sha),
    )


def _last_words(reviews: tuple[Review, ...]) -> tuple[Review, ...]:
    """Everyone's last review that decides something."""
    return tuple({one.login: one for one in reviews if one.login and one.verdict in _DECISIVE}.values())


def _listed(logins: tuple[str, ...]) -> str:
    return " and ".join(logins) if len(logins) < 3 else f"{', '.join(logins[:-1])} and {logins[-1]}"
