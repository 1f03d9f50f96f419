"""One request to a registry: bounded in size and time, never to another origin, failures sorted by what to do next."""

import ipaddress
import ssl
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx

from commands import grammar
from commands.reasons import ReasonCode, Refused, Retry, Unknown

_SMALLEST_WAIT, _LONGEST_WAIT = 1.0, 300.0  # seconds, whatever Retry-After says
_PATIENCE = 3  # times the time-out: how long one answer may drip in


@dataclass(frozen=True)
class Endpoint:
    """Where a registry's API is. `url` has no path; `user` empty means anonymous.

    Plain http is for this very machine; `insecure` says that it is meant elsewhere too.
    """

    url: str
    user: str = ""
    password: str = field(default="", repr=False)
    insecure: bool = False


@dataclass(frozen=True)
class Answer:
    """What came back, whole. `url` is what was asked."""

    url: httpx.URL
    status: int
    headers: httpx.Headers
    body: bytes = field(repr=False)


class Wire:
    """Sends requests, and raises for everything that is not an answer. `host` is what messages call the registry."""

    def __init__(self, timeout: float, roots: ssl.SSLContext | None = None) -> None:
        self._timeout = timeout
        self._client = httpx.Client(verify=roots or trust(), timeout=timeout, trust_env=False, follow_redirects=False)

    def close(self) -> None:
        """Drop the connections that are kept open."""
        self._client.close()

    def send(self, host: str, method: str, url: httpx.URL, headers: dict[str, str], limit: int) -> Answer:
        """The answer, of any status below 500 but 408 and 429; Retry for those and when none came.

        Unknown when the body is longer than `limit` bytes.
        """
        deadline = time.monotonic() + _PATIENCE * self._timeout
        headers = {"Accept-Encoding": "identity", "User-Agent": "locktender", **headers}
        try:
            with self._client.stream(method, url, headers=headers) as response:
                body = bytearray()
                for chunk in response.iter_raw():
                    body += chunk
                    if len(body) > limit:
                        raise strange(host, f"its answer is longer than {limit:,} bytes")
                    if time.monotonic() > deadline:
                        raise _unreachable(host, "its answer came too slowly", "")
                if body and response.headers.get("content-encoding", "identity") != "identity":
                    # Unpacking could make a few bytes fill the memory, and we asked for plain ones.
                    raise strange(host, "its answer is packed, which was not asked for")
                answer = Answer(url, response.status_code, response.headers, bytes(body))
        except httpx.TimeoutException as error:
            raise _unreachable(host, f"it did not answer within {self._timeout:g} seconds", str(error)) from error
        except httpx.RequestError as error:
            raise _unreachable(host, "it could not be reached", str(error)) from error
        return _usable(host, answer)


def trust() -> ssl.SSLContext:
    """The usual roots, and the system's: companies sign their registries themselves. SSL_CERT_FILE counts as system.

    Takes about 50 ms, so one is made per program and not per request.
    """
    context = httpx.create_ssl_context(trust_env=False)
    context.load_default_certs()
    return context


def _usable(host: str, answer: Answer) -> Answer:
    if answer.status == 429:
        raise Retry(
            ReasonCode.REGISTRY_UNREACHABLE,
            f"The registry {host} was asked too often and wants to be left alone for a while.",
            "Nothing to do: it is asked again later. Credentials of its own often allow more requests.",
            after=retry_after(answer.headers),
        )
    if answer.status >= 500 or answer.status == 408:
        raise _unreachable(host, f"it answered {answer.status}", "", retry_after(answer.headers))
    return answer


def _unreachable(host: str, why: str, detail: str, after: float = _SMALLEST_WAIT) -> Retry:
    return Retry(
        ReasonCode.REGISTRY_UNREACHABLE,
        f"The registry {host} could not be asked: {why}.",
        "Nothing to do if it comes back; otherwise check the registry and the network between.",
        after=after,
        detail=detail,
    )


def strange(host: str, why: str, detail: str = "") -> Unknown:
    """The registry answered, and the answer cannot be used."""
    return Unknown(
        ReasonCode.REGISTRY_UNREACHABLE,
        f"The registry {host} could not be understood: {why}.",
        "Check that its address in `locktender.yaml` is that of a container registry.",
        detail=detail,
    )


def retry_after(headers: httpx.Headers) -> float:
    """Seconds to wait, from Retry-After in either form, within sensible bounds."""
    text = headers.get("retry-after", "").strip()
    seconds = _SMALLEST_WAIT
    if text.isascii() and text.isdigit():
        seconds = float(text[:9])
    elif text:
        try:
            moment = parsedate_to_datetime(text)
        except ValueError:
            return seconds
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        seconds = (moment - datetime.now(UTC)).total_seconds()
    return min(max(seconds, _SMALLEST_WAIT), _LONGEST_WAIT)


def address(host: str, endpoint: Endpoint) -> httpx.URL:
    """The endpoint's address, checked. Refused when it is no https address that credentials may be sent to."""
    url = server(endpoint.url)
    if url is None or url.path not in {"", "/"} or url.query or url.fragment:
        raise _refused(
            host, "its address is not one of a server alone", "Write it as in `https://registry.example.com`."
        )
    if url.scheme != "https" and not (url.scheme == "http" and (endpoint.insecure or is_loopback(url))):
        raise _refused(host, "its address is not encrypted", "Write an https address.")
    return url


def server(text: str) -> httpx.URL | None:
    """An absolute address with a host and without credentials in it; None when it is something else."""
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL:
        return None
    # httpx takes `https://[` for a host of that name.
    named = grammar.is_host(url.host) or _ip_address(url) is not None
    return url if named and not url.userinfo else None


def _refused(host: str, why: str, next_step: str) -> Refused:
    # The address itself is not repeated: it may hold credentials.
    return Refused(ReasonCode.NOT_CONFIGURED, f"The registry {host} cannot be asked: {why}.", next_step)


def is_loopback(url: httpx.URL) -> bool:
    """True when the address is this very machine."""
    ip_address = _ip_address(url)
    return url.host == "localhost" or (ip_address is not None and ip_address.is_loopback)


def _ip_address(url: httpx.URL) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(url.host)
    except ValueError:
        return None


def same_origin(one: httpx.URL, other: httpx.URL) -> bool:
    """True when both are the same scheme, host and port."""
    return (one.scheme, one.host, _port(one)) == (other.scheme, other.host, _port(other))


def _port(url: httpx.URL) -> int:
    return url.port or (443 if url.scheme == "https" else 80)
