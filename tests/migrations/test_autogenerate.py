"""Autogenerate emits exactly the operation that a change of the models needs."""

from typing import Any

import pytest
from sqlalchemy import Column, ForeignKey, Integer, MetaData, String, Table, text
from sqlalchemy.orm import registry

from chrononaut_pg import Versioned, versioned_table
from tests.migrations.conftest import Migrating


def user_model(
    *columns: Column[Any],
    versioned: bool = True,
    schema: str | None = None,
    **more: Any,
) -> MetaData:
    """Return the metadata of one model `User` with these columns and options."""
    base = registry(metadata=MetaData(schema=schema)).generate_base()
    bases = (Versioned, base) if versioned else (base,)
    names = {
        "__tablename__": "appuser",
        "id": Column(Integer, primary_key=True),
        "email": Column(String(80)),
        **{column.name: column for column in columns},
        **more,
    }
    return keeping(type("User", bases, names))


def keeping(model: Any) -> MetaData:
    """Return the metadata of a model that lives as long as it does."""
    metadata: MetaData = model.metadata
    metadata.info["model"] = model
    return metadata


def bring_up(migrating: Migrating, metadata: MetaData) -> None:
    migrating.apply(migrating.script(metadata).upgrade_ops)


def test_new_model_is_created_and_then_versioned(migrating: Migrating) -> None:
    code = migrating.upgrade_code(user_model(Column("password", String)))

    assert code[0].startswith("op.create_table('appuser'")
    assert code[-1] == "op.create_versioning('appuser')"


def test_options_are_written_out(migrating: Migrating) -> None:
    metadata = user_model(
        Column("password", String), __chrononaut_hidden__=["password"]
    )

    assert migrating.upgrade_code(metadata)[-1] == (
        "op.create_versioning('appuser', hidden=['password'])"
    )


def test_database_in_sync_gives_nothing(migrating: Migrating) -> None:
    metadata = user_model(
        Column("password", String),
        __chrononaut_hidden__=["password"],
        __chrononaut_indices__=["email"],
    )
    bring_up(migrating, metadata)

    assert migrating.upgrade_code(metadata) == ["pass"]


def test_downgrade_drops_versioning_before_the_table(migrating: Migrating) -> None:
    assert migrating.downgrade_code(user_model()) == [
        "op.drop_versioning('appuser')",
        "op.drop_table('appuser')",
    ]


def test_mixin_added_to_an_existing_model(migrating: Migrating) -> None:
    bring_up(migrating, user_model(versioned=False))

    assert migrating.upgrade_code(user_model()) == ["op.create_versioning('appuser')"]


def test_mixin_removed(migrating: Migrating) -> None:
    bring_up(migrating, user_model(__chrononaut_untracked__=["email"]))
    gone = user_model(versioned=False)

    assert migrating.upgrade_code(gone) == ["op.drop_versioning('appuser')"]
    assert migrating.downgrade_code(gone) == [
        "op.create_versioning('appuser', untracked=['email'])"
    ]


def test_changed_options(migrating: Migrating) -> None:
    bring_up(migrating, user_model())
    changed = user_model(__chrononaut_hidden__=["email"])

    assert migrating.upgrade_code(changed) == [
        "op.alter_versioning('appuser', hidden=['email'])"
    ]
    assert migrating.downgrade_code(changed) == [
        "op.alter_versioning('appuser', hidden=[])"
    ]


@pytest.mark.parametrize("drop", [False, True])
def test_changed_columns_sync_last_in_both_directions(
    migrating: Migrating, drop: bool
) -> None:
    small, large = user_model(), user_model(Column("age", Integer))
    before, after = (large, small) if drop else (small, large)
    bring_up(migrating, before)

    up, down = migrating.upgrade_code(after), migrating.downgrade_code(after)

    assert (len(up), len(down)) == (2, 2)
    assert up[-1] == down[-1] == "op.sync_versioning('appuser')"


def test_added_column_that_is_hidden_alters_last_in_both_directions(
    migrating: Migrating,
) -> None:
    bring_up(migrating, user_model())
    after = user_model(Column("password", String), __chrononaut_hidden__=["password"])
    script = migrating.script(after)
    migrating.apply(script.upgrade_ops)
    assert migrating.upgrade_code(after) == ["pass"]
    migrating.apply(script.downgrade_ops)

    assert migrating.upgrade_code(user_model()) == ["pass"]


def test_dropped_table_is_unversioned_first(migrating: Migrating) -> None:
    bring_up(migrating, user_model())

    assert migrating.upgrade_code(MetaData()) == [
        "op.drop_versioning('appuser')",
        "op.drop_table('appuser')",
    ]


