"""Says the change info on a connection: lazily, once per transaction, again on change.

One `Listener` per engine. What a transaction was told is kept in `Connection.info` and
forgotten when PostgreSQL forgets it. Wired by `chrononaut_pg.session.listen` only.
"""

import threading
import warnings
from typing import Any, cast

from sqlalchemy import Connection, Engine, event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.engine.interfaces import DBAPICursor
from sqlalchemy.sql.selectable import GenerativeSelect

from chrononaut_pg._providers import Provider, leave_all, provider_on
from chrononaut_pg._reflected import recognize
from chrononaut_pg._saying import Owed, Told, is_psycopg, owe, send_with_statements
from chrononaut_pg._statements import PAST, Kind, kind_of, kind_of_text
from chrononaut_pg._strict import check_statement
from chrononaut_pg._views import table_read_by
from chrononaut_pg.capture import current_capture
from chrononaut_pg.context import said, to_json
from chrononaut_pg.exceptions import (
    UNDEFINED_COLUMN,
    UNDEFINED_TABLE,
    ChangeInfoLostWarning,
    ChrononautException,
    DriftError,
    VersioningMissingError,
    from_database_error,
    sqlstate_of,
)

_KEY = "chrononaut_pg"


class Listener:
    """The handlers of one engine."""

    def __init__(self, provider: Provider) -> None:
        self.provider = provider
        self._warned = False

    def attach(self, engine: Engine) -> None:
        """Wire the handlers."""
        event.listen(engine, "before_cursor_execute", self._before_cursor_execute)
        send_with_statements(engine)
        event.listen(engine, "handle_error", _handle_error)
        # What ends otherwise than by SQLAlchemy is seen as a statement.
        for name in ("begin", "begin_twophase"):
            event.listen(engine, name, _new_transaction)

    def _before_cursor_execute(
        self,
        connection: Connection,
        cursor: DBAPICursor,
        statement: str,
        parameters: Any,
        context: Any,
        executemany: bool,
    ) -> None:
        compiled = context.compiled
        kind = (
            kind_of_text(statement) if context.isddl else kind_of(compiled, statement)
        )
        if kind is Kind.READ or kind is Kind.VERB:
            return
        told = _told(connection)
        if kind is Kind.ROLLBACK:
            told.forget()
        elif not told.busy:
            told.busy = True
            try:
                text = self._text(connection, told, compiled, statement)
                owed = self._owed(connection, told, text)
            finally:
                told.busy = False
            script = kind is Kind.SCRIPT
            if owed is not None:
                owed.script, owed.alone = script, executemany or script
                owe(context, owed)
            elif script:
                told.forget()

    def _text(
        self, connection: Connection, told: Told, compiled: Any, statement: str
    ) -> str:
        """Return what the setting must hold for a write made now."""
        provider = provider_on(connection, self.provider)
        what, who = said(), provider.who()
        strict = provider.require_extra
        capture = current_capture(connection.dialect.default_schema_name)
        known = what is told.what and who == told.who and provider is told.provider
        if known and capture is None and strict is None:
            return told.composed
        info = provider.info(what, who, told.evaluated)
        if capture is not None:
            made = getattr(compiled, "compile_state", None)
            info = capture.override(info, getattr(made, "dml_table", None))
        if strict is not None and strict() and not info.get("extra"):
            check_statement(connection, compiled, statement, info.get("tables", {}))
        text = to_json(info) if info else ""
        told.provider, told.what, told.who, told.composed = provider, what, who, text
        return text

    def announce(self, connection: Connection) -> None:
        """Say at once what a write made now would say."""
        told = _told(connection)
        owed = self._owed(connection, told, self._text(connection, told, None, ""))
        if owed is None:
            return
        told.busy = True
        try:
            owed.say(connection.exec_driver_sql, connection.dialect.paramstyle)
        finally:
            told.busy = False

    def _owed(self, connection: Connection, told: Told, text: str) -> Owed | None:
        """Return what must be said before a write; None if that was said already."""
        suppressed = said().suppressed
        fairy = connection.connection
        driver = fairy.dbapi_connection
        if (told.text != "" or told.suppressed) and _is_idle(driver):
            if told.text is None:
                fairy.rollback()  # else drivers do not notice a textual end
            told.text, told.suppressed = "", False
        if text == told.text and suppressed == told.suppressed:
            return None
        if autocommits(driver):
            self._warn(text)
            return None
        return Owed(told, text, suppressed)

    def _warn(self, text: str) -> None:
        if text and not self._warned:
            self._warned = True
            warnings.warn(
                "change info cannot be said on an autocommit connection: it belongs to "
                "a transaction; the change is recorded without it. Begin a "
                "transaction, or use another isolation level than AUTOCOMMIT",
                ChangeInfoLostWarning,
                stacklevel=2,
            )


