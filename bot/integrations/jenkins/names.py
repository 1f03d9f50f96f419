"""What may be put into a request to Jenkins: job names, parameter names and values, addresses. Pure."""

import re
import unicodedata
from urllib.parse import quote, urlsplit

from bot.integrations.jenkins.answers import JobInfo
from bot.integrations.jenkins.faults import Trouble, fault
from commands.ports import BuildRequest
from commands.reasons import Fault

ID = "DEPLOYMENT_ID"
PARAMETERS = frozenset({"ENVIRONMENT", "GIT_COMMIT", ID, "DRY_RUN"})
_VALUE = re.compile(r"[A-Za-z0-9._-]{1,128}")
_LINK = re.compile(r"https?://[A-Za-z0-9._~:/%@!$&'()*+,;=\[\]-]+")


def job_path(job: str) -> str:
    """`platform/infra-deploy` as a path below Jenkins' root: `job/platform/job/infra-deploy/`.

    Refused for what could climb out of it: empty parts, `.`, `..` and control characters. All else is quoted.
    """
    parts = job.split("/")
    for part in parts:
        if part in {"", ".", ".."} or len(part) > 255 or any(unicodedata.category(c).startswith("C") for c in part):
            raise fault(Trouble.JOB_UNNAMED)
    return "".join(f"job/{quote(part, safe='')}/" for part in parts)


def check_request(request: BuildRequest) -> None:
    """Refused unless names are the fixed ones, values match the grammar, and DEPLOYMENT_ID is the deployment's."""
    job_path(request.job)
    for name, value in request.parameters.items():
        if name not in PARAMETERS or not _VALUE.fullmatch(value):
            raise fault(Trouble.UNSAFE_PARAMETER, job=request.job)
    if request.parameters.get(ID) != request.deployment_id:
        raise fault(Trouble.WRONG_ID, job=request.job)


def check_declared(request: BuildRequest, job: JobInfo) -> None:
    """Refused when the job would drop or reject a parameter, found out before a build starts without it.

    Jenkins drops undeclared parameters silently: without DEPLOYMENT_ID a build could never be found again, without
    GIT_COMMIT it would apply something else, and a dry run without DRY_RUN would be a real one. `DRY_RUN=false` is
    what a job without that parameter does anyway. A bad choice would be an error 500, which looks like an outage.
    """
    declared = job.declared()
    if declared is None:
        return  # Not parameterized, or not told: the answer to the trigger will say.
    needed = {name: value for name, value in request.parameters.items() if (name, value) != ("DRY_RUN", "false")}
    missing = sorted(needed.keys() - declared.keys())
    if missing:
        raise undeclared(request.job, missing)
    for name, value in needed.items():
        if declared[name] and value not in declared[name]:
            raise fault(Trouble.CHOICE, job=request.job, names=name, value=value)


def undeclared(job: str, names: list[str]) -> Fault:
    """The refusal for parameters that a job does not declare, with the lines that its Jenkinsfile lacks."""
    lines = "; ".join(f"string(name: '{name}')" for name in names)
    return fault(Trouble.UNDECLARED, job=job, names=", ".join(names), lines=lines)


def origin(url: str) -> tuple[str, str, int]:
    """Scheme, host and port of an address, the default port filled in; empty and 0 where it has none."""
    parts = urlsplit(url)
    try:
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme, 0)
    except ValueError:  # a port that is no number
        return "", "", 0
    return parts.scheme, parts.hostname or "", port


def base_url(url: str) -> str:
    """Jenkins' root with one slash at its end. Refused with credentials, a query or anything but http(s) in it."""
    parts = urlsplit(url)
    scheme, host, port = origin(url)
    if scheme not in {"http", "https"} or not host or not port or "@" in parts.netloc or parts.query or parts.fragment:
        raise fault(Trouble.BAD_URL)
    return url.rstrip("/") + "/"


def link(told: str, base: str, path: str) -> str:
    """The address to show to people: the one Jenkins told when it is on our Jenkins and harmless, else our own."""
    if _LINK.fullmatch(told) and "@" not in urlsplit(told).netloc and origin(told) == origin(base):
        return told
    return base + path
