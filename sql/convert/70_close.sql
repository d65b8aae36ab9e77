-- Closing: last states that the row no longer has, though no source row says why.
--
-- Sources of states after changes hold the present state last. Where the row is another one
-- now, or gone, that state would be lost: a change of nobody ends it. Safe to replay.

create or replace function chrononaut._normal(value jsonb, type text)
    returns jsonb
    language plpgsql
    stable
    cost 1000
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v_normal jsonb;
begin
    execute format('select to_jsonb(%s)', chrononaut._value_expression(type, '$1'))
    into v_normal
    using value;
    return v_normal;
exception when data_exception then
    return null;
end;
$$;

comment on function chrononaut._normal(jsonb, text) is
    'A value as JSON has it when it comes from a column of the type; null if it fits none.';


create or replace function chrononaut._first_states(v chrononaut.versioning)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select format(
        'select k.source_key, coalesce(h.image, l.image) as image, coalesce(h.began, false) as began '
        'from (select jsonb_build_array(%1$s) as source_key, to_jsonb(l) as image from %2$s l) l '
        'full join (select jsonb_build_array(%3$s) as source_key, '
                '(array_agg(to_jsonb(l) order by l.%5$I) filter (where l.%6$I <> ''I''))[1] as image, '
                '(array_agg(l.%6$I = ''I'' order by l.%5$I))[1] as began '
            'from %4$s l where l.%5$I > 0 group by 1) h using (source_key) '
        'cross join lateral (select coalesce(l.source_key, h.source_key) as source_key) k',
        (select string_agg(format('l.%I', k.name), ', ' order by k.position)
            from unnest(v.key) with ordinality k(name, position)),
        format('%s %I.%I',
            (select case c.relkind when 'p' then '' else 'only' end
                from pg_class c where c.oid = v.relid), v.schema_name, v.table_name),
        (select string_agg(format('l.%I', d.history_name), ', ' order by d.in_key)
            from chrononaut._data_columns(v) d where d.in_key is not null),
        chrononaut._history_reference(v),
        chrononaut._meta_name(v.meta, 'change_id'), chrononaut._meta_name(v.meta, 'operation'))
$$;

comment on function chrononaut._first_states(chrononaut.versioning) is
    'A query: the state of each row when recording began, and whether an insert came first.';


create or replace function chrononaut._open_states(
    s chrononaut.conversion_source,
    v chrononaut.versioning)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    -- Values are compared as types know them, and only those that the source row has.
    select format(
        'select c.source_key, c.source_no, f.image is null or f.began as is_gone, '
            'greatest(c.changed, case when $2 > c.changed then $2 else clock_timestamp() end) as changed, '
            'd.names from (select distinct on (c.source_key) c.* from chrononaut.conversion c '
                'where c.source_id = $1 order by c.source_key, c.change_id desc) o '
        'join %1$s on c.source_id = $1 and c.source_key = o.source_key and c.source_no = o.source_no '
        'left join (%2$s) f on f.source_key = c.source_key '
        'left join lateral (select string_agg(x.name, '', '') as names '
            'from (values %3$s) x(name, type, value) '
            'where x.value is not null and f.image is not null '
                'and x.value is distinct from f.image -> x.name '
                'and coalesce(chrononaut._normal(x.value, x.type), ''null'') '
                    'is distinct from f.image -> x.name '
                'and (x.value = ''null'' or chrononaut._normal(x.value, x.type) is not null)) d on true '
        'where o.operation in (''I'', ''U'', ''X'') and o.change_id < 0 and o.closed_as is null '
            'and (f.image is null or d.names is not null) and not exists ('
                'select from chrononaut.conversion_problem q where q.source_id = $1 '
                'and q.source_key = c.source_key and q.source_no = c.source_no and not q.converted)',
        chrononaut._source_rows(s, v),
        chrononaut._first_states(v),
        (select string_agg(format('(%L, %L, %s)', n.history_name, n.type,
                case when n.fits then format('to_jsonb(%s)', n.value) else n.value end), ', ')
            from chrononaut._conversion_columns(s, v, 'e') n))
$$;

comment on function chrononaut._open_states(
    chrononaut.conversion_source, chrononaut.versioning) is
    'A query: last states of objects that are not the state that recording found.';


create or replace function chrononaut._close_statement(
    s chrononaut.conversion_source,
    v chrononaut.versioning)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select format(
        'with open as materialized (select o.*, nextval(''chrononaut.conversion_id''::regclass) as id, '
                'chrononaut._info(null, null, ''{"converted": "by whom is not known"}'') as info '
            'from (%1$s) o), '
        'mark as (update chrononaut.conversion c set closed_as = o.id from open o '
            'where c.source_id = $1 and c.source_key = o.source_key and c.source_no = o.source_no), '
        'note as (insert into chrononaut.conversion_problem '
            '(source_id, source_key, source_no, reason, converted) '
            'select $1, o.source_key, o.source_no, case when o.is_gone '
                'then ''the row is gone, and nothing says when'' '
                'else ''the row has changed since, and nothing says when: '' || o.names end, true '
            'from open o), '
        'opened as (insert into chrononaut.transaction (id, xid, snapshot, began_at, issued_at, '
                'change_info, db_user, application_name) '
            'select o.id, ''0''::xid8, ''1:1:''::pg_snapshot, o.changed, o.changed, o.info, '
                'chrononaut._caller(), %2$L from open o) '
        'insert into %3$s (%4$s, %5$s) '
        'select %6$s, o.id, o.changed, o.id, case when o.is_gone then ''D'' else ''U'' end, o.info '
        'from open o join %7$s on c.source_id = $1 and c.source_key = o.source_key '
            'and c.source_no = o.source_no',
        chrononaut._open_states(s, v), 'converted from ' || s.relation,
        chrononaut._history_reference(v),
        string_agg(quote_ident(n.history_name), ', ' order by n.history_name),
        (select string_agg(quote_ident(chrononaut._meta_name(v.meta, m.name)), ', ' order by m.rank)
            from unnest('{change_id,changed,transaction_id,operation,change_info}'::text[])
                with ordinality m(name, rank)),
        string_agg(case when n.fits then n.value else chrononaut._value_expression(n.type,
            format('chrononaut._castable(%s, %L)', n.value, n.type)) end, ', ' order by n.history_name),
        chrononaut._source_rows(s, v))
    from chrononaut._conversion_columns(s, v, 'e') n
$$;

comment on function chrononaut._close_statement(
    chrononaut.conversion_source, chrononaut.versioning) is
    'The statement that ends open states and reports them.';


create or replace function chrononaut._close_open(
    s chrononaut.conversion_source,
    v chrononaut.versioning)
    returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
    set work_mem = '64MB'
as $$
begin
    if s.format in ('activity', 'continuum') then
        execute chrononaut._close_statement(s, v) using s.id, v.created_at;
    end if;
end;
$$;

comment on function chrononaut._close_open(
    chrononaut.conversion_source, chrononaut.versioning) is
    'Ends last states that rows no longer have, where the source knows states.';
