"""One tool's turn in the ORM benchmark: `workload.py TOOL URL SHARE TURN`.

Measures the same work on a bare and on a versioned model, which of them first depends
on the turn, and prints seconds as JSON. Written for SQLAlchemy 1.4 and 2, so that every
peer runs it.
"""

import json
import sys
import time
from contextlib import nullcontext
from itertools import pairwise

import sqlalchemy as sa
from sqlalchemy import orm

OBJECTS = 2000

KEY = 9_000_000
"""The object with many versions, the same in all turns."""


def columns():
    """Return the columns of a model of the usual shape."""
    return {
        "id": sa.Column(sa.Integer, primary_key=True),
        "a": sa.Column(sa.Text),
        "b": sa.Column(sa.Text),
        "price": sa.Column(sa.Numeric(10, 2)),
        "flag": sa.Column(sa.Boolean),
        "number": sa.Column(sa.Integer),
        "at": sa.Column(sa.DateTime(timezone=True), server_default=sa.func.now()),
        "text": sa.Column(sa.Text),
    }


class Ours:
    """chrononaut_pg."""

    def __init__(self, url):
        import floor

        import chrononaut_pg

        base = orm.declarative_base()
        self.bare = type("Bare", (base,), {"__tablename__": "bare", **columns()})
        mixins = (chrononaut_pg.Versioned, base)
        self.model = type("Kept", mixins, {"__tablename__": "kept", **columns()})
        self.engine = sa.create_engine(url)
        self.bare_engine = sa.create_engine(url)
        chrononaut_pg.listen(self.engine)
        self.floor = type("Floor", (base,), {"__tablename__": "floor", **columns()})
        base.metadata.create_all(self.engine)
        with self.engine.begin() as connection:
            connection.exec_driver_sql(floor.TRIGGER)
        self.said = chrononaut_pg.change_info
        self.plain = floor.plain_history(self.engine, KEY)

    def context(self):
        return self.said(user_id="ann@example.com", remote_addr="10.0.0.1")

    def session(self, versioned):
        engine = self.engine if versioned else self.bare_engine
        return orm.Session(engine, expire_on_commit=False)

    def versions(self, one, session):
        return one.versions()

    def version_at(self, one, session, at):
        return one.version_at(at)

    def moment(self, version):
        return version.changed

    def diff(self, one, version, following):
        return one.diff(version, following)

    def number(self, version):
        return version.number


class Continuum(Ours):
    """SQLAlchemy-Continuum."""

    floor = plain = None

    def __init__(self, url):
        import sqlalchemy_continuum

        sqlalchemy_continuum.make_versioned(user_cls=None)
        base = orm.declarative_base()
        self.bare = type("Bare", (base,), {"__tablename__": "bare", **columns()})
        names = {"__tablename__": "kept", "__versioned__": {}, **columns()}
        self.model = type("Kept", (base,), names)
        orm.configure_mappers()
        self.engine = self.bare_engine = sa.create_engine(url)
        base.metadata.create_all(self.engine)
        self.version_class = sqlalchemy_continuum.version_class(self.model)
        self.changeset = sqlalchemy_continuum.changeset

    def context(self):
        return nullcontext()

    def versions(self, one, session):
        return list(one.versions)

    def moment(self, version):
        return version.transaction.issued_at

    def version_at(self, one, session, at):
        transaction = self.version_class.transaction.property.mapper.class_
        return (
            session.query(self.version_class)
            .join(transaction, transaction.id == self.version_class.transaction_id)
            .filter(self.version_class.id == one.id, transaction.issued_at <= at)
            .order_by(transaction.id.desc())
            .first()
        )

    def diff(self, one, version, following):
        return following.changeset


class Audit(Ours):
    """PostgreSQL-Audit."""

    floor = plain = None

    def __init__(self, url):
        from postgresql_audit import VersioningManager

        base = orm.declarative_base()
        manager = VersioningManager()
        manager.init(base)
        self.bare = type("Bare", (base,), {"__tablename__": "bare", **columns()})
        names = {"__tablename__": "kept", "__versioned__": {}, **columns()}
        self.model = type("Kept", (base,), names)
        orm.configure_mappers()
        self.engine = self.bare_engine = sa.create_engine(url)
        manager.transaction_cls.__table__.create(self.engine, checkfirst=True)
        manager.activity_cls.__table__.create(self.engine, checkfirst=True)
        base.metadata.create_all(self.engine)
        self.activity = manager.activity_cls

    def context(self):
        return nullcontext()

    def versions(self, one, session):
        activity = self.activity
        key = activity.old_data["id"].astext == str(one.id)
        return (
            session.query(activity)
            .filter(activity.table_name == "kept", key)
            .order_by(activity.id)
            .all()
        )

    def number(self, version):
        return version.old_data["number"]

    moment = version_at = diff = None


