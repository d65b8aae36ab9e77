"""Readers make history objects themselves, and nobody can tell them from the ORM's.

Where an application has a say in loading, the ORM loads them; so do these tests, by a
listener that does nothing, for comparison.
"""

import enum
import gc
import pickle
import uuid
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import (
    BigInteger,
    Engine,
    Interval,
    Numeric,
    Select,
    String,
    TypeDecorator,
    event,
    func,
)
from sqlalchemy import inspect as sa_inspect
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.ext.mutable import MutableDict
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    Mapper,
    Session,
    column_property,
    composite,
    deferred,
    mapped_column,
    object_session,
    synonym,
    with_loader_criteria,
)
from sqlalchemy.orm.attributes import set_committed_value

import chrononaut_pg
from chrononaut_pg import Versioned, history_class
from chrononaut_pg.history import History, meta
from chrononaut_pg.readers import direct_of
from tests.orm.modelling import saved, statements


class Base(DeclarativeBase):
    pass


class Colour(enum.Enum):
    RED = "r"
    BLUE = "b"


class Reversed(TypeDecorator[str]):
    """Stored backwards, and asked for in upper case."""

    impl = String
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Any) -> Any:
        return value and value[::-1]

    def process_result_value(self, value: Any, dialect: Any) -> Any:
        return value and value[::-1]

    def column_expression(self, column: Any) -> Any:
        return func.upper(column, type_=self)


@dataclass
class Point:
    x: int | None
    y: int | None


class Typed(Versioned, Base):
    __tablename__ = "typed"
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    step: Mapped[int]
    price: Mapped[Decimal | None] = mapped_column(Numeric(10, 2))
    share: Mapped[float | None]
    flag: Mapped[bool | None]
    day: Mapped[date | None]
    at: Mapped[datetime | None]
    wait: Mapped[timedelta | None] = mapped_column(Interval)
    colour: Mapped[Colour | None]
    data: Mapped[bytes | None]
    list: Mapped[Any] = mapped_column(ARRAY(BigInteger), nullable=True)
    document: Mapped[Any] = mapped_column(JSONB, nullable=True)
    word: Mapped[str | None] = mapped_column(Reversed)


class Named(Versioned, Base):
    """A key of two, and names that are others or taken."""

    __tablename__ = "Named things"
    __chrononaut_hidden__ = ("secret",)
    __chrononaut_untracked__ = ("seen",)
    number: Mapped[int] = mapped_column("the number", primary_key=True)
    kind: Mapped[str] = mapped_column(primary_key=True)
    step: Mapped[int]
    version: Mapped[str | None]
    changed: Mapped[str | None]
    transaction: Mapped[str | None]
    secret: Mapped[str | None]
    seen: Mapped[int | None]
    note: Mapped[str | None] = deferred(mapped_column("Note", String))
    remark = synonym("note")


class Computed(Versioned, Base):
    __tablename__ = "computed"
    id: Mapped[int] = mapped_column(primary_key=True)
    step: Mapped[int] = mapped_column()
    double = column_property(step + step)


class Composed(Versioned, Base):
    __tablename__ = "composed"
    id: Mapped[int] = mapped_column(primary_key=True)
    step: Mapped[int]
    x: Mapped[int | None]
    y: Mapped[int | None]
    place: Mapped[Point] = composite("x", "y")


class Mutable(Versioned, Base):
    __tablename__ = "mutable"
    id: Mapped[int] = mapped_column(primary_key=True)
    step: Mapped[int]
    document: Mapped[Any] = mapped_column(MutableDict.as_mutable(JSONB), nullable=True)


class Kind(Versioned, Base):
    __tablename__ = "kind"
    __mapper_args__ = {"polymorphic_on": "name"}  # noqa: RUF012
    id: Mapped[int] = mapped_column(primary_key=True)
    step: Mapped[int]
    name: Mapped[str]


class One(Kind):
    __mapper_args__ = {"polymorphic_identity": "one"}  # noqa: RUF012
    more: Mapped[int | None]


TYPED: dict[str, Any] = {
    "price": Decimal("1.50"),
    "share": float("inf"),
    "flag": False,
    "day": date(2026, 1, 2),
    "at": datetime(2026, 1, 2, 3, tzinfo=UTC),
    "wait": timedelta(days=1, seconds=2),
    "colour": Colour.BLUE,
    "data": b"\0a",
    "list": [1, 2],
    "document": {"a": [1, None, {"b": 1.5}]},
    "word": "ABC",
}

