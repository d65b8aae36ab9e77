-- What triggers and foreign keys write beside an undo, into rows that it has put back.
--
-- A trigger that counts rows of one table in another one counts those of an undo, too, while
-- the undo sets the counter itself. And a foreign key that sets null what refers to a deleted
-- row, does so after the statement: also where that statement made it refer to the value, which
-- another row has by then. So such rows get once more what the undo set. Runs with the
-- caller's rights. Safe to replay.

create or replace function chrononaut._undo_meets_triggers(scopes jsonb)
    returns boolean
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select exists (
        select from pg_trigger t
        join jsonb_array_elements(scopes) s on (s ->> 'oid')::oid = t.tgrelid
        where not t.tgisinternal and t.tgenabled <> 'D'
            and t.tgname !~ '^00_chrononaut_' and t.tgname <> 'zz_chrononaut_row_version')
$$;

comment on function chrononaut._undo_meets_triggers(jsonb) is
    'Whether triggers of the application fire when an undo writes.';


create or replace function chrononaut._undo_meets_actions(scopes jsonb)
    returns boolean
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select exists (
        select from pg_constraint f
        join jsonb_array_elements(scopes) c on (c ->> 'oid')::oid = f.conrelid
        join jsonb_array_elements(scopes) p on (p ->> 'oid')::oid = f.confrelid
        where f.contype = 'f' and (f.confdeltype in ('c', 'n', 'd') or f.confupdtype in ('c', 'n', 'd')))
$$;

comment on function chrononaut._undo_meets_actions(jsonb) is
    'Whether foreign keys between the tables of an undo change what refers to its rows.';


create or replace function chrononaut._undo_as_update(step jsonb)
    returns jsonb
    language sql
    immutable
    set search_path = pg_catalog, pg_temp
as $$
    -- All columns of a row that was inserted are as it had them.
    select case when step ->> 'operation' <> 'insert' then step
        else step || jsonb_build_object('wanted', null, 'patterns', jsonb_build_array((
            select string_agg(case when (c.value ->> 'always')::boolean then '0' else '1' end, ''
                order by c.ordinality)
            from jsonb_array_elements(step #> '{scope,columns}') with ordinality c))) end
$$;

comment on function chrononaut._undo_as_update(jsonb) is
    'The step that updates the rows which a step of an undo has inserted or updated.';


create or replace function chrononaut._undo_beside(scope jsonb, own bigint)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    -- Parameters: 1 the images of the rows, 2 their marked columns, 3 those of all. What a
    -- trigger sets in the row that is being written, is one change with it, and stays.
    select format(
        'rows from (pg_catalog.unnest($1), pg_catalog.unnest($2)) u(id, marks) '
        'cross join lateral (select u.id, coalesce(u.marks, $3) as wanted) p '
        'join %1$s b on b.%2$s operator(pg_catalog.=) p.id '
        'where %3$s and (%4$s) and (select pg_catalog.count(*) from %5$s x '
            'where %6$s and x.%7$s operator(pg_catalog.=) %8$s) operator(pg_catalog.>) 1',
        chrononaut._undo_hits(scope),
        scope ->> 'change_id',
        chrononaut._undo_keys(scope, 'l', 'live', 'b', 'history'),
        (select string_agg(format('pg_catalog.substr(p.wanted, %s, 1) operator(pg_catalog.=) ''1'' '
                    'and row(%s)::record operator(pg_catalog.*<>) row(b.%I)::record',
                e.ordinality, e.value ->> 'value', e.value ->> 'history'), ' or ')
            from jsonb_array_elements(scope -> 'columns') with ordinality e),
        scope ->> 'history',
        chrononaut._undo_keys(scope, 'x', 'history', 'b', 'history'),
        scope ->> 'transaction_id',
        own)
$$;

comment on function chrononaut._undo_beside(jsonb, bigint) is
    'The end of a statement: rows l of an undo that were written again after it, and differ.';


create or replace function chrononaut._undo_settle(step jsonb)
    returns void
    language plpgsql
as $$
#variable_conflict use_variable
declare
    v_scope jsonb := step -> 'scope';
    v_step jsonb := chrononaut._undo_as_update(step);
    v_rest text := chrononaut._undo_beside(v_scope, chrononaut._own_transaction());
    v_needed boolean;
begin
    -- An UPDATE of no row would ask for the right to it, and fire triggers of statements.
    execute pg_catalog.format('select exists (select from %s l, %s)',
        v_scope ->> 'live', v_rest)
    into v_needed
    using (v_step ->> 'ids')::bigint[], (v_step ->> 'wanted')::text[],
        v_step #>> '{patterns,0}';
    if v_needed then
        execute pg_catalog.format('update %s l set %s from %s', v_scope ->> 'live',
            chrononaut._undo_assignments(v_scope, v_step), v_rest)
        using (v_step ->> 'ids')::bigint[], (v_step ->> 'wanted')::text[],
            v_step #>> '{patterns,0}';
    end if;
end;
$$;

comment on function chrononaut._undo_settle(jsonb) is
    'Puts back once more what triggers changed of the rows that a step has written.';


create or replace function chrononaut._undo_keep(step jsonb, ids bigint[], what text, way text)
    returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v_scope jsonb := step -> 'scope';
    v_key jsonb;
begin
    execute format(
        'select %s from %s b where b.%s = any ($1) and not exists (select from %s l where %s) limit 1',
        (select format('jsonb_build_object(%s)', string_agg(format('%L, b.%I',
                k ->> 'live', k ->> 'history'), ', '))
            from jsonb_array_elements(v_scope -> 'key') k),
        chrononaut._undo_hits(v_scope), v_scope ->> 'change_id', v_scope ->> 'live',
        chrononaut._undo_keys(v_scope, 'l', 'live', 'b', 'history'))
    into v_key
    using ids;
    if v_key is not null then
        raise exception 'undo of % would lose row % of %: what it refers to goes on the way',
            what, v_key, v_scope ->> 'relation'
            using errcode = case way when 'updates last' then 'VH007'
                    else 'triggered_action_exception' end,
                  schema = v_scope ->> 'schema',
                  table = v_scope ->> 'table',
                  hint = 'Nothing was undone. Undo it change by change.';
    end if;
end;
$$;

comment on function chrononaut._undo_keep(jsonb, bigint[], text, text) is
    'Raises if a row with the key of one of some changes is gone: 09000, or VH007 on the last way.';


create or replace function chrononaut._undo_settle_all(
    steps jsonb,
    scopes jsonb,
    what text,
    force boolean,
    way text)
    returns void
    language plpgsql
as $$
#variable_conflict use_variable
declare
    v_step jsonb;
    -- Else what goes was looked at before each step, and nothing referred to it.
    v_acted boolean := (force or way in ('at once', 'exchanged'))
        and chrononaut._undo_meets_actions(scopes);
begin
    if not v_acted and not chrononaut._undo_meets_triggers(scopes) then
        return;
    end if;
    for v_step in
        select s.value from pg_catalog.jsonb_array_elements(steps) s
        where s.value ->> 'operation' operator(pg_catalog.<>) 'delete'
    loop
        if v_acted then
            perform chrononaut._undo_keep(v_step, (v_step ->> 'ids')::bigint[], what, way);
        end if;
        perform chrononaut._undo_settle(v_step);
    end loop;
end;
$$;

comment on function chrononaut._undo_settle_all(jsonb, jsonb, text, boolean, text) is
    'Puts back once more what triggers and foreign keys changed of what an undo wrote.';
