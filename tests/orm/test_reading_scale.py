"""Beside a million rows of history every reader reads what its answer needs.

Plans are judged, not times: no history is read from end to end, and what is read is
bounded by the history of the row asked for, or by the stretch of time.
"""

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import (
    Engine,
    ForeignKey,
    NullPool,
    Select,
    create_engine,
    event,
    select,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from chrononaut_pg import (
    Transaction,
    Versioned,
    select_changes_by,
    select_next,
    select_previous,
    select_transactions,
    select_versions_that_changed,
)
from tests.servers import Cluster, Db

ROWS, VERSIONS, AT_ONCE = 20_000, 50, 20
"""Rows, versions of each, and changes in each transaction."""

FIRST = -ROWS * VERSIONS // AT_ONCE
"""The first transaction; the core numbers its own from above 0."""

MIDDLE = FIRST // 2


class Base(DeclarativeBase):
    pass


class Item(Versioned, Base):
    __tablename__ = "item"
    __chrononaut_hidden__ = ("secret",)
    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str | None]
    name: Mapped[str | None]
    count: Mapped[int | None]
    secret: Mapped[str | None]
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "item"}  # noqa: RUF012


class Tool(Item):
    __tablename__ = "tool"
    id: Mapped[int] = mapped_column(ForeignKey(Item.id), primary_key=True)
    weight: Mapped[int | None]
    __mapper_args__ = {"polymorphic_identity": "tool"}  # noqa: RUF012


KEYS: dict[Any, int] = {Item: 4211, Tool: 4210}

FILL = f"""
set chrononaut.amending = 'on';
alter table item disable trigger all;
alter table tool disable trigger all;
insert into item
    select n, case when n % 10 = 0 then 'tool' else 'item' end, 'n' || n, 50
    from generate_series(1, {ROWS}) n;
insert into tool select n, 0 from generate_series(10, {ROWS}, 10) n;
alter table item enable trigger all;
alter table tool enable trigger all;
with change as (
    select n, 1 + n * 7919::bigint % {ROWS} as id, n / {ROWS} as version,
        {FIRST} + n / {AT_ONCE} as transaction_id,
        now() - ({ROWS * VERSIONS} - n) * interval '1 s' as at
    from generate_series(0, {ROWS * VERSIONS} - 1) n
)
insert into item_history (id, kind, name, count, change_id, changed, operation,
    transaction_id, change_info)
select c.id, case when c.id % 10 = 0 then 'tool' else 'item' end,
    'n' || c.id || '.' || c.version / 10, c.version, c.n - {ROWS * VERSIONS}, c.at, 'U',
    c.transaction_id, jsonb_build_object('user_id', 'u' || -c.transaction_id % 100)
from change c;
insert into chrononaut.transaction (id, xid, snapshot, began_at, issued_at, change_info,
    db_user)
select h.transaction_id, '3', '3:3:', min(h.changed), min(h.changed),
    min(h.change_info::text)::jsonb, 'somebody'
from item_history h group by h.transaction_id order by h.transaction_id;
reset chrononaut.amending;
"""


@pytest.fixture(scope="module")
def engine(
    server: Cluster, superuser: str, admin: Db, template_db: str
) -> Iterator[Engine]:
    """A database in which 20,000 items have 50 versions each."""
    name = f"{template_db}_scale"
    admin.execute(f"create database {name} template {template_db}".encode())
    url = server.url(name, user=superuser, driver="psycopg")
    engine = create_engine(url, poolclass=NullPool)
    Base.metadata.create_all(engine)
    with engine.connect() as connection:
        autocommit = connection.execution_options(isolation_level="AUTOCOMMIT")
        autocommit.execute(text(FILL.replace(":", r"\:")))
        autocommit.execute(text("vacuum analyze"))
    yield engine
    engine.dispose()
    admin.execute(f"drop database {name} with (force)".encode())


