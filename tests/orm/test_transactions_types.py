"""What a transaction changed has the Python types that a query would return."""

import math
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from ipaddress import IPv4Interface, IPv4Network
from typing import Any

import pytest
from sqlalchemy import (
    ARRAY,
    BigInteger,
    Date,
    DateTime,
    Double,
    Engine,
    Float,
    Integer,
    Interval,
    Numeric,
    String,
    Text,
    Time,
    select,
    text,
)
from sqlalchemy.dialects.postgresql import (
    BIT,
    CIDR,
    CITEXT,
    DATERANGE,
    HSTORE,
    INET,
    INT4MULTIRANGE,
    INT8RANGE,
    JSONB,
    MACADDR,
    NUMRANGE,
    TSRANGE,
    TSTZRANGE,
    TSVECTOR,
    Range,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator

from chrononaut_pg import Transaction, Versioned
from tests.orm.modelling import created, saved
from tests.orm.test_read_types import KINDS as COMMON
from tests.servers import TemplateOf

NOON = datetime(2020, 2, 29, 12, 0, 0, 123456, tzinfo=UTC)


class Cents(TypeDecorator[int]):
    """Stores cents as an amount."""

    impl = Numeric(10, 2)
    cache_ok = True

    def process_bind_param(self, value: int | None, dialect: Any) -> Decimal | None:
        return None if value is None else Decimal(value) / 100

    def process_result_value(self, value: Decimal | None, dialect: Any) -> int | None:
        return None if value is None else int(value * 100)


class Written(TypeDecorator[str]):
    """Changes what is written, and nothing that is read."""

    impl = String
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Any) -> str | None:
        return None if value is None else value.strip()


RARE: dict[str, tuple[Any, Any, Any]] = {
    "day": (Date, date(1, 1, 1), date(9999, 12, 31)),
    "hour": (Time, time(0), time(23, 59, 59, 999999)),
    "hour_zone": (
        Time(timezone=True),
        time(1, 2, tzinfo=UTC),
        time(1, 2, tzinfo=timezone(timedelta(hours=2))),
    ),
    "moment": (DateTime(timezone=True), NOON, NOON + timedelta(microseconds=1)),
    "backwards_span": (
        Interval,
        -timedelta(days=1, hours=2, microseconds=5),
        timedelta(days=400, hours=30, seconds=1.5),
    ),
    "huge": (BigInteger, 2**62, -(2**63)),
    "exact": (Numeric, Decimal("1.0"), Decimal("1.00")),
    "precise": (Numeric, Decimal("0." + "1" * 50), Decimal("1e30")),
    "as_float": (Numeric(asdecimal=False), 1.5, 2.0),
    "double": (Double, 0.1, 1e300),
    "single": (Float(24), 0.5, 1.25),
    "grid": (ARRAY(Integer, dimensions=2), [[1, 2], [3, 4]], [[5, 6]]),
    "gaps": (ARRAY(Text), ["a", None, "b,\"c'"], []),
    "amounts": (ARRAY(Numeric), [Decimal("1.50")], [Decimal("2")]),
    "moments": (ARRAY(DateTime(timezone=True)), [NOON], [NOON, None]),
    "cents": (Cents, 150, 1),
    "written": (Written, " a ", "b"),
    "document": (JSONB, {"a": [1.5, {"b": None}]}, 1.25),
    "net": (CIDR, IPv4Network("10.0.0.0/8"), IPv4Network("10.1.0.0/16")),
    "host": (INET, IPv4Interface("10.0.0.1/8"), IPv4Interface("10.0.0.2/8")),
    "card": (MACADDR, "08:00:2b:01:02:03", "08:00:2b:01:02:04"),
    "bits": (BIT(3), "101", "001"),
    "words": (TSVECTOR, "'a' 'b'", "'c'"),
    "letters": (String(3), "a", "ab"),
    "days": (DATERANGE, Range(date(2020, 1, 1), date(2020, 2, 1)), Range(empty=True)),
    "numbers": (NUMRANGE, Range(Decimal("1.5"), None), Range(None, Decimal("2"))),
    "longs": (INT8RANGE, Range(1, 2**40), Range(2, 3)),
    "times": (
        TSRANGE,
        Range(datetime(2020, 1, 1, 1), datetime(2020, 1, 2)),
        Range(datetime(2020, 1, 1), datetime(2021, 1, 2), bounds="(]"),
    ),
    "zoned": (
        TSTZRANGE,
        Range(NOON, NOON + timedelta(days=1)),
        Range(NOON, None),
    ),
    "several": (INT4MULTIRANGE, [Range(1, 3), Range(5, 7)], []),
}

