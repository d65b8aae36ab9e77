-- revert_row and restore_row: one row put back to one of its versions.
--
-- The versions view gives the image, so that in joined-table inheritance all tables of the
-- object are put back together. What reads the registry runs as the core's owner, all else
-- as the caller. Safe to replay.

create or replace function chrononaut._quoted(value text)
    returns text
    language sql
    immutable
    set search_path = pg_catalog, pg_temp
as $$
    select '"' || replace(replace(value, E'\\', E'\\\\'), '"', E'\\"') || '"'
$$;

comment on function chrononaut._quoted(text) is
    'A value as it stands within an array or a row.';


create or replace function chrononaut._literal(value jsonb, type oid)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    -- Written out rather than converted, since the input of a type may call its owner's
    -- functions: that is for the caller to do.
    select case
        when type in ('json'::regtype, 'jsonb'::regtype) then value::text
        when value = 'null' then null
        when jsonb_typeof(value) = 'array' then (
            select format('{%s}', string_agg(case
                    when jsonb_typeof(e.value) = 'array' then chrononaut._literal(e.value, type)
                    else coalesce(
                        chrononaut._quoted(chrononaut._literal(e.value, t.typelem)), 'NULL') end,
                ',' order by e.ordinality))
            from jsonb_array_elements(value) with ordinality e)
        when jsonb_typeof(value) = 'object' then (
            select format('(%s)', string_agg(
                coalesce(chrononaut._quoted(
                    chrononaut._literal(value -> a.attname::text, a.atttypid)), ''),
                ',' order by a.attnum))
            from pg_attribute a
            where a.attrelid = t.typrelid and a.attnum > 0 and not a.attisdropped)
        else value #>> '{}' end
    from pg_type t
    where t.oid = type
$$;

comment on function chrononaut._literal(jsonb, oid) is
    'The text of a value that is given as JSON: of an array or a row, too.';


create or replace function chrononaut._key_problem(columns jsonb, key jsonb, "values" text[])
    returns text
    language plpgsql
    stable
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v_column record;
begin
    if array_position("values", null) is not null or (case jsonb_typeof(key)
        when 'array' then jsonb_array_length(key) <> jsonb_array_length(columns) end)
    then
        return '';
    end if;
    for v_column in
        select c.value ->> 'type' as type, "values"[c.ordinality] as value
        from jsonb_array_elements(columns) with ordinality c
    loop
        execute format('select %L::%s', v_column.value, v_column.type);
    end loop;
    return null;
exception when data_exception or check_violation then
    return format(' (%s)', sqlerrm);
end;
$$;

comment on function chrononaut._key_problem(jsonb, jsonb, text[]) is
    'What is wrong with the values of a key; null if nothing is.';


create or replace function chrononaut._key_values(
    target regclass,
    columns jsonb,
    key jsonb)
    returns text[]
    language plpgsql
    stable
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v_values text[];
    v_problem text;
begin
    select array_agg(chrononaut._literal(case jsonb_typeof(key)
                when 'object' then key -> (c.value ->> 'live')
                when 'array' then key -> (c.ordinality - 1)::integer
                else case when jsonb_array_length(columns) = 1 then key end end,
            (c.value ->> 'type')::regtype)
        order by c.ordinality)
    into v_values
    from jsonb_array_elements(columns) with ordinality c;
    v_problem := chrononaut._key_problem(columns, key, v_values);
    if v_problem is not null then
        perform chrononaut._refuse(target,
            format('%s is no key of %s', coalesce(key::text, 'null'), target) || v_problem,
            format('Pass a value for each of its columns: %s.', (
                select string_agg(c.value ->> 'live', ', ' order by c.ordinality)
                from jsonb_array_elements(columns) with ordinality c)),
            '22023');
    end if;
    return v_values;
end;
$$;

comment on function chrononaut._key_values(regclass, jsonb, jsonb) is
    'The values of a key given as an object, an array or a scalar, as text.';


