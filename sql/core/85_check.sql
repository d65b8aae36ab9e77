-- Drift: what differs between a live table, its history and what records it.
--
-- Reads only; says what is wrong and what to do. Safe to replay.

create or replace function chrononaut._drift(v chrononaut.versioning)
    returns table (problem text, column_name name)
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select format('column %I was dropped', m.live_name), m.live_name
    from chrononaut.versioned_column m
    left join pg_attribute a
        on a.attrelid = v.relid and a.attnum = m.attnum and not a.attisdropped
    where m.versioning_id = v.id and m.state in ('tracked', 'hidden') and a.attnum is null
    union all
    select format('column %I was renamed to %I', m.live_name, a.attname), m.live_name
    from chrononaut.versioned_column m
    join pg_attribute a
        on a.attrelid = v.relid and a.attnum = m.attnum and not a.attisdropped
    where m.versioning_id = v.id and m.live_name <> a.attname
    union all
    select format('column %I was added', a.attname), a.attname
    from pg_attribute a
    where a.attrelid = v.relid and a.attnum > 0 and not a.attisdropped
        and not exists (
            select from chrononaut.versioned_column m
            where m.versioning_id = v.id and m.attnum = a.attnum)
    union all
    select format('column %I has type %s, its history has %s',
            i.live_name, i.type, format_type(h.atttypid, -1)), i.live_name
    from chrononaut._image(v.id) i
    join pg_attribute h
        on h.attrelid = v.history_relid and h.attname = i.history_name and not h.attisdropped
    where i.state = 'tracked' and format_type(h.atttypid, -1) <> i.type
    union all
    select format('column %I is missing from the history table', i.history_name), i.live_name
    from chrononaut._image(v.id) i
    where i.state = 'tracked' and not exists (
        select from pg_attribute h
        where h.attrelid = v.history_relid and h.attname = i.history_name and not h.attisdropped)
$$;

comment on function chrononaut._drift(chrononaut.versioning) is
    'Columns in which the live table and its history have come apart.';


create or replace function chrononaut._has_drifted(versioning_id integer)
    returns boolean
    language sql
    stable
    security definer
    set search_path = pg_catalog, pg_temp
as $$
    select exists (
        select from chrononaut.versioning v, chrononaut._drift(v)
        where v.id = versioning_id)
$$;

comment on function chrononaut._has_drifted(integer) is
    'Whether columns have come apart; for everybody, since all may read versioned_tables.';


create or replace function chrononaut._misplaced(v chrononaut.versioning)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select case
        when c.oid is null then 'its history table is missing'
        when (n.nspname, c.relname) <> (v.history_schema, v.history_name) then
            format('its history is now called %I.%I', n.nspname, c.relname) end
    from (select chrononaut._locate_history(v) as relid) h
    left join pg_class c on c.oid = h.relid
    left join pg_namespace n on n.oid = c.relnamespace
$$;

comment on function chrononaut._misplaced(chrononaut.versioning) is
    'Why the generated functions do not find the history table; null if they do.';


create or replace function chrononaut._refuse_drift(
    target regclass,
    problem text,
    column_name name default null)
    returns void
    language sql
    set search_path = pg_catalog, pg_temp
as $$
    select chrononaut._refuse(target,
        format('versioning of %s is out of step: %s; run sync_versioning', target, problem),
        format('Run: select chrononaut.sync_versioning(%L);', target),
        'VH005', column_name)
$$;

comment on function chrononaut._refuse_drift(regclass, text, name) is
    'Raises VH005 with what is out of step.';


create or replace function chrononaut._check_place(versioning_id integer, history regclass)
    returns boolean
    language plpgsql
    stable
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v chrononaut.versioning := chrononaut._entry(versioning_id);
begin
    if chrononaut._locate_history(v) is distinct from history then
        perform chrononaut._refuse_drift(chrononaut._locate(v), coalesce(
            chrononaut._misplaced(v), format('%s is the history of another table', history)));
    end if;
    return true;
end;
$$;

