"""The JSON API as a pipeline meets it: the real application and store, on SQLite and on Postgres.

Left out: what becomes of a deployment afterwards (tests/e2e), and bodies that nobody would think of (tests/contract).
"""

import asyncio
import itertools
import json
import shutil
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from bot.web.api_auth import Limits
from bot.web.limits import Buckets
from commands import tokens
from commands.audit import history
from commands.audit_show import show
from commands.requests import History, Show
from storage import gate
from storage.audit_text import audit_text
from storage.canonical import leaf_hash
from storage.database import Database, sqlite_url
from storage.models import Lock, LockKind, Target
from storage.phases import Phase
from storage.unit_of_work import Store
from tests.desk_rig import APP, WIDE, asker, broken, facts
from tests.rows import audit_rows, deployments, messages
from tests.slack.api_rig import DEPLOY, IMAGE, RECORD, Api, generous, serve, without


@pytest.fixture
async def api(tmp_path: Path, sqlite_template: Path) -> AsyncIterator[Api]:
    """The API on SQLite: most of it is the same on any database."""
    database = Database(sqlite_url(Path(shutil.copy(sqlite_template, tmp_path / "api.db"))))
    made = serve(Store(database))
    async with made.client:
        yield made
    database.close()


@pytest.fixture
async def both(store: Store) -> AsyncIterator[Api]:
    """The API on SQLite, and on Postgres: for what is asked of the database."""
    made = serve(store)
    async with made.client:
        yield made


def actions(api: Api) -> list[str]:
    return [row.action for row in audit_rows(api.store) if not row.action.startswith("token:")]


def reads(api: Api) -> list[tuple[str, dict[str, object]]]:
    """Who has read what, as the record has it."""
    rows = [row for row in audit_rows(api.store) if row.action == "audit:read"]
    return [(row.actor, json.loads(row.details)) for row in rows]


# ---------------------------------------------------------------- records


async def test_a_deployment_record_is_recorded_and_stands_in_the_history(both: Api) -> None:
    answer = await both.post("records", RECORD, both.token("records", name="cd"))
    assert answer.status_code == 201
    row = audit_rows(both.store)[-1]
    said = answer.json()
    assert {key: said[key] for key in RECORD} == RECORD
    assert (said["seq"], said["id"], said["leaf"], said["toldBy"]) == (row.seq, row.deployment_id, row.leaf, "api:cd")
    assert said["notes"] == []
    assert (row.action, row.actor, row.environment) == ("record:deployment", "api:cd", "production")
    assert row.leaf == leaf_hash(audit_text(row))
    details = json.loads(row.details)
    assert (details["commit"], details["deployer"]) == (RECORD["gitCommit"], "jenkins")
    assert (details["status"], details["phase"]) == ("SUCCESS", "succeeded")
    shown = history(both.store, both.knows, asker(), History(environment="production"))
    assert any("record:deployment" in one.text and "api:cd" in one.text for one in shown.rows), shown.rows


async def test_a_body_is_read_whatever_its_content_type_says(api: Api) -> None:
    token = api.token("records")
    for kind in ("application/x-www-form-urlencoded", "application/json", "text/plain", "nonsense"):
        answer = await api.post("records", RECORD, token, Content_Type=kind)
        assert answer.status_code == 201, answer.text


async def test_the_same_record_again_answers_the_same_and_is_recorded_once(both: Api) -> None:
    token = both.token("records")
    shuffled = dict(reversed(RECORD.items())) | {"gitCommit": str(RECORD["gitCommit"]).upper()}
    answers = [await both.post("records", body, token) for body in (RECORD, RECORD, shuffled)]
    assert [one.status_code for one in answers] == [201] * 3
    assert len({one.text for one in answers}) == 1
    assert actions(both) == ["record:deployment"]


async def test_another_token_or_another_word_is_another_record(api: Api) -> None:
    first, second = api.token("records", name="one"), api.token("records", name="two")
    await api.post("records", RECORD, first)
    await api.post("records", RECORD, second)
    await api.post("records", RECORD | {"status": "FAILURE"}, first)
    assert actions(api) == ["record:deployment"] * 3


async def test_an_idempotency_key_stands_for_its_record_and_for_no_other(api: Api) -> None:
    token = api.token("records")
    first = await api.post("records", RECORD, token, Idempotency_Key="build-412")
    again = await api.post("records", RECORD, token, Idempotency_Key="build-412")
    assert first.text == again.text
    other = await api.post("records", RECORD, token, Idempotency_Key="build-413")
    assert other.json()["id"] != first.json()["id"]
    reused = await api.post("records", RECORD | {"status": "FAILURE"}, token, Idempotency_Key="build-412")
    assert (reused.status_code, reused.json()["error"]["code"]) == (409, "already_requested")
    assert actions(api) == ["record:deployment", "record:deployment", "record:refuse"]


