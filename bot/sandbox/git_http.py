"""The git side of a code host: the real `git http-backend` over bare repositories, behind a token.

What https://git-scm.com/docs/git-http-backend asks of a web server, and what GitHub adds: addresses with and without
`.git`, Basic or Bearer tokens, protected branches with GitHub's words, and news of every push.
"""

import asyncio
import base64
import binascii
import hmac
import os
import re
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from starlette.types import Message, Receive, Scope, Send

_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"
_SERVICE = re.compile(
    rf"/(?P<name>(?:{_NAME}/)*?{_NAME}?)(?:\.git)?/(?P<service>info/refs|git-upload-pack|git-receive-pack)"
)
_REPOSITORY = re.compile(rf"(?:{_NAME}/)*{_NAME}")

# GitHub says so itself; git only lets a hook add "pre-receive hook declined" to it.
_PRE_RECEIVE = """#!/bin/sh
while read old new ref; do
    if grep -qxF -- "$ref" protected-refs 2>/dev/null; then
        echo "error: GH006: Protected branch update failed for $ref." >&2
        echo "error: Changes must be made through a pull request." >&2
        exit 1
    fi
done
"""


@dataclass(frozen=True)
class Push:
    """A ref that a push changed. An id of forty zeros means that the ref was not there before, or is not any more."""

    repository: str  # as given to `create`
    ref: str
    before: str
    after: str
    pusher: str = ""  # the login, where the server knows whose token it was


