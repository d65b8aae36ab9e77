-- Where an undo cannot simply write table by table: rows that refer to each other, rows that
-- exchange unique values, and rows that refer to what it deletes.
--
-- What writes to live tables has no search path of its own. Runs with the caller's rights.
-- Safe to replay.

create or replace function chrononaut._undo_references(
    of_child oid default null,
    to_parent oid default null)
    returns table (
        child regclass,
        parent regclass,
        action "char",
        on_update "char",
        columns name[],
        parent_columns name[],
        operators text[])
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select f.conrelid::regclass, f.confrelid::regclass, f.confdeltype, f.confupdtype,
        array_agg(a.attname order by k.n),
        array_agg(b.attname order by k.n),
        array_agg(format('operator(%I.%s)', n.nspname, o.oprname) order by k.n)
    from pg_constraint f
    cross join unnest(f.conkey, f.confkey, f.conpfeqop) with ordinality k(child, parent, operator, n)
    join pg_attribute a on a.attrelid = f.conrelid and a.attnum = k.child
    join pg_attribute b on b.attrelid = f.confrelid and b.attnum = k.parent
    join pg_operator o on o.oid = k.operator
    join pg_namespace n on n.oid = o.oprnamespace
    where f.contype = 'f' and f.conparentid = 0 and (f.conrelid = of_child or f.confrelid = to_parent)
        -- PostgreSQL 18 has foreign keys that nobody looks after.
        and coalesce((to_jsonb(f) ->> 'conenforced')::boolean, true)
    group by f.oid, f.conrelid, f.confrelid, f.confdeltype, f.confupdtype
    order by f.oid
$$;

comment on function chrononaut._undo_references(oid, oid) is
    'Enforced foreign keys of one table, or to another one, and the operators parent = child.';


create or replace function chrononaut._undo_equal(
    left_values text[],
    operators text[],
    right_values text[])
    returns text
    language sql
    immutable
    set search_path = pg_catalog, pg_temp
as $$
    select string_agg(format('%s %s %s', v.l, v.o, v.r), ' and ')
    from unnest(left_values, operators, right_values) v(l, o, r)
$$;

comment on function chrononaut._undo_equal(text[], text[], text[]) is
    'The condition that values are equal, each by its operator.';


create or replace function chrononaut._undo_refers(
    parent_columns name[],
    operators text[],
    columns name[])
    returns text
    language sql
    immutable
    set search_path = pg_catalog, pg_temp
as $$
    select chrononaut._undo_equal(
        array(select format('l.%I', n) from unnest(parent_columns) n), operators,
        array(select format('c.%I', n) from unnest(columns) n))
$$;

comment on function chrononaut._undo_refers(name[], text[], name[]) is
    'The condition that a row c refers to a row l, by a foreign key.';


create or replace function chrononaut._undo_staying(scopes jsonb, child regclass, columns name[])
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    -- By place, so that no operators of the key's types are needed.
    select coalesce(string_agg(format(
            '(c.tableoid, c.ctid) not in (select u.part, u.place from (%s) u '
                'where u.place is not null and (u.operation = ''delete'' %s))',
            chrononaut._undo_rows(s.value, ', l.ctid as place, l.tableoid as part',
                ', p.place, p.part'),
            (select string_agg(format('or substr(u.wanted, %s, 1) = ''1''', e.ordinality), ' ')
                from jsonb_array_elements(s.value -> 'columns') with ordinality e
                where e.value ->> 'name' = any (columns))), ' and '), 'true')
    from jsonb_array_elements(scopes) s
    where (s.value ->> 'oid')::oid = child
$$;

comment on function chrononaut._undo_staying(jsonb, regclass, name[]) is
    'The condition that an undo neither deletes a row c nor lets it refer to another one.';


create or replace function chrononaut._undo_readable(target regclass)
    returns boolean
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select has_table_privilege(c.oid, 'select') and has_schema_privilege(c.relnamespace, 'usage')
    from pg_class c
    where c.oid = target
$$;

comment on function chrononaut._undo_readable(regclass) is
    'Whether the caller may look into a table that is not itself part of an undo.';


create or replace function chrononaut._undo_sets(scope jsonb, wanted text, columns name[])
    returns text
    language sql
    immutable
    set search_path = pg_catalog, pg_temp
