"""The few statements that every ack waits for, without what SQLAlchemy does around each of them.

For statements as small as these SQLite needs a tenth of the time that Core takes to get to it. On Postgres the network
takes the time, and Core runs them as any other.
"""

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from sqlalchemy import Connection, Dialect, Select
from sqlalchemy.exc import DBAPIError, StatementError
from sqlalchemy.sql import ClauseElement

Convert = Callable[[Any], Any]
Row = tuple[Any, ...]


class Prepared:
    """A Core statement with named parameters. `fixed` are those that never change. Shared by all threads."""

    def __init__(self, statement: ClauseElement, fixed: Mapping[str, object] | None = None) -> None:
        self._statement = statement
        self._fixed = dict(fixed or {})
        self._on_sqlite: _OnSqlite | None = None

    def run(self, connection: Connection, values: Mapping[str, object]) -> list[Row]:
        """Execute it in the connection's transaction; the rows, none for a statement that gives none.

        Raises what Core raises, a sqlalchemy.exc.StatementError whose text holds no values.
        """
        if connection.dialect.name != "sqlite":
            result = connection.execute(cast("Any", self._statement), self._fixed | dict(values))
            return [tuple(row) for row in result] if result.returns_rows else []
        return self._made(connection.dialect).run(connection, values)

    def run_many(self, connection: Connection, rows: Sequence[Mapping[str, object]]) -> None:
        """The same for many rows of values, for a statement that gives none back."""
        if connection.dialect.name != "sqlite":
            connection.execute(cast("Any", self._statement), [self._fixed | dict(values) for values in rows])
            return
        self._made(connection.dialect).run_many(connection, rows)

    def _made(self, dialect: Dialect) -> "_OnSqlite":
        if self._on_sqlite is None:
            self._on_sqlite = _OnSqlite(self._statement, self._fixed, dialect)
        return self._on_sqlite


class _OnSqlite:
    """The statement as text, the order of its parameters, and what turns values into SQLite's and back."""

    def __init__(self, statement: ClauseElement, fixed: Mapping[str, object], dialect: Dialect) -> None:
        compiled = cast("Any", statement.compile(dialect=dialect))
        self._text = str(compiled)
        into: dict[str, Convert] = {
            name: convert
            for name, bind in compiled.binds.items()
            if (convert := bind.type.dialect_impl(dialect).bind_processor(dialect)) is not None
        }
        constants = {name: bind.value for name, bind in compiled.binds.items() if not bind.required}
        known = constants | dict(fixed)
        self._known = {name: into[name](value) if name in into else value for name, value in known.items()}
        self._order: tuple[tuple[str, Convert | None], ...] = tuple(
            (name, into.get(name)) for name in compiled.positiontup
        )
        self._back = _back(statement, dialect)

    def run(self, connection: Connection, values: Mapping[str, object]) -> list[Row]:
        params = self._params(values)
        try:
            rows = _driver(connection).execute(self._text, params).fetchall()
        except sqlite3.Error as error:
            raise self._fault(connection, error) from error
        return [self._as_python(row) for row in rows] if self._back else rows

    def run_many(self, connection: Connection, rows: Sequence[Mapping[str, object]]) -> None:
        params = [self._params(values) for values in rows]
        try:
            _driver(connection).executemany(self._text, params)
        except sqlite3.Error as error:
            raise self._fault(connection, error) from error

    def _params(self, values: Mapping[str, object]) -> list[object]:
        params: list[object] = []
        try:
            for name, convert in self._order:
                if name not in values:
                    params.append(self._known[name])
                elif convert is None:
                    params.append(values[name])
                else:
                    params.append(convert(values[name]))
        except ValueError as error:
            raise StatementError(str(error), self._text, None, error, hide_parameters=True) from error
        return params

    def _fault(self, connection: Connection, error: sqlite3.Error) -> BaseException:
        """The error as Core raises it."""
        return DBAPIError.instance(
            self._text, None, error, sqlite3.Error, hide_parameters=True, dialect=connection.dialect
        )

    def _as_python(self, row: Row) -> Row:
        values = list(row)
        for at, convert in self._back:
            values[at] = convert(values[at])
        return tuple(values)


def _driver(connection: Connection) -> sqlite3.Connection:
    return cast("sqlite3.Connection", connection.connection.driver_connection)


def _back(statement: ClauseElement, dialect: Dialect) -> tuple[tuple[int, Convert], ...]:
    """Where in a row something has to be turned into Python's value, and what does it."""
    if not isinstance(statement, Select):
        return ()
    found = (column.type.dialect_impl(dialect).result_processor(dialect, None) for column in statement.selected_columns)
    return tuple((at, convert) for at, convert in enumerate(found) if convert is not None)
