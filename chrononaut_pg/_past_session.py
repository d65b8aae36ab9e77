"""The session that reads one moment of the past.

It has an identity map of its own and reads on the connection of the live session, whose
transaction it shares. Made by `chrononaut_pg.time_travel`, and for the relations of a
version.
"""

from typing import Any, NoReturn, Self

from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import UnboundExecutionError
from sqlalchemy.orm import ORMExecuteState, Session

from chrononaut_pg._past import Moment, enter, leave, options_for
from chrononaut_pg.exceptions import ReadOnlyPastError


class PastSession(Session):
    """A Session that reads one moment of the past and refuses to write.

    Made by `time_travel`. `moment` says which one it is.
    """

    def __init__(self, *, live: Session, moment: Moment, **options: Any) -> None:
        super().__init__(**{**options, "autoflush": False, "expire_on_commit": False})
        self.live = live
        self.moment = moment
        self._used: set[Connection] = set()

    def open(self, mapper: Any = None) -> Self:
        """Resolve the moment on the live session's connection."""
        try:
            connection = self.get_bind(mapper)
        except UnboundExecutionError:
            return self  # many databases: each is opened by its first statement
        if isinstance(connection, Connection):
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
        # The transaction is the live session's, so this one need not follow it.
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

    def merge(self, instance: Any, **_: Any) -> NoReturn:
        """Raise ReadOnlyPastError."""
        self._refuse(f"{type(instance).__name__} object cannot be merged")

    def flush(self, objects: Any = None) -> None:
        """Raise ReadOnlyPastError if an object was changed."""
        changed = next(iter((*self.new, *self.dirty, *self.deleted)), None)
        if changed is not None:
            self._refuse(f"{type(changed).__name__} object was changed")

    def commit(self) -> None:
        """Raise ReadOnlyPastError if an object was changed; else do nothing."""
        self.flush()

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

    def rollback(self) -> None:
        """Take back changes of objects; the transaction is the live session's."""
        self.expire_all()

    def hold(self, instance: Any) -> None:
        """Take in an object that was made from its history."""
        super().add(instance)
        _keep_session(self, instance)

    def _refuse(self, what: str) -> NoReturn:
        raise ReadOnlyPastError(
            f"{what}: the past cannot be changed",
            hint="Change the live object in the live session.",
        )


@event.listens_for(PastSession, "do_orm_execute")
def _read_the_past(state: ORMExecuteState) -> None:
    session = state.session
    assert isinstance(session, PastSession)
    connection = session.get_bind(**state.bind_arguments)
    options = options_for(session.moment, connection, state.execution_options)
    state.update_execution_options(**options)


@event.listens_for(PastSession, "loaded_as_persistent")
def _keep_session(session: Session, instance: Any) -> None:
    """Let the session live as long as its objects, which load the rest of it."""
    instance._sa_instance_state.info["chrononaut_past"] = session
