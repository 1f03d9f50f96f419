"""What webhooks carry: the JSON of each event, in the shape of Octokit's examples."""

from collections.abc import Callable
from dataclasses import dataclass

from bot.sandbox.github_git import EMPTY_TREE, NOTHING, CommitInfo
from bot.sandbox.github_json_git import GitRender
from bot.sandbox.github_json_people import Places, node
from bot.sandbox.github_model import Comment, Json, Pull, Review, Status, stamp
from bot.sandbox.github_state import State
from bot.sandbox.github_webhooks import Webhooks

_MOST_COMMITS = 2048


@dataclass(frozen=True)
class Change:
    """What an edit replaced: `title` or `body`, and what it was."""

    key: str
    before: str


class Events:
    """Turns what happened into deliveries, as of this very moment. Nothing is made while nobody listens."""

    def __init__(self, state: State, webhooks: Webhooks, mergeable: Callable[[Pull], str]) -> None:
        self.state, self._webhooks, self._mergeable = state, webhooks, mergeable
        self.places = Places("https://api.github.com", "https://github.com")
        self.installation: int | None = None

    def pull(self, action: str, pull: Pull, sender: str, changes: tuple[Change, ...] = (), *, before: str = "") -> None:
        """`pull_request`: opened, synchronize (with the head before), edited (with what it was), closed, reopened."""
        if self._webhooks.hook is None:
            return
        render = self._render()
        payload: Json = {
            "action": action,
            "number": pull.number,
            "pull_request": render.pull(pull, "unknown" if pull.open else self._mergeable(pull)),
        }
        if changes:
            payload["changes"] = {change.key: {"from": change.before} for change in changes}
        if before:
            payload |= {"before": before, "after": pull.head_sha}
        self._send("pull_request", payload, sender)

    def review(self, action: str, pull: Pull, review: Review, sender: str) -> None:
        """`pull_request_review`: submitted, dismissed. States are in lower case here, unlike in the API."""
        if self._webhooks.hook is None:
            return
        render = self._render()
        told = {**render.review(pull, review), "state": review.state.value.lower(), "body": review.body or None}
        told["updated_at"] = stamp(review.at)
        payload: Json = {"action": action, "review": told, "pull_request": render.pull_simple(pull)}
        self._send("pull_request_review", payload, sender)

    def comment(self, action: str, comment: Comment, sender: str, changes: tuple[Change, ...] = ()) -> None:
        """`issue_comment`: created, edited."""
        if self._webhooks.hook is None:
            return
        render = self._render()
        told = {**render.comment(comment)}
        told["reactions"] = render.reactions(f"{told['url']}")
        payload: Json = {"action": action, "issue": render.issue(self.state.pulls[comment.number]), "comment": told}
        if changes:
            payload["changes"] = {change.key: {"from": change.before} for change in changes}
        self._send("issue_comment", payload, sender)

    def status(self, status: Status) -> None:
        """`status`: a commit status was set."""
        if self._webhooks.hook is None:
            return
        render = self._render()
        heads = self.state.git.refs("refs/heads")
        payload: Json = {
            "id": status.id,
            "sha": status.sha,
            "name": self.state.repository,
            "avatar_url": f"{self.places.site}/avatars/u/{self.state.account(status.login).id}?v=4",
            "target_url": status.target_url,
            "context": status.context,
            "description": status.description,
            "state": status.state,
            "commit": render.commit(self.state.git.commit(status.sha)),
            "branches": [
                render.branch_short(ref.removeprefix("refs/heads/"), sha)
                for ref, sha in list(heads.items())[:10]
                if sha == status.sha
            ],
            "created_at": stamp(status.at),
            "updated_at": stamp(status.at),
        }
        self._send("status", payload, status.login)

    def push(self, ref: str, before: str, after: str, sender: str) -> None:
        """`push`: a branch or tag moved, however it was moved."""
        if self._webhooks.hook is None:
            return
        git = self.state.git
        commits: tuple[CommitInfo, ...] = ()
        if NOTHING not in {before, after}:
            commits = git.between(before, after)[-_MOST_COMMITS:]
        elif after != NOTHING:
            commits = (git.commit(after),)
        told = [self._pushed(info) for info in commits]
        page = f"{self.places.site}/{self.state.repository}"
        account = self.state.account(sender)
        forced = NOTHING not in {before, after} and not git.holds(after, before)
        payload: Json = {
            "ref": ref,
            "before": before,
            "after": after,
            "created": before == NOTHING,
            "deleted": after == NOTHING,
            "forced": forced,
            "base_ref": None,
            "compare": f"{page}/compare/{before[:12]}...{after[:12]}",
            "commits": told,
            "head_commit": None if after == NOTHING else self._pushed(git.commit(after)),
            "pusher": {"name": account.login, "email": account.email},
        }
        self._send("push", payload, sender)

    def _pushed(self, info: CommitInfo) -> Json:
        git = self.state.git
        first = info.parents[0] if info.parents else EMPTY_TREE
        changes = git.changes(first, info.sha)
        return {
            "id": info.sha,
            "tree_id": info.tree,
            "distinct": True,
            "message": info.message,
            "timestamp": info.committer.at,
            "url": f"{self.places.site}/{self.state.repository}/commit/{info.sha}",
            "author": self._person(info.author.name, info.author.email),
            "committer": self._person(info.committer.name, info.committer.email),
            "added": [change.path for change in changes if change.status == "added"],
            "removed": [change.path for change in changes if change.status == "removed"],
            "modified": [change.path for change in changes if change.status in {"modified", "renamed"}],
        }

    def _person(self, name: str, email: str) -> Json:
        account = self.state.by_email(email)
        return {"name": name, "email": email, **({"username": account.login} if account else {})}

    def _render(self) -> GitRender:
        return GitRender(self.state, self.places)

    def _send(self, event: str, payload: Json, sender: str) -> None:
        render = self._render()
        payload |= {
            "repository": render.repository(),
            "organization": render.organization(),
            "sender": render.user(sender),
        }
        if event == "push":
            # A push carries its repository in an older form: moments in seconds, and the organization by name.
            moment = int(self.state.created.timestamp())
            payload["repository"] |= {"created_at": moment, "pushed_at": moment, "organization": self.state.owner}
            owner = self.state.account(self.state.owner)
            payload["repository"]["owner"] |= {"name": owner.name, "email": owner.email or None}
            payload["repository"] |= {"stargazers": 0, "master_branch": self.state.settings.default_branch}
        if self.installation is not None:
            payload["installation"] = {"id": self.installation, "node_id": node("I", self.installation)}
        self._webhooks.send(event, payload)
