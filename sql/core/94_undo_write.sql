-- The writes of an undo, their order, and the functions that users call.
--
-- What writes to live tables has no search path of its own, so that the application's
-- triggers find what they always find. Runs with the caller's rights. Safe to replay.

create or replace function chrononaut._undo_statement(
    scope jsonb,
    step jsonb,
    arguments text[] default '{$1,$2,$3}')
    returns text
    language sql
    immutable
    set search_path = pg_catalog, pg_temp
as $$
    -- Arguments: 1 changes with the images (for a delete, with the keys), 2 those with the
    -- keys where they are others, 3 marked columns where not all rows have the same.
    select case step ->> 'operation'
        when 'delete' then format(
            'delete from %1$s l using pg_catalog.unnest(%5$s) p(id), %2$s k '
                'where k.%3$s operator(pg_catalog.=) p.id and %4$s',
            scope ->> 'live', t.hits, scope ->> 'change_id', t.same_key, arguments[1])
        when 'insert' then format(
            'insert into %1$s (%2$s) overriding system value '
                'select %3$s from pg_catalog.unnest(%6$s) p(id) '
                'join %4$s b on b.%5$s operator(pg_catalog.=) p.id order by p.id',
            scope ->> 'relation',
            (select string_agg(quote_ident(c.value ->> 'name'), ', ' order by c.ordinality)
                from jsonb_array_elements(scope -> 'columns') with ordinality c),
            (select string_agg(format('b.%I::%s', c.value ->> 'history', c.value ->> 'cast'),
                    ', ' order by c.ordinality)
                from jsonb_array_elements(scope -> 'columns') with ordinality c),
            t.hits, scope ->> 'change_id', arguments[1])
        else format(
            'update %1$s l set %2$s '
                'from rows from (pg_catalog.unnest(%7$s), pg_catalog.unnest(%8$s), '
                    'pg_catalog.unnest(%9$s)) p(id, key_id, wanted) '
                'join %3$s b on b.%4$s operator(pg_catalog.=) p.id %5$s where %6$s',
            scope ->> 'live',
            chrononaut._undo_assignments(scope, step),
            t.hits,
            scope ->> 'change_id',
            case when (scope ->> 'pairs')::boolean then format(
                'join %s k on k.%s operator(pg_catalog.=) p.key_id',
                t.hits, scope ->> 'change_id') else '' end,
            case when (scope ->> 'pairs')::boolean then t.same_key
                else chrononaut._undo_keys(scope, 'l', 'live', 'b', 'history') end,
            arguments[1], arguments[2], arguments[3])
        end
    from (
        select chrononaut._undo_hits(scope) as hits,
            chrononaut._undo_keys(scope, 'l', 'live', 'k', 'history') as same_key
    ) t
$$;

comment on function chrononaut._undo_statement(jsonb, jsonb, text[]) is
    'The one statement that undoes all changes of a table by one operation.';


create or replace function chrononaut._undo_assignments(scope jsonb, step jsonb)
    returns text
    language sql
    immutable
    set search_path = pg_catalog, pg_temp
as $$
    select string_agg(format(
            case when c.always then '%1$I = b.%2$I::%3$s'
                else '%1$I = case when pg_catalog.substr(p.wanted, %5$s, 1) '
                    'operator(pg_catalog.=) ''1'' then b.%2$I::%3$s else l.%1$I end' end,
            c.value ->> 'name', c.value ->> 'history', c.value ->> 'cast', null, c.ordinality),
        ', ' order by c.ordinality)
    from (
        select e.value, e.ordinality,
            bool_and(substr(m.wanted, e.ordinality::integer, 1) = '1') as always,
            bool_or(substr(m.wanted, e.ordinality::integer, 1) = '1') as sometimes
        from jsonb_array_elements(scope -> 'columns') with ordinality e
        cross join jsonb_array_elements_text(step -> 'patterns') m(wanted)
        group by e.value, e.ordinality
    ) c
    where c.sometimes
$$;

comment on function chrononaut._undo_assignments(jsonb, jsonb) is
    'The SET clause of an undo: columns that no row needs stay out of it.';


