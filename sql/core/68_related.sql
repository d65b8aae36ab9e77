-- Reading the few rows that a version was related to.
--
-- as_of() is planned in every transaction that asks it: for some rows by a foreign key that
-- takes three times as long as reading them. These functions are plpgsql, so that a session
-- plans each question once. Safe to replay.

create or replace function chrononaut._equality(kind oid)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    -- What has no operator class of its own is compared by one of PostgreSQL's.
    select chrononaut._class_equality((
        select c.oid
        from pg_type t
        join pg_opclass c on c.opcintype = case t.typtype when 'd' then t.typbasetype else t.oid end
            and c.opcdefault
        join pg_am m on m.oid = c.opcmethod and m.amname = 'btree'
        where t.oid = kind))
$$;

comment on function chrononaut._equality(oid) is
    'The operator by which values of a type are equal, qualified.';


create or replace function chrononaut._related_condition(target oid, columns name[])
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select string_agg(format('p.%I %s ($3)[%s]::%s', a.attname,
        chrononaut._equality(a.atttypid), k.position, format_type(a.atttypid, -1)),
        ' and ' order by k.position)
    from unnest(columns) with ordinality k(name, position)
    join pg_attribute a on a.attrelid = target and a.attname = k.name and not a.attisdropped
    having count(*) = cardinality(columns)
$$;

comment on function chrononaut._related_condition(oid, name[]) is
    'The condition that columns of p have the values that $3 has as text.';


create or replace function chrononaut._related_columns(v chrononaut.versioning)
    returns table (columns name[])
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    -- In the order of their names, as whoever asks has them.
    select array_agg(u.name order by u.name collate "C")
    from (
        select 0 as id, k.name
        from unnest(v.key) k(name)
        union all
        select c.oid, a.attname
        from pg_constraint c
        cross join unnest(c.conkey) k(attnum)
        join pg_attribute a on a.attrelid = c.conrelid and a.attnum = k.attnum
        where c.conrelid = v.relid and c.contype = 'f'
    ) u
    group by u.id
    order by min(u.id::bigint)
    limit 12
$$;

comment on function chrononaut._related_columns(chrononaut.versioning) is
    'Columns by which rows of a table are most likely asked for: its key and foreign keys.';


create or replace function chrononaut._related_query(v chrononaut.versioning)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select format('select %s from (%s) p(%s) where ',
        string_agg(format('p.%I::%s', a.attname, format_type(a.atttypid, -1)), ', '
            order by a.attnum),
        chrononaut._past_query_of_few(v, 'chrononaut._moment_of_transaction($4, $5)'),
        string_agg(format('%I', a.attname), ', ' order by a.attnum))
    from pg_attribute a
    where a.attrelid = v.relid and a.attnum > 0 and not a.attisdropped
$$;

comment on function chrononaut._related_query(chrononaut.versioning) is
    'The query for related rows, up to its condition.';


create or replace function chrononaut._related_end(query text)
    returns text
    language sql
    immutable
    set search_path = pg_catalog, pg_temp
as $$
    select format('return query execute %L || chrononaut._related_condition(
    (select t.typrelid from pg_catalog.pg_type t
        where t.oid operator(pg_catalog.=) pg_catalog.pg_typeof($1)), $2)
    using $1, $2, $3, $4, $5;
end', query)
$$;

comment on function chrononaut._related_end(text) is
    'The end of the function that reads related rows: by columns that nobody foresaw.';


create or replace function chrononaut._related_body(v chrononaut.versioning)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    with query as materialized (
        select chrononaut._related_query(v) as text
    ), known as (
        select distinct c.columns, chrononaut._related_condition(v.relid, c.columns) as condition
        from chrononaut._related_columns(v) c
    )
    select concat_ws(chr(10), '#variable_conflict use_column', 'begin',
        (select string_agg(format('if $2 operator(pg_catalog.=) %L::pg_catalog.name[] then
    return query %s%s;
    return;
end if;', k.columns, q.text, k.condition), chr(10)) from known k where k.condition is not null),
        chrononaut._related_end(q.text))
    from query q
$$;

comment on function chrononaut._related_body(chrononaut.versioning) is
    'The body of the function that reads related rows.';


create or replace function chrononaut._write_related(v chrononaut.versioning)
    returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v_table text := format('%I.%I', v.schema_name, v.table_name);
    v_types text := v_table || ', name[], text[], bigint, boolean';
    v_shape text;
    v_mark text;
begin
    -- Parameters have more underscores in front than any column, so that names differ; columns
    -- that are called like parameters get them, too.
    select repeat('_', 1 + coalesce(max(length(substring(a.attname from '^_*'))), 0)) into v_mark
    from pg_attribute a
    where a.attrelid = v.relid and a.attnum > 0 and not a.attisdropped;
    select string_agg(format('%I %s',
        case when a.attname ~ '^[$][0-9]+$' then v_mark || a.attname else a.attname end,
        format_type(a.atttypid, -1)), ', ' order by a.attnum)
    into v_shape
    from pg_attribute a
    where a.attrelid = v.relid and a.attnum > 0 and not a.attisdropped;
    -- Replaced where it can be: others may be reading.
    if pg_get_function_result(to_regprocedure(format('chrononaut._related(%s)', v_types)))
        <> format('TABLE(%s)', v_shape) then
        execute format('drop function chrononaut._related(%s)', v_types);
    end if;
    execute format('create or replace function chrononaut._related(%1$srelation %2$s, '
            '%1$sby name[], %1$sgiven text[], %1$stransaction_id bigint, %1$sbefore boolean) '
            'returns table (%3$s) language plpgsql stable as %4$L',
        v_mark, v_table, v_shape, chrononaut._related_body(v));
    execute format('comment on function chrononaut._related(%s) is %L', v_types,
        format('Rows of %s with values in columns, after (before) a transaction.', v_table));
end;
$$;

comment on function chrononaut._write_related(chrononaut.versioning) is
    'Replaces the function that reads what versions were related to in a table.';