@pytest.fixture
def session(engine: Engine) -> Iterator[Session]:
    with Session(engine) as opened:
        opened.execute(text("set statement_timeout = '20s'"))
        opened.commit()
        yield opened


def explained(session: Session, statement: str, parameters: Any) -> Any:
    query = f"explain (analyze, format json) {statement}"
    plan = session.connection().exec_driver_sql(query, parameters).scalar_one()
    return json.loads(json.dumps(plan))[0]["Plan"]


def reads(plan: Any) -> tuple[int, list[str]]:
    """Return how many rows of the history a plan reads, and what it reads whole."""
    whole, rows = [], 0
    name = plan.get("Relation Name", "")
    if name in ("item_history", "transaction"):
        read = plan["Actual Rows"] + sum(
            plan.get(f"Rows Removed by {why}", 0) for why in ("Filter", "Index Recheck")
        )
        rows += round(read * plan["Actual Loops"]) if name == "item_history" else 0
        whole += [name] if plan["Node Type"] == "Seq Scan" else []
    for part in plan.get("Plans", ()):
        below, found = reads(part)
        rows, whole = rows + below, whole + found
    return rows, whole


def judged(session: Session, ask: Callable[[], Any]) -> tuple[int, list[str]]:
    """Return what the statements that *ask* sends read; see `reads`."""
    engine = session.get_bind()
    sent: list[tuple[str, Any]] = []

    def note(
        connection: Any, cursor: Any, statement: str, values: Any, *_: Any
    ) -> None:
        sent.append((statement, values))

    event.listen(engine, "before_cursor_execute", note)
    try:
        ask()
    finally:
        event.remove(engine, "before_cursor_execute", note)
    assert sent
    found = [reads(explained(session, *one)) for one in sent]
    return sum(rows for rows, _ in found), [
        name for _, whole in found for name in whole
    ]


READERS: dict[str, Callable[[Any], Any]] = {
    "versions": lambda one: one.versions(),
    "versions between": lambda one: one.versions(
        after=one.versions()[0].changed, before=one.versions()[9].changed
    ),
    "versions by page": lambda one: one.versions(return_query=True).limit(5).all(),
    "version_at": lambda one: one.version_at(one.versions()[20].changed),
    "previous_version": lambda one: one.previous_version(),
    "has_changed_since": lambda one: one.has_changed_since(one.versions()[20].changed),
    "changes": lambda one: list(one.changes()),
    "blame": lambda one: one.blame(),
    "diff": lambda one: one.diff(one.versions()[3]),
    "diff of hidden": lambda one: one.diff(one.versions()[3], include_hidden=True),
    "previous": lambda one: one.versions()[20].previous,
    "next": lambda one: one.versions()[20].next,
    "changeset": lambda one: one.versions()[20].changeset,
}


@pytest.mark.parametrize("model", [Item, Tool])
@pytest.mark.parametrize("name", READERS)
def test_readers_of_one_row_read_its_own_history(
    session: Session, name: str, model: Any
) -> None:
    one = session.get_one(model, KEYS[model])
    rows, whole = judged(session, lambda: READERS[name](one))

    assert whole == []
    # A merged view looks each change up once more; a case may ask three times.
    assert rows <= 3 * 4 * (VERSIONS + 1)


def everything(session: Session, statement: Select[Any]) -> list[Any]:
    return list(session.scalars(statement))


def paged(session: Session, which: str) -> Any:
    """Ask for a page of 20 in the middle of history; return what came."""
    model = Tool if which.endswith("subclass") else Item
    if which.startswith("versions of a row"):
        return everything(
            session,
            select_versions_that_changed(model, "name", key=KEYS[model], limit=20),
        )
    if which.startswith("versions"):
        last = everything(
            session, select_versions_that_changed(model, "name", key=KEYS[model])
        )[2]
        return everything(
            session,
            select_versions_that_changed(model, "name", following=last, limit=20),
        )
    arguments: dict[str, Any] = {"after_id": MIDDLE, "limit": 20}
    if which.endswith("user"):
        arguments["user_id"] = "u7"
    return everything(session, select_transactions(model, **arguments))


