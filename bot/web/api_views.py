"""Rows as the JSON API gives them."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from bot.slack.text import plain
from bot.web.api_models import DeploymentOut, ImageOut, Links, RecordOut
from storage.models import Change, Deployment
from storage.phases import Phase
from storage.record_models import AuditRow


@dataclass(frozen=True)
class Places:
    """Where things can be looked at: commits on the code host, deployments on the pages."""

    commit: Callable[[str], str]
    public_url: str = ""

    def of(self, deployment_id: str, commit: str = "", pull_request: str = "", build: str = "") -> Links:
        """The links of a deployment."""
        return Links(
            self=f"{self.public_url}/api/v1/deployments/{deployment_id}",
            page=f"{self.public_url}/deployments/{deployment_id}" if self.public_url else "",
            commit=self.commit(commit) if commit else "",
            pull_request=pull_request,
            build=build,
        )


def record(row: AuditRow) -> RecordOut:
    """A deployment that a pipeline told of."""
    said = json.loads(row.details)

    def text(name: str) -> str:
        return str(said.get(name, ""))

    return RecordOut(
        seq=row.seq,
        id=row.deployment_id,
        at=row.at,
        told_by=row.actor,
        timestamp=datetime.fromisoformat(text("timestamp")).astimezone(UTC),
        environment=row.environment,
        git_commit=text("commit"),
        git_branch=text("branch"),
        deployer=text("deployer"),
        build_url=text("build_url"),
        approval_note=text("approval_note"),
        status=text("status"),
        app=row.app,
        version=text("version"),
        leaf=row.leaf,
    )


def image(row: AuditRow) -> ImageOut:
    """An image that is ready."""
    said = json.loads(row.details)

    def text(name: str) -> str:
        return str(said.get(name, ""))

    return ImageOut(
        seq=row.seq,
        id=row.deployment_id,
        at=row.at,
        told_by=row.actor,
        app=row.app,
        image=text("image"),
        tag=text("version"),
        digest=text("digest"),
        commit=text("commit"),
        branch=text("branch"),
        build_url=text("build_url"),
        leaf=row.leaf,
    )


def deployment(row: Deployment, change: Change | None, places: Places) -> DeploymentOut:
    """A deployment as it stands, people as their ids."""
    pull_request = change.pr_url if change is not None else ""
    return DeploymentOut(
        id=row.id,
        kind=str(row.kind),
        app=row.app,
        environment=row.environment,
        version=row.version,
        digest=row.digest,
        previous=plain(row.previous),
        reason=row.reason,
        requested_by=row.requested_by,
        on_behalf_of=row.on_behalf_of,
        requested_at=row.requested_at,
        phase=str(row.phase),
        stage=str(row.stage),
        ended=Phase(row.phase).ended,
        reason_code=row.reason_code,
        what=plain(row.what),
        next_step=plain(row.next_step),
        blocked=plain(row.blocked),
        commit=row.commit_sha,
        started_at=row.started_at,
        finished_at=row.finished_at,
        links=places.of(row.id, row.commit_sha, pull_request, row.build_url),
    )
