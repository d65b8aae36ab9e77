-- Converting: planned rows become history, some at a time.
--
-- A chunk is one statement per kind of row. Only near a value that does not fit are values
-- tried one by one. Safe to replay.

create or replace function chrononaut._conversion_columns(
    s chrononaut.conversion_source,
    v chrononaut.versioning,
    image text default 'p')
    returns table (
        history_name name,
        type text,
        in_key integer,
        value text,
        began text,
        fits boolean)
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select d.history_name, d.type, d.in_key,
        case
            when d.in_key is not null then format('(c.source_key -> %s)', d.in_key - 1)
            when s.format = 'activity' then format('(%s)', chrononaut._lookup(s, image || '.data', d.history_name))
            when s.format = 'audit' then format('(%s)', chrononaut._lookup(s, 'e.old_data', d.history_name))
            when n.name is null then 'null::jsonb'
            else format(case when n.type = d.type then '%s' else 'to_jsonb(%s)' end,
                case when s.format = 'continuum' and image = 'p' then format(
                    'case when c.previous_no is null then e.%1$I else p.%1$I end', n.name)
                else format('e.%I', n.name) end) end,
        case
            when d.in_key is null then null
            when s.format = 'audit' then format('(%s)',
                chrononaut._lookup(s, '(e.old_data || e.changed_data)', d.history_name))
            else format('(c.source_key -> %s)', d.in_key - 1) end,
        d.in_key is null and n.name is not null and n.type = d.type
    from chrononaut._data_columns(v) d
    left join chrononaut._source_columns(s) n
        on s.format in ('history', 'continuum')
        and n.name = chrononaut._source_name(s, d.history_name)
$$;

comment on function chrononaut._conversion_columns(
    chrononaut.conversion_source, chrononaut.versioning, text) is
    'For each history column the expressions for its value in the image that was ended, as '
    'jsonb unless it fits as it is, and in the key of what began.';


create or replace function chrononaut._insert_converted(
    s chrononaut.conversion_source,
    v chrononaut.versioning,
    begins boolean,
    careful boolean)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select format(
        'insert into %1$s (%2$s, %3$s) select %4$s, c.change_id + %5$s, c.changed, '
            'c.transaction_id, %6$s, %7$s from %8$s '
        'where c.source_id = $1 and c.change_id > $2 and c.change_id <= $3 and c.operation in (%9$s)%10$s',
        chrononaut._history_reference(v),
        string_agg(quote_ident(x.history_name), ', ' order by x.history_name),
        (select string_agg(quote_ident(chrononaut._meta_name(v.meta, m.name)), ', ' order by m.rank)
            from unnest('{change_id,changed,transaction_id,operation,change_info}'::text[])
                with ordinality m(name, rank)),
        string_agg(
            case when x.fits then x.value
                else chrononaut._value_expression(x.type, case when careful
                    then format('chrononaut._castable(%s, %L)', x.value, x.type)
                    else x.value end) end,
            ', ' order by x.history_name),
        case when begins then 1 else 0 end,
        case when begins then '''I''' else
            'case when c.operation in (''X'', ''K'') then ''D'' else c.operation end' end,
        chrononaut._source_info(s),
        chrononaut._source_rows(s, v),
        case when begins then '''I'', ''X'', ''K''' else '''U'', ''D'', ''X'', ''K''' end,
        case when careful then ' and not exists (select from chrononaut.conversion_problem q '
            'where q.source_id = c.source_id and q.source_key = c.source_key '
            'and q.source_no = c.source_no and not q.converted)' else '' end)
    from (
        select n.history_name, n.type, n.fits, case when begins then n.began else n.value end as value
        from chrononaut._conversion_columns(s, v) n
        where not begins or n.in_key is not null
    ) x
$$;

comment on function chrononaut._insert_converted(
    chrononaut.conversion_source, chrononaut.versioning, boolean, boolean) is
    'The insert into history for what source rows ended, or for what they began.';


