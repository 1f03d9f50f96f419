"""Structured logs: static event names with fields, one JSON object a line, no secrets."""

import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any

import structlog

from storage.secrets import CERTAIN, GONE

_SECRETS = re.compile(rf"{CERTAIN}|(?i:bearer|basic)\s+[A-Za-z0-9+/=._~-]{{8,}}")
_NAMES = re.compile(
    r"token|secret|passw|authorization|credential|cookie|signature|private_key|response_url|answer_url", re.IGNORECASE
)
_DEEPEST = 6


def redact(text: str) -> str:
    """The text with everything that looks like a credential taken out."""
    return _SECRETS.sub(GONE, text)


def _clean(value: object, depth: int = 0) -> object:
    """A field's value without credentials, however it is nested; what is no plain value is logged as its text."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Mapping) and depth < _DEEPEST:
        return {
            redact(str(key)): GONE if _NAMES.search(str(key)) else _clean(one, depth + 1) for key, one in value.items()
        }
    if isinstance(value, list | tuple | set | frozenset) and depth < _DEEPEST:
        return [_clean(one, depth + 1) for one in value]
    return redact(value if isinstance(value, str) else repr(value))


def _redacted(_: object, __: str, fields: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for key, value in fields.items():
        fields[key] = GONE if _NAMES.search(key) else _clean(value)
    return fields


def configure(level: str) -> None:
    """Send every log, the libraries' too, to standard error as JSON lines."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    last: list[Any] = [
        structlog.processors.format_exc_info,
        _redacted,
        structlog.processors.JSONRenderer(ensure_ascii=False),
    ]
    structlog.configure(
        processors=[*shared, *last],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    for name in ("slack_bolt", "slack_sdk", "apscheduler", "dbos", "git", "alembic", "uvicorn", "aiohttp", "httpx"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [], True
        logger.setLevel(logging.WARNING)
    # A job that is still at it when its time comes again is no news: jobs are never doubled on purpose.
    logging.getLogger("apscheduler.scheduler").setLevel(logging.ERROR)
