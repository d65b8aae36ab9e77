"""A database with core 1 is upgraded in place, history included."""

import gzip
from pathlib import Path

import psycopg
import pytest

from chrononaut_pg import _resources, core
from tests.servers import Db, MakeRole

OLDER = Path(__file__).parent / "older" / "core_1.sql.gz"

TABLES = """
create table plain (id int primary key, v text, secret text);
create table bulk (id int primary key, v text);
create table base (id int primary key, name text);
create table child (id int primary key references base, size int);
select chrononaut.create_versioning('plain', hidden => '{secret}');
select chrononaut.create_versioning('bulk', granularity => 'statement');
select chrononaut.create_versioning('base');
select chrononaut.create_versioning('child', parent => 'base');
"""

WRITES = """
insert into plain values (1, 'a', 'x');
insert into bulk values (1, 'a');
insert into base values (1, 'n');
insert into child values (1, 5);
update plain set v = 'b', secret = 'y';
update bulk set v = 'b';
update base set name = 'm';
"""

# What makes up the schema, without oids.
CATALOG = """
select 'function', p.oid::regprocedure::text, md5(pg_get_functiondef(p.oid)),
    p.proacl::text, obj_description(p.oid, 'pg_proc')
from pg_proc p where p.pronamespace = 'chrononaut'::regnamespace
union all
select 'column', a.attrelid::regclass::text, a.attname, a.atttypid::regtype::text,
    col_description(a.attrelid, a.attnum)
from pg_attribute a join pg_class c on c.oid = a.attrelid
where c.relnamespace in ('chrononaut'::regnamespace, 'public'::regnamespace)
    and a.attnum > 0 and not a.attisdropped and c.relkind in ('r', 'v')
union all
select 'index', c.oid::regclass::text, pg_get_indexdef(c.oid), null, null
from pg_class c
where c.relkind = 'i'
    and c.relnamespace in ('chrononaut'::regnamespace, 'public'::regnamespace)
union all
select 'trigger', t.tgrelid::regclass::text, pg_get_triggerdef(t.oid),
    t.tgenabled::text, null
from pg_trigger t where not t.tgisinternal
union all
select 'view', c.oid::regclass::text, pg_get_viewdef(c.oid), c.relacl::text, null
from pg_class c
where c.relkind = 'v'
    and c.relnamespace in ('chrononaut'::regnamespace, 'public'::regnamespace)
order by 1, 2, 3
"""


def install_core_1(db: Db) -> None:
    """Run the frozen install script of core 1, as psql would."""
    with gzip.open(OLDER, "rt", encoding="utf-8") as script:
        lines = [line for line in script if not line.startswith("\\")]
    db.commit()
    db.autocommit = True
    db.execute("".join(lines))
    db.autocommit = False


def recorded(db: Db) -> list[tuple[object, ...]]:
    return db.execute(
        "select relation, operation, key"
        " from chrononaut.recent_changes order by change_id"
    ).fetchall()


def test_upgraded_core_is_what_a_fresh_one_is_and_keeps_history(
    empty_db: Db, db: Db
) -> None:
    install_core_1(empty_db)
    for session in (empty_db, db):
        session.execute(TABLES)
        session.execute(WRITES)
        session.commit()
    before = recorded(empty_db)

    core.install(empty_db)
    empty_db.commit()

    assert len(before) == 7
    assert recorded(empty_db) == before
    assert empty_db.execute(CATALOG).fetchall() == db.execute(CATALOG).fetchall()
    assert core.check_versioning(empty_db) == ()
    empty_db.execute("update plain set v = 'c'")
    assert len(recorded(empty_db)) == 8


def test_second_install_of_the_same_core_leaves_tables_alone(db: Db) -> None:
    db.execute(TABLES)
    db.commit()
    marks = (
        "select tgname, tgrelid, xmin::text from pg_trigger order by oid",
        "select relname, xmin::text from pg_class"
        " where relname ~ '_history' order by oid",
    )
    before = [db.execute(query).fetchall() for query in marks]

    core.install(db)
    db.commit()

    assert [db.execute(query).fetchall() for query in marks] == before


def test_newer_core_is_not_downgraded(db: Db) -> None:
    newer = _resources.package_core_version() + 1
    db.execute(
        "create or replace function chrononaut.core_version() returns integer"
        f" language sql immutable parallel safe as 'select {newer}'"
    )
    db.commit()
    with pytest.raises(Exception, match=f"{newer}"):
        core.install(db)
    db.rollback()
    assert db.execute("select chrononaut.core_version()").fetchone() == (newer,)


def test_another_role_cannot_upgrade_the_core(db: Db, role: MakeRole) -> None:
    script = _resources.install_files()[0].text
    db.execute(f"set role {role('stranger')}")
    with pytest.raises(psycopg.Error) as caught:
        db.execute(script)
    assert caught.value.sqlstate == "VH006"
