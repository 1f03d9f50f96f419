"""The facts that an auditor asks for, worked out from what rows say. Pure.

Nothing is taken on trust from the rule that let a person through: the names that were compared then are compared again.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from commands.evidence_told import Apart, Asked, Check, Glass, Holds, MergedChange, Proposed, Ran, Rule, Said

_AUTHOR = "author"
_NOBODY = frozenset({"github:web-flow", "noreply@github.com"})  # the code host itself, beside the author
APPROVED = "approved"
_Found = tuple[Holds, str, tuple[int, ...]]
_NOT_REVIEWED: _Found = (Holds.NOT_ASKED, "The rules in force ask for no approval here.", ())


def separate(person: str, known_as: Sequence[str], apart_from: Sequence[Apart]) -> Holds:
    """Whether a person is none of those whom they were compared with. Unknown where the row does not say with whom."""
    if not person or not apart_from:
        return Holds.UNKNOWN
    names = {one.lower() for one in known_as}
    mine = any(one.person == person or one.name.lower() in names for one in apart_from)
    return Holds.NO if mine else Holds.YES


@dataclass(frozen=True)
class Case:
    """What the facts are worked out from: one change, as its rows tell it."""

    requests: tuple[Asked, ...]
    proposed: Proposed | None
    said: tuple[Said, ...]
    rule: Rule | None
    merged: MergedChange | None
    ran: tuple[Ran, ...]
    glass: Glass | None

    @property
    def reviewed(self) -> bool:
        """The rules in force ask for a review here."""
        return self.proposed is not None or (self.rule is not None and self.rule.required > 0)

    @property
    def yes(self) -> tuple[Said, ...]:
        """The approvals of what was shown last that nobody took back."""
        return tuple(one for one in self.said if one.verdict == APPROVED and one.is_of_last and not one.was_taken_back)

    @property
    def yes_rows(self) -> tuple[int, ...]:
        """Where they stand."""
        return tuple(one.row for one in self.yes)

    @property
    def askers(self) -> frozenset[str]:
        """Everyone who asked, and in whose name."""
        return frozenset(name for one in self.requests for name in (one.by, one.on_behalf_of) if name)


def checks(case: Case) -> tuple[Check, ...]:
    """Every fact, with why it holds or does not. None at all for what was not asked for in Locktender."""
    if not case.requests:
        return ()
    found = [Check("Asked for by a named person or token", *_named(case))]
    found += [Check(what, *(of(case) if case.reviewed else _NOT_REVIEWED)) for what, of in _REVIEWED]
    found.append(Check("Every app was rolled out and found well", *_well(case)))
    return (*found, *_debt(case.glass))


def _named(case: Case) -> _Found:
    who = ", ".join(sorted({one.by for one in case.requests}))
    behalf = ", ".join(sorted({one.on_behalf_of for one in case.requests if one.on_behalf_of}))
    rows = tuple(one.row for one in case.requests)
    holds = Holds.YES if all(one.by for one in case.requests) else Holds.NO
    return holds, f"{who}{f', on behalf of {behalf}' if behalf else ''}.", rows


def _enough(case: Case) -> _Found:
    required = case.rule.required if case.rule else 0
    people = len({one.person for one in case.yes})
    if case.glass:
        what = "Broken glass waits for nobody: a second person has to look at it afterwards."
        return Holds.NOT_ASKED, what, case.yes_rows
    if case.merged and not set(case.merged.approved_by) <= {one.by for one in case.yes}:
        return Holds.NO, "The merge counted somebody whose approval is not in the record.", case.yes_rows
    if not required:
        return Holds.UNKNOWN, f"{people} approved; how many were asked for is not in the record.", case.yes_rows
    if people >= required:
        return Holds.YES, f"{people} of {required}: {', '.join(one.by for one in case.yes)}.", case.yes_rows
    if case.merged:
        return Holds.NO, f"{people} of {required}.", case.yes_rows
    # What was never merged needed nobody: it was rejected, ran out, was taken back, or still waits.
    return Holds.NOT_ASKED, f"{people} of {required}. It was never merged.", case.yes_rows


def _apart(case: Case) -> _Found:
    if not case.yes:
        return _nobody(case)
    same = [one.by for one in case.yes if one.is_separate is Holds.NO or case.askers & {one.by, *one.known_as}]
    if same:
        return Holds.NO, f"{', '.join(same)} asked for it, or wrote a part of it.", case.yes_rows
    if not all(case.askers <= {other.name for other in one.apart_from} for one in case.yes):
        return Holds.UNKNOWN, "With whom an approver was compared is not in the record.", case.yes_rows
    return Holds.YES, f"{_approvers(case)} compared with {', '.join(sorted(case.askers))}: other people.", case.yes_rows


def _no_author(case: Case) -> _Found:
    if not case.yes:
        return _nobody(case)
    proposed = case.proposed
    if proposed is None or not proposed.is_bound:
        return Holds.UNKNOWN, "What was approved is not kept, and with it the authors of its commits.", case.yes_rows
    rows = (proposed.row, *case.yes_rows)
    authors = {one for one in proposed.authors if one not in _NOBODY}
    if not authors:
        return Holds.YES, "All of its commits are Locktender's own.", rows
    same = [one.by for one in case.yes if authors & set(one.known_as)]
    if same:
        return Holds.NO, f"{', '.join(same)} wrote a commit of it.", rows
    names = ", ".join(sorted(authors))
    compared = all(authors <= {other.name for other in one.apart_from if other.role == _AUTHOR} for one in case.yes)
    if not compared or any(one.is_separate is not Holds.YES for one in case.yes):
        return Holds.UNKNOWN, f"Not every approver was compared with {names}.", rows
    return Holds.YES, f"{_approvers(case)} compared with {names}: other people.", rows


def _of_last(case: Case) -> _Found:
    if not case.yes:
        return _nobody(case)
    void = sum(one.verdict == APPROVED and not one.is_of_last for one in case.said)
    earlier = f" Of what was shown before, {void} did not count." if void else ""
    return Holds.YES, f"Each approval names the content {case.yes[0].content[:16]}.{earlier}", case.yes_rows


def _merged(case: Case) -> _Found:
    merged = case.merged
    if merged is None:
        return Holds.NOT_ASKED, "It was never merged.", ()
    if not merged.is_same:
        return Holds.NO, merged.compared, merged.rows
    if any(one.content != merged.content for one in case.yes):
        return Holds.NO, "The merge is of other content than was approved.", merged.rows
    return Holds.YES, merged.compared, merged.rows


def _rolled_out(case: Case) -> _Found:
    merged = case.merged
    if merged is None:
        return Holds.NOT_ASKED, "It was never merged.", ()
    rows = tuple(row for one in case.ran for row in one.rows)
    other = [f"{one.app} ({one.commit[:12] or 'no commit'})" for one in case.ran if one.commit != merged.commit]
    if other:
        return Holds.NO, f"{merged.commit[:12]} was merged; otherwise: {', '.join(other)}.", rows
    return Holds.YES, f"{merged.commit[:12]}.", rows


def _well(case: Case) -> _Found:
    rows = tuple(row for one in case.ran for row in one.rows)
    told = f"{'; '.join(f'{one.app}: {_end(one)}' for one in case.ran)}."
    if any(not one.phase for one in case.ran):
        return Holds.UNKNOWN, told, rows
    if not any(one.commit for one in case.ran):
        return Holds.NOT_ASKED, f"Nothing was committed. {told}", rows
    return (Holds.YES if all(one.phase == "succeeded" for one in case.ran) else Holds.NO), told, rows


def _debt(glass: Glass | None) -> Iterator[Check]:
    what = "A second person looked at the broken glass"
    if glass is None:
        return
    if not glass.merged_at:
        yield Check(what, Holds.NOT_ASKED, "Nothing was merged.", glass.rows)
    elif not glass.reviewed_by:
        yield Check(what, Holds.NO, f"Nobody has yet; reminders so far: {glass.reminders}.", glass.rows)
    else:
        when = "late" if glass.was_late else "in time"
        yield Check(what, glass.is_separate, f"{glass.reviewed_by}, {glass.reviewed_at}, {when}.", glass.rows)


def _nobody(case: Case) -> _Found:
    return Holds.NOT_ASKED, f"Nobody approved it{': the glass was broken' if case.glass else ''}.", ()


def _approvers(case: Case) -> str:
    return ", ".join(f"{one.by} ({', '.join(one.known_as) or one.person})" for one in case.yes)


def _end(one: Ran) -> str:
    code = f" ({one.reason_code})" if one.reason_code else ""
    return f"{one.phase}{code}" if one.phase else "not ended"


_REVIEWED: tuple[tuple[str, Callable[[Case], _Found]], ...] = (
    ("Approved by as many as the rules ask for", _enough),
    ("No approver asked for it", _apart),
    ("No approver is an author of its commits", _no_author),
    ("Approved was what was shown last", _of_last),
    ("What was merged is what was approved", _merged),
    ("The merged commit is the one that was rolled out", _rolled_out),
)
