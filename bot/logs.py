"""Structured logs: static event names with fields, one JSON object a line, no secrets."""

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

_SECRETS = re.compile(
    r"xox[a-z]-[A-Za-z0-9-]+|xapp-[A-Za-z0-9-]+|gh[pousr]_[A-Za-z0-9]+|github_pat_[A-Za-z0-9_]+"
    r"|(?<=://)[^/\s:@]+:[^/\s@]+(?=@)|(?i:bearer|basic)\s+[A-Za-z0-9+/=._-]{8,}"
    r"|https://hooks\.slack\.com/\S+"
)
_NAMES = re.compile(r"token|secret|password|authorization|response_url", re.IGNORECASE)


def redact(text: str) -> str:
    """The text with everything that looks like a credential taken out."""
    return _SECRETS.sub("[redacted]", text)


def _redacted(_: object, __: str, fields: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for key, value in fields.items():
        if _NAMES.search(key):
            fields[key] = "[redacted]"
        elif isinstance(value, str):
            fields[key] = redact(value)
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
