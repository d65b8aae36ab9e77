"""Groups a SELECT of the past by what the key of a table decides.

Of a table PostgreSQL knows that its primary key decides the other columns, so that they
may be selected; of a view, such as that of a past, it does not. So where a statement
groups by a key, the other columns that it names are added, which changes no group.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from chrononaut_pg._past_relations import ENDS_FROM, named_queries
from chrononaut_pg._past_text import (
    CALLED,
    Names,
    name_of,
    parts_of,
    quoted,
    tokens,
    without_comments,
)

Table = tuple[str, str]
"""A versioned table: its schema and its name."""


@dataclass(frozen=True)
class Shape:
    """The columns of a table."""

    key: frozenset[str]
    """Those of the primary key; empty if there is none."""
    columns: tuple[str, ...]
    """All that can be grouped by."""


Shapes = Callable[[frozenset[Table]], Mapping[Table, Shape]]

_SHAPES = """
select json_agg(json_build_array(n.nspname, c.relname,
    array(select a.attname from pg_catalog.pg_constraint k
        join pg_catalog.pg_attribute a on a.attnum = any (k.conkey)
        where k.conrelid = c.oid and k.contype = 'p' and a.attrelid = c.oid),
    array(select a.attname from pg_catalog.pg_attribute a
        join pg_catalog.pg_type t on t.oid = a.atttypid
        left join pg_catalog.pg_type b on b.oid = t.typbasetype
        left join pg_catalog.pg_type e on e.oid = coalesce(b.typelem, t.typelem)
        where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
            and not exists (
                select from (values (t.typname, t.typcategory),
                    (b.typname, b.typcategory), (e.typname, e.typcategory)) u(n, kind)
                where u.n in ('json', 'xml', 'jsonpath') or u.kind = 'G'))))::text
