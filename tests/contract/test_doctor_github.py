"""Checks what `locktender doctor` says of GitHub: too few rights, too many, and a branch that is not protected.

Run against the stand-in, whose answers are held to GitHub's description elsewhere. Leaves out what else `doctor` looks
at, and letting those pass whom a rule spares, which the stand-in tells of and does not do.
"""

from collections.abc import Iterator
from typing import Any, Self

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from bot import doctor_github
from bot.doctor_finding import Finding, Verdict
from bot.integrations.github.wants import OURS
from bot.sandbox.github import BOT, App, Role, Rules
from bot.sandbox.github_model import RuleSource
from bot.sandbox.server import Fault, Misbehaviour
from bot.settings import Settings, load
from commands.catalogue import Catalogue
from commands.catalogue_reader import read
from tests.contract.github_rig import REPOSITORY, TOKEN, GitHubRig

APP = 77
FITTING = (
    ("metadata", "read"),
    ("contents", "write"),
    ("pull_requests", "write"),
    ("statuses", "write"),
    ("checks", "read"),
)
WHOLE = Rules(1, checks=(OURS,), dismiss_stale=True, last_push=True, source=RuleSource.RULESET, checks_from=APP)
PRODUCTION = """
  production:
    change: pull-request
    approval: {from: [leads]}
"""
YAML = """
promotion: [%s]
environments:
%s
apps: {web: {image: registry.example/web}}
groups: {leads: {members: [U0LEAD1, U0LEAD2]}}
channels: {deployments: C0DEPLOYMENTS}
"""


def catalogue(*names: str) -> Catalogue:
    """These environments; production is reviewed, the others are committed to."""
    parts = "".join(PRODUCTION if name == "production" else f"  {name}: {{}}\n" for name in names)
    known = read((YAML % (", ".join(names), parts)).encode())
    assert isinstance(known, Catalogue), known
    return known


class DoctorRig(GitHubRig):
    """With an App that may do what it must, and doctor's findings."""

    def __enter__(self) -> Self:
        super().__enter__()
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.key_file = self.root / "app.pem"
        self.key_file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        self.public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        self.install(FITTING)
        return self

    def install(self, permissions: tuple[tuple[str, str], ...]) -> None:
        self.github.install(App(APP, self.public, permissions=permissions))

    def settings(self, **variables: str) -> Settings:
        app = {"GITHUB_APP_ID": str(APP), "GITHUB_APP_PRIVATE_KEY_FILE": str(self.key_file)}
        common = {
            "SLACK_BOT_TOKEN": "xoxb-1",
            "SLACK_APP_TOKEN": "xapp-1",
            "INFRA_REPO_URL": self.url,
            "GITHUB_REPOSITORY": REPOSITORY,
            "GITHUB_API_URL": self.url,
        }
        return load({**common, **(app if "GITHUB_TOKEN" not in variables else {}), **variables})

    def look(self, *environments: str, **variables: str) -> list[Finding]:
        known = catalogue(*(environments or ("production",)))
        return list(doctor_github.look(self.settings(**variables), known))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DoctorRig]:
    with DoctorRig(tmp_path_factory.mktemp("doctor")) as rig:
        yield rig


@pytest.fixture
def rig(made: DoctorRig) -> DoctorRig:
    """The one rig, as it was in the beginning."""
    made.install(FITTING)
    made.github.user(BOT, role=Role.WRITE)
    made.github.token(TOKEN, BOT)
    made.github.unprotect()
    for name in ("merge", "squash", "rebase"):
        setattr(made.github.settings, name, True)
    made.github.state.settings.graphql = True
    return made


def words(findings: list[Finding], verdict: Verdict) -> str:
    """What was found with this verdict, one line each."""
    return "\n".join(f"{one.what} → {one.next_step}" for one in findings if one.verdict is verdict)


# ---------------------------------------------------------------- all is well


def test_an_app_with_just_its_rights_and_a_ruleset_without_holes_is_all_well(rig: DoctorRig) -> None:
    rig.github.protect(WHOLE)
    found = rig.look(GITHUB_WEBHOOK_SECRET="s" * 20)
    assert words(found, Verdict.BAD) == ""
    # Who may bypass a ruleset is shown to administrators only, and the bot is none.
    assert words(found, Verdict.WARNING).startswith("The bot's rights do not show who may bypass the rules (it should")
    assert len([one for one in found if one.verdict is Verdict.WARNING]) == 1
    said = words(found, Verdict.GOOD)
    for word in ("GitHub App as locktender[bot]", "merge commits", "pull requests only", "from the bot alone", "stale"):
        assert word in said
    assert "webhooks are taken" in said


