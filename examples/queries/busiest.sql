select aid
from pgbench_accounts_history
where aid % 50 = 0 and operation = 'U'
group by aid
order by count(*) desc, aid
limit 1;
