"""Deployments: automation asks for one, and follows it."""

from typing import Annotated
from uuid import uuid4

from fastapi import APIRouter, Depends, Path, Query, Request, Response

from bot.slack.text import plain
from bot.web import api_views as views
from bot.web.api_body import parse, read_object, unknown_fields
from bot.web.api_errors import Code, Problem, of_reason
from bot.web.api_models import Accepted, DeploymentIn, DeploymentOut, DeploymentPage, body_of
from bot.web.api_parts import Filter, IdempotencyKey, Limit, Parts, Since, answers, one_key
from commands.reads import read_by
from commands.token_deploy import Wanted, ask
from commands.tokens import Bearer
from storage import gate
from storage.deployments import DeploymentFilter, page
from storage.phases import Phase

_ID = "^[0-9a-z]{1,32}$"


def router(parts: Parts) -> APIRouter:
    """`/v1/deployments`."""
    routes = APIRouter(prefix="/v1/deployments", tags=["Deployments"])
    caller = Depends(parts.caller())

    @routes.post(
        "",
        status_code=202,
        summary="Ask for a deployment",
        openapi_extra=body_of(DeploymentIn),
        responses=answers(400, 403, 409, 413, 422),
    )
    async def deploy(
        request: Request, response: Response, idempotency_key: IdempotencyKey = "", bearer: Bearer = caller
    ) -> Accepted:
        """Scope `deploy:ENVIRONMENT` or `deploy:ENVIRONMENT:APP`.

        The rules are those of `/deploy`: where changes are reviewed, people approve it before anything is merged; what
        is locked or frozen waits; what a rollback holds is refused.
        """
        try:
            found = await read_object(request)
            said = parse(DeploymentIn, found)
            key = one_key(idempotency_key, said.idempotency_key) or uuid4().hex
        except Problem as problem:
            raise await parts.unreadable(bearer, "deployment", problem) from None
        facts = parts.facts()
        wanted = Wanted(said.wanted(), key, said.requested_by)
        answer = await parts.do(bearer, "deployment", lambda: ask(parts.store, facts, bearer, wanted))
        if answer.refused:
            raise Problem(of_reason(answer.reason), answer.reason, answer.what, answer.next_step)
        parts.recorded()
        links = parts.places.of(answer.deployment_id)
        response.headers["Location"] = links.self_
        return Accepted(
            id=answer.deployment_id,
            what=plain(answer.what),
            next_step=plain(answer.next_step),
            notes=[plain(note) for note in unknown_fields(DeploymentIn, found)],
            links=links,
        )

    @routes.get("", summary="List them", responses=answers(403, 422))
    async def deployments(
        app: Filter = "",
        environment: Filter = "",
        phase: Annotated[Phase | None, Query(description="Only those that are in this phase.")] = None,
        since: Since = None,
        before: Annotated[str, Query(pattern="^[0-9a-z]{0,32}$", description="`before` of the page before.")] = "",
        limit: Limit = 50,
        bearer: Bearer = caller,
    ) -> DeploymentPage:
        """Scope `read`. Newest first, previews left out."""
        wanted = DeploymentFilter(app, environment, phase, since, before, limit)

        def look() -> list[DeploymentOut]:
            filters = {
                "app": app,
                "env": environment,
                "phase": str(phase or ""),
                "since": since.isoformat() if since else "",
            }
            read_by(parts.store, parts.facts(), bearer, "deployments", filters)
            with parts.store.read() as uow:
                rows = page(uow, wanted)
                return [views.deployment(row, gate.change_of(uow, row.change_id), parts.places) for row in rows]

        found = await parts.do(bearer, "read", look)
        rows = found[:limit]
        return DeploymentPage(deployments=rows, before=rows[-1].id if len(found) > limit else None)

    @routes.get("/{id}", summary="Show one", responses=answers(403, 404, 422))
    async def deployment(
        name: Annotated[str, Path(alias="id", pattern=_ID, description="Its id.")], bearer: Bearer = caller
    ) -> DeploymentOut:
        """Scope `read`; `deploy:…` is enough for those that the token itself has asked for."""

        def look() -> DeploymentOut:
            with parts.store.read() as uow:
                asked_by = row.requested_by if (row := uow.deployment(name)) is not None else ""
            if asked_by != bearer.actor:
                read_by(parts.store, parts.facts(), bearer, "deployment", {"id": name})
            with parts.store.read() as uow:
                row = uow.deployment(name)
                if row is None:
                    what, step = f"There is no deployment {name}.", "List them: /api/v1/deployments."
                    raise Problem(404, Code.NOT_FOUND, what, step)
                return views.deployment(row, gate.change_of(uow, row.change_id), parts.places)

        return await parts.do(bearer, "read", look)

    return routes
