"""A GitHub App: its own signed token (RS256), its installation, and the tokens an installation gets for an hour."""

import base64
import binascii
import json
import secrets
from dataclasses import dataclass, field
from datetime import timedelta

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from bot.sandbox.github_http import Answer, Call, Route
from bot.sandbox.github_json_people import node
from bot.sandbox.github_model import Account, GitHubError, Grant, Json, Kind, Role, not_found, stamp
from bot.sandbox.github_state import State

DEFAULT_PERMISSIONS = (
    ("metadata", "read"),
    ("contents", "write"),
    ("pull_requests", "write"),
    ("issues", "write"),
    ("statuses", "write"),
    ("checks", "read"),
    ("members", "read"),
)
_LONGEST = 600  # seconds an App's own token may be good for
_HOUR = timedelta(hours=1)
_PAGE = "apps/apps"


@dataclass(frozen=True)
class App:
    """An App that is installed on the repository. `public_key` is PEM; its bot is `<slug>[bot]`."""

    id: int
    public_key: bytes
    slug: str = "locktender"
    installation: int = 4242
    permissions: tuple[tuple[str, str], ...] = DEFAULT_PERMISSIONS

    @property
    def login(self) -> str:
        """Who writes when the App does."""
        return f"{self.slug}[bot]"


@dataclass
class Apps:
    """The App of the repository, when there is one, and its calls."""

    state: State
    app: App | None = None
    given: list[str] = field(default_factory=list, repr=False)  # installation tokens, oldest first

    def install(self, app: App) -> None:
        """Install an App on the repository."""
        self.app = app
        number = next(self.state.ids)
        email = f"{number}+{app.login}@users.noreply.github.com"
        self.state.add(Account(number, app.login, app.login, email, Role.WRITE, Kind.BOT))

    def caller(self, token: str) -> Account:
        """Who calls with an App's own token; 401 as GitHub words it."""
        if self.app is None:
            raise GitHubError(401, "A JSON web token could not be decoded")
        claims = _claims(token, self.app.public_key)
        now = self.state.clock().timestamp()
        issuer, expires = str(claims.get("iss", "")), claims.get("exp")
        if not isinstance(expires, (int, float)) or expires <= now:
            text = "must be a numeric value representing the future time at which the assertion expires"
            raise GitHubError(401, f"'Expiration time' claim ('exp') {text}")
        if expires > now + _LONGEST + 5:
            raise GitHubError(401, "'Expiration time' claim ('exp') is too far in the future")
        if not isinstance(claims.get("iat"), (int, float)) or claims["iat"] > now + 60:
            text = "must be an Integer representing the time that the assertion was issued"
            raise GitHubError(401, f"'Issued at' claim ('iat') {text}")
        if issuer != str(self.app.id):
            raise GitHubError(404, "Integration not found")
        return self.state.account(self.app.login)

    def routes(self) -> tuple[Route, ...]:
        """The calls."""
        return (
            Route("GET", "/app", self._app, "app"),
            Route("GET", "/app/installations/{id}", self._installation, "app"),
            Route("GET", "/repos/{owner}/{repo}/installation", self._installation_of, "app"),
            Route("POST", "/app/installations/{id}/access_tokens", self._token, "app"),
        )

    def _known(self) -> App:
        if self.app is None:
            raise not_found()
        return self.app

    def _app(self, call: Call) -> Answer:
        app, render, moment = self._known(), call.render, stamp(self.state.created)
        return Answer(
            {
                "id": app.id,
                "slug": app.slug,
                "node_id": node("A", app.id),
                "owner": render.user(self.state.owner),
                "name": app.slug,
                "description": "",
                "external_url": render.places.site,
                "html_url": f"{render.places.site}/apps/{app.slug}",
                "created_at": moment,
                "updated_at": moment,
                "permissions": dict(app.permissions),
                "events": ["pull_request", "pull_request_review", "push", "status"],
                "installations_count": 1,
            }
        )

    def _installation_of(self, call: Call) -> Answer:
        if f"{call.words['owner']}/{call.words['repo']}".lower() != self.state.repository.lower():
            raise not_found()
        return self._told(call)

    def _installation(self, call: Call) -> Answer:
        if call.words["id"] != str(self._known().installation):
            raise not_found()
        return self._told(call)

    def _told(self, call: Call) -> Answer:
        app, render, moment = self._known(), call.render, stamp(self.state.created)
        url = f"{render.places.api}/app/installations/{app.installation}"
        return Answer(
            {
                "id": app.installation,
                "account": render.user(self.state.owner),
                "repository_selection": "selected",
                "access_tokens_url": f"{url}/access_tokens",
                "repositories_url": f"{render.places.api}/installation/repositories",
                "html_url": f"{render.places.site}/organizations/{self.state.owner}/settings/installations/1",
                "app_id": app.id,
                "app_slug": app.slug,
                "target_id": self.state.account(self.state.owner).id,
                "target_type": "Organization",
                "permissions": dict(app.permissions),
                "events": ["pull_request", "push"],
                "created_at": moment,
                "updated_at": moment,
                "single_file_name": None,
                "has_multiple_single_files": False,
                "single_file_paths": [],
                "suspended_by": None,
                "suspended_at": None,
            }
        )

    def _token(self, call: Call) -> Answer:
        app = self._known()
        if call.words["id"] != str(app.installation):
            raise not_found()
        granted = dict(app.permissions)
        asked = call.body.get("permissions") or granted
        if not isinstance(asked, dict) or any(granted.get(key) not in {level, "write"} for key, level in asked.items()):
            text = "The permissions requested are not granted to this installation."
            raise GitHubError(422, text, page=f"{_PAGE}#create-an-installation-access-token-for-an-app")
        token = f"ghs_{secrets.token_hex(18)}"
        expires = self.state.clock() + _HOUR
        permissions = {"metadata": "read", **asked}
        self.state.grants[token] = Grant(app.login, permissions, expires)
        self.given.append(token)
        told: Json = {
            "token": token,
            "expires_at": stamp(expires),
            "permissions": permissions,
            "repository_selection": "selected",
        }
        return Answer(told, 201)


def _claims(token: str, public_key: bytes) -> Json:
    """The claims of a token that this key has signed; 401 for anything else."""
    try:
        head, body, given = (base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)) for part in token.split("."))
        key = load_pem_public_key(public_key)
        if not isinstance(key, RSAPublicKey) or json.loads(head).get("alg") != "RS256":
            raise GitHubError(401, "A JSON web token could not be decoded")
        key.verify(given, token.rpartition(".")[0].encode(), PKCS1v15(), SHA256())
        claims = json.loads(body)
    except (binascii.Error, ValueError, InvalidSignature):
        raise GitHubError(401, "A JSON web token could not be decoded") from None
    if not isinstance(claims, dict):
        raise GitHubError(401, "A JSON web token could not be decoded")
    return claims
