"""Smaller indexes: none that another one's first column serves as well, and none of columns that are nearly all NULL.

By hand, since Django would have SQLite write whole tables anew for it.
"""

from __future__ import annotations

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models
from django.db.models import Q

DROPPED = {
    "explanations_explanation": ["parent_id", "author_id"],
    "explanations_neuron": ["model_id"],
    "explanations_excerpt": ["model_id"],
}


def drop_indexes(schema_editor, table: str, columns: list[str]) -> None:
    """Drop a table's plain indexes of one of these columns each, whatever their names."""
    connection = schema_editor.connection
    with connection.cursor() as cursor:
        found = connection.introspection.get_constraints(cursor, table)
    for name, constraint in found.items():
        is_plain = constraint["index"] and not (constraint["unique"] or constraint["primary_key"])
        if is_plain and constraint["columns"] in [[column] for column in columns]:
            schema_editor.execute(f"DROP INDEX {connection.ops.quote_name(name)}")


def drop(apps, schema_editor) -> None:
    for table, columns in DROPPED.items():
        drop_indexes(schema_editor, table, columns)


def make(apps, schema_editor) -> None:
    for table, columns in DROPPED.items():
        for column in columns:
            schema_editor.execute(f"CREATE INDEX {table}_{column} ON {table} ({column})")


class Migration(migrations.Migration):
    dependencies = [
        ("explanations", "0012_explanation_place"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]
    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[migrations.RunPython(drop, make)],
            state_operations=[
                migrations.AlterField(
                    "explanation",
                    "parent",
                    models.ForeignKey(
                        "explanations.explanation",
                        blank=True,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="revisions",
                    ),
                ),
                migrations.AlterField(
                    "explanation",
                    "author",
                    models.ForeignKey(
                        settings.AUTH_USER_MODEL,
                        blank=True,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="explanations",
                    ),
                ),
                migrations.AlterField(
                    "neuron",
                    "model",
                    models.ForeignKey(
                        "explanations.subjectmodel",
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="neurons",
                    ),
                ),
                migrations.AlterField(
                    "excerpt",
                    "model",
                    models.ForeignKey(
                        "explanations.subjectmodel",
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="excerpts",
                    ),
                ),
            ],
        ),
        migrations.AddIndex(
            "explanation",
            models.Index(fields=["parent"], condition=Q(parent__isnull=False), name="explanation_by_parent"),
        ),
        migrations.AddIndex(
            "explanation",
            models.Index(fields=["author"], condition=Q(author__isnull=False), name="explanation_by_author"),
        ),
    ]
