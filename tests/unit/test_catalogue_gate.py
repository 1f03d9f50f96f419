"""Checks what the catalogue says about the production gate: approvals, break-glass, lockers, freezes, verification,
people, and the version of the rules.

Leaves out what is wrong with a file (`test_catalogue_gate_faults.py`) and when a freeze holds (`test_freezes.py`).
"""

from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest

from commands.catalogue import (
    Accept,
    Approval,
    BreakGlass,
    Catalogue,
    Comment,
    FreezeWindow,
    KnownPerson,
    OnFailure,
    Verify,
)
from commands.freezes import Allowed, Once, Weekday, Weekly
from tests.unit.test_catalogue import MINIMAL, catalogue

GATE = """\
promotion: [staging, production]
environments:
  staging:
    deployers: [developers]
    verify: {soak: 1m}
  production:
    change: pull-request
    approval:
      from: [managers, leads]
      required: 2
      expires_after: 8h
      accept: both
      comment: required
      rollback_required: 2
    deployers: [developers, managers]
    break_glass: {from: [on-call], review_within: 12h}
    verify: {url: "https://{app}.{environment}.example.com/healthz?full=1", status: 204, soak: 5m, timeout: 90s}
    on_failure: rollback
apps:
  web: {image: registry.company.com/web}
  api:
    image: registry.company.com/api
    verify: {url: "http://api.{environment}.svc:8080/ready"}
  batch: {image: registry.company.com/batch, verify: none}
groups:
  developers: {slack: S0DEVS}
  managers: {members: [U0ANN, U0BOB]}
  leads: {github: Example/Leads}
  on-call: {slack: S0ONCALL}
people:
  Ann: {slack: [U0ANN, U0ANN2], github: [Ann, ann-work], emails: [Ann@example.com, ann@example.org]}
  Bob: {slack: U0BOB, github: Bob, emails: bob@example.com}
freezes:
  - name: year-end
    environments: [production]
    timezone: Europe/Berlin
    from: 2026-12-20T18:00
    until: "2027-01-04 08:00"
    reason: Christmas trade
  - {name: weekend, environments: all, apps: [web], timezone: UTC, every: [fri, sat], from: 16:00, until: mon 08:00}
  - {name: night, environments: [staging], timezone: UTC, every: [tue], from: "22:00", until: 06:00, allow: []}
channels: {deployments: C0DEPLOYMENTS}
"""


def changed(old: str, new: str) -> Catalogue:
    """The catalogue with one thing replaced, which must be there."""
    assert GATE.count(old) == 1, old
    return catalogue(GATE.replace(old, new))


@pytest.fixture(scope="module")
def gate() -> Catalogue:
    return catalogue(GATE)


@pytest.fixture(scope="module")
def minimal() -> Catalogue:
    return catalogue(MINIMAL)


def test_an_approval_has_every_rule_that_is_written(gate: Catalogue) -> None:
    assert gate.environments["production"].approval == Approval(
        ("managers", "leads"), 2, timedelta(hours=8), Accept.BOTH, Comment.REQUIRED, rollback_required=2
    )


def test_an_approval_is_given_in_slack_without_a_comment_and_one_is_enough_for_a_rollback(minimal: Catalogue) -> None:
    approval = minimal.environments["production"].approval
    assert approval is not None
    assert (approval.accept, approval.comment, approval.rollback_required) == (Accept.SLACK, Comment.OPTIONAL, 1)


def test_nobody_may_break_glass_unless_the_file_says_who(gate: Catalogue, minimal: Catalogue) -> None:
    assert gate.environments["production"].break_glass == BreakGlass(("on-call",), timedelta(hours=12))
    assert minimal.environments["production"].break_glass is None
    usual = changed("{from: [on-call], review_within: 12h}", "{from: [on-call]}")
    assert usual.environments["production"].break_glass == BreakGlass(("on-call",), timedelta(hours=24))


def test_whoever_may_deploy_or_approve_may_lock_unless_the_file_says_who(gate: Catalogue, minimal: Catalogue) -> None:
    assert gate.may_lock_groups("production") == ("developers", "managers", "leads")
    assert gate.may_lock_groups("staging") == ("developers",)
    assert minimal.may_lock_groups("production") == ("everyone",)
    said = changed("    on_failure: rollback\n", "    lockers: [on-call]\n")
    assert said.may_lock_groups("production") == ("on-call",)


def test_nobody_may_lock_what_is_not_known(gate: Catalogue) -> None:
    assert gate.may_lock_groups("no-such-place") == ()


def test_an_apps_own_verification_is_used_whole_and_may_be_none(gate: Catalogue) -> None:
    web, api, batch = gate.apps.values()
    staging, production = gate.environments.values()
    url = "https://web.production.example.com/healthz?full=1"
    assert gate.verify(web, production) == Verify(url, 204, timedelta(minutes=5), timedelta(seconds=90))
    assert gate.verify(web, staging) == Verify(soak=timedelta(minutes=1))
    assert gate.verify(api, production) == Verify("http://api.production.svc:8080/ready")
    assert gate.verify(batch, production) is None


