-- Formats: how each tool's rows are read, as pieces of queries.
--
-- In them e is the source row, p the row before it of the same object, t its transaction,
-- c the row of chrononaut.conversion. An activity or a Continuum version is the state after
-- a change, so that the image which the change ended is in p. Safe to replay.

create or replace function chrononaut._lookup(
    s chrononaut.conversion_source,
    data text,
    column_name name)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select case when count(*) > 1
        then format('coalesce(%s)', string_agg(format('%s -> %L', data, n.name), ', ' order by n.rank))
        else max(format('%s -> %L', data, n.name)) end
    from (
        select 1 as rank, m.key as name from jsonb_each_text(s.names) m where m.value = column_name
        union all
        select 2, column_name::text
        where not exists (select from jsonb_each_text(s.names) m where m.key = column_name)
    ) n
$$;

comment on function chrononaut._lookup(chrononaut.conversion_source, text, name) is
    'Reads a column''s value from JSON, under any name that the source may have for it.';


create or replace function chrononaut._source_name(
    s chrononaut.conversion_source,
    column_name name)
    returns name
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select c.name
    from chrononaut._source_columns(s) c
    where coalesce(s.names ->> c.name, c.name) = column_name
    order by c.name = column_name
    limit 1
$$;

comment on function chrononaut._source_name(chrononaut.conversion_source, name) is
    'The column of a source table that holds a column; null if it has none.';


create or replace function chrononaut._key_array(
    s chrononaut.conversion_source,
    v chrononaut.versioning,
    data text)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select format('jsonb_build_array(%s)', string_agg(
        case s.format
            when 'activity' then format('coalesce(%s, %s)',
                chrononaut._lookup(s, data || '.key', k.name),
                chrononaut._lookup(s, data || '.data', k.name))
            when 'audit' then chrononaut._lookup(s, data, k.name)
            else format('to_jsonb(%s.%I)', data, chrononaut._source_name(s, k.name)) end,
        ', ' order by k.position))
    from unnest(v.key) with ordinality k(name, position)
$$;

comment on function chrononaut._key_array(
    chrononaut.conversion_source, chrononaut.versioning, text) is
    'The key of a source row as a JSON array.';


create or replace function chrononaut._present_keys(v chrononaut.versioning)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select format(
        'select jsonb_build_array(%1$s) as source_key from %2$s l '
        'union select jsonb_build_array(%3$s) from %4$s l where l.%5$I > 0',
        (select string_agg(format('l.%I', k.name), ', ' order by k.position)
            from unnest(v.key) with ordinality k(name, position)),
        format('%s %I.%I',
            (select case c.relkind when 'p' then '' else 'only' end
                from pg_class c where c.oid = v.relid), v.schema_name, v.table_name),
        (select string_agg(format('l.%I', d.history_name), ', ' order by d.in_key)
            from chrononaut._data_columns(v) d where d.in_key is not null),
        chrononaut._history_reference(v),
        chrononaut._meta_name(v.meta, 'change_id'))
$$;

comment on function chrononaut._present_keys(chrononaut.versioning) is
    'A query: keys of rows that are there, or of which the triggers have recorded changes.';


create or replace function chrononaut._utc(relation text, column_name text, value text)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select value || case when a.atttypid = 'timestamp'::regtype then ' at time zone ''UTC''' else '' end
    from pg_attribute a
    where a.attrelid = relation::regclass and a.attname = column_name
$$;

comment on function chrononaut._utc(text, text, text) is
    'A time of the source as timestamptz: without a zone it is UTC.';


create or replace function chrononaut._events(
    s chrononaut.conversion_source,
    v chrononaut.versioning)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select case s.format
        when 'activity' then chrononaut._activity_events(s, v)
        when 'history' then chrononaut._history_events(s, v)
        when 'continuum' then chrononaut._continuum_events(s, v)
        else chrononaut._audit_events(s, v) end
$$;

comment on function chrononaut._events(chrononaut.conversion_source, chrononaut.versioning) is
    'A query: all rows of a source as changes of objects, in order by at, rank, source_no.';