def test_upgrade_and_downgrade_apply_and_keep_history(migrating: Migrating) -> None:
    script = migrating.script(user_model())
    migrating.apply(script.upgrade_ops)
    migrating.connection.execute(text("insert into appuser values (1, 'a')"))
    migrating.connection.execute(text("update appuser set email = 'b'"))
    migrating.apply(script.downgrade_ops)
    migrating.apply(script.upgrade_ops)
    migrating.connection.execute(text("insert into appuser values (1, 'c')"))

    found = migrating.connection.execute(
        text("select operation, email from appuser_history order by change_id")
    ).all()
    assert [tuple(row) for row in found] == [("I", None), ("U", "a"), ("I", None)]


def test_tables_versioned_by_a_dba_stay_as_they_are(migrating: Migrating) -> None:
    migrating.connection.execute(text("create schema other"))
    migrating.connection.execute(text("create table other.t (id int primary key)"))
    migrating.connection.execute(text("select chrononaut.create_versioning('other.t')"))

    assert migrating.upgrade_code(MetaData()) == ["pass"]


def test_tables_in_other_schemas(connection: Any) -> None:
    migrating = Migrating(connection, include_schemas=True)
    connection.execute(text("create schema app"))
    metadata = user_model(schema="app")
    assert migrating.upgrade_code(metadata)[-1] == "op.create_versioning('app.appuser')"
    bring_up(migrating, metadata)

    assert migrating.upgrade_code(metadata) == ["pass"]


def test_core_is_installed_first_where_it_is_missing(
    migrating: Migrating, connection: Any
) -> None:
    connection.execute(text("drop schema chrononaut cascade"))
    script = migrating.script(user_model())
    code = migrating.upgrade_code(user_model())
    assert code[0] == "op.install_chrononaut()"
    migrating.apply(script.upgrade_ops)

    assert migrating.upgrade_code(user_model()) == ["pass"]


def joined_models(reverse: bool) -> MetaData:
    base = registry(metadata=MetaData()).generate_base()
    person = type(
        "Person",
        (Versioned, base),
        {
            "__tablename__": "person",
            "id": Column(Integer, primary_key=True),
            "kind": Column(String),
            "__mapper_args__": {"polymorphic_on": "kind", "polymorphic_identity": "p"},
        },
    )
    names = ["engineer", "manager"]
    for name in reversed(names) if reverse else names:
        type(
            name.title(),
            (person,),
            {
                "__tablename__": name,
                "id": Column(ForeignKey("person.id"), primary_key=True),
                "level": Column(Integer),
                "__mapper_args__": {"polymorphic_identity": name},
            },
        )
    return keeping(person)


@pytest.mark.parametrize("reverse", [False, True])
def test_joined_inheritance_versions_parents_first(
    migrating: Migrating, reverse: bool
) -> None:
    metadata = joined_models(reverse)
    code = migrating.upgrade_code(metadata)[-3:]

    assert code[0] == "op.create_versioning('person')"
    assert sorted(code[1:]) == [
        "op.create_versioning('engineer', parent='person')",
        "op.create_versioning('manager', parent='person')",
    ]
    bring_up(migrating, metadata)
    assert migrating.upgrade_code(metadata) == ["pass"]


def test_association_table_is_versioned(migrating: Migrating) -> None:
    metadata = MetaData()
    pair = Table(
        "pair",
        metadata,
        Column("a", Integer, primary_key=True),
        Column("b", Integer, primary_key=True),
    )
    versioned_table(pair)
    assert migrating.upgrade_code(metadata)[-1] == "op.create_versioning('pair')"
    bring_up(migrating, metadata)

    assert migrating.upgrade_code(metadata) == ["pass"]


def test_history_that_was_left_is_not_proposed_to_be_dropped(
    migrating: Migrating,
) -> None:
    bring_up(migrating, user_model())
    bring_up(migrating, user_model(versioned=False))

    assert migrating.upgrade_code(user_model(versioned=False)) == ["pass"]
    left = "select count(*) from appuser_history"
    assert migrating.connection.execute(text(left)).scalar() == 0


def test_table_that_was_renamed_by_hand_is_synchronised(
    migrating: Migrating,
) -> None:
    metadata, connection = MetaData(), migrating.connection
    former = Table("former", metadata, Column("id", Integer, primary_key=True))
    versioned_table(former)
    metadata.create_all(connection)
    connection.execute(text("alter table former rename to renamed"))
    renamed = MetaData()
    versioned_table(Table("renamed", renamed, Column("id", Integer, primary_key=True)))

    assert migrating.upgrade_code(renamed) == ["op.sync_versioning('renamed')"]
    migrating.apply(migrating.script(renamed).upgrade_ops)
    assert migrating.upgrade_code(renamed) == ["pass"]


def test_check_prints_what_is_to_be_done_and_nothing_else(migrating: Migrating) -> None:
    metadata = user_model()
    metadata.create_all(migrating.connection)
    hidden = user_model(__chrononaut_hidden__=["email"])

    assert migrating.script(hidden).upgrade_ops.as_diffs() == [
        ("alter_versioning", "appuser", {"hidden": ["email"]})
    ]
