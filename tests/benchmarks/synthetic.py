"""Synthetic neurons from the bundled sample's real ones: for measuring, never for science.

Activations are copies, times a half, one or two. An explanation is the beginning of a real one and the end of another,
with planted words, so that search meets words of every frequency; its score is moved a little at random.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import fields, replace
from functools import lru_cache
from pathlib import Path

import msgspec
from msgspec import structs

from explanations.pipeline import packing
from explanations.pipeline.card import Card, decode_card
from explanations.pipeline.ingest import PackedActivations, PackedExplanation, PackedNeuron, PackedSimulation
from explanations.pipeline.packing import PackedRecord, PackedSequence
from explanations.pipeline.records import Kind, NeuronId, NeuronWeights
from explanations.pipeline.sample_file import read_sample

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"
SCALES = (0.5, 1.0, 2.0)
"""Powers of two: the packed halves stay exact."""
EVERYWHERE = "or"
"""A word in every explanation."""
PLANTED = {"chiefly": 30, "seldom": 300, "sparsely": 3_000, "hapax": 100_000}
"""A word, and of how many explanations one holds it: of 614,400 that makes 20,480, 2,048, 205 and 6."""
QUANTILES, PER_QUANTILE = 4, 2

Packed = tuple[PackedActivations, Sequence[PackedExplanation], bytes]


def make_card(layers: int, neurons: int) -> Card:
    """Return the card of a synthetic model; where explanations come from is the sample's."""
    sample = decode_card((FIXTURES / "smollm2-135m.card.json").read_bytes())
    return msgspec.structs.replace(
        sample,
        name=f"Synthetic model, {layers} x {neurons:,}",
        layers=layers,
        neurons_per_layer=neurons,
        description="Synthetic: for measuring, not for science. Its neurons are copies of the bundled sample's with"
        " changed values; its explanations are two real ones joined, their scores moved at random.",
        source="Made by tests/benchmarks from the bundled sample of SmolLM2-135M-Instruct.",
        is_synthetic=True,
        highlights=(),
    )


