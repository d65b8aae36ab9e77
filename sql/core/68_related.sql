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


create or replace function chrononaut._related_from(v chrononaut.versioning, query text)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select format('select %s from (%s) p(%s) where ',
        string_agg(format('p.%I::%s', a.attname, format_type(a.atttypid, -1)), ', '
            order by a.attnum),
        query,
        string_agg(format('%I', a.attname), ', ' order by a.attnum))
    from pg_attribute a
    where a.attrelid = v.relid and a.attnum > 0 and not a.attisdropped
$$;

comment on function chrononaut._related_from(chrononaut.versioning, text) is
    'The query for related rows among those that a query gives, up to its condition.';


create or replace function chrononaut._related_of_any(v chrononaut.versioning)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select chrononaut._related_from(v, chrononaut._past_query_of_few(v,
        'chrononaut._moment_of_transaction($4, $5)'))
$$;

comment on function chrononaut._related_of_any(chrononaut.versioning) is
    'The query for related rows after or before any transaction, up to its condition.';


create or replace function chrononaut._mark(v chrononaut.versioning)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select repeat('_', 1 + coalesce(max(length(substring(a.attname from '^_*'))), 0))
    from pg_attribute a
    where a.attrelid = v.relid and a.attnum > 0 and not a.attisdropped
$$;

comment on function chrononaut._mark(chrononaut.versioning) is
    'More underscores than any column begins with: put in front, names differ from all columns.';


create or replace function chrononaut._after_asked(v chrononaut.versioning, alias text)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select format(
        '(%1$s.%2$I operator(pg_catalog.>=) asked.%6$sfirst '
            'or %1$s.%2$I operator(pg_catalog.=) any (asked.%6$srunning)) '
        'and %1$s.%2$I operator(pg_catalog.<>) asked.%6$sincluded '
        'and (%1$s.%2$I operator(pg_catalog.>=) asked.%6$ssettled '
            'or not chrononaut._superseded_%4$s(%5$s, %1$s.%3$I, $4))',
        alias,
        chrononaut._meta_name(v.meta, 'transaction_id'),
        chrononaut._meta_name(v.meta, 'change_id'),
        v.id,
        chrononaut._stored_values(v, alias),
        chrononaut._mark(v))
$$;

comment on function chrononaut._after_asked(chrononaut.versioning, text) is
    'The condition that a change is later than the transaction asked for, which was recorded here.';


create or replace function chrononaut._has_plain_key(v chrononaut.versioning)
    returns boolean
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select not exists (select from chrononaut.key_period p where p.versioning_id = v.id)
        and not exists (
            select from unnest(v.key) k(name)
            join pg_attribute a on a.attrelid = v.relid and a.attname = k.name
            where chrononaut._key_operator(v.relid, k.name) <> chrononaut._equality(a.atttypid))
$$;

comment on function chrononaut._has_plain_key(chrononaut.versioning) is
    'Whether the key always was this one, and DISTINCT tells its values apart.';


create or replace function chrononaut._related_images(v chrononaut.versioning, columns name[])
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    -- Of the later changes of a row, all but the first have one before them: they need not be
    -- looked at. Where no index leads to the changes, BRIN may.
    select format(case when chrononaut._has_plain_key(v)
            then '(select distinct on (%1$s) h.* from %2$s h where %3$s order by %1$s, h.%4$I)'
            else '(select h.* from %2$s h where %3$s)' end,
        chrononaut._stored_values(v, 'h'),
        chrononaut._history_reference(v),
        concat_ws(' and ',
            (select string_agg(format('%s %s ($3)[%s]::%s', chrononaut._past_value(v, a.attnum, 'h'),
                    chrononaut._equality(a.atttypid), k.position, format_type(a.atttypid, -1)),
                    ' and ' order by k.position)
                from unnest(columns) with ordinality k(name, position)
                join pg_attribute a on a.attrelid = v.relid and a.attname = k.name),
            chrononaut._is_image(v),
            case when not (v.key[1] = any (columns) or columns && v.indexes) then
                format('h.%1$I operator(pg_catalog.>=) asked.%2$slow '
                    'and h.%1$I operator(pg_catalog.<=) 9223372036854775807',
                    chrononaut._meta_name(v.meta, 'transaction_id'), chrononaut._mark(v)) end,
            chrononaut._after_asked(v, 'h')),
        chrononaut._meta_name(v.meta, 'change_id'))
