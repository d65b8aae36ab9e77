"""`python -m chrononaut_pg`: one command per public function of the core."""

import subprocess
from pathlib import Path

import pytest
from psycopg.conninfo import make_conninfo

from chrononaut_pg import cli, core
from tests.servers import Cluster, Db


@pytest.fixture
def account(db: Db) -> str:
    """A table to version."""
    db.execute("create schema app")
    db.execute("create table app.account (id int primary key, pin text)")
    db.commit()
    return "app.account"


@pytest.fixture
def empty_url(server: Cluster, empty_db: Db, superuser: str) -> str:
    """The URL of a database without core."""
    return server.url(empty_db.info.dbname, user=superuser)


def test_install_installs_the_core(empty_url: str, empty_db: Db) -> None:
    assert cli.main(["install", "--url", empty_url]) == 0
    assert core.status(empty_db).current


def test_url_may_name_a_driver_as_sqlalchemy_does(empty_url: str) -> None:
    url = empty_url.replace("postgresql:", "postgresql+psycopg:")

    assert cli.main(["install", "--url", url]) == 0


def test_url_may_come_from_the_environment(
    empty_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHRONONAUT_URL", empty_url)

    assert cli.main(["install"]) == 0


def test_status_of_a_database_without_core_says_none(
    empty_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["status", "--url", empty_url]) == 1
    assert "installed core version: none" in capsys.readouterr().out


def test_status_lists_versioned_tables(
    db: Db, db_url: str, account: str, capsys: pytest.CaptureFixture[str]
) -> None:
    core.create_versioning(db, account)

    assert cli.main(["status", "--url", db_url]) == 0
    assert "app.account -> app.account_history" in capsys.readouterr().out


def test_create_passes_options_on(db: Db, db_url: str, account: str) -> None:
    assert cli.main(["create", account, "--hidden", "pin", "--url", db_url]) == 0
    assert core.status(db).tables[0].options.hidden == ("pin",)


def test_flags_can_be_turned_off(db: Db, db_url: str, account: str) -> None:
    cli.main(["create", account, "--no-track-inserts", "--url", db_url])

    assert core.status(db).tables[0].options.track_inserts is False


def test_alter_sync_check_and_drop_do_what_they_say(
    db: Db, db_url: str, account: str
) -> None:
    cli.main(["create", account, "--url", db_url])
    commands = (
        ["alter", account, "--hidden", "pin"],
        ["sync", account],
        ["check"],
        ["drop", account, "--drop-history"],
    )

    assert [cli.main([*command, "--url", db_url]) for command in commands] == [0] * 4
    assert core.status(db).tables == ()


def test_error_is_one_line_and_exit_status_1(
    empty_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["check", "--url", empty_url]) == 1
    assert capsys.readouterr().err.startswith("chrononaut: the database has no")


def test_printed_script_installs_the_core_through_psql(
    clients: Path, empty_url: str, empty_db: Db, capsys: pytest.CaptureFixture[str]
) -> None:
    cli.main(["sql"])
    script = capsys.readouterr().out

    psql = [str(clients / "psql"), "-Xqv", "ON_ERROR_STOP=1", empty_url]
    subprocess.run(psql, input=script, text=True, check=True, stdout=subprocess.DEVNULL)
    assert core.status(empty_db).current


def test_printed_script_needs_no_other_file(
    capsys: pytest.CaptureFixture[str],
) -> None:
    cli.main(["sql"])

    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith(("\\i ", "\\ir"))] == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["create", "nope"], 'relation "nope" does not exist'),
        (["create", "a b"], "invalid name syntax"),
        (["check", "--models", "nope.models:Base"], "cannot import nope.models: No"),
        (["check", "--models", "os:Nope"], "os has no Nope. "),
        (["check", "--models", "os"], "os has no metadata. "),
        (["check", "--models", "os:path"], "os:path is no MetaData and has none. "),
        (
            ["status", "--url", "postgresql://localhost:1/app"],
            "connection failed: connection to server at ",
        ),
    ],
)
def test_wrong_arguments_are_named_in_one_line(
    db_url: str, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert cli.main([arguments[0], "--url", db_url, *arguments[1:]]) == 1

    error = capsys.readouterr().err
    assert error.startswith(f"chrononaut: {said}")
    assert error.count("\n") == 1


def test_unknown_template_is_told_which_there_are(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.main(["templates", "nope"]) == 1
    assert capsys.readouterr().err == (
        "chrononaut: no template nope; there are chrononaut, chrononaut_async,"
        " chrononaut_flask\n"
    )


@pytest.mark.parametrize("url", ["mysql+pymysql://localhost/app", "sqlite:///app.db"])
def test_url_of_another_database_is_refused_by_name(
    capsys: pytest.CaptureFixture[str], url: str
) -> None:
    assert cli.main(["check", "--url", url]) == 1
    kind = url.partition(":")[0].partition("+")[0]
    assert capsys.readouterr().err.startswith(f"chrononaut: {kind} is not PostgreSQL. ")


def test_models_are_checked_through_a_connection_string_of_libpq_as_well(
    db_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    given = make_conninfo(db_url, application_name="check")

    assert cli.main(["check", "--models", "tests.orm.people:Base", "--url", given]) == 1
    assert capsys.readouterr().err.startswith('"user": the table of a model does not')
