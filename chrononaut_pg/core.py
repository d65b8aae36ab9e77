"""The SQL core from Python: install it, and say which tables it versions.

Every function takes a psycopg or an SQLAlchemy connection and calls the database's
functions of the same name. It runs in the caller's transaction if there is one, else in
one of its own, which it commits. Errors of the core come as ChrononautException.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import psycopg.sql
from sqlalchemy.dialects import postgresql

from chrononaut_pg._cursors import (
    Connection,
    Cursor,
    core_cursor,
    installed_version,
    open_cursor,
    run_script,
)
from chrononaut_pg._resources import SqlFile, install_files, package_core_version
from chrononaut_pg.options import COLUMN_OPTIONS, VersioningOptions

_CASTS = {
    "target": "::regclass",
    "parent": "::regclass",
    **dict.fromkeys(COLUMN_OPTIONS, "::name[]"),
}


@dataclass(frozen=True)
class Problem:
    """Something that is not right with a versioned table, and what mends it."""

    relation: str
    problem: str
    fix: str


@dataclass(frozen=True)
class VersionedTable:
    """One row of `chrononaut.versioned_tables`; *history_rows* is an estimate."""

    schema: str
    name: str
    history_table: str
    versions_view: str
    options: VersioningOptions
    history_bytes: int
    history_rows: int
    drifted: bool
    own_names: tuple[tuple[str, str], ...] = ()
    """Schema and name of the history table and the versions view."""


@dataclass(frozen=True)
class Status:
    """What a database has, compared with what this package brings.

    *installed_version* is None without a core; *tables* and *problems* are read only
    when both versions are the same.
    """

    package_version: int
    installed_version: int | None
    tables: tuple[VersionedTable, ...] = ()
    problems: tuple[Problem, ...] = ()

    @property
    def current(self) -> bool:
        """Whether the core is installed in the version of this package."""
        return self.installed_version == self.package_version


def install(connection: Connection, auto_sync: bool = False) -> int:
    """Install or upgrade the core, and return its version.

    *auto_sync* creates the event triggers that keep history in line after DDL; only a
    superuser may. Raises CoreNewerError if the database is ahead of this package.
    """
    with open_cursor(connection) as cursor:
        for statement in _install_statements(installed_version(cursor), auto_sync):
            run_script(cursor, statement)
    return package_core_version()


def install_script(auto_sync: bool = False) -> str:
    """Return what `install` runs as one script for psql, transaction included.

    It needs no other file and is right for any database, with or without a core.
    """
    files = install_files()
    return "\n\n".join(
        (
            "\\set ON_ERROR_STOP on\nbegin;\nset local client_min_messages = warning;",
            *(_unless_passed(file) if file.leads_to else file.text for file in files),
            *_closing_statements(auto_sync),
            "commit;\n",
        )
    )


def status(connection: Connection) -> Status:
    """Return which core is installed, what it versions and what is wrong with it.

    Raises CoreNewerError if the database is ahead of this package.
    """
    package = package_core_version()
    with open_cursor(connection) as cursor:
        installed = installed_version(cursor)
        if installed != package:
            return Status(package, installed)
        return Status(
            package, installed, _versioned_tables(cursor), _check_versioning(cursor)
        )


def create_versioning(
    connection: Connection,
    target: str,
    options: VersioningOptions | None = None,
    **named: Any,
) -> str:
    """Version the table *target*; return the name of its history table::

        create_versioning(connection, "app.user", hidden=["password"])

    Options come as VersioningOptions or by name. On a versioned table this is
    `alter_versioning`.
    """
    chosen = replace(options or VersioningOptions(), **named)
    return str(_call(connection, "create_versioning", target, chosen.given()))


def alter_versioning(
    connection: Connection,
    target: str,
    options: VersioningOptions | None = None,
    **named: Any,
) -> str:
    """Change options of a versioned table; return the name of its history table."""
    chosen = replace(options or VersioningOptions(), **named)
    return str(_call(connection, "alter_versioning", target, chosen.given()))


def drop_versioning(
    connection: Connection, target: str, drop_history: bool = False
) -> None:
    """Stop versioning *target*, and drop its history only if told to."""
    _call(connection, "drop_versioning", target, {"drop_history": drop_history})


def sync_versioning(connection: Connection, target: str) -> str:
    """Bring history in line with the changed table; return the history table's name."""
    return str(_call(connection, "sync_versioning", target, {}))


