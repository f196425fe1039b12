"""Queries whose SQL is written once."""

from __future__ import annotations

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from explanations.models import Explanation, Neuron, Simulation
from explanations.prepared import Prepared
from explanations.statements import LARGEST
from tests.world import World

at_place = Prepared(
    lambda slug, layer, index: (
        Neuron.objects.filter(model__slug=slug, layer=layer, index=index)
        .select_related("model", "activation_set", "related_set")
        .defer("model__statistics", "peak")
        .with_neighbours()
    ),
    str,
    int,
    int,
)
of_neuron = Prepared(lambda neuron: Explanation.objects.filter(neuron=neuron).select_related("author"), int)
simulations = Prepared(lambda neuron: Simulation.objects.filter(explanation__neuron=neuron).order_by("-id"), int)


def test_rows_are_those_of_the_queryset(world: World) -> None:
    for neuron in Neuron.objects.all():
        assert of_neuron(neuron.pk) == list(Explanation.objects.filter(neuron=neuron))


def test_related_rows_and_annotations_come_along_without_another_query(world: World) -> None:
    with CaptureQueriesContext(
        connection,
    ) as queries:
        (neuron,) = at_place("tiny", 0, 1)
        seen = (neuron.model.name, bytes(neuron.activation_set.data), neuron.previous_index, neuron.next_index)
    assert len(queries) == 1
    assert seen[0] == "Tiny"
    assert seen[1].startswith(b"\1")
    assert seen[2:] == (0, 2)
    assert not hasattr(neuron, "related_set")
    assert neuron.get_deferred_fields() == {"peak"}


def test_values_come_as_the_fields_give_them(world: World) -> None:
    (made,), (expected,) = simulations(world.hostile.pk), Simulation.objects.filter(explanation__neuron=world.hostile)
    for field in Simulation._meta.concrete_fields:
        assert getattr(made, field.attname) == getattr(expected, field.attname), field.name
        assert type(getattr(made, field.attname)) is type(getattr(expected, field.attname)), field.name


def test_an_instance_is_in_the_state_of_one_that_was_read(world: World) -> None:
    (made,), expected = of_neuron(world.hostile.pk), Explanation.objects.get(neuron=world.hostile)
    assert (made._state.adding, made._state.db) == (expected._state.adding, expected._state.db) == (False, "default")
    assert made == expected
    assert hash(made) == hash(expected)
    assert made.get_deferred_fields() == set()
    made.refresh_from_db()
    assert made.text == expected.text


def test_an_instance_can_be_saved(world: World) -> None:
    (row,) = of_neuron(world.hostile.pk)
    row.text = "changed"
    row.save(update_fields=["text"])
    assert Explanation.objects.get(pk=row.pk).text == "changed"


@pytest.mark.parametrize("number", [LARGEST, LARGEST + 1, 10**40])
def test_a_number_that_no_column_holds_finds_nothing(world: World, number: int) -> None:
    assert at_place("tiny", number, 0) == []
    assert at_place("tiny", 0, number) == []


def test_hostile_text_is_a_parameter(world: World) -> None:
    assert at_place("' OR 1=1 --", 0, 0) == []


def test_a_parameter_that_is_not_compared_as_it_is_is_refused(world: World) -> None:
    saying = Prepared(lambda text: Explanation.objects.filter(text__contains=text), str)
    with pytest.raises(AssertionError):
        saying("x")


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite plans while it prepares, which Python keeps")
def test_postgresql_plans_a_query_once_for_all_its_parameters(world: World) -> None:
    for neuron in Neuron.objects.all()[:3]:
        of_neuron(neuron.pk)
    like = '%"explanations_explanation"."neuron_id" = $1%'
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT generic_plans + custom_plans FROM pg_prepared_statements WHERE statement LIKE %s", [like]
        )
        assert sum(count for (count,) in cursor.fetchall()) >= 3


def test_other_cursors_are_djangos_own(world: World) -> None:
    of_neuron(world.neuron.pk)
    with connection.cursor() as cursor:
        cursor.execute("SELECT %s", ["a text, not a parameter of unknown type"])
        assert cursor.fetchone() == ("a text, not a parameter of unknown type",)


def test_a_transaction_that_is_to_be_rolled_back_reads_nothing(world: World) -> None:
    with transaction.atomic():
        transaction.set_rollback(True)
        with pytest.raises(transaction.TransactionManagementError):
            of_neuron(world.neuron.pk)
