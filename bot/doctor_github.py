"""What `locktender doctor` says of GitHub: the bot's rights there, and whether the branch really is protected.

The gate's promise is that production is changed by what was approved. The bot keeps it for what passes through the bot;
for everything else GitHub has to, and these are the settings it takes.
"""

from collections.abc import Iterator
from pathlib import Path

from bot.doctor_finding import Finding, bad, good, warning
from bot.integrations.github.host import GitHubHost
from bot.integrations.github.login import AppKey, Token
from bot.integrations.github.standing import Guard, Kind, Rights
from bot.integrations.github.wants import OURS
from bot.settings import Settings
from commands.catalogue import Catalogue
from commands.reasons import Fault

_NEEDED = ("contents: write", "pull_requests: write", "statuses: write")
_FITTING = {*_NEEDED, "metadata: read", "checks: read", "members: read"}
_SCOPE = "repo"
_RULES = "Settings → Rules (or Branches) of the repository"


def look(settings: Settings, known: Catalogue | None) -> Iterator[Finding]:
    """Every finding about the code host. Nothing is said of one that is neither configured nor needed."""
    reviewed = sorted(name for name, one in known.environments.items() if one.production_like) if known else []
    if not settings.code_host:
        if reviewed:
            what = f"{_listed(reviewed)}: changed by pull requests, and no code host is configured."
            yield bad(what, "Set GITHUB_REPOSITORY, and GITHUB_APP_ID with its key or GITHUB_TOKEN.")
        return
    commits = sorted(set(known.environments) - set(reviewed)) if known else []
    try:
        host = GitHubHost(
            settings.github_repository,
            api_url=settings.github_api_url,
            login=_login(settings),
            branch=settings.infra_repo_branch,
        )
    except Fault as fault:
        yield bad(fault.what, fault.next_step)
        return
    try:
        rights = host.standing().rights()
        yield from say_rights(rights, settings.github_repository)
        yield from say_guard(host.standing().guard(), rights, settings.infra_repo_branch, reviewed, commits)
    except Fault as fault:
        yield bad(fault.what, fault.next_step)
    finally:
        host.close()
    yield from _news(settings)


def _login(settings: Settings) -> Token | AppKey:
    if settings.github_app_id:
        return AppKey(settings.github_app_id, Path(settings.github_app_key))
    return Token(settings.github_token.get_secret_value())


def say_rights(rights: Rights, repository: str) -> Iterator[Finding]:
    """Too little to work with, and more than is needed. Pure."""
    who = f" as {rights.login}" if rights.login else ""
    yield good(f"GitHub: {repository}, with a {rights.kind}{who}")
    if rights.is_archived:
        yield bad("The repository is archived: GitHub takes no changes.", "Unarchive it, or name another.")
    yield from _too_little(rights, repository)
    yield from _too_much(rights)
    if rights.methods is not None:
        yield _methods(rights.methods)


def _too_little(rights: Rights, repository: str) -> Iterator[Finding]:
    if rights.unread:
        yield bad(
            f"The bot may not read {_listed(list(rights.unread))} of {repository}.",
            "Give it contents, pull requests and commit statuses, each to read and write.",
        )
    missing = [one for one in _NEEDED if one not in rights.granted] if rights.kind is Kind.APP else []
    if missing:
        yield bad(
            f"The GitHub App lacks {_listed(missing)}: changes cannot be opened, marked or merged.",
            "Add them in the App's settings; an owner of the organisation then has to accept them.",
        )
    elif rights.kind is Kind.CLASSIC and _SCOPE not in rights.granted:
        yield bad("The token lacks the scope `repo`.", "Better than adding it: use a GitHub App.")
    elif not rights.may_push:
        yield bad(
            f"The bot may only read {repository}: it can neither commit nor merge.",
            "Give its account write access (not administration), or use a GitHub App.",
        )
    elif rights.kind is Kind.FIXED:
        yield good("GitHub does not tell what this token may write: the first pull request will show it")


def _too_much(rights: Rights) -> Iterator[Finding]:
    if rights.is_admin:
        yield warning(
            "The bot may administer the repository, so whoever gets hold of its credentials can lift the protection "
            "and push to production.",
            "Take administration away from it: contents, pull requests and commit statuses are enough.",
        )
    if rights.kind is Kind.CLASSIC:
        what = (
            f"A classic token reaches every repository of {rights.login or 'its owner'}, and does not expire by itself."
        )
        yield warning(what, "Use a GitHub App, or a fine-grained token for this repository alone.")
    more = sorted(set(rights.granted) - ({_SCOPE} if rights.kind is Kind.CLASSIC else _FITTING))
    more = [one for one in more if not one.startswith("administration")]
    if more:
        yield warning(f"Rights that the bot does not need: {', '.join(more)}.", "Take them away: a thief has them too.")
    if rights.kind is Kind.APP and rights.is_everywhere:
        yield warning(
            "The GitHub App is installed on all repositories of the organisation.",
            "Install it on the infra-repo alone: `Only select repositories`.",
        )


def _methods(methods: tuple[str, ...]) -> Finding:
    if "merge" in methods:
        return good("merge commits are allowed: what was approved is kept as it is")
    if methods:
        return good(f"merges are by {methods[0]}: the repository allows no merge commits")
    return bad("The repository allows no way to merge a pull request.", "Allow merge commits in its settings.")


