"""What a revert knows of an object and of its relations, then and now."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Table
from sqlalchemy.orm import RelationshipProperty

from chrononaut_pg._association import Row
from chrononaut_pg._recorded import Span


@dataclass(eq=False)
class Relation:
    """One relation of an object: who belonged to it, and who does now."""

    of: RelationshipProperty[Any]
    wanted: "list[Node]"
    present: list[Any]
    moved: "list[tuple[Any, Node | None]]" = field(default_factory=list)
    """Whom it has now and had not then, and of whom they were: nodes of the past."""
    rows: Mapping[Any, Row] = field(default_factory=dict)
    """The association rows that it had."""


@dataclass(eq=False)
class Node:
    """An object as it was, *past*, and as it is, *live* (None: it is gone)."""

    past: Any
    live: Any
    span: Span
    relations: list[Relation] = field(default_factory=list)
    resurrected: bool = False
    steady: list[tuple[str, Table]] = field(default_factory=list)
    """Attributes, and their tables, that are as they were and that an update sets."""
