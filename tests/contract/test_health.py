"""One look at a health address, against servers on loopback that answer well, badly or not at all.

Left out: real name servers (names are looked up by a stand-in, but for `localhost`), and what a failed look means for a
deployment.
"""

import contextlib
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import Receive, Scope, Send

from bot.integrations.health import HealthProbe, forbidden, resolved
from bot.sandbox.server import Server
from commands.ports import HealthLook

TIMEOUT = 2.0


@dataclass
class App:
    """An app with a health address. `answers` are made for each request; `seen` are the requests."""

    answer: Callable[[Request], Response] = lambda _: PlainTextResponse("fine")
    seen: list[Request] = field(default_factory=list)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        self.seen.append(request)
        await self.answer(request)(scope, receive, send)


@pytest.fixture
def app() -> App:
    return App()


@pytest.fixture
def url(app: App) -> Iterator[str]:
    with Server(app) as server:
        yield f"{server.url}/healthz"


@pytest.fixture
def probe() -> HealthProbe:
    return HealthProbe()


def test_any_good_status_is_healthy_and_said(app: App, url: str, probe: HealthProbe) -> None:
    app.answer = lambda _: PlainTextResponse("", status_code=204)
    assert probe.look(url, None, TIMEOUT) == HealthLook(ok=True, status=204, what=f"{url} answered 204.")


def test_another_status_is_not_healthy_and_says_what_was_expected(app: App, url: str, probe: HealthProbe) -> None:
    app.answer = lambda _: PlainTextResponse("database is down", status_code=503)
    found = probe.look(url, None, TIMEOUT)
    assert found == HealthLook(ok=False, status=503, what=f"{url} answered 503; a status from 200 to 299 was expected.")


def test_a_wanted_status_is_the_only_good_one(app: App, url: str, probe: HealthProbe) -> None:
    app.answer = lambda _: PlainTextResponse("", status_code=401)
    assert probe.look(url, 401, TIMEOUT).ok
    found = probe.look(url, 200, TIMEOUT)
    assert (found.ok, found.what) == (False, f"{url} answered 401; 200 was expected.")


