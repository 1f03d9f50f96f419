"""Evidence as a page to read: one HTML file without script, pictures or anything from elsewhere. Pure.

The same evidence always gives the same page, so that `locktender audit verify` can tell one that was edited.
"""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from hashlib import sha256
from importlib.resources import files

from jinja2 import DictLoader, Environment, StrictUndefined, Template
from markupsafe import Markup

from commands.evidence_file import Proven, Taken
from commands.evidence_find import said
from commands.evidence_tell import plain
from commands.evidence_told import Holds
from commands.grammar import unsafe_characters
from commands.requests import outside
from commands.times import spoken

_FOLDER = files("bot") / "templates"
_MARKS = {Holds.YES: "✓ yes", Holds.NO: "✗ no", Holds.UNKNOWN: "? unknown", Holds.NOT_ASKED: "– not asked"}  # noqa: RUF001 - a dash
_PEOPLE = {
    Holds.YES: "✓ another person",
    Holds.NO: "✗ the same person",
    Holds.UNKNOWN: "? not known",
    Holds.NOT_ASKED: "",
}
_SOURCES = {
    "slash": "Slack command",
    "mention": "Slack mention",
    "button": "Slack button",
    "cli": "command line",
    "api": "JSON API",
    "github": "review on GitHub",
}
_LONGEST = 4000
_PLAIN = re.compile(r"[^0-9A-Za-z-]+")


@dataclass(frozen=True)
class PageRow:
    """A row of the record as the page shows it."""

    seq: int
    at: str
    action: str
    actor: str
    place: str
    deployment_id: str
    reason_code: str
    details: tuple[tuple[str, str], ...]
    leaf: str


def stem(taken: Taken) -> str:
    """What both files are called, without their endings."""
    return f"evidence-{_PLAIN.sub('', taken.name)[:40]}"


def page(taken: Taken) -> str:
    """The page."""
    return _template().render(
        told=taken.told,
        head=taken.head,
        repository=taken.head.origin.removeprefix("locktender/") or "a record without a key",
        rows=[_row(one) for one in taken.rows],
        diff=list(_diff(taken.attached.diff)),
        digest=sha256(taken.statement.encode()).hexdigest(),
        file=f"{stem(taken)}.json",
    )


@cache
def _template() -> Template:
    environment = Environment(
        loader=DictLoader({"evidence": (_FOLDER / "evidence.html").read_text("utf-8")}),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        finalize=_seen,
    )
    environment.filters.update(clock=_clock, length_of=_length)
    style = Markup((_FOLDER / "evidence.css").read_text("utf-8"))  # noqa: S704 - a file of our own
    environment.globals.update(style=style, marks=_MARKS, people=_PEOPLE, sources=_SOURCES, links=_links, link=_link)
    return environment.get_template("evidence")


def _seen(value: object) -> object:
    """Text from outside may hold what turns lines round or hides: that is shown as what it is, not obeyed."""
    if not isinstance(value, str) or isinstance(value, Markup) or value.isprintable():
        return value
    return "".join("\ufffd" if one not in "\n\t" and unsafe_characters(one) else one for one in outside(value))


def _link(address: str) -> Markup:
    """An address to follow, of the web; any other is only text."""
    text = str(_seen(address))
    if text.startswith(("https://", "http://")):
        return Markup('<a href="{0}" rel="noreferrer noopener">{0}</a>').format(text)
    return Markup("{}").format(text or "–")  # noqa: RUF001 - a dash where there is nothing


def _links(rows: Iterable[int]) -> Markup:
    return Markup(" ").join(Markup('<a href="#row-{0}">{0}</a>').format(row) for row in rows)


def _clock(at: str) -> str:
    return at.replace("T", " ").replace("Z", " UTC").replace("+00:00", " UTC")


def _length(seconds: int) -> str:
    return spoken(timedelta(seconds=seconds))


def _row(one: Proven) -> PageRow:
    row = one.row
    return PageRow(
        seq=row.seq,
        at=f"{row.at:%Y-%m-%d %H:%M:%S}",
        action=row.action,
        actor=row.actor,
        place=" in ".join(part for part in (row.app, row.environment) if part),
        deployment_id=row.deployment_id,
        reason_code=row.reason_code,
        details=tuple((name, _value(value)) for name, value in said(row).items() if value not in ("", [], False)),
        leaf=row.leaf,
    )


def _value(value: object) -> str:
    text = plain(value) if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _diff(text: str) -> Iterator[tuple[str, str]]:
    for line in text.splitlines():
        if line.startswith(("+++", "---", "@@", "# ")):
            yield "head", line
        elif line.startswith("+"):
            yield "add", line
        else:
            yield ("del" if line.startswith("-") else "same"), line
