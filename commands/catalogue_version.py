"""One number for the rules of an environment, so that an approval can be bound to the rules it was given under."""

import hashlib
from collections.abc import Iterable, Mapping

from commands.catalogue_parts import Approval, BreakGlass, Environment, Group, KnownPerson
from storage.canonical import canonical

_FORM = "locktender-rules/1"  # change it when the same rules begin to mean something else: open approvals become void


def rules_version(environment: Environment, groups: Mapping[str, Group], people: Iterable[KnownPerson]) -> str:
    """SHA-256, in hex, of `rules_text`."""
    return hashlib.sha256(rules_text(environment, groups, people).encode()).hexdigest()


def rules_text(environment: Environment, groups: Mapping[str, Group], people: Iterable[KnownPerson]) -> str:
    """Canonical JSON of what decides who may ask for, approve and force a change of this environment.

    The order of lists and keys, comments, and defaults that are written out make no difference. People count with
    every identity, because being the same person is what excludes an approver; their names do not.
    """
    approval, glass = environment.approval, environment.break_glass
    named = {*environment.deployers, *(approval.groups if approval else ()), *(glass.groups if glass else ())}
    rules = {
        "form": _FORM,
        "environment": environment.name,
        "change": environment.change,
        "deployers": sorted(environment.deployers),
        "approval": _approval(approval) if approval else None,
        "break_glass": _break_glass(glass) if glass else None,
        "groups": {name: _group(groups[name]) for name in named if name in groups},
        "people": sorted([sorted(one.slack), sorted(one.github), sorted(one.emails)] for one in people),
    }
    return canonical(rules)


def all_rules_version(versions: Mapping[str, str]) -> str:
    """SHA-256, in hex, of the versions of all environments, by name."""
    return hashlib.sha256(canonical({"form": _FORM, "environments": dict(versions)}).encode()).hexdigest()


def _approval(approval: Approval) -> dict[str, object]:
    return {
        "from": sorted(approval.groups),
        "required": approval.required,
        "rollback_required": approval.rollback_required,
        "expires_after": int(approval.expires_after.total_seconds()),
        "accept": approval.accept,
        "comment": approval.comment,
    }


def _break_glass(rule: BreakGlass) -> dict[str, object]:
    return {"from": sorted(rule.groups), "review_within": int(rule.review_within.total_seconds())}


def _group(group: Group) -> dict[str, object]:
    return {"slack": group.slack, "members": sorted(group.members), "github": group.github.lower()}
