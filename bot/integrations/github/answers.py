"""What GitHub's REST API answers, as far as it is read here. Unknown fields are ignored, absent ones have defaults.

PyGithub has classes for all of this, but theirs fetch what is missing when it is looked at: a request in the middle of
a decision. These are values, and an answer that is not what GitHub documents is found when it is read.
"""

from collections.abc import Mapping
from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field, JsonValue


class Answer(BaseModel):
    """The common ground of all answers."""

    model_config = ConfigDict(extra="ignore", frozen=True, populate_by_name=True)


class Account(Answer):
    """A user, a bot or an organisation. Deleted accounts are `null` wherever one could be."""

    login: str


class Home(Answer):
    """The repository at one end of a pull request."""

    full_name: str = ""


class End(Answer):
    """The head or the base of a pull request. `repo` is `null` when a fork is gone."""

    ref: str
    sha: str
    repo: Home | None = None


class Pull(Answer):
    """A pull request. `merged`, `merged_by` and `mergeable` are in the answer for one, not in lists."""

    number: int
    html_url: str
    state: str
    head: End
    base: End
    title: str = ""
    body: str | None = None
    draft: bool = False
    merged: bool = False
    merged_at: datetime | None = None
    merged_by: Account | None = None
    merge_commit_sha: str | None = None
    mergeable: bool | None = None
    mergeable_state: str = "unknown"
    user: Account | None = None


class Issue(Answer):
    """The same pull request as an issue, which alone tells who closed it."""

    closed_by: Account | None = None


class Comment(Answer):
    """A comment below a pull request."""

    id: int
    body: str | None = None


class PullReview(Answer):
    """A review. A pending one, which only its author sees, has no time; the commit may be gone."""

    id: int
    user: Account | None = None
    state: str
    commit_id: str | None = None
    body: str | None = None
    submitted_at: datetime | None = None
    html_url: str = ""


class Signature(Answer):
    """Who a commit says it is by, which anyone can write."""

    name: str = ""
    email: str = ""


class GitCommit(Answer):
    """What git itself knows of a commit."""

    message: str = ""
    author: Signature | None = None
    committer: Signature | None = None


class Somebody(Answer):
    """An account, or `{}` where GitHub knows nobody."""

    login: str = ""


class Commit(Answer):
    """A commit; `author` and `committer` are the accounts with these e-mail addresses, `null` (or `{}`) for none."""

    sha: str
    commit: GitCommit = GitCommit()
    author: Somebody | None = None
    committer: Somebody | None = None


class Reference(Answer):
    """What a name (a tag, an abbreviation) stands for."""

    sha: str


class Compared(Answer):
    """One page of the commits between two others."""

    status: str = ""
    total_commits: int
    commits: tuple[Commit, ...] = ()


class ChangedFile(Answer):
    """A file of a pull request; `previous_filename` when it was moved."""

    filename: str
    previous_filename: str = ""


class Content(Answer):
    """A file at a commit, base64 with line breaks."""

    content: str = ""
    encoding: str = ""


class Merged(Answer):
    """What a successful merge answers."""

    sha: str
    merged: bool


class Status(Answer):
    """The latest status of one context."""

    context: str
    state: str
    description: str | None = None
    target_url: str | None = None


class Statuses(Answer):
    """One page of the latest statuses."""

    statuses: tuple[Status, ...] = ()


class CheckRun(Answer):
    """A check run; `conclusion` is `null` until it is completed."""

    name: str
    status: str = ""
    conclusion: str | None = None


class CheckRuns(Answer):
    """One page of the latest check runs."""

    check_runs: tuple[CheckRun, ...] = ()


class Access(Answer):
    """What a person may do with the repository: admin, write, read or none."""

    permission: str = "none"


class RequiredCheck(Answer):
    """A check that a rule asks for. The ids are the App's that it has to come from, where one is named."""

    context: str
    app_id: int | None = None
    integration_id: int | None = None


class Demands(Answer):
    """What a rule asks for; which of these are there depends on its type."""

    required_approving_review_count: int = 0
    dismiss_stale_reviews_on_push: bool = False
    require_code_owner_review: bool = False
    require_last_push_approval: bool = False
    required_review_thread_resolution: bool = False
    strict_required_status_checks_policy: bool = False
    required_status_checks: tuple[RequiredCheck, ...] = ()


class Rule(Answer):
    """One rule of a ruleset that is in force for a branch."""

    type: str
    ruleset_id: int = 0
    parameters: Demands | None = None


class Switch(Answer):
    """One of the many settings that are an object with a flag in it."""

    enabled: bool = False


class Named(Answer):
    """A user, a team or an App that may pass by a classic branch protection."""

    login: str = ""
    slug: str = ""


