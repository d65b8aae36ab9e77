"""`version.revert(relations=...)`: what is related becomes what it was, too."""

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import (
    Column,
    Engine,
    ForeignKey,
    Table,
    select,
    text,
)
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    Session,
    WriteOnlyMapped,
    attribute_keyed_dict,
    mapped_column,
    relationship,
)

from chrononaut_pg import (
    NotVersionedError,
    RevertError,
    Versioned,
    revert_to,
    versioned_table,
)
from tests.orm.modelling import statements
from tests.servers import TemplateOf


class Base(DeclarativeBase):
    pass


class Author(Versioned, Base):
    __tablename__ = "author"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str | None]
    articles: Mapped[list["Article"]] = relationship(
        back_populates="author", order_by="Article.id"
    )
    profile: Mapped["Profile | None"] = relationship(
        back_populates="author", cascade="all, delete-orphan"
    )
    files: Mapped[dict[str, "File"]] = relationship(
        collection_class=attribute_keyed_dict("name"), cascade="all, delete-orphan"
    )
    marks: WriteOnlyMapped["Mark"] = relationship(passive_deletes=True)
    plain: Mapped[list["Plain"]] = relationship()
    names: Mapped[list["Article"]] = relationship(viewonly=True)


article_tag = versioned_table(
    Table(
        "article_tag",
        Base.metadata,
        Column("article_id", ForeignKey("article.id"), primary_key=True),
        Column("tag_id", ForeignKey("tag.id"), primary_key=True),
    )
)

article_plain = Table(
    "article_plain",
    Base.metadata,
    Column("article_id", ForeignKey("article.id"), primary_key=True),
    Column("plain_id", ForeignKey("plain.id"), primary_key=True),
)


class Article(Versioned, Base):
    __tablename__ = "article"
    __chrononaut_untracked__ = ("seen",)
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str | None]
    seen: Mapped[int | None]
    author_id: Mapped[int | None] = mapped_column(ForeignKey(Author.id))
    author: Mapped[Author | None] = relationship(back_populates="articles")
    tags: Mapped[set["Tag"]] = relationship(secondary=article_tag)
    plains: Mapped[list["Plain"]] = relationship(secondary=article_plain)
    lines: Mapped[list["Line"]] = relationship(lazy="raise", cascade="all")


class Tag(Versioned, Base):
    __tablename__ = "tag"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str | None]


class Profile(Versioned, Base):
    __tablename__ = "profile"
    id: Mapped[int] = mapped_column(primary_key=True)
    author_id: Mapped[int] = mapped_column(ForeignKey(Author.id), unique=True)
    text: Mapped[str | None]
    author: Mapped[Author] = relationship(back_populates="profile")


class File(Versioned, Base):
    __tablename__ = "file"
    id: Mapped[int] = mapped_column(primary_key=True)
    author_id: Mapped[int] = mapped_column(ForeignKey(Author.id))
    name: Mapped[str]


class Mark(Versioned, Base):
    __tablename__ = "mark"
    id: Mapped[int] = mapped_column(primary_key=True)
    author_id: Mapped[int | None] = mapped_column(ForeignKey(Author.id))


class Line(Versioned, Base):
    __tablename__ = "line"
    article_id: Mapped[int] = mapped_column(ForeignKey(Article.id), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str | None]
    noun_id: Mapped[int | None] = mapped_column(ForeignKey("plain.id"))
    noun: Mapped["Plain | None"] = relationship()


class Plain(Base):
    __tablename__ = "plain"
    id: Mapped[int] = mapped_column(primary_key=True)
    author_id: Mapped[int | None] = mapped_column(ForeignKey(Author.id))


class Node(Versioned, Base):
    __tablename__ = "node"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str | None]
    parent_id: Mapped[int | None] = mapped_column(ForeignKey("node.id"))
    children: Mapped[list["Node"]] = relationship(
        back_populates="parent", cascade="all", order_by="Node.id"
    )
    parent: Mapped["Node | None"] = relationship(
        back_populates="children", remote_side=[id]
    )


@pytest.fixture(scope="module")
def template_db(template_of: TemplateOf) -> str:
    return template_of(Base.metadata)


@pytest.fixture
def session(engine: Engine) -> Iterator[Session]:
    with Session(engine) as found:
        yield found


