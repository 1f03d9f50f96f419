"""Pictures of the cards: `python -m bot.sandbox.card_gallery docs/cards.png` (with chromium) or `….html` (without).

The blocks are the production program's own, from made-up deployments; only Slack's way to draw them is imitated.
"""

import html
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from bot.slack.answers import answer_message, thread_message
from bot.slack.blocks import SlackMessage
from bot.slack.cards import deployment_card, set_card
from bot.slack.review import ReviewView
from commands.reasons import ReasonCode
from commands.requests import Answer, History, Row, mention
from commands.shown import Shown, ShownApp
from storage.models import ChangeState, Deployment, Kind
from storage.phases import Phase, Stage

AT = datetime(2026, 3, 2, 10, 24, tzinfo=UTC)
SHA = "ce1399c748e6f0d2a1b3c4d5e6f708192a3b4c5d"
WIDTH, HEIGHT = 1280, 1640
PEOPLE = {"U0DEVELOPER": "Developer", "U0RELEASE": "Release manager", "U0AUDITOR": "Auditor"}
LOG = """\
Back-off pulling image "registry.company.com/my-application:1.4.3-pull"
Failed to pull image: manifest for my-application:1.4.3-pull not found"""
DIFF = """\
 Deployment/my-application in staging
-      - image: registry.company.com/my-application:1.4.0
+      - image: registry.company.com/my-application:1.4.2@sha256:a60b9b35"""
STYLE = """
* { box-sizing: border-box; } body { margin: 0; padding: 22px; background: #f4f4f5; columns: 2; column-gap: 22px;
font: 15px/1.46 'Lato', 'DejaVu Sans', sans-serif; color: #1d1c1d; }
.post { break-inside: avoid; background: #fff; border: 1px solid #ddd; border-radius: 10px; padding: 13px 15px 14px;
margin: 0 0 18px; display: grid; grid-template-columns: 38px 1fr; column-gap: 11px; }
.face { width: 36px; height: 36px; border-radius: 8px; background: #1f3a4d; color: #fff; text-align: center;
font: 700 19px/36px 'DejaVu Sans', sans-serif; } .who b { margin-right: 6px; }
.who i { font-style: normal; font-size: 10px; background: #e8e8e8; border-radius: 3px; padding: 1px 4px;
color: #616061; } .who span, .context { color: #616061; font-size: 12.5px; }
h1 { font-size: 17px; line-height: 1.3; margin: 5px 0 4px; } .section { margin: 4px 0; white-space: pre-wrap; }
code { font: 12px 'DejaVu Sans Mono', monospace; color: #c01343; background: #f8f8f8; border: 1px solid #ddd;
border-radius: 3px; padding: 1px 3px; } pre { font: 11.5px/1.45 'DejaVu Sans Mono', monospace; background: #f8f8f8;
border: 1px solid #ddd; border-radius: 4px; padding: 7px 9px; margin: 4px 0; white-space: pre-wrap; }
a { color: #1264a3; text-decoration: none; }
.at { background: #e8f5fa; color: #1264a3; border-radius: 3px; padding: 0 2px; }
button { font: 700 13px 'DejaVu Sans', sans-serif; padding: 6px 13px; margin: 5px 6px 0 0; border-radius: 4px;
border: 1px solid #bbb; background: #fff; }
button.primary { color: #fff; background: #007a5a; border-color: #007a5a; }
button.danger { color: #fff; background: #e01e5a; border-color: #e01e5a; }
"""


def gallery() -> list[tuple[str, SlackMessage]]:
    """The main cards and answers, each with who sees it."""
    return [*_cards(), *_answers()]


