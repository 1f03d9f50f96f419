"""The pages in chromium: signing in from another site, without scripts, on a phone, by keyboard, and what axe finds.

Left out: what pages say and whom they let in (tests/slack/test_pages). `make test-browser` runs this.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Route

from bot.sandbox.server import Server
from bot.web.pages.seal import LINK_FOR
from storage import database
from tests.desk_rig import asker
from tests.slack.pages_rig import NOW, READER, PagesRig, fill, hostile, rig

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]
LOOK = Path(__file__).with_name("look.mjs")
SCHEMES, WIDTHS = ("light", "dark"), (1280, 360)
Step = Mapping[str, object]


@dataclass(frozen=True)
class Sites:
    """The bot at one address, and another site at another."""

    pages: PagesRig
    ids: Mapping[str, str]
    url: str
    elsewhere: str

    def link(self, deployment_id: str = "") -> str:
        """A new link."""
        return self.url + self.pages.site.link(asker(READER), deployment_id).removeprefix("http://127.0.0.1")

    def signed_in(self) -> list[Step]:
        """The steps to be so."""
        return [{"do": "goto", "url": self.link()}, {"do": "click", "on": "button.go"}]

    def paths(self) -> dict[str, str]:
        """Every page, by name."""
        return {
            "environments": "/",
            "deployment": f"/deployments/{self.ids['open']}",
            "merged": f"/deployments/{self.ids['reviewed']}",
            "hostile": f"/deployments/{self.ids.get('hostile', '')}",
            "record": "/audit",
            "nothing": "/audit?words=nosuchword",
            "mistake": "/audit?words=ap:web",
            "row": "/audit/20",
            "reports": "/reports?since=60d",
            "missing": "/deployments/zzzzzzzzzz",
        }


def _elsewhere(request: Request) -> HTMLResponse:
    """Another site, with a link to wherever its address says."""
    return HTMLResponse(
        f'<title>elsewhere</title><link rel="icon" href="data:,"><a href="{request.query_params["to"]}">open</a>'
    )


@contextmanager
def serving(folder: Path) -> Iterator[Sites]:
    """The bot with an afternoon in its record, and the other site."""
    url = database.sqlite_url(folder / "pages.db")
    engine = database.create(url)
    database.upgrade(engine)
    engine.dispose()
    pages = rig(url, folder, public_url="http://127.0.0.1")
    ids = fill(pages)
    with Server(pages.app) as bot, Server(Starlette(routes=[Route("/", _elsewhere)])) as other:
        # Another name is another site: browsers go by it, and not by where it leads.
        yield Sites(pages, ids, bot.url, other.url.replace("127.0.0.1", "localhost"))
    pages.store.database.close()


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sites]:
    with serving(tmp_path_factory.mktemp("pages")) as found:
        yield replace(found, ids={**found.ids, "hostile": hostile(found.pages)})


@pytest.fixture(scope="module")
def tools() -> tuple[str, str]:
    """Chromium, and the folder with playwright-core and axe-core."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    folder = os.environ.get("LOCKTENDER_AXE", "")
    if chromium is None or not folder or shutil.which("node") is None:
        pytest.skip("needs chromium, node and LOCKTENDER_AXE: `make test-browser`")
    return chromium, folder


@pytest.fixture
def look(tools: tuple[str, str], tmp_path: Path) -> Any:
    """Carries out orders in a browser, each in a profile of its own; what it found, in their order."""

    def carry_out(*orders: Mapping[str, object]) -> list[dict[str, Any]]:
        file = tmp_path / "orders.json"
        file.write_text(json.dumps(orders))
        done = subprocess.run(
            ["node", str(LOOK), *tools, str(file)], capture_output=True, text=True, timeout=500, check=False
        )
        assert done.returncode == 0, done.stderr[-3000:]
        found: list[dict[str, Any]] = json.loads(done.stdout)
        return found

    return carry_out


def last(found: dict[str, Any]) -> dict[str, Any]:
    step: dict[str, Any] = found["steps"][-1]
    return step


def test_a_click_on_a_link_in_slack_signs_in_and_so_do_later_links(sites: Sites, look: Any) -> None:
    here = sites.paths()["deployment"]
    (found,) = look(
        {
            "name": "from another site",
            "steps": [
                {"do": "goto", "url": f"{sites.elsewhere}/?to={sites.link()}"},
                {"do": "click", "on": "a"},
                {"do": "click", "on": "button.go"},
                {"do": "cookies"},
                {"do": "goto", "url": f"{sites.elsewhere}/?to={sites.url}{here}"},
                {"do": "click", "on": "a"},
            ],
        }
    )
    button, inside, cookies, _, deep = found["steps"][1:]
    assert button["title"].startswith("Sign in")
    assert (inside["status"], inside["url"]) == (200, f"{sites.url}/")
    assert [(one["sameSite"], one["httpOnly"]) for one in cookies["cookies"]] == [("Lax", True)]
    assert deep["status"] == 200, "a link on a card finds people signed in"
    assert found["troubles"] == []