async def test_every_fault_of_a_record_is_told_at_once_field_by_field(api: Api) -> None:
    bad = {"gitCommit": "not hex", "status": 200, "buildUrl": "https://user:hunter2@jenkins/1", "deployer": "a\u202eb"}
    answer = await api.post("records", bad, api.token("records"))
    assert answer.status_code == 422
    error = answer.json()["error"]
    assert error["code"] == "invalid"
    said = {one["field"]: one["what"] for one in error["fields"]}
    assert set(said) == {"timestamp", "environment", "gitCommit", "status", "buildUrl", "deployer"}
    assert said["timestamp"].startswith("It is missing")
    assert "hexadecimal" in said["gitCommit"]
    assert "in quotes" in said["status"]
    assert "U+202E" in said["deployer"]
    assert "hunter2" not in answer.text
    (row,) = [row for row in audit_rows(api.store) if row.action == "record:refuse"]
    assert row.reason_code == "bad_usage"
    assert "hunter2" not in row.details


TIMES = (
    "2026-01-15T10:30:00Z",
    "2026-01-15T11:30:00+01:00",
    "2026-01-15 10:30:00+0000",
    "20260115T103000Z",
    1768473000,
    1768473000.0,
)


async def test_a_time_is_understood_as_pipelines_write_it(api: Api) -> None:
    token = api.token("records")
    for sent in TIMES:
        answer = await api.post("records", RECORD | {"timestamp": sent}, token)
        assert answer.json()["timestamp"] == "2026-01-15T10:30:00Z", (sent, answer.text)


async def test_a_time_that_could_be_another_is_refused(api: Api) -> None:
    token = api.token("records")
    wrong: list[object] = ["2026-01-15T10:30:00", "yesterday", "", None, True, 1768473000123, 1.5, []]
    wrong += ["0001-01-01T00:01:00+01:00", "9999-12-31T23:59:59-10:00", "0999-06-01T00:00:00Z"]
    for sent in wrong:
        answer = await api.post("records", RECORD | {"timestamp": sent}, token)
        assert [one["field"] for one in answer.json()["error"]["fields"]] == ["timestamp"], sent


async def test_what_may_be_left_out_may_be_empty_null_or_absent(api: Api) -> None:
    token = api.token("records")
    optional = ("gitBranch", "buildUrl", "approvalNote")
    bare = without(RECORD, *optional)
    for body in (bare, bare | dict.fromkeys(optional, ""), bare | dict.fromkeys(optional)):
        assert (await api.post("records", body, token)).status_code == 201
    assert actions(api) == ["record:deployment"], "they say the same"


async def test_fields_that_are_none_of_ours_are_left_out_and_told(api: Api) -> None:
    answer = await api.post("records", RECORD | {"gitCommmit": "x", "cluster": {"a": [1]}}, api.token("records"))
    assert answer.status_code == 201
    assert answer.json()["notes"] == ["`gitCommmit`, `cluster` are no fields of this and were left out."]
    assert "cluster" not in audit_rows(api.store)[-1].details


async def test_names_that_nobody_knows_are_recorded_with_a_note(api: Api) -> None:
    body = RECORD | {"environment": "prod", "app": "my-aplication", "version": "1.4.2"}
    answer = await api.post("records", body, api.token("records"))
    assert answer.status_code == 201
    app, environment = answer.json()["notes"]
    assert "Did you mean `my-application`?" in app
    assert "Did you mean `production`?" in environment
    assert audit_rows(api.store)[-1].environment == "prod"


async def test_an_alias_is_recorded_as_its_app(api: Api) -> None:
    api.knows = facts(WIDE)
    answer = await api.post("records", RECORD | {"app": "website"}, api.token("records"))
    assert answer.json()["app"] == "web"


async def test_a_note_of_several_lines_is_kept_on_one(api: Api) -> None:
    answer = await api.post("records", RECORD | {"approvalNote": "yes\r\nsaid\tRobin\n"}, api.token("records"))
    assert answer.json()["approvalNote"] == "yes  said Robin"


