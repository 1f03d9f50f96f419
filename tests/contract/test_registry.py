"""Checks the registry client, and that the stand-in answers as docker-registry does: every test runs on both.

Where docker-registry is not installed its half is skipped with a notice. Leaves out what real registries do not do on
request (failing, paging, lying): `test_registry_trouble.py`.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from bot.integrations.registry import Endpoint, RegistryClient
from bot.sandbox.registry import Login
from commands.reasons import ReasonCode, Refused
from tests.contract.registry_subjects import MANIFEST, PASSWORD, USER, Subject, debian, installed, roots, sandbox

KINDS = [
    "stand-in",
    pytest.param(
        "docker-registry",
        marks=pytest.mark.skipif(not installed(), reason="docker-registry is not installed (Debian: docker-registry)"),
    ),
]


def subject(kind: str, login: Login, factory: pytest.TempPathFactory) -> Iterator[Subject]:
    folder: Path = factory.mktemp("registry")
    with sandbox(login) if kind == "stand-in" else debian(login, folder) as found:
        yield found


@pytest.fixture(scope="module", params=KINDS)
def open_registry(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Subject]:
    yield from subject(request.param, Login.ANONYMOUS, tmp_path_factory)


@pytest.fixture(scope="module", params=KINDS)
def basic_registry(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Subject]:
    yield from subject(request.param, Login.BASIC, tmp_path_factory)


@pytest.fixture(scope="module", params=KINDS)
def token_registry(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Subject]:
    yield from subject(request.param, Login.TOKEN, tmp_path_factory)


def client(registry: Subject, user: str = "", password: str = "") -> RegistryClient:
    return RegistryClient({registry.host: Endpoint(registry.url, user, password)}, roots=roots())


def test_the_digest_of_a_tag_is_the_one_it_was_pushed_with(open_registry: Subject) -> None:
    pushed = open_registry.push("team/web", "1.4.2", "")
    with client(open_registry) as registry:
        assert registry.digest(f"{open_registry.host}/team/web", "1.4.2") == pushed


def test_a_tag_that_does_not_exist_has_no_digest(open_registry: Subject) -> None:
    open_registry.push("team/web", "1.4.2", "")
    with client(open_registry) as registry:
        assert registry.digest(f"{open_registry.host}/team/web", "1.4.3") is None


def test_an_image_that_does_not_exist_has_neither_digest_nor_tags(open_registry: Subject) -> None:
    with client(open_registry) as registry:
        assert registry.digest(f"{open_registry.host}/team/nothing", "1.4.2") is None
        assert registry.tags(f"{open_registry.host}/team/nothing") == []


def test_a_tag_that_moved_has_its_new_digest(open_registry: Subject) -> None:
    first = open_registry.push("team/moving", "latest", "one")
    second = open_registry.push("team/moving", "latest", "two")
    assert first != second
    with client(open_registry) as registry:
        assert registry.digest(f"{open_registry.host}/team/moving", "latest") == second


def test_all_tags_of_an_image_are_listed(open_registry: Subject) -> None:
    for tag in ("1.0", "1.10", "no", "sha-0e1f"):
        open_registry.push("team/tagged", tag, "")
    with client(open_registry) as registry:
        assert sorted(registry.tags(f"{open_registry.host}/team/tagged")) == ["1.0", "1.10", "no", "sha-0e1f"]


def test_user_and_password_open_a_basic_registry(basic_registry: Subject) -> None:
    pushed = basic_registry.push("team/web", "1.4.2", "")
    image = f"{basic_registry.host}/team/web"
    with client(basic_registry, USER, PASSWORD) as registry:
        assert registry.digest(image, "1.4.2") == pushed
        assert registry.tags(image) == ["1.4.2"]
        assert registry.digest(image, "9") is None


@pytest.mark.parametrize(("user", "password"), [("", ""), (USER, "wrong"), ("nobody", PASSWORD)])
def test_a_basic_registry_refuses_others(basic_registry: Subject, user: str, password: str) -> None:
    with client(basic_registry, user, password) as registry, pytest.raises(Refused) as refusal:
        registry.digest(f"{basic_registry.host}/team/web", "1.4.2")
    assert refusal.value.reason is ReasonCode.REGISTRY_CREDENTIALS


def test_a_token_is_fetched_for_a_registry_that_wants_one(token_registry: Subject) -> None:
    pushed = token_registry.push("team/web", "1.4.2", "")
    image = f"{token_registry.host}/team/web"
    with client(token_registry, USER, PASSWORD) as registry:
        assert registry.digest(image, "1.4.2") == pushed
        assert registry.tags(image) == ["1.4.2"]
        assert registry.digest(image, "9") is None


@pytest.mark.parametrize(("user", "password"), [("", ""), (USER, "wrong")])
def test_a_token_server_refuses_others(token_registry: Subject, user: str, password: str) -> None:
    with client(token_registry, user, password) as registry, pytest.raises(Refused) as refusal:
        registry.digest(f"{token_registry.host}/team/web", "1.4.2")
    assert refusal.value.reason is ReasonCode.REGISTRY_CREDENTIALS


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    ("path", "status", "kind", "code"),
    [
        ("/v2/", 200, "application/json", ""),
        ("/v2/team/raw/manifests/1.0", 200, MANIFEST, ""),
        ("/v2/team/raw/manifests/9", 404, "application/json", "MANIFEST_UNKNOWN"),
        ("/v2/team/nothing/manifests/9", 404, "application/json", "MANIFEST_UNKNOWN"),
        ("/v2/team/raw/manifests/sha256:" + "0" * 64, 404, "application/json", "MANIFEST_UNKNOWN"),
        ("/v2/team/raw/manifests/-bad", 404, "text/plain", ""),
        ("/v2/team/RAW/manifests/1.0", 404, "text/plain", ""),
        ("/v2/team/raw/nothing", 404, "text/plain", ""),
        ("/nothing", 404, "text/plain", ""),
    ],
)
def test_what_goes_over_the_wire_is_the_same(
    open_registry: Subject, method: str, path: str, status: int, kind: str, code: str
) -> None:
    pushed = open_registry.push("team/raw", "1.0", "")
    answer = httpx.request(method, open_registry.url + path, headers={"Accept": MANIFEST}, trust_env=False)
    assert answer.status_code == status
    assert answer.headers["content-type"].partition(";")[0] == kind
    assert answer.headers["docker-distribution-api-version"] == "registry/2.0"
    assert int(answer.headers["content-length"]) > 0
    if kind == MANIFEST:
        assert answer.headers["docker-content-digest"] == pushed
        assert answer.headers["etag"] == f'"{pushed}"'
    if method == "HEAD":
        assert answer.content == b""
    elif code:
        (error,) = answer.json()["errors"]
        assert error["code"] == code
        assert set(error) == {"code", "message", "detail"}


def test_the_list_of_tags_is_the_same_over_the_wire(open_registry: Subject) -> None:
    open_registry.push("team/listed", "1.0", "")
    answer = httpx.get(f"{open_registry.url}/v2/team/listed/tags/list", trust_env=False)
    assert json.loads(answer.content) == {"name": "team/listed", "tags": ["1.0"]}
    answer = httpx.get(f"{open_registry.url}/v2/team/nothing/tags/list", trust_env=False)
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (404, "NAME_UNKNOWN")


def test_a_basic_challenge_is_the_same(basic_registry: Subject) -> None:
    answer = httpx.get(f"{basic_registry.url}/v2/team/web/manifests/1.0", trust_env=False)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == 'Basic realm="basic-realm"'
    assert answer.json()["errors"][0]["code"] == "UNAUTHORIZED"


def test_a_bearer_challenge_is_the_same(token_registry: Subject) -> None:
    answer = httpx.get(f"{token_registry.url}/v2/team/web/manifests/1.0", trust_env=False)
    assert answer.status_code == 401
    kind, realm, service, scope = answer.headers["www-authenticate"].replace(",", " ").split(" ")
    assert (kind, service, scope) == ("Bearer", 'service="sandbox"', 'scope="repository:team/web:pull"')
    assert realm.startswith('realm="http://127.0.0.1:')
    assert answer.json()["errors"][0]["code"] == "UNAUTHORIZED"
