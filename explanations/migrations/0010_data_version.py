"""The version of the data, which every write renews: explanations/unchanged.py.

SQLite keeps it in a table of one row, by triggers that are made after every migration (explanations/apps.py), since SQLite
drops them with a table that a migration rebuilds. PostgreSQL's own snapshot serves there.
"""

from __future__ import annotations

from django.db import migrations


def create_version(apps, schema_editor) -> None:
    if schema_editor.connection.vendor == "sqlite":
        schema_editor.execute("CREATE TABLE explanations_version (number INTEGER NOT NULL)")
        schema_editor.execute("INSERT INTO explanations_version VALUES (random())")


def drop_version(apps, schema_editor) -> None:
    if schema_editor.connection.vendor != "sqlite":
        return
    with schema_editor.connection.cursor() as cursor:
        cursor.execute("SELECT name FROM sqlite_master WHERE type = 'trigger' AND sql LIKE '%explanations_version%'")
        for (name,) in cursor.fetchall():
            schema_editor.execute(f"DROP TRIGGER {name}")
    schema_editor.execute("DROP TABLE explanations_version")


class Migration(migrations.Migration):
    dependencies = [("explanations", "0009_search_indexes")]
    operations = [migrations.RunPython(create_version, drop_version)]
