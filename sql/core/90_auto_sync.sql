-- auto_sync: following DDL as it happens, by event triggers.
--
-- Optional, since only a superuser may create event triggers; everything works without.
-- Nothing here makes the application's DDL fail, except the loss of history itself and
-- switching the audit off. Safe to replay.

create or replace function chrononaut.auto_sync(enabled boolean default true)
    returns boolean
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
begin
    if not (select r.rolsuper from pg_roles r where r.rolname = current_user) then
        raise exception 'auto_sync needs a superuser: only they may create event triggers'
            using errcode = 'VH006',
                  schema = 'chrononaut',
                  hint = 'Call chrononaut.sync_versioning(...) after DDL instead, for instance in migrations.';
    end if;
    drop event trigger if exists chrononaut_locate;
    drop event trigger if exists chrononaut_sync;
    drop event trigger if exists chrononaut_keep;
    drop event trigger if exists chrononaut_rewrite;
    if enabled then
        create event trigger chrononaut_locate on ddl_command_start
            execute function chrononaut._on_ddl_start();
        create event trigger chrononaut_sync on ddl_command_end
            execute function chrononaut._on_ddl();
        create event trigger chrononaut_keep on sql_drop
            execute function chrononaut._on_drop();
        create event trigger chrononaut_rewrite on table_rewrite
            execute function chrononaut._on_rewrite();
    end if;
    return enabled;
end;
$$;

comment on function chrononaut.auto_sync(boolean) is
    'Creates or drops the event triggers that sync versioned tables at the end of DDL.';


create or replace function chrononaut._heirs(relid oid)
    returns table (relid oid)
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    with recursive heir as (
        select i.inhrelid from pg_inherits i where i.inhparent = _heirs.relid
        union
        select i.inhrelid from pg_inherits i join heir h on i.inhparent = h.inhrelid
    )
    select h.inhrelid from heir h
$$;

comment on function chrononaut._heirs(oid) is
    'The tables that inherit from a table, to whom its column changes are handed down.';


create or replace function chrononaut._affected(relid oid)
    returns setof integer
    language sql
    stable
    security definer
    set search_path = pg_catalog, pg_temp
as $$
    select v.id
    from chrononaut.versioning v
    where v.active and (v.relid = _affected.relid
        or v.relid in (select a.relid from pg_partition_ancestors(_affected.relid) a)
        or v.relid in (select h.relid from chrononaut._heirs(_affected.relid) h)
        or v.history_relid = _affected.relid and exists (
            select from pg_class c
            where c.oid = v.history_relid
                and (c.relnamespace::regnamespace::text, c.relname)
                    <> (quote_ident(v.history_schema), v.history_name)))
$$;

comment on function chrononaut._affected(oid) is
    'The versioned tables that a relation is, is a partition of, is inherited by, or is the '
    'renamed history of.';


create or replace function chrononaut._on_ddl_start()
    returns event_trigger
    language plpgsql
    security definer
    set search_path = pg_catalog, pg_temp
as $$
begin
    -- In a restored database names tell which column is which: before the first DDL.
    if current_setting('transaction_read_only') = 'off' then
        perform chrononaut._relocate();
    end if;
end;
$$;

comment on function chrononaut._on_ddl_start() is
    'Event trigger: has the registry''s oids and attribute numbers hold before they change.';


create or replace function chrononaut._on_ddl()
    returns event_trigger
    language plpgsql
    security definer
    set search_path = pg_catalog, pg_temp
    set quote_all_identifiers = off
as $$
#variable_conflict use_variable
declare
    v_id integer;
begin
    if current_setting('chrononaut.syncing', true) = 'on' then
        return;
    end if;
    perform set_config('chrononaut.syncing', 'on', true);
    for v_id in
        select distinct a
        from pg_event_trigger_ddl_commands() d
        cross join lateral chrononaut._affected(d.objid) a
        where d.classid = 'pg_class'::regclass
        union
        select v.id from chrononaut.versioning v
        where v.active and (tg_tag in ('ALTER SCHEMA', 'ALTER TYPE', 'ALTER DOMAIN')
            or tg_tag in ('GRANT', 'REVOKE') and exists (
                -- Rights to functions are no table's; an install settles many of them.
                select from pg_event_trigger_ddl_commands() d
                where d.object_type not in ('FUNCTION', 'PROCEDURE', 'ROUTINE')))
        union
        select a
        from pg_event_trigger_ddl_commands() d
        join pg_trigger t on t.oid = d.objid and d.classid = 'pg_trigger'::regclass
        cross join lateral chrononaut._affected(t.tgrelid) a
        -- Everybody locks tables in one order, parents before their children.
        order by 1
    loop
        perform chrononaut._keep_enabled(v_id);
        perform chrononaut._sync_quietly(v_id);
    end loop;
    perform set_config('chrononaut.syncing', '', true);
