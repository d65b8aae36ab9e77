-- Reading a table as it was: at a mark, before or after a transaction, at a time.
--
-- What matters is what was visible, not what a clock said. A moment is resolved to the
-- transactions that are later than it; of a key's later changes the first one's image is
-- what was there, and a key without later changes is as it is now. Safe to replay.

create or replace function chrononaut._moment_of_snapshot(
    snapshot pg_snapshot,
    transaction_id bigint,
    out first bigint,
    out running bigint[])
    language plpgsql
    immutable
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v_base bigint := (transaction_id >> 40) << 40;
begin
    first := v_base + pg_snapshot_xmax(snapshot)::text::bigint;
    running := array(select v_base + x::text::bigint from pg_snapshot_xip(snapshot) x);
end;
$$;

comment on function chrononaut._moment_of_snapshot(pg_snapshot, bigint) is
    'The transactions that a snapshot does not show; the id says in which incarnation.';


create or replace function chrononaut._transaction_after(at timestamptz)
    returns bigint
    language plpgsql
    stable
    set search_path = pg_catalog, pg_temp
as $$
-- Ids follow time only roughly, which is enough: a search by halves needs no index on times.
#variable_conflict use_variable
declare
    v_low bigint := 0;
    v_high bigint := (select coalesce(max(t.id), -1) + 1 from chrononaut.transaction t);
    v_middle bigint;
    v_id bigint;
    v_issued_at timestamptz;
begin
    while v_low < v_high loop
        v_middle := v_low + (v_high - v_low) / 2;
        select t.id, t.issued_at into strict v_id, v_issued_at
        from chrononaut.transaction t
        where t.id >= v_middle
        order by t.id
        limit 1;
        if v_issued_at > at then
            v_high := v_middle;
        else
            v_low := v_id + 1;
        end if;
    end loop;
    return v_low;
end;
$$;

comment on function chrononaut._transaction_after(timestamptz) is
    'About the first transaction that began to write after a time.';


create or replace function chrononaut._snapshot_before(at timestamptz, near bigint)
    returns chrononaut.transaction
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select w.*
    from (
        select t.* from chrononaut.transaction t
        where t.id >= 0 and t.id < near
        order by t.id desc
        limit 64
    ) w
    where w.issued_at <= at
    order by w.id >> 40 desc, pg_snapshot_xmax(w.snapshot) desc, w.id desc
    limit 1
$$;

comment on function chrononaut._snapshot_before(timestamptz, bigint) is
    'The transaction that took the last snapshot surely recorded by a time.';


create or replace function chrononaut._snapshot_after(at timestamptz, near bigint)
    returns chrononaut.transaction
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    select w.*
    from (
        select t.* from chrononaut.transaction t
        where t.id >= near and t.began_at >= at
        order by t.id
        limit 8
    ) w
    order by w.id >> 40, pg_snapshot_xmax(w.snapshot), w.id
    limit 1
$$;

comment on function chrononaut._snapshot_after(timestamptz, bigint) is
    'The transaction that took the first snapshot surely taken after a time.';


create or replace function chrononaut._committed_at(xid xid8)
    returns timestamptz
    language plpgsql
    stable
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
begin
    -- The server knows transactions by 32 bits and forgets old ones.
    if current_setting('track_commit_timestamp')::boolean
        and xid::text::bigint between
            pg_snapshot_xmax(pg_current_snapshot())::text::bigint - 2000000000
            and pg_snapshot_xmax(pg_current_snapshot())::text::bigint
        and xid::text::bigint > 2 then
        return pg_xact_commit_timestamp(xid::xid);
    end if;
    return null;
end;
$$;

comment on function chrononaut._committed_at(xid8) is
    'When a transaction of this cluster committed, if the server keeps that.';


create or replace function chrononaut._changed_after(at timestamptz, transactions bigint[])
    returns bigint[]
    language plpgsql
    stable
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v chrononaut.versioning;
    v_later bigint[] := '{}';
    v_some bigint[];
begin
    if transactions = '{}' then
        return v_later;
    end if;
    for v in
        select r.* from chrononaut.versioning r
        where to_regclass(format('%I.%I', r.history_schema, r.history_name)) is not null
    loop
        execute format(
            'select array_agg(distinct h.%2$I) from %3$s h '
                'where h.%1$I > $1 and h.%2$I = any ($2)',
            chrononaut._meta_name(v.meta, 'changed'),
            chrononaut._meta_name(v.meta, 'transaction_id'),
            chrononaut._history_reference(v))
        into v_some using at, transactions;
        v_later := v_later || v_some;
    end loop;
    return v_later;
