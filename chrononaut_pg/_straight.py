"""Reads a relation of a version by one statement that names its moment.

Otherwise a moment is opened first, and SQLAlchemy loads what is related from the views
of the past. Where a relation is no more than that columns are equal, what is related is
of one table, and an application has no say in loading it, a function of the table is
asked at once, in less than half of the time. What is loaded is the same.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Connection,
    Select,
    Table,
    Text,
    bindparam,
    cast,
    column,
    func,
    literal_column,
    select,
)
from sqlalchemy.dialects.postgresql import ARRAY, array
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import RelationshipProperty, Session, object_session
from sqlalchemy.sql import visitors
from sqlalchemy.sql.selectable import SelectBase
from sqlalchemy.types import UserDefinedType

from chrononaut_pg._emission import autocommits
from chrononaut_pg._loading import loader_of
from chrononaut_pg._members import BY_QUERY, commit, compared
from chrononaut_pg._past import is_known
from chrononaut_pg._past_session import PastSession
from chrononaut_pg._past_text import not_versioned
from chrononaut_pg._unheard import Read
from chrononaut_pg.exceptions import (
    NO_DATA_FOUND,
    UNDEFINED_FUNCTION,
    UnknownMomentError,
    sqlstate_of,
)

_STRAIGHT = "chrononaut_straight"
"""Where the info of a relation keeps how it is read."""

_TRANSACTION = bindparam("chrononaut_transaction", type_=BigInteger())
_BEFORE = bindparam("chrononaut_before", type_=Boolean())

_IS_OPEN: ColumnElement[Any] = (
    _TRANSACTION.op("&")(literal_column("1099511627775"))
    == cast(cast(func.pg_current_xact_id_if_assigned(), Text), BigInteger)
).label("is_open")
"""Whether the transaction is the one that reads: there may be more of it."""


def read_straight(owner: Any, relation: RelationshipProperty[Any]) -> None:
    """Load a relation of an object of the past, if one statement can do it."""
    past, found = object_session(owner), _straight(relation)
    if (
        found is None
        or not isinstance(past, PastSession)
        or past.moment.transaction is None
        or relation.key in vars(owner)
    ):
        return
    connection = past.get_bind(relation.mapper)
    if isinstance(connection, Connection) and found.serves(past.live, connection):
        found.load(owner, past, connection)


def _straight(relation: RelationshipProperty[Any]) -> "Straight | None":
    """Return how a relation is read by one statement; None if that cannot be."""
    if _STRAIGHT not in relation.info:
        relation.info[_STRAIGHT] = Straight(relation) if _is_plain(relation) else None
    found: Straight | None = relation.info[_STRAIGHT]
    return found


def _is_plain(relation: RelationshipProperty[Any]) -> bool:
    """Whether what is related is of one table, and sorted by columns of its own."""
    table = relation.mapper.local_table
    order = [part for one in relation.order_by or () for part in visitors.iterate(one)]
    return (
        relation.lazy not in BY_QUERY
        and compared(relation) is not None
        and relation.mapper.inherits is None
        and isinstance(table, Table)
        and not any(sign in _names(table) for sign in "%:\\$")
        and not any(isinstance(part, SelectBase) for part in order)
        and all(
            table.columns.contains_column(part)
            for part in order
            if isinstance(part, Column)
        )
    )


def _names(table: Table) -> str:
    return " ".join([table.fullname, *table.columns.keys()])


class _Name(UserDefinedType[str]):
    """PostgreSQL's type of names."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        return "name"


