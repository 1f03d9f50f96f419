"""The pages, as a browser asks for them: who is let in, what each page says, what is recorded, what hostile names do.

Left out: what a real browser makes of them (tests/browser), the links themselves (tests/unit/test_page_links).
"""

import re
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from bot.web.limits import Buckets
from bot.web.pages.doors import Doors, Shut
from bot.web.pages.seal import LINK_FOR, SESSION_FOR
from bot.web.pages.site import Limits
from commands import audit
from commands.requests import History
from storage.canonical import leaf_hash
from storage.database import Database
from storage.unit_of_work import AuditEntry, Store
from tests.desk_rig import asker
from tests.rows import audit_rows
from tests.slack.pages_rig import (
    NAMES,
    NOW,
    PUBLIC,
    READER,
    RULES,
    STRANGER,
    PagesRig,
    fill,
    generous,
    hostile,
    knows,
    rig,
)

PATHS = ("/", "/deployments/abcdef", "/changes/abcdef", "/sets/abcdef", "/audit", "/audit/1", "/reports")
CSP = (
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
FOR_PLATFORM = RULES + "audit: {readers: [platform-team]}\n"


@pytest.fixture
async def pages(database_url: str, tmp_path: Path) -> AsyncIterator[PagesRig]:
    made = rig(database_url, tmp_path)
    yield made
    await made.client.aclose()
    made.store.database.close()


@pytest.fixture
def ids(pages: PagesRig) -> Mapping[str, str]:
    return {**fill(pages), "hostile": hostile(pages)}


def actions(pages: PagesRig) -> list[str]:
    """What was recorded about reading, oldest first."""
    return [row.action for row in audit_rows(pages.store) if row.action.startswith(("pages:", "audit:"))][1:]


class Tags(HTMLParser):
    """Every tag with its attributes, and the text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        self.text = " ".join([*self.text.split(), *data.split()])

    def links(self) -> list[str]:
        return [attrs["href"] for tag, attrs in self.tags if tag == "a"]


# ---------------------------------------------------------------- coming in


@pytest.mark.parametrize("path", PATHS)
async def test_nobody_sees_anything_without_a_link(pages: PagesRig, path: str) -> None:
    answer = await pages.client.get(path)
    assert answer.status_code == 401
    assert "/audit open" in answer.text
    assert actions(pages) == []


async def test_what_there_is_not_looks_like_what_there_is_to_who_is_not_signed_in(
    pages: PagesRig, ids: Mapping[str, str]
) -> None:
    there = await pages.client.get(f"/deployments/{ids['open']}")
    not_there = await pages.client.get("/deployments/zzzzzzzzzz")
    assert there.text.replace(ids["open"], "ID") == not_there.text.replace("zzzzzzzzzz", "ID")


async def test_a_link_opens_a_button_and_the_button_a_session(pages: PagesRig) -> None:
    link = pages.link()
    shown = await pages.client.get(link)
    assert shown.status_code == 200
    assert "Developer" in shown.text
    answer = await pages.use(link)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    assert (await pages.client.get("/")).status_code == 200
    row = audit_rows(pages.store)[-1]
    assert (row.action, row.actor, row.team_id) == ("pages:sign-in", READER, "T1")


async def test_the_cookie_is_for_this_host_over_tls_and_for_no_script(pages: PagesRig) -> None:
    cookie = (await pages.sign_in()).headers["set-cookie"]
    assert cookie.startswith("__Host-locktender=")
    said = {part.strip().lower() for part in cookie.split(";")[1:]}
    assert said == {"httponly", "path=/", "samesite=lax", "secure", f"max-age={8 * 3600}"}


async def test_without_tls_the_cookie_has_no_prefix_that_browsers_would_refuse(
    database_url: str, tmp_path: Path
) -> None:
    made = rig(database_url, tmp_path, public_url="http://127.0.0.1:3000")
    token = made.seal.link("T1", READER)
    cookie = (await made.client.post("/open", data={"t": token})).headers["set-cookie"]
    assert cookie.startswith("locktender=")
    assert "secure" not in cookie.lower()
    await made.client.aclose()
    made.store.database.close()


async def test_a_preview_of_the_link_uses_nothing_up(pages: PagesRig) -> None:
    link = pages.link()
    for _ in range(3):
        assert (await pages.client.get(link, headers={"user-agent": "Slackbot-LinkExpanding 1.0"})).status_code == 200
        assert (await pages.client.head(link)).status_code == 200
    assert (await pages.use(link)).status_code == 303
    assert actions(pages) == ["pages:sign-in"]


async def test_a_link_works_once(pages: PagesRig) -> None:
    link = pages.link()
    await pages.use(link)
    pages.client.cookies.clear()
    again = await pages.use(link)
    assert again.status_code == 401
    assert "has been used" in again.text
    assert "set-cookie" not in again.headers
    assert "has been used" in (await pages.client.get(link)).text
    assert actions(pages) == ["pages:sign-in"]


async def test_a_link_works_for_five_minutes_and_not_a_second_longer(pages: PagesRig) -> None:
    first, second = pages.link(), pages.link()
    pages.clock.now = NOW + LINK_FOR - timedelta(seconds=1)
    assert (await pages.use(first)).status_code == 303
    pages.clock.now = NOW + LINK_FOR
    assert (await pages.client.get(second)).status_code == 401
    answer = await pages.use(second)
    assert answer.status_code == 401
    assert "too long ago" in answer.text


@pytest.mark.parametrize("token", ["", "x", "a.b", "a" * 3000])
async def test_what_we_did_not_sign_is_no_link(pages: PagesRig, token: str) -> None:
    assert (await pages.client.get("/open", params={"t": token})).status_code == 401
    assert (await pages.client.post("/open", data={"t": token})).status_code == 401


async def test_another_sites_form_signs_nobody_in_and_nobody_out(pages: PagesRig) -> None:
    link = pages.link()
    refused = await pages.use(link, Sec_Fetch_Site="cross-site")
    assert refused.status_code == 400
    assert (await pages.use(link, Sec_Fetch_Site="same-origin")).status_code == 303
    assert (await pages.client.post("/sign-out", headers={"Sec-Fetch-Site": "same-site"})).status_code == 400
    assert (await pages.client.get("/")).status_code == 200


async def test_a_form_that_is_too_large_is_refused(pages: PagesRig) -> None:
    assert (await pages.client.post("/open", data={"t": "x" * 5000})).status_code == 400


async def test_a_session_ends_after_eight_hours(pages: PagesRig) -> None:
    await pages.sign_in()
    pages.clock.now = NOW + SESSION_FOR - timedelta(seconds=1)
    assert (await pages.client.get("/")).status_code == 200
    pages.clock.now = NOW + SESSION_FOR
    assert (await pages.client.get("/")).status_code == 401


async def test_signing_out_ends_copies_of_the_cookie_too(pages: PagesRig) -> None:
    await pages.sign_in()
    copy = pages.client.cookies["__Host-locktender"]
    assert "signed out" in (await pages.client.post("/sign-out")).text
    assert "__Host-locktender" not in pages.client.cookies
    pages.client.cookies.set("__Host-locktender", copy)
    assert (await pages.client.get("/")).status_code == 401
    await pages.client.post("/sign-out")
    assert actions(pages) == ["pages:sign-in", "pages:sign-out"]


async def test_who_may_read_is_asked_again_at_each_request(pages: PagesRig) -> None:
    await pages.sign_in()
    pages.facts = knows(FOR_PLATFORM)
    for _ in range(3):
        answer = await pages.client.get("/audit")
        assert answer.status_code == 403
        assert "locktender.yaml" in answer.text
    pages.facts = knows()
    assert (await pages.client.get("/")).status_code == 200


async def test_a_refusal_is_recorded_once_a_minute_however_often_somebody_knocks(
    database_url: str, tmp_path: Path
) -> None:
    made = rig(database_url, tmp_path, limits=replace(generous(), rows=Buckets(1, 1)))
    await made.sign_in()
    made.facts = knows(FOR_PLATFORM)
    for path in PATHS:
        assert (await made.client.get(path)).status_code == 403
    refused = [row for row in audit_rows(made.store) if row.action == "pages:refuse"]
    assert [(row.actor, row.reason_code) for row in refused] == [(READER, "not_permitted")]
    await made.client.aclose()
    made.store.database.close()


@pytest.mark.parametrize(("user", "team"), [(READER, "T0OTHER"), ("U0PLATFORM3", "T1")])
async def test_a_link_is_of_no_use_to_who_may_not_read(pages: PagesRig, user: str, team: str) -> None:
    pages.facts = knows(FOR_PLATFORM)
    answer = await pages.use(pages.link(user, team=team))
    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers
    assert audit_rows(pages.store)[-1].action == "pages:sign-in:refuse"


async def test_a_link_leads_to_the_deployment_that_was_named(pages: PagesRig, ids: Mapping[str, str]) -> None:
    answer = await pages.use(pages.link(READER, ids["open"]))
    assert answer.headers["location"] == f"/deployments/{ids['open']}"


def test_of_two_who_use_one_link_at_once_one_is_let_in(pages: PagesRig) -> None:
    doors = Doors(pages.store, lambda: pages.facts, pages.seal, Buckets(1, 1))
    token = pages.seal.link("T1", READER)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: doors.sign_in(token), range(4)))
    assert sorted(str(one) for one in found if isinstance(one, Shut)) == [Shut.USED] * 3


# ---------------------------------------------------------------- limits and headers


async def test_strangers_are_counted_by_address_and_readers_by_person(database_url: str, tmp_path: Path) -> None:
    limits = Limits(pages=Buckets(60, 3), strangers=Buckets(60, 2), rows=Buckets(1, 1))
    made = rig(database_url, tmp_path, limits=limits)
    await made.sign_in()
    assert [(await made.client.get("/")).status_code for _ in range(4)] == [200, 200, 200, 429]
    made.client.cookies.clear()
    made.client.cookies.set("__Host-locktender", "forged")
    found = [await made.client.get("/") for _ in range(2)]
    assert [one.status_code for one in found] == [401, 429], "one was the button's"
    assert int(found[-1].headers["retry-after"]) >= 1
    await made.client.aclose()
    made.store.database.close()


async def test_every_answer_forbids_scripts_frames_and_copies(pages: PagesRig, ids: Mapping[str, str]) -> None:
    answers = [await pages.client.get(path) for path in PATHS]
    answers += [await pages.client.get(pages.link()), await pages.sign_in()]
    answers += [await pages.client.get(path) for path in (*PATHS, f"/deployments/{ids['open']}", "/audit?words=a:b")]
    for answer in answers:
        assert answer.headers["content-security-policy"] == CSP
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"


async def test_pages_have_no_script_no_inline_style_and_nothing_from_elsewhere(
    pages: PagesRig, ids: Mapping[str, str]
) -> None:
    await pages.sign_in()
    for path in ("/", f"/deployments/{ids['hostile']}", f"/deployments/{ids['reviewed']}", "/audit", "/reports"):
        for tag, attrs in Tags(await pages.page(path)).tags:
            assert tag not in {"script", "style", "iframe", "object", "embed", "base"}
            assert "style" not in attrs
            assert not [name for name in attrs if name.startswith("on")]
            if tag in {"img", "link"}:
                assert attrs.get("src", attrs.get("href", "")).startswith("/")


async def test_the_style_and_the_icon_are_served_to_everybody(pages: PagesRig) -> None:
    assert (await pages.client.get("/pages.css")).headers["content-type"].startswith("text/css")
    assert (await pages.client.get("/icon.svg")).headers["content-type"] == "image/svg+xml"


async def test_a_defect_is_told_with_an_id_and_nothing_else(pages: PagesRig) -> None:
    await pages.sign_in()
    pages.facts = replace(pages.facts, snapshot="not a snapshot")  # type: ignore[arg-type]  # a defect of ours
    with capture_logs() as logged:
        answer = await pages.client.get("/")
    assert answer.status_code == 500
    told = re.search(r"error id <code>([0-9a-f]{8})</code>", answer.text)
    assert told is not None
    assert [one["error_id"] for one in logged if one["event"] == "pages.defect"] == [told[1]]
    assert "Traceback" not in answer.text


# ---------------------------------------------------------------- what pages say


async def test_the_first_page_says_what_runs_waits_and_is_held(pages: PagesRig, ids: Mapping[str, str]) -> None:
    await pages.sign_in()
    text = Tags(await pages.page("/")).text
    said = text
    assert "drift: not scanned" in said
    assert "git at c0ffee1" in said
    assert "my-application 1.4.2 to production 0 of 1 from release-managers, platform-team" in said
    assert "search-indexer 2.0.0-rc.1 to staging running" in said
    assert "hold checkout-api in production" in said
    assert "does not run here" in said
    links = Tags(await pages.page("/")).links()
    assert "https://github.example/company/infra/pull/7" in links
    assert f"/deployments/{ids['open']}" in links
    assert [one for one in actions(pages) if one != "pages:sign-in"] == []


async def test_what_a_freeze_of_the_catalogue_holds_is_shown(pages: PagesRig, ids: Mapping[str, str]) -> None:
    frozen = (
        "freezes:\n  - {name: year-end, environments: [production], timezone: UTC, "
        "from: 2026-11-20T00:00, until: 2026-12-01T00:00}\n"
    )
    pages.facts = replace(knows(RULES + frozen, {"web/production": "1.4.1"}))
    assert ids
    await pages.sign_in()
    said = Tags(await pages.page("/")).text
    assert "freeze year-end production" in said


async def test_without_rules_the_first_page_says_so(pages: PagesRig) -> None:
    pages.facts = replace(knows(), in_force=replace(knows().in_force, catalogue=None, problem="There is no file."))
    await pages.sign_in()
    assert "There is no file." in await pages.page("/")


async def test_a_deployment_tells_its_whole_story(pages: PagesRig, ids: Mapping[str, str]) -> None:
    await pages.sign_in()
    page = Tags(await pages.page(f"/deployments/{ids['reviewed']}"))
    said = page.text
    assert "Release manager approved" in said
    assert "Platform engineer rejected 2026-11-21 16:11:00 b0b0b0b0b0b0b0b0 , void" in said
    assert "+ image: registry.company.com/my-application:1.4.2" in said
    assert "Developer asked for it" in said
    commit = f"https://github.example/company/infra/commit/{'e' * 40}"
    assert {"https://github.example/company/infra/pull/7", commit} <= set(page.links())
    rows = [row for row in audit_rows(pages.store) if row.deployment_id == ids["reviewed"] and row.leaf in said]
    assert len(rows) == 6
    assert "locktender/git.example/infra" in said, "the signed checkpoint"
    read = audit_rows(pages.store)[-1]
    assert (read.action, read.actor, read.deployment_id) == ("audit:show", READER, ids["reviewed"])
    assert '"source":"page"' in read.details


async def test_a_change_and_a_set_are_found_by_their_own_addresses(pages: PagesRig, ids: Mapping[str, str]) -> None:
    await pages.sign_in()
    first = await pages.page(f"/deployments/{ids['open']}")
    assert Tags(await pages.page(f"/changes/{ids['open']}")).tags[:12] == Tags(first).tags[:12]
    assert ids["open"] in await pages.page(f"/sets/{ids['open']}")


@pytest.mark.parametrize(
    "path", ["/deployments/zzzzzzzzzz", "/deployments/a.b", "/audit/0", "/audit/99999", "/audit/x"]
)
async def test_a_page_that_is_not_there_says_nothing_else_and_is_not_recorded(pages: PagesRig, path: str) -> None:
    await pages.sign_in()
    answer = await pages.client.get(path)
    assert answer.status_code == 404
    assert [one for one in actions(pages) if one != "pages:sign-in"] == []


async def test_a_rows_proof_leads_from_its_text_to_the_signed_root(pages: PagesRig, ids: Mapping[str, str]) -> None:
    assert ids
    await pages.sign_in()
    row = audit_rows(pages.store)[4]
    page = await pages.page(f"/audit/{row.seq}")
    said = Tags(page).text
    assert "holds" in said
    assert "does not hold" not in said
    text = re.search(r"<pre class=\"wrap\" tabindex=\"0\">(.*?)</pre>", page, re.DOTALL)
    assert text is not None
    assert leaf_hash(unescape(text[1])) == row.leaf
    assert "The signed checkpoint" in said
    assert audit_rows(pages.store)[-1].action == "audit:read"


# ---------------------------------------------------------------- the record


@pytest.mark.parametrize(
    ("query", "request_"),
    [
        ({}, History()),
        ({"app": "web"}, History(app="web")),
        ({"env": "production", "action": "change"}, History(environment="production", action="change")),
        ({"words": "CrashLoopBackOff"}, History(words="CrashLoopBackOff")),
        ({"words": "app:web status:failed"}, History(app="web", status="failed")),
        ({"by": "me", "since": "3d"}, History(actor=READER, since="3d")),
        ({"version": "1.4.1", "until": "2026-11-20"}, History(version="1.4.1", until="2026-11-20")),
    ],
)
async def test_a_search_finds_what_the_command_finds(
    pages: PagesRig, ids: Mapping[str, str], query: dict[str, str], request_: History
) -> None:
    assert ids
    seqs: list[int] = []
    older: History | None = request_
    while older is not None:
        answer = audit.history(pages.store, pages.facts, asker(), older)
        seqs += [int(re.match(r"#(\d+)", row.text)[1]) for row in answer.rows]  # type: ignore[index]  # each begins so
        older = answer.older
    last = max(seqs, default=0)
    await pages.sign_in()
    found: list[int] = []
    path: str | None = "/audit?" + "&".join(f"{key}={value}" for key, value in query.items())
    while path is not None:
        page = Tags(await pages.page(path))
        found += [int(one.rpartition("/")[2]) for one in page.links() if re.fullmatch(r"/audit/\d+", one)]
        path = next((attrs["href"] for tag, attrs in page.tags if attrs.get("rel") == "next"), None)
    assert [seq for seq in found if seq <= last] == [seq for seq in seqs if seq <= last]
    assert len(set(found)) == len(found)


async def test_reading_is_recorded_as_the_commands_reading_is(pages: PagesRig) -> None:
    audit.history(pages.store, pages.facts, asker(), History(app="web", environment="staging"))
    await pages.sign_in()
    await pages.page("/audit?app=web&env=staging")
    by_command, by_page = [row for row in audit_rows(pages.store) if row.action == "audit:read"]
    assert by_page.details == by_command.details.replace('"slash"', '"page"')
    assert (by_page.actor, by_page.team_id) == (by_command.actor, by_command.team_id)


@pytest.mark.parametrize(
    "query",
    [
        "words=ap:web",
        "app=two+words",
        "commit=xyz",
        "since=never",
        "words=app:a&app=b",
        "by=nobody",
        "since=1d&until=2d",
    ],
)
async def test_a_search_that_is_none_says_why_and_keeps_what_was_typed(pages: PagesRig, query: str) -> None:
    await pages.sign_in()
    answer = await pages.client.get(f"/audit?{query}")
    assert answer.status_code == 400
    page = Tags(answer.text)
    assert [attrs for _, attrs in page.tags if attrs.get("role") == "alert"]
    kept = {attrs["name"]: attrs["value"] for tag, attrs in page.tags if tag == "input"}
    for pair in query.split("&"):
        name, _, value = pair.partition("=")
        assert kept[name] == value.replace("+", " ")


@pytest.mark.parametrize("before", ["-1", "99999999999999", "x", "1.5", "٣"])
async def test_a_forged_page_number_is_the_first_page(pages: PagesRig, before: str) -> None:
    await pages.sign_in()
    assert "#1" in await pages.page(f"/audit?before={before}")


# ---------------------------------------------------------------- reports


async def test_reports_have_the_numbers_of_the_command_and_a_table_of_the_chart(
    pages: PagesRig, ids: Mapping[str, str]
) -> None:
    assert ids
    await pages.sign_in()
    page = Tags(await pages.page("/reports?since=60d&env=staging"))
    said = page.text
    assert "Deployments a week 1.3" in said
    assert "staging 12 0 3 min 2 min 56 s 8% (1)" in said
    assert [attrs["aria-label"] for tag, attrs in page.tags if tag == "svg"]
    assert "Week from Deployments 2026-09-24 0" in said
    assert audit_rows(pages.store)[-1].action == "audit:report"


@pytest.mark.parametrize("query", ["since=never", "app=a+b", "since=1d&until=3d", f"app={'x' * 200}"])
async def test_a_report_of_nothing_sensible_says_why(pages: PagesRig, query: str) -> None:
    await pages.sign_in()
    assert (await pages.client.get(f"/reports?{query}")).status_code == 400


async def test_a_report_of_an_empty_time_says_so(pages: PagesRig) -> None:
    await pages.sign_in()
    assert "Nothing ended in this time" in await pages.page("/reports")


# ---------------------------------------------------------------- hostile words


HOSTILE = (
    "<script>alert(1)</script>",
    "\"' onmouseover=alert(1) x='",
    "</code></pre><b>",
    "{{ 1111*1111 }}{% raw %}",
    "javascript:alert(1)",
    "\u202etxt.exe\u202c",
    "&lt;script&gt;",
)


@pytest.mark.parametrize("words", HOSTILE)
async def test_whatever_people_and_systems_said_stays_text(pages: PagesRig, words: str) -> None:
    row = AuditEntry(
        "deployment:request", words, "T1", words, words, "abcdef", words,
        {"version": words, "reason": words, "commit": words, "pull_request": words, "build_url": words, "phase": words},
    )  # fmt: skip
    with pages.store.write() as uow:
        uow.audit(row)
    before = dict(NAMES)
    NAMES[STRANGER] = words
    await pages.sign_in(STRANGER)
    clean = Tags(await pages.page("/audit?words=nothing-matches-this"))
    plain_tags = {tag for tag, _ in clean.tags} | {
        "code",
        "time",
        "ol",
        "li",
        "strong",
        "dl",
        "dt",
        "dd",
        "div",
        "pre",
        "h2",
    }
    number = audit_rows(pages.store)[1].seq
    try:
        for path in ("/audit", f"/audit/{number}"):
            page = Tags(await pages.page(path))
            assert {tag for tag, _ in page.tags} <= plain_tags | {"section", "p", "h3"}
            assert not [name for _, attrs in page.tags for name in attrs if name.startswith("on")]
            assert not [one for one in page.links() if one.startswith("javascript")]
            assert "\u202e" not in page.text
            assert "1234321" not in page.text
    finally:
        NAMES.clear()
        NAMES.update(before)


async def test_hostile_words_in_the_address_come_back_as_text(pages: PagesRig) -> None:
    await pages.sign_in()
    for path in ("/audit", "/reports"):
        answer = await pages.client.get(path, params={"app": '"><script>alert(1)</script>'})
        assert not [tag for tag, _ in Tags(answer.text).tags if tag == "script"]


async def test_names_of_people_are_shown_and_ids_where_there_are_none(pages: PagesRig) -> None:
    with pages.store.write() as uow:
        uow.audit(AuditEntry("deployment:request", "U0NAMELESS", "T1"))
        uow.audit(AuditEntry("deployment:request", "github:octocat", "T1"))
    await pages.sign_in()
    said = Tags(await pages.page("/audit")).text
    assert "U0NAMELESS" in said
    assert "github:octocat" in said
    assert "Developer" in said


async def test_below_a_path_of_a_proxy_every_address_of_ours_has_it(database_url: str, tmp_path: Path) -> None:
    made = rig(database_url, tmp_path, public_url=f"{PUBLIC}/bot")
    client = made.client
    entered = await client.post(f"{PUBLIC}/open", data={"t": made.seal.link("T1", READER)})  # the proxy cuts it off
    assert entered.headers["location"] == "/bot/"
    assert made.site.link(asker()).startswith(f"{PUBLIC}/bot/open?t=")
    page = Tags((await client.get(f"{PUBLIC}/")).text)
    own = [one for one in page.links() if one.startswith("/")]
    assert own
    assert all(one.startswith("/bot/") for one in own)
    await client.aclose()
    made.store.database.close()


def test_the_stores_of_these_tests_are_signed(pages: PagesRig) -> None:
    assert isinstance(pages.store, Store)
    assert isinstance(pages.store.database, Database)
    assert all(row.sig for row in audit_rows(pages.store))