SHAPES: dict[str, Callable[[], Any]] = {
    "typed": lambda: Typed(id=uuid.UUID(int=1), step=0, **TYPED),
    "empty": lambda: Typed(id=uuid.UUID(int=2), step=0),
    "named": lambda: Named(
        **{"number": 1, "kind": "k'", "step": 0, "version": "v", "changed": "c"},
        **{"transaction": "t", "secret": "s", "seen": 1, "note": "n"},
    ),
    "computed": lambda: Computed(id=1, step=0),
    "composed": lambda: Composed(id=1, step=0, x=1),
    "mutable": lambda: Mutable(id=1, step=0, document={"a": 1}),
    "kind": lambda: One(id=1, step=0, more=1),
}

PLAIN = {"typed", "empty", "named"}
"""Those of which the readers make the objects."""

Reader = Callable[[Any, Session], list[Any]]

READERS: dict[str, Reader] = {
    "versions": lambda one, session: one.versions(session=session),
    "version_at": lambda one, session: [
        one.version_at(at, session=session)
        for at in (datetime(2000, 1, 1), *moments(one, session))
    ],
    "previous_version": lambda one, session: [one.previous_version(session=session)],
    "changes": lambda one, session: [
        side
        for change in one.changes(session=session)
        for side in (change.before, change.after)
    ],
}


@pytest.fixture
def engine(engine: Engine) -> Engine:
    Base.metadata.create_all(engine)
    chrononaut_pg.listen(engine)
    return engine