async def test_records_are_listed_by_app_environment_and_time_a_page_at_a_time(both: Api) -> None:
    token, reader = both.token("records"), both.token("read", name="reader")
    for number in range(5):
        place = "staging" if number % 2 else "production"
        await both.post("records", RECORD | {"environment": place, "app": APP, "status": f"s{number}"}, token)
    everything = (await both.get("records", reader)).json()
    assert [one["status"] for one in everything["records"]] == ["s4", "s3", "s2", "s1", "s0"]
    assert everything["before"] is None
    staging = (await both.get("records", reader, environment="staging", app=APP)).json()
    assert [one["status"] for one in staging["records"]] == ["s3", "s1"]
    assert (await both.get("records", reader, app="shop")).json()["records"] == []
    first = (await both.get("records", reader, limit=3)).json()
    rest = (await both.get("records", reader, limit=3, before=first["before"])).json()
    assert [one["status"] for one in (*first["records"], *rest["records"])] == ["s4", "s3", "s2", "s1", "s0"]
    assert rest["before"] is None
    middle = everything["records"][2]["at"]
    assert len((await both.get("records", reader, since=middle)).json()["records"]) == 3
    one = await both.get(f"records/{first['before']}", reader)
    assert one.json() == first["records"][-1]


async def test_a_row_of_something_else_is_no_record(api: Api) -> None:
    reader = api.token("read")
    answer = await api.get("records/1", reader)  # the token's own making
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")


async def test_a_pipeline_may_look_at_its_own_record_and_at_no_other(api: Api) -> None:
    mine, other = api.token("records", name="mine"), api.token("records", name="other")
    seq = (await api.post("records", RECORD, mine)).json()["seq"]
    assert (await api.get(f"records/{seq}", mine)).status_code == 200
    assert (await api.get(f"records/{seq}", other)).status_code == 403
    assert (await api.get("records/999", other)).status_code == 403, "nor what there is"
    assert (await api.get("records", mine)).status_code == 403


async def test_the_same_request_five_times_at_once_is_done_once(both: Api) -> None:
    token = both.token("records", "images", "deploy:staging")
    for path, body in SCOPES.items():
        calls = [both.post(path, body, token, Idempotency_Key="build-412") for _ in range(5)]
        answers = await asyncio.gather(*calls)
        assert len({one.text for one in answers}) == 1, path
        assert answers[0].status_code < 300
    assert len(deployments(both.store)) == 1
    assert sorted(actions(both)) == ["deployment:request", "record:deployment", "record:image"]


# ---------------------------------------------------------------- images


async def test_an_image_that_is_ready_has_one_card_with_a_button_for_each_place(both: Api) -> None:
    token = both.token("images")
    answers = [await both.post("images", IMAGE | {"commit": "abcdef0"}, token) for _ in range(3)]
    assert [one.status_code for one in answers] == [201] * 3
    assert len({one.text for one in answers}) == 1
    (note,) = messages(both.store)
    assert (note.target, note.channel) == (Target.CHANNEL, "C0DEPLOYMENTS")
    body = json.loads(note.body)
    buttons = body["blocks"][-1]["elements"]
    assert [one["text"]["text"] for one in buttons] == ["Deploy to staging", "Request production"]
    assert "1.4.2" in body["fallback"]
    assert "/deploy my-application 1.4.2 production" in body["fallback"], "a screen reader reads only that"
    assert actions(both) == ["record:image"]
    assert both.poked == 3


async def test_another_digest_of_the_same_tag_is_another_image(api: Api) -> None:
    token = api.token("images")
    for digest in ("a", "b"):
        await api.post("images", IMAGE | {"digest": f"sha256:{digest * 64}"}, token)
    assert len(messages(api.store)) == 2
    listed = (await api.get("images", api.token("read", name="reader"), app=APP)).json()["images"]
    assert [one["digest"][:8] for one in listed] == ["sha256:b", "sha256:a"]


async def test_an_image_that_no_app_has_is_refused_with_the_nearest(api: Api) -> None:
    answer = await api.post("images", IMAGE | {"image": "registry.company.com/my-aplication"}, api.token("images"))
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "unknown_app")
    assert "Did you mean `registry.company.com/my-application`?" in answer.json()["error"]["nextStep"]
    assert messages(api.store) == []
    assert actions(api) == ["record:refuse"]


async def test_the_same_image_by_its_short_name_is_the_same(api: Api) -> None:
    api.knows = facts(WIDE.replace("registry.company.com/web", "nginx"))
    answer = await api.post("images", IMAGE | {"image": "docker.io/library/nginx"}, api.token("images"))
    assert [one["app"] for one in answer.json()["images"]] == ["web"]
    buttons = json.loads(messages(api.store)[0].body)["blocks"][-1]["elements"]
    assert [one["text"]["text"] for one in buttons] == ["Deploy to dev"], "where it runs, and once"


async def test_apps_that_share_an_image_each_have_a_card(api: Api) -> None:
    api.knows = facts(WIDE.replace("registry.company.com/web", "registry.company.com/my-application"))
    answer = await api.post("images", IMAGE, api.token("images"))
    assert {one["app"] for one in answer.json()["images"]} == {"web", APP}
    assert len(messages(api.store)) == 2


