"""Who calls the JSON API: a bearer token, asked of the database each time, and how often each may call."""

import ipaddress
from dataclasses import dataclass, field

import structlog
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from bot.web.api_errors import Code, Problem
from bot.web.limits import Buckets
from commands.tokens import BadToken, Bearer, authenticate, record_refusal
from storage.unit_of_work import Store

_ALL = "everybody"
log = structlog.get_logger("api")


@dataclass(frozen=True)
class Limits:
    """How often: good tokens by token, refused ones by address. Rows about refusals: one a minute and address."""

    tokens: Buckets = field(default_factory=lambda: Buckets(60, 20))
    refused: Buckets = field(default_factory=lambda: Buckets(20, 20))
    rows: Buckets = field(default_factory=lambda: Buckets(1, 1))
    all_rows: Buckets = field(default_factory=lambda: Buckets(30, 30))
    """However many addresses there are, the record is not theirs to fill."""


class Doorkeeper:
    """Lets good tokens in. Call it with the request; Problem 401 or 429 otherwise."""

    def __init__(self, store: Store, limits: Limits) -> None:
        self._store = store
        self._limits = limits

    async def __call__(self, request: Request) -> Bearer:
        """The token's bearer. A revoked token is refused at the very next request."""
        scheme, _, secret = request.headers.get("authorization", "").partition(" ")
        secret = secret.strip() if scheme.lower() == "bearer" else ""
        found = await run_in_threadpool(authenticate, self._store, secret)
        if isinstance(found, BadToken):
            raise await self._refuse(request, found)
        wait = self._limits.tokens.take(found.id)
        if wait:
            what = f"The token `{found.name}` is used more often than 60 times a minute."
            raise _slower(what, wait)
        return found

    async def _refuse(self, request: Request, bad: BadToken) -> Problem:
        address = place(request.client.host if request.client else "")
        wait = self._limits.refused.take(address)
        if wait:
            return _slower("Too many requests with no good token came from this address.", wait)
        if self._limits.rows.take(address) == 0 and self._limits.all_rows.take(_ALL) == 0:
            log.warning("api.token_refused", address=address, why=str(bad.why), name=bad.name)
            await run_in_threadpool(record_refusal, self._store, address, bad)
        what = f"The token `{bad.name}` was revoked." if bad.name else "There is no good API token with this request."
        step = "Send `Authorization: Bearer lt_…`; `locktender token create NAME --scope …` makes one."
        return Problem(401, Code.UNAUTHORIZED, what, step, headers={"WWW-Authenticate": "Bearer"})


def _slower(what: str, wait: int) -> Problem:
    step = f"Try again in {wait} second{'s' if wait > 1 else ''}."
    return Problem(429, Code.RATE_LIMITED, what, step, headers={"Retry-After": str(wait)})


def place(host: str) -> str:
    """An address to count by: of IPv6 the network, for whoever has one address there has all of them."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host[:64]
    if address.version == 4:
        return str(address)
    return str(ipaddress.ip_network((address, 64), strict=False))
