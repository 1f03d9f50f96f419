"""The sandbox's git server, driven by the real git client: what a code host's git side does, and refuses.

Left out: GitHub's REST side (its own stand-in), and the dumb HTTP protocol, which no code host serves.
"""

import base64
import gzip
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from bot.sandbox.git_http import GitServer, Push
from bot.sandbox.server import Fault, Faults, Misbehaviour, Server
from tests.contract.git_rig import TOKEN, git

BASIC = {"authorization": "Basic " + base64.b64encode(f"x-access-token:{TOKEN}".encode()).decode()}
REFS = "/acme/infra.git/info/refs?service=git-upload-pack"


@pytest.fixture
def pushes() -> list[Push]:
    return []


@pytest.fixture
def host(tmp_path: Path, pushes: list[Push]) -> GitServer:
    host = GitServer(tmp_path / "served", TOKEN, on_push=pushes.append)
    host.create("acme/infra")
    return host


@pytest.fixture
def faults() -> Faults:
    return Faults()


@pytest.fixture
def server(host: GitServer, faults: Faults) -> Iterator[Server]:
    with Server(faults.wrap(host)) as server:
        yield server


@pytest.fixture
def work(server: Server, tmp_path: Path) -> Path:
    """A clone with one commit that is not pushed yet."""
    work = tmp_path / "work"
    git("init", "--quiet", "--initial-branch=main", str(work), cwd=tmp_path)
    git("remote", "add", "origin", _address(server), cwd=work)
    _commit(work, "one")
    return work


def test_what_is_pushed_can_be_cloned(work: Path, server: Server, tmp_path: Path) -> None:
    git("push", "--quiet", "origin", "main", cwd=work)
    for address in (_address(server), _address(server).removesuffix(".git")):
        place = tmp_path / str(len(address))
        git("clone", "--quiet", address, str(place), cwd=tmp_path)
        assert (place / "file").read_text() == "one"


def test_a_large_push_comes_chunked_and_arrives_whole(work: Path, host: GitServer) -> None:
    # Above http.postBuffer git sends a chunked body, of which nobody knows the length.
    (work / "noise").write_bytes(os.urandom(3_000_000))
    git("add", "noise", cwd=work)
    _commit(work, "large")
    git("push", "--quiet", "origin", "main", cwd=work)
    git("fsck", "--strict", cwd=host.path("acme/infra"))
    assert git("cat-file", "-s", "main:noise", cwd=host.path("acme/infra")) == "3000000"


def test_a_compressed_request_is_understood(work: Path, server: Server) -> None:
    git("push", "--quiet", "origin", "main", cwd=work)
    ask = b"0014command=ls-refs\n0001" + b"0014ref-prefix refs\n" + b"0000"
    headers = {
        **BASIC,
        "git-protocol": "version=2",
        "content-type": "application/x-git-upload-pack-request",
        "content-encoding": "gzip",
    }
    answer = httpx.post(f"{server.url}/acme/infra.git/git-upload-pack", content=gzip.compress(ask), headers=headers)
    assert answer.status_code == 200
    assert b"refs/heads/main" in answer.content


@pytest.mark.parametrize("headers", [BASIC, {"authorization": f"Bearer {TOKEN}"}])
def test_the_token_is_accepted_as_a_password_and_as_a_bearer(server: Server, headers: dict[str, str]) -> None:
    answer = httpx.get(f"{server.url}{REFS}", headers={**headers, "git-protocol": "version=2"})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/x-git-upload-pack-advertisement"
    assert b"version 2" in answer.content


@pytest.mark.parametrize(
    "value", ["", "Basic", "Basic !!!", "Basic eDp5", "Bearer", "Bearer wrong", f"Token {TOKEN}", "Basic gICA"]
)
def test_without_the_token_there_is_a_challenge(server: Server, value: str) -> None:
    answer = httpx.get(f"{server.url}{REFS}", headers={"authorization": value} if value else {})
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == 'Basic realm="Git"'


@pytest.mark.parametrize(
    "path",
    [
        "/acme/other.git/info/refs?service=git-upload-pack",
        "/acme/infra.git/config",
        "/acme/infra.git/HEAD",
        "/acme/%2e%2e/%2e%2e/etc/info/refs",
        "//etc/info/refs",
        "/",
    ],
)
def test_nothing_else_is_served(server: Server, path: str) -> None:
    assert httpx.get(f"{server.url}{path}", headers=BASIC).status_code == 404


def test_a_protected_branch_declines_with_githubs_words(work: Path, host: GitServer) -> None:
    host.protect("acme/infra", "main")
    with pytest.raises(subprocess.CalledProcessError) as failure:
        git("push", "origin", "main", cwd=work)
    assert "remote: error: GH006: Protected branch update failed for refs/heads/main." in failure.value.stderr
    git("push", "--quiet", "origin", "main:refs/heads/other", cwd=work)
    host.protect("acme/infra")
    git("push", "--quiet", "origin", "main", cwd=work)


def test_every_changed_ref_is_told_once(work: Path, server: Server, pushes: list[Push]) -> None:
    first = git("rev-parse", "HEAD", cwd=work)
    git("push", "--quiet", "origin", "main", "main:deploy/d1", cwd=work)
    second = _commit(work, "two")
    git("push", "--quiet", "origin", "main", ":deploy/d1", cwd=work)
    git("push", "--quiet", "origin", "main", cwd=work)
    server.stop()
    nothing = "0" * 40
    assert pushes == [
        Push("acme/infra", "refs/heads/deploy/d1", nothing, first),
        Push("acme/infra", "refs/heads/main", nothing, first),
        Push("acme/infra", "refs/heads/deploy/d1", first, nothing),
        Push("acme/infra", "refs/heads/main", first, second),
    ]


def test_a_push_can_be_done_and_not_answered(work: Path, host: GitServer, faults: Faults) -> None:
    faults.add(Fault("POST", "git-receive-pack", Misbehaviour.FAIL_AFTER, status=502))
    with pytest.raises(subprocess.CalledProcessError):
        git("push", "origin", "main", cwd=work)
    assert git("rev-parse", "main", cwd=host.path("acme/infra")) == git("rev-parse", "HEAD", cwd=work)


def test_a_push_that_breaks_off_leaves_the_branch_alone(server: Server, host: GitServer) -> None:
    def cut() -> Iterator[bytes]:
        yield b"00a0" + b"0" * 40
        raise ConnectionError("the client goes away")

    with pytest.raises(ConnectionError):
        httpx.post(
            f"{server.url}/acme/infra.git/git-receive-pack",
            content=cut(),
            headers={**BASIC, "content-type": "application/x-git-receive-pack-request"},
        )
    assert git("for-each-ref", cwd=host.path("acme/infra")) == ""


def test_creating_twice_keeps_what_is_there(work: Path, host: GitServer) -> None:
    git("push", "--quiet", "origin", "main", cwd=work)
    head = git("rev-parse", "main", cwd=host.create("acme/infra"))
    assert head == git("rev-parse", "HEAD", cwd=work)
    with pytest.raises(ValueError, match="not the name"):
        host.create("../outside")


def _address(server: Server) -> str:
    return f"{server.url.replace('://', f'://x:{TOKEN}@')}/acme/infra.git"


def _commit(work: Path, text: str) -> str:
    (work / "file").write_text(text)
    git("add", "file", cwd=work)
    git("commit", "--quiet", "-m", text, cwd=work)
    return git("rev-parse", "HEAD", cwd=work)
