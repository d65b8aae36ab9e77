"""`__chrononaut_row_version__`: nobody overwrites what he has not read."""

from typing import Any

import pytest
from sqlalchemy import (
    BigInteger,
    Column,
    Engine,
    ForeignKey,
    Integer,
    String,
    Table,
    text,
    update,
)
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    MappedAsDataclass,
    Session,
    declarative_base,
    mapped_column,
    registry,
    relationship,
)
from sqlalchemy.orm.exc import StaleDataError

from chrononaut_pg import UntrackedAttributeError, Versioned
from chrononaut_pg.exceptions import DeclarationError
from tests.orm.modelling import created, saved, statements


def typed() -> Any:
    class Base(DeclarativeBase):
        pass

    class Item(Versioned, Base):
        __tablename__ = "item"
        __chrononaut_row_version__ = True
        id: Mapped[int] = mapped_column(primary_key=True)
        v: Mapped[str | None]

    return Item


def mixin_last() -> Any:
    class Base(DeclarativeBase):
        pass

    class Item(Base, Versioned):
        __tablename__ = "item"
        __version_row_version__ = True
        id: Mapped[int] = mapped_column(primary_key=True)
        v: Mapped[str | None]

    return Item


def dataclass() -> Any:
    class Base(MappedAsDataclass, DeclarativeBase):
        pass

    class Item(Versioned, Base):
        __tablename__ = "item"
        __chrononaut_row_version__ = True
        id: Mapped[int] = mapped_column(primary_key=True)
        v: Mapped[str | None] = mapped_column(default=None)

    return Item


def classic() -> Any:
    base: Any = declarative_base()

    class Item(Versioned, base):  # type: ignore[misc]
        __tablename__ = "item"
        __chrononaut_row_version__ = True
        id = Column(Integer, primary_key=True)
        v = Column(String)

    return Item


def decorated() -> Any:
    mappings = registry()

    @mappings.mapped
    class Item(Versioned):
        __tablename__ = "item"
        __chrononaut_row_version__ = True
        id = Column(Integer, primary_key=True)
        v = Column(String)

    return Item


def table() -> Any:
    class Base(DeclarativeBase):
        pass

    class Item(Versioned, Base):
        __table__ = Table(
            "item",
            Base.metadata,
            Column("id", Integer, primary_key=True),
            Column("v", String),
            Column("row_version", BigInteger),
        )
        __chrononaut_row_version__ = True

    return Item


def own_name() -> Any:
    class Base(DeclarativeBase):
        pass

    class Item(Versioned, Base):
        __tablename__ = "item"
        __chrononaut_row_version__ = True
        id: Mapped[int] = mapped_column(primary_key=True)
        v: Mapped[str | None]
        token: Mapped[int] = mapped_column("row_version")

    return Item


def imperative() -> Any:
    mappings = registry()
    table = Table(
        "item",
        mappings.metadata,
        Column("id", Integer, primary_key=True),
        Column("v", String),
    )

    class Item(Versioned):
        __chrononaut_row_version__ = True

        def __init__(self, **values: Any) -> None:
            for name, value in values.items():
                setattr(self, name, value)

    mappings.map_imperatively(Item, table)
    return Item


STYLES = [typed, mixin_last, dataclass, classic, decorated, table, own_name, imperative]


@pytest.mark.parametrize("style", STYLES)
def test_stale_write_is_refused_in_every_style(engine: Engine, style: Any) -> None:
    model = style()
    name = "token" if style is own_name else "row_version"
    metadata = model.__table__.metadata
    with created(engine, metadata) as session, Session(engine) as other:
        mine = saved(session, model(id=1, v="a"), v="b")
        assert getattr(mine, name) == 2
        for change in (
            lambda: setattr(other.get_one(model, 1), "v", "theirs"),
            lambda: other.execute(text("update item set v = 'raw' where id = 1")),
        ):
            assert mine.v is not None
            change()
            other.commit()
            mine.v = "mine"
            with pytest.raises(StaleDataError):
                session.commit()
            session.rollback()
        assert getattr(mine, name) == 4
        session.delete(mine)
        session.commit()


def test_write_after_write_is_never_stale(engine: Engine) -> None:
    model = typed()
    with created(engine, model.metadata) as session:
        item = model(id=1, v="a")
        session.add(item)
        for n in range(3):
            session.flush()
            assert item.row_version == n + 1
            item.v = str(n)
        session.commit()
        session.execute(update(model).values(v="bulk"))
        item.v = "after"
        session.commit()
        assert item.row_version == 6
        with session.begin_nested():
            item.v = "more"
        session.delete(item)
        session.commit()


