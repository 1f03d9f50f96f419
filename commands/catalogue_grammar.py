"""The values of `locktender.yaml` that have a grammar of their own: images, overlays, workloads, links, Slack's ids."""

import ipaddress
import re
from urllib.parse import SplitResult, urlsplit

from commands import grammar
from commands.catalogue_faults import did_you_mean, quoted
from commands.catalogue_parts import Workload, WorkloadKind, fill
from commands.catalogue_values import Value

_SLACK_GROUP = re.compile(r"S[A-Z0-9]{2,30}")
_SLACK_USER = re.compile(r"[UW][A-Z0-9]{2,30}")
_SLACK_CHANNEL = re.compile(r"[CG][A-Z0-9]{2,30}")
_GITHUB_TEAM = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,38}/[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_GITHUB_LOGIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,38}(\[bot\])?")
_EMAIL = re.compile(r"[^\s@<>,;]{1,64}@[^\s@<>,;]{1,190}")

_CHANNEL_HELP = "write the channel's id, as in `C0123ABCD` (in Slack: the channel's details, at the bottom)"
_USER_HELP = "write the member's id, as in `U0123ABCD` (in Slack: profile, ⋮, Copy member ID)"
_GROUP_HELP = "write the user group's id, as in `S0123ABCD` (in Slack: the group's page, ⋮, Copy group ID)"
_PLACEHOLDERS = ("{app}", "{environment}")
_BRACES = re.compile(r"\{[^{}]*\}|[{}]")
_LONGEST_PATH = 255
_JENKINS_FORBIDS = frozenset("?*\\%!@#$^&|<>[]:;")  # jenkins.model.Jenkins.checkGoodName


def image(value: Value) -> str | None:
    """An image's name without a tag: what is deployed is asked for each time."""
    text = value.text("registry.example.com/web")
    if text is None or grammar.image_name(text):
        return text
    bare = re.sub(r"(@[a-z0-9]+:[0-9a-f]+)?$", "", re.sub(r"^https?://", "", text))
    bare = re.sub(r":[\w.-]*$", "", bare)
    if bare != text and grammar.image_name(bare):
        value.fault(f"{quoted(text)} is more than an image's name", f"write `{bare}`: versions come with each deploy")
    elif bare != bare.lower() and grammar.image_name(bare.lower()):
        value.fault(f"{quoted(text)} has capital letters", f"write `{bare.lower()}`")
    elif "@" in text:
        # Whoever writes credentials into an address does not want them repeated in a channel.
        value.fault("this is not an image's name", "write it as in `registry.example.com/web`, without `@`")
    else:
        value.fault(f"{quoted(text)} is not an image's name", "write it as in `registry.example.com/web`")
    return None


def overlay(value: Value) -> str | None:
    """A folder of the infra-repo, relative to its root, with placeholders."""
    text = value.text("environments/{environment}")
    if text is None or not _placeholders(value, text):
        return None
    if wrong := _not_a_folder(text):
        value.fault(
            f"{quoted(text)} {wrong}", "write a folder below the repository's root, as in `environments/staging`"
        )
        return None
    return text


def _not_a_folder(text: str) -> str | None:
    parts = text.split("/")
    if text.startswith("/"):
        return "is an absolute path"
    if ".." in parts:
        return "leaves its folder by `..`"
    if "\\" in text:
        return "has a backslash"
    if "" in parts or "." in parts:
        return "has an empty part"
    if ":" in text:
        return "has a colon"
    if any(part.startswith("-") for part in parts):
        return "has a part that begins with a hyphen"
    if any(part.lower() == ".git" for part in parts):
        return "is inside git's own folder"
    return "is too long" if len(text) > _LONGEST_PATH else None


def namespace(value: Value) -> str | None:
    """A namespace, with placeholders."""
    text = value.text("{app}-{environment}")
    if text is None or not _placeholders(value, text):
        return None
    if not grammar.NAME.fullmatch(fill(text, "a", "a")):
        value.fault(f"{quoted(text)} is not a name that Kubernetes allows", "write it as in `team-web`")
        return None
    return text


def workload(value: Value) -> Workload | None:
    """`kind/name`, as kubectl writes it."""
    text = value.text("deployment/{app}")
    if text is None or not _placeholders(value, text):
        return None
    kind, slash, name = text.partition("/")
    kinds = [choice.value for choice in WorkloadKind]
    if kind not in kinds:
        better = tuple(f"{guess}/{name or '{app}'}" for guess in grammar.nearest(kind, kinds, 1))
        otherwise = "write `deployment/…`, `statefulset/…` or `daemonset/…`"
        value.fault(f"{quoted(text)} is no workload whose rollout can be watched", did_you_mean(better, otherwise))
        return None
    if not slash or not grammar.NAME.fullmatch(fill(name, "a", "a")):
        value.fault(f"{quoted(text)} does not name a workload", f"write it as in `{kind}/{{app}}`")
        return None
    return Workload(WorkloadKind(kind), name)


def _placeholders(value: Value, text: str) -> bool:
    for found in _BRACES.findall(text):
        if found not in _PLACEHOLDERS:
            guesses = tuple(f"{{{guess}}}" for guess in grammar.nearest(found.strip("{}"), ("app", "environment"), 1))
            value.fault(
                f"{quoted(found)} is not a placeholder", did_you_mean(guesses, "use `{app}` and `{environment}`")
            )
            return False
    return True


