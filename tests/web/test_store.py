"""Records to rows and back, for what is made on this site."""

from __future__ import annotations

import numpy as np
import pytest
from msgspec import structs

from explanations import store
from explanations.models import ActivationSet, Excerpt, Explanation, Flag, Neuron, Simulation, Source
from explanations.pipeline import packing
from explanations.pipeline.records import NORMALISED_SCALE, Kind, NeuronId, ScoredExplanation, Scores
from explanations.pipeline.records import Simulation as SimulationRecord
from tests.world import World, add_neuron, make_record, make_simulation


@pytest.mark.parametrize(
    ("text", "stored"), [("plain é 😀", "plain é 😀"), ("a\0b", "a\u2400b"), ("\ud800 half", "? half"), ("", "")]
)
def test_text_is_made_storable(text: str, stored: str) -> None:
    assert store.storable_text(text) == stored


def test_a_record_reads_back(world: World) -> None:
    stored = store.read_neuron_record(world.neuron)
    expected = make_record(NeuronId(0, 0))
    assert stored is not None
    assert [(kind, r.tokens) for kind, r in stored.labelled()] == [(kind, r.tokens) for kind, r in expected.labelled()]
    for (_, kept), (_, given) in zip(stored.labelled(), expected.labelled(), strict=True):
        assert np.array_equal(kept.activations, given.activations)
    assert (stored.mean, stored.quantile_boundaries) == (expected.mean, expected.quantile_boundaries)


def test_the_lowest_excerpts_read_back(world: World) -> None:
    records, boundaries = store.read_packed_records(world.neuron)
    lowest = [structs.replace(records[5], kind=int(Kind.BOTTOM)), structs.replace(records[2], kind=int(Kind.BOTTOM))]
    ActivationSet.objects.filter(pk=world.neuron.pk).update(data=packing.pack_records([*records, *lowest], boundaries))
    stored = store.read_neuron_record(world.neuron)
    assert stored is not None
    assert [r.tokens for r in stored.bottom] == [stored.top[5].tokens, stored.top[2].tokens]
    assert len(stored.labelled()) == len(records) + 2


def test_hostile_tokens_read_back(world: World) -> None:
    stored = store.read_neuron_record(world.hostile)
    assert stored is not None
    assert {"\0", "\ud800", "", "</span>"} <= {token for _, r in stored.labelled() for token in r.tokens}


def test_a_neuron_without_activations_has_no_record(world: World) -> None:
    ActivationSet.objects.filter(pk=world.neuron.pk).delete()
    assert store.read_neuron_record(world.neuron) is None


def test_a_missing_excerpt_is_an_error_and_not_an_empty_text(world: World) -> None:
    Excerpt.objects.all().delete()
    with pytest.raises(KeyError):
        store.read_neuron_record(world.neuron)


def test_reading_a_record_costs_two_queries(world: World, django_assert_num_queries: object) -> None:
    with django_assert_num_queries(2):  # type: ignore[operator]
        store.read_neuron_record(world.neuron)


def test_a_saved_explanation_has_its_score_and_simulation(world: World) -> None:
    record = store.read_neuron_record(world.neuron)
    assert record is not None
    given = make_simulation(record, 0.8, "toy-simulator")
    row = store.save_explanation(
        neuron=world.neuron, scored=ScoredExplanation("new", given, explainer="me"), source=Source.HUMAN
    )
    simulation = row.simulations.get()
    assert (row.score, row.simulator, row.explainer, simulation.excerpt_count) == (0.8, "toy-simulator", "me", 10)
    world.neuron.refresh_from_db()
    assert world.neuron.headline == row
    sequences = packing.unpack_sequences(simulation.data)
    assert all(s.real is None for s in sequences)
    packed, _ = store.read_packed_records(world.neuron)
    joined = store.join_simulation(
        simulation, sequences, packed, store.read_tokens(world.model.pk, [s.key for s in sequences])
    )
    for kept, sequence in zip(joined.sequences, given.sequences, strict=True):
        assert (kept.tokens, kept.kind, kept.scores) == (sequence.tokens, sequence.kind, sequence.scores)
        assert np.array_equal(kept.real, sequence.real)
        assert np.array_equal(kept.simulated, sequence.simulated)


def test_simulated_excerpts_that_are_no_records_are_stored_too(world: World) -> None:
    foreign = make_simulation(make_record(NeuronId(1, 3), ["un", "seen"]), 0.1, "toy")
    row = store.save_explanation(
        neuron=world.neuron, scored=ScoredExplanation("elsewhere", foreign), source=Source.MODEL
    )
    sequences = packing.unpack_sequences(row.simulations.get().data)
    tokens = store.read_tokens(world.model.pk, [s.key for s in sequences])
    assert [tokens[s.key] for s in sequences] == [s.tokens for s in foreign.sequences]
    for kept, given in zip(sequences, foreign.sequences, strict=True):
        assert kept.real is not None
        assert np.array_equal(kept.real, given.real)


