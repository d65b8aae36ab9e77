-- Planning: every source row gets its place among the changes, once.
--
-- Later steps may stop anywhere and go on from there. Safe to replay.

drop function if exists chrononaut._plan_statement(
    chrononaut.conversion_source, chrononaut.versioning);

create or replace function chrononaut._planned_rows(
    s chrononaut.conversion_source,
    v chrononaut.versioning)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select format(
        'select %2$s as source_id, f.source_key, f.source_no, f.previous_no, f.changed, '
            'f.at, f.rank, f.transaction_no, case '
                'when f.source_key @> ''[null]'' then ''N'' '
                'when f.operation is not null then f.operation '
                'when f.previous_no is null or f.after_end '
                    'then case when f.deletes then ''D'' else ''I'' end '
                'when f.creates then ''X'' when f.deletes then ''D'' else ''U'' end as operation '
            'from (select x.*, lag(x.deletes) over (partition by x.source_key '
                'order by x.at, x.rank, x.source_no) as after_end from (%1$s) x) f '
            'where ($1 is null or f.changed >= $1) and not exists ('
                'select from chrononaut.conversion c where c.source_id = %2$s '
                'and c.source_key = f.source_key and c.source_no = f.source_no)',
        chrononaut._events(s, v), s.id)
$$;

comment on function chrononaut._planned_rows(
    chrononaut.conversion_source, chrononaut.versioning) is
    'A query: what is new in a source since $1.';


create or replace function chrononaut._plan_statement(
    s chrononaut.conversion_source,
    together chrononaut.conversion_source[])
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select format(
        'insert into chrononaut.conversion (source_id, source_key, source_no, previous_no, '
            'operation, changed, change_id, transaction_id) '
        'select n.source_id, n.source_key, n.source_no, n.previous_no, n.operation, n.changed, '
            'n.change_id, %2$s from ('
            'select o.*, nextval(''chrononaut.conversion_id''::regclass) as change_id from ('
                'select f.* from (%1$s) f order by f.at, f.rank, f.source_no) o) n',
        string_agg(chrononaut._planned_rows(row(t.*)::chrononaut.conversion_source, v), ' union all '),
        case when s.format <> 'history' then format('%s + n.transaction_no', s.transaction_base)
            else format('coalesce((select min(r.transaction_id) from chrononaut.conversion r '
                'where r.source_id = any (%L) and r.source_key = n.source_key '
                'and r.source_no = n.source_no), n.change_id)', chrononaut._relatives(s)) end)
    from unnest(together) t
    join chrononaut.versioning v on v.id = t.versioning_id
$$;

comment on function chrononaut._plan_statement(
    chrononaut.conversion_source, chrononaut.conversion_source[]) is
    'The statement that plans what is new since $1 in a source and those that go with it.';


create or replace function chrononaut._together(s chrononaut.conversion_source)
    returns chrononaut.conversion_source[]
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
begin
    -- An activity of PostgreSQL-Audit is of one table. Only in the order of all of them do the
    -- tables of a joined object tell its versions, even if some are converted later.
    if s.format <> 'audit' then
        return array[s];
    end if;
    insert into chrononaut.conversion_source (
        versioning_id, format, relation, relid, part, transactions, transaction_base)
    select v.id, s.format, s.relation, s.relid, v.table_name, s.transactions, s.transaction_base
    from chrononaut.versioning v
    where v.id in (select f.id from chrononaut._family(s.versioning_id) f)
        and not exists (
            select from chrononaut.conversion_source o
            where o.versioning_id = v.id and o.relation = s.relation);
    return (
        select array_agg(o)
        from chrononaut.conversion_source o
        where o.relation = s.relation
            and o.versioning_id in (select f.id from chrononaut._family(s.versioning_id) f));
end;
$$;

comment on function chrononaut._together(chrononaut.conversion_source) is
    'The sources that are planned in one order with a source, itself among them.';


create or replace function chrononaut._relatives(s chrononaut.conversion_source)
    returns integer[]
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select coalesce(array_agg(o.id), '{}')
    from chrononaut.conversion_source o
    where o.format = s.format and o.id <> s.id
        and o.versioning_id in (select f.id from chrononaut._family(s.versioning_id) f)
$$;

comment on function chrononaut._relatives(chrononaut.conversion_source) is
    'Sources of the other tables of a joined-table inheritance.';


create or replace function chrononaut._plan(s chrononaut.conversion_source, since timestamptz)
    returns bigint
    language plpgsql
    set search_path = pg_catalog, pg_temp
    set work_mem = '64MB'
as $$
#variable_conflict use_variable
declare
    v_together chrononaut.conversion_source[] := chrononaut._together(s);
    v_source chrononaut.conversion_source;
    v_count bigint;
begin
    execute chrononaut._plan_statement(s, v_together) using since;
    get diagnostics v_count = row_count;
    if v_count > 10000 then
        analyze chrononaut.conversion;
    end if;
    if v_count > 0 then
        foreach v_source in array v_together loop
            perform chrononaut._settle_plan(v_source);
        end loop;
    end if;
    return v_count;
end;
$$;

