"""What git and git servers say when something is wrong, and what that means for the person who asked.

The texts are git's own (builtin/push.c, send-pack.c, remote-curl.c, builtin/receive-pack.c), GitHub's (GH006, GH013),
GitLab's, Bitbucket's and Gerrit's.
"""

import re
import unicodedata
from collections.abc import Iterator
from enum import Enum, auto

from bot.integrations.git.commands import Finished, MirrorBrokenError
from commands.reasons import Fault, ReasonCode, Refused, Retry


class PushVerdict(Enum):
    """What became of a push that the server answered."""

    DONE = auto()
    RACE = auto()


_RACE = re.compile(
    r"non-fast-forward|fetch first|stale info|cannot lock ref|incorrect old value|failed to update ref|failed to lock"
    r"|reference already exists|needs force|is at [0-9a-f]{7,40} but expected|unable to lock|lock failure",
    re.IGNORECASE,
)
_PROTECTED = re.compile(
    r"protected branch|GH006|GH013|repository rule violations|not allowed to push code to protected"
    r"|branch is protected|You are not allowed to push|branch restrictions|TF402455",
    re.IGNORECASE,
)
_CREDENTIALS = re.compile(
    r"Authentication failed|could not read (?:Username|Password)|returned error: 40[13]|Permission denied"
    r"|Permission to \S+ denied|Invalid username or|HTTP Basic: Access denied|Write access to repository not granted"
    r"|terminal prompts disabled|deploy key|insufficient permission",
    re.IGNORECASE,
)
_MISSING = re.compile(
    r"returned error: (?:404|410|30[1278])|Repository not found|repository '[^']*' not found|not found in upstream"
    r"|does not appear to be a git repository|does not exist|project you were looking for could not be found"
    r"|unable to update url base from redirection",
    re.IGNORECASE,
)
_NO_BRANCH = re.compile(r"couldn't find remote ref", re.IGNORECASE)
_UNTRUSTED = re.compile(r"certificate|Host key verification failed", re.IGNORECASE)
_NETWORK = re.compile(
    r"returned error: (?:429|5\d\d)|Could not resolve|Failed to connect|Couldn't connect"
    r"|Connection (?:refused|reset|timed)|timed? ?out|early EOF"
    r"|unexpected disconnect|hung up|RPC failed|Empty reply|too slow|Recv failure|Send failure"
    r"|Network is unreachable|No route to host|transfer closed|remote end closed|unable to access",
    re.IGNORECASE,
)
_BROKEN = re.compile(
    r"is corrupt|bad object|unable to read|missing (?:blob|tree|commit|object)|not a git repository: '|bad config"
    r"|inflate|unable to resolve reference|broken (?:link|ref)|loose object|unknown index|packfile"
    r"|not a valid object|bad (?:ref|signature|tree)|invalid sha1 pointer|does not point to a valid object"
    r"|did not send all necessary objects",
    re.IGNORECASE,
)
LOCKED = re.compile(r"Unable to create '[^']*\.lock'|cannot lock ref|could not lock", re.IGNORECASE)
"""A lock file is in the way. On our side it is stale: nobody else writes there while we hold the mirror's lock."""


def fetch_failure(finished: Finished, where: str, branch: str) -> Fault | MirrorBrokenError:
    """Why a fetch failed, as what should be raised."""
    ours = _ours(finished.stderr)
    if _NO_BRANCH.search(ours):
        return Refused(
            ReasonCode.BRANCH_MISSING,
            f"The infra-repo {where} has no branch `{branch}`.",
            "Push that branch, or set INFRA_REPO_BRANCH to the one that is deployed from.",
            detail=quoted(finished.stderr),
        )
    if _BROKEN.search(ours):
        return MirrorBrokenError(finished.stderr)
    return _common(finished, where) or MirrorBrokenError(finished.stderr)


def push_verdict(finished: Finished, where: str, branch: str) -> PushVerdict:
    """What became of a push. Raises Refused, Retry (the server may have done it) or MirrorBrokenError."""
    for flag, summary in _porcelain(finished.stdout):
        if flag in {" ", "*", "+", "-", "="}:
            return PushVerdict.DONE
        if _RACE.search(summary):
            return PushVerdict.RACE
        if "remote rejected" in summary or "rejected" in summary:
            raise _declined(finished, summary, where, branch)
    if _PROTECTED.search(finished.stderr):
        raise _declined(finished, "", where, branch)
    if _BROKEN.search(_ours(finished.stderr)):
        raise MirrorBrokenError(finished.stderr)
    raise _common(finished, where) or unreachable(finished, where)


def quoted(text: str) -> str:
    """Outside text, fit to be shown as a quotation: printable, without empty lines, at most 1,500 characters."""
    lines = (line.removeprefix("remote: ").rstrip() for line in text.splitlines())
    plain = ("".join(x if unicodedata.category(x) not in {"Cc", "Cf"} else " " for x in line).strip() for line in lines)
    return "\n".join(line for line in plain if line)[-1500:]


def _common(finished: Finished, where: str) -> Fault | None:
    text = finished.stderr
    if _CREDENTIALS.search(text):
        return Refused(
            ReasonCode.REPO_CREDENTIALS,
            f"The infra-repo {where} did not accept our credentials.",
            "Check that the token or key is still valid and may read and write the contents of this repository.",
            detail=quoted(text),
        )
    if _MISSING.search(text):
        return Refused(
            ReasonCode.REPO_MISSING,
            f"There is no repository at {where}, or it is hidden from our credentials.",
            "Check INFRA_REPO_URL, and that the token may see this repository.",
            detail=quoted(text),
        )
    if _UNTRUSTED.search(text):
        return Refused(
            ReasonCode.REPO_UNREACHABLE,
            f"The server of the infra-repo {where} could not prove who it is.",
            "Install its certificate authority, or add its host key to known_hosts.",
            detail=quoted(text),
        )
    return unreachable(finished, where) if _NETWORK.search(text) else None


def _declined(finished: Finished, summary: str, where: str, branch: str) -> Refused:
    said = f"{finished.stderr}\n{summary}"
    if _PROTECTED.search(said):
        return Refused(
            ReasonCode.BRANCH_PROTECTED,
            f"The branch `{branch}` of {where} is protected: the server did not let us push to it.",
            "Let the bot make and delete the branches `deploy/…` there."
            if branch.startswith("deploy/")
            else "Let the bot push there, or set `change: pull-request` for this environment in locktender.yaml.",
            detail=quoted(said),
        )
    return Refused(
        ReasonCode.PUSH_REFUSED,
        f"The server of {where} declined the push.",
        "Read what it said below; a hook or a rule of the repository has to be satisfied or changed.",
        detail=quoted(said),
    )


def unreachable(finished: Finished, where: str) -> Retry:
    """What to raise when a server could not be talked to, or said what nobody has heard yet."""
    return Retry(
        ReasonCode.REPO_UNREACHABLE,
        f"The infra-repo {where} could not be reached, or broke off in the middle.",
        "Wait: it is tried again. If it goes on, look whether the git server is up.",
        after=2.0,
        detail=quoted(finished.stderr),
    )


def _porcelain(stdout: bytes) -> Iterator[tuple[str, str]]:
    """The lines `flag TAB from:to TAB summary` of `git push --porcelain`."""
    for line in stdout.decode("utf-8", "replace").splitlines():
        parts = line.split("\t")
        if len(parts) == 3 and len(parts[0]) == 1:
            yield parts[0], parts[2]


def _ours(stderr: str) -> str:
    """What our git said, without what the server said: only that tells of our mirror."""
    return "\n".join(line for line in stderr.splitlines() if not line.startswith("remote:"))