class GitServer:
    """An ASGI application that serves the bare repositories below `root`.

    `token` is accepted as the password of Basic authorization (any user, as GitHub does) or as a Bearer token.
    `on_push` is called in a worker thread, once for every changed ref, after the push has been answered. With `who`,
    it decides instead of `token`: it answers the login of a token for a service (`git-upload-pack`,
    `git-receive-pack`), or an empty text.
    """

    def __init__(self, root: Path, token: str, *, on_push: Callable[[Push], None] | None = None) -> None:
        self.root = root.absolute()
        self.token = token
        self.on_push = on_push
        self.who: Callable[[str, str], str] | None = None

    def create(self, name: str, *, branch: str = "main") -> Path:
        """Make an empty bare repository `name` (`owner/name`), or return the one that is there."""
        if not _REPOSITORY.fullmatch(name):
            raise ValueError(f"{name!r} is not the name of a repository")
        path = self.path(name)
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            _git("init", "--quiet", "--bare", f"--initial-branch={branch}", "--", str(path))
        hook = path / "hooks" / "pre-receive"
        hook.parent.mkdir(exist_ok=True)
        hook.write_text(_PRE_RECEIVE)
        hook.chmod(0o755)
        return path

    def path(self, name: str) -> Path:
        """Where the bare repository of this name is."""
        return self.root / f"{name.removesuffix('.git')}.git"

    def protect(self, name: str, *branches: str) -> None:
        """From now on only these branches of the repository are protected from pushes; none when none is named."""
        lines = "".join(f"refs/heads/{branch}\n" for branch in branches)
        (self.path(name) / "protected-refs").write_text(lines)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            raise ValueError("the git server speaks HTTP only")
        headers = {key.decode("latin-1").lower(): value.decode("latin-1") for key, value in scope["headers"]}
        match = _SERVICE.fullmatch(str(scope["path"]).removeprefix(str(scope.get("root_path", ""))))
        if match is None:
            await _answer(send, 404, b"Not Found", ())
        elif not self._login(headers, _service(match["service"], scope)):
            challenge = (b"www-authenticate", b'Basic realm="Git"')
            await _answer(send, 401, b"Authentication is needed", (challenge,))
        elif not (self.path(match["name"]) / "objects").is_dir():
            await _answer(send, 404, b"Repository not found.", ())
        else:
            await self._serve(scope, headers, match["name"], match["service"], receive, send)

    def _login(self, headers: Mapping[str, str], service: str) -> str:
        """Whose token this is, empty when it is no good for this service."""
        kind, _, value = headers.get("authorization", "").partition(" ")
        given = value.strip()
        if kind.lower() == "basic":
            try:
                given = base64.b64decode(given, validate=True).decode().partition(":")[2]
            except (binascii.Error, UnicodeDecodeError):
                return ""
        elif kind.lower() != "bearer":
            return ""
        if self.who is not None:
            return self.who(given, service)
        return "x-access-token" if hmac.compare_digest(given.encode(), self.token.encode()) else ""

    async def _serve(
        self, scope: Scope, headers: Mapping[str, str], name: str, service: str, receive: Receive, send: Send
    ) -> None:
        watched = self.on_push is not None and service == "git-receive-pack"
        before = await asyncio.to_thread(_refs, self.path(name)) if watched else {}
        await _run_backend(self._variables(scope, headers, name, service), receive, send)
        if self.on_push is not None and watched:
            pusher = self._login(headers, service) if self.who else ""
            after = await asyncio.to_thread(_refs, self.path(name))
            for ref in sorted(before.keys() | after.keys()):
                old, new = before.get(ref, "0" * 40), after.get(ref, "0" * 40)
                if old != new:
                    await asyncio.to_thread(self.on_push, Push(name, ref, old, new, pusher))

    def _variables(self, scope: Scope, headers: Mapping[str, str], name: str, service: str) -> Mapping[str, str]:
        variables = {
            **git_environment(),
            "GIT_PROJECT_ROOT": str(self.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "GATEWAY_INTERFACE": "CGI/1.1",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "REQUEST_METHOD": str(scope["method"]),
            "PATH_INFO": f"/{name.removesuffix('.git')}.git/{service}",
            "QUERY_STRING": scope["query_string"].decode("latin-1"),
            "CONTENT_TYPE": headers.get("content-type", ""),
            "REMOTE_ADDR": "127.0.0.1",
            "REMOTE_USER": "x-access-token",  # lets receive-pack run; http-backend asks for nothing else
        }
        for header, variable in (
            ("content-length", "CONTENT_LENGTH"),  # absent for chunked bodies: the backend then reads to the end
            ("content-encoding", "HTTP_CONTENT_ENCODING"),
            ("git-protocol", "GIT_PROTOCOL"),
        ):
            if header in headers:
                variables[variable] = headers[header]
        return variables


def _service(path: str, scope: Scope) -> str:
    """Which of the two services a request belongs to: the first look at the refs says it in its query."""
    asked = b"service=git-receive-pack" in scope["query_string"]
    return "git-receive-pack" if asked or path == "git-receive-pack" else "git-upload-pack"


async def _run_backend(variables: Mapping[str, str], receive: Receive, send: Send) -> None:
    process = await asyncio.create_subprocess_exec(
        "git",
        "http-backend",
        env=dict(variables),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    if process.stdin is None or process.stdout is None:  # pragma: no cover - opened with pipes
        raise RuntimeError("the backend has no pipes")
    feeding = asyncio.create_task(_feed(process.stdin, receive))
    try:
        status, headers = await _head(process.stdout)
        await send({"type": "http.response.start", "status": status, "headers": headers})
        while chunk := await process.stdout.read(65536):
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await process.wait()
        await send({"type": "http.response.body", "body": b"", "more_body": False})
    finally:
        feeding.cancel()
        await asyncio.gather(feeding, return_exceptions=True)
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _feed(stdin: asyncio.StreamWriter, receive: Receive) -> None:
    """Hand the request's body on as it comes. A client that goes away ends the body, as with a real CGI."""
    try:
        more = True
        while more:
            message: Message = await receive()
            if message["type"] == "http.disconnect":
                break
            stdin.write(message.get("body", b""))
            await stdin.drain()
            more = bool(message.get("more_body", False))
    except (BrokenPipeError, ConnectionResetError):
        return  # the backend has read what it wanted and ended
    finally:
        stdin.close()


async def _head(stdout: asyncio.StreamReader) -> tuple[int, list[tuple[bytes, bytes]]]:
    """The CGI headers: `Status: 404 Not Found` becomes the status, the others are passed on."""
    status: int | None = None
    headers: list[tuple[bytes, bytes]] = []
    while (line := (await stdout.readline()).rstrip(b"\r\n")) != b"":
        key, _, value = line.partition(b":")
        if key.lower() == b"status":
            status = int(value.split()[0])
        else:
            headers.append((key.lower(), value.strip()))
    # A CGI that says nothing at all has crashed.
    return status or (200 if headers else 500), headers


async def _answer(send: Send, status: int, text: bytes, extra: tuple[tuple[bytes, bytes], ...]) -> None:
    headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(text)).encode()), *extra]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text})


def _refs(path: Path) -> Mapping[str, str]:
    lines = _git("for-each-ref", "--format=%(refname) %(objectname)", cwd=path).splitlines()
    return dict(line.split(" ", 1) for line in lines)


def _git(*words: str, cwd: Path | None = None) -> str:
    done = subprocess.run(["git", *words], cwd=cwd, env=git_environment(), check=True, capture_output=True, text=True)
    return done.stdout


def git_environment() -> Mapping[str, str]:
    """The environment every git process of the stand-ins runs in: nothing of this machine's own configuration."""
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": "/nonexistent",
        "LC_ALL": "C",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_COUNT": "2",
        # A push that is cut off must not be half there, and the server must not start work of its own after a push.
        "GIT_CONFIG_KEY_0": "receive.autogc",
        "GIT_CONFIG_VALUE_0": "false",
        "GIT_CONFIG_KEY_1": "safe.directory",
        "GIT_CONFIG_VALUE_1": "*",
    }
