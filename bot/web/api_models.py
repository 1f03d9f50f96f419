"""What the JSON API takes and gives, as its OpenAPI description has it."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from bot.web import api_fields as fields
from commands.images import ImageReady
from commands.records import DeploymentRecord
from commands.requests import Deploy


class _Taken(BaseModel):
    """Fields that are none of ours are left out; the answer says so."""

    model_config = ConfigDict(alias_generator=to_camel, extra="ignore", frozen=True)


class RecordIn(_Taken):
    """What a CD pipeline did, told at its end."""

    timestamp: fields.Time = Field(description="When it ended: a time with its zone, or Unix seconds.")
    environment: fields.Place = Field(description="Where it was deployed to.")
    git_commit: fields.Commit = Field(description="The commit that was deployed.")
    git_branch: fields.MaybeBranch = Field("", description="The branch it was on.")
    deployer: fields.Deployer = Field(description="Who or what deployed it, kept as it is told.")
    build_url: fields.MaybeUrl = Field("", description="Where the build can be looked at.")
    approval_note: fields.MaybeNote = Field("", description="Who approved it, or which ticket says so.")
    status: fields.Status = Field(description="How it ended: success, failed, aborted or a word of your own.")
    app: fields.MaybePlace = Field("", description="What was deployed, by its name in locktender.yaml.")
    version: fields.MaybeVersion = Field("", description="Which version of it.")

    def told(self) -> DeploymentRecord:
        """As the use case takes it."""
        return DeploymentRecord(
            timestamp=self.timestamp,
            environment=self.environment,
            commit=self.git_commit.lower(),
            deployer=self.deployer,
            status=self.status,
            branch=self.git_branch,
            build_url=self.build_url,
            approval_note=self.approval_note,
            app=self.app,
            version=self.version,
        )


class ImageIn(_Taken):
    """An image that was pushed and may be deployed."""

    image: fields.Image = Field(description="Its name without tag and digest, as `image:` in locktender.yaml.")
    tag: fields.Tag = Field(description="Its tag.")
    digest: fields.MaybeDigest = Field("", description="Its digest.")
    commit: fields.MaybeCommit = Field("", description="The commit it was built from.")
    branch: fields.MaybeBranch = Field("", description="The branch that was built.")
    build_url: fields.MaybeUrl = Field("", description="Where the build can be looked at.")

    def told(self) -> ImageReady:
        """As the use case takes it."""
        return ImageReady(self.image, self.tag, self.digest, self.commit.lower(), self.branch, self.build_url)


class DeploymentIn(_Taken):
    """A deployment that automation asks for."""

    app: fields.Word = Field(description="The app, by its name or alias in locktender.yaml.")
    version: fields.Tag = Field(description="The tag to deploy.")
    environment: fields.Word = Field(description="Where to; the token needs `deploy:` and its name as a scope.")
    reason: fields.Reason = Field(description="Why: it is recorded, and shown to whoever approves it.")
    requested_by: fields.MaybePerson = Field(
        "",
        description="The person it is for: a Slack user id, an e-mail address, or `github:` and a login. Recorded; "
        "gives no right, and that person cannot approve it.",
    )
    idempotency_key: fields.MaybeKey = Field(
        "", description="The same key again answers the same and deploys once; or send it as the header."
    )

    def wanted(self) -> Deploy:
        """As the use case takes it."""
        return Deploy(self.app, self.version, self.environment, self.reason)


class _Given(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True)


class RecordOut(_Given):
    """A deployment as a pipeline told of it."""

    seq: int = Field(description="The number of its row in the record.")
    id: str = Field(description="Finds it in `/audit history id:…`.")
    at: datetime = Field(description="When it was recorded.")
    told_by: str = Field(description="`api:` and the name of the token.")
    timestamp: datetime
    environment: str
    git_commit: str
    git_branch: str
    deployer: str
    build_url: str
    approval_note: str
    status: str
    app: str
    version: str
    leaf: str = Field(description="The row's hash in the ledger.")


class RecordKept(RecordOut):
    """The same, as it was just kept."""

    notes: list[str] = Field(description="What should be looked at: unknown names, fields that were left out.")


class ImageOut(_Given):
    """An image that is ready, for one app that has it."""

    seq: int
    id: str
    at: datetime
    told_by: str
    app: str
    image: str
    tag: str
    digest: str
    commit: str
    branch: str
    build_url: str
    leaf: str


class ImageKept(_Given):
    """One row and one card for each app that has the image."""

    images: list[ImageOut]
    notes: list[str]


class Links(_Given):
    """Where it can be looked at; empty when there is no such place."""

    self_: str = Field(alias="self")
    page: str = ""
    commit: str = ""
    pull_request: str = ""
    build: str = ""


class DeploymentOut(_Given):
    """A deployment as it stands."""

    id: str
    kind: str
    app: str
    environment: str
    version: str
    digest: str
    previous: str = Field(description="What git said before.")
    reason: str
    requested_by: str = Field(description="A Slack user id, or `api:` and the name of a token.")
    on_behalf_of: str
    requested_at: datetime
    phase: str = Field(description="awaiting_approval, queued, running, or how it ended.")
    stage: str
    ended: bool
    reason_code: str = Field(description="Why it ended as it did; empty while it has not.")
    what: str
    next_step: str
    blocked: str = Field(description="What it waits for.")
    commit: str
    started_at: datetime | None
    finished_at: datetime | None
    links: Links


class Accepted(_Given):
    """A deployment that was accepted: follow `links.self` until `ended` is true."""

    id: str
    what: str
    next_step: str
    notes: list[str]
    links: Links


class RecordPage(_Given):
    """Newest first. `before` asks for the next page; null on the last."""

    records: list[RecordOut]
    before: int | None


class ImagePage(_Given):
    """Newest first. `before` asks for the next page; null on the last."""

    images: list[ImageOut]
    before: int | None


class DeploymentPage(_Given):
    """Newest first. `before` asks for the next page; null on the last."""

    deployments: list[DeploymentOut]
    before: str | None


class ErrorField(_Given):
    """One field that is wrong."""

    field: str
    what: str


class ErrorBody(_Given):
    """What happened, and what to do next."""

    code: str
    what: str
    next_step: str
    fields: list[ErrorField] | None = None


class ErrorOut(_Given):
    """Every error has this shape."""

    error: ErrorBody


def body_of(model: type[BaseModel]) -> dict[str, Any]:
    """The request body's part of an operation: it is read by hand, whatever its content type says."""
    schema = model.model_json_schema(by_alias=True)
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}
