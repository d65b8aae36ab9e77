"""Refund a fee to three customers and let another one go, saying who and why.

Run as `python refunds.py URL FIRST CLOSED`: refunds the accounts FIRST to FIRST + 2,
pays out CLOSED and deletes it. It knows one thing of chrononaut: how to give a reason.
"""

import sys

import psycopg

SAY_WHY = "select chrononaut.set_change_info(user_id => 'anna', rationale => %s)"
REFUND = "update pgbench_accounts set abalance = abalance + 5 where aid = %s"
PAY_OUT = "update pgbench_accounts set abalance = 0 where aid = %s"
CLOSE = "delete from pgbench_accounts where aid = %s"


def main(url: str, first: int, closed: int) -> None:
    """Do each act in a transaction of its own."""
    acts = [(f"fee refunded, ticket {4711 + n}", REFUND, first + n) for n in range(3)]
    acts += [("customer left, paid out", PAY_OUT, closed)]
    acts += [("customer left, closed", CLOSE, closed)]
    with psycopg.connect(url, application_name="refunds.py") as connection:
        for why, statement, account in acts:
            connection.execute(SAY_WHY, (why,))
            connection.execute(statement.encode(), (account,))
            connection.commit()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
