"""An upgrade runs what leads beyond the installed core, from Python and in psql."""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from chrononaut_pg import _resources, core
from tests.servers import Cluster, Db

Upgrade = Callable[[Db], None]


@pytest.fixture
def next_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A core one version ahead, whose upgrade leaves a table `upgraded` behind."""
    installed = _resources.package_core_version()
    folder = tmp_path / "sql"
    shutil.copytree(_resources.sql_folder(), folder)
    version_file = folder / "core" / "00_version.sql"
    version_file.write_text(
        version_file.read_text().replace(
            f"as 'select {installed}'", f"as 'select {installed + 1}'"
        )
    )
    upgrade = folder / "upgrades" / f"{installed + 1:04}_next.sql"
    upgrade.parent.mkdir(exist_ok=True)
    upgrade.write_text("create table public.upgraded ();\n")
    monkeypatch.setattr(_resources, "sql_folder", lambda: folder)
    _resources.package_core_version.cache_clear()
    yield installed + 1
    monkeypatch.undo()
    _resources.package_core_version.cache_clear()


@pytest.fixture(params=["python", "psql"])
def upgrade(request: pytest.FixtureRequest, server: Cluster, superuser: str) -> Upgrade:
    """Brings a connection's database to the package's core, one way or the other."""

    def through_psql(connection: Db) -> None:
        psql = request.getfixturevalue("clients") / "psql"
        url = server.url(connection.info.dbname, user=superuser)
        script = core.install_script()
        subprocess.run([psql, "-Xq", url], input=script, text=True, check=True)

    def through_python(connection: Db) -> None:
        core.install(connection)

    return through_psql if request.param == "psql" else through_python


def upgraded(connection: Db) -> object:
    row = connection.execute("select to_regclass('public.upgraded')::text").fetchone()
    return row and row[0]


def test_installed_core_is_upgraded_once(
    db: Db, next_version: int, upgrade: Upgrade
) -> None:
    upgrade(db)
    upgrade(db)

    status = core.status(db)
    assert (status.installed_version, upgraded(db)) == (next_version, "upgraded")


def test_fresh_install_passes_upgrades_over(
    empty_db: Db, next_version: int, upgrade: Upgrade
) -> None:
    upgrade(empty_db)

    status = core.status(empty_db)
    assert (status.installed_version, upgraded(empty_db)) == (next_version, None)


def test_older_core_is_reported_without_reading_its_tables(
    db: Db, next_version: int
) -> None:
    assert core.status(db) == core.Status(next_version, next_version - 1)
