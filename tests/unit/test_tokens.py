"""API tokens: made, known again, taken back, on both databases; and how often somebody may call.

How they open the API is in tests/slack/test_api; the command line's own words are here too.
"""

import json
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from sqlalchemy import select

from bot.web.limits import MOST_NAMES, Buckets
from commands import tokens
from commands.reasons import ReasonCode, Refused
from commands.tokens import Bad, BadToken, Bearer, Right, Scope
from storage.models import CatalogueVersion
from storage.record_models import ApiToken
from storage.unit_of_work import Store
from tests.desk_rig import MINIMAL
from tests.rows import audit_rows


def bearer(store: Store, token: str) -> Bearer:
    found = tokens.authenticate(store, token)
    assert isinstance(found, Bearer), found
    return found


def rows(store: Store) -> list[ApiToken]:
    with store.read() as uow:
        return list(uow.session.scalars(select(ApiToken).order_by(cast("Any", ApiToken).created_at)))


def test_a_token_is_known_again_and_nothing_of_it_is_kept_but_its_hash(store: Store) -> None:
    made = tokens.create(store, "cli:root", "ci", ["records", "deploy:staging"])
    assert tokens.SHAPE.fullmatch(made.token)
    assert bearer(store, made.token).actor == "api:ci"
    (row,) = rows(store)
    assert row.hash == tokens.fingerprint(made.token)
    assert made.token[3:] not in json.dumps(row.model_dump(), default=str)
    (audit,) = audit_rows(store)
    assert (audit.action, audit.actor) == ("token:create", "cli:root")
    assert json.loads(audit.details) == {"id": row.id, "name": "ci", "scopes": ["records", "deploy:staging"]}


def test_two_tokens_are_never_alike(store: Store) -> None:
    made = [tokens.create(store, "cli:root", name, ["read"]).token for name in ("one", "two")]
    assert len(set(made)) == 2
    assert [bearer(store, token).name for token in made] == ["one", "two"]


NO_TOKENS = {
    "": Bad.MALFORMED,
    "lt_": Bad.MALFORMED,
    f"lt_{'a' * 43}": Bad.UNKNOWN,
    f"lt_{'a' * 44}": Bad.MALFORMED,
    f"xx_{'a' * 43}": Bad.MALFORMED,
    f"lt_{'a' * 42}\n": Bad.MALFORMED,
}


def test_what_is_no_token_opens_nothing(store: Store) -> None:
    tokens.create(store, "cli:root", "ci", ["read"])
    for text, why in NO_TOKENS.items():
        assert tokens.authenticate(store, text) == BadToken(why), text


def test_a_hash_is_no_token(store: Store) -> None:
    made = tokens.create(store, "cli:root", "ci", ["read"])
    assert isinstance(tokens.authenticate(store, tokens.fingerprint(made.token)), BadToken)


def test_a_revoked_token_opens_nothing_at_once_and_says_whose_it_was(store: Store) -> None:
    made = tokens.create(store, "cli:root", "ci", ["read"])
    bearer(store, made.token)
    tokens.revoke(store, "cli:mo", "ci")
    assert tokens.authenticate(store, made.token) == BadToken(Bad.REVOKED, "ci")
    assert [(row.action, row.actor) for row in audit_rows(store)][1:] == [("token:revoke", "cli:mo")]


def test_a_name_is_free_again_when_its_token_was_revoked(store: Store) -> None:
    old = tokens.create(store, "cli:root", "ci", ["read"])
    with pytest.raises(Refused) as taken:
        tokens.create(store, "cli:root", "ci", ["records"])
    assert taken.value.reason is ReasonCode.ALREADY_REQUESTED
    tokens.revoke(store, "cli:root", "ci")
    new = tokens.create(store, "cli:root", "ci", ["records"])
    assert bearer(store, new.token).may(Right.RECORDS)
    assert isinstance(tokens.authenticate(store, old.token), BadToken)


def test_a_token_is_revoked_by_its_id_too_and_once(store: Store) -> None:
    tokens.create(store, "cli:root", "ci", ["read"])
    name = rows(store)[0].id
    assert tokens.revoke(store, "cli:root", name).name == "ci"
    for word, said in ((name, "revoked already"), ("nobody", "no token called")):
        with pytest.raises(Refused, match=said):
            tokens.revoke(store, "cli:root", word)


