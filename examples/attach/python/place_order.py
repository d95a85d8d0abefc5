"""An order and its event, in one transaction: psycopg 3 and plain SQL."""

import os
import sys

import psycopg
from psycopg.types.json import Jsonb


def place_order(connection: psycopg.Connection, organization: str, number: int) -> None:
    # Both rows are committed, or neither is.
    with connection.transaction():
        connection.execute("INSERT INTO orders (number) VALUES (%s)", (number,))
        connection.execute(
            "INSERT INTO outbox_events (organization_id, event_name, event_type, payload)"
            " VALUES (%s, 'ORDER_PLACED', 'com.example.order.placed', %s)",
            (organization, Jsonb({"number": number})),
        )


if __name__ == "__main__":
    with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
        place_order(connection, organization=sys.argv[1], number=int(sys.argv[2]))