create or replace function chrononaut._key_condition(
    columns jsonb,
    kind text,
    alias text,
    "values" text[])
    returns text
    language sql
    immutable
    set search_path = pg_catalog, pg_temp
as $$
    select string_agg(format('%s.%I %s %L::%s', alias, c.value ->> kind,
            c.value ->> 'operator', "values"[c.ordinality], c.value ->> 'type'),
        ' and ' order by c.ordinality)
    from jsonb_array_elements(columns) with ordinality c
$$;

comment on function chrononaut._key_condition(jsonb, text, text, text[]) is
    'The condition that a row, live or in history, has a key.';


create or replace function chrononaut._row_scope(
    v chrononaut.versioning,
    "values" text[],
    change_id bigint)
    returns jsonb
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select s.scope || jsonb_build_object(
        'row', chrononaut._key_condition(s.scope -> 'key', 'live', 'l', "values"),
        'past', chrononaut._key_condition(s.scope -> 'key', 'history', 'h', "values"),
        'unknown', (
            select coalesce(jsonb_object_agg(i.live_name,
                format('is %s: a new row takes its default', i.state)), '{}')
            from chrononaut._image(v.id) i
            join pg_attribute a on a.attrelid = v.relid and a.attnum = i.attnum
            where i.state in ('hidden', 'untracked') and a.attgenerated = ''))
    from (
        select chrononaut._scope(v, 'false', coalesce(change_id, n.newest),
            coalesce(change_id, n.newest)) as scope
        from (select s.last_value + 1 as newest from chrononaut.change_id s) n
    ) s
$$;

comment on function chrononaut._row_scope(chrononaut.versioning, text[], bigint) is
    'The scope of one row, with the columns whose values at a change are known.';


create or replace function chrononaut._hide_shadowed(scope jsonb, nearer jsonb)
    returns jsonb
    language sql
    immutable
    set search_path = pg_catalog, pg_temp
as $$
    -- The versions view of a chain shows, of columns with one name, the nearest table's.
    select scope || jsonb_build_object('columns', coalesce((
            select jsonb_agg(c.value order by c.ordinality)
            from jsonb_array_elements(scope -> 'columns') with ordinality c
            where not nearer ? (c.value ->> 'history')
                or scope -> 'key' @> jsonb_build_array(
                    jsonb_build_object('live', c.value -> 'name'))), '[]'))
$$;

comment on function chrononaut._hide_shadowed(jsonb, jsonb) is
    'A parent''s scope without the columns that a child''s columns hide in the versions view.';


create or replace function chrononaut._row_scopes(
    target regclass,
    key jsonb,
    change_id bigint default null)
    returns jsonb
    language plpgsql
    security definer
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v chrononaut.versioning;
    v_level chrononaut.versioning;
    v_values text[];
    v_scopes jsonb := '[]';
    v_nearer jsonb := '[]';
    v_scope jsonb;
begin
    perform chrononaut._relocate();
    v := chrononaut._require(target);
    v_values := chrononaut._key_values(target, chrononaut._scope_key(v), key);
    for v_level in select (l.ancestor).* from chrononaut._lineage(v) l order by l.level loop
        v_level := chrononaut._hold(v_level);
        perform chrononaut._check_may_undo(v_level, format('changes of %s', target));
        perform chrononaut._check_drift(v_level.id);
        v_scope := chrononaut._hide_shadowed(
            chrononaut._row_scope(v_level, v_values, change_id), v_nearer);
        v_scopes := v_scopes || v_scope;
        v_nearer := v_nearer || jsonb_path_query_array(v_scope, '$.columns[*].history');
    end loop;
    return jsonb_build_object(
        'target', v_scopes #>> '{0,relation}',
        'oid', target::oid::bigint,
        'scopes', v_scopes,
        'view', format('%I.%I', v.history_schema, v.view_name),
        'version', quote_ident(chrononaut._meta_name(v.meta, 'version')),
        'from', quote_ident(chrononaut._meta_name(v.meta, 'valid_from')),
        'to', quote_ident(chrononaut._meta_name(v.meta, 'valid_to')),
        'change_id', quote_ident(chrononaut._meta_name(v.meta, 'change_id')),
        'created', quote_ident(chrononaut._meta_name(v.meta, 'created_change_id')),
        'created_operation', quote_ident(chrononaut._meta_name(v.meta, 'created_operation')),
        'created_in', quote_ident(chrononaut._meta_name(v.meta, 'created_transaction_id')));
