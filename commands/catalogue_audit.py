"""Reads who may read the record, and who may take it out of the workspace as a file."""

from dataclasses import dataclass

from commands.catalogue_approvals import read_groups_or_everyone
from commands.catalogue_parts import EVERYONE
from commands.catalogue_people import Circle
from commands.catalogue_values import Value

SETTINGS = ("readers", "exporters")


@dataclass(frozen=True)
class AuditRules:
    """`exporters` is empty where the file does not say: then it takes an approver of any environment."""

    readers: tuple[str, ...] = (EVERYONE,)
    exporters: tuple[str, ...] = ()


def read_audit(value: Value, circle: Circle) -> AuditRules:
    """`{readers: everyone, exporters: [auditors]}`."""
    section = value.section(SETTINGS)
    return AuditRules(
        section.read("readers", lambda setting: read_groups_or_everyone(setting, circle)) or AuditRules().readers,
        section.read("exporters", lambda setting: read_groups_or_everyone(setting, circle)) or (),
    )


def audit_lines(rules: AuditRules) -> list[str]:
    """Both settings as they are in effect."""
    exporters = ", ".join(rules.exporters) or "the approvers of any environment"
    return [f"readers: {', '.join(rules.readers)}", f"exporters: {exporters}"]