@pytest.mark.parametrize(
    ("which", "length", "share"),
    [
        ("versions of a row", 5, 1000),
        ("versions of a row of a subclass", 5, 1000),
        ("versions", 20, 5),
        ("versions of a subclass", 20, 5),
        ("transactions", 20, 20),
        ("transactions of a subclass", 20, 20),
        # One in a hundred transactions is his: 2,000 are looked through.
        ("transactions of a user", 20, 3),
    ],
)
def test_pages_read_a_stretch_of_history(
    session: Session, which: str, length: int, share: int
) -> None:
    found: list[Any] = []
    rows, whole = judged(session, lambda: found.extend(paged(session, which)))

    assert len(found) == length
    assert whole == []
    assert rows <= ROWS * VERSIONS // share


def test_transactions_between_two_times_read_what_lies_there(session: Session) -> None:
    made = session.get_one(Transaction, MIDDLE)
    hour: Any = {"after": made.issued_at, "before": made.issued_at + timedelta(hours=1)}
    found: list[Any] = []
    rows, whole = judged(
        session,
        lambda: found.extend(everything(session, select_transactions(Item, **hour))),
    )

    assert len(found) == 3600 // AT_ONCE
    assert (rows <= ROWS * VERSIONS // 10, whole) == (True, [])


def test_transactions_of_a_version_are_found_by_their_key(session: Session) -> None:
    version = session.get_one(Item, KEYS[Item]).versions()[20]
    found: list[Any] = []

    def ask() -> None:
        found.extend((version.transaction.id, version.created_transaction.id))

    assert judged(session, ask) == (0, [])
    assert found == [version.transaction_id, version.created_transaction_id]


def test_changed_entities_read_the_histories_of_what_changed(session: Session) -> None:
    made = session.get_one(Transaction, MIDDLE)
    rows, whole = judged(session, lambda: made.changed_entities)
    found = made.changed_entities

    assert sorted(len(versions) for versions in found.values()) == [2, 18]
    assert (rows <= ROWS * VERSIONS // 5, whole) == (True, [])


@pytest.mark.parametrize("by_user", [False, True])
def test_changes_of_a_transaction_or_a_user_are_found_by_the_index(
    session: Session, by_user: bool
) -> None:
    made = session.get_one(Transaction, MIDDLE)
    statement = (
        select_changes_by("u7", made.issued_at, made.issued_at + timedelta(hours=1))
        if by_user
        else made.select_changes()
    )
    count = len(session.execute(statement).all())
    query = session.scalar(text("select chrononaut._images_query(:u)"), {"u": by_user})
    for number, value in enumerate(
        (
            f"{made.id}::bigint",
            "'u7'",
            f"'{made.issued_at}'::timestamptz",
            f"'{made.issued_at + timedelta(hours=1)}'::timestamptz",
            "-9223372036854775808",
            "null",
        ),
        start=1,
    ):
        query = query.replace(f"${number}", value)
    rows, whole = reads(explained(session, query, None))

    assert count == AT_ONCE
    assert (rows <= ROWS * VERSIONS // 20, whole) == (True, [])


def test_neighbours_have_statements_that_read_the_same(session: Session) -> None:
    version = session.get_one(Item, KEYS[Item]).versions()[20]
    for statement in (select_previous(version), select_next(version)):
        rows, whole = judged(session, lambda s=statement: everything(session, s))  # type: ignore[misc]

        assert (rows <= VERSIONS + 1, whole) == (True, [])


def test_all_of_a_million_rows_would_be_noticed(session: Session) -> None:
    count = session.scalar(text("select count(*) from item_history"))
    whole = reads(explained(session, "select count(*) from item_history", None))

    assert count == 1_000_000
    # Rows of parallel workers are told as a rounded average.
    assert whole[0] == pytest.approx(count, rel=0.01)
    assert session.scalar(select(Transaction.id).order_by(Transaction.id)) == FIRST
