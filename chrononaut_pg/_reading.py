"""How a reader runs: with which session, and what its failure means."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from operator import itemgetter
from typing import Any

from sqlalchemy import Connection, Engine, Select
from sqlalchemy import inspect as sa_inspect
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.orm import Mapper, Session, object_session, scoped_session
from sqlalchemy.orm.attributes import instance_state

from chrononaut_pg._direct import Asked, Direct
from chrononaut_pg._unheard import Read
from chrononaut_pg.declarations import declaration, schemas_of, table_name
from chrononaut_pg.exceptions import (
    UNDEFINED_COLUMN,
    UNDEFINED_TABLE,
    ChrononautException,
    CoreMissingError,
    CoreOlderError,
    DriftError,
    NoSessionError,
    UnsupportedDatabaseError,
    VersioningMissingError,
    sqlstate_of,
)

Key = tuple[Any, ...]


def session_of(instance: Any, session: Any) -> Session:
    """Return the session to read with: the given, the object's, the application's."""
    given = session if session is not None else object_session(instance)
    found = session_for(type(instance), given, **_shard(instance))
    is_new = instance_state(instance).key is None and instance in found.new
    if is_new and found.autoflush:
        found.flush()
    return found


def session_for(model: type[Any], session: Any, **where: Any) -> Session:
    """Return the session to read a model with: the given, else the application's.

    *where* says more about its database, as `Session.get_bind` takes it.
    """
    found = session
    if found is None:
        extension = getattr(model, "__fsa__", None)
        found = extension.session if extension is not None else None
    if isinstance(found, scoped_session):
        found = found()
    if found is None:
        raise NoSessionError(
            f"{model.__name__} object belongs to no session",
            hint="Pass one, as in versions(session=session).",
        )
    live = plain_session(found)
    check_bind(model, live, **where)
    return live


def plain_session(session: Any) -> Session:
    """Return a session, or that of a scoped one; raise NoSessionError for others."""
    found = session() if isinstance(session, scoped_session) else session
    if not isinstance(found, Session):
        raise NoSessionError(
            f"cannot read with an object of {type(found).__name__}",
            hint="Pass a Session; execute what the select_... methods return with "
            "an AsyncSession.",
        )
    return found


def check_bind(model: type[Any], session: Session, **where: Any) -> None:
    """Raise UnsupportedDatabaseError unless the session reads from PostgreSQL."""
    dialect = session.get_bind(sa_inspect(model), **where).dialect.name
    if dialect != "postgresql":
        raise UnsupportedDatabaseError(
            f"{model.__name__} is versioned, but its session uses {dialect}",
            hint="History needs PostgreSQL 14 or later.",
        )


def rows(
    instance: Any,
    session: Session,
    statement: Callable[[], Select[Any]] | Read,
    parameters: Mapping[str, Any] | None = None,
    mapper: Mapper[Any] | None = None,
    bind: Engine | Connection | None = None,
) -> list[Any]:
    """Execute the statement of a reader where the object's table is, in *bind*.

    *mapper* is that of what is read, for statements that do not tell.
    """
    # SQLAlchemy itself would ask for the database of the history class.
    where = _shard(instance)
    where["bind"] = _bind(instance, session) if bind is None else bind
    if mapper is not None:
        where["mapper"] = mapper
    try:
        if isinstance(statement, Read):
            place = session.get_bind(clause=statement.statement, **where)
            connection = session.connection(bind_arguments={"bind": place})
            return [*statement.rows(connection, parameters or {})]
        # Result.all() is faster than going through the result.
        found = session.execute(statement(), parameters, bind_arguments=where)
        return [*found.all()]
    except (ProgrammingError, DriftError, VersioningMissingError) as error:
        ours = isinstance(error, ChrononautException)
        database = error.__cause__ or error if ours else error
        if sqlstate_of(database) in (*UNDEFINED_TABLE, UNDEFINED_COLUMN):
            raise _explained(instance, session, database) from database
        raise


def _bind(instance: Any, session: Session) -> Engine | Connection:
    """Return the database that the object is in."""
    return session.get_bind(instance_state(instance).mapper, **_shard(instance))


def _shard(instance: Any) -> dict[str, Any]:
    """Return which one of several databases with the same tables the object is in.

    Known after a ShardedSession has loaded or saved it; such a session would ask all.
    """
    token = instance_state(instance).identity_token
    return {} if token is None else {"shard_id": token}


def scalars(
    instance: Any,
    session: Session,
    statement: Callable[[], Select[Any]],
    parameters: Mapping[str, Any] | None = None,
) -> list[Any]:
    """Execute the statement of a reader; return the first value of each row."""
    return [row[0] for row in rows(instance, session, statement, parameters)]


def all_versions(
    instance: Any, session: Session, found: Direct, key: Key, live: bool = False
) -> list[Any]:
    """Return all versions that have ended, and the live one if wanted."""
    asked = found.all_and_live if live else found.all
    parameters = found.parameters(key)
    bind = _bind(instance, session)
    loads = _loads(bind)
    operation = found.named["operation"]
    if not found.loader.serves(session):
        objects = scalars(instance, session, lambda: asked.objects, parameters)
        found.derivation.all(map(vars, objects), loads)
        return [one for one in objects if vars(one)[operation] != "I"]
    changes = found.loader.values(
        asked.names, _values(instance, session, found, asked, parameters, bind)
    )
    found.derivation.all(changes, loads)
    images = [one for one in changes if one[operation] != "I"]
    return found.loader.objects(session, images)


def _loads(bind: Engine | Connection) -> Any:
    """Return what parses JSON in a database, None for the usual."""
    return getattr(bind.dialect, "_json_deserializer", None)


def in_force(
    instance: Any, session: Session, found: Direct, key: Key, at: datetime
) -> Any:
    """Return the version in force, the object itself if that is the live row."""
    parameters = {**found.parameters(key), "at": at}
    if found.loader.serves(session):
        bind = _bind(instance, session)
        read = _values(instance, session, found, found.around, parameters, bind)
        return _around(instance, session, found, read, at, _loads(bind))
    ((live, version),) = _found(instance, session, found, found.version_at, parameters)
    if version is None:
        return instance if live else None
    return version if vars(version)[found.named["valid_to"]] > at else None


def _around(
    instance: Any,
    session: Session,
    found: Direct,
    read: list[Any],
    at: datetime,
    loads: Any,
) -> Any:
    """Return what was in force, given what `Direct.around` selects."""
    names, derivation = found.around.names, found.derivation
    live, last, later, number = read[0][: -len(names)]
    if later is None:
        return instance if live else None
    changes = found.loader.values(names, [row[-len(names) :] for row in read])
    changes.sort(key=itemgetter(derivation.change_id))
    if last is None or last < later:
        version = changes[-1]
        if version[derivation.operation] == "I":
            return None
        derivation.one(version, None if last is None else changes[0], number, loads)
        return found.loader.objects(session, [version])[0]
    derivation.all(changes, loads)
    following = changes[derivation.begun_by(changes, live, at) :]
    if not following:
        return instance
    version = following[0]
    if version[derivation.operation] == "I" or version[derivation.changed] <= at:
        return None
    return found.loader.objects(session, [version])[0]


def newest_ended(instance: Any, session: Session, found: Direct, key: Key) -> Any:
    """Return the newest version that has ended, None if there is none."""
    parameters = found.parameters(key)
    versions = _found(instance, session, found, found.previous, parameters)
    return versions[0][0] if versions else None


def _found(
    instance: Any,
    session: Session,
    found: Direct,
    asked: Asked,
    parameters: Mapping[str, Any],
) -> list[tuple[Any, ...]]:
    """Return the rows of a statement, each with a history object or None at its end."""
    if not found.loader.serves(session):
        return rows(instance, session, lambda: asked.objects, parameters)
    read = _values(instance, session, found, asked, parameters)
    more = [row[: -len(asked.names)] for row in read]
    values = found.loader.values(
        asked.names, [row[-len(asked.names) :] for row in read]
    )
    return [
        (*rest, version)
        for rest, version in zip(
            more, found.loader.objects(session, values), strict=True
        )
    ]


def _values(
    instance: Any,
    session: Session,
    found: Direct,
    asked: Asked,
    parameters: Mapping[str, Any],
    bind: Engine | Connection | None = None,
) -> list[Any]:
    """Return the rows of a statement, values in place of history objects."""
    found.loader.flush(session)
    mapper = found.loader.mapper
    return rows(instance, session, asked.read, parameters, mapper, bind)


@contextmanager
def _connected_anew(engine: Engine) -> Iterator[Connection]:
    """Connect outside the engine's pool: the session may have its only connection."""
    pool = engine.pool.recreate()
    try:
        with Engine(pool, engine.dialect, engine.url).connect() as connection:
            yield connection
    finally:
        pool.dispose()


def _explained(
    instance: Any, session: Session, error: BaseException
) -> ChrononautException:
    """Return what to raise when the database lacks a view or a column."""
    from chrononaut_pg import core

    table = declaration(type(instance)).table
    bind = _bind(instance, session)
    name, model = table_name(table, schemas_of(bind)), type(instance).__name__
    with _connected_anew(bind.engine) as connection:
        status = core.status(connection)
        oid = core.table_oid(connection, name)
        versioned = status.current and oid in core.versioned_oids(connection)
    if status.installed_version is None:
        return CoreMissingError(status.package_version)
    if not status.current:
        return CoreOlderError(status.installed_version, status.package_version)
    if versioned:
        return DriftError(
            f"the history of {name} is not what {model} declares: "
            f"{str(getattr(error, 'orig', error)).splitlines()[0]}",
            table=table.name,
            schema=table.schema,
            hint=f"Run: select chrononaut.sync_versioning('{name}'); if its history "
            "is in another schema, name that in __chrononaut_history_schema__.",
        )
    return VersioningMissingError(
        f"{model} is Versioned, but table {name} is not versioned in the database",
        table=table.name,
        schema=table.schema,
        hint=f"Create its versioning: select chrononaut.create_versioning('{name}').",
    )
