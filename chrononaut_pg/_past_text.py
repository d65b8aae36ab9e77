"""What the text of a statement names: sends it to the past, or refuses it.

SQLAlchemy marks the schema of every table in a compiled statement where a
schema_translate_map is given. Here the map gives each schema a mark that stands nowhere
else, so that in the text each pair of schema and table can be told: a versioned table
becomes the view of its past, any other one gets its own schema back. Textual SQL has no
marks; there, qualified names are looked up, and the others find the views by themselves
through search_path.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any

from chrononaut_pg._past_relations import Relations
from chrononaut_pg._statements import PAST
from chrononaut_pg.exceptions import NotVersionedError, VersioningMissingError

Place = tuple[str | None, str]
"""A table: its schema, None where none is said, and its name."""

_MARK = "chrononaut__past__"

_NAME = r'(?:"(?:[^"]|"")+"|[^\W\d][\w$]*)'

_TOKEN = re.compile(
    r"""(?P<skipped>[eE]'(?:[^'\\]|\\.|'')*'|'(?:[^']|'')*'|--[^\n]*"""
    r"""|\$(?P<tag>\w*)\$.*?\$(?P=tag)\$)|(?P<comment>/\*)"""
    rf"""|(?P<chain>{_NAME}(?:\s*\.\s*{_NAME})*)|(?P<sign>[(),])""",
    re.DOTALL,
)

_PART = re.compile(_NAME)

_CHAIN = re.compile(rf"{_NAME}(?:\s*\.\s*{_NAME})*")

CALLED = re.compile(r"\s*\(")
"""What follows the name of a function."""

_COMMENT_SIGN = re.compile(r"/\*|\*/")

_ALIAS = re.compile(rf"\bas\s+({_NAME})(?!\s*\()", re.IGNORECASE)

_MARKED = re.compile(_MARK + r"([0-9a-f]*)(\.?)")

_WRITES = re.compile(
    r"\binto\b|\bdelete\s+from\b"
    r"|\bfor\s+(?:no\s+key\s+)?update\b|\bfor\s+(?:key\s+)?share\b|;\s*\S"
    r"|^\s*explain\b(?:\s*\([^()]*\)|\s+analy[sz]e\b|\s+verbose\b)*"
    r"\s*(?:create|declare|execute|refresh)\b",
    re.IGNORECASE | re.DOTALL,
)

_UPDATE = re.compile(r"\bupdate\b", re.IGNORECASE)

_OUR_WRITES = re.compile(
    r"\b(chrononaut\s*\.\s*(?:(?:create|alter|drop|sync)_versioning|auto_sync"
    r"|(?:drop_)?mark|(?:un)?lock_record|undo_transaction|undo_change|revert_row"
    r"|restore_row|(?:drop_)?record_changes|append_change_info|(?:open|close)_past))"
    r"\s*\(",
    re.IGNORECASE,
)

_SETS = re.compile(r"\bset_config\s*\(", re.IGNORECASE)

_PATH = "search_path"

_SET = re.compile(r"\bset\b", re.IGNORECASE)

_UPPER = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}


@dataclass(frozen=True, eq=False)
class Names:
    """Which tables have a past, and which have not, for one connection."""

    past: Mapping[tuple[str, str], str]
    """The schema of the view, by schema and table."""
    visible: Mapping[str, str]
    """The schema of versioned tables that need no schema in front."""
    live_only: frozenset[Place] | None
    """In strict mode: tables that have no past; without schema where none is needed."""
    database: str = ""
    percent: str = "%"
    """How statements for this connection's driver spell a percent sign."""
    schemas: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        schemas = frozenset(schema for schema, _ in self.past)
        object.__setattr__(self, "schemas", schemas)


def mark(schema: str | None) -> str:
    """Return the mark that stands for a schema in a compiled statement."""
    return _MARK + (schema or "").encode().hex()


@lru_cache(maxsize=1024)
def sent_to_the_past(
    statement: str, names: Names, declared: frozenset[Place] = frozenset()
) -> str:
    """Return the statement with the names of views in place of versioned tables.

    Raises VersioningMissingError for a table in *declared*, those of versioned models,
    that is not versioned in the database. In strict mode raises NotVersionedError if
    the statement reads a table that has no past.
    """
    pieces: list[str] = [PAST]
    relations = Relations(statement)
    aliases = _aliases(statement) if _MARK in statement else frozenset()
    at = 0
    for found, end in tokens(statement):
        pieces.append(statement[at : found.start()])
        text = statement[found.start() : end]
        if found["chain"]:
            called = CALLED.match(statement, end) is not None
            is_relation = relations.name(text, called)
            if text.startswith(_MARK):
                text = _exchanged_marked(text, names, declared)
            else:
                text = _exchanged(text, names, aliases, called, is_relation)
        elif found["sign"]:
            relations.sign(text)
        else:
            text = _MARKED.sub(partial(_unmarked, names.percent), text)
        pieces.append(text)
        at = end
    return "".join([*pieces, statement[at:]])


@lru_cache(maxsize=1024)
def writes(text: str) -> bool:
    """Return whether SQL inserts, changes, deletes or locks rows; functions apart."""
    code = _code(text)
    update = _UPDATE.search(code)
    return bool(_WRITES.search(code) or (update and _SET.search(code, update.end())))


@lru_cache(maxsize=1024)
def called_to_write(text: str) -> str | None:
    """Return the first function of the core that SQL calls and that writes."""
    found = _OUR_WRITES.search(_code(text))
    return None if found is None else found[1]


def sets_path(text: str, parameters: Any) -> bool:
    """Return whether SQL with these parameters sets the search_path by a function."""
    if not _SETS.search(text):
        return False
    given = parameters.values() if isinstance(parameters, Mapping) else parameters
    names = [one for one in given or () if isinstance(one, str)]
    return _PATH in text.lower() or _PATH in map(str.lower, names)


def _code(text: str) -> str:
    """Return SQL without its literals, comments and quoted names."""
    pieces = []
    at = 0
    for found, end in tokens(text):
        pieces.append(text[at : found.start()])
        plain = found["sign"] or (found["chain"] and '"' not in found["chain"])
        pieces.append(found[0] if plain else " x " if found["chain"] else " ")
        at = end
    return "".join([*pieces, text[at:]])


def tokens(text: str) -> Iterator[tuple[re.Match[str], int]]:
    """Yield what matters of SQL, each with the place where it ends."""
    at = 0
    while found := _TOKEN.search(text, at):
        at = _end_of_comment(text, found.end()) if found["comment"] else found.end()
        yield found, at


def without_comments(statement: str) -> str:
    """Return SQL with blanks in place of its comments."""
    pieces = []
    at = 0
    for token, end in tokens(statement):
        if token["comment"] or token[0].startswith("--"):
            pieces += [statement[at : token.start()], " " * (end - token.start())]
            at = end
    return "".join([*pieces, statement[at:]])


def _end_of_comment(text: str, at: int) -> int:
    """Return where a comment ends, with those that are nested in it."""
    depth = 1
    for sign in _COMMENT_SIGN.finditer(text, at):
        depth += 1 if sign[0] == "/*" else -1
        if depth == 0:
            return sign.end()
    return len(text)


def _aliases(statement: str) -> frozenset[str]:
    return frozenset(name_of(one, "%") for one in _ALIAS.findall(statement))


def _exchanged(
    chain: str,
    names: Names,
    aliases: frozenset[str],
    called: bool,
    is_relation: bool,
) -> str:
    parts = _PART.findall(chain)
    plain = [name_of(part, names.percent) for part in parts[:3]]
    if len(parts) == 1:
        if is_relation:
            _refuse_live_only(names, None, plain[0])
        return chain
    if called or (plain[0] in aliases and not is_relation):
        return chain
    if len(parts) > 2 and plain[0] == names.database and plain[0] not in names.schemas:
        parts, plain = parts[1:], plain[1:]
    _refuse_live_only(names, plain[0], plain[1])
    past = names.past.get((plain[0], plain[1]))
    if past is None:
        return chain
    return ".".join([quoted(past, names.percent), *parts[1:]])


def _exchanged_marked(chain: str, names: Names, declared: frozenset[Place]) -> str:
    parts = _PART.findall(chain)
    schema = bytes.fromhex(parts[0].removeprefix(_MARK)).decode() or None
    table = name_of(parts[1], names.percent)
    place = schema if schema is not None else names.visible.get(table, "")
    found = names.past.get((place, table))
    if found is None and (schema, table) in declared:
        raise not_versioned(schema, table)
    if found is None:
        _refuse_live_only(names, schema, table)
        found = schema
    return ".".join([*([quoted(found, names.percent)] if found else []), *parts[1:]])


def not_versioned(schema: str | None, table: str) -> VersioningMissingError:
    """Return what to raise for the table of a versioned model that has no past."""
    return VersioningMissingError(
        f"table {table} has no past: its model is Versioned, but the table is not",
        table=table,
        schema=schema,
        hint="Create its versioning with create_all_versioning() or a migration.",
    )


def _refuse_live_only(names: Names, schema: str | None, table: str) -> None:
    if names.live_only is not None and (schema, table) in names.live_only:
        raise NotVersionedError(
            f"table {table} has no past: it is not versioned",
            table=table,
            schema=schema,
            hint="Version it, or travel without strict=True to read it as it is now.",
        )


def _unmarked(percent: str, found: re.Match[str]) -> str:
    """Return what a literal such as a sequence's name says without marks."""
    schema = bytes.fromhex(found[1]).decode()
    return quoted(schema, percent) + found[2] if schema else ""


def parts_of(chain: str) -> list[str]:
    """Return the identifiers of a name with dots; nothing if it is more than that."""
    return _PART.findall(chain) if _CHAIN.fullmatch(chain) else []


def name_of(identifier: str, percent: str) -> str:
    """Return the name that an identifier stands for."""
    if identifier.startswith('"'):
        return identifier[1:-1].replace('""', '"').replace(percent, "%")
    return identifier.translate(_UPPER)


def quoted(name: str, percent: str = "%") -> str:
    """Return the identifier that stands for a name."""
    return '"' + name.replace('"', '""').replace("%", percent) + '"'
