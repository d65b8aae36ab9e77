"""Relations of versions that one statement reads: they are those of the opened past.

The first read on an engine opens the past, those that follow ask a function.
"""

import enum
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, cast

import pytest
from sqlalchemy import (
    ARRAY,
    Date,
    DateTime,
    Engine,
    Enum,
    ForeignKey,
    ForeignKeyConstraint,
    Integer,
    Numeric,
    String,
    TypeDecorator,
    create_engine,
    event,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    ORMExecuteState,
    Session,
    attribute_keyed_dict,
    mapped_column,
    object_session,
    relationship,
)
from sqlalchemy.pool import NullPool

from chrononaut_pg import (
    ReadOnlyPastError,
    Versioned,
    VersioningMissingError,
    listen,
    rationale,
)
from tests.orm.modelling import created, statements


class Base(DeclarativeBase):
    pass


class Size(enum.Enum):
    SMALL = "s"
    LARGE = "l"


class Doubled(TypeDecorator[int]):
    """A number that is stored twice as large."""

    impl = Integer
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Any) -> Any:
        return None if value is None else 2 * value

    def process_result_value(self, value: Any, dialect: Any) -> Any:
        return None if value is None else value // 2


class Shop(Versioned, Base):
    __tablename__ = "shop"
    id: Mapped[int] = mapped_column(Doubled, primary_key=True)
    name: Mapped[str]
    goods: Mapped[list["Good"]] = relationship(
        back_populates="shop", order_by="Good.price.desc().nulls_last(), Good.id"
    )
    by_name: Mapped[dict[str, "Good"]] = relationship(
        collection_class=attribute_keyed_dict("label"), viewonly=True
    )
    parts: Mapped[list["Part"]] = relationship(order_by="Part.number")


class Good(Versioned, Base):
    __tablename__ = "Order Line"
    __chrononaut_hidden__ = ("secret",)
    __chrononaut_untracked__ = ("seen",)
    id: Mapped[int] = mapped_column(primary_key=True)
    label: Mapped[str] = mapped_column("Group", String(20))
    price: Mapped[Decimal | None] = mapped_column(Numeric(8, 2))
    size: Mapped[Size | None] = mapped_column(Enum(Size))
    data: Mapped[Any] = mapped_column(JSONB, nullable=True)
    tags: Mapped[list[str] | None] = mapped_column(ARRAY(String))
    at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    day: Mapped[date | None] = mapped_column(Date)
    secret: Mapped[str | None]
    seen: Mapped[int | None]
    shop_id: Mapped[int | None] = mapped_column(Doubled, ForeignKey(Shop.id))
    shop: Mapped[Shop | None] = relationship(back_populates="goods")


class Part(Versioned, Base):
    __tablename__ = "part"
    __table_args__ = {"schema": "a.b"}  # noqa: RUF012
    shop_id: Mapped[int] = mapped_column(Doubled, ForeignKey(Shop.id), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str | None]
    screws: Mapped[list["Screw"]] = relationship(
        back_populates="part", order_by="Screw.id"
    )


