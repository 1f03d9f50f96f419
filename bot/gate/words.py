"""What a visit says: audit entries, replies below a card, who is mentioned, the status on the head. No I/O."""

from collections.abc import Callable, Sequence

from bot.gate.proposals import Seen
from commands.behalf import asked
from commands.binding import Binding
from commands.catalogue import Approval, Catalogue, Comment
from commands.reasons import ReasonCode, Refused
from commands.requests import mention
from commands.shown import Shown, ShownApp
from storage import models
from storage.models import Change, Deployment
from storage.unit_of_work import Note

WAITS = "Waits for an approval in Locktender"
"""The words of the status on a head that may not be merged yet."""
_MOST_MENTIONS = 10
_LONGEST = 600


def base_moved(before: Binding, now: Binding) -> bool:
    """True when what an overlay is built from is another than it was."""
    then = {part.app: part.base for part in before.parts}
    return any(then.get(part.app) != part.base for part in now.parts)


def reply(change: Change, what: str, text: str, quote: str = "") -> Note:
    """A line below the change's card, once per `what`."""
    body = {"text": text, "quote": quote}
    return Note(f"thread:{change.card_id}:{what}", models.Target.THREAD, body, deployment_id=change.card_id)


def fill(row: Deployment, seen: Seen) -> None:
    """What its card says of a deployment, as it was seen."""
    content = seen.contents[row.app]
    row.version = content.image.tag or content.image.digest
    row.digest, row.overlay = content.image.digest, content.overlay
    row.restore_commit = content.restored or row.restore_commit  # a person may have typed its beginning
    before = content.before.tag or content.before.digest[:19]
    row.previous = before if before != row.version else ""


def ready(change: Change, known: Catalogue, difference: str) -> list[Note]:
    """The whole difference for the thread, and the approvers, named once."""
    moved = f" {change.moved}" if change.moved else ""
    text = f"Pull request {change.pr_url} is ready to be looked at.{moved}"
    notes = [reply(change, f"diff:{change.content[:16]}", text, difference)]
    rule = known.environments[change.environment].approval
    if change.required and rule is not None:
        who = " ".join(mentions(known, rule.groups))
        count = "an approval" if change.required == 1 else f"{change.required} approvals"
        notes.append(
            reply(
                change,
                "ask",
                f"{who} {asked(change.requested_by, change.on_behalf_of)} asks for {count} of this.".strip(),
            )
        )
    return notes


def mentions(known: Catalogue, groups: Sequence[str]) -> list[str]:
    """The approvers, to be pinged once: a user group where there is one, else its members."""
    found: list[str] = []
    for name in groups:
        group = known.group(name)
        if group is not None:
            found += [mention(group.slack)] if group.slack else [mention(user) for user in group.members]
    return list(dict.fromkeys(found))[:_MOST_MENTIONS]


def status(change: Change, have: int) -> str:
    """The words of the status on an approved head."""
    if change.break_glass:
        return "Break-glass: to be reviewed afterwards"
    return f"Approved by {have} of {change.required}"


def shown(seen: Seen, rule: Approval | None) -> Shown:
    """What a card shows of what was seen."""
    apps = tuple(
        ShownApp(
            app=app,
            before=content.before.tag or content.before.digest[:19],
            after=content.image.tag or content.image.digest[:19],
            digest=content.image.digest,
            summary=seen.effect.apps[app].summary[:_LONGEST],
            told=content.told,
            commits=seen.comparisons[app].total if app in seen.comparisons else 0,
            commits_url=seen.comparisons[app].url if app in seen.comparisons else "",
        )
        for app, content in seen.contents.items()
    )
    others = tuple((name, told[:_LONGEST]) for name, told in sorted(seen.effect.others.items()))
    strangers = tuple(sorted({name for one in seen.binding.strangers for name in (*one.logins, *one.emails)}))
    files = tuple(sorted(seen.binding.files))
    return Shown(
        apps,
        others,
        files,
        strangers,
        rule.groups if rule else (),
        rule is not None and rule.comment is Comment.REQUIRED,
    )


def among_ourselves(row: Deployment, is_shared: Callable[[str], bool | None]) -> None:
    """Production is not asked for where strangers read along and can click."""
    channel = row.requested_in
    if not channel or channel.startswith("D"):  # two people: who they are, the workspace id says
        return
    shared = is_shared(channel)
    if shared is None:
        raise Refused(
            ReasonCode.WRONG_WORKSPACE,
            "Nobody can tell whether the channel that this was asked in is shared with other companies.",
            "Invite the bot to that channel, or ask in another one.",
        )
    if shared:
        raise Refused(
            ReasonCode.WRONG_WORKSPACE,
            f"This was asked in a channel that is shared with other companies; `{row.environment}` is not changed "
            "from there.",
            "Ask in a channel of your own workspace.",
        )
