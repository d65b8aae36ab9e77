"""How models and database differ: for autogenerate and for `check`."""

from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, MetaData, Table

from chrononaut_pg import core
from chrononaut_pg._views import clip
from chrononaut_pg.declarations import (
    declared_tables,
    history_schema,
    models_of,
    own_history_name,
    table_name,
    to_create,
)
from chrononaut_pg.options import VersioningOptions

DEFAULTS: dict[str, Any] = {
    "hidden": (),
    "untracked": (),
    "indexes": (),
    "granularity": "row",
    "track_inserts": True,
    "require_change_info": False,
    "lockable": False,
    "row_version": False,
    "always": False,
    "on_truncate": "record",
}
"""What the options of a table are where nothing is said."""


def check_models(connection: Connection, metadata: MetaData) -> list[core.Problem]:
    """Return where the tables of models are not versioned as the models say."""
    default = connection.dialect.default_schema_name or "public"
    registered = {
        (one.schema, one.name): one for one in core.versioned_tables(connection)
    }
    problems: list[core.Problem] = []
    for table, options in declared_tables(metadata).items():
        name = table_name(table)
        found = registered.get((table.schema or default, table.name))
        if core.table_oid(connection, name) is None:
            problems.append(_problem(name, "the table of a model does not exist"))
        elif found is None:
            problems.append(
                _problem(
                    name,
                    "its model is Versioned, but the table is not",
                    "create_versioning",
                    shown(to_create(table, options)),
                )
            )
        else:
            after, before = differences(connection, table, options, found.options)
            problems += [
                _problem(
                    name,
                    f"{option} is {before[option]!r}, but the model says {wanted!r}",
                    "alter_versioning",
                    {option: wanted},
                )
                for option, wanted in after.items()
            ]
            problems += _misplaced(name, table, found, default)
    return problems


def _misplaced(
    name: str, table: Table, found: core.VersionedTable, default: str
) -> list[core.Problem]:
    """Return whether a model looks for its history where it is not."""
    owners = models_of(table)
    if not owners or not found.own_names:
        return []
    schema = history_schema(owners[0]) or default
    wanted = own_history_name(owners[0]) or clip(table.name, "_history")
    present_schema, present = found.own_names[0]
    called = core.quoted(present_schema, present, default="")
    if schema != present_schema:
        fix = f"set __chrononaut_history_schema__ = {present_schema!r} in the model"
    elif wanted != present:
        fix = (
            f"alter table {called} rename to {core.quoted('', wanted, default='')};"
            f" {core.call_text('sync_versioning', name, {})};"
        )
    else:
        return []
    sought = core.quoted(schema, wanted, default="")
    problem = f"its history is {called}, but the model reads {sought}"
    return [core.Problem(name, problem, fix)]


def differences(
    connection: Connection,
    table: Table,
    declared: VersioningOptions,
    registered: VersioningOptions,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the options that must change: as they are declared, and as they are."""
    after: dict[str, Any] = {}
    before: dict[str, Any] = {}
    proposed = to_create(table, declared).indexes or ()
    if declared.indexes is None and {*(registered.indexes or ())} <= {*proposed}:
        declared = replace(declared, indexes=registered.indexes)
    for name, default in DEFAULTS.items():
        wanted = getattr(declared, name)
        wanted = default if wanted is None else wanted
        present = getattr(registered, name)
        present = default if present is None else present
        if _comparable(wanted) != _comparable(present):
            after[name], before[name] = _list(wanted), _list(present)
    if declared.key is not None and tuple(declared.key) != registered.key:
        after["key"], before["key"] = _list(declared.key), _list(registered.key)
    if _oid(connection, declared.parent) != _oid(connection, registered.parent):
        after["parent"], before["parent"] = declared.parent, registered.parent
    return after, before


def given(options: VersioningOptions) -> dict[str, Any]:
    """Return the options of a registered table that are not the default."""
    return {
        name: value
        for name, value in options.given().items()
        if name == "parent"
        or (name in DEFAULTS and _comparable(value) != _comparable(DEFAULTS[name]))
    }


def shown(options: VersioningOptions) -> dict[str, Any]:
    """Return the declared options without empty lists."""
    return {name: value for name, value in options.given().items() if value != []}


def _problem(
    relation: str, text: str, function: str = "", options: Any = None
) -> core.Problem:
    fix = core.call_text(function, relation, options or {}) if function else "create it"
    return core.Problem(relation, text, f"{fix};" if function else fix)


def _oid(connection: Connection, name: str | None) -> int | None:
    return core.table_oid(connection, name) if name else None


def _comparable(value: Any) -> Any:
    return frozenset(value) if isinstance(value, list | tuple) else value


def _list(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
