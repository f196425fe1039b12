"""The model and layer of each explanation's neuron beside the explanation, so that searches need no join.

SQLite gets an index of all that a search filters by, in order of the ids: matches are checked against it in half a
microsecond each, where a row of the table takes four. PostgreSQL has no use for it. Whatever makes SQLite rebuild the
table drops it, with the triggers, and must run `make_again`; a test looks for them.

All in one transaction: an installation has the columns filled, or not at all. It takes a minute or so for a million
explanations, and nobody reads them meanwhile.
"""

from __future__ import annotations

from importlib import import_module

import django.db.models.deletion
from django.db import migrations, models
from django.db.models import F, Index, OrderBy, OuterRef, Subquery

_search = import_module("explanations.migrations.0002_search")

SQLITE_FILTERS = "explanations_filters"


def fill(apps, schema_editor) -> None:
    explanation, neuron = apps.get_model("explanations", "Explanation"), apps.get_model("explanations", "Neuron")
    rows = explanation.objects.using(schema_editor.connection.alias)
    this = neuron.objects.filter(pk=OuterRef("neuron"))
    if schema_editor.connection.vendor == "sqlite":
        rows.update(model_id=Subquery(this.values("model")), layer=Subquery(this.values("layer")))
        return
    # Every row is written anew. A whole index is made faster than it is extended row by row.
    for column in _search.POSTGRES_COLUMNS:
        schema_editor.execute(f"DROP INDEX explanations_{column}")
    schema_editor.execute(
        "UPDATE explanations_explanation e SET model_id = n.model_id, layer = n.layer"
        " FROM explanations_neuron n WHERE n.id = e.neuron_id"
    )
    for column in _search.POSTGRES_COLUMNS:
        schema_editor.execute(f"CREATE INDEX explanations_{column} ON {_search.TABLE} USING gin ({column})")


def make_triggers_again(apps, schema_editor) -> None:
    """SQLite has dropped them with the table, if it rebuilt that."""
    if schema_editor.connection.vendor == "sqlite":
        for trigger in _search.SQLITE_TRIGGERS:
            schema_editor.execute(f"DROP TRIGGER IF EXISTS {trigger}")
        _search.create_triggers(schema_editor)


def make_again(apps, schema_editor) -> None:
    """Make what SQLite drops with the table."""
    make_triggers_again(apps, schema_editor)
    if schema_editor.connection.vendor == "sqlite":
        columns = "id, state, source, score, model_id, layer"
        schema_editor.execute(f"CREATE INDEX IF NOT EXISTS {SQLITE_FILTERS} ON {_search.TABLE} ({columns})")


def drop_filters(apps, schema_editor) -> None:
    if schema_editor.connection.vendor == "sqlite":
        schema_editor.execute(f"DROP INDEX IF EXISTS {SQLITE_FILTERS}")


def _key(**options) -> models.ForeignKey:
    return models.ForeignKey(
        "explanations.subjectmodel",
        db_constraint=False,
        db_index=False,
        editable=False,
        on_delete=django.db.models.deletion.DO_NOTHING,
        related_name="+",
        **options,
    )


class Migration(migrations.Migration):
    dependencies = [("explanations", "0011_withdrawn_flags")]
    operations = [
        migrations.RunPython(migrations.RunPython.noop, make_triggers_again),
        migrations.AddField("explanation", "model", _key(null=True)),
        migrations.AddField("explanation", "layer", models.PositiveSmallIntegerField(editable=False, null=True)),
        migrations.RunPython(fill, migrations.RunPython.noop),
        migrations.AlterField("explanation", "model", _key()),
        migrations.AlterField("explanation", "layer", models.PositiveSmallIntegerField(editable=False)),
        migrations.AddIndex(
            "explanation", Index(F("model"), F("layer"), OrderBy(F("score"), descending=True), F("id"), name="explanation_by_layer")
        ),
        migrations.RunPython(make_again, drop_filters),
    ]
