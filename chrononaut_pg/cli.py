"""The command line, for whoever has a database URL and no Python at hand::

    python -m chrononaut_pg install --url postgresql://localhost/app
    python -m chrononaut_pg create app.user --hidden password
    python -m chrononaut_pg sql | psql app

Every command is one public function of `chrononaut_pg.core`. Without --url the
variables CHRONONAUT_URL and DATABASE_URL are asked, then libpq's own.
"""

import argparse
import importlib
import os
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any, get_args

import psycopg
from sqlalchemy import MetaData, NullPool, create_engine

from chrononaut_pg import core
from chrononaut_pg._resources import templates_folder
from chrononaut_pg.exceptions import ChrononautException, UnsupportedDatabaseError
from chrononaut_pg.options import (
    COLUMN_OPTIONS,
    Granularity,
    OnTruncate,
    VersioningOptions,
)

Command = Callable[[argparse.Namespace], int]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return 0, 1 for an error or a problem found."""
    options = _parser().parse_args(arguments)
    command: Command = options.command
    try:
        return command(options)
    except (ChrononautException, psycopg.Error) as error:
        print(f"chrononaut: {_said(error)}", file=sys.stderr)
        return 1


def install(options: argparse.Namespace) -> int:
    """Install the core, or upgrade it."""
    with _connect(options) as connection:
        version = core.install(connection, auto_sync=options.auto_sync)
    print(f"core version {version} is installed")
    return 0


def status(options: argparse.Namespace) -> int:
    """Print the core's version and the versioned tables."""
    with _connect(options) as connection:
        found = core.status(connection)
    installed = found.installed_version
    print(f"package core version: {found.package_version}")
    print(f"installed core version: {'none' if installed is None else installed}")
    for table in found.tables:
        print(f"{table.schema}.{table.name} -> {table.history_table}")
    _print_problems(found.problems)
    return 0 if found.current and not found.problems else 1


def sql(options: argparse.Namespace) -> int:
    """Print the script that installs the core."""
    print(core.install_script(options.auto_sync), end="")
    return 0


def create(options: argparse.Namespace) -> int:
    """Version a table."""
    with _connect(options) as connection:
        print(core.create_versioning(connection, options.table, _chosen(options)))
    return 0


def alter(options: argparse.Namespace) -> int:
    """Change options of a versioned table."""
    with _connect(options) as connection:
        print(core.alter_versioning(connection, options.table, _chosen(options)))
    return 0


def drop(options: argparse.Namespace) -> int:
    """Stop versioning a table."""
    with _connect(options) as connection:
        core.drop_versioning(connection, options.table, options.drop_history)
    return 0


def sync(options: argparse.Namespace) -> int:
    """Bring history in line with a changed table."""
    with _connect(options) as connection:
        print(core.sync_versioning(connection, options.table))
    return 0


def check(options: argparse.Namespace) -> int:
    """Print what is wrong with versioned tables, and where models differ from them."""
    with _connect(options) as connection:
        problems = list(core.check_versioning(connection))
    if options.models:
        problems += _check_models(options)
    _print_problems(problems)
    return 1 if problems else 0


def templates(options: argparse.Namespace) -> int:
    """Print the folder of an Alembic template, or the names of all."""
    folder = templates_folder()
    names = sorted(path.name for path in folder.iterdir() if path.is_dir())
    if options.name is None:
        print("\n".join(names))
        return 0
    if options.name not in names:
        message = f"no template {options.name}; there are {', '.join(names)}"
        print(f"chrononaut: {message}", file=sys.stderr)
        return 1
    print(folder / options.name)
    return 0


def _check_models(options: argparse.Namespace) -> list[core.Problem]:
    from chrononaut_pg.drift import check_models

    sys.path.insert(0, os.getcwd())
    engine = create_engine(
        "postgresql+psycopg://", creator=lambda: _connect(options), poolclass=NullPool
    )
    with engine.connect() as connection:
        return [
            problem
            for path in options.models
            for problem in check_models(connection, _metadata(path))
        ]


