"""What reviewers read on the code host, and what git keeps of a merge. Pure."""

import re
from collections.abc import Mapping, Sequence

from bot.content import Content
from bot.gate.effects import Effect
from bot.writing import trailers
from commands.ports import Comparison
from storage.models import Change, Deployment, Kind

_MOST_DIFF = 40_000  # characters: GitHub takes 65,536 in all
_MOST_COMMITS = 20
_MARKUP = re.compile(r"([\\`*_{}\[\]<>#|@~])")


def title(change: Change, rows: Sequence[Deployment]) -> str:
    """One line that says what is asked for."""
    first = rows[0]
    verb = {Kind.ROLLBACK: "Roll back", Kind.PROMOTE: "Promote"}.get(Kind(change.kind), "Deploy")
    glass = "[break-glass] " if change.break_glass else ""
    if len(rows) == 1:
        return f"{glass}{verb} {first.app} to {first.version} in {first.environment}"
    names = ", ".join(row.app for row in rows[:4]) + (f" and {len(rows) - 4} more" if len(rows) > 4 else "")
    return f"{glass}{verb} {len(rows)} apps to {first.environment}: {names}"


def body(
    change: Change,
    rows: Sequence[Deployment],
    contents: Mapping[str, Content],
    effect: Effect,
    comparisons: Mapping[str, Comparison] | None = None,
) -> str:
    """The pull request's text: all that a reviewer decides by. What people typed is shown as text, never as markup."""
    lines = ["| app | from | to | image digest |", "|---|---|---|---|"]
    for row in rows:
        content = contents[row.app]
        before = content.before.tag or content.before.digest[:19] or "nothing"
        after = content.image.tag or content.image.digest[:19]
        digest = f"`{content.image.digest}`" if content.image.digest else "not pinned"
        lines.append(f"| `{row.app}` | `{before}` | `{after}` | {digest} |")
    lines += ["", f"**Environment:** `{change.environment}`", f"**Requested by:** {_plain(change.requested_by)}"]
    if change.reason:
        lines.append(f"**Reason:** {_plain(change.reason)}")
    for row in rows:
        if row.restores or row.restore_commit:
            lines.append(f"**Restores:** `{row.restores or row.restore_commit}` for `{row.app}`")
        lines += [f"- {_plain(said)}" for said in contents[row.app].told]
    lines += ["", "### Blast radius", *_blast(effect)]
    for app, comparison in (comparisons or {}).items():
        lines += ["", f"### Commits of {app}", *_commits(comparison)]
    lines += ["", "### Rendered difference", *(_difference(effect))]
    foot = (
        f"Locktender change `{change.id}`. Approve or reject it on its card in Slack (or by a review here, where "
        "`locktender.yaml` says so). It is merged by Locktender when it has what it needs; merging it by hand goes "
        "around the approval and is reported."
    )
    lines += ["", foot]
    return "\n".join(lines)


def merge_message(change: Change, rows: Sequence[Deployment], approved_by: Sequence[str]) -> str:
    """The merge commit's body: the trailers that say who asked, who approved and which deployments it is."""
    more = tuple(("Approved-by", who) for who in approved_by)
    if change.break_glass:
        more = (*more, ("Break-glass", "a second person has to review this change afterwards"))
    pairs = trailers(rows, (*more, ("Change-Id", change.id)))
    lines = [f"{key}: {' '.join(value.split())}" for key, value in pairs]
    return "\n".join(lines)


def _blast(effect: Effect) -> list[str]:
    if not effect.others:
        return ["Nothing else changes."]
    return [f"- **{name}**: {_plain(told)}" for name, told in effect.others.items()]


def _commits(comparison: Comparison) -> list[str]:
    shown = comparison.commits[-_MOST_COMMITS:]
    lines = [f"- `{one.sha[:7]}` {_plain(one.subject)} ({_plain(one.author)})" for one in reversed(shown)]
    left = comparison.total - len(shown)
    return [*lines, f"- and {left} more: {comparison.url}" if left > 0 else f"[All changes]({comparison.url})"]


def _difference(effect: Effect) -> list[str]:
    text = effect.text
    if len(text) > _MOST_DIFF:
        text = f"{text[:_MOST_DIFF]}\n… cut here: the whole difference is in the card's thread."
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)  # nothing in the manifests can end the block
    return [f"{fence}diff", text.rstrip("\n"), fence]


def _plain(text: str) -> str:
    """A person's or a tool's words without markup, mentions or line breaks."""
    return _MARKUP.sub(r"\\\1", " ".join(text.split())).replace("\\@", "@\u200b")
