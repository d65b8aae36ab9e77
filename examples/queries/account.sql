select v.version as no, to_char(v.valid_from, 'HH24:MI:SS.MS') as valid_from,
    to_char(v.valid_to, 'HH24:MI:SS.MS') as valid_to, v.abalance,
    t.application_name as through,
    v.created_change_info #>> '{extra,rationale}' as why
from pgbench_accounts_versions v
left join chrononaut.transaction t on t.id = v.created_transaction_id
where v.aid = :aid
order by v.version;
