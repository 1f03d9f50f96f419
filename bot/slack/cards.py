"""What people see: one card per deployment, and the answers to commands. Pure: values in, Slack messages out."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from bot.slack.text import FALLBACK, SECTION, cut, escape, foreign, link, middle, quoted
from commands.ports import RolloutState
from commands.reasons import ReasonCode
from commands.requests import Answer, Row, mention
from storage.models import Deployment
from storage.phases import STAGE_ORDER, Phase, Stage

Block = dict[str, Any]
CommitLink = Callable[[str], str]
"""From a commit id to its page; empty when there is none."""

CANCEL = "deployment:cancel"
OLDER = "audit:older"
_HEADER = 140  # of 150: an emoji may count as two


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
_STOPPED = frozenset({Phase.FAILED, Phase.ERRORED})
_NEVER_BEGAN = frozenset({Phase.REJECTED, Phase.EXPIRED, Phase.CANCELLED, Phase.SUPERSEDED})


def deployment_card(deployment: Deployment, commit_link: CommitLink, *, ahead: str = "") -> SlackMessage:
    """The card of one deployment as it stands. `ahead` names what it waits for."""
    phase = Phase(deployment.phase)
    steps = _steps(deployment, commit_link, ahead)
    title, header = _titles(deployment)
    blocks: list[Block] = [{"type": "header", "text": {"type": "plain_text", "text": header, "emoji": True}}]
    if header != title:
        steps.insert(0, _bold(escape(f"{_change(deployment)} · {deployment.environment}")))
    blocks.append(_raw_section("\n".join(steps)))
    told = [escape(title)]
    if phase.ended:
        what, next_step = cut(escape(deployment.what), 1400), cut(escape(deployment.next_step), 800)
        told += [what, next_step]
        if what or next_step:
            why = _bold(what) if phase is not Phase.SUCCEEDED else what
            blocks.append(_raw_section("\n".join(part for part in (why, next_step) if part)))
        if deployment.detail and phase in _STOPPED:
            blocks.append(_raw_section(quoted(deployment.detail, 1500)))
    elif deployment.note:
        note = cut(escape(deployment.note), 800)
        told.append(note)
        blocks.append(_context(f"⚠️ {note}"))
    told += steps
    if deployment.reason:
        said = f"Reason: {foreign(deployment.reason)}"
        told.append(cut(escape(said), 900))
        blocks.append({"type": "context", "elements": [{"type": "plain_text", "text": cut(said, 600), "emoji": False}]})
    name = f"Deployment `{deployment.id}`"
    told.append(name)
    record = f" · the whole record: `/audit history id:{deployment.id}`" if phase.ended else ""
    blocks.append(_context(f"{name}{record}"))
    if _can_be_cancelled(deployment):
        blocks.append({"type": "actions", "elements": [_button("Cancel", CANCEL, deployment.id, style="danger")]})
    return SlackMessage(_fallback(told, " "), tuple(blocks))


def _titles(deployment: Deployment) -> tuple[str, str]:
    """The title in full, and as a header: whatever is long there is shortened, so that the state is always seen."""
    phase = Phase(deployment.phase)
    mark, state = _MARKS[phase]
    if phase is Phase.SUCCEEDED and deployment.reason_code == ReasonCode.COMMITTED:
        state = "in git"
    title = f"{mark} {_change(deployment)} · {deployment.environment} · {state}"
    if len(title) <= _HEADER:
        return title, title
    change = _change(deployment, names=36, versions=26)
    return title, f"{mark} {change} · {middle(deployment.environment, 22)} · {state}"


def _change(deployment: Deployment, *, names: int = 500, versions: int = 500) -> str:
    """`web 1.4.1 → 1.4.2`; what git said before is outside text."""
    before = " ".join(foreign(deployment.previous).split())
    arrow = f"{middle(before, versions)} → " if before else ""
    return f"{middle(deployment.app, names)} {arrow}{middle(deployment.version, versions)}"


def _can_be_cancelled(deployment: Deployment) -> bool:
    phase = Phase(deployment.phase)
    if phase is Phase.RUNNING:
        return STAGE_ORDER.index(Stage(deployment.stage)) < STAGE_ORDER.index(Stage.WRITE)
    return not phase.ended


def _steps(deployment: Deployment, commit_link: CommitLink, ahead: str) -> list[str]:
    """What has happened, in lines of mrkdwn: done, doing, or where it stopped."""
    lines = [escape(f"✓ Requested by {mention(deployment.requested_by)}")]
    phase = Phase(deployment.phase)
    if phase is Phase.QUEUED:
        return [*lines, escape(f"… Waiting {f'for {ahead}' if ahead else 'to start'}")]
    if phase is Phase.AWAITING_APPROVAL:
        return [*lines, "… Waiting for approval"]
    if phase in _NEVER_BEGAN:
        return [*lines, "✗ Nothing was committed"]
    if not deployment.commit_sha:
        return [*lines, f"{'✗' if phase in _STOPPED else '…'} {_uncommitted(deployment, phase)}"]
    lines.append(f"✓ {_written(deployment)} {_commit(deployment.commit_sha, commit_link)}")
    lines += _after_commit(deployment, phase)
    if phase is Phase.SUCCEEDED and deployment.finished_at is not None:
        seconds = int((deployment.finished_at - deployment.requested_at).total_seconds())
        done = "In git" if deployment.reason_code == ReasonCode.COMMITTED else "Live"
        lines.append(f"✓ {done} {_span(seconds)} after it was requested")
    return lines


def _after_commit(deployment: Deployment, phase: Phase) -> Iterator[str]:
    at = STAGE_ORDER.index(Stage(deployment.stage))
    told = (
        (Stage.RECONCILE, bool(deployment.job), _build),
        (Stage.ROLLOUT, bool(deployment.workload), _rollout),
        (Stage.VERIFY, deployment.stage == Stage.VERIFY, _verifying),
    )
    for stage, wanted, words in told:
        here = STAGE_ORDER.index(stage)
        if wanted and at >= here:
            doing = "✗" if phase in _STOPPED else "…"
            yield f"{'✓' if at > here else doing} {words(deployment)}"


def _verifying(deployment: Deployment) -> str:
    del deployment
    return "Looking at git once more"


def _uncommitted(deployment: Deployment, phase: Phase) -> str:
    """What is known before there is a commit; a stop while committing leaves git to be looked at."""
    version = escape(foreign(deployment.version))
    if STAGE_ORDER.index(Stage(deployment.stage)) < STAGE_ORDER.index(Stage.WRITE):
        stopped = f"Stopped while checking {version}: nothing was committed"
        return stopped if phase in _STOPPED else f"Checking {version}"
    if phase is Phase.ERRORED:
        return f"Stopped while committing {version}: git may or may not have it"
    return f"Committing {version} failed" if phase is Phase.FAILED else f"Committing {version}"


def _written(deployment: Deployment) -> str:
    """A deployment of what git said already has made no commit: the one it names is somebody else's."""
    if deployment.commit_sha != deployment.base_sha:
        return "Committed"
    return f"Git said {escape(foreign(deployment.version))} already, at"


