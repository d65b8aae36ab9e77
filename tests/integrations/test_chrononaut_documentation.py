"""The examples of Chrononaut's documentation, as written there."""

from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import text

import chrononaut_pg
from chrononaut_pg import (
    HiddenAttributeError,
    UntrackedAttributeError,
    Versioned,
    VersionedSQLAlchemy,
    append_change_info,
    extra_change_info,
    rationale,
)
from tests.servers import Db


@pytest.fixture
def user_model(db_: VersionedSQLAlchemy) -> Any:
    """The model of the documentation, created in the database."""
    db = db_

    class User(db.Model, Versioned):  # type: ignore[name-defined, misc]
        __tablename__ = "appuser"
        __chrononaut_untracked__ = ["login_count"]  # noqa: RUF012
        __chrononaut_hidden__ = ["password"]  # noqa: RUF012

        id = db.Column(db.Integer, primary_key=True)
        name = db.Column(db.String(80), unique=False)
        email = db.Column(db.String(255), unique=True)
        password = db.Column(db.Text())
        login_count = db.Column(db.Integer())

    db.create_all()
    return User


@pytest.fixture
def user(db_: VersionedSQLAlchemy, user_model: Any) -> Any:
    """A user who changed the email once."""
    found = user_model(
        name="Ann", email="ann@example.com", password="secret", login_count=1
    )
    db_.session.add(found)
    db_.session.commit()
    found.email = "new@example.com"
    db_.session.commit()
    return found


def test_versions_hold_what_was_before(user: Any) -> None:
    assert [one.email for one in user.versions()] == ["ann@example.com"]


def test_history_table_has_change_info_and_changed(user: Any, db: Db) -> None:
    query = (
        "select email, change_info ? 'user_id', changed < now() from appuser_history"
    )
    rows = db.execute(query + " where operation = 'U'").fetchall()

    assert rows == [("ann@example.com", True, True)]


def test_hidden_attribute_raises(user: Any) -> None:
    with pytest.raises(HiddenAttributeError):
        _ = user.versions()[0].password


def test_untracked_attribute_raises(user: Any) -> None:
    with pytest.raises(UntrackedAttributeError):
        _ = user.versions()[0].login_count


def test_both_errors_are_attribute_errors(user: Any) -> None:
    assert not hasattr(user.versions()[0], "password")


def test_hidden_change_is_a_version_that_names_the_column(
    user: Any, db_: VersionedSQLAlchemy
) -> None:
    user.password = "better"
    db_.session.commit()

    assert user.versions()[1].change_info["hidden_cols_changed"] == ["password"]


def test_diff_names_what_changed(user: Any) -> None:
    assert user.diff(user.versions()[0]) == {
        "email": ("ann@example.com", "new@example.com")
    }


def test_diff_shows_hidden_columns_only_if_asked(
    user: Any, db_: VersionedSQLAlchemy
) -> None:
    user.password = "better"
    db_.session.commit()

    assert user.diff(user.versions()[1]) == {}
    assert user.diff(user.versions()[1], include_hidden=True) == {
        "password": (None, "better")
    }


def test_rationale_is_recorded(user: Any, db_: VersionedSQLAlchemy) -> None:
    with rationale("Updating per user request, see GH #1732"):
        user.email = "updated@example.com"
        db_.session.commit()

    assert user.versions()[-1].change_info == {
        "user_id": None,
        "remote_addr": None,
        "extra": {"rationale": "Updating per user request, see GH #1732"},
    }


def test_extra_change_info_is_recorded(user: Any, db_: VersionedSQLAlchemy) -> None:
    with extra_change_info(change_rationale="User request"):
        user.email = "updated@example.com"
        db_.session.commit()

    assert user.versions()[-1].change_info["extra"] == {
        "change_rationale": "User request"
    }


def test_appended_change_info_may_be_committed_after_the_block(
    user: Any, user_model: Any, db_: VersionedSQLAlchemy
) -> None:
    other = user_model(name="Bob", email="bob@example.com")
    db_.session.add(other)
    db_.session.commit()
    with append_change_info(user, change_rationale="User request"):
        user.email = "updated@example.com"
        other.email = "bob2@example.com"
    db_.session.commit()

    assert user.versions()[-1].change_info["extra"] == {
        "change_rationale": "User request"
    }
    assert "extra" not in other.versions()[-1].change_info


def test_version_at_is_the_object_itself_if_current(user: Any) -> None:
    assert user.version_at(datetime.now(UTC)) is user


def test_version_at_is_the_image_of_then(user: Any) -> None:
    then = user.versions()[0].valid_from

    assert user.version_at(then).email == "ann@example.com"


def test_version_at_before_creation_is_none(user: Any) -> None:
    assert user.version_at(datetime(2000, 1, 1, tzinfo=UTC)) is None


def test_has_changed_since(user: Any) -> None:
    last = user.versions()[-1].changed

    assert not user.has_changed_since(last)
    assert user.has_changed_since(user.versions()[0].valid_from)


def test_versions_as_a_query_can_be_paged(user: Any, db_: VersionedSQLAlchemy) -> None:
    for number in range(5):
        user.name = f"Ann {number}"
        db_.session.commit()

    query = user.versions(return_query=True)

    assert [one.name for one in query.offset(1).limit(2)] == ["Ann", "Ann 0"]


def test_raw_sql_shows_up_in_versions(user: Any, db_: VersionedSQLAlchemy) -> None:
    db_.session.execute(text("update appuser set name = upper(name)"))
    db_.session.commit()

    assert user.versions()[-1].name == "Ann"


def test_changes_tell_before_and_after(user: Any) -> None:
    found = [(one.operation, one.fields) for one in user.changes()]

    assert found == [("I", ["id", "name", "email"]), ("U", ["email"])]


def test_blame_tells_which_version_set_each_column(user: Any) -> None:
    found = {name: one.version for name, one in user.blame().items()}

    assert found == {"id": 0, "name": 0, "email": 1, "password": 0}


def test_drop_all_removes_history(user: Any, db_: VersionedSQLAlchemy, db: Db) -> None:
    db_.session.close()
    db_.drop_all()

    assert db.execute("select to_regclass('appuser_history')").fetchone() == (None,)


def test_chrononaut_meta_speaks_as_chrononaut_does(
    user: Any, db_: VersionedSQLAlchemy
) -> None:
    with chrononaut_pg.change_info(user_id="bob", remote_addr="10.0.0.1", ticket=7):
        user.name = "Anna"
        db_.session.commit()

    meta = user.versions()[-1].chrononaut_meta
    assert meta["user_info"] == {"user_id": "bob", "remote_addr": "10.0.0.1"}
    assert meta["extra_info"] == {"ticket": 7}
