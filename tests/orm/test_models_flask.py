"""Models of Flask-SQLAlchemy, whatever its base class and however many databases."""

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy
from flask import Flask
from sqlalchemy import NullPool, text
from sqlalchemy.orm import (
    DeclarativeBase,
    DeclarativeBaseNoMeta,
    Mapped,
    MappedAsDataclass,
    declarative_base,
    mapped_column,
)

from chrononaut_pg import Versioned, VersionedSQLAlchemy, history_class
from tests.orm.modelling import story
from tests.servers import Cluster, Db

DATACLASSES = pytest.mark.skipif(
    sqlalchemy.__version__ >= "2.1",
    reason="Flask-SQLAlchemy 3.1 cannot make dataclass bases with SQLAlchemy 2.1",
)


class Plain(DeclarativeBase):
    pass


class NoMeta(DeclarativeBaseNoMeta):
    pass


class Data(MappedAsDataclass, DeclarativeBase):
    pass


class DataNoMeta(MappedAsDataclass, DeclarativeBaseNoMeta):
    pass


@pytest.fixture
def app(server: Cluster, superuser: str, dbname: str, empty_db: Db) -> Iterator[Flask]:
    """An application with two databases, the second one without a core."""

    def bind(name: str) -> dict[str, Any]:
        url = server.url(name, user=superuser, driver="psycopg")
        return {"url": url, "poolclass": NullPool}

    app = Flask("models")
    app.config.update(
        SQLALCHEMY_DATABASE_URI=server.url(dbname, user=superuser, driver="psycopg"),
        SQLALCHEMY_ENGINE_OPTIONS={"poolclass": NullPool},
        SQLALCHEMY_BINDS={"archive": bind(empty_db.info.dbname)},
    )
    with app.app_context():
        yield app


def _fresh(base: type[Any] | None) -> Any:
    """Return a base of its own, since its metadata is shared with all users."""
    return None if base is None else type(base.__name__, base.__bases__, {})


@pytest.mark.parametrize("versioned_first", [True, False])
@pytest.mark.parametrize(
    "base",
    [
        None,
        Plain,
        NoMeta,
        pytest.param(Data, marks=DATACLASSES),
        pytest.param(DataNoMeta, marks=DATACLASSES),
    ],
    ids=lambda base: base.__name__ if base else "default",
)
def test_every_base_class_has_history(
    app: Flask, base: Any, versioned_first: bool
) -> None:
    chosen = {} if base is None else {"model_class": _fresh(base)}
    db = VersionedSQLAlchemy(app, **chosen)
    bases = (Versioned, db.Model) if versioned_first else (db.Model, Versioned)

    init: dict[str, Any] = {"init": False} if base in (Data, DataNoMeta) else {}

    class User(*bases):  # type: ignore[misc]
        id: Mapped[int] = mapped_column(primary_key=True, **init)
        name: Mapped[str | None] = mapped_column(default=None)

    db.create_all()
    one = User()
    one.name = "a"

    assert story(db.session, one, "name", "b") == ("UserHistory", "IUD", ["a", "b"])
    assert User.__table__.name == "user"


def test_a_declarative_base_of_ones_own(app: Flask) -> None:
    db = VersionedSQLAlchemy(app, model_class=declarative_base())

    class User(Versioned, db.Model):  # type: ignore[name-defined, misc]
        __tablename__ = "user"
        id = db.Column(db.Integer, primary_key=True)
        name = db.Column(db.Text)

    db.create_all()

    assert story(db.session, User(name="a"), "name", "b")[2] == ["a", "b"]


def test_tables_are_named_by_flask_and_their_history_too(app: Flask) -> None:
    db = VersionedSQLAlchemy(app)

    class UserAccount(Versioned, db.Model):  # type: ignore[name-defined, misc]
        id = db.Column(db.Integer, primary_key=True)

    db.create_all()
    found = db.session.scalars(
        text("select history_table::text from chrononaut.versioned_tables")
    ).all()

    assert found == ["user_account_history"]


