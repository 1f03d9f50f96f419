"""What people and the bot do with pull requests: one way for both, so that nobody is let off a rule of GitHub's."""

from collections.abc import Sequence

from bot.sandbox import github_merge
from bot.sandbox.github_git import NOTHING
from bot.sandbox.github_merge import Method
from bot.sandbox.github_model import Comment, GitHubError, Json, Pull, Review, ReviewState, Role, invalid
from bot.sandbox.github_payloads import Change, Events
from bot.sandbox.github_rules import owners_of
from bot.sandbox.github_state import State

_LONGEST = 65536  # characters of a body


class Pulls:
    """Every change to a pull request. The caller holds the state's lock."""

    def __init__(self, state: State, events: Events) -> None:
        self.state, self._events = state, events
        self.trips: list[GitHubError] = []  # what the next merges are refused with, whatever they are

    # ------------------------------------------------------------ open and edit

    def create(self, login: str, title: str, head: str, base: str, body: str | None, *, draft: bool = False) -> Pull:
        """Open one. 422 as GitHub words it: unknown branches, nothing between them, one that is there already."""
        state, git = self.state, self.state.git
        owner, _, branch = head.rpartition(":")
        if not title.strip():
            raise invalid("PullRequest", "missing_field", "title")
        if owner and owner.lower() != state.owner.lower():
            raise invalid("PullRequest", "invalid", "head")
        head_sha, base_sha = git.branch(branch), git.branch(base)
        if head_sha is None:
            raise invalid("PullRequest", "invalid", "head")
        if base_sha is None:
            raise invalid("PullRequest", "invalid", "base")
        if body and len(body) > _LONGEST:
            raise invalid("PullRequest", "custom", "body", f"body is too long (maximum is {_LONGEST} characters)")
        if any(pull.head_branch == branch and pull.base_branch == base for pull in state.open_pulls()):
            raise invalid("PullRequest", "custom", message=f"A pull request already exists for {state.owner}:{branch}.")
        if not git.between(base_sha, head_sha):
            raise invalid("PullRequest", "custom", message=f"No commits between {base} and {branch}")
        if git.merge_base(base_sha, head_sha) is None:
            text = f"The {branch} branch has no history in common with {base}"
            raise invalid("PullRequest", "custom", message=text)
        now = state.clock()
        number = len(state.pulls) + 1
        pull = Pull(
            next(state.ids), number, title, body, login, branch, base, head_sha, base_sha, now, now, login, draft
        )
        state.pulls[number] = pull
        git.run("update-ref", f"refs/pull/{number}/head", head_sha)
        self._ask_owners(pull)
        self._events.pull("opened", pull, login)
        return pull

    def _ask_owners(self, pull: Pull) -> None:
        """Code owners are asked for a review when the request is opened."""
        state = self.state
        rules = state.owner_rules(pull.base_sha)
        base = state.git.merge_base(pull.base_sha, pull.head_sha)
        for change in state.git.changes(base, pull.head_sha) if base and rules else ():
            for owner in owners_of(rules, change.path):
                if owner.lower() in state.teams:
                    pull.teams = list(dict.fromkeys([*pull.teams, owner]))
                elif owner.lower() in state.accounts and owner != pull.login:
                    pull.reviewers = list(dict.fromkeys([*pull.reviewers, owner]))

    def edit(self, pull: Pull, login: str, title: str | None, body: str | None, state: str | None) -> None:
        """Change the words, close it or open it again; None leaves a thing as it is."""
        changes = []
        if title is not None and not title.strip():
            raise invalid("PullRequest", "missing_field", "title")
        if body is not None and len(body) > _LONGEST:
            raise invalid("PullRequest", "custom", "body", f"body is too long (maximum is {_LONGEST} characters)")
        if title is not None and title != pull.title:
            changes.append(Change("title", pull.title))
            pull.title = title
        if body is not None and body != pull.body:
            changes.append(Change("body", pull.body or ""))
            pull.body = body
        if changes:
            pull.updated = self.state.clock()
            self._events.pull("edited", pull, login, tuple(changes))
        if state == "closed" and pull.open:
            self._end(pull, login)
            self._events.pull("closed", pull, login)
        elif state == "open" and not pull.open:
            self._reopen(pull, login)
        elif state not in {None, "open", "closed"}:
            raise invalid("PullRequest", "invalid", "state")

    def _reopen(self, pull: Pull, login: str) -> None:
        name = pull.head_branch
        text = ""
        if pull.merged:
            text = "state cannot be changed. The pull request cannot be reopened."
        elif any(other.head_branch == name and other.base_branch == pull.base_branch for other in self._open()):
            text = f"state cannot be changed. There is already an open pull request from {name} to {pull.base_branch}."
        elif (head := self.state.git.branch(name)) is None:
            text = f"state cannot be changed. The {name} branch has been deleted."
        elif not self.state.git.holds(head, pull.head_sha):
            text = f"state cannot be changed. The {name} branch was force-pushed or recreated."
        if text:
            raise invalid("PullRequest", "custom", "state", text)
        pull.open, pull.closed, pull.ended_by, pull.updated = True, None, "", self.state.clock()
        pull.head_sha = self.state.git.branch(name) or pull.head_sha
        self._events.pull("reopened", pull, login)

    def _open(self) -> Sequence[Pull]:
        return self.state.open_pulls()

    def _end(self, pull: Pull, login: str) -> None:
        pull.base_sha = self.state.base_tip(pull)
        pull.open, pull.closed, pull.ended_by = False, self.state.clock(), login
        pull.updated = pull.closed

    # ------------------------------------------------------------ reviews

    def review(self, pull: Pull, login: str, event: str, body: str = "", commit: str = "") -> Review:
        """Review it. 422 for one's own, for a refusal without words, for a commit that is not in it."""
        states = {
            "APPROVE": ReviewState.APPROVED,
            "REQUEST_CHANGES": ReviewState.CHANGES_REQUESTED,
            "COMMENT": ReviewState.COMMENTED,
            "": ReviewState.PENDING,
        }
        if event not in states:
            raise _unprocessable(f"No value corresponding to {event} found in the enum PullRequestReviewEvent")
        review = Review(next(self.state.ids), login, states[event], body, commit or pull.head_sha, self.state.clock())
        if login.lower() == pull.login.lower() and event in {"APPROVE", "REQUEST_CHANGES"}:
            verb = "approve" if event == "APPROVE" else "request changes on"
            raise _unprocessable(f"Can not {verb} your own pull request")
        if event in {"REQUEST_CHANGES", "COMMENT"} and not body.strip():
            raise _unprocessable("Body can't be blank")
        if commit and commit != pull.head_sha and not self._is_in(pull, commit):
            raise _unprocessable("The commit_id is not part of the pull request")
        mine = [one for one in pull.reviews if one.login == login and one.state is ReviewState.PENDING]
        if mine:
            raise _unprocessable("User can only have one pending review per pull request")
        pull.reviews.append(review)
        if review.state is not ReviewState.PENDING:
            pull.reviewers = [asked for asked in pull.reviewers if asked != login]
            pull.teams = [team for team in pull.teams if login not in self.state.members(team)]
            pull.updated = review.at
            self._events.review("submitted", pull, review, login)
        return review

    def _is_in(self, pull: Pull, commit: str) -> bool:
        return commit in {info.sha for info in self.state.git.between(self.state.base_tip(pull), pull.head_sha)}

    def dismiss(self, pull: Pull, review: Review, login: str, message: str) -> None:
        """Dismiss an approval or a request for changes; a comment cannot be dismissed."""
        if not message.strip():
            raise _unprocessable("Message can't be blank")
        if review.state not in {ReviewState.APPROVED, ReviewState.CHANGES_REQUESTED}:
            raise _unprocessable(f"Can not dismiss a {review.state.value.lower()} pull request review")
        self._dismissed(pull, review, login)

    def _dismissed(self, pull: Pull, review: Review, login: str) -> None:
        review.state = ReviewState.DISMISSED
        self._events.review("dismissed", pull, review, login)

    def request(self, pull: Pull, logins: Sequence[str], teams: Sequence[str]) -> None:
        """Ask for reviews. 422 for the author and for whoever may not read the repository."""
        if any(login.lower() == pull.login.lower() for login in logins):
            raise GitHubError(422, "Review cannot be requested from pull request author.")
        names = [f"{self.state.owner}/{slug}" for slug in teams]
        strangers = [login for login in logins if self.state.role(login) < Role.READ]
        if strangers or any(name.lower() not in self.state.teams for name in names):
            raise GitHubError(
                422,
                "Reviews may only be requested from collaborators. One or more of the users or teams you specified is "
                f"not a collaborator of the {self.state.repository} repository.",
            )
        pull.reviewers = list(dict.fromkeys([*pull.reviewers, *logins]))
        pull.teams = list(dict.fromkeys([*pull.teams, *names]))

    def unrequest(self, pull: Pull, logins: Sequence[str], teams: Sequence[str]) -> None:
        """Take requests back."""
        pull.reviewers = [login for login in pull.reviewers if login not in logins]
        pull.teams = [name for name in pull.teams if name.partition("/")[2] not in teams]

    # ------------------------------------------------------------ comments

    def comment(self, pull: Pull, login: str, body: str) -> Comment:
        """Comment below it."""
        _check_comment(body)
        now = self.state.clock()
        comment = Comment(next(self.state.ids), pull.number, login, body, now, now)
        self.state.comments[comment.id] = comment
        self._events.comment("created", comment, login)
        return comment

    def edit_comment(self, comment: Comment, login: str, body: str) -> None:
        """Write a comment anew: one's own, or anyone's for whom may write."""
        _check_comment(body)
        if comment.login != login and self.state.role(login) < Role.WRITE:
            raise GitHubError(403, "Must have admin rights to Repository.")
        change = Change("body", comment.body)
        comment.body, comment.updated = body, self.state.clock()
        self._events.comment("edited", comment, login, (change,))

    # ------------------------------------------------------------ merge and pushes

    def merge(
        self,
        pull: Pull,
        login: str,
        method: Method = Method.MERGE,
        *,
        sha: str = "",
        title: str | None = None,
        message: str | None = None,
    ) -> str:
        """Merge it and return the base's new head; refused with GitHub's status and words."""
        state = self.state
        if state.role(login) < Role.WRITE:
            raise GitHubError(403, "Must have write access to the repository.")
        github_merge.check_mergeable(state, pull, login, method, sha)
        if self.trips:
            raise self.trips.pop(0)
        before = state.base_tip(pull)
        new = github_merge.merge(state, pull, login, method, title, message)
        self._merged(pull, login, new, before)
        self.notice(login)
        if state.settings.delete_branch_on_merge and (head := state.git.branch(pull.head_branch)):
            state.git.move(f"refs/heads/{pull.head_branch}", NOTHING, head)
            self.notice(login)
        return new

    def _merged(self, pull: Pull, login: str, merge_sha: str, before: str) -> None:
        self._end(pull, login)
        pull.merged, pull.merge_sha, pull.base_sha = pull.closed, merge_sha, before
        self._events.pull("closed", pull, login)

    def notice(self, login: str = "") -> None:
        """Look at every ref, and do what GitHub does when one has moved, however it was moved.

        Without a login it was whose commit it is, or whoever is pushing at the moment.
        """
        state = self.state
        now = state.git.refs("refs/heads", "refs/tags")
        before, state.refs = state.refs, now
        for ref in sorted(before.keys() | now.keys()):
            old, new = before.get(ref, NOTHING), now.get(ref, NOTHING)
            if old != new:
                who = login or self._committer(new)
                self._events.push(ref, old, new, who)
                self._moved(ref.removeprefix("refs/heads/"), old, new, who)

    def _committer(self, sha: str) -> str:
        account = self.state.by_email(self.state.git.commit(sha).committer.email) if sha != NOTHING else None
        return account.login if account else self.state.pushing or "ghost"

    def _moved(self, branch: str, old: str, new: str, login: str) -> None:
        for pull in self.state.open_pulls():
            if pull.head_branch == branch:
                self._head_moved(pull, new, login)
            elif pull.base_branch == branch and new != NOTHING and self.state.git.holds(new, pull.head_sha):
                self._merged(pull, login, new, old)
            elif pull.base_branch == branch and new == NOTHING:
                self._end(pull, login)
                self._events.pull("closed", pull, login)

    def _head_moved(self, pull: Pull, new: str, login: str) -> None:
        state = self.state
        if new == NOTHING:
            self._end(pull, login)
            self._events.pull("closed", pull, login)
            return
        before, pull.head_sha, pull.pusher, pull.updated = pull.head_sha, new, login, state.clock()
        pull.base_sha = state.base_tip(pull)
        state.git.run("update-ref", f"refs/pull/{pull.number}/head", new)
        self._events.pull("synchronize", pull, login, before=before)
        rules = state.rules.get(pull.base_branch)
        if rules and rules.dismiss_stale:
            for review in pull.reviews:
                if review.state is ReviewState.APPROVED:
                    self._dismissed(pull, review, login)
        if not state.git.between(pull.base_sha, new):
            self._end(pull, login)
            self._events.pull("closed", pull, login)

    # ------------------------------------------------------------ people's own git

    def push(self, branch: str, files: dict[str, str | None], login: str, message: str) -> str:
        """A person's commit, pushed on top of the branch (of the default branch when it is new); returns its id.

        403 for whoever may not write, and on a protected branch unless the rules spare administrators.
        """
        state, git = self.state, self.state.git
        rules = state.rules.get(branch)
        role = state.role(login)
        if role < Role.WRITE:
            raise GitHubError(403, f"Permission to {state.repository}.git denied to {login}.")
        if rules and (rules.enforce_admins or role < Role.ADMIN):
            raise GitHubError(403, f"GH006: Protected branch update failed for refs/heads/{branch}.")
        old = git.branch(branch)
        parent = old or git.branch(state.settings.default_branch)
        who = github_merge.person(state, login)
        new = git.commit_tree(git.edited_tree(parent, files), (parent,) if parent else (), message, who, who)
        if not git.move(f"refs/heads/{branch}", new, old or NOTHING):
            raise GitHubError(409, f"cannot lock ref 'refs/heads/{branch}'")
        self.notice(login)
        return new


def _check_comment(body: str) -> None:
    if not body.strip():
        raise invalid("IssueComment", "missing_field", "body")
    if len(body) > _LONGEST:
        raise invalid("IssueComment", "custom", "body", f"body is too long (maximum is {_LONGEST} characters)")


def _unprocessable(sentence: str) -> GitHubError:
    """A 422 whose errors are plain sentences: reviews are refused so."""
    errors: tuple[Json | str, ...] = (sentence,)
    return GitHubError(422, "Unprocessable Entity", errors)