def test_nothing_is_verified_and_a_rollback_is_offered_unless_the_file_says_otherwise(
    gate: Catalogue, minimal: Catalogue
) -> None:
    assert minimal.verify(minimal.apps["my-application"], minimal.environments["production"]) is None
    assert minimal.environments["production"].on_failure is OnFailure.OFFER
    assert gate.environments["production"].on_failure is OnFailure.ROLLBACK
    assert Verify(url="x") == Verify("x", None, timedelta(0), timedelta(minutes=2))


def test_freezes_are_read_as_they_are_written(gate: Catalogue) -> None:
    year_end, weekend, night = gate.freeze_windows
    moments = Once(datetime(2026, 12, 20, 18), datetime(2027, 1, 4, 8))  # noqa: DTZ001 - local by design
    berlin, utc = ZoneInfo("Europe/Berlin"), ZoneInfo("UTC")
    assert year_end == FreezeWindow("year-end", ("production",), moments, berlin, reason="Christmas trade")
    weekly = Weekly((Weekday.FRI, Weekday.SAT), time(16), time(8), Weekday.MON)
    assert weekend == FreezeWindow("weekend", ("staging", "production"), weekly, utc, apps=("web",))
    assert night == FreezeWindow("night", ("staging",), Weekly((Weekday.TUE,), time(22), time(6)), utc, allow=())
    assert year_end.allow == (Allowed.ROLLBACK,)


def test_the_freezes_of_an_app_are_asked_of_the_catalogue(gate: Catalogue) -> None:
    at = datetime(2026, 12, 26, 12, tzinfo=UTC)
    assert [freeze.name for freeze in gate.freezes("web", "production", at)] == ["year-end", "weekend"]
    assert [freeze.name for freeze in gate.freezes("api", "production", at)] == ["year-end"]
    assert gate.freezes("api", "staging", at) == ()


@pytest.mark.parametrize("freezes", ["freezes:\n", "freezes: []\n", ""])
def test_a_file_may_have_no_freezes(freezes: str) -> None:
    assert catalogue(MINIMAL + freezes).freeze_windows == ()


def test_a_person_may_have_several_accounts_and_is_found_by_each(gate: Catalogue) -> None:
    ann, bob = gate.people.values()
    emails = ("ann@example.com", "ann@example.org")
    assert ann == KnownPerson("Ann", ("U0ANN", "U0ANN2"), ("ann", "ann-work"), emails)
    assert bob == KnownPerson("Bob", ("U0BOB",), ("bob",), ("bob@example.com",))
    assert gate.person_of_slack("U0ANN") is gate.person_of_slack("U0ANN2") is ann
    assert gate.person_of_login("ANN-work") is ann
    assert gate.person_of_email("ANN@Example.org") is ann


def test_nobody_is_found_by_what_nobody_has(gate: Catalogue) -> None:
    assert gate.person_of_slack("U0NOBODY") is None
    assert gate.person_of_slack("u0ann") is None
    assert gate.person_of_login("nobody") is None
    assert gate.person_of_email("") is None


def test_the_gates_settings_are_explained(gate: Catalogue) -> None:
    lines = gate.explain()
    assert (
        "environments.production.approval: 2 of managers, leads (2 for a rollback), in Slack or on GitHub, within 8h, "
        "comment required, never the requester or an author"
    ) in lines
    assert "environments.production.break_glass: on-call, reviewed by a second person within 12h" in lines
    assert "environments.production.lockers: developers, managers, leads" in lines
    assert (
        "environments.production.verify: https://{app}.{environment}.example.com/healthz?full=1 answers with "
        "status 204 within 90s, then no restarts for 5m"
    ) in lines
    assert "environments.staging.verify: no restarts for 1m" in lines
    assert (
        "apps.api.verify: http://api.{environment}.svc:8080/ready answers with any status from 200 to 299 within 2m"
        in lines
    )
    assert "apps.batch.verify: none, a finished rollout is enough" in lines
    assert "people: 2 known by more than a Slack id" in lines
    assert (
        "freezes.year-end: production, every app: 2026-12-20 18:00 until 2027-01-04 08:00 Europe/Berlin, rollbacks pass"
    ) in lines
    assert (
        "freezes.weekend: staging, production, only web: every fri, sat 16:00 until mon 08:00 UTC, rollbacks pass"
    ) in lines
    assert "freezes.night: staging, every app: every tue 22:00 until 06:00 UTC, nothing passes" in lines


