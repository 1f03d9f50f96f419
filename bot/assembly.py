"""Parts that are made from the settings, for the composition root.

What only some installations use (GitHub's client, the pages) is imported where it is made: the others stay smaller.
"""

import socket
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from bot.links import commit_link
from bot.settings import Settings
from commands.facts import Facts
from commands.ports import Person
from storage.unit_of_work import Store

if TYPE_CHECKING:
    from bot.integrations.github.host import GitHubHost
    from bot.web.pages.site import Site


def code_host(settings: Settings) -> "GitHubHost | None":
    """GitHub, by a token or as an App; None when no repository is named."""
    if not settings.code_host:
        return None
    from bot.integrations.github.host import GitHubHost
    from bot.integrations.github.login import AppKey, Token

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


def site(
    settings: Settings, store: Store, facts: Callable[[], Facts], person: Callable[[str, str], Person], origin: str
) -> "Site | None":
    """The pages; None where nobody has said at which address browsers find them. KeyFileError for their key."""
    if not settings.public_url:
        return None
    from bot.web.pages.seal import Seal, ensure_key
    from bot.web.pages.site import Parts, Site

    seal = Seal(ensure_key(settings.home / "pages.key"), store.clock)
    return Site(Parts(store, facts, seal, person, commit_link(settings), origin, settings.public_url))


def executor() -> str:
    """A name of this process's own: a replica that comes back must not take over a living one's work by name."""
    return f"{socket.gethostname()}-{uuid4().hex[:8]}"