class Straight:
    """The statement of one relation."""

    def __init__(self, relation: RelationshipProperty[Any]) -> None:
        self._relation = relation
        self._table: Any = relation.mapper.local_table
        self._loader = loader_of(relation.mapper.class_)
        self._pairs = [
            (place, name, remote.property.columns[0])
            for place, name, remote in compared(relation) or ()
        ]
        self._key = self._place_of_key()
        self._made: dict[str, Read] = {}

    def serves(self, live: Session, connection: Connection) -> bool:
        """Whether the statement may be asked for a session, on its connection."""
        options = connection.get_execution_options()
        return (
            self._loader.serves(live)
            and "schema_translate_map" not in options
            and is_known(connection, self._table.schema, self._table.name)
            and not autocommits(connection.connection.dbapi_connection)
        )

    def load(self, owner: Any, past: PastSession, connection: Connection) -> None:
        """Load the relation, unless it leads nowhere, or to what is loaded already."""
        values = {place: getattr(owner, name) for place, name, _ in self._pairs}
        if None in values.values() or self._is_there(past, values):
            return
        moment, engine = past.moment, connection.engine
        values[_TRANSACTION.key] = moment.transaction
        values[_BEFORE.key] = moment.before
        read = self._read(connection, values)
        if engine not in moment.unfinished:
            said = read[0][-1] if read else _is_open(connection, values)
            moment.unfinished[engine] = bool(said)
        if len(read) > 1 and not self._relation.uselist:
            return  # SQLAlchemy has a warning for that
        rows = self._loader.values(
            [*self._loader.attributes], [row[:-1] for row in read]
        )
        found = self._loader.objects(past, rows)
        past.keep(found)
        commit(owner, self._relation, found)

    def _place_of_key(self) -> list[str]:
        """Return the parameters that are the key of what is related, if they are."""
        places = {remote: place for place, _, remote in self._pairs}
        key = self._relation.mapper.primary_key
        return [places[one] for one in key] if set(places) == set(key) else []

    def _is_there(self, past: PastSession, values: dict[str, Any]) -> bool:
        if not self._key:
            return False
        key = tuple(values[place] for place in self._key)
        identity = self._relation.mapper.identity_key_from_primary_key(key)
        return identity in past.identity_map

    def _read(self, connection: Connection, values: dict[str, Any]) -> Sequence[Any]:
        try:
            return self._statement(connection).rows(connection, values)
        except DBAPIError as error:
            said = str(error.orig).splitlines()[0]
            if sqlstate_of(error) == NO_DATA_FOUND:
                hint = "chrononaut.transaction lists what there is."
                raise UnknownMomentError(said, hint=hint) from error
            if sqlstate_of(error) == UNDEFINED_FUNCTION:
                raise not_versioned(self._table.schema, self._table.name) from error
            raise

    def _statement(self, connection: Connection) -> Read:
        name = connection.dialect.identifier_preparer.format_table(self._table)
        found = self._made.get(name)
        if found is None:
            found = self._made[name] = Read(self._selected(name))
        return found

    def _selected(self, name: str) -> Select[Any]:
        wanted = (column(c.name, c.type) for c in self._table.columns)
        pairs = sorted((one.name, place, one.type) for place, _, one in self._pairs)
        given = [cast(bindparam(place, type_=kind), Text) for _, place, kind in pairs]
        whole: Any = func.chrononaut._related(
            literal_column(f"null::{name}"),
            cast(array([_quoted(one) for one, _, _ in pairs]), ARRAY(_Name())),
            array(given),
            _TRANSACTION,
            _BEFORE,
        ).table_valued(*wanted, name="past")
        exchanged = partial(_of_past, whole)
        order = [
            visitors.replacement_traverse(one, {}, exchanged)
            for one in self._relation.order_by or ()
        ]
        names = self._loader.attributes.values()
        return select(*(whole.c[name] for name in names), _IS_OPEN).order_by(*order)


def _quoted(name: str) -> ColumnElement[Any]:
    return literal_column("'" + name.replace("'", "''") + "'")


def _of_past(whole: Any, part: Any, **_: Any) -> Any:
    return whole.c[part.name] if isinstance(part, Column) else None


def _is_open(connection: Connection, values: dict[str, Any]) -> Any:
    asked = {_TRANSACTION.key: values[_TRANSACTION.key]}
    return connection.execute(select(_IS_OPEN), asked).scalar()
