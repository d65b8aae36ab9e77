select t.application_name, split_part(c.relation, '.', 2) as written,
    c.operation, count(*)
from chrononaut.recent_changes c
join chrononaut.transaction t on t.id = c.transaction_id
group by 1, 2, 3
order by 1, 2, 3;
