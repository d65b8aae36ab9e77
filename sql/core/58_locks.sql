-- Record locks: rows that nobody may change until they are unlocked.
--
-- A lock is a row of chrononaut.record_lock. On a lockable table a row trigger looks for it
-- before every UPDATE and DELETE. The lock itself is set from inside that trigger, when an
-- UPDATE of the caller's has come to the row and holds its row lock: so privileges, policies
-- and waiting are PostgreSQL's own, and the row is left as it was. Safe to replay.

do $guard$
begin
    if not exists (
        select from pg_trigger t where t.tgrelid = 'chrononaut.record_lock_event'::regclass) then
        create trigger "00_chrononaut_guard"
            before update or delete or truncate on chrononaut.record_lock_event
            for each statement execute function chrononaut._guard_history();
    end if;
end
$guard$;


create or replace function chrononaut._lock_key_columns(v chrononaut.versioning)
    returns table (
        name name,
        n bigint,
        type text,
        builtin boolean,
        plain boolean,
        problem text)
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    -- Functions that users may define must not run here, in the name of the core's owner:
    -- checks of domains, and casts of types of their own to json.
    select k.name, k.n, chrononaut._history_type(a.atttypid),
        t.oid < 16384,
        t.oid = any ('{bool,int2,int4,int8,oid,numeric,text,varchar,bpchar,name,uuid,date,
            timestamp}'::regtype[]::oid[]) or t.typtype = 'e',
        case when t.typtype = 'c' or t.typcategory = 'A' and t.oid >= 16384
            then format('type %s', format_type(a.atttypid, a.atttypmod)) end
    from unnest(v.key) with ordinality k(name, n)
    join pg_attribute a
        on a.attrelid = v.relid and a.attname = k.name and not a.attisdropped
    join pg_type t on t.oid = chrononaut._history_type(a.atttypid)::regtype
    order by k.n
$$;

comment on function chrononaut._lock_key_columns(chrononaut.versioning) is
    'The key''s columns: how locks read and write their values, and what keeps them from it.';


create or replace function chrononaut._check_lockable(v chrononaut.versioning)
    returns void
    language plpgsql
    stable
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v_column record;
begin
    select c.name, c.problem into v_column
    from chrononaut._lock_key_columns(v) c where c.problem is not null limit 1;
    if v.lockable and found then
        perform chrononaut._refuse(v.relid,
            format('%s cannot be lockable: its key column %I is of %s',
                v.relid::regclass, v_column.name, v_column.problem),
            'Key columns must be scalar; pass key => with other columns of a unique index.',
            'VH003', v_column.name);
    end if;
end;
$$;

comment on function chrononaut._check_lockable(chrononaut.versioning) is
    'Raises VH003 if rows of a lockable table could not be named in a lock.';


create or replace function chrononaut._lock_key(v chrononaut.versioning, prefix text)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select format('pg_catalog.jsonb_build_array(%s)', string_agg(
        case when c.builtin then chrononaut._member(prefix, c.name)
            else format('pg_catalog.format(''%%s'', %s)', chrononaut._member(prefix, c.name)) end,
        ', ' order by c.n))
    from chrononaut._lock_key_columns(v) c
$$;

comment on function chrononaut._lock_key(chrononaut.versioning, text) is
    'An expression: the key of a row as locks store it, an array in the order of the key.';


create or replace function chrononaut._lock_key_record(
    v chrononaut.versioning,
    source text,
    alias text default 'k')
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    -- By position, so that renamed columns keep their locks.
    select format('pg_catalog.jsonb_to_record(pg_catalog.jsonb_build_object(%s)) %s(%s)',
        string_agg(format('%L, (%s) -> %s', c.name, source, c.n - 1), ', ' order by c.n),
        alias,
        string_agg(format('%I %s', c.name, c.type), ', ' order by c.n))
    from chrononaut._lock_key_columns(v) c
$$;

comment on function chrononaut._lock_key_record(chrononaut.versioning, text, text) is
    'A from item with the key''s columns in their types, from a stored key.';


