"""`/audit show`, `export`, `report` and `verify` as use cases: what they answer, record, refuse, and to whom.

The history is in test_history, files in test_audit_files, numbers in test_dora, words in tests/slack/test_parse_audit.
"""

import json
from datetime import UTC, datetime

import pytest

from bot.slack.answers import answer_message
from commands.audit import history
from commands.audit_export import export, verify
from commands.audit_policy import exporters, is_reader
from commands.audit_report import bars, report
from commands.audit_show import show
from commands.endings import Ending, end
from commands.facts import CatalogueInForce, Facts
from commands.reasons import ReasonCode
from commands.records import DeploymentRecord, record_deployment
from commands.requests import Answer, Export, ExportForm, History, Report, Show, Verify
from commands.tokens import Bearer, Right, Scope
from storage import claims, exports
from storage.audit_index import catch_up
from storage.models import Change, ChangeState
from storage.newcomers import NewDeployment
from storage.phases import Phase
from storage.unit_of_work import AuditEntry, Store
from tests.desk_rig import ALICE, APP, BOB, MINIMAL, asker, check_refusal, check_words, facts, last_audit, requested
from tests.rows import audit_rows
from tests.slack.message_rules import broken_rules

APPROVER = "U0PLATFORM1"
AUDITED = MINIMAL + "audit: {readers: [platform-team], exporters: [release-managers]}\n"
REVIEWED = facts(images={"staging": "1.4.1"})


def checked(answer: Answer) -> Answer:
    check_words(answer)
    assert broken_rules(answer_message(answer)) == []
    return answer


def ended(store: Store, deployment_id: str, phase: Phase = Phase.SUCCEEDED) -> None:
    """As a delivery would have left it."""
    with store.write() as uow:
        row = uow.deployment(deployment_id)
        assert row is not None
        row.to(Phase.RUNNING)
        row.started_at = row.committed_at = uow.now
        claims.begin_attempt(uow, row, "test")
        row.commit_sha, row.build_url = "abc1234" + "0" * 33, "https://jenkins.example/job/infra-deploy/12/"
        end(uow, row, Ending(phase, ReasonCode.LIVE, "It runs."))


# ---------------------------------------------------------------- show


def test_a_story_is_told_from_the_request_to_the_end(store: Store) -> None:
    mine = requested(store, facts())
    requested(store, facts(), "9.9.9", "dev")
    ended(store, mine)
    answer = checked(show(store, facts(), asker(BOB), Show((mine,))))
    head, asked, finished = answer.rows
    assert f"`{APP}` `1.4.2` to `staging`: succeeded (live), commit `abc123400000`" in head.text
    assert head.url == "https://jenkins.example/job/infra-deploy/12/"
    assert ALICE in asked.text
    assert "asked for it" in asked.text
    assert "ended it" in finished.text
    assert "commit `abc123400000`" in finished.detail
    row = last_audit(store)
    assert (row.action, row.actor, row.deployment_id) == ("audit:show", BOB, mine)


def test_the_beginning_of_an_id_is_enough_and_looking_is_not_part_of_the_story(store: Store) -> None:
    mine = requested(store, facts())
    first = show(store, facts(), asker(), Show((mine[:6].upper(),)))
    again = show(store, facts(), asker(), Show((mine,)))
    assert first.rows == again.rows


def test_a_change_tells_who_approved_which_content(store: Store) -> None:
    mine = requested(store, REVIEWED, "1.4.2", "production")
    with store.write() as uow:
        change = uow.session.get(Change, mine)
        assert change is not None
        change.state, change.content, change.pr_number = ChangeState.OPEN, "f" * 64, 7
        change.pr_url = "https://github.example/company/infra/pull/7"
        details = {
            "content": "f" * 64,
            "head": "e" * 40,
            "pull_request": change.pr_url,
            "comment": "looks <!channel> good",
        }
        uow.audit(
            AuditEntry("change:approve", "github:bob", environment="production", deployment_id=mine, details=details)
        )
    rows = checked(show(store, REVIEWED, asker(), Show((mine,)))).rows
    assert any(row.text.startswith("Pull request #7: open, content `ffffffffffffffff`") for row in rows)
    approved = next(row for row in rows if "approved it" in row.text)
    assert "`github:bob`" in approved.text
    assert "content `ffffffffffffffff`" in approved.detail
    assert approved.url.endswith("/pull/7")
    assert any("opened it for review" in row.text for row in rows)


