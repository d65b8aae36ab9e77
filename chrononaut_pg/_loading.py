"""Makes objects of rows, of history or not, in a fraction of the ORM loader's time.

What it makes cannot be told from what the loader makes: objects of the session, each
once. Where an application has a say in loading, by events for example, it is not used.
No other module touches the inner parts of a session.
"""

from collections.abc import Iterable, Sequence
from operator import itemgetter
from typing import Any

from sqlalchemy import inspect as sa_inspect
from sqlalchemy.orm import InstanceState, Mapper, Session
from sqlalchemy.orm.attributes import instance_state
from sqlalchemy.orm.instrumentation import ClassManager

_NONE = frozenset((None,))


class Loader:
    """Makes the objects of one class, of history or of the past."""

    def __init__(self, cls: type[Any]) -> None:
        self._cls = cls
        self.mapper: Mapper[Any] = sa_inspect(cls)
        self._manager: ClassManager[Any] = self.mapper.class_manager
        key = [self.mapper.get_property_by_column(c) for c in self.mapper.primary_key]
        of_key = itemgetter(*(prop.key for prop in key))
        self._key_of = of_key if len(key) > 1 else lambda values: (of_key(values),)
        self._identity_class = self.mapper.identity_key_from_primary_key(())[0]
        self.attributes = self._attributes()
        """What is loaded, and the names of the columns of the view behind it."""
        self._blank: dict[str, Any] = dict.fromkeys(self.attributes)
        self._seen: Any = None
        self._plain = False
        self._related: tuple[str, ...] = ()

    def serves(self, session: Session) -> bool:
        """Whether nobody could tell the objects from those of SQLAlchemy's loader."""
        events, loading = session.dispatch, self._manager.dispatch
        return (
            not events.do_orm_execute
            and not events.loaded_as_persistent
            and not loading.load
            and not loading.refresh
            # Of SQLAlchemy 2.1.
            and not getattr(session, "execution_options", None)
            and self._is_plain()
        )

    def flush(self, session: Session) -> None:
        """Flush what is pending, as the session does before a query."""
        session._autoflush()

    def values(
        self, names: Sequence[str], rows: Iterable[Sequence[Any]]
    ) -> list[dict[str, Any]]:
        """Return the values of rows by attribute; those not named are None."""
        found = []
        for row in rows:
            values = self._blank.copy()
            values.update(zip(names, row, strict=True))
            found.append(values)
        return found

    def objects(self, session: Session, rows: Iterable[dict[str, Any]]) -> list[Any]:
        """Return the objects of rows, given as `values`, which become theirs.

        As by `populate_existing`, an object that the session has already is given the
        values. There is none of a row without a key.
        """
        cls, manager, known = self._cls, self._manager, session.identity_map
        identity_class, key_of = self._identity_class, self._key_of
        session_id = session.hash_key
        found = []
        for values in rows:
            key = (identity_class, key_of(values), None)
            one = known.get(key)
            if one is not None:
                self._refresh(session, one, values)
            elif not _NONE.issuperset(key[1]):
                one = object.__new__(cls)
                object.__setattr__(one, "__dict__", values)
                state = values["_sa_instance_state"] = InstanceState(one, manager)
                state.key, state.session_id = key, session_id
                known.add(state)
            found.append(one)
        return found

    def _refresh(self, session: Session, found: Any, values: dict[str, Any]) -> None:
        state, current = instance_state(found), vars(found)
        current.update(values)
        for name in self._related:
            if name in current or state.expired_attributes or state.callables:
                state._reset(current, name)
        state._commit_all(current, session.identity_map)

    def _attributes(self) -> dict[str, str]:
        found = {prop.key: prop.columns[0] for prop in self.mapper.column_attrs}
        return {
            name: column.name
            for name, column in found.items()
            if getattr(column, "table", None) is self.mapper.local_table
        }

    def _is_plain(self) -> bool:
        """Whether the class is loaded from columns of the view alone.

        Asked again when something was added to it.
        """
        mapper = self.mapper
        if self._seen is not mapper.relationships:
            related = mapper.relationships
            self._related = tuple(related.keys())
            self._plain = (
                type(self._manager) is ClassManager
                and mapper.polymorphic_on is None
                and not mapper.polymorphic_map
                and not mapper.composites
                and self._attributes() == self.attributes
                and mapper.column_attrs.keys() == [*self.attributes]
                and not any(prop.deferred for prop in mapper.column_attrs)
                and all(prop.lazy == "select" for prop in related)
            )
            self._seen = related
        return self._plain


_LOADER = "chrononaut_loader"
"""Where the info of a class's manager keeps its loader."""


def loader_of(model: type[Any]) -> Loader:
    """Return the loader of a model's own objects."""
    info = sa_inspect(model).class_manager.info
    if _LOADER not in info:
        info[_LOADER] = Loader(model)
    found: Loader = info[_LOADER]
    return found
