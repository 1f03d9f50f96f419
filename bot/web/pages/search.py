"""The record's search: the words, filters and order of `/audit history`, in a form and with links for its pages."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from urllib.parse import urlencode

from bot.slack.parse_audit import FILTERS, parse_audit
from commands import audit_filter
from commands.reasons import ReasonCode, Refused
from commands.requests import History, Mistake, typed
from storage.audit_text import Recorded
from storage.history import search
from storage.unit_of_work import UnitOfWork

PAGE = 50
FIELDS = ("app", "env", "by", "since", "until", "status", "action", "version", "commit", "id")
"""The form's fields, called as they are typed in Slack; `words` is the one that takes everything."""
_LONGEST = 1000


@dataclass(frozen=True)
class Found:
    """A row, and what of its details is in the list. `page` is True where its deployment has a page."""

    row: Recorded
    state: str
    version: str
    page: bool


@dataclass(frozen=True)
class SearchPage:
    """A page of the record. `asked` is what the form shows; `older` and `newest` are addresses, empty for none."""

    asked: Mapping[str, str]
    spoken: str
    rows: tuple[Found, ...]
    unread: tuple[int, int] | None
    older: str
    newest: str


def asked(query: Mapping[str, str], me: str) -> History:
    """What the form asks for, read by the parser of the command. Raises Refused for words that are no search."""
    line = query.get("words", "").strip()
    for name in FIELDS:
        value = query.get(name, "").strip()
        if any(one.isspace() for one in value):
            raise Refused(
                ReasonCode.BAD_USAGE,
                f"{typed(value)} has a space in it, which nothing in `{name}` has.",
                "Plain words go into the field for words.",
            )
        line += f" {name}:{value}" if value else ""
    if len(line) > _LONGEST:
        raise Refused(ReasonCode.BAD_USAGE, "That is more than a search takes.", "Two or three rare words are enough.")
    found = parse_audit(f"history {line.strip()}".strip(), me=me)
    if isinstance(found, Mistake):
        raise Refused(found.reason, found.what, found.next_step)
    assert isinstance(found, History)  # noqa: S101 - its first word makes it one
    before = query.get("before", "")
    return replace(found, before=int(before)) if before.isascii() and before.isdigit() and len(before) < 11 else found


def search_page(uow: UnitOfWork, request: History, root: str) -> SearchPage:
    """The page. Raises Refused(BAD_TIME)."""
    found = search(uow, audit_filter.wished(request, uow.now, PAGE))
    rows = found.rows[:PAGE]
    more = len(found.rows) > PAGE
    return SearchPage(
        asked=fields_of(request),
        spoken=audit_filter.spoken(request),
        rows=tuple(_found(row) for row in rows),
        unread=found.unread,
        older=address(root, replace(request, before=rows[-1].seq)) if more else "",
        newest=address(root, replace(request, before=0)) if request.before else "",
    )


def _found(row: Recorded) -> Found:
    details = json.loads(row.details)
    state, version = (str(details.get(name) or "") for name in ("phase", "version"))
    return Found(row, state, version, bool(row.deployment_id) and not row.action.startswith(("record:", "audit:")))


def fields_of(request: History) -> Mapping[str, str]:
    """The form's fields as this request fills them."""
    held = asdict(request)
    return {name: str(held[FILTERS[name]]) for name in FIELDS} | {"words": request.words}


def address(root: str, request: History) -> str:
    """Where this page of the record is: the same for whoever opens it, `by:me` is a person by then."""
    query = {name: value for name, value in fields_of(request).items() if value}
    query |= {"before": str(request.before)} if request.before else {}
    return f"{root}/audit?{urlencode(query)}" if query else f"{root}/audit"