comment on function chrononaut._check_place(integer, regclass) is
    'Raises VH005 if this is not the table''s history.';


create or replace function chrononaut._records(versioning_id integer, history regclass)
    returns boolean
    language sql
    immutable
    set search_path = pg_catalog, pg_temp
as $$
    select case when exists (
            select from pg_trigger t
            where t.tgrelid = history and t.tgname = '00_chrononaut_guard'
                and t.tgargs = convert_to(versioning_id::text, 'UTF8') || decode('00', 'hex'))
        then true else chrononaut._check_place(versioning_id, history) end
$$;

comment on function chrononaut._records(integer, regclass) is
    'True, or VH005 if this is not the table''s history. Called immutable for the planner to ask '
        'once per session: it asks again after every change of names.';


create or replace function chrononaut._check_drift(versioning_id integer)
    returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v chrononaut.versioning;
    v_problem text;
    v_drift record;
begin
    perform chrononaut._relocate();
    v := chrononaut._entry(versioning_id);
    v_problem := chrononaut._misplaced(v);
    if v_problem is not null then
        perform chrononaut._refuse_drift(v.relid, v_problem);
    end if;
    select d.* into v_drift from chrononaut._drift(v) d limit 1;
    if found then
        perform chrononaut._refuse_drift(v.relid, v_drift.problem, v_drift.column_name);
    end if;
end;
$$;

comment on function chrononaut._check_drift(integer) is
    'Raises VH005 if history has moved or columns have come apart.';


create or replace function chrononaut._capture_problems(v chrononaut.versioning)
    returns table (problem text)
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select 'the capture function is not the generated one'
    where exists (select from pg_class c where c.oid = v.history_relid)
        and not exists (select from chrononaut._drift(v))
        and not exists (
            select from pg_proc p
            where p.oid = to_regproc(format('chrononaut._capture_%s', v.id))
                and p.prosrc = chrononaut._capture_body(v)
                and p.prosecdef
                and p.proconfig = chrononaut._capture_settings(v)
                and not has_function_privilege('public', p.oid, 'execute'))
    union all
    select 'the function behind changes_of is not the generated one'
    where exists (select from pg_class c where c.oid = v.history_relid)
        and not exists (select from chrononaut._drift(v))
        and not exists (
            select from pg_proc p
            where p.oid = to_regproc(format('chrononaut._images_%s', v.id))
                and p.prosrc = chrononaut._images_body(v))
$$;

comment on function chrononaut._capture_problems(chrononaut.versioning) is
    'Whether the generated functions are what would be generated now, and capture nobody''s to call.';


create or replace function chrononaut._problems(v chrononaut.versioning)
    returns table (problem text)
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select d.problem from chrononaut._drift(v) d
    union all
    select 'the history table is missing'
    where not exists (select from pg_class c where c.oid = v.history_relid)
    union all
    select format('the table is now called %I.%I', n.nspname, c.relname)
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where c.oid = v.relid and (n.nspname, c.relname) <> (v.schema_name, v.table_name)
    union all
    select format('its history is now called %I.%I', n.nspname, c.relname)
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where c.oid = v.history_relid and (n.nspname, c.relname) <> (v.history_schema, v.history_name)
    union all
    select format('trigger %I %s', p.trigger_name, p.problem)
        || case when p.relation <> v.relid then format(' (on %s)', p.relation) else '' end
    from chrononaut._trigger_problems(v) p where p.problem is not null
    union all
    select c.problem from chrononaut._capture_problems(v) c
    union all
    select l.problem from chrononaut._lock_problems(v) l
    union all
    select 'the column row_version ' || chrononaut._row_version_problem(v)
    where chrononaut._row_version_problem(v) is not null
    union all
    select p.problem from chrononaut._reader_problems(v) p
    union all
    select 'the append-only guard is missing or disabled'
    where exists (select from pg_class c where c.oid = v.history_relid)
        and not exists (
            select from pg_trigger t
            where t.tgrelid = v.history_relid and t.tgname = '00_chrononaut_guard'
                and t.tgfoid = 'chrononaut._guard_history'::regproc and t.tgenabled = 'A')
    union all
    select g.problem from chrononaut._grant_problems(v) g
    where exists (select from pg_class c where c.oid = v.history_relid)
    union all
    select format('the primary key is now (%s)', array_to_string(u.key, ', '))
    from chrononaut._unique_keys(v.relid) u
    where u.is_primary and not v.key_given and u.key <> v.key
