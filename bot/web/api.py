"""The JSON API, an application of its own below `/api`: `/api/v1/…`, `/api/openapi.json`, `/api/docs`."""

from functools import cache

from fastapi import FastAPI
from starlette.responses import Response

from bot.web import api_deployments, api_docs, api_told
from bot.web.api_errors import handlers
from bot.web.api_parts import Parts

_ABOUT = """\
CI systems and CD pipelines talk to Locktender here: they tell what they deployed, say which images are ready, and ask
for deployments under the same rules as people in Slack. Bodies are one JSON object of at most 64 KiB, whatever their
content type says. Each token may make 60 requests a minute, 20 of them at once."""


def create(parts: Parts) -> FastAPI:
    """The application to mount at `/api`."""
    app = FastAPI(
        title="Locktender",
        version="1",
        description=_ABOUT,
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json",
        servers=[{"url": "/api"}],
        root_path_in_servers=False,
        redirect_slashes=False,
    )
    handlers(app)
    app.include_router(api_told.router(parts))
    app.include_router(api_deployments.router(parts))

    @cache
    def page() -> str:
        return api_docs.page(app.openapi())

    @app.get("/docs", include_in_schema=False)
    def docs() -> Response:  # in a thread: whoever asks first waits until it is made, and no ack waits with them
        """The description, to read: without scripts, and without anything from elsewhere."""
        return Response(page(), media_type="text/html", headers=api_docs.HEADERS)

    @app.get("/docs.css", include_in_schema=False)
    async def style() -> Response:
        """How it looks."""
        return Response(api_docs.STYLE, media_type="text/css", headers=api_docs.HEADERS)

    return app