end;
$$;

comment on function chrononaut._on_ddl() is
    'Event trigger: syncs the versioned tables that a DDL command touched.';


create or replace function chrononaut._keep_enabled(versioning_id integer)
    returns void
    language plpgsql
    security definer
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v chrononaut.versioning := chrononaut._entry(versioning_id);
    v_problem record;
begin
    select p.* into v_problem
    from chrononaut._trigger_problems(v) p
    where p.problem like 'is disabled%' or p.problem like 'fires %'
    limit 1;
    if found and not pg_has_role(chrononaut._caller(), chrononaut._owner(), 'member') then
        perform chrononaut._refuse(v_problem.relation,
            format('versioning trigger %I on %s must stay as it is',
                v_problem.trigger_name, v_problem.relation),
            'Use chrononaut.alter_versioning() or drop_versioning().', 'VH006');
    end if;
end;
$$;

comment on function chrononaut._keep_enabled(integer) is
    'Refuses that somebody else than the history''s owner disables a versioning trigger.';


create or replace function chrononaut._sync_quietly(versioning_id integer)
    returns void
    language plpgsql
    security definer
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v chrononaut.versioning := chrononaut._entry(versioning_id);
begin
    if exists (
        select from chrononaut._problems(v) p where p.problem not like 'trigger % is disabled%') then
        perform chrononaut._apply_in_time(v.id);
    end if;
exception when others then
    raise warning 'versioning of % was not synchronised: %', v.relid::regclass, sqlerrm
        using hint = format('Run: select chrononaut.sync_versioning(%L);', v.relid::regclass);
end;
$$;

comment on function chrononaut._sync_quietly(integer) is
    'Syncs after DDL; a failure is a warning, so that the DDL itself goes through.';


create or replace function chrononaut._on_drop()
    returns event_trigger
    language plpgsql
    security definer
    set search_path = pg_catalog, pg_temp
    set quote_all_identifiers = off
as $$
#variable_conflict use_variable
declare
    v_lost record;
begin
    if current_setting('chrononaut.syncing', true) = 'on'
        or current_setting('chrononaut.amending', true) = 'on' then
        return;
    end if;
    select d.object_identity, d.objsubid, v.schema_name, v.table_name into v_lost
    from pg_event_trigger_dropped_objects() d
    join chrononaut.versioning v on v.history_relid = d.objid
    where d.classid = 'pg_class'::regclass
    limit 1;
    if found then
        raise exception '% is history of %.%', v_lost.object_identity,
            quote_ident(v_lost.schema_name), quote_ident(v_lost.table_name)
            using errcode = case v_lost.objsubid when 0 then 'VH008' else 'VH005' end,
                  schema = v_lost.schema_name,
                  table = v_lost.table_name,
                  hint = 'Dropping this would lose history; use chrononaut.drop_versioning(..., drop_history => true).';
    end if;
    if exists (
        select from pg_event_trigger_dropped_objects() d
        join chrononaut.versioning v on v.relid = d.objid and v.active
        where d.classid = 'pg_class'::regclass and d.objsubid = 0) then
        perform set_config('chrononaut.syncing', 'on', true);
        perform chrononaut._retire_orphans();
        perform set_config('chrononaut.syncing', '', true);
    end if;
end;
$$;

comment on function chrononaut._on_drop() is
    'Event trigger: keeps history from being dropped, and retires tables that are.';


create or replace function chrononaut._on_rewrite()
    returns event_trigger
    language plpgsql
    security definer
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v_target regclass := pg_event_trigger_table_rewrite_oid();
begin
    if exists (select from chrononaut._affected(v_target)) then
        raise warning '% is rewritten: values that this changes leave no history', v_target
            using hint = 'Run an UPDATE for changes that history should show.';
    end if;
end;
$$;

comment on function chrononaut._on_rewrite() is
    'Event trigger: warns that ALTER TABLE changes values without history.';
