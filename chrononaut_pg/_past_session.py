"""The session that reads one moment of the past.

It has an identity map of its own and reads on the connection of the live session, whose
transaction it shares. Made by `chrononaut_pg.time_travel`, and for the relations of a
version.
"""

from collections.abc import Iterable
from functools import cache
from typing import Any, NoReturn, Self, cast
from weakref import WeakValueDictionary

from sqlalchemy import Connection, Engine, Sequence, Table, event
from sqlalchemy import inspect as sa_inspect
from sqlalchemy.exc import UnboundExecutionError
from sqlalchemy.orm import ORMExecuteState, Session
from sqlalchemy.sql import visitors

from chrononaut_pg._past import enter, leave, options_for
from chrononaut_pg._past_moment import Moment
from chrononaut_pg._past_refusals import refuse_write
from chrononaut_pg.exceptions import NotVersionedError, ReadOnlyPastError

_KEY = "chrononaut_past"
"""Where the state of an object of the past keeps its session."""


class PastSession(Session):
    """A Session that reads one moment of the past and refuses to write.

    Made by `time_travel`. `moment` says which one it is. It is of the live session's
    class, too: what that class and its listeners do to statements, such as filters by
    tenant, is done here as well.
    """

    def __new__(cls, *, live: Session, **_: Any) -> Self:
        """Make a session of the past of the live session's class."""
        return cast(Self, object.__new__(_past_class(cls, type(live))))

    def __init__(self, *, live: Session, moment: Moment, **options: Any) -> None:
        given = {
            **options,
            "autoflush": False,
            "expire_on_commit": False,
            "info": live.info,
            "query_cls": live._query_cls,
        }
        Session.__init__(self, **given)
        self.dispatch._update(live.dispatch, only_propagate=False)
        for name, value in vars(live).items():
            self.__dict__.setdefault(name, value)  # what the application has put there
        self.bind = live.bind  # for those who ask for its dialect
        self.live = self.__chrononaut_live__ = live
        self.moment = moment
        self._used: set[Connection] = set()
        _guard_sessions()

    def open(self, mapper: Any = None) -> Self:
        """Resolve the moment on the live session's connection."""
        try:
            connection = self.get_bind(mapper)
        except UnboundExecutionError:
            return self  # many databases: each is opened by its first statement
        if isinstance(connection, Connection) and _has_past(connection):
            self._used.add(connection)
            enter(connection, self.moment)
        return self

    def leave(self) -> None:
        """Let further statements on the same connections find the present."""
        for connection in self._used:
            leave(connection)
        self._used.clear()

    def get_bind(self, mapper: Any = None, **arguments: Any) -> Engine | Connection:
        """Return the connection with which the live session would read."""
        if mapper is not None:
            arguments["mapper"] = mapper
        arguments.pop("_sa_skip_events", None)
        arguments.pop("_sa_skip_for_implicit_returning", None)
        return self.live.connection(bind_arguments=arguments)

    def _connection_for_bind(  # type: ignore[override]
        self, engine: Connection, execution_options: Any = None, **_: Any
    ) -> Connection:
        # There is no public way: a session bound to a Connection joins its transaction,
        # and loses it when the live session begins the next one.
        self._used.add(engine)
        return engine

    def add(self, instance: object, *_: Any, **__: Any) -> NoReturn:
        """Raise ReadOnlyPastError."""
        self._refuse(f"{type(instance).__name__} object cannot be added")

    def add_all(self, instances: Any) -> NoReturn:
        """Raise ReadOnlyPastError."""
        self._refuse("objects cannot be added")

    def delete(self, instance: object) -> NoReturn:
        """Raise ReadOnlyPastError."""
        self._refuse(f"{type(instance).__name__} object cannot be deleted")

    def delete_all(self, instances: Any) -> NoReturn:
        """Raise ReadOnlyPastError."""
        self._refuse("objects cannot be deleted")

    def merge(self, instance: Any, **_: Any) -> NoReturn:
        """Raise ReadOnlyPastError."""
        self._refuse(f"{type(instance).__name__} object cannot be merged")

    def merge_all(self, instances: Any, **_: Any) -> NoReturn:
        """Raise ReadOnlyPastError."""
        self._refuse("objects cannot be merged")

    def flush(self, objects: Any = None) -> None:
        """Raise ReadOnlyPastError if an object was changed."""
        changed = next(iter((*self.new, *self.dirty, *self.deleted)), None)
        if changed is not None:
            self._refuse(f"{type(changed).__name__} object was changed")

    def commit(self) -> None:
        """Raise ReadOnlyPastError if an object was changed; else do nothing."""
        self.flush()

    def prepare(self) -> None:
        """Raise ReadOnlyPastError if an object was changed; else do nothing."""
        self.flush()

    def rollback(self) -> None:
        """Take back changes of objects; the transaction is the live session's."""
        self.expire_all()

    def connection(self, *_: Any, **__: Any) -> NoReturn:
        """Raise ReadOnlyPastError: what is executed there would see the present."""
        self._refuse("a connection knows nothing of the past")

    def bulk_save_objects(self, *_: Any, **__: Any) -> NoReturn:
        """Raise ReadOnlyPastError."""
        self._refuse("objects cannot be saved")

    def bulk_insert_mappings(self, *_: Any, **__: Any) -> NoReturn:
        """Raise ReadOnlyPastError."""
        self._refuse("rows cannot be inserted")

    def bulk_update_mappings(self, *_: Any, **__: Any) -> NoReturn:
        """Raise ReadOnlyPastError."""
        self._refuse("rows cannot be updated")

    def hold(self, instance: Any) -> None:
        """Take in an object that was made from its history."""
        Session.add(self, instance)
        self.keep([instance])

    def keep(self, made: Iterable[Any]) -> None:
        """Live as long as these objects, which load the rest of it."""
        keeper = _Keeper(self)
        for one in made:
            sa_inspect(one).info[_KEY] = keeper

    def _refuse(self, what: str) -> NoReturn:
        raise ReadOnlyPastError(
            f"{what}: the past cannot be changed",
            hint="Change the live object in the live session.",
        )


