"""Sends statements to the past: names of tables are exchanged, the moment is said.

SQLAlchemy marks the schema of every table in a compiled statement where a
schema_translate_map is given. Here the map gives each schema a mark that stands nowhere
else, so that in the text each pair of schema and table can be told: a versioned table
becomes the view of its past, any other one gets its own schema back.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, Engine, event
from sqlalchemy.util import LRUCache

from chrononaut_pg._emission import autocommits, root_engine
from chrononaut_pg._resources import package_core_version
from chrononaut_pg._statements import Kind, changes_data, kind_of
from chrononaut_pg.exceptions import (
    CoreMissingError,
    NotVersionedError,
    ReadOnlyPastError,
    UnknownMomentError,
    sqlstate_of,
)

_OPTION = "chrononaut_past"
"""The execution option that holds a statement's Moment."""

_KEY = "chrononaut_past"
"""Where a connection remembers what it was told of the past in this transaction."""

_MARK = "chrononaut__past__"

_ENTER = (
    "select chrononaut._enter_past({}::timestamptz, {}::bigint, {}::text,"
    " {}::boolean, {}::boolean)"
)

_PAIR = re.compile(
    r"""[eE]'(?:[^'\\]|\\.|'')*'|'(?:[^']|'')*'|--[^\n]*|/\*.*?\*/|\$(\w*)\$.*?\$\1\$"""
    r"""|("(?:[^"]|"")+"|[^\W\d][\w$]*)\s*\.\s*("(?:[^"]|"")+"|[^\W\d][\w$]*)""",
    re.DOTALL,
)


@dataclass(frozen=True)
class Names:
    """Which tables have a past, and which have not, for one connection."""

    past: Mapping[tuple[str, str], str]
    """The schema of the view, by schema and table."""
    visible: Mapping[str, str]
    """The schema of versioned tables that need no schema in front."""
    live_only: frozenset[tuple[str | None, str]] | None
    """In strict mode: tables that have no past; without schema where none is needed."""
    path: str
    """The search_path for the past."""


@dataclass(frozen=True, eq=False)
class Opened:
    """A moment as one database resolved it."""

    text: str
    """What the setting chrononaut.past holds for it."""
    names: Names
    provisional: bool
    """Whether it is what the transaction that asked has left so far."""


@dataclass(frozen=True, eq=False)
class Moment:
    """Which moment is to be read, as it was asked for; resolved once per database."""

    at: datetime | None
    transaction: int | None
    mark: str | None
    before: bool = False
    strict: bool = False
    opened: WeakKeyDictionary[Engine, "Opened"] = field(
        default_factory=WeakKeyDictionary
    )

    @classmethod
    def of(
        cls,
        at: datetime | None,
        transaction: Any,
        mark: str | None,
        before: bool = False,
        strict: bool = False,
    ) -> "Moment":
        """Return the moment that the arguments of `time_travel` name."""
        given = [one for one in (at, transaction, mark) if one is not None]
        if len(given) != 1 or (before and transaction is None):
            raise ValueError(
                "say which moment: exactly one of at, transaction and mark; before "
                "goes with transaction"
            )
        if at is not None and at.tzinfo is None:
            at = at.replace(tzinfo=UTC)
        number = getattr(transaction, "id", transaction)
        if number is not None and not isinstance(number, int):
            raise TypeError(f"transaction is its id, not a {type(number).__name__}")
        return cls(at, number, mark, before, strict)

    @classmethod
    def now(cls) -> "Moment":
        """Return the moment at which nothing is later."""
        return cls.of(datetime.max.replace(tzinfo=UTC), None, None)

    @property
    def provisional(self) -> bool:
        """Whether the transaction that reads may still change what there is to see."""
        return any(one.provisional for one in self.opened.values())