def _cards() -> Iterator[tuple[str, SlackMessage]]:
    channel = "#deployments"
    waiting = _deployment(Phase.QUEUED, Stage.WAITING, version="1.4.3", previous="")
    yield channel, deployment_card(waiting, _commit_page, ahead="1.4.2 (`84an2qhsvg`) to end first")
    yield channel, deployment_card(_deployment(Phase.RUNNING, Stage.ROLLOUT), _commit_page)
    live = _deployment(Phase.SUCCEEDED, Stage.DONE, reason="the cart total is right again")
    yield channel, deployment_card(live, _commit_page)
    said = "Committed `ce1399c748e6` by Developer: 1 object changed: Deployment/my-application image 1.4.0 → 1.4.2."
    yield "in its thread", thread_message({"text": said, "quote": DIFF})
    failed = _deployment(
        Phase.FAILED,
        Stage.ROLLOUT,
        version="1.4.3-pull",
        rollout=_look(1, 4),
        what="The image registry.company.com/my-application:1.4.3-pull cannot be pulled (ImagePullBackOff): "
        "the registry does not have it.",
        next_step="Push the image or name a version that exists, then deploy again. The old pods still serve.",
        detail=LOG,
    )
    yield channel, deployment_card(failed, _commit_page)
    unknown = _deployment(
        Phase.ERRORED,
        Stage.RECONCILE,
        build_state="running",
        what="Jenkins did not answer for 30 minutes, so how the build ended is not known.",
        next_step="Look at the build; when it succeeded, deploy again to have the rollout watched.",
    )
    yield channel, deployment_card(unknown, _commit_page)
    asked = {"environment": "production", "change_id": "84an2qhsvg", "kind": Kind.PROMOTE, "promoted_from": "staging"}
    one = _deployment(Phase.AWAITING_APPROVAL, Stage.WAITING, reason="the cart total is right again", **asked)
    yield channel, deployment_card(one, _commit_page, review=_review())
    rolling = {"my-application": (Phase.SUCCEEDED, Stage.DONE), "checkout": (Phase.RUNNING, Stage.ROLLOUT)}
    rows = [
        _deployment(phase, stage, app=app, workload=f"deployment/{app}", **asked)
        for app, (phase, stage) in rolling.items()
    ]
    merged = _review(ChangeState.MERGED, approved_by=("U0RELEASE",), merged_by="Locktender")
    yield channel, set_card(rows, _commit_page, review=merged)


def _review(state: ChangeState = ChangeState.OPEN, **more: Any) -> ReviewView:  # noqa: ANN401 - any field of the view
    shown = Shown(
        apps=(
            ShownApp(
                "my-application",
                "1.4.0",
                "1.4.2",
                "sha256:a60b9b35",
                "1 object changed: Deployment/my-application image",
                commits=7,
                commits_url="https://github.com/company/my-application/compare/1.4.0...1.4.2",
            ),
        ),
        files=("environments/production/kustomization.yaml",),
        groups=("release-managers",),
    )
    known: dict[str, Any] = {
        "id": "84an2qhsvg",
        "state": state,
        "requested_by": "U0DEVELOPER",
        "required": 1,
        "token": "84an2qhsvg-1" if state is ChangeState.OPEN else "",
        "expires_at": AT + timedelta(hours=4),
        "pr_number": 7,
        "pr_url": "https://github.com/company/infra/pull/7",
        "shown": shown,
    }
    return ReviewView(**(known | more))


def _answers() -> Iterator[tuple[str, SlackMessage]]:
    alone = "Only visible to you"
    yield (
        alone,
        answer_message(
            Answer(ReasonCode.UNKNOWN_APP, "There is no app `my-aplication`.", "Did you mean `my-application`?")
        ),
    )
    rows = (
        Row("`my-application` in `dev`: `1.4.3`", f"last: `1.4.3` by {mention('U0DEVELOPER')}, succeeded 2 hours ago"),
        Row("`my-application` in `staging`: `1.4.0`", f"`1.4.2` by {mention('U0DEVELOPER')}, rollout (`84an2qhsvg`)"),
        Row("`my-application` in `production`: `1.4.0`", "last: `1.4.0` by Locktender, succeeded 9 days ago"),
    )
    yield alone, answer_message(Answer(ReasonCode.ANSWERED, "What runs where (git at `ce1399c`).", rows=rows))
    record = tuple(
        Row(
            f"#{seq} {what} · `my-application` in `staging` `1.4.2` · {who}",
            f"2026-03-02 10:2{seq % 10}:07 UTC, 3 minutes ago, `84an2qhsvg`",
        )
        for seq, what, who in (
            (417, "deployment:finish succeeded (live)", "Locktender"),
            (416, "deployment:commit", "Locktender"),
            (415, "deployment:request", mention("U0DEVELOPER")),
        )
    )
    page = Answer(ReasonCode.ANSWERED, "The record, newest first.", rows=record, older=History(before=415))
    yield alone, answer_message(page)