def say_guard(guard: Guard, rights: Rights, branch: str, reviewed: list[str], commits: list[str]) -> Iterator[Finding]:
    """What goes past the gate, and what the gate keeps out that should come in. Pure.

    `reviewed` are the environments whose changes are reviewed, `commits` those that are committed to directly.
    """
    if reviewed:
        yield from _pushes(guard, branch, reviewed, commits)
        yield from _approval(guard, rights, branch, reviewed)
        yield from _reviews(guard, branch)
    yield from _bypass(guard, rights, branch, commits, is_needed=bool(reviewed))
    unseen = [what for what, seen in _facts(guard) if seen is None] if reviewed else []
    if unseen:
        yield warning(
            f"The bot's rights do not show {_listed(unseen)} (it should not have those that do).",
            f"Look in {_RULES} yourself. A ruleset shows more of itself to the bot than a branch protection does.",
        )


def _facts(guard: Guard) -> tuple[tuple[str, object], ...]:
    return (
        ("whether only pull requests change the branch", guard.pull_request),
        (f"whether `{OURS}` is required", guard.approval),
        ("whether stale reviews are dismissed", guard.dismisses_stale),
        ("whether the last push needs somebody else's approval", guard.last_push),
        ("who may bypass the rules", guard.bypassers),
    )


def _pushes(guard: Guard, branch: str, reviewed: list[str], commits: list[str]) -> Iterator[Finding]:
    if guard.pull_request is False:
        yield bad(
            f"Anyone who may write can push to `{branch}`, and so change {_listed(reviewed)} without an approval.",
            f"Require a pull request before merging in {_RULES}."
            + (f" Let the bot's GitHub App pass, for its commits to {_listed(commits)}." if commits else ""),
        )
    elif guard.pull_request:
        yield good(f"`{branch}` is changed by pull requests only")


def _approval(guard: Guard, rights: Rights, branch: str, reviewed: list[str]) -> Iterator[Finding]:
    if guard.approval is False:
        yield bad(
            f"GitHub merges into `{branch}` without `{OURS}`: a pull request for {_listed(reviewed)} can be merged by "
            "its button before anybody has approved in Slack.",
            f"Require the status `{OURS}` in {_RULES}, with the bot's GitHub App as its source.",
        )
        return
    if not guard.approval:
        return
    if guard.approval_from is None:
        yield warning(
            f"`{OURS}` is required, but from anyone: whoever may write can set it themselves.",
            f"Choose the bot's GitHub App as the source of the status in {_RULES}."
            if rights.kind is Kind.APP
            else "Only a GitHub App can be named as the source of a status: use one instead of a token.",
        )
    elif guard.approval_from != rights.app_id:
        yield bad(
            f"`{OURS}` is required from another GitHub App ({guard.approval_from}) than the bot's: nothing can merge.",
            f"Choose the bot's App as its source in {_RULES}.",
        )
    else:
        yield good(f"`{OURS}` is required, from the bot alone")


def _reviews(guard: Guard, branch: str) -> Iterator[Finding]:
    if guard.dismisses_stale is False:
        yield warning(
            f"Reviews stay when a pull request into `{branch}` gets new commits: GitHub counts an approval of what "
            "is no longer there. (The bot itself does not.)",
            f"Turn on `Dismiss stale pull request approvals when new commits are pushed` in {_RULES}.",
        )
    if guard.last_push is False:
        yield warning(
            f"Whoever pushes last to a pull request into `{branch}` may approve it on GitHub as well.",
            f"Turn on `Require approval of the most recent reviewable push` in {_RULES}.",
        )
    if guard.dismisses_stale and guard.last_push:
        yield good("stale reviews are dismissed, and the last push needs somebody else's approval")


def _bypass(guard: Guard, rights: Rights, branch: str, commits: list[str], *, is_needed: bool) -> Iterator[Finding]:
    mine = {rights.login, rights.login.removesuffix("[bot]"), f"Integration {rights.app_id}"}
    others = [one for one in guard.bypassers or () if one not in mine]
    if others and is_needed:
        yield warning(
            f"The rules of `{branch}` do not hold for {_listed(others)}.",
            f"Empty the bypass list in {_RULES}: `/deploy … --break-glass` is the way that leaves a record.",
        )
    if commits and guard.pull_request and guard.bot_bypasses is False:
        yield bad(
            f"{_listed(commits)}: committed to directly, and `{branch}` refuses the bot's pushes.",
            "Put the bot's GitHub App on the bypass list, or give them `change: pull-request` and an `approval`.",
        )
    elif guard.bot_bypasses and guard.pull_request and is_needed:
        yield warning(
            f"The bot may push to `{branch}` past the rules, and so may whoever gets hold of its credentials.",
            f"That is what commits to {_listed(commits)} take. To end it, give those `change: pull-request` and an "
            "`approval`, then take the bot off the bypass list."
            if commits
            else "Take it off the bypass list: nothing that it does needs it.",
        )


def _news(settings: Settings) -> Iterator[Finding]:
    if settings.github_webhook_secret.get_secret_value():
        yield good("webhooks are taken, with GITHUB_WEBHOOK_SECRET")
    else:
        yield good(
            f"no GITHUB_WEBHOOK_SECRET: pull requests are looked at every {settings.gate_poll_seconds:g} seconds"
        )


def _listed(words: list[str]) -> str:
    return " and ".join(words) if len(words) < 3 else f"{', '.join(words[:-1])} and {words[-1]}"
