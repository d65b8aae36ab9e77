"""The operations, called by hand as in a revision file, and printed with `--sql`."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from alembic.operations import Operations
from sqlalchemy import Engine, event, text
from sqlalchemy.exc import OperationalError

from tests.migrations.conftest import Migrating
from tests.servers import Db

Offline = Callable[[Callable[[Operations], None]], str]


@pytest.fixture
def item(migrating: Migrating) -> str:
    """A table to version."""
    migrating.connection.execute(
        text('create table "Item" (id int primary key, v int)')
    )
    return '"Item"'


def count(migrating: Migrating, query: str) -> Any:
    return migrating.connection.execute(text(query)).scalar()


def test_operations_do_what_the_functions_do(migrating: Migrating, item: str) -> None:
    op: Any = migrating.op
    op.create_versioning(item, track_inserts=False)
    migrating.connection.execute(text('insert into "Item" values (1, 1)'))
    migrating.connection.execute(text('alter table "Item" add column w int'))
    op.sync_versioning(item)
    op.alter_versioning(item, untracked=["v"])
    migrating.connection.execute(text('update "Item" set v = 2'))
    migrating.connection.execute(text('update "Item" set w = 2'))

    assert count(migrating, 'select count(*) from "Item_history"') == 1
    op.drop_versioning(item)
    assert count(migrating, 'select count(*) from "Item_history"') == 1
    op.create_versioning(item)
    op.drop_versioning(item, drop_history=True)
    assert count(migrating, "select to_regclass('\"Item_history\"')") is None


def test_offline_output_is_the_call(offline: Offline) -> None:
    def migration(op: Any) -> None:
        op.create_versioning("app.user", hidden=["pass%word", "it's"], key=["id"])
        op.alter_versioning("app.user", require_change_info=True, lock_timeout="3s")
        op.sync_versioning("app.user")
        op.drop_versioning("app.user", drop_history=True)

    assert offline(migration).split("\n\n") == [
        "select chrononaut.create_versioning('app.user', "
        "hidden => '{pass%word,it''s}'::name[], key => '{id}'::name[]);",
        "set local lock_timeout = '3s';",
        "select chrononaut.alter_versioning('app.user', require_change_info => true);",
        "reset lock_timeout;",
        "select chrononaut.sync_versioning('app.user');",
        "select chrononaut.drop_versioning('app.user', drop_history => true);",
        "",
    ]


@pytest.mark.parametrize("times", [1, 2])
def test_offline_installation_runs_through_psql(
    offline: Offline,
    clients: Path,
    empty_db: Db,
    server: Any,
    superuser: str,
    times: int,
) -> None:
    def migration(op: Any) -> None:
        op.install_chrononaut()
        op.execute("create table item (id int primary key, v int)")
        op.create_versioning("item")

    script = offline(migration).replace("create table item", "create table @@item")
    url = server.url(empty_db.info.dbname, user=superuser)
    psql = [str(clients / "psql"), "-Xq", "-v", "ON_ERROR_STOP=1", url]
    for number in range(times):
        ready = script.replace("@@", "" if number == 0 else "if not exists ")
        subprocess.run(
            psql,
            input=f"begin;\n{ready}\ncommit;",
            text=True,
            check=True,
            capture_output=True,
        )
    empty_db.execute("insert into item values (1, 1)")
    counted = empty_db.execute("select count(*) from item_history").fetchone()
    assert counted == (1,)


def test_lock_that_is_not_to_be_had_is_an_error_after_the_retries(
    migrating: Migrating, item: str, engine: Engine
) -> None:
    migrating.connection.commit()
    given_up: list[str] = []
    event.listen(migrating.connection, "rollback_savepoint", note_in(given_up))
    with engine.connect() as other:
        other.execute(text('lock table "Item" in row exclusive mode'))
        op: Any = migrating.op
        with pytest.raises(OperationalError) as caught:
            op.create_versioning(item, lock_timeout="50ms", retries=1)

    assert getattr(caught.value.orig, "sqlstate", None) == "55P03"
    assert len(given_up) == 2
    assert count(migrating, "select current_setting('lock_timeout')") == "0"


def note_in(given_up: list[str]) -> Any:
    """Return a handler that notes each savepoint that is rolled back."""

    def note(connection: Any, name: str, context: Any) -> None:
        given_up.append(name)

    return note


def test_lock_that_comes_free_is_taken_by_the_next_try(
    migrating: Migrating, item: str, engine: Engine
) -> None:
    migrating.connection.commit()
    given_up: list[str] = []
    event.listen(migrating.connection, "rollback_savepoint", note_in(given_up))
    with engine.connect() as other:
        other.execute(text('lock table "Item" in row exclusive mode'))

        @event.listens_for(migrating.connection, "rollback_savepoint")
        def release(connection: Any, name: str, context: Any) -> None:
            other.rollback()

        op: Any = migrating.op
        op.create_versioning(item, lock_timeout="50ms", retries=3)

    assert len(given_up) == 1
    assert count(migrating, "select count(*) from chrononaut.versioned_tables") == 1


def test_lock_timeout_of_the_migration_is_back_after_an_operation(
    migrating: Migrating, item: str
) -> None:
    migrating.connection.execute(text("set lock_timeout = '7s'"))
    op: Any = migrating.op
    op.create_versioning(item, lock_timeout="3s")

    assert count(migrating, "select current_setting('lock_timeout')") == "7s"


def test_operations_are_rolled_back_with_their_transaction(
    migrating: Migrating, item: str
) -> None:
    migrating.connection.commit()
    op: Any = migrating.op
    op.create_versioning(item)
    migrating.connection.rollback()

    assert count(migrating, "select to_regclass('\"Item_history\"')") is None
