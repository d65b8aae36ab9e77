"""What tests of models share: their tables in a database, and the story of a row."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Engine, MetaData, event
from sqlalchemy.orm import Session

from chrononaut_pg import history_class


@contextmanager
def created(engine: Engine, *metadatas: MetaData) -> Iterator[Session]:
    """Create the tables of *metadatas*, versioned, and open a session on them."""
    for metadata in metadatas:
        metadata.create_all(engine)
    with Session(engine) as session:
        yield session


def saved(session: Session, instance: Any, **changes: Any) -> Any:
    """Commit *instance*, then each of *changes* in a transaction of its own."""
    session.add(instance)
    session.commit()
    for name, value in changes.items():
        setattr(instance, name, value)
        session.commit()
    return instance


def story(session: Any, instance: Any, name: str, value: Any) -> tuple[Any, ...]:
    """Write *instance*, change one attribute, delete it; tell what its history says.

    Returns the history class's name, the operations of all changes and the values that
    the attribute had in each version.
    """
    saved(session, instance, **{name: value})
    session.delete(instance)
    session.commit()
    versions = instance.versions(session=session)
    return (
        history_class(type(instance)).__name__,
        "".join(one.operation for one in instance.changes(session=session)),
        [getattr(version, name) for version in versions],
    )


@contextmanager
def statements(engine: Engine) -> Iterator[list[str]]:
    """Collect the statements that SQLAlchemy sends to the database."""
    sent: list[str] = []

    def note(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        sent.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        event.remove(engine, "before_cursor_execute", note)