create or replace function chrononaut._key_object(names name[], stored jsonb)
    returns jsonb
    language sql
    immutable
    set search_path = pg_catalog, pg_temp
as $$
    select jsonb_object_agg(k.name, stored -> (k.n - 1)::integer)
    from unnest(names) with ordinality k(name, n)
$$;

comment on function chrononaut._key_object(name[], jsonb) is
    'A key as users write it: {"id": 5}.';


create or replace function chrononaut._normal_key(v chrononaut.versioning, key jsonb)
    returns jsonb
    language plpgsql
    set search_path = pg_catalog, pg_temp
    set timezone = 'UTC'
    set intervalstyle = 'postgres'
    set bytea_output = 'hex'
    set extra_float_digits = '1'
as $$
#variable_conflict use_variable
declare
    v_key jsonb;
    v_problem text := format('The key of %s is (%s).',
        v.relid::regclass, array_to_string(v.key, ', '));
begin
    if jsonb_typeof(key) = 'object' and key ?& v.key::text[] and key - v.key::text[] = '{}' then
        begin
            execute format('select %s from %s', chrononaut._lock_key(v, 'k'),
                chrononaut._lock_key_record(v, '$1'))
            using (
                select jsonb_agg(key -> n.name::text order by n.position)
                from unnest(v.key) with ordinality n(name, position))
            into strict v_key;
            return v_key;
        exception when data_exception then
            v_problem := sqlerrm;
        end;
    end if;
    perform chrononaut._refuse(v.relid,
        format('%s is no key of %s', coalesce(key::text, 'null'), v.relid::regclass),
        format('%s Write it as in {%s}.', v_problem, (
            select string_agg(format('"%s": ...', n), ', ') from unnest(v.key) n)),
        '22023');
    return null;
end;
$$;

comment on function chrononaut._normal_key(chrononaut.versioning, jsonb) is
    'A key that a user gave as locks store it; 22023 if it does not fit the key''s columns.';


create or replace function chrononaut._locker(lock chrononaut.record_lock)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select coalesce(lock.user_id || ' ', '') || format('(role %s) since %s%s',
        lock.db_user, date_trunc('second', lock.locked_at),
        coalesce(': ' || lock.rationale, ''))
$$;

comment on function chrononaut._locker(chrononaut.record_lock) is
    'Who locked a record, since when and why, for messages.';


create or replace function chrononaut._refuse_locked(versioning_id integer, key jsonb)
    returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v chrononaut.versioning := chrononaut._entry(versioning_id);
    v_lock chrononaut.record_lock;
    v_key jsonb := chrononaut._key_object(v.key, key);
begin
    select l.* into v_lock from chrononaut.record_lock l
    where l.versioning_id = versioning_id and l.key = key;
    raise exception 'this record of %.% is locked by %',
        quote_ident(v.schema_name), quote_ident(v.table_name), chrononaut._locker(v_lock)
        using errcode = 'VH010',
              schema = v.schema_name,
              table = v.table_name,
              detail = format('Key: %s', v_key),
              hint = format('Run: select chrononaut.unlock_record(%L, %L); who locked it '
                  'may, and so may members of the table''s owner.',
                  format('%I.%I', v.schema_name, v.table_name), v_key);
end;
$$;

comment on function chrononaut._refuse_locked(integer, jsonb) is
    'Raises VH010 for a locked record: who locked it, when and why.';


create or replace function chrononaut._probe_lock(versioning_id integer, key jsonb)
    returns void
    language plpgsql
as $$
-- Only called by definer functions, in whose name and on whose pinned path it runs.
#variable_conflict use_variable
declare
    v_place tid;
begin
    -- Who waited for an unlock here could deadlock with it, as he holds the row already.
    if current_setting('transaction_isolation') = 'repeatable read' and exists (
        select from chrononaut.record_lock l
        where l.versioning_id = versioning_id and l.key = key) then
        perform chrononaut._refuse_locked(versioning_id, key);
    end if;
    -- Only a unique index shows what was committed after this transaction's snapshot: a lock
    -- that is visible makes this do nothing, any other fails with 40001. Otherwise nothing
    -- is read where SERIALIZABLE transactions would depend on each other by it.
    insert into chrononaut.record_lock (versioning_id, key, db_user)
    values (versioning_id, key, '')
    on conflict do nothing
    returning record_lock.ctid into v_place;
    if v_place is null then
        perform chrononaut._refuse_locked(versioning_id, key);
    end if;
    delete from chrononaut.record_lock l where l.ctid = v_place;
