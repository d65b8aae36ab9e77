"""From Chrononaut 0.1 and 0.2: `<table>_history` tables of its schema, made by hand."""

from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import Engine, ForeignKey, text
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    Session,
    mapped_column,
    scoped_session,
    sessionmaker,
)

from chrononaut_pg import CannotVersionError, Versioned
from chrononaut_pg.converters import HistoryModelDataConverter


class Base(DeclarativeBase):
    """Base of the models, as the application has them after moving."""


class User(Versioned, Base):
    __tablename__ = "appuser"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str | None]
    age: Mapped[int | None]


class Party(Versioned, Base):
    __tablename__ = "party"
    __mapper_args__ = {  # noqa: RUF012
        "polymorphic_on": "kind",
        "polymorphic_identity": "party",
    }

    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str | None]
    name: Mapped[str | None]


class Company(Party):
    __tablename__ = "company"
    __mapper_args__ = {"polymorphic_identity": "company"}  # noqa: RUF012

    id: Mapped[int] = mapped_column(ForeignKey("party.id"), primary_key=True)
    seat: Mapped[str | None]


OLD = """
create table appuser_history (
    id integer, name varchar(80), age text, nickname text,
    version integer, changed timestamptz, change_info jsonb, primary key (id, version));
create table party_history (
    id integer, kind text, name text,
    version integer, changed timestamptz, change_info jsonb, primary key (id, version));
create table company_history (
    id integer, seat text,
    version integer, changed timestamptz, change_info jsonb, primary key (id, version),
    foreign key (id, version) references party_history (id, version));
insert into appuser_history values
    (1, 'Ann', '30', null, 0, '2019-01-01Z', '{"user_id": "a", "remote_addr": "::1"}'),
    (1, 'Anna', '31', null, 1, '2019-01-03Z',
        '{"user_id": "b", "remote_addr": null, "extra": {"rationale": "why"}}'),
    (1, 'Anne', '32', null, 2, '2019-01-02Z', null),
    (2, 'Bob', 'forty', 'Bobby', 0, '2019-01-01Z', '{"user_id": "c"}');
insert into party_history values
    (1, 'company', 'ACME', 0, '2019-01-01Z', '{"user_id": "a"}'),
    (1, 'company', 'ACME', 1, '2019-01-02Z', '{"user_id": "b"}'),
    (2, 'party', 'Ball', 0, '2019-01-01Z', '{"user_id": "c"}');
insert into company_history values
    (1, 'Rome', 0, '2019-01-01Z', '{"user_id": "a"}'),
    (1, 'Bonn', 1, '2019-01-02Z', '{"user_id": "b"}');
alter table appuser_history rename to appuser_history_old;
alter table party_history rename to party_history_old;
alter table company_history rename to old_companies;
"""

LIVE = """
create table appuser (id serial primary key, name text, age integer);
create table party (id serial primary key, kind text, name text);
create table company (id integer primary key references party, seat text);
insert into appuser values (1, 'Annie', 33);
insert into party values (1, 'company', 'Acme'), (2, 'party', 'Feast');
insert into company values (1, 'Bonn');
"""


@pytest.fixture
def session(engine: Engine) -> Any:
    """A session; nothing is converted yet."""
    with engine.begin() as connection:
        for statement in (OLD + LIVE).split(";\n"):
            connection.exec_driver_sql(statement)
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        yield session


def day(number: int) -> datetime:
    return datetime(2019, 1, number, tzinfo=UTC)


def test_versions_are_the_old_rows_in_their_order(session: Session) -> None:
    HistoryModelDataConverter(User).convert_all(session)
    ann = session.get_one(User, 1)

    assert [
        (v.version, v.name, v.age, v.changed, v.change_info) for v in ann.versions()
    ] == [
        (0, "Ann", 30, day(1), {"user_id": "a", "remote_addr": "::1"}),
        (
            1,
            "Anna",
            31,
            day(3),
            {"user_id": "b", "remote_addr": None, "extra": {"rationale": "why"}},
        ),
        (2, "Anne", 32, day(2), {"user_id": None, "remote_addr": None}),
    ]


