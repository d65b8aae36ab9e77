-- What every install and upgrade does first.
--
-- Serialises installers, refuses a server that is too old and a role that does not own the
-- installed core, and notes the installed version (0 if none) in the transaction-local
-- setting chrononaut.installed_version. Changes nothing; safe to replay.

-- Files may call what later files define.
set local check_function_bodies = off;

do $prelude$
declare
    v_installed integer := 0;
    v_owner name;
begin
    perform pg_advisory_xact_lock(hashtextextended('chrononaut.install', 0));
    if current_setting('server_version_num')::integer < 140000 then
        raise exception 'chrononaut needs PostgreSQL 14 or later, this is %',
            current_setting('server_version')
            using errcode = 'feature_not_supported';
    end if;
    if to_regprocedure('chrononaut.core_version()') is not null then
        execute 'select chrononaut.core_version()' into v_installed;
    end if;
    perform set_config('chrononaut.installed_version', v_installed::text, true);
    select pg_get_userbyid(n.nspowner) into v_owner
    from pg_namespace n where n.nspname = 'chrononaut';
    if not pg_has_role(current_user, coalesce(v_owner, current_user), 'member') then
        raise exception 'the core belongs to role %, not to %', v_owner, current_user
            using errcode = 'VH006',
                  schema = 'chrononaut',
                  hint = format('Upgrade as %I or as a superuser.', v_owner);
    end if;
end
$prelude$;
