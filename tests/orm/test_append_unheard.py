"""Extras are appended alike whether or not anybody listens to statements."""

from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import InvalidRequestError, OperationalError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from chrononaut_pg import ChrononautException, Versioned, append_change_info, listen
from tests.orm.modelling import statements
from tests.servers import TemplateOf


class Base(DeclarativeBase):
    pass


class Letter(Versioned, Base):
    __tablename__ = "letter"
    id: Mapped[int] = mapped_column(primary_key=True)
    body: Mapped[str | None]


@pytest.fixture(scope="module")
def template_db(template_of: TemplateOf) -> str:
    return template_of(Base.metadata)


@pytest.fixture(params=["heard", "unheard"])
def session(engine: Engine, request: pytest.FixtureRequest) -> Iterator[Session]:
    listen(engine)
    heard: Any = statements(engine) if request.param == "heard" else nullcontext()
    with heard, Session(engine) as found:
        yield found


def extras(session: Session) -> list[Any]:
    found = text("select change_info -> 'extra' from letter_history order by change_id")
    return list(session.scalars(found))


def test_extras_stand_in_history_after_the_flush_and_go_with_a_savepoint(
    session: Session,
) -> None:
    letter = Letter(id=1)
    session.add(letter)
    with append_change_info(letter, a=1):
        session.flush()
    first = extras(session)
    with session.begin_nested() as savepoint:
        letter.body = "x"
        with append_change_info(letter, a=2):
            session.flush()
        second = extras(session)
        savepoint.rollback()

    assert (first, second) == ([{"a": 1}], [{"a": 1}, {"a": 2}])
    assert extras(session) == [{"a": 1}]


def test_an_error_is_one_of_the_flush(session: Session) -> None:
    letter = Letter(id=1)
    session.execute(text("select chrononaut.drop_versioning('letter')"))
    session.add(letter)
    with (
        append_change_info(letter, a=1),
        pytest.raises(ChrononautException, match="letter"),
    ):
        session.flush()
    with pytest.raises(InvalidRequestError, match="rolled back"):
        session.execute(text("select 1"))
    session.rollback()

    assert session.get(Letter, 1) is None


def test_a_connection_that_is_gone_leaves_the_pool(
    session: Session, engine: Engine
) -> None:
    letter = Letter(id=1)
    session.execute(
        text(
            "create function pg_temp.away() returns trigger language plpgsql as $$"
            " begin perform pg_terminate_backend(pg_backend_pid());"
            " return new; end $$"
        )
    )
    session.execute(
        text(
            "create trigger away before update on letter_history"
            " for each statement execute function pg_temp.away()"
        )
    )
    session.add(letter)
    with append_change_info(letter, a=1), pytest.raises(OperationalError) as error:
        session.flush()
    session.rollback()

    assert error.value.connection_invalidated
    assert session.get(Letter, 1) is None
