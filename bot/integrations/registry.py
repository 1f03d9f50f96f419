"""Docker Registry v2, also known as OCI distribution: does a tag exist, which digest is it, which tags are there.

Read-only: HEAD and GET, and a token server when the registry names one.
https://github.com/opencontainers/distribution-spec/blob/main/spec.md
"""

import hashlib
import re
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import httpx
from pydantic import BaseModel, ConfigDict, ValidationError

from bot.integrations.registry_auth import Authorizer, Place, refused
from bot.integrations.registry_http import Answer, Endpoint, Wire, address, same_origin, strange
from commands import grammar
from commands.ports import Registry
from commands.reasons import ReasonCode, Refused

__all__ = ["Endpoint", "KnownTags", "RegistryClient", "TagCache"]

_ACCEPTED = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/json",
)
_LARGEST = 4 * 1024 * 1024  # bytes; what the specification asks registries to take as a manifest
_TAGS_A_PAGE = 1000
_MOST_PAGES = 100
_MOST_REDIRECTS = 3
_NEXT = re.compile(r'<([^<>]*)>\s*;[^,]*\brel\s*=\s*"?next"?', re.IGNORECASE)


class _Tags(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    tags: list[str] | None = None


class _Error(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    code: str


class _Errors(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    errors: list[_Error]


class RegistryClient:
    """The registries that are configured, by host name as images have it (`docker.io` for images without one).

    `roots` are the certificates that are trusted: by default the usual ones and the system's.
    Blocks for at most a few times `timeout` seconds. Refused: NOT_CONFIGURED for other hosts, REGISTRY_CREDENTIALS.
    Retry and Unknown: REGISTRY_UNREACHABLE. Thread-safe; a context manager that closes its connections.
    """

    def __init__(
        self,
        endpoints: Mapping[str, Endpoint],
        *,
        timeout: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
        roots: ssl.SSLContext | None = None,
    ) -> None:
        self._endpoints = {host: (address(host, endpoint), endpoint) for host, endpoint in endpoints.items()}
        self._wire = Wire(timeout, roots)
        self._authorizer = Authorizer(self._wire, clock)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Drop the connections that are kept open."""
        self._wire.close()

    def digest(self, image: str, tag: str) -> str | None:
        """See `ports.Registry`. The digest is the registry's own word, or computed from the manifest without it."""
        place = self._place(image)
        if not grammar.TAG.fullmatch(tag):
            raise Refused(
                ReasonCode.BAD_VERSION,
                "The version is not a tag that a registry could have.",
                "Write letters, digits, dots, hyphens and underscores, at most 128 of them.",
            )
        url = place.url.join(f"/v2/{place.repository}/manifests/{tag}")
        head = self._ask(place, "HEAD", url)
        if head.status == 200 and (said := _said_digest(head)):
            return said
        # No digest in the header, or a 404 without a body: a proxy's 404 must not pass for the registry's.
        answer = self._ask(place, "GET", url)
        if answer.status == 404:
            _expect_registry(place, answer)
            return None
        if answer.status != 200:
            raise strange(place.host, f"it answered {answer.status} when asked for a manifest")
        return _said_digest(answer) or f"sha256:{hashlib.sha256(answer.body).hexdigest()}"

    def tags(self, image: str) -> list[str]:
        """See `ports.Registry`. Empty when the registry does not know the image."""
        place = self._place(image)
        found: dict[str, None] = {}
        url = place.url.join(f"/v2/{place.repository}/tags/list?n={_TAGS_A_PAGE}")
        for _ in range(_MOST_PAGES):
            answer = self._ask(place, "GET", url)
            if answer.status == 404:
                _expect_registry(place, answer)
                return list(found)
            if answer.status != 200:
                raise strange(place.host, f"it answered {answer.status} when asked for tags")
            try:
                page = _Tags.model_validate_json(answer.body)
            except ValidationError as error:
                raise strange(place.host, "its list of tags is not JSON as it should be") from error
            # What is not a tag cannot be deployed, and must not reach a card.
            found.update(dict.fromkeys(tag for tag in page.tags or () if grammar.TAG.fullmatch(tag)))
            following = _next_page(place, answer)
            if following is None:
                return list(found)
            url = following
        raise strange(place.host, f"its list of tags has more than {_MOST_PAGES} pages")

    def _place(self, image: str) -> Place:
        name = grammar.image_name(image)
        if name is None:
            raise Refused(
                ReasonCode.CATALOGUE_INVALID,
                "The app's image is not an image's name without a tag.",
                "Correct `image` in `locktender.yaml`.",
            )
        configured = self._endpoints.get(name.host)
        if configured is None:
            raise Refused(
                ReasonCode.NOT_CONFIGURED,
                f"The registry {name.host} is not one that is asked.",
                f"Add `{name.host}: {{}}` below `registries` in `locktender.yaml` to have versions checked there.",
            )
        url, endpoint = configured
        return Place(name.host, name.repository, url, endpoint)

    def _ask(self, place: Place, method: str, url: httpx.URL) -> Answer:
        """An answer that is neither a redirect nor about who we are."""
        answer = self._send(place, method, url, self._authorizer.known(place))
        if answer.status == 401:
            answer = self._send(place, method, url, self._authorizer.obtain(place, answer))
        if answer.status == 401:
            self._authorizer.forget(place)
            raise refused(place, "it does not take the credentials that are configured")
        if answer.status == 403:
            raise refused(place, "it says that this is forbidden")
        return answer

    def _send(self, place: Place, method: str, url: httpx.URL, authorization: str | None) -> Answer:
        headers = {"Accept": ", ".join(_ACCEPTED)}
        if authorization:
            headers["Authorization"] = authorization
        for _ in range(_MOST_REDIRECTS + 1):
            answer = self._wire.send(place.host, method, url, headers, _LARGEST)
            if answer.status not in {301, 302, 303, 307, 308}:
                return answer
            url = _followed(place, url, answer.headers.get("location", ""))
        raise strange(place.host, "it redirects without end")


def _followed(place: Place, url: httpx.URL, reference: str) -> httpx.URL:
    """Where a redirect or a next page leads: the same origin only, for our credentials travel along."""
    try:
        there = url.join(reference)
    except httpx.InvalidURL as error:
        raise strange(place.host, "it leads to an address that is none") from error
    if not reference or there.userinfo or not same_origin(there, place.url):
        raise strange(place.host, "it leads elsewhere, where it was not said that we may go")
    return there


def _next_page(place: Place, answer: Answer) -> httpx.URL | None:
    link = _NEXT.search(", ".join(answer.headers.get_list("link")))
    return _followed(place, answer.url, link[1]) if link else None


def _said_digest(answer: Answer) -> str | None:
    text = answer.headers.get("docker-content-digest", "").strip()
    return text if grammar.DIGEST.fullmatch(text) else None


def _expect_registry(place: Place, answer: Answer) -> None:
    """A registry says in JSON what it does not know; anything else that answers 404 is not one."""
    try:
        known = bool(_Errors.model_validate_json(answer.body).errors)
    except ValidationError:
        known = False
    if not known:
        raise strange(place.host, "it answered 404, and not as a registry does")


@dataclass(frozen=True)
class KnownTags:
    """An image's tags as they were `age` seconds ago, in the registry's order."""

    tags: tuple[str, ...]
    age: float


class TagCache:
    """The last known tags per image, for suggestions that may not wait for the network. Thread-safe, in memory only."""

    def __init__(self, registry: Registry, clock: Callable[[], float] = time.monotonic) -> None:
        self._registry = registry
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: dict[str, tuple[tuple[str, ...], float]] = {}

    def refresh(self, image: str) -> KnownTags:
        """Ask the registry, and keep what it says. Blocks; raises as `Registry.tags` and then keeps what was known."""
        asked_at = self._clock()
        tags = tuple(self._registry.tags(image))
        with self._lock:
            self._kept[image] = (tags, asked_at)
        return KnownTags(tags, self._clock() - asked_at)

    def known(self, image: str) -> KnownTags | None:
        """What was last heard, without the network; None before the first answer."""
        with self._lock:
            kept = self._kept.get(image)
        return KnownTags(kept[0], self._clock() - kept[1]) if kept else None
