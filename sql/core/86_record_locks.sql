-- The view of current record locks.
--
-- A reader sees locks of tables that he may read without policies, and his own. Safe to
-- replay.

create or replace view chrononaut.record_locks as
with versioned as materialized (
    select v.id, v.schema_name, v.table_name, v.key, v.lockable and v.active as enforced,
        chrononaut._locate(v) as relid
    from chrononaut.versioning v
    where exists (select from chrononaut.record_lock l where l.versioning_id = v.id)
)
select
    t.relid::regclass as relation,
    t.schema_name,
    t.table_name,
    chrononaut._key_object(t.key, l.key) as key,
    l.user_id,
    l.db_user,
    l.locked_at,
    l.rationale,
    l.change_info,
    t.enforced
from chrononaut.record_lock l
join versioned t on t.id = l.versioning_id
where l.db_user = chrononaut._caller()
    or pg_has_role(chrononaut._caller(), chrononaut._owner(), 'member')
    or has_table_privilege(chrononaut._caller(), t.relid, 'select')
        and chrononaut._may_read_past_policies(t.relid, (
            select r.oid from pg_roles r where r.rolname = chrononaut._caller()));

comment on view chrononaut.record_locks is
    'Records that are locked now. Those whose table is not lockable any more are not enforced.';
comment on column chrononaut.record_locks.relation is 'The live table; null if it is gone.';
comment on column chrononaut.record_locks.schema_name is 'Its schema, when last synchronised.';
comment on column chrononaut.record_locks.table_name is 'Its name, when last synchronised.';
comment on column chrononaut.record_locks.key is 'The key of the record: {"id": 5}.';
comment on column chrononaut.record_locks.user_id is 'Who locked it, as the change info said.';
comment on column chrononaut.record_locks.db_user is 'The role that locked it.';
comment on column chrononaut.record_locks.locked_at is 'When it was locked.';
comment on column chrononaut.record_locks.rationale is 'Why.';
comment on column chrononaut.record_locks.change_info is 'The change info of the lock.';
comment on column chrononaut.record_locks.enforced is 'Whether the table is lockable now.';

grant select on chrononaut.record_locks to public;
