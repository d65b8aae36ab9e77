-- Joined-table inheritance: the versions of a child merge those of its parents.
--
-- One version per transaction that touched any of the tables, ordered by its last change.
-- Level 0 is the child, level 1 its parent, and so on. Safe to replay.

create or replace function chrononaut._lineage(v chrononaut.versioning)
    returns table (level integer, ancestor chrononaut.versioning)
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    with recursive chain as (
        select 0 as level, v.id, v.parent_id
        union all
        select c.level + 1, p.id, p.parent_id
        from chrononaut.versioning p
        join chain c on c.parent_id = p.id
    )
    select c.level, r
    from chain c
    join chrononaut.versioning r on r.id = c.id
    order by c.level
$$;

comment on function chrononaut._lineage(chrononaut.versioning) is
    'A versioned table and its parents, nearest first.';


create or replace function chrononaut._lineage_columns(v chrononaut.versioning)
    returns table (source text, name name, type text)
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    -- Of equal names the nearest table's counts; keys are equal, other columns are told apart.
    with data as (
        select l.level, (l.ancestor).table_name, d.*,
            row_number() over (partition by d.history_name order by l.level) as rank
        from chrononaut._lineage(v) l
        cross join lateral chrononaut._data_columns(l.ancestor) d
    ), named as (
        select d.level, d.position, d.type, d.rank,
            case when d.rank = 1 then d.history_name
                else chrononaut._clip(d.table_name || '_' || d.history_name, '') end::name as name
        from data d
        where d.rank = 1 or d.in_key is null
    ), placed as (
        select n.*, row_number() over (partition by n.name
            order by n.rank > 1, n.level, n.position) as place
        from named n
    )
    select format('i%s.d%s', p.level, p.position), p.name, p.type
    from placed p
    where p.place = 1
        and (p.rank = 1 or p.name not in (select m.name from chrononaut._meta_columns(v) m))
    order by p.rank > 1, p.level, p.position
$$;

comment on function chrononaut._lineage_columns(chrononaut.versioning) is
    'The data columns of a merged view; where names repeat, farther ones are <table>_<column>.';


create or replace function chrononaut._lineage_keys(v chrononaut.versioning)
    returns table (source text, source_of_key text)
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select format('i%s.d%s', l.level, d.position), format('k%s::%s', d.in_key, d.type)
    from chrononaut._lineage(v) l
    cross join lateral chrononaut._data_columns(l.ancestor) d
    where d.in_key is not null
$$;

comment on function chrononaut._lineage_keys(chrononaut.versioning) is
    'The key columns of a chain, as images have them and as the merged view goes by them.';


create or replace function chrononaut._view_columns(v chrononaut.versioning)
    returns jsonb
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select jsonb_agg(jsonb_build_object('name', c.name, 'type', c.type) order by c.part, c.n)
    from (
        select 1 as part, m.ordinality as n, m.name, m.type
        from chrononaut._meta_columns(v) with ordinality m
        union all
        select 2, l.ordinality, l.name, l.type
        from chrononaut._lineage_columns(v) with ordinality l
    ) c
$$;

comment on function chrononaut._view_columns(chrononaut.versioning) is
    'Names and types of a versions view''s columns, in order.';


create or replace function chrononaut._lineage_changes(v chrononaut.versioning)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select string_agg(format(
            'select %s, %s as level, h.%I as change_id, h.%I as changed, '
                'h.%I as transaction_id, h.%I as change_info from %s h',
            (select string_agg(format('h.%I as k%s', d.history_name, d.in_key), ', '
                    order by d.in_key)
                from chrononaut._data_columns(l.ancestor) d where d.in_key is not null),
            l.level,
            chrononaut._meta_name((l.ancestor).meta, 'change_id'),
            chrononaut._meta_name((l.ancestor).meta, 'changed'),
            chrononaut._meta_name((l.ancestor).meta, 'transaction_id'),
            chrononaut._meta_name((l.ancestor).meta, 'change_info'),
            chrononaut._history_reference(l.ancestor)),
            ' union all ' order by l.level)
        || format(' union all select %s, null, null, null, null, null from %s() l',
            (select string_agg('l.d' || d.position, ', ' order by d.in_key)
                from chrononaut._data_columns(v) d where d.in_key is not null),
            chrononaut._live_function(v))
    from chrononaut._lineage(v) l
$$;

comment on function chrononaut._lineage_changes(chrononaut.versioning) is
    'A query: all changes of all tables of a chain, and one row per live row of the child.';