@pytest.fixture
def author(session: Session) -> Author:
    """An author of two articles, renamed afterwards."""
    one = Author(id=1, name="a")
    one.articles = [Article(id=1, title="one"), Article(id=2, title="two")]
    session.add(one)
    session.commit()
    one.name = "b"
    session.commit()
    return one


def rows(session: Session, query: str) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in session.execute(text(query))]


def articles(session: Session) -> list[tuple[Any, ...]]:
    return rows(session, "select id, title, author_id from article order by id")


def test_without_relations_only_the_object_changes(
    session: Session, author: Author
) -> None:
    author.articles[0].title = "changed"
    session.commit()
    author.versions()[0].revert()
    session.commit()

    assert author.name == "a"
    assert articles(session) == [(1, "changed", 1), (2, "two", 1)]


def test_changed_ones_get_their_values_back(session: Session, author: Author) -> None:
    author.articles[0].title = "changed"
    author.articles[0].seen = 5
    session.commit()
    author.versions()[0].revert(relations=["articles"])
    session.commit()

    assert articles(session) == [(1, "one", 1), (2, "two", 1)]
    assert author.articles[0].seen == 5


def test_removed_ones_are_attached_again(session: Session, author: Author) -> None:
    author.articles.pop(0)
    session.commit()
    author.versions()[0].revert(relations=[Author.articles])
    session.commit()

    assert articles(session) == [(1, "one", 1), (2, "two", 1)]


def test_deleted_ones_come_again(session: Session, author: Author) -> None:
    session.delete(author.articles[1])
    session.commit()
    author.versions()[0].revert(relations=["articles"])
    session.commit()

    assert articles(session) == [(1, "one", 1), (2, "two", 1)]
    assert [one.id for one in author.articles] == [1, 2]


def test_new_ones_are_deleted(session: Session, author: Author) -> None:
    author.articles.append(Article(id=3, title="new"))
    session.commit()
    author.versions()[0].revert(relations=["articles"])
    session.commit()

    assert articles(session) == [(1, "one", 1), (2, "two", 1)]


def test_ones_of_another_parent_go_back_to_it(session: Session, author: Author) -> None:
    other = Author(id=2, articles=[Article(id=3, title="x"), Article(id=4)])
    session.add(other)
    session.commit()
    author.name = "c"
    session.commit()
    author.name = "d"
    other.articles[0].title = "y"
    author.articles = [*author.articles, *other.articles]
    session.commit()
    author.versions()[2].revert(relations=["articles"])
    session.commit()

    assert articles(session) == [
        *[(1, "one", 1), (2, "two", 1)],
        *[(3, "y", 2), (4, None, 2)],
    ]


def test_ones_whose_parent_is_gone_are_detached(
    session: Session, author: Author
) -> None:
    other = Author(id=2, articles=[Article(id=3)])
    session.add(other)
    session.commit()
    author.name = "c"
    session.commit()
    author.name = "d"
    author.articles.append(other.articles[0])
    session.delete(other)
    session.commit()
    author.versions()[2].revert(relations=["articles"])
    session.commit()

    assert articles(session)[2] == (3, None, None)


def test_ones_that_cannot_be_without_their_parent_are_refused(
    session: Session, author: Author
) -> None:
    other = Author(id=2, files={"f": File(id=1, name="f")})
    session.add(other)
    session.commit()
    author.name = "c"
    session.commit()
    author.name = "d"
    session.execute(text("update file set author_id = 1"))
    session.execute(text("delete from author where id = 2"))
    session.commit()
    with pytest.raises(RevertError, match="belonged to another Author"):
        author.versions()[2].revert(relations=["files"])


def test_all_at_once_with_a_deleted_parent(session: Session, author: Author) -> None:
    session.delete(author.articles[1])
    session.commit()
    session.delete(author)
    session.add(Article(id=3))
    session.commit()
    assert articles(session) == [(1, "one", None), (3, None, None)]
    first = author.versions(session=session)[0]
    found = first.revert(relations=["articles"])
    session.commit()

    assert articles(session) == [(1, "one", 1), (2, "two", 1), (3, None, None)]
    assert found.name == "a"


