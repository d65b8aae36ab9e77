"""create_all, drop_all, Table.create and Table.drop bring and take history along."""

from typing import Any

import pytest
from sqlalchemy import (
    Column,
    Engine,
    ForeignKey,
    MetaData,
    Table,
    create_engine,
    create_mock_engine,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from sqlalchemy.pool import NullPool

from chrononaut_pg import (
    ChrononautException,
    CoreNewerError,
    CoreOlderError,
    NotPermittedError,
    Versioned,
    create_all_versioning,
    listen,
)
from tests.core.asking import run
from tests.orm.modelling import saved
from tests.servers import Cluster, Db, MakeRole


class Base(DeclarativeBase):
    metadata = MetaData(schema="Sales Dept")


class Customer(Versioned, Base):
    __tablename__ = "Customer"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str | None]


class Order(Versioned, Base):
    """Named by a reserved word, with a history in the schema of its table."""

    __tablename__ = "order"
    id: Mapped[int] = mapped_column(primary_key=True)
    customer_id: Mapped[int | None] = mapped_column(ForeignKey(Customer.id))


class LongName(Versioned, Base):
    __tablename__ = "ü" * 31 + "x"
    id: Mapped[int] = mapped_column(primary_key=True)
    column: Mapped[int | None] = mapped_column("c" * 63)


class Root(Versioned, Base):
    __tablename__ = "root"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str | None]


class Leaf(Root):
    """Its table sorts before its parent's."""

    __tablename__ = "leaf"
    id: Mapped[int] = mapped_column(ForeignKey(Root.id), primary_key=True)
    colour: Mapped[str | None]


class Tenants(DeclarativeBase):
    pass


class Account(Versioned, Tenants):
    __tablename__ = "account"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str | None]


class Savings(Account):
    __tablename__ = "savings"
    id: Mapped[int] = mapped_column(ForeignKey(Account.id), primary_key=True)
    rate: Mapped[int | None]


TABLES = ["Customer", "leaf", "order", "root", LongName.__tablename__]


@pytest.fixture
def schema(db: Db) -> None:
    db.execute('create schema "Sales Dept"')
    db.commit()


@pytest.fixture
def bare(server: Cluster, superuser: str, empty_db: Db) -> Any:
    """An engine on a database without a core."""
    url = server.url(empty_db.info.dbname, user=superuser, driver="psycopg")
    engine = create_engine(url, poolclass=NullPool)
    yield engine
    engine.dispose()


def versioned(db: Db) -> list[str]:
    db.rollback()
    query = "select table_name from chrononaut.versioned_tables order by 1"
    return [row[0] for row in db.execute(query)]


def relations(db: Db) -> list[str]:
    db.rollback()
    query = "select relname from pg_class where relnamespace = to_regnamespace(%s)"
    return [row[0] for row in db.execute(query, ['"Sales Dept"'])]


@pytest.mark.usefixtures("schema")
def test_create_all_twice_versions_every_table_once(engine: Engine, db: Db) -> None:
    Base.metadata.create_all(engine)
    Base.metadata.create_all(engine)

    assert versioned(db) == sorted(TABLES)


@pytest.mark.usefixtures("schema")
def test_drop_all_twice_leaves_nothing(engine: Engine, db: Db) -> None:
    Base.metadata.create_all(engine)
    Base.metadata.drop_all(engine)
    Base.metadata.drop_all(engine)

    assert (versioned(db), relations(db)) == ([], [])


def test_drop_all_after_reflecting_the_database_leaves_nothing(
    engine: Engine, db: Db
) -> None:
    class Own(DeclarativeBase):
        pass

    class Change(Versioned, Own):
        """Its history calls its column differently, and has a % in its name."""

        __tablename__ = "100% change"
        change_id: Mapped[int] = mapped_column(primary_key=True)

    class Plain(Versioned, Own):
        __tablename__ = "a"
        id: Mapped[int] = mapped_column(primary_key=True)

    Own.metadata.create_all(engine)
    Own.metadata.reflect(engine)
    assert len(Own.metadata.tables) == 4
    Own.metadata.drop_all(engine)

    query = "select relname from pg_class where relnamespace = 'public'::regnamespace"
    assert db.execute(query).fetchall() == []


