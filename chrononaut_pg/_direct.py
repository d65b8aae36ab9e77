"""Statements that read a history table itself, past the versions view.

The view gives every version its number, its period and what began it, by going through
all changes of the key. What one answer needs is found by probes of the history's
primary key, and what `versions()` derives from other changes is not sent. The view
says what is right: both give the same. Statements are made once per class.
"""

import functools
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    DateTime,
    Select,
    Subquery,
    Table,
    Text,
    and_,
    bindparam,
    case,
    cast,
    exists,
    func,
    literal_column,
    null,
    or_,
    select,
    true,
    type_coerce,
    union_all,
)
from sqlalchemy import inspect as sa_inspect
from sqlalchemy.orm import aliased
from sqlalchemy.sql import visitors

from chrononaut_pg._deriving import DERIVED, ENDS, Derivation
from chrononaut_pg._loading import Loader
from chrononaut_pg._unheard import Read
from chrononaut_pg._views import META_COLUMNS, history_table, meta_names
from chrononaut_pg.declarations import Declaration, key_columns

_FIRST: ColumnElement[int] = literal_column(str(-(2**63)))
"""A change id before all others."""

_ZERO: ColumnElement[int] = literal_column("0")
_ONE: ColumnElement[int] = literal_column("1")
_TWO: ColumnElement[int] = literal_column("2")
_INSERT: ColumnElement[str] = literal_column("'I'")

_AT = bindparam("at", type_=DateTime(timezone=True))

_LIVE = "chrononaut:live"
_BOUNDS = ("chrononaut:last", "chrononaut:later", "chrononaut:number")


@dataclass(frozen=True)
class Asked:
    """A statement for history objects, in the two forms that it has.

    *objects* selects them; *values* selects the *names* of their values, for `Loader`.
    What else a row has comes first in both.
    """

    objects: Select[Any]
    values: Select[Any]
    names: tuple[str, ...]

    @functools.cached_property
    def read(self) -> Read:
        """The second form, as it is executed."""
        return Read(self.values)


