create temp view recorded as
select 'account' as kind, aid as id, created_transaction_id as transaction_id,
    created_operation as operation, abalance
        - lag(abalance, 1, 0) over (partition by aid order by version) as delta
from pgbench_accounts_versions
union all
select 'teller', tid, created_transaction_id,
    created_operation, tbalance
        - lag(tbalance, 1, 0) over (partition by tid order by version)
from pgbench_tellers_versions;