create or replace function chrononaut._activity_events(
    s chrononaut.conversion_source,
    v chrononaut.versioning)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    -- A deletion repeats the state before it; so does a change of hidden columns, but that is
    -- followed by a state, or the row is there.
    select format(
        'select x.*, x.same and coalesce(x.next_creates, not x.present) as deletes from ('
            'select e.source_no, e.source_key, e.changed, e.changed as at, e.rank, '
            'e.source_no as transaction_no, lag(e.source_no) over k as previous_no, '
            'e.rank = 0 as creates, e.data = lag(e.data) over k as same, '
            'lead(e.rank) over k = 0 as next_creates, p.source_key is not null as present, '
            'null::text as operation from ('
                'select e.id as source_no, %1$s as source_key, e.changed, e.version as rank, '
                'e.data - ''version'' as data from %2$s e where e.table_name = %3$L) e '
            'left join (%4$s) p using (source_key) '
            'window k as (partition by e.source_key order by e.changed, e.rank, e.source_no)) x',
        chrononaut._key_array(s, v, 'e'), s.relation, s.part,
        chrononaut._present_keys(v))
$$;

comment on function chrononaut._activity_events(
    chrononaut.conversion_source, chrononaut.versioning) is
    'The events of Chrononaut 0.3 and later.';


create or replace function chrononaut._history_events(
    s chrononaut.conversion_source,
    v chrononaut.versioning)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    -- at never goes back within an object, so that its versions keep their order.
    select format(
        'select e.source_no, e.source_key, e.changed, '
            'max(e.changed) over (partition by e.source_key order by e.source_no) as at, '
            'e.source_no as rank, null::bigint as transaction_no, null::bigint as previous_no, '
            'false as creates, false as deletes, '
            'case when p.source_key is null and lead(e.source_no) over '
                '(partition by e.source_key order by e.source_no) is null '
                'then ''D'' else ''U'' end as operation from ('
            'select e.version::bigint as source_no, %1$s as source_key, '
            'coalesce(%3$s, to_timestamp(0)) as changed from %2$s e) e '
        'left join (%4$s) p using (source_key)',
        chrononaut._key_array(s, v, 'e'), s.relation,
        chrononaut._utc(s.relation, 'changed', 'e.changed'), chrononaut._present_keys(v))
$$;

comment on function chrononaut._history_events(
    chrononaut.conversion_source, chrononaut.versioning) is
    'The events of Chrononaut 0.1 and 0.2.';


create or replace function chrononaut._continuum_events(
    s chrononaut.conversion_source,
    v chrononaut.versioning)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select format(
        'select e.%5$I as source_no, %1$s as source_key, '
            'coalesce(%4$s, to_timestamp(0)) as changed, null::timestamptz as at, '
            'e.%5$I as rank, e.%5$I as transaction_no, '
            'lag(e.%5$I) over (partition by %1$s order by e.%5$I) as previous_no, '
            'e.%6$I = 0 as creates, e.%6$I = 2 as deletes, null::text as operation '
        'from %2$s e left join %3$s t on t.id = e.%5$I',
        chrononaut._key_array(s, v, 'e'), s.relation, s.transactions,
        chrononaut._utc(s.transactions, 'issued_at', 't.issued_at'),
        chrononaut._tool_column(s.names, 'transaction_id'),
        chrononaut._tool_column(s.names, 'operation_type'))
$$;

comment on function chrononaut._continuum_events(
    chrononaut.conversion_source, chrononaut.versioning) is
    'The events of SQLAlchemy-Continuum.';


create or replace function chrononaut._audit_events(
    s chrononaut.conversion_source,
    v chrononaut.versioning)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select format(
        'select e.*, null::timestamptz as at, e.source_no as rank, null::bigint as previous_no, '
            'false as creates, false as deletes, case when e.verb = ''insert'' then ''I'' '
                'when e.verb = ''delete'' then ''D'' when e.source_key <> e.new_key then ''K'' '
                'else ''U'' end as operation from ('
            'select e.id as source_no, '
            'case e.verb when ''insert'' then %2$s else %1$s end as source_key, '
            '%2$s as new_key, e.verb, coalesce(%3$s, to_timestamp(0)) as changed, '
            'e.native_transaction_id::text::bigint as transaction_no from %4$s e '
            'where e.table_name = %5$L and coalesce(e.schema_name, %6$L) = %6$L '
                'and e.verb in (''insert'', ''update'', ''delete'')) e',
        chrononaut._key_array(s, v, 'e.old_data'),
        chrononaut._key_array(s, v, '(e.old_data || e.changed_data)'),
        chrononaut._utc(s.relation, 'issued_at', 'e.issued_at'),
        s.relation, s.part, v.schema_name)
