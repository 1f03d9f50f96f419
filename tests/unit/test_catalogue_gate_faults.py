"""Checks that what is wrong with the production gate's settings is said: its line, what is there, what would be right.

Leaves out the rest of the file's faults (`test_catalogue_faults.py`) and what right settings mean
(`test_catalogue_gate.py`).
"""

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from commands.catalogue import Catalogue
from commands.catalogue_faults import Faults
from commands.catalogue_reader import read
from tests.unit.test_catalogue_faults import GOOD, TREES, changed, faults_of

FREEZE = """\
freezes:
  - name: year-end
    environments: [production]
    timezone: Europe/Berlin
    from: 2026-12-20T18:00
    until: 2027-01-04T08:00
"""
WEEKEND = """\
freezes:
  - name: weekend
    environments: [production]
    timezone: Europe/Berlin
    every: [fri]
    from: "16:00"
    until: mon 08:00
"""


def accepted(text: str) -> bool:
    return isinstance(read(text.encode()), Catalogue)


def one_fault(text: str, said: str) -> None:
    faults = faults_of(text)
    assert len(faults) == 1, faults
    assert said in faults[0]


def approval(rest: str) -> str:
    return changed("from: [managers]", f"from: [managers]\n      {rest}")


def production(rest: str) -> str:
    return changed("      from: [managers]\n", f"      from: [managers]\n    {rest}\n")


@pytest.mark.parametrize(
    ("rest", "said"),
    [
        (
            "accept: slak",
            ":8: environments.production.approval.accept: `slak` is not a choice here; did you mean `slack`?",
        ),
        ("comment: yes", "approval.comment: YAML reads `yes` as true or false"),
        ("comment: always", "`always` is not a choice here; write `optional` or `required`"),
        ("rollback_required: 0", "approval.rollback_required: `0` is not a number from 1 to 20"),
        (
            "rollback_required: 2",
            (
                ":8: environments.production.approval.rollback_required: 2 for a rollback are more than the 1 for "
                "every other change; write at most `1`"
            ),
        ),
    ],
)
def test_a_wrong_rule_of_an_approval_is_one_fault(rest: str, said: str) -> None:
    one_fault(approval(rest), said)


@pytest.mark.parametrize(
    ("rest", "said"),
    [
        (
            "break_glass: {}",
            ":8: environments.production.break_glass.from: is missing; write the groups that may break",
        ),
        (
            "break_glass: {from: [everyone]}",
            "break_glass.from: `everyone` cannot break glass; name the groups that may",
        ),
        ("break_glass: {from: [oncall]}", "break_glass.from[0]: there is no group `oncall`"),
        ("break_glass: {from: [managers], review_within: 24}", "review_within: `24` has no unit; write `24h`"),
        ("lockers: [everyone, managers]", "lockers: `everyone` makes the other groups meaningless"),
        ("lockers: [manager]", "lockers[0]: there is no group `manager`; did you mean `managers`?"),
        ("on_failure: rolback", "on_failure: `rolback` is not a choice here; did you mean `rollback`?"),
        ("verify: {}", "verify: says nothing to verify; write `url:"),
        ("verify: none", "verify: `none` is not a mapping"),
        ("verify: {status: 200}", "verify.status: belongs to an address; write `url` too"),
        ("verify: {soak: 1m, timeout: 1m}", "verify.timeout: belongs to an address"),
        ("verify: {url: 'https://a.io', status: 99}", "verify.status: `99` is not a number from 200 to 599"),
        ("verify: {soak: 25h}", "verify.soak: 25h would keep the next deployment waiting as long; write at most `24h`"),
        ("verify: {soak: 0s}", "verify.soak: `0s` is not a duration"),
        ("verify: {url: healthz}", "verify.url: this is not a plain address"),
        ("verify: {url: 'ftp://a.io/'}", "verify.url: this is not a plain address"),
        ("verify: {url: 'https://a.io/#top'}", "verify.url: this is not a plain address"),
        ("verify: {url: 'https://a.io/ b'}", "verify.url: this is not a plain address"),
        ("verify: {url: 'https://a_b.io/'}", "verify.url: this is not a plain address"),
        ("verify: {url: 'https://{ap}.io'}", "`{ap}` is not a placeholder; did you mean `{app}`?"),
        ("verify: {url: 'http://a.example.com/'}", "neither encrypted nor inside the cluster; write `https://…`"),
        ("verify: {url: 'http://10.0.0.1/'}", "verify.url: this address is neither encrypted nor inside the cluster"),
        ("verify: {url: 'http://169.254.169.254/x'}", "`169.254.169.254` is where clouds keep machines' secrets"),
        ("verify: {url: 'https://[fe80::1]/x'}", "`fe80::1` is where clouds keep machines' secrets"),
    ],
)
def test_a_wrong_setting_of_the_gate_is_one_fault(rest: str, said: str) -> None:
    one_fault(production(rest), said)


