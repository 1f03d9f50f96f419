"""What GitHub's errors mean, and how a person is told: by status, headers and GitHub's own words, in one place.

The statuses and texts are those of https://docs.github.com/en/rest, and what people report for merges:
https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api and
https://docs.github.com/en/rest/pulls/pulls#merge-a-pull-request.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from commands.reasons import Fault, ReasonCode, Refused, Retry

DEFAULT_WAIT = 60.0
"""Seconds to leave GitHub alone when it limits us and does not say how long: what its documentation asks for."""

LONGEST_WAIT = 3600.0
"""Seconds; the primary limit is by the hour, so a longer wish is a mistake or a trick."""

_RATE_LIMIT = re.compile(
    r"rate limit|abuse detection|submitted too quickly|wait a few minutes|again later", re.IGNORECASE
)
_READ_ONLY = re.compile(r"archived|read-only|maintenance|access blocked", re.IGNORECASE)
_NO_COMMITS = re.compile(r"no commits between", re.IGNORECASE)
_EXISTS = re.compile(r"already exists", re.IGNORECASE)
_RACE = re.compile(
    r"base branch was modified|cannot lock ref|but expected|try (?:the merge )?again|in progress", re.IGNORECASE
)
_METHOD = re.compile(
    r"(?:merge commits?|squash(?: merg\w+| commits?)?|rebas\w+(?: merg\w+)?) (?:are|is) not allowed"
    r"|must not contain merge commits|merge method|can't be rebased|cannot be rebased",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Reply:
    """An answer of GitHub that is an error. `text` is GitHub's own sentences, cut, without secrets.

    `need` is the permission that the call takes, in the words of GitHub's settings page.
    """

    status: int
    headers: Mapping[str, str]  # names in lower case
    text: str
    host: str
    need: str

    def says_exists(self) -> bool:
        """True when what was to be made is there already."""
        return self.status == 422 and bool(_EXISTS.search(self.text))

    def says_method(self) -> bool:
        """True when only this way of merging is not allowed."""
        return self.status == 405 and bool(_METHOD.search(self.text))

    def says_race(self) -> bool:
        """True when a merge met another change under way, or GitHub had not caught up: the same again may work."""
        return self.status in {405, 409, 422} and bool(_RACE.search(self.text))


class AnsweredError(Refused):
    """A 404, 405, 409 or 422: worded for a person, with the reply for callers who know better what it means."""

    def __init__(self, reply: Reply, reason: ReasonCode, what: str, next_step: str) -> None:
        super().__init__(reason, what, next_step, detail=reply.text)
        self.reply = reply


def judged(reply: Reply, now: float) -> Fault | None:
    """What an error means whatever was asked; None when that depends (404, 405, 409, 422). `now` in epoch seconds."""
    if _limited(reply):
        return Retry(
            ReasonCode.HOST_RATE_LIMITED,
            f"GitHub at {reply.host} was asked too often and wants to be left alone for a while.",
            "Nothing to do: it is asked again when the time is over. If this happens often, use a GitHub App, which "
            "has a limit of its own.",
            after=_wait(reply.headers, now),
            detail=reply.text,
        )
    if reply.status == 401:
        return Refused(
            ReasonCode.HOST_CREDENTIALS,
            f"GitHub at {reply.host} does not accept the credentials that are configured.",
            "Ask an operator to check GITHUB_TOKEN, which may have expired or been revoked, or GITHUB_APP_ID, "
            "GITHUB_APP_PRIVATE_KEY_FILE and this machine's clock.",
            detail=reply.text,
        )
    if reply.status in {403, 451} and _READ_ONLY.search(reply.text):
        return Refused(
            ReasonCode.HOST_REFUSED,
            f"GitHub at {reply.host} takes no changes to this repository at present.",
            "Ask whoever administers the repository why, as GitHub's words say below.",
            detail=reply.text,
        )
    if reply.status in {403, 451}:
        return Refused(
            ReasonCode.HOST_CREDENTIALS,
            f"GitHub at {reply.host} knows the bot, but does not permit what is needed: {_permission(reply)}.",
            "Ask someone who administers the token or the GitHub App to give it that permission on the repository; "
            "an organisation may have to approve it, or to let the token through its single sign-on or IP list.",
            detail=reply.text,
        )
    if reply.status >= 500 or reply.status == 408:
        return unreachable(reply.host, f"it answered {reply.status}", after=_told_seconds(reply.headers) or 2.0)
    return None


def answered(reply: Reply) -> AnsweredError:
    """A 404, 405, 409 or 422 that has no better meaning."""
    if reply.status == 404:
        return AnsweredError(
            reply,
            ReasonCode.HOST_CREDENTIALS,
            f"GitHub at {reply.host} knows nothing of what was asked for, or does not show it to the bot.",
            f"Check GITHUB_REPOSITORY, and that the token or the GitHub App has {reply.need} on that repository.",
        )
    if _NO_COMMITS.search(reply.text):
        return AnsweredError(
            reply,
            ReasonCode.HOST_REFUSED,
            "GitHub opens no pull request, because the branch has nothing that its base does not have.",
            "The change may have been merged by another way: look at the branch, then run the command again.",
        )
    return AnsweredError(
        reply,
        ReasonCode.HOST_REFUSED,
        f"GitHub at {reply.host} refused what was asked ({reply.status}).",
        "Its own words say why; once that is put right, run the command again.",
    )


def unreachable(host: str, why: str, *, after: float = 2.0) -> Retry:
    """GitHub gave no answer that can be used."""
    return Retry(
        ReasonCode.HOST_UNREACHABLE,
        f"GitHub at {host} could not be asked: {why}.",
        "Nothing is lost: whether it was done is looked up before it is done again. If this lasts, check "
        "https://www.githubstatus.com or your GitHub server, and the network between.",
        after=after,
    )


def strange(host: str) -> Retry:
    """Something answered, but not as GitHub would: a proxy's page, or an answer cut short."""
    return Retry(
        ReasonCode.HOST_UNREACHABLE,
        f"Something at {host} answered, but not as GitHub would.",
        "Check that GITHUB_API_URL is the address of GitHub's API, and that the proxy before it reaches it.",
        after=2.0,
    )


