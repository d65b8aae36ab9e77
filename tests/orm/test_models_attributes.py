"""History objects read like the model: attributes, computed ones, and awkward names."""

from dataclasses import dataclass
from typing import Any

import pytest
from sqlalchemy import (
    BigInteger,
    Column,
    Engine,
    Integer,
    Text,
    func,
    literal_column,
    select,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.hybrid import hybrid_method, hybrid_property
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    column_property,
    composite,
    deferred,
    mapped_column,
    synonym,
    validates,
)

from chrononaut_pg import (
    HiddenAttributeError,
    UntrackedAttributeError,
    Versioned,
    history_class,
)
from tests.orm.modelling import created, saved, statements


class Base(DeclarativeBase):
    pass


@dataclass
class Point:
    x: int | None
    y: int | None


class Person(Versioned, Base):
    __tablename__ = "person"
    __chrononaut_hidden__ = ("secret",)
    __chrononaut_untracked__ = ("logins",)

    id: Mapped[int] = mapped_column("person_id", primary_key=True)
    first: Mapped[str | None] = mapped_column("first name")
    last: Mapped[str | None] = mapped_column("LastName", key="last_key")
    secret: Mapped[str | None] = mapped_column("pass_word")
    logins: Mapped[int | None]
    x: Mapped[int | None]
    y: Mapped[int | None]
    notes: Mapped[str | None] = deferred(mapped_column(Text))
    full = column_property(first + " " + last)
    loud = column_property(func.upper(first), deferred=True)
    telling = column_property(func.concat(first, secret))
    constant: Mapped[int] = column_property(literal_column("42"))
    given = synonym("first")
    pass_phrase = synonym("secret")
    place: Mapped[Point] = composite("x", "y")

    @hybrid_property
    def initials(self) -> str:
        return self.first[0] + self.last[0]  # type: ignore[index]

    @initials.inplace.expression
    @classmethod
    def _initials(cls) -> Any:
        return func.concat(func.left(cls.first, 1), func.left(cls.last, 1))

    @hybrid_method
    def is_called(self, name: str) -> Any:
        return self.first == name

    @hybrid_property
    def betrayal(self) -> str | None:
        return self.secret

    @property
    def greeting(self) -> str:
        return f"Hello {self.first}"

    def method(self) -> str:
        return "writes something"

    @validates("first")
    def _validate(self, key: str, value: str) -> str:
        assert value
        return value


class Prefixed(Versioned, Base):
    __tablename__ = "prefixed"
    __mapper_args__ = {"column_prefix": "c_"}  # noqa: RUF012
    __chrononaut_untracked__ = ("c_seen",)

    id = Column(Integer, primary_key=True)
    name = Column(Text)
    seen = Column(Text)


class Awkward(Versioned, Base):
    """Columns that are called as history's own are."""

    __tablename__ = "awkward"
    id: Mapped[int] = mapped_column(primary_key=True)
    version: Mapped[int | None]
    changed: Mapped[str | None]
    operation: Mapped[str | None]
    change_info: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    change_id: Mapped[int | None] = mapped_column(BigInteger)
    valid_from: Mapped[str | None]
    transaction_id: Mapped[str | None]
    meta: Mapped[str | None] = mapped_column("metadata")
    registry_: Mapped[str | None] = mapped_column("registry")
    query: Mapped[str | None]
    values: Mapped[str | None]
    chrononaut_meta: Mapped[str | None]


class AttributeAwkward(Versioned, Base):
    """Attributes that are called as history's own, over columns that are not."""

    __tablename__ = "attribute_awkward"
    id: Mapped[int] = mapped_column(primary_key=True)
    version: Mapped[str | None] = mapped_column("v")
    operation: Mapped[str | None] = mapped_column("op")
    other: Mapped[str | None] = mapped_column("changed")


@pytest.fixture
def ann() -> Person:
    return Person(first="Ann", last="Lee", secret="s", logins=1, x=1, y=2, notes="n")


def test_attributes_have_the_models_names(engine: Engine, ann: Person) -> None:
    with created(engine, Base.metadata) as session:
        saved(session, ann, first="Amy")
        [old] = ann.versions()

        found = (old.id, old.first, old.last, old.x, old.y, old.notes)
        assert found == (1, "Ann", "Lee", 1, 2, "n")


def test_synonyms_composites_and_column_properties_are_of_then(
    engine: Engine, ann: Person
) -> None:
    with created(engine, Base.metadata) as session:
        saved(session, ann, first="Amy", place=Point(3, 4))
        first, second = ann.versions()

        assert (first.given, first.full, first.loud, first.constant) == (
            *("Ann", "Ann Lee", "ANN"),
            42,
        )
        assert (second.given, second.full, second.place) == (
            *("Amy", "Amy Lee"),
            Point(1, 2),
        )