def _commit(sha: str, commit_link: CommitLink) -> str:
    url = commit_link(sha)
    return link(url, sha[:7]) if url else f"`{sha[:7]}`"


def _build(deployment: Deployment) -> str:
    number = f" #{deployment.build_number}" if deployment.build_number else ""
    name = link(deployment.build_url, f"{deployment.job}{number}")
    state = deployment.build_state or "asked for"
    stage = f", stage {foreign(deployment.build_stage)}" if deployment.build_stage else ""
    return f"Build {name}: {cut(escape(f'{state}{stage}'), 300)}"


def _rollout(deployment: Deployment) -> str:
    rollout = f"Rollout of `{escape(deployment.workload)}`"
    if not deployment.rollout:
        return f"{rollout}: looking"
    look = json.loads(deployment.rollout)
    if look.get("state") == RolloutState.NOT_APPLIED:
        return f"{rollout}: the cluster does not have it yet"
    counts = f"{look.get('updated', 0)}/{look.get('desired', 0)} updated, {look.get('available', 0)} available"
    warning = f" ({foreign(str(look['warning']))})" if look.get("warning") else ""
    return f"{rollout}: {cut(escape(f'{counts}{warning}'), 500)}"


def _span(seconds: int) -> str:
    if seconds < 120:
        return f"{seconds} s"
    minutes = seconds // 60
    return f"{minutes} min {seconds % 60} s" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


