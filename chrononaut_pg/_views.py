"""What the versions view and the history table of a model look like, as Tables.

They live in a private MetaData, so that neither `create_all` nor Alembic see them.
Names follow from the model alone, by the rules of the SQL core.
"""

import hashlib
import threading
from collections.abc import Iterable
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import (
    BigInteger,
    ClauseElement,
    Column,
    DateTime,
    MetaData,
    String,
    Table,
)
from sqlalchemy.orm import registry
from sqlalchemy.sql.base import SchemaEventTarget
from sqlalchemy.sql.visitors import iterate

from chrononaut_pg.declarations import (
    Declaration,
    declaration,
    history_schema,
    key_columns,
    own_history_name,
)

META_COLUMNS = (
    *("version", "valid_from", "valid_to", "operation", "changed", "change_id"),
    *("transaction_id", "change_info", "created_change_id", "created_operation"),
    *("created_transaction_id", "created_change_info"),
)
"""The columns of a versions view that are not the table's."""


_HISTORY_COLUMNS = (
    *("change_id", "changed", "operation", "transaction_id", "change_info"),
)


def versions_view(one: Declaration) -> Table:
    """Return the versions view of a model's table."""
    columns = view_columns(one)
    stored = meta_names({c.name for table in one.tables for c in table.columns})
    with _LOCK:
        found = _table(one, view_name(one.table))
        for name in META_COLUMNS:
            _add(found, stored[name], _meta_type(name))
        for column, name in columns.items():
            _add(found, name, _type(column))
    return found


def view_columns(one: Declaration) -> dict[Column[Any], str]:
    """Return the tracked columns of the model's tables and their names in the view.

    Where tables of a chain have columns of one name, the nearest one has it; the key of
    the others equals it, and other columns are called <table>_<column>.
    """
    withheld = one.all_hidden | one.all_untracked
    shown: dict[str, Column[Any]] = {}
    found: dict[Column[Any], str] = {}
    farther: list[Column[Any]] = []
    for table in one.tables:
        for column in table.columns:
            if column in withheld:
                continue
            nearest = shown.setdefault(column.name, column)
            if nearest is column or (column.primary_key and nearest.primary_key):
                found[column] = column.name
            elif column not in key_columns(one, table):
                farther.append(column)
    taken = {
        *shown,
        *meta_names({c.name for t in one.tables for c in t.columns}).values(),
    }
    for column in farther:
        name = clip(f"{column.table.name}_{column.name}", "")
        if name not in taken:
            taken.add(name)
            found[column] = name
    return found


def history_table(model: type[Any]) -> Table:
    """Return the history table of a model's own table, with its tracked columns.

    For statements that need neither version numbers nor periods.
    """
    one = declaration(model)
    found: Table | None = one.notes.get(_HISTORY)
    if found is None:
        with _LOCK:
            found = one.notes[_HISTORY] = _history_table(one)
    return found


def _history_table(one: Declaration) -> Table:
    found = _table(one, own_history_name(one) or clip(one.table.name, "_history"))
    withheld = one.all_hidden | one.all_untracked
    for column in dict.fromkeys((*key_columns(one, one.table), *one.table.columns)):
        if column not in withheld:
            _add(found, column.name, _type(column))
    stored = meta_names({column.name for column in one.table.columns})
    for meta in _HISTORY_COLUMNS:
        _add(found, stored[meta], _meta_type(meta), key=f"chrononaut:{meta}")
    return found


def private_registry(one: Declaration) -> registry:
    """Return the registry of all history classes of one MetaData."""
    with _LOCK:
        metadata = _private(one.table.metadata)
        if "registry" not in metadata.info:
            metadata.info["registry"] = registry(metadata=metadata)
        found: registry = metadata.info["registry"]
    return found


def meta_names(taken: Iterable[str]) -> dict[str, str]:
    """Return the names that meta columns have beside columns called *taken*."""
    names = set(taken)
    found: dict[str, str] = {}
    for name in META_COLUMNS:
        wanted = name
        while wanted in names:
            wanted = clip(f"chrononaut_{wanted}", "")
        found[name] = wanted
    return found


def clip(base: str, suffix: str) -> str:
    """Return both in at most 63 bytes; twin of `chrononaut._clip`."""
    if len(base.encode()) + len(suffix.encode()) <= 63:
        return base + suffix
    suffix = f"_{hashlib.md5(base.encode()).hexdigest()[:8]}{suffix}"
    while len((base + suffix).encode()) > 63:
        base = base[:-1]
    return base + suffix


def view_name(table: Table) -> str:
    """Return the name of a table's versions view."""
    return clip(table.name, "_versions")


_LOCK = threading.RLock()
"""Held while Tables are made: threads that ask first share what comes of it."""

_HISTORY = "chrononaut_history"
"""Where the notes of a declaration keep the Table of its history."""

_LIVE = "chrononaut_live"
"""Where a Table of history keeps schema and name of the live one."""

_PRIVATE: WeakKeyDictionary[MetaData, MetaData] = WeakKeyDictionary()


def _private(public: MetaData) -> MetaData:
    if public not in _PRIVATE:
        _PRIVATE[public] = MetaData(schema=public.schema)
        _PRIVATE[public].info.update(public.info)
    return _PRIVATE[public]


def _table(one: Declaration, name: str) -> Table:
    """Return the Table of that name beside the model's, a new one if need be."""
    metadata, schema = _private(one.table.metadata), history_schema(one)
    found = metadata.tables.get(f"{schema}.{name}" if schema else name)
    if found is None:
        found = Table(name, metadata, schema=schema)
        found.info[_LIVE] = (one.table.schema, one.table.name)  # names: kept by none
    return found


def table_read_by(statement: ClauseElement) -> tuple[str | None, str] | None:
    """Return schema and name of the table whose history a statement reads, if any."""
    for element in iterate(statement):
        table = (
            element if isinstance(element, Table) else getattr(element, "table", None)
        )
        if isinstance(table, Table) and _LIVE in table.info:
            schema, name = table.info[_LIVE]
            return schema, name
    return None


def _add(table: Table, name: str, kind: Any, key: str | None = None) -> None:
    """Add a column unless it is there: subclasses may add some to their parent's."""
    if (key or name) not in table.columns:
        table.append_column(Column(name, kind, key=key or name))


def _type(column: Column[Any]) -> Any:
    kind = column.type
    return kind.copy() if isinstance(kind, SchemaEventTarget) else kind


def _meta_type(name: str) -> Any:
    """Return the type of a meta column; the dialect is imported when first needed."""
    from sqlalchemy.dialects.postgresql import JSONB

    if name.endswith("change_info"):
        return JSONB()
    if name in ("valid_from", "valid_to", "changed"):
        return DateTime(timezone=True)
    return String() if name.endswith("operation") else BigInteger()