def test_a_name_that_is_none_is_refused(store: Store) -> None:
    for name in ("", "CI", "-ci", "c i", "ci;", "a" * 64, "../x", "\u202eic"):
        with pytest.raises(Refused, match="cannot be a token's name"):
            tokens.create(store, "cli:root", name, ["read"])
    assert rows(store) == []


@pytest.mark.parametrize(
    "text",
    ["", "all", "Records", "records:web", "deploy", "deploy:", "deploy:*", "deploy:staging:", "deploy:a:b:c", "read "],
)
def test_a_scope_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(Refused, match="is no scope"):
        Scope.parse(text)


@pytest.mark.parametrize("text", ["records", "images", "read", "deploy:staging", "deploy:staging:web"])
def test_a_scope_reads_as_it_was_written(text: str) -> None:
    assert str(Scope.parse(text)) == text


def test_a_token_may_deploy_what_its_scopes_name_and_nothing_else() -> None:
    mine = Bearer("1", "ci", (Scope.parse("deploy:staging"), Scope.parse("deploy:production:web")))
    assert mine.may_deploy("anything", "staging")
    assert mine.may_deploy("web", "production")
    assert not mine.may_deploy("shop", "production")
    assert not mine.may_deploy("web", "dev")
    assert not mine.may(Right.READ)


def catalogue(store: Store) -> None:
    with store.write() as uow:
        uow.remember_catalogue(CatalogueVersion(commit="a" * 40, source=MINIMAL, valid=True, seen_at=uow.now))


def test_names_in_scopes_are_looked_up_when_there_is_a_catalogue(store: Store) -> None:
    assert tokens.create(store, "cli:root", "early", ["deploy:anywhere"]).scopes == (Scope.parse("deploy:anywhere"),)
    catalogue(store)
    with pytest.raises(Refused, match="stagin") as wrong:
        tokens.create(store, "cli:root", "ci", ["deploy:stagin"])
    assert "Did you mean `staging`?" in wrong.value.next_step
    with pytest.raises(Refused, match="no app called"):
        tokens.create(store, "cli:root", "ci", ["deploy:staging:shop"])


def test_the_last_use_is_kept_to_the_minute(store: Store) -> None:
    now = [datetime(2026, 1, 15, 10, 30, 12, tzinfo=UTC)]
    timed = Store(store.database, lambda: now[0])
    token = tokens.create(timed, "cli:root", "ci", ["read"]).token
    assert rows(timed)[0].last_used_at is None
    for seconds, minute in ((0, 30), (30, 30), (50, 31), (600, 40)):
        now[0] = datetime(2026, 1, 15, 10, 30, 12, tzinfo=UTC) + timedelta(seconds=seconds)
        bearer(timed, token)
        assert rows(timed)[0].last_used_at == datetime(2026, 1, 15, 10, minute, tzinfo=UTC)


def test_a_list_shows_everything_but_the_secret(store: Store) -> None:
    made = tokens.create(store, "cli:root", "ci", ["records", "read"])
    tokens.revoke(store, "cli:mo", "ci")
    (line,) = tokens.all_tokens(store)
    assert (line.name, line.scopes, line.created_by, line.last_used_at) == ("ci", ("records", "read"), "cli:root", None)
    assert line.revoked_at is not None
    shown = repr(line)
    assert made.token not in shown
    assert tokens.fingerprint(made.token) not in shown


# ---------------------------------------------------------------- how often


def test_a_bucket_lets_a_burst_through_then_so_many_a_minute() -> None:
    now = [0.0]
    buckets = Buckets(60, 20, lambda: now[0])
    assert [buckets.take("ci") for _ in range(20)] == [0] * 20
    assert buckets.take("ci") == 1
    assert buckets.take("other") == 0, "everybody has a bucket of their own"
    now[0] = 0.99
    assert buckets.take("ci") == 1
    now[0] = 1.0
    assert [buckets.take("ci"), buckets.take("ci")] == [0, 1]
    now[0] = 1000.0
    assert sum(buckets.take("ci") == 0 for _ in range(100)) == 20, "nobody saves up more than a burst"


def test_a_slow_bucket_says_how_long_it_takes() -> None:
    buckets = Buckets(1, 1, lambda: 0.0)
    assert [buckets.take("a"), buckets.take("a")] == [0, 60]


def test_buckets_do_not_grow_for_ever() -> None:
    buckets = Buckets(1, 1, lambda: 0.0)
    for number in range(MOST_NAMES + 5):
        buckets.take(str(number))
    assert len(buckets._left) == MOST_NAMES