# ---------------------------------------------------------------- answers


def answer_message(answer: Answer) -> SlackMessage:
    """What the person who asked reads."""
    head = f"{'🚫 ' if answer.refused else ''}{answer.what}"
    next_step = cut(escape(answer.next_step), 1000)
    what = cut(escape(head), 1800)
    blocks: list[Block] = [_raw_section("\n".join(part for part in (what, next_step) if part))]
    told = [part for part in (what, next_step) if part]
    blocks += [_raw_section(chunk) for chunk in _chunks(answer.rows)]
    told += _told_rows(answer.rows)
    if answer.quote:
        blocks.append(_raw_section(quoted(answer.quote)))
        told.append(escape(foreign(answer.quote)))
    if answer.older is not None:
        value = json.dumps(
            {
                "app": answer.older.app[:63],
                "environment": answer.older.environment[:63],
                "actor": answer.older.actor[:32],
                "deployment_id": answer.older.deployment_id[:32],
                "before": answer.older.before,
            }
        )
        blocks.append({"type": "actions", "elements": [_button("Older", OLDER, value)]})
    return SlackMessage(_fallback(told, "\n"), tuple(blocks))


def thread_message(body: dict[str, Any]) -> SlackMessage:
    """A reply below a card: our text, then outside text as a quotation."""
    text = cut(escape(str(body.get("text", ""))), SECTION)
    quote = str(body.get("quote", ""))
    blocks = [_raw_section(part) for part in (text, quoted(quote) if quote else "") if part]
    return SlackMessage(_fallback([text, escape(foreign(quote))], "\n"), tuple(blocks))


# ---------------------------------------------------------------- parts


def _fallback(parts: list[str], joiner: str) -> str:
    """The text without blocks, of parts that are escaped; sentences end in a stop, so that they are read as such."""
    said = [part for part in parts if part]
    if joiner == " ":
        said = [part if part.endswith((".", "!", "?", "…")) else f"{part}." for part in said]
    return cut(joiner.join(said), FALLBACK)


def _bold(text: str) -> str:
    """Bold ends at a line's end in Slack, so every line is made bold; a star of its own would end it too."""
    return "\n".join(f"*{line.replace('*', '∗')}*" for line in text.split("\n") if line.strip())  # noqa: RUF001 - a star that is no markup


def _raw_section(text: str) -> Block:
    return {"type": "section", "text": _mrkdwn(cut(text, SECTION))}


def _context(text: str) -> Block:
    return {"type": "context", "elements": [_mrkdwn(cut(text, 2000))]}


def _mrkdwn(text: str) -> Block:
    """`verbatim`: Slack must not turn an outside address, channel or `@everyone` into a link or a mention."""
    return {"type": "mrkdwn", "text": text, "verbatim": True}


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
        line = cut(f"• {escape(row.text)}", 700)
        if row.detail:
            line += f"\n      {cut(escape(row.detail), 700)}"
        if chunks and len(chunks[-1]) + len(line) < SECTION - 1:
            chunks[-1] += f"\n{line}"
        else:
            chunks.append(line)
    return chunks[:40]


def _told_rows(rows: tuple[Row, ...]) -> list[str]:
    """Rows for the text without blocks: without their details where all of them would not fit."""
    full = [f"• {escape(row.text)}" + (f" ({escape(row.detail)})" if row.detail else "") for row in rows]
    if sum(len(line) + 1 for line in full) < FALLBACK - 600:
        return full
    return [f"• {escape(row.text)}" for row in rows]
