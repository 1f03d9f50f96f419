"""The only reader of the environment. Every fault is reported at once, at start."""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict
from sqlalchemy.exc import ArgumentError

from bot.integrations.git import names
from commands.reasons import Refused
from storage.database import normalise

LOOPBACK = {"127.0.0.1", "localhost", "::1"}


class Settings(BaseSettings):
    """What the program needs to know from its environment. Addresses and secrets only: rules are in locktender.yaml."""

    model_config = SettingsConfigDict(frozen=True, env_ignore_empty=True, extra="ignore")

    slack_bot_token: SecretStr = Field(alias="SLACK_BOT_TOKEN")
    slack_signing_secret: SecretStr = Field(default=SecretStr(""), alias="SLACK_SIGNING_SECRET")
    slack_app_token: SecretStr = Field(default=SecretStr(""), alias="SLACK_APP_TOKEN")
    slack_api_url: str = Field(default="https://slack.com/api/", alias="SLACK_API_URL")

    infra_repo_url: str = Field(alias="INFRA_REPO_URL", repr=False)
    """May hold a password, so it is treated as a secret."""
    infra_repo_branch: str = Field(default="main", alias="INFRA_REPO_BRANCH")
    github_repository: str = Field(default="", alias="GITHUB_REPOSITORY")
    github_api_url: str = Field(default="https://api.github.com", alias="GITHUB_API_URL")
    github_token: SecretStr = Field(default=SecretStr(""), alias="GITHUB_TOKEN")
    github_app_id: str = Field(default="", alias="GITHUB_APP_ID")
    github_app_key: str = Field(default="", alias="GITHUB_APP_PRIVATE_KEY_FILE")
    """The file with the App's private key; read whenever a token is asked for, so that it can be replaced."""
    github_webhook_secret: SecretStr = Field(default=SecretStr(""), alias="GITHUB_WEBHOOK_SECRET")
    """Without one, webhooks are refused and pull requests are polled."""
    gate_poll_seconds: float = Field(default=15.0, ge=0.2, le=600, alias="LOCKTENDER_GATE_POLL_SECONDS")
    """Seconds between looks at a pull request that waits; webhooks make it sooner."""

    jenkins_url: str = Field(default="", alias="JENKINS_URL")
    jenkins_user: str = Field(default="", alias="JENKINS_USER")
    jenkins_token: SecretStr = Field(default=SecretStr(""), alias="JENKINS_TOKEN")

    registry_url: str = Field(default="", alias="REGISTRY_URL")
    registry_user: str = Field(default="", alias="REGISTRY_USER")
    registry_password: SecretStr = Field(default=SecretStr(""), alias="REGISTRY_PASSWORD")
    """Sent to REGISTRY_URL's host and no other, whatever locktender.yaml names."""

    jenkins_ca_file: str = Field(default="", alias="JENKINS_CA_FILE")
    """A bundle of certificates to trust for Jenkins, where the company signs its own."""

    kubeconfig: str = Field(default="", alias="KUBECONFIG")

    home: Path = Field(default=Path("./var"), alias="LOCKTENDER_HOME")
    audit_key_file: str = Field(default="", alias="LOCKTENDER_AUDIT_KEY_FILE")
    """The file with the key that signs the record; `audit.key` in LOCKTENDER_HOME by default. Replicas share one."""
    database_url: SecretStr = Field(default=SecretStr(""), alias="DATABASE_URL")
    host: str = Field(default="127.0.0.1", alias="LOCKTENDER_HOST")
    port: int = Field(default=3000, ge=0, le=65535, alias="LOCKTENDER_PORT")
    public_url: str = Field(default="", alias="LOCKTENDER_PUBLIC_URL")
    metrics_token: SecretStr = Field(default=SecretStr(""), alias="LOCKTENDER_METRICS_TOKEN")
    """What a scraper sends as a bearer token; without one, `/metrics` answers on this machine alone."""

    log_level: Annotated[str, NoDecode] = Field(default="info", alias="LOCKTENDER_LOG_LEVEL")
    """debug, info (default), warning or error: info has one line per step of a deployment."""
    poll_seconds: float = Field(default=10.0, ge=0.2, le=60, alias="LOCKTENDER_POLL_SECONDS")
    """Seconds between looks at the infra-repo's branch; 10 finds a new locktender.yaml before a person wonders.

    At most 60: production closes when the rules were last read two minutes ago."""
    capacity: int = Field(default=20, ge=1, le=200, alias="LOCKTENDER_CAPACITY")
    """Deployments that one process runs at once; the rest wait in the queue."""

    @field_validator("slack_bot_token")
    @classmethod
    def _bot_token(cls, value: SecretStr) -> SecretStr:
        if not value.get_secret_value().startswith("xoxb-"):
            raise ValueError("a bot token starts with xoxb-; copy it from OAuth & Permissions in the app's settings")
        return value

    @field_validator("slack_app_token")
    @classmethod
    def _app_token(cls, value: SecretStr) -> SecretStr:
        if value.get_secret_value() and not value.get_secret_value().startswith("xapp-"):
            raise ValueError("an app-level token starts with xapp-; make one with connections:write, or leave it out")
        return value

    @field_validator("slack_api_url")
    @classmethod
    def _slack_url(cls, value: str) -> str:
        _check_url(value)
        if not value.endswith("/api/"):
            raise ValueError("it must end in /api/")
        return value

    @field_validator("metrics_token")
    @classmethod
    def _metrics_token(cls, value: SecretStr) -> SecretStr:
        if value.get_secret_value() and not re.fullmatch(r"[!-~]{16,512}", value.get_secret_value()):
            raise ValueError("use at least 16 letters, digits and signs: `openssl rand -hex 32` makes such a token")
        return value

    @field_validator("infra_repo_url")
    @classmethod
    def _repo_url(cls, value: str) -> str:
        scheme = urlsplit(value).scheme
        scp_like = "://" not in value and "@" in value and ":" in value
        if scheme not in {"https", "ssh", "file", "http"} and not scp_like and not value.startswith("/"):
            raise ValueError("use an https://, ssh:// or file:// address, or git@host:owner/repo")
        if scheme == "http" and urlsplit(value).hostname not in LOOPBACK:
            raise ValueError("plain http would send the token readable to everyone; use https")
        with _as_setting():
            names.remote(value)
        return value

    @field_validator("infra_repo_branch")
    @classmethod
    def _branch(cls, value: str) -> str:
        with _as_setting():
            return names.branch_name(value)

    @field_validator("database_url")
    @classmethod
    def _database_url(cls, value: SecretStr) -> SecretStr:
        if not value.get_secret_value():
            return value
        try:
            driver = normalise(value.get_secret_value()).partition(":")[0]
        except ArgumentError:
            driver = ""
        if driver not in {"sqlite", "postgresql+psycopg"}:
            raise ValueError("use postgresql://user:password@host/database, or leave it out for SQLite")
        return value

    @field_validator("github_repository")
    @classmethod
    def _repository(cls, value: str) -> str:
        if value and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9-]{0,38}/[A-Za-z0-9._-]{1,100}", value):
            raise ValueError("write it as owner/name, as in company/infra")
        return value

    @field_validator("kubeconfig", "jenkins_ca_file", "github_app_key")
    @classmethod
    def _files(cls, value: str) -> str:
        if value and not any(Path(one).is_file() for one in value.split(os.pathsep)):
            raise ValueError(f"there is no file at {value[:200]!r} that can be read")
        return value

    @field_validator("github_api_url", "public_url", "registry_url")
    @classmethod
    def _urls(cls, value: str) -> str:
        if value:
            _check_url(value)
        return value.rstrip("/")

    @field_validator("jenkins_url")
    @classmethod
    def _jenkins(cls, value: str) -> str:
        """Plain http is taken here: many a Jenkins has nothing else inside the company network."""
        if value:
            _check_address(value)
        return value.rstrip("/")

    @field_validator("log_level")
    @classmethod
    def _level(cls, value: str) -> str:
        if value.lower() not in {"debug", "info", "warning", "error"}:
            raise ValueError("use debug, info, warning or error")
        return value.lower()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what `load` passes in: no .env file is picked up from wherever the program was started."""
        del settings_cls, env_settings, dotenv_settings, file_secret_settings
        return (init_settings,)

    @property
    def socket_mode(self) -> bool:
        """True when commands come over Socket Mode, False when over HTTP."""
        return bool(self.slack_app_token.get_secret_value())

    @property
    def code_host(self) -> bool:
        """True when pull requests can be opened."""
        return bool(self.github_repository and (self.github_token.get_secret_value() or self.github_app_id))

    @property
    def audit_key(self) -> Path:
        """Where the key is that signs the record."""
        return Path(self.audit_key_file) if self.audit_key_file else self.home / "audit.key"

    @property
    def database(self) -> str:
        """The database's URL."""
        return self.database_url.get_secret_value() or f"sqlite:///{self.home.resolve()}/locktender.db"


