"""What people see: one card per deployment, and the answers to commands. Pure: values in, Slack messages out."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bot.slack.text import FALLBACK, SECTION, cut, escape, foreign, plain, quoted
from commands.requests import Answer, Row, mention
from storage.models import Deployment
from storage.phases import STAGE_ORDER, Phase, Stage

Block = dict[str, Any]
CommitLink = Callable[[str], str]
"""From a commit id to its page; empty when there is none."""

CANCEL = "deployment:cancel"
OLDER = "audit:older"


@dataclass(frozen=True)
class SlackMessage:
    """A message ready to post. `text` says everything: screen readers read only that."""

    text: str
    blocks: tuple[Block, ...]


_MARKS = {
    Phase.QUEUED: ("⏳", "waiting"),
    Phase.AWAITING_APPROVAL: ("🖐️", "waits for approval"),
    Phase.RUNNING: ("🚀", "on its way"),
    Phase.SUCCEEDED: ("✅", "live"),
    Phase.FAILED: ("❌", "failed"),
    Phase.ERRORED: ("⚠️", "outcome unknown"),
    Phase.REJECTED: ("🚫", "rejected"),
    Phase.EXPIRED: ("⌛", "expired"),
    Phase.CANCELLED: ("🚫", "cancelled"),
    Phase.SUPERSEDED: ("⏭️", "superseded"),
}


def deployment_card(deployment: Deployment, commit_link: CommitLink, *, ahead: str = "") -> SlackMessage:
    """The card of one deployment as it stands. `ahead` names what it waits for."""
    phase = Phase(deployment.phase)
    mark, state = _MARKS[phase]
    if phase is Phase.SUCCEEDED and deployment.reason_code == "committed":
        state = "in git"
    change = f"{deployment.previous} → {deployment.version}" if deployment.previous else deployment.version
    title = f"{mark} {deployment.app} {change} · {deployment.environment} · {state}"
    lines = _steps(deployment, commit_link, ahead)
    blocks: list[Block] = [
        {"type": "header", "text": {"type": "plain_text", "text": cut(plain(title), 150), "emoji": True}},
        _section("\n".join(lines)),
    ]
    told = [title, *lines]
    if phase in {Phase.FAILED, Phase.ERRORED, Phase.CANCELLED}:
        why = " ".join(part for part in (deployment.what, deployment.next_step) if part)
        told.append(why)
        blocks.append(_section(f"*{escape(deployment.what)}*\n{escape(deployment.next_step)}".strip()))
        if deployment.detail:
            blocks.append(_raw_section(quoted(deployment.detail, 1500)))
    elif deployment.what and phase is Phase.SUCCEEDED:
        told.append(deployment.what)
        blocks.append(_section(deployment.what))
    elif deployment.note:
        told.append(deployment.note)
        blocks.append(_context(f"⚠️ {deployment.note}"))
    footer = f"Requested by {mention(deployment.requested_by)} · `{deployment.id}`"
    blocks.append(_context(footer))
    if deployment.reason:
        said = f"Reason: {foreign(deployment.reason)}"
        told.append(said)
        blocks.append({"type": "context", "elements": [{"type": "plain_text", "text": cut(said, 600), "emoji": False}]})
    if _can_be_cancelled(deployment):
        blocks.append({"type": "actions", "elements": [_button("Cancel", CANCEL, deployment.id, style="danger")]})
    return SlackMessage(_fallback(". ".join([*told, footer])), tuple(blocks))


def _can_be_cancelled(deployment: Deployment) -> bool:
    stage = STAGE_ORDER.index(Stage(deployment.stage))
    return deployment.phase in {Phase.QUEUED, Phase.RUNNING} and stage < STAGE_ORDER.index(Stage.WRITE)


def _steps(deployment: Deployment, commit_link: CommitLink, ahead: str) -> list[str]:
    """What has happened, line by line: done, doing, or where it stopped."""
    lines = [f"✓ Requested by {mention(deployment.requested_by)}"]
    phase = Phase(deployment.phase)
    if phase is Phase.QUEUED:
        return [*lines, f"… Waiting{f' for {ahead}' if ahead else ' to start'}"]
    stopped = phase in {Phase.FAILED, Phase.ERRORED}
    at = STAGE_ORDER.index(Stage(deployment.stage))

    def mark(stage: Stage) -> str:
        if at > STAGE_ORDER.index(stage):
            return "✓"
        return "✗" if stopped else "…"

    if phase is Phase.CANCELLED:
        return lines
    if deployment.commit_sha:
        lines.append(f"✓ Committed {_commit(deployment.commit_sha, commit_link)}")
    else:
        doing = "Checking" if at <= STAGE_ORDER.index(Stage.CHECK) else "Committing"
        lines.append(f"{mark(Stage.WRITE)} {doing} {deployment.version}{' stopped' if stopped else ''}")
        return lines
    if at >= STAGE_ORDER.index(Stage.RECONCILE) and deployment.job:
        lines.append(f"{mark(Stage.RECONCILE)} {_build(deployment)}")
    if at >= STAGE_ORDER.index(Stage.ROLLOUT) and deployment.workload:
        lines.append(f"{mark(Stage.ROLLOUT)} {_rollout(deployment)}")
    if phase is Phase.SUCCEEDED and deployment.finished_at is not None:
        seconds = int((deployment.finished_at - deployment.requested_at).total_seconds())
        done = "In git" if deployment.reason_code == "committed" else "Live"
        lines.append(f"✓ {done} {_span(seconds)} after it was requested")
    return lines


def _commit(sha: str, commit_link: CommitLink) -> str:
    """A link is made of private characters that `escape` leaves alone; `_linked` turns them into Slack's."""
    url = commit_link(sha)
    return f"{_LINK_OPEN}{url}{_LINK_MID}{sha[:7]}{_LINK_CLOSE}" if url else f"`{sha[:7]}`"


