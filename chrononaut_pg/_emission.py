"""Says the change info on a connection: lazily, once per transaction, again on change.

One `Listener` per engine. What a transaction was told is kept in `Connection.info` and
forgotten when PostgreSQL forgets it. Wired by `chrononaut_pg.session.listen` only.
"""

import sys
import warnings
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any, cast
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, Engine, event
from sqlalchemy.engine import ExceptionContext, ExecutionContext
from sqlalchemy.engine.interfaces import DBAPICursor

from chrononaut_pg._providers import Provider, leave_all, own_providers, provider_on
from chrononaut_pg._statements import Kind, kind_of, kind_of_text
from chrononaut_pg._strict import check_statement
from chrononaut_pg.capture import current_capture
from chrononaut_pg.context import Said, said, to_json
from chrononaut_pg.exceptions import ChangeInfoLostWarning, from_database_error

_KEY = "chrononaut_pg"

_PENDING = "chrononaut_pending"
"""Where an execution context keeps what travels with its statement."""

_FORMS = {"format": "%s", "pyformat": "%s", "numeric_dollar": "$1", "qmark": "?"}

_SAY = "select set_config('chrononaut.change_info', {}, true)"

_SUPPRESS = "select set_config('chrononaut.suppressed', '{}', true)"


@dataclass(slots=True, eq=False)
class _Told:
    """What one connection's transaction was told, and from what it was composed."""

    text: str | None = ""
    """The text in the setting; None if that is not known, after a savepoint."""
    suppressed: bool | None = False
    """Whether recording is off; None if that is not known."""
    composed: str = ""
    """The text that *provider*, *what* and *who* came to."""
    provider: Provider | None = None
    what: Said | None = None
    who: tuple[Any, Any] = (None, None)
    evaluated: dict[Any, Any] = field(default_factory=dict)
    busy: bool = False

    def forget(self) -> None:
        """Forget what was said, as a rolled-back savepoint did."""
        self.text, self.suppressed = None, None


