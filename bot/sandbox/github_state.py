"""The GitHub stand-in's memory: who there is, what was said of which commit, and the lock around all of it."""

import itertools
import threading
from collections.abc import Callable
from datetime import UTC, datetime

from bot.sandbox.github_git import Bare
from bot.sandbox.github_model import (
    Account,
    CheckRun,
    Comment,
    Grant,
    Kind,
    Pull,
    Role,
    Rules,
    Settings,
    Status,
    Team,
    not_found,
)
from bot.sandbox.github_rules import CODEOWNERS_PLACES, OwnerRule, parse_owners

_GHOST = Account(10137, "ghost", "Deleted user", "ghost@users.noreply.github.com", Role.NONE)


class State:
    """One repository and everyone around it. Whoever reads or writes holds `lock`."""

    def __init__(self, repository: str, git: Bare, clock: Callable[[], datetime] | None = None) -> None:
        self.lock = threading.RLock()
        self.clock = clock or (lambda: datetime.now(UTC))
        self.owner, _, self.name = repository.partition("/")
        self.repository = repository
        self.git = git
        self.settings = Settings()
        self.created = self.clock()
        self.accounts: dict[str, Account] = {}
        self.grants: dict[str, Grant] = {}
        self.teams: dict[str, Team] = {}
        self.pulls: dict[int, Pull] = {}
        self.comments: dict[int, Comment] = {}
        self.statuses: list[Status] = []
        self.runs: list[CheckRun] = []
        self.rules: dict[str, Rules] = {}
        self.refs: dict[str, str] = {}  # as last seen: what differs from it is news
        self.pushing = ""  # whose push is under way
        self.ids = itertools.count(1001)
        self.add(Account(next(self.ids), self.owner, self.owner, "", Role.ADMIN, Kind.ORGANIZATION))

    # ------------------------------------------------------------ people

    def add(self, account: Account) -> Account:
        """Remember an account, or put another in its place."""
        self.accounts[account.login.lower()] = account
        return account

    def account(self, login: str) -> Account:
        """By login, whatever its case; somebody who is not there is GitHub's ghost."""
        return self.accounts.get(login.lower(), _GHOST)

    def by_email(self, email: str) -> Account | None:
        """Whose commits have this address."""
        return next((one for one in self.accounts.values() if email and one.email.lower() == email.lower()), None)

    def role(self, login: str) -> Role:
        """What they may do in the repository."""
        return self.account(login).role

    def members(self, team: str) -> tuple[str, ...]:
        """Logins of `org/team`."""
        known = self.teams.get(team.lower())
        return known.members if known else ()

    # ------------------------------------------------------------ looking up

    def pull(self, number: int) -> Pull:
        """By number; 404 when there is none."""
        if number not in self.pulls:
            raise not_found()
        return self.pulls[number]

    def open_pulls(self) -> list[Pull]:
        """In the order they were opened."""
        return [pull for pull in self.pulls.values() if pull.open]

    def base_tip(self, pull: Pull) -> str:
        """The base a pull request is compared with: the branch's head, or what it was when the request ended."""
        return (self.git.branch(pull.base_branch) if pull.open else None) or pull.base_sha

    def statuses_of(self, sha: str) -> list[Status]:
        """Every status of a commit, newest first."""
        return [status for status in reversed(self.statuses) if status.sha == sha]

    def latest_statuses(self, sha: str) -> dict[str, Status]:
        """The last status of each context."""
        return {status.context: status for status in self.statuses if status.sha == sha}

    def runs_of(self, sha: str) -> list[CheckRun]:
        """The last check run of each name."""
        return list({run.name: run for run in self.runs if run.sha == sha}.values())

    def checks_of(self, sha: str) -> dict[str, str]:
        """Contexts and check runs by name, in the words that rules are held against."""
        found = {context: status.state for context, status in self.latest_statuses(sha).items()}
        for run in self.runs_of(sha):
            good = run.conclusion in {"success", "neutral", "skipped"}
            found[run.name] = "success" if good else "failure" if run.conclusion else "in_progress"
        return found

    def owner_rules(self, revision: str) -> tuple[OwnerRule, ...]:
        """CODEOWNERS as the base branch has it; no rules when there is no such file."""
        for place in CODEOWNERS_PLACES:
            entry = self.git.entry(revision, place)
            if entry and entry.kind == "blob":
                return parse_owners(self.git.blob(entry.sha).decode(errors="replace"))
        return ()