create or replace function chrononaut._insert_transactions(
    s chrononaut.conversion_source,
    v chrononaut.versioning)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select format(
        'insert into chrononaut.transaction (id, xid, snapshot, began_at, issued_at, '
            'change_info, db_user, application_name) '
        'select distinct on (c.transaction_id) c.transaction_id, ''0''::xid8, ''1:1:''::pg_snapshot, '
            'c.changed, c.changed, %1$s - ''hidden_cols_changed'', chrononaut._caller(), %2$L '
        'from %3$s where c.source_id = $1 and c.change_id > $2 and c.change_id <= $3 '
            'and c.operation not in (''L'', ''N'') '
        'order by c.transaction_id, c.change_id on conflict (id) do nothing',
        chrononaut._source_info(s), 'converted from ' || s.relation, chrononaut._source_rows(s, v))
$$;

comment on function chrononaut._insert_transactions(
    chrononaut.conversion_source, chrononaut.versioning) is
    'The insert of transaction rows; xid 0 says that there was none in this cluster.';


create or replace function chrononaut._note_unknown(
    s chrononaut.conversion_source,
    v chrononaut.versioning)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select format(
        'insert into chrononaut.conversion_problem '
            '(source_id, source_key, source_no, reason, lost, converted) '
        'select c.source_id, c.source_key, c.source_no, format(''unknown column %%s'', '
            '(select string_agg(quote_ident(k), '', '') from jsonb_object_keys(u.lost) k)), u.lost, true '
        'from %s cross join lateral (select %s as lost) u '
        'where c.source_id = $1 and c.change_id > $2 and c.change_id <= $3 '
            'and c.operation <> ''N'' and u.lost <> ''{}''',
        chrononaut._source_rows(s, v), chrononaut._unknown_values(s))
$$;

comment on function chrononaut._note_unknown(
    chrononaut.conversion_source, chrononaut.versioning) is
    'The report of values that history has no column for.';


create or replace function chrononaut._note_misfits(
    s chrononaut.conversion_source,
    v chrononaut.versioning)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    -- A key that does not fit leaves the row out, another value becomes null.
    select format(
        'insert into chrononaut.conversion_problem '
            '(source_id, source_key, source_no, reason, lost, converted) '
        'select c.source_id, c.source_key, case when x.in_key then c.source_no else %1$s end, '
            'format(''column %%I: %%s is no value of type %%s'', x.name, x.value, x.type), '
            'case when x.in_key then to_jsonb(e) else jsonb_build_object(x.name, x.value) end, '
            'not x.in_key '
        'from %2$s cross join lateral (values %3$s) x(name, type, value, in_key) '
        'where c.source_id = $1 and c.change_id > $2 and c.change_id <= $3 '
            'and (x.in_key or c.operation in (''U'', ''D'', ''X'', ''K'')) '
            'and x.value <> ''null'' and chrononaut._castable(x.value, x.type) is null',
        case s.format when 'activity' then 'c.previous_no'
            when 'continuum' then 'coalesce(c.previous_no, c.source_no)' else 'c.source_no' end,
        chrononaut._source_rows(s, v),
        (select string_agg(format('(%L, %L, %s, %L::boolean)',
                n.history_name, n.type, n.value, n.in_key is not null), ', ')
            from chrononaut._conversion_columns(s, v) n where not n.fits))
$$;

comment on function chrononaut._note_misfits(
    chrononaut.conversion_source, chrononaut.versioning) is
    'The report of values that are none of their column''s type.';


create or replace function chrononaut._insert_range(
    s chrononaut.conversion_source,
    v chrononaut.versioning,
    low bigint,
    high bigint,
    careful boolean)
    returns boolean
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v_begins boolean;
begin
    foreach v_begins in array array[false, true] loop
        execute chrononaut._insert_converted(s, v, v_begins, careful) using s.id, low, high;
    end loop;
    return true;
exception when data_exception then
    return false;
end;
$$;

comment on function chrononaut._insert_range(
    chrononaut.conversion_source, chrononaut.versioning, bigint, bigint, boolean) is
    'Inserts what planned rows between two changes ended and began; false if a value does not fit.';