end;
$$;

comment on function chrononaut._changed_after(timestamptz, bigint[]) is
    'Which of some transactions recorded a change after a time, in any history.';


create or replace function chrononaut._later_between(
    at timestamptz,
    earlier chrononaut.transaction,
    later chrononaut.transaction)
    returns bigint[]
    language plpgsql
    stable
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v_before record := chrononaut._moment_of_snapshot(earlier.snapshot, earlier.id);
    v_after record := chrononaut._moment_of_snapshot(later.snapshot, later.id);
    v_from bigint := coalesce(v_before.first, 0);
    v_to bigint := coalesce(v_after.first, 9223372036854775807);
    v_here bigint := (select max(i.number) from chrononaut.incarnation i
        where i.system_identifier = chrononaut._system_identifier());
    v_later bigint[];
    v_open bigint[];
begin
    with candidate as (
        select t.id, t.issued_at, case when t.id >> 40 = v_here
            then chrononaut._committed_at(t.xid) end as committed_at
        from chrononaut.transaction t
        where (t.id >= v_from and t.id < v_to or t.id = any (v_before.running || earlier.id))
            and t.id >= 0 and t.id < v_to
            and t.id <> all (array_remove(v_after.running || later.id, null))
    )
    select array_agg(c.id) filter (where c.issued_at > at or c.committed_at > at),
        array_agg(c.id) filter (where c.issued_at <= at and c.committed_at is null)
    into v_later, v_open
    from candidate c;
    return coalesce(v_later, '{}')
        || chrononaut._changed_after(at, coalesce(v_open, '{}'));
end;
$$;

comment on function chrononaut._later_between(
    timestamptz, chrononaut.transaction, chrononaut.transaction) is
    'Of transactions that no recorded snapshot places: those that ended after the time.';


create or replace function chrononaut._id_to_come()
    returns bigint
    language plpgsql
    stable
    set search_path = pg_catalog, pg_temp
as $$
-- Not an SQL function: before PostgreSQL 18 that would be planned in each transaction.
begin
    -- A cluster that is seen for the first time gets its number with its first write.
    return greatest(
        coalesce(
            (select max(i.number) from chrononaut.incarnation i
                where i.system_identifier = chrononaut._system_identifier()), 0)::bigint << 40
            | pg_snapshot_xmax(pg_current_snapshot())::text::bigint,
        (select max(t.id) + 1 from chrononaut.transaction t));
end;
$$;

comment on function chrononaut._id_to_come() is
    'An id below which all transactions are that recorded something that is to be seen.';


create or replace function chrononaut._running_now(own bigint)
    returns bigint[]
    language plpgsql
    stable
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v_snapshot pg_snapshot := pg_current_snapshot();
    v_begun bigint := pg_snapshot_xmax(v_snapshot)::text::bigint;
begin
    if pg_is_in_recovery() then
        -- A standby keeps its running transactions out of what snapshots show.
        return array(
            select x
            from generate_series(greatest(pg_snapshot_xmin(v_snapshot)::text::bigint,
                v_begun - 100000), v_begun - 1) x
            where pg_xact_status(x::text::xid8) = 'in progress');
    end if;
    return array(select x::text::bigint from pg_snapshot_xip(v_snapshot) x)
        || array(select x from generate_series(v_begun, own - 1) x);
end;
$$;

comment on function chrononaut._running_now(bigint) is
    'The other transactions that have a number and cannot be seen yet.';


create or replace function chrononaut._moment_until_now(
    later bigint[],
    out first bigint,
    out running bigint[],
    out own bigint,
    out upto bigint)
    language plpgsql
    stable
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v_own bigint := pg_current_xact_id_if_assigned()::text::bigint;
    v_base bigint;
begin
    -- Nobody has begun since: what cannot be seen yet is later, also once it can.
    first := chrononaut._id_to_come();
    v_base := first >> 40 << 40;
    own := v_base + v_own;
    first := greatest(first, own + 1);
    running := later
        || array(select v_base + x from unnest(chrononaut._running_now(v_own)) x);
    upto := case when own = any (later) then -9223372036854775808
        else coalesce(pg_sequence_last_value('chrononaut.change_id'), 0) end;
end;
$$;

comment on function chrononaut._moment_until_now(bigint[]) is
    'The moment after all that can be seen, but for some transactions that are later.';


