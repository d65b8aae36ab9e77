-- History whose names came from the live table's goes along when that is renamed or moved.
--
-- Whoever reads <table>_history and <table>_versions finds them under the new name. Names
-- that were chosen stay. Safe to replay.

create or replace function chrononaut._follow_name(was chrononaut.versioning, present name)
    returns name
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select coalesce((
        select chrononaut._clip(case when s.with_schema
                then v.schema_name || '_' || v.table_name else v.table_name end, s.suffix)
        from chrononaut.versioning v
        cross join (values
            ('_history', false), ('_versions', false), ('_history', true), ('_versions', true)
        ) s(suffix, with_schema)
        where v.id = was.id
            and present = chrononaut._clip(case when s.with_schema
                then was.schema_name || '_' || was.table_name else was.table_name end, s.suffix)
        limit 1
    ), present)
$$;

comment on function chrononaut._follow_name(chrononaut.versioning, name) is
    'A name made of the live table''s former one, made of its present one; any other as it is.';


create or replace function chrononaut._follow_schema(was chrononaut.versioning)
    returns name
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    -- What is in the core's own schema, or in one that was chosen, stays there.
    select case
        when v.history_schema = was.schema_name and v.schema_name <> was.schema_name
            and chrononaut._is_beside(v.relid) then v.schema_name
        else v.history_schema end
    from chrononaut.versioning v
    where v.id = was.id
$$;

comment on function chrononaut._follow_schema(chrononaut.versioning) is
    'Where history belongs after its table has moved.';


create or replace function chrononaut._move_relation(
    kind text,
    schema_name name,
    relation_name name,
    to_schema name,
    to_name name)
    returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
begin
    if to_regclass(format('%I.%I', schema_name, relation_name)) is null then
        return;
    end if;
    if to_name <> relation_name then
        execute format('alter %s %I.%I rename to %I', kind, schema_name, relation_name, to_name);
    end if;
    if to_schema <> schema_name then
        execute format('alter %s %I.%I set schema %I', kind, schema_name, to_name, to_schema);
    end if;
end;
$$;

comment on function chrononaut._move_relation(text, name, name, name, name) is
    'Renames a relation, if it is there, and puts it into another schema.';


create or replace function chrononaut._keep_writers_out(target regclass)
    returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
begin
    -- A write that has begun already would look for its history under the old name.
    if has_table_privilege(target, 'update, delete, truncate') then
        execute format('lock table %s%s in share row exclusive mode',
            (select case c.relkind when 'p' then '' else 'only ' end
                from pg_class c where c.oid = target), target);
    end if;
end;
$$;

comment on function chrononaut._keep_writers_out(regclass) is
    'Waits for writes to a live table and lets no others begin, where that is permitted.';


create or replace function chrononaut._follow_rename(was chrononaut.versioning)
    returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v chrononaut.versioning := chrononaut._entry(was.id);
    v_schema name;
    v_history name;
    v_view name;
begin
    if (v.schema_name, v.table_name) = (was.schema_name, was.table_name) then
        return;
    end if;
    v_schema := chrononaut._follow_schema(was);
    v_history := chrononaut._follow_name(was, v.history_name);
    v_view := chrononaut._follow_name(was, v.view_name);
    if exists (
        select from pg_class c
        join pg_namespace n on n.oid = c.relnamespace
        where n.nspname in (v_schema, v.history_schema)
            and (c.relname = v_history and c.oid is distinct from v.history_relid
                or c.relname = v_view and c.oid is distinct from to_regclass(
                    format('%I.%I', v.history_schema, v.view_name)))) then
        return;  -- taken: the old names do as well
    end if;
    perform chrononaut._keep_writers_out(v.relid);
    perform chrononaut._move_relation(
        'table', v.history_schema, v.history_name, v_schema, v_history);
    perform chrononaut._move_relation(
        'view', v.history_schema, v.view_name, v_schema, v_view);
    update chrononaut.versioning r
    set history_schema = v_schema, history_name = v_history, view_name = v_view
    where r.id = v.id;
exception when duplicate_table or duplicate_object or insufficient_privilege then
    -- A type or an index has the name, or the schema takes none: the old names do as well.
    null;
end;
$$;

comment on function chrononaut._follow_rename(chrononaut.versioning) is
    'Renames and moves history and view along with the live table; takes the former entry.';