from json_array_elements({}::text::json) w
join pg_catalog.pg_namespace n on n.nspname = w ->> 0
join pg_catalog.pg_class c on c.relnamespace = n.oid and c.relname = w ->> 1
"""
"""What has no equality, such as json, cannot be grouped by."""

_GROUPS = re.compile(r"\bgroup\s+by\b", re.IGNORECASE)

_BY = re.compile(r"\s+by\b", re.IGNORECASE)

_STAR = re.compile(r"\s*\.\s*\*")

_LABEL = re.compile(r"\s+(?:as\s+)?", re.IGNORECASE)

_DISTINCT = re.compile(r"(?:all|distinct)\s+(?!on\b)", re.IGNORECASE)

_LISTED = re.compile(r"""\(((?:"(?:[^"]|"")*"|[^"'()[$])*)\)""")
_ITEM = re.compile(r'(?:"(?:[^"]|"")*"|[^",])+')

_ENDS = ENDS_FROM - {"group", "select"}
"""Words that begin the clauses in which neither relations nor groups are named."""

_NO_ALIAS = _ENDS | frozenset(
    [
        "cross",
        "full",
        "group",
        "inner",
        "join",
        "left",
        "natural",
        "on",
        "right",
        "tablesample",
        "using",
    ]
)
"""Words after a relation that are none."""


def grouped_by_all(statement: str, names: Names, shapes: Shapes) -> str:
    """Return SQL grouped by the columns, too, that its grouping decides.

    *shapes* tells the columns of tables; it is asked where something is grouped.
    """
    if not _GROUPS.search(statement):
        return statement
    found = _parsed(statement, names)
    tables = frozenset(one for block in found.blocks for one in block.tables.values())
    known = shapes(tables) if tables else {}
    added = sorted(
        (one.end, text) for one in found.blocks if (text := _added(one, found, known))
    )
    for end, text in reversed(added):
        statement = statement[:end] + text.replace("%", names.percent) + statement[end:]
    return statement


def shapes_of(
    fetch: Callable[[str, tuple[Any, ...]], Any],
    known: dict[Table, Shape],
    tables: frozenset[Table],
) -> Mapping[Table, Shape]:
    """Return *known* with the shapes of more tables, which are asked for at once.

    *fetch* executes SQL and returns the first row.
    """
    if not tables <= known.keys():
        [found] = fetch(_SHAPES, (json.dumps(sorted(tables - known.keys())),))
        for schema, table, key, columns in json.loads(found or "[]"):
            known[schema, table] = Shape(frozenset(key), tuple(columns))
    return known


def _added(block: "_Block", found: "_Parsed", known: Mapping[Table, Shape]) -> str:
    """Return what is to be added to the end of a block's GROUP BY."""
    shapes = {a: known[one] for a, one in block.tables.items() if one in known}
    given = set(block.grouped(shapes))
    pieces = []
    for alias, shape in shapes.items():
        if not shape.key or not all((alias, one) in given for one in shape.key):
            continue
        everything = alias in found.starred or block.starred
        for name in shape.columns:
            if (alias, name) not in given and (
                everything or name in found.bare or (alias, name) in found.qualified
            ):
                pieces.append(f", {quoted(alias)}.{quoted(name)}")
    return "".join(pieces)


@dataclass
class _Block:
    """One SELECT."""

    tables: dict[str, Table] = field(default_factory=dict)
    """Those of which it reads the past, by their names or aliases."""
    items: list[list[str]] = field(default_factory=list)
    """What it selects: parts of a name and its label, nothing for other expressions."""
    groups: list[list[str]] = field(default_factory=list)
    """What it groups by, likewise, or a number."""
    starred: bool = False
    """Whether it selects everything."""
    end: int = 0
    """Where its GROUP BY ends."""

    def grouped(self, shapes: Mapping[str, Shape]) -> Iterable[tuple[str, str]]:
        """Yield alias and name of the columns that it groups by."""
        for parts in self.groups:
            if len(parts) > 1:
                yield parts[-2], parts[-1]
                continue
            [name] = parts
            owners = [a for a, s in shapes.items() if name in s.columns]
            if owners:
                yield owners[0], name
                continue
            at = int(name) - 1 if name.isdecimal() else None
            for number, (*item, label) in enumerate(self.items):
                if (label == name or number == at) and item:
                    yield from _Block(groups=[item]).grouped(shapes)


@dataclass
class _Level:
    """What is known between two parentheses."""

    block: _Block | None = None
    clause: str = ""
    """The word that began the clause: select, from, group, or something else."""
    expecting: bool = False
    """Whether the next name is that of a relation."""
    start: int = 0
    """Where the current item of a list begins."""
    brackets: int = 0
    pending: tuple[str, Table] | None = None
    """The relation for which an alias may come."""

    def settle(self, alias: str | None = None) -> None:
        """Take in that relation under an alias, or under its name."""
        if self.block is not None and self.pending is not None:
            name, table = self.pending
            self.block.tables[alias or name] = table
        self.pending = None


@dataclass
class _Parsed:
    """A statement: its blocks with GROUP BY, and the names that stand in it."""

    blocks: list[_Block] = field(default_factory=list)
    bare: set[str] = field(default_factory=set)
    qualified: set[tuple[str, str]] = field(default_factory=set)
    starred: set[str] = field(default_factory=set)


@lru_cache(maxsize=256)
def _parsed(statement: str, names: Names) -> _Parsed:
    return _Parser(statement, names).parse()


class _Parser:
    """Reads one statement, of which it knows no more grammar than it needs."""

    def __init__(self, statement: str, names: Names) -> None:
        self._text = without_comments(statement)
        self._names = names
        self._queries = named_queries(statement)
        self._pasts = {
            (past, table): (schema, table)
            for (schema, table), past in names.past.items()
        }
        self._levels = [_Level()]
        self._found = _Parsed()
        self._word = ""

    def parse(self) -> _Parsed:
        at = 0
        for token, end in tokens(self._text):
            between, at = self._text[at : token.start()], end
            self._levels[-1].brackets += between.count("[") - between.count("]")
            if token["chain"]:
                self._chain(token["chain"], token.start(), end)
            elif token["sign"]:
                self._sign(token["sign"], token.start())
        self._levels[0].settle()
        self._end_item(self._levels[0], len(self._text))
        return self._found

    def _chain(self, text: str, start: int, end: int) -> None:
        level = self._levels[-1]
        before, self._word = self._word, text.lower()
        parts = self._parts(text)
        called = CALLED.match(self._text, end) is not None
        if len(parts) > 1:
            self._found.qualified.add((parts[-2], parts[-1]))
        elif not called:
            self._found.bare.add(parts[0])
        if _STAR.match(self._text, end):
            self._found.starred.add(parts[-1])
        if level.pending is not None and self._aliased(level, parts, called):
            return
        if not self._keyword(level, before, start, end) and level.clause == "from":
            self._relation(level, parts, called)

    def _aliased(self, level: _Level, parts: list[str], called: bool) -> bool:
        """Take in what follows a relation; return whether it was an alias or AS."""
        if self._word == "as":
            return True
        if self._word in _NO_ALIAS:
            level.settle()
            return False
        if not called:  # else its columns have other names
            level.settle(parts[-1])
        level.pending = None
        return True

    def _keyword(self, level: _Level, before: str, start: int, end: int) -> bool:
        """Take in a word that begins or ends a clause; return whether it was one."""
        word = self._word
        if word == "select":
            level.block = _Block()
            level.clause, level.start = word, end
        elif level.block is None:
            return False
        elif word == "from" and level.clause == "select" and before != "distinct":
            self._end_item(level, start)
            level.clause, level.expecting = word, True
        elif word == "group" and _BY.match(self._text, end):
            level.clause = word
            self._found.blocks.append(level.block)
        elif word == "by" and before == "group":
            level.start = end
        elif word in _ENDS:
            self._end_item(level, start)
            level.clause = word
        elif word == "join" and level.clause == "from":
            level.expecting = True
        else:
            return False
        return True

    def _relation(self, level: _Level, parts: list[str], called: bool) -> None:
        """Take in a name in a FROM clause."""
        assert level.block is not None
        if self._word in ("lateral", "only"):
            return
        if level.expecting:
            level.expecting = False
            table = None if called else self._table(parts)
            level.pending = (parts[-1], table) if table else None

    def _table(self, parts: list[str]) -> Table | None:
        if len(parts) > 1:
            return self._pasts.get((parts[-2], parts[-1]))
        [name] = parts
        schema = None if name in self._queries else self._names.visible.get(name)
        return (schema, name) if schema is not None else None

    def _sign(self, sign: str, at: int) -> None:
        level = self._levels[-1]
        level.settle()
        if sign == "(":
            inner = _Level()
            if level.clause == "from" and level.expecting:
                inner = _Level(level.block, "from", True)
                level.expecting = False
            self._levels.append(inner)
        elif sign == ")" and len(self._levels) > 1:
            self._end_item(self._levels.pop(), at)
        elif sign == "," and not level.brackets:
            self._end_item(level, at)
            level.start = at + 1
            level.expecting = level.clause == "from"
        self._word = ""

    def _end_item(self, level: _Level, at: int) -> None:
        """Take in what stands between two commas of a list, if it is a name."""
        block = level.block
        if block is None or level.clause not in ("select", "group"):
            return
        text = self._text[level.start : at].rstrip("; \t\r\n")
        if level.clause == "group":
            block.end = level.start + len(text)
            listed = _LISTED.fullmatch(text.strip())
            items = _ITEM.findall(listed[1]) if listed else [text]
            block.groups += filter(None, map(self._item, items))
            return
        block.starred |= text.split()[-1:] == ["*"]
        block.items.append(self._labelled(text.strip()))

    def _labelled(self, text: str) -> list[str]:
        """Return the parts of a name and its label; of anything else just a label."""
        chain, *label = _LABEL.split(_DISTINCT.sub("", text, count=1), maxsplit=1)
        parts = self._item(chain)
        named = self._item(label[0]) if label else parts[-1:]
        return [*parts, *named] if parts and len(named) == 1 else [""]

    def _item(self, text: str) -> list[str]:
        text = text.strip()
        return [text] if text.isdecimal() else self._parts(text)

    def _parts(self, chain: str) -> list[str]:
        return [name_of(part, self._names.percent) for part in parts_of(chain)]