do $renewal$
begin
    -- It said less once, and what a function returns cannot be replaced.
    if exists (
        select from pg_proc p
        where p.oid = to_regprocedure('chrononaut._moment_of_time(timestamptz)')
            and not 'own' = any (p.proargnames)) then
        drop function chrononaut._moment_of_time(timestamptz);
    end if;
end
$renewal$;


create or replace function chrononaut._moment_of_time(
    at timestamptz,
    out first bigint,
    out running bigint[],
    out own bigint,
    out upto bigint)
    language plpgsql
    stable
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v_near bigint := chrononaut._transaction_after(at);
    v_earlier chrononaut.transaction := chrononaut._snapshot_before(at, v_near);
    v_later chrononaut.transaction := chrononaut._snapshot_after(at, v_near);
    v_between bigint[] := chrononaut._later_between(at, v_earlier, v_later);
begin
    if v_later.id is not null then
        select m.first, m.running || v_later.id || v_between into first, running
        from chrononaut._moment_of_snapshot(v_later.snapshot, v_later.id) m;
    elsif at <= clock_timestamp() then
        select m.* into first, running, own, upto from chrononaut._moment_until_now(v_between) m;
    else
        first := 9223372036854775807;
        running := v_between;
    end if;
end;
$$;

comment on function chrononaut._moment_of_time(timestamptz) is
    'The transactions that are later than a time: exact up to those that were just ending.';


create or replace function chrononaut._moment_of_transaction(
    transaction_id bigint,
    before boolean,
    out first bigint,
    out running bigint[],
    out own bigint,
    out upto bigint,
    out since timestamptz,
    out keyed boolean,
    out settled bigint)
    language plpgsql
    stable
    security definer
    set search_path = pg_catalog, pg_temp
as $$
-- Asked for every relation of a version: with a call inside it would take half as long again.
#variable_conflict use_variable
declare
    v_xid xid8;
    v_snapshot pg_snapshot;
    v_issued_at timestamptz;
    v_base bigint := transaction_id >> 40 << 40;
    v_end bigint := v_base + (1::bigint << 40);
begin
    select t.xid, t.snapshot, t.issued_at into v_xid, v_snapshot, v_issued_at
    from chrononaut.transaction t
    where t.id = transaction_id;
    if not found then
        perform chrononaut._refuse_transaction(transaction_id);
    end if;
    own := transaction_id;
    keyed := not coalesce(before, false);
    upto := case when keyed then 9223372036854775807 else -9223372036854775808 end;
    running := '{}';
    if transaction_id < 0 then
        -- It came from another tool: of that time, clocks are all there is.
        first := 0;
        since := v_issued_at;
        settled := upto;
        return;
    end if;
    first := v_base + pg_snapshot_xmax(v_snapshot)::text::bigint;
    if pg_snapshot_xmin(v_snapshot) <> pg_snapshot_xmax(v_snapshot) then
        running := array(select v_base + x::text::bigint from pg_snapshot_xip(v_snapshot) x);
    end if;
    -- Who got an id after somebody had seen its end changed nothing before that.
    settled := case when before then upto else coalesce((
        select v_base + pg_snapshot_xmax(t.snapshot)::text::bigint
        from chrononaut.transaction t
        where t.id > transaction_id and t.id < v_end and pg_visible_in_snapshot(v_xid, t.snapshot)
        order by t.id
        limit 1), v_end) end;
end;
$$;

comment on function chrononaut._moment_of_transaction(bigint, boolean) is
    'The moment just before a transaction, or the one that it left behind; changes of ids from '
    'settled on were all made after its end.';


create or replace function chrononaut._refuse_transaction(transaction_id bigint)
    returns void
    language plpgsql
    stable
    set search_path = pg_catalog, pg_temp
as $$
begin
    raise exception 'there is no transaction %', transaction_id
        using errcode = 'no_data_found',
              schema = 'chrononaut',
              table = 'transaction',
              hint = 'The ids stand in chrononaut.transaction and in transaction_id of every history row.';
end;
$$;

comment on function chrononaut._refuse_transaction(bigint) is
    'Raises: nothing was recorded under this number.';


create or replace function chrononaut._moment_of_mark(
    mark text,
    out first bigint,
    out running bigint[],
    out own bigint,
    out upto bigint)
    language plpgsql
    stable
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
    v_mark chrononaut.mark;