@pytest.mark.parametrize(
    "url",
    [
        "https://web.example.com",
        "https://{app}.{environment}.example.com:8443/healthz?deep=1",
        "http://web:8080/healthz",
        "http://{app}.{environment}.svc/healthz",
        "http://{app}.{environment}.svc.cluster.local/healthz",
        "http://web.corp.internal/healthz",
        "http://127.0.0.1:9999/healthz",
        "http://[::1]:9999/healthz",
    ],
)
def test_an_address_is_encrypted_or_inside(url: str) -> None:
    assert accepted(production(f"verify: {{url: '{url}'}}"))


def test_credentials_in_a_health_address_are_not_repeated() -> None:
    for url in ("https://robot:hunter2@a.io/", "http://a.example.com/?token=hunter2"):
        assert "hunter2" not in "\n".join(faults_of(production(f"verify: {{url: '{url}'}}")))


def test_an_apps_name_that_makes_a_host_impossible_is_noticed() -> None:
    text = production("verify: {url: 'https://x-{app}-{environment}.example.com'}")
    name = "w" * 60
    one_fault(
        text.replace("  web:\n", f"  {name}:\n"), f"apps.{name}: its health in production would be asked of `x-www"
    )


def test_a_pull_request_that_nobody_approves_is_a_fault() -> None:
    text = changed("    approval:\n      from: [managers]\n", "")
    one_fault(text, ":5: environments.production.change: a pull request that nobody has to approve is not a review")


def test_break_glass_without_an_approval_is_a_fault() -> None:
    text = changed("  staging: {}\n", "  staging: {break_glass: {from: [managers]}}\n")
    one_fault(text, ":3: environments.staging.break_glass: nothing has to be approved here")


ONLY_GITHUB = changed("{slack: S0MANAGERS}", "{github: company/managers}")
ONLY_MEMBERS = changed("{slack: S0MANAGERS}", "{members: [U0A, U0B]}")
BOTH = "people: {a: {slack: U0A, github: a}, b: {slack: U0B, github: b}}\n"


def with_rule(text: str, rule: str) -> str:
    return text.replace("from: [managers]", f"from: [managers]\n      {rule}")


def test_approvals_in_slack_of_a_group_that_is_on_github_only_can_never_come() -> None:
    said = ":6: environments.production.approval: approvals are taken from Slack only, and nobody in these groups is"
    one_fault(ONLY_GITHUB, said)
    one_fault(ONLY_GITHUB + "people: {a: {github: a}, b: {slack: U0B}}\n", said)


@pytest.mark.parametrize(
    "text", [with_rule(ONLY_GITHUB, "accept: github"), with_rule(ONLY_GITHUB, "accept: both"), ONLY_GITHUB + BOTH]
)
def test_a_group_on_github_can_approve_there_or_as_people_who_are_known_on_both(text: str) -> None:
    assert accepted(text)


def test_approvals_on_github_of_a_group_that_is_in_slack_only_can_never_come() -> None:
    text = with_rule(ONLY_MEMBERS, "accept: github")
    one_fault(text, ":8: environments.production.approval.accept: approvals are taken from GitHub only, and nobody")
    one_fault(text + "people: {c: {slack: U0C, github: c}}\n", "nobody in these groups is known there")
    assert accepted(text + BOTH)
    assert accepted(with_rule(ONLY_MEMBERS, "accept: both"))


def test_two_accounts_of_one_person_are_not_two_approvers() -> None:
    text = with_rule(ONLY_MEMBERS, "required: 2")
    assert accepted(text)
    said = "2 must approve and only 1 can; add members, or ask for fewer"
    one_fault(text + "people: {a: {slack: [U0A, U0B]}}\n", said)