# ---------------------------------------------------------------- deployments


async def test_automation_asks_for_a_deployment_and_follows_it(api: Api) -> None:
    token = api.token("deploy:staging", name="nightly")
    answer = await api.post("deployments", DEPLOY, token)
    assert answer.status_code == 202, answer.text
    (row,) = deployments(api.store)
    assert (row.requested_by, row.source, row.phase, row.reason) == ("api:nightly", "api", Phase.QUEUED, "nightly")
    assert answer.json()["id"] == row.id
    assert answer.headers["location"].endswith(f"/api/v1/deployments/{row.id}")
    assert api.poked == 1
    followed = (await api.get(f"deployments/{row.id}", token)).json()
    assert (followed["phase"], followed["ended"], followed["requestedBy"]) == ("queued", False, "api:nightly")
    assert followed["links"]["page"] == f"https://locktender.example.com/deployments/{row.id}"
    (audit,) = [one for one in audit_rows(api.store) if one.action == "deployment:request"]
    assert (audit.actor, json.loads(audit.details)["source"]) == ("api:nightly", "api")


REFUSALS = {
    "an environment outside of its scope": (DEPLOY | {"environment": "dev"}, 403, "not_permitted"),
    "an app that there is not": (DEPLOY | {"app": "my-aplication"}, 422, "unknown_app"),
    "an environment that there is not": (DEPLOY | {"environment": "stagin"}, 422, "unknown_environment"),
    "what git says already": (DEPLOY | {"version": "1.4.1"}, 409, "already_live"),
    "somebody who is nobody": (DEPLOY | {"requestedBy": "the boss"}, 422, "bad_usage"),
}


@pytest.mark.parametrize("name", REFUSALS)
async def test_a_refusal_has_its_code_its_next_step_and_its_row(api: Api, name: str) -> None:
    body, status, code = REFUSALS[name]
    api.knows = facts(images={"staging": "1.4.1"})
    answer = await api.post("deployments", body, api.token("deploy:staging"))
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (status, code), answer.text
    assert error["what"]
    assert error["nextStep"]
    assert deployments(api.store) == []
    row = audit_rows(api.store)[-1]
    assert (row.action, row.actor, row.reason_code) == ("deployment:refuse", "api:ci", code)


async def test_fields_of_a_deployment_are_checked_together(api: Api) -> None:
    answer = await api.post("deployments", {"version": "--upload-pack=x", "reason": " "}, api.token("deploy:staging"))
    assert {one["field"] for one in answer.json()["error"]["fields"]} == {"app", "version", "environment", "reason"}
    assert deployments(api.store) == []


async def test_a_scope_for_one_app_is_for_that_app_alone(api: Api) -> None:
    api.knows = facts(WIDE)
    token = api.token("deploy:dev:web")
    assert (await api.post("deployments", DEPLOY | {"environment": "dev", "app": "website"}, token)).status_code == 202
    assert (await api.post("deployments", DEPLOY | {"environment": "dev"}, token)).status_code == 403


async def test_an_environment_that_names_its_deployers_is_theirs_whatever_the_scope_says(api: Api) -> None:
    api.knows = facts(WIDE, groups={"S0RELEASE": frozenset({"U1"})})
    answer = await api.post("deployments", DEPLOY, api.token("deploy:staging"))
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "not_permitted")


async def test_production_goes_through_the_gate(both: Api) -> None:
    answer = await both.post("deployments", DEPLOY | {"environment": "production"}, both.token("deploy:production"))
    assert answer.status_code == 202, answer.text
    (row,) = deployments(both.store)
    assert row.phase == Phase.AWAITING_APPROVAL
    with both.store.read() as uow:
        change = gate.change_of(uow, row.change_id)
    assert change is not None
    assert (change.requested_by, change.required) == ("api:ci", 1)
    assert "/deploy cancel" in answer.json()["nextStep"]


async def test_production_is_closed_while_its_rules_are_in_doubt(api: Api) -> None:
    api.knows = broken(facts(images={}))
    answer = await api.post("deployments", DEPLOY | {"environment": "production"}, api.token("deploy:production"))
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "catalogue_invalid")


