"""How a reviewed change ends before it is merged: all its deployments with it, and its pull request closed."""

from dataclasses import replace

from commands.change_rows import change_entry
from commands.endings import Ending, end
from commands.reasons import ReasonCode
from commands.requests import mention
from storage import gate
from storage.models import Change, ChangeState, Deployment, Target
from storage.phases import Phase
from storage.unit_of_work import BOT, Note, UnitOfWork


def close(uow: UnitOfWork, change: Change, ending: Ending, *, actor: str = BOT) -> None:
    """End the change and every deployment of it that has not ended; the pull request is closed at the next visit.

    Call it with the change held, and never after its merge.
    """
    failed = ending.phase in {Phase.FAILED, Phase.ERRORED}
    change.state = ChangeState.FAILED if failed else ChangeState.CLOSED
    change.token, change.note, change.wants = "", "", "[]"
    for deployment in gate.members(uow, change.id):
        if not Phase(deployment.phase).ended:
            end(uow, deployment, ending, actor=actor)
    uow.audit(
        change_entry(
            uow,
            change,
            "change:close",
            {"what": ending.what, "pull_request": change.pr_url, "head": change.head_sha},
            actor=actor,
            team_id=change.team_id if actor != BOT else "",
            reason_code=ending.reason,
        )
    )
    gate.change_shown(uow, change)
    gate.visit_soon(uow, change)


def supersede(uow: UnitOfWork, older: Deployment, newer_id: str, newer_version: str, by: str) -> None:
    """A newer request for the same target takes an older one's place; whoever asked for that is told.

    What began to be carried out just before is left alone.
    """
    change = gate.held(uow, older.change_id)
    rows = gate.members(uow, older.change_id) or [older]
    for row in rows:
        uow.hold(row)  # none must begin while this is decided
    if Phase.RUNNING in {row.phase for row in rows} or (change is not None and change.state not in gate.LIVE):
        return
    what = f"{mention(by)} asked for `{newer_version}` (`{newer_id}`), which takes its place."
    ending = Ending(Phase.SUPERSEDED, ReasonCode.SUPERSEDED_BY_NEWER, what, "Nothing was committed of this one.")
    others = [row for row in rows if row.id != older.id and not Phase(row.phase).ended]
    if others:
        apps = ", ".join(f"`{row.app}`" for row in others)
        ending = replace(ending, next_step=f"Nothing of the set was merged. Ask again for the others: {apps}.")
    for row in [older, *others]:
        row.superseded_by = newer_id
    if change is not None:
        close(uow, change, ending, actor=by)
    else:
        end(uow, older, ending, actor=by)
    if older.requested_by != by and older.requested_in:
        text = (
            f"Your request for `{older.app}` `{older.version}` in `{older.environment}` was superseded: {what} "
            f"{ending.next_step}"
        )
        uow.send(
            Note(
                key=f"superseded:{older.id}",
                target=Target.EPHEMERAL,
                channel=older.requested_in,
                user_id=older.requested_by,
                body={"text": text},
            )
        )
