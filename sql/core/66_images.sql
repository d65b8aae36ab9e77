-- Changes with the row before and after them: of one transaction, or of one user.
--
-- One generated function per history table returns the query that reads it, or null to
-- whom may not; the public functions put them together and run them with the caller's
-- rights. What a change left is the image that the key's next change replaced, or the live
-- row. Parameters of the query: $1 transaction, $2 user, $3 since, $4 until, $5 after
-- which change, $6 how many. Safe to replay.

do $index$
begin
    -- "if not exists" would wait for all writers, and all others behind it, to do nothing.
    if to_regclass('chrononaut.transaction_issued_at') is null then
        create index transaction_issued_at
            on chrononaut.transaction using brin (issued_at)
            with (pages_per_range = 32, autosummarize = on);
    end if;
end
$index$;


create or replace function chrononaut._readable(schema_name text, table_name text)
    returns boolean
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select has_schema_privilege(n.oid, 'usage') and has_table_privilege(c.oid, 'select')
    from pg_class c
    join pg_namespace n on n.oid = c.relnamespace
    where n.nspname = schema_name and c.relname = table_name
$$;

comment on function chrononaut._readable(text, text) is
    'Whether the caller may read all of a relation; null if there is none.';


create or replace function chrononaut._page_query(v chrononaut.versioning, condition text)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select format('select m.* from (%s) m where m.change_id > $5 order by m.change_id limit $6',
        chrononaut._merge_moves(v, format(
            'select %s, h.%I as change_id, h.%I as changed, h.%I as operation, '
                'h.%I as transaction_id, h.%I as change_info from %s h where %s',
            string_agg(format('h.%I as d%s', d.history_name, d.position), ', '
                order by d.position),
            chrononaut._meta_name(v.meta, 'change_id'),
            chrononaut._meta_name(v.meta, 'changed'),
            chrononaut._meta_name(v.meta, 'operation'),
            chrononaut._meta_name(v.meta, 'transaction_id'),
            chrononaut._meta_name(v.meta, 'change_info'),
            chrononaut._history_reference(v),
            condition)))
    from chrononaut._data_columns(v) d
$$;

comment on function chrononaut._page_query(chrononaut.versioning, text) is
    'A query: the changes of a table that meet a condition, the first $6 after number $5.';


create or replace function chrononaut._same_stored_key(v chrononaut.versioning, "left" text)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select string_agg(
        format('%s %s b.d%s', case "left"
                when 'h' then format('h.%I', d.history_name)
                else format('%s.d%s', "left", d.position) end,
            chrononaut._key_operator(v.relid, d.live_name), d.position),
        ' and ' order by d.in_key)
    from chrononaut._data_columns(v) d
    where d.in_key is not null
$$;

comment on function chrononaut._same_stored_key(chrononaut.versioning, text) is
    'The condition that a history row h, or a live row, has the key of the change b.';


create or replace function chrononaut._next_image_query(v chrononaut.versioning)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    -- An I whose key was there already says that something went unrecorded in between;
    -- that of a row which moved between partitions belongs to the change itself.
    select format(
        '(select 0 as place, h.%1$I <> ''I'' as known, h.%5$I as at, %2$s from %3$s h '
            'where %4$s and h.%5$I > b.change_id '
            'and not (b.operation = ''U'' and h.%1$I = ''I'' and h.%6$I = b.transaction_id) '
            'order by h.%5$I limit 1)',
        chrononaut._meta_name(v.meta, 'operation'),
        string_agg(format('h.%I as d%s', d.history_name, d.position), ', '
            order by d.position),
        chrononaut._history_reference(v),
        chrononaut._same_stored_key(v, 'h'),
        chrononaut._meta_name(v.meta, 'change_id'),
        chrononaut._meta_name(v.meta, 'transaction_id'))
    from chrononaut._data_columns(v) d
$$;

comment on function chrononaut._next_image_query(chrononaut.versioning) is
    'A query: what the change after b replaced, which is what b left.';


create or replace function chrononaut._live_image_query(v chrononaut.versioning)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select format('(select 1, true, null, %s from %s() l where %s)',
        string_agg(format('l.d%s', d.position), ', ' order by d.position),
        chrononaut._live_function(v),
        chrononaut._same_stored_key(v, 'l'))
    from chrononaut._data_columns(v) d
$$;

comment on function chrononaut._live_image_query(chrononaut.versioning) is
    'A query: the live row of the change b, for when no change came after it.';


