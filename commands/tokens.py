"""API tokens: what they may do, how they are made, known again and taken back. Only a token's hash is ever kept."""

import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from commands.catalogue import Catalogue
from commands.catalogue import Kind as Named
from commands.catalogue_reader import read
from commands.grammar import NAME
from commands.reasons import ReasonCode, Refused
from commands.requests import listed, typed
from storage import tokens
from storage.record_models import ApiToken
from storage.unit_of_work import AuditEntry, Store, UnitOfWork

PREFIX = "lt_"
SHAPE = re.compile(r"lt_[A-Za-z0-9_-]{43}")
"""`lt_` and 256 random bits in base64url."""
ACTOR = "api:"
"""What stands before a token's name wherever the record names who did something."""


class Right(StrEnum):
    """What a token may be for."""

    RECORDS = "records"
    IMAGES = "images"
    READ = "read"
    DEPLOY = "deploy"


@dataclass(frozen=True)
class Scope:
    """One thing that a token may do. `environment` is of `deploy` alone; an empty `app` is every app."""

    right: Right
    environment: str = ""
    app: str = ""

    def __str__(self) -> str:
        return ":".join(part for part in (self.right.value, self.environment, self.app) if part)

    @classmethod
    def parse(cls, text: str) -> "Scope":
        """`records`, `images`, `read`, `deploy:staging` or `deploy:staging:web`; Refused otherwise."""
        word, *names = text.split(":")
        fine = all(NAME.fullmatch(name) for name in names)
        if word in set(Right) and fine and (1 <= len(names) <= 2 if word == Right.DEPLOY else not names):
            return cls(Right(word), *names)
        raise Refused(
            ReasonCode.BAD_USAGE,
            f"{typed(text)} is no scope.",
            "Use `records`, `images`, `read`, `deploy:ENVIRONMENT` or `deploy:ENVIRONMENT:APP`.",
        )


@dataclass(frozen=True)
class Bearer:
    """A token that was shown and is good."""

    id: str
    name: str
    scopes: tuple[Scope, ...]

    @property
    def actor(self) -> str:
        """Its name in the record: no Slack user can have it."""
        return f"{ACTOR}{self.name}"

    def may(self, right: Right) -> bool:
        """Whether any of its scopes is of this sort."""
        return any(scope.right is right for scope in self.scopes)

    def may_deploy(self, app: str, environment: str) -> bool:
        """Whether it may ask for this app (by its name, not an alias) here."""
        return any(
            scope.right is Right.DEPLOY and scope.environment == environment and scope.app in {"", app}
            for scope in self.scopes
        )


class Bad(StrEnum):
    """What is wrong with a token that was shown."""

    MALFORMED = "malformed"
    UNKNOWN = "unknown"
    REVOKED = "revoked"


@dataclass(frozen=True)
class BadToken:
    """A token that opens nothing. `name` is known of a revoked one."""

    why: Bad
    name: str = ""


@dataclass(frozen=True)
class Minted:
    """A new token. `token` is the secret itself: shown once, kept nowhere."""

    token: str
    name: str
    scopes: tuple[Scope, ...]


@dataclass(frozen=True)
class TokenLine:
    """A token in a list, without anything secret."""

    id: str
    name: str
    scopes: tuple[str, ...]
    created_at: datetime
    created_by: str
    last_used_at: datetime | None
    revoked_at: datetime | None


def create(store: Store, by: str, name: str, scopes: Sequence[str]) -> Minted:
    """Make a token. Refused for a name that is in use, and for names that `locktender.yaml` does not have."""
    wanted = tuple(dict.fromkeys(Scope.parse(scope) for scope in scopes))
    if not NAME.fullmatch(name):
        raise Refused(
            ReasonCode.BAD_USAGE,
            f"{typed(name)} cannot be a token's name.",
            "Use up to 63 lower-case letters, digits and dashes: `ci-web`, for example.",
        )
    if not wanted:
        raise Refused(ReasonCode.BAD_USAGE, "A token without a scope may do nothing.", "Add `--scope records`.")
    secret = PREFIX + secrets.token_urlsafe(32)
    with store.write() as uow:
        uow.in_turn()
        if tokens.in_use(uow, name) is not None:
            raise Refused(
                ReasonCode.ALREADY_REQUESTED,
                f"There is a token called `{name}` already, and the record tells tokens apart by name.",
                f"Choose another name, or take the old one back first: `locktender token revoke {name}`.",
            )
        wanted = tuple(_known(uow, scope) for scope in wanted)
        row = ApiToken(name=name, hash=fingerprint(secret), scopes=_stored(wanted), created_at=uow.now, created_by=by)
        tokens.add(uow, row)
        details = {"name": name, "id": row.id, "scopes": [str(scope) for scope in wanted]}
        uow.audit(AuditEntry("token:create", actor=by, details=details))
    return Minted(secret, name, wanted)


