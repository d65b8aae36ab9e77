"""Alembic before 1.18, which finds no plugins: `include()` in env.py is enough.

It has a virtual environment of its own beside the project's, made on first use.
"""

import fcntl
import os
import re
import shutil
import subprocess
import venv
from functools import cache
from pathlib import Path

import pytest

from chrononaut_pg._resources import templates_folder
from tests.migrations.test_templates import MODELS, is_recording, revision
from tests.servers import Cluster, Db

ROOT = Path(__file__).parents[2]

REQUIREMENTS = "alembic==1.13.0", "SQLAlchemy>=2,<2.1", "psycopg[binary]"


@cache
def older_python() -> Path:
    """Return an interpreter with the oldest Alembic that is supported."""
    folder = ROOT / ".venv-alembic-older"
    with (ROOT / ".venv-alembic-older.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        ready = folder / "ready"
        if not ready.is_file() or ready.read_text() != "\n".join(REQUIREMENTS):
            shutil.rmtree(folder, ignore_errors=True)
            venv.create(folder, with_pip=True)
            install = (folder / "bin" / "python", "-m", "pip", "install", "--quiet")
            done = subprocess.run(
                [*install, "--disable-pip-version-check", *REQUIREMENTS],
                capture_output=True,
                text=True,
            )
            if done.returncode != 0:
                last = (done.stderr.strip() or "no message").splitlines()[-1]
                pytest.skip(f"no environment for {REQUIREMENTS[0]}: {last}")
            ready.write_text("\n".join(REQUIREMENTS))
    return folder / "bin" / "python"


class Project:
    """An application's folder, in which older Alembic runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def alembic(self, *arguments: str, fails: bool = False) -> str:
        """Run Alembic, which must succeed, or fail; return what it has said."""
        path = os.pathsep.join([str(self.folder), str(ROOT)])
        done = subprocess.run(
            [older_python(), "-W", "error", "-m", "alembic", *arguments],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": path},
            text=True,
            capture_output=True,
        )
        assert (done.returncode != 0) == fails, done.stdout + done.stderr
        return done.stdout + done.stderr


@pytest.fixture
def project(tmp_path: Path, server: Cluster, superuser: str, empty_db: Db) -> Project:
    """A project made from the template, on a database without core."""
    url = server.url(empty_db.info.dbname, user=superuser, driver="psycopg")
    found = Project(tmp_path)
    (tmp_path / "models.py").write_text(MODELS)
    found.alembic("init", "-t", str(templates_folder() / "chrononaut"), "migrations")
    ini = tmp_path / "alembic.ini"
    text = re.sub(r"sqlalchemy.url = .*", f"sqlalchemy.url = {url}", ini.read_text())
    ini.write_text(text.replace("%2F", "%%2F"))
    env = tmp_path / "migrations" / "env.py"
    models = "from models import Base\n\ntarget_metadata = Base.metadata"
    env.write_text(env.read_text().replace("target_metadata = None", models))
    return found


def test_older_alembic_goes_all_the_way(project: Project, empty_db: Db) -> None:
    project.alembic("revision", "--autogenerate", "-m", "users")
    written = revision(project.folder)
    project.alembic("upgrade", "head")
    recording = is_recording(empty_db)
    project.alembic("check")
    project.alembic("downgrade", "base")
    project.alembic("upgrade", "head")

    assert "op.create_versioning('appuser', hidden=['password'])" in written
    assert (recording, is_recording(empty_db)) == (True, True)
    assert "select chrononaut.create_versioning('appuser'" in project.alembic(
        "upgrade", "head", "--sql"
    )


def test_older_alembic_sees_options_that_changed(
    project: Project, empty_db: Db
) -> None:
    project.alembic("revision", "--autogenerate", "-m", "users")
    project.alembic("upgrade", "head")
    models = project.folder / "models.py"
    models.write_text(models.read_text().replace('["password"]', '["email"]'))

    said = project.alembic("check", fails=True)
    assert "alter_versioning" in said
    assert "appuser_history" not in said
