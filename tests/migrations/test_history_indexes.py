"""History is indexed by foreign keys that the live table indexes, unless told not."""

from typing import Any

import pytest
from sqlalchemy import Column, ForeignKey, Integer, MetaData, Table, text
from sqlalchemy.orm import registry

from chrononaut_pg import Versioned
from chrononaut_pg.drift import check_models
from tests.migrations.conftest import Migrating


def book_model(**options: Any) -> MetaData:
    """Return the metadata of books: two keys are indexed, one is not."""
    base = registry().generate_base()
    Table("person", base.metadata, Column("id", Integer, primary_key=True))

    def person(**more: Any) -> Column[Any]:
        return Column(Integer, ForeignKey("person.id"), **more)

    model = type(
        "Book",
        (Versioned, base),
        {
            "__tablename__": "book",
            "id": Column(Integer, ForeignKey("person.id"), primary_key=True),
            "author_id": person(index=True),
            "owner_id": person(unique=True),
            "reader_id": person(),
            "number": Column(Integer, index=True),
            **options,
        },
    )
    metadata: MetaData = base.metadata
    metadata.info["model"] = model
    return metadata


def indexes(migrating: Migrating) -> list[str]:
    """Return the columns of the history that have an index of their own."""
    query = "select indexes::text[] from chrononaut.versioned_tables"
    found: list[str] = migrating.connection.scalar(text(query))
    return found


def test_create_all_indexes_what_the_live_table_indexes(migrating: Migrating) -> None:
    metadata = book_model()
    metadata.create_all(migrating.connection)

    assert indexes(migrating) == ["author_id", "owner_id"]
    assert migrating.upgrade_code(metadata) == ["pass"]
    assert check_models(migrating.connection, metadata) == []


def test_autogenerate_writes_the_indexes_out(migrating: Migrating) -> None:
    metadata = book_model()
    script = migrating.script(metadata)
    migrating.apply(script.upgrade_ops)

    assert migrating.upgrade_code(metadata) == ["pass"]
    assert indexes(migrating) == ["author_id", "owner_id"]


@pytest.mark.parametrize(
    "options",
    [{"__chrononaut_disable_indices__": True}, {"__chrononaut_indices__": []}],
)
def test_a_model_can_do_without(migrating: Migrating, options: Any) -> None:
    metadata = book_model(**options)
    metadata.create_all(migrating.connection)

    assert indexes(migrating) == []
    assert migrating.upgrade_code(metadata) == ["pass"]


def test_what_is_named_stands_alone(migrating: Migrating) -> None:
    book_model(__chrononaut_indices__=["number"]).create_all(migrating.connection)

    assert indexes(migrating) == ["number"]


def test_untracked_and_hidden_columns_get_no_index(migrating: Migrating) -> None:
    metadata = book_model(
        __chrononaut_untracked__=["author_id"], __chrononaut_hidden__=["owner_id"]
    )
    metadata.create_all(migrating.connection)

    assert indexes(migrating) == []


@pytest.mark.parametrize("made", [[], ["author_id"], ["owner_id"]])
def test_histories_with_fewer_indexes_are_in_sync(
    migrating: Migrating, made: list[str]
) -> None:
    book_model(__chrononaut_indices__=made).create_all(migrating.connection)

    assert migrating.upgrade_code(book_model()) == ["pass"]
    assert check_models(migrating.connection, book_model()) == []


def test_other_indexes_than_these_are_reported(migrating: Migrating) -> None:
    book_model(__chrononaut_indices__=["number"]).create_all(migrating.connection)

    assert migrating.upgrade_code(book_model()) == [
        "op.alter_versioning('book', indexes=[])"
    ]