def moved(host: str) -> Refused:
    """A redirect, which is never followed with credentials: the repository was renamed or moved."""
    return Refused(
        ReasonCode.HOST_REFUSED,
        f"GitHub at {host} says that the repository is somewhere else by now.",
        "Ask an operator to set GITHUB_REPOSITORY and INFRA_REPO_URL to its new name, or GITHUB_API_URL to the address "
        "that GitHub's API answers at.",
    )


def _limited(reply: Reply) -> bool:
    if reply.status == 429:
        return True
    return reply.status == 403 and (
        "retry-after" in reply.headers
        or reply.headers.get("x-ratelimit-remaining") == "0"
        or bool(_RATE_LIMIT.search(reply.text))
    )


def _wait(headers: Mapping[str, str], now: float) -> float:
    told = _told_seconds(headers)
    if told is not None:
        return told
    reset = _number(headers.get("x-ratelimit-reset", ""))
    if headers.get("x-ratelimit-remaining") == "0" and reset is not None:
        return min(max(reset - now, 1.0), LONGEST_WAIT)
    return DEFAULT_WAIT


def _told_seconds(headers: Mapping[str, str]) -> float | None:
    told = _number(headers.get("retry-after", ""))
    return None if told is None else min(max(told, 1.0), LONGEST_WAIT)


def _number(text: str) -> float | None:
    return float(text) if text.isascii() and text.isdigit() and len(text) <= 12 else None


_GRANTS = re.compile(r"[a-z_]+=[a-z]+(?:[,;] ?[a-z_]+=[a-z]+)*")


def _permission(reply: Reply) -> str:
    """GitHub says in a header which permissions it would take; alternatives are separated by `;`."""
    told = reply.headers.get("x-accepted-github-permissions", "").strip()
    if _GRANTS.fullmatch(told):
        return " or ".join(
            " and ".join(one.strip().replace("_", " ").replace("=", ": ") for one in group.split(","))
            for group in told.split(";")
        )
    return reply.need
