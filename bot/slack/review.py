"""The part of a card that is about its review: what it does, who may say yes, who has, what is still wanted. Pure."""

from dataclasses import dataclass, field
from datetime import datetime

from bot.slack.blocks import Block, button, chunked, context, section
from bot.slack.text import cut, escape, foreign, link
from commands.requests import listed, mention
from commands.shown import Shown
from storage.models import ChangeState

APPROVE = "change:approve"
APPROVE_WITH = "change:approve-with"
REJECT = "change:reject"
REVIEWED = "change:review"
_MOST_OTHERS = 6
_MOST_WANTS = 5
_MOST_APPS = 12
_MOST_CHANGES = 8  # sections, which is room for as many apps with much to tell


@dataclass(frozen=True)
class ReviewView:
    """A reviewed change as its card shows it. `approved_by` are Slack user ids or `github:<login>`."""

    id: str
    state: ChangeState
    requested_by: str
    required: int
    token: str = ""
    approved_by: tuple[str, ...] = ()
    expires_at: datetime | None = None
    pr_number: int | None = None
    pr_url: str = ""
    shown: Shown = field(default_factory=Shown)
    moved: str = ""
    wants: tuple[str, ...] = ()
    note: str = ""
    merged_by: str = ""
    break_glass: bool = False
    review_due: datetime | None = None
    reviewed_by: str = ""


def steps(view: ReviewView) -> list[str]:
    """How far the review is, in lines of mrkdwn."""
    lines: list[str] = []
    if view.pr_number is not None:
        lines.append(f"✓ Pull request {link(view.pr_url, f'#{view.pr_number}')}")
    elif view.state is ChangeState.PREPARING:
        lines.append("… Working out the difference")
    if view.approved_by and view.state is not ChangeState.PREPARING:
        lines.append(escape(f"✓ Approved by {', '.join(_who(one) for one in view.approved_by)}"))
    if view.break_glass:
        lines.append(escape(f"✓ The glass was broken by {mention(view.requested_by)}: nobody has to approve it first"))
    elif view.state is ChangeState.OPEN and len(view.approved_by) < view.required:
        lines.append(escape(_waits(view)))
    lines += [f"… {cut(escape(foreign(want)), 300)}" for want in view.wants[:_MOST_WANTS]]
    if len(view.wants) > _MOST_WANTS:
        lines.append(f"… and {len(view.wants) - _MOST_WANTS} things more: see the pull request")
    if view.break_glass and view.review_due is not None:
        done = f"✓ Reviewed by {mention(view.reviewed_by)}" if view.reviewed_by else _owed(view)
        lines.append(escape(done))
    return lines


def parts(view: ReviewView) -> tuple[list[Block], list[str]]:
    """What a decision is made from, as blocks and as text; nothing once it is decided.

    The changes are last in the text: what is cut off a long text is in the blocks, and in the pull request.
    """
    if view.state not in {ChangeState.PREPARING, ChangeState.OPEN, ChangeState.APPROVED}:
        return [], []
    told: list[str] = []
    changes: list[str] = []
    blocks: list[Block] = []
    if view.shown.apps:
        changes = _changes(view.shown)
        blocks += [section(chunk) for chunk in chunked(changes, most=_MOST_CHANGES)]
        radius = _radius(view.shown)
        told.append(radius)
        blocks.append(section(radius))
    if view.shown.strangers:
        names = foreign(", ".join(view.shown.strangers))
        text = f"⚠️ Others have pushed to its branch: {escape(names)}. They count as its authors."
        told.append(text)
        blocks.append(context(text))
    for news in (view.moved, view.note):
        if news:
            text = cut(escape(news), 800)
            told.append(text)
            blocks.append(context(f"⚠️ {text}"))
    return blocks, [*told, "\n".join(changes)]


def buttons(view: ReviewView, *, environment: str) -> list[Block]:
    """Approve and Reject while what is shown can be decided on; Reviewed while a break-glass debt is open."""
    if view.state is ChangeState.OPEN and view.token and len(view.approved_by) < view.required:
        approve = button(
            "Approve", APPROVE_WITH if view.shown.comment_required else APPROVE, view.token, style="primary"
        )
        if not view.shown.comment_required:
            approve["confirm"] = _confirm(view, environment)
        return [approve, button("Reject", REJECT, view.token, style="danger")]
    if view.review_due is not None and not view.reviewed_by:
        return [button("Reviewed", REVIEWED, view.id, style="primary")]
    return []


def _confirm(view: ReviewView, environment: str) -> Block:
    what = ", ".join(f"{one.app} {one.before or 'nothing'} → {one.after}" for one in view.shown.apps)
    count = len(view.shown.others)
    others = f" It also changes {count} other overlay{'s' if count > 1 else ''}." if count else ""
    return {
        "title": {"type": "plain_text", "text": cut(f"Approve for {environment}?", 100)},
        "text": {"type": "plain_text", "text": cut(f"{foreign(what)}.{others} It is merged and rolled out.", 300)},
        "confirm": {"type": "plain_text", "text": "Approve"},
        "deny": {"type": "plain_text", "text": "Not yet"},
    }


def _changes(shown: Shown) -> list[str]:
    lines = []
    for one in shown.apps[:_MOST_APPS]:
        digest = f" `{one.digest[:19]}`" if one.digest else ""
        arrow = f"`{escape(foreign(one.before))}` → " if one.before else ""
        count = f"{one.commits} commit{'s' if one.commits > 1 else ''}"
        commits = f" · {link(one.commits_url, count)}" if one.commits else ""
        lines.append(f"*{escape(one.app)}*  {arrow}`{escape(foreign(one.after))}`{digest}{commits}")
        lines.append(f"      {cut(escape(foreign(one.summary)), 300)}")
        lines += [f"      {cut(escape(foreign(said)), 300)}" for said in one.told]
    left = len(shown.apps) - _MOST_APPS
    return [*lines, f"and {left} more apps: see the thread"] if left > 0 else lines


def _radius(shown: Shown) -> str:
    if not shown.others:
        return "Blast radius: nothing else changes."
    lines = [f"• {escape(name)}: {cut(escape(foreign(told)), 200)}" for name, told in shown.others[:_MOST_OTHERS]]
    left = len(shown.others) - _MOST_OTHERS
    more = [f"• and {left} more: see the pull request"] if left > 0 else []
    count = len(shown.others)
    return "\n".join(
        [f"⚠️ Blast radius: {count} other overlay{'s change' if count > 1 else ' changes'} too.", *lines, *more]
    )


def _waits(view: ReviewView) -> str:
    until = f", until {view.expires_at:%Y-%m-%d %H:%M} UTC" if view.expires_at else ""
    of = f" from {listed(view.shown.groups)}" if view.shown.groups else ""
    return f"… Waiting for approval: {len(view.approved_by)} of {view.required}{of}{until}"


def _owed(view: ReviewView) -> str:
    due = f"{view.review_due:%Y-%m-%d %H:%M} UTC" if view.review_due else ""
    return f"… A second person has to look at it by {due}"


def _who(one: str) -> str:
    login = one.removeprefix("github:")
    return f"`{login}` on GitHub" if login != one else mention(one)
