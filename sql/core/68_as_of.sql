-- Reading a table as it was at a moment.
--
-- Of a key's changes later than the moment the first one's image is what was there, and a key
-- without later changes is as it is now. Safe to replay.

create or replace function chrononaut._bounded_moment(moment text)
    returns text
    language sql
    immutable
    set search_path = pg_catalog, pg_temp
as $$
    select format('select m.*, (-9223372036854775808)::pg_catalog.int8 as any_change, '
        'least(m.first, m.own, (select pg_catalog.min(x.id) '
            'from pg_catalog.unnest(m.running) x(id))) as low, '
        'pg_catalog.jsonb_build_object(''own'', m.own, ''upto'', m.upto, ''since'', m.since, '
            '''settled'', m.settled) as clock from %s m', moment)
$$;

comment on function chrononaut._bounded_moment(text) is
    'A query: the moment, and the smallest id that a later transaction can have.';


create or replace function chrononaut._probably_later(v chrononaut.versioning, alias text)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    -- Ranges, though their ends are open: so the planner takes them for small parts. The one
    -- over transactions serves whole tables by BRIN. That over changes excludes nothing: it
    -- keeps the index of the key the cheapest way to a single row. None over their times: the
    -- planner would have BRIN look for that instead, and read all of a long history.
    select format(
        '(%1$s.%2$I operator(pg_catalog.>=) (select m.low from moment m) '
            'and %1$s.%2$I operator(pg_catalog.<=) 9223372036854775807 '
            'or %1$s.%2$I operator(pg_catalog.<) 0 '
                'and %1$s.%3$I operator(pg_catalog.>) (select m.since from moment m)) '
        'and %1$s.%4$I operator(pg_catalog.>=) (select m.any_change from moment m) '
        'and %1$s.%4$I operator(pg_catalog.<=) 9223372036854775807',
        alias,
        chrononaut._meta_name(v.meta, 'transaction_id'),
        chrononaut._meta_name(v.meta, 'changed'),
        chrononaut._meta_name(v.meta, 'change_id'))
$$;

comment on function chrononaut._probably_later(chrononaut.versioning, text) is
    'A condition for indexes that all changes later than the moment fulfil.';


create or replace function chrononaut._identifying(v chrononaut.versioning)
    returns table ("position" bigint, column_id integer, live_name name, history_name name)
    language plpgsql
    stable
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
begin
    -- The key, then what else former keys had and the live table still has.
    return query
    select row_number() over (order by min(k.era), min(k.position)), m.id, m.live_name,
        m.history_name
    from (
        select 0 as era, n.position, n.name, null::integer as id
        from unnest(v.key) with ordinality n(name, position)
        union all
        select 1, n.position, null, n.id
        from chrononaut.key_period p
        cross join unnest(p.columns) with ordinality n(id, position)
        where p.versioning_id = v.id
    ) k
    join chrononaut.versioned_column m
        on m.versioning_id = v.id and m.state = 'tracked' and (m.live_name = k.name or m.id = k.id)
    group by m.id, m.live_name, m.history_name;
end;
$$;

comment on function chrononaut._identifying(chrononaut.versioning) is
    'The columns that tell rows apart, now or under a former key.';


create or replace function chrononaut._eras(v chrononaut.versioning)
    returns table (low bigint, high bigint, columns integer[])
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    -- A former key that lost a column cannot be followed: the present one stands for it.
    with present as (
        select array_agg(m.id) as columns
        from chrononaut.versioned_column m
        where m.versioning_id = v.id and m.live_name = any (v.key) and m.state <> 'retired'
    )
    select lag(e.high) over (order by e.high), e.high, case
        when e.high is null
            or e.columns <@ array(select i.column_id from chrononaut._identifying(v) i) then e.columns
        else p.columns end
    from present p
    cross join (
        select k.until as high, k.columns from chrononaut.key_period k where k.versioning_id = v.id
        union all
        select null, n.columns from present n
    ) e
$$;

comment on function chrononaut._eras(chrononaut.versioning) is
    'What identified rows in which changes: in those after low, up to high.';


create or replace function chrononaut._same_row(
    v chrononaut.versioning,
    alias text,
    others text[])
    returns text
    language plpgsql
    stable
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v_columns integer[];
    v_tests text[];
begin
    select array_agg(i.column_id order by i.position),
        array_agg(format('%s.%I %s %s', alias, i.history_name,
            chrononaut._key_operator(v.relid, i.live_name), others[i.position]) order by i.position)
    into v_columns, v_tests
    from chrononaut._identifying(v) i;
    if exists (select from chrononaut.key_period p where p.versioning_id = v.id) then
        return chrononaut._same_row_then(v, alias, v_columns, v_tests);
    end if;
    return array_to_string(v_tests, ' and ');
end;
$$;

comment on function chrononaut._same_row(chrononaut.versioning, text, text[]) is
    'The condition that a change is of the row with other values, under the key of its time.';


create or replace function chrononaut._same_row_then(
    v chrononaut.versioning,
    alias text,
    columns integer[],
    tests text[])
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    -- What was one row then goes by the key of then: the key of the change.
    with era as materialized (
        select e.* from chrononaut._eras(v) e
    ), test as (
        select t.*, (select bool_and(t.id = any (e.columns)) from era e) as always
        from unnest(columns, tests) with ordinality t(id, condition, position)
    ), part as (
        select e.high, concat_ws(' and ',
            format('%s.%I operator(pg_catalog.>) ', alias, c.name) || e.low,
            format('%s.%I operator(pg_catalog.<=) ', alias, c.name) || e.high,
            (select string_agg(t.condition, ' and ' order by t.position) from test t
                where not t.always and t.id = any (e.columns))) as condition
        from era e, (select chrononaut._meta_name(v.meta, 'change_id') as name) c
    )
    select concat_ws(' and ',
        (select string_agg(t.condition, ' and ' order by t.position) from test t where t.always),
        (select format('(%s)', string_agg(p.condition, ' or ' order by p.high desc))
            from part p having exists (select from test t where not t.always)))
$$;

comment on function chrononaut._same_row_then(chrononaut.versioning, text, integer[], text[]) is
    'Puts tests of identifying columns together, for each change those of the key of its time.';


create or replace function chrononaut._stored_values(v chrononaut.versioning, alias text)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select string_agg(format('%s.%I', alias, i.history_name), ', ' order by i.position)
    from chrononaut._identifying(v) i
$$;

comment on function chrononaut._stored_values(chrononaut.versioning, text) is
    'The key columns of a history row, for functions that take a key.';


create or replace function chrononaut._later(v chrononaut.versioning, alias text)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select format(
        '((%1$s.%2$I operator(pg_catalog.>=) (select m.first from moment m) '
            'or %1$s.%2$I operator(pg_catalog.=) any ((select m.running from moment m)::bigint[]) '
            'or %1$s.%2$I operator(pg_catalog.=) (select m.own from moment m) '
            'or %1$s.%2$I operator(pg_catalog.<) 0 '
                'and %1$s.%3$I operator(pg_catalog.>) (select m.since from moment m)) '
        'and (%1$s.%2$I operator(pg_catalog.=) (select m.own from moment m) '
            'and %1$s.%4$I operator(pg_catalog.<=) (select m.upto from moment m)) is not true '
        'and (%1$s.%2$I operator(pg_catalog.>=) (select m.settled from moment m) '
            'or not chrononaut._superseded_%5$s('
                '%6$s, %1$s.%4$I, (select m.own from moment m))))',
        alias,
        chrononaut._meta_name(v.meta, 'transaction_id'),
        chrononaut._meta_name(v.meta, 'changed'),
        chrononaut._meta_name(v.meta, 'change_id'),
        v.id,
        chrononaut._stored_values(v, alias))
$$;

comment on function chrononaut._later(chrononaut.versioning, text) is
    'The condition that a change in the history is later than the moment.';


create or replace function chrononaut._later_by_clock(v chrononaut.versioning, alias text)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select format(
        '%1$s.%2$I operator(pg_catalog.<) 0 and chrononaut._later_before_%4$s('
            '%5$s, %1$s.%3$I, (select m.clock from moment m))',
        alias,
        chrononaut._meta_name(v.meta, 'transaction_id'),
        chrononaut._meta_name(v.meta, 'change_id'),
        v.id,
        chrononaut._stored_values(v, alias))
$$;

comment on function chrononaut._later_by_clock(chrononaut.versioning, text) is
    'The condition that a change is not later itself, but one before it: clocks go back.';


create or replace function chrononaut._key_matches(
    v chrononaut.versioning,
    left_alias text,
    right_alias text,
    live boolean default false)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select chrononaut._same_row(v, left_alias, array(
        select format('%s.%I', right_alias, case when live then i.live_name else i.history_name end)
        from chrononaut._identifying(v) i
        order by i.position))
$$;

comment on function chrononaut._key_matches(chrononaut.versioning, text, text, boolean) is
    'The condition that a history row has the key of another one, or of a live row.';


create or replace function chrononaut._past_key(
    v chrononaut.versioning,
    name name,
    alias text)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select format('%s.%I', alias, m.history_name) || case
        when a.atttypmod >= 0 or chrononaut._history_type(a.atttypid) <> format_type(a.atttypid, -1)
            then '::' || format_type(a.atttypid, a.atttypmod)
        else '' end
    from chrononaut.versioned_column m
    join pg_attribute a on a.attrelid = v.relid and a.attnum = m.attnum
    where m.versioning_id = v.id and m.live_name = name and m.state <> 'retired'
$$;

comment on function chrononaut._past_key(chrononaut.versioning, name, text) is
    'The expression for one key column of a past row, of exactly the live column''s type.';


create or replace function chrononaut._past_keys(v chrononaut.versioning, alias text)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    -- Tells the planner that a filter on the cast key is one on the history's index too.
    select coalesce(string_agg(format(' and %s %s %s', p.plain,
        chrononaut._key_operator(v.relid, k.name), p.cast), '' order by k.position), '')
    from unnest(v.key) with ordinality k(name, position)
    join chrononaut.versioned_column m
        on m.versioning_id = v.id and m.live_name = k.name and m.state <> 'retired'
    cross join lateral (
        select format('%s.%I', alias, m.history_name) as plain,
            chrononaut._past_key(v, k.name, alias) as cast) p
    where p.cast <> p.plain
$$;

comment on function chrononaut._past_keys(chrononaut.versioning, text) is
    'The condition that keys fit the live columns'' types, where these differ from history''s.';


create or replace function chrononaut._past_value(
    v chrononaut.versioning,
    attnum smallint,
    alias text)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    -- A field of the null row is null without a cast, which a domain might refuse.
    select case
        when m.state <> 'tracked' or m.history_name is null then n.nothing
        when alias = 'r' then format('r.%I', m.live_name)
        when m.live_name = any (v.key) then chrononaut._past_key(v, m.live_name, alias)
        when chrononaut._history_type(a.atttypid) = format_type(a.atttypid, -1)
            then format('%s.%I', alias, m.history_name)
        else format('case when %1$s.%2$I is distinct from null '
                'then %1$s.%2$I::%4$s else %3$s end',
            alias, m.history_name, n.nothing, format_type(a.atttypid, a.atttypmod))
        end
    from pg_attribute a
    cross join lateral (
        select format('(null::%I.%I).%I', v.schema_name, v.table_name, a.attname) as nothing) n
    join chrononaut.versioned_column m on m.versioning_id = v.id and m.attnum = a.attnum
    where a.attrelid = v.relid and a.attnum = _past_value.attnum
$$;

comment on function chrononaut._past_value(chrononaut.versioning, smallint, text) is
    'The expression for one column of a past row; r is the live table.';


create or replace function chrononaut._with_joined_moment(query text)
    returns text
    language sql
    immutable
    set search_path = pg_catalog, pg_temp
as $$
    -- Character classes and chr(92): a backslash means what a setting says.
    select regexp_replace(query, '[(]select (m[.][a-z_]+) from moment m[)](::bigint[[][]])?',
        chr(92) || '1', 'g')
$$;

comment on function chrononaut._with_joined_moment(text) is
    'A query with columns of the moment in place of the subqueries that ask for them.';


create or replace function chrononaut._changed_by(v chrononaut.versioning, later text)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select format('exists (select from %s h where %s and %s)',
        chrononaut._history_reference(v), chrononaut._key_matches(v, 'h', 'r', true), later)
$$;

comment on function chrononaut._changed_by(chrononaut.versioning, text) is
    'The condition that a live row r has changes h that fulfil another one.';


create or replace function chrononaut._past_rows(
    v chrononaut.versioning,
    first_table text,
    kept text,
    images text,
    chosen text,
    preceded text)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    -- The live table is locked first, everywhere: migrations lock in that order.
    -- Row locks put all later changes of a key behind all others, so the first of them is
    -- the one whose predecessor is not later; where clocks decide, that is looked into. The
    -- predecessor is joined: as a subquery it would be charged for rows that BRIN only guesses,
    -- and the planner would read a long history's whole key index to spare it those.
    select format(
        'select %1$s from %2$s%3$s%4$I.%5$I r where %6$s '
        'union all select %7$s from %2$s%8$s h '
        'left join lateral (select %9$s, e.%10$I, e.%11$I, e.%12$I from %13$s e where %14$s '
            'and e.%10$I operator(pg_catalog.<) h.%10$I order by e.%10$I desc limit 1) e on true '
        'where %15$s and (e.%10$I is not null and (%16$s)) is not true%17$s',
        string_agg(chrononaut._past_value(v, a.attnum, 'r'), ', ' order by a.attnum),
        first_table,
        (select case c.relkind when 'p' then '' else 'only ' end
            from pg_class c where c.oid = v.relid),
        v.schema_name, v.table_name, kept,
        string_agg(chrononaut._past_value(v, a.attnum, 'h'), ', ' order by a.attnum),
        images,
        chrononaut._stored_values(v, 'e'),
        chrononaut._meta_name(v.meta, 'change_id'),
        chrononaut._meta_name(v.meta, 'transaction_id'),
        chrononaut._meta_name(v.meta, 'changed'),
        chrononaut._history_reference(v),
        chrononaut._key_matches(v, 'e', 'h'),
        chosen, preceded,
        chrononaut._past_keys(v, 'h'))
    from pg_attribute a
    where a.attrelid = v.relid and a.attnum > 0 and not a.attisdropped
$$;

comment on function chrononaut._past_rows(chrononaut.versioning, text, text, text, text, text) is
    'A query for the live rows that were kept, and for the images that first later changes left.';


create or replace function chrononaut._is_image(v chrononaut.versioning)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select format('h.%I operator(pg_catalog.<>) %L',
        chrononaut._meta_name(v.meta, 'operation'), 'I')
$$;

comment on function chrononaut._is_image(chrononaut.versioning) is
    'The condition that a change h ended a row.';


create or replace function chrononaut._past_query_after(
    v chrononaut.versioning,
    moment text,
    first_table text)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    -- The moment is asked for at once: one that does not exist is an error though nothing
    -- changed. What the OR keeps from becoming a join probes the index for few live rows and
    -- is read once, into a hash table, for many.
    select format('with moment as materialized (%s) %s',
        chrononaut._bounded_moment(moment),
        chrononaut._past_rows(v, first_table,
            format('(select m.keyed from moment m) is not null '
                'and ((select m.keyed from moment m) is null or not %s)',
                chrononaut._changed_by(v, w.later)),
            chrononaut._history_reference(v),
            format('%s and %s', chrononaut._is_image(v), w.later),
            format('%s or %s', chrononaut._later(v, 'e'), chrononaut._later_by_clock(v, 'e'))))
    from (
        select chrononaut._probably_later(v, 'h') || ' and ' || chrononaut._later(v, 'h') as later) w
$$;

comment on function chrononaut._past_query_after(chrononaut.versioning, text, text) is
    'A query that gives a table as it was at a moment; what it reads comes after another table.';


create or replace function chrononaut._past_query(v chrononaut.versioning, moment text)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select chrononaut._past_query_after(v, moment, '')
$$;

comment on function chrononaut._past_query(chrononaut.versioning, text) is
    'A query that gives a table as it was at a moment.';


create or replace function chrononaut._past_query_of_few(v chrononaut.versioning, moment text)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    -- With the moment joined no live row is looked up in a hash table, but neither need 33
    -- subqueries be planned and set up.
    select chrononaut._with_joined_moment(
        chrononaut._past_query_after(v, moment, 'moment m cross join '))
$$;

comment on function chrononaut._past_query_of_few(chrononaut.versioning, text) is
    'A query that gives a table as it was at a moment, for conditions that few rows fulfil.';


create or replace function chrononaut._asked_moment()
    returns text
    language sql
    immutable
    set search_path = pg_catalog, pg_temp
as $$
    select 'chrononaut._moment(as_of.at, as_of.transaction_id, as_of.mark, as_of.before)'
$$;

comment on function chrononaut._asked_moment() is
    'The call that resolves the arguments of as_of().';


create or replace function chrononaut._stored_key(
    v chrononaut.versioning,
    out types text,
    out named text,
    out same text)
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select string_agg(format_type(a.atttypid, -1), ', ' order by i.position),
        string_agg(format('k%s %s', i.position, format_type(a.atttypid, -1)), ', '
            order by i.position),
        chrononaut._same_row(v, 'e', array_agg('$' || i.position order by i.position))
    from chrononaut._identifying(v) i
    join pg_attribute a on a.attrelid = v.history_relid and a.attname = i.history_name
$$;

comment on function chrononaut._stored_key(chrononaut.versioning) is
    'What identifies rows in history: types, parameters, and the condition that e is of that row.';


create or replace function chrononaut._write_superseded(v chrononaut.versioning)
    returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v_key record := chrononaut._stored_key(v);
    v_next bigint := (select count(*) + 1 from chrononaut._identifying(v));
begin
    -- A function, since the planner would charge a subquery for every row of every reader.
    execute format(
        'create or replace function chrononaut._superseded_%s(%s, after_change bigint, by_transaction bigint) '
            'returns boolean language plpgsql stable cost 10 as %L',
        v.id, v_key.named,
        format('begin return exists (select from %s e where %s '
            'and e.%I operator(pg_catalog.>) $%s and e.%I operator(pg_catalog.=) $%s); end',
            chrononaut._history_reference(v), v_key.same,
            chrononaut._meta_name(v.meta, 'change_id'), v_next,
            chrononaut._meta_name(v.meta, 'transaction_id'), v_next + 1));
    perform chrononaut._drop_overloads('_superseded_' || v.id, v_key.types || ', bigint, bigint');
    execute format('comment on function chrononaut._superseded_%s(%s, bigint, bigint) is %L',
        v.id, v_key.types, format('Whether a transaction changed a key of %I.%I after a change.',
            v.schema_name, v.table_name));
end;
$$;

comment on function chrononaut._write_superseded(chrononaut.versioning) is
    'Replaces the function that as_of() asks for keys which the named transaction changed.';


create or replace function chrononaut._write_later_before(v chrononaut.versioning)
    returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v_key record := chrononaut._stored_key(v);
    v_next bigint := (select count(*) + 1 from chrononaut._identifying(v));
begin
    execute format(
        'create or replace function chrononaut._later_before_%s(%s, before_change bigint, clock jsonb) '
            'returns boolean language plpgsql stable cost 10 as %L',
        v.id, v_key.named,
        format('begin return exists ('
            'with moment as (select 9223372036854775807 as first, null::bigint[] as running, m.* '
                'from pg_catalog.jsonb_to_record($%s) '
                    'm(own bigint, upto bigint, since timestamptz, settled bigint)) '
            'select from %s e where %s and e.%I operator(pg_catalog.<) $%s and %s); end',
            v_next + 1,
            chrononaut._history_reference(v), v_key.same,
            chrononaut._meta_name(v.meta, 'change_id'), v_next,
            chrononaut._later(v, 'e')));
    perform chrononaut._drop_overloads('_later_before_' || v.id, v_key.types || ', bigint, jsonb');
    execute format('comment on function chrononaut._later_before_%s(%s, bigint, jsonb) is %L',
        v.id, v_key.types,
        format('Whether changes of a key of %I.%I that only clocks place are later, '
            'though one after them is not.', v.schema_name, v.table_name));
end;
$$;

comment on function chrononaut._write_later_before(chrononaut.versioning) is
    'Replaces the function that as_of() asks where the clocks of another tool may have gone back.';


create or replace function chrononaut._write_as_of(v chrononaut.versioning)
    returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v_table text := format('%I.%I', v.schema_name, v.table_name);
begin
    perform chrononaut._write_superseded(v);
    perform chrononaut._write_later_before(v);
    execute format(
        'create or replace function chrononaut.as_of(relation %1$s, '
            'at timestamptz default null, transaction_id bigint default null, '
            'mark text default null, before boolean default false) '
            'returns setof %1$s language sql stable as %2$L',
        v_table,
        chrononaut._past_query(v, chrononaut._asked_moment()));
    execute format(
        'comment on function chrononaut.as_of(%1$s, timestamptz, bigint, text, boolean) is %2$L',
        v_table, format('%s as it was at a time, at a mark, or after (before) a transaction.', v_table));
end;
$$;

comment on function chrononaut._write_as_of(chrononaut.versioning) is
    'Replaces the function that gives a versioned table as it was.';


create or replace function chrononaut._drop_as_of(v chrononaut.versioning)
    returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v_function text;
begin
    for v_function in
        select p.oid::regprocedure::text
        from pg_proc p
        join pg_type t on t.oid = p.proargtypes[0]
        where p.pronamespace = 'chrononaut'::regnamespace and p.proname in ('as_of', '_related')
            and t.typrelid = v.relid
    loop
        execute 'drop function ' || v_function;
    end loop;
end;
$$;

comment on function chrononaut._drop_as_of(chrononaut.versioning) is
    'Drops what reads the past of a table whose changes are no longer recorded.';


create or replace function chrononaut.mark(name text)
    returns timestamptz
    language plpgsql
    security definer
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v_made_at timestamptz;
begin
    if coalesce(name, '') = '' then
        raise exception 'a mark needs a name'
            using errcode = 'invalid_parameter_value',
                  hint = 'For instance: select chrononaut.mark(''before the import'');';
    end if;
    insert into chrononaut.mark (name, snapshot, transaction_id, change_id, made_by)
    values (name, pg_current_snapshot(), chrononaut._transaction_id(),
        nextval('chrononaut.change_id'), chrononaut._caller())
    on conflict do nothing
    returning mark.made_at into v_made_at;
    if v_made_at is null then
        raise exception 'there is a mark % already', quote_literal(name)
            using errcode = 'VH004',
                  schema = 'chrononaut',
                  table = 'mark',
                  hint = 'Choose another name, or select chrononaut.drop_mark(name) first.';
    end if;
    return v_made_at;
end;
$$;

comment on function chrononaut.mark(text) is
    'Names this moment, so that chrononaut.as_of(..., mark => name) can return to it exactly.';


create or replace function chrononaut.drop_mark(name text)
    returns boolean
    language plpgsql
    security definer
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v_made_by name := (select m.made_by from chrononaut.mark m where m.name = name);
begin
    if v_made_by is not null and chrononaut._caller() <> v_made_by
        and not pg_has_role(chrononaut._caller(), chrononaut._owner(), 'member') then
        raise exception 'the mark % was made by %', quote_literal(name), v_made_by
            using errcode = 'VH006',
                  hint = format('Only %s and members of %s may drop it.',
                      v_made_by, chrononaut._owner());
    end if;
    delete from chrononaut.mark m where m.name = name;
    return found;
end;
$$;

comment on function chrononaut.drop_mark(text) is
    'Forgets a mark; whether there was one.';


create or replace view chrononaut.marks as
select m.name, m.made_at, m.made_by from chrononaut.mark m;

comment on view chrononaut.marks is
    'The marks: moments that chrononaut.as_of(..., mark => name) can return to.';
comment on column chrononaut.marks.name is 'The name given to chrononaut.mark().';
comment on column chrononaut.marks.made_at is 'When it was made.';
comment on column chrononaut.marks.made_by is 'The role that made it.';

grant select on chrononaut.marks to public;
