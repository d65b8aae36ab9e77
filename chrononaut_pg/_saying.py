"""What a transaction must be told, and how it is sent before a statement.

`chrononaut_pg._emission` decides what is owed; the handlers here send it where the
statement is executed. Errors are SQLAlchemy's own there, and a connection that is gone
leaves the pool; in the handler before that neither is so.
"""

import sys
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from sqlalchemy import Engine, event
from sqlalchemy.engine import ExecutionContext

from chrononaut_pg._providers import Provider
from chrononaut_pg.context import Said

_OWED = "chrononaut_owed"
"""Where an execution context keeps what is to be said before its statement."""

_FORMS = {"format": "%s", "pyformat": "%s", "numeric_dollar": "$1", "qmark": "?"}

_SAY = "select set_config('chrononaut.change_info', {}, true)"

_SUPPRESS = "select set_config('chrononaut.suppressed', '{}', true)"


@dataclass(slots=True, eq=False)
class Told:
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


@dataclass(slots=True, eq=False)
class Owed:
    """What a transaction must be told before a statement.

    It is said where the statement is executed, not in the handler before that: there
    errors are SQLAlchemy's own, and a connection that is gone leaves the pool.
    """

    told: Told
    text: str
    suppressed: bool
    alone: bool = False
    """Whether it cannot travel along with the statement."""
    script: bool = False
    """Whether the statement may end what was said."""

    def say(self, send: Callable[[str, Any], object], paramstyle: str) -> None:
        """Say it through *send*, which executes a statement with parameters."""
        self.say_suppressed(send)
        if self.text != self.told.text:
            send(_SAY.format(_FORMS[paramstyle]), (self.text,))
            self.told.text = self.text

    def say_suppressed(self, send: Callable[[str, Any], object]) -> None:
        """Say whether recording is off, if that is owed."""
        if self.suppressed != self.told.suppressed:
            send(_SUPPRESS.format("on" if self.suppressed else ""), None)
            self.told.suppressed = self.suppressed


def send_with_statements(engine: Engine) -> None:
    """Wire the handlers that send what is owed."""
    event.listen(engine, "do_execute", _do_execute)
    event.listen(engine, "do_execute_no_params", _do_execute_no_params)
    event.listen(engine, "do_executemany", _do_executemany)


def owe(context: Any, owed: Owed) -> None:
    """Have *owed* sent before the statement of an execution context."""
    vars(context)[_OWED] = owed


def _send(connection: Any, statement: str, parameters: Any) -> None:
    """Execute a statement on a DBAPI cursor of its own."""
    cursor = connection.cursor()
    try:
        if parameters is None:
            cursor.execute(statement)
        else:
            cursor.execute(statement, parameters)
    finally:
        cursor.close()


def _do_execute(
    cursor: Any, statement: str, parameters: Any, context: ExecutionContext
) -> bool:
    """Send what is owed and the statement itself in one network round trip."""
    owed: Owed | None = vars(context).get(_OWED)
    if owed is None:
        return False
    driver: Any = context.root_connection.connection.dbapi_connection
    if owed.alone or not is_psycopg(driver):
        return _do_executemany(cursor, statement, parameters, context)
    del vars(context)[_OWED]
    owed.say_suppressed(partial(_send, driver))
    if owed.text == owed.told.text:
        return False
    if _begin_saying(driver, owed.text):
        owed.told.text = owed.text
        return False
    together = _fits_pipeline(cursor, statement)
    with driver.pipeline() if together else nullcontext():
        owed.say(partial(_send, driver), "pyformat")
        if together:
            cursor.execute(statement, parameters)
    return together


def _do_execute_no_params(
    cursor: Any, statement: str, context: ExecutionContext
) -> bool:
    return _do_execute(cursor, statement, None, context)


def _do_executemany(
    cursor: Any, statement: str, parameters: Any, context: ExecutionContext
) -> bool:
    """Send what is owed before the statement."""
    owed: Owed | None = vars(context).pop(_OWED, None)
    if owed is not None:
        connection = context.root_connection.connection
        owed.say(partial(_send, connection), context.dialect.paramstyle)
        if owed.script:
            owed.told.forget()
    return False


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


def is_psycopg(driver: Any) -> bool:
    """Whether a connection is psycopg's; importing that takes 50 ms, so ask first."""
    loaded = sys.modules.get("psycopg")
    return loaded is not None and isinstance(driver, loaded.Connection)
