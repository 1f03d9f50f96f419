"""Every error of the JSON API in one shape: a code, what happened, what to do next, and the fields that are wrong."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from uuid import uuid4

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import OperationalError
from starlette.exceptions import HTTPException

from bot.slack.text import plain
from commands.reasons import Fault, ReasonCode

HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
log = structlog.get_logger("api")


class Code(StrEnum):
    """Codes of errors that are of HTTP rather than of a request; all others are reason codes."""

    UNAUTHORIZED = "unauthorized"
    RATE_LIMITED = "rate_limited"
    TOO_LARGE = "too_large"
    NOT_JSON = "not_json"
    INVALID = "invalid"
    NOT_FOUND = "not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    UNAVAILABLE = "unavailable"
    INTERNAL = "internal"


@dataclass(frozen=True)
class FieldFault:
    """One field that is wrong, by the name it was sent under, and what it has to be."""

    name: str
    what: str


class Problem(Exception):  # noqa: N818 - it is answered, not raised at a programmer
    """An answer that is an error. Raise it from anywhere in a request."""

    def __init__(
        self,
        status: int,
        code: str,
        what: str,
        next_step: str,
        fields: tuple[FieldFault, ...] = (),
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        super().__init__(status, code, what)
        self.status, self.code, self.what, self.next_step = status, code, what, next_step
        self.fields, self.headers = fields, headers

    def answer(self) -> JSONResponse:
        """As JSON."""
        error: dict[str, object] = {"code": self.code, "what": plain(self.what), "nextStep": plain(self.next_step)}
        if self.fields:
            error["fields"] = [{"field": plain(one.name), "what": plain(one.what)} for one in self.fields]
        return JSONResponse({"error": error}, status_code=self.status, headers=HEADERS | dict(self.headers))


_UNPROCESSABLE = frozenset(
    {
        ReasonCode.BAD_USAGE,
        ReasonCode.UNSAFE_TEXT,
        ReasonCode.UNKNOWN_APP,
        ReasonCode.UNKNOWN_ENVIRONMENT,
        ReasonCode.BAD_VERSION,
        ReasonCode.UNKNOWN_VERSION,
        ReasonCode.UNKNOWN_PERSON,
        ReasonCode.REASON_REQUIRED,
    }
)
_FORBIDDEN = frozenset({ReasonCode.NOT_PERMITTED, ReasonCode.WRONG_WORKSPACE})


def of_reason(reason: ReasonCode) -> int:
    """422: other words would be right; 403: not with this token; 409: not as things are now."""
    if reason in _UNPROCESSABLE:
        return 422
    return 403 if reason in _FORBIDDEN else 409


def of_fault(fault: Fault) -> Problem:
    """A refusal as an answer."""
    return Problem(of_reason(fault.reason), fault.reason, fault.what, fault.next_step)


def invalid(faults: tuple[FieldFault, ...]) -> Problem:
    """Every field that is wrong, at once."""
    count = f"{len(faults)} field{'s are' if len(faults) > 1 else ' is'}"
    return Problem(422, Code.INVALID, f"{count} not as they have to be.", "Mend what `fields` lists.", faults)


def handlers(app: FastAPI) -> None:
    """Give every error of this application the one shape, those of its libraries too."""

    async def problem(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, Problem)  # noqa: S101 - registered for this class alone
        return error.answer()

    async def parameters(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)  # noqa: S101 - as above
        faults = tuple(FieldFault(str(one["loc"][-1])[:64], f"{one['msg']}."[:200]) for one in error.errors())
        return invalid(faults).answer()

    async def http(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)  # noqa: S101 - as above
        step = "`/api/docs` lists what there is."
        if error.status_code == 405:
            what = f"{request.method} is nothing that can be done here."
            return Problem(405, Code.METHOD_NOT_ALLOWED, what, step, headers=error.headers or {}).answer()
        return Problem(error.status_code, Code.NOT_FOUND, "There is nothing at this address.", step).answer()

    app.add_exception_handler(Problem, problem)
    app.add_exception_handler(RequestValidationError, parameters)
    app.add_exception_handler(HTTPException, http)


def defect(error: Exception) -> Problem:
    """A fault of ours: the log line has the details, the answer an id that finds it. 503 when the database is away."""
    error_id = uuid4().hex[:8]
    log.error("api.defect", error_id=error_id, exc_info=error)
    step = f"Try again in a minute; if it stays so, give the platform team the error id {error_id}."
    if isinstance(error, OperationalError):
        what = "The record cannot be reached, so nothing was done."
        return Problem(503, Code.UNAVAILABLE, what, step, headers={"Retry-After": "10"})
    return Problem(500, Code.INTERNAL, "The request could not be carried out; nothing was done.", step)