def test_without_a_secret_it_says_how_often_pull_requests_are_looked_at(rig: DoctorRig) -> None:
    assert "looked at every 15 seconds" in words(rig.look(), Verdict.GOOD)


def test_nothing_is_said_of_a_code_host_that_nobody_needs(rig: DoctorRig) -> None:
    settings = load({"SLACK_BOT_TOKEN": "xoxb-1", "SLACK_APP_TOKEN": "xapp-1", "INFRA_REPO_URL": rig.url})
    assert list(doctor_github.look(settings, catalogue("staging"))) == []
    needed = list(doctor_github.look(settings, catalogue("staging", "production")))
    assert "production: changed by pull requests, and no code host" in words(needed, Verdict.BAD)


# ---------------------------------------------------------------- rights


def test_an_app_that_lacks_a_permission_is_told_which(rig: DoctorRig) -> None:
    rig.install((("metadata", "read"), ("contents", "write"), ("pull_requests", "read")))
    said = words(rig.look(), Verdict.BAD)
    assert "may not read commit statuses" in said
    assert "lacks pull_requests: write and statuses: write" in said


def test_an_app_that_may_do_more_is_warned_of(rig: DoctorRig) -> None:
    rig.github.protect(WHOLE)
    rig.install((*FITTING, ("administration", "write"), ("workflows", "write"), ("secrets", "read")))
    found = rig.look()
    said = words(found, Verdict.WARNING)
    assert "may administer the repository" in said
    assert "does not need: secrets: read, workflows: write." in said
    assert words(found, Verdict.BAD) == ""


def test_a_classic_token_is_named_for_what_it_is(rig: DoctorRig) -> None:
    rig.github.token(TOKEN, BOT, scopes=("repo", "admin:org", "workflow"))
    said = words(rig.look(GITHUB_TOKEN=TOKEN), Verdict.WARNING)
    assert f"reaches every repository of {BOT}" in said
    assert "does not need: admin:org, workflow." in said


def test_a_fine_grained_token_is_not_taken_for_a_classic_one(rig: DoctorRig) -> None:
    rig.github.token(TOKEN, BOT, scopes=())
    found = rig.look(GITHUB_TOKEN=TOKEN)
    assert "classic" not in words(found, Verdict.WARNING)
    assert "does not tell what this token may write" in words(found, Verdict.GOOD)


def test_a_user_who_may_only_read_is_bad_and_one_who_administers_is_warned_of(rig: DoctorRig) -> None:
    rig.github.user(BOT, role=Role.READ)
    assert "can neither commit nor merge" in words(rig.look(GITHUB_TOKEN=TOKEN), Verdict.BAD)
    rig.github.user(BOT, role=Role.ADMIN)
    assert "may administer the repository" in words(rig.look(GITHUB_TOKEN=TOKEN), Verdict.WARNING)


def test_a_wrong_token_and_a_missing_installation_are_bad_and_say_no_secret(rig: DoctorRig) -> None:
    found = rig.look(GITHUB_TOKEN="ghp_wrongcanary99")
    assert "does not accept the credentials" in words(found, Verdict.BAD)
    assert "wrongcanary" not in str(found)


def test_github_that_does_not_answer_is_bad_and_nothing_is_guessed(rig: DoctorRig) -> None:
    rig.github.faults.add(Fault("GET", "/repos/.*", Misbehaviour.REFUSE, times=20))
    try:
        found = rig.look(GITHUB_TOKEN=TOKEN)
    finally:
        rig.github.faults.clear()
    assert "could not be asked" in words(found, Verdict.BAD)
    assert "push to `main`" not in str(found)


@pytest.mark.parametrize(
    ("allowed", "verdict", "said"),
    [
        (("squash",), Verdict.GOOD, "merges are by squash"),
        ((), Verdict.BAD, "allows no way to merge"),
    ],
)
def test_ways_to_merge_are_told(rig: DoctorRig, allowed: tuple[str, ...], verdict: Verdict, said: str) -> None:
    for name in ("merge", "squash", "rebase"):
        setattr(rig.github.settings, name, name in allowed)
    assert said in words(rig.look(GITHUB_TOKEN=TOKEN), verdict)


