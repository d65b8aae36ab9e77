"""`VersioningOptions`: one set of names for SQL, Python, Alembic and the CLI."""

from dataclasses import fields

import pytest

from chrononaut_pg.options import VersioningOptions
from tests.servers import Db


def test_columns_given_as_list_are_kept_as_tuple() -> None:
    assert VersioningOptions(hidden=["pin"]) == VersioningOptions(hidden=("pin",))


def test_one_name_instead_of_a_list_is_refused() -> None:
    with pytest.raises(TypeError, match=r"did you forget a comma, as in \('pin',\)\?"):
        VersioningOptions(hidden="pin")


def test_only_given_options_are_passed_on() -> None:
    options = VersioningOptions(hidden=["pin"], track_inserts=False)

    assert options.given() == {"hidden": ["pin"], "track_inserts": False}


def test_no_columns_differs_from_columns_not_given() -> None:
    assert VersioningOptions(hidden=[]).given() == {"hidden": []}


def test_options_are_the_parameters_of_create_versioning(db: Db) -> None:
    names = db.execute(
        "select proargnames from pg_proc"
        " where oid = 'chrononaut.create_versioning'::regproc"
    ).fetchone()

    assert names is not None
    assert names[0] == ["target", *(field.name for field in fields(VersioningOptions))]
