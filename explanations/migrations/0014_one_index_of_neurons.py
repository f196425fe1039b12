"""One index of explanations by neuron: that of their places in a dataset, which NULL never repeats.

By hand, since Django would have SQLite write the whole table anew for it.
"""

from __future__ import annotations

from importlib import import_module

import django.db.models.deletion
from django.db import migrations, models

_smaller = import_module("explanations.migrations.0013_smaller_indexes")

TABLE, NAME = "explanations_explanation", "explanation_is_imported_once"
COLUMNS = "(neuron_id, dataset_position)"


def use_one(apps, schema_editor) -> None:
    _smaller.drop_indexes(schema_editor, TABLE, ["neuron_id"])
    schema_editor.execute(f"DROP INDEX {NAME}")
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(f"ALTER TABLE {TABLE} ADD CONSTRAINT {NAME} UNIQUE {COLUMNS}")
    else:
        schema_editor.execute(f"CREATE UNIQUE INDEX {NAME} ON {TABLE} {COLUMNS}")


def use_two(apps, schema_editor) -> None:
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(f"ALTER TABLE {TABLE} DROP CONSTRAINT {NAME}")
    else:
        schema_editor.execute(f"DROP INDEX {NAME}")
    schema_editor.execute(f"CREATE UNIQUE INDEX {NAME} ON {TABLE} {COLUMNS} WHERE dataset_position IS NOT NULL")
    schema_editor.execute(f"CREATE INDEX {TABLE}_neuron_id ON {TABLE} (neuron_id)")


class Migration(migrations.Migration):
    dependencies = [("explanations", "0013_smaller_indexes")]
    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[migrations.RunPython(use_one, use_two)],
            state_operations=[
                migrations.AlterField(
                    "explanation",
                    "neuron",
                    models.ForeignKey(
                        "explanations.neuron",
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="explanations",
                    ),
                ),
                migrations.RemoveConstraint("explanation", NAME),
                migrations.AddConstraint(
                    "explanation", models.UniqueConstraint(fields=["neuron", "dataset_position"], name=NAME)
                ),
            ],
        ),
    ]