def job(value: Value) -> str | None:
    """A Jenkins job's full name, folders with `/`."""
    text = value.text("platform/infra-deploy")
    if text is None:
        return None
    parts = text.split("/")
    if any(part in {"", ".", ".."} or part != part.strip() for part in parts) or _JENKINS_FORBIDS.intersection(text):
        value.fault(f"{quoted(text)} is not a Jenkins job's full name", "write it as in `platform/infra-deploy`")
        return None
    return text


def link(value: Value) -> str | None:
    """An https address that can be shown to everyone."""
    text = value.text("https://github.com/example/web")
    if text is None:
        return None
    parts = _address(text)
    if parts is None or parts.scheme != "https" or "@" in parts.netloc or re.search(r'[\s"<>|`]', text):
        # The address is not repeated: it may hold credentials.
        value.fault("this is not a plain https address", "write it as in `https://github.com/example/web`")
        return None
    return text


def registry_url(value: Value, host: str) -> str | None:
    """Where a registry's API is: https, or http on this very machine."""
    text = value.text(f"https://{host}")
    if text is None:
        return None
    parts = _address(text)
    if parts is None or "@" in parts.netloc or parts.path not in {"", "/"} or parts.query or parts.fragment:
        value.fault("this is not the address of a registry", f"write it as in `https://{host}`, without path or user")
        return None
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(parts.hostname or "")):
        value.fault(f"{quoted(text)} is not encrypted", f"write `https://{host}`")
        return None
    return text.rstrip("/")


def health_url(value: Value) -> str | None:
    """An address that is asked for an app's health, with placeholders: https, or http to a name inside the cluster."""
    text = value.text("https://web.example.com/healthz")
    if text is None or not _placeholders(value, text):
        return None
    parts = _address(fill(text, "a", "a"))
    host = parts.hostname if parts and parts.hostname else ""
    if parts is None or parts.scheme not in {"http", "https"} or not _is_plain(text, parts):
        # The address is not repeated: it may hold credentials.
        value.fault("this is not a plain address", "write it as in `https://web.example.com/healthz`, without user")
        return None
    if is_link_local(host):
        value.fault(f"{quoted(host)} is where clouds keep machines' secrets", "write the app's own address")
        return None
    if parts.scheme == "http" and not (is_internal(host) or is_loopback(host)):
        instead = "write `https://…`, or a name inside the cluster, as in `http://{app}.{environment}.svc:8080/healthz`"
        value.fault("this address is neither encrypted nor inside the cluster", instead)
        return None
    return text


def _is_plain(text: str, parts: SplitResult) -> bool:
    known = grammar.is_host(parts.hostname or "") or _is_address(parts.hostname or "")
    return known and "@" not in parts.netloc and not parts.fragment and not re.search(r'[\s"<>|`\\]', text)


def is_internal(host: str) -> bool:
    """True for names that only a cluster's own DNS, or a private network's, knows: `web`, `web.prod.svc`, `x.internal`.

    https://kubernetes.io/docs/concepts/services-networking/dns-pod-service/; `.internal` is ICANN's for private use.
    """
    return ("." not in host and ":" not in host) or host.endswith((".svc", ".cluster.local", ".internal"))


def is_link_local(host: str) -> bool:
    """True for an address of the machine's own link, where cloud providers answer with credentials."""
    try:
        return ipaddress.ip_address(host).is_link_local
    except ValueError:
        return False


def _is_address(host: str) -> bool:
    try:
        return bool(ipaddress.ip_address(host))
    except ValueError:
        return False


def _address(text: str) -> SplitResult | None:
    try:
        parts = urlsplit(text)
        complete = bool(parts.hostname) and parts.port != 0
    except ValueError:
        return None  # a port that is no number, or half an IPv6 address
    return parts if complete else None


def is_loopback(host: str) -> bool:
    """True for this very machine: `localhost` or an address that never leaves it."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def channel(value: Value) -> str | None:
    """A Slack channel, by id: names change hands."""
    return _slack_id(value, _SLACK_CHANNEL, "a channel", _CHANNEL_HELP)


def user(value: Value) -> str | None:
    """A Slack user, by id: display names are anybody's to choose."""
    return _slack_id(value, _SLACK_USER, "a Slack user", _USER_HELP)


def user_group(value: Value) -> str | None:
    """A Slack user group, by id."""
    return _slack_id(value, _SLACK_GROUP, "a Slack user group", _GROUP_HELP)


def _slack_id(value: Value, pattern: re.Pattern[str], what: str, instead: str) -> str | None:
    if value.is_empty:
        value.fault("is empty (a `#` after a space begins a comment)", instead)
        return None
    text = value.text("C0123ABCD")
    if text is None or pattern.fullmatch(text):
        return text
    value.fault(f"{quoted(text)} is not the id of {what}", instead)
    return None


def github_team(value: Value) -> str | None:
    """`org/team`."""
    return value.matching(_GITHUB_TEAM, "a GitHub team", "my-org/release-managers")


def github_login(value: Value) -> str | None:
    """A GitHub login, in lower case: GitHub does not tell cases apart."""
    login = value.matching(_GITHUB_LOGIN, "a GitHub login", "alice")
    return login.lower() if login else None


def email(value: Value) -> str | None:
    """An e-mail address, in lower case."""
    address = value.matching(_EMAIL, "an e-mail address", "alice@example.com")
    return address.lower() if address else None
