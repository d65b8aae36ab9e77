"""The history class of a model: its versions as mapped, read-only objects.

Made on first use and mapped imperatively over the versions view of the model's table.
"""

import functools
import importlib
import threading
from collections.abc import Iterable, Iterator
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import Select, false, or_, select
from sqlalchemy import inspect as sa_inspect
from sqlalchemy.ext.associationproxy import AssociationProxyExtensionType
from sqlalchemy.orm import (
    Mapper,
    configure_mappers,
    make_transient_to_detached,
    object_session,
)
from sqlalchemy.orm.attributes import instance_state

from chrononaut_pg._comparing import attributes, differing
from chrononaut_pg._mapping import Mapping
from chrononaut_pg._read_only import ReadOnly, guard_flushes, keep_what_lasts
from chrononaut_pg._related import Proxied, Related
from chrononaut_pg.declarations import Declaration, declaration, is_declared
from chrononaut_pg.exceptions import NoSessionError


@functools.total_ordering
class History(ReadOnly):
    """Base of all history classes: one version of one row, as it was.

    `version` counts from 0, `valid_from` and `valid_to` bound its period (None: without
    bound). `changed`, `operation`, `change_info` and `transaction_id` tell what ended
    it, `created_change_info` and its like what began it. All times are timezone-aware.
    """

    __chrononaut_declaration__: Declaration
    __chrononaut_meta_names__: dict[str, str]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, History):
            return NotImplemented
        return self._identity == other._identity

    def __hash__(self) -> int:
        return hash(self._identity)

    def __lt__(self, other: object) -> bool:
        """Order versions of one row by their age."""
        if not isinstance(other, History):
            return NotImplemented
        (*row, mine), (*other_row, others) = self._identity, other._identity
        if row != other_row:
            return NotImplemented
        return mine is not None and (others is None or mine < others)

    def __repr__(self) -> str:
        _, key, change_id = self._identity
        shown = dict(zip(key_names(type(self)), key, strict=True))
        names = type(self).__chrononaut_meta_names__
        loaded = {n: vars(self)[names[n]] for n in names if names[n] in vars(self)}
        for name in ("version", "operation"):
            if loaded.get(name) is not None:
                shown[name] = loaded[name]
        values = " ".join(f"{name}={value!r}" for name, value in shown.items())
        changed = loaded.get("changed")
        until = f"until {changed.isoformat()}" if changed else f"change {change_id}"
        until = "current" if change_id is None else until
        return f"<{type(self).__name__} {values} {until}>"

    def _lasts(self) -> bool:
        return self._identity[2] is not None

    def __reduce__(self) -> Any:
        found = sa_inspect(type(self)).column_attrs.keys()
        names = [name for name in found if not name.startswith("_sa_")]
        model = self.__chrononaut_declaration__.model
        return _restore, (model, {name: getattr(self, name) for name in names})

    @property
    def _identity(self) -> tuple[Any, ...]:
        """Model, key and change_id; known without asking the database."""
        one = type(self).__chrononaut_declaration__.lineage[-1].model
        known = instance_state(self).key
        if known is not None:
            return one, known[1][:-1], known[1][-1]
        key = tuple(getattr(self, name) for name in key_names(type(self)))
        return one, key, meta(self, "change_id")

    @property
    def previous(self) -> Any:
        """The version before this one, None for the first; one statement."""
        return _neighbour(self, select_previous(self))

    @property
    def next(self) -> Any:
        """The version after this one, None for the newest; one statement.

        The live row is the last of them, as a history object without `change_id`.
        """
        return _neighbour(self, select_next(self))

    @property
    def index(self) -> int:
        """The version number: the place among all versions of the row, from 0."""
        number: int = meta(self, "version")
        return number

    @property
    def changeset(self) -> dict[str, tuple[Any, Any]]:
        """What the change that began it changed, as {attribute: (before, now)}.

        Of an insert {attribute: (None, value)}; empty if the row is older than its
        history. Never hidden attributes. One statement at most.
        """
        begun = meta(self, "created_operation")
        if begun == "I":
            return changeset_from(self, None)
        # The model may have an attribute `previous` of its own.
        return changeset_from(self, _neighbour(self, select_previous(self)))

    def revert(self, relations: Iterable[Any] = (), session: Any = None) -> Any:
        """Put the object back to this version, as `chrononaut_pg.revert` does::

        user.versions()[0].revert(relations=["addresses"])
        """
        # It reads history objects, so it cannot be imported from here.
        implementation = importlib.import_module("chrononaut_pg.reverting")
        return implementation.revert(self, relations, session)

    @property
    def chrononaut_meta(self) -> dict[str, Any]:
        """What Chrononaut 0.3 and later tell of a version, in their words."""
        info = meta(self, "change_info") or {}
        return {
            "table_name": self.__chrononaut_declaration__.table.name,
            "changed": meta(self, "changed"),
            "version": meta(self, "version"),
            "user_info": {name: info.get(name) for name in ("user_id", "remote_addr")},
            "extra_info": info.get("extra", {}),
        }