@pytest.fixture(params=SHAPES)
def shape(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def past(engine: Engine, shape: str) -> Any:
    """Return an object that was inserted, updated, deleted and inserted again."""
    with (
        Session(engine, expire_on_commit=False) as session,
        chrononaut_pg.change_info(user_id="ann", remote_addr=None, extra={"n": [1]}),
    ):
        for lives in (2, 1):
            session.add(one := SHAPES[shape]())
            session.commit()
            for step in range(lives):
                one.step = step + 1
                session.commit()
            if lives == 2:
                session.delete(one)
                session.commit()
    return one


def moments(one: Any, session: Session) -> list[datetime]:
    changed = history_class(type(one)).__chrononaut_meta_names__["changed"]
    read = session.scalars(one.select_versions()).all()
    found = [getattr(version, changed) for version in read]
    session.expunge_all()
    return found


@contextmanager
def loading_by_orm(session: Session) -> Iterator[None]:
    """Have the ORM load history objects: somebody listens."""

    def listener(*_: Any) -> None:
        pass

    event.listen(session, "loaded_as_persistent", listener)
    yield
    event.remove(session, "loaded_as_persistent", listener)


def told(found: Any, session: Session) -> Any:
    """Return all that there is to know of an object, and of its state."""
    if not isinstance(found, History):
        return type(found)
    state = sa_inspect(found)
    values = {name: one for name, one in vars(found).items() if name[:4] != "_sa_"}
    return (
        {name: (type(one), one) for name, one in values.items()},
        (type(found), state.class_, state.manager, state.mapper),
        (state.key, state.identity, state.identity_token, state.session is session),
        (state.persistent, state.modified, state.expired, state.unloaded),
        (state.expired_attributes, state.committed_state, state.callables),
        (state.load_options, str(state.load_path)),
        session.identity_map[state.key] is found,
        object_session(found) is session,
        [*session.dirty, *session.new, *session.deleted],
        (repr(found), pickle.loads(pickle.dumps(found)) == found),
        {name: getattr(found, name) for name in values},
    )


def told_of_all(found: list[Any], session: Session) -> list[Any]:
    """Return what there is to know of each of them, and then of their transactions."""
    each = list({id(one): one for one in found}.values())
    first = [told(one, session) for one in each]
    versions = [one for one in each if isinstance(one, History)]
    related = [getattr(link, "id", None) for one in versions for link in links(one)]
    return [*first, related, [each.index(one) for one in found]]


def links(version: Any) -> list[Any]:
    """Return the transactions of a version."""
    mapper = sa_inspect(version).mapper
    return [getattr(version, prop.key) for prop in mapper.relationships]


def test_objects_are_those_of_the_orm(engine: Engine, shape: str) -> None:
    def read(session: Session, reader: Reader) -> list[Any]:
        return told_of_all(reader(one, session), session)

    one = past(engine, shape)
    for name, reader in READERS.items():
        with Session(engine) as session, loading_by_orm(session):
            expected = read(session, reader)
        with Session(engine) as session:
            found = read(session, reader)

        assert found == expected, name
        assert len(found) > 2, name


def touch(session: Session, version: Any, number: int) -> None:
    """Have a session hold an object in one of several states."""
    if number == 0:
        session.expire(version)
    elif number == 1:
        meta(version, "change_info")["user_id"] = "bob"
        set_committed_value(version, "step", 99)
    elif number == 2:
        assert links(version)
        session.expire(version, ["step"])


def test_objects_that_a_session_has_are_refreshed_as_by_the_orm(
    engine: Engine, shape: str
) -> None:
    def read(session: Session, reader: Reader) -> list[Any]:
        kept = [found for found in READERS["changes"](one, session) if found]
        held = list({id(version): version for version in kept}.values())
        for number, version in enumerate(held):
            touch(session, version, number)
        again = [found for found in reader(one, session) if isinstance(found, History)]
        known = {id(found) for found in again} <= {id(found) for found in held}
        return [known, len(again), *told_of_all(again, session)]

    one = past(engine, shape)
    for name in ("versions", "previous_version", "changes"):
        with Session(engine) as session, loading_by_orm(session):
            expected = read(session, READERS[name])
        with Session(engine) as session:
            found = read(session, READERS[name])

        assert found == expected, name
        assert found[0], name


def test_readers_make_the_objects_of_classes_that_are_plain(
    engine: Engine, shape: str
) -> None:
    one = past(engine, shape)
    direct = direct_of(one)
    with Session(engine) as session:
        assert direct is not None
        assert direct.loader.serves(session) == (shape in PLAIN)


def test_objects_are_let_go_when_nobody_holds_them(engine: Engine) -> None:
    one = past(engine, "named")
    with Session(engine) as session:
        versions = one.versions(session=session)
        held = weakref.ref(versions[0])
        before = len(session.identity_map)
        del versions
        gc.collect()

        assert (before, held(), len(session.identity_map)) == (4, None, 0)


def test_what_is_pending_is_flushed_before_and_only_with_autoflush(
    engine: Engine,
) -> None:
    past(engine, "named")
    with Session(engine) as session:
        one = session.get_one(Named, (1, "k'"))
        one.step = 7
        with session.no_autoflush:
            before = len(one.versions())

        assert (before, len(one.versions())) == (4, 5)


def test_objects_expire_with_a_rollback_and_are_read_again(engine: Engine) -> None:
    one = past(engine, "named")
    with Session(engine) as session:
        version = one.versions(session=session)[1]
        session.rollback()
        expired = "step" not in vars(version)
        with statements(engine) as sent:
            found = (version.step, version.note)

        assert (expired, found, len(sent)) == (True, (1, "n"), 1)


def test_a_session_is_told_whose_database_it_is(engine: Engine) -> None:
    class Routing(Session):
        def get_bind(self, mapper: Any = None, **given: Any) -> Any:
            asked.append((mapper, type(given.get("clause"))))
            return super().get_bind(mapper, **given)

    one = past(engine, "named")
    found = []
    for by_orm in (True, False):
        asked: list[Any] = []
        with Routing(engine) as session:
            with loading_by_orm(session) if by_orm else nullcontext():
                one.versions(session=session)
            found.append(asked[-1])

    assert found == [(sa_inspect(history_class(Named)), Select)] * 2


def test_listeners_are_told_of_every_object(engine: Engine) -> None:
    """Inserts included, which are no versions, but for refreshes of what is held."""
    one = past(engine, "named")
    cls = history_class(Named)
    heard: list[Any] = []

    def hear(*given: Any) -> None:
        heard.extend(found for found in given if isinstance(found, History))

    def execute(state: Any) -> None:
        heard.append((state.is_orm_statement, state.bind_mapper))

    with Session(engine) as session:
        counts = []
        for target, name, listener in (
            (session, "loaded_as_persistent", hear),
            (session, "do_orm_execute", execute),
            (cls, "load", hear),
            (Mapper, "load", hear),
            (Mapper, "refresh", hear),
        ):
            kept = one.versions(session=session) if name == "refresh" else []
            event.listen(target, name, listener)
            one.versions(session=session)
            event.remove(target, name, listener)
            counts.append(len(heard))
            heard.clear()
            del kept

    assert counts == [6, 1, 6, 6, 4]


def test_criteria_of_an_application_apply(engine: Engine) -> None:
    one = past(engine, "named")
    cls = history_class(Named)

    def only_updates(state: Any) -> None:
        criteria = with_loader_criteria(cls, cls.operation == "U", include_aliases=True)
        state.statement = state.statement.options(criteria)

    with Session(engine) as session:
        event.listen(session, "do_orm_execute", only_updates)

        assert [v.operation for v in one.versions(session=session)] == ["U"] * 3


def test_attributes_that_an_application_adds_are_loaded(engine: Engine) -> None:
    class Later(Versioned, Base):
        __tablename__ = "later"
        id: Mapped[int] = mapped_column(primary_key=True)
        step: Mapped[int]

    Base.metadata.create_all(engine)
    cls = history_class(Later)
    with Session(engine) as session:
        saved(session, one := Later(id=1, step=1), step=2)
        one.versions()
        mapper = sa_inspect(cls)
        twice = mapper.local_table.c.step * 2
        mapper.add_property("twice", column_property(twice))

        assert [(v.step, v.twice) for v in one.versions()] == [(1, 2)]