def _metadata(path: str) -> MetaData:
    """Return the MetaData that a path such as `app.models:Base` leads to."""
    module, _, name = path.partition(":")
    hint = "Name a MetaData or a declarative base, as in app.models:Base."
    try:
        found: Any = importlib.import_module(module)
    except ImportError as error:
        raise ChrononautException(
            f"cannot import {module}: {error}", hint=hint
        ) from error
    for part in filter(None, (name or "metadata").split(".")):
        if not hasattr(found, part):
            raise ChrononautException(f"{module} has no {name or part}", hint=hint)
        found = getattr(found, part)
    metadata = getattr(found, "metadata", found)
    if not isinstance(metadata, MetaData):
        raise ChrononautException(f"{path} is no MetaData and has none", hint=hint)
    return metadata


def _print_problems(problems: Sequence[core.Problem]) -> None:
    for found in problems:
        print(f"{found.relation}: {found.problem}; {found.fix}", file=sys.stderr)


def _said(error: Exception) -> str:
    """Return what an error says; PostgreSQL's without the context in our own calls."""
    diagnostics = getattr(error, "diag", None)
    return getattr(diagnostics, "message_primary", None) or str(error).rstrip()


def _connect(options: argparse.Namespace) -> psycopg.Connection[Any]:
    # SQLAlchemy's URLs name a driver, which libpq does not know.
    url = re.sub(_SCHEME, r"\1:", _url(options))
    scheme, found, _ = url.partition("://")
    kind = scheme.partition("+")[0]
    if found and kind.isalnum() and kind not in ("postgres", "postgresql"):
        raise UnsupportedDatabaseError(
            f"{kind} is not PostgreSQL",
            hint="Pass a URL such as postgresql://localhost/app.",
        )
    try:
        return psycopg.connect(url)
    except psycopg.OperationalError as error:
        raise ChrononautException(
            str(error).splitlines()[0],
            hint="Name the database with --url, or in the variable CHRONONAUT_URL.",
        ) from error


_SCHEME = r"^(postgres(?:ql)?)(?:\+\w+)?:"


def _url(options: argparse.Namespace) -> str:
    url = options.url or os.environ.get("CHRONONAUT_URL")
    return url or os.environ.get("DATABASE_URL", "")


def _chosen(options: argparse.Namespace) -> VersioningOptions:
    return VersioningOptions(
        **{name: getattr(options, name, None) for name in _OPTION_ARGUMENTS}
    )


_FLAG: dict[str, Any] = {"action": argparse.BooleanOptionalAction}
_OPTION_ARGUMENTS: dict[str, dict[str, Any]] = {
    **{name: {"nargs": "*", "metavar": "COLUMN"} for name in COLUMN_OPTIONS},
    "history_table": {"metavar": "NAME"},
    "granularity": {"choices": get_args(Granularity)},
    "track_inserts": _FLAG,
    "require_change_info": _FLAG,
    "lockable": _FLAG,
    "row_version": _FLAG,
    "always": _FLAG,
    "on_truncate": {"choices": get_args(OnTruncate)},
    "parent": {"metavar": "TABLE"},
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="chrononaut", description="History for PostgreSQL tables."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in (
        *(install, status, sql, create, alter, drop, sync, check),
        templates,
    ):
        added = commands.add_parser(command.__name__, help=command.__doc__)
        added.set_defaults(command=command)
        _add_arguments(added, command)
    return parser


def _add_arguments(parser: argparse.ArgumentParser, command: Command) -> None:
    if command is templates:
        parser.add_argument("name", nargs="?", help="chrononaut, ..._async, ..._flask")
        return
    if command is check:
        parser.add_argument(
            "--models",
            action="append",
            metavar="MODULE:BASE",
            help="a declarative base or MetaData to compare with, as in app:Base",
        )
    if command is not sql:
        parser.add_argument("--url", help="the database")
    if command in (install, sql):
        parser.add_argument("--auto-sync", action="store_true")
    if command in (create, alter, drop, sync):
        parser.add_argument("table")
    if command is drop:
        parser.add_argument("--drop-history", action="store_true")
    if command in (create, alter):
        for name, settings in _OPTION_ARGUMENTS.items():
            if command is create or name != "history_table":
                parser.add_argument(f"--{name.replace('_', '-')}", **settings)