@dataclass(frozen=True)
class SettingsFault:
    """One thing wrong with the environment."""

    variable: str
    what: str

    def __str__(self) -> str:
        return f"{self.variable}: {self.what}" if self.variable else self.what


class SettingsError(Exception):
    """Everything wrong with the environment, at once."""

    def __init__(self, faults: tuple[SettingsFault, ...]) -> None:
        super().__init__("; ".join(map(str, faults)))
        self.faults = faults


@dataclass(frozen=True)
class RecordPlaces:
    """Where the record and what proves it are, for who looks at it without running the bot: nothing here is needed."""

    home: Path
    database: str
    audit_key: Path
    branch: str
    is_named: bool
    """True when DATABASE_URL names the database."""

    @classmethod
    def load(cls, environment: Mapping[str, str] | None = None) -> "RecordPlaces":
        """Read the environment. Faults in it show when the places are looked at."""
        env = os.environ if environment is None else environment
        home = Path(env.get("LOCKTENDER_HOME") or "./var")
        url = env.get("DATABASE_URL") or ""
        key = env.get("LOCKTENDER_AUDIT_KEY_FILE") or ""
        branch = env.get("INFRA_REPO_BRANCH") or "main"
        database = url or f"sqlite:///{home.resolve()}/locktender.db"
        return cls(home, database, Path(key) if key else home / "audit.key", branch, bool(url))


