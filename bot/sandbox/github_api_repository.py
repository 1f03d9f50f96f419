"""The calls about the repository, its branches, refs, commits, statuses and files, and about users and teams."""

import re
from urllib.parse import urlparse

from bot.sandbox.github_git import EMPTY_TREE, NOTHING
from bot.sandbox.github_http import Answer, Call, Limits, Page, Route
from bot.sandbox.github_json_git import RULESET
from bot.sandbox.github_model import GitHubError, Role, RuleSource, Status, Team, invalid, not_found
from bot.sandbox.github_payloads import Events
from bot.sandbox.github_pulls import Pulls
from bot.sandbox.github_state import State

_REPO = "/repos/{owner}/{repo}"
_CONTENTS = "contents:read"
_STATES = {"error", "failure", "pending", "success"}
_MOST_STATUSES = 1000  # of one context on one commit
_FULL = re.compile(r"[0-9a-f]{40}")
_RESOURCES = ("core", "search", "graphql", "integration_manifest")


class RepositoryCalls:
    """Reads the words of a call, does it, renders the answer."""

    def __init__(self, state: State, pulls: Pulls, events: Events, limits: Limits) -> None:
        self.state, self._pulls, self._events, self._limits = state, pulls, events, limits

    def routes(self) -> tuple[Route, ...]:
        """The calls; the more particular ones before those that would swallow them."""
        return (
            Route("GET", "/rate_limit", self._rate_limit, "anyone"),
            Route("GET", "/user", self._user),
            Route("GET", "/users/{login}", self._profile),
            Route("GET", _REPO, self._repository),
            Route("GET", _REPO + "/branches", self._branches, _CONTENTS),
            Route("GET", _REPO + "/branches/{branch*}/protection", self._protection, "administration:read"),
            Route("GET", _REPO + "/branches/{branch*}", self._branch, _CONTENTS),
            Route("GET", _REPO + "/rules/branches/{branch*}", self._rules),
            Route("GET", _REPO + "/rulesets/{id}", self._ruleset),
            Route("GET", _REPO + "/tags", self._tags),
            Route("GET", _REPO + "/git/ref/{ref*}", self._ref, _CONTENTS),
            Route("GET", _REPO + "/git/matching-refs/{ref*}", self._matching, _CONTENTS),
            Route("DELETE", _REPO + "/git/refs/{ref*}", self._delete_ref, "contents:write"),
            Route("GET", _REPO + "/commits", self._commits, _CONTENTS),
            Route("GET", _REPO + "/commits/{ref*}/status", self._combined, "statuses:read"),
            Route("GET", _REPO + "/commits/{ref*}/statuses", self._statuses, "statuses:read"),
            Route("GET", _REPO + "/commits/{ref*}/check-runs", self._check_runs, "checks:read"),
            Route("GET", _REPO + "/commits/{ref*}", self._commit, _CONTENTS),
            Route("GET", _REPO + "/statuses/{ref*}", self._statuses, "statuses:read"),
            Route("POST", _REPO + "/statuses/{sha}", self._set_status, "statuses:write"),
            Route("GET", _REPO + "/compare/{words*}", self._compare, _CONTENTS),
            Route("GET", _REPO + "/contents/{path*}", self._contents, _CONTENTS),
            Route("GET", _REPO + "/contents/?", self._contents, _CONTENTS),
            Route("GET", _REPO + "/collaborators/{login}/permission", self._permission),
            Route("GET", "/orgs/{org}/teams/{slug}/members", self._members, "members:read"),
            Route("GET", "/orgs/{org}/teams/{slug}/memberships/{login}", self._membership, "members:read"),
            Route("GET", "/orgs/{org}/teams/{slug}", self._team, "members:read"),
            Route("GET", "/orgs/{org}", self._organization),
        )

    # ------------------------------------------------------------ people

    def _rate_limit(self, call: Call) -> Answer:
        del call
        told = self._limits.told()
        return Answer({"resources": dict.fromkeys(_RESOURCES, told), "rate": told})

    def _user(self, call: Call) -> Answer:
        grant = self.state.grants.get(call.token)
        if grant and grant.permissions is not None:
            raise GitHubError(403, "Resource not accessible by integration")
        return Answer(call.render.profile(call.viewer))

    def _profile(self, call: Call) -> Answer:
        account = self.state.accounts.get(call.words["login"].lower())
        if account is None:
            raise not_found()
        return Answer(call.render.profile(account))

    def _permission(self, call: Call) -> Answer:
        account = self.state.accounts.get(call.words["login"].lower())
        if account is None:
            raise not_found()
        name = account.role.name.lower()
        return Answer(
            {"permission": name, "role_name": name, "user": {**call.render.account(account), "role_name": name}}
        )

    def _team(self, call: Call) -> Answer:
        team, owner = self._one_team(call), call.render.full_organization()
        told = {**call.render.team(team), "organization": owner, "members_count": len(team.members)}
        return Answer({**told, "repos_count": 1, "created_at": owner["created_at"], "updated_at": owner["updated_at"]})

    def _organization(self, call: Call) -> Answer:
        if call.words["org"].lower() != self.state.owner.lower():
            raise not_found()
        return Answer(call.render.full_organization())

    def _members(self, call: Call) -> Answer:
        return Answer(Page([call.render.user(login) for login in self._one_team(call).members]))

    def _membership(self, call: Call) -> Answer:
        team, login = self._one_team(call), call.words["login"].lower()
        if login not in {member.lower() for member in team.members}:
            raise not_found()
        url = f"{call.render.places.api}/organizations/1/team/{team.id}/memberships/{call.words['login']}"
        return Answer({"state": "active", "role": "member", "url": url})

    def _one_team(self, call: Call) -> Team:
        """Teams are seen by those inside: to everybody else they are not there."""
        team = self.state.teams.get(f"{call.words['org']}/{call.words['slug']}".lower())
        if team is None or call.viewer.role < Role.READ:
            raise not_found()
        return team

    # ------------------------------------------------------------ repository and branches

    def _repository(self, call: Call) -> Answer:
        return Answer(call.render.full_repository(call.viewer.role))

    def _branches(self, call: Call) -> Answer:
        heads = self.state.git.refs("refs/heads")
        names = {ref.removeprefix("refs/heads/"): sha for ref, sha in heads.items()}
        if "protected" in call.query:
            wanted = call.query["protected"] == "true"
            names = {name: sha for name, sha in names.items() if (name in self.state.rules) == wanted}
        return Answer(Page([call.render.branch_short(name, sha) for name, sha in names.items()]))

    def _branch(self, call: Call) -> Answer:
        name = call.words["branch"]
        return Answer(call.render.branch(name, self._head(name)))

    def _head(self, branch: str) -> str:
        sha = self.state.git.branch(branch)
        if sha is None:
            raise GitHubError(404, "Branch not found")
        return sha

    def _protection(self, call: Call) -> Answer:
        name = call.words["branch"]
        self._head(name)
        rules = self.state.rules.get(name)
        if rules is None or rules.source is not RuleSource.PROTECTION:
            raise GitHubError(404, "Branch not protected")
        return Answer(call.render.protection(name, rules))

    def _rules(self, call: Call) -> Answer:
        return Answer(Page(call.render.effective_rules(self.state.rules.get(call.words["branch"]))))

    def _ruleset(self, call: Call) -> Answer:
        rulesets = [(name, one) for name, one in self.state.rules.items() if one.source is RuleSource.RULESET]
        if call.words["id"] != str(RULESET) or not rulesets:
            raise not_found()
        return Answer(call.render.ruleset(*rulesets[0], call.viewer))

    # ------------------------------------------------------------ refs

    def _tags(self, call: Call) -> Answer:
        git = self.state.git
        tags = [ref.removeprefix("refs/tags/") for ref in git.refs("refs/tags")]
        found = [(tag, git.resolve(f"refs/tags/{tag}")) for tag in sorted(tags, reverse=True)]
        return Answer(Page([call.render.tag(tag, sha) for tag, sha in found if sha]))

    def _ref(self, call: Call) -> Answer:
        name = f"refs/{call.words['ref']}"
        refs = self.state.git.refs(name)
        if name not in refs:
            raise not_found()
        return Answer(call.render.ref(name, refs[name]))

    def _matching(self, call: Call) -> Answer:
        start = f"refs/{call.words['ref']}"
        refs = self.state.git.refs()
        return Answer(Page([call.render.ref(name, sha) for name, sha in refs.items() if name.startswith(start)]))

    def _delete_ref(self, call: Call) -> Answer:
        name = f"refs/{call.words['ref']}"
        old = self.state.git.refs(name).get(name)
        if old is None:
            raise GitHubError(422, "Reference does not exist")
        if name.removeprefix("refs/heads/") in self.state.rules:
            raise GitHubError(422, "Cannot delete this protected ref")
        self.state.git.move(name, NOTHING, old)
        self._pulls.notice(call.viewer.login)
        return Answer(status=204)

    # ------------------------------------------------------------ commits

    def _resolve(self, words: str) -> str:
        """A commit by branch, tag or id; 422 when it looks like an id of nothing."""
        git = self.state.git
        for name in (f"refs/heads/{words}", f"refs/tags/{words}", f"refs/{words}", words):
            if found := git.resolve(name):
                return found
        raise GitHubError(422, f"No commit found for SHA: {words}")

    def _commits(self, call: Call) -> Answer:
        head = self._resolve(call.query.get("sha") or self.state.settings.default_branch)
        infos = self.state.git.history(head, 1000, call.query.get("path", ""))
        return Answer(Page([call.render.commit(info) for info in infos]))

    def _commit(self, call: Call) -> Answer:
        info = self.state.git.commit(self._resolve(call.words["ref"]))
        parent = info.parents[0] if info.parents else EMPTY_TREE
        return Answer(call.render.commit(info, self.state.git.changes(parent, info.sha)))

    def _compare(self, call: Call) -> Answer:
        words = call.words["words"]
        base, dots, head = words.partition("...")
        if not dots or not base or not head:
            raise not_found()
        try:
            ends = [self._resolve(end.rpartition(":")[2]) for end in (base, head)]
        except GitHubError:
            raise not_found() from None
        told = call.render.comparison(ends[0], ends[1], words)
        if told is None:
            raise GitHubError(404, f"No common ancestor between {base} and {head}.")
        return Answer(told)

    # ------------------------------------------------------------ statuses and checks

    def _set_status(self, call: Call) -> Answer:
        sha, state = call.words["sha"], call.text("state", "Status")
        if not _FULL.fullmatch(sha) or self.state.git.resolve(sha) is None:
            raise GitHubError(422, f"No commit found for SHA: {sha}")
        if state not in _STATES:
            raise invalid("Status", "custom", "state", "state is not included in the list")
        description, target = call.text("description", "Status"), call.text("target_url", "Status")
        if description and len(description) > 140:
            raise invalid("Status", "custom", "description", "description is too long (maximum is 140 characters)")
        if target and urlparse(target).scheme not in {"http", "https"}:
            raise invalid("Status", "custom", "target_url", "target_url must use http(s) scheme")
        context = call.text("context", "Status") or "default"
        if sum(status.context == context for status in self.state.statuses_of(sha)) >= _MOST_STATUSES:
            text = "This SHA and context has reached the maximum number of statuses."
            raise invalid("Status", "custom", "", text)
        status = Status(
            next(self.state.ids),
            sha,
            context,
            state,
            description or None,
            target or None,
            call.viewer.login,
            self.state.clock(),
        )
        self.state.statuses.append(status)
        self._events.status(status)
        return Answer(call.render.status(status), 201)

    def _combined(self, call: Call) -> Answer:
        return Answer(call.render.combined(self._resolve(call.words["ref"])))

    def _statuses(self, call: Call) -> Answer:
        found = self.state.statuses_of(self._resolve(call.words["ref"]))
        return Answer(Page([call.render.status(status) for status in found]))

    def _check_runs(self, call: Call) -> Answer:
        runs = self.state.runs_of(self._resolve(call.words["ref"]))
        wanted = call.query.get("check_name")
        found = [call.render.check_run(run) for run in runs if wanted in {None, run.name}]
        return Answer(Page(found, "check_runs"))

    # ------------------------------------------------------------ files

    def _contents(self, call: Call) -> Answer:
        ref = call.query.get("ref") or self.state.settings.default_branch
        path = call.words.get("path", "").strip("/")
        try:
            commit = self._resolve(ref)
        except GitHubError:
            raise GitHubError(404, f"No commit found for the ref {ref}") from None
        git = self.state.git
        entry = git.entry(commit, path) if path else None
        if path and entry is None:
            raise not_found()
        if entry is None or entry.kind == "tree":
            return Answer([call.render.content(one, ref) for one in git.entries(commit, path)])
        return Answer(call.render.content(entry, ref, text=git.base64(entry.sha)))
