-- What an undo would do to each row: the queries, written out for a scope.
--
-- Per key, the first change of the scope tells what was there before (image b), its next
-- change or the live row what the scope left behind (image n, else l), the live row what
-- is there now (l): "is distinct from null", since a key that is a row with a null in it
-- is not "not null". Runs with the caller's rights. Safe to replay.

create or replace function chrononaut._undo_keys(
    scope jsonb,
    left_alias text,
    left_kind text,
    right_alias text,
    right_kind text)
    returns text
    language sql
    immutable
    set search_path = pg_catalog, pg_temp
as $$
    select string_agg(format('%s.%s %s %s.%s',
            left_alias, case left_kind when 'k' then 'k' || k.ordinality
                else quote_ident(k.value ->> left_kind) end,
            k.value ->> 'operator',
            right_alias, case right_kind when 'k' then 'k' || k.ordinality
                else quote_ident(k.value ->> right_kind) end),
        ' and ' order by k.ordinality)
    from jsonb_array_elements(scope -> 'key') with ordinality k
$$;

comment on function chrononaut._undo_keys(jsonb, text, text, text, text) is
    'The condition that two rows have one key; a kind is live, history or k (numbered names).';


create or replace function chrononaut._undo_differs(
    "column" jsonb,
    left_value text,
    right_value text)
    returns text
    language sql
    immutable
    set search_path = pg_catalog, pg_temp
as $$
    select case when ("column" ->> 'simple')::boolean
        then format('%s is distinct from %s', left_value, right_value)
        else format('row(%s)::record operator(pg_catalog.*<>) row(%s)::record',
            left_value, right_value) end
$$;

comment on function chrononaut._undo_differs(jsonb, text, text) is
    'The condition that two values of a column differ by a byte, as capture sees it.';


create or replace function chrononaut._undo_differences(scope jsonb, changed boolean)
    returns text
    language sql
    immutable
    set search_path = pg_catalog, pg_temp