def _build(deployment: Deployment) -> str:
    number = f"{deployment.job} #{deployment.build_number}" if deployment.build_number else deployment.job
    name = (
        f"{_LINK_OPEN}{deployment.build_url}{_LINK_MID}{number}{_LINK_CLOSE}"
        if deployment.build_url.startswith(("http://", "https://"))
        else number
    )
    state = deployment.build_state or "asked for"
    stage = f", stage {foreign(deployment.build_stage)}" if deployment.build_stage else ""
    return f"Build {name}: {state}{stage}"


def _rollout(deployment: Deployment) -> str:
    if not deployment.rollout:
        return f"Rollout of {deployment.workload}: looking"
    look = json.loads(deployment.rollout)
    if look.get("state") == "not_applied":
        return f"Rollout of {deployment.workload}: the cluster does not have it yet"
    counts = f"{look.get('updated', 0)}/{look.get('desired', 0)} updated, {look.get('available', 0)} available"
    warning = f" ({foreign(str(look['warning']))})" if look.get("warning") else ""
    return f"Rollout of {deployment.workload}: {counts}{warning}"


def _span(seconds: int) -> str:
    return f"{seconds} s" if seconds < 120 else f"{seconds // 60} min {seconds % 60} s"


# ---------------------------------------------------------------- answers


def answer_message(answer: Answer) -> SlackMessage:
    """What the person who asked reads."""
    mark = "🚫 " if answer.refused else ""
    head = f"{mark}{answer.what}"
    told = [head]
    blocks: list[Block] = [_section(f"{head}\n{answer.next_step}".strip())]
    if answer.next_step:
        told.append(answer.next_step)
    for chunk in _chunks(answer.rows):
        blocks.append(_section(chunk))
        told.append(chunk)
    if answer.quote:
        blocks.append(_raw_section(quoted(answer.quote)))
        told.append(foreign(answer.quote))
    if answer.older is not None:
        value = json.dumps(
            {
                "app": answer.older.app,
                "environment": answer.older.environment,
                "actor": answer.older.actor,
                "deployment_id": answer.older.deployment_id,
                "before": answer.older.before,
            }
        )
        blocks.append({"type": "actions", "elements": [_button("Older", OLDER, value)]})
    return SlackMessage(_fallback("\n".join(told)), tuple(blocks))


