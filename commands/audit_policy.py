"""Who may read the record, and who may take it out as a file. Pure."""

from commands import policy
from commands.catalogue_parts import EVERYONE
from commands.facts import Facts
from commands.reasons import ReasonCode, Refused
from commands.requests import Asker
from storage.unit_of_work import BOT

_INSTEAD = ", or have `audit` changed in `locktender.yaml`"


def may_read(facts: Facts, asker: Asker) -> None:
    """Raise Refused unless the asker may read the record. Before a first good catalogue, the workspace may."""
    known = facts.in_force.catalogue
    if known is None or EVERYONE in known.audit.readers or asker.user_id == BOT:
        return
    policy.in_groups(facts, asker, known.audit.readers, "read the record", _INSTEAD)


def may_export(facts: Facts, asker: Asker) -> None:
    """Raise Refused unless the asker may have the record as a file. Without a catalogue, nobody may."""
    may_read(facts, asker)
    groups = exporters(facts)
    if EVERYONE in groups or asker.user_id == BOT:
        return
    if not groups:
        raise Refused(
            ReasonCode.NOT_PERMITTED,
            "Nobody may export the record: `locktender.yaml` names no exporters, and no environment has approvers.",
            "Have `audit: {exporters: [GROUP]}` added to it; the command line on the server can export too.",
        )
    policy.in_groups(facts, asker, groups, "export the record", _INSTEAD)


def exporters(facts: Facts) -> tuple[str, ...]:
    """Whose members may export: those that the file names, else everyone who approves anywhere."""
    known = policy.catalogue(facts)
    if known.audit.exporters:
        return known.audit.exporters
    named = (name for one in known.environments.values() if one.approval for name in one.approval.groups)
    return tuple(dict.fromkeys(named))


def is_reader(facts: Facts, asker: Asker) -> bool:
    """As `may_read`, for who asks at every request: the pages."""
    try:
        policy.workspace(facts, asker)
        may_read(facts, asker)
    except Refused:
        return False
    return True
