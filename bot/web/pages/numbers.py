"""The reports' page: DORA's four keys, and a chart that is drawn here, because pages have no script."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from bot.slack.parse_audit import parse_audit
from commands.audit_report import Reported, reported
from commands.dora import WEEK, Numbers
from commands.reasons import ReasonCode, Refused
from commands.requests import Mistake, Report, typed
from storage.unit_of_work import UnitOfWork

FIELDS = ("app", "env", "since", "until")
HEIGHT = 220
_TOP, _FLOOR = 26, 24  # pixels for the count above a bar, and for dates below it


@dataclass(frozen=True)
class Bar:
    """One week of the chart, in its pixels. `label` is empty where dates would touch each other."""

    x: float
    y: float
    width: float
    height: float
    middle: float
    count: int
    begins: datetime
    label: str


@dataclass(frozen=True)
class Chart:
    """The weeks as a picture of this width in pixels; `name` is its class."""

    name: str
    width: int
    bars: tuple[Bar, ...]


@dataclass(frozen=True)
class ReportPage:
    """Everything on the page."""

    asked: Mapping[str, str]
    found: Reported
    charts: tuple[Chart, ...]
    """The same weeks, drawn for a screen and for a phone: text in a picture that shrinks could not be read."""

    @property
    def total(self) -> Numbers:
        """The numbers of everything together."""
        return self.found.total

    @property
    def weekly(self) -> float:
        """Deployments a week."""
        return self.total.deployments / max(1, len(self.total.weeks))


def asked(query: Mapping[str, str]) -> Report:
    """What the form asks for, read by the parser of the command. Raises Refused for words that are none."""
    line = ""
    for name in FIELDS:
        value = query.get(name, "").strip()
        if any(one.isspace() for one in value) or len(value) > 100:
            raise Refused(ReasonCode.BAD_USAGE, f"{typed(value)} is nothing for `{name}`.", "Give one short word.")
        line += f" {name}:{value}" if value else ""
    found = parse_audit(f"report{line}", me="")
    if isinstance(found, Mistake):
        raise Refused(found.reason, found.what, found.next_step)
    assert isinstance(found, Report)  # noqa: S101 - its first word makes it one
    return found


def report_page(uow: UnitOfWork, request: Report) -> ReportPage:
    """The page. Raises Refused(BAD_TIME)."""
    found = reported(uow, request)
    shown = {"app": request.app, "env": request.environment, "since": request.since, "until": request.until}
    charts = (Chart("broad", 960, bars(found, 960, labels=12)), Chart("slim", 330, bars(found, 330, labels=5)))
    return ReportPage(shown, found, charts)


def bars(found: Reported, width: int, labels: int) -> tuple[Bar, ...]:
    """The weeks as bars, the last one at the right edge; so many dates at most."""
    weeks = found.total.weeks
    step = width / len(weeks)
    broad = min(step * 0.7, 72)
    room = HEIGHT - _TOP - _FLOOR
    every = -(-len(weeks) // labels)
    made = []
    for number, count in enumerate(weeks):
        begins = max(found.until - WEEK * (len(weeks) - number), found.since)
        high = room * count / max(1, *weeks, 1)
        middle = (number + 0.5) * step
        label = f"{begins:%d %b}" if (len(weeks) - 1 - number) % every == 0 else ""
        y = HEIGHT - _FLOOR - high
        made.append(
            Bar(round(middle - broad / 2, 1), round(y, 1), round(broad, 1), round(high, 1), round(middle, 1), count,
                begins, label)
        )  # fmt: skip
    return tuple(made)