def test_it_is_a_get_without_credentials_cookies_or_proxies(
    app: App, url: str, probe: HealthProbe, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login someone password canary\n")
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    assert probe.look(f"{url}?deep=1", None, TIMEOUT).ok
    (request,) = app.seen
    assert (request.method, request.url.query, request.headers["user-agent"]) == ("GET", "deep=1", "locktender")
    assert not {"authorization", "cookie"} & set(request.headers)


def test_the_query_is_asked_and_not_told(app: App, url: str, probe: HealthProbe) -> None:
    app.answer = lambda _: PlainTextResponse("", status_code=500)
    assert "canary" not in probe.look(f"{url}?token=canary", None, TIMEOUT).what


def test_the_host_is_told_by_its_name_and_asked_once_at_the_address_it_had(app: App, url: str) -> None:
    asked: list[tuple[str, int | None]] = []

    def resolve(host: str, port: int) -> list[str]:
        asked.append((host, port))
        return ["127.0.0.1"] if len(asked) == 1 else ["169.254.169.254"]

    port = urlsplit(url).port
    assert HealthProbe(resolve=resolve).look(f"http://web.example.com:{port}/healthz", None, TIMEOUT).ok
    assert asked == [("web.example.com", port)]
    assert app.seen[0].headers["host"] == f"web.example.com:{port}"


def test_the_next_address_is_asked_when_the_first_takes_no_connection(app: App, url: str) -> None:
    port = urlsplit(url).port
    probe = HealthProbe(resolve=lambda *_: ["127.0.0.2", "127.0.0.1"])
    assert probe.look(f"http://web.example.com:{port}/", None, TIMEOUT).ok
    assert len(app.seen) == 1


def test_a_name_of_this_machine_is_found(app: App, url: str, probe: HealthProbe) -> None:
    assert probe.look(url.replace("127.0.0.1", "localhost"), None, TIMEOUT).ok
    assert "127.0.0.1" in resolved("localhost", 80)
    assert app.seen


@pytest.mark.parametrize("location", ["/ready", "ready", "{origin}/ready"])
def test_a_redirect_within_the_app_is_followed(app: App, url: str, probe: HealthProbe, location: str) -> None:
    where = location.format(origin=url.removesuffix("/healthz"))
    app.answer = lambda r: RedirectResponse(where) if r.url.path == "/healthz" else PlainTextResponse("fine")
    found = probe.look(url, 200, TIMEOUT)
    assert (found.ok, found.what) == (True, f"{url.removesuffix('/healthz')}/ready answered 200.")


def test_a_redirect_elsewhere_is_not_followed(app: App, url: str, probe: HealthProbe) -> None:
    with Server(other := App()) as elsewhere:
        app.answer = lambda _: RedirectResponse(f"{elsewhere.url}/login?session=canary")
        found = probe.look(url, None, TIMEOUT)
        assert (found.ok, found.status, other.seen) == (False, 307, [])
        assert f"leads elsewhere, to {elsewhere.url}/login, which is not followed" in found.what


@pytest.mark.parametrize("location", ["http://[", "file:///etc/passwd", "http://u:p@127.0.0.1/", "//169.254.169.254/x"])
def test_a_redirect_to_anything_strange_is_not_followed(app: App, url: str, probe: HealthProbe, location: str) -> None:
    app.answer = lambda _: Response(status_code=302, headers={"location": location})
    found = probe.look(url, None, TIMEOUT)
    assert (found.ok, found.status, len(app.seen)) == (False, 302, 1)
    assert "not followed" in found.what


def test_a_redirect_that_is_wanted_is_healthy(app: App, url: str, probe: HealthProbe) -> None:
    app.answer = lambda _: RedirectResponse("https://login.example.com/", status_code=302)
    assert probe.look(url, 302, TIMEOUT).ok


def test_redirects_in_a_circle_end(app: App, url: str, probe: HealthProbe) -> None:
    app.answer = lambda _: RedirectResponse("/healthz")
    found = probe.look(url, None, TIMEOUT)
    assert found.what == f"{url} redirects more than 5 times."
    assert len(app.seen) == 6


def test_a_port_on_which_nothing_listens_is_said_to_be_that(probe: HealthProbe) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    found = probe.look(f"http://127.0.0.1:{port}/healthz", None, TIMEOUT)
    assert (found.ok, found.status) == (False, None)
    assert "the connection was refused, so nothing listens there" in found.what


def test_a_server_that_says_nothing_is_given_up_in_time(probe: HealthProbe) -> None:
    started = time.monotonic()
    with _speaking(b"", seconds=1.0) as url:
        found = probe.look(url, None, 0.3)
        assert time.monotonic() - started < 0.9
    assert (found.ok, found.status) == (False, None)
    assert "did not answer" in found.what


def test_a_server_that_drips_its_answer_is_given_up_in_time(probe: HealthProbe) -> None:
    started = time.monotonic()
    with _speaking(b"HTTP/1.1 200 OK\r\nX: 1\r\n", seconds=0.1) as url:
        found = probe.look(url, None, 0.3)
        assert time.monotonic() - started < 0.9
    assert found.what == f"{url} did not answer within 0.3 seconds."


def test_a_name_server_that_says_nothing_is_given_up_in_time() -> None:
    release = threading.Event()

    def hang(*_: object) -> list[str]:
        release.wait(5)
        return []

    started = time.monotonic()
    found = HealthProbe(resolve=hang).look("https://web.example.com/", None, 0.2)
    release.set()
    assert time.monotonic() - started < 0.8
    assert found.what == "https://web.example.com/ did not answer within 0.2 seconds."


@pytest.mark.parametrize("error", [socket.gaierror("no such host"), UnicodeError("label too long")])
def test_a_name_that_nobody_knows_is_said_to_be_that(error: Exception) -> None:
    def fail(*_: object) -> list[str]:
        raise error

    found = HealthProbe(resolve=fail).look("https://web.example.com/", None, TIMEOUT)
    assert found.what == "https://web.example.com/ cannot be asked: nobody knows the address of that name."


def test_a_fault_of_the_program_is_raised_to_whoever_asked() -> None:
    def fail(*_: object) -> list[str]:
        raise KeyError("a fault of the program")

    with pytest.raises(KeyError):
        HealthProbe(resolve=fail).look("https://web.example.com/", None, TIMEOUT)


def test_something_that_is_no_web_server_is_said_to_be_that(probe: HealthProbe) -> None:
    with _speaking(b"SSH-2.0-OpenSSH_9.2\r\n\r\n") as url:
        found = probe.look(url, None, TIMEOUT)
    assert found.what == f"{url} took the connection and did not answer as a web server does."


def test_a_connection_that_is_dropped_is_not_healthy(probe: HealthProbe) -> None:
    with _speaking(b"") as url:
        assert "did not answer as a web server does" in probe.look(url, None, TIMEOUT).what


def test_an_answer_that_breaks_off_is_not_healthy(probe: HealthProbe) -> None:
    with _speaking(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf") as url:
        found = probe.look(url, None, TIMEOUT)
    assert found == HealthLook(ok=False, status=200, what=f"{url} answered 200 and broke off in the middle.")


def test_an_endless_answer_is_read_for_64_kibibytes_at_most(probe: HealthProbe) -> None:
    sent: list[int] = []
    with _speaking(b"HTTP/1.1 200 OK\r\n\r\n", more=b"x" * 8192, sent=sent) as url:
        found = probe.look(url, None, TIMEOUT)
    assert found.ok
    assert sum(sent) < 8 * 1024 * 1024  # the sockets' buffers take some, too


def test_a_packed_answer_is_not_unpacked(app: App, url: str, probe: HealthProbe) -> None:
    app.answer = lambda _: Response(b"not gzip at all", headers={"content-encoding": "gzip"})
    assert probe.look(url, None, TIMEOUT).ok
    assert app.seen[0].headers["accept-encoding"] == "identity"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "web.example.com/healthz",
        "/healthz",
        "http://",
        "http:///healthz",
        "https://[",
        "ftp://web.example.com/",
        "file:///etc/passwd",
        "unix:///run/docker.sock",
        "http://user:canary@web.example.com/",
        "http://web.example.com:99999/",
        "http://web example.com/",
        "http://web.example.com/\r\nX: 1",
    ],
)
def test_what_is_no_web_address_is_not_asked(url: str) -> None:
    def never(*_: object) -> list[str]:
        raise AssertionError("looked up")

    found = HealthProbe(resolve=never).look(url, None, TIMEOUT)
    assert (found.ok, found.status) == (False, None)
    assert found.what == (
        "The health address cannot be asked: it has to be http or https, with a host and no credentials."
    )


