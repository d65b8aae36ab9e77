-- The schema and the number of the core's version.
--
-- The number below is its only copy: SQL calls the function, Python reads this file. It
-- is raised with every file in upgrades/. Safe to replay.

create schema if not exists chrononaut;

comment on schema chrononaut is
    'chrononaut: history of tables, recorded by triggers. See chrononaut.versioned_tables.';

grant usage on schema chrononaut to public;


create or replace function chrononaut.core_version()
    returns integer
    language sql
    immutable
    parallel safe
as 'select 3';

comment on function chrononaut.core_version() is
    'The version of the installed core.';


do $version$
begin
    if current_setting('chrononaut.installed_version')::integer > chrononaut.core_version() then
        raise exception 'the installed core has version %, these files have version %',
            current_setting('chrononaut.installed_version'), chrononaut.core_version()
            using errcode = 'object_not_in_prerequisite_state',
                  schema = 'chrononaut',
                  hint = 'Upgrade the chrononaut-pg package; a core is never downgraded.';
    end if;
end
$version$;