def test_history_tables_are_reflected_without_a_warning_and_create_others(
    engine: Engine, db: Db
) -> None:
    run(db, "create table note (id int primary key)")
    run(db, "select chrononaut.create_versioning('note')")
    db.commit()
    listen(engine)
    found = Table("note_history", MetaData(), autoload_with=engine)
    place = Column("place", found.columns.tuple.type)
    Table("copied", MetaData(), place).create(engine)
    assert db.execute(
        "select atttypid::regtype::text from pg_attribute"
        " where attrelid = 'copied'::regclass and attname = 'place'"
    ).fetchall() == [("tid",)]


@pytest.mark.usefixtures("schema")
@pytest.mark.parametrize(
    ("lost", "kept"),
    [
        ('drop schema "Sales Dept" cascade; create schema "Sales Dept"', []),
        ('drop table "Sales Dept"."Customer" cascade', ["a"]),
    ],
)
def test_tables_dropped_behind_our_back_are_created_and_versioned_again(
    engine: Engine, db: Db, lost: str, kept: list[str]
) -> None:
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        saved(session, Customer(name="a"), name="b")
    db.execute(lost)
    db.commit()
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        one = saved(session, Customer(name="c"), name="d")
        names = [version.name for version in one.versions()]

    assert (versioned(db), names) == (sorted(TABLES), [*kept, "c"])


@pytest.mark.usefixtures("schema")
def test_tables_can_be_dropped_and_created_again(engine: Engine, db: Db) -> None:
    for _ in range(2):
        Base.metadata.create_all(engine)
        with Session(engine) as session:
            one = saved(session, Customer(name="a"), name="b")
            assert [v.name for v in one.versions()] == ["a"]
        Base.metadata.drop_all(engine)

    assert versioned(db) == []


@pytest.mark.usefixtures("schema")
def test_a_single_table_comes_and_goes_with_its_history(engine: Engine, db: Db) -> None:
    Customer.__table__.create(engine)  # type: ignore[attr-defined]
    there = versioned(db)
    Customer.__table__.drop(engine)  # type: ignore[attr-defined]

    assert (there, versioned(db), relations(db)) == (["Customer"], [], [])


@pytest.mark.usefixtures("schema")
def test_create_all_of_some_tables_versions_those(engine: Engine, db: Db) -> None:
    Base.metadata.create_all(engine, tables=[Customer.__table__])  # type: ignore[list-item]

    assert versioned(db) == ["Customer"]


@pytest.mark.usefixtures("schema")
def test_names_of_63_bytes_and_of_many_bytes_work(engine: Engine) -> None:
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        one = saved(session, LongName(column=1), column=2)

        assert [v.column for v in one.versions()] == [1]
        assert one.has_changed_since(one.versions()[0].valid_from)


@pytest.mark.usefixtures("schema")
def test_existing_tables_are_versioned_and_old_rows_have_a_history(
    engine: Engine, db: Db
) -> None:
    db.execute('create table "Sales Dept"."Customer" (id int primary key, name text)')
    db.execute('insert into "Sales Dept"."Customer" values (1, \'old\')')
    db.commit()
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        one = session.get_one(Customer, 1)
        assert one.versions() == []
        one.name = "new"
        session.commit()
        [old] = one.versions()

        assert (old.version, old.name, old.valid_from) == (0, "old", None)
        assert one.blame()["id"].changed is None


def test_the_core_is_installed_where_it_is_missing(bare: Engine, empty_db: Db) -> None:
    empty_db.execute('create schema "Sales Dept"')
    empty_db.commit()
    Base.metadata.create_all(bare)

    assert versioned(empty_db) == sorted(TABLES)


def test_drop_all_without_a_core_drops_the_tables(bare: Engine, empty_db: Db) -> None:
    empty_db.execute('create schema "Sales Dept"')
    empty_db.execute('create table "Sales Dept"."Customer" (id int)')
    empty_db.commit()
    Base.metadata.drop_all(bare)

    assert relations(empty_db) == []