KINDS = {**COMMON, **RARE}


class Base(DeclarativeBase):
    pass


Every: Any = type(
    "Every",
    (Versioned, Base),
    {
        "__tablename__": "every",
        "id": mapped_column(Integer, primary_key=True),
        **{f"a_{n}": mapped_column(n, kind) for n, (kind, *_) in KINDS.items()},
    },
)


class Loose(Versioned, Base):
    __tablename__ = "loose"
    id: Mapped[int] = mapped_column(primary_key=True)
    number: Mapped[float | None]
    amount: Mapped[Decimal | None]


class Extended(DeclarativeBase):
    pass


class Worded(Versioned, Extended):
    __tablename__ = "worded"
    name: Mapped[str] = mapped_column(CITEXT, primary_key=True)
    pairs: Mapped[dict[str, str | None]] = mapped_column(HSTORE)


@pytest.fixture(scope="module")
def template_db(template_of: TemplateOf) -> str:
    return template_of(Base.metadata)


@pytest.mark.parametrize("name", KINDS)
def test_values_are_those_of_the_versions(engine: Engine, name: str) -> None:
    _, first, second = KINDS[name]
    with created(engine, Base.metadata) as session:
        session.execute(text("set intervalstyle = 'sql_standard'"))
        session.execute(text("set datestyle = 'SQL, DMY'; set bytea_output = 'escape'"))
        one = saved(session, Every(id=1, **{f"a_{name}": first}))
        setattr(one, f"a_{name}", second)
        session.flush()
        [version] = one.versions()
        session.execute(text("reset datestyle; reset intervalstyle"))
        session.execute(text("reset bytea_output"))
        session.commit()
        transaction = session.scalars(
            select(Transaction).order_by(Transaction.id.desc())
        ).first()
        assert transaction is not None
        [change] = transaction.changes()
        expected = (getattr(version, f"a_{name}"), getattr(one, f"a_{name}"))

        assert change.values == {f"a_{name}": expected}
        assert [
            isinstance(wanted, type(value))
            for wanted, value in zip(expected, change.values[f"a_{name}"], strict=True)
        ] == [True, True]


def test_numbers_that_are_none_come_through(engine: Engine) -> None:
    with created(engine, Base.metadata) as session:
        saved(session, Loose(id=1, number=math.inf, amount=Decimal("-Infinity")))
        saved(session, Loose(id=2, number=math.nan, amount=Decimal("NaN")))
        found = [
            change.after
            for one in session.scalars(select(Transaction).order_by(Transaction.id))
            for change in one.changes()
        ]

        assert found[0] == {"id": 1, "number": math.inf, "amount": Decimal("-Infinity")}
        assert str(found[1]) == "{'id': 2, 'number': nan, 'amount': Decimal('NaN')}"


@pytest.mark.extension("citext")
@pytest.mark.extension("hstore")
def test_keys_and_types_of_extensions_come_through(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("create schema ext"))
        connection.execute(text("create extension citext schema ext"))
        connection.execute(text("create extension hstore schema ext"))
        connection.execute(text("set search_path = public, ext"))
        Extended.metadata.create_all(connection)
    with created(engine) as session:
        session.execute(text("set search_path = public, ext"))
        session.add(Worded(name="Ann", pairs={"a": "1", "b": None}))
        session.flush()
        session.execute(text("update worded set name = 'ANN', pairs = 'c=>2'"))
        session.commit()
        [transaction] = session.scalars(select(Transaction))
        found = list(transaction.changes())

    assert [(one.operation, one.before, one.after) for one in found] == [
        ("I", None, {"name": "Ann", "pairs": {"a": "1", "b": None}}),
        (
            "U",
            {"name": "Ann", "pairs": {"a": "1", "b": None}},
            {"name": "ANN", "pairs": {"c": "2"}},
        ),
    ]
