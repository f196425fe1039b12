"""Triggers by which SQLite renews the version of the data with every write: see `unchanged`.

SQLite drops a table's triggers when a migration rebuilds the table, so they are made anew after every migration.
"""

from __future__ import annotations

from django.apps import apps
from django.db.backends.base.base import BaseDatabaseWrapper

TABLE = "explanations_version"
UNSEEN = frozenset({"explanations_spendingday"})
"""Tables of ours that no page with an ETag shows."""
PEOPLE = ("auth_user", "auth_group", "auth_user_groups", "auth_user_user_permissions", "auth_group_permissions")
LEASES = frozenset({"lease_owner", "lease_until"})
"""Columns that a worker renews every few seconds and no page shows."""
# A random number, not a counter: a database that was put back to an earlier state never counts to the same again.
_RENEW = f"UPDATE {TABLE} SET number = random()"  # noqa: S608


def create_triggers(connection: BaseDatabaseWrapper) -> None:
    """Make the triggers of all tables that are there and lack them; nothing where the version is not kept."""
    present = set(connection.introspection.table_names())
    if connection.vendor != "sqlite" or TABLE not in present:
        return
    with connection.cursor() as cursor:
        for table in sorted(watched_tables() & present):
            for event in _events(connection, table):
                name = f"{table}_version_{event.split()[0].lower()}"
                cursor.execute(f"CREATE TRIGGER IF NOT EXISTS {name} AFTER {event} ON {table} BEGIN {_RENEW}; END")
        # What was written while there were none.
        cursor.execute(_RENEW)


def watched_tables() -> set[str]:
    ours = {model._meta.db_table for model in apps.get_app_config("explanations").get_models(include_auto_created=True)}
    return (ours - UNSEEN) | set(PEOPLE)


def _events(connection: BaseDatabaseWrapper, table: str) -> list[str]:
    with connection.cursor() as cursor:
        columns = [column.name for column in connection.introspection.get_table_description(cursor, table)]
    if LEASES.isdisjoint(columns):
        return ["INSERT", "DELETE", "UPDATE"]
    seen = ", ".join(f'"{name}"' for name in columns if name not in LEASES)
    return ["INSERT", "DELETE", f"UPDATE OF {seen}"]
