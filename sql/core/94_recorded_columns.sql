-- Which columns the history of some tables has, and since when: for clients that put
-- rows back themselves.
--
-- Reads the registry only; safe to replay.

create or replace function chrononaut._recorded_columns(targets regclass[])
    returns jsonb
    language plpgsql
    stable
    security definer
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v_caller name := chrononaut._caller();
begin
    return (
        select coalesce(jsonb_agg(jsonb_build_array(
                t.position - 1,
                m.live_name,
                m.state,
                (select jsonb_agg(jsonb_build_array(p.since, p.until) order by p.since)
                    from chrononaut.column_period p
                    where p.column_id = m.id))
            order by m.id), '[]')
        from unnest(targets) with ordinality t(relid, position)
        join chrononaut.versioning v on v.relid = t.relid
        join chrononaut.versioned_column m on m.versioning_id = v.id
        where m.history_name is not null
            and has_any_column_privilege(v_caller, t.relid, 'select'));
end;
$$;

comment on function chrononaut._recorded_columns(regclass[]) is
    'The columns that histories have, with their state and the changes between which they were recorded.';
