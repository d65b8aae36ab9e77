select t.id, to_char(t.issued_at, 'HH24:MI:SS.MS') as at,
    coalesce(t.change_info ->> 'user_id', t.db_user) as who,
    t.application_name as through,
    t.change_info #>> '{extra,rationale}' as why,
    (select count(*) from chrononaut.recent_changes c
        where c.transaction_id = t.id) as changes
from chrononaut.transaction t
order by t.issued_at desc
limit 8;