as $$
    select coalesce(string_agg(format('substr(%s, %s, 1) = ''1''', wanted, e.ordinality), ' or '),
        'false')
    from jsonb_array_elements(scope -> 'columns') with ordinality e
    where e.value ->> 'name' = any (columns)
$$;

comment on function chrononaut._undo_sets(jsonb, text, name[]) is
    'The condition that an update of an undo sets one of some columns.';


create or replace function chrononaut._undo_referring(scope jsonb, scopes jsonb)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    -- Without an action it is enough that some row has the values in the end.
    select coalesce(string_agg(format(
            ', case when %s and exists (select from %s l join %s c on %s '
                'cross join lateral (select %s) referring '
                'where l.ctid = r.place and l.tableoid = r.part and %s and not (%s)) then %L end',
            f.cause, scope ->> 'live', f.child,
            chrononaut._undo_refers(f.parent_columns, f.operators, f.columns),
            (select string_agg(format('c.%I as v%s', n.name, n.position), ', ')
                from unnest(f.columns) with ordinality n(name, position)),
            chrononaut._undo_staying(scopes, f.child, f.columns),
            case when f.reaction <> 'a' then 'false'
                else chrononaut._undo_supplied(scopes, f.parent, f.parent_columns, f.operators,
                    array(select 'referring.v' || n from generate_subscripts(f.columns, 1) n)) end,
            format('rows of %s refer to it', f.child)), ''), '')
    from (
        select k.*, e.*
        from chrononaut._undo_references(to_parent => (scope ->> 'oid')::oid) k
        cross join lateral (values
            (k.action, 'r.operation = ''delete'''),
            (nullif(k.on_update, 'c'), format('r.operation = ''update'' and (%s)',
                chrononaut._undo_sets(scope, 'r.wanted', k.parent_columns)))) e(reaction, cause)
    ) f
    where f.reaction is not null and chrononaut._undo_readable(f.child)
$$;

comment on function chrononaut._undo_referring(jsonb, jsonb) is
    'Expressions: what refers to a row r that an undo deletes, or sets what is referred to.';


create or replace function chrononaut._undo_linked(scope jsonb, pattern text)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    -- One by one and by number: a column may be called as the row is.
    select coalesce(string_agg(format(pattern, e.value ->> 'history', e.ordinality), ''
        order by e.ordinality), '')
    from jsonb_array_elements(scope -> 'columns') with ordinality e
    join pg_attribute a
        on a.attrelid = (scope ->> 'oid')::oid and a.attname = e.value ->> 'name'
    where exists (
        select from pg_constraint f
        where f.contype = 'f' and (
            f.conrelid = a.attrelid and a.attnum = any (f.conkey)
            or f.confrelid = a.attrelid and a.attnum = any (f.confkey)))
$$;

comment on function chrononaut._undo_linked(jsonb, text) is
    'Writes the columns of foreign keys out: 1 the name in history, 2 the position in the scope.';


create or replace function chrononaut._undo_known(scope jsonb, names name[], alias text)
    returns text[]
    language sql
    immutable
    set search_path = pg_catalog, pg_temp
as $$
    select array_agg(format('%s.b%s::%s', alias, e.ordinality, e.value ->> 'cast')
        order by n.position)
    from unnest(names) with ordinality n(name, position)
    join jsonb_array_elements(scope -> 'columns') with ordinality e
        on e.value ->> 'name' = n.name::text
$$;

comment on function chrononaut._undo_known(jsonb, name[], text) is
    'Columns that _undo_linked wrote out, in their live types; fewer where they are not known.';


create or replace function chrononaut._undo_supplied(scopes jsonb, parent regclass,
    columns name[], operators text[], "values" text[])
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select format('exists (select from %s c where %s and %s)', parent,
            chrononaut._undo_equal(array(select format('c.%I', n) from unnest(columns) n),
                operators, "values"),
            chrononaut._undo_staying(scopes, parent, columns))
        || coalesce((
            select string_agg(format(
                ' or exists (select from (%s) u where u.operation in (''insert'', ''update'') and %s)',
                chrononaut._undo_rows(s.value,
                    chrononaut._undo_linked(s.value, ', b.%1$I as b%2$s'),
                    chrononaut._undo_linked(s.value, ', p.b%2$s')),
                chrononaut._undo_equal(chrononaut._undo_known(s.value, columns, 'u'),
                    operators, "values")), '')
            from jsonb_array_elements(scopes) s
            where (s.value ->> 'oid')::oid = parent), '')