create or replace function chrononaut._undo_precedes(
    "before" jsonb,
    "after" jsonb,
    constraint_row pg_constraint)
    returns integer
    language sql
    immutable
    set search_path = pg_catalog, pg_temp
as $$
    -- Parents come before the children that refer to them, and go after them.
    select case
        when concat("before" ->> 'operation', ' ', "after" ->> 'operation') = any (case
            when ("before" ->> 'oid')::oid = constraint_row.confrelid
                and ("after" ->> 'oid')::oid = constraint_row.conrelid
                then '{insert insert,insert update,update update,update insert}'::text[]
            else '{}' end || case
            when ("before" ->> 'oid')::oid = constraint_row.conrelid
                and ("after" ->> 'oid')::oid = constraint_row.confrelid
                then '{update delete,delete delete,delete update}'::text[]
            else '{}' end)
        then case
            when "after" ->> 'operation' = 'delete' and constraint_row.confdeltype in ('c', 'n', 'd')
                then 4
            when constraint_row.condeferrable then 2
            else 3 end
        else 0 end
$$;

comment on function chrononaut._undo_precedes(jsonb, jsonb, pg_constraint) is
    'How much it matters that one step is done before another one: 4 a lot, 0 not at all.';


create or replace function chrononaut._undo_waits(steps jsonb)
    returns table (step integer, other integer, weight integer)
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    with step as (
        select s.ordinality::integer - 1 as number, s.value, (s.value ->> 'oid')::oid as oid,
            array_position('{delete,update,insert}', s.value ->> 'operation') as rank
        from jsonb_array_elements(steps) with ordinality s
    )
    select w.step, w.other, max(w.weight)
    from (
        -- Within a table rows go before others come, for the sake of its unique constraints.
        select l.number as step, e.number as other, 1 as weight
        from step e
        join step l on l.oid = e.oid and e.rank < l.rank
        union all
        select l.number, e.number, chrononaut._undo_precedes(e.value, l.value, c)
        from pg_constraint c
        join step e on e.oid in (c.conrelid, c.confrelid)
        join step l on l.oid in (c.conrelid, c.confrelid) and l.number <> e.number
        where c.contype = 'f'
    ) w
    where w.weight > 0
    group by w.step, w.other
$$;

comment on function chrononaut._undo_waits(jsonb) is
    'Which steps of an undo want to wait for which others, and how much, by their numbers from 0.';


create or replace function chrononaut._undo_order(steps jsonb, way text)
    returns integer[]
    language plpgsql
    stable
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v_steps integer[];
    v_others integer[];
    v_weights integer[];
    v_done integer[] := '{}';
begin
    select array_agg(w.step), array_agg(w.other), array_agg(w.weight)
    into v_steps, v_others, v_weights
    from chrononaut._undo_waits(steps) w;
    while cardinality(v_done) < jsonb_array_length(steps) loop
        v_done := v_done || (
            select s.number
            from generate_series(0, jsonb_array_length(steps) - 1) s(number)
            left join unnest(v_steps, v_others, v_weights) w(step, other, weight)
                on w.step = s.number and w.other <> all (v_done)
            where s.number <> all (v_done)
            group by s.number
            order by case when way = 'updates last'
                    then steps -> s.number ->> 'operation' = 'update' end,
                case when way = 'updates last'
                    then steps -> s.number ->> 'operation' = 'insert' end,
                max(w.weight) nulls first, s.number
            limit 1);
    end loop;
    return v_done;
end;
$$;

comment on function chrononaut._undo_order(jsonb, text) is
    'The order of the steps of an undo: one by one, what least has to wait for others.';


create or replace function chrononaut._undo_constraints(scopes jsonb, deferred_too boolean)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select string_agg(distinct format('%I.%I', n.nspname, c.conname), ', ')
    from pg_constraint c
    join pg_namespace n on n.oid = c.connamespace
    join jsonb_array_elements(scopes) s on (s ->> 'oid')::oid in (c.conrelid, c.confrelid)
    where c.condeferrable and c.conparentid = 0
        and (deferred_too or not c.condeferred)
$$;

