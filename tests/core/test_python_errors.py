"""`chrononaut_pg.exceptions`: from SQLSTATE to class."""

import psycopg
import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from chrononaut_pg.exceptions import (
    ERRORS_BY_SQLSTATE,
    CannotVersionError,
    ChrononautException,
    translate_errors,
)
from tests.servers import Db

RAISE = """
do $$ begin
    raise exception 'cannot version app.v' using
        errcode = '{code}', hint = 'Version its tables instead.',
        schema = 'app', table = 'v', column = 'c';
end $$
"""


@pytest.mark.parametrize("code", sorted(ERRORS_BY_SQLSTATE))
def test_each_code_has_a_class_that_names_it(db: Db, code: str) -> None:
    with pytest.raises(ChrononautException) as caught, translate_errors():
        db.execute(RAISE.format(code=code))
    assert (type(caught.value), caught.value.__doc__ or "") == (
        ERRORS_BY_SQLSTATE[code],
        f"{code}{(caught.value.__doc__ or '')[5:]}",
    )


def test_codes_are_numbered_without_gaps() -> None:
    assert sorted(ERRORS_BY_SQLSTATE) == [f"VH{n:03}" for n in range(1, 11)]


def test_unknown_code_of_the_class_raises_the_base(db: Db) -> None:
    with pytest.raises(ChrononautException) as caught, translate_errors():
        db.execute(RAISE.format(code="VH099"))
    assert type(caught.value) is ChrononautException


def test_error_carries_what_the_database_said(db: Db) -> None:
    with pytest.raises(CannotVersionError) as caught, translate_errors():
        db.execute(RAISE.format(code="VH003"))
    error = caught.value
    assert (str(error), error.schema, error.table, error.column, error.hint) == (
        "cannot version app.v. Version its tables instead.",
        "app",
        "v",
        "c",
        "Version its tables instead.",
    )


def test_original_error_of_psycopg_is_the_cause(db: Db) -> None:
    with pytest.raises(CannotVersionError) as caught, translate_errors():
        db.execute(RAISE.format(code="VH003"))
    assert isinstance(caught.value.__cause__, psycopg.Error)


def test_error_wrapped_by_sqlalchemy_is_translated(engine: Engine) -> None:
    with (
        engine.connect() as connection,
        pytest.raises(CannotVersionError) as caught,
        translate_errors(),
    ):
        connection.execute(text(RAISE.format(code="VH003")))
    assert isinstance(caught.value.__cause__, DBAPIError)


def test_other_errors_pass_unchanged(db: Db) -> None:
    with pytest.raises(psycopg.errors.DivisionByZero), translate_errors():
        db.execute("select 1 / 0")


def test_error_outside_the_database_passes_unchanged() -> None:
    with pytest.raises(KeyError), translate_errors():
        raise KeyError("unrelated")
