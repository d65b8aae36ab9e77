"""`chrononaut_pg.core`: the core over psycopg and SQLAlchemy connections."""

from collections.abc import Callable

import psycopg
import pytest
from psycopg.rows import dict_row
from sqlalchemy import Connection, Engine, NullPool, create_engine, text

from chrononaut_pg import core
from chrononaut_pg._resources import package_core_version
from chrononaut_pg.exceptions import (
    CannotVersionError,
    CoreMissingError,
    CoreNewerError,
    CoreOlderError,
)
from chrononaut_pg.options import VersioningOptions
from tests.servers import Cluster, Connect, Db

INSTALLED = "select to_regprocedure('chrononaut.core_version()') is not null"


def is_installed(connection: Db) -> bool:
    row = connection.execute(INSTALLED).fetchone()
    return row is not None and bool(row[0])


def pretend_version(connection: Db, version: int) -> None:
    connection.execute(
        "create or replace function chrononaut.core_version() returns integer"
        f" language sql immutable parallel safe as 'select {version}'"
    )


@pytest.fixture
def account(db: Db) -> str:
    """A table to version."""
    db.execute("create schema app")
    db.execute("create table app.account (id int primary key, owner text, pin text)")
    db.commit()
    return "app.account"


@pytest.fixture
def bare_engine(server: Cluster, empty_db: Db, superuser: str) -> Engine:
    """An engine on the database of `empty_db`."""
    url = server.url(empty_db.info.dbname, user=superuser, driver="psycopg")
    return create_engine(url, poolclass=NullPool)


def test_install_returns_the_version_that_it_installed(empty_db: Db) -> None:
    installed = core.install(empty_db)

    assert (installed, core.status(empty_db).installed_version) == (
        package_core_version(),
        package_core_version(),
    )


def test_install_without_a_transaction_commits_its_own(
    empty_db: Db, connect: Connect
) -> None:
    core.install(empty_db)

    assert is_installed(connect(dbname=empty_db.info.dbname))


def test_install_twice_changes_nothing_more(empty_db: Db) -> None:
    core.install(empty_db)

    assert core.install(empty_db) == package_core_version()


def test_install_inside_a_transaction_is_undone_by_its_rollback(empty_db: Db) -> None:
    empty_db.execute("select 1")
    core.install(empty_db)
    empty_db.rollback()

    assert not is_installed(empty_db)


def test_install_works_on_an_autocommit_connection(
    empty_db: Db, connect: Connect
) -> None:
    connection = connect(dbname=empty_db.info.dbname, autocommit=True)

    assert core.install(connection) == package_core_version()


def test_install_does_not_depend_on_the_row_factory(
    empty_db: Db, server: Cluster, superuser: str
) -> None:
    url = server.url(empty_db.info.dbname, user=superuser)
    with psycopg.connect(url, row_factory=dict_row) as connection:
        assert core.install(connection) == package_core_version()


def test_install_over_sqlalchemy_commits_its_own_transaction(
    bare_engine: Engine, empty_db: Db
) -> None:
    with bare_engine.connect() as connection:
        core.install(connection)

    assert is_installed(empty_db)


def test_install_over_sqlalchemy_follows_the_callers_transaction(
    bare_engine: Engine, empty_db: Db
) -> None:
    with bare_engine.connect() as connection, connection.begin() as transaction:
        core.install(connection)
        transaction.rollback()

    assert not is_installed(empty_db)


def test_install_over_sqlalchemy_in_autocommit_mode_is_one_transaction(
    bare_engine: Engine, empty_db: Db
) -> None:
    autocommit = bare_engine.execution_options(isolation_level="AUTOCOMMIT")
    with autocommit.connect() as connection:
        core.install(connection)

    assert is_installed(empty_db)


