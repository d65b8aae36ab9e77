with first as (
    select 'account' as kind, aid as id, abalance as balance from first_accounts
    union all
    select 'teller', tid, tbalance from first_tellers
), live as (
    select 'account' as kind, aid as id, abalance as balance
    from pgbench_accounts
    union all
    select 'teller', tid, tbalance from pgbench_tellers
), total as (
    select kind, id, sum(delta) as delta
    from recorded
    where operation is not null
    group by kind, id
)
select kind, count(*) as checked, sum(abs(coalesce(t.delta, 0))) as moved,
    count(*) filter (where coalesce(t.delta, 0)
        <> coalesce(l.balance, 0) - coalesce(f.balance, 0)) as wrong
from live l
full join first f using (kind, id)
full join total t using (kind, id)
group by kind
order by kind;
