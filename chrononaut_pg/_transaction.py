"""The mapped class of `chrononaut.transaction`, in a registry of its own.

Neither `create_all` nor Alembic see its table, which belongs to the SQL core.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Column,
    DateTime,
    MetaData,
    Select,
    String,
    Table,
    Text,
)
from sqlalchemy import inspect as sa_inspect
from sqlalchemy.dialects.postgresql import INET, JSONB
from sqlalchemy.orm import (
    Mapped,
    Session,
    column_property,
    object_session,
    registry,
    scoped_session,
)

from chrononaut_pg._entities import changed_entities
from chrononaut_pg._read_only import ReadOnly, guard_flushes
from chrononaut_pg._row_changes import RowChange, row_changes_from, select_changes_of
from chrononaut_pg.declarations import declared
from chrononaut_pg.exceptions import NoSessionError


class Transaction(ReadOnly):
    """One database transaction that changed at least one versioned row; read-only::

        select(Transaction).where(Transaction.user_id == "ann")

    *id* is what `transaction_id` of every change refers to. *began_at* is when it
    began, *issued_at* when its first change was recorded, both timezone-aware.
    *change_info* is what its first recorded statement said of who and why, *user_id*
    and *remote_addr* are taken from it; each change has its own as well. *db_user*,
    *application_name* and *client_addr* are the server's own knowledge, *suppressed*
    names tables whose recording was suppressed.
    """

    id: Mapped[int]
    began_at: Mapped[datetime]
    issued_at: Mapped[datetime]
    change_info: Mapped[dict[str, Any]]
    user_id: Mapped[str | None]
    remote_addr: Mapped[str | None]
    db_user: Mapped[str]
    application_name: Mapped[str | None]
    client_addr: Mapped[Any]
    suppressed: Mapped[list[str] | None]

    def changes(
        self,
        session: Session | None = None,
        after_id: int | None = None,
        limit: int | None = None,
    ) -> Iterator[RowChange]:
        """Yield every change that it made, in order, whatever the table::

            [(one.model, one.key, one.values) for one in transaction.changes()]

        Tables that the session's role may not read are left out. Pages: *limit* changes
        after the one with number *after_id*. One statement.
        """
        found = _session_of(self, session)
        rows = found.execute(
            self.select_changes(after_id, limit), bind_arguments=_bind(self)
        )
        return row_changes_from(rows)

    def select_changes(
        self, after_id: int | None = None, limit: int | None = None
    ) -> Select[Any]:
        """Return the statement of `changes`, for `chrononaut_pg.row_changes_from`."""
        return select_changes_of(self.id, after_id, limit)

    @property
    def changed_entities(self) -> dict[type[Any], list[Any]]:
        """The objects that it changed, as {model: [history objects]}.

        Each is there once: the version that the transaction left, or the last one of a
        row that it deleted. One statement, and one for each model.
        """
        return changed_entities(self.id, _session_of(self, None), _bind(self))

    def __repr__(self) -> str:
        known = sa_inspect(self).identity
        return f"<Transaction {known[0] if known else '?'}>"


def _session_of(transaction: Transaction, session: Any) -> Session:
    found = session if session is not None else object_session(transaction)
    if isinstance(found, scoped_session):
        found = found()
    if not isinstance(found, Session):
        raise NoSessionError(
            f"{transaction!r} belongs to no session",
            hint="Pass one, as in changes(session=session); with an AsyncSession "
            "execute what select_changes() returns.",
        )
    # Names mean tables of the past there; what happened is the same in the present.
    return getattr(found, "__chrononaut_live__", found)


def elsewhere(id_name: str, bind_key: str) -> property:
    """Return the attribute of versions whose table is in another database.

    Databases number their transactions alike, so a session tells them apart by
    *bind_key*, the identity token.
    """

    def find(version: Any) -> Transaction | None:
        number = getattr(version, version.__chrononaut_meta_names__[id_name])
        session = object_session(version)
        if number is None or session is None:
            return None
        bind = {"bind": session.get_bind(sa_inspect(type(version)))}
        return session.get(
            Transaction, number, bind_arguments=bind, identity_token=bind_key
        )

    return property(find)


def _bind(transaction: Transaction) -> dict[str, Any]:
    """Return where to ask about a transaction: where it came from."""
    token = sa_inspect(transaction).identity_token
    for one in declared() if token is not None else ():
        if one.table.metadata.info.get("bind_key") == token:
            return {"mapper": one.mapper}
    return {"mapper": sa_inspect(Transaction)}


_METADATA = MetaData(schema="chrononaut")

_REGISTRY = registry(metadata=_METADATA)

_TABLE = Table(
    "transaction",
    _METADATA,
    Column("id", BigInteger, primary_key=True),
    Column("began_at", DateTime(timezone=True)),
    Column("issued_at", DateTime(timezone=True)),
    Column("change_info", JSONB),
    Column("db_user", String),
    Column("application_name", String),
    Column("client_addr", INET),
    Column("suppressed", ARRAY(Text)),
)

_REGISTRY.map_imperatively(
    Transaction,
    _TABLE,
    properties={
        name: column_property(_TABLE.c.change_info[name].astext)
        for name in ("user_id", "remote_addr")
    },
)

guard_flushes()
