"""What pipelines tell: deployments that went around the bot, and images that are ready."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request

from bot.slack.image_card import body as draw
from bot.slack.text import plain
from bot.web import api_views as views
from bot.web.api_body import parse, read_object, unknown_fields
from bot.web.api_errors import Code, Problem
from bot.web.api_models import ImageIn, ImageKept, ImagePage, RecordIn, RecordKept, RecordOut, RecordPage, body_of
from bot.web.api_parts import LARGEST_SEQ, BeforeSeq, Filter, IdempotencyKey, Limit, Parts, Since, answers
from commands.images import image_ready
from commands.reads import read_by
from commands.records import record_deployment
from commands.tokens import Bearer
from storage import told
from storage.record_models import AuditRow
from storage.told import ToldFilter


def router(parts: Parts) -> APIRouter:
    """`/v1/records` and `/v1/images`."""
    routes = APIRouter(prefix="/v1", tags=["What pipelines tell"])
    _records(routes, parts)
    _images(routes, parts)
    return routes


def _records(routes: APIRouter, parts: Parts) -> None:
    caller = Depends(parts.caller())

    @routes.post(
        "/records",
        status_code=201,
        summary="Record a deployment that a pipeline made",
        openapi_extra=body_of(RecordIn),
        responses=answers(400, 403, 409, 413, 422),
    )
    async def record(request: Request, idempotency_key: IdempotencyKey = "", bearer: Bearer = caller) -> RecordKept:
        """Scope `records`. The same content, or the same Idempotency-Key, is recorded once and answered the same."""
        try:
            found = await read_object(request)
            wanted = parse(RecordIn, found).told()
        except Problem as problem:
            raise await parts.unreadable(bearer, "record", problem) from None
        facts = parts.facts()
        kept = await parts.do(
            bearer, "record", lambda: record_deployment(parts.store, facts, bearer, wanted, idempotency_key)
        )
        notes = [plain(note) for note in (*kept.notes, *unknown_fields(RecordIn, found))]
        return RecordKept(**views.record(kept.row).model_dump(), notes=notes)

    @routes.get("/records", summary="List them", responses=answers(403, 422))
    async def records(
        app: Filter = "",
        environment: Filter = "",
        since: Since = None,
        before: BeforeSeq = 0,
        limit: Limit = 50,
        bearer: Bearer = caller,
    ) -> RecordPage:
        """Scope `read`. Newest first."""
        wanted = ToldFilter(app, environment, since, before, limit)
        rows, more = await _page(parts, bearer, told.DEPLOYMENT, wanted)
        return RecordPage(records=[views.record(row) for row in rows], before=more)

    @routes.get("/records/{seq}", summary="Show one", responses=answers(403, 404, 422))
    async def one(
        seq: Annotated[int, Path(ge=1, le=LARGEST_SEQ, description="Its row's number.")], bearer: Bearer = caller
    ) -> RecordOut:
        """Scope `read`; `records` is enough for those that the token itself has told."""

        def look() -> AuditRow:
            with parts.store.read() as uow:
                row = told.of_seq(uow, told.DEPLOYMENT, seq)
            if row is None or row.actor != bearer.actor:
                read_by(parts.store, parts.facts(), bearer, "record", {"seq": str(seq)})
            if row is None:
                raise Problem(404, Code.NOT_FOUND, f"Row {seq} is no deployment's record.", "List them: /v1/records.")
            return row

        return views.record(await parts.do(bearer, "read", look))


def _images(routes: APIRouter, parts: Parts) -> None:
    caller = Depends(parts.caller())

    @routes.post(
        "/images",
        status_code=201,
        summary="Say that an image is ready",
        openapi_extra=body_of(ImageIn),
        responses=answers(400, 403, 409, 413, 422),
    )
    async def ready(request: Request, bearer: Bearer = caller) -> ImageKept:
        """Scope `images`. Posts one card in the app's channel, once for each image, tag and digest."""
        try:
            found = await read_object(request)
            wanted = parse(ImageIn, found).told()
        except Problem as problem:
            raise await parts.unreadable(bearer, "record", problem) from None
        facts = parts.facts()
        kept = await parts.do(bearer, "record", lambda: image_ready(parts.store, facts, bearer, wanted, draw))
        parts.recorded()
        return ImageKept(
            images=[views.image(one.row) for one in kept],
            notes=[plain(note) for note in unknown_fields(ImageIn, found)],
        )

    @routes.get("/images", summary="List them", responses=answers(403, 422))
    async def images(
        app: Filter = "", since: Since = None, before: BeforeSeq = 0, limit: Limit = 50, bearer: Bearer = caller
    ) -> ImagePage:
        """Scope `read`. Newest first."""
        wanted = ToldFilter(app=app, since=since, before=before, limit=limit)
        rows, more = await _page(parts, bearer, told.IMAGE, wanted)
        return ImagePage(images=[views.image(row) for row in rows], before=more)


_LISTS = {told.DEPLOYMENT: "records", told.IMAGE: "images"}


async def _page(parts: Parts, bearer: Bearer, action: str, wanted: ToldFilter) -> tuple[list[AuditRow], int | None]:
    """Rows, and the `before` that asks for the next page."""

    def look() -> list[AuditRow]:
        since = wanted.since.isoformat() if wanted.since else ""
        filters = {"app": wanted.app, "env": wanted.environment, "since": since}
        read_by(parts.store, parts.facts(), bearer, _LISTS[action], filters)
        with parts.store.read() as uow:
            return told.listed(uow, action, wanted)

    found = await parts.do(bearer, "read", look)
    rows = found[: wanted.limit]
    return rows, rows[-1].seq if len(found) > wanted.limit else None
