"""Tells statements that may change versioned rows from those that only read.

Read by `chrononaut_pg.session` before every statement, so answers are remembered. In
doubt a statement counts as a write: that costs a few microseconds, a wrong name costs
trust.
"""

import re
from collections.abc import Iterator
from enum import Enum
from functools import lru_cache
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy.sql import elements, visitors
from sqlalchemy.sql.compiler import Compiled
from sqlalchemy.sql.dml import UpdateBase
from sqlalchemy.sql.functions import FunctionElement, GenericFunction
from sqlalchemy.sql.schema import SchemaItem
from sqlalchemy.sql.selectable import CompoundSelect, Select

PAST = "/* past */ "
"""Before what reads the past: drivers shall not take it for the same in the present."""


class Kind(Enum):
    """What a statement may do to what was said in its transaction."""

    READ = "read"
    """It changes nothing."""
    WRITE = "write"
    """It may change versioned rows."""
    SCRIPT = "script"
    """It may change versioned rows, and then end a transaction or what was said."""
    ROLLBACK = "rollback"
    """It ends a transaction, or brings back what was said at a savepoint."""
    VERB = "verb"
    """It begins or ends something, sets or defines something: nothing to be said."""


_OF_COMPILED: WeakKeyDictionary[Compiled, Kind] = WeakKeyDictionary()

_COMMENT = re.compile(r"\s+|--[^\n]*(?:\n|$)|/\*.*?\*/|\(", re.DOTALL)

_VERBS = frozenset(
    [
        "abort",
        "alter",
        "analyze",
        "begin",
        "checkpoint",
        "close",
        "cluster",
        "comment",
        "commit",
        "create",
        "deallocate",
        "drop",
        "end",
        "fetch",
        "grant",
        "listen",
        "load",
        "lock",
        "move",
        "notify",
        "prepare",
        "reassign",
        "refresh",
        "reindex",
        "release",
        "revoke",
        "savepoint",
        "security",
        "set",
        "show",
        "start",
        "unlisten",
        "vacuum",
    ]
)

_ENDS = frozenset(["abort", "commit", "discard", "end", "prepare", "reset", "rollback"])

_READS = frozenset(["select", "table", "values"])

_GOES_ON = re.compile(r";\s*\w")  # as in `set local x = 1; update ...`

_ENDS_INSIDE = re.compile(rf";\s*(?:{'|'.join(sorted(_ENDS))})\b", re.IGNORECASE)

_TABLE = re.compile(r"\btable\b", re.IGNORECASE)

_AS = re.compile(r"\bas[\s(]+(?:execute|select|table|values|with)\b", re.IGNORECASE)

_CALL = re.compile(
    r'(?<![\w$."])([\w$."]++)(?=(?:\s|--[^\n]*+\n|/\*(?:[^*]|\*(?!/))*+\*/)*+\()'
)
"""Looks at each word once: literals may be long."""

_AROUND_DOTS = re.compile(r"(?<!\s)\s*+\.\s*+")

_DOT_AND_COMMENT = re.compile(r"\.\s*+(?:--|/\*)")

# What may stand before a parenthesis and changes nothing: keywords and the most common
# functions of PostgreSQL. Anything else may be a function that writes.
_HARMLESS = frozenset(
    [
        "all",
        "and",
        "any",
        "array",
        "as",
        "between",
        "by",
        "case",
        "coalesce",
        "distinct",
        "else",
        "except",
        "exists",
        "filter",
        "from",
        "greatest",
        "in",
        "intersect",
        "is",
        "join",
        "lateral",
        "least",
        "like",
        "ilike",
        "limit",
        "not",
        "nullif",
        "of",
        "on",
        "or",
        "over",
        "partition",
        "select",
        "similar",
        "some",
        "then",
        "union",
        "using",
        "values",
        "when",
        "where",
        "with",
        "abs",
        "array_agg",
        "array_length",
        "avg",
        "bit_length",
        "bool_and",
        "bool_or",
        "cast",
        "ceil",
        "char_length",
        "concat",
        "count",
        "cume_dist",
        "date_part",
        "date_trunc",
        "dense_rank",
        "every",
        "exp",
        "extract",
        "first_value",
        "floor",
        "generate_series",
        "initcap",
        "json_agg",
        "jsonb_agg",
        "lag",
        "last_value",
        "lead",
        "left",
        "length",
        "ln",
        "log",
        "lower",
        "ltrim",
        "max",
        "md5",
        "min",
        "mod",
        "now",
        "ntile",
        "octet_length",
        "overlay",
        "percent_rank",
        "position",
        "power",
        "rank",
        "replace",
        "right",
        "round",
        "row",
        "row_number",
        "rpad",
        "rtrim",
        "sign",
        "split_part",
        "sqrt",
        "string_agg",
        "strpos",
        "substr",
        "substring",
        "sum",
        "to_char",
        "to_date",
        "to_number",
        "to_timestamp",
        "trim",
        "trunc",
        "unnest",
        "upper",
        "version",
        "to_regclass",
        "pg_current_xact_id_if_assigned",
        "chrononaut.as_of",
        "chrononaut._related",
        "chrononaut.changes_by",
        "chrononaut.changes_of",
    ]
)