$$;

comment on function chrononaut._audit_events(
    chrononaut.conversion_source, chrononaut.versioning) is
    'The events of PostgreSQL-Audit.';


create or replace function chrononaut._row_condition(
    s chrononaut.conversion_source,
    v chrononaut.versioning,
    alias text,
    number text)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select case when s.format in ('activity', 'audit') then format('%s.id = c.%s', alias, number)
        else string_agg(
                format('%s.%s = %s', alias, quote_ident(n.name), chrononaut._value_expression(n.type,
                    format('(c.source_key -> %s)', k.position - 1))),
                ' and ' order by k.position)
            || format(' and %s.%I = c.%s', alias, case s.format when 'history' then 'version'
                else chrononaut._tool_column(s.names, 'transaction_id') end, number)
        end
    from unnest(v.key) with ordinality k(name, position)
    left join chrononaut._source_columns(s) n on n.name = chrononaut._source_name(s, k.name)
$$;

comment on function chrononaut._row_condition(
    chrononaut.conversion_source, chrononaut.versioning, text, text) is
    'A condition: alias is the source row of a planned row c that its column number tells.';


create or replace function chrononaut._source_rows(
    s chrononaut.conversion_source,
    v chrononaut.versioning)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select format('chrononaut.conversion c join %s e on %s',
            s.relation, chrononaut._row_condition(s, v, 'e', 'source_no'))
        || case s.format
            when 'activity' then format(' left join %s p on %s',
                s.relation, chrononaut._row_condition(s, v, 'p', 'previous_no'))
            when 'continuum' then format(' left join %s p on %s left join %s t on t.id = e.%I',
                s.relation, chrononaut._row_condition(s, v, 'p', 'previous_no'),
                s.transactions, chrononaut._tool_column(s.names, 'transaction_id'))
            when 'audit' then format(' left join %s t on t.id = e.transaction_id', s.transactions)
            else '' end
$$;

comment on function chrononaut._source_rows(chrononaut.conversion_source, chrononaut.versioning) is
    'A FROM list: planned rows c with their source rows.';


create or replace function chrononaut._source_info(s chrononaut.conversion_source)
    returns text
    language sql
    immutable
    set search_path = pg_catalog, pg_temp
as $$
    select case s.format
        when 'activity' then 'chrononaut._info(null, null, '
            'chrononaut._as_object(e.extra_info) - ''hidden_cols_changed'', '
            'e.extra_info -> ''hidden_cols_changed'') || chrononaut._as_object(e.user_info)'
        when 'history' then 'chrononaut._info(null, null, null) || chrononaut._as_object(e.change_info)'
        else format('chrononaut._info(to_jsonb(t) ->> %L, to_jsonb(t) ->> %L, '
                'jsonb_strip_nulls(to_jsonb(t) - %L::text[]))',
            case s.format when 'audit' then 'actor_id' else 'user_id' end,
            case s.format when 'audit' then 'client_addr' else 'remote_addr' end,
            '{id,issued_at,user_id,actor_id,remote_addr,client_addr,native_transaction_id}')
        end
$$;

comment on function chrononaut._source_info(chrononaut.conversion_source) is
    'The expression for change info, from a source row or its transaction.';


create or replace function chrononaut._unknown_values(s chrononaut.conversion_source)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select format('jsonb_strip_nulls((%s) - %L::text[])',
        case s.format when 'activity' then 'e.data'
            when 'audit' then 'e.old_data || e.changed_data' else 'to_jsonb(e)' end,
        chrononaut._known_names(s))
$$;

comment on function chrononaut._unknown_values(chrononaut.conversion_source) is
    'The expression for values of a source row that history has no column for.';
