"""GitHub's JSON of the repository, pull requests, reviews and comments, as its OpenAPI description has it."""

from bot.sandbox.github_git import FileChange
from bot.sandbox.github_json_people import PeopleRender, node
from bot.sandbox.github_model import Comment, Json, Kind, Pull, Review, Role, stamp

_REPOSITORY_LINKS = {
    "archive_url": "/{archive_format}{/ref}",
    "assignees_url": "/assignees{/user}",
    "blobs_url": "/git/blobs{/sha}",
    "branches_url": "/branches{/branch}",
    "collaborators_url": "/collaborators{/collaborator}",
    "comments_url": "/comments{/number}",
    "commits_url": "/commits{/sha}",
    "compare_url": "/compare/{base}...{head}",
    "contents_url": "/contents/{+path}",
    "contributors_url": "/contributors",
    "deployments_url": "/deployments",
    "downloads_url": "/downloads",
    "events_url": "/events",
    "forks_url": "/forks",
    "git_commits_url": "/git/commits{/sha}",
    "git_refs_url": "/git/refs{/sha}",
    "git_tags_url": "/git/tags{/sha}",
    "hooks_url": "/hooks",
    "issue_comment_url": "/issues/comments{/number}",
    "issue_events_url": "/issues/events{/number}",
    "issues_url": "/issues{/number}",
    "keys_url": "/keys{/key_id}",
    "labels_url": "/labels{/name}",
    "languages_url": "/languages",
    "merges_url": "/merges",
    "milestones_url": "/milestones{/number}",
    "notifications_url": "/notifications{?since,all,participating}",
    "pulls_url": "/pulls{/number}",
    "releases_url": "/releases{/id}",
    "stargazers_url": "/stargazers",
    "statuses_url": "/statuses/{sha}",
    "subscribers_url": "/subscribers",
    "subscription_url": "/subscription",
    "tags_url": "/tags",
    "teams_url": "/teams",
    "trees_url": "/git/trees{/sha}",
}
_COUNTS = ("forks", "forks_count", "open_issues", "open_issues_count", "size", "stargazers_count", "watchers")


