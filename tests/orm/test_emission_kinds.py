"""Statements that are not what they look like: each carries who and why."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import (
    Connection,
    Integer,
    String,
    TypeDecorator,
    cast,
    func,
    literal_column,
    select,
    text,
    type_coerce,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import Session
from sqlalchemy.sql.expression import ColumnElement

from chrononaut_pg import change_info, rationale
from chrononaut_pg._statements import Kind, kind_of
from tests.orm.conftest import Item, Told

Write = Callable[[Session], Any]

BUMP = text(
    "create function bump() returns int language sql"
    " as 'update item set value = value + 1 returning value'"
)


OWN = (
    text("create schema own"),
    text(
        "create function own.upper(text) returns int language sql"
        " as 'select public.bump()'"
    ),
)


class Bumped(TypeDecorator[int]):
    """A type of the application's own, which calls a function that writes."""

    impl = Integer
    cache_ok = True

    def column_expression(self, column: Any) -> Any:
        return func.bump()

    def bind_expression(self, bindparam: Any) -> Any:
        return func.bump()


class Shouted(TypeDecorator[str]):
    """A type of the application's own, which calls what is known to write nothing."""

    impl = String
    cache_ok = True

    def column_expression(self, column: Any) -> Any:
        return func.upper(column, type_=self)


class Bump(ColumnElement[int]):
    """An element of the application's own, which compiles to a call."""

    inherit_cache = True
    type = Integer()


@compiles(Bump)
def _compile_bump(*_: Any, **__: Any) -> str:
    return "bump()"


@pytest.mark.parametrize(
    "write",
    [
        pytest.param(lambda s: s.execute(select(Bump())).all(), id="own element"),
        pytest.param(
            lambda s: s.execute(select(Item.id).prefix_with("bump(),")).all(),
            id="prefix",
        ),
        pytest.param(
            lambda s: s.execute(select(Item.id).suffix_with("union select bump()")),
            id="suffix",
        ),
        pytest.param(
            lambda s: s.execute(select(literal_column("bump()"))).all(), id="literal"
        ),
        pytest.param(
            lambda s: s.execute(
                select(Item.id).with_statement_hint("union select bump()")
            ),
            id="hint",
        ),
        pytest.param(
            lambda s: s.execute(select(type_coerce(Item.id, Bumped))).all(),
            id="type of a column",
        ),
        pytest.param(
            lambda s: s.execute(select(Item).where(Item.id == cast(1, Bumped))).all(),
            id="type of a value",
        ),
        pytest.param(
            lambda s: s.execute(text("select bump/* now */\n-- and here\n()")),
            id="comment before the parenthesis",
        ),
        pytest.param(
            lambda s: s.execute(text("select 'lower /*', bump(), '*/ ('")),
            id="literals like a comment",
        ),
        pytest.param(
            lambda s: s.execute(text("select own\n.\nupper('x')")),
            id="schema on a line of its own",
        ),
        pytest.param(
            lambda s: s.execute(text("select own./* my */upper('x')")),
            id="comment after the schema",
        ),
        pytest.param(
            lambda s: s.execute(text("create table made as select bump()")),
            id="create table as",
        ),
        pytest.param(
            lambda s: s.execute(
                text(
                    "create temp table gone on commit drop as with changed as"
                    " (update item set value = 5 returning *) table changed"
                )
            ),
            id="create table as of a writable CTE",
        ),
    ],
)
def test_write_in_disguise_carries_who_and_why(
    session: Session, told: Told, write: Write
) -> None:
    for statement in BUMP, *OWN:
        session.execute(statement)
    session.commit()
    with change_info(user_id="ann"), rationale("why"):
        write(session)
        session.commit()

    assert told() == [("ann", "why")]


@pytest.mark.parametrize(
    "between",
    [
        pytest.param(lambda c: c.execute(text("reset all")), id="reset"),
        pytest.param(lambda c: c.execute(text("rollback; begin")), id="script"),
        pytest.param(
            lambda c: c.exec_driver_sql(
                "update item set value = 8; select 1; commit; begin"
            ),
            id="script that writes",
        ),
        pytest.param(lambda c: c.connection.rollback(), id="the driver's rollback"),
        pytest.param(lambda c: c.connection.commit(), id="the driver's commit"),
    ],
)
def test_who_and_why_are_said_again_where_the_server_has_lost_them(
    session: Session, told: Told, between: Callable[[Connection], Any]
) -> None:
    with change_info(user_id="ann"), rationale("why"):
        session.execute(text("update item set value = 7"))
        between(session.connection())
        session.execute(text("update item set value = 9"))
        session.commit()

    assert set(told()) == {("ann", "why")}


def test_savepoint_rolled_back_in_a_script_leaves_the_outer_reason(
    session: Session, told: Told
) -> None:
    with rationale("outer"):
        session.execute(text("savepoint here"))
        session.connection().exec_driver_sql(
            "update item set value = 1; rollback to savepoint here"
        )
        session.execute(text("update item set value = 2"))
        session.commit()

    assert told() == [(None, "outer")]


@pytest.mark.parametrize(
    "read",
    [
        pytest.param(select(type_coerce(Item.id, Shouted)), id="harmless type"),
        pytest.param(select(cast(Item.id, Shouted)), id="cast to a harmless type"),
        pytest.param(text("select count /* all */ (*) from item"), id="comment"),
        pytest.param(text("select upper\n('x')"), id="line"),
        pytest.param(text("select i . value from item as i"), id="spaces"),
    ],
)
def test_harmless_calls_are_reads(read: Any) -> None:
    compiled = read.compile(dialect=postgresql.dialect())  # type: ignore[no-untyped-call]

    assert kind_of(compiled, str(compiled)) is Kind.READ