create or replace function chrononaut._lineage_events(v chrononaut.versioning)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    -- An event is a transaction's last change of a key; next_N is the first change of
    -- level N that is not before it, whose image was therefore in force just before it.
    select format(
        'select s.* from (select r.*, %1$s from ('
            'select a.*, max(a.change_id) over (partition by %2$s, a.transaction_id) as event_id '
            'from (%3$s) a) r '
            'window w as (partition by %4$s order by r.event_id '
                'range between current row and unbounded following)) s '
        'where s.change_id is not distinct from s.event_id',
        (select string_agg(format(
                'min(array[r.event_id, r.change_id]) filter (where r.level = %1$s) over w as next_%1$s',
                l.level), ', ')
            from chrononaut._lineage(v) l),
        string_agg('a.k' || n, ', ' order by n),
        chrononaut._lineage_changes(v),
        string_agg('r.k' || n, ', ' order by n))
    from generate_series(1, cardinality(v.key)) n
$$;

comment on function chrononaut._lineage_events(chrononaut.versioning) is
    'A query: one row per key and transaction that touched any table, and one per live row.';


create or replace function chrononaut._lineage_image(v chrononaut.versioning, level integer)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select format(
        'left join lateral ('
            'select %1$s, h.%2$I as operation, true as present from %4$s h '
            'where %5$s and h.%3$I = e.next_%9$s[2] '
            'union all '
            'select %6$s, null, true from %7$s() l where e.next_%9$s is null and %8$s'
        ') i%9$s on true',
        string_agg(format('h.%I as d%s', d.history_name, d.position), ', ' order by d.position),
        chrononaut._meta_name(v.meta, 'operation'),
        chrononaut._meta_name(v.meta, 'change_id'),
        chrononaut._history_reference(v),
        string_agg(format('h.%I = e.k%s', d.history_name, d.in_key), ' and ' order by d.in_key)
            filter (where d.in_key is not null),
        string_agg('l.d' || d.position, ', ' order by d.position),
        chrononaut._live_function(v),
        string_agg(format('l.d%s = e.k%s', d.position, d.in_key), ' and ' order by d.in_key)
            filter (where d.in_key is not null),
        level)
    from chrononaut._data_columns(v) d
$$;

comment on function chrononaut._lineage_image(chrononaut.versioning, integer) is
    'Joins one table''s image as it was just before an event.';


create or replace function chrononaut._lineage_query(v chrononaut.versioning)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select format(
        'select %1$s, %2$s from (select b.*, '
            'count(*) filter (where b.existed) over k - 1 as version, '
            'case when b.change_id is null then null '
                'when lead(b.existed) over k then ''U'' '
                'else b.final end::character(1) as operation, '
            'lag(b.changed) over k as valid_from, '
            'lag(b.change_id) over k as created_change_id, '
            'case when lag(b.existed) over k then ''U'' '
                'when lag(b.change_id) over k is not null then ''I'' '
                'end::character(1) as created_operation, '
            'lag(b.transaction_id) over k as created_transaction_id, '
            'lag(b.change_info) over k as created_change_info '
            'from (select %3$s, e.change_id, e.changed, e.transaction_id, e.change_info, %4$s, '
                'case when i0.operation = ''T'' then ''T'' else ''D'' end as final, '
                'i0.present is not null and i0.operation is distinct from ''I'' as existed '
                'from (%5$s) e %6$s) b '
            'window k as (partition by %7$s order by b.change_id '
                'rows between unbounded preceding and current row)) c '
        'where c.existed',
        (select string_agg(format('c.%s as %I', m.source, m.name), ', ' order by m.ordinality)
            from chrononaut._meta_columns(v) with ordinality m),
        -- The key is what the windows go by: conditions on it reach the tables' indexes.
        (select string_agg(format('c.%s as %I', coalesce(k.source_of_key, 'c' || l.ordinality),
                l.name), ', ' order by l.ordinality)
            from chrononaut._lineage_columns(v) with ordinality l
            left join chrononaut._lineage_keys(v) k on k.source = l.source),
        string_agg('e.k' || n, ', ' order by n),
        (select string_agg(format('%s as c%s', l.source, l.ordinality), ', ' order by l.ordinality)
            from chrononaut._lineage_columns(v) with ordinality l),
        chrononaut._lineage_events(v),
        (select string_agg(chrononaut._lineage_image(l.ancestor, l.level), ' ' order by l.level)
            from chrononaut._lineage(v) l),
        string_agg('b.k' || n, ', ' order by n))
    from generate_series(1, cardinality(v.key)) n
$$;

comment on function chrononaut._lineage_query(chrononaut.versioning) is
    'The query of a versions view that merges a chain of tables.';


create or replace function chrononaut._any_view_query(v chrononaut.versioning)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select case when v.parent_id is null
        then chrononaut._view_query(v)
        else chrononaut._lineage_query(v) end
$$;

comment on function chrononaut._any_view_query(chrononaut.versioning) is
    'The query of a versions view, of one table or of a chain.';
