-- Which moment is meant: at a mark, before or after a transaction, at a time.
--
-- What matters is what was visible, not what a clock said: a moment is resolved to the
-- transactions that are later than it, and to those of its own changes that are. Safe to replay.

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
