"""One card per deployment, which tells the truth at every instant. Pure: values in, Slack messages out."""

import json
from collections.abc import Callable, Iterator, Sequence

from bot.slack import review as reviews
from bot.slack.blocks import Block, SlackMessage, bold, button, chunked, context, fallback, section
from bot.slack.review import ReviewView
from bot.slack.text import cut, escape, foreign, link, middle, quoted
from commands.behalf import asked
from commands.ports import RolloutState
from commands.reasons import ReasonCode
from commands.rollback import goes_back_to
from storage.models import Deployment, Kind
from storage.phases import STAGE_ORDER, Phase, Stage

CommitLink = Callable[[str], str]
"""From a commit id to its page; empty when there is none."""

CANCEL = "deployment:cancel"
ROLLBACK = "deployment:rollback"
_HEADER = 140  # of 150: an emoji may count as two


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


def deployment_card(
    deployment: Deployment, commit_link: CommitLink, *, ahead: str = "", review: ReviewView | None = None
) -> SlackMessage:
    """The card of one deployment as it stands. `ahead` names what it waits for, `review` is of its change."""
    phase = Phase(deployment.phase)
    steps = _steps(deployment, commit_link, ahead, review)
    title, header = _titles(deployment)
    blocks: list[Block] = [_header(header)]
    if header != title:
        steps.insert(0, bold(escape(f"{_change(deployment)} · {deployment.environment}")))
    blocks.append(section("\n".join(steps)))
    told = [escape(title)]
    if phase.ended:
        what, next_step = cut(escape(deployment.what), 1400), cut(escape(deployment.next_step), 800)
        told += [what, next_step]
        if what or next_step:
            why = bold(what) if phase is not Phase.SUCCEEDED else what
            blocks.append(section("\n".join(part for part in (why, next_step) if part)))
        if deployment.detail and phase in _STOPPED:
            blocks.append(section(quoted(deployment.detail, 1500)))
    else:
        for trouble in (deployment.blocked if phase is not Phase.RUNNING else "", deployment.note):
            if trouble:
                note = cut(escape(trouble), 800)
                told.append(note)
                blocks.append(context(f"⚠️ {note}"))
    more, said = reviews.parts(review) if review is not None else ([], [])
    told += steps
    blocks += [*more, *_foot(deployment, told, review)]
    return SlackMessage(fallback(told + said, " "), tuple(blocks))


def set_card(rows: Sequence[Deployment], commit_link: CommitLink, *, review: ReviewView | None = None) -> SlackMessage:
    """The card of several deployments that were asked for together: a line each."""
    first = rows[0]
    counts = {phase: sum(row.phase == phase for row in rows) for phase in Phase}
    title = f"{_set_mark(counts)} {len(rows)} apps · {first.environment} · {_set_state(counts, len(rows))}"
    steps = [escape(f"✓ Requested by {asked(first.requested_by, first.on_behalf_of)}")]
    if first.promoted_from:
        steps[0] += escape(f", from {first.promoted_from}")
    if review is not None:
        steps += reviews.steps(review)
    merged = next((row.commit_sha for row in rows if row.commit_sha), "") if review is not None else ""
    if merged:
        steps.append(f"✓ Merged {_commit(merged, commit_link)}")
    blocks: list[Block] = [_header(cut(title, _HEADER)), section("\n".join(steps))]
    told = [escape(title)]
    lines = [_line(row, commit_link) for row in rows]
    blocks += [section(chunk) for chunk in chunked(lines)]
    ending = {f"{row.what} {row.next_step}".strip() for row in rows if Phase(row.phase) in _NEVER_BEGAN}
    blocked = {row.blocked for row in rows if row.blocked and row.phase in {Phase.QUEUED, Phase.AWAITING_APPROVAL}}
    for one in sorted(ending | blocked)[:3]:
        text = cut(escape(one), 800)
        told.append(text)
        blocks.append(context(f"⚠️ {text}"))
    more, said = reviews.parts(review) if review is not None else ([], [])
    around = list(steps)
    blocks += [*more, *_foot(first, around, review)]
    told += [*around, *said, *lines] if said else [*lines, *around]
    return SlackMessage(fallback(told, " "), tuple(blocks))