def test_people_who_are_known_on_both_bound_how_many_can_approve() -> None:
    one_fault(with_rule(ONLY_GITHUB, "required: 3") + BOTH, "3 must approve and only 2 can")
    one_fault(with_rule(GOOD, "required: 3\n      accept: github") + BOTH, "3 must approve and only 2 can")


@pytest.mark.parametrize(
    ("people", "said"),
    [
        ("{a: {slack: [U0A, U0B]}, b: {slack: [U0C, U0B]}}", "people.b.slack[1]: `U0B` is `a` too, in line 15"),
        ("{a: {github: [x, X]}}", "people.a.github[1]: `x` is there twice: first in line 15; write it once"),
        ("{a: {github: X}, b: {github: [y, x]}}", "people.b.github[1]: `x` is `a` too"),
        ("{a: {slack: []}}", "people.a.slack: is an empty list"),
        ("{a: {slack: [alice]}}", "people.a.slack[0]: `alice` is not the id of a Slack user"),
        ("{a: {slack: {id: U0A}}}", "people.a.slack: is a mapping, not text"),
    ],
)
def test_a_wrong_identity_is_one_fault(people: str, said: str) -> None:
    one_fault(GOOD + f"people: {people}\n", said)


def test_an_identity_of_two_people_names_both_lines() -> None:
    text = GOOD + "people:\n  a:\n    slack: U0A\n  b:\n    slack:\n      - U0A\n"
    assert faults_of(text) == [
        "locktender.yaml:20: people.b.slack[0]: `U0A` is `a` too, in line 17; write it for one of them only"
    ]


def test_the_freezes_of_these_tests_are_good() -> None:
    assert accepted(GOOD + FREEZE)
    assert accepted(GOOD + WEEKEND)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("name: year-end", "reason: none", ":16: freezes[0].name: is missing; write one to know it by"),
        ("name: year-end", "name: Year End", "`Year End` cannot name a freeze"),
        (
            "    environments: [production]\n",
            "",
            "freezes[0].environments: is missing; write `environments: [production]`",
        ),
        ("[production]", "[prod]", "environments[0]: there is no environment `prod`; did you mean `production`?"),
        ("[production]", "[production, production]", "environments[1]: `production` is there twice"),
        ("[production]", "everything", "environments: `everything` is not a list"),
        ("    timezone: Europe/Berlin\n", "", "freezes[0].timezone: is missing; write whose clock is meant"),
        ("Europe/Berlin", "Berlin", "timezone: `Berlin` is not a time zone; did you mean `Europe/Berlin`?"),
        ("Europe/Berlin", "europe/berlin", "did you mean `Europe/Berlin`?"),
        ("Europe/Berlin", "../../etc/passwd", "`../../etc/passwd` is not a time zone"),
        ("Europe/Berlin", "Europe", "`Europe` is not a time zone"),
        ("Europe/Berlin", "localtime", "`localtime` is not a time zone"),
        ("    from: 2026-12-20T18:00\n", "", "freezes[0].from: is missing; write when it begins"),
        ("    until: 2027-01-04T08:00\n", "", "freezes[0].until: is missing; write when it ends, as in `until: 2027"),
        ("2027-01-04T08:00", "2026-12-20T18:00", ":20: freezes[0].until: this is not after `from`"),
        ("2027-01-04T08:00", "2026-01-04T08:00", "this is not after `from`, so the freeze would never hold"),
        ("2026-12-20T18:00", "2026-02-30T18:00", "from: `2026-02-30T18:00` is not in the calendar"),
        ("2026-12-20T18:00", "2026-12-20", "from: `2026-12-20` has no time of day; write `2026-12-20T00:00`"),
        ("2026-12-20T18:00", "2026-12-20T18:00+01:00", "has an offset; write the local time alone"),
        ("2026-12-20T18:00", "2026-12-20T18:00:00Z", "has an offset; write the local time alone"),
        ("2026-12-20T18:00", "2026-12-20T25:00", "`2026-12-20T25:00` is not a day and a time"),
        ("2026-12-20T18:00", "fri 16:00", "or `every: [fri]` for a window that comes back"),
        ("2026-12-20T18:00", "[1]", "from: is a list, not text"),
        ("    until", "    apps: [wep]\n    until", "apps[0]: there is no app `wep`; did you mean `web`?"),
        ("    until", "    apps: []\n    until", "apps: is an empty list"),
        ("    until", "    allow: [deploy]\n    until", "allow[0]: `deploy` is not a choice here; write `rollback`"),
        ("    until", "    allow: rollback\n    until", "allow: `rollback` is not a list"),
        ("    until", "    reason: " + "x" * 201 + "\n    until", "reason: has 201 characters; write at most 200"),
        ("    until", "    evry: [fri]\n    until", "freezes[0].evry: is not a setting; did you mean `every`?"),
    ],
)
def test_a_wrong_setting_of_a_single_freeze_is_one_fault(old: str, new: str, said: str) -> None:
    assert FREEZE.count(old) == 1, old
    one_fault(GOOD + FREEZE.replace(old, new), said)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("[fri]", "[friday]", "every[0]: `friday` is not a choice here; did you mean `fri`?"),
        ("[fri]", "[fri, fri]", "every[1]: `fri` is there twice"),
        ("[fri]", "[]", "every: is an empty list"),
        ("[fri]", "fri", "every: `fri` is not a list; write a list, as in `[fri]`"),
        ('"16:00"', "4pm", "from: `4pm` is not a time of day; write it as in `16:00`"),
        ('"16:00"', "9:00", "from: `9:00` is not a time of day; write `09:00`"),
        ('"16:00"', "fri 16:00", "is not a time of day; write it as in `16:00`; days are in `every`"),
        (
            "mon 08:00",
            "24:00",
            "until: `24:00` is not a time of the week; write `00:00`: a window that ends at midnight",
        ),
        ("mon 08:00", "monday 08:00", "until: `monday 08:00` is not a time of the week; write it as in `mon 08:00`"),
        ("mon 08:00", "mon 8:00", "until: `mon 8:00` is not a time of the week; write `08:00`"),
        ("mon 08:00", "fri 16:00", "until: these windows leave no minute of the week free"),
    ],
)
def test_a_wrong_setting_of_a_weekly_freeze_is_one_fault(old: str, new: str, said: str) -> None:
    assert WEEKEND.count(old) == 1, old
    one_fault(GOOD + WEEKEND.replace(old, new), said)