create or replace function chrononaut._image_columns(v chrononaut.versioning)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select format(
        'b.change_id, b.changed, %1$L::text, b.operation::bpchar, '
            '(select to_jsonb((r.*)) from (select %2$s) r), '
            'case when b.operation <> ''I'' '
                'then (select to_jsonb((r.*)) from (select %3$s) r) end, '
            'case when n.known then (select to_jsonb((r.*)) from (select %4$s) r) end, '
            'case when b.operation <> ''U'' or n.known then array_remove(array[%5$s], null) '
                '|| chrononaut._hidden_fields(b.change_info) end, '
            'b.transaction_id, b.change_info',
        format('%I.%I', v.schema_name, v.table_name),
        string_agg(format('b.d%s as %I', d.position, d.history_name), ', ' order by d.in_key)
            filter (where d.in_key is not null),
        string_agg(format('b.d%s as %I', d.position, d.history_name), ', ' order by d.position),
        string_agg(format('n.d%s as %I', d.position, d.history_name), ', ' order by d.position),
        string_agg(chrononaut._field_test(d.history_name, d.position, d.type,
                d.in_key is not null, d.live_name is null,
                chrononaut._known_test(v, d.history_name)), ', ' order by d.position))
    from chrononaut._data_columns(v) d
$$;

comment on function chrononaut._image_columns(chrononaut.versioning) is
    'What is selected of a change b and what it left, n: its columns in changes_of.';


create or replace function chrononaut._known_test(v chrononaut.versioning, name name)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    -- What was added, or not tracked yet, is null in older images, which is no change.
    select format('(%s) and (n.at is null or %s) and ',
        string_agg(format(i.condition, 'b.change_id', 'b.change_id'), ' or '),
        string_agg(format(i.condition, 'n.at', 'n.at'), ' or '))
    from chrononaut.versioned_column m
    join chrononaut.column_period p on p.column_id = m.id
    cross join lateral (
        select case when p.until is null then '%s > ' || p.since
            else '%s > ' || p.since || ' and %s <= ' || p.until end as condition) i
    where m.versioning_id = v.id and m.history_name = name
    having max(p.since) > 0
$$;

comment on function chrononaut._known_test(chrononaut.versioning, name) is
    'A condition, with "and": the change b and the one after it recorded a column; null if all did.';


create or replace function chrononaut._field_test(
    name name,
    "position" bigint,
    type text,
    in_key boolean,
    retired boolean,
    known text)
    returns text
    language sql
    immutable
    set search_path = pg_catalog, pg_temp
as $$
    -- Images are compared, not values. What an I has is its key. A column dropped since has
    -- no value in later images, which is no change.
    select format('case when %s%srow(%s)::record operator(pg_catalog.*<>) row(%s)::record '
            'then %L::text end',
        known,
        case when retired then format('(n.known is not true or n.d%s is not null) and ', position)
            else '' end,
        case when in_key
            then format('case when b.operation <> ''I'' then b.d%s end', position)
            else 'b.d' || position end,
        format('case when n.known then n.d%s end', position),
        name)
$$;

comment on function chrononaut._field_test(name, bigint, text, boolean, boolean, text) is
    'An expression: the name of a column if the change changed it, else null.';


create or replace function chrononaut._hidden_fields(change_info jsonb)
    returns text[]
    language sql
    immutable
    set search_path = pg_catalog, pg_temp
as $$
    select case jsonb_typeof(change_info -> 'hidden_cols_changed') when 'array' then array(
        select h.name
        from jsonb_array_elements_text(change_info -> 'hidden_cols_changed')
            with ordinality h(name, place)
        order by h.place)
        else '{}' end
$$;

comment on function chrononaut._hidden_fields(jsonb) is
    'The hidden columns that a change changed.';


