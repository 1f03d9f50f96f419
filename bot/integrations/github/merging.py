"""Merging a pull request once, at the head that was approved, and what GitHub's answers to that mean."""

from enum import StrEnum

from bot.integrations.github.answers import Merged, Pull
from bot.integrations.github.faults import AnsweredError
from bot.integrations.github.wire import Wire
from commands.code_host import Mergeability, MergeRequest, MergeVerdict
from commands.reasons import Fault, ReasonCode, Refused, Retry

PENDING_FOR = 3.0
"""Seconds until a merge that met another change is tried again."""

NEED = "contents and pull requests to read and write"


class Method(StrEnum):
    """Ways to merge, in the order in which they are tried: a merge commit keeps what was approved as it is."""

    MERGE = "merge"
    SQUASH = "squash"
    REBASE = "rebase"


def merge(wire: Wire, path: str, request: MergeRequest) -> Merged:
    """Ask GitHub to merge, by the first method that it allows. AnsweredError with its last word when it does not."""
    refusal: AnsweredError | None = None
    for method in Method:
        body = {
            "sha": request.head_sha,
            "merge_method": str(method),
            "commit_title": request.subject,
            "commit_message": request.message,
        }
        if method is Method.REBASE:  # keeps the commits' own words, and GitHub refuses others
            body = {name: body[name] for name in ("sha", "merge_method")}
        try:
            return wire.send(Merged, "PUT", f"{path}/pulls/{request.number}/merge", body, need=NEED)
        except AnsweredError as error:
            refusal = error
            if not error.reply.says_method():
                raise
    raise refusal or AssertionError(Method)


def head_moved(number: int) -> Refused:
    """The head is not the one that was approved."""
    return Refused(
        ReasonCode.HEAD_MOVED,
        f"The branch of pull request #{number} moved after it was approved, so it was not merged.",
        "Look at what changed, and approve again if it is right.",
    )


def ended(number: int) -> Refused:
    """It was closed without a merge."""
    return Refused(
        ReasonCode.PULL_REQUEST_CLOSED,
        f"Pull request #{number} was closed without being merged.",
        "Run the command again if the change is still wanted.",
    )


def meaning(error: AnsweredError, pull: Pull, now: Mergeability, request: MergeRequest) -> Fault:
    """Why a merge was refused, from GitHub's answer and from what the pull request looked like right afterwards."""
    reply = error.reply
    if pull.head.sha != request.head_sha:
        return head_moved(request.number)
    if now.verdict is MergeVerdict.ENDED:
        return ended(request.number)
    if now.verdict is MergeVerdict.CONFLICT:
        return Refused(
            ReasonCode.MERGE_CONFLICT,
            f"Pull request #{request.number} cannot be merged: its branch no longer applies to `{pull.base.ref}`.",
            "Run the command again: the change is made anew on what the branch holds by now.",
            detail=reply.text,
        )
    if reply.status == 405 and reply.says_method():
        return Refused(
            ReasonCode.MERGE_BLOCKED,
            f"GitHub allows no way of merging pull request #{request.number} that the bot knows.",
            "Ask someone who administers the repository to allow merge commits, squash merges or rebase merges.",
            detail=reply.text,
        )
    if now.verdict is MergeVerdict.BLOCKED and not reply.says_race():
        return Refused(
            ReasonCode.MERGE_BLOCKED,
            f"GitHub does not merge pull request #{request.number} yet. {' '.join(now.wants)}".strip(),
            "See to what GitHub wants, then run the command again.",
            detail=reply.text,
        )
    if reply.status == 422 and not reply.says_race():
        return error  # It is our request that GitHub does not take, and it would be the same the next time.
    return pending(request.number, detail=reply.text)


def pending(number: int, *, detail: str = "") -> Retry:
    """It met another change, or GitHub or a check has not finished: the same again may work."""
    return Retry(
        ReasonCode.MERGE_PENDING,
        f"GitHub could not merge pull request #{number} just now: it is still working on it, or checks run.",
        "It is tried again. If this lasts, look at the page of the pull request.",
        after=PENDING_FOR,
        detail=detail,
    )


def as_merged(pull: Pull, answer: Merged) -> Pull:
    """The pull request as GitHub will tell it once it has caught up with its own answer."""
    return pull.model_copy(update={"state": "closed", "merged": True, "merge_commit_sha": answer.sha})
