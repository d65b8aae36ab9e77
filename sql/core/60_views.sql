-- The versions view of each table: numbers and periods, derived when they are read.
--
-- Nothing that names live columns is stored as a dependency: the live row comes from a
-- string-bodied function, which inlines. Safe to replay.

create or replace function chrononaut._meta_columns(v chrononaut.versioning)
    returns table (name name, source text, type text)
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select chrononaut._meta_name(v.meta, m.name), m.source, m.type
    from (values
        ('version', 'version', 'bigint'),
        ('valid_from', 'valid_from', 'timestamp with time zone'),
        ('valid_to', 'changed', 'timestamp with time zone'),
        ('operation', 'operation::character(1)', 'character(1)'),
        ('changed', 'changed', 'timestamp with time zone'),
        ('change_id', 'change_id', 'bigint'),
        ('transaction_id', 'transaction_id', 'bigint'),
        ('change_info', 'change_info', 'jsonb'),
        ('created_change_id', 'created_change_id', 'bigint'),
        ('created_operation', 'created_operation::character(1)', 'character(1)'),
        ('created_transaction_id', 'created_transaction_id', 'bigint'),
        ('created_change_info', 'created_change_info', 'jsonb')
    ) m(name, source, type)
$$;

comment on function chrononaut._meta_columns(chrononaut.versioning) is
    'The meta columns of a versions view, under the names that they have for this table.';


create or replace function chrononaut._data_columns(v chrononaut.versioning)
    returns table (
        "position" bigint,
        history_name name,
        live_name name,
        attnum smallint,
        type text,
        in_key integer)
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select row_number() over (order by a.attnum), a.attname,
        case when m.state = 'tracked' then m.live_name end,
        case when m.state = 'tracked' then m.attnum end,
        format_type(a.atttypid, -1),
        array_position(v.key, case when m.state = 'tracked' then m.live_name end)
    from pg_attribute a
    join chrononaut.versioned_column m
        on m.versioning_id = v.id and m.history_name = a.attname
    where a.attrelid = v.history_relid and a.attnum > 0 and not a.attisdropped
$$;

comment on function chrononaut._data_columns(chrononaut.versioning) is
    'The data columns of a history table; live_name is null for those no longer written.';


create or replace function chrononaut._live_function(v chrononaut.versioning)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select format('chrononaut._live_%s_%s', v.id, left(md5(string_agg(
        format('%s %s %s', d.position, d.type, d.live_name), ',' order by d.position)), 8))
    from chrononaut._data_columns(v) d
$$;

comment on function chrononaut._live_function(chrononaut.versioning) is
    'Name of the function that reads live rows; another shape has another name.';


create or replace function chrononaut._write_live_function(v chrononaut.versioning)
    returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v_function text := chrononaut._live_function(v);
    v_shape text;
    v_body text;
begin
    select string_agg(format('d%s %s', d.position, d.type), ', ' order by d.position),
        format('select %s from %s %s r',
            string_agg(case
                when d.live_name is null then 'null::' || d.type
                -- Read without its name, a type of the application's may be renamed.
                when a.atttypid >= 16384 and format_type(a.atttypid, -1) = d.type
                    then format('r.%I', d.live_name)
                else format('r.%I::%s', d.live_name, d.type) end,
                ', ' order by d.position),
            (select case c.relkind when 'p' then '' else 'only' end
                from pg_class c where c.oid = v.relid),
            format('%I.%I', v.schema_name, v.table_name))
    into v_shape, v_body
    from chrononaut._data_columns(v) d
    left join pg_attribute a on a.attrelid = v.relid and a.attnum = d.attnum;
    perform chrononaut._make_room(v_function, array(
        select a.atttypid
        from chrononaut._data_columns(v) d
        join pg_attribute a on a.attrelid = v.history_relid and a.attname = d.history_name
        order by d.position));
    execute format('create or replace function %s() returns table (%s) language sql stable as %L',
        v_function, v_shape, v_body);
    execute format('comment on function %s() is %L', v_function,
        format('Live rows of %I.%I, in the shape of their history.', v.schema_name, v.table_name));
end;
$$;

comment on function chrononaut._write_live_function(chrononaut.versioning) is
    'Replaces the function through which the versions view reads live rows.';