def test_version_at_and_diff_answer_as_chrononaut_did(session: Session) -> None:
    HistoryModelDataConverter(User).convert_all(session)
    ann = session.get_one(User, 1)
    first = ann.versions()[0]

    assert ann.version_at(datetime(2018, 1, 1, tzinfo=UTC)) == first
    assert ann.version_at(day(4)) is ann
    assert ann.diff(first) == {"name": ("Ann", "Annie"), "age": (30, 33)}


def test_last_version_of_a_row_that_is_gone_ends_with_its_deletion(
    session: Session,
) -> None:
    HistoryModelDataConverter(User).convert_all(session)
    query = "select name, operation, changed from appuser_history where id = 2"

    assert [tuple(row) for row in session.execute(text(query))] == [
        ("Bob", "D", day(1))
    ]


def test_what_history_cannot_hold_is_reported_with_the_reason(
    session: Session,
) -> None:
    converter = HistoryModelDataConverter(User)
    converter.convert_all(session)

    assert sorted(
        (p.key, p.reason, p.lost, p.converted) for p in converter.problems(session)
    ) == [
        (
            [2],
            'column age: "forty" is no value of type integer',
            {"age": "forty"},
            True,
        ),
        ([2], "unknown column nickname", {"nickname": "Bobby"}, True),
    ]


def test_joined_inheritance_makes_one_version_of_both_tables(session: Session) -> None:
    sources = {"company": "old_companies"}
    HistoryModelDataConverter(Company, source=sources).convert_all(session)
    acme = session.get_one(Company, 1)

    assert [
        (v.version, v.name, v.seat, v.change_info["user_id"]) for v in acme.versions()
    ] == [(0, "ACME", "Rome", "a"), (1, "ACME", "Bonn", "b")]


def test_classes_of_a_family_may_be_converted_in_any_order(session: Session) -> None:
    HistoryModelDataConverter(Party).convert_all(session)
    HistoryModelDataConverter(Company, source={"company": "old_companies"}).convert_all(
        session
    )

    assert [v.seat for v in session.get_one(Company, 1).versions()] == ["Rome", "Bonn"]
    assert [v.name for v in session.get_one(Party, 2).versions()] == ["Ball"]


def test_renamed_column_is_taken_by_its_old_name(session: Session) -> None:
    renames = {"nickname": "name", "name": "former"}
    converter = HistoryModelDataConverter(User, renames=renames)
    converter.convert_all(session)
    query = "select name from appuser_history where id = 2"

    assert session.scalars(text(query)).all() == ["Bobby"]


def test_new_changes_continue_the_numbering(session: Session) -> None:
    HistoryModelDataConverter(User).convert_all(session)
    ann = session.get_one(User, 1)
    ann.name = "Anita"
    session.commit()

    assert [v.version for v in ann.versions()] == [0, 1, 2, 3]


def test_update_converts_what_came_since_and_nothing_twice(session: Session) -> None:
    converter = HistoryModelDataConverter(User)
    converter.convert_all(session)
    session.execute(
        text(
            "insert into appuser_history_old values"
            " (1, 'Annie', '33', null, 3, '2019-02-01Z', '{\"user_id\": \"z\"}')"
        )
    )
    session.commit()

    assert converter.update(session, update_from="2019-01-20") == 1
    assert converter.update(session) == 0
    ann = session.get_one(User, 1)
    assert [v.change_info["user_id"] for v in ann.versions()] == ["a", "b", None, "z"]


def test_source_that_was_renamed_since_is_not_converted_again(session: Session) -> None:
    HistoryModelDataConverter(User).convert_all(session)
    session.execute(text("alter table appuser_history_old rename to attic"))
    session.commit()

    assert HistoryModelDataConverter(User, source="attic").convert_all(session) == 0


def test_source_of_another_format_is_refused(session: Session) -> None:
    converter = HistoryModelDataConverter(
        User, source="appuser_history_old", source_format="continuum"
    )

    with pytest.raises(CannotVersionError, match="is not a table of format continuum"):
        converter.convert_all(session)


def test_scoped_session_will_do_as_well(session: Session, engine: Engine) -> None:
    scoped = scoped_session(sessionmaker(engine))

    assert HistoryModelDataConverter(User).convert_all(scoped) == 4
    scoped.remove()