class _Keeper:
    """Holds the session of an object of the past; empty when the object is pickled."""

    def __init__(self, session: Session | None = None) -> None:
        self.session = session

    def __reduce__(self) -> Any:
        return _Keeper, ()


_CLASSES: WeakValueDictionary[type[Session], type[PastSession]] = WeakValueDictionary()


def _past_class(cls: type[PastSession], live: type[Session]) -> type[PastSession]:
    """Return the class of past sessions beside live ones of a class."""
    if issubclass(cls, live):
        return cls
    found = _CLASSES.get(live)
    if found is None:
        found = _CLASSES[live] = type(cls.__name__, (cls, live), {})
    return found


@event.listens_for(PastSession, "do_orm_execute")
def _read_the_past(state: ORMExecuteState) -> None:
    session = state.session
    assert isinstance(session, PastSession)
    writes = state.is_insert or state.is_update or state.is_delete
    if writes or isinstance(state.statement, Sequence):
        refuse_write(state.statement)
    connection: Any = session.get_bind(**state.bind_arguments)
    if _has_past(connection):
        options = options_for(
            session.moment, connection, state.execution_options, _metadata_of(state)
        )
        state.update_execution_options(**options)
    elif session.moment.strict:
        raise NotVersionedError(
            f"a database of {connection.dialect.name} has no past",
            hint="Travel without strict=True to read it as it is now.",
        )
    else:
        refuse_write(state.statement)


@event.listens_for(PastSession, "loaded_as_persistent")
def _keep_session(session: PastSession, instance: Any) -> None:
    session.keep([instance])


@cache
def _guard_sessions() -> None:
    """Listen, from the first session of the past on, to what is attached to others."""
    event.listen(Session, "before_attach", _refuse_the_past)


def _refuse_the_past(session: Session, instance: Any) -> None:
    """Raise if an object of the past is about to become one of the present."""
    state = sa_inspect(instance)
    if _KEY in state.info and state.key and not isinstance(session, PastSession):
        raise ReadOnlyPastError(
            f"{type(instance).__name__} object is one of the past: it cannot be added",
            hint="session.merge() makes a copy, in the present.",
        )


def _metadata_of(state: ORMExecuteState) -> Any:
    """Return the MetaData whose models are read, None if there are no Tables."""
    if state.bind_mapper is not None:
        return getattr(state.bind_mapper.local_table, "metadata", None)
    statement: Any = state.statement
    parts = visitors.iterate(getattr(statement, "_resolved", statement))
    return next((one.metadata for one in parts if isinstance(one, Table)), None)


def _has_past(connection: Connection) -> bool:
    return connection.dialect.name == "postgresql"
