"""Works out from rows what evidence says. Pure: the same rows and texts always say the same.

What somebody edited says nothing here: a value of another kind than we write counts as not there.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from commands.evidence_checks import APPROVED, Case, checks, separate
from commands.evidence_find import Attached, said
from commands.evidence_told import (
    Apart,
    Asked,
    Glass,
    Holds,
    MergedChange,
    Proposed,
    Ran,
    Reported,
    Rule,
    Said,
    ShownPart,
    Told,
)
from storage.audit_text import Recorded

_REPORTED = ("record:deployment", "record:image", "external-change")
_VERDICTS = {"change:approve": APPROVED, "change:reject": "rejected"}
_MENTION = re.compile("\ue000([^\ue001]*)\ue001")
Details = Mapping[str, Any]


def tell(name: str, rows: Sequence[Recorded], attached: Attached) -> Told:
    """What the rows of one change say, the row that the evidence was taken with among them, last."""
    pairs = [(row, said(row)) for row in rows]
    proposed = _proposed(pairs, attached)
    behalf = {row.deployment_id: told for row, told in pairs if row.action == "deployment:on-behalf"}
    requests = tuple(
        _asked(row, told, behalf.get(row.deployment_id, {})) for row, told in pairs if row.action.endswith(":request")
    )
    statements = tuple(_statements(pairs, proposed))
    ran = tuple(_ran(one, pairs) for one in requests)
    merged = _merged(pairs, attached)
    rule = _rule(pairs, proposed, requests, attached)
    glass = _glass(pairs, requests, merged)
    reported = tuple(_reported(row, told) for row, told in pairs if row.action in _REPORTED)
    refused = tuple(
        f"#{row.seq} {_at(row)} {row.actor}: {row.reason_code}. {plain(told.get('what'))}"
        for row, told in pairs
        if row.action.endswith(":refuse")
    )
    state = _state(pairs, ran, reported, refused)
    taken = rows[-1] if rows and rows[-1].action == "audit:evidence" else None
    return Told(
        name=name,
        kind=_kind(requests, reported, refused),
        state=state,
        what=_what(name, requests, reported, state),
        requests=requests,
        proposed=proposed,
        said=statements,
        rule=rule,
        merged=merged,
        ran=ran,
        glass=glass,
        reported=reported,
        refused=refused,
        checks=checks(Case(requests, proposed, statements, rule, merged, ran, glass)),
        taken_by=taken.actor if taken else "",
        taken_at=_at(taken) if taken else "",
    )


def plain(value: object) -> str:
    """A sentence that was recorded; people in it by their ids."""
    return " ".join(_MENTION.sub(r"@\1", _text(value)).split())


# ---------------------------------------------------------------- parts


def _asked(row: Recorded, told: Details, behalf: Details) -> Asked:
    return Asked(
        row=row.seq,
        kind=row.action.partition(":")[0],
        deployment=row.deployment_id,
        app=row.app,
        environment=row.environment,
        version=_text(told.get("version")),
        digest=_text(told.get("digest")),
        by=row.actor,
        at=_at(row),
        source=_text(told.get("source")),
        channel=_text(told.get("channel")),
        reason=plain(told.get("reason")),
        on_behalf_of=_text(behalf.get("on_behalf_of")),
        not_before=_text(told.get("at")),
        break_glass=told.get("break_glass") is True,
        promoted_from=_text(told.get("promoted_from")),
        restores=_text(told.get("restores")) or _text(told.get("restore_commit")),
        rules=_text(told.get("rules")),
        rules_commit=_text(told.get("rules_commit")),
    )


def _proposed(pairs: Sequence[tuple[Recorded, Details]], attached: Attached) -> Proposed | None:
    found = [(row, told) for row, told in pairs if row.action == "change:propose"]
    if not found:
        return None
    row, told = found[-1]
    binding, shown = _object(attached.binding), _object(attached.shown)
    strangers = [one for one in _items(binding.get("strangers")) if isinstance(one, dict)]
    logins = [f"github:{name}" for one in strangers for name in _texts(one.get("logins"))]
    emails = [name for one in strangers for name in _texts(one.get("emails"))]
    return Proposed(
        row=row.seq,
        at=_at(row),
        content=_text(told.get("content")),
        head=_text(told.get("head")),
        base=_text(told.get("base")),
        pull_request=_text(told.get("pull_request")),
        rules=_text(told.get("policy")),
        rules_commit=_text(told.get("rules_commit")),
        parts=tuple(_parts(binding, shown)),
        blast_radius=_texts(told.get("blast_radius")),
        files=tuple(sorted(binding["files"])) if isinstance(binding.get("files"), dict) else (),
        authors=tuple(dict.fromkeys([*logins, *emails])),
        diff=_text(told.get("diff")),
        is_bound=bool(attached.binding),
        times=len(found),
    )


def _parts(binding: Details, shown: Details) -> Iterator[ShownPart]:
    seen = {one.get("app"): one for one in _items(shown.get("apps")) if isinstance(one, dict)}
    for one in _items(binding.get("parts")):
        if isinstance(one, dict):
            beside = seen.get(one.get("app"), {})
            yield ShownPart(
                app=_text(one.get("app")),
                before=_text(beside.get("before")),
                after=_text(one.get("version")) or _text(beside.get("after")),
                digest=_text(one.get("digest")),
                overlay=_text(one.get("overlay")),
                manifests=_text(one.get("manifests")),
                summary=plain(beside.get("summary")),
            )


def _statements(pairs: Sequence[tuple[Recorded, Details]], proposed: Proposed | None) -> Iterator[Said]:
    last = proposed.content if proposed else ""
    for number, (row, told) in enumerate(pairs):
        if row.action not in _VERDICTS:
            continue
        person, known_as = _text(told.get("person")), _texts(told.get("known_as"))
        apart = tuple(_apart(told))
        yield Said(
            row=row.seq,
            verdict=_VERDICTS[row.action],
            by=row.actor,
            at=_at(row),
            person=person,
            source=_text(told.get("source")) or ("github" if row.actor.startswith("github:") else ""),
            comment=plain(told.get("comment")),
            content=_text(told.get("content")),
            is_of_last=bool(last) and told.get("content") == last,
            was_taken_back=any(_takes_back(row, person, *later) for later in pairs[number + 1 :]),
            known_as=known_as,
            apart_from=apart,
            is_separate=separate(person, known_as, apart),
        )


def _apart(told: Details) -> Iterator[Apart]:
    for one in _items(told.get("apart_from")):
        if isinstance(one, list) and len(one) == 3:
            yield Apart(*(_text(part) for part in one))


def _takes_back(yes: Recorded, person: str, row: Recorded, told: Details) -> bool:
    if row.action != "change:withdraw" or told.get("content") != said(yes).get("content"):
        return False
    return row.actor == yes.actor or (bool(person) and told.get("person") == person)


def _rule(
    pairs: Sequence[tuple[Recorded, Details]], proposed: Proposed | None, requests: Sequence[Asked], attached: Attached
) -> Rule | None:
    version = proposed.rules if proposed else requests[0].rules if requests else ""
    commit = (proposed.rules_commit if proposed else "") or (requests[0].rules_commit if requests else "")
    loaded = [row.seq for row, _ in pairs if row.action == "catalogue:load"]
    opened = next((told for row, told in pairs if row.action == "change:open"), None)
    shown = next((told for row, told in reversed(pairs) if row.action == "change:propose"), {})
    if not (version or loaded or opened):
        return None
    named = next((_text(told.get("commit")) for row, told in reversed(pairs) if row.action == "catalogue:load"), "")
    rules = _object(attached.rules)
    approval = _mapping(rules.get("approval"))
    return Rule(
        version=version,
        commit=commit or named,
        required=_number(shown.get("required")) or _number((opened or {}).get("required")),
        groups=_texts(approval.get("from")),
        deployers=_texts(rules.get("deployers")),
        accept=_text(approval.get("accept")),
        comment=_text(approval.get("comment")),
        expires_after_seconds=_number(approval.get("expires_after")),
        is_attached=bool(attached.rules),
        rows=tuple(loaded),
    )


def _merged(pairs: Sequence[tuple[Recorded, Details]], attached: Attached) -> MergedChange | None:
    began = next(((row, told) for row, told in reversed(pairs) if row.action == "change:merge"), None)
    ends = ("change:merged", "change:merged-other", "change:external-merge")
    done = next(((row, told) for row, told in reversed(pairs) if row.action in ends), None)
    if done is None:
        return None
    row, told = done
    before = began[1] if began else {}
    files = _object(attached.binding).get("files")
    count = "file by file" if not isinstance(files, dict) else f"{len(files)} file{'' if len(files) == 1 else 's'}"
    compared = {
        "change:merged": f"What the merge did to the branch was compared with what was approved, {count}: the same.",
        "change:merged-other": f"It is not what was approved: {', '.join(_texts(told.get('differs')))}.",
        "change:external-merge": "It was merged by hand, without the approvals that the rules ask for.",
    }[row.action]
    return MergedChange(
        rows=(*((began[0].seq,) if began else ()), row.seq),
        at=_at(row),
        pull_request=_text(before.get("pull_request")) or _text(told.get("pull_request")),
        head=_text(before.get("head")),
        content=_text(told.get("content")) or _text(before.get("content")),
        commit=_text(told.get("merge")),
        by=_text(told.get("by")),
        approved_by=_texts(before.get("approved_by")),
        is_same=row.action == "change:merged",
        compared=compared,
    )


def _ran(one: Asked, pairs: Sequence[tuple[Recorded, Details]]) -> Ran:
    mine = [(row, told) for row, told in pairs if row.deployment_id == one.deployment and row.app == one.app]
    last = {row.action: (row, told) for row, told in mine}
    empty: Details = {}

    def of(action: str) -> Details:
        return last[action][1] if action in last else empty

    end, commit, built = of("deployment:finish"), of("deployment:commit"), of("deployment:built")
    rollout, well = of("deployment:rollout"), of("deployment:healthy")
    seen = f"{_text(rollout.get('state'))}, {_number(rollout.get('available'))} available" if rollout else ""
    return Ran(
        deployment=one.deployment,
        app=one.app,
        environment=one.environment,
        version=_text(end.get("version")) or _text(commit.get("version")) or one.version,
        digest=_text(end.get("digest")) or _text(commit.get("digest")) or one.digest,
        commit=_text(end.get("commit")) or _text(commit.get("commit")),
        job=_text(built.get("job")) or _text(of("deployment:build").get("job")),
        build=str(_number(built.get("number")) or ""),
        build_result=_text(built.get("result")),
        build_url=_text(built.get("url")) or _text(end.get("build_url")),
        rollout=seen,
        rollout_cause=plain(rollout.get("cause")),
        health_url=_text(well.get("url")),
        soak_seconds=_number(well.get("soak")),
        phase=_text(end.get("phase")),
        reason_code=last["deployment:finish"][0].reason_code if end else "",
        what=plain(end.get("what")),
        ended_at=_at(last["deployment:finish"][0]) if end else "",
        rows=tuple(row.seq for row, _ in mine if row.action.startswith("deployment:") and row.seq != one.row),
    )


def _glass(
    pairs: Sequence[tuple[Recorded, Details]], requests: Sequence[Asked], merged: MergedChange | None
) -> Glass | None:
    if not any(one.break_glass for one in requests):
        return None
    look = next(((row, told) for row, told in pairs if row.action == "change:review"), None)
    told = look[1] if look else {}
    apart = separate(_text(told.get("person")), _texts(told.get("known_as")), tuple(_apart(told)))
    return Glass(
        reason=requests[0].reason,
        merged_at=merged.at if merged else "",
        reviewed_by=look[0].actor if look else "",
        reviewed_at=_at(look[0]) if look else "",
        comment=plain(told.get("comment")),
        was_late=told.get("late") is True,
        is_separate=apart if look else Holds.UNKNOWN,
        reminders=sum(row.action == "change:debt" for row, _ in pairs),
        rows=tuple(row.seq for row, _ in pairs if row.action in {"change:review", "change:debt"}),
    )


def _reported(row: Recorded, told: Details) -> Reported:
    pull = _text(told.get("pull_request_url")) or _text(told.get("pull_request"))
    return Reported(
        row=row.seq,
        action=row.action,
        by=row.actor,
        at=_text(told.get("timestamp")) or _at(row),
        app=row.app,
        environment=row.environment,
        commit=_text(told.get("commit")),
        status=_text(told.get("status")),
        deployer=_text(told.get("deployer")),
        branch=_text(told.get("branch")),
        build_url=_text(told.get("build_url")),
        approval_note=plain(told.get("approval_note")),
        author=_text(told.get("author")),
        pull_request=pull,
        approved_by=_texts(told.get("approved_by")),
        merged_by=_text(told.get("merged_by")),
        subject=plain(told.get("subject")),
    )


# ---------------------------------------------------------------- in one word


def _kind(requests: Sequence[Asked], reported: Sequence[Reported], refused: Sequence[str]) -> str:
    if requests:
        return requests[0].kind if len(requests) == 1 else f"{requests[0].kind} of several apps"
    if any(one.action == "external-change" for one in reported):
        return "external change"
    if reported:
        return "reported from elsewhere"
    return "refused request" if refused else "row of the record"


def _state(
    pairs: Sequence[tuple[Recorded, Details]], ran: Sequence[Ran], reported: Sequence[Reported], refused: Sequence[str]
) -> str:
    phases = list(dict.fromkeys(one.phase for one in ran if one.phase))
    if ran:
        waits = ["not ended"] if any(not one.phase for one in ran) else []
        return " and ".join([*phases, *waits])
    if any(one.action == "external-change" for one in reported):
        return "around Locktender"
    if reported:
        return reported[-1].status or "reported"
    return "refused" if refused else pairs[0][0].action if pairs else "nothing"


def _what(name: str, requests: Sequence[Asked], reported: Sequence[Reported], state: str) -> str:
    if requests:
        apps = ", ".join(f"{one.app} {one.version}".strip() for one in requests)
        return f"{apps} to {requests[0].environment}: {state}"
    if reported:
        places = dict.fromkeys(" in ".join(part for part in (one.app, one.environment) if part) for one in reported)
        return f"Commit {reported[0].commit[:12]} in {', '.join(places)}: {state}"
    return f"{name}: {state}"


# ---------------------------------------------------------------- values


def _at(row: Recorded) -> str:
    return _time(row.at)


def _time(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _text(value: object) -> str:
    return value if isinstance(value, str) else str(value) if isinstance(value, int) and value is not True else ""


def _number(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def _items(value: object) -> Iterable[object]:
    return value if isinstance(value, list) else ()


def _texts(value: object) -> tuple[str, ...]:
    return tuple(one for one in _items(value) if isinstance(one, str) and one)


def _mapping(value: object) -> Details:
    return value if isinstance(value, dict) else {}


def _object(text: str) -> Details:
    try:
        found = json.loads(text) if text else {}
    except (ValueError, RecursionError):
        return {}
    return _mapping(found)