@pytest.mark.parametrize("who", ["U0ALICE", "alice@example.com", "github:alice"])
async def test_the_person_it_is_for_is_recorded_and_gets_no_right(api: Api, who: str) -> None:
    people = "people: {alice: {slack: [U0ALICE], github: [alice], emails: [alice@example.com]}}\n"
    api.knows = facts(f"{WIDE}{people}", images={}, groups={"S0RELEASE": frozenset({"U0ALICE"})})
    restricted = await api.post("deployments", DEPLOY | {"requestedBy": who}, api.token("deploy:staging"))
    assert restricted.status_code == 403, "a member's name opens nothing"
    asked = DEPLOY | {"environment": "production", "requestedBy": who}
    answer = await api.post("deployments", asked, api.token("deploy:production", name="prod"))
    assert answer.status_code == 202, answer.text
    (row,) = deployments(api.store)
    assert (row.on_behalf_of, row.requested_by) == (who, "api:prod")
    with api.store.read() as uow:
        change = gate.change_of(uow, row.change_id)
    assert change is not None
    assert (change.on_behalf_of, change.requested_by) == (who, "api:prod")
    (named,) = [one for one in audit_rows(api.store) if one.action == "deployment:on-behalf"]
    assert json.loads(named.details) == {"on_behalf_of": who, "person": "person:alice"}
    assert (await api.get(f"deployments/{row.id}", api.token("read", name="r"))).json()["onBehalfOf"] == who
    story = show(api.store, api.knows, asker(), Show((row.id,)))
    (told,) = [one for one in story.rows if "said for whom" in one.text]
    assert "`api:prod`" in told.text
    assert f"on_behalf_of `{who}`" in told.detail


async def test_a_person_whom_nobody_could_tell_from_an_approver_is_refused_for_production_alone(api: Api) -> None:
    token = api.token("deploy:production", "deploy:staging")
    body = DEPLOY | {"requestedBy": "mallory@example.com"}
    refused = await api.post("deployments", body | {"environment": "production"}, token)
    assert (refused.status_code, refused.json()["error"]["code"]) == (422, "unknown_person")
    assert (await api.post("deployments", body, token)).status_code == 202


def hold(store: Store, environment: str) -> str:
    with store.write() as uow:
        lock = Lock(kind=LockKind.HOLD, app=APP, environment=environment, owner="U0BOB", at=uow.now, team_id="T1")
        uow.session.add(lock)
        uow.session.flush()
        return lock.id


async def test_a_hold_refuses_automation_and_the_same_key_may_ask_again_when_it_is_lifted(both: Api) -> None:
    token = both.token("deploy:staging")
    name = hold(both.store, "staging")
    body = DEPLOY | {"idempotencyKey": "build-412"}
    refused = await both.post("deployments", body, token)
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "on_hold")
    assert "U0BOB rolled back" in refused.json()["error"]["what"]
    assert deployments(both.store) == []
    with both.store.write() as uow:
        lock = uow.session.get(Lock, name)
        assert lock is not None
        lock.lifted_at = uow.now
    assert (await both.post("deployments", body, token)).status_code == 202


async def test_what_was_refused_for_what_git_said_may_be_asked_again_under_its_key(api: Api) -> None:
    token = api.token("deploy:staging")
    api.knows = facts(images={"staging": "1.4.2"})
    for _ in range(2):
        refused = await api.post("deployments", DEPLOY, token, Idempotency_Key="b1")
        assert refused.json()["error"]["code"] == "already_live"
    api.knows = facts(images={"staging": "1.4.1"})
    assert (await api.post("deployments", DEPLOY, token, Idempotency_Key="b1")).status_code == 202


async def test_what_is_locked_waits(api: Api) -> None:
    with api.store.write() as uow:
        uow.session.add(Lock(kind=LockKind.LOCK, app=APP, environment="staging", owner="U0BOB", at=uow.now))
    answer = await api.post("deployments", DEPLOY, api.token("deploy:staging"))
    assert answer.status_code == 202
    assert "it waits" in answer.json()["what"]
    (row,) = deployments(api.store)
    assert (await api.get(f"deployments/{row.id}", api.token("read", name="r"))).json()["blocked"]


async def test_one_key_is_one_deployment_however_it_is_sent(api: Api) -> None:
    token = api.token("deploy:staging")
    first = await api.post("deployments", DEPLOY | {"idempotencyKey": "b1"}, token)
    second = await api.post("deployments", DEPLOY, token, Idempotency_Key="b1")
    assert first.json() == second.json()
    assert len(deployments(api.store)) == 1
    other = await api.post("deployments", DEPLOY | {"version": "1.4.3"}, token, Idempotency_Key="b1")
    assert (other.status_code, other.json()["error"]["code"]) == (409, "already_requested")
    apart = await api.post("deployments", DEPLOY | {"idempotencyKey": "b2"}, token, Idempotency_Key="b1")
    assert [one["field"] for one in apart.json()["error"]["fields"]] == ["idempotencyKey"]
    stranger = await api.post("deployments", DEPLOY, api.token("deploy:staging", name="x"), Idempotency_Key="b1")
    assert stranger.json()["error"]["code"] == "already_requested", "another token's key is another key"
    assert len(deployments(api.store)) == 1


