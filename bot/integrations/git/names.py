"""The grammars of everything that reaches a git command line, and where the repository is.

Nothing that a person, a payload or a setting says becomes an argument before it has passed one of these.
"""

import base64
import ipaddress
import re
from dataclasses import dataclass, field
from urllib.parse import SplitResult, unquote, urlsplit

from commands.reasons import ReasonCode, Refused

_BRANCH = re.compile(r"(?!.*(?:\.\.|//|/\.|@\{|\.lock(?:/|\Z)|\.(?:/|\Z)))[A-Za-z0-9_][A-Za-z0-9_./+@-]{0,199}(?<!/)")
_OBJECT_ID = re.compile(r"[0-9a-f]{40}")
_DEPLOYMENT_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]*|\[[0-9a-fA-F:.]+\]")
_SCP_LIKE = re.compile(
    r"(?:(?P<user>[A-Za-z0-9_][A-Za-z0-9_.-]*)@)?(?P<host>[A-Za-z0-9][A-Za-z0-9.-]*):(?P<path>[^-:].*)"
)


@dataclass(frozen=True)
class Remote:
    """Where the infra-repo is. `address` never holds a credential; `authorization` is an HTTP header value or empty."""

    address: str
    origin: str = ""  # scheme and host of an HTTP address: the only place that is sent the authorization
    authorization: str = field(default="", repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)  # what must not be repeated to anybody


def branch_name(text: str) -> str:
    """The same text if it is a branch name in our (narrower than git's) grammar. Refused (NOT_CONFIGURED)."""
    if not _BRANCH.fullmatch(text):
        raise _misconfigured(f"{text[:80]!r} is not a branch name that can be used", "INFRA_REPO_BRANCH")
    return text


def deploy_branch(text: str) -> str:
    """The same text if it is a branch that is ours to make, replace and delete. Refused (NOT_PERMITTED)."""
    if not text.startswith("deploy/") or not _BRANCH.fullmatch(text):
        raise Refused(
            ReasonCode.NOT_PERMITTED,
            f"{text[:80]!r} is not a branch that this bot makes: its branches are called `deploy/<id>`.",
            "Ask for the deployment again, so that it gets a branch of its own.",
        )
    return text


def object_id(text: str) -> str:
    """The same text if it is a full object id. Refused (UNKNOWN_VERSION)."""
    if not _OBJECT_ID.fullmatch(text):
        raise Refused(
            ReasonCode.UNKNOWN_VERSION,
            f"{text[:80]!r} is not a full commit id.",
            "Name the commit by its 40 hexadecimal digits.",
        )
    return text


def deployment_id(text: str) -> str:
    """The same text if it can be a Deployment-Id trailer. Refused (UNKNOWN_DEPLOYMENT)."""
    if not _DEPLOYMENT_ID.fullmatch(text):
        raise Refused(
            ReasonCode.UNKNOWN_DEPLOYMENT,
            f"{text[:80]!r} is not a deployment id.",
            "Copy the id from the deployment's card or from `/audit history`.",
        )
    return text


def tree_path(text: str) -> tuple[str, ...]:
    """The parts of a path from the root of the repository; `""` is the root. Refused (OVERLAY_UNSAFE)."""
    if text == "":
        return ()
    parts = tuple(text.removesuffix("/").split("/"))
    if (
        len(text) > 4096
        or any(part in {"", ".", ".."} or part.casefold() == ".git" for part in parts)
        or any(ord(letter) < 0x20 or ord(letter) == 0x7F for letter in text)
    ):
        raise Refused(
            ReasonCode.OVERLAY_UNSAFE,
            f"{text[:80]!r} is not a path inside the infra-repo.",
            "Use a path from the root of the repository, without `.`, `..` or empty parts.",
        )
    return parts


def remote(url: str, *, token: str = "", user: str = "x-access-token") -> Remote:
    """Take a repository address apart. Credentials in it are kept out of the address. Refused (NOT_CONFIGURED).

    A `token` wins over a password in the address. Plain http is for loopback: elsewhere it would show the token.
    """
    if not url or any(letter.isspace() or not letter.isprintable() for letter in url):
        raise _misconfigured("The address of the infra-repo is empty or holds spaces", "INFRA_REPO_URL")
    if url.startswith("/"):
        return Remote(url)
    if "://" not in url:
        match = _SCP_LIKE.fullmatch(url)
        if match is None:
            raise _misconfigured("The address of the infra-repo is none that git can be given", "INFRA_REPO_URL")
        return Remote(url)
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise _misconfigured("The address of the infra-repo cannot be read", "INFRA_REPO_URL") from error
    if parts.scheme == "file" and parts.path.startswith("/") and not parts.netloc:
        return Remote(url)
    host = parts.netloc.rpartition("@")[2].removesuffix(f":{port}")
    if not _HOST.fullmatch(host) or parts.query or parts.fragment:
        raise _misconfigured("The address of the infra-repo cannot be read", "INFRA_REPO_URL")
    at = host if port is None else f"{host}:{port}"
    if parts.scheme == "ssh":
        return _over_ssh(parts, at)
    if parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(host)):
        return _over_http(parts, at, token, user)
    raise _misconfigured("The address of the infra-repo is neither https, ssh nor file", "INFRA_REPO_URL")


def _over_ssh(parts: SplitResult, at: str) -> Remote:
    name = unquote(parts.username or "")
    if name and not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", name):
        raise _misconfigured("The user in the address of the infra-repo cannot be used", "INFRA_REPO_URL")
    return Remote(f"ssh://{name + '@' if name else ''}{at}{parts.path}")


def _over_http(parts: SplitResult, at: str, token: str, user: str) -> Remote:
    name, password = unquote(parts.username or ""), unquote(parts.password or "")
    if token:
        name, password = name or user, token
    if "\n" in name + password or "\r" in name + password:
        raise _misconfigured("The token of the infra-repo holds a line break", "GITHUB_TOKEN")
    origin = f"{parts.scheme}://{at}"
    if not name and not password:
        return Remote(origin + parts.path, origin)
    encoded = base64.b64encode(f"{name}:{password}".encode()).decode()
    # Without a password the name is the token, as in https://TOKEN@github.com/….
    secrets = tuple(secret for secret in (encoded, password or name) if secret)
    return Remote(origin + parts.path, origin, f"Basic {encoded}", secrets)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _misconfigured(what: str, variable: str) -> Refused:
    return Refused(
        ReasonCode.NOT_CONFIGURED,
        f"{what}.",
        f"Set {variable} (an https or ssh address, or a file path) and start again.",
    )
