"""The facts of evidence where the gate would never let it come to that: rows of a gate that failed must say so.

What the gate really writes is test_evidence. Here the rows are made by hand, each case one step off a good one.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from commands.evidence_checks import separate
from commands.evidence_find import Attached
from commands.evidence_tell import tell
from commands.evidence_told import Apart, Holds, Told
from storage.audit_text import Recorded

ASKER, ROB, BOT = "U0ANN", "U0ROB", "locktender"
START = datetime(2026, 3, 4, 9, tzinfo=UTC)
AUTHOR = {"sha": "d" * 40, "logins": ["rhea", ""], "emails": ["rhea@example.com", "noreply@github.com"]}
BINDING: dict[str, Any] = {"files": {"a": "b"}, "head": "e" * 40, "parts": [], "policy": "", "strangers": [AUTHOR]}
APART = [
    ["requester", ASKER, "person:ann"],
    ["author", "github:rhea", "person:rhea"],
    ["author", "rhea@example.com", "person:rhea"],
]
YES = {"content": "c1", "person": "person:rob", "known_as": [ROB, "github:rob"], "apart_from": APART}
GOOD: tuple[tuple[str, str, Mapping[str, Any]], ...] = (
    ("deployment:request", ASKER, {"version": "1.1"}),
    ("change:open", ASKER, {"required": 1}),
    ("change:propose", BOT, {"content": "c1"}),
    ("change:approve", ROB, YES),
    ("change:merge", BOT, {"content": "c1", "head": "e" * 40, "approved_by": [ROB]}),
    ("change:merged", BOT, {"content": "c1", "merge": "f" * 40}),
    ("deployment:finish", BOT, {"phase": "succeeded", "commit": "f" * 40}),
)
ENOUGH, ASKED, WROTE, SAME, RAN = (
    "Approved by as many as the rules ask for",
    "No approver asked for it",
    "No approver is an author of its commits",
    "What was merged is what was approved",
    "The merged commit is the one that was rolled out",
)


def told(
    changes: Mapping[str, Mapping[str, Any] | None] | None = None,
    more: tuple[tuple[str, str, Mapping[str, Any]], ...] = (),
    binding: Mapping[str, Any] | None = BINDING,
    actor: str = ROB,
) -> Told:
    """The good case, with other details for some actions (None: without that row) and more rows behind."""
    rows: list[Recorded] = []
    for action, who, details in (*GOOD, *more):
        other = (changes or {}).get(action, {})
        if other is None:
            continue
        by = actor if action == "change:approve" else who
        seq = len(rows) + 1
        at = START + timedelta(minutes=seq)
        rows.append(
            Recorded(seq, at, action, "T1", by, "web", "production", "d1", "", json.dumps({**details, **other}), "", "")
        )
    return tell("d1", rows, Attached(binding=json.dumps(binding) if binding is not None else ""))


def holds(found: Told, what: str) -> Holds:
    return next(one.holds for one in found.checks if one.what == what)


def test_the_good_case_is_good() -> None:
    assert {one.holds for one in told().checks} == {Holds.YES}


@pytest.mark.parametrize(
    ("yes", "what", "expected"),
    [
        ({"apart_from": [["requester", ASKER, "person:rob"], *APART[1:]]}, ASKED, Holds.NO),
        ({"known_as": [ROB, ASKER]}, ASKED, Holds.NO),
        ({"apart_from": APART[1:]}, ASKED, Holds.UNKNOWN),
        ({"apart_from": []}, ASKED, Holds.UNKNOWN),
        ({"apart_from": "requester"}, ASKED, Holds.UNKNOWN),
        ({"person": ""}, WROTE, Holds.UNKNOWN),
        ({"known_as": [ROB, "github:rhea"]}, WROTE, Holds.NO),
        ({"apart_from": APART[:2]}, WROTE, Holds.UNKNOWN),
        ({"apart_from": APART[:1]}, WROTE, Holds.UNKNOWN),
        ({"content": "c0"}, ENOUGH, Holds.NO),
    ],
)
def test_an_approval_that_should_not_have_counted_is_told_as_one(
    yes: Mapping[str, Any], what: str, expected: Holds
) -> None:
    assert holds(told({"change:approve": yes}), what) is expected


def test_the_requesters_own_approval_is_told_as_that_whatever_its_row_says() -> None:
    assert holds(told(actor=ASKER), ASKED) is Holds.NO


@pytest.mark.parametrize(
    ("changes", "what", "expected"),
    [
        ({"change:approve": None}, ENOUGH, Holds.NO),
        ({"change:approve": None, "change:merge": None, "change:merged": None}, ENOUGH, Holds.NOT_ASKED),
        ({"change:open": {"required": 2}}, ENOUGH, Holds.NO),
        ({"change:propose": {"required": 2}}, ENOUGH, Holds.NO),
        ({"change:open": None}, ENOUGH, Holds.UNKNOWN),
        ({"change:merge": {"approved_by": [ROB, "U0PAT"]}}, ENOUGH, Holds.NO),
        ({"change:merged": {"content": "c2"}}, SAME, Holds.NO),
        ({"change:merged": None, "change:merge": None}, SAME, Holds.NOT_ASKED),
        ({"deployment:finish": {"commit": "a" * 40}}, RAN, Holds.NO),
        ({"deployment:finish": None}, "Every app was rolled out and found well", Holds.UNKNOWN),
        ({"deployment:finish": {"phase": "failed"}}, "Every app was rolled out and found well", Holds.NO),
    ],
)
def test_each_fact_that_does_not_hold_is_told(
    changes: Mapping[str, Mapping[str, Any] | None], what: str, expected: Holds
) -> None:
    assert holds(told(changes), what) is expected


def test_what_was_merged_otherwise_is_told() -> None:
    more = (("change:merged-other", BOT, {"merge": "f" * 40, "differs": ["a"], "content": "c1"}),)
    found = told({"change:merged": None}, more)
    assert holds(found, SAME) is Holds.NO
    assert found.merged is not None
    assert found.merged.compared.endswith("approved: a.")


def test_an_approval_that_was_taken_back_counts_no_more() -> None:
    more = (("change:withdraw", BOT, {"content": "c1", "person": "person:rob"}),)
    assert holds(told(more=more), ENOUGH) is Holds.NO
    other = (("change:withdraw", BOT, {"content": "c0", "person": "person:rob"}),)
    assert holds(told(more=other), ENOUGH) is Holds.YES


def test_one_person_counts_once() -> None:
    more = (("change:approve", "github:rob", YES),)
    assert holds(told({"change:open": {"required": 2}}, more), ENOUGH) is Holds.NO


def test_without_what_was_approved_nobody_can_tell_its_authors() -> None:
    assert holds(told(binding=None), WROTE) is Holds.UNKNOWN


def test_whom_a_token_named_has_asked_too() -> None:
    more = (("deployment:on-behalf", "api:ci", {"on_behalf_of": ROB}),)
    assert holds(told(more=more), ASKED) is Holds.NO


@pytest.mark.parametrize(
    ("person", "names", "other", "expected"),
    [
        ("person:rob", (ROB,), Apart("requester", ASKER, "person:ann"), Holds.YES),
        ("person:rob", (ROB,), Apart("requester", ASKER, "person:rob"), Holds.NO),
        ("person:rob", ("Rob@Example.com",), Apart("author", "rob@example.com", "email:rob@example.com"), Holds.NO),
        ("", (ROB,), Apart("requester", ASKER, "person:ann"), Holds.UNKNOWN),
    ],
)
def test_people_are_told_apart_by_every_name(
    person: str, names: tuple[str, ...], other: Apart, expected: Holds
) -> None:
    assert separate(person, names, (other,)) is expected
