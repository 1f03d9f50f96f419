"""What may be put into a request to GitHub, and which addresses are its own. Pure."""

import re
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from commands.reasons import ReasonCode, Refused

_OWNER = r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}"  # with `_` where a company manages the accounts
_NAME = r"(?!\.{1,2}$)[A-Za-z0-9._-]{1,100}"
_REPOSITORY = re.compile(rf"({_OWNER})/({_NAME})")
_TEAM = re.compile(rf"({_OWNER})/([A-Za-z0-9](?:[A-Za-z0-9._-]{{0,254}}))")
_SHA = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_ABBREVIATED = re.compile(r"[0-9a-f]{7,40}")
_VERSION = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,127}")
_LOOPBACK = {"127.0.0.1", "localhost", "::1"}


@dataclass(frozen=True)
class Repository:
    """`owner/name` on one GitHub."""

    owner: str
    name: str

    def __str__(self) -> str:
        return f"{self.owner}/{self.name}"

    @property
    def path(self) -> str:
        """Where its resources begin in the API."""
        return f"/repos/{self.owner}/{self.name}"

    def is_called(self, full_name: str) -> bool:
        """True for its name in any case, as GitHub sees names."""
        return full_name.lower() == str(self).lower()


def repository(text: str) -> Repository:
    """`owner/name`. Refused (NOT_CONFIGURED) when it is not that."""
    found = _REPOSITORY.fullmatch(text)
    if not found:
        raise Refused(
            ReasonCode.NOT_CONFIGURED,
            "GITHUB_REPOSITORY is not the name of a repository.",
            "Ask an operator to write it as `owner/name`, without an address before it.",
        )
    return Repository(*found.groups())


def api_url(text: str) -> str:
    """The API's address without a slash at its end. Refused (NOT_CONFIGURED) for what a token may not be sent to."""
    parts = urlsplit(text)
    try:
        encrypted = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK)
        usable = bool(parts.hostname) and parts.port != 0 and "@" not in parts.netloc
    except ValueError:  # a port that is no number
        encrypted = usable = False
    if not (encrypted and usable) or parts.query or parts.fragment:
        raise Refused(
            ReasonCode.NOT_CONFIGURED,
            "GITHUB_API_URL is not an address that can be used.",
            "Ask an operator to write it as `https://api.github.com`, or `https://HOST/api/v3` for a GitHub server.",
        )
    return text.rstrip("/")


def graphql_url(api: str) -> str:
    """Where GraphQL is: beside `/api/v3` on a GitHub server, below the API's root on github.com."""
    return f"{api.removesuffix('/v3')}/graphql"


def is_loopback(api: str) -> bool:
    """True when the API is on this very machine."""
    return urlsplit(api).hostname in _LOOPBACK


def web_host(api: str) -> str:
    """The host (and port) of the pages that belong to this API: `github.com` for `api.github.com`."""
    return urlsplit(api).netloc.lower().removeprefix("api.")


def linked(link: str, api: str) -> Repository | None:
    """The repository that a link names on the GitHub of this API; None for any other link."""
    parts = urlsplit(link)
    same = parts.scheme == urlsplit(api).scheme and parts.netloc.lower() == web_host(api)
    if not same or parts.query or parts.fragment:
        return None
    found = _REPOSITORY.fullmatch(parts.path.strip("/").removesuffix(".git"))
    return Repository(*found.groups()) if found else None


def team(text: str) -> tuple[str, str] | None:
    """`org/team` in its two parts; None when it is not that."""
    found = _TEAM.fullmatch(text.removeprefix("@"))
    return (found.group(1), found.group(2).lower()) if found else None


def is_sha(text: str) -> bool:
    """True for a whole object id."""
    return bool(_SHA.fullmatch(text))


def candidates(version: str) -> tuple[str, ...]:
    """Under which names a version is looked for among tags: `v1.2.3`, then `1.2.3`. Empty for what is no version."""
    if not _VERSION.fullmatch(version) or ".." in version or version.endswith((".", ".lock")):
        return ()
    bare = version.removeprefix("v")
    return (f"v{bare}", bare) if bare and bare[0].isdigit() else (version,)


def commit_prefix(version: str) -> str | None:
    """The version as a commit's id or the beginning of one; None when it cannot be."""
    return version.lower() if _ABBREVIATED.fullmatch(version.lower()) else None


def quoted(part: str) -> str:
    """A part of a path, slashes included, so that it cannot climb out of its place."""
    return quote(part, safe="")
