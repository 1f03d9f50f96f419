"""The four-eyes debts of break-glass changes: told once a day until somebody else has looked."""

from commands.change_rows import change_entry
from commands.facts import Facts
from commands.requests import mention
from storage import gate
from storage.models import Target
from storage.unit_of_work import Note, Store


def nag(store: Store, facts: Facts) -> int:
    """Remind the channel of each open debt once a day, and at once when it is overdue; how many were told of."""
    known = facts.in_force.catalogue
    if known is None:
        return 0
    with store.read() as uow:
        if not gate.debts(uow):
            return 0
    told = 0
    with store.write() as uow:
        for change in gate.debts(uow):
            if change.review_due is None or change.merged_at is None:
                continue
            days = (uow.now - change.merged_at).days
            overdue = uow.now > change.review_due
            key = f"glass:{change.id}:{f'overdue:{days}' if overdue else days}"
            if (days == 0 and not overdue) or uow.noted(key):
                continue  # the day itself is told of at the merge
            state = "is overdue" if overdue else "is open"
            text = (
                f"🔨 The review of the break-glass change `{change.id}` in `{change.environment}` {state}: "
                f"{mention(change.requested_by)} merged {change.pr_url} without an approval. A second person looks at "
                f"it, then `/deploy review {change.id}`. It was due by {change.review_due:%Y-%m-%d %H:%M} UTC."
            )
            uow.send(Note(key, Target.CHANNEL, {"text": text}, channel=known.channels.deployments))
            details = {"due": change.review_due.isoformat(), "overdue": overdue, "merge": change.merge_sha}
            uow.audit(change_entry(uow, change, "change:debt", details))
            told += 1
    return told
