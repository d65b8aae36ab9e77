-- Who may read history: whoever may read the live table, unless policies bind them.
--
-- Grants are replaced as a whole, so that a REVOKE on the live table is followed as well.
-- Grants of columns hold for the history table only: the versions view asks its reader for
-- all tracked columns. Safe to replay.

create or replace function chrononaut._may_read_past_policies(target regclass, grantee oid)
    returns boolean
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    -- History has no policies of its own: under row-level security only those read it whom
    -- the live table's policies do not bind.
    select not c.relrowsecurity
        or grantee <> 0 and (
            select a.rolsuper or a.rolbypassrls from pg_roles a where a.oid = grantee)
        or grantee = c.relowner and not c.relforcerowsecurity
    from pg_class c
    where c.oid = target
$$;

comment on function chrononaut._may_read_past_policies(regclass, oid) is
    'Whether a role that may read the live table sees all of its rows.';


create or replace function chrononaut._wanted_grants(v chrononaut.versioning)
    returns table (grantee oid, columns name[])
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select g.grantee, null::name[]
    from pg_class c
    cross join lateral (
        select c.relowner as grantee
        union
        select a.grantee from aclexplode(c.relacl) a where a.privilege_type = 'SELECT'
    ) g
    where c.oid = v.relid
        and chrononaut._may_read_past_policies(v.relid, g.grantee)
    union all
    select a.grantee, array_agg(m.history_name order by m.attnum)
    from pg_attribute l
    cross join lateral aclexplode(l.attacl) a
    join chrononaut.versioned_column m
        on m.versioning_id = v.id and m.attnum = l.attnum and m.state = 'tracked'
    where l.attrelid = v.relid and l.attnum > 0 and not l.attisdropped
        and a.privilege_type = 'SELECT'
        and chrononaut._may_read_past_policies(v.relid, a.grantee)
    group by a.grantee
$$;

comment on function chrononaut._wanted_grants(chrononaut.versioning) is
    'Who may read the history; columns is null for the whole table.';


create or replace function chrononaut._revoke_all(relation regclass)
    returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v_grantee text;
begin
    for v_grantee in
        select distinct case a.grantee when 0 then 'public'
            else quote_ident(pg_get_userbyid(a.grantee)) end
        from pg_class c
        cross join lateral (
            select x.grantee from aclexplode(c.relacl) x
            union
            select x.grantee
            from pg_attribute t cross join lateral aclexplode(t.attacl) x
            where t.attrelid = c.oid
        ) a
        where c.oid = relation and a.grantee <> c.relowner
    loop
        execute format('revoke all on %s from %s cascade', relation, v_grantee);
    end loop;
end;
$$;

comment on function chrononaut._revoke_all(regclass) is
    'Takes every right on a relation from everybody but its owner.';


create or replace function chrononaut._grant(v chrononaut.versioning)
    returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v_view regclass := format('%I.%I', v.history_schema, v.view_name)::regclass;
    v_grant record;
begin
    perform chrononaut._revoke_all(v.history_relid);
    perform chrononaut._revoke_all(v_view);
    for v_grant in
        select g.columns, case g.grantee when 0 then 'public'
            else quote_ident(pg_get_userbyid(g.grantee)) end as grantee,
            (select string_agg(quote_ident(n), ', ') from unnest(g.columns) n) as list
        from chrononaut._wanted_grants(v) g
        where g.grantee = 0 or exists (select from pg_roles r where r.oid = g.grantee)
    loop
        if v_grant.columns is null then
            execute format('grant select on %s, %s to %s',
                v.history_relid::regclass, v_view, v_grant.grantee);
        else
            execute format('grant select (%s, %s) on %s to %s',
                v_grant.list, chrononaut._history_meta_list(v), v.history_relid::regclass,
                v_grant.grantee);
        end if;
    end loop;
end;
$$;

comment on function chrononaut._grant(chrononaut.versioning) is
    'Copies select rights to the history, and those on the whole table to its versions view.';


create or replace function chrononaut._history_meta_list(v chrononaut.versioning)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select string_agg(quote_ident(chrononaut._meta_name(v.meta, m.name)), ', ')
    from unnest('{change_id,changed,operation,transaction_id,change_info,tuple}'::text[]) m(name)
$$;

comment on function chrononaut._history_meta_list(chrononaut.versioning) is
    'The meta columns of a history table, as a list.';


create or replace function chrononaut._present_grants(relation regclass)
    returns table (grantee oid, column_name name, privilege text)
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select a.grantee, null::name, a.privilege_type
    from pg_class c
    cross join lateral aclexplode(c.relacl) a
    where c.oid = relation and a.grantee <> c.relowner
    union
    select a.grantee, t.attname, a.privilege_type
    from pg_class c
    join pg_attribute t on t.attrelid = c.oid and not t.attisdropped
    cross join lateral aclexplode(t.attacl) a
    where c.oid = relation and a.grantee <> c.relowner
$$;

comment on function chrononaut._present_grants(regclass) is
    'Rights that others than its owner have on a relation; a null column is all of it.';


create or replace function chrononaut._due_grants(v chrononaut.versioning)
    returns table (relation regclass, grantee oid, column_name name, privilege text)
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select c.oid::regclass, g.grantee, n.name, 'SELECT'
    from pg_class c
    cross join chrononaut._wanted_grants(v) g
    cross join lateral (
        select null::name where g.columns is null
        union all
        select c.name from unnest(g.columns) c(name)
        union all
        select chrononaut._meta_name(v.meta, m.name)
        from unnest('{change_id,changed,operation,transaction_id,change_info,tuple}'::text[])
            m(name)
        where g.columns is not null
    ) n(name)
    where g.grantee <> c.relowner
        and (c.oid = v.history_relid
            or c.oid = to_regclass(format('%I.%I', v.history_schema, v.view_name))
                and g.columns is null)
$$;

comment on function chrononaut._due_grants(chrononaut.versioning) is
    'Rights that others than the owner should have on history and the versions view.';


create or replace function chrononaut._grant_problems(v chrononaut.versioning)
    returns table (problem text)
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    with present as (
        select r.id as relation, p.*
        from unnest(array[v.history_relid::regclass,
            to_regclass(format('%I.%I', v.history_schema, v.view_name))]) r(id)
        cross join lateral chrononaut._present_grants(r.id) p
    ), due as (
        select d.* from chrononaut._due_grants(v) d
    ), wrong as (
        select 'may' as word, e.* from (table present except table due) e
        union all
        select 'may not', e.* from (table due except table present) e
    )
    select format('%s %s %s by %s, %s',
        case w.relation when v.history_relid then 'history' else 'the versions view' end
            || coalesce(' column ' || quote_ident(w.column_name), ''),
        w.word,
        case w.privilege when 'SELECT' then 'be read'
            else format('be written (%s)', lower(w.privilege)) end,
        case w.grantee when 0 then 'public' else quote_ident(pg_get_userbyid(w.grantee)) end,
        case
            when w.word = 'may not' then 'who may read it in the live table'
            when w.privilege = 'SELECT' then 'who may not read all of it in the live table'
            else 'and nobody should' end)
    from wrong w
$$;

comment on function chrononaut._grant_problems(chrononaut.versioning) is
    'Where rights on history differ from those on the live table, column by column.';
