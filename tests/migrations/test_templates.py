"""The templates, by really running Alembic and Flask-Migrate in subprocesses."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import make_url

from tests.servers import Cluster, Db

MODELS = """
from sqlalchemy import Column, Integer, String
from sqlalchemy.orm import DeclarativeBase
from chrononaut_pg import Versioned


class Base(DeclarativeBase):
    pass


class User(Versioned, Base):
    __tablename__ = "appuser"
    __chrononaut_hidden__ = ["password"]
    id = Column(Integer, primary_key=True)
    email = Column(String)
    password = Column(String)
"""

APP = """
from flask import Flask
from flask_migrate import Migrate
from chrononaut_pg import Versioned, VersionedSQLAlchemy

app = Flask("app")
app.config["SQLALCHEMY_DATABASE_URI"] = "{url}"
db = VersionedSQLAlchemy(app)
Migrate(app, db)


class User(Versioned, db.Model):
    __tablename__ = "appuser"
    __chrononaut_hidden__ = ["password"]
    id = db.Column(db.Integer, primary_key=True)
    email = db.Column(db.String)
    password = db.Column(db.String)
"""


def run(folder: Path, *command: str) -> str:
    """Run a module of Python in the folder, and return what it printed."""
    environment = {**os.environ, "FLASK_APP": "app", "PYTHONPATH": str(folder)}
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=folder,
        env=environment,
        text=True,
        capture_output=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def template(folder: Path, name: str) -> str:
    return run(folder, "chrononaut_pg", "templates", name).strip()


def revision(folder: Path) -> str:
    """Return the text of the only revision file."""
    (path,) = folder.glob("migrations/versions/*.py")
    return path.read_text()


@pytest.fixture
def url(server: Cluster, superuser: str, empty_db: Db) -> str:
    """The SQLAlchemy URL of a database without core."""
    return server.url(empty_db.info.dbname, user=superuser, driver="psycopg")


def of_driver(url: str, driver: str) -> str:
    """Return the URL for another driver; asyncpg takes no port beside a socket."""
    found = make_url(url)
    if driver == "asyncpg":
        found = found.set(drivername="postgresql+asyncpg")
        found = found.difference_update_query(["port"])
    return found.render_as_string(hide_password=False)


def is_recording(db: Db) -> bool:
    db.execute("insert into appuser values (1, 'a', 'secret')")
    row = db.execute("select count(*) from appuser_history").fetchone()
    db.rollback()
    return row == (1,)


@pytest.mark.parametrize(
    ("name", "driver"),
    [
        ("chrononaut", "psycopg"),
        ("chrononaut_async", "psycopg"),
        ("chrononaut_async", "asyncpg"),
    ],
)
def test_alembic_template_goes_all_the_way(
    tmp_path: Path, url: str, empty_db: Db, name: str, driver: str
) -> None:
    (tmp_path / "models.py").write_text(MODELS)
    run(tmp_path, "alembic", "init", "-t", template(tmp_path, name), "migrations")
    ini = tmp_path / "alembic.ini"
    named = of_driver(url, driver).replace("%", "%%")
    ini.write_text(
        re.sub(r"sqlalchemy.url = .*", f"sqlalchemy.url = {named}", ini.read_text())
    )
    env = tmp_path / "migrations" / "env.py"
    env.write_text(
        env.read_text().replace(
            "target_metadata = None",
            "from models import Base\n\ntarget_metadata = Base.metadata",
        )
    )

    run(tmp_path, "alembic", "revision", "--autogenerate", "-m", "users")
    assert "op.create_versioning('appuser', hidden=['password'])" in revision(tmp_path)
    run(tmp_path, "alembic", "upgrade", "head")
    assert is_recording(empty_db)
    run(tmp_path, "alembic", "check")
    run(tmp_path, "chrononaut_pg", "check", "--url", url, "--models", "models:Base")
    run(tmp_path, "alembic", "downgrade", "base")
    run(tmp_path, "alembic", "upgrade", "head")
    assert is_recording(empty_db)
    assert "select chrononaut.create_versioning('appuser'" in run(
        tmp_path, "alembic", "upgrade", "head", "--sql"
    )


def test_flask_migrate_template_goes_all_the_way(
    tmp_path: Path, url: str, empty_db: Db
) -> None:
    (tmp_path / "app.py").write_text(APP.replace("{url}", url))
    flask = ("flask", "db")
    run(tmp_path, *flask, "init", "-t", template(tmp_path, "chrononaut_flask"))

    run(tmp_path, *flask, "migrate", "-m", "users")
    assert "op.create_versioning('appuser', hidden=['password'])" in revision(tmp_path)
    run(tmp_path, *flask, "upgrade")
    assert is_recording(empty_db)
    run(tmp_path, *flask, "check")
    run(tmp_path, *flask, "downgrade")
    run(tmp_path, *flask, "upgrade")
    assert is_recording(empty_db)
