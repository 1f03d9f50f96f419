"""What the bot may do on GitHub, and what protects the branch: as far as GitHub tells the bot. Reads, changes nothing.

A bot with the rights it needs, and no more, cannot read all of this: what it may not see is None, never guessed.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

from bot.integrations.github.answers import (
    UPDATE_RULE,
    Account,
    Answer,
    Branch,
    ProtectedReviews,
    Protection,
    Pull,
    RepositoryPage,
    RequiredCheck,
    Rule,
    Ruleset,
    Statuses,
    UpdateRule,
    UpdateRules,
)
from bot.integrations.github.login import FixedToken, InstallationTokens
from bot.integrations.github.names import Repository, quoted
from bot.integrations.github.wants import OURS
from bot.integrations.github.wire import Wire
from commands.reasons import Refused

T = TypeVar("T", bound=Answer)


class Kind(StrEnum):
    """What the bot speaks with."""

    APP = "GitHub App"
    CLASSIC = "classic token"
    FIXED = "token"


@dataclass(frozen=True)
class Rights:
    """What the bot may do. `granted` has an App's permissions (`contents: write`) or a classic token's scopes.

    `app_id` is 0 for tokens. `unread` are the permissions that reading showed to be missing. `methods` are the ways to
    merge that the repository allows; None when that is not shown.
    """

    kind: Kind
    login: str
    app_id: int
    granted: tuple[str, ...]
    may_push: bool
    is_admin: bool
    is_everywhere: bool
    is_archived: bool
    unread: tuple[str, ...]
    methods: tuple[str, ...] | None


@dataclass(frozen=True)
class Guard:
    """What the branch asks of whoever changes it, by rulesets and branch protection together.

    None: GitHub does not show it to the bot. `approval_from` is the App that our status has to come from, None when
    anyone who may write can set it. `bypassers` names who may pass by the rules, the bot among them where it may.
    """

    pull_request: bool | None = False
    dismisses_stale: bool | None = False
    last_push: bool | None = False
    approval: bool | None = False
    approval_from: int | None = None
    bot_bypasses: bool | None = False
    bypassers: tuple[str, ...] | None = ()


_UNSEEN = Guard(None, None, None, None, None, None, None)


class Standing:
    """Looks at one repository and one branch."""

    def __init__(
        self, wire: Wire, credentials: FixedToken | InstallationTokens, repository: Repository, branch: str
    ) -> None:
        self._wire, self._credentials, self._branch = wire, credentials, branch
        self._repository, self._path = repository, repository.path

    def rights(self) -> Rights:
        """Refused (HOST_CREDENTIALS, HOST_REFUSED) or Retry when the repository itself cannot be read."""
        page = self._wire.get(RepositoryPage, self._path, need="metadata to read")
        kind, login, app_id, granted, everywhere = self._who()
        role = page.permissions
        is_app = kind is Kind.APP
        shown = {"merge": page.merge, "squash": page.squash, "rebase": page.rebase}
        return Rights(
            kind=kind,
            login=login,
            app_id=app_id,
            granted=granted,
            may_push="contents: write" in granted if is_app else bool(role and role.push),
            is_admin=any(one.startswith("administration") for one in granted) if is_app else bool(role and role.admin),
            is_everywhere=everywhere,
            is_archived=page.archived,
            unread=self._unread(),
            methods=None if None in shown.values() else tuple(name for name, allowed in shown.items() if allowed),
        )

    def _who(self) -> tuple[Kind, str, int, tuple[str, ...], bool]:
        if isinstance(self._credentials, InstallationTokens):
            found = self._credentials.installation()
            granted = tuple(f"{name}: {level}" for name, level in sorted(found.permissions.items()))
            return Kind.APP, f"{found.app_slug}[bot]", found.app_id, granted, found.repository_selection == "all"
        scopes = self._wire.scopes(self._path, need="metadata to read")
        user = self._optional(Account, "/user", "nothing in particular")
        return (Kind.CLASSIC if scopes else Kind.FIXED), user.login if user else "", 0, scopes, bool(scopes)

    def _unread(self) -> tuple[str, ...]:
        """Which of the permissions that are always needed are not even there for reading."""
        branch = quoted(self._branch)
        missing = []
        if self._optional(Branch, f"{self._path}/branches/{branch}", "contents to read") is None:
            missing.append("contents")
        if self._optional(Statuses, f"{self._path}/commits/{branch}/status", "commit statuses to read") is None:
            missing.append("commit statuses")
        try:
            next(self._wire.items(Pull, f"{self._path}/pulls", need="pull requests to read"), None)
        except Refused:
            missing.append("pull requests")
        return tuple(missing)

    def guard(self) -> Guard:
        """What protects the branch. Retry when GitHub cannot be asked; what may not be read is None."""
        branch = self._optional(Branch, f"{self._path}/branches/{quoted(self._branch)}", "contents to read")
        found = self._rulesets()
        if branch is None:
            return _together(found, _UNSEEN)
        if not branch.protected or not branch.protection.enabled:
            return found
        return _together(found, self._classic(branch))

    def _rulesets(self) -> Guard:
        try:
            path = f"{self._path}/rules/branches/{quoted(self._branch)}"
            rules = tuple(self._wire.items(Rule, path, need="metadata to read"))
        except Refused:
            return _UNSEEN
        asked = [one.parameters for one in rules if one.parameters]
        checks = [check for one in asked for check in one.required_status_checks]
        bot, others = self._bypass({one.ruleset_id for one in rules if one.ruleset_id})
        return Guard(
            pull_request=any(one.type == "pull_request" for one in rules),
            dismisses_stale=any(one.dismiss_stale_reviews_on_push for one in asked),
            last_push=any(one.require_last_push_approval for one in asked),
            approval=any(one.context == OURS for one in checks),
            approval_from=_source(checks),
            bot_bypasses=bot,
            bypassers=others,
        )

    def _bypass(self, rulesets: set[int]) -> tuple[bool | None, tuple[str, ...] | None]:
        """Whether the bot may pass by one of them, and who may."""
        bot: bool | None = False
        others: tuple[str, ...] | None = ()
        for number in sorted(rulesets):
            one = self._optional(Ruleset, f"{self._path}/rulesets/{number}", "metadata to read")
            told = one.current_user_can_bypass if one else None
            bot = _either(bot, None if told is None else told != "never")
            if one is None or one.bypass_actors is None:
                others = None
            elif others is not None:
                others += tuple(f"{who.actor_type} {who.actor_id or ''}".strip() for who in one.bypass_actors)
        return bot, others

    def _classic(self, branch: Branch) -> Guard:
        place = f"{self._path}/branches/{quoted(self._branch)}/protection"
        protection = self._optional(Protection, place, "administration to read")
        rule = self._update_rule()
        seen = protection.required_status_checks if protection else branch.protection.required_status_checks
        checks = seen.checks if seen else ()
        ours = any(one.context == OURS for one in checks) or bool(seen and OURS in seen.contexts)
        bypasses = rule.can_push if rule else None
        if protection is None:
            reviewed = rule.reviews is not None or rule.code_owners if rule else None
            return Guard(reviewed, None, None, ours, _source(checks), bypasses, None)
        reviews = protection.required_pull_request_reviews
        return Guard(
            pull_request=reviews is not None,
            dismisses_stale=bool(reviews and reviews.dismiss_stale_reviews),
            last_push=bool(reviews and reviews.require_last_push_approval),
            approval=ours,
            approval_from=_source(checks),
            bot_bypasses=bypasses,
            bypassers=(*_allowed(reviews), *(() if protection.enforce_admins.enabled else ("administrators",))),
        )

    def _update_rule(self) -> UpdateRule | None:
        ref = {"owner": self._repository.owner, "name": self._repository.name, "ref": f"refs/heads/{self._branch}"}
        try:
            return self._wire.query(UpdateRules, UPDATE_RULE, ref, need="contents to read").rule()
        except Refused:
            return None

    def _optional(self, kind: type[T], path: str, need: str) -> T | None:
        """None for what the bot may not read."""
        try:
            return self._wire.find(kind, path, need=need)
        except Refused:
            return None


def _source(checks: "list[RequiredCheck] | tuple[RequiredCheck, ...]") -> int | None:
    """The App that our status has to come from. GitHub writes -1 for any."""
    ids = [one.integration_id or one.app_id or 0 for one in checks if one.context == OURS]
    return next((one for one in ids if one > 0), None)


def _allowed(reviews: ProtectedReviews | None) -> tuple[str, ...]:
    allowed = reviews.bypass_pull_request_allowances if reviews else None
    if allowed is None:
        return ()
    return tuple(one.login or one.slug for one in (*allowed.users, *allowed.teams, *allowed.apps))


def _either(one: bool | None, other: bool | None) -> bool | None:  # noqa: FBT001 - a fact that may be unknown
    return True if one or other else None if one is None or other is None else False


def _together(one: Guard, other: Guard) -> Guard:
    """What is in force when both are. A way past one of them is told even where the other stands."""
    unseen = one.bypassers is None or other.bypassers is None
    return Guard(
        pull_request=_either(one.pull_request, other.pull_request),
        dismisses_stale=_either(one.dismisses_stale, other.dismisses_stale),
        last_push=_either(one.last_push, other.last_push),
        approval=_either(one.approval, other.approval),
        approval_from=one.approval_from or other.approval_from,
        bot_bypasses=_either(one.bot_bypasses, other.bot_bypasses),
        bypassers=None if unseen else (*(one.bypassers or ()), *(other.bypassers or ())),
    )
