"""Words of a commit: trailers that git reads back as they were meant, and names that cannot forge another."""

import re
import unicodedata
from collections.abc import Mapping

from bot.integrations.git.names import deployment_id
from commands.ports import CommitAuthor, CommitRequest

DEPLOYMENT_TRAILER = "Deployment-Id"

_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,63}")
_VALUE_LENGTH = 1000
_NAME_LENGTH = 200


def commit_message(request: CommitRequest) -> bytes:
    """Subject, body and trailers. Line breaks in a value become spaces; control and bidi characters are dropped.

    ValueError when the trailers lack the deployment id or a key is none: that is a fault of the program.
    """
    if (DEPLOYMENT_TRAILER, request.deployment_id) not in request.trailers:
        raise ValueError("the trailers of a commit must hold its deployment id")
    deployment_id(request.deployment_id)
    paragraphs = [one_line(request.subject, 200) or f"Deployment {request.deployment_id}"]
    body = "\n".join(_body_line(line) for line in request.body.splitlines()).strip("\n")
    if body:
        paragraphs.append(body)
    lines = []
    for key, value in request.trailers:
        if not _KEY.fullmatch(key):
            raise ValueError(f"{key!r} is not the key of a trailer")
        if key == DEPLOYMENT_TRAILER and value != request.deployment_id:
            raise ValueError("a commit has one deployment id")
        if text := one_line(value, _VALUE_LENGTH):
            lines.append(f"{key}: {text}")
    paragraphs.append("\n".join(lines))
    return ("\n\n".join(paragraphs) + "\n").encode("utf-8", "replace")


def identities(author: CommitAuthor, committer: CommitAuthor) -> Mapping[str, str]:
    """The variables that tell git who a commit is by. Angle brackets and line breaks cannot end a name early."""
    return {
        "GIT_AUTHOR_NAME": _person(author.name) or "unknown",
        "GIT_AUTHOR_EMAIL": _person(author.email).replace(" ", "") or "unknown@invalid",
        "GIT_COMMITTER_NAME": _person(committer.name) or "unknown",
        "GIT_COMMITTER_EMAIL": _person(committer.email).replace(" ", "") or "unknown@invalid",
    }


def one_line(text: str, limit: int) -> str:
    """The text on one line, without characters that steer a terminal or turn the reading direction."""
    spaced = " ".join(text.split())
    return "".join(letter for letter in spaced if _is_plain(letter))[:limit].strip()


def _body_line(line: str) -> str:
    text = "".join(letter for letter in line.replace("\t", "    ") if _is_plain(letter)).rstrip()
    # `git interpret-trailers` takes a line of dashes for the start of a patch and would look for trailers above it.
    return f" {text}" if text.startswith("---") else text


def _person(text: str) -> str:
    # Git strips these characters from both ends of a name by itself, and would call a name of nothing else an error.
    return one_line(text.translate({ord(letter): None for letter in "<>"}), _NAME_LENGTH).strip(" .,:;\"\\'")


def _is_plain(letter: str) -> bool:
    # Cc: control characters; Cf: bidi marks and zero-width letters; Cs: halves of a surrogate pair.
    return unicodedata.category(letter) not in {"Cc", "Cf", "Cs"}
