"""Values come back as the Python types of their columns, in versions as in models."""

import enum
import uuid
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from ipaddress import IPv4Address
from typing import Any

import pytest
from sqlalchemy import (
    ARRAY,
    JSON,
    Boolean,
    DateTime,
    Enum,
    Float,
    Integer,
    Interval,
    LargeBinary,
    Numeric,
    PickleType,
    Text,
    Uuid,
)
from sqlalchemy.dialects.postgresql import (
    INET,
    INT4RANGE,
    JSONB,
    Range,
)
from sqlalchemy.engine import Engine
from sqlalchemy.ext.mutable import MutableDict
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator

from chrononaut_pg import Versioned
from tests.orm.modelling import created, saved
from tests.servers import TemplateOf


class Colour(enum.Enum):
    RED = "r"
    BLUE = "b"


class Reversed(TypeDecorator[str]):
    """Stores text backwards."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Any) -> str | None:
        return value and value[::-1]

    def process_result_value(self, value: str | None, dialect: Any) -> str | None:
        return value and value[::-1]


class Base(DeclarativeBase):
    pass


BY_NAME = Enum(Colour, name="colour_name")

BY_VALUE = Enum(
    Colour,
    name="colour_value",
    values_callable=lambda kind: [one.value for one in kind],
)

KINDS: dict[str, tuple[Any, Any, Any]] = {
    "flag": (Boolean, False, True),
    "number": (Integer, 0, 1),
    "amount": (Numeric(10, 2), Decimal("0.00"), Decimal("1.50")),
    "ratio": (Float, 0.0, 0.5),
    "words": (Text, "", "x"),
    "at": (
        DateTime(timezone=True),
        datetime(2020, 1, 1, tzinfo=UTC),
        datetime(2021, 1, 1, tzinfo=UTC),
    ),
    "naive": (DateTime, datetime(2020, 1, 1), datetime(2021, 1, 1)),
    "span": (Interval, timedelta(0), timedelta(days=1)),
    "by_name": (BY_NAME, Colour.RED, Colour.BLUE),
    "by_value": (BY_VALUE, Colour.RED, Colour.BLUE),
    "as_text": (Enum(Colour, native_enum=False), Colour.RED, Colour.BLUE),
    "ident": (Uuid, uuid.UUID(int=1), uuid.UUID(int=2)),
    "ident_text": (Uuid(as_uuid=False), str(uuid.UUID(int=1)), str(uuid.UUID(int=2))),
    "numbers": (ARRAY(Integer), [], [1, 2]),
    "colours": (ARRAY(BY_NAME), [Colour.RED], [Colour.BLUE]),
    "binary": (JSONB, {}, {"a": [1, None]}),
    "document": (JSON, [], {"a": 1}),
    "mutable": (MutableDict.as_mutable(JSONB), {"a": 1}, {"a": 2}),
    "range": (INT4RANGE, Range(1, 5), Range(2, 3)),
    "raw": (LargeBinary, b"", b"\x00\xff"),
    "pickled": (PickleType, (1, 2), {"a"}),
    "backwards": (Reversed, "abc", "xyz"),
    "address": (INET, IPv4Address("10.0.0.1"), IPv4Address("10.0.0.2")),
    "nothing": (Text, None, "x"),
}

Everything: Any = type(
    "Everything",
    (Versioned, Base),
    {
        "__tablename__": "everything",
        "id": mapped_column(Integer, primary_key=True),
        **{
            name: mapped_column(kind, nullable=True)
            for name, (kind, *_) in KINDS.items()
        },
    },
)


class Keyed(Versioned, Base):
    __tablename__ = "keyed"
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    colour: Mapped[Colour] = mapped_column(BY_NAME, primary_key=True)
    day: Mapped[date] = mapped_column(primary_key=True)
    hour: Mapped[time] = mapped_column(primary_key=True)
    name: Mapped[str]


@pytest.fixture(scope="module")
def template_db(template_of: TemplateOf) -> str:
    return template_of(Base.metadata)


@pytest.mark.parametrize("name", KINDS)
def test_values_have_the_types_of_the_model(engine: Engine, name: str) -> None:
    _, first, second = KINDS[name]
    with created(engine, Base.metadata) as session:
        one = saved(session, Everything(**{name: first}), **{name: second})
        [old] = one.versions()
        value = getattr(old, name)
        changes = list(one.changes())

        assert (value, getattr(one, name)) == (first, second)
        assert isinstance(value, type(first))
        assert changes[1].values == {name: (first, second)}
        assert one.diff(old) == {name: (first, second)}
        assert one.blame()[name].version == 1


def test_keys_of_any_type_are_found(engine: Engine) -> None:
    key = (uuid.UUID(int=1), Colour.RED, date(2020, 1, 1), time(1, 2))
    id_, colour, day, hour = key
    with created(engine, Base.metadata) as session:
        one = saved(
            session,
            Keyed(id=id_, colour=colour, day=day, hour=hour, name="a"),
            name="b",
        )
        [old] = one.versions()

        assert (old.id, old.colour, old.day, old.hour) == key
        assert one.has_changed_since(old.valid_from)


def test_unsaved_values_that_equal_the_old_ones_are_no_difference(
    engine: Engine,
) -> None:
    with created(engine, Base.metadata) as session:
        one = saved(session, Everything(amount=Decimal("1.00"), ratio=1.0), number=1)
        [old] = one.versions()
        one.amount, one.ratio, one.number = Decimal("1"), 1, None

        assert one.diff(old) == {}


def test_true_is_not_one(engine: Engine) -> None:
    with created(engine, Base.metadata) as session:
        one = saved(session, Everything(binary=1), binary=True)
        [old] = one.versions()

        assert one.diff(old) == {"binary": (1, True)}


def test_json_null_and_sql_null_and_empty_are_told_apart(engine: Engine) -> None:
    with created(engine, Base.metadata) as session:
        one = saved(session, Everything(words="", number=0, flag=False))
        one.words, one.number, one.flag = None, None, None
        session.commit()

        assert list(one.changes())[1].values == {
            "flag": (False, None),
            "number": (0, None),
            "words": ("", None),
        }
