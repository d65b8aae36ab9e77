"""RecordChanges: a row says itself who wrote it last, when and why."""

from datetime import datetime
from typing import Any

import pytest
from pydantic import BaseModel
from sqlalchemy import JSON, Computed, DateTime, Engine, FetchedValue, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    MappedAsDataclass,
    Session,
    mapped_column,
)

import chrononaut_pg
from chrononaut_pg import (
    RecordChanges,
    Versioned,
    rationale,
)
from tests.orm.modelling import created, saved


class Base(DeclarativeBase):
    pass


class Page(RecordChanges, Base):
    __tablename__ = "page"
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str | None]
    settings: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    doubled: Mapped[str | None] = mapped_column(
        Computed("title || title", persisted=True)
    )


class Post(Base, RecordChanges):
    __tablename__ = "Blog Post"
    __table_args__ = {"schema": "Blog"}  # noqa: RUF012
    __mapper_args__ = {  # noqa: RUF012
        "polymorphic_on": "kind",
        "polymorphic_identity": "post",
    }
    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str | None]
    title: Mapped[str | None]


class Reply(Post):
    __mapper_args__ = {"polymorphic_identity": "reply"}  # noqa: RUF012


class Both(Versioned, RecordChanges, Base):
    __tablename__ = "both"
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str | None]


class DataclassBase(MappedAsDataclass, DeclarativeBase):
    metadata = Base.metadata


class Remark(RecordChanges, DataclassBase):
    __tablename__ = "remark"
    id: Mapped[int] = mapped_column(primary_key=True)
    body: Mapped[str]
    change_info: Mapped[dict[str, Any] | None] = mapped_column(
        JSONB, init=False, server_default=FetchedValue(), server_onupdate=FetchedValue()
    )
    changed: Mapped[datetime | None] = mapped_column(
        DateTime(timezone=True),
        init=False,
        server_default=FetchedValue(),
        server_onupdate=FetchedValue(),
    )


@pytest.fixture
def session(engine: Engine) -> Any:
    with engine.begin() as connection:
        connection.execute(text('create schema "Blog"'))
    chrononaut_pg.listen(engine)
    with created(engine, Base.metadata) as found:
        yield found


def now(session: Session) -> datetime:
    found: datetime = session.execute(text("select clock_timestamp()")).scalar_one()
    return found


def test_insert_and_update_say_who_when_and_why(session: Session) -> None:
    with chrononaut_pg.change_info(user_id="ann"):
        page = saved(session, Page(title="a"))
        first = (page.change_info, page.changed)
    began = now(session)
    with chrononaut_pg.change_info(user_id="bob"), rationale("typo"):
        page.title = "b"
        session.commit()

    assert first[0] == {"user_id": "ann", "remote_addr": None}
    assert page.change_info == {
        "user_id": "bob",
        "remote_addr": None,
        "extra": {"rationale": "typo"},
    }
    assert first[1] < began < page.changed < now(session)


def test_an_update_that_changes_nothing_leaves_the_trace_alone(
    session: Session,
) -> None:
    page = saved(session, Page(title="a", settings={"b": 1}))
    before = (page.changed, page.change_info)
    session.execute(text("update page set title = title, settings = settings"))
    session.commit()

    assert (page.changed, page.change_info) == before


def test_a_change_of_a_json_column_alone_is_recorded(session: Session) -> None:
    page = saved(session, Page(settings={"a": 1}))
    before = page.changed
    page.settings = {"a": 2}
    session.commit()

    assert page.changed > before


def test_raw_sql_is_recorded_with_the_database_user(session: Session) -> None:
    page = saved(session, Page(title="a"))
    session.execute(text("update page set title = 'b'"))
    session.commit()

    assert set(page.change_info) >= {"db_user", "application_name", "user_id"}


def test_the_trace_cannot_be_forged(session: Session) -> None:
    with chrononaut_pg.change_info(user_id="ann"):
        page = saved(session, Page(title="a"))
        page.change_info = {"user_id": "somebody else"}
        page.changed = datetime(2000, 1, 1)
        session.commit()

    assert page.change_info["user_id"] == "ann"
    assert page.changed.year > 2000


def test_change_info_may_be_a_json_column(session: Session) -> None:
    session.execute(text("create table old (a int, change_info json, changed date)"))
    session.execute(text("select chrononaut.record_changes('old')"))
    with chrononaut_pg.change_info(user_id="ann"):
        session.execute(text("insert into old values (1)"))
    found = session.execute(text("select change_info from old")).scalar_one()

    assert found == {"user_id": "ann", "remote_addr": None}


def test_rows_of_quoted_tables_and_of_subclasses_are_recorded(
    session: Session,
) -> None:
    with chrononaut_pg.change_info(user_id="ann"):
        posts = [saved(session, Post(title="a")), saved(session, Reply(title="b"))]

    assert [one.change_info["user_id"] for one in posts] == ["ann", "ann"]


def test_versioned_models_may_record_changes_too(session: Session) -> None:
    with chrononaut_pg.change_info(user_id="ann"):
        both = saved(session, Both(title="a"))
    with chrononaut_pg.change_info(user_id="bob"):
        both.title = "b"
        session.commit()
    [old] = both.versions()

    assert both.change_info["user_id"] == "bob"
    assert (old.title, old.change_info["user_id"]) == ("a", "bob")
    assert old.changed == old.valid_to
    assert [c.fields for c in both.changes()] == [["id", "title"], ["title"]]
    assert both.diff(old) == {"title": ("a", "b")}


def test_the_columns_of_the_trace_are_never_tracked(session: Session) -> None:
    options = session.execute(
        text(
            "select untracked::text[] from chrononaut.versioned_tables"
            " where table_name = 'both'"
        )
    ).scalar_one()

    assert set(options) == {"change_info", "changed"}


def test_creating_twice_is_recording_once(session: Session, engine: Engine) -> None:
    Base.metadata.create_all(engine)
    count = session.execute(
        text(
            "select count(*) from pg_trigger where tgname like '99_chrononaut%'"
            " and tgrelid = 'page'::regclass"
        )
    ).scalar_one()

    assert count == 1


def test_a_table_that_was_there_before_is_recorded_from_create_all_on(
    engine: Engine,
) -> None:
    with engine.begin() as connection:
        connection.execute(text('create schema "Blog"'))
        connection.execute(
            text(
                "create table page (id int primary key, title text, settings json,"
                " doubled text, change_info jsonb, changed timestamptz)"
            )
        )
    with created(engine, Base.metadata) as session:
        session.execute(text("insert into page (id) values (1)"))

        assert session.get_one(Page, 1).changed is not None


def test_without_columns_there_is_a_clear_error(session: Session) -> None:
    session.execute(text("create table bare (a int)"))
    with (
        pytest.raises(chrononaut_pg.CannotVersionError, match="no column"),
        chrononaut_pg.translate_errors(),
    ):
        session.execute(text("select chrononaut.record_changes('bare')"))


def test_dataclasses_that_declare_the_columns_are_recorded(session: Session) -> None:
    with rationale("a"):
        remark = saved(session, Remark(id=1, body="a"))

    assert remark.change_info is not None
    assert remark.change_info["extra"] == {"rationale": "a"}


def test_the_mixins_add_no_fields_to_pydantic_models() -> None:
    class Form(Versioned, RecordChanges, BaseModel):
        title: str

    assert Form(title="a").model_dump() == {"title": "a"}
