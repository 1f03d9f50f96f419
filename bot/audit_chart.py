"""The chart of a report as a PNG picture, because Slack shows no other. The answer has the numbers as text too."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from io import BytesIO

# Pillow comes with the extra `charts`; without it this module is not imported.
from PIL import Image, ImageDraw, ImageFont  # type: ignore[import-not-found, unused-ignore]  # as said above

from commands.audit_report import Reported
from commands.dora import WEEK, Numbers
from commands.times import spoken

WIDTH, MARGIN, GAP = 1200, 48, 24
_TILE, _CHART, _LINE = 128, 260, 52  # pixels high
_MOST_LINES = 12
_LONGEST_NAME = 27
_FAILED = 760  # where this column begins
_UNITS = {"day": "d", "hour": "h", "min": "min", "second": "s"}
_PAPER, _INK, _QUIET, _RULE, _BAR, _BAD = "#ffffff", "#1d1c1d", "#5e5d60", "#dddddd", "#1264a3", "#b3261e"


@dataclass(frozen=True)
class _Pen:
    """Where everything is drawn on."""

    draw: ImageDraw.ImageDraw

    def text(self, x: float, y: float, said: str, size: int, colour: str = _INK, anchor: str = "la") -> None:
        self.draw.text((x, y), said, fill=colour, font=ImageFont.load_default(size), anchor=anchor)

    def box(self, x: float, y: float, width: float, height: float, colour: str) -> None:
        if width > 0 and height > 0:
            self.draw.rectangle((x, y, x + width - 1, y + height - 1), fill=colour)


def draw(found: Reported, of: str) -> bytes:
    """The picture: the four keys, deployments week by week, each environment's. `of` is what it is a report of."""
    environments = found.environments[:_MOST_LINES]
    height = 2 * MARGIN + 96 + _TILE + GAP + _CHART + GAP + _LINE * (1 + len(environments))
    picture = Image.new("RGB", (WIDTH, height), _PAPER)
    pen = _Pen(ImageDraw.Draw(picture))
    pen.text(MARGIN, MARGIN, f"Deployments{f' of {of[:80]}' if of else ''}", 34)
    pen.text(MARGIN, MARGIN + 48, f"{found.since:%Y-%m-%d %H:%M} to {found.until:%Y-%m-%d %H:%M} UTC", 20, _QUIET)
    top = MARGIN + 96
    _tiles(pen, top, found.total)
    top += _TILE + GAP
    _weeks(pen, top, found)
    top += _CHART + GAP
    _lines(pen, top, environments)
    out = BytesIO()
    picture.save(out, "PNG", optimize=True)
    return out.getvalue()


def _tiles(pen: _Pen, top: float, total: Numbers) -> None:
    often = total.deployments / max(1, len(total.weeks))
    tiles = (
        ("Deployments a week", f"{often:.1f}", _INK),
        ("From request to live", _short(total.lead), _INK),
        ("Failed", f"{total.failure_percent}%", _BAD if total.failures else _INK),
        ("Time to restore", _short(total.restore), _INK),
    )
    width = (WIDTH - 2 * MARGIN - GAP * (len(tiles) - 1)) / len(tiles)
    for number, (name, value, colour) in enumerate(tiles):
        x = MARGIN + number * (width + GAP)
        pen.box(x, top, width, 2, _RULE)
        pen.text(x, top + 20, name, 20, _QUIET)
        pen.text(x, top + 54, value, 42, colour)


def _weeks(pen: _Pen, top: float, found: Reported) -> None:
    weeks = found.total.weeks
    pen.text(MARGIN, top, "Deployments, week by week", 20, _QUIET)
    floor, room, most = top + _CHART - 34, _CHART - 100, max(1, *weeks, 1)
    width = (WIDTH - 2 * MARGIN) / len(weeks)
    bar = min(width * 0.7, 90)
    every = -(-len(weeks) // 14)  # dates that would touch each other are left out
    for number, count in enumerate(weeks):
        middle = MARGIN + (number + 0.5) * width
        high = room * count / most
        pen.box(middle - bar / 2, floor - high, bar, high, _BAR)
        pen.text(middle, floor - high - 6, str(count), 18, _INK, "mb")
        if (len(weeks) - 1 - number) % every == 0:
            begins = found.until - WEEK * (len(weeks) - number)
            pen.text(middle, floor + 10, f"{max(begins, found.since):%d %b}", 16, _QUIET, "ma")
    pen.box(MARGIN, floor, WIDTH - 2 * MARGIN, 2, _RULE)


def _lines(pen: _Pen, top: float, environments: Sequence[tuple[str, Numbers]]) -> None:
    columns = (
        (MARGIN, ""),
        (420, "deployments"),
        (590, "request to live"),
        (_FAILED, "failed"),
        (850, "restored"),
        (990, "approved"),
    )
    for x, name in columns:
        pen.text(x, top, name, 18, _QUIET)
    for number, (name, one) in enumerate(environments):
        y = top + _LINE * (number + 0.7)
        pen.box(MARGIN, y - 10, WIDTH - 2 * MARGIN, 1, _RULE)
        shown = name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]}…"
        told = (shown, str(one.deployments), _short(one.lead), f"{one.failure_percent}%", _short(one.restore))
        for (x, _), value in zip(columns, (*told, _short(one.approval)), strict=True):
            pen.text(x, y, value, 22, _BAD if x == _FAILED and one.failures else _INK)


def _short(length: timedelta | None) -> str:
    """As long as a tile is wide."""
    if length is None:
        return "–"  # noqa: RUF001 - a dash where there is nothing
    return re.sub(r" (day|hour|min|second)(?:ute)?s?", lambda found: f" {_UNITS[found[1]]}", spoken(length))
