-- What ends every install and upgrade.
--
-- Safe to replay.

create or replace function chrononaut._settle_rights()
    returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v_function record;
    v_owner name := chrononaut._owner();
begin
    for v_function in
        select p.oid::regprocedure as signature, p.proowner, p.proname in (
            'create_versioning', 'alter_versioning', 'sync_versioning', 'check_versioning',
            'append_change_info', 'record_changes', '_check_drop', '_forget',
            'unlock_record', '_lock_statement',
            '_transaction_scopes', '_change_scopes', '_own_transaction',
            '_row_scopes', '_recorded_columns', '_moment', '_moment_of_transaction', 'mark',
            'drop_mark', '_has_drifted') as is_public
        from pg_proc p
        where p.pronamespace = 'chrononaut'::regnamespace and p.prosecdef
    loop
        if pg_get_userbyid(v_function.proowner) <> v_owner then
            execute format('alter function %s owner to %I', v_function.signature, v_owner);
        end if;
        if v_function.is_public then
            execute format('grant execute on function %s to public', v_function.signature);
        else
            execute format('revoke all on function %s from public', v_function.signature);
        end if;
    end loop;
end;
$$;

comment on function chrononaut._settle_rights() is
    'Leaves definer functions to the core''s owner, and to others only those that they must call.';


create or replace function chrononaut._settle_owner()
    returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v_owner name := chrononaut._owner();
    v_object record;
begin
    for v_object in
        select format('function %s', p.oid::regprocedure) as what
        from pg_proc p
        where p.pronamespace = 'chrononaut'::regnamespace
            and pg_get_userbyid(p.proowner) <> v_owner
        union all
        select format('%s chrononaut.%I',
            case c.relkind when 'v' then 'view' when 'S' then 'sequence' else 'table' end, c.relname)
        from pg_class c
        where c.relnamespace = 'chrononaut'::regnamespace
            and (c.relkind in ('r', 'v') or c.relname in ('change_id', 'remembered'))
            and pg_get_userbyid(c.relowner) <> v_owner
    loop
        execute format('alter %s owner to %I', v_object.what, v_owner);
    end loop;
end;
$$;

comment on function chrononaut._settle_owner() is
    'Gives what another superuser installed to the core''s owner.';


create or replace function chrononaut._settle_auto_sync()
    returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
begin
    if (select r.rolsuper from pg_roles r where r.rolname = current_user)
        and exists (select from pg_event_trigger e where e.evtname = 'chrononaut_sync')
        and not exists (select from pg_event_trigger e where e.evtname = 'chrononaut_locate') then
        perform chrononaut.auto_sync();
    end if;
end;
$$;

comment on function chrononaut._settle_auto_sync() is
    'Adds the event triggers that an older core''s auto_sync did not have.';


create or replace function chrononaut._after_install()
    returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
    set quote_all_identifiers = off
as $$
#variable_conflict use_variable
declare
    v_id integer;
begin
    perform chrononaut._settle_owner();
    perform chrononaut._settle_rights();
    perform chrononaut._settle_auto_sync();
    perform chrononaut._relocate();
    if not exists (select from chrononaut.versioning) then
        perform chrononaut._write_feed();
    end if;
    perform chrononaut._retire_orphans();
    for v_id in
        select v.id from chrononaut.versioning v
        where v.active and exists (select from chrononaut._problems(v))
        order by v.id
    loop
        perform chrononaut._apply_in_time(v_id);
    end loop;
    perform chrononaut._settle_owner();
end;
$$;

comment on function chrononaut._after_install() is
    'Ends an install: settles owners and rights, regenerates what records each table.';