def test_a_used_link_and_an_expired_one_say_so(sites: Sites, look: Any) -> None:
    used, late = sites.link(), sites.link()
    (found,) = look(
        {
            "name": "used",
            "steps": [
                {"do": "goto", "url": used},
                {"do": "click", "on": "button.go"},
                {"do": "goto", "url": used, "text_of": "h1"},
            ],
        }
    )
    assert (last(found)["status"], last(found)["text"]) == (401, "This link has been used already.")
    sites.pages.clock.now = NOW + LINK_FOR
    try:
        (found,) = look({"name": "late", "steps": [{"do": "goto", "url": late, "text_of": "h1"}]})
    finally:
        sites.pages.clock.now = NOW
    assert last(found)["status"] == 401
    assert last(found)["text"].startswith("That was too long ago")


def test_everything_works_without_scripts(sites: Sites, look: Any) -> None:
    (found,) = look(
        {
            "name": "no scripts",
            "script": False,
            "steps": [
                *sites.signed_in(),
                {"do": "click", "on": "nav a[href='/audit']"},
                {"do": "fill", "on": "input[name=app]", "text": "web"},
                {"do": "press", "key": "Enter"},
                {"do": "click", "on": ".rows .of a"},
                {"do": "click", "on": "nav a[href='/reports']"},
                {"do": "click", "on": ".out button", "text_of": "h1"},
                {"do": "goto", "url": f"{sites.url}/"},
            ],
        }
    )
    assert [step["status"] for step in found["steps"] if "status" in step] == [200] * 7 + [401]
    assert "app=web" in found["steps"][4]["url"]
    assert "/deployments/" in found["steps"][5]["url"]
    assert found["steps"][7]["text"] == "You are signed out."


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_no_page_has_a_barrier_a_sideways_scroll_or_anything_that_its_policy_forbids(
    sites: Sites, look: Any, scheme: str, width: int
) -> None:
    checks: list[Step] = [{"do": "axe"}, {"do": "overflow"}]
    steps: list[Step] = [{"do": "goto", "url": sites.url}, *checks, {"do": "goto", "url": sites.link()}, *checks]
    steps += [{"do": "click", "on": "button.go"}]
    for path in sites.paths().values():
        steps += [{"do": "goto", "url": sites.url + path}, *checks]
    (found,) = look({"name": "barriers", "scheme": scheme, "width": width, "steps": steps})
    told = [(step["url"], one) for step in found["steps"] for one in step.get("violations", ())]
    assert told == []
    assert [(step["url"], step["overflow"]) for step in found["steps"] if step.get("overflow")] == []
    refused = ("status of 400", "status of 401", "status of 404")  # the browser tells of our own answers too
    assert [one for one in found["troubles"] if not any(part in one for part in refused)] == []


def test_the_keyboard_reaches_everything_in_the_order_in_which_it_is_read(sites: Sites, look: Any) -> None:
    steps = [*sites.signed_in(), {"do": "goto", "url": f"{sites.url}/"}, {"do": "keyboard", "most": 60}]
    (found,) = look({"name": "keyboard", "height": 600, "steps": steps})
    order = last(found)["order"]
    assert order[0]["what"] == "Skip to the content"
    assert [one["what"] for one in order[1:6]] == ["Locktender", "Environments", "Record", "Reports", "Sign out"]
    assert len(order) > 15
    assert [one for one in order if not one["seen"] or not one["inView"]] == []
    inside = [one["top"] for one in order[6:]]
    assert [one for one in pairwise(inside) if one[1] < one[0] - 200] == [], "never far back up"


def test_the_skip_link_leads_past_the_head(sites: Sites, look: Any) -> None:
    steps = [
        *sites.signed_in(),
        {"do": "keyboard", "most": 1},
        {"do": "enter"},
        {"do": "keyboard", "most": 1},
    ]
    (found,) = look({"name": "skip", "steps": steps})
    assert last(found)["order"][0]["what"].startswith("my-application")


def test_hostile_words_open_no_dialog(sites: Sites, look: Any) -> None:
    looked_at = [{"do": "goto", "url": sites.url + sites.paths()[one]} for one in ("hostile", "record")]
    steps = [*sites.signed_in(), *looked_at]
    (found,) = look({"name": "hostile", "steps": steps})
    assert found["troubles"] == []


def test_pictures_for_the_page_about_the_pages(tmp_path: Path, look: Any) -> None:
    """With LOCKTENDER_SHOTS, a folder, they are kept there."""
    kept = os.environ.get("LOCKTENDER_SHOTS", "")
    if not kept:
        pytest.skip("LOCKTENDER_SHOTS names no folder")
    with serving(tmp_path) as sites:
        sorts = (("environments", "light", 1280), ("environments", "dark", 360), ("merged", "light", 1280),
                 ("merged", "dark", 360), ("record", "dark", 1280), ("reports", "light", 1280))  # fmt: skip
        paths = sites.paths()
        orders = [
            {
                "name": name,
                "scheme": scheme,
                "width": width,
                "scale": 1,
                "steps": [
                    *sites.signed_in(),
                    {"do": "goto", "url": sites.url + (paths | {"record": "/audit?app=my-application"})[name]},
                    {"do": "shot", "path": str(Path(kept).resolve() / f"pages-{name}-{scheme}-{width}.png")},
                ],
            }
            for name, scheme, width in sorts
        ]
        assert [one["troubles"] for one in look(*orders)] == [[]] * len(orders)
