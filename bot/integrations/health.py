"""One look at an app's health address, from where the bot runs.

The address comes from the reviewed catalogue with names filled in, so it is trusted to be an app's, but not blindly:
the name is resolved once, addresses that only this machine's surroundings answer to (cloud metadata above all) are
refused, and the connection goes to the very address that was looked at. Nothing but the answer's status is used.
"""

import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotInTimeError
from dataclasses import dataclass

import httpx

from bot.integrations.registry_http import same_origin, server, trust
from commands.ports import HealthLook

BODY_BYTES = 64 * 1024  # read and dropped, so that the app can finish its answer
REDIRECTS = 5
HEADERS = {"Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": "locktender", "Connection": "close"}
# What is not link-local and yet the metadata service of a cloud: AWS over IPv6, Alibaba, Oracle, Azure's wire server.
METADATA = frozenset({"fd00:ec2::254", "100.100.100.200", "192.0.0.192", "168.63.129.16"})
_NAT64 = ipaddress.ip_network("64:ff9b::/96")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolver = Callable[[str, int], list[str]]
"""From host and port to IP addresses, the best first. Raises OSError (or UnicodeError) when there are none."""


class HealthProbe:
    """Asks health addresses. Thread-safe; keeps nothing open between looks.

    `roots` are the authorities that certificates are checked against: by default the usual ones and the system's.
    """

    def __init__(self, *, roots: ssl.SSLContext | None = None, resolve: Resolver | None = None) -> None:
        self._roots = roots
        self._resolve = resolve or resolved
        self._guard = threading.Lock()

    def look(self, url: str, wanted: int | None, timeout: float) -> HealthLook:
        """GET this http or https address. Healthy: it answers `wanted`, or 200 to 299 when that is None.

        Takes `timeout` seconds at most, all in all. Never raises: every failure is an answer. Redirects are followed
        within the same origin only; no credentials, cookies or proxies are used.
        """
        asked = server(url)
        if asked is None or asked.scheme not in {"http", "https"} or not 0 < (asked.port or 80) < 65536:
            # It is not repeated: it may hold credentials.
            what = "The health address cannot be asked: it has to be http or https, with a host and no credentials."
            return HealthLook(ok=False, status=None, what=what)
        # Name look-ups know no time limit of their own. What is late goes on alone until its sockets give up.
        answer: Future[HealthLook] = Future()
        deadline = time.monotonic() + timeout
        look = _Look(wanted, deadline, self._context, self._resolve)
        threading.Thread(target=_settle, args=(answer, look, asked), name="health", daemon=True).start()
        try:
            return answer.result(timeout)
        except NotInTimeError:
            return HealthLook(ok=False, status=None, what=f"{shown(asked)} did not answer within {timeout:g} seconds.")

    def _context(self) -> ssl.SSLContext:
        with self._guard:
            if self._roots is None:
                self._roots = trust()
            return self._roots


class _UnhealthyError(Exception):
    """Why there is no whole answer to judge: the words that follow the address."""

    def __init__(self, words: str, status: int | None = None) -> None:
        super().__init__(words)
        self.status = status