@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254",
        "169.254.0.1",
        "fe80::1",
        "fe80::1%lo",
        "febf::1",
        "::ffff:169.254.169.254",
        "2002:a9fe:a9fe::",
        "64:ff9b::a9fe:a9fe",
        "fd00:ec2::254",
        "100.100.100.200",
        "0.0.0.0",  # noqa: S104 - refused, not bound
        "::",
    ],
)
def test_an_address_where_machines_find_their_credentials_is_not_asked(app: App, url: str, address: str) -> None:
    port = urlsplit(url).port
    probe = HealthProbe(resolve=lambda *_: ["127.0.0.1", address])
    found = probe.look(f"http://web.example.com:{port}/", None, TIMEOUT)
    assert (found.ok, app.seen) == (False, [])
    assert f"leads to {ipaddress.ip_address(address.partition('%')[0])}, which is not asked" in found.what


@pytest.mark.parametrize("url", ["http://169.254.169.254/latest", "http://[fe80::1]/", "http://[::ffff:a9fe:a9fe]/"])
def test_such_an_address_written_out_is_not_asked_either(probe: HealthProbe, url: str) -> None:
    assert "which is not asked" in probe.look(url, None, TIMEOUT).what


@pytest.mark.parametrize("address", ["127.0.0.1", "10.1.2.3", "192.168.1.1", "203.0.113.1", "fd12::1", "2001:db8::1"])
def test_ordinary_addresses_are_asked(address: str) -> None:
    assert not forbidden(ipaddress.ip_address(address))