as $$
    -- One character per column: 1 where the undo has something to do, or with changed
    -- false, where a later change stands in its way. An UPDATE cannot set all of them.
    select coalesce(string_agg(format('case when %s then ''1'' else ''0'' end',
            case when (c.value ->> 'always')::boolean then 'false'
                when changed then format('%s and (not s.remains or n.%s is null or %s)',
                    chrononaut._undo_differs(c.value, c.b, c.value ->> 'value'),
                    scope ->> 'change_id',
                    chrononaut._undo_differs(c.value, c.b, c.n))
                else format('(not s.existed or %s and (not s.remains or %s)) '
                        'and (not s.remains or %s)',
                    chrononaut._undo_differs(c.value, c.b, c.value ->> 'value'),
                    chrononaut._undo_differs(c.value, c.b, c.n),
                    chrononaut._undo_differs(c.value, c.value ->> 'value', c.n))
            end), ' || ' order by c.ordinality), '''''::text')
    from (
        select e.value, e.ordinality, format('b.%I', e.value ->> 'history') as b,
            format('n.%I', e.value ->> 'history') as n
        from jsonb_array_elements(scope -> 'columns') with ordinality e
    ) c
$$;

comment on function chrononaut._undo_differences(jsonb, boolean) is
    'An expression: a string that marks the columns to be set, or those in conflict.';


create or replace function chrononaut._undo_hits(scope jsonb)
    returns text
    language sql
    immutable
    set search_path = pg_catalog, pg_temp
as $$
    select format('(select h.* from %s h where %s)', scope ->> 'history', scope ->> 'condition')
$$;

comment on function chrononaut._undo_hits(jsonb) is
    'A query: the changes of a scope.';


create or replace function chrononaut._undo_next(scope jsonb)
    returns text
    language sql
    immutable
    set search_path = pg_catalog, pg_temp
as $$
    select format('left join lateral (select x.* from %1$s x where %2$s '
            'order by x.%3$s limit 1) n on true left join %4$s l on %5$s',
        scope ->> 'history',
        case when (scope ->> 'newest')::boolean then 'false'
            else format('%s and x.%s > s.last_id',
                chrononaut._undo_keys(scope, 'x', 'history', 's', 'k'), scope ->> 'change_id') end,
        scope ->> 'change_id',
        scope ->> 'live',
        chrononaut._undo_keys(scope, 'l', 'live', 's', 'k'))
$$;

comment on function chrononaut._undo_next(jsonb) is
    'Joins each key''s next change and its live row to s.';


create or replace function chrononaut._undo_image(scope jsonb, shown boolean)
    returns text
    language sql
    immutable
    set search_path = pg_catalog, pg_temp
as $$
    -- Unless it is shown, a deleted row's image is only needed if there is a live row again.
    select case when (scope ->> 'gone')::boolean and not shown
        then format(
            'left join lateral (select x.* from %1$s x where l.%2$I is distinct from null '
                'and %3$s and x.%4$s = s.image_id) b on true',
            scope ->> 'history',
            scope -> 'key' -> 0 ->> 'live',
            chrononaut._undo_keys(scope, 'x', 'history', 's', 'k'),
            scope ->> 'change_id')
        -- With the key, since the planner may take the changes for a few: it finds each by index.
        else format('left join %s b on b.%s = s.image_id and %s and %s',
            chrononaut._undo_hits(scope),
            scope ->> 'change_id',
            case when (scope ->> 'fresh')::boolean then 'false' else 's.existed' end,
            case when (scope ->> 'pairs')::boolean then 'true'
                else chrononaut._undo_keys(scope, 'b', 'history', 's', 'k') end)
        end
$$;

comment on function chrononaut._undo_image(jsonb, boolean) is
    'Joins what was there before the first change of each key to s and l.';


create or replace function chrononaut._undo_folded(scope jsonb)
    returns text
    language sql
    immutable
    set search_path = pg_catalog, pg_temp
as $$
    select format(
        'select %1$s, min(h.%2$s) as image_id, max(h.%2$s) as last_id, '
            'min(h.%2$s) is distinct from min(h.%2$s) filter (where h.%3$s = ''I'') as existed, '
            'max(h.%2$s) is distinct from '
                'max(h.%2$s) filter (where h.%3$s in (''D'', ''T'')) as remains '
        'from %4$s h group by %5$s',
        string_agg(format('h.%I as k%s', k.value ->> 'history', k.ordinality), ', '
            order by k.ordinality),
        scope ->> 'change_id',
        scope ->> 'operation',
        chrononaut._undo_hits(scope),
        string_agg(format('h.%I', k.value ->> 'history'), ', ' order by k.ordinality))
    from jsonb_array_elements(scope -> 'key') with ordinality k
$$;

comment on function chrononaut._undo_folded(jsonb) is
    'A query: one row per key, with its first and last change and whether the row was there.';


create or replace function chrononaut._undo_pairs(scope jsonb)
    returns text
    language sql
    immutable
    set search_path = pg_catalog, pg_temp
as $$
    -- A changed key is recorded as D and, next to it, I. Undone as one UPDATE it keeps what
    -- history does not know; so the two are paired where all else is the same.
    select format(
        'select s.last_id, g.image_id, g.last_id as gone_id from ('
            'select h.%1$s as gone, h.%2$s as operation, lead(h.%1$s) over w as came, '
                'lead(h.%2$s) over w as next_operation '
            'from %3$s h window w as (order by h.%1$s)) e '
        'join folded g on g.last_id = e.gone and g.existed and not g.remains '
        'join folded s on s.last_id = e.came and s.image_id = e.came and s.remains '
        'join %3$s d on d.%1$s = e.gone '
        '%4$s '
        'where e.operation = ''D'' and e.next_operation = ''I'' and l.%5$I is distinct from null '
            'and not exists (select from %6$s o where %7$s) '
            'and not (%8$s)',
        scope ->> 'change_id',
        scope ->> 'operation',
        chrononaut._undo_hits(scope),
        chrononaut._undo_next(scope),
        scope -> 'key' -> 0 ->> 'live',
        scope ->> 'live',
        chrononaut._undo_keys(scope, 'o', 'live', 'd', 'history'),
        (select coalesce(string_agg(chrononaut._undo_differs(c.value,
                format('d.%I', c.value ->> 'history'),
                format('case when n.%s is null then %s else n.%I end',
                    scope ->> 'change_id', c.value ->> 'value', c.value ->> 'history')), ' or '),
                'false')
            from jsonb_array_elements(scope -> 'columns') c
            where not scope -> 'key' @> jsonb_build_array(
                jsonb_build_object('live', c.value -> 'name'))))
$$;

comment on function chrononaut._undo_pairs(jsonb) is
    'A query: changed keys, as the last change of the new key and the first and last of the old.';


create or replace function chrononaut._undo_scoped(scope jsonb)
    returns text
    language sql
    immutable
    set search_path = pg_catalog, pg_temp
as $$
    select case when not (scope ->> 'pairs')::boolean
        then format('with s as (%s)', chrononaut._undo_folded(scope))
        else format('with folded as (%1$s), pair as materialized (%2$s), s as ('
                'select %3$s, coalesce(p.image_id, f.image_id) as image_id, f.last_id, '
                    'f.existed or p.last_id is not null as existed, f.remains '
                'from folded f left join pair p on p.last_id = f.last_id '
                'where f.last_id not in (select q.gone_id from pair q))',
            chrononaut._undo_folded(scope),
            chrononaut._undo_pairs(scope),
            (select string_agg('f.k' || n, ', ' order by n)
                from generate_series(1, jsonb_array_length(scope -> 'key')) n))
        end
$$;

comment on function chrononaut._undo_scoped(jsonb) is
    'The beginning of a query: s is the scope folded to one row per key.';


create or replace function chrononaut._undo_idle(scope jsonb)
    returns text
    language sql
    immutable
    set search_path = pg_catalog, pg_temp
as $$
    -- Of a row that is there the marked columns tell it.
    select format(
        'case when s.existed and s.remains and l.%I is not distinct from null '
            'and n.%s is not null then not (%s) end',
        scope -> 'key' -> 0 ->> 'live',
        scope ->> 'change_id',
        coalesce(string_agg(chrononaut._undo_differs(c, format('b.%I', c ->> 'history'),
            format('n.%I', c ->> 'history')), ' or '), 'false'))
    from jsonb_array_elements(scope -> 'columns') c
$$;

comment on function chrononaut._undo_idle(jsonb) is
    'An expression: whether the scope left a row that is gone by now as it had found it.';


create or replace function chrononaut._undo_rows(scope jsonb, details text, shown text)
    returns text
    language sql
    immutable
    set search_path = pg_catalog, pg_temp
as $$
    -- The inner query compares, the outer one judges. Hidden columns cannot be compared,
    -- but a later change of one stands in the way of a delete.
    select format(
        '%1$s select p.image_id, p.last_id, p.wanted, p.clash %2$s, case '
            'when not p.existed then case when p.remains and p.present then ''delete'' end '
            'when not p.present then case when p.idle then null else ''insert'' end '
            'when position(''1'' in p.wanted) > 0 then ''update'' end as operation, '
            'case when p.existed and p.remains and not p.present then ''deleted since'' '
                'when p.existed and not p.remains and position(''1'' in p.clash) > 0 '
                    'then ''created again since'' '
                'when position(''1'' in p.clash) > 0 then ''changed since'' '
                'when p.secret then ''hidden columns changed since'' end as conflict '
        'from (select s.*, l.%3$I is distinct from null as present, '
            'case when s.existed and l.%3$I is distinct from null then %4$s end as wanted, '
            'case when l.%3$I is distinct from null and (n.%5$s is not null or not s.remains) '
                'then %6$s end as clash, %7$s as secret, %11$s as idle %8$s '
            'from s %9$s %10$s offset 0) p',
        chrononaut._undo_scoped(scope),
        shown,
        scope -> 'key' -> 0 ->> 'live',
        chrononaut._undo_differences(scope, true),
        scope ->> 'change_id',
        chrononaut._undo_differences(scope, false),
        case when scope -> 'hidden' = '[]' then 'false' else format(
            'not s.existed and n.%1$s is not null and exists (select from %2$s z where %3$s '
                'and z.%1$s > s.last_id and z.%4$s ? ''hidden_cols_changed'')',
            scope ->> 'change_id', scope ->> 'history',
            chrononaut._undo_keys(scope, 'z', 'history', 's', 'k'), scope ->> 'change_info') end,
        details,
        chrononaut._undo_next(scope),
        chrononaut._undo_image(scope, details <> ''),
        chrononaut._undo_idle(scope))
$$;

comment on function chrononaut._undo_rows(jsonb, text, text) is
    'A query: what is to be done with each key, which columns it concerns, what conflicts.';


create or replace function chrononaut._undo_object(names text[], "values" text[])
    returns text
    language sql
    immutable
    set search_path = pg_catalog, pg_temp
as $$
    -- A function takes 100 arguments at most.
    select coalesce(string_agg(format('jsonb_build_object(%s)', b.pairs), ' || ' order by b.part),
        '''{}''::jsonb')
    from (
        select (c.n - 1) / 45 as part,
            string_agg(format('%L, %s', c.name, c.value), ', ' order by c.n) as pairs
        from unnest(names, "values") with ordinality c(name, value, n)
        group by 1
    ) b
$$;

comment on function chrononaut._undo_object(text[], text[]) is
    'An expression that makes a JSON object of named expressions.';


create or replace function chrononaut._undo_pick("values" jsonb, wanted text, names text[])
    returns jsonb
    language sql
    immutable
    set search_path = pg_catalog, pg_temp
as $$
    select case when wanted is null then "values"
        else (select jsonb_object_agg(n.name, "values" -> n.name)
            from unnest(names) with ordinality n(name, position)
            where substr(wanted, n.position::integer, 1) = '1') end
$$;

comment on function chrononaut._undo_pick(jsonb, text, text[]) is
    'The members of an object that a string of 0 and 1 marks; all of them if it is null.';


create or replace function chrononaut._undo_details(scope jsonb, conflicts boolean)
    returns text
    language sql
    immutable
    set search_path = pg_catalog, pg_temp
as $$
    select format(
        'select %1$L::text, r.operation, 1::bigint, r.row_key, '
            'case when r.operation <> ''insert'' then '
                'chrononaut._undo_pick(r.found, r.wanted, %2$L::text[]) end, '
            'case when r.operation <> ''delete'' then '
                'chrononaut._undo_pick(r.aim, r.wanted, %2$L::text[]) end, '
            'nullif(concat_ws('', '', '
                'coalesce((select string_agg(n.name, '', '' order by n.position) '
                'from unnest(%2$L::text[]) with ordinality n(name, position) '
                'where substr(r.clash, n.position::integer, 1) = ''1'') || '' '', '''') '
                '|| r.conflict %5$s), '''') '
        'from (%3$s) r where r.operation is not null %4$s order by r.image_id',
        scope ->> 'relation',
        c.names,
        chrononaut._undo_rows(scope, format(
            ', %s as row_key, %s as aim, %s as found, l.ctid as place, l.tableoid as part%s',
            (select chrononaut._undo_object(array_agg(k.value ->> 'live'),
                    array_agg('s.k' || k.ordinality))
                from jsonb_array_elements(scope -> 'key') with ordinality k),
            chrononaut._undo_object(c.names, c.images),
            chrononaut._undo_object(c.names, c."values"), scope ->> 'linked'),
            ', p.row_key, p.aim, p.found, p.place, p.part' || coalesce(scope ->> 'links', '')),
        case when conflicts then 'and r.conflict is not null' else '' end,
        scope ->> 'referring')
    from (
        select array_agg(e.value ->> 'name' order by e.ordinality) as names,
            array_agg(e.value ->> 'value' order by e.ordinality) as "values",
            array_agg(format('b.%I', e.value ->> 'history') order by e.ordinality) as images
        from jsonb_array_elements(scope -> 'columns') with ordinality e
    ) c
$$;

comment on function chrononaut._undo_details(jsonb, boolean) is
    'A query: what an undo would do, a row per key with values; or only its conflicts.';


create or replace function chrononaut._undo_steps(scope jsonb)
    returns text
    language sql
    immutable
    set search_path = pg_catalog, pg_temp
as $$
    -- Texts rather than arrays: rows are put together by what they have in common, which
    -- takes no sort. Only pairs need the numbers of changes with the keys besides.
    select format(
        'select g.operation, sum(g.rows)::bigint, ''{'' || string_agg(g.ids, '','') || ''}'', '
            '''{'' || string_agg(g.keys, '','') || ''}'', case when count(*) > 1 then ''{'' || '
                'rtrim(string_agg(repeat(g.wanted || '','', g.rows::integer), ''''), '','') '
                '|| ''}'' end, '
            'array_agg(g.wanted), sum(g.conflicts)::bigint '
        'from (select r.operation, r.wanted, count(*) as rows, count(r.conflict) as conflicts, '
            'string_agg((case r.operation when ''delete'' then r.last_id '
                'else r.image_id end)::text, '','') as ids, %s as keys '
            'from (%s) r where r.operation is not null group by r.operation, r.wanted) g '
        'group by g.operation order by g.operation',
        case when (scope ->> 'pairs')::boolean
            then 'string_agg(r.last_id::text, '','')' else 'null::text' end,
        chrononaut._undo_rows(scope, '', ''))
$$;

comment on function chrononaut._undo_steps(jsonb) is
    'A query: one row per operation, with the numbers of the changes that lead to the rows.';


create or replace function chrononaut._undo_overtaken(scope jsonb, seen pg_snapshot)
    returns text
    language sql
    immutable
    set search_path = pg_catalog, pg_temp
as $$
    -- What a snapshot did not show has an id at or beyond its xmax, or was running then.
    -- Mostly nobody else was there at all, which is quicker to find out.
    select format(
        'select case when exists (%1$s) '
            'then exists (%1$s and exists (select from %2$s h where %3$s)) end',
        format('select from %1$s x where (x.%2$s >= %3$s or x.%2$s = any (%4$L::bigint[])) '
                'and x.%2$s <> %5$s',
            scope ->> 'history',
            scope ->> 'transaction_id',
            e.epoch + pg_snapshot_xmax(seen)::text::bigint,
            array(select e.epoch + x::text::bigint from pg_snapshot_xip(seen) x),
            scope ->> 'own'),
        chrononaut._undo_hits(scope),
        chrononaut._undo_keys(scope, 'x', 'history', 'h', 'history'))
    from (select (scope ->> 'own')::bigint >> 40 << 40 as epoch) e
$$;

comment on function chrononaut._undo_overtaken(jsonb, pg_snapshot) is
    'A query: whether others changed rows of a scope and committed after a snapshot.';