comment on function chrononaut._undo_constraints(jsonb, boolean) is
    'The deferrable constraints of the tables of an undo, with or without those deferred anyway.';


create or replace function chrononaut._undo_say(tie jsonb)
    returns text
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v_said text := nullif(current_setting('chrononaut.change_info', true), '');
    v_info jsonb := chrononaut.change_info();
begin
    if v_said is not null then
        v_info := v_said::jsonb;
    end if;
    perform set_config('chrononaut.change_info', (v_info || jsonb_build_object('extra', case
        when jsonb_typeof(v_info -> 'extra') = 'object' then v_info -> 'extra' || tie
        else tie end))::text, true);
    return v_said;
end;
$$;

comment on function chrononaut._undo_say(jsonb) is
    'Adds to the extras of the change info what the changes to come are for; returns the old text.';


create or replace function chrononaut._undo_check(scope jsonb)
    returns void
    language plpgsql
    stable
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
begin
    if (scope ->> 'strict')::boolean
        and nullif(current_setting('chrononaut.change_info', true), '') is null then
        perform chrononaut._refuse((scope ->> 'oid')::oid,
            format('a write to %s needs change info', scope ->> 'relation'),
            'Begin with: select chrononaut.set_change_info(user_id => ..., rationale => ...);',
            'VH002');
    end if;
end;
$$;

comment on function chrononaut._undo_check(jsonb) is
    'Raises VH002 where a table asks for change info and none was said.';


create or replace function chrononaut._undo_tell(scope jsonb)
    returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v_column record;
begin
    for v_column in
        select s.key as name, s.value as reason
        from jsonb_each_text(scope -> 'skipped') s
        union all
        select h.name, 'is hidden: its old value is not known'
        from jsonb_array_elements_text(scope -> 'unknown') h(name)
    loop
        raise notice 'column % of % is left alone: it %',
            quote_ident(v_column.name), scope ->> 'relation', v_column.reason;
    end loop;
end;
$$;

comment on function chrononaut._undo_tell(jsonb) is
    'Says which columns cannot be put back, and why.';


create or replace function chrononaut._undo_refuse(scope jsonb, what text, conflicts bigint)
    returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v_list text;
    v_first text;
    v_column text;
begin
    execute format(
        'select string_agg(format(''%%s: %%s'', d.k, d.c), E''\n''), (array_agg(d.k || '' '' || d.c))[1], '
            '(array_agg(split_part(d.c, '', '', 1)))[1] '
        'from (select x.key::text, x.conflict from (%s) x(relation, operation, rows, key, '
            'before, after, conflict) limit 10) d(k, c)',
        chrononaut._undo_details(scope, true))
    into v_list, v_first, v_column;
    v_column := regexp_replace(v_column,
        ' ?(changed|deleted|created again|hidden columns changed) since$', '');
    perform chrononaut._undo_raise(scope,
        format('undo of %s would overwrite later changes: %s %s%s', what, scope ->> 'relation',
            v_first, case when conflicts > 1 then format(', and %s more', conflicts - 1) else '' end),
        v_list, v_column);
end;
$$;

comment on function chrononaut._undo_refuse(jsonb, text, bigint) is
    'Raises VH007 with the conflicts of a scope.';


create or replace function chrononaut._undo_raise(
    scope jsonb,
    problem text,
    list text,
    column_name text)
    returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
begin
    raise exception '%', problem
        using errcode = 'VH007',
              schema = scope ->> 'schema',
              table = scope ->> 'table',
              column = coalesce(column_name, ''),
              detail = coalesce(list, ''),
              hint = 'Look at it with dry_run => true; force => true overwrites.';
end;
$$;

comment on function chrononaut._undo_raise(jsonb, text, text, text) is
    'Raises VH007.';


create or replace function chrononaut._undo_joins(scope jsonb)
    returns text
    language sql
    set search_path = pg_catalog, pg_temp
as $$
    -- Where statistics are older than the changes, the planner takes them for one or two.
    -- Of changed keys nothing but the number of a change joins them, which no index has.
    select set_config('enable_nestloop', case
            when (scope ->> 'pairs')::boolean and (scope ->> 'total')::bigint > 1000 then 'off'
            else o.setting end, true)
    from (select current_setting('enable_nestloop') as setting) o
