"""Sends statements to the past: says the moment, and has names of tables exchanged.

One handler per engine, wired by the first block that travels there. What a connection's
transaction was told is kept in `Connection.info`; every statement of the present finds
the search_path that it had.
"""

import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, Engine, TextClause, event
from sqlalchemy.sql import visitors
from sqlalchemy.util import LRUCache

from chrononaut_pg._emission import autocommits, root_engine
from chrononaut_pg._past_asking import check_core, fetch
from chrononaut_pg._past_grouping import grouped_by_all, shapes_of
from chrononaut_pg._past_moment import Moment as Moment
from chrononaut_pg._past_moment import Opened
from chrononaut_pg._past_names import declared_places, names_of
from chrononaut_pg._past_refusals import refuse_compiled_write
from chrononaut_pg._past_text import Names, mark, sent_to_the_past
from chrononaut_pg._statements import Kind, first_word, kind_of
from chrononaut_pg.exceptions import (
    ReadOnlyPastError,
    UnknownMomentError,
)

_OPTION = "chrononaut_past"
"""The execution option that holds a statement's Moment."""

_KEY = "chrononaut_past"
"""Where a connection remembers what it was told of the past in this transaction."""

_DECLARED = "chrononaut_declared"
"""The execution option that holds the tables of versioned models."""

_ENTER = """
select {recorded}, e.found ->> 'unknown', e.found ->> 'moment', e.found ->> 'path',
    e.found ->> 'live_path', (e.found ->> 'provisional')::boolean,
    (e.found -> 'tables')::text, (e.found -> 'live_only')::text, current_database()
from (select chrononaut._enter_past({}::timestamptz, {}::bigint, {}::text,
    {}::boolean, {}::boolean, {}::boolean) as found) e
"""

_RECORDED = """chrononaut._recorded_columns(array(
    select to_regclass(t.name)
    from json_array_elements_text({}::text::json) with ordinality t(name, position)
    order by t.position))::text"""

_TELL_BY_NAME = """
select current_setting('search_path'), set_config('chrononaut.past', {}, true)
"""

_TELL = """
select current_setting('search_path'),
    set_config('chrononaut.past', {}, true), set_config('search_path', {}, true)
"""

_ENDS = frozenset(["abort", "commit", "end", "rollback"])


class _Marks(dict[str | None, str]):
    """A schema_translate_map that marks every schema, after the application's own."""

    def __init__(self, own: Mapping[str | None, str | None]) -> None:
        super().__init__({None: ""})
        self._own = own

    def __contains__(self, name: object) -> bool:
        return True

    def __getitem__(self, name: str | None) -> str:
        name = None if name == "_none" else name
        return mark(self._own.get(name, name))


@dataclass(slots=True)
class _State:
    """What one connection's transaction was told."""

    moment: Moment | None = None
    """The moment in the setting; None if that is not known."""
    live_path: str | None = None
    """The search_path to return to, if that of the past is set."""
    streams: list[tuple[Any, Moment]] = field(default_factory=list)
    """Server-side cursors: they ask for the moment when they are read."""
    tables: list[str] = field(default_factory=list)
    """Whose recorded columns are to be asked for when a moment is opened by name."""
    recorded: str | None = None
    """The answer to that."""


_CACHES: WeakKeyDictionary[Engine, Any] = WeakKeyDictionary()
"""Compiled statements: those of the present may have been compiled without marks."""

_LOCK = threading.RLock()
"""Held while handlers are wired."""


def options_for(
    moment: Moment, connection: Any, given: Mapping[str, Any], metadata: Any = None
) -> Any:
    """Return the execution options that send a statement to the past.

    Tables that models of *metadata* version must be versioned in the database.
    """
    if given.get(_OPTION) is moment:
        return {}
    options = connection.get_execution_options()
    own = given.get("schema_translate_map", options.get("schema_translate_map"))
    return {
        _OPTION: moment,
        _DECLARED: declared_places(metadata, own),
        "schema_translate_map": _Marks(own or {}),
        "compiled_cache": _cache_of(root_engine(connection.engine)),
    }


def enter(connection: Connection, moment: Moment, by_name: bool = False) -> Opened:
    """Open the moment on the connection, unless its transaction has it open.

    *by_name*: all that is read is named in full, so the search_path stays.
    """
    engine = root_engine(connection.engine)
    _cache_of(engine)
    state: _State = connection.info.setdefault(_KEY, _State())
    found = moment.opened.get(engine)
    if (
        found is not None
        and state.moment is moment
        and (by_name or state.live_path is not None)
    ):
        return found
    if autocommits(connection.connection.dbapi_connection):
        raise ReadOnlyPastError(
            "an autocommit connection cannot read the past",
            hint="Begin a transaction, or use another isolation level.",
        )
    _refuse_streams(state, moment)
    if found is None or not _tell(connection, state, moment, found, by_name):
        _return(connection, state)
        found = moment.opened[engine] = _entered(connection, state, moment, by_name)
    return found


_KNOWN: WeakKeyDictionary[Engine, Names] = WeakKeyDictionary()
"""The tables that had a past when one was opened last."""


def is_known(connection: Connection, schema: str | None, table: str) -> bool:
    """Whether a table had a past when one was opened last in this database."""
    names = _KNOWN.get(root_engine(connection.engine))
    if names is None:
        return False
    place = schema if schema is not None else names.visible.get(table, "")
    return (place, table) in names.past


def is_watched(engine: Engine) -> bool:
    """Whether the engine's statements pass the handler that sends some to the past."""
    return engine in _CACHES