$$;

comment on function chrononaut._problems(chrononaut.versioning) is
    'What sync_versioning would mend.';


create or replace function chrononaut._misfits(v chrononaut.versioning)
    returns table (problem text, fix text)
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select 'statement granularity no longer fits: ' || chrononaut._check_statement_granularity(v.relid),
        format('select chrononaut.alter_versioning(%L, granularity => ''row'');', v.relid::regclass)
    where v.granularity = 'statement'
        and chrononaut._check_statement_granularity(v.relid) is not null
    union all
    select 'a subscription applies its rows, which reaches no statement triggers: they are not recorded',
        format('select chrononaut.alter_versioning(%L, granularity => ''row'');', v.relid::regclass)
    where v.granularity = 'statement' and v.always
        and exists (select from pg_subscription_rel r where r.srrelid = v.relid)
    union all
    select format('trigger %I fires before versioning: the order of changes in a statement may be inverted',
            o.trigger_name),
        format('alter trigger %I on %s rename to %I;',
            o.trigger_name, v.relid::regclass, '10_' || o.trigger_name)
    from chrononaut._order_problems(v) o
    union all
    select case when u.part = v.relid then 'the table' else format('its partition %s', u.part) end
            || ' is unlogged: a crash empties it without a change',
        format('alter table %s set logged;', u.part)
    from chrononaut._unlogged(v.relid) u
    union all
    select format('inheritance child %s is not versioned', i.inhrelid::regclass),
        format('select chrononaut.create_versioning(%L);', i.inhrelid::regclass)
    from pg_inherits i
    join pg_class c on c.oid = i.inhrelid
    where i.inhparent = v.relid and not c.relispartition
        and (chrononaut._find(i.inhrelid)).id is null
    union all
    select format('the key (%s) has no immediate unique index on columns that are not null',
            array_to_string(v.key, ', ')),
        'Add a primary key, or name another key with alter_versioning(..., key => ...).'
    where not exists (
        select from chrononaut._unique_keys(v.relid) u
        where u.problem is null and (
            u.is_primary and not v.key_given  -- the next sync takes it
            or u.key @> v.key
                and (u.key <@ v.key
                    or exists (select from pg_class c where c.oid = v.relid and c.relkind = 'p'))))
$$;

comment on function chrononaut._misfits(chrononaut.versioning) is
    'What the table''s owner would have to mend.';


create or replace function chrononaut.check_versioning()
    returns table (relation text, problem text, fix text)
    language plpgsql
    stable
    security definer
    set search_path = pg_catalog, pg_temp
    set quote_all_identifiers = off
as $$
#variable_conflict use_variable
declare
    v chrononaut.versioning;
    v_name text;
    v_moved boolean;
    v_here text := chrononaut._here();
begin
    for v in select r.* from chrononaut.versioning r where r.active order by r.id loop
        v_name := format('%I.%I', v.schema_name, v.table_name);
        v_moved := chrononaut._moved(v, v_here);
        if chrononaut._locate(v) is null then
            return query select v_name, 'the live table is gone; its history remains'::text,
                'Keep it, or create the table again and call create_versioning.'::text;
        elsif v_moved then
            return query select v_name, 'the database was restored: oids are taken anew by the next sync'::text,
                format('select chrononaut.sync_versioning(%L);', v_name);
        else
            return query select v_name, p.problem,
                format('select chrononaut.sync_versioning(%L);', v.relid::regclass)
            from chrononaut._problems(v) p;
            return query select v_name, m.problem, m.fix from chrononaut._misfits(v) m;
        end if;
    end loop;
    return query
    select 'chrononaut.change_id'::text, format('the sequence''s cache is %s', s.seqcache),
        'alter sequence chrononaut.change_id cache 1;'::text
    from pg_sequence s
    where s.seqrelid = 'chrononaut.change_id'::regclass and s.seqcache <> 1;