$$;

comment on function chrononaut._undo_supplied(jsonb, regclass, name[], text[], text[]) is
    'The condition that a table has a row with certain values after an undo.';


create or replace function chrononaut._undo_orphans(scope jsonb, scopes jsonb)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select coalesce(string_agg(format(
            ', case when (r.operation = ''insert'' or r.operation = ''update'' and (%s)) and %s '
                'and not (%s) then %L end',
            chrononaut._undo_sets(scope, 'r.wanted', f.columns),
            (select string_agg(v || ' is not null', ' and ') from unnest(f.mine) v),
            chrononaut._undo_supplied(scopes, f.parent, f.parent_columns, f.operators, f.mine),
            format('the row of %s that it refers to is gone', f.parent)), ''), '')
    from (
        select p.*, chrononaut._undo_known(scope, p.columns, 'r') as mine
        from chrononaut._undo_references(of_child => (scope ->> 'oid')::oid) p
    ) f
    where cardinality(f.mine) = cardinality(f.columns) and chrononaut._undo_readable(f.parent)
$$;

comment on function chrononaut._undo_orphans(jsonb, jsonb) is
    'Expressions: what a row r would refer to after an undo, and is not there.';


create or replace function chrononaut._undo_unknown(scope jsonb)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    -- Before an insert a trigger may set the column: then only the undo itself can tell.
    select coalesce(string_agg(format(', case when r.operation = ''insert'' then %L end',
        format('the old value of column %I is not known, and it may not be null', a.attname)), ''
        order by a.attnum), '')
    from pg_attribute a
    where a.attrelid = (scope ->> 'oid')::oid and a.attnum > 0 and not a.attisdropped
        and a.attnotnull and not a.atthasdef and a.attidentity = ''
        and not exists (
            select from jsonb_array_elements((scope -> 'columns') || (scope -> 'key')) c
            where a.attname in (c ->> 'name', c ->> 'live'))
        and not exists (
            select from pg_trigger t
            where t.tgrelid = a.attrelid and t.tgtype & 7 = 7)
        and not exists (
            select from pg_type t where t.oid = a.atttypid and t.typdefault is not null)
$$;

comment on function chrononaut._undo_unknown(jsonb) is
    'Expressions: what a row r that an undo inserts cannot do without, and nobody knows.';


create or replace function chrononaut._undo_locked(scope jsonb)
    returns text
    language sql
    immutable
    set search_path = pg_catalog, pg_temp
as $$
    select case when (scope ->> 'lockable')::boolean then format(
            ', case when r.operation in (''update'', ''delete'') and r.row_key in ('
                'select k.key from chrononaut.record_locks k '
                'where k.enforced and k.relation::oid = %s) then %L end',
            scope ->> 'oid', 'the record is locked')
        else '' end
$$;

comment on function chrononaut._undo_locked(jsonb) is
    'An expression: whether a row r that an undo writes is locked, as far as the caller sees locks.';


create or replace function chrononaut._undo_taken_along(step jsonb)
    returns table (child regclass, parent regclass, columns name[], parent_columns name[],
        condition text, ids bigint[])
    language plpgsql
    stable
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
begin
    -- A reference that follows its row with ON UPDATE CASCADE still refers to that row.
    for child, parent, columns, parent_columns, condition in
        select f.child, f.parent, f.columns, f.parent_columns,
            chrononaut._undo_refers(f.parent_columns, f.operators, f.columns)
        from chrononaut._undo_references(to_parent => (step ->> 'oid')::oid) f
        where case step ->> 'operation'
            when 'delete' then f.action in ('c', 'n', 'd')
            when 'update' then f.on_update in ('n', 'd') end
    loop
        ids := step ->> 'ids';
        if step ->> 'operation' = 'update' then
            execute format(
                'select array_agg(m.id) from (select u.id, coalesce(u.wanted, $3) as wanted '
                    'from rows from (unnest($1), unnest($2)) u(id, wanted)) m where %s',
                chrononaut._undo_sets(step -> 'scope', 'm.wanted', parent_columns))
            into ids
            using coalesce(step ->> 'keys', step ->> 'ids')::bigint[],
                (step ->> 'wanted')::text[], step #>> '{patterns,0}';
        end if;
        if ids is not null then
            return next;
        end if;
    end loop;
