"""Models and databases that cannot have history: each error says what to do."""

from typing import Any

import pytest
from sqlalchemy import (
    Column,
    Engine,
    Integer,
    Table,
    Text,
    create_engine,
    func,
    select,
    text,
)
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    Session,
    aliased,
    declared_attr,
    mapped_column,
)
from sqlalchemy.pool import NullPool, QueuePool, StaticPool

from chrononaut_pg import (
    CoreMissingError,
    CoreNewerError,
    CoreOlderError,
    DeclarationError,
    DriftError,
    NotVersionedError,
    UnknownColumnError,
    UnsupportedDatabaseError,
    Versioned,
    VersioningMissingError,
    history_class,
    listen,
)
from chrononaut_pg.declarations import declared_tables
from chrononaut_pg.exceptions import sqlstate_of
from tests.orm.modelling import created, saved
from tests.servers import Cluster, Db


class Base(DeclarativeBase):
    pass


class User(Versioned, Base):
    __tablename__ = "user"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str | None]


def unversioned(engine: Engine) -> Session:
    """Create the table without its versioning, and a row in it."""
    with engine.begin() as connection:
        connection.execute(
            text('create table "user" (id serial primary key, name text)')
        )
    return Session(engine)


def test_versioning_that_was_not_created_is_named_with_the_remedy(
    engine: Engine,
) -> None:
    with unversioned(engine) as session:
        user = saved(session, User(name="a"))
        with pytest.raises(VersioningMissingError, match="create_versioning") as error:
            user.versions()

    assert error.value.table == "user"
    assert error.value.__cause__ is not None


@pytest.mark.parametrize(
    "read", ["versions", "changes", "blame", "previous_version", "has_changed_since"]
)
def test_every_reader_explains_missing_versioning(engine: Engine, read: str) -> None:
    with unversioned(engine) as session:
        user = saved(session, User(name="a"))
        at = [session.execute(text("select now()")).scalar_one()]
        with pytest.raises(VersioningMissingError):
            getattr(user, read)(*at if read == "has_changed_since" else [])


@pytest.mark.parametrize(
    "statement",
    [
        select(history_class(User)),
        select(history_class(User).name, func.count()).group_by(text("1")),
        select(User).where(User.id.in_(select(history_class(User).id))),
        select(aliased(history_class(User)).id).limit(1),
        User(id=1).select_versions(),
        User(id=1).select_blame(),
    ],
)
def test_queries_of_history_explain_missing_versioning(
    engine: Engine, statement: Any
) -> None:
    listen(engine)
    with (
        unversioned(engine) as session,
        pytest.raises(
            VersioningMissingError, match="table user has no history"
        ) as error,
    ):
        session.execute(statement)

    cause = error.value.__cause__
    assert cause is not None
    assert (error.value.table, sqlstate_of(cause)) == ("user", "42P01")


def test_queries_of_history_that_lacks_a_column_are_drift(engine: Engine) -> None:
    listen(engine)
    with engine.begin() as connection:
        connection.execute(text('create table "user" (id int primary key)'))
        connection.execute(text("""select chrononaut.create_versioning('"user"')"""))
    with Session(engine) as session, pytest.raises(DriftError, match="sync_versioning"):
        session.execute(User(id=1).select_versions())


def test_other_missing_tables_stay_errors_of_sqlalchemy(engine: Engine) -> None:
    listen(engine)
    with unversioned(engine) as session, pytest.raises(ProgrammingError):
        session.execute(text("select * from nothing"))


def test_readers_explain_missing_versioning_where_the_engine_is_listened_to(
    engine: Engine,
) -> None:
    listen(engine)
    with unversioned(engine) as session:
        user = saved(session, User(name="a"))
        with pytest.raises(VersioningMissingError, match="User is Versioned, but"):
            user.versions()