def _foot(first: Deployment, told: list[str], review: ReviewView | None) -> list[Block]:
    """The reason, the name to use in commands, and the buttons of a card."""
    blocks: list[Block] = []
    ended = Phase(first.phase).ended
    card_id = first.card_id or first.id
    name = f"{'Change' if first.card_id else 'Deployment'} `{card_id}`"
    told.append(name)
    if first.reason:
        said = f"Reason: {foreign(first.reason)}"
        told.append(cut(escape(said), 900))
        blocks.append({"type": "context", "elements": [{"type": "plain_text", "text": cut(said, 600), "emoji": False}]})
    record = f" · the whole record: `/audit history id:{card_id}`" if ended else ""
    blocks.append(context(f"{name}{record}"))
    buttons = reviews.buttons(review, environment=first.environment) if review is not None else []
    if _can_be_cancelled(first):
        buttons.append(button("Cancel", CANCEL, card_id, style="" if buttons else "danger"))
    if _can_be_rolled_back(first):
        buttons.append(button("Roll back", ROLLBACK, first.id, style="danger"))
    return [*blocks, {"type": "actions", "elements": buttons}] if buttons else blocks


def _header(text: str) -> Block:
    return {"type": "header", "text": {"type": "plain_text", "text": text, "emoji": True}}


def _can_be_rolled_back(deployment: Deployment) -> bool:
    """It reached git and did not become well: going back is one click away, unless the catalogue wants no offer."""
    return (
        deployment.phase in _STOPPED
        and bool(deployment.commit_sha)
        and not deployment.card_id
        and deployment.kind != Kind.ROLLBACK
        and not deployment.no_way_back
    )


def _set_mark(counts: dict[Phase, int]) -> str:
    for phase in (
        Phase.FAILED,
        Phase.ERRORED,
        Phase.RUNNING,
        Phase.AWAITING_APPROVAL,
        Phase.QUEUED,
        Phase.REJECTED,
        Phase.EXPIRED,
        Phase.CANCELLED,
        Phase.SUPERSEDED,
    ):
        if counts[phase]:
            return _MARKS[phase][0]
    return _MARKS[Phase.SUCCEEDED][0]


def _set_state(counts: dict[Phase, int], total: int) -> str:
    """`waits for approval`, or `2 live, 1 failed` once they differ."""
    found = [(phase, count) for phase, count in counts.items() if count]
    if len(found) == 1:
        return _MARKS[found[0][0]][1]
    del total
    return ", ".join(f"{count} {_MARKS[phase][1]}" for phase, count in found)


def _line(row: Deployment, commit_link: CommitLink) -> str:
    """One app of a set: where it is, and what stopped it."""
    phase = Phase(row.phase)
    mark, state = _MARKS[phase]
    line = f"{mark} *{escape(row.app)}* {escape(_change(row).removeprefix(row.app).strip())} · {state}"
    if phase is Phase.RUNNING:
        now = list(_after_commit(row, phase))
        line += f"\n      {now[-1] if now else f'… {_uncommitted(row, phase)}'}"
    elif phase in _STOPPED:
        line += f"\n      {cut(escape(f'{row.what} {row.next_step}'.strip()), 500)}"
        if row.commit_sha:
            line += f"\n      In git at {_commit(row.commit_sha, commit_link)}: " + escape(
                f"`/rollback {row.app} {row.environment} --reason …` goes back."
            )
    if row.note and not phase.ended:
        line += f"\n      ⚠️ {cut(escape(row.note), 300)}"
    return line


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


def _steps(deployment: Deployment, commit_link: CommitLink, ahead: str, review: ReviewView | None = None) -> list[str]:
    """What has happened, in lines of mrkdwn: done, doing, or where it stopped."""
    lines = [escape(f"✓ {_wish(deployment)} by {asked(deployment.requested_by, deployment.on_behalf_of)}")]
    if review is not None:
        lines += reviews.steps(review)
    phase = Phase(deployment.phase)
    if phase is Phase.QUEUED:
        waits = f"for {ahead}" if ahead else "until nothing is in its way" if deployment.blocked else "to start"
        return [*lines, escape(f"… Waiting {waits}")]
    if phase is Phase.AWAITING_APPROVAL:
        return lines if review is not None else [*lines, "… Waiting for approval"]
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


def _wish(deployment: Deployment) -> str:
    match deployment.kind:
        case Kind.ROLLBACK:
            return f"Rollback to {goes_back_to(deployment)} requested"
        case Kind.PROMOTE:
            return f"Promotion from {deployment.promoted_from} requested"
        case _:
            return "Requested"


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
    if deployment.soak_until is not None:
        return f"Well so far; it has to stay so until {deployment.soak_until:%H:%M:%S} UTC"
    return "Looking whether it is well"


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
    if deployment.change_id:
        return "Merged"
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
