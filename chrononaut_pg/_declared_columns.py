"""The columns that options of a model name, by column or by attribute.

Options add up over the classes that a model extends; what the model itself names must
be there.
"""

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Column, Index, Table, UniqueConstraint
from sqlalchemy.orm import Mapper

from chrononaut_pg import _spellings
from chrononaut_pg.exceptions import DeclarationError, UnknownColumnError


def named_columns(
    model: type[Any], mapper: Mapper[Any], option: str
) -> Iterator[Column[Any]]:
    """Yield the columns that an option of the model or of its bases names."""
    for base in model.__mro__:
        for name in _column_names(model, base, option):
            if base is model:
                yield known_column(model, mapper, name, option)
            elif (column := _column(mapper, name)) is not None:
                yield column


def known_column(
    model: type[Any], mapper: Mapper[Any], name: Any, option: str
) -> Column[Any]:
    """Return a column that an option names. Raises UnknownColumnError without one."""
    column = _column(mapper, name)
    if column is None:
        spelling = _spellings.spelling(model, option) or _spellings.SPELLINGS[0].format(
            option
        )
        raise UnknownColumnError(
            f"{model.__name__} has no column {name!r}, named in {spelling}",
            table=mapper.local_table.description,
            column=str(name),
            hint="Check the spelling: give the names of columns or attributes.",
        )
    return column


def indexed_foreign_keys(table: Table) -> list[str]:
    """Return the names of foreign keys of one column that the live table indexes.

    Without those that lead the primary key: by these the history is indexed anyway.
    """
    leading = {
        next(iter(one.columns), None)
        for one in (*table.indexes, *table.constraints)
        if isinstance(one, Index | UniqueConstraint)
    }
    first = next(iter(table.primary_key.columns), None)
    return [
        column.name
        for column in table.columns
        if column.foreign_keys and column in leading and column is not first
    ]


def recording_columns(model: type[Any], mapper: Mapper[Any]) -> Iterator[Column[Any]]:
    """Yield the columns of RecordChanges."""
    for name in getattr(model, "__chrononaut_recording__", ()):
        if (column := _column(mapper, name)) is not None:
            yield column


def _column_names(model: type[Any], base: type[Any], option: str) -> tuple[Any, ...]:
    if _spellings.spelling(base, option) is None:
        return ()
    value = _spellings.value_of(model, base, option)
    if isinstance(value, str):
        spelling = _spellings.spelling(base, option)
        raise DeclarationError(
            f"{base.__name__}.{spelling} is the string {value!r}",
            hint=f"Make it a list: {spelling} = [{value!r}].",
        )
    return tuple(value or ())


def _column(mapper: Mapper[Any], name: Any) -> Column[Any] | None:
    """Return the column of that attribute or column name, the nearest table's first."""
    if isinstance(name, Column):
        return name
    found = mapper.columns.get(name)
    if isinstance(found, Column):
        return found
    for one in (mapper.local_table, *mapper.tables):
        if name in one.columns:
            column: Column[Any] = one.columns[name]
            return column
    return None
