"""Whether a pull request can be merged, and merging it: real merges in the bare repository, GitHub's words."""

from enum import StrEnum

from bot.sandbox.github_git import CommitInfo, Ident
from bot.sandbox.github_model import GitHubError, Pull, Role, RuleSource
from bot.sandbox.github_rules import Facts, owners_of, wants
from bot.sandbox.github_state import State

_GITHUB = ("GitHub", "noreply@github.com")
_NOT_MERGEABLE = "Pull Request is not mergeable"
_HEAD_MOVED = "Head branch was modified. Review and try the merge again."
BASE_MOVED = "Base branch was modified. Review and try the merge again."
_PAGE = "pulls/pulls#merge-a-pull-request"


class Method(StrEnum):
    """How commits get into the base."""

    MERGE = "merge"
    SQUASH = "squash"
    REBASE = "rebase"


def wanted(state: State, pull: Pull) -> list[str]:
    """What the base branch's rules still want, as sentences."""
    rules = state.rules.get(pull.base_branch)
    if rules is None:
        return []
    tip = state.base_tip(pull)
    base = state.git.merge_base(tip, pull.head_sha)
    owner_rules = state.owner_rules(tip) if rules.code_owners else ()
    changed = state.git.changes(base, pull.head_sha) if base and owner_rules else ()
    paths = [path for change in changed for path in (change.path, change.previous) if path]
    owned = tuple(owners for path in paths if (owners := owners_of(owner_rules, path)))
    facts = Facts(pull, state.role, state.members, owned, state.checks_of(pull.head_sha), up_to_date=base == tip)
    return wants(rules, facts)


def mergeable_state(state: State, pull: Pull) -> str:
    """GitHub's `mergeable_state`, worked out now."""
    if not pull.open:
        return "unknown"
    tip = state.base_tip(pull)
    rules = state.rules.get(pull.base_branch)
    if state.git.merge_tree(tip, pull.head_sha) is None:
        return "dirty"
    if pull.draft:
        return "draft"
    missing = wanted(state, pull)
    behind = bool(rules and rules.strict) and not state.git.holds(pull.head_sha, tip)
    if missing and not (behind and len(missing) == 1):
        return "blocked"
    if behind:
        return "behind"
    unhappy = set(state.checks_of(pull.head_sha).values()) - {"success"}
    return "unstable" if unhappy else "clean"


def look(state: State, pull: Pull) -> str:
    """What a client is told: GitHub starts to work it out at the first look after a change, and answers `unknown`."""
    seen = (pull.head_sha, state.base_tip(pull))
    if pull.open and pull.looked_at != seen:
        pull.looked_at = seen
        return "unknown"
    return mergeable_state(state, pull)


def check_mergeable(state: State, pull: Pull, login: str, method: Method, sha: str) -> None:
    """Raise what GitHub answers when this merge may not be."""
    if not pull.open:
        raise GitHubError(405, _NOT_MERGEABLE, page=_PAGE)
    if pull.draft:
        raise GitHubError(405, "Pull Request is still a draft", page=_PAGE)
    if sha and sha != pull.head_sha:
        raise GitHubError(409, _HEAD_MOVED, page=_PAGE)
    settings = state.settings
    allowed = {Method.MERGE: settings.merge, Method.SQUASH: settings.squash, Method.REBASE: settings.rebase}
    if not allowed[method]:
        kind = "Merge commits" if method is Method.MERGE else f"{method.value.capitalize()} merges"
        raise GitHubError(405, f"{kind} are not allowed on this repository.", page=_PAGE)
    if mergeable_state(state, pull) == "dirty":
        raise GitHubError(405, _NOT_MERGEABLE, page=_PAGE)
    rules = state.rules.get(pull.base_branch)
    missing = wanted(state, pull)
    if rules and missing and (rules.enforce_admins or state.role(login) < Role.ADMIN):
        text = " ".join(missing)
        if rules.source is RuleSource.RULESET:
            text = "Repository rule violations found\n\n" + "\n\n".join(missing)
        raise GitHubError(405, text, page=_PAGE)


def merge(state: State, pull: Pull, login: str, method: Method, title: str | None, message: str | None) -> str:
    """Make the commits and move the base onto them; returns its new head. 405 when the base moves just then."""
    tip = state.base_tip(pull)
    made = {Method.MERGE: _merge, Method.SQUASH: _squash, Method.REBASE: _rebase}[method]
    new = made(state, pull, login, tip, title, message)
    if not state.git.move(f"refs/heads/{pull.base_branch}", new, tip):
        raise GitHubError(405, BASE_MOVED, page=_PAGE)
    return new


def _merge(state: State, pull: Pull, login: str, tip: str, title: str | None, message: str | None) -> str:
    subject = title or f"Merge pull request #{pull.number} from {state.owner}/{pull.head_branch}"
    text = _text(subject, pull.title if message is None else message)
    tree = _tree(state.git.merge_tree(tip, pull.head_sha))
    return state.git.commit_tree(tree, (tip, pull.head_sha), text, person(state, login), Ident(*_GITHUB))


def _squash(state: State, pull: Pull, login: str, tip: str, title: str | None, message: str | None) -> str:
    """One commit by whoever opened the pull request; other authors are thanked in trailers."""
    del login
    commits = state.git.between(tip, pull.head_sha)
    first = commits[0].message.partition("\n")
    single = len(commits) == 1
    subject = title or f"{first[0] if single else pull.title} (#{pull.number})"
    if message is None:
        body = first[2].strip() if single else "\n\n".join(f"* {info.message}" for info in commits)
    else:
        body = message
    author = person(state, pull.login)
    others = dict.fromkeys(info.author for info in commits if info.author.email != author.email)
    thanks = "\n".join(dict.fromkeys(f"Co-authored-by: {other.name} <{other.email}>" for other in others))
    text = _text(subject, f"{body}\n\n{thanks}".strip() if thanks else body)
    tree = _tree(state.git.merge_tree(tip, pull.head_sha))
    return state.git.commit_tree(tree, (tip,), text, author, Ident(*_GITHUB))


def _rebase(state: State, pull: Pull, login: str, tip: str, title: str | None, message: str | None) -> str:
    """Every commit again on top of the base: same author, another committer, another id."""
    del title, message
    onto = tip
    for info in state.git.between(tip, pull.head_sha):
        if len(info.parents) < 2:
            onto = _picked(state, info, onto, login)
    return onto


def _picked(state: State, info: CommitInfo, onto: str, login: str) -> str:
    tree = _tree(state.git.picked_tree(info, onto))
    return state.git.commit_tree(tree, (onto,), info.message, info.author, person(state, login))


def person(state: State, login: str) -> Ident:
    """How an account signs the commits that are made on the server."""
    account = state.account(login)
    email = account.email or f"{account.id}+{account.login}@users.noreply.github.com"
    return Ident(account.name or account.login, email)


def _tree(tree: str | None) -> str:
    if tree is None:
        raise GitHubError(405, _NOT_MERGEABLE, page=_PAGE)
    return tree


def _text(subject: str, body: str) -> str:
    return f"{subject}\n\n{body}".strip() + "\n"