def test_update_where_of_the_orm_makes_loaded_objects_neither_stale_nor_blind(
    engine: Engine,
) -> None:
    model = typed()
    with created(engine, model.metadata) as session, Session(engine) as other:
        session.add_all([model(id=1, v="a"), model(id=2, v="a")])
        session.commit()
        one, two = session.get_one(model, 1), session.get_one(model, 2)
        other.get_one(model, 2).v = "theirs"
        other.commit()
        session.execute(update(model).where(model.id == 1).values(v="bulk"))
        one.v = "mine"
        session.flush()
        assert one.row_version == 3
        two.v = "mine"
        with pytest.raises(StaleDataError):
            session.flush()


def family() -> Any:
    class Base(DeclarativeBase):
        pass

    class Person(Versioned, Base):
        __tablename__ = "person"
        __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "person"}  # noqa: RUF012
        __chrononaut_row_version__ = True
        id: Mapped[int] = mapped_column(primary_key=True)
        kind: Mapped[str]
        name: Mapped[str | None]

    class Worker(Person):
        __tablename__ = "worker"
        __mapper_args__ = {"polymorphic_identity": "worker"}  # noqa: RUF012
        id: Mapped[int] = mapped_column(ForeignKey("person.id"), primary_key=True)
        wage: Mapped[int | None]

    class Temp(Worker):
        __mapper_args__ = {"polymorphic_identity": "temp"}  # noqa: RUF012

    return Person, Worker, Temp


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("number", [1, 2])
def test_joined_objects_are_checked_by_their_base_and_never_falsely(
    engine: Engine, number: int, keep: bool
) -> None:
    person, worker, temp = family()
    model = (person, worker, temp)[number]
    with (
        created(engine, person.metadata) as session,
        Session(engine, expire_on_commit=not keep) as mine,
    ):
        tables = person.metadata.tables
        assert ["row_version" in tables[n].columns for n in ("person", "worker")] == [
            True,
            False,
        ]
        one = model(id=1, name="a", wage=1)
        mine.add(one)
        mine.flush()
        for n in range(2, 5):
            # Only the child's table changes: here SQLAlchemy alone would be wrong.
            one.wage = n
            mine.flush()
            assert one.row_version == n
        one.name, one.wage = "b", 9
        mine.commit()
        assert one.row_version == 5
        session.get_one(model, 1).wage = 10
        session.commit()
        one.wage = 11
        if keep:
            with pytest.raises(StaleDataError):
                mine.commit()


def test_sqlalchemy_alone_is_wrong_about_joined_objects(engine: Engine) -> None:
    class Base(DeclarativeBase):
        pass

    class Person(Base):
        __tablename__ = "person"
        id: Mapped[int] = mapped_column(primary_key=True)
        token: Mapped[int] = mapped_column(server_default="1")
        __mapper_args__ = {"version_id_col": token, "version_id_generator": False}  # noqa: RUF012

    class Worker(Person):
        __tablename__ = "worker"
        id: Mapped[int] = mapped_column(ForeignKey("person.id"), primary_key=True)
        wage: Mapped[int | None]

    with created(engine, Base.metadata) as session:
        session.execute(
            text(
                "create function raise_it() returns trigger language plpgsql as"
                " 'begin new.token := old.token + 1; return new; end'"
            )
        )
        session.execute(
            text(
                "create trigger raise_it before update on person for each row"
                " execute function raise_it()"
            )
        )
        one = Worker(id=1, wage=1)
        session.add(one)
        session.flush()
        one.wage = 2
        session.flush()
        one.wage = 3
        with pytest.raises(StaleDataError):
            session.flush()


def test_post_update_is_not_stale(engine: Engine) -> None:
    class Base(DeclarativeBase):
        pass

    class Node(Versioned, Base):
        __tablename__ = "node"
        __chrononaut_row_version__ = True
        id: Mapped[int] = mapped_column(primary_key=True)
        friend_id: Mapped[int | None] = mapped_column(ForeignKey("node.id"))
        v: Mapped[int] = mapped_column(default=0)
        friend: Mapped["Node | None"] = relationship(remote_side=[id], post_update=True)

    with created(engine, Base.metadata) as session:
        one: Any = Node(id=1)
        two = Node(id=2)
        one.friend = two
        session.add_all([one, two])
        session.flush()
        one.v = 1
        session.flush()
        one.friend, one.v = None, 2
        session.flush()
        session.delete(two)
        one.v = 3
        session.commit()

        raw = session.execute(text("select v, row_version from node")).one()
        assert (one.v, one.row_version) == tuple(raw)