$$;

comment on function chrononaut._undo_joins(jsonb) is
    'Lets the planner join many changes by hashing, where it would not know better.';


create or replace function chrononaut._undo_plan(scopes jsonb, what text, force boolean)
    returns jsonb
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v_scope jsonb;
    v_step record;
    v_steps jsonb := '[]';
    v_joins text := current_setting('enable_nestloop');
begin
    for v_scope in select s from jsonb_array_elements(scopes) s loop
        perform chrononaut._undo_check(v_scope);
        perform chrononaut._undo_joins(v_scope);
        for v_step in execute format(
            'select * from (%s) x(operation, rows, ids, keys, wanted, patterns, conflicts) '
                'order by x.conflicts desc', chrononaut._undo_steps(v_scope))
        loop
            if v_step.conflicts > 0 and not force then
                perform chrononaut._undo_refuse(v_scope, what, v_step.conflicts);
            end if;
            v_steps := v_steps || (to_jsonb(v_step) || jsonb_build_object(
                'oid', v_scope -> 'oid', 'scope', v_scope));
        end loop;
        perform set_config('enable_nestloop', v_joins, true);
    end loop;
    return v_steps;
end;
$$;

comment on function chrononaut._undo_plan(jsonb, text, boolean) is
    'Returns the steps of an undo; VH007 if there is a conflict.';


create or replace function chrononaut._undo_verify(scopes jsonb, what text, seen pg_snapshot)
    returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v_own jsonb := jsonb_build_object('own', chrononaut._own_transaction());
    v_scope jsonb;
    v_overtaken boolean;
begin
    -- Locking all rows beforehand would have them written twice.
    for v_scope in select s from jsonb_array_elements(scopes) s loop
        execute chrononaut._undo_overtaken(v_scope || v_own, seen) into v_overtaken;
        if v_overtaken then
            raise exception 'undo of %: others changed rows of % at the same time',
                what, v_scope ->> 'relation'
                using errcode = 'serialization_failure',
                      schema = v_scope ->> 'schema',
                      table = v_scope ->> 'table',
                      hint = 'Nothing was undone. Run it again.';
        end if;
    end loop;
end;
$$;

comment on function chrononaut._undo_verify(jsonb, text, pg_snapshot) is
    'Raises if what was decided from a snapshot may have been wrong by the time it was written.';


create or replace function chrononaut._undo_count(step jsonb, what text, written bigint)
    returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
