"""A session of the past writes nothing, by whatever means it is asked to."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import (
    Engine,
    Sequence,
    delete,
    func,
    insert,
    literal_column,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import insert as pg_insert
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session
from sqlalchemy.schema import DropTable

from chrononaut_pg import (
    ReadOnlyPastError,
    Transaction,
    lock_record,
    time_travel,
    undo_change,
    undo_transaction,
    unlock_record,
)
from tests.orm.library import Author, Book, book_tag, library

Write = Callable[[Session], Any]

TABLE: Any = Book.__table__

DELETING = delete(Book).where(Book.id == 1).returning(Book.id).cte()


@pytest.fixture
def session(engine: Engine) -> Iterator[Session]:
    with library(engine) as opened:
        yield opened


def changed(session: Session) -> None:
    session.get_one(Book, 1).title = "Lake"
    session.flush()


def removed(session: Session) -> None:
    author = session.get_one(Author, 1)
    author.books.remove(session.get_one(Book, 1))
    session.commit()


def appended(session: Session) -> None:
    author = session.get_one(Author, 1)
    author.books.append(Book(id=7, title="", pages=1))
    session.commit()


def begun(session: Session) -> None:
    with session.begin():
        session.get_one(Book, 1).title = "Lake"


OBJECTS: dict[str, Write] = {
    "add": lambda s: s.add(Book()),
    "add_all": lambda s: s.add_all([Book()]),
    "delete": lambda s: s.delete(s.get_one(Book, 1)),
    "merge": lambda s: s.merge(Book(id=1, title="Lake")),
    "flush": changed,
    "commit a removal": removed,
    "begin": begun,
    "commit an addition": appended,
    "bulk_save_objects": lambda s: s.bulk_save_objects([Book()]),
    "bulk_insert_mappings": lambda s: s.bulk_insert_mappings(Book, [{"id": 7}]),
    "bulk_update_mappings": lambda s: s.bulk_update_mappings(Book, [{"id": 1}]),
    "connection": lambda s: s.connection(),
    "query update": lambda s: s.query(Book).update({"title": "Lake"}),
    "query delete": lambda s: s.query(Book).delete(),
    "get for update": lambda s: s.get(Book, 1, with_for_update=True),
    "refresh for update": lambda s: s.refresh(s.get_one(Book, 1), with_for_update=True),
}

STATEMENTS: list[Any] = [
    insert(Book).values(id=7, title="", pages=1),
    insert(Book).from_select(["id"], select(Book.id)),
    pg_insert(Book).values(id=1).on_conflict_do_nothing(),
    update(Book).values(title="Lake"),
    delete(Book),
    insert(Book).returning(Book),
    insert(TABLE).values(id=7),
    update(TABLE).values(title="Lake"),
    delete(book_tag),
    select(DELETING),
    select(Book).join(DELETING, DELETING.c.id == Book.id),
    select(Book).add_cte(DELETING),
    select(Book).with_for_update(),
    select(Book).with_for_update(read=True, skip_locked=True),
    select(select(Book).with_for_update().subquery()),
    select(Book).from_statement(text("delete from book returning *")),
    select(literal_column("1 into unlogged x")),
    select(func.chrononaut.undo_transaction(1, True)),
    select(func.set_config("search_path", "public", True)),
    select(func.pg_catalog.set_config("Search_Path", "public", True)),
    DropTable(TABLE),
    Sequence("book_id_seq"),
]

TEXTS = [
    "insert into book (id) values (7)",
    "update book set title = 'Lake'",
    "/* select */ delete from book",
    "-- select\ntruncate book",
    "merge into book b using tag t on b.id = t.id when matched then delete",
    "with gone as (delete from book returning *) select * from gone",
    "with w as (update book set pages = 1 returning *) table w",
    "select * into copied from book",
    "select * from book for update",
    "select * from book for no key update of book",
    "select * from book for key share",
    "select 1; delete from book",
    "explain analyze delete from book",
    "/* why */ explain (analyze, costs off) create table made as select 1",
    "explain verbose refresh materialized view seen",
    "explain analyze execute prepared",
    "create table x (id int)",
    "alter table book add x int",
    "drop table book",
    "copy book to stdout",
    "copy book from stdin",
    "lock table book",
    "do $$ begin delete from book; end $$",
    "call p()",
    "grant select on book to public",
    "refresh materialized view x",
    "set search_path = public",
    "prepare p as delete from book",
    "execute p",
    "commit",
    "savepoint a",
    "vacuum book",
    "select set_config('search_path', 'public', true)",
    "select * from chrononaut.undo_change(1)",
    "select chrononaut . lock_record('book', '1')",
    "select chrononaut.mark('now')",
    "select chrononaut.close_past()",
]

HARMLESS = [
    "select 'delete from book' as \"update\" -- update x set y",
    "select $$ insert into x $$, title as into_ from book;",
    "select 1 as updated, 2 as setting /* for update */",
    "values (1), (2)",
    "explain select * from book",
    "explain (analyze, verbose) select title as create from book",
    "show search_path",
    "select set_config('app.tenant', 'search', true)",
    "select 'chrononaut.mark(', chrononaut.core_version()",
]


def not_refused(session: Session, writes: dict[str, Write]) -> list[str]:
    """Return which of the writes went through, each in a past of its own."""
    through = []
    for name, write in writes.items():
        with time_travel(session, mark="before") as past:
            try:
                write(past)
            except ReadOnlyPastError:
                continue
            through.append(name)
    return through


def executing(statement: Any) -> Write:
    return lambda session: session.execute(statement)


def test_objects_cannot_be_written(session: Session) -> None:
    assert not_refused(session, OBJECTS) == []


def test_statements_that_write_or_lock_are_refused(session: Session) -> None:
    writes = {str(one): executing(one) for one in STATEMENTS}
    assert not_refused(session, writes) == []


def test_text_that_writes_or_locks_is_refused(session: Session) -> None:
    assert not_refused(session, {one: executing(text(one)) for one in TEXTS}) == []


def test_text_that_only_reads_is_not_refused(session: Session) -> None:
    reads = {one: executing(text(one)) for one in HARMLESS}
    assert not_refused(session, reads) == HARMLESS


def test_what_undoes_or_locks_is_refused_by_name(session: Session) -> None:
    book = session.get_one(Book, 1)
    last = session.scalars(select(func.max(Transaction.id))).one()
    session.commit()
    writes: dict[str, Write] = {
        "undo_transaction": lambda s: undo_transaction(s, last),
        "undo_change": lambda s: undo_change(s, 1),
        "lock_record": lambda s: lock_record(s.get_one(Book, 1)),
        "unlock_record": lambda s: unlock_record(book, session=s),
    }
    for name, write in writes.items():
        with (
            time_travel(session, mark="before") as past,
            pytest.raises(ReadOnlyPastError, match=rf"^chrononaut\.{name} refused: "),
        ):
            write(past)
    session.commit()

    assert session.scalars(select(func.max(Transaction.id))).one() == last


def test_refusals_name_what_was_tried(session: Session) -> None:
    with time_travel(session, mark="before") as past:
        with pytest.raises(ReadOnlyPastError, match="DELETE refused: the past cannot"):
            past.execute(delete(Book))
        with pytest.raises(ReadOnlyPastError, match="Book object was changed"):
            changed(past)


def test_nothing_is_changed_and_the_transaction_goes_on(session: Session) -> None:
    session.get_one(Book, 3).title = "Suns"
    session.flush()
    writes = {one: executing(text(one)) for one in TEXTS}
    not_refused(session, {**OBJECTS, **writes})
    session.commit()

    found = session.execute(select(func.min(Book.title), func.count())).one()
    assert tuple(found) == ("Sea", 3)
    assert session.get_one(Book, 3).title == "Suns"


def test_rollback_takes_back_changes_of_objects(session: Session) -> None:
    with time_travel(session, mark="before") as past:
        book = past.get_one(Book, 1)
        book.title = "Lake"
        past.rollback()
        past.commit()

        assert book.title == "Sea"


def test_function_that_writes_a_versioned_table_by_its_bare_name_fails(
    session: Session,
) -> None:
    session.execute(
        text(
            "create function burn() returns void language sql"
            " as 'delete from book where id = 1'"
        )
    )
    session.commit()
    with (
        time_travel(session, mark="before") as past,
        pytest.raises(OperationalError, match="cannot delete from view"),
    ):
        past.execute(select(func.burn()))
