"""How what pipelines told us is found again: by an index of its own, however long the rest of the record is.

What is found is in tests/slack/test_api.
"""

from sqlalchemy import text
from sqlalchemy.dialects import sqlite

from storage import told
from storage.unit_of_work import AuditEntry, Store


def test_a_page_is_read_from_the_index_of_what_we_were_told(store: Store) -> None:
    if not store.database.is_sqlite:
        return  # Postgres plans by what is in the table, and takes the index when there is enough of it
    for action in (told.DEPLOYMENT, told.IMAGE):
        query = told._of(action).order_by(text("seq DESC")).limit(50)
        words = str(query.compile(dialect=sqlite.dialect(), compile_kwargs={"literal_binds": True}))
        with store.read() as uow:
            plan = [str(row) for row in uow.session.execute(text(f"EXPLAIN QUERY PLAN {words}"))]
        assert any("audit_told" in step for step in plan), plan
        assert not any("TEMP B-TREE" in step for step in plan), plan


def test_rows_of_something_else_are_never_among_them(store: Store) -> None:
    with store.write() as uow:
        for action in ("record:deployment", "record:image", "deployment:request", "record:refuse"):
            uow.audit(AuditEntry(action, app="web", deployment_id="same"))
    with store.read() as uow:
        assert [row.seq for row in told.listed(uow, told.DEPLOYMENT, told.ToldFilter())] == [1]
        assert [row.seq for row in told.listed(uow, told.IMAGE, told.ToldFilter(app="web"))] == [2]
        found = told.of_id(uow, told.IMAGE, "same")
        assert found is not None
        assert found.seq == 2
        assert told.of_id(uow, told.IMAGE, "") is None
        assert told.of_seq(uow, told.DEPLOYMENT, 3) is None
        assert told.of_seq(uow, told.DEPLOYMENT, 2**40) is None