def test_what_a_pipeline_reported_of_its_commit_belongs_to_the_story(store: Store) -> None:
    mine = requested(store, facts())
    ended(store, mine)
    pipeline = Bearer("1", "cd", (Scope(Right.RECORDS),))
    for commit in ("abc1234" + "0" * 33, "d" * 40):
        said = DeploymentRecord(
            datetime(2026, 3, 1, 12, tzinfo=UTC),
            "production",
            commit,
            "jenkins",
            "SUCCESS",
            approval_note="CAB-12",
            build_url="https://ci.example/7/",
        )
        record_deployment(store, facts(), pipeline, said)
    reported = [row for row in show(store, facts(), asker(), Show((mine,))).rows if "reported a deployment" in row.text]
    assert len(reported) == 1
    assert {"deployer `jenkins`", "status `SUCCESS`", "CAB-12"} <= set(reported[0].detail.split(" · "))
    assert reported[0].url == "https://ci.example/7/"
    assert "`api:cd`" in reported[0].text


def test_a_story_that_is_too_long_keeps_its_beginning_and_its_end(store: Store) -> None:
    mine = requested(store, facts())
    with store.write() as uow:
        for number in range(80):
            uow.audit(AuditEntry("deployment:rollout", deployment_id=mine, details={"what": f"look {number} " * 20}))
    rows = checked(show(store, facts(), asker(), Show((mine,)))).rows
    assert "asked for it" in rows[1].text
    assert any(row.text == "… 47 more" for row in rows)
    assert "look 79" in rows[-1].detail


@pytest.mark.parametrize("words", [("0000000000",), ("x`y",), (), ("a", "b"), ("%",), ("_" * 10,)])
def test_an_id_that_names_nothing_is_refused(store: Store, words: tuple[str, ...]) -> None:
    answer = show(store, facts(), asker(), Show(words))
    check_refusal(store, answer, ReasonCode.UNKNOWN_DEPLOYMENT)


def test_two_that_begin_alike_are_both_named(store: Store) -> None:
    ids = ("abcdefgh12", "abcdefgh34")
    with store.write() as uow:
        for mine in ids:
            uow.add(
                NewDeployment(id=mine, app=APP, environment="dev", version="1", team_id="T1", requested_by=ALICE), ""
            )
    answer = show(store, facts(), asker(), Show(("abcdef",)))
    assert answer.reason is ReasonCode.UNKNOWN_DEPLOYMENT
    assert all(f"`{mine}`" in answer.next_step for mine in ids)


# ---------------------------------------------------------------- who may


def test_readers_are_everyone_until_the_catalogue_says_otherwise(store: Store) -> None:
    assert history(store, facts(), asker(), History()).reason is ReasonCode.ANSWERED
    closed = facts(AUDITED, groups={"S0RELEASE": frozenset({BOB})})
    for answer in (
        history(store, closed, asker(), History()),
        show(store, closed, asker(), Show(("x",))),
        report(store, closed, asker(), Report()),
        verify(store, closed, asker(), Verify()),
    ):
        assert answer.reason is ReasonCode.NOT_PERMITTED
        assert last_audit(store).action.endswith(":refuse")
    assert history(store, closed, asker(APPROVER), History()).reason is ReasonCode.ANSWERED
    assert is_reader(closed, asker(APPROVER))
    assert not is_reader(closed, asker())
    assert not is_reader(closed, asker(APPROVER, team="T2"))


def test_without_a_catalogue_the_workspace_reads_and_nobody_exports(store: Store) -> None:
    bare = Facts(CatalogueInForce(), team_id="T1")
    assert history(store, bare, asker(), History()).reason is ReasonCode.ANSWERED
    assert export(store, bare, asker(), Export(ExportForm.CSV)).reason is ReasonCode.CATALOGUE_MISSING


