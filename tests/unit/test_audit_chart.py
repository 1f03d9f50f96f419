"""The picture of a report: that it is one, whatever the numbers and names are. How it looks, people have to look at."""

from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path

import pytest

from bot.audit_orders import Orders
from commands.audit_report import Reported, report_with_chart
from commands.dora import Numbers
from commands.requests import Report
from storage.unit_of_work import Store
from storage.verdict import State, Verdict
from tests.desk_rig import ALICE, asker, facts, requested
from tests.unit.test_audit_use_cases import ended

image = pytest.importorskip("PIL.Image", reason="Pillow, of the extra `charts`, is not installed")
UNTIL = datetime(2026, 3, 29, tzinfo=UTC)


def numbers(weeks: tuple[int, ...], length: timedelta | None) -> Numbers:
    return Numbers(sum(weeks), 1, min(1, sum(weeks)), weeks, length, length, length, length, length)


@pytest.mark.parametrize("weeks", [(0,), (3,), (1, 0, 9), tuple(range(53))])
@pytest.mark.parametrize("length", [None, timedelta(0), timedelta(days=40, hours=3)])
def test_any_numbers_make_a_picture(weeks: tuple[int, ...], length: timedelta | None) -> None:
    from bot.audit_chart import draw

    one = numbers(weeks, length)
    places = tuple((f"env-{number}" * 9, one) for number in range(30))
    found = Reported(UNTIL - timedelta(days=7 * len(weeks)), UNTIL, one, places, ())
    with image.open(BytesIO(draw(found, "na\u00efve\u202e \u4f60" * 40))) as picture:
        assert picture.format == "PNG"
        assert picture.width == 1200
        assert picture.height < 2000


def test_whoever_asks_for_a_report_is_given_its_picture(store: Store, tmp_path: Path) -> None:
    ended(store, requested(store, facts()))
    answer = report_with_chart(store, facts(), asker(ALICE), Report(environment="staging"))
    assert "A picture of it" in answer.next_step
    given: list[tuple[str, bytes, str, str]] = []
    orders = Orders(
        store,
        tmp_path,
        lambda user, path, title, words: given.append((user, path.read_bytes(), title, words)),
        lambda: Verdict(State.UNKNOWN, 0),
    )
    assert orders.once()
    ((user, content, title, words),) = given
    assert user == ALICE
    assert content.startswith(b"\x89PNG")
    assert title.endswith(".png")
    assert "`staging`" in words
