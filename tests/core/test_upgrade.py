"""A database with core 1 is upgraded in place, history included."""

import gzip
import re
import subprocess
from pathlib import Path

import psycopg
import pytest

from chrononaut_pg import _resources, core
from chrononaut_pg.exceptions import CoreNewerError
from tests.core.asking import rows
from tests.servers import Cluster, Db, MakeRole

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
select chrononaut.auto_sync();
grant select on bulk to public;
grant select (id, v) on plain to public;
grant select on chrononaut.transaction to public;
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
with ours as (
    select c.*, c.oid::regclass::text as name from pg_class c
    where c.relnamespace in ('chrononaut'::regnamespace, 'public'::regnamespace)
)
select 'function', p.oid::regprocedure::text, md5(pg_get_functiondef(p.oid)),
    format('%s %s', p.proowner::regrole, p.proacl), obj_description(p.oid, 'pg_proc')
from pg_proc p where p.pronamespace = 'chrononaut'::regnamespace
union all
select 'relation', c.name, format('%s %s', c.relkind, c.relowner::regrole),
    c.relacl::text, obj_description(c.oid, 'pg_class')
from ours c
union all
select 'column', c.name || '.' || a.attname,
    format('%s %s %s %s', format_type(a.atttypid, a.atttypmod), a.attnotnull,
        a.attidentity, pg_get_expr(d.adbin, d.adrelid)),
    a.attacl::text, col_description(c.oid, a.attnum)
from ours c
join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
left join pg_attrdef d on d.adrelid = c.oid and d.adnum = a.attnum
where c.relkind in ('r', 'v')
union all
select 'index', c.name, pg_get_indexdef(c.oid), null, null
from ours c where c.relkind = 'i'
union all
select 'constraint', c.name, k.conname, pg_get_constraintdef(k.oid), null
from ours c join pg_constraint k on k.conrelid = c.oid
union all
select 'sequence', c.name, s.seqtypid::regtype::text,
    format('%s %s %s %s', s.seqstart, s.seqincrement, s.seqcache, s.seqcycle), null
from ours c join pg_sequence s on s.seqrelid = c.oid
union all
select 'trigger', c.name, pg_get_triggerdef(t.oid), t.tgenabled::text, null
from ours c join pg_trigger t on t.tgrelid = c.oid where not t.tgisinternal
union all
select 'event trigger', e.evtname, e.evtevent, e.evtfoid::regproc::text,
    e.evtenabled::text
from pg_event_trigger e
union all
select 'view', c.name, pg_get_viewdef(c.oid), c.reloptions::text, null
from ours c where c.relkind = 'v'
union all
select 'schema', n.nspname, n.nspowner::regrole::text, n.nspacl::text,
    obj_description(n.oid, 'pg_namespace')
from pg_namespace n where n.nspname ~ '^(chrononaut|public)'
order by 1, 2, 3
"""

# Whatever an install could touch; xmin tells even a replacement by the same.
TOUCHED = """
select 'function', p.oid::regprocedure::text, p.prosrc, p.proacl::text,
    p.proowner::regrole::text, obj_description(p.oid, 'pg_proc'), null
from pg_proc p where p.pronamespace = 'chrononaut'::regnamespace
union all
select 'relation', c.oid::regclass::text, c.relacl::text, c.relowner::regrole::text,
    null, null, case when c.relname ~ '_history' then c.xmin::text end
from pg_class c
where c.relnamespace in ('chrononaut'::regnamespace, 'public'::regnamespace)
union all
select 'trigger', t.tgname, t.tgrelid::regclass::text, null, null, null, t.xmin::text
from pg_trigger t
union all
select 'event trigger', e.evtname, null, null, null, null, e.xmin::text
from pg_event_trigger e
union all
select 'registry', v.id::text, v::text, null, null, null, v.xmin::text
from chrononaut.versioning v
union all
select 'column', c.id::text, c::text, null, null, null, c.xmin::text
from chrononaut.versioned_column c
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


def test_dump_of_the_upgraded_schema_is_that_of_a_fresh_one(
    empty_db: Db, db: Db, server: Cluster, superuser: str, clients: Path
) -> None:
    install_core_1(empty_db)
    dumps = []
    for session in (empty_db, db):
        session.execute(TABLES)
        session.commit()
        if session is empty_db:
            core.install(session)
            session.commit()
        url = server.url(session.info.dbname, user=superuser)
        output = subprocess.run(
            [clients / "pg_dump", "--schema-only", url],
            capture_output=True,
            text=True,
            check=True,
        )
        # Newer ones protect their text by a random word.
        dumps.append(re.sub(r"(?m)^\\(un)?restrict .*$", "", output.stdout))
    assert dumps[0].splitlines() == dumps[1].splitlines()


def test_second_install_of_the_same_core_changes_nothing(db: Db) -> None:
    db.execute(TABLES)
    db.execute(WRITES)
    db.commit()
    before = rows(db, TOUCHED)

    core.install(db)
    db.commit()

    assert rows(db, TOUCHED) == before


def test_newer_core_is_not_downgraded(db: Db) -> None:
    newer = _resources.package_core_version() + 1
    db.execute(
        "create or replace function chrononaut.core_version() returns integer"
        f" language sql immutable parallel safe as 'select {newer}'"
    )
    db.commit()
    with pytest.raises(CoreNewerError) as caught:
        core.install(db)
    assert (caught.value.installed, caught.value.required) == (newer, newer - 1)
    db.rollback()
    assert db.execute("select chrononaut.core_version()").fetchone() == (newer,)


def test_another_role_cannot_upgrade_the_core(db: Db, role: MakeRole) -> None:
    script = _resources.install_files()[0].text
    db.execute(f"set role {role('stranger')}")
    with pytest.raises(psycopg.Error) as caught:
        db.execute(script)
    assert caught.value.sqlstate == "VH006"
