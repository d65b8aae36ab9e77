"""The SQL files of the core: where they are and in which order they run.

Read by `core.py`. A wheel carries them inside the package; an editable install and a
checkout have them beside it.
"""

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path


@dataclass(frozen=True)
class SqlFile:
    """One SQL file: its *name* below the SQL folder, and its *text*.

    *leads_to* is the core version that an upgrade ends with, None for other files.
    """

    name: str
    text: str
    leads_to: int | None = None


def sql_folder() -> Path:
    """Return the folder with the SQL files. Raises FileNotFoundError without one."""
    package = Path(__file__).parent
    for folder in (package / "_sql", package.parent / "sql"):
        if (folder / "prelude.sql").is_file():
            return folder
    raise FileNotFoundError(
        f"no SQL files beside {package}: the installation of chrononaut-pg is broken"
    )


def templates_folder() -> Path:
    """Return the folder with the Alembic templates."""
    package = Path(__file__).parent
    for folder in (package / "_templates", package.parent / "migrations_templates"):
        if folder.is_dir():
            return folder
    raise FileNotFoundError(
        f"no templates beside {package}: the installation of chrononaut-pg is broken"
    )


@cache
def package_core_version() -> int:
    """Return the core version that the SQL files install."""
    path = sql_folder() / "core" / "00_version.sql"
    found = re.search(r"core_version\(\).*?as 'select (\d+)'", path.read_text(), re.S)
    if found is None:
        raise ValueError(f"{path} does not say which version of the core it is")
    return int(found.group(1))


def install_files() -> list[SqlFile]:
    """Return all files that install or upgrade the core, in the order of running.

    An upgrade is to be passed over unless an older core than it leads to is installed.
    """
    folder = sql_folder()
    return [
        _read(folder, folder / "prelude.sql"),
        *(_read(folder, path) for path in sorted((folder / "upgrades").glob("*.sql"))),
        *(_read(folder, path) for path in sorted((folder / "core").glob("*.sql"))),
    ]


def _read(folder: Path, path: Path) -> SqlFile:
    is_upgrade = path.parent.name == "upgrades"
    return SqlFile(
        name=path.relative_to(folder).as_posix(),
        text=path.read_text(encoding="utf-8").strip(),
        leads_to=int(path.name.split("_")[0]) if is_upgrade else None,
    )
