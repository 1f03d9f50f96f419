"""Every card and every answer: Slack takes it at its longest, nothing outside acts in it, and its text says it all.

Left out: how cards get to Slack (test_outbox).
"""

import json
import re
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

import pytest

from bot.sandbox.card_gallery import gallery, page
from bot.slack.answers import OLDER, answer_message, thread_message
from bot.slack.blocks import SlackMessage
from bot.slack.cards import CANCEL, ROLLBACK, deployment_card, set_card
from bot.slack.help import help_message
from commands.reasons import ReasonCode
from commands.requests import Answer, History, Row, mention
from storage.models import Deployment
from storage.phases import STAGE_ORDER, Phase, Stage
from tests.slack.message_rules import broken_rules

AT = datetime(2026, 3, 2, 10, 0, tzinfo=UTC)
SHA = "4f0c2d1ab3f94b2c8d7e6f5a4b3c2d1e0f9a8b7c"
HOSTILE = (
    "<!channel> <!here> <@U1EVIL> <https://evil.example|you> ``` & `*_~ @everyone \u202eetrever\u202c \u2066x\u2069 "
    "\ue000U1EVIL\ue001 \ue002https://evil.example\ue003click\ue004 \x1b[31mred\x1b[0m \u0000\u200b https://evil.example"
)
WITHIN_OURS = HOSTILE.replace("\ue000", "")
"""The same inside a sentence of ours, where whoever wrote the sentence took the marks of a mention out."""
LINK = "https://github.com/company/infra/commit/"


def commit_link(sha: str) -> str:
    return f"{LINK}{sha}"


def no_link(sha: str) -> str:
    del sha
    return ""


def deployment(phase: Phase = Phase.RUNNING, stage: Stage = Stage.ROLLOUT, **more: Any) -> Deployment:
    """A deployment as far as its stage got, like the delivery leaves it."""
    at = STAGE_ORDER.index(stage)
    known: dict[str, Any] = {
        "id": "84an2qhsvg",
        "app": "web",
        "environment": "staging",
        "version": "1.4.2",
        "team_id": "T1",
        "requested_by": "U0DEVELOPER",
        "requested_at": AT,
        "phase": phase,
        "stage": stage,
    }
    if at >= STAGE_ORDER.index(Stage.WRITE):
        known |= {"previous": "1.4.1", "job": "infra-deploy", "workload": "deployment/web"}
    if at >= STAGE_ORDER.index(Stage.RECONCILE):
        known |= {"commit_sha": SHA, "build_number": 7, "build_url": "https://ci.example/job/infra-deploy/7/"}
        known |= {"build_state": "running", "build_stage": "Apply"}
    if at >= STAGE_ORDER.index(Stage.ROLLOUT):
        look = {"state": "progressing", "updated": 3, "desired": 5, "available": 2, "warning": ""}
        known |= {"build_state": "success", "build_stage": "", "rollout": json.dumps(look)}
    if phase.ended:
        known |= {"finished_at": AT + timedelta(seconds=48)}
    return Deployment(**(known | more))


def words(message: SlackMessage) -> str:
    """Everything that is read in the blocks."""
    parts = []
    for block in message.blocks:
        parts += [one["text"] for one in [block.get("text"), *block.get("elements", ())] if isinstance(one, dict)]
    return "\n".join(part["text"] if isinstance(part, dict) else part for part in parts)


def mentioned(message: SlackMessage) -> set[str]:
    """Whom Slack would tell: in the text, and where a block is markup."""
    inside = [one for block in message.blocks for one in (block.get("text"), *block.get("elements", ())) if one]
    markup = [str(one["text"]) for one in inside if one["type"] == "mrkdwn"]
    return set(re.findall(r"<@(\w+)>", "\n".join([message.text, *markup])))


def buttons(message: SlackMessage) -> list[str]:
    return [one["action_id"] for block in message.blocks if block["type"] == "actions" for one in block["elements"]]


# ---------------------------------------------------------------- what Slack takes

EXTRAS: tuple[dict[str, Any], ...] = (
    {},
    {"note": "Jenkins does not answer. Trying again."},
    {"reason": "the cart total is right again"},
    {"what": "The image cannot be pulled.", "next_step": "Push it, then deploy again.", "detail": "line 1\nline 2"},
    {"what": "", "next_step": "", "detail": "only a log"},
)


