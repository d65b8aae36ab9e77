"""Activity rows that do not fit, objects that are gone, and both tools at work at once.

Rows of `chrononaut_activity` are added by hand to what Chrononaut wrote, or spoilt.
"""

import json
import uuid
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import Engine, NullPool, create_engine, text
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from chrononaut_pg import CannotVersionError, NotPermittedError, Versioned
from chrononaut_pg.converters import HistoryModelDataConverter, Problem
from tests.converters.conftest import Source, Written
from tests.converters.environments import run_writer
from tests.converters.test_activity import Base, User
from tests.servers import Cluster, MakeRole

SOURCE = "public.chrononaut_activity"


class Priced(DeclarativeBase):
    """Base of a model with a schema."""


class Item(Versioned, Priced):
    __tablename__ = "item"
    __table_args__ = {"schema": "app"}  # noqa: RUF012

    shop_id: Mapped[uuid.UUID] = mapped_column("shop", primary_key=True)
    code: Mapped[str] = mapped_column(primary_key=True)
    price: Mapped[int | None]


@pytest.fixture(scope="module")
def source(written: Written) -> Source:
    return written("chrononaut")


@pytest.fixture(scope="module")
def template_db(source: Source) -> str:
    return source.dbname


@pytest.fixture
def session(engine: Engine) -> Any:
    """A session on what Chrononaut wrote; nothing is converted yet."""
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        yield session


def add(session: Session, *rows: tuple[Any, ...], table: str = "appuser") -> None:
    """Add activity rows: version, day of January 2019, key, data."""
    for version, day, key, data in rows:
        session.execute(
            text(
                "insert into chrononaut_activity (table_name, version, changed, key,"
                " data, user_info) values (:table, :version, :changed,"
                ' cast(:key as jsonb), cast(:data as jsonb), \'{"user_id": "x"}\')'
            ),
            {
                "table": table,
                "version": version,
                "changed": datetime(2019, 1, day, tzinfo=UTC),
                "key": key,
                "data": data,
            },
        )
    session.commit()


def test_bad_rows_are_reported_and_the_others_converted(session: Session) -> None:
    add(
        session,
        (0, 1, '{"id": 5}', '{"id": 5, "name": "A", "born": "someday", "shoe": 9}'),
        (1, 2, '{"id": 5}', '{"id": 5, "name": "B", "born": "1990-01-01"}'),
        (0, 3, "{}", '{"name": "no key"}'),
        (0, 4, '{"id": "five"}', '{"name": "bad key"}'),
        (1, 5, '{"id": "five"}', '{"name": "bad key"}'),
    )
    converter = HistoryModelDataConverter(User)
    done = converter.convert_all(session)
    history = session.execute(
        text("select operation, full_name, born from appuser_history where id = 5")
    )

    assert done == 12
    assert sorted(map(tuple, history)) == [
        ("D", "B", datetime(1990, 1, 1).date()),
        ("I", None, None),
        ("U", "A", None),
    ]
    found = converter.problems(session)
    assert [(p.key, p.reason, p.converted) for p in found] == [
        ([None], "the key is missing", False),
        ([5], "unknown column shoe", True),
        ([5], 'column born: "someday" is no value of type date', True),
        (["five"], 'column id: "five" is no value of type integer', False),
        (["five"], 'column id: "five" is no value of type integer', False),
        ([5], "the row is gone, and nothing says when", True),
    ]
    assert [p.lost for p in found[1:3]] == [{"shoe": 9}, {"born": "someday"}]
    assert found[0].lost["data"] == {"name": "no key"}


def test_one_bad_value_among_many_costs_only_itself(
    server: Cluster, superuser: str, written: Written
) -> None:
    many = written("chrononaut", "grow", "400", "3")
    url = server.url(many.dbname, user=superuser, driver="psycopg")
    engine = create_engine(url, poolclass=NullPool)
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        session.execute(
            text(
                'update chrononaut_activity set data = data || \'{"born": "soon"}\''
                " where version = 1 and key = '{\"id\": 1007}'"
            )
        )
        converter = HistoryModelDataConverter(User)
        converter.convert_all(session)
        found = session.execute(
            text(
                "select operation, count(*), count(born) from appuser_history"
                " group by operation"
            )
        )

        assert sorted(map(tuple, found)) == [("I", 400, 0), ("U", 800, 799)]
        assert [p.key for p in converter.problems(session)] == [[1007]]


