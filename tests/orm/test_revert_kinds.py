"""Versions and reverts of a model with many kinds of columns and collections."""

import datetime as dt
import enum
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import (
    JSON,
    Column,
    DateTime,
    Engine,
    ForeignKey,
    Integer,
    Numeric,
    Table,
    func,
    select,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, INT4RANGE, JSONB, Range
from sqlalchemy.ext.associationproxy import AssociationProxy, association_proxy
from sqlalchemy.ext.mutable import MutableDict, MutableList
from sqlalchemy.ext.orderinglist import ordering_list
from sqlalchemy.orm import (
    DeclarativeBase,
    DynamicMapped,
    Mapped,
    Session,
    WriteOnlyMapped,
    attribute_keyed_dict,
    declared_attr,
    mapped_column,
    relationship,
)
from sqlalchemy.types import String

from chrononaut_pg import Versioned, history_class, versioned_table
from tests.orm.modelling import created


class Base(DeclarativeBase):
    pass


class Color(enum.Enum):
    RED = 1
    BLUE = 2


class Made:
    """A mixin with a foreign key and a relation."""

    maker_id: Mapped[int | None] = mapped_column(ForeignKey("person.id"))

    @declared_attr
    def maker(cls) -> Mapped["Person | None"]:
        return relationship("Person")


class Person(Versioned, Base):
    __tablename__ = "person"
    id: Mapped[int] = mapped_column(primary_key=True)


versioned_table(
    Table(
        "doc_word",
        Base.metadata,
        Column("doc_id", ForeignKey("doc.id"), primary_key=True),
        Column("word_id", ForeignKey("word.id"), primary_key=True),
        Column("since", DateTime, server_default=func.now()),
        Column("weight", Integer),
    )
)


class Word(Versioned, Base):
    __tablename__ = "word"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)


class Doc(Made, Versioned, Base):
    __tablename__ = "doc"
    id: Mapped[int] = mapped_column(primary_key=True)
    color: Mapped[Color | None]
    span: Mapped[dt.timedelta | None]
    price: Mapped[Decimal | None] = mapped_column(Numeric(10, 2))
    tags: Mapped[list[str] | None] = mapped_column(ARRAY(String))
    data: Mapped[dict[str, Any]] = mapped_column(MutableDict.as_mutable(JSONB))
    some: Mapped[list[int]] = mapped_column(MutableList.as_mutable(JSON))
    range: Mapped[Any] = mapped_column(INT4RANGE, nullable=True)
    long: Mapped[str | None] = mapped_column(deferred=True)
    longer: Mapped[str | None] = mapped_column(deferred=True, deferred_raiseload=True)
    words: Mapped[list[Word]] = relationship(secondary="doc_word", order_by=Word.id)
    names: AssociationProxy[list[str]] = association_proxy("words", "name")
    parts: Mapped[list["Part"]] = relationship(
        order_by="Part.position",
        collection_class=ordering_list("position"),
        cascade="all, delete-orphan",
        back_populates="doc",
    )
    props: Mapped[dict[str, "Prop"]] = relationship(
        collection_class=attribute_keyed_dict("name"),
        cascade="all, delete-orphan",
        back_populates="doc",
    )
    values: AssociationProxy[dict[str, str]] = association_proxy("props", "value")
    cover: Mapped["Cover | None"] = relationship(cascade="all, delete-orphan")
    passive: Mapped[list["Passive"]] = relationship(
        passive_deletes=True, cascade="all, delete-orphan", order_by="Passive.id"
    )
    loose: DynamicMapped["Loose"] = relationship(order_by="Loose.id")
    heavy: WriteOnlyMapped["Heavy"] = relationship(
        order_by="Heavy.id", cascade="all, delete-orphan", passive_deletes=True
    )


class Part(Versioned, Base):
    __tablename__ = "part"
    id: Mapped[int] = mapped_column(primary_key=True)
    doc_id: Mapped[int] = mapped_column(ForeignKey(Doc.id))
    position: Mapped[int | None]
    doc: Mapped[Doc] = relationship(back_populates="parts")


