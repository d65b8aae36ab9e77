"""From Chrononaut 0.3 and later: `chrononaut_activity`, written by Chrononaut 0.4."""

import decimal
import enum
import itertools
from datetime import date, datetime
from typing import Any

import pytest
from sqlalchemy import Date, DateTime, Engine, Enum, ForeignKey, Numeric, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from sqlalchemy.types import Text

from chrononaut_pg import Versioned, rationale
from chrononaut_pg.converters import HistoryModelDataConverter
from tests.converters.conftest import Source, Written


class Base(DeclarativeBase):
    """Base of the models, as the application has them after moving."""


class Color(enum.Enum):
    RED = 1
    BLUE = 2


class User(Versioned, Base):
    __tablename__ = "appuser"
    __chrononaut_hidden__ = ["password"]  # noqa: RUF012
    __chrononaut_untracked__ = ["login_count"]  # noqa: RUF012

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str | None] = mapped_column("full_name")
    email: Mapped[str | None]
    password: Mapped[str | None]
    login_count: Mapped[int | None]
    born: Mapped[date | None] = mapped_column(Date)
    seen: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    balance: Mapped[decimal.Decimal | None] = mapped_column(Numeric(12, 2))
    settings: Mapped[Any] = mapped_column(JSONB)
    tags: Mapped[list[str] | None] = mapped_column(ARRAY(Text))
    color: Mapped[Color | None] = mapped_column(Enum(Color, name="color"))


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


@pytest.fixture(scope="module")
def source(written: Written) -> Source:
    return written("chrononaut")


@pytest.fixture(scope="module")
def template_db(source: Source) -> str:
    return source.dbname


@pytest.fixture
def told(engine: Engine, source: Source) -> Any:
    """What Chrononaut answers about the history that it wrote into the database."""
    with engine.begin() as connection:
        for table in ("appuser", "party"):
            connection.execute(text(f"alter table {table} drop column version"))
    Base.metadata.create_all(engine)
    return source.answers


@pytest.fixture
def session(engine: Engine, told: Any) -> Any:
    """A session, after the conversion of everything."""
    with Session(engine) as session:
        HistoryModelDataConverter(User).convert_all(session)
        HistoryModelDataConverter(Company).convert_all(session)
        yield session


def images(model: type[Any], one: Any, versions: list[Any]) -> list[Any]:
    """Return the data of versions in Chrononaut's words, the live state last."""
    names = {
        User: "id name email born seen balance settings tags color",
        Company: "id kind name seat",
    }[model].split()
    return [{n: plain(getattr(v, n)) for n in names} for v in (*versions, one)]


def plain(value: Any) -> Any:
    """Return a value as Chrononaut's snapshots have it."""
    if value is None or isinstance(value, str | int):
        return value
    return value.isoformat() if isinstance(value, datetime) else str(value)


def said(answers: Any) -> list[Any]:
    found = []
    for version in answers["versions"]:
        data = {k: v for k, v in version["data"].items() if k != "version"}
        found.append(data)
    return found


@pytest.mark.parametrize(("model", "name"), [(User, "ann"), (Company, "acme")])
def test_versions_and_the_live_row_are_what_chrononaut_told(
    session: Session, told: Any, model: type[Any], name: str
) -> None:
    one = session.get_one(model, 1)

    assert images(model, one, one.versions()) == said(told[name])


@pytest.mark.parametrize(("model", "name"), [(User, "ann"), (Company, "acme")])
def test_who_why_and_when_began_each_version_as_chrononaut_told(
    session: Session, told: Any, model: type[Any], name: str
) -> None:
    one = session.get_one(model, 1)
    changes = list(one.changes())

    assert [
        (
            {k: c.change_info[k] for k in ("user_id", "remote_addr")},
            {
                **c.change_info.get("extra", {}),
                **{k: v for k, v in c.change_info.items() if k.startswith("hidden")},
            },
            c.changed,
        )
        for c in changes
    ] == [
        (m["user_info"], m["extra_info"], datetime.fromisoformat(m["changed"]))
        for m in (v["meta"] for v in told[name]["versions"])
    ]


@pytest.mark.parametrize(("model", "name"), [(User, "ann"), (Company, "acme")])
def test_version_at_answers_as_chrononaut_did(
    session: Session, told: Any, model: type[Any], name: str
) -> None:
    one = session.get_one(model, 1)
    found = []
    for moment, _ in told[name]["at"]:
        version = one.version_at(datetime.fromisoformat(moment))
        found.append(version and images(model, version, [])[0])

    assert found == [
        data and {k: v for k, v in data.items() if k != "version"}
        for _, data in told[name]["at"]
    ]


@pytest.mark.parametrize(("model", "name"), [(User, "ann"), (Company, "acme")])
def test_diff_names_what_chrononaut_named(
    session: Session, told: Any, model: type[Any], name: str
) -> None:
    one = session.get_one(model, 1)
    steps = itertools.pairwise([*one.versions(), None])

    assert [sorted(one.diff(a, b)) for a, b in steps] == told[name]["diffs"]


def test_deleted_row_keeps_its_versions(session: Session) -> None:
    found = session.execute(
        text(
            "select full_name, operation, change_info ->> 'user_id'"
            " from appuser_history where id = 2 order by change_id"
        )
    ).all()

    assert [tuple(row) for row in found] == [
        (None, "I", "root"),
        ("Bob", "U", "bob"),
        ("Bobby", "D", "root"),
    ]


def test_nothing_was_lost_on_the_way(session: Session) -> None:
    problems = HistoryModelDataConverter(User).problems(session)

    assert problems == []


def test_new_changes_continue_the_numbering(session: Session) -> None:
    ann = session.get_one(User, 1)
    before = len(ann.versions())
    with rationale("after moving"):
        ann.email = "moved@example.com"
        session.commit()

    last = ann.versions()[-1]
    assert (last.version, last.color, last.tags) == (before, Color.BLUE, ["q"])


def test_second_run_converts_nothing(session: Session) -> None:
    assert HistoryModelDataConverter(User).convert_all(session) == 0


def test_chunks_come_to_the_same_as_one_run(engine: Engine, told: Any) -> None:
    with Session(engine) as session:
        sizes = []
        while done := HistoryModelDataConverter(User).convert(session, limit=2):
            sizes.append(done)
        ann = session.get_one(User, 1)

        assert sizes == [2, 2, 2, 1]
        assert images(User, ann, ann.versions()) == said(told["ann"])