create or replace function chrononaut._convert_range(
    s chrononaut.conversion_source,
    v chrononaut.versioning,
    low bigint,
    high bigint)
    returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v_bounds bigint[];
    v_bound bigint;
    v_count bigint;
begin
    if chrononaut._insert_range(s, v, low, high, false) then
        return;
    end if;
    select array_agg(p.bound order by p.bound), sum(p.rows) into v_bounds, v_count
    from (
        select max(n.change_id) as bound, count(*) as rows
        from (
            select c.change_id, ntile(10) over (order by c.change_id) as part
            from chrononaut.conversion c
            where c.source_id = s.id and c.change_id > low and c.change_id <= high
        ) n
        group by n.part
    ) p;
    if v_count <= 100 then
        execute chrononaut._note_misfits(s, v) using s.id, low, high;
        if not chrononaut._insert_range(s, v, low, high, true) then
            raise exception 'rows of % cannot be converted', s.relation
                using errcode = 'data_exception',
                      hint = 'This is a defect; the rows are those of chrononaut.conversion '
                          || format('with change_id above %s up to %s.', low, high);
        end if;
        return;
    end if;
    foreach v_bound in array v_bounds loop
        perform chrononaut._convert_range(s, v, low, v_bound);
        low := v_bound;
    end loop;
end;
$$;

comment on function chrononaut._convert_range(
    chrononaut.conversion_source, chrononaut.versioning, bigint, bigint) is
    'Converts planned rows between two changes; goes to where a value does not fit by tenths.';


create or replace function chrononaut._convert_chunk(
    s chrononaut.conversion_source,
    v chrononaut.versioning,
    bound bigint)
    returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
    set work_mem = '64MB'
as $$
#variable_conflict use_variable
begin
    execute chrononaut._insert_transactions(s, v) using s.id, s.converted_to, bound;
    execute chrononaut._note_unknown(s, v) using s.id, s.converted_to, bound;
    perform chrononaut._convert_range(s, v, s.converted_to, bound);
    update chrononaut.conversion_source r set converted_to = bound where r.id = s.id;
end;
$$;

comment on function chrononaut._convert_chunk(
    chrononaut.conversion_source, chrononaut.versioning, bigint) is
    'Converts planned rows up to a change_id.';


create or replace function chrononaut.convert_history(
    source_id integer,
    max_rows bigint default null,
    since timestamptz default null)
    returns bigint
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    s chrononaut.conversion_source;
    v chrononaut.versioning;
    v_bound bigint;
    v_count bigint;
begin
    -- Converters take turns: before anything else, or they would wait for each other.
    perform pg_advisory_xact_lock(hashtextextended('chrononaut.convert', 0));
    select r.* into strict s
    from chrononaut.conversion_source r where r.id = source_id for update;
    select r.* into strict v from chrononaut.versioning r where r.id = s.versioning_id;
    for v_attempt in 1..2 loop
        select max(n.change_id), count(*) into v_bound, v_count
        from (
            select c.change_id from chrononaut.conversion c
            where c.source_id = source_id and c.change_id > s.converted_to and c.change_id < 0
            order by c.change_id
            limit max_rows
        ) n;
        if v_count > 0 then
            perform chrononaut._convert_chunk(s, v, v_bound);
            return v_count;
        elsif v_attempt = 2 or chrononaut._plan(s, since) = 0 then
            perform chrononaut._close_open(s, v);
            return 0;
        end if;
    end loop;
end;
$$;

comment on function chrononaut.convert_history(integer, bigint, timestamptz) is
    'Converts the next rows of a source, since a time if given; returns how many, 0 when done.';


create or replace function chrononaut.conversion_pending(source_id integer)
    returns bigint
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select count(*)
    from chrononaut.conversion c
    join chrononaut.conversion_source s on s.id = c.source_id
    where s.id = conversion_pending.source_id
        and c.change_id > s.converted_to and c.change_id < 0
$$;

comment on function chrononaut.conversion_pending(integer) is
    'How many planned rows of a source are still to be converted.';