begin
    if written <> (step ->> 'rows')::bigint then
        perform chrononaut._undo_verify(jsonb_build_array(step -> 'scope'), what,
            (step #>> '{scope,seen}')::pg_snapshot);
        raise exception 'undo of %: % of % rows of % took the %', what, written,
            step ->> 'rows', step #>> '{scope,relation}', step ->> 'operation'
            using errcode = 'object_not_in_prerequisite_state',
                  schema = step #>> '{scope,schema}',
                  table = step #>> '{scope,table}',
                  hint = 'Nothing was undone. A trigger, a rule or a policy of the table kept the others.';
    end if;
end;
$$;

comment on function chrononaut._undo_count(jsonb, text, bigint) is
    'Raises unless a step wrote all of its rows.';


create or replace function chrononaut._undo_write(step jsonb, what text, force boolean)
    returns void
    language plpgsql
as $$
#variable_conflict use_variable
declare
    v_count bigint;
    v_joins text := pg_catalog.current_setting('enable_nestloop');
begin
    if not force then
        perform chrononaut._undo_guard(step, what, '[]');
    end if;
    perform chrononaut._undo_joins(step -> 'scope');
    execute chrononaut._undo_statement(step -> 'scope', step)
    using (step ->> 'ids')::bigint[], (step ->> 'keys')::bigint[], (step ->> 'wanted')::text[];
    get diagnostics v_count = row_count;
    perform pg_catalog.set_config('enable_nestloop', v_joins, true);
    perform chrononaut._undo_count(step, what, v_count);
end;
$$;

comment on function chrononaut._undo_write(jsonb, text, boolean) is
    'Executes one step of an undo, as the caller and on the caller''s search path.';


create or replace function chrononaut._undo_try(
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
    v_deferred text := chrononaut._undo_constraints(scopes, true);
    v_immediate text := chrononaut._undo_constraints(scopes, false);
    v_number integer;
begin
    if v_deferred is not null then
        execute 'set constraints ' || v_deferred || ' deferred';
    end if;
    if way = 'exchanged' then
        perform chrononaut._undo_exchange(s.value)
        from pg_catalog.jsonb_array_elements(steps) s
        where s.value ->> 'operation' operator(pg_catalog.=) 'update';
    end if;
    if way in ('at once', 'exchanged') then
        perform chrononaut._undo_at_once(steps, scopes, what, force);
    else
        foreach v_number in array chrononaut._undo_order(chrononaut._undo_outline(steps), way) loop
            if way = 'backwards' and steps -> v_number ->> 'operation' = 'update' then
                perform chrononaut._undo_exchange(steps -> v_number);
            elsif way = 'updates last' and steps -> v_number ->> 'operation' = 'update' then
                perform chrononaut._undo_keep(steps -> v_number, coalesce(
                    steps -> v_number ->> 'keys', steps -> v_number ->> 'ids')::bigint[], what, way);
            end if;
            perform chrononaut._undo_write(steps -> v_number, what, force);
        end loop;
    end if;
    perform chrononaut._undo_settle_all(steps, scopes, what, force, way);
    if v_immediate is not null then
        execute 'set constraints ' || v_immediate || ' immediate';
    end if;
end;
$$;

comment on function chrononaut._undo_try(jsonb, jsonb, text, boolean, text) is
    'Executes the steps of an undo: in the order of the foreign keys, or by a detour.';


create or replace function chrononaut._undo_explain(
    steps jsonb,
    state text,
    message text,
    detail text,
    place text[])
    returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v_unknown boolean := state = '23502' and not exists (
        select from jsonb_array_elements(steps) s
        cross join jsonb_array_elements(s #> '{scope,columns}') c
        where s #>> '{scope,schema}' = place[1] and s #>> '{scope,table}' = place[2]
            and c ->> 'name' = place[3]);
begin
    raise exception '%', case when v_unknown
            then format('rows of %I.%I cannot be brought back: the old value of column %I is not known, '
                'and it may not be null', place[1], place[2], place[3])
            else message end
        using errcode = state,
              detail = detail,
              schema = place[1],
              table = place[2],
              column = place[3],
              constraint = place[4],
              hint = case
                when v_unknown then 'Nothing was written. Give the column a default for the time being.'
                when state in ('23503', '23001') then 'Nothing was written. Restore what is '
                    'referred to first, or change what refers to it.'
                when state = '23514' then 'Nothing was written. The old values fail the check as '
                    'it is now, or beside later changes of other columns, which stay.'
                when state in ('22001', '22003') then 'Nothing was written. An old value does not '
                    'fit into the type that its column has now.'
                else 'Nothing was written. Change the row that has the value now; where rows '
                    'exchange values, the constraint has to be deferrable.' end;
end;
$$;

comment on function chrononaut._undo_explain(jsonb, text, text, text, text[]) is
    'Raises the error of a write again, with what can be done about it.';


create or replace function chrononaut._undo_detour(way text, state text)
    returns text
    language sql
    immutable
    set search_path = pg_catalog, pg_temp
as $$
    -- PostgreSQL 18 has a code of its own for foreign keys that restrict: 23001.
    select case
        when state in ('23503', '23001', 'VH007') then
            case when way in ('in order', 'backwards') then 'at once' end
        -- A row of the undo went along with what it refers to.
        when state = '09000' then
            case when way in ('in order', 'backwards') then 'at once'
                when way in ('at once', 'exchanged') then 'updates last' end
        when state in ('23505', '23P01') then
            case way when 'in order' then 'backwards' when 'backwards' then 'at once'
                when 'at once' then 'exchanged' end
        end
$$;

comment on function chrononaut._undo_detour(text, text) is
    'The way that an undo tries next, after an error on another one; null if there is none.';


create or replace function chrononaut._undo_all(
    steps jsonb,
    scopes jsonb,
    what text,
    force boolean,
    way text default 'in order')
    returns void
    language plpgsql
as $$
#variable_conflict use_variable
declare
    v_detour text;
    v_message text;
    v_detail text;
    v_schema text;
    v_table text;
    v_column text;
    v_constraint text;
begin
    perform chrononaut._undo_try(steps, scopes, what, force, way);
exception
    when foreign_key_violation or restrict_violation or not_null_violation or check_violation
        or unique_violation or exclusion_violation or string_data_right_truncation
        or numeric_value_out_of_range or triggered_action_exception or sqlstate 'VH007' then
        v_detour := chrononaut._undo_detour(way, sqlstate);
        if v_detour is not null then
            perform chrononaut._undo_all(steps, scopes, what, force, v_detour);
            return;
        elsif sqlstate in ('VH007', '09000') then
            raise;
        end if;
        get stacked diagnostics v_message = message_text, v_detail = pg_exception_detail,
            v_schema = schema_name, v_table = table_name, v_column = column_name,
            v_constraint = constraint_name;
        perform chrononaut._undo_verify(scopes, what,
            (scopes #>> '{0,seen}')::pg_catalog.pg_snapshot);
        perform chrononaut._undo_explain(steps, sqlstate, v_message, v_detail,
            array[v_schema, v_table, v_column, v_constraint]);
end;
$$;

comment on function chrononaut._undo_all(jsonb, jsonb, text, boolean, text) is
    'Executes the steps of an undo, all of them or none; by a detour if constraints ask for it.';


create or replace function chrononaut._undo_outline(steps jsonb)
    returns jsonb
    language sql
    immutable
    set search_path = pg_catalog, pg_temp
as $$
    select coalesce(jsonb_agg(jsonb_build_object('oid', s.value #> '{scope,oid}',
        'operation', s.value -> 'operation') order by s.ordinality), '[]')
    from jsonb_array_elements(steps) with ordinality s
$$;

comment on function chrononaut._undo_outline(jsonb) is
    'Table and operation of each step, without the rows.';


create or replace function chrononaut._undo_shown(scope jsonb)
    returns table (relation text, operation text, rows bigint, key jsonb, before jsonb,
        after jsonb, conflict text)
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v_joins text := current_setting('enable_nestloop');
begin
    perform chrononaut._undo_joins(scope);
    return query execute chrononaut._undo_details(scope, false);
    perform set_config('enable_nestloop', v_joins, true);
end;
$$;

comment on function chrononaut._undo_shown(jsonb) is
    'What an undo would do, row by row: read on the core''s own search path.';


create or replace function chrononaut._undo_options(dry_run boolean, force boolean)
    returns void
    language plpgsql
    immutable
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
begin
    if num_nulls(dry_run, force) > 0 then
        raise exception '% is null', case when dry_run is null then 'dry_run' else 'force' end
            using errcode = 'null_value_not_allowed',
                  hint = 'Pass true or false.';
    end if;
end;
$$;

comment on function chrononaut._undo_options(boolean, boolean) is
    'Raises if an option of an undo is null: neither yes nor no.';


create or replace function chrononaut._undo(
    scopes jsonb,
    what text,
    tie jsonb,
    seen pg_snapshot,
    dry_run boolean,
    force boolean,
    summary boolean)
    returns table (relation text, operation text, rows bigint, key jsonb, before jsonb,
        after jsonb, conflict text)
    language plpgsql
as $$
#variable_conflict use_variable
declare
    v_scope jsonb;
    v_steps jsonb;
    v_said text;
begin
    scopes := (
        select pg_catalog.jsonb_agg(s || pg_catalog.jsonb_build_object('seen', seen))
        from pg_catalog.jsonb_array_elements(scopes) s);
    for v_scope in select s from pg_catalog.jsonb_array_elements(scopes) s loop
        perform chrononaut._undo_tell(v_scope);
    end loop;
    if not dry_run then
        v_steps := chrononaut._undo_plan(scopes, what, force);
    end if;
    if dry_run or not summary then
        for v_scope in select s from pg_catalog.jsonb_array_elements(scopes) s loop
            return query select d.* from chrononaut._undo_shown(case when dry_run
                then v_scope || pg_catalog.jsonb_build_object(
                    'referring', chrononaut._undo_referring(v_scope, scopes)
                        || chrononaut._undo_orphans(v_scope, scopes)
                        || chrononaut._undo_unknown(v_scope)
                        || chrononaut._undo_locked(v_scope),
                    'linked', chrononaut._undo_linked(v_scope, ', b.%1$I as b%2$s'),
                    'links', chrononaut._undo_linked(v_scope, ', p.b%2$s'))
                else v_scope end) d;
        end loop;
    end if;
    if not dry_run then
        v_said := chrononaut._undo_say(tie);
        perform chrononaut._undo_all(v_steps, scopes, what, force);
        perform pg_catalog.set_config('chrononaut.change_info', coalesce(v_said, ''), true);
        perform chrononaut._undo_verify(scopes, what, seen);
        if summary then
            return query select * from chrononaut._undo_summary(v_steps);
        end if;
    end if;
end;
$$;

comment on function chrononaut._undo(jsonb, text, jsonb, pg_snapshot, boolean, boolean, boolean) is
    'Undoes scopes, or says what that would do.';


create or replace function chrononaut._undo_summary(steps jsonb)
    returns table (relation text, operation text, rows bigint, key jsonb, before jsonb,
        after jsonb, conflict text)
    language sql
    immutable
    set search_path = pg_catalog, pg_temp
as $$
    select s.value #>> '{scope,relation}', s.value ->> 'operation', (s.value ->> 'rows')::bigint,
        null::jsonb, null::jsonb, null::jsonb,
        case when (s.value ->> 'conflicts')::bigint > 0
            then format('later changes of %s rows overwritten', s.value ->> 'conflicts') end
    from jsonb_array_elements(steps) with ordinality s
    order by s.ordinality
$$;

comment on function chrononaut._undo_summary(jsonb) is
    'What the steps of an undo did: one row per table and operation.';


create or replace function chrononaut.undo_transaction(
    transaction_id bigint,
    dry_run boolean default false,
    force boolean default false)
    returns table (relation text, operation text, rows bigint, key jsonb, before jsonb,
        after jsonb, conflict text)
    language plpgsql
as $$
#variable_conflict use_variable
declare
    v_seen pg_snapshot := pg_catalog.pg_current_snapshot();
begin
    perform chrononaut._undo_options(dry_run, force);
    return query select u.* from chrononaut._undo(
        chrononaut._transaction_scopes(transaction_id, force),
        pg_catalog.format('transaction %s', transaction_id),
        pg_catalog.jsonb_build_object('undone_transaction', transaction_id),
        v_seen, dry_run, force, true) u;
end;
$$;

comment on function chrononaut.undo_transaction(bigint, boolean, boolean) is
    'Undoes all changes of a transaction, in all tables or in none; dry_run shows them row by row.';


create or replace function chrononaut.undo_change(
    change_id bigint,
    target regclass default null,
    dry_run boolean default false,
    force boolean default false)
    returns table (relation text, operation text, rows bigint, key jsonb, before jsonb,
        after jsonb, conflict text)
    language plpgsql
as $$
#variable_conflict use_variable
declare
    v_seen pg_snapshot := pg_catalog.pg_current_snapshot();
begin
    perform chrononaut._undo_options(dry_run, force);
    return query select u.* from chrononaut._undo(
        chrononaut._change_scopes(change_id, target),
        pg_catalog.format('change %s', change_id),
        pg_catalog.jsonb_build_object('undone_change', change_id),
        v_seen, dry_run, force, false) u;
end;
$$;

comment on function chrononaut.undo_change(bigint, regclass, boolean, boolean) is
    'Undoes one change and no other; later changes of other columns are kept.';


do $periods$
begin
    perform chrononaut._note_periods(v)
    from chrononaut.versioning v
    where v.active and v.registered_in = chrononaut._here();
end
$periods$;
