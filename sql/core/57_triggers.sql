-- The triggers on the live table.
--
-- What should be there is computed by one function and compared with the catalog by
-- another; only what differs is replaced, since replacing locks the table. Safe to replay.

create or replace function chrononaut._guard_triggers(v chrononaut.versioning)
    returns table (
        relation regclass,
        trigger_name name,
        type smallint,
        function_oid oid,
        events text,
        condition text)
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    -- Only a table's owner may drop a trigger: one that is not wanted any more never fires.
    select v.relid::regclass, g.name, g.type, to_regproc(g.function)::oid, 'before ' || g.events,
        case when not g.wanted then 'false' end
    from (values
        ('00_chrononaut_lock'::name, 27::smallint, format('chrononaut._lock_%s', v.id),
            'update or delete', v.lockable),
        ('zz_chrononaut_row_version'::name, 19::smallint, 'chrononaut._raise_row_version',
            'update', v.row_version)
    ) g(name, type, function, events, wanted)
    where g.wanted or exists (
        select from pg_trigger t where t.tgrelid = v.relid and t.tgname = g.name)
$$;

comment on function chrononaut._guard_triggers(chrononaut.versioning) is
    'The triggers behind record locks and row versions.';


create or replace function chrononaut._wanted_triggers(v chrononaut.versioning)
    returns table (
        relation regclass,
        trigger_name name,
        type smallint,
        function_oid oid,
        events text,
        condition text)
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    with capture as (
        select to_regproc(format('chrononaut._capture_%s', v.id))::oid as function_oid,
            (v.granularity = 'row')::integer as is_row
    )
    select v.relid::regclass, ('00_chrononaut_' || e.verb)::name,
        (e.bit + c.is_row)::smallint, c.function_oid,
        'after ' || e.verb, e.condition
    from capture c
    cross join lateral (values
        ('insert', 4, case when not v.track_inserts then 'false' end),
        ('update', 16, case when v.granularity = 'row' then 'old.* operator(pg_catalog.*<>) new.*' end),
        ('delete', 8, null)
    ) e(verb, bit, condition)
    union all
    -- A trigger that was given another name would record once more: it never fires.
    select v.relid::regclass, t.tgname, (t.tgtype / 2 * 2 + c.is_row)::smallint, c.function_oid,
        'after ' || case t.tgtype & 28 when 4 then 'insert' when 16 then 'update' else 'delete' end,
        'false'
    from capture c
    join pg_trigger t on t.tgrelid = v.relid and t.tgfoid = c.function_oid
    where t.tgname not in (
        '00_chrononaut_insert', '00_chrononaut_update', '00_chrononaut_delete')
    union all
    select g.* from chrononaut._guard_triggers(v) g
    union all
    select t.relid, '00_chrononaut_truncate', 34::smallint,
        'chrononaut._record_truncate'::regproc::oid, 'before truncate', null
    from (
        select v.relid::regclass as relid
        union all
        select p.relid from pg_partition_tree(v.relid) p
        where p.isleaf and p.relid <> v.relid
            and (select c.relkind from pg_class c where c.oid = p.relid) = 'r'
    ) t
$$;

comment on function chrononaut._wanted_triggers(chrononaut.versioning) is
    'The triggers that a versioned table and its partitions must have.';


create or replace function chrononaut._trigger_problems(v chrononaut.versioning)
    returns table (relation regclass, trigger_name name, problem text)
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select w.relation, w.trigger_name, case
        when t.oid is null then 'is missing'
        when t.tgfoid is distinct from w.function_oid then 'calls another function'
        when t.tgtype <> w.type
            or (w.condition is null) <> (t.tgqual is null)
            or t.tgattr <> ''
            or w.condition = 'false' and pg_get_triggerdef(t.oid) not like '%WHEN (false)%'
            or w.condition <> 'false'
                and pg_get_triggerdef(t.oid) not like '%WHEN ((old.* *<> new.*))%'
            then 'is defined differently'
        when t.tgenabled = 'D' then 'is disabled'
        when t.tgenabled <> case when v.always then 'A' else 'O' end then
            'fires in other sessions than it should'
        end
    from chrononaut._wanted_triggers(v) w
    left join pg_trigger t on t.tgrelid = w.relation and t.tgname = w.trigger_name
    union all
    select t.tgrelid::regclass, t.tgname, case
        when t.tgenabled = 'D' then 'is disabled on a partition'
        when t.tgenabled <> case when v.always then 'A' else 'O' end then
            'fires on a partition in other sessions than it should'
        end
    from pg_partition_tree(v.relid) p
    join pg_trigger t on t.tgrelid = p.relid and t.tgparentid <> 0
    where t.tgfoid = to_regproc(format('chrononaut._capture_%s', v.id))
        or t.tgfoid in (
            select g.function_oid from chrononaut._guard_triggers(v) g
            where g.condition is null)
$$;

comment on function chrononaut._trigger_problems(chrononaut.versioning) is
    'The wanted triggers, each with what is wrong with it; null where nothing is.';


create or replace function chrononaut._write_triggers(v chrononaut.versioning)
    returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v_trigger record;
begin
    for v_trigger in
        select w.*, case
            when w.type & 2 > 0 or v.granularity = 'row' then ''
            when w.type & 4 > 0 then 'referencing new table as chrononaut_new'
            when w.type & 8 > 0 then 'referencing old table as chrononaut_old'
            else 'referencing old table as chrononaut_old new table as chrononaut_new'
            end as transition,
            case when w.type & 32 > 0 then quote_literal(v.id) else '' end as argument
        from chrononaut._wanted_triggers(v) w
        join chrononaut._trigger_problems(v) p using (relation, trigger_name)
        where p.problem is not null
    loop
        execute format('create or replace trigger %I %s on %s %s for each %s %s execute function %s(%s)',
            v_trigger.trigger_name, v_trigger.events, v_trigger.relation, v_trigger.transition,
            case when v_trigger.type & 1 = 1 then 'row' else 'statement' end,
            'when (' || v_trigger.condition || ')',
            v_trigger.function_oid::regproc, v_trigger.argument);
    end loop;
    for v_trigger in
        select p.relation, p.trigger_name
        from chrononaut._trigger_problems(v) p where p.problem is not null
    loop
        execute format('alter table %s enable %s trigger %I', v_trigger.relation,
            case when v.always then 'always' else '' end, v_trigger.trigger_name);
    end loop;
end;
$$;

comment on function chrononaut._write_triggers(chrononaut.versioning) is
    'Creates or replaces the triggers that are missing, different or disabled.';


create or replace function chrononaut._order_problems(v chrononaut.versioning)
    returns table (trigger_name name)
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select t.tgname
    from pg_trigger t
    where t.tgrelid = v.relid
        and not t.tgisinternal
        and t.tgname < '00_chrononaut' collate "C"
        and t.tgtype & 2 = 0
        and t.tgtype & 64 = 0
        and t.tgtype & 1 = (v.granularity = 'row')::integer
$$;

comment on function chrononaut._order_problems(chrononaut.versioning) is
    'AFTER triggers of the application that fire before ours.';
