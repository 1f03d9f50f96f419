"""The environment: every fault at once, defaults, and that no secret is ever repeated."""

import os
from pathlib import Path

import pytest

from bot.settings import Settings, SettingsError, forget_secrets, load

CANARY = "canary-1f3a"
GOOD = {
    "SLACK_BOT_TOKEN": f"xoxb-{CANARY}",
    "SLACK_APP_TOKEN": f"xapp-{CANARY}",
    "INFRA_REPO_URL": "https://git.example.com/acme/infra.git",
}
SECRETS = {
    **GOOD,
    "SLACK_SIGNING_SECRET": CANARY,
    "GITHUB_TOKEN": CANARY,
    "JENKINS_URL": "http://jenkins.internal:8080/",
    "JENKINS_USER": "deployer",
    "JENKINS_TOKEN": CANARY,
    "REGISTRY_PASSWORD": CANARY,
    "DATABASE_URL": f"postgresql://me:{CANARY}@db/locktender",
    "INFRA_REPO_URL": f"https://me:{CANARY}@git.example.com/acme/infra.git",
}


def faults(environment: dict[str, str]) -> dict[str, str]:
    with pytest.raises(SettingsError) as caught:
        load(environment)
    assert CANARY not in str(caught.value)
    assert caught.value.__cause__ is None
    return {one.variable: one.what for one in caught.value.faults}


def test_three_variables_are_enough(tmp_path: Path) -> None:
    settings = load({**GOOD, "LOCKTENDER_HOME": str(tmp_path)})
    assert settings.socket_mode
    assert settings.infra_repo_branch == "main"
    assert settings.database == f"sqlite:///{tmp_path}/locktender.db"
    assert (settings.host, settings.port, settings.capacity) == ("127.0.0.1", 3000, 20)
    assert settings.slack_api_url == "https://slack.com/api/"


def test_a_signing_secret_alone_means_http() -> None:
    environment = {**GOOD, "SLACK_SIGNING_SECRET": "s"}
    del environment["SLACK_APP_TOKEN"]
    assert not load(environment).socket_mode


def test_everything_that_is_wrong_is_said_at_once() -> None:
    found = faults(
        {
            "SLACK_BOT_TOKEN": CANARY,
            "SLACK_API_URL": "https://slack.com/",
            "INFRA_REPO_BRANCH": "--upload-pack=x",
            "JENKINS_URL": f"http://me:{CANARY}@jenkins",
            "DATABASE_URL": f"mysql://me:{CANARY}@db/x",
            "KUBECONFIG": "/no/such/file",
            "LOCKTENDER_PORT": "70000",
            "LOCKTENDER_CAPACITY": "many",
            "LOCKTENDER_LOG_LEVEL": "loud",
            "LOCKTENDER_POLL_SECONDS": "nan",
        }
    )
    assert set(found) == {
        "SLACK_BOT_TOKEN", "SLACK_API_URL", "INFRA_REPO_URL", "INFRA_REPO_BRANCH", "JENKINS_URL", "DATABASE_URL",
        "KUBECONFIG", "LOCKTENDER_PORT", "LOCKTENDER_CAPACITY", "LOCKTENDER_LOG_LEVEL", "LOCKTENDER_POLL_SECONDS",
        "SLACK_APP_TOKEN", "JENKINS_USER", "JENKINS_TOKEN",
    }  # fmt: skip
    assert found["INFRA_REPO_URL"] == "it is not set, and there is no default"


@pytest.mark.parametrize(
    ("variable", "value", "hint"),
    [
        ("SLACK_BOT_TOKEN", f"xoxp-{CANARY}", "starts with xoxb-"),
        ("SLACK_APP_TOKEN", CANARY, "starts with xapp-"),
        ("SLACK_API_URL", "http://slack.example.com/api/", "https"),
        ("INFRA_REPO_URL", f"http://me:{CANARY}@git.example.com/x", "https"),
        ("INFRA_REPO_URL", "ext::sh -c id", "https://, ssh:// or file://"),
        ("INFRA_REPO_URL", f"https://me:{CANARY}@/x", "cannot be read"),
        ("INFRA_REPO_BRANCH", "a..b", "not a branch name"),
        ("JENKINS_URL", "jenkins:8080", "http or https"),
        ("REGISTRY_URL", "http://registry.example.com", "https"),
        ("GITHUB_API_URL", f"https://x:{CANARY}@api.github.com", "user or a password"),
        ("DATABASE_URL", CANARY, "postgresql://"),
        ("JENKINS_CA_FILE", "/no/such/file", "no file"),
    ],
)
def test_a_bad_value_is_refused_with_what_would_be_right(variable: str, value: str, hint: str) -> None:
    environment = {**GOOD, "JENKINS_USER": "u", "JENKINS_TOKEN": "t", variable: value}
    assert hint in faults(environment)[variable]


@pytest.mark.parametrize(
    "url",
    ["git@github.com:acme/infra.git", "ssh://git@host/acme/infra", "file:///srv/infra.git", "http://127.0.0.1:80/x"],
)
def test_every_way_to_reach_a_repository_is_taken(url: str) -> None:
    assert load({**GOOD, "INFRA_REPO_URL": url}).infra_repo_url == url


def test_neither_slack_mode_is_a_fault() -> None:
    assert "SLACK_SIGNING_SECRET" in faults({**GOOD, "SLACK_APP_TOKEN": ""})["SLACK_APP_TOKEN"]


def test_an_empty_variable_is_one_that_is_not_set() -> None:
    assert load({**GOOD, "LOCKTENDER_PORT": "", "JENKINS_URL": " "}).port == 3000


def test_the_line_break_at_the_end_of_a_secret_file_is_not_part_of_the_secret() -> None:
    settings = load({**GOOD, "SLACK_BOT_TOKEN": "xoxb-1\n"})
    assert settings.slack_bot_token.get_secret_value() == "xoxb-1"


def test_secrets_are_in_no_representation() -> None:
    settings = load(SECRETS)
    for text in (repr(settings), str(settings)):
        assert CANARY not in text
    assert settings.jenkins_token.get_secret_value() == CANARY


def test_settings_do_not_change() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load(GOOD).port = 1  # type: ignore[misc]  # that it cannot be set is what is tested


def test_a_dotenv_file_beside_the_program_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_text("LOCKTENDER_PORT=4000\n")
    monkeypatch.chdir(tmp_path)
    assert load(GOOD).port == 3000


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process's own environment, with every setting in it."""
    for field in Settings.model_fields.values():
        monkeypatch.delenv(str(field.alias), raising=False)
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("environment")
def test_secrets_are_taken_out_of_the_environment_and_nothing_else_is() -> None:
    settings = load()
    forget_secrets()
    assert not [name for name, value in os.environ.items() if CANARY in value]
    assert os.environ["JENKINS_USER"] == "deployer"
    assert settings.github_token.get_secret_value() == CANARY
