"""Uses the application as two people with browsers would, and one with psql.

Read by `examples/demo.py` and the tests. What the history then says of who and why is
compared with what was done.
"""

import re
from difflib import ndiff
from typing import Any, Protocol

import httpx
import psycopg
from rich.console import Console
from rich.table import Table

from contacts import create_app
from contacts.models import db
from contacts.seed import PASSWORD, seed
from contacts.serving import serving

ANNA, BEN = "anna@agency.example", "ben@agency.example"
SCRIPT = "phone-import"

Entry = tuple[str, str, str, str, int]
"""Who, why, which table, which operation, how many rows."""

EXPECTED: list[Entry] = [
    ("seed", "first import", "public.appuser", "I", 2),
    ("seed", "first import", "public.company", "I", 3),
    ("seed", "first import", "public.contact", "I", 8),
    ("seed", "first import", "public.note", "I", 3),
    (ANNA, "promoted, told us by phone", "public.contact", "U", 1),
    (BEN, "number was wrong, ticket 1732", "public.contact", "U", 1),
    (ANNA, "took a note", "public.note", "I", 1),
    (BEN, "company has a new name on the web", "public.contact", "U", 3),
    (BEN, "company has a new name on the web", "public.company", "U", 1),
    (f"postgres through {SCRIPT}", "", "public.contact", "U", 2),
    (ANNA, "moved to the Lyon office", "public.contact", "U", 1),
]

TIMELINE = """
select min(c.changed), c.change_info, c.relation, c.operation::text, count(*)
from chrononaut.recent_changes c
group by c.transaction_id, c.change_info, c.relation, c.operation
order by min(c.change_id)
"""


class Cluster(Protocol):
    """A PostgreSQL server."""

    def url(self, dbname: str = ..., *, driver: str | None = ...) -> str:
        """Return the URL of a database."""


def make_database(server: Cluster) -> str:
    """Create the database `contacts` and return its URL."""
    with psycopg.connect(server.url(), autocommit=True) as connection:
        connection.execute("create database contacts")
    return server.url("contacts")


class Browser:
    """Somebody who is logged in."""

    def __init__(self, url: str, email: str) -> None:
        self._client = httpx.Client(
            base_url=url, follow_redirects=True, trust_env=False, timeout=30
        )
        self.submit("/login", email=email, password=PASSWORD)

    def submit(self, path: str, **values: Any) -> httpx.Response:
        """Fill in the form of a page, leaving what is not given as it is."""
        page = self._client.get(path).raise_for_status().text
        fields = dict(re.findall(r'name="(\w+)"[^>]*?value="([^"]*)"', page))
        for name, options in re.findall(
            r'<select[^>]*name="(\w+)">(.*?)</select', page
        ):
            fields[name] = re.search(r'selected value="(\d+)"', options)[1]  # type: ignore[index]
        answer = self._client.post(path, data={**fields, **values})
        return answer.raise_for_status()

    def read(self, path: str) -> str:
        """Return a page."""
        return self._client.get(path).raise_for_status().text

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


def act(page: str, database: str) -> None:
    """Do what EXPECTED tells, from the fifth line on."""
    anna, ben = Browser(page, ANNA), Browser(page, BEN)
    anna.submit(
        "/contacts/5/edit",
        position="Workshop manager",
        rationale="promoted, told us by phone",
    )
    ben.submit(
        "/contacts/1/edit",
        phone="+49 421 555 0111",
        rationale="number was wrong, ticket 1732",
    )
    anna.submit("/contacts/5", text="Takes over the workshop in May.")
    ben.submit(
        "/companies/1/domain",
        domain="harbour-roasters.example",
        rationale="company has a new name on the web",
    )
    with psycopg.connect(database, application_name=SCRIPT) as connection:
        connection.execute(
            "update contact set phone = replace(phone, '+44 113', '+44 (0)113')"
            " where company_id = 2"
        )
    anna.submit("/contacts/4/edit", company_id=3, rationale="moved to the Lyon office")
    anna.close()
    ben.close()


def timeline(database: str) -> list[tuple[str, Entry]]:
    """Return what the history tells, oldest first: the time, and who, why and what."""
    with psycopg.connect(database) as connection:
        rows = connection.execute(TIMELINE).fetchall()
    return [
        (f"{at:%H:%M:%S.%f}"[:-3], (_who(info), _why(info), relation, operation, count))
        for at, info, relation, operation, count in rows
    ]


def _who(info: dict[str, Any]) -> str:
    by_hand = f"{info.get('db_user')} through {info.get('application_name')}"
    return str(info.get("user_id") or by_hand)


def _why(info: dict[str, Any]) -> str:
    return str(info.get("extra", {}).get("rationale", ""))


def show(console: Console, found: list[tuple[str, Entry]]) -> None:
    """Print the timeline."""
    table = Table("at", "who", "why", "table", "", "rows", box=None, pad_edge=False)
    for at, (who, why, relation, operation, count) in found:
        table.add_row(at, who, why, relation, operation, str(count))
    console.print(table)


def drive(server: Cluster, console: Console) -> list[str]:
    """Run the whole story on a new database; return what is wrong with its history."""
    database = make_database(server)
    app = create_app(server.url("contacts", driver="psycopg"))
    with app.app_context():
        seed()
    with serving(app) as page:
        console.print(f"The address book runs at {page}; people use it.")
        act(page, database)
    with app.app_context():
        db.engine.dispose()
    found = timeline(database)
    show(console, found)
    return differences([entry for _, entry in found])


def differences(found: list[Entry]) -> list[str]:
    """Return how a timeline differs from EXPECTED, by lines; empty if it is right."""
    lines = ndiff([str(one) for one in EXPECTED], [str(one) for one in found])
    return [line for line in lines if line[0] in "+-"]
