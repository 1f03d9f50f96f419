"""The calls about pull requests: https://docs.github.com/rest/pulls and comments from /rest/issues/comments."""

from datetime import datetime

from bot.sandbox.github_http import Answer, Call, Page, Route
from bot.sandbox.github_merge import Method, look
from bot.sandbox.github_model import Comment, GitHubError, Json, Pull, Review, ReviewState, invalid, not_found
from bot.sandbox.github_pulls import Pulls
from bot.sandbox.github_state import State

_REPO = "/repos/{owner}/{repo}"
_PULL = _REPO + "/pulls/{number}"
_READ, _WRITE = "pull_requests:read", "pull_requests:write"


class PullCalls:
    """Reads the words of a call, does it, renders the answer."""

    def __init__(self, state: State, pulls: Pulls) -> None:
        self.state, self._pulls = state, pulls

    def routes(self) -> tuple[Route, ...]:
        """The calls."""
        return (
            Route("GET", _REPO + "/pulls", self._list, _READ),
            Route("POST", _REPO + "/pulls", self._create, _WRITE),
            Route("GET", _PULL, self._get, _READ),
            Route("PATCH", _PULL, self._edit, _WRITE),
            Route("GET", _PULL + "/commits", self._commits, _READ),
            Route("GET", _PULL + "/files", self._files, _READ),
            Route("GET", _PULL + "/merge", self._is_merged, _READ),
            Route("PUT", _PULL + "/merge", self._merge, "contents:write"),
            Route("GET", _PULL + "/reviews", self._reviews, _READ),
            Route("POST", _PULL + "/reviews", self._review, _WRITE),
            Route("GET", _PULL + "/reviews/{review}", self._get_review, _READ),
            Route("PUT", _PULL + "/reviews/{review}/dismissals", self._dismiss, _WRITE),
            Route("GET", _PULL + "/requested_reviewers", self._requested, _READ),
            Route("POST", _PULL + "/requested_reviewers", self._request, _WRITE),
            Route("DELETE", _PULL + "/requested_reviewers", self._unrequest, _WRITE),
            Route("GET", _REPO + "/commits/{sha}/pulls", self._of_commit, _READ),
            Route("GET", _REPO + "/issues/{number}", self._issue, _READ),
            Route("GET", _REPO + "/issues/{number}/comments", self._comments, _READ),
            Route("POST", _REPO + "/issues/{number}/comments", self._comment, _WRITE),
            Route("GET", _REPO + "/issues/comments/{comment}", self._get_comment, _READ),
            Route("PATCH", _REPO + "/issues/comments/{comment}", self._edit_comment, _WRITE),
            Route("DELETE", _REPO + "/issues/comments/{comment}", self._delete_comment, _WRITE),
        )

    # ------------------------------------------------------------ pull requests

    def _list(self, call: Call) -> Answer:
        query = call.query
        found = list(self.state.pulls.values())
        if (kind := query.get("state", "open")) != "all":
            found = [pull for pull in found if pull.open == (kind == "open")]
        # Without its owner a head is not understood, and every pull request is listed.
        owner, colon, branch = query.get("head", "").partition(":")
        if colon:
            same = owner.lower() == self.state.owner.lower()
            found = [pull for pull in found if same and pull.head_branch == branch]
        if base := query.get("base"):
            found = [pull for pull in found if pull.base_branch == base]
        found.sort(key=_updated if query.get("sort") == "updated" else _number)
        if query.get("direction", "desc" if query.get("sort", "created") == "created" else "asc") == "desc":
            found.reverse()
        return Answer(Page([call.render.pull_simple(pull) for pull in found]))

    def _create(self, call: Call) -> Answer:
        title = call.text("title", "PullRequest")
        head, base = call.text("head", "PullRequest"), call.text("base", "PullRequest")
        for name, value in (("title", title), ("head", head), ("base", base)):
            if not value:
                raise invalid("PullRequest", "missing_field", name)
        pull = self._pulls.create(
            call.viewer.login,
            title or "",
            head or "",
            base or "",
            call.text("body", "PullRequest"),
            draft=call.body.get("draft") is True,
        )
        told = self._told(call, pull)
        return Answer(told, 201, {"Location": str(told["url"])})

    def _get(self, call: Call) -> Answer:
        return Answer(self._told(call, self._pull(call)))

    def _told(self, call: Call, pull: Pull) -> Json:
        return call.render.pull(pull, look(self.state, pull))

    def _edit(self, call: Call) -> Answer:
        pull = self._pull(call)
        title, body, state = (call.text(name, "PullRequest") for name in ("title", "body", "state"))
        self._pulls.edit(pull, call.viewer.login, title, body, state)
        return Answer(self._told(call, pull))

    def _commits(self, call: Call) -> Answer:
        pull = self._pull(call)
        infos = self.state.git.between(self.state.base_tip(pull), pull.head_sha)
        # More than 250 are not told here, whatever the page.
        return Answer(Page([call.render.commit(info) for info in infos[:250]]))

    def _of_commit(self, call: Call) -> Answer:
        """The merged ones that brought a commit of the default branch; the open ones that have any other."""
        git = self.state.git
        sha = git.resolve(call.words["sha"])
        if sha is None:
            raise GitHubError(422, f"No commit found for SHA: {call.words['sha']}")
        head = git.branch(self.state.settings.default_branch)
        landed = head is not None and git.merge_base(sha, head) == sha
        found = [pull for pull in self.state.pulls.values() if (pull.merged is not None if landed else pull.open)]
        return Answer(Page([call.render.pull_simple(pull) for pull in found if self._has(pull, sha)]))

    def _has(self, pull: Pull, sha: str) -> bool:
        commits = self.state.git.between(self.state.base_tip(pull), pull.head_sha)
        return sha == pull.merge_sha or any(info.sha == sha for info in commits)

    def _files(self, call: Call) -> Answer:
        pull = self._pull(call)
        _, files = call.render.commits_and_files(pull)
        return Answer(Page([call.render.file(file, pull.head_sha) for file in files[:3000]]))

    def _is_merged(self, call: Call) -> Answer:
        if self._pull(call).merged is None:
            raise not_found()
        return Answer(status=204)

    def _merge(self, call: Call) -> Answer:
        pull = self._pull(call)
        method = call.text("merge_method", "PullRequest") or Method.MERGE.value
        if method not in set(Method):
            raise GitHubError(422, f"Invalid request.\n\nNo member of enum equals {method}.")
        sha = self._pulls.merge(
            pull,
            call.viewer.login,
            Method(method),
            sha=call.text("sha", "PullRequest") or "",
            title=call.text("commit_title", "PullRequest"),
            message=call.text("commit_message", "PullRequest"),
        )
        return Answer({"sha": sha, "merged": True, "message": "Pull Request successfully merged"})

    # ------------------------------------------------------------ reviews

    def _reviews(self, call: Call) -> Answer:
        pull = self._pull(call)
        seen = [one for one in pull.reviews if one.state != ReviewState.PENDING or one.login == call.viewer.login]
        return Answer(Page([call.render.review(pull, review) for review in seen]))

    def _review(self, call: Call) -> Answer:
        pull = self._pull(call)
        event, body = call.text("event", "Review") or "", call.text("body", "Review") or ""
        commit = call.text("commit_id", "Review") or ""
        review = self._pulls.review(pull, call.viewer.login, event, body, commit)
        return Answer(call.render.review(pull, review))

    def _get_review(self, call: Call) -> Answer:
        pull = self._pull(call)
        return Answer(call.render.review(pull, self._one_review(call, pull)))

    def _dismiss(self, call: Call) -> Answer:
        pull = self._pull(call)
        review = self._one_review(call, pull)
        self._pulls.dismiss(pull, review, call.viewer.login, call.text("message", "Review") or "")
        return Answer(call.render.review(pull, review))

    def _one_review(self, call: Call, pull: Pull) -> Review:
        found = next((review for review in pull.reviews if str(review.id) == call.words["review"]), None)
        if found is None:
            raise not_found()
        return found

    def _requested(self, call: Call) -> Answer:
        pull, render = self._pull(call), call.render
        teams = [render.team(self.state.teams[name.lower()]) for name in pull.teams]
        return Answer({"users": [render.user(login) for login in pull.reviewers], "teams": teams})

    def _request(self, call: Call) -> Answer:
        pull = self._pull(call)
        self._pulls.request(pull, call.texts("reviewers"), call.texts("team_reviewers"))
        return Answer(call.render.pull_simple(pull), 201)

    def _unrequest(self, call: Call) -> Answer:
        pull = self._pull(call)
        self._pulls.unrequest(pull, call.texts("reviewers"), call.texts("team_reviewers"))
        return Answer(call.render.pull_simple(pull))

    # ------------------------------------------------------------ comments

    def _issue(self, call: Call) -> Answer:
        """Only here, and not among pull requests, GitHub tells who closed one."""
        pull = self._pull(call)
        closed_by = None if pull.open or not pull.ended_by else call.render.user(pull.ended_by)
        return Answer({**call.render.issue(pull), "closed_by": closed_by})

    def _comments(self, call: Call) -> Answer:
        number = self._pull(call).number
        found = [comment for comment in self.state.comments.values() if comment.number == number]
        return Answer(Page([call.render.comment(comment) for comment in found]))

    def _comment(self, call: Call) -> Answer:
        body = call.text("body", "IssueComment") or ""
        told = call.render.comment(self._pulls.comment(self._pull(call), call.viewer.login, body))
        return Answer(told, 201, {"Location": str(told["url"])})

    def _get_comment(self, call: Call) -> Answer:
        return Answer(call.render.comment(self._one_comment(call)))

    def _edit_comment(self, call: Call) -> Answer:
        comment = self._one_comment(call)
        self._pulls.edit_comment(comment, call.viewer.login, call.text("body", "IssueComment") or "")
        return Answer(call.render.comment(comment))

    def _delete_comment(self, call: Call) -> Answer:
        del self.state.comments[self._one_comment(call).id]
        return Answer(status=204)

    def _one_comment(self, call: Call) -> Comment:
        number = call.words["comment"]
        if not number.isdecimal() or int(number) not in self.state.comments:
            raise not_found()
        return self.state.comments[int(number)]

    def _pull(self, call: Call) -> Pull:
        number = call.words["number"]
        if not number.isdecimal():
            raise not_found()
        return self.state.pull(int(number))


def _updated(pull: Pull) -> datetime:
    return pull.updated


def _number(pull: Pull) -> int:
    return pull.number