def test_hybrids_and_properties_are_computed_from_the_version(
    engine: Engine, ann: Person
) -> None:
    with created(engine, Base.metadata) as session:
        saved(session, ann, first="Bea")
        [old] = ann.versions()

        found = (old.initials, old.is_called("Ann"), old.greeting)
        assert found == ("AL", True, "Hello Ann")


def test_hybrids_synonyms_and_column_properties_work_in_queries(
    engine: Engine, ann: Person
) -> None:
    cls = history_class(Person)
    with created(engine, Base.metadata) as session:
        saved(session, ann, first="Bea")
        conditions = (
            cls.initials == "AL",
            cls.is_called("Ann"),
            cls.given == "Ann",
            cls.full == "Ann Lee",
            cls.loud == "ANN",
        )

        found = [session.scalars(select(cls).where(c)).one() for c in conditions]

        assert found == ann.versions() * 5


def test_composites_work_in_queries(engine: Engine, ann: Person) -> None:
    cls = history_class(Person)
    with created(engine, Base.metadata) as session:
        saved(session, ann, x=5)
        found = session.scalars(select(cls.x).where(cls.place == Point(1, 2))).all()

        assert found == [1]


def test_hidden_values_leak_through_nothing(engine: Engine, ann: Person) -> None:
    with created(engine, Base.metadata) as session:
        saved(session, ann, secret="t")
        [old] = ann.versions()

        for name in ("secret", "pass_phrase", "betrayal", "telling"):
            with pytest.raises(HiddenAttributeError):
                getattr(old, name)


def test_untracked_attribute_raises_in_queries_too(engine: Engine) -> None:
    with pytest.raises(UntrackedAttributeError, match=r"PersonHistory\.logins"):
        select(history_class(Person).logins)


def test_methods_of_the_model_stay_behind() -> None:
    assert not hasattr(history_class(Person), "method")


def test_deferred_columns_come_with_the_version_in_one_statement(
    engine: Engine, ann: Person
) -> None:
    with created(engine, Base.metadata) as session:
        saved(session, ann, first="Bea")
        with statements(engine) as sent:
            [old] = ann.versions(session=session)
            assert (old.notes, old.loud) == ("n", "ANN")

        assert len([one for one in sent if "person_history" in one]) == 1


def test_attributes_with_a_column_prefix(engine: Engine) -> None:
    with created(engine, Base.metadata) as session:
        one = saved(session, Prefixed(c_id=1, c_name="a", c_seen="x"), c_name="b")
        [old] = one.versions()

        assert (old.c_id, old.c_name) == (1, "a")
        with pytest.raises(UntrackedAttributeError):
            _ = old.c_seen


def test_columns_called_as_historys_own_keep_their_names(engine: Engine) -> None:
    values = {
        "version": 7,
        "changed": "yes",
        "operation": "appendectomy",
        "change_info": {"coins": 2},
        "change_id": 9,
        "valid_from": "now",
        "transaction_id": "t",
        "meta": "m",
        "registry_": "r",
        "query": "q",
        "values": "v",
        "chrononaut_meta": "c",
    }
    with created(engine, Base.metadata) as session:
        one = saved(session, Awkward(**values), version=8, operation="none")
        first, second = one.versions()

        assert {name: getattr(first, name) for name in values} == values
        assert (second.chrononaut_version, second.chrononaut_operation) == (1, "U")
        assert [c.fields for c in one.changes()][1:] == [["version"], ["operation"]]
        assert one.diff(first) == {
            "version": (7, 8),
            "operation": ("appendectomy", "none"),
        }
        assert one.version_at(first.chrononaut_valid_from) is first


def test_attributes_called_as_historys_own_keep_their_names(engine: Engine) -> None:
    with created(engine, Base.metadata) as session:
        one = saved(
            session,
            AttributeAwkward(version="a", operation="b", other="c"),
            version="z",
            other="y",
        )
        first, second = one.versions()

        assert (first.version, first.operation, first.other) == ("a", "b", "c")
        assert (first.chrononaut_version, second.chrononaut_version) == (0, 1)
        assert second.changed == second.valid_to
        assert one.version_at(second.valid_from).version == "z"
        assert not one.has_changed_since(second.changed)


def test_writes_past_the_orm_to_awkward_columns_are_read(engine: Engine) -> None:
    with created(engine, Base.metadata) as session:
        one = saved(session, Awkward(version=1))
        session.execute(text("update awkward set version = 2, changed = 'x'"))
        session.commit()

        assert [c.values for c in one.changes()][1] == {
            "version": (1, 2),
            "changed": (None, "x"),
        }