class Listener:
    """The handlers of one engine."""

    def __init__(self, provider: Provider) -> None:
        self.provider = provider
        self._warned = False
        self._latest: tuple[dict[str, Any], str] = {}, ""

    def attach(self, engine: Engine) -> None:
        """Wire the handlers."""
        event.listen(engine, "before_cursor_execute", self._before_cursor_execute)
        event.listen(engine, "do_execute", _do_execute)
        event.listen(engine, "do_execute_no_params", _do_execute_no_params)
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
        compiled = context.compiled if context is not None else None
        kind = (
            kind_of_text(statement)
            if context is not None and context.isddl
            else kind_of(compiled, statement)
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
                alone = executemany or kind is Kind.SCRIPT
                self._say(connection, told, text, None if alone else context)
            finally:
                told.busy = False
            if kind is Kind.SCRIPT:
                told.forget()

    def _text(
        self, connection: Connection, told: _Told, compiled: Any, statement: str
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
            info = capture.override(info)
        if strict is not None and strict() and not info.get("extra"):
            check_statement(connection, compiled, statement, info.get("tables", {}))
        text = to_json(info) if info else ""
        told.provider, told.what, told.who, told.composed = provider, what, who, text
        return text

    def announce(self, connection: Connection) -> None:
        """Say at once what a write made now would say."""
        told = _told(connection)
        text = self._text(connection, told, None, "")
        self._say(connection, told, text, None)

    def _say(
        self, connection: Connection, told: _Told, text: str, context: Any
    ) -> None:
        """Say *text*, along with the statement of *context* if there is one."""
        suppressed = said().suppressed
        fairy = connection.connection
        driver = fairy.dbapi_connection
        if (told.text != "" or told.suppressed) and _is_idle(driver):
            if told.text is None:
                fairy.rollback()  # else drivers do not notice a textual end
            told.text, told.suppressed = "", False
        if text == told.text and suppressed == told.suppressed:
            return
        if autocommits(driver):
            self._warn(text)
            return
        if suppressed != told.suppressed:
            with_cursor(fairy, _SUPPRESS.format("on" if suppressed else ""), None)
            told.suppressed = suppressed
        if text != told.text:
            if context is not None and _is_psycopg(driver):
                vars(context)[_PENDING] = (told, text)
            else:
                form = _FORMS[connection.dialect.paramstyle]
                with_cursor(fairy, _SAY.format(form), (text,))
                told.text = text

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


_LISTENERS: WeakKeyDictionary[Engine, Listener] = WeakKeyDictionary()


def listen_to_engine(engine: Engine, provider: Provider) -> Listener:
    """Make an engine tell who and why; a second time only the provider is renewed."""
    root = root_engine(engine)
    listener = _LISTENERS.get(root)
    if listener is None:
        listener = _LISTENERS[root] = Listener(provider)
        listener.attach(root)
    else:
        listener.provider = listener.provider.merged(provider)
    return listener


def listener_of(engine: Engine) -> Listener | None:
    """Return the listener of an engine, or of the one that it was derived from."""
    return _LISTENERS.get(root_engine(engine))


def _is_flat(info: Mapping[str, Any]) -> bool:
    """Whether equal values are equal in JSON, too, and cannot be changed in place."""
    values = [*info.values(), *info.get("extra", {}).values()]
    return "tables" not in info and all(
        value is info.get("extra") or value is None or type(value) is str
        for value in values
    )


def anybody_strict() -> bool:
    """Whether some engine may refuse writes that have no reason."""
    engines = (one.provider for one in list(_LISTENERS.values()))
    return any(one.require_extra is not None for one in (*engines, *own_providers()))


def with_cursor(connection: Any, statement: str, parameters: Any) -> None:
    """Execute a statement on a DBAPI cursor of its own."""
    cursor = connection.cursor()
    try:
        if parameters is None:
            cursor.execute(statement)
        else:
            cursor.execute(statement, parameters)
    finally:
        cursor.close()


def root_engine(engine: Engine) -> Engine:
    """Return the engine that this one was derived from by execution options."""
    while (parent := getattr(engine, "_proxied", None)) is not None:
        engine = parent
    return engine


def _told(connection: Connection) -> _Told:
    info = connection.info
    told = info.get(_KEY)
    if told is None:
        told = info[_KEY] = _Told()
    return cast(_Told, told)


def _new_transaction(connection: Connection, *_: Any) -> None:
    connection.info.pop(_KEY, None)
    leave_all(connection)


def _do_execute(
    cursor: Any, statement: str, parameters: Any, context: ExecutionContext
) -> bool:
    """Send what is pending and the statement itself in one network round trip."""
    told, text = vars(context).pop(_PENDING, (None, None))
    if told is None:
        return False
    driver = cursor.connection
    if _begin_saying(driver, text):
        told.text = text
        return False
    together = _fits_pipeline(cursor, statement)
    with driver.pipeline() if together else nullcontext():
        with_cursor(driver, _SAY.format("%s"), (text,))
        told.text = text
        if together:
            cursor.execute(statement, parameters)
    return together


def _do_execute_no_params(
    cursor: Any, statement: str, context: ExecutionContext
) -> bool:
    return _do_execute(cursor, statement, None, context)


def _begin_saying(driver: Any, text: str) -> bool:
    """Begin a transaction along with what is said in it; return whether it was done.

    The driver is about to send a BEGIN of its own, as a round trip; 25 microseconds are
    saved. On a network the pipeline waits as the driver does, whatever patches that.
    """
    from psycopg.pq import Escaping, ExecStatus, PipelineStatus, TransactionStatus

    settings = (driver.isolation_level, driver.read_only, driver.deferrable)
    if (
        any(one is not None for one in settings)
        or driver.autocommit
        or driver.pgconn.transaction_status != TransactionStatus.IDLE
        or driver.pgconn.pipeline_status != PipelineStatus.OFF
        or not driver.info.host.startswith("/")
    ):
        return False
    literal = Escaping(driver.pgconn).escape_literal(text.encode(driver.info.encoding))
    say = _SAY.format("%s").encode() % literal
    done = driver.pgconn.exec_(b"begin; " + say)
    if done.status != ExecStatus.TUPLES_OK:
        driver.rollback()
        return False
    return True


def _fits_pipeline(cursor: Any, statement: str) -> bool:
    """Whether a pipeline may take the statement, and pays.

    Scripts and DECLARE stay outside. On a Unix socket a round trip is cheaper than what
    the driver does to save it (measured: 45 against 95 microseconds).
    """
    if cursor.connection.info.host.startswith("/") or ";" in statement:
        return False
    from psycopg import Pipeline, ServerCursor

    return Pipeline.is_supported() and not isinstance(cursor, ServerCursor)


def _is_psycopg(driver: Any) -> bool:
    """Whether a connection is psycopg's; importing that takes 50 ms, so ask first."""
    loaded = sys.modules.get("psycopg")
    return loaded is not None and isinstance(driver, loaded.Connection)


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
    if _is_psycopg(driver):
        from psycopg.pq import TransactionStatus

        idle: bool = driver.info.transaction_status == TransactionStatus.IDLE
        return idle
    return True


def _handle_error(context: ExceptionContext) -> None:
    """Raise the core's errors as ours, with the original as their cause."""
    translated = from_database_error(context.original_exception)
    if translated is not None:
        raise translated