class Prop(Versioned, Base):
    __tablename__ = "prop"
    doc_id: Mapped[int] = mapped_column(ForeignKey(Doc.id), primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[str]
    doc: Mapped[Doc] = relationship(back_populates="props")


class Cover(Versioned, Base):
    __tablename__ = "cover"
    id: Mapped[int] = mapped_column(primary_key=True)
    doc_id: Mapped[int] = mapped_column(ForeignKey(Doc.id), unique=True)


class Passive(Versioned, Base):
    __tablename__ = "passive"
    id: Mapped[int] = mapped_column(primary_key=True)
    doc_id: Mapped[int] = mapped_column(ForeignKey(Doc.id, ondelete="CASCADE"))


class Loose(Versioned, Base):
    __tablename__ = "loose"
    id: Mapped[int] = mapped_column(primary_key=True)
    doc_id: Mapped[int | None] = mapped_column(ForeignKey(Doc.id))


class Heavy(Versioned, Base):
    __tablename__ = "heavy"
    id: Mapped[int] = mapped_column(primary_key=True)
    doc_id: Mapped[int | None] = mapped_column(ForeignKey(Doc.id, ondelete="CASCADE"))


RELATIONS = "words", "parts", "props", "cover", "passive", "loose", "heavy", "maker"

OLD: dict[str, Any] = {
    "color": Color.RED,
    "span": dt.timedelta(days=1, hours=3),
    "price": Decimal("1.50"),
    "tags": ["x"],
    "data": {"a": {"b": 1}},
    "some": [1],
    "range": Range(1, 5),
    "long": "L",
    "longer": "M",
    "words": [1, 2],
    "parts": [(1, 0), (2, 1), (3, 2)],
    "props": {"c": "1", "d": "2"},
    "cover": 1,
    "passive": [1],
    "loose": [1],
    "heavy": [1],
    "maker": 1,
}
"""What `told` tells of the first version."""

NEW = {
    **OLD,
    "color": Color.BLUE,
    "span": None,
    "price": Decimal("1.5"),
    "tags": ["x", "y"],
    "data": {"a": {"b": 2}},
    "some": [1, 2],
    "range": None,
    "long": "N",
    "longer": None,
    "words": [3],
    "parts": [(4, 0), (2, 1), (3, 2)],
    "props": {"d": "9", "e": "5"},
    "cover": 2,
    "passive": [2],
    "loose": [2],
    "heavy": [2],
    "maker": 2,
}


def told(session: Session, one: Any) -> dict[str, Any]:
    """Tell all there is of a document or a version of it, and leave it expired."""
    heavy = one.heavy
    if not isinstance(heavy, list):
        session.expire_all()
        session.refresh(one, ["longer"])
        heavy = session.scalars(heavy.select())
    plain = "color", "span", "price", "tags", "data", "some", "range", "long", "longer"
    return {
        **{name: getattr(one, name) for name in plain},
        "words": [word.id for word in one.words],
        "parts": [(part.id, part.position) for part in one.parts],
        "props": {name: prop.value for name, prop in one.props.items()},
        "cover": one.cover and one.cover.id,
        "passive": [other.id for other in one.passive],
        "loose": [other.id for other in one.loose],
        "heavy": [other.id for other in heavy],
        "maker": one.maker and one.maker.id,
    }


def change(session: Session, doc: Doc) -> None:
    """Change everything, in one transaction whose last statement changes the row."""
    doc.parts.pop(0)
    doc.parts.insert(0, Part(id=4))
    del doc.props["c"]
    doc.props["d"].value = "9"
    doc.props["e"] = Prop(name="e", value="5")
    doc.words = [session.get_one(Word, 3)]
    doc.passive = [Passive(id=2)]
    doc.loose.remove(doc.loose.one())
    doc.loose.add(Loose(id=2))
    doc.heavy.remove(session.get_one(Heavy, 1))
    doc.heavy.add(Heavy(id=2))
    doc.cover = None
    session.flush()
    doc.cover = Cover(id=2)
    doc.color, doc.span, doc.price, doc.range = Color.BLUE, None, Decimal("1.5"), None
    doc.tags, doc.long, doc.longer = ["x", "y"], "N", None
    doc.data["a"] = {"b": 2}
    doc.some.append(2)
    doc.maker = session.get_one(Person, 2)
    session.commit()


@pytest.fixture
def session(engine: Engine) -> Iterator[Session]:
    with created(engine, Base.metadata) as found:
        yield found


@pytest.fixture
def doc(session: Session) -> Doc:
    """A document as in OLD, changed to NEW."""
    plain = {name: OLD[name] for name in list(OLD)[:9]}
    one = Doc(id=1, **plain, maker=Person(id=1))
    one.data, one.some, one.tags = {"a": {"b": 1}}, [1], ["x"]
    words = [Word(id=number, name=f"w{number}") for number in (1, 2, 3)]
    one.words = words[:2]
    one.parts = [Part(id=number) for number in (1, 2, 3)]
    one.props = {"c": Prop(name="c", value="1"), "d": Prop(name="d", value="2")}
    one.cover, one.passive = Cover(id=1), [Passive(id=1)]
    session.add_all([one, words[2], Person(id=2)])
    session.flush()
    one.loose.add(Loose(id=1))
    one.heavy.add(Heavy(id=1))
    session.commit()
    change(session, one)
    return one


def first(session: Session) -> Any:
    cls: Any = history_class(Doc)
    return session.scalars(select(cls).where(cls.id == 1, cls.version == 0)).one()


def test_a_version_has_all_that_it_had(session: Session, doc: Doc) -> None:
    assert (told(session, first(session)), told(session, doc)) == (OLD, NEW)


def test_association_proxies_are_those_of_the_version(
    session: Session, doc: Doc
) -> None:
    version = first(session)

    assert (list(version.names), dict(version.values)) == (
        ["w1", "w2"],
        {"c": "1", "d": "2"},
    )


def left(session: Session, doc: Doc) -> Doc:
    return doc


def gone(session: Session, doc: Doc) -> None:
    session.delete(doc)
    session.commit()


def made_again(session: Session, doc: Doc) -> None:
    gone(session, doc)
    session.add(Doc(id=1, data={}, some=[], words=[session.get_one(Word, 3)]))
    session.flush()
    session.add(Part(id=1, doc_id=1, position=7))
    session.commit()


def forgotten(session: Session, doc: Doc) -> None:
    session.expunge_all()


@pytest.mark.parametrize("happened", [left, gone, made_again, forgotten])
def test_a_revert_puts_all_of_it_back(
    session: Session, doc: Doc, happened: Callable[[Session, Doc], Any]
) -> None:
    happened(session, doc)
    live = first(session).revert(relations=RELATIONS)
    session.commit()

    assert told(session, live) == OLD


def test_a_second_revert_writes_nothing_and_the_first_can_be_reverted(
    session: Session, doc: Doc
) -> None:
    *_, changed = doc.versions()
    found = [changed.version]
    for _ in range(2):
        first(session).revert(relations=RELATIONS)
        session.commit()
        found.append(doc.versions()[-1].version)
    *_, version = doc.versions()
    version.revert(relations=RELATIONS)
    session.commit()

    assert (found, told(session, doc)) == ([1, 2, 2], NEW)


def weights(session: Session) -> list[Any]:
    rows = session.execute(text("select word_id, weight from doc_word order by 1"))
    return [tuple(row) for row in rows]


@pytest.mark.parametrize("happened", [left, gone])
def test_columns_of_association_rows_are_put_back(
    session: Session, doc: Doc, happened: Callable[[Session, Doc], Any]
) -> None:
    doc.words = [session.get_one(Word, number) for number in (1, 2, 3)]
    session.flush()
    session.execute(text("update doc_word set weight = 10 * word_id"))
    doc.long = "weighed"
    session.commit()
    doc.words = doc.words[1:]
    doc.long = "other"
    session.flush()
    session.execute(text("update doc_word set weight = 7 where word_id = 2"))
    session.commit()
    happened(session, doc)
    cls: Any = history_class(Doc)
    version = session.scalars(select(cls).where(cls.long == "weighed")).one()
    version.revert(["words"])
    session.commit()
    reverted = weights(session)
    with session.begin_nested() as nested:
        first(session).revert(["words"])
        nested.rollback()
    session.commit()

    assert (reverted, weights(session)) == ([(1, 10), (2, 20), (3, 30)],) * 2