@pytest.mark.parametrize("pool", [QueuePool, StaticPool])
def test_missing_versioning_is_explained_where_the_pool_has_one_connection(
    engine: Engine, pool: Any
) -> None:
    size = {"pool_size": 1, "max_overflow": 0, "pool_timeout": 1}
    small = create_engine(
        engine.url, poolclass=pool, **(size if pool is QueuePool else {})
    )
    with unversioned(small) as session:
        user = saved(session, User(name="a"))
        with pytest.raises(VersioningMissingError):
            user.versions()
        session.rollback()

        assert user.name == "a"
    small.dispose()


def test_a_missing_core_is_named_with_the_remedy(
    server: Cluster, superuser: str, empty_db: Db
) -> None:
    url = server.url(empty_db.info.dbname, user=superuser, driver="psycopg")
    with unversioned(create_engine(url, poolclass=NullPool)) as session:
        user = saved(session, User(name="a"))
        with pytest.raises(CoreMissingError, match="chrononaut_pg install"):
            user.versions()


@pytest.mark.parametrize(
    ("version", "kind"), [(0, CoreOlderError), (999, CoreNewerError)]
)
def test_another_core_is_named_where_versioning_is_missing(
    engine: Engine, db: Db, version: int, kind: Any
) -> None:
    with unversioned(engine) as session:
        user = saved(session, User(name="a"))
        db.execute(
            "create or replace function chrononaut.core_version() returns integer"
            f" language sql immutable parallel safe return {version}"
        )
        db.commit()
        with pytest.raises(kind):
            user.versions()


def test_a_column_that_history_lacks_is_drift(engine: Engine, db: Db) -> None:
    db.execute('create table "user" (id serial primary key)')
    db.execute("""select chrononaut.create_versioning('"user"')""")
    db.execute('alter table "user" add name text')
    db.commit()
    with Session(engine) as session:
        user = saved(session, User(name="a"))
        with pytest.raises(DriftError, match="sync_versioning"):
            user.versions()


def test_sqlite_is_refused_by_readers_and_create_all() -> None:
    sqlite = create_engine("sqlite://")
    with pytest.raises(UnsupportedDatabaseError, match="sqlite"):
        Base.metadata.create_all(sqlite)
    with (
        Session(sqlite) as session,
        pytest.raises(UnsupportedDatabaseError, match="PostgreSQL 14"),
    ):
        User(id=1).versions(session=session)


def test_other_classes_have_no_history_class() -> None:
    with pytest.raises(NotVersionedError, match="Versioned"):
        history_class(Base)


@pytest.mark.parametrize("option", ["hidden", "untracked"])
@pytest.mark.parametrize("spelling", ["__chrononaut_{}__", "__version_{}__"])
def test_an_unknown_column_is_named_with_the_option(option: str, spelling: str) -> None:
    class Local(DeclarativeBase):
        pass

    name = spelling.format(option)
    columns = {"__tablename__": "a", "id": mapped_column(Integer, primary_key=True)}
    with pytest.raises(UnknownColumnError, match=name) as error:
        type("A", (Versioned, Local), {**columns, name: ["nmae"]})

    assert (error.value.column, error.value.table) == ("nmae", "a")


def test_columns_that_a_mixin_names_may_be_absent() -> None:
    class Local(DeclarativeBase):
        pass

    class Careful:
        __chrononaut_hidden__ = ("password", "token")
        __version_untracked__ = ("seen",)

    class A(Careful, Versioned, Local):
        __tablename__ = "a"
        id: Mapped[int] = mapped_column(primary_key=True)
        token: Mapped[str | None]

    options = declared_tables(Local.metadata)[A.__table__]  # type: ignore[index]
    assert (options.hidden, options.untracked) == (("token",), ())


def test_a_string_instead_of_a_list_is_refused() -> None:
    class Local(DeclarativeBase):
        pass

    with pytest.raises(DeclarationError, match=r"Make it a list: .* = \['name'\]"):

        class A(Versioned, Local):
            __tablename__ = "a"
            __chrononaut_hidden__ = "name"
            id: Mapped[int] = mapped_column(primary_key=True)
            name: Mapped[str | None]


