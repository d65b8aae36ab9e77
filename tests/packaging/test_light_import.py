"""What importing this package costs an application beyond SQLAlchemy."""

import subprocess
import sys

import chrononaut_pg

PROGRAM = """
import sys, sqlalchemy.orm
before = set(sys.modules)
from chrononaut_pg import Versioned, change_info, listen
print(*sorted({name for name in set(sys.modules) - before if name in HEAVY}))
"""

HEAVY = {
    *("psycopg", "sqlalchemy.ext.asyncio", "sqlalchemy.dialects.postgresql"),
    *("alembic", "click", "flask", "flask_sqlalchemy", "chrononaut_pg._past"),
    *("chrononaut_pg.history", "chrononaut_pg.readers", "chrononaut_pg._reading"),
}


def test_declaring_and_listening_import_no_driver_no_framework_and_no_readers() -> None:
    program = PROGRAM.replace("HEAVY", repr(HEAVY))
    found = subprocess.check_output([sys.executable, "-c", program], text=True)

    assert found.split() == []


def test_star_import_needs_no_flask() -> None:
    program = "import sys; sys.modules['flask_sqlalchemy'] = None\n"
    program += "from chrononaut_pg import *; print(rationale.__name__)"
    found = subprocess.check_output([sys.executable, "-c", program], text=True)

    assert found == "rationale\n"


def test_shells_can_complete_names_that_are_imported_lazily() -> None:
    assert set(chrononaut_pg.__all__) <= set(dir(chrononaut_pg))
