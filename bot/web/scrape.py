"""`/metrics`: for this machine alone, or for whoever has the token. The rest of the HTTP side may face the internet."""

import hmac
import ipaddress
from collections.abc import Awaitable, Callable

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

_PASSED_ON = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip", "via")
"""Headers of proxies: what one on this machine passes on comes from loopback and is not from here."""


def endpoint(token: str) -> Callable[[Request], Awaitable[Response]]:
    """Prometheus' text format; 401 and 403 in a sentence.

    Without a token (`LOCKTENDER_METRICS_TOKEN`) loopback is answered and nobody else; with one, whoever sends it as
    `Authorization: Bearer …`, and nobody without it, from wherever.
    """
    wanted = token.encode()

    async def metrics(request: Request) -> Response:
        if wanted:
            scheme, _, shown = request.headers.get("authorization", "").partition(" ")
            if scheme.lower() != "bearer" or not hmac.compare_digest(shown.strip().encode(), wanted):
                what = "Send `Authorization: Bearer` and the token that LOCKTENDER_METRICS_TOKEN says.\n"
                return PlainTextResponse(what, status_code=401, headers={"WWW-Authenticate": "Bearer"})
        elif not _is_here(request):
            what = "Metrics are told on this machine alone: set LOCKTENDER_METRICS_TOKEN to have them from elsewhere.\n"
            return PlainTextResponse(what, status_code=403)
        return Response(await run_in_threadpool(generate_latest), media_type=CONTENT_TYPE_LATEST)

    return metrics


def _is_here(request: Request) -> bool:
    if request.client is None or any(name in request.headers for name in _PASSED_ON):
        return False
    try:
        return ipaddress.ip_address(request.client.host).is_loopback
    except ValueError:
        return False