def help_message(command: str) -> SlackMessage:
    """What can be typed."""
    rows = {
        "deploy": (
            (
                "*Deploy*  `/deploy APP VERSION [ENVIRONMENT] [--reason TEXT] [--dry-run]`\n"
                "for example `/deploy my-application 1.4.2`; the environment is `staging` unless you name one."
            ),
            "`--dry-run` shows what would change and commits nothing.",
            "*Look*  `/deploy status [APP] [ENVIRONMENT]` · `/audit history [app:… env:… by:… id:…]`",
            "*Take back*  `/deploy cancel ID` or `/deploy cancel APP ENVIRONMENT`, until it is committed.",
            "In a thread, mention me with the same words: slash commands do not work there.",
        ),
        "audit": (
            "*The record*  `/audit history [app:APP] [env:ENVIRONMENT] [by:@someone] [id:DEPLOYMENT]`",
            "`by:me` is you. Every request, refusal, commit, build and ending is in it.",
        ),
    }
    lines = rows["audit" if command == "audit" else "deploy"]
    text = "\n".join(lines)
    return SlackMessage(text.replace("*", ""), ({"type": "section", "text": {"type": "mrkdwn", "text": text}},))


def thread_message(body: dict[str, Any]) -> SlackMessage:
    """A reply below a card: our text, then outside text as a quotation."""
    text = str(body.get("text", ""))
    blocks: list[Block] = [_section(text)]
    quote = str(body.get("quote", ""))
    if quote:
        blocks.append(_raw_section(quoted(quote)))
    return SlackMessage(
        cut(escape("\n".join(part for part in (text, foreign(quote)) if part)), FALLBACK), tuple(blocks)
    )


# ---------------------------------------------------------------- parts

_LINK_OPEN, _LINK_MID, _LINK_CLOSE = "\ue002", "\ue003", "\ue004"
_LINK = re.compile(f"{_LINK_OPEN}[^{_LINK_MID}]*{_LINK_MID}([^{_LINK_CLOSE}]*){_LINK_CLOSE}")


def _linked(text: str) -> str:
    return text.replace(_LINK_OPEN, "<").replace(_LINK_MID, "|").replace(_LINK_CLOSE, ">")


def _fallback(text: str) -> str:
    """The text without blocks: links become their labels."""
    return cut(escape(_LINK.sub(r"\1", text)), FALLBACK)


def _section(text: str) -> Block:
    return _raw_section(_linked(cut(escape(text), SECTION)))


def _raw_section(text: str) -> Block:
    return {"type": "section", "text": {"type": "mrkdwn", "text": text}}


def _context(text: str) -> Block:
    return {"type": "context", "elements": [{"type": "mrkdwn", "text": cut(escape(text), 2000)}]}


def _button(label: str, action: str, value: str, *, style: str = "") -> Block:
    button: Block = {
        "type": "button",
        "text": {"type": "plain_text", "text": label},
        "action_id": action,
        "value": value,
    }
    if style:
        button["style"] = style
    return button


def _chunks(rows: tuple[Row, ...]) -> list[str]:
    """Rows as texts that each fit a section."""
    chunks: list[str] = []
    for row in rows:
        line = f"• {row.text}" + (f"\n    {row.detail}" if row.detail else "")
        line = cut(line, 700)
        if chunks and len(chunks[-1]) + len(line) < 2000:
            chunks[-1] += f"\n{line}"
        else:
            chunks.append(line)
    return chunks[:20]