def load(environment: Mapping[str, str] | None = None) -> Settings:
    """Read the environment. Raises SettingsError with every fault; values of secrets are never in it."""
    values = os.environ if environment is None else environment
    aliases = [field.alias for field in Settings.model_fields.values() if field.alias]
    # Secrets that come from files often end in a line break, which no header could carry.
    known: dict[str, Any] = {alias: text for alias in aliases if (text := values.get(alias, "").strip())}
    faults = list(_together(known))
    try:
        settings = Settings(**known)
    except ValidationError as error:
        faults = [_fault(one) for one in error.errors(include_input=False)] + faults
        raise SettingsError(tuple(faults)) from None
    if faults:
        raise SettingsError(tuple(faults))
    return settings


def forget_secrets() -> None:
    """Take the secrets out of this process's environment, so that no child process and no library finds them there."""
    for field in Settings.model_fields.values():
        if (field.annotation is SecretStr or not field.repr) and field.alias:
            os.environ.pop(field.alias, None)


def _together(known: Mapping[str, Any]) -> Iterator[SettingsFault]:
    """What only two variables together can get wrong."""
    if not {"SLACK_APP_TOKEN", "SLACK_SIGNING_SECRET"} & known.keys():
        yield SettingsFault(
            "SLACK_APP_TOKEN",
            "set it for Socket Mode (nothing to open to the internet), or SLACK_SIGNING_SECRET for HTTP",
        )
    app = {"GITHUB_APP_ID", "GITHUB_APP_PRIVATE_KEY_FILE"} & known.keys()
    if len(app) == 1:
        missing = ({"GITHUB_APP_ID", "GITHUB_APP_PRIVATE_KEY_FILE"} - app).pop()
        yield SettingsFault(missing, f"it is needed with {app.pop()}: a GitHub App has both")
    if app and "GITHUB_REPOSITORY" not in known:
        yield SettingsFault("GITHUB_REPOSITORY", "it is needed with a GitHub App: owner/name of the infra-repo")
    if "JENKINS_URL" in known:
        for name in ("JENKINS_USER", "JENKINS_TOKEN"):
            if name not in known:
                yield SettingsFault(name, "it is needed with JENKINS_URL: a user with an API token")


def _fault(error: Any) -> SettingsFault:  # noqa: ANN401 - pydantic's error details
    variable = str(error["loc"][0]) if error["loc"] else ""
    if error["type"] == "missing":
        return SettingsFault(variable, "it is not set, and there is no default")
    return SettingsFault(variable, str(error["msg"]).removeprefix("Value error, "))


@contextmanager
def _as_setting() -> Iterator[None]:
    """What an adapter refuses, as a fault of the setting."""
    try:
        yield
    except Refused as fault:
        raise ValueError(fault.what) from None


def _check_address(value: str) -> None:
    parts = urlsplit(value)
    if parts.scheme not in {"https", "http"} or not parts.hostname:
        raise ValueError("it must be an http or https address")
    if parts.username or parts.password:
        raise ValueError("it holds a user or a password; put them into the variables made for them")


def _check_url(value: str) -> None:
    _check_address(value)
    parts = urlsplit(value)
    if parts.scheme == "http" and parts.hostname not in LOOPBACK:
        raise ValueError("plain http would send secrets readable to everyone; use https")
