with journal as (
    select 'account' as kind, aid as id, xmin::text as xid, delta
    from pgbench_history
    where delta <> 0
    union all
    select 'teller', tid, xmin::text, delta
    from pgbench_history
    where delta <> 0
), history as (
    select r.kind, r.id, t.xid::xid::text as xid, r.delta
    from recorded r
    join chrononaut.transaction t on t.id = r.transaction_id
    where t.application_name = 'pgbench'
)
select kind, count(j.xid) as in_journal, count(h.xid) as in_history,
    count(*) filter (where j.delta is distinct from h.delta) as wrong
from journal j
full join history h using (kind, id, xid)
group by kind
order by kind;