def test_last_state_that_the_row_no_longer_has_is_kept(session: Session) -> None:
    session.execute(text("alter table appuser disable trigger user"))
    session.execute(text("update appuser set full_name = 'by psql' where id = 1"))
    session.execute(text("alter table appuser enable trigger user"))
    session.commit()
    converter = HistoryModelDataConverter(User)
    converter.convert_all(session)
    ann = session.get_one(User, 1)

    assert (ann.versions()[-1].name, ann.name) == ("Ann", "by psql")
    [problem] = converter.problems(session)
    assert problem == Problem(
        SOURCE,
        [1],
        problem.number,
        "the row has changed since, and nothing says when: full_name",
        None,
        True,
    )
    assert converter.convert_all(session) == 0
    assert len(converter.problems(session)) == 1


def test_changes_that_both_tools_saw_are_one_version_with_the_old_tools_author(
    session: Session, db_url: str
) -> None:
    converter = HistoryModelDataConverter(User)
    converter.convert_all(session)
    before = len(session.get_one(User, 1).versions())
    session.commit()
    told = run_writer("chrononaut", db_url, "more")
    converter.update(session)
    session.expire_all()
    ann = session.get_one(User, 1)

    assert len(ann.versions()) == before + 1 == len(told["ann"]["versions"]) - 1
    assert [c.change_info["user_id"] for c in ann.changes()] == [
        version["meta"]["user_info"]["user_id"] for version in told["ann"]["versions"]
    ]


def test_composite_keys_in_a_schema_of_their_own(
    session: Session, engine: Engine
) -> None:
    one = uuid.UUID(int=7)
    key = json.dumps({"shop_id": str(one), "code": "a b"})
    dear, free = (key.replace("}", f', "price": {p}}}') for p in ("1", "null"))
    session.execute(text("create schema app"))
    add(session, (0, 1, key, dear), (1, 2, key, free), table="item")
    Priced.metadata.create_all(engine)
    session.add(Item(shop_id=one, code="a b", price=None))
    session.commit()
    HistoryModelDataConverter(Item).convert_all(session)

    found = session.get_one(Item, (one, "a b")).versions()
    assert [(v.shop_id, v.code, v.price, v.version) for v in found] == [
        (one, "a b", 1, 0)
    ]


def test_converted_changes_come_before_all_that_is_recorded(session: Session) -> None:
    session.get_one(User, 1).email = "recorded@example.com"
    session.commit()
    HistoryModelDataConverter(User).convert_all(session)
    query = "select change_id > 0 from appuser_history where id = 1 order by change_id"

    assert session.scalars(text(query)).all() == [False] * 4 + [True]


def test_converted_transactions_never_collide_with_real_ones(session: Session) -> None:
    HistoryModelDataConverter(User).convert_all(session)
    query = (
        "select bool_and(t.id < 0), count(*) = count(distinct h.change_id)"
        " from appuser_history h join chrononaut.transaction t on t.id ="
        " h.transaction_id where h.change_id < 0"
    )

    assert tuple(session.execute(text(query)).one()) == (True, True)


def test_check_finds_nothing_wrong_after_conversion(session: Session) -> None:
    HistoryModelDataConverter(User).convert_all(session)
    found = session.execute(text("select * from chrononaut.check_versioning()")).all()

    assert found == []


def test_history_stays_append_only(session: Session) -> None:
    HistoryModelDataConverter(User).convert_all(session)
    with pytest.raises(Exception, match="history is append-only"):
        session.execute(text("delete from appuser_history"))


def test_only_members_of_the_cores_owner_may_convert(
    session: Session, server: Cluster, dbname: str, role: MakeRole
) -> None:
    session.close()
    url = server.url(dbname, user=role(), driver="psycopg")
    engine = create_engine(url, poolclass=NullPool)
    with Session(engine) as other, pytest.raises(NotPermittedError):
        HistoryModelDataConverter(User).convert_all(other)


def test_no_old_history_is_an_error_that_says_so(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("drop table chrononaut_activity"))
    Base.metadata.create_all(engine)
    with Session(engine) as session, pytest.raises(CannotVersionError) as caught:
        HistoryModelDataConverter(User).convert(session)

    assert "no table of another tool holds the history" in str(caught.value)


def test_progress_is_shown_if_wanted(
    session: Session, capsys: pytest.CaptureFixture[str]
) -> None:
    HistoryModelDataConverter(User).convert_all(session, progress=True)

    assert "appuser" in capsys.readouterr().err


def test_functions_of_the_converter_keep_the_cores_rules(session: Session) -> None:
    HistoryModelDataConverter(User).convert(session)
    offenders = session.scalars(
        text(
            "select p.oid::regprocedure::text from pg_proc p"
            " where p.pronamespace = 'chrononaut'::regnamespace"
            r" and p.proname !~ '^_(capture|live|changes)_\d'"
            " and (obj_description(p.oid, 'pg_proc') is null or"
            " array_length(string_to_array(btrim(p.prosrc, E'\\n'), E'\\n'), 1) > 40)"
        )
    ).all()

    assert offenders == []
