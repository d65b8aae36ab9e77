"""Autogenerate where only a part is compared, or schemas are on the search_path."""

import pytest
from sqlalchemy import Column, Engine, Integer, MetaData, Table, create_engine, text

from chrononaut_pg import versioned_table
from tests.migrations.conftest import Migrating


def table(name: str, metadata: MetaData, schema: str | None = None) -> Table:
    columns = (Column("id", Integer, primary_key=True), Column("v", Integer))
    return Table(name, metadata, *columns, schema=schema)


def shop(*schemas: str | None) -> MetaData:
    """Return the metadata of a versioned table in each schema."""
    metadata = MetaData()
    for schema in schemas:
        versioned_table(table(f"in_{schema or 'default'}", metadata, schema))
    return metadata


@pytest.mark.parametrize("excluded", ["include_object", "include_name"])
def test_versioned_table_that_is_left_out_keeps_its_versioning(
    migrating: Migrating, excluded: str
) -> None:
    metadata = shop(None)
    table("other", metadata)
    metadata.create_all(migrating.connection)
    narrow = Migrating(
        migrating.connection, **{excluded: lambda *given: "in_default" not in given}
    )

    code = "\n".join(narrow.upgrade_code(metadata))
    assert "versioning" not in code


def test_left_out_model_without_the_mixin_keeps_its_versioning(
    migrating: Migrating,
) -> None:
    shop(None).create_all(migrating.connection)
    plain = MetaData()
    table("in_default", plain)
    narrow = Migrating(migrating.connection, include_object=lambda *_: False)

    assert narrow.upgrade_code(plain) == ["pass"]
    assert migrating.upgrade_code(plain) == ["op.drop_versioning('in_default')"]


@pytest.mark.parametrize("path", ["app,public", "public,app"])
def test_tables_in_any_schema_of_the_search_path_are_in_sync(
    engine: Engine, migrating: Migrating, path: str
) -> None:
    metadata = shop(None, "app")
    migrating.connection.execute(text("create schema app"))
    metadata.create_all(migrating.connection)
    migrating.connection.commit()
    other = create_engine(
        engine.url, connect_args={"options": f"-c search_path={path}"}
    )
    with other.connect() as connection:
        code = Migrating(connection).upgrade_code(metadata)
    other.dispose()

    assert [line for line in code if "history" in line or "versioning" in line] == []


def test_search_path_that_was_set_later_shows_no_history_as_a_table(
    migrating: Migrating,
) -> None:
    metadata = shop("app")
    migrating.connection.execute(text("create schema app"))
    metadata.create_all(migrating.connection)
    migrating.connection.execute(text("set search_path = app, public"))

    assert migrating.upgrade_code(shop()) == [
        "op.drop_versioning('app.in_app')",
        "op.drop_table('in_app')",
    ]