# ---------------------------------------------------------------- the branch


def test_a_branch_that_anyone_may_push_to_is_bad(rig: DoctorRig) -> None:
    said = words(rig.look("staging", "production"), Verdict.BAD)
    assert "Anyone who may write can push to `main`, and so change production without an approval." in said
    assert "Let the bot's GitHub App pass, for its commits to staging." in said
    assert f"without `{OURS}`" in said


def test_nothing_is_asked_of_a_branch_without_reviewed_environments(rig: DoctorRig) -> None:
    assert words(rig.look("staging"), Verdict.BAD) == ""


HOLES: list[tuple[dict[str, Any], Verdict, str]] = [
    ({"checks": ()}, Verdict.BAD, f"merges into `main` without `{OURS}`"),
    ({"checks_from": None}, Verdict.WARNING, "required, but from anyone"),
    ({"checks_from": 99}, Verdict.BAD, "from another GitHub App (99)"),
    ({"dismiss_stale": False}, Verdict.WARNING, "Reviews stay when a pull request"),
    ({"last_push": False}, Verdict.WARNING, "Whoever pushes last"),
    ({"bypass": ("locktender[bot]",)}, Verdict.WARNING, "The bot may push to `main` past the rules"),
]


@pytest.mark.parametrize(("hole", "verdict", "said"), HOLES, ids=[said for *_, said in HOLES])
def test_each_hole_in_a_ruleset_is_found(rig: DoctorRig, hole: dict[str, Any], verdict: Verdict, said: str) -> None:
    parts = {name: getattr(WHOLE, name) for name in Rules.__dataclass_fields__}
    rig.github.protect(Rules(**{**parts, **hole}))
    found = rig.look()
    assert said in words(found, verdict)
    assert len([one for one in found if one.verdict is not Verdict.GOOD]) == 2  # this, and what may not be seen


def test_environments_that_are_committed_to_need_the_bot_to_pass(rig: DoctorRig) -> None:
    rig.github.protect(WHOLE)
    assert "staging: committed to directly, and `main` refuses" in words(rig.look("staging", "production"), Verdict.BAD)


def test_a_bot_that_passes_for_such_environments_is_told_what_that_costs(rig: DoctorRig) -> None:
    parts = {name: getattr(WHOLE, name) for name in Rules.__dataclass_fields__}
    rig.github.protect(Rules(**{**parts, "bypass": ("locktender[bot]",)}))
    found = rig.look("staging", "production")
    assert "That is what commits to staging take." in words(found, Verdict.WARNING)
    assert words(found, Verdict.BAD) == ""


def test_a_classic_protection_shows_the_bot_less_and_that_is_said(rig: DoctorRig) -> None:
    rig.github.protect(Rules(1, checks=(OURS,), dismiss_stale=True, last_push=True, checks_from=APP))
    found = rig.look()
    assert words(found, Verdict.BAD) == ""
    assert "pull requests only" in words(found, Verdict.GOOD)
    assert "from the bot alone" in words(found, Verdict.GOOD)
    assert "do not show whether stale reviews are dismissed" in words(found, Verdict.WARNING)


def test_behind_a_gateway_without_graphql_a_classic_protection_is_unknown_not_missing(rig: DoctorRig) -> None:
    rig.github.protect(Rules(1, checks=(OURS,), checks_from=APP))
    rig.github.state.settings.graphql = False
    found = rig.look()
    assert "Anyone who may write" not in words(found, Verdict.BAD)
    assert "do not show whether only pull requests change the branch" in words(found, Verdict.WARNING)


def test_an_administrator_sees_who_may_bypass(rig: DoctorRig) -> None:
    rig.github.user(BOT, role=Role.ADMIN)
    rig.github.protect(Rules(1, checks=(OURS,), bypass=("mallory", BOT), enforce_admins=False))
    found = rig.look(GITHUB_TOKEN=TOKEN)
    assert "do not hold for mallory and administrators" in words(found, Verdict.WARNING)
    assert "Reviews stay" in words(found, Verdict.WARNING)


def test_what_doctor_asks_changes_nothing(rig: DoctorRig) -> None:
    before = len(rig.github.calls)
    rig.look()
    asked = {(method, path) for method, path, _ in rig.github.calls[before:] if method != "GET"}
    assert all(path.endswith(("/access_tokens", "/graphql")) for _, path in asked)
