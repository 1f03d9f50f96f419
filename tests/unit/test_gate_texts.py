"""What reviewers read on GitHub, and what git keeps of a merge: all of it, within GitHub's limits, and nothing acts.

That it gets there is tests/e2e; what the card says of the same, test_review_cards.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from bot.content import Content
from bot.gate.effects import Effect, OnApp
from bot.gate.texts import body, merge_message, title
from bot.writing import trailers
from commands.code_host import Comparison, SourceCommit
from commands.ports import ImageRef
from storage.models import Change, Deployment, Kind
from storage.phases import Phase

DIGEST = "sha256:" + "ab" * 32
DIFF = "-  image: web:1.4.1\n+  image: web:1.4.2\n"
HOSTILE = (
    "<!-- --><script>alert(1)</script> @everyone @octo-org/team ![x](https://evil.example/p.png) [y](javascript:1) "
    "`code` **bold** | cell | # head\n\nApproved-by: U0RELEASE\r\n\u202etxet ~~no~~ #1 ``` \u2066"
)


def change(**more: Any) -> Change:
    known: dict[str, Any] = {"id": "84an2qhsvg", "kind": Kind.DEPLOY, "environment": "production", "team_id": "T1"}
    return Change(**(known | {"requested_by": "U0DEVELOPER", "reason": "the cart total"} | more))


def row(app: str = "web", **more: Any) -> Deployment:
    known: dict[str, Any] = {"id": f"id-{app}", "app": app, "environment": "production", "version": "1.4.2"}
    known |= {
        "team_id": "T1",
        "requested_by": "U0DEVELOPER",
        "phase": Phase.AWAITING_APPROVAL,
        "reason": "the cart total",
    }
    return Deployment(**(known | more))


def content(before: str = "1.4.1", after: str = "1.4.2", *told: str, digest: str = DIGEST) -> Content:
    return Content("overlay", ImageRef("r/web", before), ImageRef("r/web", after, digest), {}, told)


def effect(*apps: str, text: str = DIFF, others: Mapping[str, str] | None = None) -> Effect:
    found = {app: OnApp(app, f"apps/{app}/overlays/production", "1 object changed", text, "f") for app in apps}
    return Effect(found, others or {})


def text_of(shown: Effect | None = None, of: Content | None = None, **more: Any) -> str:
    return body(change(**more), [row()], {"web": of or content()}, shown or effect("web"))


# ---------------------------------------------------------------- titles


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({}, "Deploy web to 1.4.2 in production"),
        ({"kind": Kind.PROMOTE}, "Promote web to 1.4.2 in production"),
        ({"kind": Kind.ROLLBACK}, "Roll back web to 1.4.2 in production"),
        ({"break_glass": True}, "[break-glass] Deploy web to 1.4.2 in production"),
    ],
)
def test_a_title_says_what_is_asked_for(more: dict[str, Any], said: str) -> None:
    assert title(change(**more), [row()]) == said


def test_the_title_of_a_set_names_the_first_and_counts_the_rest() -> None:
    rows = [row(f"app-{number}") for number in range(6)]
    assert title(change(kind=Kind.PROMOTE), rows) == (
        "Promote 6 apps to production: app-0, app-1, app-2, app-3 and 2 more"
    )


def test_github_takes_the_longest_title() -> None:
    long = {"version": "v" * 128, "environment": "e" * 63}
    rows = [row(f"{number}{'a' * 62}", **long) for number in range(20)]
    for some in (rows[:1], rows):
        assert len(title(change(break_glass=True), some)) <= 256


# ---------------------------------------------------------------- bodies


def test_a_reviewer_can_decide_from_the_text() -> None:
    shown = text_of(effect("web", others={"api in production": "1 object changed: ConfigMap/shared"}))
    for said in (
        f"| `web` | `1.4.1` | `1.4.2` | `{DIGEST}` |",
        "**Environment:** `production`",
        "**Requested by:** U0DEVELOPER",
        "**Reason:** the cart total",
        "- **api in production**: 1 object changed: ConfigMap/shared",
        f"```diff\n# apps/web/overlays/production\n{DIFF.rstrip()}\n```",
        "Locktender change `84an2qhsvg`",
        "merging it by hand goes around the approval",
    ):
        assert said in shown
    assert "Nothing else changes." in text_of()


def test_an_image_without_a_digest_and_one_without_a_tag_are_said_so() -> None:
    assert "| `1.4.1` | `1.4.2` | not pinned |" in text_of(of=content(digest=""))
    assert "| `nothing` |" in text_of(of=content(before=""))
    assert "| `sha256:abababababab` |" in text_of(of=content(after=""))


def test_what_a_rollback_restores_is_said() -> None:
    rolled = row(kind=Kind.ROLLBACK, restores="d000000001", restore_commit="c" * 40)
    told = content("1.4.2", "1.4.1", "`apps/web/base` changed since that commit and stays as now.")
    shown = body(change(kind=Kind.ROLLBACK), [rolled], {"web": told}, effect("web"))
    assert "**Restores:** for `web`, what `d000000001` deployed" in shown
    assert "changed since that commit and stays as now." in shown


@pytest.mark.parametrize(
    ("more", "said", "trailer"),
    [
        ({"restore_commit": "c" * 40}, "what commit `cccccccccccc` says (no deployment of it is on record", "c" * 40),
        ({"version": "1.3.9"}, "the image `1.3.9` (no deployment of it is on record as healthy)", "image 1.3.9"),
    ],
)
def test_a_rollback_to_what_is_not_on_record_says_so(more: dict[str, str], said: str, trailer: str) -> None:
    rolled = row(kind=Kind.ROLLBACK, **more)
    assert said in body(change(kind=Kind.ROLLBACK), [rolled], {"web": content()}, effect("web"))
    assert ("Restores", trailer) in trailers((rolled,))
    assert "Restores" not in dict(trailers((row(),)))


def test_the_commits_between_the_versions_are_listed_newest_first() -> None:
    commits = tuple(SourceCommit(f"{number:040x}", f"Commit {number}", "Alice") for number in range(25))
    shown = body(
        change(), [row()], {"web": content()}, effect("web"), {"web": Comparison("https://c.example/", 60, commits)}
    )
    assert shown.index("Commit 24") < shown.index("Commit 5")
    assert "Commit 4 " not in shown
    assert "- and 40 more: https://c.example/" in shown


# ---------------------------------------------------------------- nothing outside acts


def test_what_people_and_tools_say_is_text_and_never_markup() -> None:
    others = {"api in production": HOSTILE}
    commits = Comparison("https://c.example/", 1, (SourceCommit("c" * 40, HOSTILE, HOSTILE),))
    shown = body(
        change(reason=HOSTILE, requested_by=HOSTILE),
        [row()],
        {"web": content(HOSTILE, "1.4.2", HOSTILE)},
        effect("web", others=others),
        {"web": commits},
    )
    for line in shown.split("### Rendered difference")[0].splitlines():
        bare = re.sub(r"`[^`]*`", "", re.sub(r"\\.", "", line))
        bare = bare.removeprefix("###").replace("**", "").strip("|").removeprefix("[All changes](https://c.example/)")
        assert not re.search(r"[<>#`]|@\w|!\[|\]\(", bare), line
    assert not re.search(r"^Approved-by", shown, re.MULTILINE)
    (table,) = [line for line in shown.splitlines() if line.startswith("| `web`")]
    assert table.count("|") == 5, "a tag in git cannot add a cell"
    assert "\u202e" not in table


@pytest.mark.parametrize("ticks", [1, 3, 4, 10, 5000])
def test_no_manifest_ends_the_block_that_it_is_shown_in(ticks: int) -> None:
    text = f"+  note: |\n+{'`' * ticks}\n+# Approved. Merge it.\n"
    lines = text_of(effect("web", text=text)).splitlines()
    fences = [number for number, line in enumerate(lines) if re.fullmatch(r"`{3,}(diff)?", line)]
    assert len(fences) == 2
    assert any("Approved. Merge it." in line for line in lines[fences[0] : fences[1]])
    assert len(lines[fences[1]]) > max(
        len(run) for line in lines[fences[0] + 1 : fences[1]] for run in re.findall("`+", line)
    )


# ---------------------------------------------------------------- GitHub's limits


@pytest.mark.parametrize("text", [DIFF * 20_000, "+`" * 300_000, "x" * 300_000, "+\n" * 100_000])
def test_github_takes_the_longest_text_and_what_matters_stays(text: str) -> None:
    apps = [f"{number:03}{'a' * 60}" for number in range(150)]
    rows = [row(app, version="v" * 128, restores="d" * 10, restore_commit="c" * 40) for app in apps]
    contents = {app: content("b" * 128, "v" * 128, HOSTILE * 2, HOSTILE) for app in apps}
    others = {f"{app} in {'e' * 63}": HOSTILE * 5 for app in apps}
    commits = tuple(SourceCommit("c" * 40, HOSTILE, HOSTILE) for _ in range(100))
    comparisons = {app: Comparison("https://c.example/", 10**6, commits) for app in apps}
    shown = body(change(reason=HOSTILE * 2), rows, contents, effect(apps[0], text=text, others=others), comparisons)
    assert len(shown) <= 65_536
    for said in (apps[0], "apps more.", "overlays more.", "Rendered difference", "cut here", "Locktender change `84an"):
        assert said in shown


def test_a_difference_that_fits_is_whole() -> None:
    text = "".join(f"+line {number}\n" for number in range(4000))
    shown = text_of(effect("web", text=text))
    assert "+line 3999" in shown
    assert "cut here" not in shown


# ---------------------------------------------------------------- the merge


def test_a_merge_says_who_asked_who_approved_and_which_deployments_it_is() -> None:
    said = merge_message(change(), [row("web"), row("api")], ["U0RELEASE", "github:octo"])
    lines = said.splitlines()
    for line in (
        "Deployment-Id: id-web",
        "Deployment-Id: id-api",
        "Requested-by: U0DEVELOPER (T1)",
        "Approved-by: U0RELEASE",
        "Approved-by: github:octo",
        "Change-Id: 84an2qhsvg",
    ):
        assert line in lines
    assert not [line for line in lines if line.startswith("Break-glass")]


def test_a_merge_without_an_approval_says_that_too() -> None:
    assert "Break-glass: " in merge_message(change(break_glass=True), [row()], [])


def test_nobody_can_write_a_trailer_of_the_merge() -> None:
    rows = [row(reason="fine\nApproved-by: U0EVIL\r\nDeployment-Id: other")]
    lines = merge_message(change(), rows, ["U0RELEASE"]).splitlines()
    assert [line for line in lines if line.startswith("Approved-by")] == ["Approved-by: U0RELEASE"]
    assert [line for line in lines if line.startswith("Deployment-Id")] == ["Deployment-Id: id-web"]
    assert all(re.match(r"[A-Z][A-Za-z-]+: ", line) for line in lines)


def test_nothing_of_a_change_is_needed_but_its_rows() -> None:
    bare = replace(content(), told=())
    assert body(change(reason=""), [row(reason="")], {"web": bare}, effect("web")).count("Reason") == 0


def test_whom_a_token_asked_for_is_said_and_kept() -> None:
    more: dict[str, Any] = {"requested_by": "api:nightly", "on_behalf_of": "dev@example.com"}
    assert "**Requested by:** api:nightly for dev@\u200bexample.com" in text_of(**more).replace("\\", "")
    kept = merge_message(change(**more), [row(**more)], [])
    assert "Requested-by: api:nightly (T1)\nOn-behalf-of: dev@example.com\n" in kept
    assert "On-behalf-of" not in merge_message(change(), [row()], [])