def test_models_of_several_databases_have_history_in_their_own(
    app: Flask, db: Db, empty_db: Db
) -> None:
    ext = VersionedSQLAlchemy(app)

    class Letter(Versioned, ext.Model):  # type: ignore[name-defined, misc]
        __bind_key__ = "archive"
        id = ext.Column(ext.Integer, primary_key=True)
        name = ext.Column(ext.Text)

    class User(Versioned, ext.Model):  # type: ignore[name-defined, misc]
        id = ext.Column(ext.Integer, primary_key=True)
        name = ext.Column(ext.Text)

    ext.create_all()
    for model in (Letter, User):
        found = story(ext.session, model(name="a"), "name", "b")
        assert found[1:] == ("IUD", ["a", "b"])
    query = "select table_name from chrononaut.versioned_tables"

    assert empty_db.execute(query).fetchall() == [("letter",)]
    assert db.execute(query).fetchall() == [("user",)]


def test_history_is_queried_in_the_models_database(app: Flask) -> None:
    ext = VersionedSQLAlchemy(app)

    class Letter(Versioned, ext.Model):  # type: ignore[name-defined, misc]
        __bind_key__ = "archive"
        id = ext.Column(ext.Integer, primary_key=True)
        name = ext.Column(ext.Text)

    ext.create_all("archive")
    letter = Letter(name="a")
    ext.session.add(letter)
    ext.session.commit()
    letter.name = "b"
    ext.session.commit()
    cls = history_class(Letter)
    chosen = ext.select(cls.name).order_by(cls.version)

    assert ext.session.scalars(chosen).all() == ["a", "b"]
    assert letter.versions(return_query=True).count() == 1


def test_drop_all_of_one_database_leaves_the_other(
    app: Flask, db: Db, empty_db: Db
) -> None:
    ext = VersionedSQLAlchemy(app)

    class Letter(Versioned, ext.Model):  # type: ignore[name-defined, misc]
        __bind_key__ = "archive"
        id = ext.Column(ext.Integer, primary_key=True)

    class User(Versioned, ext.Model):  # type: ignore[name-defined, misc]
        id = ext.Column(ext.Integer, primary_key=True)

    ext.create_all()
    ext.drop_all("archive")
    query = "select table_name from chrononaut.versioned_tables"

    assert empty_db.execute(query).fetchall() == []
    assert db.execute(query).fetchall() == [("user",)]


def test_joined_inheritance_keeps_flasks_names(app: Flask) -> None:
    ext = VersionedSQLAlchemy(app)

    class Person(Versioned, ext.Model):  # type: ignore[name-defined, misc]
        id = ext.Column(ext.Integer, primary_key=True)
        name = ext.Column(ext.Text)

    class Clerk(Person):
        id = ext.Column(ext.ForeignKey("person.id"), primary_key=True)
        desk = ext.Column(ext.Integer)

    ext.create_all()
    found = story(ext.session, Clerk(name="a", desk=1), "desk", 2)

    assert found == ("ClerkHistory", "IUD", [1, 2])


def test_a_detached_object_reads_with_the_applications_session(app: Flask) -> None:
    ext = VersionedSQLAlchemy(app)

    class User(Versioned, ext.Model):  # type: ignore[name-defined, misc]
        id = ext.Column(ext.Integer, primary_key=True)
        name = ext.Column(ext.Text)

    ext.create_all()
    user = User(name="a")
    ext.session.add(user)
    ext.session.commit()
    user.name = "b"
    ext.session.commit()
    ext.session.remove()

    assert [one.name for one in user.versions()] == ["a"]


def test_importing_the_mixin_imports_no_framework_and_no_driver() -> None:
    code = (
        "import sys, sqlalchemy.orm, chrononaut_pg, chrononaut_pg.mixins\n"
        "names = {name.split('.')[0] for name in sys.modules}\n"
        "print(sorted(names & {'flask', 'click', 'alembic', 'asyncpg', 'psycopg'}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )

    assert done.stdout == "[]\n"