_LONG = 20_000
"""Characters; a longer statement most likely holds data, and will not come again."""

_KNOWN_ELEMENTS = ("sqlalchemy.", "chrononaut_pg.")
"""Where elements come from that are known; others may compile to anything."""

_LITERAL = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"")

_WRITES = re.compile(r"\b(insert|update|delete|merge|into)\b|;", re.IGNORECASE)


def kind_of(compiled: Compiled | None, text: str) -> Kind:
    """Return what the statement may do; *compiled* is None for plain text."""
    if compiled is None:
        return kind_of_text(text)
    found = _OF_COMPILED.get(compiled)
    if found is None:
        found = _OF_COMPILED[compiled] = _examine(compiled.statement, text)
    return found


def kind_of_text(text: str) -> Kind:
    """Return what a textual statement may do; that of long ones is not remembered."""
    return _kind_of_text(text) if len(text) <= _LONG else _examine_text(text)


def _examine_text(text: str) -> Kind:
    word = first_word(text)
    if _ENDS_INSIDE.search(text):
        return Kind.SCRIPT
    if word in _ENDS:
        return Kind.ROLLBACK
    if word == "" or word in _VERBS:
        makes = word == "create" and _makes_table(text)
        return Kind.WRITE if makes or _GOES_ON.search(text) else Kind.VERB
    if word in _READS and not _WRITES.search(text) and not _calls_unknown(text):
        return Kind.READ
    return Kind.WRITE


_kind_of_text = lru_cache(maxsize=1024)(_examine_text)


def changes_data(compiled: Compiled | None, text: str) -> bool:
    """Return whether the statement itself writes; functions are not looked into."""
    if compiled is None or isinstance(compiled.statement, elements.TextClause):
        word = first_word(text)
        reads = word in _READS or word in ("show", "explain", "with", "fetch")
        return not reads or bool(_WRITES.search(_LITERAL.sub("''", text)))
    statement = compiled.statement
    return any(isinstance(part, UpdateBase) for part in visitors.iterate(statement))


def first_word(text: str) -> str:
    """Return the first word of a statement in lower case, past comments."""
    at = 0
    while found := _COMMENT.match(text, at):
        at = found.end()
    word = re.compile(r"\w+").match(text, at)
    return word[0].lower() if word else ""


def _makes_table(text: str) -> bool:
    """Whether it may be a CREATE TABLE ... AS, whose query may call anything."""
    for part in text.split(";"):
        table = _TABLE.search(part)
        if table and _AS.search(part, table.end()):
            return True
    return False


def _calls_unknown(text: str) -> bool:
    if _DOT_AND_COMMENT.search(text):
        return True
    joined = _AROUND_DOTS.sub(".", text)  # a schema may stand before the dot
    return any(name.lower() not in _HARMLESS for name in _CALL.findall(joined))


def _examine(statement: Any, text: str) -> Kind:
    if isinstance(statement, UpdateBase):
        return Kind.WRITE
    if not isinstance(statement, Select | CompoundSelect):
        return kind_of_text(text)
    for part in visitors.iterate(statement):
        if _may_write(part) or any(map(_may_write, _added_by_type(part))):
            return Kind.WRITE
    return Kind.READ


def _added_by_type(part: Any) -> Iterator[Any]:
    """Yield what a type of the application's own puts around a column or a value."""
    kind = part.type if isinstance(part, elements.ColumnElement) else None
    if kind is None or _is_sqlalchemys(kind):
        return
    value = isinstance(part, elements.BindParameter)
    around = kind.bind_expression(part) if value else kind.column_expression(part)
    if around is not None:
        yield from (one for one in visitors.iterate(around) if one is not part)


def _may_write(part: Any) -> bool:
    match part:
        case UpdateBase():
            return True
        case SchemaItem():
            return False  # also of classes of the application's own
        case Select() if part._prefixes or part._suffixes or part._statement_hints:
            added = [text for text, _ in (*part._prefixes, *part._suffixes)]
            hints = [elements.TextClause(hint) for _, hint in part._statement_hints]
            return any(map(_may_write, (*added, *hints)))
        case GenericFunction():
            return not _is_sqlalchemys(part)
        case FunctionElement():
            names = (*getattr(part, "packagenames", ()), getattr(part, "name", ""))
            return ".".join(names) not in _HARMLESS
        case elements.TextClause():
            return bool(_WRITES.search(part.text)) or _calls_unknown(part.text)
        case elements.ColumnClause(is_literal=True):
            return _calls_unknown(part.name)
    return not type(part).__module__.startswith(_KNOWN_ELEMENTS)


def _is_sqlalchemys(part: Any) -> bool:
    return type(part).__module__.startswith("sqlalchemy.")
