"""From PostgreSQL-Audit: joined inheritance and bytes."""

from typing import Any

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from chrononaut_pg.converters import HistoryModelDataConverter
from tests.converters.conftest import Source, Written
from tests.converters.test_continuum_more import (
    EXPECTED,
    Base,
    Employee,
    Person,
    images,
)


@pytest.fixture(scope="module")
def source(written: Written) -> Source:
    return written("audit_more", driver="psycopg")


@pytest.fixture(scope="module")
def template_db(source: Source) -> str:
    return source.dbname


@pytest.fixture
def told(engine: Engine, source: Source) -> Any:
    """What PostgreSQL-Audit has recorded; its triggers are gone then."""
    with engine.begin() as connection:
        query = (
            "select format('drop trigger %%I on %%s', tgname, tgrelid::regclass)"
            " from pg_trigger where tgname like 'audit_trigger%%'"
        )
        for statement in connection.exec_driver_sql(query).scalars().all():
            connection.execute(text(statement))
    Base.metadata.create_all(engine)
    return source.answers


@pytest.fixture
def session(engine: Engine, told: Any) -> Any:
    """A session, after the conversion of everything."""
    with Session(engine) as session:
        HistoryModelDataConverter(Employee).convert_all(session)
        yield session


def test_versions_of_joined_inheritance_are_those_of_the_transactions(
    session: Session,
) -> None:
    ann = session.get_one(Employee, 1)

    assert images(ann) == EXPECTED
    assert [one.operation for one in ann.changes()] == ["I", "U", "U", "U"]


def test_order_is_the_same_where_the_parent_was_converted_alone_before(
    engine: Engine, told: Any
) -> None:
    with Session(engine) as session:
        first = HistoryModelDataConverter(Person).convert_all(session)
        second = HistoryModelDataConverter(Employee).convert_all(session)

        assert (first + second, second > 0) == (len(told), True)
        assert images(session.get_one(Employee, 1)) == EXPECTED


def test_each_table_has_the_old_images_that_were_recorded(
    session: Session, told: Any
) -> None:
    for table in ("person", "employee"):
        found = session.execute(
            text(
                f"select to_jsonb(h) from {table}_history h"
                " where operation <> 'I' order by change_id"
            )
        ).scalars()
        old = [row for name, verb, row in told if name == table and verb != "insert"]

        assert [{n: one[n] for n in old[0]} for one in found] == old


def test_deleted_person_is_there_until_its_deletion(session: Session) -> None:
    found = session.execute(
        text(
            "select version, name, photo, operation from employee_versions where id = 2"
        )
    ).all()

    assert [tuple(row) for row in found] == [(0, "Bob", b"", "D")]


def test_second_run_converts_nothing_and_nothing_was_lost(session: Session) -> None:
    converter = HistoryModelDataConverter(Employee)

    assert (converter.convert_all(session), converter.problems(session)) == (0, [])
