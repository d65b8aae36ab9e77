"""Create the peer's tables, triggers and functions in a database.

Run as `python -m benchmarks.peer HOST PORT USER DATABASE` by the peer's Python. Django
and pghistory write all of the DDL: makemigrations into a folder that is thrown away,
then migrate.
"""

# mypy: disable-error-code="import-not-found"

import sys
import tempfile
from pathlib import Path

import django
from django.conf import settings
from django.core.management import call_command


def _configure(host: str, port: str, user: str, database: str) -> None:
    settings.configure(
        INSTALLED_APPS=[
            "django.contrib.contenttypes",
            "django.contrib.auth",
            "pgtrigger",
            "pghistory",
            "benchmarks.peer",
        ],
        MIGRATION_MODULES={"peer": "peer_migrations"},
        DEFAULT_AUTO_FIELD="django.db.models.AutoField",
        USE_TZ=True,
        DATABASES={
            "default": {
                "ENGINE": "django.db.backends.postgresql",
                "HOST": host,
                "PORT": port,
                "USER": user,
                "NAME": database,
            }
        },
    )
    django.setup()


def main(arguments: list[str]) -> None:
    """Migrate the database that the four *arguments* name."""
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder, "peer_migrations")
        package.mkdir()
        (package / "__init__.py").touch()
        sys.path.insert(0, folder)
        _configure(*arguments)
        call_command("makemigrations", "peer", verbosity=0)
        call_command("migrate", verbosity=0)


if __name__ == "__main__":
    main(sys.argv[1:])
