-- Row versions, for optimistic locking: a number on the live row that every UPDATE raises.
--
-- The column is untracked. The trigger's name sorts behind the application's, so that what
-- compares whole rows before it, such as suppress_redundant_updates_trigger, still finds an
-- update that changes nothing. Safe to replay.

create or replace function chrononaut._raise_row_version()
    returns trigger
    language plpgsql
as $$
-- Neither definer nor with settings, which would cost more than what it does.
begin
    new.row_version := coalesce(old.row_version, 0) operator(pg_catalog.+) 1;
    return new;
exception when undefined_column then
    perform chrononaut._refuse(tg_relid,
        pg_catalog.format('%s has lost its column row_version', tg_relid::pg_catalog.regclass),
        pg_catalog.format('Run: select chrononaut.alter_versioning(%1$L, row_version => false); or add the '
            'column back: select chrononaut.sync_versioning(%1$L);', tg_relid::pg_catalog.regclass),
        'VH005', 'row_version');
    return null;
end;
$$;

comment on function chrononaut._raise_row_version() is
    'Trigger: every UPDATE of a row raises its row_version by one, whatever it sets.';


create or replace function chrononaut._row_version_problem(v chrononaut.versioning)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select case
        when not v.row_version then null
        when a.attname is null then 'is missing'
        when a.atttypid not in ('integer'::regtype, 'bigint'::regtype) then
            format('has type %s, not bigint', format_type(a.atttypid, a.atttypmod))
        when a.attgenerated <> '' or a.attidentity <> '' then
            'gives itself a value'
        when a.attname = any (v.key) then 'is part of the key'
        when a.attname = any (v.hidden || v.indexes) then 'cannot be hidden or have an index'
    end
    from (select) one
    left join pg_attribute a
        on a.attrelid = v.relid and a.attname = 'row_version' and not a.attisdropped
$$;

comment on function chrononaut._row_version_problem(chrononaut.versioning) is
    'What is wrong with the column row_version; null if nothing, or if it is not asked for.';


create or replace function chrononaut._check_row_version(v chrononaut.versioning)
    returns void
    language plpgsql
    stable
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v_problem text := chrononaut._row_version_problem(v);
begin
    if v_problem <> 'is missing' then
        perform chrononaut._refuse(v.relid,
            format('the column row_version of %s %s', v.relid::regclass, v_problem),
            'It must be an ordinary column, bigint not null default 1; rename yours, or '
                'leave row_version out.',
            'VH003', 'row_version');
    end if;
end;
$$;

comment on function chrononaut._check_row_version(chrononaut.versioning) is
    'Raises VH003 if a column row_version is there that does not fit.';


create or replace function chrononaut._add_row_version(v chrononaut.versioning)
    returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v_command text := format(
        'alter table %s add column row_version bigint not null default 1', v.relid::regclass);
    v_syncing text := current_setting('chrononaut.syncing', true);
begin
    if chrononaut._row_version_problem(v) is distinct from 'is missing' then
        return;
    end if;
    if not pg_has_role(chrononaut._owner(), (
        select c.relowner from pg_class c where c.oid = v.relid), 'member') then
        perform chrononaut._refuse(v.relid,
            format('the core''s owner %s may not add the column row_version to %s',
                chrononaut._owner(), v.relid::regclass),
            format('Run first: %s;', v_command), 'VH006', 'row_version');
    end if;
    perform set_config('chrononaut.syncing', 'on', true);
    execute v_command;
    perform set_config('chrononaut.syncing', v_syncing, true);
end;
$$;

comment on function chrononaut._add_row_version(chrononaut.versioning) is
    'Adds the column row_version where it is asked for and missing; VH006 if that is not allowed.';


create or replace function chrononaut._check_guards(v chrononaut.versioning)
    returns void
    language plpgsql
    stable
    set search_path = pg_catalog, pg_temp
as $$
begin
    perform chrononaut._check_lockable(v);
    perform chrononaut._check_row_version(v);
end;
$$;

comment on function chrononaut._check_guards(chrononaut.versioning) is
    'Raises VH003 where lockable or row_version do not fit the table.';
