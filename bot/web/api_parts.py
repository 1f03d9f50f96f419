"""What every handler of the JSON API shares: what it works on, who calls, and one edge for what goes wrong."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Annotated, Any, TypeVar

from fastapi import Header, Query, Request, Response, Security
from fastapi.security import HTTPBearer
from starlette.concurrency import run_in_threadpool

from bot.web import api_fields as fields
from bot.web.api_auth import Doorkeeper, Limits
from bot.web.api_errors import HEADERS, FieldFault, Problem, defect, invalid, of_fault
from bot.web.api_models import ErrorOut
from bot.web.api_views import Places
from commands.facts import Facts
from commands.reasons import ReasonCode, Refused
from commands.records import record_refused
from commands.tokens import Bearer
from storage.unit_of_work import Store

T = TypeVar("T")
MOST = 200
LARGEST_SEQ = 2**31 - 1

Limit = Annotated[int, Query(ge=1, le=MOST, description="How many at most.")]
Filter = Annotated[fields.Name, Query()]
Since = Annotated[fields.Since | None, Query(description="Nothing older than this: a time with its zone.")]
BeforeSeq = Annotated[int, Query(ge=0, le=LARGEST_SEQ, description="`before` of the page before this one.")]
IdempotencyKey = Annotated[
    str,
    Header(
        alias="Idempotency-Key",
        max_length=255,
        pattern="^[!-~]*$",
        description="The same key again answers the same, and is done once.",
    ),
]


@dataclass(frozen=True)
class Parts:
    """What the API works on. `recorded` is told after every request that may have begun something."""

    store: Store
    facts: Callable[[], Facts]
    recorded: Callable[[], None]
    places: Places
    limits: Limits = field(default_factory=Limits)

    def caller(self) -> Callable[..., Awaitable[Bearer]]:
        """The dependency that lets good tokens in."""
        doorkeeper = Doorkeeper(self.store, self.limits)
        scheme = HTTPBearer(auto_error=False, scheme_name="token", description="`locktender token create` makes one.")

        async def caller(request: Request, response: Response, _: Annotated[object, Security(scheme)]) -> Bearer:
            response.headers.update(HEADERS)
            try:
                return await doorkeeper(request)
            except Problem:
                raise
            except Exception as error:  # noqa: BLE001 - the edge: nobody is let in when nobody can tell
                raise defect(error) from None

        return caller

    async def do(self, bearer: Bearer, subject: str, work: Callable[[], T]) -> T:
        """Do what blocks in a worker thread. Problem for whatever stops it; a refusal is recorded under `subject`."""
        try:
            return await run_in_threadpool(work)
        except Refused as fault:
            await self._record(bearer, subject, fault)
            raise of_fault(fault) from None
        except Problem:
            raise
        except Exception as error:  # noqa: BLE001 - the edge: whatever is wrong with us is told in one shape
            raise defect(error) from None

    async def unreadable(self, bearer: Bearer, subject: str, problem: Problem) -> Problem:
        """A body that is no request: recorded as a refusal too, by the names of its fields alone."""
        detail = ", ".join(one.name for one in problem.fields[:10])
        fault = Refused(ReasonCode.BAD_USAGE, problem.what, problem.next_step, detail=detail)
        await self._record(bearer, subject, fault)
        return problem

    async def _record(self, bearer: Bearer, subject: str, fault: Refused) -> None:
        try:
            await run_in_threadpool(record_refused, self.store, self.facts(), bearer, subject, fault)
        except Exception as error:  # noqa: BLE001 - the edge, as above
            raise defect(error) from None


def one_key(header: str, body: str = "") -> str:
    """The idempotency key, wherever it was said. Problem when it was said twice and differently."""
    if header and body and header != body:
        raise invalid((FieldFault("idempotencyKey", "It differs from the header Idempotency-Key."),))
    return header or body


def answers(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The errors of an operation, for its description; every one may also meet a token, a limit or a fault of ours."""
    said = {
        400: "The body is not a JSON object.",
        403: "The token may not do this.",
        404: "There is no such thing.",
        409: "Not as things are now: `code` says why.",
        413: "The body is too large.",
        422: "Fields are not as they have to be: `fields` lists all of them.",
        401: "No good token came with the request.",
        429: "Too many requests; `Retry-After` says when to come again.",
        500: "A fault of Locktender's; the answer has an id that finds it in the log.",
        503: "The database does not answer.",
    }
    return {status: {"model": ErrorOut, "description": said[status]} for status in (*statuses, 401, 429, 500, 503)}
