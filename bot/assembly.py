"""Parts that are made from the settings alone."""

import socket
from pathlib import Path
from uuid import uuid4

from bot.integrations.github.host import GitHubHost
from bot.integrations.github.login import AppKey, Token
from bot.settings import Settings


def code_host(settings: Settings) -> GitHubHost | None:
    """GitHub, by a token or as an App; None when no repository is named."""
    if not settings.code_host:
        return None
    login: Token | AppKey = (
        AppKey(settings.github_app_id, Path(settings.github_app_key))
        if settings.github_app_id
        else Token(settings.github_token.get_secret_value())
    )
    return GitHubHost(
        settings.github_repository,
        api_url=settings.github_api_url,
        login=login,
        branch=settings.infra_repo_branch,
    )


def executor() -> str:
    """A name of this process's own: a replica that comes back must not take over a living one's work by name."""
    return f"{socket.gethostname()}-{uuid4().hex[:8]}"
