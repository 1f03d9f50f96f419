"""Registries to test against: the stand-in, and Debian's docker-registry where it is installed."""

import base64
import functools
import hashlib
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from bot.integrations.registry_http import trust
from bot.sandbox.registry import Login, SandboxRegistry
from bot.sandbox.server import Server

USER, PASSWORD = "locktender", "sesame"
# `htpasswd -B` of the password above, at the lowest cost that there is.
HTPASSWD = "locktender:$2b$04$i7V01DPgg1.8TGLnZzW/D.H/4BL0tQ5DrlMAl9vzYf37cr/8iX2Wi\n"
SERVICE, ISSUER = "sandbox", "tests"
MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"


@functools.cache
def roots() -> ssl.SSLContext:
    """Trusted certificates, read once: nothing here speaks TLS, and reading them takes longer than most tests."""
    return trust()


@dataclass(frozen=True)
class Subject:
    """A registry that runs. `push` puts a tag on an image and answers the digest that the registry gave it."""

    url: str
    push: Callable[[str, str, str], str] = field(repr=False)

    @property
    def host(self) -> str:
        return self.url.removeprefix("http://")


@contextmanager
def sandbox(login: Login) -> Iterator[Subject]:
    user = USER if login is not Login.ANONYMOUS else ""
    registry = SandboxRegistry(login=login, user=user, password=PASSWORD if user else "")
    with Server(registry.app) as server:
        yield Subject(server.url, lambda image, tag, content: registry.push(image, tag, content=content))


def installed() -> bool:
    return shutil.which("docker-registry") is not None


@contextmanager
def debian(login: Login, folder: Path) -> Iterator[Subject]:
    if login is Login.TOKEN:
        signer = Signer()
        certificate = folder / "token.pem"
        certificate.write_bytes(signer.pem())
        with Server(signer.app) as server:
            auth = {
                "token": {
                    "realm": f"{server.url}/token",
                    "service": SERVICE,
                    "issuer": ISSUER,
                    "rootcertbundle": str(certificate),
                }
            }
            with _process(folder, auth) as url:
                yield Subject(url, lambda image, tag, content: push(url, image, tag, content, signer.header(image)))
        return
    passwords = folder / "htpasswd"
    passwords.write_text(HTPASSWD)
    basic = {"htpasswd": {"realm": "basic-realm", "path": str(passwords)}}
    header = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    headers = {"Authorization": header} if login is Login.BASIC else {}
    with _process(folder, basic if login is Login.BASIC else None) as url:
        yield Subject(url, lambda image, tag, content: push(url, image, tag, content, headers))


@contextmanager
def _process(folder: Path, auth: dict[str, dict[str, str]] | None) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = {
        "version": 0.1,
        "log": {"level": "error", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(folder / "images")}},
        "http": {"addr": f"127.0.0.1:{port}"},
        **({"auth": auth} if auth else {}),
    }
    file = folder / "registry.yml"
    file.write_text(json.dumps(settings))  # JSON is YAML
    with (folder / "registry.log").open("wb") as log:
        process = subprocess.Popen(
            ["docker-registry", "serve", str(file)], stdout=log, stderr=log, env={"PATH": os.environ["PATH"]}
        )
        try:
            _wait_for(port, process)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=10)


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    for _ in range(200):
        if process.poll() is not None:
            raise RuntimeError("docker-registry did not start")
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except ConnectionRefusedError:
            time.sleep(0.02)
        else:
            return
    raise RuntimeError("docker-registry does not listen")


def push(url: str, image: str, tag: str, content: str, headers: dict[str, str]) -> str:
    """Upload a configuration and a manifest that names it, as `docker push` does."""
    config = json.dumps({"config": content or tag}).encode()
    digest = f"sha256:{hashlib.sha256(config).hexdigest()}"
    described = {"mediaType": "application/vnd.docker.container.image.v1+json", "size": len(config), "digest": digest}
    manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": described, "layers": []}
    with httpx.Client(base_url=url, trust_env=False, headers=headers) as client:
        upload = client.post(f"/v2/{image}/blobs/uploads/").raise_for_status().headers["location"]
        client.put(httpx.URL(upload).copy_add_param("digest", digest), content=config).raise_for_status()
        address = f"/v2/{image}/manifests/{tag}"
        answer = client.put(address, content=json.dumps(manifest).encode(), headers={"Content-Type": MANIFEST})
        return str(answer.raise_for_status().headers["docker-content-digest"])


class Signer:
    """A token server as docker-registry wants it: JSON web tokens, signed by a certificate that the registry trusts."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "token server of the tests")])
        now = datetime.now(UTC)
        self._certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(self._key.public_key())
            .serial_number(1)
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.app = Starlette(routes=[Route("/token", self._give)])

    def pem(self) -> bytes:
        return self._certificate.public_bytes(serialization.Encoding.PEM)

    def header(self, image: str) -> dict[str, str]:
        """The right to push, for the tests' own uploads."""
        return {"Authorization": f"Bearer {self._token(image, ['pull', 'push'])}"}

    async def _give(self, request: Request) -> Response:
        expected = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        if request.headers.get("authorization") != f"Basic {expected}":
            return JSONResponse({"details": "incorrect username or password"}, status_code=401)
        assert request.query_params["service"] == SERVICE
        kind, image, actions = request.query_params["scope"].split(":")
        assert kind == "repository"
        return JSONResponse({"access_token": self._token(image, actions.split(",")), "expires_in": 300})

    def _token(self, image: str, actions: list[str]) -> str:
        now = int(time.time())
        der = self._certificate.public_bytes(serialization.Encoding.DER)
        header = {"typ": "JWT", "alg": "ES256", "x5c": [base64.b64encode(der).decode()]}
        claims = {
            "iss": ISSUER,
            "sub": USER,
            "aud": SERVICE,
            "exp": now + 300,
            "nbf": now - 10,
            "iat": now,
            "jti": "1",
            "access": [{"type": "repository", "name": image, "actions": actions}],
        }
        text = ".".join(_encoded(json.dumps(part).encode()) for part in (header, claims))
        r, s = decode_dss_signature(self._key.sign(text.encode(), ec.ECDSA(hashes.SHA256())))
        return f"{text}.{_encoded(r.to_bytes(32) + s.to_bytes(32))}"


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
