"""`lockable` and `row_version` in migrations: by hand, by autogenerate, and back."""

from typing import Any

import pytest
from sqlalchemy import Column, Engine, Integer, MetaData, String, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import registry

from chrononaut_pg import Versioned
from chrononaut_pg.cli import main
from chrononaut_pg.drift import check_models
from chrononaut_pg.exceptions import sqlstate_of
from tests.migrations.conftest import Migrating

COLUMNS = (
    "select string_agg(attname, ' ' order by attnum) from pg_attribute"
    " where attrelid = 'appuser'::regclass and attnum > 0 and not attisdropped"
)

TRIGGERS = (
    "select coalesce(string_agg(tgname, ' ' order by tgname), '') from pg_trigger"
    " where tgrelid = 'appuser'::regclass and tgname ~ '(lock|row_version)$'"
)

BOTH = {"__chrononaut_lockable__": True, "__chrononaut_row_version__": True}


def user_model(versioned: bool = True, **options: Any) -> MetaData:
    """Return the metadata of a model with these options."""
    base: Any = registry(metadata=MetaData()).generate_base()
    names = {
        "__tablename__": "appuser",
        "id": Column(Integer, primary_key=True),
        "email": Column(String(80)),
        **options,
    }
    model = type("User", (Versioned, base) if versioned else (base,), names)
    metadata: MetaData = base.metadata
    metadata.info["model"] = model
    return metadata


def up(migrating: Migrating, metadata: MetaData) -> Any:
    """Apply what autogenerate writes; return the script, for its downgrade."""
    script = migrating.script(metadata)
    migrating.apply(script.upgrade_ops)
    return script


def ask(migrating: Migrating, query: str) -> Any:
    return migrating.connection.execute(text(query)).scalar()


def guarded(migrating: Migrating) -> bool:
    """Whether rows count their versions and can be locked; leaves them unlocked."""
    execute = migrating.connection.execute
    execute(text("insert into appuser (id) values (1) on conflict do nothing"))
    before = ask(migrating, "select row_version from appuser")
    execute(text("update appuser set email = email"))
    counted = ask(migrating, "select row_version from appuser") == before + 1
    locking = "lock_record('appuser', '{\"id\": 1}')"
    execute(text(f"select chrononaut.{locking}".replace(":", r"\:")))
    with pytest.raises(DBAPIError) as caught, migrating.connection.begin_nested():
        execute(text("update appuser set email = 'x'"))
    execute(text(f"select chrononaut.un{locking}".replace(":", r"\:")))
    return counted and sqlstate_of(caught.value) == "VH010"


def test_operation_by_hand_adds_the_column(migrating: Migrating) -> None:
    op: Any = migrating.op
    migrating.connection.execute(
        text("create table appuser (id int primary key, email text)")
    )
    op.create_versioning("appuser", lockable=True, row_version=True)
    assert ask(migrating, COLUMNS) == "id email row_version"
    assert guarded(migrating)
    op.alter_versioning("appuser", lockable=False, row_version=False)
    op.drop_versioning("appuser")
    assert ask(migrating, COLUMNS) == "id email row_version"
    assert ask(migrating, TRIGGERS) == ""


def test_new_model_comes_with_both_in_one_revision(migrating: Migrating) -> None:
    metadata = user_model(**BOTH)
    code = migrating.upgrade_code(metadata)
    assert code[-1] == (
        "op.create_versioning('appuser', lockable=True, row_version=True)"
    )
    up(migrating, metadata)

    assert ask(migrating, COLUMNS) == "id email row_version"
    assert guarded(migrating)
    assert migrating.upgrade_code(metadata) == ["pass"]


def test_options_that_are_added_bring_the_column_and_go_again(
    migrating: Migrating,
) -> None:
    up(migrating, user_model())
    script = up(migrating, user_model(**BOTH))
    assert ask(migrating, COLUMNS) == "id email row_version"
    assert guarded(migrating)
    assert migrating.upgrade_code(user_model(**BOTH)) == ["pass"]

    migrating.apply(script.downgrade_ops)
    assert ask(migrating, COLUMNS) == "id email"
    migrating.connection.execute(text("update appuser set email = 'down'"))
    assert migrating.upgrade_code(user_model()) == ["pass"]


def test_mixin_that_is_added_with_both_comes_and_goes(migrating: Migrating) -> None:
    up(migrating, user_model(versioned=False))
    script = up(migrating, user_model(**BOTH))
    assert guarded(migrating)

    migrating.apply(script.downgrade_ops)
    assert ask(migrating, COLUMNS) == "id email"
    assert ask(migrating, TRIGGERS) == ""


def test_options_that_are_taken_away_take_the_column(migrating: Migrating) -> None:
    up(migrating, user_model(**BOTH))
    script = up(migrating, user_model())
    assert ask(migrating, COLUMNS) == "id email"
    migrating.connection.execute(text("update appuser set email = 'x'"))
    assert migrating.upgrade_code(user_model()) == ["pass"]

    migrating.apply(script.downgrade_ops)
    assert guarded(migrating)
    assert migrating.upgrade_code(user_model(**BOTH)) == ["pass"]


def test_create_all_creates_what_autogenerate_would(
    engine: Engine, migrating: Migrating
) -> None:
    metadata = user_model(**BOTH)
    metadata.create_all(engine)

    assert guarded(migrating)
    assert migrating.upgrade_code(metadata) == ["pass"]


def test_command_line_takes_both_and_finds_models_in_step(
    engine: Engine, migrating: Migrating
) -> None:
    user_model(versioned=False).create_all(engine)
    url = engine.url.render_as_string(hide_password=False)
    options = ["--lockable", "--row-version", "--url", url]
    assert main(["create", "appuser", *options]) == 0
    assert guarded(migrating)
    migrating.connection.rollback()

    assert check_models(migrating.connection, user_model(**BOTH)) == []
    differing = check_models(migrating.connection, user_model())
    assert [one.problem for one in differing] == [
        "lockable is True, but the model says False",
        "row_version is True, but the model says False",
    ]
