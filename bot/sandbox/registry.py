"""A stand-in for a container registry: the part of Docker Registry v2 that reads, with its three ways to log in.

Held to Debian's docker-registry by `tests/contract/test_registry.py`. It pages its tags as `registry` 3 and the big
hosts do; docker-registry 2.8 answers with all of them at once.
"""

import base64
import hashlib
import json
import re
import secrets
import threading
import time
from collections.abc import Callable
from enum import StrEnum
from urllib.parse import urlencode

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from bot.sandbox.server import Faults

_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
_NAME = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*")
_REFERENCE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}|sha256:[0-9a-f]{64}")
_VERSION = {"Docker-Distribution-Api-Version": "registry/2.0"}


class Login(StrEnum):
    """How the registry wants to be convinced."""

    ANONYMOUS = "anonymous"
    BASIC = "basic"
    TOKEN = "token"  # from `/token`; without a user, tokens are for everyone


class SandboxRegistry:
    """Images and tags in memory. `app` serves it; tests and the demo put images in with `push`.

    `user` and `password` are what Basic and the token server ask for. `page` is the most tags in one answer,
    `token_seconds` how long tokens hold. `tokens` counts those that were given out.
    """

    def __init__(
        self,
        *,
        login: Login = Login.ANONYMOUS,
        user: str = "",
        password: str = "",
        page: int = 1000,
        token_seconds: int = 300,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.faults = Faults()
        self.tokens = 0
        self.digest_header = True  # some proxies drop Docker-Content-Digest
        self._login, self._user, self._password, self._page = login, user, password, page
        self._token_seconds, self._clock = token_seconds, clock
        self._lock = threading.Lock()
        self._images: dict[str, dict[str, bytes]] = {}
        self._tokens: dict[str, tuple[str, float]] = {}
        methods = ["GET"]
        self.app: ASGIApp = self.faults.wrap(
            Starlette(
                routes=[
                    Route("/v2/", self._root, methods=methods),
                    Route("/v2/{name:path}/manifests/{reference}", self._manifest, methods=methods),
                    Route("/v2/{name:path}/tags/list", self._tags, methods=methods),
                    Route("/token", self._give_token, methods=methods),
                ],
                exception_handlers={404: _no_such_page},
            )
        )

    def push(self, image: str, tag: str, *, content: str = "") -> str:
        """Put a tag on an image (without its host) and answer the manifest's digest. `content` makes images differ."""
        body = _manifest(f"{image}:{content or tag}")
        with self._lock:
            self._images.setdefault(image, {})[tag] = body
        return _digest(body)

    async def _root(self, request: Request) -> Response:
        return self._denied(request, "") or JSONResponse({}, headers=_VERSION)

    async def _manifest(self, request: Request) -> Response:
        name, reference = request.path_params["name"], request.path_params["reference"]
        if not _NAME.fullmatch(name) or not _REFERENCE.fullmatch(reference):
            return _no_such_page(request, None)
        if denied := self._denied(request, name):
            return denied
        with self._lock:
            tags = dict(self._images.get(name, {}))
        body = tags.get(reference) or next((kept for kept in tags.values() if _digest(kept) == reference), None)
        if body is None:
            return _error(404, "MANIFEST_UNKNOWN", "manifest unknown", {"Tag": reference})
        headers = {"Docker-Content-Digest": _digest(body)} if self.digest_header else {}
        return Response(body, media_type=_MANIFEST, headers={**_VERSION, **headers, "Etag": f'"{_digest(body)}"'})

    async def _tags(self, request: Request) -> Response:
        name = request.path_params["name"]
        if not _NAME.fullmatch(name):
            return _no_such_page(request, None)
        if denied := self._denied(request, name):
            return denied
        with self._lock:
            known = name in self._images
            tags = sorted(self._images.get(name, {}))
        if not known:
            return _error(404, "NAME_UNKNOWN", "repository name not known to registry", {"name": name})
        wanted = request.query_params.get("n", "")
        count = min(int(wanted), self._page) if wanted.isdecimal() else self._page
        after = request.query_params.get("last", "")
        rest = [tag for tag in tags if tag > after]
        headers = dict(_VERSION)
        if len(rest) > count:
            query = urlencode({"last": rest[count - 1], "n": count})
            headers["Link"] = f'</v2/{name}/tags/list?{query}>; rel="next"'
        return JSONResponse({"name": name, "tags": rest[:count]}, headers=headers)

    async def _give_token(self, request: Request) -> Response:
        if self._login is not Login.TOKEN:
            return _no_such_page(request, None)
        if not self._is_user(request) and (self._user or "authorization" in request.headers):
            return _error(401, "UNAUTHORIZED", "authentication required", None)
        token = secrets.token_urlsafe(24)
        scope = request.query_params.get("scope", "")
        with self._lock:
            self.tokens += 1
            self._tokens[token] = (scope, self._clock() + self._token_seconds)
        return JSONResponse({"token": token, "expires_in": self._token_seconds})

    def _denied(self, request: Request, name: str) -> Response | None:
        scope = f"repository:{name}:pull" if name else ""
        match self._login:
            case Login.ANONYMOUS:
                return None
            case Login.BASIC:
                allowed = self._is_user(request)
                challenge = 'Basic realm="basic-realm"'
            case Login.TOKEN:
                allowed = self._is_token(request, scope)
                challenge = f'Bearer realm="{request.base_url}token",service="sandbox"'
                challenge += f',scope="{scope}"' if scope else ""
        if allowed:
            return None
        action = [{"Type": "repository", "Class": "", "Name": name, "Action": "pull"}] if name else None
        denied = _error(401, "UNAUTHORIZED", "authentication required", action)
        denied.headers["WWW-Authenticate"] = challenge
        return denied

    def _is_user(self, request: Request) -> bool:
        expected = base64.b64encode(f"{self._user}:{self._password}".encode()).decode()
        return bool(self._user) and request.headers.get("authorization") == f"Basic {expected}"

    def _is_token(self, request: Request, scope: str) -> bool:
        kind, _, token = request.headers.get("authorization", "").partition(" ")
        with self._lock:
            granted, until = self._tokens.get(token, ("", 0.0))
        return kind == "Bearer" and self._clock() < until and granted == scope


def _manifest(content: str) -> bytes:
    config = json.dumps({"config": content}).encode()
    described = {
        "mediaType": "application/vnd.docker.container.image.v1+json",
        "size": len(config),
        "digest": _digest(config),
    }
    return json.dumps({"schemaVersion": 2, "mediaType": _MANIFEST, "config": described, "layers": []}).encode()


def _digest(body: bytes) -> str:
    return f"sha256:{hashlib.sha256(body).hexdigest()}"


def _error(status: int, code: str, message: str, detail: object) -> Response:
    body = {"errors": [{"code": code, "message": message, "detail": detail}]}
    return JSONResponse(body, status_code=status, headers=_VERSION)


def _no_such_page(request: Request, error: Exception | None) -> Response:
    """What is no repository's path is not JSON: the router answers, not the registry."""
    del request, error
    return PlainTextResponse("404 page not found\n", status_code=404, headers=_VERSION)
