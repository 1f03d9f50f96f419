"""What can go wrong with Jenkins, and how a person is told: one table of words for the whole package."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from commands.reasons import Fault, ReasonCode, Refused, Retry


class Trouble(StrEnum):
    """The ways in which Jenkins, or what is configured about it, lets us down."""

    DOWN = "down"
    SILENT = "silent"
    BROKEN = "broken"
    BUSY = "busy"
    NOT_JENKINS = "not_jenkins"
    MOVED = "moved"
    BAD_URL = "bad_url"
    CREDENTIALS = "credentials"
    FORBIDDEN = "forbidden"
    JOB_MISSING = "job_missing"
    JOB_UNNAMED = "job_unnamed"
    JOB_DISABLED = "job_disabled"
    NOT_PARAMETERIZED = "not_parameterized"
    UNDECLARED = "undeclared"
    CHOICE = "choice"
    UNSAFE_PARAMETER = "unsafe_parameter"
    WRONG_ID = "wrong_id"
    QUEUE_REFUSED = "queue_refused"
    REJECTED = "rejected"


@dataclass(frozen=True)
class Wording:
    """The verdict and its sentences; what is filled in was checked before, it is never outside text."""

    verdict: type[Refused | Retry]
    reason: ReasonCode
    what: str
    next_step: str


_AGAIN = "Nothing is lost: it is looked up in Jenkins before it is triggered again. If this lasts, check Jenkins."

WORDS: Mapping[Trouble, Wording] = {
    Trouble.DOWN: Wording(
        Retry,
        ReasonCode.JENKINS_UNREACHABLE,
        "Jenkins at {url} cannot be reached: no connection could be made.",
        "Check that Jenkins runs and that JENKINS_URL is its address.",
    ),
    Trouble.SILENT: Wording(
        Retry,
        ReasonCode.JENKINS_UNREACHABLE,
        "Jenkins at {url} did not answer: the connection was cut or the time was up.",
        _AGAIN,
    ),
    Trouble.BROKEN: Wording(
        Retry, ReasonCode.JENKINS_UNREACHABLE, "Jenkins at {url} answered with the error {status}.", _AGAIN
    ),
    Trouble.BUSY: Wording(
        Retry,
        ReasonCode.JENKINS_UNREACHABLE,
        "Jenkins at {url} is not ready: it answered {status}, as it does while it starts or is overloaded.",
        _AGAIN,
    ),
    Trouble.NOT_JENKINS: Wording(
        Retry,
        ReasonCode.JENKINS_UNREACHABLE,
        "Something at {url} answered, but not as Jenkins would.",
        "Check that JENKINS_URL is Jenkins' own address, and that the proxy before it reaches it.",
    ),
    Trouble.MOVED: Wording(
        Refused,
        ReasonCode.NOT_CONFIGURED,
        "Jenkins at {url} sends us to {target}, and redirects are not followed with credentials.",
        "Ask an operator to set JENKINS_URL to the address at which Jenkins answers itself.",
    ),
    Trouble.BAD_URL: Wording(
        Refused,
        ReasonCode.NOT_CONFIGURED,
        "JENKINS_URL is not an address that can be used.",
        "Ask an operator to write it as `https://jenkins.example.com/` or with a path behind it, and nothing else: the "
        "user and the token have settings of their own.",
    ),
    Trouble.CREDENTIALS: Wording(
        Refused,
        ReasonCode.JENKINS_CREDENTIALS,
        "Jenkins at {url} does not accept the user name and API token that are configured.",
        "Ask an operator to check JENKINS_USER and JENKINS_TOKEN: the token may have been revoked.",
    ),
    Trouble.FORBIDDEN: Wording(
        Refused,
        ReasonCode.JENKINS_CREDENTIALS,
        "Jenkins at {url} knows the configured user, but does not permit what is needed.",
        "Ask someone with Jenkins access to give that user Overall/Read, and Job/Read and Job/Build on the deploy job.",
    ),
    Trouble.JOB_MISSING: Wording(
        Refused,
        ReasonCode.JOB_MISSING,
        "Jenkins has no job `{job}`, or the configured user may not see it.",
        "Ask someone with Jenkins access to create the job `{job}` or to give the user Job/Read on it, "
        "then run the command again.",
    ),
    Trouble.JOB_UNNAMED: Wording(
        Refused,
        ReasonCode.JOB_MISSING,
        "The name that is configured for the Jenkins job cannot be a job's name.",
        "Write the job's full name in locktender.yaml, folders separated by one `/`: `platform/infra-deploy`.",
    ),
    Trouble.JOB_DISABLED: Wording(
        Refused,
        ReasonCode.JOB_DISABLED,
        "The Jenkins job `{job}` is disabled, so nothing was started.",
        "Ask someone with Jenkins access to enable the job `{job}`, then run the command again.",
    ),
    Trouble.NOT_PARAMETERIZED: Wording(
        Refused,
        ReasonCode.JOB_NOT_PARAMETERIZED,
        "The Jenkins job `{job}` takes no parameters, so it cannot be told what to deploy.",
        "Add `parameters {{ string(name: 'DEPLOYMENT_ID') }}` and the other parameters to the Jenkinsfile of `{job}` "
        "and run the job once by hand, so that Jenkins learns them.",
    ),
    Trouble.UNDECLARED: Wording(
        Refused,
        ReasonCode.JOB_REFUSED_PARAMETERS,
        "The Jenkins job `{job}` does not declare {names}, and Jenkins silently drops what a job does not declare.",
        "Add `parameters {{ {lines} }}` to the Jenkinsfile of `{job}`, run the job once by hand so that Jenkins learns "
        "it, then run the command again.",
    ),
    Trouble.CHOICE: Wording(
        Refused,
        ReasonCode.JOB_REFUSED_PARAMETERS,
        "The Jenkins job `{job}` does not offer `{value}` for its parameter {names}.",
        "Add `{value}` to the choices of {names} in the job `{job}`, then run the command again.",
    ),
    Trouble.UNSAFE_PARAMETER: Wording(
        Refused,
        ReasonCode.JOB_REFUSED_PARAMETERS,
        "A parameter for the Jenkins job `{job}` has a name or a value that is not permitted, so nothing was started.",
        "Only ENVIRONMENT, GIT_COMMIT, DEPLOYMENT_ID and DRY_RUN are passed, in letters, digits, `.`, `_` and `-`, "
        "128 at most.",
    ),
    Trouble.WRONG_ID: Wording(
        Refused,
        ReasonCode.JOB_REFUSED_PARAMETERS,
        "The parameters for the Jenkins job `{job}` do not name the deployment that they are for.",
        "This is a fault of the bot: please report it with the deployment's id.",
    ),
    Trouble.QUEUE_REFUSED: Wording(
        Retry,
        ReasonCode.JENKINS_UNREACHABLE,
        "Jenkins did not take the job `{job}` into its queue; a plugin or a shutdown may forbid it for now.",
        "It is tried again. If this lasts, ask someone with Jenkins access what keeps `{job}` out of the queue.",
    ),
    Trouble.REJECTED: Wording(
        Refused,
        ReasonCode.JOB_REFUSED_PARAMETERS,
        "Jenkins answered {status} to the request to build `{job}`, which is a refusal.",
        "Ask someone with Jenkins access to start `{job}` by hand with the same parameters and to see what it says.",
    ),
}


def fault(trouble: Trouble, *, after: float = 2.0, detail: str = "", **values: str) -> Fault:
    """The exception to raise. `after` (seconds) counts when it is a Retry."""
    words = WORDS[trouble]
    what, next_step = words.what.format(**values), words.next_step.format(**values)
    if words.verdict is Retry:
        return Retry(words.reason, what, next_step, after=after, detail=detail)
    return Refused(words.reason, what, next_step, detail=detail)
