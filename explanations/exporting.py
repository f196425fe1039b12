"""Rows back to the files of the public format."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from django.db.models import Q

from explanations import store
from explanations.models import Explanation, Neuron, RelatedSet, Simulation, SubjectModel
from explanations.pipeline import dataset_encoding, packing
from explanations.pipeline.layout import DataKind
from explanations.pipeline.packing import PackedRecord
from explanations.pipeline.records import NeuronId, Related, ScoredExplanation

Files = dict[str, bytes]
"""File contents by their path in the dataset's folder."""


class Exporter:
    """Encodes neurons of one model. It remembers the excerpts that it has read."""

    def __init__(self, model: SubjectModel, kinds: Sequence[DataKind], *, with_own: bool = False) -> None:
        """`with_own`: with the current explanations that were made on this site, after the imported ones."""
        self._model = model
        self._kinds = frozenset(kinds)
        self._with_own = with_own
        self._tokens: dict[int, store.Tokens] = {}

    def encode(self, neuron_ids: Sequence[int]) -> Iterator[Files]:
        """Yield the files of each of these neurons, by pk; nothing for what a neuron does not have. Five queries."""
        neurons = Neuron.objects.filter(pk__in=neuron_ids).select_related("activation_set").order_by("layer", "index")
        explanations = self._read_explanations(neuron_ids) if DataKind.EXPLANATIONS in self._kinds else {}
        related = dict(RelatedSet.objects.filter(pk__in=neuron_ids).values_list("pk", "data"))
        for neuron in neurons:
            packed, boundaries = _records(neuron)
            files: Files = {}
            if DataKind.ACTIVATIONS in self._kinds and packed:
                self._fetch_tokens(record.key for record in packed)
                record = store.join_records(neuron, packed, boundaries, self._tokens)
                files[DataKind.ACTIVATIONS.path(neuron.neuron_id)] = dataset_encoding.encode_record(record)
            if scored := [self._join(e, s, packed) for e, s in explanations.get(neuron.pk, ())]:
                path = DataKind.EXPLANATIONS.path(neuron.neuron_id)
                files[path] = dataset_encoding.encode_explanations(neuron.neuron_id, scored)
            if neuron.pk in related:
                files |= self._encode_related(neuron.neuron_id, packing.unpack_related(related[neuron.pk]))
            yield files

    def _read_explanations(self, neuron_ids: Sequence[int]) -> dict[int, list[tuple[Explanation, Simulation | None]]]:
        """Return explanations by neuron with the simulation that is exported: the imported one, else the newest."""
        chosen = Q(dataset_position__isnull=False)
        if self._with_own:
            chosen |= Q(state=Explanation.State.CURRENT)
        rows = list(Explanation.objects.filter(chosen, neuron__in=neuron_ids))
        rows.sort(key=lambda e: (e.dataset_position is None, e.dataset_position, e.pk))
        simulations: defaultdict[int, list[Simulation]] = defaultdict(list)
        for simulation in Simulation.objects.filter(explanation__in=[e.pk for e in rows]).order_by("pk"):
            simulations[simulation.explanation_id].append(simulation)
        of_neuron: defaultdict[int, list[tuple[Explanation, Simulation | None]]] = defaultdict(list)
        for row in rows:
            found = simulations[row.pk]
            exported = found[0 if row.dataset_position is not None else -1] if found else None
            of_neuron[row.neuron_id].append((row, exported))
        return of_neuron

    def _join(
        self, explanation: Explanation, row: Simulation | None, packed: Sequence[PackedRecord]
    ) -> ScoredExplanation:
        if row is None:
            return ScoredExplanation(explanation.text, None)
        sequences = packing.unpack_sequences(row.data)
        self._fetch_tokens(sequence.key for sequence in sequences)
        return ScoredExplanation(explanation.text, store.join_simulation(row, sequences, packed, self._tokens))

    def _fetch_tokens(self, keys: Iterable[int]) -> None:
        missing = set(keys) - self._tokens.keys()
        if missing:
            self._tokens |= store.read_tokens(self._model.pk, missing)

    def _encode_related(self, neuron_id: NeuronId, related: Related) -> Files:
        by_activation, by_weight, neurons = related.tokens_by_activation, related.tokens_by_weight, related.neurons
        files: Files = {}
        if by_activation is not None:
            path = DataKind.TOKENS_BY_ACTIVATION.path(neuron_id)
            files[path] = dataset_encoding.encode_tokens_by_activation(by_activation)
        if by_weight is not None:
            files[DataKind.TOKENS_BY_WEIGHT.path(neuron_id)] = dataset_encoding.encode_tokens_by_weight(by_weight)
        if neurons is not None:
            files[DataKind.RELATED_NEURONS.path(neuron_id)] = dataset_encoding.encode_related_neurons(neurons)
        wanted = {kind.path(neuron_id) for kind in self._kinds}
        return {path: data for path, data in files.items() if path in wanted}


def _records(neuron: Neuron) -> tuple[list[PackedRecord], tuple[float, ...] | None]:
    if not hasattr(neuron, "activation_set"):
        return [], None
    return packing.unpack_records(neuron.activation_set.data)
