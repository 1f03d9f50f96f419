"""Why a request or a deployment ended as it did: a closed list, and the exceptions that carry it.

The class of the exception says what to do: `Refused` stops (the rules or the world said no), `Unknown` stops (we
could not tell), `Retry` may pass when the same call is made again after `after` seconds.
"""

from enum import StrEnum


class ReasonCode(StrEnum):
    """Every ending has exactly one of these. Values are stored and exported: add, never rename."""

    # Good endings
    LIVE = "live"
    COMMITTED = "committed"  # nothing watches this environment: git says so, and that is all that is known
    PREVIEWED = "previewed"
    ACCEPTED = "accepted"
    ANSWERED = "answered"
    # What was asked
    BAD_USAGE = "bad_usage"
    UNSAFE_TEXT = "unsafe_text"
    UNKNOWN_APP = "unknown_app"
    UNKNOWN_ENVIRONMENT = "unknown_environment"
    BAD_VERSION = "bad_version"
    UNKNOWN_VERSION = "unknown_version"
    UNKNOWN_DEPLOYMENT = "unknown_deployment"
    ALREADY_LIVE = "already_live"
    ALREADY_REQUESTED = "already_requested"
    TOO_LATE = "too_late"
    CANCELLED_BY_PERSON = "cancelled_by_person"
    APPROVED = "approved"
    NO_CHANGE = "no_change"
    # Promotion and rollback
    NOT_ON_PATH = "not_on_path"
    SOURCE_UNHEALTHY = "source_unhealthy"
    SOURCE_DRIFTED = "source_drifted"
    SOURCE_BUSY = "source_busy"
    NOTHING_TO_RESTORE = "nothing_to_restore"
    REASON_REQUIRED = "reason_required"
    # Approval
    SELF_APPROVAL = "self_approval"
    NOT_AN_APPROVER = "not_an_approver"
    UNKNOWN_PERSON = "unknown_person"
    ALREADY_DECIDED = "already_decided"
    APPROVAL_VOID = "approval_void"
    APPROVAL_NOT_OPEN = "approval_not_open"
    APPROVAL_EXPIRED = "approval_expired"
    REJECTED_BY_PERSON = "rejected_by_person"
    COMMENT_REQUIRED = "comment_required"
    STALE_BUTTON = "stale_button"
    FACTS_TOO_OLD = "facts_too_old"
    # What holds a request up
    LOCKED = "locked"
    FROZEN = "frozen"
    ON_HOLD = "on_hold"
    NOT_LOCKED = "not_locked"
    BAD_TIME = "bad_time"
    SUPERSEDED_BY_NEWER = "superseded_by_newer"
    # The code host
    HOST_UNREACHABLE = "host_unreachable"
    HOST_CREDENTIALS = "host_credentials"
    HOST_RATE_LIMITED = "host_rate_limited"
    HOST_REFUSED = "host_refused"
    HEAD_MOVED = "head_moved"
    MERGE_CONFLICT = "merge_conflict"
    MERGE_BLOCKED = "merge_blocked"
    MERGE_PENDING = "merge_pending"
    MERGED_BY_HAND = "merged_by_hand"
    MERGED_OTHER = "merged_other"  # what was merged is not what was approved
    PULL_REQUEST_CLOSED = "pull_request_closed"
    BRANCH_TAKEN = "branch_taken"
    # After the rollout
    VERIFICATION_FAILED = "verification_failed"
    RESTARTED = "restarted"
    # Who asked, and the rules
    NOT_PERMITTED = "not_permitted"
    WRONG_WORKSPACE = "wrong_workspace"
    APPROVAL_REQUIRED = "approval_required"
    GROUP_UNREADABLE = "group_unreadable"
    CATALOGUE_MISSING = "catalogue_missing"
    CATALOGUE_INVALID = "catalogue_invalid"
    # The infra-repo
    REPO_UNREACHABLE = "repo_unreachable"
    REPO_CREDENTIALS = "repo_credentials"
    REPO_MISSING = "repo_missing"
    BRANCH_MISSING = "branch_missing"
    BRANCH_PROTECTED = "branch_protected"
    PUSH_REFUSED = "push_refused"
    PUSH_RACE = "push_race"
    OVERLAY_MISSING = "overlay_missing"
    OVERLAY_UNSAFE = "overlay_unsafe"
    OVERLAY_INVALID = "overlay_invalid"
    REMOTE_BASE = "remote_base"
    RENDER_FAILED = "render_failed"
    RENDER_LIMIT = "render_limit"
    IMAGE_UNUSED = "image_unused"
    # The registry
    REGISTRY_UNREACHABLE = "registry_unreachable"
    REGISTRY_CREDENTIALS = "registry_credentials"
    # Jenkins
    JENKINS_UNREACHABLE = "jenkins_unreachable"
    JENKINS_CREDENTIALS = "jenkins_credentials"
    JOB_MISSING = "job_missing"
    JOB_DISABLED = "job_disabled"
    JOB_NOT_PARAMETERIZED = "job_not_parameterized"
    JOB_REFUSED_PARAMETERS = "job_refused_parameters"
    BUILD_CANCELLED = "build_cancelled"
    BUILD_FAILED = "build_failed"
    BUILD_ABORTED = "build_aborted"
    BUILD_UNSTABLE = "build_unstable"
    BUILD_LOST = "build_lost"
    BUILD_TIMED_OUT = "build_timed_out"
    # The cluster
    CLUSTER_UNREACHABLE = "cluster_unreachable"
    CLUSTER_CREDENTIALS = "cluster_credentials"
    WORKLOAD_MISSING = "workload_missing"
    NOT_APPLIED = "not_applied"
    ROLLOUT_REPLACED = "rollout_replaced"
    ROLLOUT_PAUSED = "rollout_paused"
    ROLLOUT_TIMED_OUT = "rollout_timed_out"
    PROGRESS_DEADLINE = "progress_deadline"
    IMAGE_PULL = "image_pull"
    CRASH_LOOP = "crash_loop"
    CONTAINER_CONFIG = "container_config"
    UNSCHEDULABLE = "unschedulable"
    QUOTA = "quota"
    # Us
    NOT_CONFIGURED = "not_configured"
    STEP_TIMED_OUT = "step_timed_out"
    INTERNAL = "internal"


class Fault(Exception):  # noqa: N818 - the three below are what is raised; their names are the verdict
    """An ending in the making: a reason code, what happened and why, and what the person can do next.

    `what` and `next_step` are plain sentences for a person; `detail` is outside text (log lines, a tool's stderr) that
    is shown as a quotation, never interpreted.
    """

    def __init__(self, reason: ReasonCode, what: str, next_step: str, *, detail: str = "") -> None:
        super().__init__(reason, what, next_step, detail)
        self.reason = reason
        self.what = what
        self.next_step = next_step
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.reason}: {self.what}"


class Refused(Fault):
    """The rules or the world said no: asking again changes nothing. A deployment ends FAILED."""


class Unknown(Fault):
    """What happened could not be found out. A deployment ends ERRORED, and the person is told to look."""


class Retry(Fault):
    """May pass: make the same call again in `after` seconds. Writing calls probe first, so that is safe."""

    def __init__(self, reason: ReasonCode, what: str, next_step: str, *, after: float = 1.0, detail: str = "") -> None:
        super().__init__(reason, what, next_step, detail=detail)
        self.after = after

    def as_unknown(self) -> Unknown:
        """The same fault, when patience has run out."""
        return Unknown(self.reason, self.what, self.next_step, detail=self.detail)
