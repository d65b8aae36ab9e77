"""Groups a SELECT of the past by what the key of a table decides.

Of a table PostgreSQL knows that its primary key decides the other columns, so that they
may be selected; of a view, such as that of a past, it does not.
"""

from collections.abc import Iterator
from typing import Any

from sqlalchemy.sql import visitors
from sqlalchemy.sql.elements import ColumnClause
from sqlalchemy.sql.selectable import Select


def grouped_by_all(statement: Any) -> Any:
    """Return a statement grouped by the columns, too, that its grouping decides.

    Subqueries are left as they are.
    """
    if not isinstance(statement, Select) or not statement._group_by_clauses:
        return statement
    given = {_place(one): one for one in _columns(statement._group_by_clauses)}
    decided = {
        place[:2]
        for place, one in given.items()
        if (key := list(getattr(one.table, "primary_key", ())))
        and all((*place[:2], part.name) in given for part in key)
    }
    if not decided:
        return statement
    named: dict[Any, Any] = {}
    for part in (
        *statement.selected_columns,
        *statement._order_by_clauses,
        *statement._having_criteria,
    ):
        for one in _columns(visitors.iterate(part)):
            if _place(one)[:2] in decided and _place(one) not in given:
                named.setdefault(_place(one), one)
    return statement.group_by(*named.values()) if named else statement


def _columns(parts: Any) -> Iterator[Any]:
    return (
        one for one in parts if isinstance(one, ColumnClause) and one.table is not None
    )


def _place(column: Any) -> tuple[str | None, str, str]:
    table = column.table
    return getattr(table, "schema", None), table.name, column.name
