"""The whole program in Socket Mode serves its pages: from `/audit open` and the Home tab to a page about a deployment.

Left out: what pages say and whom they let in (tests/slack/test_pages), browsers (tests/browser).
"""

import re
import stat
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from bot.sandbox.slack_model import AUDITOR, DEVELOPER
from tests.e2e.rig import APP, Rig, free_port, rig

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def bot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    port = free_port()
    more = {"LOCKTENDER_PORT": str(port), "LOCKTENDER_PUBLIC_URL": f"http://127.0.0.1:{port}"}
    with rig(tmp_path_factory.mktemp("pages"), {"pages": "{}"}, more=more) as made:
        yield made


def enter(client: httpx.Client, url: str) -> httpx.Response:
    """Follow a link and press its button."""
    assert client.get(url).status_code == 200
    origin = f"{urlsplit(url).scheme}://{urlsplit(url).netloc}"
    return client.post(f"{origin}/open", data={"t": parse_qs(urlsplit(url).query)["t"][0]})


def test_a_link_from_slack_leads_to_the_page_of_a_deployment(bot: Rig) -> None:
    asked = bot.deploy("1.4.2", "pages")
    said = bot.type(f"open {asked.id}", user=AUDITOR, command="/audit").text
    found = re.search(r"<(http[^|>]+)\|open>", said)
    assert found is not None, said
    with httpx.Client(follow_redirects=True) as client:
        page = enter(client, unescape(found[1]))
        assert (page.status_code, page.url.path) == (200, f"/deployments/{asked.id}")
        assert f"{APP} 1.4.2 to pages" in page.text
        assert AUDITOR.real_name in page.text
        assert "signed checkpoint" in page.text
        assert client.get(page.url.join("/")).status_code == 200
    assert [row.actor for row in bot.audit("pages:sign-in")] == [AUDITOR.id]


def test_the_home_tab_has_a_link_of_its_own(bot: Rig) -> None:
    bot.slack.open_home(DEVELOPER)
    bot.until(lambda: bot.slack.home(DEVELOPER) is not None)
    view = bot.slack.home(DEVELOPER)
    assert view is not None
    button = next(one for one in view.wire["blocks"] if one["type"] == "actions")["elements"][0]
    with httpx.Client(follow_redirects=True) as client:
        page = enter(client, button["url"])
    assert (page.status_code, page.url.path) == (200, "/")
    assert APP in page.text


def test_the_key_of_the_links_is_its_owners_alone(bot: Rig) -> None:
    key = Path(bot.sandbox.home, "var", "pages.key")
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
