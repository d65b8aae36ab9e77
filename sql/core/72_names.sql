-- Where history lives and what it is called.
--
-- Beside the live table where the core's owner is at home there, else in the schema
-- chrononaut_history. Safe to replay.

create or replace function chrononaut._is_safe(schema_name name)
    returns boolean
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    -- A schema's owner can drop what others own in it, and put in its place a table whose
    -- triggers would run with the rights of the core's owner.
    select pg_has_role(
        case pg_get_userbyid(n.nspowner)
            when 'pg_database_owner' then (
                select d.datdba from pg_database d where d.datname = current_database())
            else n.nspowner end,
        chrononaut._owner(), 'member')
    from pg_namespace n
    where n.nspname = schema_name
$$;

comment on function chrononaut._is_safe(name) is
    'Whether a schema belongs to somebody who may do whatever the core''s owner may.';


create or replace function chrononaut._check_safe(target regclass, schema_name name)
    returns void
    language plpgsql
    stable
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
begin
    if not chrononaut._is_safe(schema_name) then
        perform chrononaut._refuse(target,
            format('no history can be kept in schema %I: its owner could replace it', schema_name),
            format('Run: alter schema %I owner to %I; or name no schema or another one.',
                schema_name, chrononaut._owner()),
            'VH006');
    end if;
end;
$$;

comment on function chrononaut._check_safe(regclass, name) is
    'Raises VH006 if a table''s history would be at the mercy of a schema''s owner.';


create or replace function chrononaut._is_beside(target regclass)
    returns boolean
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select pg_get_userbyid(n.nspowner) = chrononaut._owner()
        or pg_get_userbyid(c.relowner) = chrononaut._owner()
            and has_schema_privilege(chrononaut._owner(), n.oid, 'create')
            and chrononaut._is_safe(n.nspname)
    from pg_class c
    join pg_namespace n on n.oid = c.relnamespace
    where c.oid = target
$$;

comment on function chrononaut._is_beside(regclass) is
    'Whether a table''s history may lie in the table''s own schema.';


create or replace function chrononaut._choose_schema(target regclass)
    returns name
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
begin
    if chrononaut._is_beside(target) then
        return (
            select n.nspname from pg_class c
            join pg_namespace n on n.oid = c.relnamespace
            where c.oid = target);
    end if;
    if to_regnamespace('chrononaut_history') is null then
        create schema chrononaut_history;
        comment on schema chrononaut_history is
            'History of tables whose schema belongs to somebody else than the core''s owner.';
        grant usage on schema chrononaut_history to public;
    end if;
    perform chrononaut._check_safe(target, 'chrononaut_history');
    return 'chrononaut_history';
end;
$$;

comment on function chrononaut._choose_schema(regclass) is
    'The schema for a table''s history.';


create or replace function chrononaut._check_free(
    target regclass,
    schema_name name,
    relation_name name)
    returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
begin
    if to_regclass(format('%I.%I', schema_name, relation_name)) is not null then
        perform chrononaut._refuse(target,
            format('cannot version %s: the name %I.%I is taken', target, schema_name, relation_name),
            'Pass history_table => with another name, or rename the relation that has it.',
            'VH004');
    end if;
end;
$$;

comment on function chrononaut._check_free(regclass, name, name) is
    'Raises VH004 if a relation of that name exists.';


create or replace function chrononaut._named(target regclass, history_table text)
    returns name[]
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v_parts text[] := parse_ident(history_table);
    v_schema text := chrononaut._choose_schema(target);
begin
    if cardinality(v_parts) > 2 or octet_length(v_parts[cardinality(v_parts)]) > 63 then
        perform chrononaut._refuse(target,
            format('%L is no name for a history table', history_table),
            'Pass a name of at most 63 bytes, with or without a schema.', 'VH004');
    end if;
    if cardinality(v_parts) = 2 and v_parts[1] <> v_schema then
        v_schema := v_parts[1];
        if to_regnamespace(quote_ident(v_schema)) is null
            or not has_schema_privilege(chrononaut._caller(), v_schema, 'create')
            or not has_schema_privilege(chrononaut._owner(), v_schema, 'create') then
            perform chrononaut._refuse(target,
                format('no history table can be created in schema %I', v_schema),
                format('Run: create schema if not exists %1$I authorization %2$I; grant usage, create on schema %1$I to %2$I, %3$I;',
                    v_schema, chrononaut._owner(), chrononaut._caller()),
                'VH006');
        end if;
        perform chrononaut._check_safe(target, v_schema);
    end if;
    return array[v_schema, v_parts[cardinality(v_parts)]];
end;
$$;

comment on function chrononaut._named(regclass, text) is
    'Schema and name from the history_table that the caller asked for.';


create or replace function chrononaut._is_named(v chrononaut.versioning, history_table text)
    returns boolean
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select history_table is null or case cardinality(p.parts)
        when 1 then p.parts[1] = coalesce(c.relname, v.history_name)
        else p.parts = array[coalesce(n.nspname, v.history_schema),
            coalesce(c.relname, v.history_name)]::text[] end
    from (select parse_ident(history_table) as parts) p
    left join pg_class c on c.oid = v.history_relid
    left join pg_namespace n on n.oid = c.relnamespace
$$;

comment on function chrononaut._is_named(chrononaut.versioning, text) is
    'Whether a history table has the name, with or without a schema, that is asked for.';


create or replace function chrononaut._check_named(v chrononaut.versioning, history_table text)
    returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
begin
    if not chrononaut._is_named(v, history_table) then
        perform chrononaut._refuse(v.relid,
            format('%s is versioned already, and its history is %s, not %s',
                v.relid::regclass, v.history_relid::regclass, history_table),
            format('To rename it: alter table %s rename to ...; select chrononaut.sync_versioning(%L);',
                v.history_relid::regclass, v.relid::regclass),
            'VH004');
    end if;
end;
$$;

comment on function chrononaut._check_named(chrononaut.versioning, text) is
    'Raises VH004 where a versioned table is to have a history of another name.';


create or replace function chrononaut._choose_names(v chrononaut.versioning, history_table text)
    returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v_schema name;
    v_history name;
    v_view name := chrononaut._clip(v.table_name, '_versions');
    v_named name[];
begin
    if history_table is not null then
        v_named := chrononaut._named(v.relid, history_table);
        v_schema := v_named[1];
        v_history := v_named[2];
    else
        v_schema := chrononaut._choose_schema(v.relid);
        v_history := chrononaut._clip(v.table_name, '_history');
        if v_schema = 'chrononaut_history' and (
            to_regclass(format('%I.%I', v_schema, v_history)) is not null
            or to_regclass(format('%I.%I', v_schema, v_view)) is not null) then
            v_history := chrononaut._clip(v.schema_name || '_' || v.table_name, '_history');
            v_view := chrononaut._clip(v.schema_name || '_' || v.table_name, '_versions');
        end if;
    end if;
    perform chrononaut._check_free(v.relid, v_schema, v_history);
    perform chrononaut._check_free(v.relid, v_schema, v_view);
    update chrononaut.versioning r
    set history_schema = v_schema, history_name = v_history, view_name = v_view
    where r.id = v.id;
end;
$$;

comment on function chrononaut._choose_names(chrononaut.versioning, text) is
    'Settles the names of the history table and the versions view; VH004 if they are taken.';
