"""Where a commit can be looked at."""

import re
from urllib.parse import urlsplit

from bot.settings import Settings


def commit_link(settings: Settings) -> "_CommitLink":
    """How to link a commit, from GITHUB_REPOSITORY or an https infra-repo on a host that is known to have pages."""
    if settings.github_repository:
        host = urlsplit(settings.github_api_url).hostname or "api.github.com"
        web_host = "github.com" if host == "api.github.com" else host
        return _CommitLink(f"https://{web_host}/{settings.github_repository}/commit/")
    match = re.fullmatch(
        r"(?:https://(?:[^@/]*@)?|ssh://git@|git@)(github\.com|gitlab\.com)[/:](.+?)(?:\.git)?/?",
        settings.infra_repo_url,
    )
    return _CommitLink(f"https://{match.group(1)}/{match.group(2)}/commit/" if match else "")


class _CommitLink:
    """From a commit id to its page; empty when nobody knows where pages are."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix

    def __call__(self, sha: str) -> str:
        return f"{self._prefix}{sha}" if self._prefix else ""