class Maker:
    """Makes the neurons of a model, the same ones for the same shape."""

    def __init__(self, layers: int, neurons: int, excerpts: int) -> None:
        """`excerpts` are a neuron's; as many as the sample has, or more, leaves its records whole."""
        self._layers, self._neurons, self._excerpts = layers, neurons, excerpts
        _, batches = read_sample(FIXTURES / "smollm2-135m.parquet", 500)
        self._templates = [neuron for batch in batches for neuron in batch if neuron.related is not None]
        self._all_excerpts = {key: tokens for t in self._templates for key, tokens in t.excerpts.items()}
        self._words = [[e.text.split() for e in t.explanations or ()] for t in self._templates]
        self._packed = lru_cache(maxsize=None)(self._pack)

    def make_layer(self, number: int, batch: int) -> Iterator[list[PackedNeuron]]:
        """Yield a layer's neurons, `batch` at a time. The first of each batch brings all excerpts."""
        rng = random.Random(number)
        for first in range(0, self._neurons, batch):
            indexes = range(first, min(first + batch, self._neurons))
            neurons = [self._make(NeuronId(number, index), rng) for index in indexes]
            neurons[0].excerpts = self._all_excerpts
            yield neurons

    def _make(self, neuron_id: NeuronId, rng: random.Random) -> PackedNeuron:
        template, scale = rng.randrange(len(self._templates)), rng.choice(SCALES)
        activations, given, related = self._packed(template, scale)
        other = self._words[rng.randrange(len(self._words))]
        first = len(given) * (neuron_id.layer * self._neurons + neuron_id.index)
        explanations = tuple(
            structs.replace(
                explanation,
                text=_join(self._words[template][place], other[place], first + place, rng),
                simulation=explanation.simulation and _move(explanation.simulation, rng),
            )
            for place, explanation in enumerate(given)
        )
        return PackedNeuron(neuron_id, activations=activations, explanations=explanations, related=related)

    def _pack(self, template: int, scale: float) -> Packed:
        """Return a template's activations, explanations and related set, its activations scaled."""
        neuron = self._templates[template]
        assert neuron.activations is not None
        assert neuron.related is not None
        given = neuron.explanations or ()
        simulated = [packing.unpack_sequences(e.simulation.data) if e.simulation else [] for e in given]
        keys = {sequence.key for sequences in simulated for sequence in sequences}
        explanations = [
            structs.replace(
                e, simulation=e.simulation and structs.replace(e.simulation, data=_pack_scaled(sequences, scale))
            )
            for e, sequences in zip(given, simulated, strict=True)
        ]
        return self._activate(neuron.activations, keys, scale), explanations, self._relate(neuron.related)

    def _activate(self, given: PackedActivations, simulated: set[int], scale: float) -> PackedActivations:
        records, boundaries = packing.unpack_records(given.data)
        chosen = [structs.replace(r, activations=r.activations * scale) for r in self._choose(records, simulated)]
        mean, variance, skewness, kurtosis = given.moments
        return structs.replace(
            given,
            data=packing.pack_records(chosen, None if boundaries is None else [b * scale for b in boundaries]),
            moments=(mean and mean * scale, variance and variance * scale**2, skewness, kurtosis),
            max_activation=given.max_activation and given.max_activation * scale,
        )

    def _choose(self, records: Sequence[PackedRecord], simulated: set[int]) -> list[PackedRecord]:
        """Return some of a neuron's records, in order: the simulated ones, a few of a quantile range, then the best.

        All simulated excerpts are among them, as in real files, so that no real value is kept twice.
        """
        if self._excerpts >= len(records):
            return list(records)
        chosen = {place for place, r in enumerate(records) if r.key in simulated and r.kind < Kind.QUANTILE}
        for quantile in range(QUANTILES):
            places = [place for place, r in enumerate(records) if r.kind == Kind.QUANTILE + quantile]
            chosen.update(places[:PER_QUANTILE])
        others = [place for place in range(len(records)) if place not in chosen]
        chosen.update(others[: max(0, self._excerpts - len(chosen))])
        return [records[place] for place in sorted(chosen)[: self._excerpts]]

    def _relate(self, packed: bytes) -> bytes:
        """Return a related set whose neurons are all in the model."""
        related = packing.unpack_related(packed)
        if related.neurons is None:
            return packed
        sides = {
            field.name: self._move_inside(getattr(related.neurons, field.name)) for field in fields(related.neurons)
        }
        return packing.pack_related(replace(related, neurons=replace(related.neurons, **sides)))

    def _move_inside(self, side: NeuronWeights | None) -> NeuronWeights | None:
        if side is None:
            return None
        ids = [NeuronId(n.layer % self._layers, n.index % self._neurons) for n in side.neurons]
        return replace(side, neurons=tuple(ids))


def _pack_scaled(sequences: Sequence[PackedSequence], scale: float) -> bytes:
    return packing.pack_sequences([s if s.real is None else structs.replace(s, real=s.real * scale) for s in sequences])


def _join(first: Sequence[str], second: Sequence[str], number: int, rng: random.Random) -> str:
    """Return the beginning of one text, the word that all have, the end of another, and the words due at `number`."""
    words = list(first[: rng.randint(min(2, len(first)), len(first))])
    words += [EVERYWHERE, *second[-rng.randint(min(2, len(second)), len(second)) :]]
    words += [word for word, every in PLANTED.items() if number % every == every // 2]
    return " ".join(words)


def _move(simulation: PackedSimulation, rng: random.Random) -> PackedSimulation:
    """Return a simulation with its correlation moved; an undefined one stays undefined."""
    score = simulation.scores.ev_correlation
    if score is None:
        return simulation
    moved = max(-1.0, min(1.0, score + rng.uniform(-0.1, 0.1)))
    return structs.replace(simulation, scores=structs.replace(simulation.scores, ev_correlation=moved))
