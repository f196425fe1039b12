"""Rows that an import writes in bulk, on both databases."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import DatabaseError, connection, models, transaction

from explanations.importing import bulk_rows
from explanations.importing.bulk_rows import analyse_tables, insert_excerpts, insert_rows, reserve_ids
from explanations.importing.rows import SIMULATION_FIELDS
from explanations.models import ActivationSet, Excerpt, Explanation, Neuron, RelatedSet, Simulation, SubjectModel
from tests.world import HOSTILE, World

SIMULATED = ("a simulator", "all_at_once", "0 to 10", 10, b"\0\xff\\x00", 0.1 + 0.2, None, -1e-300, 1.0, 5e-324)


def values(row: models.Model) -> dict[str, Any]:
    """Return a row's values but its key and the time at which it was made."""
    found = type(row)._default_manager.filter(pk=row.pk).values().get()
    return {
        name: bytes(value) if isinstance(value, memoryview) else value
        for name, value in found.items()
        if name not in {"id", "created_at"}
    }


def test_a_row_is_what_the_orm_would_have_written(world: World) -> None:
    mine = Simulation.objects.create(
        explanation=world.explanation, **dict(zip(SIMULATION_FIELDS, SIMULATED, strict=True))
    )
    insert_rows(Simulation, ("explanation_id", *SIMULATION_FIELDS), [(world.explanation.pk, *SIMULATED)])
    inserted = Simulation.objects.latest("pk")
    assert inserted.pk != mine.pk
    assert values(inserted) == values(mine)
    assert inserted.created_at is not None


def test_texts_and_numbers_come_back_as_they_were(world: World) -> None:
    text = f"{HOSTILE}\t\\N\\. \n ‘é’ 😀"
    (pk,) = reserve_ids(Explanation, 1)
    fields = ("id", "neuron_id", "model_id", "layer", "dataset_position", "score", "simulator", "text", "source")
    insert_rows(Explanation, fields, [(pk, world.neuron.pk, world.model.pk, 32767, 7, -0.0, "s", text, "published")])
    found = Explanation.objects.values_list("layer", "dataset_position", "score", "text", "explainer").get(pk=pk)
    assert found == (32767, 7, 0.0, text, "")


def test_many_rows_come_all(world: World) -> None:
    first, count = 100, 700
    ids = reserve_ids(Neuron, count)
    insert_rows(
        Neuron, ("id", "model_id", "layer", "index"), [(pk, world.model.pk, 1, first + at) for at, pk in enumerate(ids)]
    )
    found = Neuron.objects.filter(pk__in=ids).order_by("pk")
    assert list(found.values_list("index", flat=True)) == list(range(first, first + count))


def test_a_row_that_the_database_refuses_is_an_error_of_the_database(world: World) -> None:
    row = (world.explanation.pk, *SIMULATED[:5], 2.0, *SIMULATED[6:])
    with pytest.raises(DatabaseError, match="simulation_correlation_in_range"), transaction.atomic():
        insert_rows(Simulation, ("explanation_id", *SIMULATION_FIELDS), [row])


def test_only_excerpts_that_are_new_are_inserted_and_counted(world: World) -> None:
    before = Excerpt.objects.count()
    assert insert_excerpts(world.model.pk, {-(2**63): b"\0", 7: b""}) == 2
    assert insert_excerpts(world.model.pk, {2**63 - 1: b"\xff", 7: b"another"}) == 1
    assert insert_excerpts(world.model.pk, {7: b"another"}) == 0
    assert insert_excerpts(world.model.pk, {}) == 0
    assert Excerpt.objects.count() == before + 3
    assert bytes(Excerpt.objects.get(model=world.model, key=7).tokens) == b""


def test_thousands_of_excerpts_are_counted(world: World) -> None:
    tokens = {key: key.to_bytes(2) for key in range(2_000)}
    assert insert_excerpts(world.model.pk, dict(list(tokens.items())[:500])) == 500
    assert insert_excerpts(world.model.pk, tokens) == 1_500


def test_thousands_of_excerpts_of_a_new_model_are_inserted(db: None) -> None:
    model = SubjectModel.objects.create(slug="new", name="New", layers=1, neurons_per_layer=1)
    tokens = {key: key.to_bytes(2) for key in range(2_000)}
    assert insert_excerpts(model.pk, tokens) == 2_000
    found = Excerpt.objects.filter(model=model).values_list("key", "tokens")
    assert {key: bytes(packed) for key, packed in found} == tokens


def test_excerpts_that_others_insert_meanwhile_are_left(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = {key: key.to_bytes(2) for key in range(2_000)}
    insert_excerpts(world.model.pk, {1_999: b"theirs"})
    monkeypatch.setattr(bulk_rows, "_has_excerpts", lambda _model_id: False)
    assert insert_excerpts(world.model.pk, tokens) == 1_999
    assert bytes(Excerpt.objects.get(model=world.model, key=1_999).tokens) == b"theirs"


def test_postgresql_does_not_try_to_compress_what_is_packed(db: None) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite compresses nothing")
    for table in (ActivationSet, RelatedSet):
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT attstorage FROM pg_attribute WHERE attrelid = %s::regclass AND attname = 'data'",
                [table._meta.db_table],
            )
            assert cursor.fetchone() == ("e",)


def test_postgresql_counts_what_indexes_hold_and_nothing_packed(world: World) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite plans without")
    analyse_tables()
    with connection.cursor() as cursor:
        cursor.execute("SELECT tablename, attname FROM pg_stats WHERE schemaname = current_schema()")
        counted = set(cursor.fetchall())
        cursor.execute(
            "SELECT relname, attname FROM pg_index JOIN pg_class ON pg_class.oid = indrelid"
            " JOIN pg_attribute ON attrelid = indrelid AND attnum = ANY(indkey)"
        )
        indexed = set(cursor.fetchall())
    # What a number of their own names is one row, whatever is counted; of no rows PostgreSQL counts nothing.
    ours = {f"explanations_{name}" for name in ("neuron", "activationset", "excerpt", "explanation", "simulation")}
    assert {place for place in indexed if place[0] in ours and place[1] != "id"} <= counted
    assert ("explanations_simulation", "simulator") in counted
    assert not {table for table, column in counted if column in {"data", "peak", "tokens"}}