def test_every_row_says_what_it_was_reverted_with(
    session: Session, author: Author
) -> None:
    session.delete(author.articles[1])
    author.articles[0].title = "changed"
    author.articles.append(Article(id=3))
    session.commit()
    first = author.versions()[0]
    first.revert(relations=["articles"])
    session.commit()
    told = rows(
        session,
        "select id, operation, change_info #> '{extra,reverted_to}'"
        " from article_history where change_info -> 'extra' ? 'reverted_to'"
        " order by id",
    )
    said = {"version": 0, "change_id": first.change_id}
    with_author = {**said, "of": {"table": "author", "key": [1]}}

    assert told == [
        *[(1, "U", with_author), (2, "I", with_author), (3, "D", with_author)],
    ]
    assert list(author.changes())[-1].change_info["extra"] == {"reverted_to": said}


def test_what_is_as_it_was_is_not_written(
    engine: Engine, session: Session, author: Author
) -> None:
    author.articles[0].title = "changed"
    session.commit()
    author.versions()[0].revert(relations=["articles"])
    with statements(engine) as sent:
        session.flush()

    assert len([one for one in sent if one.startswith("UPDATE article")]) == 1


def test_deep_paths(session: Session, author: Author) -> None:
    a, b = Tag(id=1, name="a"), Tag(id=2, name="b")
    author.articles[0].tags = {a, b}
    session.commit()
    author.name = "c"
    session.commit()
    author.name = "d"
    author.articles[0].tags = {a, Tag(id=3, name="new")}
    session.delete(b)
    session.delete(author.articles[1])
    session.commit()
    author.versions()[2].revert(relations=["articles.tags"])
    session.commit()

    assert articles(session) == [(1, "one", 1), (2, "two", 1)]
    assert rows(session, "select * from article_tag order by 2") == [(1, 1), (1, 2)]
    assert rows(session, "select * from tag order by 1") == [
        *[(1, "a"), (2, "b"), (3, "new")],
    ]


def test_paths_of_attributes(session: Session, author: Author) -> None:
    author.articles[0].tags = {Tag(id=1)}
    session.commit()
    author.versions()[0].revert(relations=[(Author.articles, Article.tags)])
    session.commit()

    assert rows(session, "select * from article_tag") == []
    assert rows(session, "select id from tag") == [(1,)]


def test_what_a_many_to_one_leads_to_comes_again(
    session: Session, author: Author
) -> None:
    article = author.articles[0]
    article.title = "x"
    session.commit()
    for one in author.articles:
        one.author = None
    session.delete(author)
    session.commit()
    article.versions()[0].revert(relations=["author"])
    session.commit()

    assert rows(session, "select id, name from author") == [(1, "a")]
    assert article.author is not None
    assert articles(session) == [(1, "one", 1), (2, "two", None)]


def test_a_many_to_one_that_is_not_named_follows_its_key(
    session: Session, author: Author
) -> None:
    article = author.articles[0]
    other = Author(id=2)
    session.add(other)
    article.author = other
    session.commit()
    assert article.author is other
    article.versions()[0].revert()

    assert article.author is author
    assert author.name == "b"


def test_one_to_one_is_exchanged_under_its_unique_constraint(
    session: Session, author: Author
) -> None:
    author.profile = Profile(id=1, text="old")
    session.commit()
    author.name = "c"
    session.commit()
    author.name = "d"
    author.profile = None
    session.commit()
    author.profile = Profile(id=2, text="new")
    session.commit()
    author.versions()[2].revert(relations=["profile"])
    session.commit()

    assert rows(session, "select * from profile") == [(1, 1, "old")]
    author.versions()[0].revert(relations=["profile"])
    session.commit()
    assert rows(session, "select * from profile") == []


def test_dictionaries_keep_their_keys(session: Session, author: Author) -> None:
    author.files = {"a": File(id=1, name="a"), "b": File(id=2, name="b")}
    session.commit()
    author.name = "c"
    session.commit()
    author.name = "d"
    author.files["a"].name = "z"
    del author.files["b"]
    session.add(File(id=3, name="new", author_id=1))
    session.commit()
    author.versions()[2].revert(relations=["files"])
    assert {name: one.id for name, one in author.files.items()} == {"a": 1, "b": 2}
    session.commit()

    assert {name: one.id for name, one in author.files.items()} == {"a": 1, "b": 2}