def check_versioning(connection: Connection) -> tuple[Problem, ...]:
    """Return what is wrong with versioned tables; empty when all is well."""
    with core_cursor(connection) as cursor:
        return _check_versioning(cursor)


def record_changes(connection: Connection, target: str) -> None:
    """Have the rows of *target* keep who changed them last, and when."""
    _call(connection, "record_changes", target, {})


def drop_record_changes(connection: Connection, target: str) -> None:
    """Leave the columns of `record_changes` alone from now on."""
    _call(connection, "drop_record_changes", target, {})


def recorded_tables(connection: Connection) -> dict[tuple[str, str], bool]:
    """Return the tables, by schema and name, whose rows keep who changed them.

    The value says whether their trigger knows of generated columns.
    """
    with core_cursor(connection) as cursor:
        cursor.execute(
            "select n.nspname, c.relname, t.tgnargs > 0 from pg_trigger t"
            " join pg_class c on c.oid = t.tgrelid"
            " join pg_namespace n on n.oid = c.relnamespace"
            " where t.tgname = '99_chrononaut_record' and t.tgparentid = 0"
        )
        return {(row[0], row[1]): row[2] for row in cursor.fetchall()}


def versioned_tables(connection: Connection) -> tuple[VersionedTable, ...]:
    """Return the versioned tables, by schema and name."""
    with core_cursor(connection) as cursor:
        return _versioned_tables(cursor)


def call_text(function: str, target: str, named: Mapping[str, Any]) -> str:
    """Return the call of one of the core's functions as SQL text::

    call_text("create_versioning", "app.user", {"hidden": ["password"]})
    """
    arguments = [literal(target)] + [
        f"{name} => {literal(value)}{_CASTS.get(name, '')}"
        for name, value in named.items()
    ]
    return f"select chrononaut.{function}({', '.join(arguments)})"


def literal(value: Any) -> str:
    """Return a value as an SQL literal."""
    return psycopg.sql.Literal(value).as_string(None)


def quoted(schema: str, name: str, default: str) -> str:
    """Return a table's name as SQL writes it, without the schema if it is *default*."""
    parts = (name,) if schema == default else (schema, name)
    # Of a driver without percent placeholders, which would have them doubled.
    dialect = postgresql.dialect(paramstyle="named")  # type: ignore[no-untyped-call]
    quote = dialect.identifier_preparer.quote
    return ".".join(str(quote(part)) for part in parts)


def install_statements(auto_sync: bool = False) -> list[str]:
    """Return what `install` runs as SQL without psql's commands, for any database."""
    return [
        *(
            file.text if file.leads_to is None else _where_pending(file)
            for file in install_files()
        ),
        *_closing_statements(auto_sync),
    ]


def _where_pending(upgrade: SqlFile) -> str:
    """Return an upgrade that the server skips without an older core."""
    installed = "current_setting('chrononaut.installed_version')::integer"
    return (
        f"do $chrononaut$ begin if {installed} > 0 and {installed} < {upgrade.leads_to}"
        f" then execute {literal(upgrade.text)}; end if; end $chrononaut$;"
    )


def is_current(connection: Connection) -> bool:
    """Whether the database has the core of this package.

    Raises CoreNewerError if it has a newer one.
    """
    with open_cursor(connection) as cursor:
        return installed_version(cursor) == package_core_version()


def versioned_oids(connection: Connection) -> frozenset[int]:
    """Return the oids of the tables that are versioned."""
    with core_cursor(connection) as cursor:
        cursor.execute(
            "select relation::oid from chrononaut.versioned_tables"
            " where relation is not null"  # dropped with CASCADE, or its schema
        )
        return frozenset(int(row[0]) for row in cursor.fetchall())


