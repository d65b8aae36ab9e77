"""`python -m chrononaut_pg`: see `chrononaut_pg.cli`."""

import sys

from chrononaut_pg.cli import main

if __name__ == "__main__":
    sys.exit(main())
