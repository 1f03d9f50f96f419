"""GitHub: pull requests, reviews, statuses, merges and webhooks. `host` is the way in."""

from bot.integrations.github.host import GitHubHost
from bot.integrations.github.login import AppKey, Token
from bot.integrations.github.webhooks import Happened, Kind, parse, verify

__all__ = ["AppKey", "GitHubHost", "Happened", "Kind", "Token", "parse", "verify"]