end;
$$;

comment on function chrononaut._row_scopes(regclass, jsonb, bigint) is
    'What revert_row has to know of a row: its tables, nearest first, and its versions view.';


create or replace function chrononaut._row_versions(object jsonb, condition text)
    returns table (version bigint, change_id bigint, valid_to timestamptz,
        created_operation text, created_in bigint)
    language plpgsql
    stable
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
begin
    return query execute format(
        'select h.%1$s, h.%2$s, h.%3$s, h.%4$s::text, h.%5$s from %6$s h where %7$s and %8$s '
            'order by h.%1$s desc',
        object ->> 'version', object ->> 'change_id', object ->> 'to',
        object ->> 'created_operation', object ->> 'created_in', object ->> 'view',
        object #>> '{scopes,0,past}', condition);
end;
$$;

comment on function chrononaut._row_versions(jsonb, text) is
    'The versions of a row that meet a condition on view h, newest first.';


create or replace function chrononaut._row_missing(object jsonb, key jsonb, problem text)
    returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
begin
    perform chrononaut._refuse((object ->> 'oid')::oid,
        format('row %s of %s %s', key, object ->> 'target', problem),
        format('Its versions are in %s.', object ->> 'view'), 'P0002');
end;
$$;

comment on function chrononaut._row_missing(jsonb, jsonb, text) is
    'Raises because a row or a version of it is not known.';


create or replace function chrononaut._row_version(
    object jsonb,
    key jsonb,
    wanted_version bigint,
    wanted_at timestamptz,
    wanted_change bigint,
    out found_version bigint,
    out found_change bigint)
    language plpgsql
    stable
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v_found record;
begin
    if num_nonnulls(wanted_version, wanted_at, wanted_change) <> 1 then
        raise exception 'name one version: by its number, a time or a change'
            using errcode = 'invalid_parameter_value',
                  hint = 'Pass version => ..., or at => ..., or change_id => ...';
    end if;
    select w.* into v_found from chrononaut._row_versions(object, case
        when wanted_version is not null
            then format('h.%s = %s', object ->> 'version', wanted_version)
        when wanted_at is not null
            then format('(h.%1$s is null or h.%1$s <= %2$L)', object ->> 'from', wanted_at)
        else format('%s in (h.%s, h.%s)', wanted_change, object ->> 'change_id',
            object ->> 'created') end) w
    order by w.change_id = wanted_change desc nulls last, w.version desc
    limit 1;
    if found and (wanted_at is null or v_found.valid_to is null or v_found.valid_to > wanted_at)
        and (wanted_change is null or v_found.change_id = wanted_change) then
        found_version := v_found.version;
        found_change := v_found.change_id;
    elsif wanted_version is not null then
        perform chrononaut._row_missing(object, key, format('has no version %s', wanted_version));
    elsif wanted_change is not null and v_found.created_operation is distinct from 'I' then
        perform chrononaut._row_missing(object, key, format('has no change %s', wanted_change));
    elsif not exists (select from chrononaut._row_versions(object, 'true')) then
        perform chrononaut._row_missing(object, key, 'was never known');
    end if;
end;
$$;

comment on function chrononaut._row_version(jsonb, jsonb, bigint, timestamptz, bigint) is
    'Finds the version that was asked for; null where the row did not exist.';


create or replace function chrononaut._row_differences(object jsonb, scope jsonb, version bigint)
    returns text[]
    language plpgsql
    stable
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v_names text[];
begin
    -- Null where there is no live row.
    execute format(
        'select array_remove(array[%s]::text[], null) from %s l, %s h where %s and %s and h.%s = $1',
        (select string_agg(format('case when %s then %L end',
                chrononaut._undo_differs(c.value, c.value ->> 'value',
                    format('h.%I', c.value ->> 'history')), c.value ->> 'name'), ', '
                order by c.ordinality)
            from jsonb_array_elements(scope -> 'columns') with ordinality c
            where not (c.value ->> 'always')::boolean),
        scope ->> 'live', object ->> 'view', scope ->> 'row', object #>> '{scopes,0,past}',
        object ->> 'version')
    into v_names
    using version;
    return v_names;
end;
$$;

comment on function chrononaut._row_differences(jsonb, jsonb, bigint) is
    'The columns in which a live row differs from a version; null if it is not there.';


create or replace function chrononaut._row_statement(object jsonb, scope jsonb, names text[])
    returns text
    language sql
    immutable
    set search_path = pg_catalog, pg_temp
as $$
    select case when names is null then format(
            'insert into %s (%s) overriding system value select %s from %s h where %s and h.%s '
                'operator(pg_catalog.=) $1',
            scope ->> 'relation',
            string_agg(quote_ident(c.value ->> 'name'), ', ' order by c.ordinality),
            string_agg(format('h.%I::%s', c.value ->> 'history', c.value ->> 'cast'), ', '
                order by c.ordinality),
            object ->> 'view', object #>> '{scopes,0,past}', object ->> 'version')
        else format(
            'update %s l set %s from %s h where %s and %s and h.%s operator(pg_catalog.=) $1',
            scope ->> 'live',
            string_agg(format('%I = h.%I::%s', c.value ->> 'name', c.value ->> 'history',
                    c.value ->> 'cast'), ', ' order by c.ordinality)
                filter (where c.value ->> 'name' = any (names)),
            object ->> 'view', scope ->> 'row', object #>> '{scopes,0,past}',
            object ->> 'version')
        end
    from jsonb_array_elements(scope -> 'columns') with ordinality c
$$;

comment on function chrononaut._row_statement(jsonb, jsonb, text[]) is
    'Sets columns of a live row as they were in version $1, or inserts it if they are null.';


create or replace function chrononaut._row_kept(scope jsonb)
    returns void
    language plpgsql
    stable
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
begin
    raise exception 'the row of % was not written', scope ->> 'relation'
        using errcode = 'object_not_in_prerequisite_state',
              schema = scope ->> 'schema',
              table = scope ->> 'table',
              hint = 'A trigger, a rule or a policy of the table kept it, or it has just been deleted.';
end;
$$;

comment on function chrononaut._row_kept(jsonb) is
    'Raises that a row is not as it was to be.';


create or replace function chrononaut._row_put(
    object jsonb,
    scope jsonb,
    version bigint,
    only_missing boolean)
    returns jsonb
    language plpgsql
as $$
#variable_conflict use_variable
declare
    v_names text[] := chrononaut._row_differences(object, scope, version);
    v_skipped jsonb := scope -> 'skipped';
    v_count bigint := 1;
begin
    if v_names is null then
        execute chrononaut._row_statement(object, scope, v_names) using version;
        get diagnostics v_count = row_count;
        v_skipped := v_skipped || (scope -> 'unknown');
    elsif v_names <> '{}' and not only_missing then
        execute chrononaut._row_statement(object, scope, v_names) using version;
        get diagnostics v_count = row_count;
    end if;
    if v_count <> 1 then
        perform chrononaut._row_kept(scope);
    end if;
    return pg_catalog.jsonb_build_object(
        'operation', case when v_names is null then 'insert'
            when v_names <> '{}' and not only_missing then 'update' else 'none' end,
        'columns', coalesce(pg_catalog.to_jsonb(v_names), chrononaut._scope_names(scope)),
        'skipped', v_skipped);
end;
$$;

comment on function chrononaut._row_put(jsonb, jsonb, bigint, boolean) is
    'Puts one table''s row back to a version, and tells what that meant.';


create or replace function chrononaut._scope_names(scope jsonb)
    returns jsonb
    language sql
    immutable
    set search_path = pg_catalog, pg_temp
as $$
    select jsonb_path_query_array(scope, '$.columns[*].name')
$$;

comment on function chrononaut._scope_names(jsonb) is
    'The names of a scope''s columns.';


create or replace function chrononaut._row_remove(object jsonb, scope jsonb, created_in bigint)
    returns jsonb
    language plpgsql
as $$
#variable_conflict use_variable
declare
    v_belongs boolean := created_in is null;
    v_count bigint := 0;
begin
    -- A parent that was there before its child was added to it stays.
    if not v_belongs then
        execute pg_catalog.format(
            'select exists (select from %s h where %s and h.%s operator(pg_catalog.=) $1 '
                'and h.%s operator(pg_catalog.=) ''I'')',
            scope ->> 'history', scope ->> 'past', scope ->> 'transaction_id',
            scope ->> 'operation')
        into v_belongs
        using created_in;
    end if;
    if v_belongs then
        execute pg_catalog.format('delete from %s l where %s', scope ->> 'live', scope ->> 'row');
        get diagnostics v_count = row_count;
        execute pg_catalog.format('select exists (select from %s l where %s)',
            scope ->> 'live', scope ->> 'row')
        into v_belongs;
        if v_belongs then
            perform chrononaut._row_kept(scope);
        end if;
    end if;
    return pg_catalog.jsonb_build_object(
        'operation', case when v_count > 0 then 'delete' else 'none' end,
        'columns', '[]'::jsonb, 'skipped', '{}'::jsonb);
end;
$$;

comment on function chrononaut._row_remove(jsonb, jsonb, bigint) is
    'Deletes one table''s row of an object; a parent''s only if both were created together.';


create or replace function chrononaut._row_write(
    object jsonb,
    version bigint,
    only_missing boolean)
    returns jsonb
    language plpgsql
as $$
#variable_conflict use_variable
declare
    v_done jsonb := '[]';
    v_scope jsonb;
    v_created bigint;
begin
    if version is null then
        select w.created_in into v_created
        from chrononaut._row_versions(object, 'true') w
        where w.created_operation = 'I'
        limit 1;
        for v_scope in
            select s.value from pg_catalog.jsonb_array_elements(object -> 'scopes')
                with ordinality s order by s.ordinality
        loop
            v_done := v_done || chrononaut._row_remove(object, v_scope,
                case when v_done <> '[]' then v_created end);
        end loop;
    else
        for v_scope in
            select s.value from pg_catalog.jsonb_array_elements(object -> 'scopes')
                with ordinality s order by s.ordinality desc
        loop
            v_done := v_done || chrononaut._row_put(object, v_scope, version, only_missing);
        end loop;
    end if;
    return v_done;
end;
$$;

comment on function chrononaut._row_write(jsonb, bigint, boolean) is
    'Puts all tables of an object back to a version, parents first, or deletes it if that is null.';


create or replace function chrononaut._row_report(object jsonb, version bigint, change_id bigint,
    done jsonb)
    returns jsonb
    language sql
    immutable
    set search_path = pg_catalog, pg_temp
as $$
    select jsonb_build_object(
        'relation', object ->> 'target',
        'operation', coalesce(
            (array_agg(d.value ->> 'operation' order by
                array_position('{insert,delete,update}', d.value ->> 'operation'))
                filter (where d.value ->> 'operation' <> 'none'))[1], 'none'),
        'version', version,
        'change_id', change_id,
        'columns', (
            select coalesce(jsonb_agg(c.name order by c.first), '[]')
            from (
                select n.name, min(array[e.ordinality, n.ordinality]) as first
                from jsonb_array_elements(done) with ordinality e
                cross join jsonb_array_elements(e.value -> 'columns') with ordinality n(name)
                where e.value ->> 'operation' in ('insert', 'update')
                group by n.name
            ) c),
        'skipped', (
            select coalesce(jsonb_object_agg(s.key, s.value), '{}')
            from jsonb_array_elements(done) e
            cross join jsonb_each(e -> 'skipped') s))
    from jsonb_array_elements(done) d
$$;

comment on function chrononaut._row_report(jsonb, bigint, bigint, jsonb) is
    'What revert_row and restore_row return.';


create or replace function chrononaut._row_revert(
    object jsonb,
    version bigint,
    change_id bigint,
    only_missing boolean)
    returns jsonb
    language plpgsql
as $$
#variable_conflict use_variable
declare
    v_said text;
    v_done jsonb;
    v_message text;
    v_detail text;
    v_schema text;
    v_table text;
    v_column text;
    v_constraint text;
begin
    perform chrononaut._undo_check(s) from pg_catalog.jsonb_array_elements(object -> 'scopes') s;
    v_said := chrononaut._undo_say(pg_catalog.jsonb_build_object('reverted_to',
        pg_catalog.jsonb_build_object('version', version, 'change_id', change_id)));
    v_done := chrononaut._row_write(object, version, only_missing);
    perform pg_catalog.set_config('chrononaut.change_info', coalesce(v_said, ''), true);
    return chrononaut._row_report(object, version, change_id, v_done);
exception when not_null_violation then
    get stacked diagnostics v_message = message_text, v_detail = pg_exception_detail,
        v_schema = schema_name, v_table = table_name, v_column = column_name,
        v_constraint = constraint_name;
    perform chrononaut._undo_explain(
        (select pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object('scope', s))
            from pg_catalog.jsonb_array_elements(object -> 'scopes') s),
        sqlstate, v_message, v_detail, array[v_schema, v_table, v_column, v_constraint]);
    return null;
end;
$$;

comment on function chrononaut._row_revert(jsonb, bigint, bigint, boolean) is
    'Puts an object back to a version, with the change info that says so.';


create or replace function chrononaut.revert_row(
    target regclass,
    key jsonb,
    version bigint default null,
    at timestamptz default null,
    change_id bigint default null)
    returns jsonb
    language plpgsql
as $$
#variable_conflict use_variable
declare
    v_object jsonb := chrononaut._row_scopes(target, key);
    v_version record;
begin
    select w.* into v_version
    from chrononaut._row_version(v_object, key, version, at, change_id) w;
    return chrononaut._row_revert(
        chrononaut._row_scopes(target, key, v_version.found_change),
        v_version.found_version, v_version.found_change, false);
end;
$$;

comment on function chrononaut.revert_row(regclass, jsonb, bigint, timestamptz, bigint) is
    'Puts a row back to a version: by number, as at a time, or as before a change.';


create or replace function chrononaut.restore_row(target regclass, key jsonb)
    returns jsonb
    language plpgsql
as $$
#variable_conflict use_variable
declare
    v_object jsonb := chrononaut._row_scopes(target, key);
    v_last record;
begin
    select w.* into v_last from chrononaut._row_versions(v_object, 'true') w limit 1;
    if v_last.version is null then
        perform chrononaut._row_missing(v_object, key, 'was never known');
    elsif v_last.change_id is null then
        perform chrononaut._refuse(target,
            pg_catalog.format('row %s of %s is not deleted', key, v_object ->> 'target'),
            'Use chrononaut.revert_row() to put a live row back.', '55000');
    end if;
    return chrononaut._row_revert(
        chrononaut._row_scopes(target, key, v_last.change_id),
        v_last.version, v_last.change_id, true);
end;
$$;

comment on function chrononaut.restore_row(regclass, jsonb) is
    'Inserts a deleted row again as it last was.';