@pytest.mark.parametrize(("phase", "stage"), list(product(Phase, Stage)))
def test_slack_takes_the_card_of_every_phase_and_stage(phase: Phase, stage: Stage) -> None:
    for extra, link in product(EXTRAS, (commit_link, no_link)):
        card = deployment_card(deployment(phase, stage, **extra), link)
        assert broken_rules(card) == []
        assert "staging" in card.text
        assert "web" in card.text


@pytest.mark.parametrize(("phase", "stage"), list(product(Phase, Stage)))
def test_slack_takes_a_card_whose_every_outside_word_is_long_and_hostile(phase: Phase, stage: Stage) -> None:
    look = {"state": "progressing", "updated": 10**9, "desired": 10**9, "available": 10**9, "warning": HOSTILE * 40}
    card = deployment_card(
        deployment(
            phase,
            stage,
            app="a" * 63,
            environment="e" * 63,
            version="v" * 128,
            previous=f"{HOSTILE}\n{HOSTILE}"[:400],
            reason=(HOSTILE * 20)[:500],
            note=WITHIN_OURS * 30,
            what=WITHIN_OURS * 30,
            next_step=WITHIN_OURS * 30,
            detail=HOSTILE * 100,
            job="j" * 200,
            workload=f"deployment/{'w' * 63}",
            build_url="https://ci.example/" + HOSTILE,
            build_state="running",
            build_stage=HOSTILE * 5,
            rollout=json.dumps(look),
        ),
        commit_link,
        ahead=f"{'v' * 128} (`84an2qhsvg`) and 3 more to end first",
    )
    assert broken_rules(card) == []
    assert mentioned(card) <= {"U0DEVELOPER"}, "nobody is mentioned by outside text"
    header = card.blocks[0]["text"]["text"]
    state = card.text.split(" · ")[2].split(".")[0]
    assert header.endswith(state), "however long the names are, the state is seen"
    assert "v" * 128 in card.text
    assert "e" * 63 in words(card)