class _Marks(dict[str | None, str]):
    """A schema_translate_map that marks every schema, after the application's own."""

    def __init__(self, own: Mapping[str | None, str | None]) -> None:
        super().__init__({None: ""})
        self._own = own

    def __contains__(self, name: object) -> bool:
        return True

    def __getitem__(self, name: str | None) -> str:
        name = None if name == "_none" else name
        schema = self._own.get(name, name)
        return _MARK + (schema or "").encode().hex()


def options_for(moment: Moment, connection: Any, given: Mapping[str, Any]) -> Any:
    """Return the execution options that send a statement to the past."""
    if given.get(_OPTION) is moment:
        return {}
    engine = root_engine(connection.engine)
    if engine not in _CACHES:
        _attach(engine)
    options = connection.get_execution_options()
    own = given.get("schema_translate_map", options.get("schema_translate_map"))
    return {
        _OPTION: moment,
        "schema_translate_map": _Marks(own or {}),
        "compiled_cache": _CACHES[engine],
    }


def enter(connection: Connection, moment: Moment) -> Opened:
    """Open the moment on the connection, unless its transaction has it open."""
    engine = root_engine(connection.engine)
    state = connection.info.get(_KEY)
    if state is None:
        state = connection.info[_KEY] = _State()
    found = moment.opened.get(engine)
    if found is None:
        if autocommits(connection.connection.dbapi_connection):
            raise ReadOnlyPastError(
                "an autocommit connection cannot read the past",
                hint="Begin a transaction, or use another isolation level.",
            )
        _return(connection, state)
        found = moment.opened[engine] = _entered(connection, state, moment)
    elif state.moment is not moment:
        _tell(connection, state, moment, found)
    return found


def leave(connection: Connection) -> None:
    """Let the connection's next statements find the tables of the present."""
    if not connection.closed and connection.in_transaction():
        state = connection.info.get(_KEY)
        if state is not None:
            _return(connection, state)


def _entered(connection: Connection, state: "_State", moment: Moment) -> Opened:
    asked = (
        moment.at,
        moment.transaction,
        moment.mark,
        moment.before,
        moment.strict,
    )
    try:
        row = _fetch(connection, _ENTER, asked)
    except Exception as error:
        if sqlstate_of(error) == "P0002":
            raise UnknownMomentError(
                str(error).splitlines()[0],
                hint="chrononaut.marks and chrononaut.transaction list what there is.",
            ) from error
        if sqlstate_of(error) in ("3F000", "42883"):
            raise CoreMissingError(package_core_version()) from error
        raise
    found = json.loads(row[0]) if isinstance(row[0], str) else row[0]
    state.moment, state.live_path = moment, found["live_path"]
    return Opened(found["moment"], _names(found), bool(found["provisional"]))


def _names(found: Mapping[str, Any]) -> Names:
    tables = found["tables"] or []
    return Names(
        past={(schema, name): past for schema, name, past, _ in tables},
        visible={name: schema for schema, name, _, visible in tables if visible},
        live_only=None if found["live_only"] is None else _places(found["live_only"]),
        path=found["path"],
    )


def _places(tables: list[list[Any]]) -> frozenset[tuple[str | None, str]]:
    named: set[tuple[str | None, str]] = {(schema, name) for schema, name, _ in tables}
    return frozenset(named | {(None, name) for _, name, visible in tables if visible})


_CACHES: WeakKeyDictionary[Engine, Any] = WeakKeyDictionary()
"""Compiled statements: those of the present may have been compiled without marks."""


@dataclass(slots=True)
class _State:
    """What one connection's transaction was told."""

    moment: Moment | None = None
    """The moment in the setting; None if that is not known, after a savepoint."""
    live_path: str | None = None
    """The search_path to return to, if that of the past may be set."""


def _attach(engine: Engine) -> None:
    _CACHES[engine] = LRUCache(500)
    event.listen(engine, "before_cursor_execute", _before_cursor_execute, retval=True)
    for name in ("begin", "begin_twophase"):
        event.listen(engine, name, _new_transaction)


def _new_transaction(connection: Connection, *_: Any) -> None:
    connection.info.pop(_KEY, None)


