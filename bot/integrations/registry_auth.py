"""How a registry wants to be convinced: HTTP Basic, or a bearer token from its token server.

https://distribution.github.io/distribution/spec/auth/token/
"""

import base64
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import httpx
from pydantic import BaseModel, ConfigDict, ValidationError

from bot.integrations.registry_http import Answer, Endpoint, Wire, is_loopback, same_origin, server, strange
from commands.reasons import ReasonCode, Refused

_WORD = r"[A-Za-z0-9!#$%&'*+.^_`|~-]+"
_PART = re.compile(rf'[\s,]*(?:({_WORD})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]*))|({_WORD}))')
_HEADER_SAFE = re.compile(r"[\x21-\x7e]{1,65536}")
_LARGEST = 256 * 1024  # bytes of a token server's answer: signed tokens with many scopes are some kilobytes
_EARLY = 5.0  # seconds before its end at which a token is not used any more
_LONGEST = 3600.0  # seconds a token is kept at most, whatever its server says


@dataclass(frozen=True)
class Place:
    """A repository of a registry: what authorizations are for."""

    host: str
    repository: str
    url: httpx.URL
    endpoint: Endpoint


@dataclass(frozen=True)
class Challenge:
    """One way that a 401 offers. `scheme` is in lower case."""

    scheme: str
    parameters: dict[str, str]


class TokenAnswer(BaseModel):
    """What a token server answers; Docker's name for the token, or OAuth's."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    token: str = ""
    access_token: str = ""
    expires_in: float = 60.0  # seconds; the specification's default


@dataclass(frozen=True)
class _Authorization:
    header: str = field(repr=False)
    until: float  # on our clock


class Authorizer:
    """Obtains authorizations and keeps them until they end. Thread-safe; two threads may ask twice, harmlessly."""

    def __init__(self, wire: Wire, clock: Callable[[], float] = time.monotonic) -> None:
        self._wire = wire
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: dict[tuple[str, str], _Authorization] = {}

    def known(self, place: Place) -> str | None:
        """The Authorization header for this repository, if there is one that still holds."""
        with self._lock:
            kept = self._kept.get((place.host, place.repository))
        return kept.header if kept and self._clock() < kept.until else None

    def forget(self, place: Place) -> None:
        """The registry did not like it."""
        with self._lock:
            self._kept.pop((place.host, place.repository), None)

    def obtain(self, place: Place, answer: Answer) -> str:
        """A new Authorization header that meets the challenge of a 401. Refused when that cannot be."""
        self.forget(place)
        offered = {challenge.scheme: challenge for challenge in challenges(answer.headers)}
        if bearer := offered.get("bearer"):
            found = self._token(place, bearer)
        elif "basic" in offered and place.endpoint.user:
            found = _Authorization(_basic(place.endpoint), float("inf"))
        elif "basic" in offered:
            raise refused(place, "it wants a user and a password, and none are configured")
        else:
            raise strange(place.host, "it wants to know who asks, in a way that no registry does")
        with self._lock:
            self._kept[place.host, place.repository] = found
        return found.header

    def _token(self, place: Place, challenge: Challenge) -> _Authorization:
        asked_at = self._clock()
        realm = _realm(place, challenge)
        query = {"scope": challenge.parameters.get("scope") or f"repository:{place.repository}:pull"}
        if service := challenge.parameters.get("service"):
            query["service"] = service
        headers = {"Authorization": _basic(place.endpoint)} if place.endpoint.user else {}
        answer = self._wire.send(place.host, "GET", realm.copy_merge_params(query), headers, _LARGEST)
        if answer.status in {400, 401, 403}:
            raise refused(place, "its token server does not take the credentials that are configured")
        if answer.status != 200:
            raise strange(place.host, f"its token server answered {answer.status}")
        try:
            said = TokenAnswer.model_validate_json(answer.body)
        except ValidationError as error:
            # The answer may hold a token, and the error quotes it: neither is passed on.
            raise strange(place.host, "its token server's answer is not JSON as it should be") from error
        token = said.token or said.access_token
        if not _HEADER_SAFE.fullmatch(token):
            raise strange(place.host, "its token server answered without a usable token")
        return _Authorization(f"Bearer {token}", asked_at + min(said.expires_in, _LONGEST) - _EARLY)


def _realm(place: Place, challenge: Challenge) -> httpx.URL:
    """The token server's address. Credentials go there, so it is encrypted, or as near as the registry itself is."""
    realm = server(challenge.parameters.get("realm", ""))
    if realm is None or not _is_private(realm, place):
        raise strange(place.host, "the token server that it names is not at an https address")
    return realm


def _is_private(realm: httpx.URL, place: Place) -> bool:
    if realm.scheme == "https":
        return True
    on_this_machine = is_loopback(realm) and is_loopback(place.url)
    return realm.scheme == "http" and (on_this_machine or (place.endpoint.insecure and same_origin(realm, place.url)))


def challenges(headers: httpx.Headers) -> list[Challenge]:
    """Every challenge of the WWW-Authenticate headers, of which one may hold several."""
    found: list[Challenge] = []
    for header in headers.get_list("www-authenticate"):
        at = 0
        while part := _PART.match(header, at):
            at = part.end()
            key, quoted, bare, scheme = part.groups()
            if scheme:
                found.append(Challenge(scheme.lower(), {}))
            elif found:
                value = re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else bare
                found[-1].parameters.setdefault(key.lower(), value)
    return found


def _basic(endpoint: Endpoint) -> str:
    return "Basic " + base64.b64encode(f"{endpoint.user}:{endpoint.password}".encode()).decode()


def refused(place: Place, why: str) -> Refused:
    """The registry does not let us look."""
    return Refused(
        ReasonCode.REGISTRY_CREDENTIALS,
        f"The registry {place.host} does not let us look at {place.repository}: {why}.",
        "Give Locktender a user of that registry who may pull this image, or stop asking it in `locktender.yaml`.",
    )