create or replace function chrononaut._own_changes(v chrononaut.versioning)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select format(
        'select %1$s, h.%2$I as change_id, h.%3$I as changed, h.%4$I as operation, '
            'h.%5$I as transaction_id, h.%6$I as change_info from %7$s h '
        'union all '
        'select %8$s, null, null, null, null, null from %9$s() l',
        string_agg(format('h.%I as d%s', d.history_name, d.position), ', ' order by d.position),
        chrononaut._meta_name(v.meta, 'change_id'),
        chrononaut._meta_name(v.meta, 'changed'),
        chrononaut._meta_name(v.meta, 'operation'),
        chrononaut._meta_name(v.meta, 'transaction_id'),
        chrononaut._meta_name(v.meta, 'change_info'),
        chrononaut._history_reference(v),
        string_agg(format('l.d%s', d.position), ', ' order by d.position),
        chrononaut._live_function(v))
    from chrononaut._data_columns(v) d
$$;

comment on function chrononaut._own_changes(chrononaut.versioning) is
    'A query: all changes of a table, and its live rows as changes that have not happened.';


create or replace function chrononaut._key_columns(v chrononaut.versioning, prefix text)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select string_agg(prefix || 'd' || d.position, ', ' order by d.in_key)
    from chrononaut._data_columns(v) d
    where d.in_key is not null
$$;

comment on function chrononaut._key_columns(chrononaut.versioning, text) is
    'The key columns in the names that the view uses inside.';


create or replace function chrononaut._merge_moves(v chrononaut.versioning, changes text)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    -- A row that moves between partitions leaves D and I; with a key that leaves out the
    -- partition columns these are one change.
    select case when not exists (
            select from pg_class c
            join chrononaut._unique_keys(c.oid) u on u.is_primary
            where c.oid = v.relid and c.relkind = 'p' and not (u.key <@ v.key))
        then changes
        else format(
            'select %1$s, m.change_id, m.changed, case when m.operation = ''D'' '
                'and m.next_operation = ''I'' and m.next_id = m.transaction_id '
                'then ''U'' else m.operation end as operation, m.transaction_id, m.change_info '
            'from (select b.*, lag(b.operation) over k as last_operation, '
                'lag(b.transaction_id) over k as last_id, '
                'lead(b.operation) over k as next_operation, '
                'lead(b.transaction_id) over k as next_id '
                'from (%2$s) b window k as (partition by %3$s order by b.change_id)) m '
            'where (m.operation = ''I'' and m.last_operation = ''D'' '
                'and m.last_id = m.transaction_id) is not true',
            (select string_agg('m.d' || d.position, ', ' order by d.position)
                from chrononaut._data_columns(v) d),
            changes,
            chrononaut._key_columns(v, 'b.'))
        end
$$;

comment on function chrononaut._merge_moves(chrononaut.versioning, text) is
    'Merges the D and I of a row that moved, where the key leaves out partition columns.';


create or replace function chrononaut._view_query(v chrononaut.versioning)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select format(
        'select %1$s, %2$s from ('
            'select b.*, '
            'count(*) filter (where b.operation is distinct from ''I'') over k - 1 as version, '
            'lag(b.changed) over k as valid_from, %5$s '
            'from (%3$s) b '
            'window k as (partition by %4$s order by b.change_id '
                'rows between unbounded preceding and current row)) c '
        'where c.operation is distinct from ''I''',
        (select string_agg(format('c.%s as %I', m.source, m.name), ', ' order by m.ordinality)
            from chrononaut._meta_columns(v) with ordinality m),
        (select string_agg(format('c.d%s as %I', d.position, d.history_name), ', '
                order by d.position)
            from chrononaut._data_columns(v) d),
        chrononaut._merge_moves(v, chrononaut._own_changes(v)),
        chrononaut._key_columns(v, 'b.'),
        -- After D or T with no I (inserts untracked) nobody knows what began the version.
        (select string_agg(format(
                'case when lag(b.operation) over k not in (''D'', ''T'') '
                    'then lag(b.%1$s) over k end as created_%1$s', o.name), ', ')
            from unnest('{change_id,operation,transaction_id,change_info}'::text[]) o(name)))
$$;

comment on function chrononaut._view_query(chrononaut.versioning) is
    'The query of a versions view.';


create or replace function chrononaut._view_fits(v chrononaut.versioning, columns jsonb)
    returns boolean
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    -- A view may be replaced in place as long as columns are only renamed or appended.
    select coalesce(bool_and(columns -> (a.attnum - 1) ->> 'type'
            is not distinct from format_type(a.atttypid, a.atttypmod)), true)
    from pg_attribute a
    where a.attrelid = to_regclass(format('%I.%I', v.history_schema, v.view_name))
        and a.attnum > 0 and not a.attisdropped
