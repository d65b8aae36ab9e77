-- create_versioning, alter_versioning, drop_versioning, sync_versioning.
--
-- Each may be called twice in a row. Options that are not given keep their value, or take
-- the default when the table is not versioned yet. Safe to replay.

create or replace function chrononaut.create_versioning(
    target regclass,
    hidden name[] default null,
    untracked name[] default null,
    history_table text default null,
    key name[] default null,
    granularity text default null,
    track_inserts boolean default null,
    require_change_info boolean default null,
    lockable boolean default null,
    row_version boolean default null,
    indexes name[] default null,
    always boolean default null,
    on_truncate text default null,
    parent regclass default null)
    returns regclass
    language plpgsql
    security definer
    set search_path = pg_catalog, pg_temp
    set quote_all_identifiers = off
as $$
#variable_conflict use_variable
declare
    v chrononaut.versioning;
    v_root regclass;
begin
    perform chrononaut._enter(target);
    v := chrononaut._find(target);
    if v.id is not null then
        perform chrononaut._check_named(v, history_table);
        return chrononaut._alter(target, hidden, untracked, key, granularity, track_inserts,
            require_change_info, lockable, row_version, indexes, always, on_truncate, parent);
    end if;
    select (chrononaut._find(a.relid)).relid into v_root
    from pg_partition_ancestors(target) a
    where a.relid <> target and (chrononaut._find(a.relid)).id is not null
    limit 1;
    if found then
        raise notice '% is a partition of %, which is versioned already', target, v_root;
        return (chrononaut._find(v_root)).history_relid::regclass;
    end if;
    perform chrononaut._check_kind(target);
    perform chrononaut._check_relatives(target);
    perform chrononaut._register(target, history_table, key);
    return chrononaut._alter(target, hidden, untracked, key, granularity, track_inserts,
        require_change_info, lockable, row_version, indexes, always, on_truncate, parent);
end;
$$;

comment on function chrononaut.create_versioning(
    regclass, name[], name[], text, name[], text, boolean, boolean, boolean, boolean, name[],
    boolean, text, regclass) is
    'Versions a table: makes its history table, its function, its triggers and its view.';


create or replace function chrononaut._register(
    target regclass,
    history_table text,
    key name[])
    returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v chrononaut.versioning;
begin
    perform chrononaut._retire_orphans();
    v := chrononaut._find_former(target);
    if v.id is not null and chrononaut._is_named(v, history_table) then
        update chrononaut.versioning r
        set active = true, relid = target
        where r.id = v.id;
        if v.relid <> target then
            perform chrononaut._relocate_columns(chrononaut._entry(v.id));
        end if;
        return;
    end if;
    insert into chrononaut.versioning (relid, schema_name, table_name, key, key_given, registered_in)
    select target, n.nspname, c.relname,
        chrononaut._find_key(target, key), key is not null, chrononaut._here()
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where c.oid = target
    returning versioning.* into v;
    perform chrononaut._choose_names(v, history_table);
end;
$$;

comment on function chrononaut._register(regclass, text, name[]) is
    'Makes a registry entry, or takes up the one that an earlier versioning left.';


create or replace function chrononaut._retire_orphans()
    returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v chrononaut.versioning;
begin
    for v in
        select r.* from chrononaut.versioning r
        where r.active and not exists (select from pg_class c where c.oid = r.relid)
    loop
        perform chrononaut._retire(v.id);
    end loop;
end;
$$;

comment on function chrononaut._retire_orphans() is
    'Ends the versioning of tables that were dropped; their history stays.';


create or replace function chrononaut._retire(versioning_id integer)
    returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v_function text;
begin
    perform chrononaut._drop_views(versioning_id);
    perform chrononaut._drop_past_views(chrononaut._entry(versioning_id));
    perform chrononaut._drop_past_functions(chrononaut._entry(versioning_id));
    perform chrononaut._drop_as_of(chrononaut._entry(versioning_id));
    for v_function in
        select p.oid::regprocedure::text
        from pg_proc p
        where p.pronamespace = 'chrononaut'::regnamespace
            and (p.proname in ('_capture_' || versioning_id, '_lock_' || versioning_id,
                    '_superseded_' || versioning_id, '_later_before_' || versioning_id,
                    '_append_' || versioning_id)
                or p.proname ~ format('^_live_%s_', versioning_id))
    loop
        execute 'drop function ' || v_function;
    end loop;
    update chrononaut.versioning r set parent_id = null where r.parent_id = versioning_id;
    update chrononaut.versioning r set active = false where r.id = versioning_id;
