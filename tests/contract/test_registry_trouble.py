"""Checks what the registry client makes of registries that page, fail, dawdle, mislead or lie, and the tags it keeps.

Runs on the stand-in and on servers that answer whatever the test says. Leaves out good days: `test_registry.py`.
"""

import asyncio
import gzip
import hashlib
import logging
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from bot.integrations.registry import Endpoint, KnownTags, RegistryClient, TagCache
from bot.integrations.registry_auth import Authorizer, Place, challenges
from bot.integrations.registry_http import Answer, Wire, retry_after, trust
from bot.sandbox.registry import Login, SandboxRegistry
from bot.sandbox.server import Fault, Misbehaviour, Server
from commands.reasons import ReasonCode, Refused, Retry, Unknown
from tests.contract.registry_subjects import roots

DIGEST = "sha256:" + "ab" * 32
Answerer = Callable[[Request], Response]


class Clock:
    """Time that passes when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def answering(answer: Answerer) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(Request(scope, receive))(scope, receive, send)

    return app


def noting(visited: list[str]) -> ASGIApp:
    """Where nobody should come: notes who does."""

    def note(request: Request) -> Response:
        visited.append(request.url.path)
        return JSONResponse({"tags": ["x"]})

    return answering(note)


def always(answer: Response) -> ASGIApp:
    return answering(lambda _: answer)


class Switchboard:
    """One server for all tests of this file, that is whatever the test plugs in: starting one each takes longer."""

    def __init__(self) -> None:
        self.app: ASGIApp = always(Response(status_code=599))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)


Asked = Callable[..., AbstractContextManager[tuple[RegistryClient, str]]]


@pytest.fixture(scope="module")
def asked() -> Iterator[Asked]:
    """From an application to a client that asks it, and the name of the image `team/web` there."""
    board = Switchboard()
    with Server(board) as server:
        host = f"127.0.0.1:{server.port}"

        @contextmanager
        def plug(app: ASGIApp, *, user: str = "", timeout: float = 5.0) -> Iterator[tuple[RegistryClient, str]]:
            board.app = app
            endpoint = Endpoint(server.url, user, "sesame" if user else "")
            with RegistryClient({host: endpoint}, timeout=timeout, roots=roots()) as client:
                yield client, f"{host}/team/web"

        yield plug


@pytest.fixture
def stand_in() -> SandboxRegistry:
    registry = SandboxRegistry()
    registry.push("team/web", "1.0")
    return registry


# ---------------------------------------------------------------- paging


def test_tags_are_read_page_by_page(asked: Asked) -> None:
    registry = SandboxRegistry(page=3)
    expected = [f"1.{number}" for number in range(10)]
    for tag in expected:
        registry.push("team/web", tag)
    requests: list[str] = []
    registry.faults.before = lambda method, path: requests.append(f"{method} {path}")
    with asked(registry.app) as (client, image):
        assert client.tags(image) == expected
    assert len(requests) == 4


def test_a_next_page_on_another_host_is_not_followed(asked: Asked) -> None:
    visited: list[str] = []
    with Server(noting(visited)) as other:
        links = [f"<{other.url}/v2/team/web/tags/list>", f"<//127.0.0.1:{other.port}/v2/>", "<http://[::1>"]
        for link in links:
            head = {"Link": f'{link}; rel="next"'}
            with (
                asked(always(JSONResponse({"tags": ["1.0"]}, headers=head))) as (client, image),
                pytest.raises(Unknown) as fault,
            ):
                client.tags(image)
            assert fault.value.reason is ReasonCode.REGISTRY_UNREACHABLE
    assert visited == []


def test_a_path_that_looks_like_a_host_stays_on_the_registry(asked: Asked) -> None:
    visited: list[str] = []

    def answer(request: Request) -> Response:
        visited.append(request.url.path)
        first = len(visited) == 1
        link = {"Link": f'<{request.base_url}/localhost:9/v2/>; rel="next"'} if first else {}
        return JSONResponse({"tags": ["1.0"] if first else ["1.1"]}, headers=link)

    with asked(answering(answer)) as (client, image):
        assert client.tags(image) == ["1.0", "1.1"]
    assert visited == ["/v2/team/web/tags/list", "//localhost:9/v2/"]


def test_pages_without_end_are_given_up(asked: Asked) -> None:
    link = {"Link": '</v2/team/web/tags/list?last=1>; rel="next"'}
    with (
        asked(always(JSONResponse({"tags": ["1.0"]}, headers=link))) as (client, image),
        pytest.raises(Unknown, match="more than 100 pages"),
    ):
        client.tags(image)


def test_what_is_no_tag_is_left_out_of_the_list(asked: Asked) -> None:
    tags = ["1.0", "-rf", "a b", "<!channel>", "1.0\n", "1.0", "x" * 129]
    with asked(always(JSONResponse({"tags": tags}))) as (client, image):
        assert client.tags(image) == ["1.0"]


def test_an_image_whose_last_tag_was_deleted_has_no_tags(asked: Asked) -> None:
    with asked(always(JSONResponse({"name": "team/web", "tags": None}))) as (client, image):
        assert client.tags(image) == []


def test_a_next_page_that_brings_its_own_credentials_is_not_followed(asked: Asked) -> None:
    visited: list[str] = []

    def answer(request: Request) -> Response:
        visited.append(request.url.path)
        page = str(request.url.replace(username="other", password="user"))
        return JSONResponse({"tags": ["1.0"]}, headers={"Link": f'<{page}>; rel="next"'})

    with asked(answering(answer)) as (client, image), pytest.raises(Unknown, match="elsewhere"):
        client.tags(image)
    assert len(visited) == 1


# ---------------------------------------------------------------- digests


def test_a_digest_that_a_proxy_dropped_is_computed_from_the_manifest(asked: Asked) -> None:
    registry = SandboxRegistry()
    pushed = registry.push("team/web", "1.0")
    registry.digest_header = False
    with asked(registry.app) as (client, image):
        assert client.digest(image, "1.0") == pushed


def test_a_registry_without_head_is_asked_by_get(asked: Asked) -> None:
    body = b'{"schemaVersion": 2}'

    def answer(request: Request) -> Response:
        return Response(status_code=405) if request.method == "HEAD" else Response(body)

    with asked(answering(answer)) as (client, image):
        assert client.digest(image, "1.0") == f"sha256:{hashlib.sha256(body).hexdigest()}"


def test_a_digest_that_is_none_is_not_believed(asked: Asked) -> None:
    body = b"{}"
    head = {"Docker-Content-Digest": "sha256:$(id)"}
    with asked(always(Response(body, headers=head))) as (client, image):
        assert client.digest(image, "1.0") == f"sha256:{hashlib.sha256(body).hexdigest()}"


def test_indexes_and_manifests_of_both_families_are_accepted(asked: Asked) -> None:
    accepted: list[str] = []

    def answer(request: Request) -> Response:
        accepted.append(request.headers["accept"])
        return Response(headers={"Docker-Content-Digest": DIGEST})

    with asked(answering(answer)) as (client, image):
        assert client.digest(image, "1.0") == DIGEST
    assert accepted[0].split(", ")[:4] == [
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    ]


def test_a_404_that_is_not_a_registrys_does_not_pass_for_a_missing_tag(asked: Asked) -> None:
    for body in (b"<h1>Not found</h1>", b"{}", b'{"errors": []}', b'{"errors": ["x"]}', b""):
        with asked(always(Response(body, 404))) as (client, image):
            for question in (lambda: client.digest(image, "1.0"), lambda: client.tags(image)):
                with pytest.raises(Unknown, match="not as a registry does"):
                    question()


@pytest.mark.parametrize("tag", ["", "-x", "1.0/../../x", "a b", "1.0\n", "x" * 129, "@sha256:0"])
def test_a_version_that_is_no_tag_is_refused_before_anything_is_asked(
    asked: Asked, stand_in: SandboxRegistry, tag: str
) -> None:
    requests: list[str] = []
    stand_in.faults.before = lambda _, path: requests.append(path)
    with asked(stand_in.app) as (client, image), pytest.raises(Refused) as refusal:
        client.digest(image, tag)
    assert (refusal.value.reason, requests) == (ReasonCode.BAD_VERSION, [])


@pytest.mark.parametrize("image", ["other.example.com/web", "nginx", "localhost/web"])
def test_registries_that_are_not_configured_are_not_asked(image: str) -> None:
    with RegistryClient({}, roots=roots()) as client, pytest.raises(Refused) as refusal:
        client.tags(image)
    assert refusal.value.reason is ReasonCode.NOT_CONFIGURED
    assert "registries" in refusal.value.next_step


def test_an_image_name_with_tricks_in_it_is_refused() -> None:
    with RegistryClient({"127.0.0.1:1": Endpoint("http://127.0.0.1:1")}, roots=roots()) as client:
        for image in ("127.0.0.1:1/../x", "127.0.0.1:1/a?b", "127.0.0.1:1/a:1", "x@127.0.0.1:1/a", ""):
            with pytest.raises(Refused) as refusal:
                client.tags(image)
            assert refusal.value.reason is ReasonCode.CATALOGUE_INVALID


def test_docker_hubs_own_images_are_in_its_library() -> None:
    paths: list[str] = []

    def answer(request: Request) -> Response:
        paths.append(request.url.path)
        return JSONResponse({"tags": ["1"]})

    with (
        Server(answering(answer)) as server,
        RegistryClient({"docker.io": Endpoint(server.url)}, roots=roots()) as client,
    ):
        client.tags("nginx")
        client.tags("grafana/loki")
    assert paths == ["/v2/library/nginx/tags/list", "/v2/grafana/loki/tags/list"]


# ---------------------------------------------------------------- failures


@pytest.mark.parametrize(
    "fault",
    [
        Fault("*", "manifests", Misbehaviour.REFUSE, status=500),
        Fault("*", "manifests", Misbehaviour.REFUSE, status=503),
        Fault("*", "manifests", Misbehaviour.REFUSE, status=408),
        Fault("*", "manifests", Misbehaviour.DROP_BEFORE),
        Fault("*", "manifests", Misbehaviour.DROP_AFTER),
        Fault("*", "manifests", Misbehaviour.DELAY, seconds=0.6),
    ],
    ids=lambda fault: f"{fault.kind}-{fault.status}",
)
def test_a_registry_that_fails_is_asked_again_and_then_answers(
    asked: Asked, stand_in: SandboxRegistry, fault: Fault
) -> None:
    stand_in.faults.add(fault)
    with asked(stand_in.app, timeout=0.3) as (client, image):
        with pytest.raises(Retry) as failure:
            client.digest(image, "1.0")
        assert failure.value.reason is ReasonCode.REGISTRY_UNREACHABLE
        assert failure.value.after == 1
        assert client.digest(image, "1.0") is not None


def test_a_registry_that_is_not_there_may_come_back() -> None:
    with (
        RegistryClient({"127.0.0.1:1": Endpoint("http://127.0.0.1:1")}, roots=roots()) as client,
        pytest.raises(Retry) as failure,
    ):
        client.tags("127.0.0.1:1/web")
    assert failure.value.reason is ReasonCode.REGISTRY_UNREACHABLE
    assert "127.0.0.1:1 could not be asked" in failure.value.what


def test_an_https_address_that_speaks_plain_http_is_not_fallen_back_from(stand_in: SandboxRegistry) -> None:
    requests: list[str] = []
    stand_in.faults.before = lambda _, path: requests.append(path)
    with Server(stand_in.app) as server:
        endpoint = Endpoint(server.url.replace("http:", "https:"))
        with RegistryClient({"localhost": endpoint}, roots=roots()) as client, pytest.raises(Retry):
            client.tags("localhost/team/web")
    assert requests == []


def test_a_rate_limit_is_waited_for_as_long_as_it_says(asked: Asked, stand_in: SandboxRegistry) -> None:
    stand_in.faults.add(Fault("*", "manifests", Misbehaviour.RATE_LIMIT, seconds=42))
    with asked(stand_in.app) as (client, image), pytest.raises(Retry) as failure:
        client.digest(image, "1.0")
    assert failure.value.after == 42


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        ("", 1, 1),
        ("0", 1, 1),
        ("7", 7, 7),
        ("99999999999999999999", 300, 300),
        ("-5", 1, 1),
        ("soon", 1, 1),
        ("٣", 1, 1),
        ("Mon, 23 Nov 2015 10:00:00 GMT", 1, 1),
        ("Mon, 23 Nov 2099 10:00:00 -0000", 300, 300),
    ],
)
def test_retry_after_is_read_in_both_forms_and_kept_within_bounds(text: str, low: float, high: float) -> None:
    assert low <= retry_after(httpx.Headers([(b"retry-after", text.encode())])) <= high


def test_retry_after_as_a_date_is_the_time_until_then() -> None:
    text = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    assert 50 <= retry_after(httpx.Headers({"Retry-After": text})) <= 60


@pytest.mark.parametrize("status", [400, 402, 418])
def test_an_answer_that_means_nothing_is_unknown(asked: Asked, status: int) -> None:
    with asked(always(Response(status_code=status))) as (client, image):
        for question in (lambda: client.digest(image, "1.0"), lambda: client.tags(image)):
            with pytest.raises(Unknown, match=str(status)):
                question()


def test_a_registry_that_forbids_is_refused(asked: Asked) -> None:
    with asked(always(Response(status_code=403))) as (client, image), pytest.raises(Refused) as refusal:
        client.digest(image, "1.0")
    assert refusal.value.reason is ReasonCode.REGISTRY_CREDENTIALS


@pytest.mark.parametrize("body", [b"", b"[]", b"\xff", b'{"tags": "x"}', b'{"tags": [1]}', b"[" * 100_000])
def test_a_list_of_tags_that_is_none_is_unknown(asked: Asked, body: bytes) -> None:
    with asked(always(Response(body))) as (client, image), pytest.raises(Unknown):
        client.tags(image)


def test_an_answer_that_is_too_long_is_not_read_to_its_end(asked: Asked) -> None:
    sent: list[int] = []

    async def flood() -> AsyncIterator[bytes]:
        for _ in range(1000):
            sent.append(1)
            yield b"x" * 100_000
            await asyncio.sleep(0)  # so that the server sees the client leave

    with asked(always(StreamingResponse(flood()))) as (client, image), pytest.raises(Unknown, match="longer than"):
        client.tags(image)
    assert len(sent) < 500


def test_an_answer_that_drips_is_not_waited_for(asked: Asked) -> None:
    async def drip() -> AsyncIterator[bytes]:
        for _ in range(100):
            await asyncio.sleep(0.05)
            yield b" "

    with (
        asked(always(StreamingResponse(drip())), timeout=0.2) as (client, image),
        pytest.raises(Retry, match="too slowly"),
    ):
        client.tags(image)


def test_an_answer_that_is_packed_unasked_is_not_unpacked(asked: Asked) -> None:
    packed = gzip.compress(b" " * 50_000_000)
    answer = Response(packed, headers={"Content-Encoding": "gzip"})
    with asked(always(answer)) as (client, image), pytest.raises(Unknown, match="packed"):
        client.tags(image)


# ---------------------------------------------------------------- redirects


def test_a_redirect_within_the_registry_is_followed(asked: Asked, stand_in: SandboxRegistry) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if "hop" in scope["query_string"].decode():
            await stand_in.app(scope, receive, send)
        else:
            answer = Response(status_code=307, headers={"Location": f"{scope['path']}?hop"})
            await answer(scope, receive, send)

    with asked(app) as (client, image):
        assert client.tags(image) == ["1.0"]


def test_a_redirect_elsewhere_is_not_followed_and_no_credentials_travel(asked: Asked) -> None:
    visited: list[str] = []
    with Server(noting(visited)) as other:
        for location in (f"{other.url}/x", f"//127.0.0.1:{other.port}/x", "", "https://[", "file:///etc/passwd"):
            answer = Response(status_code=302, headers={"Location": location})
            with asked(always(answer), user="locktender") as (client, image), pytest.raises(Unknown):
                client.digest(image, "1.0")
    assert visited == []


def test_redirects_without_end_are_given_up(asked: Asked) -> None:
    requests: list[str] = []

    def answer(request: Request) -> Response:
        requests.append(request.url.path)
        return Response(status_code=302, headers={"Location": request.url.path})

    with asked(answering(answer)) as (client, image), pytest.raises(Unknown, match="without end"):
        client.tags(image)
    assert len(requests) == 4


# ---------------------------------------------------------------- tokens


def token_client(server: Server, clock: Clock) -> RegistryClient:
    endpoint = Endpoint(server.url, "locktender", "sesame")
    return RegistryClient({f"127.0.0.1:{server.port}": endpoint}, clock=clock)


def test_a_token_is_used_until_shortly_before_its_end_and_then_fetched_anew() -> None:
    clock = Clock()
    registry = SandboxRegistry(login=Login.TOKEN, user="locktender", password="sesame", token_seconds=100, clock=clock)
    registry.push("team/web", "1.0")
    with Server(registry.app) as server, token_client(server, clock) as client:
        image = f"127.0.0.1:{server.port}/team/web"
        for seconds, tokens in ((0, 1), (94, 1), (96, 2), (150, 2)):
            clock.now = 1000.0 + seconds
            assert client.tags(image) == ["1.0"]
            assert registry.tokens == tokens


def test_a_token_that_the_registry_no_longer_takes_is_fetched_anew() -> None:
    clock, ours = Clock(), Clock()
    registry = SandboxRegistry(login=Login.TOKEN, user="locktender", password="sesame", clock=clock)
    registry.push("team/web", "1.0")
    with Server(registry.app) as server, token_client(server, ours) as client:
        image = f"127.0.0.1:{server.port}/team/web"
        client.tags(image)
        clock.now += 10_000
        assert client.tags(image) == ["1.0"]
    assert registry.tokens == 2


def test_a_token_of_one_image_is_not_used_for_another() -> None:
    registry = SandboxRegistry(login=Login.TOKEN)
    for name in ("team/web", "team/api"):
        registry.push(name, "1.0")
    with Server(registry.app) as server:
        host = f"127.0.0.1:{server.port}"
        with RegistryClient({host: Endpoint(server.url)}, roots=roots()) as client:
            assert client.tags(f"{host}/team/web") == client.tags(f"{host}/team/api") == ["1.0"]
    assert registry.tokens == 2


def test_a_token_that_is_not_taken_is_not_fetched_for_ever(asked: Asked) -> None:
    fetched: list[str] = []

    def answer(request: Request) -> Response:
        if request.url.path == "/token":
            fetched.append(request.url.path)
            return JSONResponse({"token": "useless"})
        realm = f'Bearer realm="{request.base_url}token"'
        return Response(status_code=401, headers={"WWW-Authenticate": realm})

    with asked(answering(answer)) as (client, image), pytest.raises(Refused) as refusal:
        client.tags(image)
    assert (refusal.value.reason, len(fetched)) == (ReasonCode.REGISTRY_CREDENTIALS, 1)


@pytest.mark.parametrize(
    "realm",
    [
        "http://registry.example.com/token",
        "ftp://127.0.0.1/",
        "/token",
        "",
        "http://user:x@127.0.0.1/",
        "https://[",
        "x",
    ],
)
def test_credentials_go_to_no_token_server_without_https(asked: Asked, realm: str) -> None:
    head = {"WWW-Authenticate": f'Bearer realm="{realm}",service="x"'}
    with (
        asked(always(Response(status_code=401, headers=head)), user="locktender") as (client, image),
        pytest.raises(Unknown, match="not at an https address"),
    ):
        client.tags(image)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"token": ""}',
        b'{"token": "a\\nb"}',
        b'{"token": "\xc3\xa9"}',
        b'{"token": 1}',
        b"[" * 9999,
    ],
)
def test_a_token_servers_strange_answer_is_unknown_and_not_repeated(asked: Asked, body: bytes) -> None:
    def answer(request: Request) -> Response:
        if request.url.path == "/token":
            return Response(body)
        return Response(status_code=401, headers={"WWW-Authenticate": f'Bearer realm="{request.base_url}token"'})

    with asked(answering(answer)) as (client, image), pytest.raises(Unknown) as fault:
        client.tags(image)
    assert "token server" in fault.value.what
    assert fault.value.detail == ""


def test_a_token_server_that_fails_may_come_back(asked: Asked) -> None:
    registry = SandboxRegistry(login=Login.TOKEN)
    registry.push("team/web", "1.0")
    registry.faults.add(Fault("GET", "^/token", Misbehaviour.REFUSE, status=502))
    with asked(registry.app) as (client, image):
        with pytest.raises(Retry):
            client.tags(image)
        assert client.tags(image) == ["1.0"]


def test_a_login_that_no_registry_uses_is_unknown(asked: Asked) -> None:
    for head in ({"WWW-Authenticate": "Negotiate"}, {}):
        with (
            asked(always(Response(status_code=401, headers=head))) as (client, image),
            pytest.raises(Unknown, match="who asks"),
        ):
            client.tags(image)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (['Basic realm="a, b"'], [("basic", {"realm": "a, b"})]),
        (['BEARER Realm="https://a/t",scope="repository:x:pull,push"'], [
            ("bearer", {"realm": "https://a/t", "scope": "repository:x:pull,push"})
        ]),
        (['Basic realm="x", Bearer realm="y" , service=z'], [("basic", {"realm": "x"}), ("bearer", {"realm": "y",
            "service": "z"})]),
        (["Negotiate", 'Basic realm="a\\"b"'], [("negotiate", {}), ("basic", {"realm": 'a"b'})]),
        (['Bearer realm="never closed'], [("bearer", {"realm": ""})]),
        ([", ,", "realm=x"], []),
        ([], []),
    ],
)  # fmt: skip  # one header a line
def test_challenges_are_read_as_http_writes_them(lines: list[str], expected: list[tuple[str, dict[str, str]]]) -> None:
    found = challenges(httpx.Headers([("WWW-Authenticate", line) for line in lines]))
    assert [(challenge.scheme, challenge.parameters) for challenge in found] == expected


def test_neither_password_nor_token_is_ever_said(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    registry = SandboxRegistry(login=Login.TOKEN, user="locktender", password="another")
    with Server(registry.app) as server:
        endpoint = Endpoint(server.url, "locktender", "sesame-CANARY")
        host = f"127.0.0.1:{server.port}"
        with RegistryClient({host: endpoint}, roots=roots()) as client, pytest.raises(Refused) as refusal:
            client.tags(f"{host}/team/web")
    said = [repr(endpoint), repr(refusal.value), refusal.value.what, refusal.value.next_step, refusal.value.detail]
    said += [record.getMessage() for record in caplog.records]
    assert caplog.records, "httpx logs its requests: without any, nothing was checked"
    encoded = httpx.BasicAuth("locktender", "sesame-CANARY")._auth_header.removeprefix("Basic ")
    assert not [line for line in said if "CANARY" in line or encoded in line]


def test_a_registry_elsewhere_cannot_send_credentials_to_this_machine() -> None:
    visited: list[str] = []
    with Server(noting(visited)) as server:
        endpoint = Endpoint("https://registry.example.com", "locktender", "sesame")
        place = Place("registry.example.com", "team/web", httpx.URL(endpoint.url), endpoint)
        head = httpx.Headers({"WWW-Authenticate": f'Bearer realm="{server.url}/token"'})
        wire = Wire(1.0, roots())
        with pytest.raises(Unknown, match="not at an https address"):
            Authorizer(wire).obtain(place, Answer(place.url, 401, head, b""))
        wire.close()
    assert visited == []


# ---------------------------------------------------------------- addresses


@pytest.mark.parametrize(
    "url",
    [
        "http://registry.example.com",
        "ftp://registry.example.com",
        "https://user:CANARY@registry.example.com",
        "https://registry.example.com/v2",
        "https://registry.example.com?x=1",
        "registry.example.com",
        "https://",
        "https://[",
        "",
    ],
)
def test_an_address_that_credentials_must_not_go_to_is_refused_at_once(url: str) -> None:
    with pytest.raises(Refused) as refusal:
        RegistryClient({"registry.example.com": Endpoint(url)}, roots=roots())
    assert refusal.value.reason is ReasonCode.NOT_CONFIGURED
    assert "CANARY" not in repr(refusal.value)


def test_plain_http_elsewhere_has_to_be_said() -> None:
    RegistryClient(
        {"registry.example.com": Endpoint("http://registry.example.com", insecure=True)}, roots=roots()
    ).close()


def test_proxies_in_the_environment_are_not_used(
    asked: Asked, stand_in: SandboxRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with asked(stand_in.app) as (client, image):
        assert client.tags(image) == ["1.0"]


def test_certificates_that_the_system_trusts_are_trusted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # Companies sign their registries themselves; OpenSSL finds their roots in the system's folders or by this variable.
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Company root")])
    now = datetime.now(UTC)
    root = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path / "root.pem"
    file.write_bytes(root.public_bytes(serialization.Encoding.PEM))
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    subjects = [certificate["subject"] for certificate in trust().get_ca_certs()]
    assert ((("commonName", "Company root"),),) in subjects
    assert len(subjects) > 10, "the usual roots are trusted too"


# ---------------------------------------------------------------- the tags that are kept


def test_tags_are_known_after_the_first_refresh_with_their_age(asked: Asked, stand_in: SandboxRegistry) -> None:
    clock = Clock()
    with asked(stand_in.app) as (client, image):
        cache = TagCache(client, clock)
        assert cache.known(image) is None
        assert cache.refresh(image) == KnownTags(("1.0",), 0.0)
    clock.now += 30
    assert cache.known(image) == KnownTags(("1.0",), 30.0)


def test_what_was_known_stays_when_the_registry_fails_and_grows_older(asked: Asked, stand_in: SandboxRegistry) -> None:
    clock = Clock()
    with asked(stand_in.app) as (client, image):
        cache = TagCache(client, clock)
        cache.refresh(image)
        clock.now += 60
        stand_in.faults.add(Fault("*", "tags", Misbehaviour.REFUSE, status=500))
        with pytest.raises(Retry):
            cache.refresh(image)
        assert cache.known(image) == KnownTags(("1.0",), 60.0)
        stand_in.push("team/web", "1.1")
        cache.refresh(image)
        assert cache.known(image) == KnownTags(("1.0", "1.1"), 0.0)


def test_many_threads_may_ask_one_client_at_once(asked: Asked) -> None:
    registry = SandboxRegistry(login=Login.TOKEN)
    registry.push("team/web", "1.0")
    found: list[list[str]] = []
    with asked(registry.app) as (client, image):
        threads = [threading.Thread(target=lambda: found.append(client.tags(image))) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert found == [["1.0"]] * 8
