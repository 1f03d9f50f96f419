"""A stand-in for GitHub: the REST a client uses, webhooks, and people who review, merge and push, over real git.

    github = GitHub(git, "company/infra", token)
    with Server(github.app) as server, github: ...

Held to GitHub's OpenAPI description and to Octokit's webhook examples by `tests/contract/test_github_stand_in*.py`, and
no kinder than GitHub: what it refuses, it refuses with GitHub's status and words. Left out: forks, review comments on
lines, merge queues, letting those who may bypass a rule do so, and GraphQL but for `refUpdateRule`.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from types import TracebackType
from typing import Self

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route as WebRoute
from starlette.types import ASGIApp

from bot.sandbox.git_http import GitServer, Push
from bot.sandbox.github_api_pulls import PullCalls
from bot.sandbox.github_api_repository import RepositoryCalls
from bot.sandbox.github_app import App, Apps
from bot.sandbox.github_git import Bare
from bot.sandbox.github_graphql import GraphQl
from bot.sandbox.github_http import Edge, Limits
from bot.sandbox.github_json_people import Places
from bot.sandbox.github_merge import BASE_MOVED, Method, mergeable_state
from bot.sandbox.github_model import (
    Account,
    CheckRun,
    Comment,
    GitHubError,
    Grant,
    Kind,
    Pull,
    Review,
    Role,
    Rules,
    Settings,
    Status,
    Team,
)
from bot.sandbox.github_payloads import Events
from bot.sandbox.github_pulls import Pulls
from bot.sandbox.github_state import State
from bot.sandbox.github_webhooks import Webhooks
from bot.sandbox.server import Faults

BOT = "locktender-bot"
_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]

__all__ = ["BOT", "App", "GitHub", "GitHubError", "Role", "Rules"]


class GitHub:
    """One repository of one organization. `app` serves the REST below `/` and below `/api/v3`, spoilt by `faults`.

    `token` is a classic token of the user `bot`, who may write. `repository` must exist in `git` before it is used;
    its branches may be moved by anyone in any way, the stand-in looks at them before every call.
    """

    def __init__(
        self,
        git: GitServer,
        repository: str,
        token: str,
        *,
        bot: str = BOT,
        clock: Callable[[], datetime] | None = None,
    ) -> None:
        self.git, self.repository = git, repository
        self.state = State(repository, Bare(git.path(repository)), clock)
        self.faults = Faults()
        self.hooks = Webhooks()
        self._events = Events(self.state, self.hooks, lambda pull: mergeable_state(self.state, pull))
        self._pulls = Pulls(self.state, self._events)
        self._apps = Apps(self.state)
        self.limits = Limits()
        calls = RepositoryCalls(self.state, self._pulls, self._events, self.limits)
        pulls, graphql = PullCalls(self.state, self._pulls), GraphQl(self.state)
        routes = (*self._apps.routes(), *graphql.routes(), *pulls.routes(), *calls.routes())
        self._edge = Edge(self.state, routes, self.limits, self._apps.caller, self._before)
        pages = [WebRoute("/{path:path}", self._answer, methods=_METHODS)]
        self.plain: ASGIApp = Starlette(routes=pages)  # never spoilt; for who wants to listen in between
        self.app: ASGIApp = self.faults.wrap(self.plain)
        self.user(bot)
        self.token(token, bot)
        self.state.refs = self.state.git.refs("refs/heads", "refs/tags")
        git.who = self._pusher
        git.on_push = self._pushed

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.hooks.stop()

    def _before(self, places: Places) -> None:
        """Before every call: links lead to where the caller is, and what git did meanwhile is noticed."""
        self._events.places = places
        self._pulls.notice()

    async def _answer(self, request: Request) -> Response:
        return await self._edge.answer(request)

    # ------------------------------------------------------------ git's side

    def _pusher(self, token: str, service: str) -> str:
        """Whose token it is, when it is good for this: a push needs write access."""
        with self.state.lock:
            grant = self.state.grants.get(token)
            if grant is None or (grant.expires and grant.expires <= self.state.clock()):
                return ""
            writes = service == "git-receive-pack"
            wanted = {"write"} if writes else {"read", "write"}
            granted = grant.permissions is None or grant.permissions.get("contents") in wanted
            if not granted or self.state.role(grant.login) < (Role.WRITE if writes else Role.READ):
                return ""
            if writes:
                self.state.pushing = grant.login
            return grant.login

    def _pushed(self, push: Push) -> None:
        if push.repository.removesuffix(".git").lower() == self.repository.lower():
            with self.state.lock:
                self._pulls.notice(push.pusher)
                self.state.pushing = ""

    # ------------------------------------------------------------ what tests look at

    @property
    def settings(self) -> Settings:
        """The repository's own settings: change them in place."""
        return self.state.settings

    @property
    def calls(self) -> list[tuple[str, str, int]]:
        """Every call so far: method, path, status."""
        return self._edge.calls

    def pull(self, number: int) -> Pull:
        """A pull request, as it is now: not a copy."""
        with self.state.lock:
            self._pulls.notice()
            return self.state.pull(number)

    def pulls(self) -> list[Pull]:
        """All of them, oldest first."""
        with self.state.lock:
            self._pulls.notice()
            return list(self.state.pulls.values())

    def comments(self, number: int) -> list[Comment]:
        """The comments below a pull request, oldest first."""
        with self.state.lock:
            return [comment for comment in self.state.comments.values() if comment.number == number]

    def status(self, sha: str, context: str) -> Status | None:
        """The last status of a context."""
        with self.state.lock:
            return self.state.latest_statuses(sha).get(context)

    def mergeable(self, number: int) -> str:
        """GitHub's `mergeable_state`, without the wait for it."""
        with self.state.lock:
            return mergeable_state(self.state, self.state.pull(number))

    def branch(self, name: str) -> str | None:
        """A branch's head."""
        return self.state.git.branch(name)

    # ------------------------------------------------------------ who there is

    def user(
        self, login: str, *, email: str = "", name: str = "", role: Role = Role.WRITE, kind: Kind = Kind.USER
    ) -> Account:
        """An account that may do this much; a known login is changed."""
        with self.state.lock:
            known = self.state.accounts.get(login.lower())
            number = known.id if known else next(self.state.ids)
            return self.state.add(
                Account(number, login, name or login, email or f"{login}@company.example", role, kind)
            )

    def token(
        self, value: str, login: str, *, lifetime: timedelta | None = None, scopes: tuple[str, ...] = ("repo",)
    ) -> None:
        """A person's token: what it may do is what the person may. A classic one has scopes, which GitHub tells."""
        with self.state.lock:
            expires = self.state.clock() + lifetime if lifetime else None
            self.state.grants[value] = Grant(login, None, expires, scopes)

    def revoke(self, value: str) -> None:
        """Accept this token no more, neither here nor for git."""
        with self.state.lock:
            self.state.grants.pop(value, None)

    def install(self, app: App) -> None:
        """An App that may get tokens for the repository."""
        with self.state.lock:
            self._apps.install(app)
            self._events.installation = app.installation

    def installation_tokens(self) -> list[str]:
        """The tokens that the App was given, oldest first."""
        return list(self._apps.given)

    def team(self, name: str, members: list[str]) -> None:
        """A team `organization/slug` with these members; a known one is changed."""
        with self.state.lock:
            organization, _, slug = name.partition("/")
            known = self.state.teams.get(name.lower())
            number = known.id if known else next(self.state.ids)
            self.state.teams[name.lower()] = Team(number, organization, slug, tuple(members))

    # ------------------------------------------------------------ rules

    def require(
        self,
        *,
        reviews: int = 0,
        code_owners: bool = False,
        checks: tuple[str, ...] = (),
        dismiss_stale: bool = False,
        last_push: bool = False,
        strict: bool = False,
    ) -> None:
        """Protect the default branch: pushes are refused, and a merge needs this. Administrators are not spared."""
        self.protect(Rules(reviews, code_owners, checks, dismiss_stale, last_push, strict))

    def protect(self, rules: Rules, branch: str = "") -> None:
        """Protect a branch (the default one) by these rules."""
        with self.state.lock:
            self.state.rules[branch or self.settings.default_branch] = rules
            self.git.protect(self.repository, *self.state.rules)

    def unprotect(self, branch: str = "") -> None:
        """Let everyone who may write push again."""
        with self.state.lock:
            self.state.rules.pop(branch or self.settings.default_branch, None)
            self.git.protect(self.repository, *self.state.rules)

    # ------------------------------------------------------------ what people do; refusals are GitHubError

    def open(self, login: str, head: str, title: str, *, base: str = "", body: str = "", draft: bool = False) -> Pull:
        """Open a pull request."""
        with self.state.lock:
            self._pulls.notice()
            return self._pulls.create(login, title, head, base or self.settings.default_branch, body, draft=draft)

    def edit(self, number: int, login: str, *, title: str | None = None, body: str | None = None) -> None:
        """Write title or body anew."""
        with self.state.lock:
            self._pulls.edit(self.pull(number), login, title, body, None)

    def ready(self, number: int) -> None:
        """Take a draft for ready."""
        with self.state.lock:
            self.pull(number).draft = False

    def review(self, number: int, login: str, event: str, body: str = "") -> Review:
        """`APPROVE`, `REQUEST_CHANGES` or `COMMENT`, on the head as it is now."""
        with self.state.lock:
            return self._pulls.review(self.pull(number), login, event, body)

    def dismiss(self, number: int, review: int, login: str, message: str = "dismissed") -> None:
        """Dismiss a review, by its id."""
        with self.state.lock:
            pull = self.pull(number)
            found = next((one for one in pull.reviews if one.id == review), None)
            if found is None:
                raise GitHubError(404, "Not Found")
            self._pulls.dismiss(pull, found, login, message)

    def comment(self, number: int, login: str, body: str) -> Comment:
        """Comment below a pull request."""
        with self.state.lock:
            return self._pulls.comment(self.pull(number), login, body)

    def merge(self, number: int, login: str, method: Method = Method.MERGE) -> str:
        """Press the button; returns the base's new head."""
        with self.state.lock:
            return self._pulls.merge(self.pull(number), login, method)

    def close(self, number: int, login: str) -> None:
        """Close a pull request without merging it."""
        with self.state.lock:
            self._pulls.edit(self.pull(number), login, None, None, "closed")

    def reopen(self, number: int, login: str) -> None:
        """Open it again."""
        with self.state.lock:
            self._pulls.edit(self.pull(number), login, None, None, "open")

    def push(self, branch: str, files: dict[str, str | None], login: str, *, message: str = "By hand") -> str:
        """A commit on top of the branch (new ones start at the default branch); None removes a file."""
        with self.state.lock:
            self._pulls.notice()
            return self._pulls.push(branch, files, login, message)

    def force(self, branch: str, sha: str, login: str) -> None:
        """Force-push a branch to a commit that is there."""
        with self.state.lock:
            self._pulls.notice()
            self.state.git.run("update-ref", f"refs/heads/{branch}", sha)
            self._pulls.notice(login)

    def set_status(self, sha: str, context: str, state: str, login: str, description: str = "") -> Status:
        """A commit status by somebody: pending, success, failure or error."""
        with self.state.lock:
            now = self.state.clock()
            made = Status(next(self.state.ids), sha, context, state, description or None, None, login, now)
            self.state.statuses.append(made)
            self._events.status(made)
            return made

    def set_check(self, sha: str, name: str, conclusion: str) -> CheckRun:
        """A check run: empty while it runs, then success, failure, neutral, cancelled, skipped, timed_out."""
        with self.state.lock:
            run = CheckRun(next(self.state.ids), sha, name, conclusion, self.state.clock())
            self.state.runs.append(run)
            return run

    # ------------------------------------------------------------ trouble and webhooks

    def trip(self, message: str = BASE_MOVED, *, status: int = 405, times: int = 1) -> None:
        """Refuse the next merges in these words: GitHub does so when branches move, or locks are held, just then."""
        with self.state.lock:
            self._pulls.trips += [GitHubError(status, message)] * times

    def webhooks(self, url: str, secret: str) -> Webhooks:
        """Send signed deliveries to this address from now on."""
        self.hooks.start(url, secret)
        return self.hooks