class Screw(Versioned, Base):
    __tablename__ = "screw"
    __table_args__ = (
        ForeignKeyConstraint(["shop", "number"], [Part.shop_id, Part.number]),
        {"schema": "a.b"},
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    shop: Mapped[int | None] = mapped_column(Doubled)
    number: Mapped[int | None]
    part: Mapped[Part | None] = relationship(back_populates="screws")


@pytest.fixture
def session(engine: Engine) -> Iterator[Session]:
    with engine.begin() as connection:
        connection.execute(text('create schema "a.b"'))
    with created(engine, Base.metadata) as opened:
        yield opened


@pytest.fixture
def shop(session: Session) -> Shop:
    """A shop with three versions: with a good, with two, and with one that changed."""
    first = Good(
        id=1,
        label="a",
        price=Decimal("1.50"),
        size=Size.LARGE,
        data={"x": [1, None]},
        tags=["t", "'"],
        at=datetime(2026, 1, 2, 3, tzinfo=UTC),
        day=date(2026, 1, 2),
        secret="s",
        seen=1,
    )
    shop = Shop(id=7, name="0", goods=[first])
    session.add(shop)
    session.commit()
    shop.name, second = "1", Good(id=2, label="b")
    shop.goods.append(second)
    session.commit()
    shop.name, first.price, first.data, first.secret = "2", Decimal("9.99"), None, "t"
    session.delete(second)
    session.commit()
    shop.name = "3"
    session.delete(first)
    session.commit()
    opened = shop.versions()[0]
    assert opened.goods[0].shop is not None
    session.expunge_all()
    return session.get_one(Shop, 7)


def values(one: Any) -> dict[str, Any]:
    return {name: getattr(one, name) for name in one.__mapper__.column_attrs.keys()}  # noqa: SIM118


def of_goods(versions: list[Any]) -> list[list[dict[str, Any]]]:
    return [[values(one) for one in version.goods] for version in versions]


def reads_of(engine: Engine, version: Any, name: str) -> tuple[Any, list[str]]:
    with statements(engine) as sent:
        found = getattr(version, name)
    return found, sent


def test_one_statement_reads_a_relation(engine: Engine, shop: Shop) -> None:
    for version in shop.versions():
        found, sent = reads_of(engine, version, "goods")
        assert [type(one) for one in found] == [Good] * len(found)
        assert len(sent) == 1
        assert "chrononaut._related" in sent[0]


def test_values_are_those_of_the_opened_past(shop: Shop, session: Session) -> None:
    straight = of_goods(shop.versions())
    session.expunge_all()

    @event.listens_for(session, "do_orm_execute")
    def refuse_shortcuts(_: ORMExecuteState) -> None:
        pass

    opened = of_goods(session.get_one(Shop, 7).versions())

    assert straight == opened
    assert [[one["label"] for one in goods] for goods in straight] == [
        ["a"],
        ["a", "b"],
        ["a"],
    ]
    first = straight[0][0]
    assert (first["size"], first["data"], first["secret"], first["seen"]) == (
        Size.LARGE,
        {"x": [1, None]},
        None,
        None,
    )


def test_objects_are_one_family_in_a_session_of_their_own(
    session: Session, shop: Shop
) -> None:
    version = shop.versions()[1]
    a, b = version.goods
    past = object_session(a)

    assert a.shop is b.shop
    assert a.shop.goods is version.goods
    assert version.by_name == {"a": a, "b": b}
    assert past is not session
    assert past is object_session(a.shop)
    assert [one for one in (a, b, a.shop) if one in session] == []


def test_objects_keep_their_session(shop: Shop) -> None:
    goods = shop.versions()[1].goods
    session = object_session(goods[0])

    assert session is not None
    assert goods[0].shop.name == "1"
    with pytest.raises(ReadOnlyPastError):
        session.delete(goods[0])


def test_many_to_one(engine: Engine, session: Session, shop: Shop) -> None:
    good = Good(id=3, label="c", shop=shop)
    session.add(good)
    session.commit()
    good.label = "d"
    session.commit()
    good.shop = None
    shop.name = "4"
    session.commit()
    good.label = "e"
    session.commit()
    with_shop, moved, without = good.versions()
    found, sent = reads_of(engine, with_shop, "shop")

    assert (found.name, found.id, len(sent)) == ("3", 7, 1)
    assert moved.shop.name == "3"
    assert without.shop is None
    past = object_session(found)
    assert past is not None
    assert found.goods == [past.get(Good, 3)]


def test_keys_of_two_columns_in_a_schema_with_a_dot(
    engine: Engine, session: Session, shop: Shop
) -> None:
    part = Part(number=1, name="a", screws=[Screw(id=1), Screw(id=2)])
    shop.parts.append(part)
    session.commit()
    part.name = "b"
    session.delete(part.screws[0])
    session.commit()
    part.name = "c"
    session.commit()
    versions = part.versions()
    assert [one.id for one in versions[0].screws] == [1, 2]
    found, sent = reads_of(engine, versions[1], "screws")

    assert [(one.id, one.shop, one.part.name) for one in found] == [(2, 7, "b")]
    assert len(sent) == 1


def test_what_the_reading_transaction_wrote_is_read_as_far_as_it_got(
    session: Session, shop: Shop
) -> None:
    shop.name = "4"
    session.flush()
    shop.name = "5"
    session.flush()
    begun = shop.versions()[-1]
    assert begun.goods == []
    session.add(Good(id=5, label="new", shop=shop))
    session.flush()
    assert [one.label for one in begun.goods] == ["new"]
    shop.goods[0].label = "newer"
    session.flush()
    assert [one.label for one in begun.goods] == ["newer"]


def test_an_empty_relation_is_asked_for_once(engine: Engine, shop: Shop) -> None:
    version = shop.versions()[0]
    assert version.parts == []
    with statements(engine) as sent:
        assert version.parts == []
        assert version.goods[0].shop.parts == []

    assert [one for one in sent if "part" in one] == []


def test_a_class_with_events_of_its_own_is_loaded_by_the_orm(
    engine: Engine, shop: Shop
) -> None:
    loaded: list[Any] = []

    def note(one: Any, _: Any) -> None:
        loaded.append(one)

    event.listen(Good, "load", note)
    try:
        version = shop.versions()[1]
        goods = version.goods
        assert loaded == goods
    finally:
        event.remove(Good, "load", note)


def test_schemas_that_an_application_exchanges(engine: Engine, shop: Shop) -> None:
    with engine.begin() as connection:
        connection.execute(text("create schema other"))
    placed = engine.execution_options(schema_translate_map={None: "other"})
    tables = [Shop.__table__, Good.__table__]
    Base.metadata.create_all(placed, tables=cast(Any, tables))
    with Session(placed) as session:
        there = Shop(id=7, name="there", goods=[Good(id=1, label="there")])
        session.add(there)
        session.commit()
        for name in "ab":
            there.name = name
            session.commit()
        labels = [[one.label for one in v.goods] for v in there.versions()]

    assert labels == [["there"], ["there"]]
    assert [one.label for one in shop.versions()[0].goods] == ["a"]


def test_a_table_that_is_no_longer_versioned(session: Session, shop: Shop) -> None:
    versions = shop.versions()
    session.execute(text("select chrononaut.drop_versioning('\"Order Line\"', true)"))
    session.commit()
    with pytest.raises(VersioningMissingError, match="table Order Line has no past"):
        versions[1].goods  # noqa: B018
    session.rollback()
    assert versions[1].parts == []


def test_an_autocommit_connection_is_refused_as_ever(
    engine: Engine, shop: Shop
) -> None:
    with Session(engine.execution_options(isolation_level="AUTOCOMMIT")) as session:
        version = session.get_one(Shop, 7).versions()[1]
        with pytest.raises(ReadOnlyPastError, match="autocommit"):
            version.goods  # noqa: B018


def test_no_change_info_is_sent_for_it(shop: Shop, engine: Engine) -> None:
    place = create_engine(engine.url, poolclass=NullPool)
    listen(place)
    with Session(place) as session, rationale("why"):
        versions = session.get_one(Shop, 7).versions()
        assert len(versions[0].goods) == 1
        with statements(place) as sent:
            assert len(versions[1].goods) == 2
        driver: Any = session.connection().connection.driver_connection
        asked = "select current_setting('chrononaut.change_info', true)"
        said = driver.execute(asked).fetchone()
    place.dispose()

    assert len(sent) == 1
    assert said in [(None,), ("",)]
