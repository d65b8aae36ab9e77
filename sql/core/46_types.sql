-- Types of the application's own: history follows where one takes another's place, and lets
-- go of those whose columns are gone, so that they can be dropped.
--
-- Conversions run with the rights of the core's owner: they call the types' input and
-- output functions, never a cast, which the types' owner may have made. Safe to replay.

create or replace function chrononaut._as_text(column_name name)
    returns text
    language sql
    immutable
    set search_path = pg_catalog, pg_temp
as $$
    -- A row of nulls is itself not null: "is null" would take it for one.
    select format('case when %1$I is distinct from null then format(''%%s'', %1$I) end',
        column_name)
$$;

comment on function chrononaut._as_text(name) is
    'The expression for the text of a column of any type.';


create or replace function chrononaut._relabelled(
    v chrononaut.versioning,
    column_name name,
    old_type oid,
    new_type oid)
    returns text
    language plpgsql
    stable
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v_labels text[];
    v_gone boolean;
begin
    if (select count(*) from pg_type t where t.oid in (old_type, new_type) and t.typtype = 'e') <> 2 then
        return null;
    end if;
    select array_agg(e.enumlabel::text) into v_labels
    from pg_enum e where e.enumtypid = new_type;
    execute format('select exists (select from %s h where (%s) <> all ($1))',
        v.history_relid::regclass, chrononaut._as_text(column_name))
    into v_gone
    using coalesce(v_labels, '{}');
    if v_gone or v_labels is null then
        return null;
    end if;
    return (
        select format('case format(''%%s'', %I) %s end', column_name,
            string_agg(format('when %1$L then %1$L::%2$s', l.label, new_type::regtype), ' '))
        from unnest(v_labels) l(label));
end;
$$;

comment on function chrononaut._relabelled(chrononaut.versioning, name, oid, oid) is
    'The expression that turns one enum into another; null if history has values that are gone.';


create or replace function chrononaut._converted(
    v chrononaut.versioning,
    column_name name,
    old_type oid,
    new_type oid)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select case when chrononaut._widens(old_type, new_type)
        then format('%I::%s', column_name, new_type::regtype)
        else chrononaut._relabelled(v, column_name, old_type, new_type) end
$$;

comment on function chrononaut._converted(chrononaut.versioning, name, oid, oid) is
    'The expression that turns a history column into one of another type; null if it loses something.';


create or replace function chrononaut._is_own_type(type oid)
    returns boolean
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select coalesce(e.oid, t.oid) >= 16384
        and coalesce(e.typtype, t.typtype) in ('c', 'd', 'e', 'm', 'r')
        and not exists (
            select from pg_depend d
            where d.classid = 'pg_type'::regclass and d.objid = coalesce(e.oid, t.oid)
                and d.deptype = 'e')
    from pg_type t
    left join pg_type e on e.typarray = t.oid
    where t.oid = type
$$;

comment on function chrononaut._is_own_type(oid) is
    'Whether a type, or that of an array''s elements, is neither PostgreSQL''s nor an extension''s.';


create or replace function chrononaut._free_types(v chrononaut.versioning)
    returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v_name name;
begin
    for v_name in
        select a.attname
        from chrononaut.versioned_column m
        join pg_attribute a
            on a.attrelid = v.history_relid and a.attname = m.history_name and not a.attisdropped
        where m.versioning_id = v.id and chrononaut._is_own_type(a.atttypid)
            and (m.state = 'retired' or m.state <> 'tracked' and not exists (
                select from pg_attribute l
                where l.attrelid = v.relid and l.attnum = m.attnum and l.atttypid = a.atttypid))
    loop
        perform chrononaut._drop_views(v.id);
        execute format('alter table %s alter column %I type text using %s',
            v.history_relid::regclass, v_name, chrononaut._as_text(v_name));
    end loop;
end;
$$;

comment on function chrononaut._free_types(chrononaut.versioning) is
    'Turns history columns that are no longer written to text, so that their types can go.';


create or replace function chrononaut._make_room(function_name text, types oid[])
    returns boolean
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v_oid oid := to_regproc(function_name);
begin
    if exists (select from pg_proc p where p.oid = v_oid and p.proallargtypes <> types) then
        execute format('alter function %s() rename to %I',
            function_name, split_part(function_name, '.', 2) || '_' || v_oid);
        return true;
    end if;
    return false;
end;
$$;

comment on function chrononaut._make_room(text, oid[]) is
    'Renames a function whose name stands for other types that were called like these.';


create or replace function chrononaut._drop_overloads(function_name text, present text)
    returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v_function regprocedure;
begin
    for v_function in
        select p.oid from pg_proc p
        where p.pronamespace = 'chrononaut'::regnamespace and p.proname = function_name
            and p.oid <> to_regprocedure(format('chrononaut.%s(%s)', function_name, present))
    loop
        execute format('drop function %s', v_function);
    end loop;
end;
$$;

comment on function chrononaut._drop_overloads(text, text) is
    'Drops the functions of a name that do not have the present argument types.';