@pytest.mark.usefixtures("schema")
@pytest.mark.parametrize(
    ("version", "kind"), [(0, CoreOlderError), (999, CoreNewerError)]
)
def test_another_core_is_an_error_and_is_left_alone(
    engine: Engine, db: Db, version: int, kind: type[ChrononautException]
) -> None:
    Customer.__table__.create(engine)  # type: ignore[attr-defined]
    before = relations(db)
    db.execute(
        "create or replace function chrononaut.core_version() returns integer"
        f" language sql immutable parallel safe return {version}"
    )
    db.commit()
    with pytest.raises(kind):
        Base.metadata.create_all(engine)
    with pytest.raises(kind):
        Base.metadata.drop_all(engine)

    assert relations(db) == before


def test_without_rights_to_install_the_error_says_what_to_do(
    server: Cluster, empty_db: Db, role: MakeRole
) -> None:
    name = role("dev")
    empty_db.execute('create schema "Sales Dept"')
    empty_db.execute(f'grant all on schema "Sales Dept" to {name}')
    empty_db.commit()
    url = server.url(empty_db.info.dbname, user=name, driver="psycopg")
    with pytest.raises(NotPermittedError, match="python -m chrononaut_pg install"):
        Base.metadata.create_all(create_engine(url, poolclass=NullPool))


def test_without_rights_on_the_table_the_error_is_ours(
    server: Cluster, dbname: str, db: Db, role: MakeRole
) -> None:
    name = role("dev")
    db.execute('create schema "Sales Dept"')
    db.execute('create table "Sales Dept"."Customer" (id int primary key, name text)')
    db.execute(f'grant all on schema "Sales Dept" to {name}')
    db.commit()
    engine = create_engine(
        server.url(dbname, user=name, driver="psycopg"), poolclass=NullPool
    )
    with (
        pytest.raises(NotPermittedError, match="Customer"),
        engine.begin() as connection,
    ):
        create_all_versioning(connection, Base.metadata)


@pytest.mark.usefixtures("schema")
def test_create_all_versioning_can_be_called_by_itself(engine: Engine, db: Db) -> None:
    db.execute('create table "Sales Dept"."Customer" (id int primary key, name text)')
    db.commit()
    for _ in range(2):
        with engine.begin() as connection:
            create_all_versioning(connection, Base.metadata)

    assert versioned(db) == ["Customer"]


def test_translated_schemas_get_histories_of_their_own(engine: Engine, db: Db) -> None:
    for tenant in ("north", "south"):
        db.execute(f"create schema {tenant}")
        db.commit()
        there = engine.execution_options(schema_translate_map={None: tenant})
        Tenants.metadata.create_all(there)
        with Session(there) as session:
            one = saved(session, Savings(name=tenant, rate=1), rate=2, name="x")
            found = [(v.name, v.rate) for v in one.versions()]

            assert found == [(tenant, 1), (tenant, 2)]
            assert one.has_changed_since(one.versions()[0].changed)
        Tenants.metadata.create_all(there)

    assert versioned(db) == ["account", "account", "savings", "savings"]


def test_a_mock_engine_is_given_the_calls_that_a_database_would_get() -> None:
    shown: list[str] = []

    def show(statement: Any, *_: Any, **__: Any) -> None:
        shown.append(str(statement.compile(dialect=mock.dialect)).strip())

    mock = create_mock_engine("postgresql+psycopg://", show)
    customer, order = (
        Base.metadata.tables[f"Sales Dept.{name}"] for name in ("Customer", "order")
    )
    Base.metadata.create_all(mock, tables=[customer, order])
    Base.metadata.drop_all(mock, tables=[order])
    calls = [one for one in shown if not one.startswith(("CREATE", "DROP"))]
    assert calls == [
        """select chrononaut.create_versioning('"Sales Dept"."Customer"', """
        "hidden => '{}'::name[], untracked => '{}'::name[])",
        """select chrononaut.create_versioning('"Sales Dept"."order"', """
        "hidden => '{}'::name[], untracked => '{}'::name[])",
        """select chrononaut.drop_versioning('"Sales Dept"."order"', """
        "drop_history => true)",
    ]