end;
$$;

comment on function chrononaut.check_versioning() is
    'Everything that would keep history from being recorded or read rightly; empty if nothing.';


create or replace view chrononaut.versioned_tables as
select
    v.id,
    l.relid::regclass as relation,
    v.schema_name,
    v.table_name,
    h.relid::regclass as history_table,
    (select o.oid from pg_class o
        join pg_namespace n on n.oid = o.relnamespace
        where n.nspname = v.history_schema and o.relname = v.view_name)::regclass as versions_view,
    v.key,
    v.hidden,
    v.untracked,
    v.granularity,
    v.track_inserts,
    v.require_change_info,
    v.lockable,
    v.row_version,
    v.indexes,
    v.always,
    v.on_truncate,
    chrononaut._locate(p)::regclass as parent,
    v.meta,
    v.created_at,
    pg_total_relation_size(h.relid) as history_bytes,
    greatest(c.reltuples, 0)::bigint as history_rows,
    chrononaut._has_drifted(v.id) or exists (
        select from pg_class o
        where o.oid = l.relid
            and (o.relnamespace::regnamespace::text, o.relname)
                <> (quote_ident(v.schema_name), v.table_name)) as drifted
from chrononaut.versioning v
cross join lateral (select chrononaut._locate(v) as relid) l
cross join lateral (select chrononaut._locate_history(v) as relid) h
left join chrononaut.versioning p on p.id = v.parent_id
left join pg_class c on c.oid = h.relid
where v.active;

comment on view chrononaut.versioned_tables is
    'What is versioned, with its options, its history''s size, and whether columns have drifted.';
comment on column chrononaut.versioned_tables.id is 'Number of the registry entry.';
comment on column chrononaut.versioned_tables.relation is 'The live table.';
comment on column chrononaut.versioned_tables.schema_name is 'Its schema, when last synchronised.';
comment on column chrononaut.versioned_tables.table_name is 'Its name, when last synchronised.';
comment on column chrononaut.versioned_tables.history_table is 'The history table.';
comment on column chrononaut.versioned_tables.versions_view is 'The view of numbered versions.';
comment on column chrononaut.versioned_tables.key is 'The columns that identify a row.';
comment on column chrononaut.versioned_tables.hidden is 'Columns whose values are never recorded.';
comment on column chrononaut.versioned_tables.untracked is 'Columns that are ignored.';
comment on column chrononaut.versioned_tables.granularity is 'row or statement.';
comment on column chrononaut.versioned_tables.track_inserts is 'Whether inserts are recorded.';
comment on column chrononaut.versioned_tables.require_change_info is 'Whether change info is required.';
comment on column chrononaut.versioned_tables.lockable is 'Whether records can be locked.';
comment on column chrononaut.versioned_tables.row_version is
    'Whether every UPDATE raises the live column row_version.';
comment on column chrononaut.versioned_tables.indexes is 'History columns with an index.';
comment on column chrononaut.versioned_tables.always is 'Whether replicated writes are recorded.';
comment on column chrononaut.versioned_tables.on_truncate is 'record or forbid.';
comment on column chrononaut.versioned_tables.parent is 'Parent table in joined-table inheritance.';
comment on column chrononaut.versioned_tables.meta is 'Meta columns with other names.';
comment on column chrononaut.versioned_tables.created_at is 'When versioning was created.';
comment on column chrononaut.versioned_tables.history_bytes is 'Size of the history with its indexes.';
comment on column chrononaut.versioned_tables.history_rows is 'Estimated number of changes.';
comment on column chrononaut.versioned_tables.drifted is 'Whether sync_versioning is due.';

grant select on chrononaut.versioned_tables to public;
