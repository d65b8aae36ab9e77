"""Reading one object's history costs what that object's history costs."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Engine, ForeignKey, Select, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from chrononaut_pg import Versioned
from tests.orm.modelling import created, statements


class Base(DeclarativeBase):
    pass


class Item(Versioned, Base):
    __tablename__ = "item"
    __chrononaut_hidden__ = ("secret",)
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str | None]
    count: Mapped[int | None]
    secret: Mapped[str | None]


class Tool(Item):
    __tablename__ = "tool"
    id: Mapped[int] = mapped_column(ForeignKey(Item.id), primary_key=True)
    weight: Mapped[int | None]


@pytest.fixture
def session(engine: Engine) -> Iterator[Session]:
    """2,000 tools with 50 and more versions each: 100,000 rows of history."""
    with created(engine, Base.metadata) as found:
        found.execute(
            text(
                "insert into item select n, 'n' || n, 0, 's'"
                " from generate_series(1, 2000) n;"
                "insert into tool select n, 0 from generate_series(1, 2000) n"
            )
        )
        for _ in range(25):
            found.execute(text("update item set count = count + 1"))
            found.execute(text("update tool set weight = weight + 1"))
            found.commit()
        found.execute(text("analyze"))
        found.commit()
        yield found


def scans(session: Session, statement: Select[Any]) -> set[str]:
    """Return the tables that a statement reads from end to end."""
    compiled = statement.compile(
        dialect=postgresql.dialect(),  # type: ignore[no-untyped-call]
        compile_kwargs={"literal_binds": True},
    )
    plan = session.connection().exec_driver_sql(f"explain (format json) {compiled}")
    found: set[str] = set()

    def visit(node: dict[str, Any]) -> None:
        if node["Node Type"] == "Seq Scan":
            found.add(node["Relation Name"])
        for child in node.get("Plans", ()):
            visit(child)

    visit(json.loads(json.dumps(plan.scalar_one()))[0]["Plan"])
    return found


@pytest.mark.parametrize("model", [Item, Tool])
def test_no_reader_scans_a_table(session: Session, model: Any) -> None:
    one = session.get_one(model, 7)
    at = session.execute(text("select clock_timestamp()")).scalar_one()
    found = {
        "versions": scans(session, one.select_versions(before=at, after=at)),
        "version_at": scans(session, one.select_version_at(at)),
        "previous_version": scans(session, one.select_previous_version()),
        "changes": scans(session, one.select_changes()),
        "blame": scans(session, one.select_blame()),
        "has_changed_since": scans(session, one.select_has_changed_since(at)),
    }

    assert found == {name: set() for name in found}


def test_a_thousand_versions_come_in_one_statement(
    engine: Engine, session: Session
) -> None:
    for number in range(1000):
        session.execute(
            text("update item set name = :name where id = 1"), {"name": str(number)}
        )
    session.commit()
    one = session.get_one(Item, 1)
    with statements(engine) as sent:
        versions = one.versions()

    assert len(versions) == 1025
    assert [v.version for v in versions] == list(range(1025))
    assert versions[-1].name == "998"
    assert len(sent) == 1