REORDERED = """\
# The same rules, written by someone else.
channels: {deployments: C0DEPLOYMENTS}
people:
  Robert: {emails: [bob@example.com], github: [bob], slack: [U0BOB]}
  Ann: {emails: [ann@example.org, ann@example.com], github: [ANN-WORK, ann], slack: [U0ANN2, U0ANN]}
groups:
  on-call: {slack: S0ONCALL}
  leads: {github: example/leads}
  managers: {members: [U0BOB, U0ANN]}
  developers: {slack: S0DEVS}
apps:
  web: {image: registry.company.com/other}
environments:
  production:
    namespace: live
    timeout: {build: 1h}
    approval: {rollback_required: 2, comment: required, accept: both, expires_after: 480m, required: 2,
               from: [leads, managers]}
    change: pull-request
    break_glass: {review_within: 720m, from: [on-call]}
    deployers: [managers, developers]
  staging: {deployers: [developers], change: commit}
"""


def test_the_rules_version_is_the_same_for_the_same_rules_written_otherwise(gate: Catalogue) -> None:
    other = catalogue(REORDERED)
    assert other.policy_version("production") == gate.policy_version("production")
    assert other.policy_version() == gate.policy_version()
    assert len(gate.policy_version()) == len(gate.policy_version("production")) == 64


def test_the_rules_version_of_a_file_never_changes_by_itself(gate: Catalogue) -> None:
    # Approvals that are open while the program is upgraded are bound to it.
    assert gate.policy_version("production") == ("d3e339780008eac26b2b7c447a84c263ec59ffcefebdd5971a6a2ac756cadedb")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("required: 2\n      expires", "required: 3\n      expires"),
        ("rollback_required: 2", "rollback_required: 1"),
        ("expires_after: 8h", "expires_after: 4h"),
        ("accept: both", "accept: slack"),
        ("comment: required", "comment: optional"),
        ("from: [managers, leads]", "from: [managers]"),
        ("deployers: [developers, managers]", "deployers: [developers]"),
        ("break_glass: {from: [on-call], review_within: 12h}", "break_glass: {from: [managers], review_within: 12h}"),
        ("break_glass: {from: [on-call], review_within: 12h}", "break_glass: {from: [on-call], review_within: 13h}"),
        ("    break_glass: {from: [on-call], review_within: 12h}\n", ""),
        ("members: [U0ANN, U0BOB]", "members: [U0ANN, U0BOB, U0EVE]"),
        ("slack: S0ONCALL", "slack: S0OTHERS"),
        ("github: Example/Leads", "github: example/owners"),
        ("slack: [U0ANN, U0ANN2]", "slack: [U0ANN]"),
        ("github: Bob", "github: eve"),
        ("emails: bob@example.com", "emails: eve@example.com"),
    ],
)
def test_the_rules_version_changes_with_every_rule(gate: Catalogue, old: str, new: str) -> None:
    other = changed(old, new)
    assert other.policy_version("production") != gate.policy_version("production")
    assert other.policy_version() != gate.policy_version()


def test_moving_an_identity_to_another_person_changes_the_rules_version(gate: Catalogue) -> None:
    other = changed("slack: [U0ANN, U0ANN2]", "slack: U0ANN")
    moved = catalogue(
        GATE.replace("slack: [U0ANN, U0ANN2]", "slack: U0ANN").replace("slack: U0BOB", "slack: [U0BOB, U0ANN2]")
    )
    assert len({one.policy_version("production") for one in (gate, other, moved)}) == 3


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("    on_failure: rollback\n", ""),
        ("    on_failure: rollback\n", "    lockers: [on-call]\n"),
        ("until: mon 08:00", "until: mon 09:00"),
        ("    verify: {soak: 1m}\n", "    approval: {from: [on-call]}\n    change: pull-request\n"),
        ("deployers: [developers]\n    verify", "deployers: everyone\n    verify"),
    ],
)
def test_freezes_and_the_rules_of_other_environments_leave_the_rules_version_alone(
    gate: Catalogue, old: str, new: str
) -> None:
    assert changed(old, new).policy_version("production") == gate.policy_version("production")


def test_the_rules_version_of_all_follows_each_environment(gate: Catalogue) -> None:
    other = changed("deployers: [developers]\n    verify", "deployers: everyone\n    verify")
    assert other.policy_version("staging") != gate.policy_version("staging")
    assert other.policy_version() != gate.policy_version()


def test_an_environment_that_is_not_known_has_no_rules_version(gate: Catalogue) -> None:
    with pytest.raises(KeyError):
        gate.policy_version("no-such-place")


def test_a_copy_of_the_catalogue_has_people_and_rules_of_its_own(gate: Catalogue) -> None:
    assert gate.person_of_slack("U0ANN") is not None
    alone = replace(gate, people={})
    assert alone.person_of_slack("U0ANN") is None
    assert alone.policy_version("production") != gate.policy_version("production")