@pytest.mark.parametrize("count", [1, 3])
def test_post_update_of_several_rows_and_before_deletes(
    engine: Engine, count: int
) -> None:
    class Base(DeclarativeBase):
        pass

    class Bag(Versioned, Base):
        __tablename__ = "bag"
        __chrononaut_row_version__ = True
        id: Mapped[int] = mapped_column(primary_key=True)
        best_id: Mapped[int | None] = mapped_column(
            ForeignKey("thing.id", use_alter=True, name="best")
        )
        things: Mapped[list["Thing"]] = relationship(
            foreign_keys="Thing.bag_id", cascade="all, delete-orphan"
        )
        best: Mapped["Thing | None"] = relationship(
            foreign_keys=[best_id], post_update=True
        )

    class Thing(Versioned, Base):
        __tablename__ = "thing"
        __chrononaut_row_version__ = True
        id: Mapped[int] = mapped_column(primary_key=True)
        bag_id: Mapped[int] = mapped_column(ForeignKey(Bag.id))

    with created(engine, Base.metadata) as session:
        bags: list[Any] = [Bag(id=n, things=[Thing(id=n)]) for n in range(count)]
        for wanted in (True, False, True):
            for bag in bags:
                bag.best = bag.things[0] if wanted else None
            session.add_all(bags)
            session.commit()
        versions = [bag.row_version for bag in bags]
        session.execute(text("update bag set best_id = null where id = 0"))
        bags[0].best = None
        with pytest.raises(StaleDataError):
            session.flush()
        session.rollback()
        for bag in bags:
            session.delete(bag)
        session.commit()
        left = session.scalars(text("select count(*) from bag")).one()

    assert (versions, left) == ([4] * count, 0)


def test_history_does_not_know_the_row_version(engine: Engine) -> None:
    model = typed()
    with created(engine, model.metadata) as session:
        item = saved(session, model(id=1, v="a"), v="b")
        (version,) = item.versions()
        with pytest.raises(UntrackedAttributeError):
            _ = version.row_version
        assert item.diff(version) == {"v": ("a", "b")}
        assert item.version == 1
        item.row_version = 70
        session.commit()
        assert [item.version, item.row_version] == [1, 3]


def test_version_is_the_number_of_the_newest_version_in_one_statement(
    engine: Engine,
) -> None:
    model = typed()
    with created(engine, model.metadata) as session:
        item = saved(session, model(id=1, v="a"), v="b")
        with statements(engine) as sent:
            assert item.version == 1
        assert len(sent) == 1, sent
        assert item.version == session.scalar(item.select_version())
        new = model(id=2, v="a")
        session.add(new)
        assert new.version == 0
        session.delete(item)
        session.flush()
        assert session.scalar(item.select_version()) == 1


def test_models_own_attribute_version_wins(engine: Engine) -> None:
    class Base(DeclarativeBase):
        pass

    class Numbered:
        version: Mapped[str | None]

    class Item(Versioned, Numbered, Base):
        __tablename__ = "item"
        id: Mapped[int] = mapped_column(primary_key=True)

    class Reflected(Versioned, Base):
        __table__ = Table(
            "other",
            Base.metadata,
            Column("id", Integer, primary_key=True),
            Column("version", String),
        )

    with created(engine, Base.metadata) as session:
        for model in (Item, Reflected):
            item: Any = saved(session, model(id=1, version="x"), version="y")
            assert item.version == "y"
            assert [one.version for one in item.versions()] == ["x"]


def test_option_that_does_not_fit_is_refused() -> None:
    class Base(DeclarativeBase):
        pass

    class Person(Versioned, Base):
        __tablename__ = "person"
        id: Mapped[int] = mapped_column(primary_key=True)

    with pytest.raises(DeclarationError, match="but its base Person has not"):

        class Worker(Person):
            __tablename__ = "worker"
            __chrononaut_row_version__ = True
            id: Mapped[int] = mapped_column(ForeignKey("person.id"), primary_key=True)

    with pytest.raises(DeclarationError, match="no integer"):

        class Item(Versioned, Base):
            __tablename__ = "item"
            __chrononaut_row_version__ = True
            id: Mapped[int] = mapped_column(primary_key=True)
            row_version: Mapped[str]

    with pytest.raises(DeclarationError, match="version_id_col"):

        class Other(Versioned, Base):
            __tablename__ = "other"
            __chrononaut_row_version__ = True
            id: Mapped[int] = mapped_column(primary_key=True)
            n: Mapped[int] = mapped_column()
            __mapper_args__ = {"version_id_col": n}  # noqa: RUF012


def test_model_without_the_option_has_no_column() -> None:
    class Base(DeclarativeBase):
        pass

    class Item(Versioned, Base):
        __tablename__ = "item"
        id: Mapped[int] = mapped_column(primary_key=True)

    assert list(Item.__table__.columns.keys()) == ["id"]
    assert Item.__mapper__.version_id_col is None