async def test_deployments_are_listed_a_page_at_a_time(both: Api) -> None:
    token, reader = both.token("deploy:staging", "deploy:dev"), both.token("read", name="reader")
    for number in range(5):
        place = "staging" if number % 2 else "dev"
        body = DEPLOY | {"version": f"1.{number}", "environment": place}
        assert (await both.post("deployments", body, token)).status_code == 202
    page = (await both.get("deployments", reader, limit=2)).json()
    seen = [one["version"] for one in page["deployments"]]
    while page["before"]:
        page = (await both.get("deployments", reader, limit=2, before=page["before"])).json()
        seen += [one["version"] for one in page["deployments"]]
    assert seen == ["1.4", "1.3", "1.2", "1.1", "1.0"]
    mine = (await both.get("deployments", reader, environment="staging", phase="queued")).json()
    assert [one["version"] for one in mine["deployments"]] == ["1.3", "1.1"]
    assert (await both.get("deployments", reader, phase="running")).json()["deployments"] == []
    assert (await both.get("deployments", token)).status_code == 403


async def test_a_deployment_of_somebody_else_takes_the_scope_read(api: Api) -> None:
    one, other = api.token("deploy:staging", name="one"), api.token("deploy:staging", name="other")
    name = (await api.post("deployments", DEPLOY, one)).json()["id"]
    assert (await api.get(f"deployments/{name}", one)).status_code == 200
    assert (await api.get(f"deployments/{name}", other)).status_code == 403
    assert (await api.get("deployments/nothing99", api.token("read", name="r"))).status_code == 404


# ---------------------------------------------------------------- tokens at the door


async def test_nothing_is_answered_without_a_token(api: Api) -> None:
    values = ("", "Bearer", "Bearer x", f"Bearer lt_{'a' * 43}", "Basic dXNlcjpwYXNz", f"lt_{'a' * 43}")
    calls = [("GET", path) for path in ("records", "images", "deployments", "records/1", "deployments/x")]
    calls += [("POST", path) for path in ("records", "images", "deployments")]
    for value, (method, path) in itertools.product(values, calls):
        answer = await api.client.request(method, f"/api/v1/{path}", headers={"Authorization": value})
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "unauthorized"), (value, path)
        assert answer.headers["www-authenticate"] == "Bearer"


SCOPES = {"records": RECORD, "images": IMAGE, "deployments": DEPLOY}


@pytest.mark.parametrize("path", SCOPES)
async def test_a_token_does_what_its_scope_says_and_nothing_else(api: Api, path: str) -> None:
    mine = {"records": "records", "images": "images", "deployments": "deploy:staging"}
    for name, scope in (*mine.items(), ("read", "read")):
        token = api.token(scope, name=name)
        answer = await api.post(path, SCOPES[path], token)
        assert (answer.status_code != 403) == (name == path), (name, path, answer.text)
    refused = [row for row in audit_rows(api.store) if row.action.endswith(":refuse")]
    assert len(refused) == 3
    assert {row.reason_code for row in refused} == {"not_permitted"}


async def test_a_revoked_token_is_refused_at_its_next_request(api: Api) -> None:
    token = api.token("records")
    assert (await api.post("records", RECORD, token)).status_code == 201
    tokens.revoke(api.store, "cli:root", "ci")
    answer = await api.post("records", RECORD, token)
    assert answer.status_code == 401
    assert "was revoked" in answer.json()["error"]["what"]


async def test_a_refused_token_is_recorded_once_a_minute_for_each_address(api: Api) -> None:
    store = api.store
    api = serve(store, replace(generous(), rows=Buckets(1, 1)))
    async with api.client:
        for _ in range(5):
            await api.get("records", f"lt_{'a' * 43}")
    (row,) = audit_rows(store)
    assert (row.action, row.reason_code) == ("token:refuse", "not_permitted")
    assert json.loads(row.details) == {"address": "127.0.0.1", "why": "unknown"}


async def test_a_token_that_calls_too_often_is_told_when_to_come_again(api: Api) -> None:
    api = serve(api.store, Limits())
    async with api.client:
        busy, calm = api.token("read", name="busy"), api.token("read", name="calm")
        answers = [await api.get("records", busy) for _ in range(30)]
        assert [one.status_code for one in answers[:20]] == [200] * 20
        late = next(one for one in answers if one.status_code == 429)
        assert late.json()["error"]["code"] == "rate_limited"
        assert int(late.headers["retry-after"]) >= 1
        assert (await api.get("records", calm)).status_code == 200