class Allowed(Answer):
    """Who may pass by a classic branch protection."""

    users: tuple[Named, ...] = ()
    teams: tuple[Named, ...] = ()
    apps: tuple[Named, ...] = ()


class ProtectedReviews(Answer):
    """The review part of a classic branch protection."""

    required_approving_review_count: int = 0
    dismiss_stale_reviews: bool = False
    bypass_pull_request_allowances: Allowed | None = None
    require_code_owner_reviews: bool = False
    require_last_push_approval: bool = False


class ProtectedChecks(Answer):
    """The checks part of a classic branch protection."""

    strict: bool = False
    contexts: tuple[str, ...] = ()
    checks: tuple[RequiredCheck, ...] = ()


class Protection(Answer):
    """A classic branch protection, in full: only those who may administer the repository can read it."""

    required_pull_request_reviews: ProtectedReviews | None = None
    required_status_checks: ProtectedChecks | None = None
    required_conversation_resolution: Switch = Switch()
    required_signatures: Switch = Switch()
    required_linear_history: Switch = Switch()
    lock_branch: Switch = Switch()
    enforce_admins: Switch = Switch()


class Bypasser(Answer):
    """Who may pass by a ruleset: `actor_type` is `User`, `Team`, `Integration`, `RepositoryRole` or another."""

    actor_id: int | None = None
    actor_type: str = ""


class Ruleset(Answer):
    """A ruleset. Who may pass by it is told to those who may administer it, whether oneself may to everyone."""

    name: str = ""
    bypass_actors: tuple[Bypasser, ...] | None = None
    current_user_can_bypass: str | None = None


class Role(Answer):
    """What the user of a token may do with the repository. Of an App it says nothing."""

    admin: bool = False
    push: bool = False


class RepositoryPage(Answer):
    """The repository. How it may be merged into is told to those who may push."""

    full_name: str = ""
    archived: bool = False
    permissions: Role | None = None
    merge: bool | None = Field(default=None, alias="allow_merge_commit")
    squash: bool | None = Field(default=None, alias="allow_squash_merge")
    rebase: bool | None = Field(default=None, alias="allow_rebase_merge")


class ProtectionSummary(Answer):
    """What everyone may read of a classic branch protection."""

    enabled: bool = False
    required_status_checks: ProtectedChecks | None = None


class Branch(Answer):
    """A branch. `protected` is true for rulesets and classic protections alike."""

    protected: bool = False
    protection: ProtectionSummary = ProtectionSummary()


class UpdateRule(Answer):
    """What GraphQL shows of a classic branch protection to those who may not administer the repository."""

    reviews: int | None = Field(default=None, alias="requiredApprovingReviewCount")
    code_owners: bool = Field(default=False, alias="requiresCodeOwnerReviews")
    conversations: bool = Field(default=False, alias="requiresConversationResolution")
    signatures: bool = Field(default=False, alias="requiresSignatures")
    checks: tuple[str | None, ...] | None = Field(default=None, alias="requiredStatusCheckContexts")
    can_push: bool | None = Field(default=None, alias="viewerCanPush")


class _Ref(Answer):
    rule: UpdateRule | None = Field(default=None, alias="refUpdateRule")


class _RefOf(Answer):
    ref: _Ref | None = None


class _Data(Answer):
    repository: _RefOf | None = None


class UpdateRules(Answer):
    """GraphQL's answer to `UPDATE_RULE`. A question that is refused is answered 200 without data."""

    data: _Data | None = None

    def rule(self) -> UpdateRule | None:
        """The rule, when there is one to be seen."""
        ref = self.data.repository.ref if self.data and self.data.repository else None
        return ref.rule if ref else None


UPDATE_RULE = """
query ($owner: String!, $name: String!, $ref: String!) {
  repository(owner: $owner, name: $name) {
    ref(qualifiedName: $ref) {
      refUpdateRule {
        requiredApprovingReviewCount requiresCodeOwnerReviews requiresConversationResolution requiresSignatures
        requiredStatusCheckContexts viewerCanPush
      }
    }
  }
}
"""


class Installation(Answer):
    """The installation of a GitHub App. `repository_selection` is `all` or `selected`."""

    id: int
    app_id: int = 0
    app_slug: str = ""
    repository_selection: str = ""
    permissions: Mapping[str, str] = Field(default_factory=dict)


class InstallationToken(Answer):
    """A token of an installation, good for an hour."""

    token: str = Field(repr=False)
    expires_at: datetime


class Trouble(Answer):
    """What GitHub says when it does not do as asked. `errors` has sentences in some answers and objects in others."""

    message: str = ""
    errors: JsonValue = None