class Direct:
    """The statements of one history class."""

    def __init__(self, cls: type[Any], one: Declaration) -> None:
        self._cls = cls
        self._view: Table = sa_inspect(cls).local_table
        self._live = one.table
        self._history = history_table(one.model)
        self._key = {
            column: bindparam(f"key_{n}", type_=column.type)
            for n, column in enumerate(key_columns(one, one.table))
        }
        self._stored = meta_names(column.name for column in one.table.columns)
        self._meta = {self._stored[name]: name for name in META_COLUMNS}
        self.named: dict[str, str] = cls.__chrononaut_meta_names__
        self._derived = [self.named[name] for name in DERIVED]
        self.derivation = Derivation(self.named)
        self.loader = Loader(cls)
        self.has_all = sa_inspect(cls).polymorphic_on is None
        """Whether `all` will do: inserts have no data, so they are of no class."""

    def parameters(self, key: Iterable[Any]) -> dict[str, Any]:
        """Return what the statements need to know of an object."""
        return {f"key_{n}": value for n, value in enumerate(key)}

    @functools.cached_property
    def version_at(self) -> Asked:
        """Select whether the live row was in force; else the newest version begun.

        That is the one behind the last change that was not later and is not followed by
        an insert. Without such a change it is the first. The live table comes first, as
        everywhere: the reverse would deadlock with migrations.
        """
        live = self._is_live()
        begin = self._begin(live)
        version = self._behind(begin)
        before = self._history.alias("p")
        known = and_(*self._keyed(before), _change_id(before) == begin.c.change_id)
        is_image = version.c["chrononaut:operation"] != _INSERT
        joined = live.join(begin, true()).outerjoin(version, is_image)
        untold = ~exists().where(*self._keyed(self._history))
        current = or_(begin.c.change_id.is_not(None), untold) & live.c.live
        answer = (
            select(
                case((_change_id(version).is_(None), current)).label(_LIVE),
                *self._columns(version, before),
            )
            .select_from(joined.outerjoin(before, known))
            .subquery("v")
        )
        return self._asked(answer, answer.c[_LIVE])

    def _begin(self, live: Subquery) -> Any:
        """Select the last change that was not later and that a version followed."""
        past, following = self._history.alias("c"), self._history.alias("f")
        candidate = (
            select(_change_id(past))
            .where(*self._keyed(past), past.c["chrononaut:changed"] <= _AT)
            .order_by(_change_id(past).desc())
            # A fence: what follows is looked at row by row, and below only once.
            .offset(_ZERO)
            .subquery("past")
        )
        last = _change_id(candidate)
        follows = (
            select(following.c["chrononaut:operation"] != _INSERT)
            .where(*self._keyed(following), _change_id(following) > last)
            .order_by(_change_id(following))
            .limit(_ONE)
            .scalar_subquery()
        )
        begun = (
            select(last)
            .where(func.coalesce(follows, live.c.live))
            .order_by(last.desc())
            .limit(_ONE)
            .correlate(live)
            .scalar_subquery()
        )
        return select(begun.label("change_id")).offset(_ZERO).lateral("b")

    def _behind(self, begin: Any) -> Any:
        """Select the change that follows that one, the first if there is none."""
        image = self._history.alias("i")
        after = func.coalesce(begin.c.change_id, _FIRST)
        return (
            select(image)
            .where(*self._keyed(image), _change_id(image) > after)
            .order_by(_change_id(image))
            .limit(_ONE)
            .lateral("h")
        )

    @functools.cached_property
    def around(self) -> Asked:
        """Select the change before a time and the one after it.

        Before them whether there is a live row, which changes those are, and how many
        versions had ended: found in one pass over the key, in half of the time. Where a
        clock went back, so that times are not in order, it selects all changes.
        """
        live, past, near = self._is_live(), self._history.alias("c"), self._history
        begun = past.c["chrononaut:changed"] <= _AT
        ended = past.c["chrononaut:operation"] != _INSERT
        numbers = (
            func.max(_change_id(past)).filter(begun),
            func.min(_change_id(past)).filter(~begun),
            func.count().filter(begun, ended),
        )
        labels = [one.label(n) for one, n in zip(numbers, _BOUNDS, strict=True)]
        bounds = select(*labels).where(*self._keyed(past)).subquery("b")
        last, later, _ = (bounds.c[name] for name in _BOUNDS)
        first = case((later < last, _FIRST), else_=func.coalesce(last, later))
        found = (
            select(near)
            .where(*self._keyed(near), _change_id(near) >= first)
            .order_by(_change_id(near))
            .limit(case((last.is_(None), _ONE), (last < later, _TWO)))
            .lateral("h")
        )
        columns = [self._sent(column.name, found) for column in self._view.columns]
        whole = (
            select(live.c.live.label(_LIVE), *bounds.columns, *columns)
            .select_from(live.join(bounds, true()).outerjoin(found, true()))
            .subquery("v")
        )
        told = (whole.c[name] for name in (_LIVE, *_BOUNDS))
        return self._asked(whole, *told, without=self._derived)

    @functools.cached_property
    def previous(self) -> Asked:
        """Select the newest version that has ended."""
        image, earlier = self._history.alias("i"), self._history.alias("e")
        version = (
            select(image)
            .where(*self._keyed(image), image.c["chrononaut:operation"] != _INSERT)
            .order_by(_change_id(image).desc())
            .limit(_ONE)
            .subquery("h")
        )
        before = (
            select(earlier)
            .where(*self._keyed(earlier), _change_id(earlier) < _change_id(version))
            .order_by(_change_id(earlier).desc())
            .limit(_ONE)
            .lateral("p")
        )
        joined = version.outerjoin(before, true())
        found = select(*self._columns(version, before)).select_from(joined)
        return self._asked(found.subquery("v"))

    @functools.cached_property
    def all(self) -> Asked:
        """Select all changes as versions that lack what is derived."""
        whole = self._changes().subquery("v")
        return self._in_order(whole, whole.c[self._stored["change_id"]])

    @functools.cached_property
    def all_and_live(self) -> Asked:
        """Select the same and the live row behind them, if there is one."""
        row = {column.name: column for column in self._live.columns}
        live = select(
            *(
                (row[c.name] if c.name in row else type_coerce(null(), c.type)).label(
                    c.name
                )
                for c in self._view.columns
            )
        )
        live = live.where(*self._live_rows())
        whole = union_all(live, self._changes()).subquery("v")
        order = whole.c[self._stored["change_id"]].nulls_last()
        return self._in_order(whole, order)

    def _changes(self) -> Select[Any]:
        history = self._history.alias("h")
        columns = [self._sent(column.name, history) for column in self._view.columns]
        return select(*columns).where(*self._keyed(history))

    def _sent(self, name: str, history: Any) -> ColumnElement[Any]:
        """Return a column as far as the history table has it; change info as text."""
        meta = self._meta.get(name)
        if meta == "change_info":
            return cast(history.c["chrononaut:change_info"], Text).label(name)
        found = history.c.get(f"chrononaut:{meta}" if meta else name)
        return null().label(name) if found is None else found.label(name)

    def _columns(self, version: Any, before: Any) -> list[ColumnElement[Any]]:
        """Return the columns of the view, for a change and the one before it."""
        return [
            self._column(column.name, version, before).label(column.name)
            for column in self._view.columns
        ]

    def _column(self, name: str, version: Any, before: Any) -> ColumnElement[Any]:
        meta = self._meta.get(name)
        if meta is None:
            return version.c[name]  # type: ignore[no-any-return]
        if meta == "version":
            return self._number(version)
        if meta == "valid_from":
            return before.c["chrononaut:changed"]  # type: ignore[no-any-return]
        if meta == "valid_to":
            return version.c["chrononaut:changed"]  # type: ignore[no-any-return]
        if meta.startswith("created_"):
            said = before.c[f"chrononaut:{meta.removeprefix('created_')}"]
            operation = before.c["chrononaut:operation"]
            known = and_(*(operation != literal_column(f"'{end}'") for end in ENDS))
            return case((known, said))
        return version.c[f"chrononaut:{meta}"]  # type: ignore[no-any-return]

    def _number(self, version: Any) -> ColumnElement[Any]:
        counted = self._history.alias("n")
        number = select(func.count() - _ONE).where(
            *self._keyed(counted),
            _change_id(counted) <= _change_id(version),
            counted.c["chrononaut:operation"] != _INSERT,
        )
        return case((_change_id(version).is_not(None), number.scalar_subquery()))

    def _asked(self, whole: Subquery, *more: Any, without: Iterable[str] = ()) -> Asked:
        """Ask for history objects, given rows with the columns of the view."""
        version = aliased(self._cls, whole, adapt_on_names=True)
        objects = select(*more, version).execution_options(populate_existing=True)
        sent = {n: c for n, c in self.loader.attributes.items() if n not in without}
        values = select(*more, *(whole.c[column] for column in sent.values()))
        return Asked(objects, values, tuple(sent))

    def _in_order(self, whole: Subquery, order: ColumnElement[Any]) -> Asked:
        """Ask for all of them, to be given what is derived."""
        asked = self._asked(whole, without=self._derived)
        return replace(
            asked,
            objects=asked.objects.order_by(order),
            values=asked.values.order_by(order),
        )

    def _is_live(self) -> Subquery:
        return select(exists().where(*self._live_rows()).label("live")).subquery("l")

    def _live_rows(self) -> list[ColumnElement[bool]]:
        return [column == value for column, value in self._key.items()]

    def _keyed(self, table: Any) -> list[ColumnElement[bool]]:
        return [table.c[column.name] == value for column, value in self._key.items()]


_DIRECT = "direct"
"""Where the notes of a declaration keep its statements."""


def direct(cls: type[Any]) -> Direct | None:
    """Return the statements of a history class, None where only the view will do."""
    one: Declaration = cls.__chrononaut_declaration__
    notes = one.notes
    if _DIRECT not in notes:
        plain = _is_plain(one) and not _reads_others(cls)
        notes[_DIRECT] = Direct(cls, one) if plain else None
    found: Direct | None = notes[_DIRECT]
    return found


def _is_plain(one: Declaration) -> bool:
    """Whether a version is one row of one history table."""
    key = key_columns(one, one.table)
    return len(one.tables) == 1 and set(key) == set(one.table.primary_key.columns)


def _reads_others(cls: type[Any]) -> bool:
    """Whether an expression reads other tables: of those columns names say nothing."""
    mapper = sa_inspect(cls)
    expressions = (column for prop in mapper.column_attrs for column in prop.columns)
    parts = (part for one in expressions for part in visitors.iterate(one))
    view = mapper.local_table.fullname
    return any(isinstance(one, Column) and one.table.fullname != view for one in parts)


def _change_id(table: Any) -> Any:
    return table.c["chrononaut:change_id"]