def _deployment(phase: Phase, stage: Stage, **more: Any) -> Deployment:  # noqa: ANN401 - any column of the table
    known: dict[str, Any] = {
        "id": "84an2qhsvg",
        "app": "my-application",
        "environment": "staging",
        "version": "1.4.2",
        "previous": "1.4.0",
        "team_id": "T0",
        "requested_by": "U0DEVELOPER",
        "requested_at": AT,
        "finished_at": AT + timedelta(seconds=52),
        "phase": phase,
        "stage": stage,
    }
    if stage not in {Stage.WAITING, Stage.CHECK, Stage.WRITE}:
        known |= {"commit_sha": SHA, "job": "infra-deploy", "build_number": 127, "build_state": "success"}
        known |= {"build_url": "https://jenkins.company.example/job/infra-deploy/127/"}
        known |= {
            "workload": "deployment/my-application",
            "rollout": _look(5, 5) if stage is Stage.DONE else _look(3, 2),
        }
    return Deployment(**(known | more))


def _look(updated: int, available: int) -> str:
    return json.dumps({"state": "progressing", "updated": updated, "desired": 5, "available": available, "warning": ""})


def _commit_page(sha: str) -> str:
    return f"https://github.com/company/infra/commit/{sha}"


# ---------------------------------------------------------------- drawing


def page(shown: list[tuple[str, SlackMessage]]) -> str:
    """An HTML page that shows messages about as Slack does."""
    posts = "".join(_post(who, message) for who, message in shown)
    return f"<!doctype html><meta charset='utf-8'><title>Locktender</title><style>{STYLE}</style>{posts}"


def _post(seen_by: str, message: SlackMessage) -> str:
    blocks = "".join(_block(block) for block in message.blocks)
    head = f"<div class='who'><b>locktender</b><i>APP</i> <span>10:24 · {html.escape(seen_by)}</span></div>"
    return f"<div class='post'><div class='face'>L</div><div>{head}{blocks}</div></div>"


def _block(block: Mapping[str, Any]) -> str:
    match block["type"]:
        case "header":
            return f"<h1>{html.escape(block['text']['text'])}</h1>"
        case "section":
            return f"<div class='section'>{_markup(block['text']['text'])}</div>"
        case "context":
            return f"<div class='context'>{' '.join(_text(one) for one in block['elements'])}</div>"
        case "actions":
            return "".join(
                f"<button class='{one.get('style', '')}'>{html.escape(one['text']['text'])}</button>"
                for one in block["elements"]
            )
        case other:
            raise ValueError(f"no way to draw a block of type {other}")


def _text(one: Mapping[str, Any]) -> str:
    return html.escape(one["text"]) if one["type"] == "plain_text" else _markup(one["text"])


def _markup(text: str) -> str:
    """Slack's markup as HTML; its text is escaped already, as HTML is."""
    text = re.sub(r"<@(\w+)>", lambda found: f"\ue000{PEOPLE.get(found[1], found[1])}\ue001", text)
    text = re.sub(r"<(https?://[^|>]+)\|([^>]+)>", "<a href='\\1'>\\2</a>", text)
    text = re.sub(r"```\n?(.*?)\n?```", "<pre>\\1</pre>", text, flags=re.DOTALL)
    text = re.sub(r"`([^`\n]+)`", "<code>\\1</code>", text)
    text = re.sub(r"(^|[\s])\*([^*\n]+)\*(?=\s|$)", "\\1<b>\\2</b>", text)
    return text.replace("\ue000", "<span class='at'>@").replace("\ue001", "</span>")


def main(target: Path) -> None:
    """Write the page, or the picture that chromium makes of it."""
    if target.suffix == ".html":
        target.write_text(page(gallery()))
        return
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "cards.html")
        source.write_text(page(gallery()))
        subprocess.run(
            [
                "chromium",
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--hide-scrollbars",
                "--force-device-scale-factor=0.85",  # a README's width, and under 300 kB
                f"--user-data-dir={folder}/profile",
                f"--window-size={WIDTH},{HEIGHT}",
                f"--screenshot={target.resolve()}",
                source.as_uri(),
            ],
            check=True,
            capture_output=True,
            timeout=120,
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
