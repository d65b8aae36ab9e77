"""Converting old history of one model, from whichever tool kept it.

The work is done by functions in the database (`sql/convert`), which are loaded when a
converter first runs. Source: the converter of Chrononaut, whose methods these are.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, text
from sqlalchemy import inspect as sa_inspect
from sqlalchemy.orm import Session, scoped_session

from chrononaut_pg._cursors import core_cursor, run_script
from chrononaut_pg._resources import sql_folder
from chrononaut_pg.converters._progress import progress_bar
from chrononaut_pg.declarations import Declaration, declaration, table_name
from chrononaut_pg.exceptions import translate_errors

AnySession = Session | scoped_session[Any]

SOURCE_FORMATS = ("activity", "history", "continuum", "audit")
"""Chrononaut 0.3 and later, Chrononaut 0.1 and 0.2, Continuum, PostgreSQL-Audit."""


@dataclass(frozen=True)
class Problem:
    """A source row that could not be converted as it stood, and why.

    *key* is the object's, *number* tells which of its rows: the source's id, version or
    transaction. *lost* is what history does not hold; *converted* says whether the rest
    of the row is in it.
    """

    source: str
    key: Any
    number: int | None
    reason: str
    lost: Any
    converted: bool


class HistoryModelDataConverter:
    """Converts the old history of a versioned model::

        converter = HistoryModelDataConverter(User)
        converter.convert_all(db.session)

    Finds the table that holds it: `chrononaut_activity`, `<table>_history_old`,
    `<table>_history` or `<table>_version`, or PostgreSQL-Audit's `activity`; *source*
    names another one, or several by the tables of joined inheritance, *source_format*
    says what it is (see SOURCE_FORMATS). *source_table_name* is what an activity table
    calls the model's table, if not by its name; *renames* gives the present names of
    columns by their old ones. *tool_columns* tells what Continuum was configured
    to call its own, as in `{"transaction_id": "tx_id"}`. *id_column* is accepted for
    Chrononaut's sake: the key is the model's own.

    What was converted is never converted again, by whichever converter and session, so
    that one can stop and go on at any time. Only members of the role that owns the core
    may convert. Raises CannotVersionError if the table is not versioned, or if there is
    no old history.
    """

    def __init__(
        self,
        model: type[Any],
        id_column: str = "id",
        *,
        source: str | Mapping[str, str] | None = None,
        source_format: str | None = None,
        source_table_name: str | None = None,
        renames: Mapping[str, str] | None = None,
        tool_columns: Mapping[str, str] | None = None,
    ) -> None:
        self._one: Declaration = declaration(model)
        if source_format not in (None, *SOURCE_FORMATS):
            raise ValueError(
                f"unknown source_format {source_format!r}: it is one of "
                + ", ".join(SOURCE_FORMATS)
            )
        self.model = model
        self.id_column = id_column
        self._source = source
        self._format = source_format
        self._part = source_table_name
        self._renames = dict(renames or {})
        self._tool = {
            name: f"tool.{usual}" for usual, name in (tool_columns or {}).items()
        }
        self._sources: list[int] = []
        self._finished: set[int] = set()

    def convert(self, session: AnySession, limit: int = 10000) -> int:
        """Convert at most *limit* rows of the old history, and commit.

        Returns how many rows were converted, 0 when none is left::

            while converter.convert(session) > 0:
                pass
        """
        return self._convert(session, limit, None)

    def convert_all(
        self, session: AnySession, limit: int = 100000, progress: bool | None = None
    ) -> int:
        """Convert everything, *limit* rows per transaction; return the number of rows.

        *progress* shows a bar if tqdm or rich is installed; by default on a terminal.
        """
        with progress_bar(str(self._one.table.name), progress) as advance:
            return self._run(session, limit, None, advance)

    def update(
        self, session: AnySession, update_from: datetime | str | None = None
    ) -> int:
        """Convert what the old tool has recorded since; return the number of rows.

        *update_from* is the time of the first conversion; rows before it are not looked
        at. Without it all rows are that have not been converted. Changes that the
        triggers saw as well are not doubled: they get who and why from the old tool.
        """
        if isinstance(update_from, str):
            update_from = datetime.fromisoformat(update_from)
        if update_from is not None and update_from.tzinfo is None:
            update_from = update_from.replace(tzinfo=UTC)
        return self._run(session, 100000, update_from, lambda done, left: None)

    def problems(self, session: AnySession) -> list[Problem]:
        """Return what could not be converted as it stood, the oldest report first."""
        with _committed(session) as found:
            rows = found.execute(
                text(
                    "select s.relation, p.source_key, p.source_no, p.reason, p.lost,"
                    " p.converted from chrononaut.conversion_problem p"
                    " join chrononaut.conversion_source s on s.id = p.source_id"
                    " where s.id = any (:sources) order by p.id"
                ),
                {"sources": self._prepared(found)},
                bind_arguments=self._bind,
            )
            return [Problem(*row) for row in rows]

    @property
    def _bind(self) -> dict[str, Any]:
        return {"mapper": sa_inspect(self.model)}

    def _run(
        self,
        session: AnySession,
        limit: int,
        since: datetime | None,
        advance: Callable[[int, int], None],
    ) -> int:
        total = 0
        while (done := self._convert(session, limit, since)) > 0:
            total += done
            advance(done, self._pending(session))
        return total

    def _convert(self, session: AnySession, limit: int, since: datetime | None) -> int:
        for source in self._known(session):
            with _committed(session) as found:
                done: int = found.scalar(
                    text(
                        "select chrononaut.convert_history(:source, :limit,"
                        " cast(:since as timestamptz))"
                    ),
                    {"source": source, "limit": limit, "since": since},
                    bind_arguments=self._bind,
                )
            if done > 0:
                return done
            self._finished.add(source)
        self._finished.clear()
        return 0

    def _known(self, session: AnySession) -> list[int]:
        with _committed(session) as found:
            sources = self._prepared(found)
        return [source for source in sources if source not in self._finished]

    def _pending(self, session: AnySession) -> int:
        with _committed(session) as found:
            left: int = found.scalar(
                text(
                    "select coalesce(sum(chrononaut.conversion_pending(s)), 0)::bigint"
                    " from unnest(cast(:sources as integer[])) s"
                ),
                {"sources": self._sources},
                bind_arguments=self._bind,
            )
        return left

    def _prepared(self, session: Session) -> list[int]:
        """Return the numbers of the sources, the root table's first."""
        if not self._sources:
            connection = session.connection(bind_arguments=self._bind)
            _load(connection)
            own, *above = {one.table: one for one in self._one.lineage}.values()
            found = self._register(connection, own, self._source_of(own, self._source))
            shared = connection.scalar(
                text(
                    "select relation from chrononaut.conversion_source"
                    " where id = :source and format in ('activity', 'audit')"
                ),
                {"source": found},
            )
            parents = [
                self._register(connection, one, shared or self._source_of(one, None))
                for one in reversed(above)
            ]
            self._sources = [*parents, found]
        return self._sources

    def _source_of(self, one: Declaration, otherwise: Any) -> str | None:
        """Return the source that was named for a table."""
        if isinstance(self._source, Mapping):
            name = table_name(one.table)
            return self._source.get(name, self._source.get(one.table.name))
        named: str | None = otherwise
        return named

    def _register(
        self, connection: Connection, one: Declaration, source: str | None
    ) -> int:
        found: int = connection.scalar(
            text(
                "select chrononaut.conversion_source(cast(:target as regclass),"
                " :format, cast(:source as regclass), :activity_part, :audit_part,"
                " cast(:names as jsonb))"
            ),
            {
                "target": table_name(one.table),
                "format": self._format,
                "source": source,
                "activity_part": self._part or self._one.table.name,
                "audit_part": self._part if one is self._one else None,
                "names": json.dumps(self._names(one)),
            },
        )
        return found

    def _names(self, one: Declaration) -> dict[str, str]:
        """Return the table's column names by other names that the source may use."""
        names = {
            key: column.name
            for mapper in self._one.mapper.self_and_descendants
            for key, column in mapper.columns.items()
            if column.table is one.table and key != column.name
        }
        own = {old: new for old, new in self._renames.items() if new in one.table.c}
        return {**names, **own, **self._tool}


def _load(connection: Connection) -> None:
    """Bring the converter's functions into the database."""
    with core_cursor(connection) as cursor:
        for path in sorted((sql_folder() / "convert").glob("*.sql")):
            run_script(cursor, path.read_text(encoding="utf-8"))


@contextmanager
def _committed(session: AnySession) -> Iterator[Session]:
    """Yield the session, and commit; roll back after an error, and translate it."""
    found = session() if isinstance(session, scoped_session) else session
    with translate_errors():
        try:
            yield found
            found.commit()
        except BaseException:
            found.rollback()
            raise
