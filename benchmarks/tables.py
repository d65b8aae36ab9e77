"""The tables that compete: one set of columns, recorded in different ways.

`bare` has no history at all. `floor` has none either; its work copies the rows with one
more statement into a table shaped like the history table, which is what any copy must
cost. `least` is recorded by the least row trigger that writes the same history rows:
all but the old values is constant; `least, transaction` is the least that keeps what
is promised: a definer function that says who, makes the transaction's row and knows it.
`row` and `statement` are this project's two granularities. The peer's two tables are
made by Django (benchmarks/peer).
"""

from dataclasses import dataclass

from psycopg import sql

from benchmarks.database import Connection

ROWS = 50_000
DATA = "id, name, email, price, active, quantity, updated, note"
META = "change_id, changed, operation, transaction_id, change_info"

_COLUMNS = """
    id integer primary key,
    name text not null,
    email text not null,
    price numeric(12, 2) not null,
    active boolean not null,
    quantity integer not null,
    updated timestamptz not null,
    note text not null
"""

_SOURCE = f"""
    insert into source
    select n,
        'Customer number ' || n,
        'customer.' || n || '@example.com',
        n / 7.0,
        n % 3 > 0,
        n % 1000,
        timestamptz '2024-01-01 00:00+00' + n * interval '1 minute',
        md5(n::text) || substr(md5((n + 1)::text), 1, 28)
    from generate_series(1, {ROWS}) n
"""

_FLOOR = """
    create sequence floor_change_id;
    create table floor_history (like by_statement_history including all);
"""


_CONSTANT = """
    nextval('public.floor_change_id'), clock_timestamp(), '{operation}', 1, {info}
"""
_CONSTANT_INFO = """'{"user_id": null, "remote_addr": null, "db_user": "postgres",
        "application_name": ""}'"""

_LEAST = """
    create table {history} (like by_row_history including all);
    create table {history}_transaction (like chrononaut.transaction including all);
    create sequence {history}_seen;
    create function {table}() returns trigger language plpgsql {rights} as $$
    declare
        info jsonb;
        seen bigint;
    begin
        {transaction}
        if tg_op = 'INSERT' then
            insert into public.{history} (id, {meta}) values (new.id, {inserted});
        else
            insert into public.{history} ({data}, {meta}) values ({old}, {changed});
        end if;
        return null;
    end
    $$;
    {others}
    create trigger least_update after update on {table}
        for each row when (old.* *<> new.*) execute function {table}();
"""
_LEAST_OTHERS = """
    create trigger least after insert or delete on {table}
        for each row execute function {table}();
"""
_LEAST_RIGHTS = "security definer set search_path = pg_catalog, pg_temp"
_LEAST_TRANSACTION = """
        info := coalesce(
            nullif(current_setting('chrononaut.change_info', true), '')::jsonb,
            jsonb_object('{{user_id,remote_addr,db_user,application_name}}', array[
                null, null, coalesce(nullif(current_setting('role'), 'none'),
                    session_user), current_setting('application_name')]));
        begin
            seen := currval('public.{history}_seen'::regclass);
        exception when object_not_in_prerequisite_state then
            seen := 0;
        end;
        if seen <> txid_current() then
            insert into public.{history}_transaction (
                id, xid, snapshot, began_at, issued_at, change_info, db_user,
                application_name, client_addr)
            values (
                txid_current(), pg_current_xact_id(), pg_current_snapshot(), now(),
                clock_timestamp(), info, coalesce(nullif(current_setting('role'),
                    'none'), session_user), current_setting('application_name'),
                inet_client_addr())
            returning setval('public.{history}_seen'::regclass, id) into seen;
        end if;
"""


@dataclass(frozen=True)
class Contender:
    """A table and the way in which it is recorded."""

    name: str
    table: str
    history: tuple[str, ...] = ()
    granularity: str | None = None
    announce: str = ""

    @property
    def ours(self) -> bool:
        """Whether this project records it."""
        return self.granularity is not None


