-- Bringing everything that belongs to a versioned table into line with the registry.
--
-- create, alter, sync and install all end here; whatever is right already is left alone.
-- Safe to replay.

create or replace function chrononaut._entry(versioning_id integer)
    returns chrononaut.versioning
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select v from chrononaut.versioning v where v.id = versioning_id
$$;

comment on function chrononaut._entry(integer) is
    'A registry entry by its number.';


create or replace function chrononaut._refresh_names(v chrononaut.versioning)
    returns void
    language sql
    set search_path = pg_catalog, pg_temp
as $$
    update chrononaut.versioning r
    set schema_name = n.nspname, table_name = c.relname
    from pg_class c
    join pg_namespace n on n.oid = c.relnamespace
    where r.id = v.id and c.oid = r.relid;
    update chrononaut.versioning r
    set history_schema = n.nspname, history_name = c.relname
    from pg_class c
    join pg_namespace n on n.oid = c.relnamespace
    where r.id = v.id and c.oid = r.history_relid;
    update chrononaut.versioning r
    set view_name = c.relname
    from pg_depend d
    join pg_rewrite w on w.oid = d.objid and d.classid = 'pg_rewrite'::regclass
    join pg_class c on c.oid = w.ev_class and c.relkind = 'v'
    join pg_class h on h.oid = d.refobjid
    where r.id = v.id and d.refobjid = r.history_relid
        and c.relnamespace = h.relnamespace
        and obj_description(c.oid, 'pg_class') like 'Versions of %'
        and to_regclass(format('%I.%I', r.history_schema, r.view_name)) is null
        and r.parent_id is null;
$$;

comment on function chrononaut._refresh_names(chrononaut.versioning) is
    'Follows renames of the live table, the history table, the view and their schemas.';


create or replace function chrononaut._note_key(v chrononaut.versioning, new_key name[])
    returns void
    language sql
    set search_path = pg_catalog, pg_temp
as $$
    insert into chrononaut.key_period (versioning_id, until, columns)
    select v.id, (select s.last_value from chrononaut.change_id s), array_agg(m.id order by k.position)
    from unnest(v.key) with ordinality k(name, position)
    join chrononaut.versioned_column m
        on m.versioning_id = v.id and m.live_name = k.name and m.state <> 'retired'
    where exists (select from pg_class c where c.oid = v.history_relid)
        and not (v.key <@ new_key and v.key @> new_key)
    having count(*) > 0
    on conflict do nothing
$$;

comment on function chrononaut._note_key(chrononaut.versioning, name[]) is
    'Notes up to which change rows were identified by the key that is left now.';


create or replace function chrononaut._settle_key(v chrononaut.versioning)
    returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v_key name[];
begin
    begin
        v_key := chrononaut._find_key(v.relid, case when v.key_given then v.key end);
    exception when sqlstate 'VH003' then
        -- A key that the application is just exchanging: go on with the old columns.
        if v.key = '{}' or cardinality(v.key) < (
            select count(*) from pg_index i
            cross join unnest(i.indkey::smallint[]) k
            where i.indrelid = v.history_relid and i.indisprimary) - 1 then
            raise;
        end if;
        v_key := v.key;
    end;
    perform chrononaut._align_locks(v, v_key);
    perform chrononaut._note_key(v, v_key);
    update chrononaut.versioning r set key = v_key where r.id = v.id;
end;
$$;

comment on function chrononaut._settle_key(chrononaut.versioning) is
    'Follows the primary key, or keeps the old key while there is none.';


create or replace function chrononaut._settle_history(v chrononaut.versioning)
    returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
begin
    if not exists (select from pg_class c where c.oid = v.history_relid) then
        perform chrononaut._create_history(v);
    else
        perform chrononaut._align_history(v);
        perform chrononaut._free_types(v);
    end if;
end;
$$;

comment on function chrononaut._settle_history(chrononaut.versioning) is
    'Creates the history table, or brings its columns into line.';


create or replace function chrononaut._apply(versioning_id integer)
    returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v chrononaut.versioning := chrononaut._entry(versioning_id);
    v_child record;
begin
    perform chrononaut._check_core_rights(v.relid, v.always);
    perform chrononaut._refresh_names(v);
    perform chrononaut._follow_rename(v);
    perform chrononaut._add_row_version(v);
    perform chrononaut._follow_columns(v);
    perform chrononaut._settle_key(chrononaut._entry(versioning_id));
    perform chrononaut._check_options(chrononaut._entry(versioning_id));
    perform chrononaut._settle_meta(chrononaut._entry(versioning_id));
    perform chrononaut._assign_states(chrononaut._entry(versioning_id));
    perform chrononaut._check_width(v.relid);
    v := chrononaut._entry(versioning_id);
    perform chrononaut._settle_history(v);
    v := chrononaut._entry(versioning_id);
    perform chrononaut._note_periods(v);
    perform chrononaut._index_history(v);
    perform chrononaut._guard(v);
    perform chrononaut._write_capture(v);
    perform chrononaut._write_lock(v);
    perform chrononaut._write_view(v);
    perform chrononaut._write_changes_function(v);
    perform chrononaut._write_append(v);
    perform chrononaut._write_as_of(v);
    perform chrononaut._write_related(v);
    perform chrononaut._write_past(v);
    perform chrononaut._grant(v);
    perform chrononaut._write_triggers(v);
    for v_child in
        select c.id from chrononaut.versioning c where c.parent_id = versioning_id and c.active
    loop
        perform chrononaut._apply(v_child.id);
    end loop;
    perform chrononaut._write_feed();
end;
$$;

comment on function chrononaut._apply(integer) is
    'Makes history table, functions, view, rights and triggers what the registry says.';


create or replace function chrononaut._apply_in_time(versioning_id integer)
    returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v_timeout text := current_setting('lock_timeout');
    v_syncing text := current_setting('chrononaut.syncing', true);
begin
    perform chrononaut._limit_waits();
    perform set_config('chrononaut.syncing', 'on', true);  -- auto_sync has nothing to add
    perform chrononaut._apply(versioning_id);
    perform set_config('chrononaut.syncing', v_syncing, true);
    perform set_config('lock_timeout', v_timeout, true);
exception when lock_not_available then
    perform chrononaut._give_up((
        select format('%I.%I', v.schema_name, v.table_name)
        from chrononaut._entry(versioning_id) v), v_timeout);
end;
$$;

comment on function chrononaut._apply_in_time(integer) is
    'As _apply, but waits for locks 5 seconds at most, or as long as lock_timeout says.';
