"""One transaction of the database, with the ORM over it when somebody asks for that."""

from functools import cached_property
from typing import Any

from sqlalchemy import Connection
from sqlmodel import Session


class Transaction:
    """What is open between BEGIN and COMMIT. Whoever began it on the connection ends it there, then closes this.

    Making, flushing and closing an ORM session takes as long as all statements of an ack together, so there is none
    until it is needed.
    """

    def __init__(self, connection: Connection, *, writing: bool) -> None:
        self.connection = connection
        self.info: dict[str, Any] = {}
        """What those who share the transaction remember of it."""
        self._writing = writing

    @cached_property
    def session(self) -> Session:
        """The ORM; what is changed on its objects is written by `flush`, or before the next query."""
        session = Session(self.connection, expire_on_commit=False, autoflush=self._writing)
        session.connection()  # from here on it is part of the transaction: its rollback undoes all of that
        return session

    def flush(self) -> None:
        """Write what was changed with the ORM."""
        if "session" in vars(self):
            self.session.flush()

    def close(self) -> None:
        """Let go of what was read with the ORM: it can be looked at on, and put into another transaction."""
        if "session" in vars(self):
            self.session.close()