def _before_cursor_execute(
    connection: Connection,
    cursor: Any,
    statement: str,
    parameters: Any,
    context: Any,
    executemany: bool,
) -> tuple[str, Any]:
    moment = context.execution_options.get(_OPTION) if context is not None else None
    state = connection.info.get(_KEY)
    if moment is None:
        if state is not None:
            _return_unless_verb(connection, state, context, statement)
        return statement, parameters
    if context.isddl or changes_data(context.compiled, statement):
        raise ReadOnlyPastError(
            f"{statement.split(maxsplit=1)[0].upper()} refused: the past cannot be "
            "changed",
            hint="Execute it with the live session.",
        )
    found = enter(connection, moment)
    return _sent_to_the_past(statement, _Key(found.names)), parameters


def _tell(connection: Connection, state: _State, moment: Moment, found: Opened) -> None:
    sql = (
        "select current_setting('search_path'),"
        " set_config('chrononaut.past', {}, true), set_config('search_path', {}, true)"
    )
    row = _fetch(connection, sql, (found.text, found.names.path))
    if state.live_path is None:
        state.live_path = row[0]
    state.moment = moment


def _return_unless_verb(
    connection: Connection, state: _State, context: Any, statement: str
) -> None:
    """Before a statement of the present: bring back its search_path."""
    compiled = context.compiled if context is not None else None
    kind = kind_of(compiled, statement)
    if kind is Kind.ROLLBACK:
        state.moment = None
    elif kind is not Kind.VERB:
        _return(connection, state)


def _return(connection: Connection, state: _State) -> None:
    if state.live_path is not None:
        sql = "select set_config('search_path', {}, true)"
        _fetch(connection, sql, (state.live_path,))
    state.live_path = state.moment = None


def _fetch(connection: Connection, sql: str, parameters: tuple[Any, ...]) -> Any:
    """Execute on a DBAPI cursor of its own, past all handlers; return the first row."""
    style = connection.dialect.paramstyle
    places = (
        [f"${number}" for number in range(1, len(parameters) + 1)]
        if style == "numeric_dollar"
        else ["?" if style == "qmark" else "%s"] * len(parameters)
    )
    cursor = connection.connection.cursor()
    try:
        cursor.execute(sql.format(*places), parameters)
        return cursor.fetchone()
    finally:
        cursor.close()


class _Key:
    """Names as a key of the cache: the same object, the same answers."""

    __slots__ = ("names",)

    def __init__(self, names: Names) -> None:
        self.names = names

    def __hash__(self) -> int:
        return id(self.names)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and self.names is other.names


@lru_cache(maxsize=1024)
def _sent_to_the_past(statement: str, key: _Key) -> str:
    """Return the statement with the names of views in place of versioned tables."""
    return _PAIR.sub(lambda found: _exchanged(found, key.names), statement)


def _exchanged(found: re.Match[str], names: Names) -> str:
    schema_name, table_name = found[2], found[3]
    if schema_name is None:
        return found[0]
    marked = schema_name.startswith(_MARK)
    schema: str | None = (
        bytes.fromhex(schema_name.removeprefix(_MARK)).decode() or None
        if marked
        else _name(schema_name)
    )
    table = _name(table_name)
    if names.live_only is not None and (schema, table) in names.live_only:
        raise NotVersionedError(
            f"table {table} has no past: it is not versioned",
            table=table,
            schema=schema,
            hint="Version it, or travel without strict=True to read it as it is now.",
        )
    place = schema if schema is not None else names.visible.get(table, "")
    past = names.past.get((place, table))
    if past is not None:
        return f"{_quoted(past)}.{table_name}"
    if not marked:
        return found[0]
    return table_name if schema is None else f"{_quoted(schema)}.{table_name}"


def _name(identifier: str) -> str:
    """Return the name that an identifier stands for."""
    if identifier.startswith('"'):
        return identifier[1:-1].replace('""', '"')
    return identifier.lower()


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