end;
$$;

comment on function chrononaut._undo_taken_along(jsonb) is
    'Foreign keys by which a step of an undo would change rows c, and its rows that they refer to.';


create or replace function chrononaut._undo_guard(step jsonb, what text, scopes jsonb)
    returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v_scope jsonb := step -> 'scope';
    v_child record;
    v_key jsonb;
begin
    for v_child in select f.* from chrononaut._undo_taken_along(step) f loop
        execute format(
            'with k as materialized (select h.* from %s h where h.%s = any ($1)) '
            'select %s from k join %s l on %s join %s c on %s where %s and %s limit 1',
            chrononaut._undo_hits(v_scope), v_scope ->> 'change_id',
            (select format('jsonb_build_object(%s)', string_agg(format('%L, l.%I',
                    k ->> 'live', k ->> 'live'), ', '))
                from jsonb_array_elements(v_scope -> 'key') k),
            v_scope ->> 'live', chrononaut._undo_keys(v_scope, 'l', 'live', 'k', 'history'),
            v_child.child, v_child.condition,
            chrononaut._undo_staying(scopes, v_child.child, v_child.columns),
            case when v_child.child = v_child.parent and step ->> 'operation' = 'delete'
                then format('not exists (select from k o where %s)',
                    chrononaut._undo_keys(v_scope, 'c', 'live', 'o', 'history')) else 'true' end)
        into v_key
        using v_child.ids;
        if v_key is not null then
            perform chrononaut._undo_raise(v_scope,
                format('undo of %s would take rows of %s along that refer to row %s of %s',
                    what, v_child.child, v_key, v_scope ->> 'relation'),
                format('%s: rows of %s refer to it', v_key, v_child.child), v_child.parent_columns[1]);
        end if;
    end loop;
end;
$$;

comment on function chrononaut._undo_guard(jsonb, text, jsonb) is
    'Raises VH007 if a delete or update would take rows along that are not part of the undo.';


create or replace function chrononaut._undo_unique(scope jsonb, patterns jsonb)
    returns table (n bigint, value jsonb)
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select e.ordinality, e.value
    from jsonb_array_elements(scope -> 'columns') with ordinality e
    join pg_attribute a
        on a.attrelid = (scope ->> 'oid')::oid and a.attname = e.value ->> 'name'
    where exists (
            select from jsonb_array_elements_text(patterns) m(wanted)
            where substr(m.wanted, e.ordinality::integer, 1) = '1')
        and exists (
            select from pg_index i
            where i.indrelid = a.attrelid and i.indimmediate
                and (i.indisunique or i.indisexclusion)
                and (a.attnum = any (i.indkey) or exists (
                    select from pg_depend d
                    where d.classid = 'pg_class'::regclass and d.objid = i.indexrelid
                        and d.refclassid = 'pg_class'::regclass and d.refobjid = a.attrelid
                        and d.refobjsubid = a.attnum)))
$$;

comment on function chrononaut._undo_unique(jsonb, jsonb) is
    'The columns that an update sets and that have to be unique all the while.';


create or replace function chrononaut._undo_backwards(scope jsonb)
    returns text
    language sql
    immutable
    set search_path = pg_catalog, pg_temp
as $$
    -- Parameters: 1 and 2 the images of the rows and their marked columns, 3 those of all.
    select format(
        'select h.ctid as place, coalesce(p.wanted, $3) as wanted '
        'from rows from (pg_catalog.unnest($1), pg_catalog.unnest($2)) p(id, wanted) '
        'join %1$s b on b.%2$s operator(pg_catalog.=) p.id join %3$s h on %4$s '
        'where %5$s and h.%6$s operator(pg_catalog.=) ''U'' order by h.%2$s desc',
        chrononaut._undo_hits(scope), scope ->> 'change_id', scope ->> 'history',
        chrononaut._undo_keys(scope, 'h', 'history', 'b', 'history'),
        scope ->> 'condition', scope ->> 'operation')