def reads_the_past(connection: Connection) -> bool:
    """Whether a statement would find the tables of the past unless told otherwise."""
    state: _State | None = connection.info.get(_KEY)
    return state is not None and state.live_path is not None


def ask_along(connection: Connection, tables: list[str]) -> None:
    """Have the recorded columns of tables brought along when a moment is opened."""
    state: _State = connection.info.setdefault(_KEY, _State())
    state.tables, state.recorded = tables, None


def brought_along(connection: Connection) -> str | None:
    """Return, once, what was brought along in this transaction, None if nothing was."""
    state: _State | None = connection.info.get(_KEY)
    if state is None:
        return None
    found, state.recorded, state.tables = state.recorded, None, []
    return found


def leave(connection: Connection) -> None:
    """Let the connection's next statements find the tables of the present.

    Where the transaction has failed, its end does that.
    """
    if connection.closed or connection.invalidated or not connection.in_transaction():
        return
    state = connection.info.get(_KEY)
    if state is not None:
        try:
            _return(connection, state)
        except connection.dialect.loaded_dbapi.Error:
            state.moment = None


def _entered(
    connection: Connection, state: _State, moment: Moment, by_name: bool
) -> Opened:
    check_core(connection)
    asked = moment.at, moment.transaction, moment.mark, moment.before, moment.strict
    tables = [json.dumps(state.tables)] if by_name and state.tables else []
    statement = _ENTER.replace("{recorded}", _RECORDED if tables else "null")
    row = fetch(connection, statement, (*tables, *asked, by_name))
    state.recorded, unknown, text, path, live_path, provisional, *names = row
    if unknown:
        raise UnknownMomentError(
            unknown,
            hint="chrononaut.marks and chrononaut.transaction list what there is.",
        )
    state.moment, state.live_path = moment, None if by_name else live_path
    formats = connection.dialect.paramstyle in ("format", "pyformat")
    known = names_of(*names, "%%" if formats else "%")
    _KNOWN[root_engine(connection.engine)] = known
    return Opened(text, known, path, live_path, bool(provisional))


def _cache_of(engine: Engine) -> Any:
    found = _CACHES.get(engine)
    if found is None:
        with _LOCK:
            _watch(engine)
            # Only now: another thread would send its statement past the handler.
            found = _CACHES.setdefault(engine, LRUCache(500))
    return found


def _watch(engine: Engine) -> None:
    """Wire the handlers, once."""
    if not event.contains(engine, "before_cursor_execute", _before_cursor_execute):
        event.listen(
            engine, "before_cursor_execute", _before_cursor_execute, retval=True
        )
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
    if moment is None:
        state = connection.info.get(_KEY)
        if state is not None:
            _return_before(connection, state, statement)
        return statement, parameters
    refuse_compiled_write(context.compiled, statement, parameters)
    by_name = moment.by_name and _is_named_in_full(context.compiled)
    found = enter(connection, moment, by_name)
    if context.execution_options.get("stream_results"):
        connection.info[_KEY].streams.append((cursor, moment))
    declared = context.execution_options[_DECLARED]
    statement = sent_to_the_past(statement, found.names, declared)
    shapes = partial(shapes_of, partial(fetch, connection), found.shapes)
    return grouped_by_all(statement, found.names, shapes), parameters


def _refuse_streams(state: _State, moment: Moment) -> None:
    """Raise if a result of another moment is still being read from the server."""
    open_ones = [one for one in state.streams if _is_open(one[0])]
    state.streams = open_ones
    if any(other is not moment for _, other in open_ones):
        raise ReadOnlyPastError(
            "a result of another moment is still being streamed on this connection",
            hint="Read it to its end or close it first.",
        )


def _is_open(cursor: Any) -> bool:
    closed = getattr(cursor, "closed", None)
    return not closed if closed is not None else cursor._cursor is not None


_NAMED_IN_FULL: WeakKeyDictionary[Any, bool] = WeakKeyDictionary()


def _is_named_in_full(compiled: Any) -> bool:
    """Whether a statement has no text and calls nothing that looks for tables."""
    if compiled is None:
        return False
    found = _NAMED_IN_FULL.get(compiled)
    if found is None:
        found = kind_of(compiled, str(compiled)) is Kind.READ and not any(
            isinstance(part, TextClause)
            for part in visitors.iterate(compiled.statement)
        )
        _NAMED_IN_FULL[compiled] = found
    return found


def _tell(
    connection: Connection,
    state: _State,
    moment: Moment,
    found: Opened,
    by_name: bool,
) -> bool:
    """Open a known moment; False if it was resolved for another search_path."""
    if by_name:
        _return(connection, state)
        live_path, _ = fetch(connection, _TELL_BY_NAME, (found.text,))
        state.moment = moment
        return bool(live_path == found.live_path)
    if found.path is None:
        return False
    row = fetch(connection, _TELL, (found.text, found.path))
    if state.live_path is None:
        state.live_path = row[0]
    state.moment = moment
    return state.live_path == found.live_path


def _return_before(connection: Connection, state: _State, statement: str) -> None:
    """Before a statement of the present: bring back its search_path.

    So every savepoint is made in the present, and what is rolled back leads there.
    """
    if first_word(statement) in _ENDS:
        state.live_path = state.moment = None
    else:
        _return(connection, state)


def _return(connection: Connection, state: _State) -> None:
    if state.live_path is not None:
        sql = "select set_config('search_path', {}, true)"
        fetch(connection, sql, (state.live_path,))
    state.live_path = state.moment = None