def revoke(store: Store, by: str, word: str) -> TokenLine:
    """Take a token back, by name or id: the next request with it is refused. Refused when none is in use."""
    with store.write() as uow:
        uow.in_turn()
        token = tokens.in_use(uow, word)
        if token is None:
            gone = tokens.last_revoked(uow, word)
            if gone is not None and gone.revoked_at is not None:
                raise Refused(
                    ReasonCode.ALREADY_DECIDED,
                    f"`{gone.name}` was revoked already, at {gone.revoked_at:%Y-%m-%d %H:%M} UTC.",
                    "It opens nothing any more.",
                )
            raise Refused(
                ReasonCode.BAD_USAGE, f"There is no token called {typed(word)}.", "`locktender token list` shows them."
            )
        token.revoked_at, token.revoked_by = uow.now, by
        uow.audit(AuditEntry("token:revoke", actor=by, details={"name": token.name, "id": token.id}))
        return _line(token)


def all_tokens(store: Store) -> list[TokenLine]:
    """Every token there ever was, by name."""
    with store.read() as uow:
        return [_line(token) for token in tokens.everyone(uow)]


def authenticate(store: Store, text: str) -> Bearer | BadToken:
    """Whose token this is. Asked of the database each time, so that a revoked one is refused at once."""
    if not SHAPE.fullmatch(text):
        return BadToken(Bad.MALFORMED)
    digest = fingerprint(text)
    with store.read() as uow:
        token = tokens.by_hash(uow, digest)
        stale = token is not None and tokens.is_stale(uow, token)
    if token is None or not hmac.compare_digest(token.hash, digest):
        return BadToken(Bad.UNKNOWN)
    if token.revoked_at is not None:
        return BadToken(Bad.REVOKED, token.name)
    if stale:
        with store.write() as uow:
            tokens.used(uow, token.id)
    return Bearer(token.id, token.name, tuple(Scope.parse(scope) for scope in json.loads(token.scopes)))


def record_refusal(store: Store, address: str, bad: BadToken) -> None:
    """One row about a token that was refused. The caller sees to it that nobody can fill the record with them."""
    actor = f"{ACTOR}{bad.name}" if bad.name else "api"
    with store.write() as uow:
        details = {"address": address[:64], "why": str(bad.why)}
        uow.audit(AuditEntry("token:refuse", actor=actor, reason_code=ReasonCode.NOT_PERMITTED, details=details))


def need(bearer: Bearer, right: Right) -> None:
    """Raise Refused unless the token has a scope of this sort."""
    if not bearer.may(right):
        scope = "deploy:ENVIRONMENT" if right is Right.DEPLOY else right
        raise Refused(
            ReasonCode.NOT_PERMITTED,
            f"The token `{bearer.name}` may not do that: it has no scope `{scope}`.",
            f"Make one that has it: `locktender token create NAME --scope {scope}`.",
        )


def fingerprint(secret: str) -> str:
    """What is kept of a token: it has 256 random bits, so a slow hash would gain nothing."""
    return hashlib.sha256(secret.encode()).hexdigest()


def _stored(scopes: Sequence[Scope]) -> str:
    return json.dumps([str(scope) for scope in scopes])


def _known(uow: UnitOfWork, scope: Scope) -> Scope:
    """The scope with names of the last good catalogue. Before there is one, nothing can be looked up."""
    stored = uow.last_good_catalogue()
    known = read(stored.source.encode()) if stored is not None and scope.environment else None
    if not isinstance(known, Catalogue):
        return scope
    if known.environment(scope.environment) is None:
        raise _unknown(known, Named.ENVIRONMENT, scope.environment, tuple(known.environments))
    app = known.app(scope.app) if scope.app else None
    if scope.app and app is None:
        raise _unknown(known, Named.APP, scope.app, tuple(known.apps))
    return Scope(scope.right, scope.environment, app.name if app else "")


def _unknown(known: Catalogue, kind: Named, word: str, names: tuple[str, ...]) -> Refused:
    near = known.nearest(kind, word)
    return Refused(
        ReasonCode.UNKNOWN_APP if kind is Named.APP else ReasonCode.UNKNOWN_ENVIRONMENT,
        f"There is no {kind} called {typed(word)} in `locktender.yaml`.",
        f"Did you mean {listed(near)}?" if near else f"There are {listed(names[:10], joiner='and')}.",
    )


def _line(token: ApiToken) -> TokenLine:
    return TokenLine(
        token.id,
        token.name,
        tuple(json.loads(token.scopes)),
        token.created_at,
        token.created_by,
        token.last_used_at,
        token.revoked_at,
    )