_OUR_INFO = """
    select set_config('chrononaut.change_info',
        '{"user_id": "17", "remote_addr": "10.0.0.7", "extra": {"url": "/items"}}',
        true)
"""
_PEER_INFO = """
    select set_config('pghistory.context_id',
            gen_random_uuid()::text, true),
        set_config('pghistory.context_metadata',
            '{"user": 17, "url": "/items"}', true)
"""

BARE = Contender("bare", "bare")
FLOOR = Contender("floor", "floor", ("floor_history",))
LEAST = Contender("least", "by_least", ("by_least_history",))
LEAST_TRANSACTION = Contender(
    "least, transaction", "by_least_one", ("by_least_one_history",)
)
ROW = Contender("row", "by_row", ("by_row_history",), "row", _OUR_INFO)
STATEMENT = Contender(
    "statement", "by_statement", ("by_statement_history",), "statement", _OUR_INFO
)
PEER_ROW = Contender(
    "peer row",
    "peer_row",
    ("peer_rowlevelevent", "pghistory_context"),
    announce=_PEER_INFO,
)
PEER_STATEMENT = Contender(
    "peer statement",
    "peer_statement",
    ("peer_statementlevelevent", "pghistory_context"),
    announce=_PEER_INFO,
)
EVERYONE = (BARE, FLOOR, LEAST, ROW, STATEMENT, PEER_ROW, PEER_STATEMENT)


def create_table(connection: Connection, name: str) -> None:
    """Create an empty table of the eight columns."""
    statement = sql.SQL("create table {} ({})").format(
        sql.Identifier(name), sql.SQL(_COLUMNS)
    )
    connection.execute(statement)


def create_tables(connection: Connection) -> None:
    """Create the source of all rows and the tables that Django does not make."""
    ours = (BARE, FLOOR, LEAST, LEAST_TRANSACTION, ROW, STATEMENT)
    for name in ("source", *(contender.table for contender in ours)):
        create_table(connection, name)
    connection.execute(_SOURCE)
    version(connection, ROW)
    version(connection, STATEMENT)
    connection.execute(_FLOOR)
    _create_least(connection, LEAST, "")
    _create_least(connection, LEAST_TRANSACTION, _LEAST_TRANSACTION)


def _create_least(
    connection: Connection, contender: Contender, transaction: str
) -> None:
    """Create the least trigger; with a *transaction* to write, for updates only."""
    history = contender.history[0]
    info = "info" if transaction else _CONSTANT_INFO
    statements = _LEAST.format(
        table=contender.table,
        history=history,
        transaction=transaction.format(history=history),
        others="" if transaction else _LEAST_OTHERS.format(table=contender.table),
        data=DATA,
        meta=META,
        old=", ".join(f"old.{name}" for name in DATA.split(", ")),
        rights=_LEAST_RIGHTS if transaction else "",
        inserted=_CONSTANT.format(operation="I", info=info),
        changed=_CONSTANT.format(operation="U", info=info),
    )
    connection.execute(statements.encode())


def fill(connection: Connection, table: str) -> None:
    """Load *table* with the source's rows, in the order of the key."""
    connection.execute(
        sql.SQL("insert into {} select * from source order by id").format(
            sql.Identifier(table)
        )
    )


def version(connection: Connection, contender: Contender) -> None:
    """Start recording *contender* with an empty history, if it is one of ours."""
    if not contender.ours:
        return
    connection.execute(
        "select chrononaut.create_versioning(%s::regclass, granularity => %s)",
        (contender.table, contender.granularity),
    )


def forget_history(connection: Connection, contender: Contender) -> None:
    """Give *contender* an empty history again."""
    if contender.ours:
        connection.execute(
            "select chrononaut.drop_versioning(%s::regclass, drop_history => true)",
            (contender.table,),
        )
        version(connection, contender)
        return
    for name in contender.history:
        connection.execute(sql.SQL("truncate {}").format(sql.Identifier(name)))


def settle(connection: Connection, contender: Contender) -> None:
    """Vacuum, analyze and checkpoint, so that each measurement starts alike."""
    for name in (contender.table, *contender.history):
        connection.execute(sql.SQL("vacuum analyze {}").format(sql.Identifier(name)))
    connection.execute("checkpoint")
