"""Reads why GitHub holds a pull request back: rules, reviews, checks and code owners, each as far as the bot may.

https://docs.github.com/en/rest/repos/rules#get-rules-for-a-branch may be read by all who can read the repository, a
classic branch protection only by those who administer it. Others see the checks, and by GraphQL most of the rest.
"""

import base64
import binascii
from collections.abc import Callable, Mapping
from typing import TypeVar

from bot.integrations.github import wants
from bot.integrations.github.answers import (
    UPDATE_RULE,
    Access,
    Answer,
    Branch,
    ChangedFile,
    CheckRun,
    CheckRuns,
    Content,
    Protection,
    Pull,
    Rule,
    Status,
    Statuses,
    UpdateRule,
    UpdateRules,
)
from bot.integrations.github.codeowners import PLACES, owned
from bot.integrations.github.names import Repository, quoted
from bot.integrations.github.wants import Check, Facts, Outcome, Rules, Unreviewed
from bot.integrations.github.wire import Wire
from commands.code_host import Mergeability, Review, Verdict
from commands.reasons import Refused

T = TypeVar("T", bound=Answer)
_DECISIVE = {Verdict.APPROVED, Verdict.CHANGES_REQUESTED, Verdict.DISMISSED}


class Inspector:
    """Looks at one repository. `reviews` and `members` are the host's own ways to read reviews and teams."""

    def __init__(
        self,
        wire: Wire,
        repository: Repository,
        *,
        reviews: Callable[[int], tuple[Review, ...]],
        members: Callable[[str], frozenset[str] | None],
    ) -> None:
        self._wire, self._repository, self._path = wire, repository, repository.path
        self._reviews, self._members = reviews, members

    def look(self, pull: Pull) -> Mergeability:
        """Whether GitHub would merge it. Retry when GitHub cannot be asked; what may not be read is left out."""
        return wants.at_a_glance(pull) or wants.judge(pull, self._facts(pull))

    def _facts(self, pull: Pull) -> Facts:
        rules = self._rules(pull.base.ref)
        approvals, objections, on_head = self._verdicts(pull) if rules.reviews or rules.code_owners else _NOBODY
        return Facts(
            rules=rules,
            approvals=approvals,
            approved_head=on_head,
            objections=objections,
            unreviewed=self._unreviewed(pull, approvals) if rules.code_owners else (),
            checks=self._checks(pull.head.sha) if rules.checks else {},
        )

    def _rules(self, base: str) -> Rules:
        branch_path = f"{self._path}/branches/{quoted(base)}"
        try:
            need = "metadata to read"
            found = wants.of_rulesets(self._wire.items(Rule, f"{self._path}/rules/branches/{quoted(base)}", need=need))
        except Refused:
            found = Rules(whole=False)
        branch = self._optional(Branch, branch_path, "contents to read")
        if branch is None or not branch.protected or not branch.protection.enabled:
            return found if branch else wants.together(found, Rules(whole=False))
        protection = self._optional(Protection, f"{branch_path}/protection", "administration to read")
        if protection:
            return wants.together(found, wants.of_protection(protection))
        rule = self._update_rule(base)
        seen = wants.of_update_rule(rule) if rule else Rules(whole=False)
        return wants.together(found, wants.together(seen, wants.of_summary(branch)))

    def _update_rule(self, base: str) -> UpdateRule | None:
        ref = {"owner": self._repository.owner, "name": self._repository.name, "ref": f"refs/heads/{base}"}
        try:
            return self._wire.query(UpdateRules, UPDATE_RULE, ref, need="contents to read").rule()
        except Refused:
            return None

    def _verdicts(self, pull: Pull) -> tuple[frozenset[str], tuple[str, ...], bool]:
        """Who approved and who asked for changes, by everyone's last word, and whether the head itself was approved."""
        last: dict[str, Review] = {}
        for review in self._reviews(pull.number):
            if review.login and review.verdict in _DECISIVE:
                last[review.login] = review
        given = [review for review in last.values() if review.verdict is not Verdict.DISMISSED]
        counted = [review for review in given if self._may_write(review.login)]
        approved = [review for review in counted if review.verdict is Verdict.APPROVED]
        return (
            frozenset(review.login for review in approved),
            tuple(review.login for review in counted if review.verdict is Verdict.CHANGES_REQUESTED),
            any(review.commit_sha == pull.head.sha for review in approved),
        )

    def _may_write(self, login: str) -> bool:
        """True when they may, and when that cannot be read: GitHub decides, this only words it."""
        path = f"{self._path}/collaborators/{quoted(login)}/permission"
        access = self._optional(Access, path, "metadata to read")
        return access is None or access.permission in {"admin", "write", "maintain"}

    def _unreviewed(self, pull: Pull, approvals: frozenset[str]) -> tuple[Unreviewed, ...]:
        text = next(filter(None, (self._file(place, pull.base.ref) for place in PLACES)), "")
        paths: set[str] = set()
        if text:
            path = f"{self._path}/pulls/{pull.number}/files"
            for one in self._wire.items(ChangedFile, path, need="pull requests to read"):
                paths |= {one.filename, one.previous_filename} - {""}
        return tuple(Unreviewed(one) for one in owned(text, paths) if not self._satisfied(one.owners, approvals))

    def _satisfied(self, owners: tuple[str, ...], approvals: frozenset[str]) -> bool:
        for owner in owners:
            name = owner.removeprefix("@").lower()
            members = (self._members(name) or frozenset()) if "/" in name else frozenset({name})
            if members & approvals:
                return True
        return False

    def _file(self, place: str, ref: str) -> str:
        try:
            path, query = f"{self._path}/contents/{place}", {"ref": ref}
            found = self._wire.find(Content, path, need="contents to read", query=query)
            return base64.b64decode(found.content).decode("utf-8", "replace") if found else ""
        except (Refused, binascii.Error):
            return ""

    def _checks(self, sha: str) -> Mapping[str, Check]:
        """The latest of each name. Where a status and a check run share a name, GitHub wants both to pass."""
        found: dict[str, Check] = {}
        checks = [
            *((status.context, wants.of_status(status)) for status in self._statuses(sha)),
            *((run.name, wants.of_run(run)) for run in self._runs(sha)),
        ]
        for name, check in checks:
            if name not in found or found[name].outcome is Outcome.PASSED:
                found[name] = check
        return found

    def _statuses(self, sha: str) -> list[Status]:
        path = f"{self._path}/commits/{sha}/status"
        pages = self._wire.pages(Statuses, path, need="commit statuses to read")
        return self._all(lambda: [one for page in pages for one in page.statuses])

    def _runs(self, sha: str) -> list[CheckRun]:
        path = f"{self._path}/commits/{sha}/check-runs"
        pages = self._wire.pages(CheckRuns, path, need="checks to read", query={"filter": "latest"})
        return self._all(lambda: [one for page in pages for one in page.check_runs])

    def _optional(self, kind: type[T], path: str, need: str) -> T | None:
        """The answer, or None when the bot may not read it or there is none."""
        try:
            return self._wire.get(kind, path, need=need)
        except Refused:
            return None

    def _all(self, read: Callable[[], list[T]]) -> list[T]:
        try:
            return read()
        except Refused:
            return []


_NOBODY: tuple[frozenset[str], tuple[str, ...], bool] = (frozenset(), (), False)