@pytest.mark.parametrize("unit", ["&", "<", "`", "&amp;", "*", "\n", "é", "😀", "<@U1>"])
def test_twenty_kilobytes_of_anything_fit(unit: str) -> None:
    text = unit * (20_000 // len(unit))
    failed = deployment(Phase.FAILED, Stage.ROLLOUT, what=f"x{text}", next_step=text, detail=text, reason=text[:500])
    assert broken_rules(deployment_card(failed, commit_link)) == []
    assert broken_rules(thread_message({"text": f"x{text}", "quote": text})) == []
    rows = tuple(Row(f"x{text}", text) for _ in range(30))
    assert broken_rules(answer_message(Answer(ReasonCode.ANSWERED, f"x{text}", text, rows, quote=text))) == []


# ---------------------------------------------------------------- what a card says


def test_a_waiting_card_says_for_what() -> None:
    card = deployment_card(
        deployment(Phase.QUEUED, Stage.WAITING), commit_link, ahead="1.4.1 (`abc`) and 1 more to end first"
    )
    assert "Waiting for 1.4.1 (`abc`) and 1 more to end first" in card.text
    assert "Waiting for 1.4.1" in words(card)


def test_a_running_card_links_its_commit_and_its_build_and_counts_the_rollout() -> None:
    card = deployment_card(deployment(), commit_link)
    assert f"<{LINK}{SHA}|4f0c2d1>" in words(card)
    assert "<https://ci.example/job/infra-deploy/7/|infra-deploy #7>: success" in words(card)
    assert "3/5 updated, 2 available" in words(card)
    assert "<@U0DEVELOPER>" in words(card)


def test_the_text_alone_tells_a_screen_reader_phase_app_versions_environment_cause_and_next_step() -> None:
    card = deployment_card(
        deployment(
            Phase.FAILED,
            Stage.ROLLOUT,
            what="The image cannot be pulled (ImagePullBackOff).",
            next_step="Push the image, then deploy again.",
            reason="the cart total",
            detail="Back-off pulling image",
        ),
        commit_link,
    )
    for said in (
        "failed",
        "web 1.4.1 → 1.4.2",
        "staging",
        "ImagePullBackOff",
        "Push the image, then deploy again.",
        "4f0c2d1",
        "infra-deploy #7",
        "3/5 updated, 2 available",
        "<@U0DEVELOPER>",
        "the cart total",
        "84an2qhsvg",
    ):
        assert said in card.text
    assert card.text.index("ImagePullBackOff") < card.text.index("Requested by"), "a notification shows the beginning"
    assert ".." not in card.text


@pytest.mark.parametrize("phase", [one for one in Phase if one.ended and one is not Phase.SUCCEEDED])
def test_every_bad_ending_says_what_happened_and_what_is_next(phase: Phase) -> None:
    ended = deployment(phase, Stage.CHECK, what="Somebody said no.", next_step="Ask again.")
    card = deployment_card(ended, commit_link)
    for text in (card.text, words(card)):
        assert "Somebody said no." in text
        assert "Ask again." in text


def test_the_end_of_the_log_is_shown_not_its_beginning() -> None:
    log = "\n".join(f"line {number}" for number in range(3000))
    failed = deployment(Phase.FAILED, Stage.RECONCILE, what="The build failed.", detail=log)
    shown = words(deployment_card(failed, commit_link))
    assert "line 2999" in shown
    assert "line 1\n" not in shown


@pytest.mark.parametrize(
    ("phase", "stage", "said"),
    [
        (Phase.RUNNING, Stage.CHECK, "… Checking 1.4.2"),
        (Phase.RUNNING, Stage.WRITE, "… Committing 1.4.2"),
        (Phase.FAILED, Stage.CHECK, "✗ Stopped while checking 1.4.2: nothing was committed"),
        (Phase.FAILED, Stage.WRITE, "✗ Committing 1.4.2 failed"),
        (Phase.ERRORED, Stage.WRITE, "✗ Stopped while committing 1.4.2: git may or may not have it"),
        (Phase.FAILED, Stage.RECONCILE, "✗ Build"),
        (Phase.FAILED, Stage.ROLLOUT, "✗ Rollout"),
        (Phase.ERRORED, Stage.VERIFY, "✗ Looking whether it is well"),
        (Phase.CANCELLED, Stage.CHECK, "✗ Nothing was committed"),
        (Phase.AWAITING_APPROVAL, Stage.WAITING, "… Waiting for approval"),
        (Phase.SUCCEEDED, Stage.DONE, "✓ Live 48 s after it was requested"),
    ],
)
def test_each_line_tells_what_is_done_doing_or_stopped(phase: Phase, stage: Stage, said: str) -> None:
    card = deployment_card(deployment(phase, stage), commit_link)
    assert said in words(card)
    assert said in card.text


def test_a_version_that_nobody_watched_is_in_git_and_not_called_live() -> None:
    done = deployment(Phase.SUCCEEDED, Stage.DONE, reason_code="committed", what="Nothing is watched in staging.")
    card = deployment_card(done, commit_link)
    assert "live" not in card.text.lower()
    assert "in git" in card.blocks[0]["text"]["text"]
    assert "Nothing is watched in staging." in words(card)


@pytest.mark.parametrize(("phase", "stage"), list(product(Phase, Stage)))
def test_cancel_is_there_exactly_while_it_can_be_cancelled(phase: Phase, stage: Stage) -> None:
    waiting = phase in {Phase.QUEUED, Phase.AWAITING_APPROVAL}
    early = phase is Phase.RUNNING and stage in {Stage.WAITING, Stage.CHECK}
    card = deployment_card(deployment(phase, stage), commit_link)
    back = phase in {Phase.FAILED, Phase.ERRORED} and bool(deployment(phase, stage).commit_sha)
    assert buttons(card) == ([CANCEL] if waiting or early else [ROLLBACK] if back else [])


def test_a_jenkins_that_lies_about_its_address_cannot_forge_a_link() -> None:
    for url in ("javascript:alert(1)", "https://ci.example/|innocent", "https://ci.example/><!channel>", "//evil"):
        card = deployment_card(deployment(build_url=url), commit_link)
        assert broken_rules(card) == []
        assert "innocent>" not in words(card)
    assert "javascript" not in words(deployment_card(deployment(build_url="javascript:alert(1)"), commit_link))


# ---------------------------------------------------------------- answers


def test_a_refusal_quotes_explains_and_suggests() -> None:
    answer = Answer(ReasonCode.UNKNOWN_APP, "There is no app `wep`.", "Did you mean `web`?")
    message = answer_message(answer)
    assert message.text == "🚫 There is no app `wep`.\nDid you mean `web`?"
    assert words(message) == message.text
    assert broken_rules(message) == []


def test_thirty_rows_of_status_are_all_there_in_text_and_blocks() -> None:
    rows = tuple(
        Row(f"`{'a' * 60}{number:02}` in `staging`: `1.4.2`", f"last: `1.4.2` by {mention('U0DEVELOPER')}, succeeded")
        for number in range(30)
    )
    message = answer_message(Answer(ReasonCode.ANSWERED, "What runs where.", rows=rows))
    assert broken_rules(message) == []
    for number in range(30):
        assert f"{'a' * 60}{number:02}" in words(message)
        assert f"{'a' * 60}{number:02}" in message.text


def test_a_page_of_the_record_has_a_button_for_the_next_and_it_carries_the_filters() -> None:
    older = History(app="w" * 63, environment="staging", actor="U0DEVELOPER", deployment_id="84an2qhsvg", before=41)
    message = answer_message(Answer(ReasonCode.ANSWERED, "The record.", rows=(Row("#41"),), older=older))
    assert broken_rules(message) == []
    assert buttons(message) == [OLDER]
    stored = json.loads(message.blocks[-1]["elements"][0]["value"])
    assert stored["before"] == 41
    assert stored["app"] == "w" * 63


def test_filters_of_any_length_and_kind_fit_in_the_button() -> None:
    for letter in ("a", '"', "\\", "😀", "é", "\u0001"):
        older = History(app=letter * 1000, environment=letter * 1000, actor=letter * 1000, before=2**63)
        message = answer_message(Answer(ReasonCode.ANSWERED, "The record.", older=older))
        assert len(message.blocks[-1]["elements"][0]["value"]) <= 2000


@pytest.mark.parametrize("command", ["deploy", "audit"])
def test_help_shows_every_form_with_an_example(command: str) -> None:
    message = help_message(command)
    assert broken_rules(message) == []
    assert f"/{command}" in message.text
    if command == "deploy":
        assert all(word in message.text for word in ("--reason", "--dry-run", "status", "cancel", "mention"))


@pytest.mark.parametrize("reason", list(ReasonCode))
def test_every_reason_makes_an_answer_that_slack_takes(reason: ReasonCode) -> None:
    assert (
        broken_rules(
            answer_message(Answer(reason, WITHIN_OURS, WITHIN_OURS, (Row(WITHIN_OURS, WITHIN_OURS),), quote=HOSTILE))
        )
        == []
    )


def test_a_reply_below_the_card_mentions_whom_we_mean_and_quotes_the_rest() -> None:
    message = thread_message({"text": f"{mention('U0DEVELOPER')} the build failed.", "quote": HOSTILE})
    assert broken_rules(message) == []
    assert "<@U0DEVELOPER> the build failed." in message.text
    assert re.findall(r"<@\w+>", message.text) == ["<@U0DEVELOPER>"]


def test_the_picture_in_the_readme_is_drawn_of_cards_that_slack_takes() -> None:
    shown = gallery()
    assert [broken_rules(message) for _, message in shown] == [[]] * len(shown)
    drawn = page(shown)
    for said in ("ImagePullBackOff", "outcome unknown", "Approve", "Older", "Did you mean", "3/5 updated"):
        assert said in drawn
    assert "```" not in drawn


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ("", "Requested by api:nightly\n"),
        ("U0DEVELOPER", "Requested by api:nightly for <@U0DEVELOPER>"),
        ("dev@example.com", "Requested by api:nightly for `dev@example.com`"),
        ("github:dev", "Requested by api:nightly for `github:dev`"),
    ],
)
def test_a_card_says_for_whom_a_token_asked(named: str, said: str) -> None:
    row = deployment(requested_by="api:nightly", on_behalf_of=named)
    for card in (deployment_card(row, commit_link), set_card([row, row], commit_link)):
        assert said.strip() in words(card)
        assert said.strip() in card.text
        assert named or "nightly for" not in words(card)