def history_names(connection: Connection) -> frozenset[tuple[str, str]]:
    """Return schema and name of all history tables, of former versioning as well."""
    with core_cursor(connection) as cursor:
        cursor.execute(
            "select n.nspname, c.relname from pg_trigger t"
            " join pg_class c on c.oid = t.tgrelid"
            " join pg_namespace n on n.oid = c.relnamespace"
            " where t.tgfoid = 'chrononaut._guard_history'::regproc"
        )
        return frozenset((row[0], row[1]) for row in cursor.fetchall())


def table_oid(connection: Connection, target: str) -> int | None:
    """Return the oid of a table by its name as SQL writes it, None if there is none."""
    with open_cursor(connection) as cursor:
        cursor.execute("select to_regclass(%s)::oid", (target,))
        found = cursor.fetchall()[0][0]
        return None if found is None else int(found)


def _install_statements(installed: int | None, auto_sync: bool) -> list[str]:
    pending = (
        file.text
        for file in install_files()
        if file.leads_to is None
        or (installed is not None and installed < file.leads_to)
    )
    return [*pending, *_closing_statements(auto_sync)]


def _closing_statements(auto_sync: bool) -> list[str]:
    last = ["do $$ begin perform chrononaut._after_install(); end $$;"]
    return [*last, "select chrononaut.auto_sync(true);"] if auto_sync else last


def _unless_passed(upgrade: SqlFile) -> str:
    """Return an upgrade that psql skips without an older core than it leads to."""
    installed = "current_setting('chrononaut.installed_version')::integer"
    pending = f"{installed} > 0 and {installed} < {upgrade.leads_to}"
    return f"select {pending} as pending \\gset\n\\if :pending\n{upgrade.text}\n\\endif"


def _call(
    connection: Connection, function: str, target: str, named: dict[str, Any]
) -> Any:
    """Call a function of the core on *target* with named arguments."""
    values = {"target": target, **named}
    arguments = ", ".join(f"{name} => %s{_CASTS.get(name, '')}" for name in values)
    with core_cursor(connection) as cursor:
        cursor.execute(
            f"select chrononaut.{function}({arguments})", (*values.values(),)
        )
        return cursor.fetchall()[0][0]


def _versioned_tables(cursor: Cursor) -> tuple[VersionedTable, ...]:
    cursor.execute(
        "select n.nspname, c.relname, v.history_table::text, v.versions_view::text,"
        " v.history_bytes, v.history_rows, v.drifted, v.hidden::text[],"
        " v.untracked::text[], v.key::text[], v.granularity, v.track_inserts,"
        " v.require_change_info, v.indexes::text[], v.always, v.on_truncate,"
        " v.parent::text, v.lockable, v.row_version,"
        " hn.nspname, h.relname, vn.nspname, w.relname"
        " from chrononaut.versioned_tables v"
        " join pg_class c on c.oid = v.relation"
        " join pg_namespace n on n.oid = c.relnamespace"
        " left join pg_class h on h.oid = v.history_table"
        " left join pg_namespace hn on hn.oid = h.relnamespace"
        " left join pg_class w on w.oid = v.versions_view"
        " left join pg_namespace vn on vn.oid = w.relnamespace"
        " order by n.nspname, c.relname"
    )
    names = (
        *("hidden", "untracked", "key", "granularity", "track_inserts"),
        *("require_change_info", "indexes", "always", "on_truncate", "parent"),
        *("lockable", "row_version"),
    )
    return tuple(
        VersionedTable(
            schema=row[0],
            name=row[1],
            history_table=row[2],
            versions_view=row[3],
            history_bytes=row[4],
            history_rows=int(row[5]),
            drifted=row[6],
            options=VersioningOptions(**dict(zip(names, row[7:19], strict=True))),
            own_names=tuple(
                pair for pair in (row[19:21], row[21:23]) if pair[1] is not None
            ),
        )
        for row in cursor.fetchall()
    )


def _check_versioning(cursor: Cursor) -> tuple[Problem, ...]:
    cursor.execute("select relation, problem, fix from chrononaut.check_versioning()")
    return tuple(Problem(*row) for row in cursor.fetchall())