$$;

comment on function chrononaut._related_images(chrononaut.versioning, name[]) is
    'The first image of each row with values in columns that a later change left.';


create or replace function chrononaut._related_query(v chrononaut.versioning, columns name[])
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    -- EXISTS is false, rather than NOT EXISTS, so that it does not become a join.
    select chrononaut._related_from(v, chrononaut._past_rows(v, '',
        chrononaut._changed_by(v, chrononaut._after_asked(v, 'h')) || ' is false',
        chrononaut._related_images(v, columns),
        'true',
        chrononaut._after_asked(v, 'e')))
$$;

comment on function chrononaut._related_query(chrononaut.versioning, name[]) is
    'The query for rows related by some columns after a transaction, up to its condition.';


create or replace function chrononaut._related_begin(mark text)
    returns text
    language sql
    immutable
    set search_path = pg_catalog, pg_temp
as $$
    -- Its own changes are later than the moment before a transaction, and part of the one after.
    select format('#variable_conflict use_column
<<asked>>
declare
    %1$smoment record;
    %1$sfirst bigint;
    %1$srunning bigint[];
    %1$slow bigint;
    %1$sincluded bigint := -9223372036854775808;
    %1$ssettled bigint;
begin
if $4 operator(pg_catalog.>=) 0 then
    asked.%1$smoment := chrononaut._moment_of_transaction($4, $5);
    asked.%1$sfirst := asked.%1$smoment.first;
    asked.%1$srunning := asked.%1$smoment.running;
    asked.%1$ssettled := asked.%1$smoment.settled;
    if asked.%1$smoment.keyed then
        asked.%1$sincluded := $4;
    else
        asked.%1$srunning := asked.%1$srunning operator(pg_catalog.||) $4;
    end if;
    asked.%1$slow := least(asked.%1$sfirst, $4, asked.%1$srunning[1]);
end if;', mark)
$$;

comment on function chrononaut._related_begin(text) is
    'The beginning of the function that reads related rows: which changes are later.';


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
    -- What came from another tool goes by clocks, as as_of() knows them.
    with whole as materialized (
        select chrononaut._related_of_any(v) as query
    ), known as (
        select distinct c.columns, chrononaut._related_condition(v.relid, c.columns) as condition
        from chrononaut._related_columns(v) c
    )
    select concat_ws(chr(10), chrononaut._related_begin(chrononaut._mark(v)),
        (select string_agg(format('if $2 operator(pg_catalog.=) %L::pg_catalog.name[] then
    if $4 operator(pg_catalog.>=) 0 then
        return query %s%s;
    else
        return query %s%s;
    end if;
    return;
end if;', k.columns, chrononaut._related_query(v, k.columns), k.condition, w.query, k.condition),
            chr(10))
        from known k where k.condition is not null),
        chrononaut._related_end(w.query))
    from whole w
$$;

comment on function chrononaut._related_body(chrononaut.versioning) is
    'The body of the function that reads related rows.';


create or replace function chrononaut._is_related_body(v chrononaut.versioning, body text)
    returns boolean
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    -- A foreign key that came since is no fault: the end reads by it.
    select starts_with(body, chrononaut._related_begin(chrononaut._mark(v)))
        and strpos(body, chrononaut._related_query(v,
            array(select k.name from unnest(v.key) k(name) order by k.name collate "C"))) > 0
        and right(body, length(w.finish)) = w.finish
    from (
        select chrononaut._related_end(chrononaut._related_of_any(v)) as finish) w
$$;

comment on function chrononaut._is_related_body(chrononaut.versioning, text) is
    'Whether a function''s body is that of what reads related rows now.';


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
    v_mark text := chrononaut._mark(v);
begin
    -- Parameters are marked; columns that are called like $1 are, too.
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
            'returns table (%3$s) language plpgsql stable rows 10 '
            'set plan_cache_mode = force_generic_plan as %4$L',
        v_mark, v_table, v_shape, chrononaut._related_body(v));
    execute format('comment on function chrononaut._related(%s) is %L', v_types,
        format('Rows of %s with values in columns, after (before) a transaction.', v_table));
end;
$$;

comment on function chrononaut._write_related(chrononaut.versioning) is
    'Replaces the function that reads what versions were related to in a table.';
