"""A key decides the other columns of its table in the past, wherever one groups by it.

PostgreSQL knows that of a table only; the past is read from views.
"""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from sqlalchemy import (
    Engine,
    case,
    exists,
    func,
    lateral,
    literal_column,
    select,
    text,
    true,
    union_all,
)
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.orm import Bundle, Session, aliased, joinedload, subqueryload

from chrononaut_pg import time_travel
from tests.orm.library import Author, Book, Tag, check, library, rows
from tests.servers import Db


@pytest.fixture
def session(engine: Engine) -> Iterator[Session]:
    with library(engine) as opened:
        yield opened


written = (
    select(Author.id, Author.full_name, Author.bio, func.count(Book.id).label("books"))
    .outerjoin(Author.books)
    .group_by(Author.id)
)
per_author = written.cte("per_author")
prolific = aliased(
    Author, select(Author).join(Author.books).group_by(Author.id).subquery()
)
tagged = lateral(
    select(Book.title, func.count(Tag.id).label("tags"))
    .outerjoin(Book.tags)
    .where(Book.author_id == Author.id)
    .group_by(Book.id)
)
first_title = (
    select(Book.title)
    .where(Book.author_id == Author.id)
    .group_by(Book.id)
    .order_by(Book.title)
    .limit(1)
)
bundle: Bundle[Any] = Bundle("author", Author.full_name, Author.bio)


def test_selects_within_selects_group_by_a_key(session: Session) -> None:
    check(
        session,
        {
            "subquery": rows(select(written.subquery())),
            "cte": rows(select(Author.bio, per_author).join(per_author, true())),
            "entity of a subquery": lambda s: sorted(
                (one.full_name, one.bio) for one in s.scalars(select(prolific))
            ),
            "lateral": rows(select(Author.full_name, tagged).join(tagged, true())),
            "scalar subquery": rows(select(Author.id, first_title.scalar_subquery())),
            "exists": rows(
                select(Author.full_name).where(
                    exists(
                        select(Book.title)
                        .where(Book.author_id == Author.id)
                        .group_by(Book.id)
                    )
                )
            ),
            "in": rows(
                select(Book.title).where(
                    Book.author_id.in_(
                        select(Author.id)
                        .group_by(Author.id)
                        .having(Author.full_name == "Ann")
                    )
                )
            ),
            "union": rows(
                union_all(
                    select(Author.full_name, func.count()).group_by(Author.id),
                    select(Book.title, func.count()).group_by(Book.id),
                )
            ),
            "query count": lambda s: (
                s.query(Author.full_name, func.count(Book.id))
                .join(Author.books)
                .where(Author.bio.in_(["wise", "young"]))
                .group_by(Author.id)
                .count()
            ),
        },
    )


def test_expressions_and_loaders_group_by_a_key(session: Session) -> None:
    counted = select(Author, func.count(Book.id)).join(
        Book, Book.author_id == Author.id
    )
    check(
        session,
        {
            "expression": rows(
                select(
                    case((Author.bio == "wise", Author.full_name), else_="x"),
                    func.count(),
                )
                .join(Author.books)
                .group_by(Author.id)
            ),
            "literal column": rows(
                select(literal_column("author.bio"), func.count())
                .join(Author.books)
                .group_by(Author.id)
            ),
            "window": rows(
                select(Author.full_name, func.rank().over(order_by=Author.bio))
                .join(Author.books)
                .group_by(Author.id)
            ),
            "bundle": rows(select(bundle).join(Author.books).group_by(Author.id)),
            "correlated": rows(
                select(
                    Author.id,
                    select(func.max(Book.title + Author.bio))
                    .where(Book.author_id == Author.id)
                    .correlate(Author)
                    .scalar_subquery(),
                ).group_by(Author.id)
            ),
            "joinedload": lambda s: sorted(
                (author.full_name, sorted(book.title for book in author.books), number)
                for author, number in s.execute(
                    counted.options(joinedload(Author.books))
                    .group_by(Author.id)
                    .limit(2)
                ).unique()
            ),
            "subqueryload": lambda s: sorted(
                (author.full_name, sorted(book.title for book in author.books))
                for author in s.scalars(
                    select(Author)
                    .join(Author.books)
                    .options(subqueryload(Author.books))
                    .group_by(Author.id)
                )
            ),
        },
    )


