"""Automation reads what the bot knows: that is recorded as a person's look at the record is, once an hour at most."""

import hashlib
from collections.abc import Mapping

from commands.facts import Facts
from commands.requests import Source
from commands.tokens import Bearer, Right, need
from storage.canonical import canonical
from storage.unit_of_work import AuditEntry, Store


def read_by(store: Store, facts: Facts, bearer: Bearer, what: str, filters: Mapping[str, str]) -> None:
    """Refused without the scope `read`; else a row of the record, once in each hour for the same question of a token.

    Call it before anything is given away. A dashboard that asks every minute would fill the record, and tell nobody
    more; the page is left out of `filters` for the same reason.
    """
    need(bearer, Right.READ)
    asked = {name: value for name, value in filters.items() if value}
    question = hashlib.sha256(canonical([bearer.id, what, asked]).encode()).hexdigest()
    with store.read() as uow:
        if uow.answered(f"read:{question}:{uow.now:%Y%m%d%H}") is not None:
            return
    with store.write() as uow:
        uow.in_turn()
        key = f"read:{question}:{uow.now:%Y%m%d%H}"
        if uow.answered(key) is not None:
            return  # the same question, at the same time
        uow.audit(
            AuditEntry(
                action="audit:read",
                actor=bearer.actor,
                team_id=facts.team_id,
                details={"what": what, "filters": asked, "source": str(Source.API)},
            )
        )
        uow.first_time(key, "")
