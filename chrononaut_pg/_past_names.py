"""Which names of tables are exchanged for those of the views of their past."""

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any
from weakref import WeakKeyDictionary

from chrononaut_pg._past_text import Names, Place
from chrononaut_pg.declarations import declared_tables, latest


@lru_cache(maxsize=64)
def names_of(
    tables: str | None, live_only: str | None, database: str, percent: str
) -> Names:
    """Return what a server said of its tables, as it said it."""
    found = json.loads(tables or "null") or []
    refused = json.loads(live_only or "null")
    return Names(
        past={(schema, name): past for schema, name, past, _ in found},
        visible={name: schema for schema, name, _, visible in found if visible},
        live_only=None if refused is None else _places(refused),
        database=database,
        percent=percent,
    )


def _places(tables: list[list[Any]]) -> frozenset[Place]:
    named: set[Place] = {(schema, name) for schema, name, _ in tables}
    return frozenset(named | {(None, name) for _, name, visible in tables if visible})


_PLACES: WeakKeyDictionary[Any, tuple[int, frozenset[Place]]] = WeakKeyDictionary()


def declared_places(metadata: Any, own: Mapping[Any, Any] | None) -> frozenset[Place]:
    """Return the tables that models version, in the schemas that *own* gives them."""
    if metadata is None:
        return frozenset()
    number, found = _PLACES.get(metadata, (-1, frozenset()))
    if number != latest():
        places = [(one.schema, one.name) for one in declared_tables(metadata)]
        found = frozenset(places)
        _PLACES[metadata] = latest(), found
    if own:
        found = frozenset((own.get(schema, schema), name) for schema, name in found)
    return found