def history_class(model: type[Any]) -> type[Any]:
    """Return the history class of a versioned model, such as UserHistory for User::

        select(history_class(User)).where(history_class(User).email == "a@example.com")

    Its objects include the live row as the newest version, whose `change_id` is None.
    Queries always bring what the database has; a commit leaves earlier versions loaded,
    since they cannot change any more, and expires the live one.
    Raises NotVersionedError for other classes.
    """
    found = _READY.get(model) if isinstance(model, type) else None
    if found is None:
        one = declaration(model)
        configure_mappers()
        with _LOCK:
            found = _make(one)
            for mapper in one.mapper.base_mapper.self_and_descendants:
                if mapper.class_ in _CLASSES:
                    _READY[mapper.class_] = _CLASSES[mapper.class_]
    return found


def select_previous(version: Any) -> Select[Any]:
    """Return a statement for the version before a history object."""
    number = meta_attribute(type(version), "change_id")
    mine = meta(version, "change_id")
    older = number.is_not(None) if mine is None else number < mine
    return _of_row(version).where(older).order_by(number.desc()).limit(1)


def select_next(version: Any) -> Select[Any]:
    """Return a statement for the version after a history object."""
    number = meta_attribute(type(version), "change_id")
    mine = meta(version, "change_id")
    newer = false() if mine is None else or_(number > mine, number.is_(None))
    return _of_row(version).where(newer).order_by(number.nulls_last()).limit(1)


def changeset_from(version: Any, previous: Any) -> dict[str, tuple[Any, Any]]:
    """Return the changeset of a history object, given the version before it.

    For AsyncSession: *previous* is what `select_previous` selects, None if nothing.
    """
    begun = meta(version, "created_operation")
    if begun is None and (previous is None or meta(previous, "operation") == "U"):
        return {}
    if begun == "U" and previous is None:
        return {}
    old = previous if begun == "U" else None
    versions = (version,) if old is None else (old, version)
    names = dict.fromkeys(name for one in versions for name in attributes(type(one)))
    return differing(names, old, version)


def key_names(cls: type[Any]) -> tuple[str, ...]:
    """Return the attributes of a history class that identify a row."""
    names: tuple[str, ...] = cls.__chrononaut_key_names__
    return names


def meta(version: Any, name: str) -> Any:
    """Return a meta value of a history object, whatever it is called there."""
    return getattr(version, type(version).__chrononaut_meta_names__[name])


def meta_attribute(cls: type[Any], name: str) -> Any:
    """Return the attribute of a history class that holds a meta value, for queries."""
    return getattr(cls, cls.__chrononaut_meta_names__[name])


_CLASSES: WeakKeyDictionary[type[Any], type[Any]] = WeakKeyDictionary()
"""The classes of models, once they are mapped."""

_READY: WeakKeyDictionary[type[Any], type[Any]] = WeakKeyDictionary()
"""The same, once those of all subclasses are that share rows: for all threads."""

_LOCK = threading.RLock()


def _make(one: Declaration) -> type[Any]:
    """Make the class of a model, along with those that share its rows."""
    base = _base(one)
    if one.model in _CLASSES:
        return _CLASSES[one.model]
    cls = type(
        f"{one.model.__name__}History",
        (base or History,),
        {
            "__module__": one.model.__module__,
            "__doc__": f"Versions of {one.model.__name__}.",
            "__chrononaut_declaration__": one,
        },
    )
    Mapping(one, cls, base, History, Proxied).map()
    for name, given in _relations(one):
        if name not in vars(cls):
            setattr(cls, name, given(name))
    _CLASSES[one.model] = cls
    guard_flushes()
    keep_what_lasts()
    for mapper in list(one.mapper.self_and_descendants):
        if mapper.local_table is one.table and is_declared(mapper.class_):
            _make(declaration(mapper.class_))
    return cls


def _relations(one: Declaration) -> Iterator[tuple[str, type[Related]]]:
    """Yield what leads to other objects, and how its versions give it."""
    for name in one.mapper.relationships.keys():  # noqa: SIM118
        yield name, Related
    for key, found in one.mapper.all_orm_descriptors.items():
        if isinstance(found.extension_type, AssociationProxyExtensionType):
            yield str(key), Proxied


def _base(one: Declaration) -> type[Any] | None:
    """Return the history class that the model's own extends: of the same table."""
    parent: Mapper[Any] | None = one.mapper.inherits
    if not one.mapper.single or parent is None or not is_declared(parent.class_):
        return None
    found = _CLASSES.get(parent.class_) or _make(declaration(parent.class_))
    return found if sa_inspect(found).polymorphic_on is not None else None


def _of_row(version: Any) -> Select[Any]:
    """Select the versions of the row that a history object is one of."""
    cls: type[Any] = sa_inspect(type(version)).base_mapper.class_
    key = zip(key_names(cls), version._identity[1], strict=True)
    return (
        select(cls)
        .where(*(getattr(cls, name) == value for name, value in key))
        .execution_options(populate_existing=True)
    )


def _neighbour(version: Any, statement: Select[Any]) -> Any:
    session = object_session(version)
    if session is None:
        raise NoSessionError(
            f"{version!r} belongs to no session",
            hint="Execute what select_previous() or select_next() return.",
        )
    model = version.__chrononaut_declaration__.mapper
    bind = {"bind": session.get_bind(model)}
    return session.scalars(statement, bind_arguments=bind).first()


def _restore(model: type[Any], values: dict[str, Any]) -> Any:
    cls = history_class(model)
    version = sa_inspect(cls).class_manager.new_instance()
    vars(version).update(values)
    make_transient_to_detached(version)  # it has a row, so it may join a session
    return version
