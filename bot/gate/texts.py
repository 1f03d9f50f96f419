"""What reviewers read on the code host, and what git keeps of a merge. Pure."""

import re
from collections.abc import Mapping, Sequence

from bot.content import Content
from bot.gate.effects import Effect
from bot.writing import trailers
from commands.code_host import Comparison
from commands.lock_words import cut
from commands.rollback import goes_back_to
from storage.models import Change, Deployment, Kind

_MOST = 65_000  # characters of a text: GitHub takes 65,536
_MOST_TITLE = 240  # of 256
_MOST_APPS, _MOST_TOLD, _MOST_BLAST, _MOST_LOG = 16_000, 6_000, 12_000, 10_000  # the difference has the rest
_MOST_COMMITS = 20
_UNSEEN = re.compile("[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u206f]")
_MARKUP = re.compile(r"([\\`*_{}\[\]<>#|@~])")


def title(change: Change, rows: Sequence[Deployment]) -> str:
    """One line that says what is asked for."""
    first = rows[0]
    verb = {Kind.ROLLBACK: "Roll back", Kind.PROMOTE: "Promote"}.get(Kind(change.kind), "Deploy")
    glass = "[break-glass] " if change.break_glass else ""
    if len(rows) == 1:
        return cut(f"{glass}{verb} {first.app} to {first.version} in {first.environment}", _MOST_TITLE)
    names = ", ".join(row.app for row in rows[:4]) + (f" and {len(rows) - 4} more" if len(rows) > 4 else "")
    return cut(f"{glass}{verb} {len(rows)} apps to {first.environment}: {names}", _MOST_TITLE)


def body(
    change: Change,
    rows: Sequence[Deployment],
    contents: Mapping[str, Content],
    effect: Effect,
    comparisons: Mapping[str, Comparison] | None = None,
) -> str:
    """The pull request's text: all that a reviewer decides by. What people typed is shown as text, never as markup."""
    table = [_line(row, contents[row.app]) for row in rows]
    lines = ["| app | from | to | image digest |", "|---|---|---|---|", *_fitting(table, _MOST_APPS, "apps")]
    behalf = f" for {_plain(change.on_behalf_of)}" if change.on_behalf_of else ""
    lines += [
        "",
        f"**Environment:** `{change.environment}`",
        f"**Requested by:** {_plain(change.requested_by)}{behalf}",
    ]
    if change.reason:
        lines.append(f"**Reason:** {_plain(change.reason)}")
    lines += _fitting(_restored(rows, contents), _MOST_TOLD, "lines")
    lines += ["", "### Blast radius", *_fitting(_blast(effect), _MOST_BLAST, "overlays")]
    log: list[str] = []
    for app, comparison in (comparisons or {}).items():
        log += ["", f"### Commits of {app}", *_commits(comparison)]
    lines += _fitting(log, _MOST_LOG, "lines")
    foot = (
        f"Locktender change `{change.id}`. Approve or reject it on its card in Slack (or by a review here, where "
        "`locktender.yaml` says so). It is merged by Locktender when it has what it needs; merging it by hand goes "
        "around the approval and is reported."
    )
    room = _MOST - sum(len(line) + 1 for line in lines) - len(foot)
    return "\n".join([*lines, "", "### Rendered difference", *_difference(effect, room), "", foot])


def merge_message(
    change: Change,
    rows: Sequence[Deployment],
    approved_by: Sequence[str],
    anchors: Sequence[tuple[str, str]] = (),
) -> str:
    """The merge commit's body: the trailers that say who asked, who approved and which deployments it is."""
    more = tuple(("Approved-by", who) for who in approved_by)
    if change.break_glass:
        more = (*more, ("Break-glass", "a second person has to review this change afterwards"))
    pairs = trailers(rows, (*more, ("Change-Id", change.id), *anchors))
    lines = [f"{key}: {' '.join(value.split())}" for key, value in pairs]
    return "\n".join(lines)


def _line(row: Deployment, content: Content) -> str:
    before = content.before.tag or content.before.digest[:19] or "nothing"
    after = content.image.tag or content.image.digest[:19]
    digest = _code(content.image.digest) if content.image.digest else "not pinned"
    return f"| `{row.app}` | {_code(before)} | {_code(after)} | {digest} |"


def _restored(rows: Sequence[Deployment], contents: Mapping[str, Content]) -> list[str]:
    """What rollbacks go back to, and what is said of it."""
    lines: list[str] = []
    for row in rows:
        if row.kind == Kind.ROLLBACK:
            unknown = "" if row.restores else " (no deployment of it is on record as healthy)"
            lines.append(f"**Restores:** for `{row.app}`, {goes_back_to(row)}{unknown}")
        lines += [f"- {_plain(said)}" for said in contents[row.app].told]
    return lines


def _fitting(lines: Sequence[str], most: int, what: str) -> list[str]:
    """As many of the lines as fit into `most` characters, and how many there are more."""
    kept: list[str] = []
    for line in lines:
        most -= len(line) + 1
        if most < 0:
            return [*kept, "", f"… and {len(lines) - len(kept)} {what} more."]
        kept.append(line)
    return kept


def _blast(effect: Effect) -> list[str]:
    if not effect.others:
        return ["Nothing else changes."]
    return [f"- **{name}**: {cut(_plain(told), 300)}" for name, told in effect.others.items()]


def _commits(comparison: Comparison) -> list[str]:
    shown = comparison.commits[-_MOST_COMMITS:]
    lines = [f"- `{one.sha[:7]}` {_plain(one.subject)} ({_plain(one.author)})" for one in reversed(shown)]
    left = comparison.total - len(shown)
    return [*lines, f"- and {left} more: {comparison.url}" if left > 0 else f"[All changes]({comparison.url})"]


def _difference(effect: Effect, room: int) -> list[str]:
    """The difference as a block, cut to `room` characters with all that is around it."""
    text = effect.text
    longest = min(max((len(run) for run in re.findall(r"`+", text)), default=0), room // 8)
    text = re.sub(f"`{{{longest + 1},}}", "`" * longest, text)
    fence = "`" * max(3, longest + 1)  # nothing in the manifests can end the block
    left = room - 2 * len(fence) - 200
    if len(text) > left:
        text = f"{text[:left]}\n… cut here: the whole difference is in the card's thread."
    return [f"{fence}diff", text.rstrip("\n"), fence]


def _code(text: str) -> str:
    """Outside text as code, in a table: nothing in it can end either."""
    return f"`{_UNSEEN.sub('', cut(text, 130)).replace('`', chr(39)).replace('|', '¦')}`"


def _plain(text: str) -> str:
    """A person's or a tool's words without markup, mentions or line breaks."""
    return _MARKUP.sub(r"\\\1", " ".join(text.split())).replace("\\@", "@\u200b")