@pytest.mark.parametrize(
    ("explanations", "chosen"),
    [
        ([("published", 0.1), ("model", 0.5)], 1),
        ([("published", None), ("model", -0.5)], 1),
        ([("baseline", 0.9), ("published", 0.1)], 1),
        ([("baseline", 0.9), ("published", None)], 1),
        ([("baseline", 0.9)], 0),
        ([("published", 0.5), ("human", 0.5)], 0),
        ([("published", 0.0), ("human", None)], 0),
        ([], None),
    ],
)
def test_the_headline(explanations: list[tuple[str, float | None]], chosen: int | None) -> None:
    rows = [Explanation(pk=pk, source=source, score=score) for pk, (source, score) in enumerate(explanations)]
    headline = store.choose_headline(rows)
    assert (None if headline is None else headline.pk) == chosen


@pytest.mark.parametrize(
    ("explanations", "chosen"),
    [
        # The simulator that scored the most ranks; a higher score of another stays behind.
        ([("a", 0.9), ("b", 0.2), ("b", 0.3)], 2),
        # Of equals, the one that scored the earliest.
        ([("a", 0.1), ("b", 0.9)], 0),
        ([("b", 0.1), ("a", 0.9), ("a", 0.8), ("b", 0.4)], 3),
        # An undefined score counts for nobody.
        ([("a", None), ("a", None), ("b", -0.5)], 2),
        ([("a", None), ("b", None)], 0),
        ([("", 0.1), ("", 0.4), ("a", 0.9)], 1),
    ],
)
def test_scores_of_different_simulators_are_not_ranked_together(
    explanations: list[tuple[str, float | None]], chosen: int
) -> None:
    rows = [
        Explanation(pk=pk, source="model", simulator=simulator, score=score)
        for pk, (simulator, score) in enumerate(explanations)
    ]
    for order in (rows, rows[::-1]):
        headline = store.choose_headline(order)
        assert headline is not None
        assert headline.pk == chosen


def simulate(world: World, explanation: Explanation, simulator: str, score: float | None) -> Simulation:
    """Store one more simulation of an explanation, of no excerpts."""
    record = SimulationRecord((), Scores(score, None, None), simulator, "toy", NORMALISED_SCALE)
    return store.save_simulation(explanation=explanation, simulation=record)


def test_a_further_simulation_leaves_the_ranking_as_it_is(world: World) -> None:
    own = world.explanation.simulator
    simulate(world, world.explanation, "another", 0.99)
    world.explanation.refresh_from_db()
    world.neuron.refresh_from_db()
    assert (world.explanation.simulator, world.explanation.score) == (own, 0.4)
    assert (world.neuron.headline_simulator, world.neuron.headline_score) == (own, 0.4)


def test_the_simulator_that_scored_most_explanations_ranks_them(world: World) -> None:
    other = Explanation.objects.create(neuron=world.neuron, text="mats", source="model")
    simulate(world, other, "another", 0.2)
    simulate(world, world.explanation, "another", 0.1)
    simulate(world, world.explanation, "another", 0.15)
    world.explanation.refresh_from_db()
    world.neuron.refresh_from_db()
    # Its newest score by that simulator, although the imported one is higher.
    assert (world.explanation.simulator, world.explanation.score) == ("another", 0.15)
    assert (world.neuron.headline, world.neuron.headline_score) == (other, 0.2)


def test_an_undefined_score_of_the_ranking_simulator_is_shown_as_that(world: World) -> None:
    other = Explanation.objects.create(neuron=world.neuron, text="mats", source="model")
    third = Explanation.objects.create(neuron=world.neuron, text="hats", source="model")
    for explanation, score in ((other, 0.2), (third, 0.1), (world.explanation, None)):
        simulate(world, explanation, "another", score)
    world.explanation.refresh_from_db()
    assert (world.explanation.simulator, world.explanation.score) == ("another", None)


def test_a_retired_explanation_is_no_headline() -> None:
    retired = Explanation(pk=1, source="human", score=0.9, state=Explanation.State.RETIRED)
    assert store.choose_headline([retired]) is None


def test_refreshing_counts_explanations_and_flags(world: World) -> None:
    Flag.objects.create(explanation=world.explanation, reporter=world.reader, reason=Flag.Reason.VAGUE)
    Explanation.objects.filter(pk=world.explanation.pk).update(state=Explanation.State.RETIRED)
    store.refresh_headlines([world.neuron.pk])
    world.neuron.refresh_from_db()
    assert (world.neuron.headline, world.neuron.explanation_count, world.neuron.open_flag_count) == (
        world.baseline,
        1,
        1,
    )


def test_a_peak_is_packed_and_read_back(world: World) -> None:
    row = Neuron.objects.get(pk=add_neuron(world.model, 1, 2).pk)
    peak = store.unpack_peak(row.peak)
    best = make_record(NeuronId(1, 2)).top[0]
    assert max(level for _, level in peak) == 10
    assert peak[[level for _, level in peak].index(10)][0] == best.tokens[int(np.argmax(best.activations))]