create or replace function chrononaut._images_body(v chrononaut.versioning)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select format(
        'select case when chrononaut._readable(%1$L, %2$L) '
            'and (to_regproc(%3$L) is null or chrononaut._readable(%4$L, %5$L) is not false) '
            'then %6$L || case when by_user then %7$L else %8$L end || %9$L '
            '|| case when to_regproc(%3$L) is not null and chrononaut._readable(%4$L, %5$L) '
                'then %10$L else '''' end || %11$L end',
        v.history_schema, v.history_name,
        chrononaut._live_function(v), v.schema_name, v.table_name,
        '(with page as (',
        chrononaut._page_query(v, format(
            'h.%I >= $3 and h.%1$I < $4 and h.%I ->> ''user_id'' is not distinct from $2',
            chrononaut._meta_name(v.meta, 'changed'),
            chrononaut._meta_name(v.meta, 'change_info'))),
        chrononaut._page_query(v, format('h.%I = $1',
            chrononaut._meta_name(v.meta, 'transaction_id'))),
        format(') select %s from page b left join lateral (select i.* from (%s',
            chrononaut._image_columns(v), chrononaut._next_image_query(v)),
        ' union all ' || chrononaut._live_image_query(v),
        ') i order by i.place limit 1) n on b.operation in (''I'', ''U''))')
$$;

comment on function chrononaut._images_body(chrononaut.versioning) is
    'The body of the function that returns the query of a table''s changes with images.';


create or replace function chrononaut._write_images_function(v chrononaut.versioning)
    returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v_function text := format('chrononaut._images_%s', v.id);
begin
    execute format(
        'create or replace function %s(by_user boolean) returns text language sql stable '
            'set search_path = pg_catalog, pg_temp as %L',
        v_function, chrononaut._images_body(v));
    execute format('comment on function %s(boolean) is %L', v_function,
        format('The query of %I.%I''s changes with images; null to whom may not read them.',
            v.schema_name, v.table_name));
end;
$$;

comment on function chrononaut._write_images_function(chrononaut.versioning) is
    'Replaces the function through which changes_of reads one history table.';


create or replace function chrononaut._images_query(by_user boolean)
    returns text
    language plpgsql
    stable
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v_calls text;
    v_query text;
begin
    select string_agg(format('chrononaut.%I(%L)', p.proname, by_user), ', '
        order by length(p.proname), p.proname)
    into v_calls
    from pg_proc p
    where p.pronamespace = 'chrononaut'::regnamespace and p.proname ~ '^_images_[0-9]+$';
    execute format('select array_to_string(array[%s]::text[], '' union all '')', v_calls)
    into v_query;
    return nullif(v_query, '');
end;
$$;

comment on function chrononaut._images_query(boolean) is
    'The query of all changes with images that the caller may read; null if none.';


create or replace function chrononaut._images(
    transaction_id bigint,
    user_id text,
    since timestamptz,
    until timestamptz,
    after_id bigint,
    up_to integer)
    returns table (
        change_id bigint, changed timestamptz, relation text, operation bpchar, key jsonb,
        before jsonb, after jsonb, fields text[], in_transaction bigint, change_info jsonb)
    language plpgsql
    stable
    set search_path = pg_catalog, pg_temp
    -- Values in JSON look the same to every reader.
    set datestyle = 'ISO, YMD'
    set intervalstyle = 'postgres'
    set bytea_output = 'hex'
    set extra_float_digits = 1
as $$
#variable_conflict use_variable
declare
    v_query text := chrononaut._images_query(transaction_id is null);
begin
    if v_query is not null then
        return query execute v_query || ' order by 1 limit $6'
        using transaction_id, user_id, coalesce(since, '-infinity'),
            coalesce(until, 'infinity'), coalesce(after_id, -9223372036854775808), up_to;
    end if;
end;
$$;

comment on function chrononaut._images(
    bigint, text, timestamptz, timestamptz, bigint, integer) is
    'Changes with images: those of a transaction if one is given, else those of a user.';


create or replace function chrononaut.changes_of(
    transaction_id bigint,
    after_id bigint default null,
    up_to integer default null)
    returns table (
        change_id bigint, changed timestamptz, relation text, operation bpchar, key jsonb,
        before jsonb, after jsonb, fields text[], change_info jsonb)
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select i.change_id, i.changed, i.relation, i.operation, i.key, i.before, i.after,
        i.fields, i.change_info
    from chrononaut._images(transaction_id, null, null, null, after_id, up_to) i
    where transaction_id is not null
    order by i.change_id
$$;

comment on function chrononaut.changes_of(bigint, bigint, integer) is
    'What a transaction changed, in order, with the row before and after each change.';


create or replace function chrononaut.changes_by(
    user_id text,
    since timestamptz,
    until timestamptz default null,
    after_id bigint default null,
    up_to integer default null)
    returns table (
        change_id bigint, changed timestamptz, relation text, operation bpchar, key jsonb,
        before jsonb, after jsonb, fields text[], transaction_id bigint, change_info jsonb)
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select i.change_id, i.changed, i.relation, i.operation, i.key, i.before, i.after,
        i.fields, i.in_transaction, i.change_info
    from chrononaut._images(null, user_id, since, until, after_id, up_to) i
    order by i.change_id
$$;

comment on function chrononaut.changes_by(text, timestamptz, timestamptz, bigint, integer) is
    'What a user changed from a time on and before another, as changes_of shows it.';
