"""Autogenerate proposes what the columns of RecordChanges need, and when."""

from typing import Any

import pytest
from sqlalchemy import Column, Computed, Integer, MetaData, String, text
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.orm import registry

from chrononaut_pg import RecordChanges, Versioned
from tests.migrations.conftest import Migrating


def page(
    *columns: Column[Any],
    mixins: tuple[type[Any], ...] = (RecordChanges,),
    schema: str | None = None,
) -> MetaData:
    """Return the metadata of one model `Page` with these mixins."""
    metadata = MetaData(schema=schema)
    base = registry(metadata=metadata).generate_base()
    names = {
        "__tablename__": "Page",
        "id": Column(Integer, primary_key=True),
        "title": Column(String),
        **{column.name: column for column in columns},
    }
    metadata.info["model"] = type("Page", (*mixins, base), names)
    return metadata


def empty() -> MetaData:
    return MetaData()


def bring_up(migrating: Migrating, metadata: MetaData) -> Any:
    script = migrating.script(metadata)
    migrating.apply(script.upgrade_ops)
    return script


def writes(migrating: Migrating, schema: str = "public") -> Any:
    """Insert a page; return whether the row says when it was written."""
    connection = migrating.connection
    connection.execute(text(f"insert into {schema}.\"Page\" (title) values ('a')"))
    found = connection.execute(text(f'select * from {schema}."Page"')).mappings().all()
    return "changed" in found[-1] and found[-1]["changed"] is not None


def test_new_model_records_its_changes(migrating: Migrating) -> None:
    code = migrating.upgrade_code(page())
    bring_up(migrating, page())

    assert [line.split("(")[0] for line in code if line.startswith("op.")] == [
        "op.create_table",
        "op.record_changes",
    ]
    assert code[-1] == "op.record_changes('\"Page\"')"
    assert writes(migrating)


def test_database_in_sync_gives_nothing(migrating: Migrating) -> None:
    migrating.context.opts["compare_server_default"] = True
    for mixins in ((RecordChanges,), (Versioned, RecordChanges)):
        bring_up(migrating, page(mixins=mixins))

        assert migrating.upgrade_code(page(mixins=mixins)) == ["pass"]


def test_mixin_added_to_an_existing_model_and_taken_back(migrating: Migrating) -> None:
    bring_up(migrating, page(mixins=()))
    script = bring_up(migrating, page())
    recorded = writes(migrating)
    migrating.apply(script.downgrade_ops)

    assert (recorded, writes(migrating)) == (True, False)
    assert migrating.upgrade_code(page(mixins=())) == ["pass"]


def test_mixin_removed_and_brought_back(migrating: Migrating) -> None:
    bring_up(migrating, page())
    gone = page(mixins=())
    up, down = migrating.upgrade_code(gone), migrating.downgrade_code(gone)
    script = bring_up(migrating, gone)
    without = writes(migrating)
    migrating.apply(script.downgrade_ops)

    assert (up[0], down[-1]) == (
        "op.drop_record_changes('\"Page\"')",
        "op.record_changes('\"Page\"')",
    )
    assert (len(up), len(down), without, writes(migrating)) == (3, 3, False, True)
    assert migrating.upgrade_code(page()) == ["pass"]


def test_model_removed_and_brought_back(migrating: Migrating) -> None:
    bring_up(migrating, page())
    script = bring_up(migrating, empty())
    assert migrating.upgrade_code(empty()) == ["pass"]
    migrating.apply(script.downgrade_ops)

    assert (writes(migrating), migrating.upgrade_code(page())) == (True, ["pass"])


def test_model_that_is_versioned_too(migrating: Migrating) -> None:
    both = (Versioned, RecordChanges)
    bring_up(migrating, page())
    added = migrating.upgrade_code(page(mixins=both))
    bring_up(migrating, page(mixins=both))
    removed = migrating.upgrade_code(page(mixins=(Versioned,)))

    assert added == [
        "op.create_versioning('\"Page\"', untracked=['change_info', 'changed'])"
    ]
    assert [line.split("(")[0] for line in removed] == [
        "op.drop_record_changes",
        "op.drop_column",
        "op.drop_column",
        "op.alter_versioning",
    ]
    script = bring_up(migrating, page(mixins=(Versioned,)))
    migrating.apply(script.downgrade_ops)
    assert migrating.upgrade_code(page(mixins=both)) == ["pass"]


def test_generated_column_added_renews_the_trigger_in_both_directions(
    migrating: Migrating,
) -> None:
    bring_up(migrating, page())
    doubled = Column("doubled", String, Computed("title || title", persisted=True))
    after = page(doubled)
    up, down = migrating.upgrade_code(after), migrating.downgrade_code(after)
    bring_up(migrating, after)

    assert (up[-1], down[-1]) == ("op.record_changes('\"Page\"')",) * 2
    assert migrating.upgrade_code(after) == ["pass"]


def test_table_in_another_schema(migrating: Migrating) -> None:
    migrating.connection.execute(text("create schema app"))
    migrating.context.opts["include_schemas"] = True
    bring_up(migrating, page(schema="app"))

    assert writes(migrating, "app")
    assert migrating.upgrade_code(page(schema="app")) == ["pass"]


def test_table_that_no_model_is_mapped_to_is_left_alone(migrating: Migrating) -> None:
    bring_up(migrating, page())
    migrating.context.opts["include_name"] = lambda name, kind, _: kind != "table"

    assert migrating.upgrade_code(empty()) == ["pass"]


def test_first_of_all_the_core_is_installed(migrating: Migrating) -> None:
    migrating.connection.execute(text("drop schema chrononaut cascade"))

    assert migrating.upgrade_code(page())[0] == "op.install_chrononaut()"


def test_columns_dropped_without_the_operation_fail_the_next_write(
    migrating: Migrating,
) -> None:
    bring_up(migrating, page())
    migrating.connection.execute(text('alter table "Page" drop column changed'))

    with pytest.raises(ProgrammingError, match="changed"):
        writes(migrating)


def test_offline_output_is_the_calls(offline: Any) -> None:
    def migration(op: Any) -> None:
        op.record_changes("app.page", lock_timeout="3s")
        op.drop_record_changes("app.page")

    assert offline(migration).split("\n\n") == [
        "set local lock_timeout = '3s';",
        "select chrononaut.record_changes('app.page');",
        "reset lock_timeout;",
        "select chrononaut.drop_record_changes('app.page');",
        "",
    ]