def test_a_model_without_a_primary_key_in_the_database_needs_a_key(
    engine: Engine,
) -> None:
    class Local(DeclarativeBase):
        pass

    table = Table("log", Local.metadata, Column("at", Integer), Column("what", Text))

    class Log(Versioned, Local):
        __table__ = table
        __mapper_args__ = {"primary_key": [table.c.at]}  # noqa: RUF012

    with pytest.raises(DeclarationError, match="__chrononaut_key__"):
        Local.metadata.create_all(engine)


def test_a_key_of_unique_columns_does_instead(engine: Engine) -> None:
    class Local(DeclarativeBase):
        pass

    table = Table(
        "log",
        Local.metadata,
        Column("at", Integer, unique=True, nullable=False),
        Column("what", Text),
    )

    class Log(Versioned, Local):
        __table__ = table
        __mapper_args__ = {"primary_key": [table.c.at]}  # noqa: RUF012
        __chrononaut_key__ = ("moment",)
        moment = table.c.at

    with created(engine, Local.metadata) as session:
        log = saved(session, Log(moment=1, what="a"), what="b")
        assert [one.what for one in log.versions()] == ["a"]


def test_a_model_of_a_query_cannot_be_versioned() -> None:
    class Local(DeclarativeBase):
        pass

    with pytest.raises(DeclarationError, match="Only models of a table"):

        class A(Versioned, Local):
            __table__ = select(User.__table__).subquery()


def test_all_options_are_accepted_in_both_spellings(engine: Engine, db: Db) -> None:
    class Local(DeclarativeBase):
        pass

    def model(name: str, form: str) -> Any:
        options = {
            "tablename": f"{name}_log",
            "hidden": ["secret"],
            "untracked": ["seen"],
            "indices": ["name"],
            "copy_validators": True,
            "primary_key_nonunique": True,
        }
        return type(
            name,
            (Versioned, Local),
            {
                "__tablename__": name,
                "id": mapped_column(Integer, primary_key=True),
                **{c: mapped_column(Text) for c in ("name", "secret", "seen")},
                **{form.format(n): value for n, value in options.items()},
            },
        )

    models = [model("a", "__chrononaut_{}__"), model("b", "__version_{}__")]
    with created(engine, Local.metadata) as session:
        for one in models:
            found = saved(session, one(name="x", secret="y", seen="z"), name="w")
            assert [version.name for version in found.versions()] == ["x"]
            assert found.has_changed_since(found.versions()[0].valid_from)
    query = (
        "select history_table::text, hidden::text[], untracked::text[], indexes::text[]"
        " from chrononaut.versioned_tables order by 1"
    )
    assert db.execute(query).fetchall() == [
        (f"{name}_log", ["secret"], ["seen"], ["name"]) for name in "ab"
    ]


def test_disabled_indices_are_not_made() -> None:
    class Local(DeclarativeBase):
        pass

    class A(Versioned, Local):
        __tablename__ = "a"
        __chrononaut_indices__ = ("id",)
        __chrononaut_disable_indices__ = True
        id: Mapped[int] = mapped_column(primary_key=True)

    [options] = declared_tables(Local.metadata).values()
    assert options.indexes == ()


def test_the_history_name_counts_only_beside_the_tables_name() -> None:
    class Local(DeclarativeBase):
        pass

    class Named:
        __chrononaut_tablename__ = "log"

    class Own:
        @declared_attr.directive
        def __tablename__(cls) -> str:
            return cls.__name__.lower()  # type: ignore[attr-defined, no-any-return]

        @declared_attr.directive
        def __chrononaut_tablename__(cls) -> str:
            return f"{cls.__name__.lower()}_log"  # type: ignore[attr-defined]

    class A(Named, Versioned, Local):
        __tablename__ = "a"
        id: Mapped[int] = mapped_column(primary_key=True)

    class B(Named, Versioned, Local):
        __tablename__ = "b"
        __chrononaut_tablename__ = "b_past"
        id: Mapped[int] = mapped_column(primary_key=True)

    class C(Own, Versioned, Local):
        id: Mapped[int] = mapped_column(primary_key=True)

    found = {
        t.name: o.history_table for t, o in declared_tables(Local.metadata).items()
    }
    assert found == {"a": None, "b": "b_past", "c": "c_log"}