class Render(PeopleRender):
    """JSON for one client. Two clients that ask by different addresses get different links."""

    # ------------------------------------------------------------ the repository

    def repository(self, role: Role | None = None) -> Json:
        """The repository; with a role, what that role may do in it."""
        state, settings = self.state, self.state.settings
        moment = stamp(state.created)
        told: Json = {
            "id": 7001,
            "node_id": node("R", 7001),
            "name": state.name,
            "full_name": state.repository,
            "private": settings.private,
            "visibility": "private" if settings.private else "public",
            "owner": self.user(state.owner),
            "html_url": self.repo_page,
            "description": None,
            "fork": False,
            "url": self.repo_url,
            **{key: self.repo_url + path for key, path in _REPOSITORY_LINKS.items()},
            "created_at": moment,
            "updated_at": moment,
            "pushed_at": moment,
            "git_url": f"git://{self.repo_page.partition('://')[2]}.git",
            "ssh_url": f"git@localhost:{state.repository}.git",
            "clone_url": f"{self.repo_page}.git",
            "svn_url": self.repo_page,
            "homepage": None,
            "language": None,
            "license": None,
            "mirror_url": None,
            "archived": False,
            "disabled": False,
            "allow_forking": False,
            "is_template": False,
            "web_commit_signoff_required": False,
            "topics": [],
            "custom_properties": {},
            "has_issues": True,
            "has_projects": True,
            "has_downloads": True,
            "has_wiki": False,
            "has_pages": False,
            "has_discussions": False,
            "watchers_count": 0,
            **dict.fromkeys(_COUNTS, 0),
            "default_branch": settings.default_branch,
        }
        if role is not None:
            told["permissions"] = {
                "admin": role >= Role.ADMIN,
                "maintain": role >= Role.ADMIN,
                "push": role >= Role.WRITE,
                "triage": role >= Role.WRITE,
                "pull": role >= Role.READ,
            }
        return told

    def full_repository(self, role: Role) -> Json:
        """The repository as its own page of the API tells it; merge settings only for those who may push."""
        settings = self.state.settings
        told = {**self.repository(role), "network_count": 0, "subscribers_count": 0, "temp_clone_token": ""}
        if role >= Role.WRITE:
            told |= {
                "allow_merge_commit": settings.merge,
                "allow_squash_merge": settings.squash,
                "allow_rebase_merge": settings.rebase,
                "allow_auto_merge": False,
                "allow_update_branch": False,
                "delete_branch_on_merge": settings.delete_branch_on_merge,
                "use_squash_pr_title_as_default": False,
                "squash_merge_commit_title": "COMMIT_OR_PR_TITLE",
                "squash_merge_commit_message": "COMMIT_MESSAGES",
                "merge_commit_title": "MERGE_MESSAGE",
                "merge_commit_message": "PR_TITLE",
            }
        return told

    # ------------------------------------------------------------ pull requests

    def association(self, login: str) -> str:
        """How the author of something stands to the repository."""
        account = self.state.account(login)
        if account.kind is Kind.BOT or account.role < Role.READ:
            return "NONE"
        return "MEMBER" if account.role >= Role.WRITE else "COLLABORATOR"

    def pull_simple(self, pull: Pull) -> Json:
        """A pull request as lists have it."""
        url, issue = f"{self.repo_url}/pulls/{pull.number}", f"{self.repo_url}/issues/{pull.number}"
        page = f"{self.repo_page}/pull/{pull.number}"
        statuses = f"{self.repo_url}/statuses/{pull.head_sha}"
        links = {
            "self": url,
            "html": page,
            "issue": issue,
            "comments": f"{issue}/comments",
            "review_comments": f"{url}/comments",
            "review_comment": f"{self.repo_url}/pulls/comments{{/number}}",
            "commits": f"{url}/commits",
            "statuses": statuses,
        }
        return {
            "url": url,
            "id": pull.id,
            "node_id": node("PR", pull.id),
            "html_url": page,
            "diff_url": f"{page}.diff",
            "patch_url": f"{page}.patch",
            "issue_url": issue,
            "number": pull.number,
            "state": "open" if pull.open else "closed",
            "locked": False,
            "title": pull.title,
            "user": self.user(pull.login),
            "body": pull.body,
            "created_at": stamp(pull.created),
            "updated_at": stamp(pull.updated),
            "closed_at": stamp(pull.closed) if pull.closed else None,
            "merged_at": stamp(pull.merged) if pull.merged else None,
            "merge_commit_sha": pull.merge_sha or None,
            "assignee": None,
            "assignees": [],
            "requested_reviewers": [self.user(login) for login in pull.reviewers],
            "requested_teams": [self.team(self.state.teams[name.lower()]) for name in pull.teams],
            "labels": [],
            "milestone": None,
            "draft": pull.draft,
            "commits_url": links["commits"],
            "review_comments_url": links["review_comments"],
            "review_comment_url": links["review_comment"],
            "comments_url": links["comments"],
            "statuses_url": statuses,
            "head": self._end(pull.head_branch, pull.head_sha),
            "base": self._end(pull.base_branch, pull.base_sha),
            "_links": {key: {"href": href} for key, href in links.items()},
            "author_association": self.association(pull.login),
            "auto_merge": None,
            "active_lock_reason": None,
        }

    def _end(self, branch: str, sha: str) -> Json:
        return {
            "label": f"{self.state.owner}:{branch}",
            "ref": branch,
            "sha": sha,
            "user": self.user(self.state.owner),
            "repo": self.repository(),
        }

    def pull(self, pull: Pull, mergeable: str) -> Json:
        """A pull request by itself; `mergeable` is GitHub's `mergeable_state`."""
        commits, files = self.commits_and_files(pull)
        return {
            **self.pull_simple(pull),
            "merged": pull.merged is not None,
            "mergeable": None if mergeable == "unknown" else mergeable != "dirty",
            "rebaseable": None if mergeable == "unknown" else mergeable != "dirty",
            "mergeable_state": mergeable,
            "merged_by": self.user(pull.ended_by) if pull.merged else None,
            "comments": sum(comment.number == pull.number for comment in self.state.comments.values()),
            "review_comments": 0,
            "maintainer_can_modify": False,
            "commits": commits,
            "additions": sum(file.additions for file in files),
            "deletions": sum(file.deletions for file in files),
            "changed_files": len(files),
        }

    def commits_and_files(self, pull: Pull) -> tuple[int, tuple[FileChange, ...]]:
        """How many commits, and the files that differ from where the branches parted."""
        git, tip = self.state.git, self.state.base_tip(pull)
        base = git.merge_base(tip, pull.head_sha)
        return len(git.between(tip, pull.head_sha)), git.changes(base, pull.head_sha) if base else ()

    def review(self, pull: Pull, review: Review) -> Json:
        """A review; one that is not submitted yet has no moment."""
        url = f"{self.repo_url}/pulls/{pull.number}"
        page = f"{self.repo_page}/pull/{pull.number}#pullrequestreview-{review.id}"
        told: Json = {
            "id": review.id,
            "node_id": node("PRR", review.id),
            "user": self.user(review.login),
            "body": review.body,
            "state": review.state.value,
            "html_url": page,
            "pull_request_url": url,
            "author_association": self.association(review.login),
            "_links": {"html": {"href": page}, "pull_request": {"href": url}},
            "commit_id": review.commit,
        }
        return told if review.state == "PENDING" else {**told, "submitted_at": stamp(review.at)}

    def comment(self, comment: Comment) -> Json:
        """A comment below a pull request."""
        issue = f"{self.repo_url}/issues/{comment.number}"
        return {
            "url": f"{self.repo_url}/issues/comments/{comment.id}",
            "html_url": f"{self.repo_page}/pull/{comment.number}#issuecomment-{comment.id}",
            "issue_url": issue,
            "id": comment.id,
            "node_id": node("IC", comment.id),
            "user": self.user(comment.login),
            "created_at": stamp(comment.created),
            "updated_at": stamp(comment.updated),
            "author_association": self.association(comment.login),
            "body": comment.body,
            "performed_via_github_app": None,
        }

    def issue(self, pull: Pull) -> Json:
        """A pull request seen as an issue, as news of comments carry it."""
        url = f"{self.repo_url}/issues/{pull.number}"
        simple = self.pull_simple(pull)
        kept = ("id", "number", "title", "user", "labels", "state", "locked", "assignee", "assignees", "milestone")
        times = ("created_at", "updated_at", "closed_at", "author_association", "active_lock_reason", "draft", "body")
        pull_links = {key: simple[key] for key in ("url", "html_url", "diff_url", "patch_url", "merged_at")}
        return {
            "url": url,
            "repository_url": self.repo_url,
            "labels_url": f"{url}/labels{{/name}}",
            "comments_url": f"{url}/comments",
            "events_url": f"{url}/events",
            "timeline_url": f"{url}/timeline",
            "html_url": simple["html_url"],
            "node_id": simple["node_id"],
            **{key: simple[key] for key in (*kept, *times)},
            "comments": sum(comment.number == pull.number for comment in self.state.comments.values()),
            "pull_request": pull_links,
            "reactions": self.reactions(url),
            "performed_via_github_app": None,
            "state_reason": None,
        }

    def reactions(self, url: str) -> Json:
        """Nobody has reacted."""
        kinds = ("+1", "-1", "laugh", "hooray", "confused", "heart", "rocket", "eyes")
        return {"url": f"{url}/reactions", "total_count": 0, **dict.fromkeys(kinds, 0)}