async def test_an_address_that_guesses_is_slowed_down_and_good_tokens_from_there_are_not(api: Api) -> None:
    api = serve(api.store, Limits())
    async with api.client:
        token = api.token("read")
        codes = [(await api.get("records", f"lt_{'a' * 43}")).status_code for _ in range(30)]
        assert codes[:20] == [401] * 20
        assert 429 in codes
        assert (await api.get("records", token)).status_code == 200


# ---------------------------------------------------------------- bodies and errors


BODIES = {
    "nothing": (b"", 400, "not_json"),
    "a form": (b"status=SUCCESS&environment=production", 400, "not_json"),
    "a list": (b"[]", 400, "not_json"),
    "a word": (b'"hello"', 400, "not_json"),
    "half of it": (b'{"status": "SUC', 400, "not_json"),
    "not a number": (b'{"timestamp": NaN}', 400, "not_json"),
    "deep": (b'{"a":' + b"[" * 30_000, 400, "not_json"),
    "a number of 5,000 digits": (b'{"timestamp": ' + b"9" * 5000 + b"}", 400, "not_json"),
    "no UTF-8": (b'{"deployer": "\xff"}', 400, "not_json"),
    "too much": (b'{"deployer": "' + b"x" * 65_536 + b'"}', 413, "too_large"),
}


@pytest.mark.parametrize("path", SCOPES)
async def test_a_body_that_is_no_object_is_refused_in_words(api: Api, path: str) -> None:
    token = api.token("records", "images", "deploy:staging")
    for name, (body, status, code) in BODIES.items():
        answer = await api.post(path, body, token)
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), name
        assert answer.json()["error"]["nextStep"]
    assert deployments(api.store) == []


async def test_a_body_that_only_claims_to_be_large_is_refused_unread(api: Api) -> None:
    answer = await api.post("records", RECORD, api.token("records"), Content_Length="99999999")
    assert answer.status_code == 413


async def test_a_byte_order_mark_is_no_fault(api: Api) -> None:
    body = b"\xef\xbb\xbf" + json.dumps(RECORD).encode()
    assert (await api.post("records", body, api.token("records"))).status_code == 201


HOSTILE = ["\0", "\ud800", "\u202e", "x" * 5000, 1, 1.5, {}, [], True, "<!channel>", "`rm`"]


async def test_whatever_a_field_holds_is_recorded_or_refused_and_never_breaks(api: Api) -> None:
    token = api.token("records")
    for field, value in itertools.product(RECORD, HOSTILE):
        answer = await api.post("records", RECORD | {field: value}, token)
        assert answer.status_code in {201, 422}, (field, value, answer.text)
        if answer.status_code == 422:
            assert [one["field"] for one in answer.json()["error"]["fields"]] == [field]


async def test_what_is_not_there_is_told_in_the_same_shape(api: Api) -> None:
    calls = (("GET", "nothing", 404), ("GET", "a%0Ab/c", 404), ("DELETE", "records", 405), ("POST", "records/1", 405))
    for method, path, status in calls:
        answer = await api.client.request(method, f"/api/v1/{path}")
        assert answer.status_code == status
        assert set(answer.json()["error"]) == {"code", "what", "nextStep"}


BAD_FILTERS = ("limit=0", "limit=201", "before=-1", "before=x", "since=yesterday", "app=%00", "environment=%E2%80%AE")


async def test_a_bad_filter_is_told_by_its_name(api: Api) -> None:
    headers = {"Authorization": f"Bearer {api.token('read')}"}
    for query in BAD_FILTERS:
        answer = await api.client.get(f"/api/v1/records?{query}", headers=headers)
        assert answer.status_code == 422, answer.text
        assert [one["field"] for one in answer.json()["error"]["fields"]] == [query.partition("=")[0]]


async def test_a_time_whose_plus_sign_was_not_encoded_is_understood(api: Api) -> None:
    headers = {"Authorization": f"Bearer {api.token('read')}"}
    answer = await api.client.get("/api/v1/records?since=2026-01-15T10:30:00+00:00", headers=headers)
    assert answer.status_code == 200, answer.text


async def test_a_fault_of_ours_is_told_with_an_id_and_without_its_inside(api: Api) -> None:
    token = api.token("records", "read")
    with api.store.write() as uow:
        uow.session.connection().exec_driver_sql("ALTER TABLE audit RENAME TO away")
    for call in (api.get("records", token), api.post("records", RECORD, token)):
        with capture_logs() as logs:
            answer = await call
        assert answer.status_code in {500, 503}
        assert set(answer.json()["error"]) == {"code", "what", "nextStep"}
        (told,) = [one for one in logs if one["event"] == "api.defect"]
        assert told["error_id"] in answer.text
        for inside in ("Traceback", "audit", "sqlalchemy", "SELECT"):
            assert inside not in answer.text