end;
$$;

comment on function chrononaut._retire(integer) is
    'Ends the versioning of a table without triggers; the history table stays.';


create or replace function chrononaut._follow_drift(v chrononaut.versioning)
    returns boolean
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
begin
    if not exists (select from chrononaut._drift(v)) then
        return false;
    end if;
    perform chrononaut._follow_columns(v);
    return true;
end;
$$;

comment on function chrononaut._follow_drift(chrononaut.versioning) is
    'Has options follow renames and forget columns that were dropped; whether there was drift.';


create or replace function chrononaut._alter(
    target regclass,
    hidden name[],
    untracked name[],
    key name[],
    granularity text,
    track_inserts boolean,
    require_change_info boolean,
    lockable boolean,
    row_version boolean,
    indexes name[],
    always boolean,
    on_truncate text,
    parent regclass)
    returns regclass
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v_drifted boolean := chrononaut._follow_drift(chrononaut._require(target));
    v_before chrononaut.versioning := chrononaut._require(target);
    v chrononaut.versioning;
begin
    perform chrononaut._check_words(target, granularity, on_truncate);
    if key is not null then
        key := chrononaut._find_key(target, key);
    end if;
    update chrononaut.versioning r
    set hidden = coalesce(hidden, r.hidden),
        untracked = coalesce(untracked, r.untracked),
        key = coalesce(key, r.key),
        key_given = key is not null or r.key_given,
        granularity = coalesce(granularity, r.granularity),
        track_inserts = coalesce(track_inserts, r.track_inserts),
        require_change_info = coalesce(require_change_info, r.require_change_info),
        lockable = coalesce(lockable, r.lockable),
        row_version = coalesce(row_version, r.row_version),
        indexes = coalesce(indexes, r.indexes),
        always = coalesce(always, r.always),
        on_truncate = coalesce(on_truncate, r.on_truncate)
    where r.id = v_before.id
    returning r.* into v;
    perform chrononaut._check_options(v);
    perform chrononaut._align_locks(v_before, v.key);
    perform chrononaut._note_key(v_before, v.key);
    perform chrononaut._set_parent(v, parent);
    v := chrononaut._entry(v.id);
    if v_drifted or v is distinct from v_before
        or exists (select from chrononaut._problems(v)) then
        perform chrononaut._apply_in_time(v.id);
    end if;
    return (chrononaut._entry(v.id)).history_relid::regclass;
end;
$$;

comment on function chrononaut._alter(
    regclass, name[], name[], name[], text, boolean, boolean, boolean, boolean, name[], boolean,
    text, regclass) is
    'Sets the options that are given and applies them; does nothing if all is so already.';


create or replace function chrononaut.alter_versioning(
    target regclass,
    hidden name[] default null,
    untracked name[] default null,
    key name[] default null,
    granularity text default null,
    track_inserts boolean default null,
    require_change_info boolean default null,
    lockable boolean default null,
    row_version boolean default null,
    indexes name[] default null,
    always boolean default null,
    on_truncate text default null,
    parent regclass default null)
    returns regclass
    language plpgsql
    security definer
    set search_path = pg_catalog, pg_temp
    set quote_all_identifiers = off
as $$
#variable_conflict use_variable
begin
    perform chrononaut._enter(target);
    return chrononaut._alter(target, hidden, untracked, key, granularity, track_inserts,
        require_change_info, lockable, row_version, indexes, always, on_truncate, parent);
end;
$$;

comment on function chrononaut.alter_versioning(
    regclass, name[], name[], name[], text, boolean, boolean, boolean, boolean, name[], boolean,
    text, regclass) is
    'Changes options of a versioned table in place; what is not given stays as it is.';


create or replace function chrononaut.sync_versioning(target regclass)
    returns regclass
    language plpgsql
    security definer
    set search_path = pg_catalog, pg_temp
    set quote_all_identifiers = off
as $$
#variable_conflict use_variable
declare
    v chrononaut.versioning;
begin
    perform chrononaut._enter(target);
    v := chrononaut._require(target);
    perform chrononaut._apply_in_time(v.id);
    return (chrononaut._entry(v.id)).history_relid::regclass;
end;
$$;

comment on function chrononaut.sync_versioning(regclass) is
    'After DDL on a versioned table: brings its history and its functions into line.';