@dataclass(frozen=True)
class _Look:
    """One look under way."""

    wanted: int | None
    deadline: float  # of time.monotonic
    context: Callable[[], ssl.SSLContext]
    resolve: Resolver

    def at(self, url: httpx.URL) -> HealthLook:
        """The verdict on this address and where it redirects to."""
        first = url
        for _ in range(REDIRECTS + 1):
            try:
                status, location = self._get(url)
            except _UnhealthyError as trouble:
                return HealthLook(ok=False, status=trouble.status, what=f"{shown(url)} {trouble}.")
            if status == self.wanted or not location:
                return self._verdict(url, status)
            there = _joined(url, location)
            if there is None or not same_origin(url, there):
                elsewhere = shown(there) if there else "an address that cannot be read"
                what = f"{shown(url)} answered {status} and leads elsewhere, to {elsewhere}, which is not followed."
                return HealthLook(ok=False, status=status, what=what)
            url = there
        return HealthLook(ok=False, status=status, what=f"{shown(first)} redirects more than {REDIRECTS} times.")

    def _verdict(self, url: httpx.URL, status: int) -> HealthLook:
        if self.wanted is None:
            ok, hoped = 200 <= status <= 299, "a status from 200 to 299"
        else:
            ok, hoped = status == self.wanted, str(self.wanted)
        return HealthLook(ok, status, f"{shown(url)} answered {status}" + ("." if ok else f"; {hoped} was expected."))

    def _get(self, url: httpx.URL) -> tuple[int, str]:
        """Status and Location, from the first of the host's addresses that takes the connection."""
        addresses = self._addresses(url)
        for number, address in enumerate(addresses, start=1):
            try:
                return self._get_from(url, address, last=number == len(addresses))
            except httpx.ConnectTimeout:
                continue
            except httpx.ConnectError as error:
                trouble = _UnhealthyError(_connect_trouble(error))
                if number == len(addresses) or _tls(error) is not None:
                    raise trouble from error
        raise _UnhealthyError("did not take a connection in time")

    def _get_from(self, url: httpx.URL, address: Address, *, last: bool) -> tuple[int, str]:
        left = max(0.01, self.deadline - time.monotonic())
        # By address, so that nobody can answer the second look-up of the name otherwise than the first.
        target = url.copy_with(host=str(address))
        verify = self.context() if url.scheme == "https" else False
        limits = httpx.Timeout(left, connect=left if last else left / 2)
        extensions = {"sni_hostname": url.raw_host.decode("ascii")}
        headers = {**HEADERS, "Host": url.netloc.decode("ascii")}
        try:
            with (
                httpx.Client(verify=verify, timeout=limits, trust_env=False, follow_redirects=False) as client,
                client.stream("GET", target, headers=headers, extensions=extensions) as response,
            ):
                self._drop(response)
                return response.status_code, response.headers.get("location", "") if response.is_redirect else ""
        except (httpx.ConnectError, httpx.ConnectTimeout):
            raise  # another of the host's addresses may do better
        except httpx.TimeoutException as error:
            raise _UnhealthyError("did not answer in time") from error
        except httpx.RequestError as error:
            raise _UnhealthyError("took the connection and did not answer as a web server does") from error

    def _drop(self, response: httpx.Response) -> None:
        taken = 0
        try:
            for chunk in response.iter_raw(8192):
                taken += len(chunk)
                if taken >= BODY_BYTES or time.monotonic() > self.deadline:
                    return
        except httpx.RequestError as error:
            status = response.status_code
            raise _UnhealthyError(f"answered {status} and broke off in the middle", status) from error

    def _addresses(self, url: httpx.URL) -> list[Address]:
        port = url.port or (443 if url.scheme == "https" else 80)
        try:
            found = [ipaddress.ip_address(text.partition("%")[0]) for text in self.resolve(url.host, port)]
        except (OSError, UnicodeError) as error:
            raise _UnhealthyError("cannot be asked: nobody knows the address of that name") from error
        for address in found:
            if forbidden(address):
                raise _UnhealthyError(f"leads to {address}, which is not asked: machines find their credentials there")
        if not found:
            raise _UnhealthyError("cannot be asked: nobody knows the address of that name")
        return found


def resolved(host: str, port: int) -> list[str]:
    """The addresses of a host, as this machine knows them."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def forbidden(address: Address) -> bool:
    """True for link-local and metadata addresses, also where they are wrapped into an IPv6 address."""
    return any(one.is_link_local or one.is_unspecified or str(one) in METADATA for one in _meanings(address))


def shown(url: httpx.URL) -> str:
    """The address without its query, which could hold a secret."""
    return str(url.copy_with(query=None, fragment=None))[:200]


def _meanings(address: Address) -> Iterator[Address]:
    yield address
    if isinstance(address, ipaddress.IPv6Address):
        wrapped = [address.ipv4_mapped, address.sixtofour]
        if address in _NAT64:
            wrapped.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
        yield from (one for one in wrapped if one is not None)


def _settle(answer: Future[HealthLook], look: _Look, url: httpx.URL) -> None:
    try:
        answer.set_result(look.at(url))
    except Exception as error:  # noqa: BLE001 - a fault of the program belongs to the thread that waits for the answer
        answer.set_exception(error)


def _joined(url: httpx.URL, location: str) -> httpx.URL | None:
    try:
        return server(str(url.join(location)))
    except httpx.InvalidURL:
        return None


def _connect_trouble(error: httpx.ConnectError) -> str:
    certificate = _tls(error)
    if isinstance(certificate, ssl.SSLCertVerificationError):
        return f"could not prove who it is: {certificate.verify_message.rstrip('.')}"
    if certificate is not None:
        return "does not speak TLS as it should"
    if any(isinstance(one, ConnectionRefusedError) for one in _causes(error)):
        return "cannot be reached: the connection was refused, so nothing listens there"
    return "cannot be reached from here"


def _tls(error: BaseException) -> ssl.SSLError | None:
    return next((one for one in _causes(error) if isinstance(one, ssl.SSLError)), None)


def _causes(error: BaseException) -> Iterator[BaseException]:
    at: BaseException | None = error
    while at is not None:
        yield at
        at = at.__cause__ or at.__context__