async def test_answers_are_kept_by_nobody(api: Api) -> None:
    answer = await api.get("records", api.token("read"))
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"


# ---------------------------------------------------------------- the description


async def test_the_description_needs_no_token_no_script_and_nothing_from_elsewhere(api: Api) -> None:
    page = await api.client.get("/api/docs")
    assert page.status_code == 200
    assert "default-src 'none'" in page.headers["content-security-policy"]
    for word in ("<script", "http://", "cdn", "style="):
        assert word not in page.text.replace("http://www.w3.org", "")
    for path in ("/api/v1/records", "/api/v1/images", "/api/v1/deployments", "gitCommit", "requestedBy"):
        assert path in page.text
    assert (await api.client.get("/api/docs.css")).headers["content-type"].startswith("text/css")
    described = (await api.client.get("/api/openapi.json")).json()
    assert set(described["paths"]) == {
        "/v1/records", "/v1/records/{seq}", "/v1/images", "/v1/deployments", "/v1/deployments/{id}",
    }  # fmt: skip
    for operations in described["paths"].values():
        for operation in operations.values():
            assert operation["security"] == [{"token": []}]


async def test_an_old_snapshot_does_not_matter_to_a_record(api: Api) -> None:
    api.knows = replace(facts(), snapshot_age=timedelta(days=3))
    assert (await api.post("records", RECORD, api.token("records"))).status_code == 201


# ---------------------------------------------------------------- reading is recorded


async def test_whatever_takes_the_scope_read_is_recorded_with_its_filters(both: Api) -> None:
    reader = both.token("read", name="reader")
    name = (await both.post("deployments", DEPLOY, both.token("deploy:staging"))).json()["id"]
    await both.get("records", reader, environment="production", since="2026-01-15T10:30:00+01:00")
    await both.get("images", reader, app=APP)
    await both.get("deployments", reader, phase="queued")
    await both.get(f"deployments/{name}", reader)
    await both.get("records/7", reader)
    assert {actor for actor, _ in reads(both)} == {"api:reader"}
    assert [details for _, details in reads(both)] == [
        {
            "what": "records",
            "filters": {"env": "production", "since": "2026-01-15T09:30:00+00:00"},
            "source": "api",
        },
        {"what": "images", "filters": {"app": APP}, "source": "api"},
        {"what": "deployments", "filters": {"phase": "queued"}, "source": "api"},
        {"what": "deployment", "filters": {"id": name}, "source": "api"},
        {"what": "record", "filters": {"seq": "7"}, "source": "api"},
    ]


async def test_a_program_that_asks_all_day_is_recorded_once_an_hour_for_each_question(
    tmp_path: Path, sqlite_template: Path
) -> None:
    now = datetime(2026, 3, 1, 12, 5, tzinfo=UTC)
    database = Database(sqlite_url(Path(shutil.copy(sqlite_template, tmp_path / "api.db"))))
    made = serve(Store(database, lambda: now))
    async with made.client:
        reader, other = made.token("read", name="reader"), made.token("read", name="other")
        for before in range(5):
            await made.get("records", reader, before=before)
        assert len(reads(made)) == 1, "the same question, page by page"
        await made.get("records", reader, environment="staging")
        await made.get("records", other)
        assert [actor for actor, _ in reads(made)] == ["api:reader", "api:reader", "api:other"]
        now += timedelta(hours=1)
        await made.get("records", reader)
        await made.get("records", reader)
    assert len(reads(made)) == 4
    database.close()


async def test_the_same_question_five_times_at_once_is_one_row(both: Api) -> None:
    reader = both.token("read", name="reader")
    answers = await asyncio.gather(*(both.get("deployments", reader) for _ in range(5)))
    assert {answer.status_code for answer in answers} == {200}
    assert len(reads(both)) == 1


async def test_looking_at_what_one_has_asked_for_or_told_oneself_is_no_reading(api: Api) -> None:
    token = api.token("deploy:staging", "records")
    name = (await api.post("deployments", DEPLOY, token)).json()["id"]
    seq = (await api.post("records", RECORD, token)).json()["seq"]
    assert (await api.get(f"deployments/{name}", token)).status_code == 200
    assert (await api.get(f"records/{seq}", token)).status_code == 200
    assert reads(api) == []


async def test_what_is_refused_has_not_been_read(api: Api) -> None:
    assert (await api.get("records", api.token("records"))).status_code == 403
    assert actions(api) == ["read:refuse"]
