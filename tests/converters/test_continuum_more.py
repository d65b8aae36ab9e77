"""From SQLAlchemy-Continuum: joined inheritance, bytes, columns of other names."""

from typing import Any

import pytest
from sqlalchemy import Engine, ForeignKey, text
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

import chrononaut_pg
from chrononaut_pg import CannotVersionError, Versioned
from chrononaut_pg.converters import HistoryModelDataConverter
from tests.converters.environments import run_writer

NAMES = {"transaction_id": "Tx", "end_transaction_id": "end_tx"}


class Base(DeclarativeBase):
    """Base of the models, as the application has them after moving."""


class Person(Versioned, Base):
    __tablename__ = "person"
    __mapper_args__ = {  # noqa: RUF012
        "polymorphic_on": "kind",
        "polymorphic_identity": "person",
    }
    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str | None]
    name: Mapped[str | None]
    photo: Mapped[bytes | None]


class Employee(Person):
    __tablename__ = "employee"
    __mapper_args__ = {"polymorphic_identity": "employee"}  # noqa: RUF012
    id: Mapped[int] = mapped_column(ForeignKey("person.id"), primary_key=True)
    title: Mapped[str | None]


def written(engine: Engine, db_url: str, variant: str) -> Any:
    """Let Continuum write; return what it answers about the employee."""
    url = db_url.replace("postgresql:", "postgresql+psycopg:")
    answers = run_writer("continuum_more", url, variant)
    Base.metadata.create_all(engine)
    chrononaut_pg.listen(engine)
    return answers


def images(person: Any) -> list[Any]:
    return [
        {
            "name": one.name,
            "title": getattr(one, "title", None),
            "photo": None if one.photo is None else one.photo.hex(),
        }
        for one in (*person.versions(), person)
    ]


EXPECTED = [
    {"name": "Ann", "title": "a", "photo": "00ff275c"},
    {"name": "Ann", "title": "b", "photo": "00ff275c"},
    {"name": "Anna", "title": "b", "photo": "00ff275c"},
    {"name": "Anna", "title": "c", "photo": None},
]


@pytest.mark.parametrize("variant", ["plain", "names"])
def test_versions_of_joined_inheritance_are_what_continuum_told(
    engine: Engine, db_url: str, variant: str
) -> None:
    told = written(engine, db_url, variant)
    names = NAMES if variant == "names" else None
    with Session(engine) as session:
        HistoryModelDataConverter(Employee, tool_columns=names).convert_all(session)
        ann = session.get_one(Employee, 1)
        found = images(ann), [one.version for one in ann.versions()]
        problems = HistoryModelDataConverter(Employee, tool_columns=names).problems(
            session
        )
        operations = [one.operation for one in ann.changes()]

    expected = [{k: v for k, v in row.items() if k != "operation"} for row in told]
    assert found == (expected or EXPECTED, [0, 1, 2])
    assert (expected or EXPECTED) == EXPECTED
    assert (problems, operations) == ([], ["I", "U", "U", "U"])


def test_both_tables_of_a_transaction_share_its_row(
    engine: Engine, db_url: str
) -> None:
    written(engine, db_url, "plain")
    with Session(engine) as session:
        HistoryModelDataConverter(Employee).convert_all(session)
        query = (
            "select (select count(*) from person_history where id = 1),"
            " (select count(*) from employee_history),"
            " (select count(*) from person_history p join employee_history e"
            " using (id, transaction_id))"
        )

        assert session.execute(text(query)).one() == (4, 4, 4)


def test_deleted_person_and_new_changes_continue(engine: Engine, db_url: str) -> None:
    written(engine, db_url, "plain")
    with Session(engine) as session:
        HistoryModelDataConverter(Employee).convert_all(session)
        deleted = [
            tuple(row)
            for row in session.execute(
                text("select version, name, photo from person_versions where id = 2")
            )
        ]
        ann = session.get_one(Employee, 1)
        ann.title = "d"
        session.commit()
        found = [(one.version, one.title) for one in ann.versions()]
        again = HistoryModelDataConverter(Employee).convert_all(session)

    assert deleted == [(0, "Bob", b""), (1, "Bobby", b"")]
    assert (found, again) == ([(0, "a"), (1, "b"), (2, "b"), (3, "c")], 0)


def test_other_names_must_be_told(engine: Engine, db_url: str) -> None:
    written(engine, db_url, "names")
    with Session(engine) as session, pytest.raises(CannotVersionError):
        HistoryModelDataConverter(Employee).convert_all(session)
