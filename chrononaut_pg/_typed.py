"""Values that travelled as JSON, as the Python types of their columns.

What the SQL core shows as JSON is exact: numbers keep their digits, and what JSON
has no word for is in PostgreSQL's own text form.
"""

import functools
import json
import re
import uuid
from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any, cast

from sqlalchemy import types
from sqlalchemy.types import TypeDecorator, TypeEngine
from sqlalchemy.util import method_is_overridden


def parse(text: str | None) -> Any:
    """Return a JSON document, its numbers without loss."""
    return None if text is None else json.loads(text, parse_float=Decimal)


def typed(value: Any, kind: TypeEngine[Any]) -> Any:
    """Return a value of `parse` as a result row would have it in a column of *kind*."""
    if isinstance(kind, TypeDecorator) and not isinstance(kind, types.Interval):
        inner = typed(value, kind.impl_instance)
        if isinstance(kind, types.PickleType):
            return cast(Any, kind).result_processor(_dialect(), None)(inner)
        if not method_is_overridden(kind, TypeDecorator.process_result_value):
            return inner
        return kind.process_result_value(inner, _dialect())
    if value is None:
        return None
    if isinstance(kind, types.ARRAY):
        return _array(value, kind)
    if isinstance(kind, types.JSON):
        return plain(value)
    return _scalar(value, kind)


def plain(value: Any) -> Any:
    """Return JSON as the json module reads it, its fractions as floats."""
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, list):
        return [plain(one) for one in value]
    if isinstance(value, dict):
        return {name: plain(one) for name, one in value.items()}
    return value


def _array(value: Any, kind: Any) -> Any:
    if isinstance(value, list):
        return [_array(one, kind) if one is not None else None for one in value]
    return typed(value, kind.item_type)


def _scalar(value: Any, kind: TypeEngine[Any]) -> Any:
    from sqlalchemy.dialects import postgresql as pg

    if isinstance(kind, types.Enum):
        process = cast(Any, kind).result_processor(_dialect(), None)
        return process(value) if process else value
    if isinstance(kind, types.LargeBinary):
        return bytes.fromhex(value[2:])
    if isinstance(kind, types.Uuid):
        return uuid.UUID(value) if kind.as_uuid else str(value)
    if isinstance(kind, types.Numeric):
        return Decimal(value) if kind.asdecimal else float(value)
    if isinstance(kind, pg.INET | pg.CIDR):
        return _address(value, kind)
    if isinstance(kind, pg.BIT):
        return getattr(pg, "BitString", str)(value)  # which SQLAlchemy 2.1 has
    if isinstance(kind, pg.ranges.AbstractRange):
        return _ranges(value, kind)
    convert = _BY_PYTHON_TYPE.get(_python_type(kind))
    return convert(value) if convert else plain(value)


def _python_type(kind: TypeEngine[Any]) -> Any:
    try:
        return kind.python_type
    except NotImplementedError:
        return None


_INTERVAL = re.compile(
    r"(?:(?P<years>-?\d+) years? ?)?(?:(?P<months>-?\d+) mons? ?)?"
    r"(?:(?P<days>-?\d+) days? ?)?"
    r"(?:(?P<sign>[+-])?(?P<hours>\d+):(?P<minutes>\d+):(?P<seconds>[\d.]+))?"
)
"""An interval in the style that the core asks PostgreSQL for; drivers count so, too."""


def _interval(text: str) -> timedelta:
    found = _INTERVAL.fullmatch(text.replace("+", ""))
    if found is None:
        raise ValueError(f"not an interval: {text!r}")
    part = {name: found[name] or 0 for name in found.groupdict()}
    clock = timedelta(
        hours=int(part["hours"]),
        minutes=int(part["minutes"]),
        microseconds=int(Decimal(part["seconds"]) * 1_000_000),
    )
    days = 365 * int(part["years"]) + 30 * int(part["months"]) + int(part["days"])
    return timedelta(days=days) + (-clock if part["sign"] == "-" else clock)


def _address(value: str, kind: Any) -> Any:
    from sqlalchemy.dialects import postgresql as pg

    if isinstance(kind, pg.CIDR):
        return ip_network(value)
    return ip_interface(value) if "/" in value else ip_address(value)


_RANGE = re.compile(
    r'(?P<opens>[\[(])(?P<lower>"(?:[^"]|"")*"|[^,"]*),'
    r'(?P<upper>"(?:[^"]|"")*"|[^\])"]*)(?P<closes>[\])])'
)


def _ranges(value: str, kind: Any) -> Any:
    from sqlalchemy.dialects import postgresql as pg

    bound = _BOUNDS[kind.__class__.__name__.removesuffix("RANGE").removesuffix("MULTI")]
    if isinstance(kind, pg.ranges.AbstractMultiRange):
        found = [_range(one, bound) for one in _RANGE.finditer(value)]
        return pg.ranges.MultiRange(found)
    if value == "empty":
        return pg.Range(empty=True)
    one = _RANGE.fullmatch(value)
    if one is None:
        raise ValueError(f"not a range: {value!r}")
    return _range(one, bound)


def _range(found: re.Match[str], bound: Callable[[str], Any]) -> Any:
    from sqlalchemy.dialects.postgresql import Range

    ends = [found["lower"], found["upper"]]
    values = [bound(end.strip('"')) if end else None for end in ends]
    bounds: Any = found["opens"] + found["closes"]
    return Range(values[0], values[1], bounds=bounds)


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


_BOUNDS: Mapping[str, Callable[[str], Any]] = {
    "INT4": int,
    "INT8": int,
    "NUM": Decimal,
    "DATE": date.fromisoformat,
    "TS": _moment,
    "TSTZ": _moment,
}

_BY_PYTHON_TYPE: Mapping[Any, Callable[[Any], Any]] = {
    float: float,
    datetime: _moment,
    date: date.fromisoformat,
    time: time.fromisoformat,
    timedelta: _interval,
}
"""What PostgreSQL shows as a string in JSON, or without telling floats apart."""


@functools.cache
def _dialect() -> Any:
    from sqlalchemy.dialects import postgresql

    return postgresql.dialect()  # type: ignore[no-untyped-call]