TEXTS = [
    "select name, bio, count(*) from author group by id",
    "select a.name, count(b.id) from author a left join book b on b.author_id = a.id"
    " group by a.id having a.bio <> '' order by a.bio",
    'select a."name" from author as "a" , book b group by 1, a . "id" order by a.bio',
    "select a.id, a.name from author a group by 1 /* , */ ;",
    "select a.id as key, lower(a.name) from author a group by key -- bio",
    "select public.author.name from only public.author group by public.author.id",
    "select name from author a group by a.id union select title from book group by id",
    "with w as (select a.name, count(*) n from author a group by a.id) select * from w",
    "with w as materialized (select * from book), book (id, title) as (select 1, 'x')"
    " select book.title, count(*), (select max(name) from author) from book"
    " group by book.title",
    "select * from (select name, percentile_cont(0.5) within group (order by pages)"
    " from (author join book on author_id = author.id) group by author.id) x",
    "select title, count(*) from book b join lateral (select b.pages) c on true"
    " group by b.id, c.pages having b.pages is distinct from 1 limit 5",
    "select t.name, array_agg(b.title order by b.title) from tag t"
    " join book_tag x on x.tag_id = t.id join book b on b.id = x.book_id group by t.id",
    "select author.name, (select count(*) from book where author_id = author.id and"
    " title <> author.bio) from author group by author.id",
    "select a.name, t.name from author a, tag t group by (t.id), (a.bio, a.id)",
    "select a.name, b.title from author a left join book b on b.author_id = a.id"
    " group by a.id, b.id, a.teacher_id is distinct from 1",
    "select author.name, t.name from author cross join author as t"
    " group by author.id, t.id",
    "select author.name, t.name from author left outer join author t"
    " on t.teacher_id = author.id group by author.id, t.id",
    "select x.n from author x(id, n) group by x.id, x.n",
    "select distinct a.id, a.name from author a group by 1",
    "select array[1, 2], a.id, a.name from author a group by 2",
    "select a.name, count(*) from author a group by array[1, 2], a.id",
]


def test_texts_group_by_a_key(session: Session) -> None:
    check(session, {one: rows(text(one)) for one in TEXTS})


def test_groups_stay_what_they_are(session: Session) -> None:
    """Without the key no columns are added, with rollup neither to its sets."""
    session.execute(text("update book set pages = 100 where author_id = 1"))
    session.execute(text("select chrononaut.mark('same')"))
    session.commit()
    queries = [
        "select pages, count(*) from book group by pages order by pages",
        "select author_id, count(title) from book group by author_id order by 1",
        "select pages, count(*) from book group by rollup (pages) order by 1, 2",
        "select book_id, count(*) from book_tag group by book_id order by 1",
        "select count(title) from book group by (coalesce(author_id, id, 0))"
        " order by 1",
        "select count(title) from book group by ('a, id, b' || author_id) order by 1",
    ]
    with time_travel(session, mark="same") as past:
        found = [past.execute(text(one)).all() for one in queries]

    assert found == [
        [(100, 2), (300, 1)],
        [(1, 2), (2, 1)],
        [(100, 2), (300, 1), (None, 3)],
        [(1, 2), (2, 2)],
        [(1,), (2,)],
        [(1,), (2,)],
    ]


def test_column_that_is_not_decided_is_refused_as_in_the_present(
    session: Session,
) -> None:
    asked = text("select title, count(*) from book group by author_id")
    with time_travel(session, mark="before") as past:
        with pytest.raises(ProgrammingError) as caught:
            past.execute(asked)
        session.rollback()

    assert isinstance(caught.value.orig, psycopg.errors.GroupingError)


def test_types_without_equality_and_percent_signs_do_no_harm(
    session: Session, db: Db
) -> None:
    db.execute(
        'create table "odd%" (id int, part int, "50%" int, doc json, place point,'
        " docs json[], primary key (part, id))"
    )
    db.execute("""select chrononaut.create_versioning('"odd%"')""")
    db.execute("""insert into "odd%" values (1, 2, 3, '{}', '(1, 2)')""")
    db.execute("select chrononaut.mark('odd')")
    db.execute("""update "odd%" set "50%" = 4""")
    db.commit()
    asked = text(
        'select o."50%", count(o.doc), :word as word, count(o.place)'
        ' from "odd%" o group by o.id, o.part having count(o.docs) = 0'
    )
    with time_travel(session, mark="odd") as past:
        assert past.execute(asked, {"word": "%"}).all() == [(3, 1, "%", 1)]
    session.rollback()