def test_failed_install_in_autocommit_mode_leaves_nothing_behind(
    bare_engine: Engine, empty_db: Db, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = ["create table left_behind ()", "select 1 / 0"]
    monkeypatch.setattr(core, "_install_statements", lambda *_: broken)
    autocommit = bare_engine.execution_options(isolation_level="AUTOCOMMIT")
    with autocommit.connect() as connection:
        with pytest.raises(psycopg.errors.DivisionByZero):
            core.install(connection)
        found = connection.execute(text("select to_regclass('left_behind')")).scalar()

    assert found is None


def test_status_of_a_database_without_core(empty_db: Db) -> None:
    assert core.status(empty_db) == core.Status(package_core_version(), None)


def test_status_lists_versioned_tables_with_their_options(db: Db, account: str) -> None:
    core.create_versioning(db, account, hidden=["pin"])

    (table,) = core.status(db).tables
    assert (table.schema, table.name, table.history_table, table.options.hidden) == (
        "app",
        "account",
        "app.account_history",
        ("pin",),
    )


def test_status_of_a_newer_core_names_both_versions(db: Db) -> None:
    pretend_version(db, 999)

    with pytest.raises(CoreNewerError) as caught:
        core.status(db)
    assert (caught.value.installed, caught.value.required) == (
        999,
        package_core_version(),
    )


def test_install_refuses_a_database_with_a_newer_core(db: Db) -> None:
    pretend_version(db, 999)

    with pytest.raises(CoreNewerError, match=r"version 999, newer than version \d+"):
        core.install(db)


def test_call_on_an_older_core_asks_for_the_upgrade(db: Db) -> None:
    pretend_version(db, 0)

    with pytest.raises(CoreOlderError, match="python -m chrononaut_pg install"):
        core.check_versioning(db)


def test_call_without_core_asks_for_the_installation(empty_db: Db) -> None:
    with pytest.raises(CoreMissingError, match="python -m chrononaut_pg install"):
        core.create_versioning(empty_db, "pg_class")


def test_create_versioning_returns_the_history_table(db: Db, account: str) -> None:
    assert core.create_versioning(db, account) == "app.account_history"


def test_create_versioning_takes_options_as_object_and_by_name(
    db: Db, account: str
) -> None:
    core.create_versioning(
        db, account, VersioningOptions(hidden=["pin"]), untracked=["owner"]
    )

    options = core.status(db).tables[0].options
    assert (options.hidden, options.untracked) == (("pin",), ("owner",))


def test_alter_versioning_keeps_what_is_not_named(db: Db, account: str) -> None:
    core.create_versioning(db, account, hidden=["pin"])
    core.alter_versioning(db, account, require_change_info=True)

    options = core.status(db).tables[0].options
    assert (options.hidden, options.require_change_info) == (("pin",), True)


def test_drop_versioning_keeps_the_history(db: Db, account: str) -> None:
    core.create_versioning(db, account)
    core.drop_versioning(db, account)

    found = db.execute("select to_regclass('app.account_history') is not null")
    assert (core.status(db).tables, found.fetchone()) == ((), (True,))


def test_drop_versioning_drops_the_history_when_told(db: Db, account: str) -> None:
    core.create_versioning(db, account)
    core.drop_versioning(db, account, drop_history=True)

    found = db.execute("select to_regclass('app.account_history')")
    assert found.fetchone() == (None,)


def test_sync_versioning_adds_a_new_column(db: Db, account: str) -> None:
    core.create_versioning(db, account)
    db.execute("alter table app.account add column email text")
    core.sync_versioning(db, account)

    assert db.execute("select email from app.account_history").fetchall() == []


def test_check_versioning_is_empty_when_all_is_well(db: Db, account: str) -> None:
    core.create_versioning(db, account)

    assert core.check_versioning(db) == ()


def test_error_of_the_core_comes_as_its_own_class(db: Db) -> None:
    with pytest.raises(CannotVersionError) as caught:
        core.create_versioning(db, "pg_stat_activity")
    assert caught.value.sqlstate == "VH003"


def test_every_function_works_over_sqlalchemy(engine: Engine, account: str) -> None:
    def run(call: Callable[[Connection], object]) -> object:
        with engine.connect() as connection:
            return call(connection)

    assert [
        run(lambda c: core.create_versioning(c, account)),
        run(lambda c: core.alter_versioning(c, account, hidden=["pin"])),
        run(lambda c: core.sync_versioning(c, account)),
        run(core.check_versioning),
        run(lambda c: core.drop_versioning(c, account)),
        run(lambda c: core.status(c).tables),
    ] == [*["app.account_history"] * 3, (), None, ()]


def test_anything_but_a_connection_is_refused_with_advice() -> None:
    with pytest.raises(TypeError, match=r"use session\.connection\(\)"):
        core.status(object())  # type: ignore[arg-type]