begin
    select m.* into v_mark from chrononaut.mark m where m.name = mark;
    if not found then
        raise exception 'there is no mark %', quote_literal(mark)
            using errcode = 'no_data_found',
                  schema = 'chrononaut',
                  table = 'mark',
                  hint = 'chrononaut.marks lists them; select chrononaut.mark(name) makes one.';
    end if;
    select m.first, m.running into first, running
    from chrononaut._moment_of_snapshot(v_mark.snapshot, v_mark.transaction_id) m;
    own := v_mark.transaction_id;
    upto := v_mark.change_id;
end;
$$;

comment on function chrononaut._moment_of_mark(text) is
    'The moment that a mark names.';


create or replace function chrononaut._moment(
    at timestamptz,
    transaction_id bigint,
    mark text,
    before boolean,
    out first bigint,
    out running bigint[],
    out own bigint,
    out upto bigint,
    out since timestamptz,
    out keyed boolean,
    out settled bigint)
    language plpgsql
    stable
    security definer
    set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
begin
    if num_nonnulls(at, transaction_id, mark) <> 1 or before and transaction_id is null then
        raise exception 'say which moment: exactly one of at, transaction_id and mark'
            using errcode = 'invalid_parameter_value',
                  hint = 'before => true goes with transaction_id.';
    elsif at is not null then
        select m.first, m.running, m.own, m.upto into first, running, own, upto
        from chrononaut._moment_of_time(at) m;
        since := at;
    elsif mark is not null then
        select m.first, m.running, m.own, m.upto into first, running, own, upto
        from chrononaut._moment_of_mark(mark) m;
    else
        select m.* into first, running, own, upto, since, keyed, settled
        from chrononaut._moment_of_transaction(transaction_id, coalesce(before, false)) m;
    end if;
    keyed := coalesce(keyed, false);
    settled := coalesce(settled, -9223372036854775808);
end;
$$;

comment on function chrononaut._moment(timestamptz, bigint, text, boolean) is
    'Resolves a moment: which transactions, and which changes of one, are later than it.';


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


create or replace function chrononaut._past_query_after(
    v chrononaut.versioning,
    moment text,
    first_table text)
    returns text
    language sql
    stable
    set search_path = pg_catalog, pg_temp
as $$
    -- The live table is locked first, everywhere: migrations lock in that order. The moment
    -- is asked for at once: one that does not exist is an error though nothing changed.
    -- Row locks put all later changes of a key behind all others, so the first of them is
    -- the one whose predecessor is not later; where clocks decide, that is looked into. The
    -- predecessor is joined: as a subquery it would be charged for rows that BRIN only guesses,
    -- and the planner would read a long history's whole key index to spare it those. What
    -- the OR keeps from becoming a join probes the index for few live rows and is read once,
    -- into a hash table, for many.
    select format(
        'with moment as materialized (%1$s) select %2$s from %19$s%3$s%4$I.%5$I r '
        'where (select m.keyed from moment m) is not null '
            'and ((select m.keyed from moment m) is null '
                'or not exists (select from %6$s h where %7$s and %8$s)) '
        'union all select %9$s from %19$s%6$s h '
        'left join lateral (select %16$s, e.%12$I, e.%17$I, e.%18$I from %6$s e where %11$s '
            'and e.%12$I operator(pg_catalog.<) h.%12$I order by e.%12$I desc limit 1) e on true '
        'where h.%10$I operator(pg_catalog.<>) ''I'' and %8$s '
            'and (e.%12$I is not null and (%13$s or %15$s)) is not true%14$s',
        chrononaut._bounded_moment(moment),
        string_agg(chrononaut._past_value(v, a.attnum, 'r'), ', ' order by a.attnum),
        (select case c.relkind when 'p' then '' else 'only ' end
            from pg_class c where c.oid = v.relid),
        v.schema_name, v.table_name,
        chrononaut._history_reference(v),
        chrononaut._key_matches(v, 'h', 'r', true),
        chrononaut._probably_later(v, 'h') || ' and ' || chrononaut._later(v, 'h'),
        string_agg(chrononaut._past_value(v, a.attnum, 'h'), ', ' order by a.attnum),
        chrononaut._meta_name(v.meta, 'operation'),
        chrononaut._key_matches(v, 'e', 'h'),
        chrononaut._meta_name(v.meta, 'change_id'),
        chrononaut._later(v, 'e'),
        chrononaut._past_keys(v, 'h'),
        chrononaut._later_by_clock(v, 'e'),
        chrononaut._stored_values(v, 'e'),
        chrononaut._meta_name(v.meta, 'transaction_id'),
        chrononaut._meta_name(v.meta, 'changed'), first_table)
    from pg_attribute a
    where a.attrelid = v.relid and a.attnum > 0 and not a.attisdropped
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