def test_exporters_are_the_approvers_until_the_catalogue_says_otherwise(store: Store) -> None:
    assert exporters(facts()) == ("release-managers", "platform-team")
    refused = export(store, facts(groups={"S0RELEASE": frozenset()}), asker(), Export(ExportForm.CSV))
    check_refusal(store, refused, ReasonCode.NOT_PERMITTED)
    assert exports.lease(store) is None
    assert export(store, facts(), asker(APPROVER), Export(ExportForm.CSV)).reason is ReasonCode.ACCEPTED


def test_a_group_that_cannot_be_read_lets_nobody_export(store: Store) -> None:
    answer = export(store, facts(), asker(), Export(ExportForm.JSONL))
    check_refusal(store, answer, ReasonCode.GROUP_UNREADABLE)


# ---------------------------------------------------------------- orders


def test_an_export_is_ordered_once_and_recorded_with_its_filters(store: Store) -> None:
    request = Export(ExportForm.JSONL, History(app="web", since="30d", words="slow"))
    for _ in range(2):  # Slack delivers it twice
        answer = checked(export(store, facts(), asker(APPROVER, key="trigger:once"), request))
    assert "`app:web since:30d slow`" in answer.what
    (row,) = audit_rows(store)
    assert (row.action, row.actor) == ("audit:export", APPROVER)
    assert json.loads(row.details)["filters"] == {"app": "web", "since": "30d", "words": "slow"}
    job = exports.lease(store)
    assert job is not None
    assert (job.form, job.user_id) == ("jsonl", APPROVER)
    assert exports.lease(store) is None


def test_an_export_of_a_time_that_is_none_is_refused_at_once(store: Store) -> None:
    answer = export(store, facts(), asker(APPROVER), Export(ExportForm.CSV, History(since="soon")))
    check_refusal(store, answer, ReasonCode.BAD_TIME)


def test_a_verification_is_ordered_and_recorded(store: Store) -> None:
    assert checked(verify(store, facts(), asker(), Verify())).reason is ReasonCode.ACCEPTED
    assert last_audit(store).action == "audit:verify"
    job = exports.lease(store)
    assert job is not None
    assert job.form == "verify"


# ---------------------------------------------------------------- report


def test_a_report_counts_what_the_database_has(store: Store) -> None:
    for version, phase in (("1.0", Phase.SUCCEEDED), ("1.1", Phase.FAILED), ("1.2", Phase.SUCCEEDED)):
        ended(store, requested(store, facts(), version), phase)
    ended(store, requested(store, facts(), "2.0", "dev"))
    mine = requested(store, REVIEWED, "1.4.2", "production")
    with store.write() as uow:
        uow.audit(AuditEntry("change:approved", environment="production", deployment_id=mine))
        row = uow.deployment(mine)
        assert row is not None
        row.to(Phase.QUEUED)
    ended(store, mine)
    catch_up(store)
    answer = checked(report(store, facts(), asker(), Report()))
    assert last_audit(store).action == "audit:report"
    told = {row.text.split(" ▁")[0]: row for row in answer.rows}
    assert "5 deployments" in told["Everything"].text
    assert "33% failed (1 of 3)" in told["All of `staging`"].text
    assert "approved after 0 seconds" in told[f"`{APP}` in `production`"].detail
    assert "approved after –" in told[f"`{APP}` in `dev`"].detail  # noqa: RUF001 - the dash where there is nothing
    one = report(store, facts(), asker(), Report(environment="dev"))
    assert "1 deployment," in one.rows[0].text


def test_a_report_of_nothing_says_so(store: Store) -> None:
    answer = checked(report(store, facts(), asker(), Report(app="no`such", since="7d")))
    assert "Nothing was deployed" in answer.what
    assert answer.next_step


def test_bars_are_as_high_as_their_counts() -> None:
    assert bars((0, 1, 4, 8)) == "▁▂▅█"
    assert bars((0, 0)) == "▁▁"
    assert bars(()) == ""