def test_two_freezes_of_one_name_are_a_fault_that_names_the_first() -> None:
    second = FREEZE.removeprefix("freezes:\n")
    one_fault(GOOD + FREEZE + second, ":21: freezes[1].name: `year-end` is there twice: first in line 16")


def test_freezes_are_a_list() -> None:
    one_fault(GOOD + "freezes: {year-end: {}}\n", ":15: freezes: a mapping is not a list")


def test_times_may_be_written_with_or_without_quotes_and_seconds() -> None:
    for old, new in (("2026-12-20T18:00", '"2026-12-20 18:00"'), ("2026-12-20T18:00", "2026-12-20T18:00:00")):
        assert accepted(GOOD + FREEZE.replace(old, new))
    assert accepted(GOOD + WEEKEND.replace('"16:00"', "16:00"))


SETTINGS = ["name", "environments", "apps", "timezone", "every", "from", "until", "allow", "reason"]
WORDS = st.sampled_from(
    [
        "fri",
        "[fri]",
        "16:00",
        "mon 08:00",
        "2026-12-20T18:00",
        "2026-12-20",
        "UTC",
        "all",
        "web",
        "[]",
        "{}",
        "9:99",
        "''",
    ]
)


@examples(deadline=None)  # the first look at the time zones reads their list from disk
@given(st.dictionaries(st.sampled_from(SETTINGS), WORDS | TREES))
def test_no_shape_of_freeze_raises(settings: dict[str, str]) -> None:
    pairs = ", ".join(f"{key}: {value}" for key, value in settings.items())
    found = read((GOOD + f"freezes: [{{{pairs}}}]\n").encode(errors="replace"))
    assert isinstance(found, Catalogue | Faults)


@examples(deadline=None)
@given(
    st.sampled_from(["approval", "break_glass", "lockers", "verify", "on_failure"]),
    st.dictionaries(st.sampled_from(["from", "url", "status", "soak", "accept"]), WORDS | TREES).map(
        lambda pairs: "{" + ", ".join(f"{key}: {value}" for key, value in pairs.items()) + "}"
    )
    | TREES,
)
def test_no_shape_of_rule_raises(setting: str, value: str) -> None:
    found = read(changed("  staging: {}", f"  staging: {{{setting}: {value}}}").encode(errors="replace"))
    assert isinstance(found, Catalogue | Faults)