comment on function chrononaut._plan(chrononaut.conversion_source, timestamptz) is
    'Plans what is new in a source; returns the number of its rows.';


create or replace function chrononaut._settle_plan(s chrononaut.conversion_source)
    returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v chrononaut.versioning;
begin
    select r.* into strict v from chrononaut.versioning r where r.id = s.versioning_id;
    execute format(
        'insert into chrononaut.conversion_problem '
            '(source_id, source_key, source_no, reason, lost, converted) '
        'select c.source_id, c.source_key, c.source_no, ''the key is missing'', to_jsonb(e), false '
        'from %s where c.source_id = $1 and c.operation = ''N'' and c.change_id > $2 '
            'and not exists (select from chrononaut.conversion_problem q '
                'where q.source_id = c.source_id and q.source_key = c.source_key '
                'and q.source_no = c.source_no)',
        chrononaut._source_rows(s, v))
    using s.id, s.converted_to;
    perform chrononaut._link_recorded(s, v);
end;
$$;

comment on function chrononaut._settle_plan(chrononaut.conversion_source) is
    'Reports planned rows without a key, and ties others to what the triggers have recorded.';


create or replace function chrononaut._link_recorded(
    s chrononaut.conversion_source,
    v chrononaut.versioning)
    returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
begin
    -- While both tools were at work, the triggers saw the change that the source tells of.
    if not exists (
        select from chrononaut.conversion c
        where c.source_id = s.id and c.change_id > s.converted_to and c.change_id < 0
            and c.changed >= v.created_at) then
        return;
    end if;
    execute format(
        'with pair as (select c.source_key, c.source_no, h.%2$I as change_id, '
                'row_number() over (partition by c.source_key, c.source_no order by g.gap) as nearest, '
                'row_number() over (partition by c.source_key, h.%2$I order by g.gap) as only '
            'from chrononaut.conversion c '
            'join %1$s h on jsonb_build_array(%4$s) = c.source_key and h.%2$I > 0 '
                'and h.%3$I between c.changed - interval ''10 s'' and c.changed + interval ''10 s'' '
                'and (h.%5$I = ''I'') = (c.operation = ''I'') '
            'cross join lateral (select abs(extract(epoch from h.%3$I - c.changed)) as gap) g '
            'where c.source_id = $1 and c.change_id > $2 and c.change_id < 0 '
                'and c.changed >= $3 and not exists ('
                    'select from chrononaut.conversion o where o.source_id = $1 '
                    'and o.source_key = c.source_key and o.change_id = h.%2$I)) '
        'update chrononaut.conversion c set change_id = p.change_id, operation = ''L'' '
        'from pair p where p.nearest = 1 and p.only = 1 and c.source_id = $1 '
            'and c.source_key = p.source_key and c.source_no = p.source_no',
        chrononaut._history_reference(v),
        chrononaut._meta_name(v.meta, 'change_id'), chrononaut._meta_name(v.meta, 'changed'),
        (select string_agg(format('h.%I', d.history_name), ', ' order by d.in_key)
            from chrononaut._data_columns(v) d where d.in_key is not null),
        chrononaut._meta_name(v.meta, 'operation'))
    using s.id, s.converted_to, v.created_at;
    perform chrononaut._amend_linked(s, v);
end;
$$;

comment on function chrononaut._link_recorded(
    chrononaut.conversion_source, chrononaut.versioning) is
    'Ties source rows to the changes that the triggers have recorded of them, within 10 seconds.';


create or replace function chrononaut._amend_linked(
    s chrononaut.conversion_source,
    v chrononaut.versioning)
    returns void
    language plpgsql
    security definer
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
begin
    perform set_config('chrononaut.amending', 'on', true);
    execute format(
        'update %1$s h set %2$I = h.%2$I || l.info '
        'from (select c.source_key, c.change_id, %3$s as info from %4$s '
            'where c.source_id = $1 and c.operation = ''L'') l '
        'where h.%5$I = l.change_id and jsonb_build_array(%6$s) = l.source_key '
            'and h.%2$I -> ''user_id'' = ''null'' and not h.%2$I ? ''extra'' '
            'and h.%2$I is distinct from h.%2$I || l.info',
        chrononaut._history_reference(v), chrononaut._meta_name(v.meta, 'change_info'),
        chrononaut._source_info(s), chrononaut._source_rows(s, v),
        chrononaut._meta_name(v.meta, 'change_id'),
        (select string_agg(format('h.%I', d.history_name), ', ' order by d.in_key)
            from chrononaut._data_columns(v) d where d.in_key is not null))
    using s.id;
    perform set_config('chrononaut.amending', '', true);
end;
$$;

comment on function chrononaut._amend_linked(
    chrononaut.conversion_source, chrononaut.versioning) is
    'Adds who and why, as the source tells it, to changes that were recorded without.';

do $rights$
begin
    revoke all on function
        chrononaut._amend_linked(chrononaut.conversion_source, chrononaut.versioning) from public;
    execute format('alter function chrononaut._amend_linked('
        'chrononaut.conversion_source, chrononaut.versioning) owner to %I', chrononaut._owner());
end
$rights$;