class Chrononaut(Ours):
    """Chrononaut, in a Flask application."""

    floor = plain = None

    def __init__(self, url):
        import chrononaut
        import flask

        app = flask.Flask("bench")
        app.config["SQLALCHEMY_DATABASE_URI"] = url.replace("+psycopg:", "+psycopg2:")
        app.config["SQLALCHEMY_TRACK_MODIFICATIONS"] = False
        db = chrononaut.VersionedSQLAlchemy(app)
        app.app_context().push()
        self.bare = type("Bare", (db.Model,), {"__tablename__": "bare", **columns()})
        mixins = (db.Model, chrononaut.Versioned)
        self.model = type("Kept", mixins, {"__tablename__": "kept", **columns()})
        db.create_all()
        self.db = db

    def context(self):
        return nullcontext()

    def session(self, versioned):
        self.db.session.remove()
        self.db.session(expire_on_commit=False)
        return _Scoped(self.db.session)

    def versions(self, one, session):
        return one.versions()

    def moment(self, version):
        return version.chrononaut_meta["changed"]

    def diff(self, one, version, following):
        return one.diff(version, following)


class _Scoped:
    """A scoped session as a context manager."""

    def __init__(self, session):
        self.session = session

    def __enter__(self):
        return self.session

    def __exit__(self, *_):
        self.session.remove()


TOOLS = {
    "chrononaut_pg": Ours,
    "chrononaut": Chrononaut,
    "continuum": Continuum,
    "audit": Audit,
}


def timed(found, key, work, *arguments):
    """Add the seconds that *work* takes, and return its result."""
    began = time.perf_counter()
    result = work(*arguments)
    found.setdefault(key, []).append(time.perf_counter() - began)
    return result


def objects(model, first, count):
    return [
        model(
            id=first + number,
            a="alpha",
            b="beta",
            price=number,
            flag=True,
            number=number,
            text="x" * 60,
        )
        for number in range(count)
    ]


def flushes(tool, versioned, first, count, found, floor=False):
    """Insert, update and delete *count* objects, each in one flush."""
    model = tool.model if versioned else tool.floor if floor else tool.bare
    name = "versioned" if versioned else "floor" if floor else "bare"
    with tool.session(versioned or floor) as session, tool.context():
        made = objects(model, first, count)

        def insert():
            session.add_all(made)
            session.commit()

        def update():
            for one in made:
                one.number += 1
            session.commit()

        def delete():
            for one in made:
                session.delete(one)
            session.commit()

        for work in (insert, update, delete):
            timed(found, f"{work.__name__}/{name}", work)


def transactions(tool, versioned, first, count, found):
    """Update *count* objects, each in a transaction of its own."""
    model = tool.model if versioned else tool.bare
    name = "versioned" if versioned else "bare"
    with tool.session(versioned) as session, tool.context():
        made = objects(model, first, count)
        session.add_all(made)
        session.commit()

        def one_by_one():
            for one in made:
                one.number += 1
                session.commit()

        timed(found, f"one object/{name}", one_by_one)


def readers(tool, found, versions, rounds):
    """Read the history of an object with many versions."""
    with tool.session(True) as session, tool.context():
        if session.get(tool.model, KEY) is None:
            one = objects(tool.model, KEY, 1)[0]
            session.add(one)
            session.commit()
            for number in range(versions):
                one.number = -number - 1
                session.commit()
            session.execute(sa.text("analyze"))  # autovacuum does, where it is on
            session.commit()
    with tool.session(True) as session:
        one = session.get(tool.model, KEY)
        kept = tool.versions(one, session)
        middle = tool.moment(kept[len(kept) // 2]) if tool.moment else None
        for _ in range(rounds):
            one = afresh(tool, session)
            kept = timed(found, "versions", read_all, tool, one, session)
            assert len(kept) >= versions, len(kept)
            if tool.plain:
                session.expunge_all()
                timed(found, "versions/floor", tool.plain, session)
            for _ in range(rounds if tool.version_at else 0):
                one = afresh(tool, session)
                timed(found, "version_at", tool.version_at, one, session, middle)
            one = afresh(tool, session)
            kept = tool.versions(one, session)
            for earlier, later in pairwise(kept[500:511] if tool.diff else ()):
                timed(found, "diff", tool.diff, one, earlier, later)


def read_all(tool, one, session):
    """Load all versions, and look at an attribute of each."""
    kept = tool.versions(one, session)
    assert [tool.number(version) for version in kept]
    return kept


def afresh(tool, session):
    """Load the object into a session that knows nothing else."""
    session.expunge_all()
    return session.get(tool.model, KEY)


def main(name, url, share, turn):
    turn, found = int(turn), {}
    tool = TOOLS[name](url)
    count = max(int(OBJECTS * float(share)), 50)
    first = 1 + turn * 2 * OBJECTS
    for versioned in (False, True):
        flushes(tool, versioned, first + 700_000, 50, {})
        transactions(tool, versioned, first + 700_000, 10, {})
    order = (False, True) if turn % 2 else (True, False)
    for versioned in (*order, *reversed(order)):
        flushes(tool, versioned, first, count, found)
        if tool.floor and versioned:
            flushes(tool, False, first, count, found, floor=True)
    for versioned in order:
        transactions(tool, versioned, first + 500_000, count, found)
    readers(tool, found, 1000, 5)
    print(json.dumps({"objects": count, "seconds": found}))


if __name__ == "__main__":
    main(*sys.argv[1:])
