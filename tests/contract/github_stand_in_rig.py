"""What the tests of the GitHub stand-in share: one served, with people, a branch to merge, and a plain HTTP client."""

import atexit
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from bot.sandbox.git_http import GitServer
from bot.sandbox.github import BOT, GitHub, Role
from tests.contract.jenkins_rig import switch
from tests.contract.octokit import Recorder

TOKEN = "ghp_canary0123456789"
REPOSITORY = "company/infra"
FILE = "environments/production/kustomization.yaml"
REST = f"/repos/{REPOSITORY}"


@cache
def _private_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def app_key() -> bytes:
    """The App's public key, PEM."""
    return _private_key().public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def app_token(issuer: int, now: datetime, *, seconds: int = 540, key: rsa.RSAPrivateKey | None = None) -> str:
    """What an App says of itself, signed with its key unless another is given."""
    at = int(now.timestamp())
    claims = {"iss": str(issuer), "iat": at - 60, "exp": at + seconds}
    return jwt.encode(claims, key or _private_key(), algorithm="RS256")


@cache
def _client() -> httpx.Client:
    """One client for all tests of a process: making one reads the machine's certificates, for nothing."""
    client = httpx.Client(base_url=switch().url, timeout=5, trust_env=False)
    atexit.register(client.close)
    return client


@cache
def _template() -> Path:
    """A repository with one commit, made once and copied."""
    folder = tempfile.TemporaryDirectory()
    atexit.register(folder.cleanup)
    git = GitServer(Path(folder.name), "unused")
    git.create(REPOSITORY)
    github = GitHub(git, REPOSITORY, TOKEN)
    github.user("octo-dev")
    github.push("main", {FILE: 'newTag: "1.4.1"\n', "README.md": "Ours\n"}, "octo-dev", message="Start")
    return Path(folder.name)


@dataclass
class Clock:
    """Time that stands still until it is moved."""

    now: datetime

    def __call__(self) -> datetime:
        return self.now

    def move(self, **words: float) -> None:
        self.now += timedelta(**words)


@dataclass
class Subject:
    """The stand-in, served, and everything that was said to it."""

    github: GitHub
    git: GitServer
    url: str
    clock: Clock
    recorder: Recorder
    client: httpx.Client

    def call(self, method: str, path: str, body: Mapping[str, Any] | None = None, *, token: str = TOKEN) -> Any:
        """One call by whoever has the token; the answer as it came."""
        headers = {"authorization": f"Bearer {token}"} if token else {}
        return self.client.request(method, path, json=body, headers=headers)

    def get(self, path: str, *, token: str = TOKEN) -> Any:
        """What is there; the call must be answered well."""
        answer = self.call("GET", path, token=token)
        assert answer.is_success, answer.text
        return answer.json()

    def open(self, branch: str = "deploy/1", title: str = "Deploy web 1.4.2") -> int:
        """A pull request by the bot, from a branch that the bot made."""
        self.github.push(branch, {FILE: f'newTag: "{branch}"\n'}, BOT, message=title)
        body = {"title": title, "head": branch, "base": "main", "body": "from 1.4.1"}
        answer = self.call("POST", f"{REST}/pulls", body)
        assert answer.status_code == 201, answer.text
        return int(answer.json()["number"])

    def merge(self, number: int, *, token: str = TOKEN, **body: str) -> Any:
        """Ask for the merge; the answer as it came."""
        return self.call("PUT", f"{REST}/pulls/{number}/merge", body, token=token)

    def head(self, number: int) -> str:
        """The head of a pull request."""
        return self.github.pull(number).head_sha


@contextmanager
def served(folder: Path) -> Iterator[Subject]:
    """A stand-in with a repository, two reviewers, an administrator, a reader and an outsider."""
    shutil.copytree(_template(), folder / "git")
    git = GitServer(folder / "git", "unused")
    clock = Clock(datetime(2026, 3, 2, 10, 0, tzinfo=UTC))
    github = GitHub(git, REPOSITORY, TOKEN, clock=clock)
    for login, role in (
        ("octo-lead", Role.WRITE),
        ("octo-dev", Role.WRITE),
        ("octo-admin", Role.ADMIN),
        ("octo-reader", Role.READ),
        ("octo-stranger", Role.NONE),
    ):
        github.user(login, role=role)
        github.token(f"token-{login}", login)
    github.team("company/platform", ["octo-lead"])
    recorder = Recorder()
    switch().app = github.faults.wrap(recorder.wrap(github.plain))
    with github:
        yield Subject(github, git, switch().url, clock, recorder, _client())
