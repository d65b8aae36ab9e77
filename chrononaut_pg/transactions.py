"""Transactions as objects, and questions about what changed, across rows and tables."""

from chrononaut_pg._row_changes import (
    RowChange,
    row_changes_from,
    select_changes_by,
    select_changes_of,
)
from chrononaut_pg._transaction import Transaction

__all__ = [
    "RowChange",
    "Transaction",
    "row_changes_from",
    "select_changes_by",
    "select_changes_of",
]
