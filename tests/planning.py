"""What PostgreSQL may do in a plan, where a test asks whether an index can serve at all."""

from __future__ import annotations

from django.db import connection


def forbid(*ways: str) -> None:
    """Have PostgreSQL avoid these ways for the rest of the transaction: it scans and sorts the few rows of a test.

    `sort` is every kind of it; whether an incremental one pays depends on when the server last analysed the table.
    """
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            for way in (*ways, "incremental_sort") if "sort" in ways else ways:
                cursor.execute(f"SET LOCAL enable_{way} = off")