create or replace function chrononaut.drop_versioning(
    target regclass,
    drop_history boolean default false)
    returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
    set quote_all_identifiers = off
as $$
#variable_conflict use_variable
declare
    v_timeout text := current_setting('lock_timeout');
begin
    perform chrononaut._limit_waits();
    perform chrononaut._check_drop(target, drop_history);
    begin
        -- Only the table's owner can drop its triggers, so this part runs as the caller.
        perform chrononaut._drop_triggers(target);
        perform chrononaut._forget(target, drop_history);
    exception when lock_not_available then
        perform chrononaut._give_up(target::text, v_timeout);
    end;
    perform set_config('lock_timeout', v_timeout, true);
end;
$$;

comment on function chrononaut.drop_versioning(regclass, boolean) is
    'Ends the versioning of a table; the history table stays unless drop_history.';


create or replace function chrononaut._drop_triggers(target regclass)
    returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v_trigger record;
begin
    for v_trigger in
        select t.tgrelid::regclass as relation, t.tgname as name
        from (select p.relid from pg_partition_tree(target) p union select target) p
        join pg_trigger t on t.tgrelid = p.relid and t.tgparentid = 0 and not t.tgisinternal
        join pg_proc f on f.oid = t.tgfoid
        where t.tgname ~ '^(00_chrononaut_|zz_chrononaut_row_version$)'
            or f.pronamespace = 'chrononaut'::regnamespace and f.proname ~ '^_capture_[0-9]+$'
    loop
        execute format('drop trigger %I on %s', v_trigger.name, v_trigger.relation);
    end loop;
end;
$$;

comment on function chrononaut._drop_triggers(regclass) is
    'Drops the versioning triggers of a table and its partitions, as the caller.';


create or replace function chrononaut._check_drop(target regclass, drop_history boolean)
    returns void
    language plpgsql
    security definer
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
begin
    perform chrononaut._enter(target);
    if (chrononaut._find(target)).id is null and not (
        drop_history and (chrononaut._find_former(target)).id is not null) then
        raise notice '% is not versioned', target;
    end if;
end;
$$;

comment on function chrononaut._check_drop(regclass, boolean) is
    'What drop_versioning checks before it drops triggers.';


create or replace function chrononaut._forget(target regclass, drop_history boolean)
    returns void
    language plpgsql
    security definer
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v chrononaut.versioning := chrononaut._find(target);
    v_children integer[];
begin
    perform chrononaut._enter(target);
    select coalesce(array_agg(c.id), '{}') into v_children
    from chrononaut.versioning c where c.parent_id = v.id and c.active;
    if v.id is not null then
        if exists (
            select from pg_trigger t
            where t.tgfoid = to_regproc(format('chrononaut._capture_%s', v.id))) then
            perform chrononaut._refuse(target,
                format('%s still has its versioning triggers', target),
                'Use chrononaut.drop_versioning().', 'VH006');
        end if;
        perform chrononaut._retire(v.id);
        perform chrononaut._apply(c) from unnest(v_children) c;
    end if;
    if drop_history then
        perform chrononaut._drop_history(coalesce(v.id, (chrononaut._find_former(target)).id));
    end if;
end;
$$;

comment on function chrononaut._forget(regclass, boolean) is
    'What drop_versioning does as the core''s owner, once the triggers are gone.';


create or replace function chrononaut._drop_history(versioning_id integer)
    returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v chrononaut.versioning := chrononaut._entry(versioning_id);
begin
    if v.id is null then
        return;
    end if;
    perform chrononaut._end_locks(v, 'the history was dropped');
    perform set_config('chrononaut.amending', 'on', true);
    delete from chrononaut.versioning r where r.id = v.id;
    if to_regclass(format('%I.%I', v.history_schema, v.history_name)) is not null then
        execute format('drop table %I.%I', v.history_schema, v.history_name);
    end if;
    perform chrononaut._write_feed_without(v.id);
    perform set_config('chrononaut.amending', '', true);
end;
$$;

comment on function chrononaut._drop_history(integer) is
    'Drops a history table for good, with its registry entry.';


create or replace function chrononaut._write_feed_without(versioning_id integer)
    returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
begin
    perform chrononaut._write_feed();
    execute format('drop function if exists chrononaut._changes_%s()', versioning_id);
end;
$$;

comment on function chrononaut._write_feed_without(integer) is
    'Rebuilds recent_changes and drops the function of a history that is gone.';
