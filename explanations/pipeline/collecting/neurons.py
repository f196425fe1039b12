"""What was collected as neurons: packed as the database keeps them, or as records for the public format."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from explanations.pipeline import packing
from explanations.pipeline.collecting.collecting import Collecting
from explanations.pipeline.collecting.result import LayerResult
from explanations.pipeline.collecting.settings import QUANTILES
from explanations.pipeline.collecting.weights import LayerWeights, Ranked, Weights
from explanations.pipeline.ingest import PackedActivations, PackedNeuron
from explanations.pipeline.packing import RecordBatch
from explanations.pipeline.records import (
    ActivationRecord,
    Kind,
    NeuronId,
    NeuronRecord,
    NeuronWeights,
    Related,
    RelatedNeurons,
    TokenValues,
    WeightTokens,
)


@dataclass(frozen=True, slots=True)
class CollectedNeuron:
    """A neuron with all that was found of it."""

    record: NeuronRecord
    related: Related
    numbers: tuple[int, ...]
    """the excerpts' numbers, in the order of `NeuronRecord.labelled`"""


class Neurons:
    """Reads a collection's neurons, layer by layer."""

    def __init__(self, collecting: Collecting) -> None:
        self._collecting = collecting
        self._results = collecting.results()
        self.weights = Weights(collecting.subject, collecting.points)
        self._strings: dict[int, tuple[str, ...]] = {}
        texts = collecting.subject.texts
        self._tokens = texts.strings(range(texts.vocabulary))
        self.missed = 0
        """sums by token that did not fit, so far"""

    def __len__(self) -> int:
        return sum(point.width for point in self._collecting.points)

    def layers(self) -> Iterator[list[CollectedNeuron]]:
        """Yield the neurons of each layer."""
        for place in range(len(self._collecting.points)):
            yield self.layer(place)

    def layer(self, place: int) -> list[CollectedNeuron]:
        """Return the neurons of the layer at this place among those that were collected."""
        point = self._collecting.points[place]
        result, weights = self._results.layer(point.layer), self.weights.layer(place)
        self.missed += result.missed
        return [self._neuron(result, weights, index) for index in range(point.width)]

    def _neuron(self, result: LayerResult, weights: LayerWeights, index: int) -> CollectedNeuron:
        records: dict[int, tuple[ActivationRecord, ...]] = {}
        numbers: list[int] = []
        for group in result.groups:
            found = group.numbers[index].tolist()
            pairs = zip(found, group.activations[index], strict=True)
            records[group.kind] = tuple(ActivationRecord(self._excerpt(n), a) for n, a in pairs if n >= 0)
            numbers += [number for number in found if number >= 0]
        quantiles = [records[kind] for kind in sorted(records) if kind >= Kind.QUANTILE]
        moments = [None if np.isnan(value) else float(value) for value in result.moments[:, index]]
        record = NeuronRecord(
            NeuronId(result.layer, index),
            top=records[Kind.TOP],
            random=records[Kind.RANDOM],
            by_quantile=tuple(quantiles),
            quantile_boundaries=QUANTILES if quantiles else None,
            mean=moments[0],
            variance=moments[1],
            skewness=moments[2],
            kurtosis=moments[3],
            bottom=records.get(Kind.BOTTOM, ()),
        )
        return CollectedNeuron(record, self._related(result, weights, index), tuple(numbers))

    def _excerpt(self, number: int) -> tuple[str, ...]:
        """Return an excerpt's token strings, one object an excerpt."""
        if number not in self._strings:
            if len(self._strings) > 100_000:
                self._strings.clear()
            self._strings[number] = tuple(self._tokens[token] for token in self._collecting.corpus.rows[number])
        return self._strings[number]

    def _related(self, result: LayerResult, weights: LayerWeights, index: int) -> Related:
        tokens = tuple(self._tokens[token] for token in result.tokens[index])
        sides = (*weights.input_tokens, *weights.output_tokens)
        return Related(
            tokens_by_activation=TokenValues(tokens, tuple(result.token_means[index].tolist())),
            tokens_by_weight=WeightTokens(*(self._token_values(side, index) for side in sides)),
            neurons=RelatedNeurons(
                *self._neuron_weights(weights.upstream, index), *self._neuron_weights(weights.downstream, index)
            ),
        )

    def _token_values(self, ranked: Ranked, index: int) -> TokenValues:
        tokens = tuple(self._tokens[token] for token in ranked.places[index].tolist())
        return TokenValues(tokens, tuple(ranked.strengths[index].tolist()))

    def _neuron_weights(
        self, sides: tuple[Ranked, Ranked] | None, index: int
    ) -> tuple[NeuronWeights | None, NeuronWeights | None]:
        if sides is None:
            return None, None
        positive, negative = (
            NeuronWeights(
                tuple(NeuronId(*self.weights.neuron_at(place)) for place in side.places[index].tolist()),
                tuple(side.strengths[index].tolist()),
            )
            for side in sides
        )
        return positive, negative


def pack_statistics(record: NeuronRecord, data: bytes | None) -> PackedActivations:
    """Return a neuron's statistics with its packed records; None where those are left out."""
    moments = (record.mean, record.variance, record.skewness, record.kurtosis)
    peak = packing.pack_peak(record.top[0].tokens, record.top[0].activations)
    return PackedActivations(data, moments, record.max_activation, peak)


class Packer:
    """Packs neurons as an import does. It remembers which excerpts it has packed."""

    def __init__(self) -> None:
        self._keys: dict[int, int] = {}

    def pack(self, neurons: Sequence[CollectedNeuron]) -> list[PackedNeuron]:
        """Return neurons packed, each with the excerpts that none before it brought."""
        packed = []
        batches = []
        for neuron in neurons:
            fresh: dict[int, bytes] = {}
            labelled = neuron.record.labelled()
            keys = [self._key(n, r.tokens, fresh) for n, (_, r) in zip(neuron.numbers, labelled, strict=True)]
            lengths = np.array([len(r.activations) for _, r in labelled], dtype=np.int64)
            values = np.concatenate([r.activations for _, r in labelled]).astype(np.float64)
            kinds = [kind for kind, _ in labelled]
            batches.append(RecordBatch(keys, kinds, lengths, values, neuron.record.quantile_boundaries))
            packed.append(
                PackedNeuron(neuron.record.neuron_id, related=packing.pack_related(neuron.related), excerpts=fresh)
            )
        for neuron, item, data in zip(neurons, packed, packing.pack_record_batch(batches), strict=True):
            item.activations = pack_statistics(neuron.record, data)
        return packed

    def _key(self, number: int, tokens: tuple[str, ...], fresh: dict[int, bytes]) -> int:
        if (key := self._keys.get(number)) is None:
            data = packing.pack_tokens(tokens)
            key = self._keys[number] = packing.excerpt_key(data)
            fresh[key] = data
        return key
