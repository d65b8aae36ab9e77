"""`_resources`: which SQL files run, and in which order."""

import re
from pathlib import Path

import pytest

from chrononaut_pg import _resources

CHECKOUT = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with two core files and two upgrades, used instead of the real one."""
    for name in (
        "prelude.sql",
        "core/10_tables.sql",
        "core/00_version.sql",
        "upgrades/0003_third.sql",
        "upgrades/0002_second.sql",
    ):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"-- {name}")
    monkeypatch.setattr(_resources, "sql_folder", lambda: tmp_path)
    return tmp_path


@pytest.mark.usefixtures("folder")
def test_upgrades_run_in_order_between_prelude_and_core() -> None:
    assert [(file.name, file.leads_to) for file in _resources.install_files()] == [
        ("prelude.sql", None),
        ("upgrades/0002_second.sql", 2),
        ("upgrades/0003_third.sql", 3),
        ("core/00_version.sql", None),
        ("core/10_tables.sql", None),
    ]


def test_version_file_without_number_is_an_error(folder: Path) -> None:
    _resources.package_core_version.cache_clear()
    with pytest.raises(ValueError, match=re.escape(str(folder))):
        _resources.package_core_version()


def test_psql_entry_point_runs_the_same_files_in_the_same_order() -> None:
    script = (CHECKOUT / "sql" / "install.sql").read_text()
    included = re.findall(r"^\\ir (\S+)", script, re.M)

    assert included == [file.name for file in _resources.install_files()]