def test_write_only_relations(session: Session, author: Author) -> None:
    author.marks.add_all([Mark(id=1), Mark(id=2)])
    session.commit()
    author.name = "c"
    session.commit()
    author.name = "d"
    session.execute(text("delete from mark where id = 1"))
    session.execute(text("update mark set author_id = null where id = 2"))
    author.marks.add(Mark(id=3))
    session.commit()
    author.versions()[2].revert(relations=["marks"])
    session.commit()

    assert rows(session, "select * from mark order by 1") == [(1, 1), (2, 1)]


def test_composite_keys_and_relations_that_refuse_to_load(
    session: Session, author: Author
) -> None:
    article = author.articles[0]
    session.add(Plain(id=1))
    session.add_all(
        [Line(article_id=1, number=n, text=str(n), noun_id=1) for n in (1, 2)]
    )
    session.commit()
    author.name = "c"
    session.commit()
    author.name = "d"
    session.delete(session.get_one(Line, (1, 1)))
    session.get_one(Line, (1, 2)).text = "changed"
    session.add(Line(article_id=1, number=3))
    session.commit()
    author.versions()[2].revert(relations=["articles.lines.noun"])
    session.commit()

    assert rows(session, "select number, text, noun_id from line order by 1") == [
        *[(1, "1", 1), (2, "2", 1)],
    ]
    assert article.id == 1


def test_trees_of_objects(session: Session) -> None:
    root = Node(id=1, name="r", children=[Node(id=2, children=[Node(id=3)])])
    session.add(root)
    session.commit()
    root.name = "s"
    session.commit()
    session.delete(root)
    session.commit()
    first = root.versions(session=session)[0]
    first.revert(relations=["children.children"])
    session.commit()
    assert rows(session, "select id, parent_id from node order by 1") == [
        *[(1, None), (2, 1), (3, 2)],
    ]
    found = session.get_one(Node, 1)
    found.children[0].children[0].parent = found
    session.commit()
    first.revert(relations=["children.children"])
    session.commit()

    assert rows(session, "select id, parent_id from node order by 1") == [
        *[(1, None), (2, 1), (3, 2)],
    ]


def test_relations_to_what_has_no_history_are_refused(
    session: Session, author: Author
) -> None:
    first = author.versions()[0]
    with pytest.raises(NotVersionedError, match="plain is not versioned"):
        first.revert(relations=["plain"])
    with pytest.raises(NotVersionedError, match="article_plain is not versioned"):
        first.revert(relations=["articles.plains"])
    with pytest.raises(RevertError, match="viewonly"):
        first.revert(relations=["names"])
    with pytest.raises(RevertError, match="has no relation 'nothing'"):
        first.revert(relations=["nothing"])
    with pytest.raises(RevertError, match="Make it a list"):
        first.revert(relations="articles")


def test_pending_changes_are_flushed_first(session: Session, author: Author) -> None:
    author.articles[0].title = "pending"
    author.articles.append(Article(id=3))
    author.versions()[0].revert(relations=["articles"])
    session.commit()

    assert articles(session) == [(1, "one", 1), (2, "two", 1)]


def test_a_rollback_takes_all_of_it_back(session: Session, author: Author) -> None:
    author.articles[0].title = "changed"
    author.articles.append(Article(id=3))
    session.commit()
    author.versions()[0].revert(relations=["articles"])
    session.flush()
    session.rollback()

    assert articles(session) == [(1, "changed", 1), (2, "two", 1), (3, None, 1)]


def test_revert_to_a_moment_takes_relations_of_that_moment(
    session: Session, author: Author
) -> None:
    session.execute(text("select chrononaut.mark('m')"))
    session.commit()
    author.articles[0].title = "changed"
    session.commit()
    revert_to(author, mark="m", relations=["articles"])
    session.commit()

    assert (author.name, articles(session)[0]) == ("b", (1, "one", 1))


def test_a_revert_can_be_reverted(session: Session, author: Author) -> None:
    session.delete(author.articles[1])
    session.commit()
    author.versions()[0].revert(relations=["articles"])
    session.commit()
    reverted = author.versions()[-1]
    assert reverted.name == "b"
    reverted.revert(relations=["articles"])
    session.commit()
    revert_to(author, transaction=reverted.transaction_id, before=True)

    assert author.name == "b"
    assert session.scalars(select(Article.id).order_by(Article.id)).all() == [1, 2]
