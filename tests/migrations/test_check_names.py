"""`check --models` names a model that looks for its history where it is not."""

from typing import Any

from sqlalchemy import Column, Integer, MetaData, text
from sqlalchemy.orm import Session, registry

from chrononaut_pg import Versioned
from chrononaut_pg.drift import check_models
from tests.migrations.conftest import Migrating


def model(**options: Any) -> Any:
    """Return a model of the table `page` with these options."""
    base = registry(metadata=MetaData()).generate_base()
    columns = {"id": Column(Integer, primary_key=True), "v": Column(Integer)}
    return type(
        "Page", (Versioned, base), {"__tablename__": "page"} | columns | options
    )


def problems(migrating: Migrating, of: Any) -> list[tuple[str, str]]:
    found = check_models(migrating.connection, of.metadata)
    return [(one.problem, one.fix) for one in found]


def test_history_of_another_name_is_named_with_the_fix(migrating: Migrating) -> None:
    connection = migrating.connection
    model().metadata.create_all(connection)
    renamed = model(__chrononaut_tablename__="page past")
    [(problem, fix)] = problems(migrating, renamed)
    connection.execute(text(fix))
    session = Session(connection)
    page = renamed(id=1, v=1)
    session.add(page)
    session.flush()
    page.v = 2
    session.flush()

    assert problem == (
        'its history is public.page_history, but the model reads public."page past"'
    )
    assert problems(migrating, renamed) == []
    assert [one.v for one in page.versions()] == [1]


def test_history_in_another_schema_is_named_with_the_fix(migrating: Migrating) -> None:
    migrating.connection.execute(text("create schema past"))
    there = model(
        __chrononaut_history_schema__="past", __chrononaut_tablename__="page_history"
    )
    there.metadata.create_all(migrating.connection)

    assert problems(migrating, there) == []
    assert problems(migrating, model()) == [
        (
            "its history is past.page_history, but the model reads public.page_history",
            "set __chrononaut_history_schema__ = 'past' in the model",
        )
    ]