$$;

comment on function chrononaut._view_fits(chrononaut.versioning, jsonb) is
    'Whether the present view can be replaced by one with these columns.';


create or replace function chrononaut._drop_view(relid oid, view_name text)
    returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v_detail text;
begin
    execute format('drop view if exists %s', view_name);
exception when dependent_objects_still_exist then
    get stacked diagnostics v_detail = pg_exception_detail;
    perform chrononaut._refuse(relid,
        format('the view %s has to be made anew, and other objects depend on it: %s', view_name,
            regexp_replace(v_detail, '[[:space:]]*[' || chr(10) || '][[:space:]]*', ', ', 'g')),
        'Drop those, do this again, and create them anew.', '2BP01');
end;
$$;

comment on function chrononaut._drop_view(oid, text) is
    'Drops a versions view; 2BP01 says what of the application''s stands on it.';


create or replace function chrononaut._write_view(v chrononaut.versioning)
    returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v_name text := format('%I.%I', v.history_schema, v.view_name);
    v_columns jsonb := chrononaut._view_columns(v);
    v_rename record;
begin
    perform chrononaut._check_column_count(v.relid, jsonb_array_length(v_columns));
    perform chrononaut._write_live_function(v);
    if to_regclass(v_name) is not null and not chrononaut._view_fits(v, v_columns) then
        perform chrononaut._drop_view(v.relid, v_name);
    end if;
    for v_rename in
        select a.attname, '_chrononaut_' || a.attnum as interim,
            v_columns -> (a.attnum - 1) ->> 'name' as wanted
        from pg_attribute a
        where a.attrelid = to_regclass(v_name) and a.attnum > 0
            and a.attname <> v_columns -> (a.attnum - 1) ->> 'name'
    loop
        execute format('alter view %s rename column %I to %I',
            v_name, v_rename.attname, v_rename.interim);
    end loop;
    for v_rename in
        select a.attname, v_columns -> (a.attnum - 1) ->> 'name' as wanted
        from pg_attribute a
        where a.attrelid = to_regclass(v_name) and a.attname ~ '^_chrononaut_'
            and a.attname <> v_columns -> (a.attnum - 1) ->> 'name'
    loop
        execute format('alter view %s rename column %I to %I',
            v_name, v_rename.attname, v_rename.wanted);
    end loop;
    execute format('create or replace view %s %s as %s', v_name,
        case when current_setting('server_version_num')::integer >= 150000
            then 'with (security_invoker = true)' else '' end,
        chrononaut._any_view_query(v));
    execute format('comment on view %s is %L', v_name,
        format('Versions of %I.%I, numbered from 0 per key; the live row is the newest.',
            v.schema_name, v.table_name));
    perform chrononaut._drop_stale_functions(v);
end;
$$;

comment on function chrononaut._write_view(chrononaut.versioning) is
    'Creates or replaces the versions view, in place where PostgreSQL can.';


create or replace function chrononaut._drop_stale_functions(v chrononaut.versioning)
    returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v_function text;
begin
    for v_function in
        select format('chrononaut.%I', p.proname)
        from pg_proc p
        where p.pronamespace = 'chrononaut'::regnamespace
            and p.proname ~ format('^_live_%s_', v.id)
            and format('chrononaut.%s', p.proname) <> chrononaut._live_function(v)
            and not exists (
                select from pg_depend d
                where d.refclassid = 'pg_proc'::regclass and d.refobjid = p.oid)
    loop
        execute format('drop function %s()', v_function);
    end loop;
end;
$$;

comment on function chrononaut._drop_stale_functions(chrononaut.versioning) is
    'Drops live functions of earlier shapes that nothing uses any more.';


create or replace function chrononaut._drop_views(versioning_id integer)
    returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v_view record;
begin
    for v_view in
        with recursive family as (
            select v.id, v.relid, v.history_schema, v.view_name, 0 as level
            from chrononaut.versioning v where v.id = versioning_id
            union all
            select c.id, c.relid, c.history_schema, c.view_name, f.level + 1
            from chrononaut.versioning c join family f on c.parent_id = f.id
        )
        select f.* from family f order by f.level desc
    loop
        perform chrononaut._drop_view(v_view.relid,
            format('%I.%I', v_view.history_schema, v_view.view_name));
    end loop;
end;
$$;

comment on function chrononaut._drop_views(integer) is
    'Drops the versions views of a table and its descendants, to be made again.';
