"""A model's statistics: exact, by layer and simulator, and never behind the data."""

from __future__ import annotations

from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from explanations import store
from explanations.models import Explanation, Flag, Neuron, SubjectModel
from explanations.statistics import BIN_EDGES, read_statistics, refresh_statistics
from tests.world import World, add_explanation


def test_a_model_without_neurons_has_empty_statistics(db: None) -> None:
    model = SubjectModel.objects.create(slug="m", name="M", layers=2, neurons_per_layer=3)
    for _ in range(2):
        statistics = read_statistics(model)
        assert (statistics.neurons, statistics.explanations, statistics.scores) == (0, 0, {})
        assert statistics.layer(1).neurons == 0
        refresh_statistics(model.pk)
        model.refresh_from_db()
    assert model.statistics_at is not None


def test_counts_are_exact_and_simulators_are_kept_apart(world: World) -> None:
    refresh_statistics(world.model.pk)
    world.model.refresh_from_db()
    statistics = read_statistics(world.model)
    assert (statistics.neurons, statistics.explained, statistics.explanations) == (5, 3, 4)
    assert (statistics.layer(0).neurons, statistics.layer(0).explained, statistics.layer(0).explanations) == (4, 2, 3)
    assert list(statistics.scores) == ["toy-simulator"], "the undefined score is in none, the baseline is no headline"
    scores = statistics.scores["toy-simulator"]
    assert (scores.count, scores.mean, scores.best) == (2, pytest.approx(0.65), 0.9)
    assert statistics.layer(0).scores["toy-simulator"].mean == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("score", "lower"),
    [
        (-1.0, -1.0),
        (-1.0000005, -1.0),
        (0.0, 0.0),
        (-0.001, -0.05),
        (0.15, 0.15),
        (0.35, 0.35),
        (0.7, 0.7),
        (1.0, 0.95),
    ],
)
def test_a_score_is_counted_in_its_bin(world: World, score: float, lower: float) -> None:
    Neuron.objects.filter(layer=1).update(headline_score=score)
    refresh_statistics(world.model.pk, [1])
    world.model.refresh_from_db()
    bins = read_statistics(world.model).layer(1).scores["toy-simulator"].bins
    assert [BIN_EDGES[i] for i, count in enumerate(bins) if count] == [lower]


def test_one_layer_is_refreshed_alone(world: World) -> None:
    refresh_statistics(world.model.pk)
    Neuron.objects.update(explanation_count=7)
    refresh_statistics(world.model.pk, [1])
    world.model.refresh_from_db()
    statistics = read_statistics(world.model)
    assert (statistics.layer(0).explanations, statistics.layer(1).explanations) == (3, 7)


def test_a_layer_that_lost_its_neurons_is_left_out(world: World) -> None:
    refresh_statistics(world.model.pk)
    Neuron.objects.filter(layer=1).delete()
    refresh_statistics(world.model.pk, [1])
    world.model.refresh_from_db()
    assert list(read_statistics(world.model).layers) == [0]


def test_a_new_explanation_is_counted_at_once(world: World) -> None:
    refresh_statistics(world.model.pk)
    add_explanation(Neuron.objects.get(layer=0, index=2), "numbers", 0.8)
    world.model.refresh_from_db()
    statistics = read_statistics(world.model)
    assert (statistics.explanations, statistics.scores["toy-simulator"].count) == (5, 3)


def test_a_retired_explanation_is_counted_no_more(world: World) -> None:
    refresh_statistics(world.model.pk)
    Explanation.objects.filter(pk=world.explanation.pk).update(state=Explanation.State.RETIRED)
    store.refresh_headlines([world.neuron.pk])
    world.model.refresh_from_db()
    statistics = read_statistics(world.model)
    assert statistics.explanations == 3
    assert {s: part.count for s, part in statistics.scores.items()} == {"toy-simulator": 1, "token lookup": 1}


def test_a_flag_does_not_recompute_them(world: World, django_assert_num_queries: Any) -> None:
    Flag.objects.create(explanation=world.explanation, reporter=world.reader, reason="wrong")
    with django_assert_num_queries(7):  # five and the transaction's savepoint
        store.refresh_headlines([world.neuron.pk])
    world.neuron.refresh_from_db()
    assert world.neuron.open_flag_count == 1


def test_the_command_recomputes_one_model_or_all(world: World) -> None:
    for arguments in ([], ["--model", "tiny"]):
        SubjectModel.objects.update(statistics={}, statistics_at=None)
        out = StringIO()
        call_command("refresh_statistics", *arguments, stdout=out)
        assert out.getvalue() == "tiny: 5 neurons, 4 explanations\n"
        world.model.refresh_from_db()
        assert read_statistics(world.model).neurons == 5
    with pytest.raises(CommandError, match="no model “other”"):
        call_command("refresh_statistics", "--model", "other")
