"""Relations of versions, in one tool's turn: `relations.py TOOL URL OBJECTS ROUNDS`.

Users with articles, each with ten versions: reads the articles of a version, finds the
version at a time, and reverts a user with them; for scale ("floor"), loads the live
articles, the live user, and makes the changes of the revert by hand; and sends the
statements of the first two to the bare driver ("driver"). Prints seconds as JSON.
Written for SQLAlchemy 2.0 and later, so that SQLAlchemy-Continuum runs it, too.
"""

import json
import sys
import time

import psycopg
import sqlalchemy as sa
from sqlalchemy import orm

CHANGES = 10

ARTICLES = 3

WARM_UP = 15
"""Rounds that are not counted: by then statements are prepared and planned."""


def models(base, mixin, extra):
    """Return the two models, of a base, with what makes them versioned."""
    user = type(
        "User",
        (*mixin, base),
        {
            "__tablename__": "related_user",
            **extra,
            "id": sa.Column(sa.Integer, primary_key=True),
            "name": sa.Column(sa.Text),
            "number": sa.Column(sa.Integer),
            "articles": orm.relationship(
                "Article", back_populates="user", order_by="Article.id"
            ),
        },
    )
    article = type(
        "Article",
        (*mixin, base),
        {
            "__tablename__": "related_article",
            **extra,
            "id": sa.Column(sa.Integer, primary_key=True),
            "title": sa.Column(sa.Text),
            "number": sa.Column(sa.Integer),
            "user_id": sa.Column(
                sa.Integer, sa.ForeignKey("related_user.id"), index=True
            ),
            "user": orm.relationship("User", back_populates="articles"),
        },
    )
    return user, article


class Ours:
    """chrononaut_pg."""

    def __init__(self, url):
        import chrononaut_pg

        base = orm.declarative_base()
        self.user, self.article = models(base, (chrononaut_pg.Versioned,), {})
        self.engine = sa.create_engine(url)
        chrononaut_pg.listen(self.engine)
        base.metadata.drop_all(self.engine)
        base.metadata.create_all(self.engine)

    def versions(self, one):
        return one.versions()

    def moment(self, version):
        return version.changed

    def version_at(self, one, session, at):
        return one.version_at(at)

    def driver(self, session, work):
        """Return a call that sends the driver itself what *work* sends last."""
        sent, execute = [], psycopg.Cursor.execute

        def note(cursor, *given, **more):
            sent.append(given)
            return execute(cursor, *given, **more)

        psycopg.Cursor.execute = note
        try:
            work()
        finally:
            psycopg.Cursor.execute = execute
        cursor = session.connection().connection.driver_connection.cursor()
        return lambda: cursor.execute(*sent[-1]).fetchall()

    def settle(self, connection):
        connection.execute(sa.text("vacuum analyze"))


class Continuum(Ours):
    """SQLAlchemy-Continuum."""

    def __init__(self, url):
        import sqlalchemy_continuum

        sqlalchemy_continuum.make_versioned(user_cls=None)
        base = orm.declarative_base()
        self.user, self.article = models(base, (), {"__versioned__": {}})
        orm.configure_mappers()
        self.engine = sa.create_engine(url)
        base.metadata.drop_all(self.engine)
        base.metadata.create_all(self.engine)
        self.version_class = sqlalchemy_continuum.version_class(self.user)

    def versions(self, one):
        return list(one.versions)

    def moment(self, version):
        return version.transaction.issued_at

    def driver(self, session, work):
        return None

    def version_at(self, one, session, at):
        transaction = self.version_class.transaction.property.mapper.class_
        return (
            session.query(self.version_class)
            .join(transaction, transaction.id == self.version_class.transaction_id)
            .filter(self.version_class.id == one.id, transaction.issued_at <= at)
            .order_by(transaction.id.desc())
            .first()
        )


TOOLS = {"chrononaut_pg": Ours, "continuum": Continuum}


def fill(tool, objects):
    """Make the users and their articles, and change all of them nine times."""
    with orm.Session(tool.engine, expire_on_commit=False) as session:
        for first in range(0, objects, 1000):
            users = [
                tool.user(
                    id=number + 1,
                    name=f"user {number}",
                    number=0,
                    articles=[
                        tool.article(id=number * ARTICLES + n + 1, title="a", number=0)
                        for n in range(ARTICLES)
                    ],
                )
                for number in range(first, min(first + 1000, objects))
            ]
            session.add_all(users)
            session.commit()
            for change in range(1, CHANGES):
                for one in users:
                    one.number = change
                    for article in one.articles:
                        article.number = change
                session.commit()
            session.expunge_all()
    with tool.engine.connect().execution_options(
        isolation_level="AUTOCOMMIT"
    ) as connection:
        tool.settle(connection)


def timed(found, name, work):
    began = time.perf_counter()
    result = work()
    found.setdefault(name, []).append(time.perf_counter() - began)
    return result


def read(tool, session, key, found):
    """Read the articles of a version, and the version at a time."""
    one = session.get(tool.user, key)
    version = tool.versions(one)[4]
    at = tool.moment(version)
    articles = timed(found, "relations", lambda: list(version.articles))
    assert [article.number for article in articles] == [4] * ARTICLES
    session.expunge_all()
    one = session.get(tool.user, key)
    seen = timed(found, "version_at", lambda: tool.version_at(one, session, at))
    assert seen.number in (4, 5)
    session.expunge_all()
    one = timed(found, "version_at/floor", lambda: session.get(tool.user, key))
    assert len(timed(found, "relations/floor", lambda: list(one.articles))) == ARTICLES
    session.expunge_all()
    one = session.get(tool.user, key)
    version = tool.versions(one)[4]
    for name, work in (
        ("relations/driver", lambda: list(version.articles)),
        ("version_at/driver", lambda: tool.version_at(one, session, at)),
    ):
        bare = tool.driver(session, work)
        if bare is not None:
            timed(found, name, bare)
    session.expunge_all()


def revert(tool, session, key, found):
    """Revert a user and its articles, one of which is deleted."""
    one = session.get(tool.user, key)
    session.delete(one.articles[0])
    session.commit()
    version = tool.versions(one)[4]

    def work():
        version.revert(relations=["articles"])
        session.flush()

    timed(found, "revert", work)
    finish(session, one)


def change(tool, session, key, found):
    """Make the same changes as `revert`, without any history to read."""
    one = session.get(tool.user, key)
    gone = one.articles[0].id
    session.delete(one.articles[0])
    session.commit()
    session.get(tool.user, key)

    def work():
        one.number = 4
        for article in one.articles:
            article.number = 4
        one.articles.append(tool.article(id=gone, title="a", number=4))
        session.flush()

    timed(found, "revert/floor", work)
    finish(session, one)


def finish(session, one):
    """Check that a user is what it was in its fifth version, and forget it."""
    session.expire_all()
    assert one.number == 4
    assert [article.number for article in one.articles] == [4] * ARTICLES
    session.commit()
    session.expunge_all()


def main(name, url, objects, rounds):
    tool = TOOLS[name](url)
    fill(tool, objects)
    found = {}
    with orm.Session(tool.engine) as session:
        for turn, work in enumerate((read, revert, change)):
            for number in range(rounds + WARM_UP):
                seconds = found if number >= WARM_UP else {}
                key = 1 + (number * 3 + turn) * 37 % objects
                work(tool, session, key, seconds)
    json.dump({"seconds": found}, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