_LISTENER = "_chrononaut_listener"
"""Where an engine keeps its listener: kept elsewhere, that would keep the engine."""

_LOCK = threading.RLock()
"""Held while an engine is given its listener."""


def listen_to_engine(engine: Engine, provider: Provider) -> Listener:
    """Make an engine tell who and why; a second time only the provider is renewed."""
    root = root_engine(engine)
    with _LOCK:  # sessions of many threads may begin at once
        listener = listener_of(root)
        if listener is None:
            listener = Listener(provider)
            listener.attach(root)
            recognize(root.dialect)
            vars(root)[_LISTENER] = listener
        else:
            listener.provider = listener.provider.merged(provider)
    return listener


def listener_of(engine: Engine) -> Listener | None:
    """Return the listener of an engine, or of the one that it was derived from."""
    return vars(root_engine(engine)).get(_LISTENER)


def root_engine(engine: Engine) -> Engine:
    """Return the engine that this one was derived from by execution options."""
    while (parent := getattr(engine, "_proxied", None)) is not None:
        engine = parent
    return engine


def _told(connection: Connection) -> Told:
    info = connection.info
    told = info.get(_KEY)
    if told is None:
        told = info[_KEY] = Told()
    return cast(Told, told)


def _new_transaction(connection: Connection, *_: Any) -> None:
    connection.info.pop(_KEY, None)
    leave_all(connection)


def _is_idle(driver: Any) -> bool:
    """Whether the server is in no transaction, as far as the driver can tell."""
    own = getattr(driver, "driver_connection", driver)  # below an asyncio adapter
    status = getattr(getattr(own, "pgconn", None), "transaction_status", None)
    if status is not None:
        return bool(status == 0)
    if (ask := getattr(own, "get_transaction_status", None)) is not None:  # psycopg2
        return bool(ask() == 0)
    ask = getattr(own, "is_in_transaction", None)  # asyncpg
    return ask is not None and not ask()


def autocommits(driver: Any) -> bool:
    """Whether a statement sent now would be a transaction of its own."""
    if not getattr(driver, "autocommit", False):
        return False
    if is_psycopg(driver):
        from psycopg.pq import TransactionStatus

        idle: bool = driver.info.transaction_status == TransactionStatus.IDLE
        return idle
    return True


def _handle_error(context: ExceptionContext) -> None:
    """Raise the core's errors as ours, with the original as their cause."""
    original = context.original_exception
    translated = from_database_error(original)
    if translated is None:
        translated = _lacking(context, sqlstate_of(original))
    if translated is not None:
        raise translated


def _lacking(
    context: ExceptionContext, sqlstate: str | None
) -> ChrononautException | None:
    """Return what to raise where a query reads history that the database lacks."""
    if sqlstate not in (*UNDEFINED_TABLE, UNDEFINED_COLUMN):
        return None
    compiled: Any = getattr(context.execution_context, "compiled", None)
    statement = getattr(compiled, "statement", None)
    found = table_read_by(statement) if statement is not None else None
    if found is None:
        return _lacking_past(context, statement, sqlstate)
    schema, table = found
    name = f"{schema}.{table}" if schema else table
    if sqlstate == UNDEFINED_COLUMN:
        return DriftError(
            f"the history of {name} lacks a column that is asked for: "
            f"{str(context.original_exception).splitlines()[0]}",
            schema=schema,
            table=table,
            hint="If it is the model's, run: "
            f"select chrononaut.sync_versioning('{name}').",
        )
    return VersioningMissingError(
        f"table {name} has no history in the database",
        schema=schema,
        table=table,
        hint="Create its versioning: create_all() does, and installs the core if need "
        f"be, or run: select chrononaut.create_versioning('{name}').",
    )


def _lacking_past(
    context: ExceptionContext, statement: Any, sqlstate: str | None
) -> ChrononautException | None:
    """Return what to raise where the past lacks a column; text may just be wrong."""
    if (
        sqlstate != UNDEFINED_COLUMN
        or not isinstance(statement, GenerativeSelect)
        or not (context.statement or "").startswith(PAST)
    ):
        return None
    return DriftError(
        "the past lacks a column that is asked for: "
        f"{str(context.original_exception).splitlines()[0]}",
        hint="If it is a model's, run chrononaut.sync_versioning() for its table;"
        " chrononaut.check_versioning() tells which is out of step.",
    )