end;
$$;

comment on function chrononaut._probe_lock(integer, jsonb) is
    'Raises VH010 if a record is locked, 40001 if it was since the transaction''s snapshot.';


create or replace function chrononaut._lock_here(versioning_id integer, key jsonb, asked jsonb)
    returns boolean
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v chrononaut.versioning := chrononaut._entry(versioning_id);
    v_info jsonb := chrononaut.change_info();
    v_why text := coalesce(asked ->> 'rationale', v_info #>> '{extra,rationale}');
begin
    if v.relid <> (asked ->> 'relid')::oid then
        return false;
    end if;
    if not has_table_privilege(chrononaut._caller(), v.relid, 'update') then
        perform chrononaut._refuse(v.relid,
            format('role %s may not lock records of %s', chrononaut._caller(), v.relid::regclass),
            'Who may UPDATE all columns of the table may lock its records.', 'VH006');
    end if;
    perform chrononaut._check_said(v);
    insert into chrononaut.record_lock (
        versioning_id, key, user_id, db_user, rationale, change_info)
    values (versioning_id, key, v_info ->> 'user_id', chrononaut._caller(), v_why, v_info)
    on conflict do nothing;
    if not found then
        perform chrononaut._refuse_locked(versioning_id, key);
    end if;
    perform chrononaut._note_lock_event('lock', v, key, v_why, v_info),
        set_config('chrononaut.locking', '', true),
        set_config('chrononaut.locked', chrononaut._key_object(v.key, key)::text, true);
    return true;
end;
$$;

comment on function chrononaut._lock_here(integer, jsonb, jsonb) is
    'Locks the record whose row the trigger holds, if lock_record asked for it.';


create or replace function chrononaut._check_said(v chrononaut.versioning)
    returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
begin
    if v.require_change_info
        and chrononaut._says_nothing(
            nullif(current_setting('chrononaut.change_info', true), ''),
            v.schema_name || '.' || v.table_name) then
        perform chrononaut._refuse(v.relid,
            format('a lock on %s needs change info', v.relid::regclass),
            'Begin with: select chrononaut.set_change_info(user_id => ..., rationale => ...);',
            'VH002');
    end if;
end;
$$;

comment on function chrononaut._check_said(chrononaut.versioning) is
    'Raises VH002 if the table requires change info and none is said.';


create or replace function chrononaut._note_lock_event(
    event text,
    v chrononaut.versioning,
    key jsonb,
    rationale text,
    info jsonb)
    returns void
    language sql
    set search_path = pg_catalog, pg_temp
as $$
    insert into chrononaut.record_lock_event (
        event, versioning_id, schema_name, table_name, key,
        user_id, db_user, rationale, change_info)
    values (
        event, v.id, v.schema_name, v.table_name, chrononaut._key_object(v.key, key),
        info ->> 'user_id', chrononaut._caller(), rationale, info)
$$;

comment on function chrononaut._note_lock_event(text, chrononaut.versioning, jsonb, text, jsonb) is
    'Writes down for good that a record was locked or unlocked.';


create or replace function chrononaut._lock_body(v chrononaut.versioning)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select format($body$
-- Generated by chrononaut, replaced by chrononaut.sync_versioning(); do not edit.
#variable_conflict use_variable
declare
    v_key jsonb;
    v_asked text := nullif(current_setting('chrononaut.locking', true), '');
begin
    begin
        v_key := %1$s;
    exception when undefined_column then
        perform chrononaut._check_drift(%2$s);
        raise;
    end;
    if v_asked is not null and tg_op = 'UPDATE' then
        if chrononaut._lock_here(%2$s, v_key, v_asked::jsonb) then
            return null;
        end if;
    end if;
    if current_setting('transaction_isolation') not like 'read %%' then
        perform chrononaut._probe_lock(%2$s, v_key);
    elsif exists (
        select from chrononaut.record_lock l
        where l.versioning_id = %2$s and l.key = v_key) then
        -- The row lock is held by now, and this query saw all that was committed before it.
        perform chrononaut._refuse_locked(%2$s, v_key);
    end if;
    if tg_op = 'DELETE' then
        return old;
    end if;
    return new;
end;
$body$,
        chrononaut._lock_key(v, 'old'), v.id)
$$;

comment on function chrononaut._lock_body(chrononaut.versioning) is
    'Body of the function that guards a lockable table''s records.';


create or replace function chrononaut._lock_settings(v chrononaut.versioning)
    returns text[]
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    -- Settings cost a microsecond each per row: only where the key's text depends on them.
    select array['search_path=pg_catalog, pg_temp'] || case
        when bool_and(c.plain) then '{}'::text[]
        else '{TimeZone=UTC,IntervalStyle=postgres,bytea_output=hex,extra_float_digits=1}' end
    from chrononaut._lock_key_columns(v) c
$$;

comment on function chrononaut._lock_settings(chrononaut.versioning) is
    'The settings of the function that guards a lockable table''s records.';


create or replace function chrononaut._write_lock(v chrononaut.versioning)
    returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v_function text := format('chrononaut._lock_%s()', v.id);
begin
    if not v.lockable and to_regprocedure(v_function) is null then
        return;
    end if;
    execute format(
        'create or replace function %s returns trigger language plpgsql security definer '
            'set search_path = pg_catalog, pg_temp %s as %L',
        v_function,
        (select string_agg(format('set %s = %L', split_part(s, '=', 1), split_part(s, '=', 2)), ' ')
            from unnest((chrononaut._lock_settings(v))[2:]) s),
        chrononaut._lock_body(v));
    execute format('revoke all on function %s from public', v_function);
    execute format('comment on function %s is %L', v_function,
        format('Refuses changes to locked records of %I.%I.', v.schema_name, v.table_name));
end;
$$;

comment on function chrononaut._write_lock(chrononaut.versioning) is
    'Replaces the function that guards a table''s records, if it is or ever was lockable.';


create or replace function chrononaut._lock_problems(v chrononaut.versioning)
    returns table (problem text)
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select 'the function behind record locks is not the generated one'
    where v.lockable
        and not exists (select from chrononaut._drift(v))
        and not exists (
            select from pg_proc p
            where p.oid = to_regproc(format('chrononaut._lock_%s', v.id))
                and p.prosrc = chrononaut._lock_body(v)
                and p.prosecdef
                and p.proconfig = chrononaut._lock_settings(v)
                and not has_function_privilege('public', p.oid, 'execute'))
$$;

comment on function chrononaut._lock_problems(chrononaut.versioning) is
    'Whether the function that guards a table''s records is what would be generated now.';


create or replace function chrononaut._check_truncate_locks(
    v chrononaut.versioning,
    truncated regclass)
    returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v_leaf regclass;
    v_key jsonb;
begin
    if not v.lockable or not exists (
        select from chrononaut.record_lock l where l.versioning_id = v.id) then
        return;
    end if;
    for v_leaf in select l from chrononaut._truncated_here(v, truncated) l loop
        execute format(
            'select l.key from chrononaut.record_lock l cross join %s '
                'where l.versioning_id = $1 and exists (select from only %s t where %s) limit 1',
            chrononaut._lock_key_record(v, 'l.key'), v_leaf, chrononaut._same_key(v, 't', 'k'))
        into v_key using v.id;
        if v_key is not null then
            perform chrononaut._refuse_locked(v.id, v_key);
        end if;
    end loop;
end;
$$;

comment on function chrononaut._check_truncate_locks(chrononaut.versioning, regclass) is
    'Raises VH010 if a TRUNCATE would remove a locked record.';


create or replace function chrononaut._align_locks(v chrononaut.versioning, wanted name[])
    returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
    set timezone = 'UTC'
    set intervalstyle = 'postgres'
    set bytea_output = 'hex'
    set extra_float_digits = '1'
    set row_security = off
as $$
#variable_conflict use_variable
declare
    v_old chrononaut.versioning := v;
begin
    v.key := wanted;
    if not exists (select from chrononaut.record_lock l where l.versioning_id = v.id)
        or (select count(*) from chrononaut._lock_key_columns(v_old)) < cardinality(v_old.key)
        or exists (
            select from chrononaut._lock_key_columns(v) c where c.problem is not null) then
        return;
    end if;
    execute format(
        'update chrononaut.record_lock r set key = %1$s '
            'from chrononaut.record_lock l cross join %2$s join %3$s t on %4$s '
            'where l.versioning_id = $1 and r.ctid = l.ctid and r.key <> %1$s',
        chrononaut._lock_key(v, 't'), chrononaut._lock_key_record(v_old, 'l.key'),
        v.relid::regclass, chrononaut._same_key(v_old, 't', 'k'))
    using v.id;
exception when data_exception or insufficient_privilege then
    raise warning 'locks of % may not fit its key any more: %', v.relid::regclass, sqlerrm
        using hint = 'Unlock these records, and lock them again: see chrononaut.record_locks.';
end;
$$;

comment on function chrononaut._align_locks(chrononaut.versioning, name[]) is
    'Names locked records by other key columns, or by their present types.';


create or replace function chrononaut._end_locks(v chrononaut.versioning, rationale text)
    returns void
    language sql
    set search_path = pg_catalog, pg_temp
as $$
    select chrononaut._note_lock_event(
        'unlock', v, l.key, _end_locks.rationale, chrononaut.change_info())
    from chrononaut.record_lock l where l.versioning_id = v.id;
    delete from chrononaut.record_lock l where l.versioning_id = v.id;
$$;

comment on function chrononaut._end_locks(chrononaut.versioning, text) is
    'Ends all locks of a table whose history is dropped.';


create or replace function chrononaut._lockable(target regclass)
    returns chrononaut.versioning
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v chrononaut.versioning;
begin
    perform chrononaut._relocate();
    select r.* into v
    from chrononaut.versioning r
    where r.active and (r.relid = target
        or r.relid in (select a.relid from pg_partition_ancestors(target) a))
    limit 1;
    if v.id is null then
        v := chrononaut._require(target);
    end if;
    return v;
end;
$$;

comment on function chrononaut._lockable(regclass) is
    'The registry entry of a table or of its partitioned root; VH003 if it is not versioned.';


create or replace function chrononaut._lock_statement(target regclass, key jsonb)
    returns text[]
    language plpgsql
    security definer
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v chrononaut.versioning := chrononaut._lockable(target);
    v_set text;
begin
    if not v.lockable then
        perform chrononaut._refuse(target,
            format('records of %s cannot be locked', target),
            format('Run: select chrononaut.alter_versioning(%L, lockable => true);',
                v.relid::regclass));
    end if;
    select case when a.attidentity = 'a' then format('%I = default', a.attname)
        else format('%1$I = t.%1$I', a.attname) end
    into v_set
    from pg_attribute a
    where a.attrelid = target and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
    order by a.attname = any (v.key), a.attidentity = 'a', a.attnum
    limit 1;
    return array[
        v.relid::text,
        format('update %s %s t set %s from %s where %s',
            case when (select c.relkind from pg_class c where c.oid = target) = 'p' then ''
                else 'only' end,
            target, v_set,
            chrononaut._lock_key_record(v, quote_literal(chrononaut._normal_key(v, key))
                || '::pg_catalog.jsonb'),
            chrononaut._same_key(v, 't', 'k'))];
end;
$$;

comment on function chrononaut._lock_statement(regclass, jsonb) is
    'The table''s oid, and the UPDATE by which lock_record takes the trigger to a record.';


create or replace function chrononaut.lock_record(
    target regclass,
    key jsonb,
    rationale text default null)
    returns jsonb
    language plpgsql
as $$
-- Runs as the caller and on his path: his statement triggers fire, without rows.
#variable_conflict use_variable
declare
    v_statement text[] := chrononaut._lock_statement(target, key);
    v_locked text;
    v_rows bigint;
begin
    perform pg_catalog.set_config('chrononaut.locked', '', true),
        pg_catalog.set_config('chrononaut.locking', pg_catalog.jsonb_build_object(
            'relid', v_statement[1], 'rationale', rationale)::text, true);
    execute v_statement[2];
    get diagnostics v_rows = row_count;
    v_locked := pg_catalog.current_setting('chrononaut.locked');
    perform pg_catalog.set_config('chrononaut.locking', '', true);
    if v_locked operator(pg_catalog.=) '' then
        perform chrononaut._explain_unlocked(target, key, v_rows);
    end if;
    return v_locked::pg_catalog.jsonb;
end;
$$;

comment on function chrononaut.lock_record(regclass, jsonb, text) is
    'Locks a record: nobody can change or delete it until it is unlocked. Returns its key.';


create or replace function chrononaut._explain_unlocked(target regclass, key jsonb, written bigint)
    returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
begin
    if written > 0 then
        perform chrononaut._refuse(target,
            format('%s has no trigger that guards its records', target),
            format('Run: select chrononaut.sync_versioning(%L); in sessions with '
                'session_replication_role = replica nothing can be locked.', target),
            'VH005');
    end if;
    perform chrononaut._refuse(target,
        format('%s has no row with the key %s that could be locked', target, key),
        'Check the key; policies of the table may hide the row.', 'P0002');
end;
$$;

comment on function chrononaut._explain_unlocked(regclass, jsonb, bigint) is
    'Raises why lock_record found no record to lock.';


create or replace function chrononaut._find_lock(v chrononaut.versioning, key jsonb)
    returns chrononaut.record_lock
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v_key jsonb := chrononaut._normal_key(v, key);
    v_lock chrononaut.record_lock;
begin
    select l.* into v_lock from chrononaut.record_lock l
    where l.versioning_id = v.id and l.key = v_key;
    if not found then
        -- The type may find keys equal whose texts differ.
        execute format(
            'select l.* from chrononaut.record_lock l cross join %s cross join %s '
                'where l.versioning_id = $2 and %s',
            chrononaut._lock_key_record(v, 'l.key'),
            chrononaut._lock_key_record(v, '$1', 'g'),
            chrononaut._same_key(v, 'k', 'g'))
        into v_lock using v_key, v.id;
    end if;
    return v_lock;
end;
$$;

comment on function chrononaut._find_lock(chrononaut.versioning, jsonb) is
    'The lock on a record, null if it is not locked.';


create or replace function chrononaut.unlock_record(
    target regclass,
    key jsonb,
    rationale text default null)
    returns boolean
    language plpgsql
    security definer
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v chrononaut.versioning := chrononaut._lockable(target);
    v_lock chrononaut.record_lock := chrononaut._find_lock(v, key);
    v_info jsonb := chrononaut.change_info();
begin
    if v_lock.key is null then
        return false;
    end if;
    if not (v_lock.db_user = chrononaut._caller()
            and v_lock.user_id is not distinct from v_info ->> 'user_id')
        and not pg_has_role(chrononaut._caller(),
            (select c.relowner from pg_class c where c.oid = v.relid), 'member') then
        perform chrononaut._refuse(v.relid,
            format('role %s may not unlock this record of %s, locked by %s',
                chrononaut._caller(), v.relid::regclass, chrononaut._locker(v_lock)),
            'Who locked it may, as the same user and role; and members of the table''s owner.',
            'VH006');
    end if;
    perform chrononaut._check_said(v);
    delete from chrononaut.record_lock l where l.versioning_id = v.id and l.key = v_lock.key;
    if found then
        perform chrononaut._note_lock_event('unlock', v, v_lock.key,
            coalesce(rationale, v_info #>> '{extra,rationale}'), v_info);
    end if;
    return found;
end;
$$;

comment on function chrononaut.unlock_record(regclass, jsonb, text) is
    'Ends the lock on a record; false if it was not locked.';