$$;

comment on function chrononaut._undo_backwards(jsonb) is
    'A query: the updates of rows that an undo updates, the last one first.';


create or replace function chrononaut._undo_exchange(step jsonb)
    returns void
    language plpgsql
as $$
#variable_conflict use_variable
declare
    v_scope jsonb := step -> 'scope';
    v_update text;
    v_change record;
begin
    -- The states that the rows went through were possible, so they are on the way back. An
    -- image is found again by its place: PL/pgSQL passes on no rows of one table, then another.
    select pg_catalog.format(
        'update %s l set %s from %s h where h.ctid operator(pg_catalog.=) $1 and %s '
            'and row(%s)::record operator(pg_catalog.*<>) row(%s)::record',
        v_scope ->> 'live',
        pg_catalog.string_agg(pg_catalog.format(
            '%1$I = case when pg_catalog.substr($2, %2$s, 1) operator(pg_catalog.=) ''1'' '
                'then h.%3$I::%4$s else l.%1$I end',
            u.value ->> 'name', u.n, u.value ->> 'history', u.value ->> 'cast'), ', '),
        v_scope ->> 'history',
        chrononaut._undo_keys(v_scope, 'l', 'live', 'h', 'history'),
        pg_catalog.string_agg(u.value ->> 'value', ', ' order by u.n),
        pg_catalog.string_agg(pg_catalog.format('h.%I', u.value ->> 'history'), ', '
            order by u.n))
    into v_update
    from chrononaut._undo_unique(v_scope, step -> 'patterns') u
    having pg_catalog.count(*) operator(pg_catalog.>) 0;
    if v_update is null then
        return;
    end if;
    for v_change in
        execute chrononaut._undo_backwards(v_scope)
        using (step ->> 'ids')::bigint[], (step ->> 'wanted')::text[], step #>> '{patterns,0}'
    loop
        execute v_update using v_change.place, v_change.wanted;
    end loop;
end;
$$;

comment on function chrononaut._undo_exchange(jsonb) is
    'Takes unique values back change by change, so that rows can exchange them.';


create or replace function chrononaut._undo_together(steps jsonb)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select format('with %s select array[%s]',
        string_agg(format('w%s as (%s returning 1)', s.n,
            chrononaut._undo_statement(s.step -> 'scope', s.step, array[
                format('pg_catalog.jsonb_extract_path_text($1, ''%s'', ''ids'')::bigint[]', s.n),
                format('pg_catalog.jsonb_extract_path_text($1, ''%s'', ''keys'')::bigint[]', s.n),
                format('pg_catalog.jsonb_extract_path_text($1, ''%s'', ''wanted'')::text[]',
                    s.n)])), ', ' order by s.n),
        string_agg(format('(select pg_catalog.count(*) from w%s)', s.n), ', ' order by
            array_position('{delete,update,insert}', s.step ->> 'operation'), s.n))
    from (
        select e.value as step, e.ordinality - 1 as n
        from jsonb_array_elements(steps) with ordinality e
    ) s
$$;

comment on function chrononaut._undo_together(jsonb) is
    'One statement with all steps of an undo: it returns how many rows were written.';


create or replace function chrononaut._undo_at_once(
    steps jsonb,
    scopes jsonb,
    what text,
    force boolean)
    returns void
    language plpgsql
as $$
#variable_conflict use_variable
declare
    v_step jsonb;
    v_counts bigint[];
    v_number integer := 0;
begin
    -- Foreign keys are looked at when a statement is done: so rows may refer to each other.
    if not force then
        perform chrononaut._undo_guard(s.value, what, scopes)
        from pg_catalog.jsonb_array_elements(steps) s;
    end if;
    execute chrononaut._undo_together(steps) into v_counts using steps;
    for v_step in
        select s.value from pg_catalog.jsonb_array_elements(steps) with ordinality s
        order by pg_catalog.array_position('{delete,update,insert}', s.value ->> 'operation'),
            s.ordinality
    loop
        v_number := v_number + 1;
        perform chrononaut._undo_count(v_step, what, v_counts[v_number]);
    end loop;
end;
$$;

comment on function chrononaut._undo_at_once(jsonb, jsonb, text, boolean) is
    'Executes all steps of an undo as one statement.';
