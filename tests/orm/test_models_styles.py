"""Every way to declare a model gives the same history."""

from typing import Any

import pytest
from sqlalchemy import Column, Engine, ForeignKey, Integer, MetaData, Table, Text
from sqlalchemy.orm import (
    DeclarativeBase,
    DeclarativeBaseNoMeta,
    Mapped,
    MappedAsDataclass,
    declarative_base,
    declared_attr,
    mapped_column,
    registry,
)

from chrononaut_pg import Versioned, history_class
from tests.orm.modelling import created, saved, story

METADATA = MetaData()


class Base(DeclarativeBase):
    metadata = METADATA


class NoMeta(DeclarativeBaseNoMeta):
    metadata = METADATA


class DataBase(MappedAsDataclass, DeclarativeBase):
    metadata = METADATA


class NoMetaDataBase(MappedAsDataclass, DeclarativeBaseNoMeta):
    metadata = METADATA


class VersionedBase(Versioned, DeclarativeBase):
    metadata = METADATA


Classic: Any = declarative_base(metadata=METADATA)

REGISTRY = registry(metadata=METADATA)


class Annotated(Versioned, Base):
    __tablename__ = "annotated"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str | None]


class OnTheRight(Base, Versioned):
    __tablename__ = "on_the_right"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str | None]


class WithoutMetaclass(Versioned, NoMeta):
    __tablename__ = "without_metaclass"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str | None]


class OfDataclass(Versioned, DataBase):
    __tablename__ = "of_dataclass"
    id: Mapped[int] = mapped_column(primary_key=True, init=False)
    name: Mapped[str | None] = mapped_column(default=None)


class DataclassOnTheLeft(DataBase, Versioned):
    __tablename__ = "dataclass_on_the_left"
    id: Mapped[int] = mapped_column(primary_key=True, init=False)
    name: Mapped[str | None] = mapped_column(default=None)


class DataclassWithoutMetaclass(Versioned, NoMetaDataBase):
    __tablename__ = "dataclass_without_metaclass"
    id: Mapped[int] = mapped_column(primary_key=True, init=False)
    name: Mapped[str | None] = mapped_column(default=None)


class DataclassPerModel(MappedAsDataclass, Versioned, Base, kw_only=True):
    __tablename__ = "dataclass_per_model"
    id: Mapped[int] = mapped_column(primary_key=True, init=False)
    name: Mapped[str | None] = mapped_column(default=None)


@REGISTRY.mapped_as_dataclass
class DecoratedDataclass(Versioned):
    __tablename__ = "decorated_dataclass"
    id: Mapped[int] = mapped_column(primary_key=True, init=False)
    name: Mapped[str | None] = mapped_column(default=None)


@REGISTRY.mapped
class Decorated(Versioned):
    __tablename__ = "decorated"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str | None]


class OfDeclarativeBase(Versioned, Classic):  # type: ignore[misc]
    __tablename__ = "of_declarative_base"
    id = Column(Integer, primary_key=True)
    name = Column(Text)


class OfVersionedBase(VersionedBase):
    __tablename__ = "of_versioned_base"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str | None]


class Tracked(Versioned, Base):
    __abstract__ = True
    id: Mapped[int] = mapped_column(primary_key=True)


class OfAbstract(Tracked):
    __tablename__ = "of_abstract"
    name: Mapped[str | None]


class Named:
    name: Mapped[str | None]

    @declared_attr
    def label(cls) -> Mapped[str | None]:
        return mapped_column(Text)

    @declared_attr.directive
    def __tablename__(cls) -> str:
        return cls.__name__.lower()  # type: ignore[attr-defined, no-any-return]


class OfMixin(Named, Versioned, Base):
    id: Mapped[int] = mapped_column(primary_key=True)


class OfTable(Versioned, Base):
    __table__ = Table(
        "of_table",
        METADATA,
        Column("id", Integer, primary_key=True),
        Column("name", Text),
    )
    name: Mapped[str | None]


class Imperative(Versioned):
    id: int
    name: str | None

    def __init__(self, **values: Any) -> None:
        for name, value in values.items():
            setattr(self, name, value)


REGISTRY.map_imperatively(
    Imperative,
    Table(
        "imperative",
        METADATA,
        Column("id", Integer, primary_key=True),
        Column("name", Text),
    ),
)


class Node(Versioned, Base):
    """Refers to itself, so that history must not take relationships over."""

    __tablename__ = "node"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str | None]
    parent_id: Mapped[int | None] = mapped_column(ForeignKey("node.id"))


MODELS = [
    *(Annotated, OnTheRight, WithoutMetaclass, OfDataclass, DataclassOnTheLeft),
    *(DataclassWithoutMetaclass, DataclassPerModel, DecoratedDataclass, Decorated),
    *(OfDeclarativeBase, OfVersionedBase, OfAbstract, OfMixin, OfTable, Imperative),
    Node,
]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: str(model.__name__))
def test_every_style_of_model_has_history(engine: Engine, model: Any) -> None:
    with created(engine, METADATA) as session:
        found = story(session, model(name="Ann"), "name", "Bob")

    assert found == (f"{model.__name__}History", "IUD", ["Ann", "Bob"])


@pytest.mark.parametrize("model", MODELS, ids=lambda model: str(model.__name__))
def test_history_mapper_is_that_of_the_history_class(model: Any) -> None:
    assert model.__history_mapper__.class_ is history_class(model)


def test_declaring_history_leaves_the_models_metadata_alone(engine: Engine) -> None:
    before = set(METADATA.tables)
    for model in MODELS:
        history_class(model)

    assert set(METADATA.tables) == before


def test_columns_of_mixins_are_in_history(engine: Engine) -> None:
    with created(engine, METADATA) as session:
        one = saved(session, OfMixin(name="a", label="b"), label="c")

        assert [version.label for version in one.versions()] == ["b"]