def test_a_certificate_of_a_trusted_authority_in_the_hosts_name_is_good(tmp_path: Path) -> None:
    with _secure(tmp_path, "web.example.com") as (port, roots):
        probe = HealthProbe(roots=roots, resolve=lambda *_: ["127.0.0.1"])
        assert probe.look(f"https://web.example.com:{port}/", 200, TIMEOUT).ok


def test_a_certificate_of_nobody_we_trust_is_refused(tmp_path: Path) -> None:
    with _secure(tmp_path, "web.example.com") as (port, _):
        found = HealthProbe(resolve=lambda *_: ["127.0.0.1"]).look(f"https://web.example.com:{port}/", 200, 10.0)
    assert not found.ok
    assert "could not prove who it is: " in found.what


def test_a_certificate_in_another_name_is_refused(tmp_path: Path) -> None:
    with _secure(tmp_path, "other.example.com") as (port, roots):
        probe = HealthProbe(roots=roots, resolve=lambda *_: ["127.0.0.1"])
        found = probe.look(f"https://web.example.com:{port}/", 200, TIMEOUT)
    assert "could not prove who it is: Hostname mismatch" in found.what


def test_an_expired_certificate_is_named_as_that(tmp_path: Path) -> None:
    with _secure(tmp_path, "web.example.com", expired=timedelta(days=1)) as (port, roots):
        probe = HealthProbe(roots=roots, resolve=lambda *_: ["127.0.0.1"])
        found = probe.look(f"https://web.example.com:{port}/", 200, TIMEOUT)
    assert found.what.endswith("could not prove who it is: certificate has expired.")


def test_a_server_without_tls_is_said_to_be_that(url: str, probe: HealthProbe) -> None:
    found = probe.look(url.replace("http:", "https:"), 200, 10.0)
    assert found.what.endswith("does not speak TLS as it should.")


@contextlib.contextmanager
def _speaking(first: bytes, *, seconds: float = 0.0, more: bytes = b"", sent: list[int] | None = None) -> Iterator[str]:
    """A server that says something to whoever connects: all of it and then `more` for ever, or a byte now and then."""
    done = threading.Event()

    def serve() -> None:
        with contextlib.suppress(OSError):
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(2)
                connection.recv(65536)
                for piece in [bytes([one]) for one in first] if seconds else [first]:
                    connection.sendall(piece)
                    done.wait(seconds)
                while more and not done.is_set():
                    sent.append(connection.send(more)) if sent is not None else None
                done.wait(seconds)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(2)
        server = threading.Thread(target=serve)
        server.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/healthz"
        finally:
            done.set()
            server.join()


@contextlib.contextmanager
def _secure(folder: Path, name: str, *, expired: timedelta = timedelta()) -> Iterator[tuple[int, ssl.SSLContext]]:
    """An https server in this name, and the authority that says so."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    until = datetime.now(UTC) + timedelta(hours=1) - (expired and expired + timedelta(hours=1))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(until - timedelta(days=2))
        .not_valid_after(until)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    file = folder / "server.pem"
    form = (serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file.write_bytes(key.private_bytes(serialization.Encoding.PEM, *form) + pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)

    def serve() -> None:
        with contextlib.suppress(OSError):
            connection, _ = listener.accept()
            with contextlib.closing(context.wrap_socket(connection, server_side=True)) as secured:
                secured.recv(65536)
                secured.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(2)
        server = threading.Thread(target=serve)
        server.start()
        try:
            yield listener.getsockname()[1], ssl.create_default_context(cadata=pem.decode())
        finally:
            server.join()
