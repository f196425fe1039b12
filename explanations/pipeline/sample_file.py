"""A file of many packed neurons, as the repository carries its sample: Parquet, a row a neuron, compressed by zstd.

It holds what `ingest` makes of the public files, so that what is loaded from it equals what is imported from them.
A neuron's activation records, and its simulations' values, may be left out; its statistics and scores stay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from explanations.pipeline import packing
from explanations.pipeline.ingest import PackedActivations, PackedExplanation, PackedNeuron, PackedSimulation
from explanations.pipeline.packing import Planes
from explanations.pipeline.records import NeuronId, Scores

FORMAT = b"neuronviewer sample 1"
_COMPRESSION_LEVEL = 19
_ROWS_IN_GROUP = 500

_PLANES = [(name, pa.binary()) for name in ("index", "low", "high", "exact")]
_SCORES = [(name, pa.float64()) for name in packing.SCORES]
_ACTIVATIONS = pa.struct(
    [
        *_PLANES,
        *[(name, pa.float64()) for name in ("mean", "variance", "skewness", "kurtosis", "max_activation")],
        ("peak", pa.binary()),
    ]
)
_SIMULATION = pa.struct(
    [
        *_PLANES,
        ("excerpts", pa.int32()),
        ("scale", pa.string()),
        *_SCORES,
        ("top_only", pa.float64()),
        ("random_only", pa.float64()),
    ]
)
_SCHEMA = pa.schema(
    [
        ("layer", pa.int32()),
        ("index", pa.int32()),
        ("activations", _ACTIVATIONS),
        ("explanations", pa.list_(pa.struct([("text", pa.binary()), ("simulation", _SIMULATION)]))),
        ("related", pa.binary()),
        ("excerpts", pa.list_(pa.struct([("key", pa.int64()), ("tokens", pa.binary())]))),
    ],
    metadata={b"format": FORMAT},
)

Item = dict[str, Any]
_NO_SEQUENCES = packing.pack_sequences([])


class SampleFileError(ValueError):
    """A file that is no sample of packed neurons."""


def write_sample(path: Path, neurons: Iterable[PackedNeuron]) -> None:
    """Write neurons to a file. The same neurons and the same pyarrow give the same bytes."""
    table = pa.Table.from_pylist([_to_row(neuron) for neuron in neurons], schema=_SCHEMA)
    pq.write_table(
        table,
        path,
        compression="zstd",
        compression_level=_COMPRESSION_LEVEL,
        use_dictionary=False,
        write_statistics=False,
        row_group_size=_ROWS_IN_GROUP,
        data_page_size=1 << 26,
    )


def read_sample(path: Path, batch: int) -> tuple[int, Iterator[Sequence[PackedNeuron]]]:
    """Return how many neurons a file holds, and batches of them. SampleFileError where it is no such file."""
    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise SampleFileError(f"{path} cannot be read: {error}") from None
    if (file.schema_arrow.metadata or {}).get(b"format") != FORMAT:
        raise SampleFileError(f"{path} is not a sample that this program reads")
    return file.metadata.num_rows, _read_batches(file, batch)


def _read_batches(file: pq.ParquetFile, batch: int) -> Iterator[Sequence[PackedNeuron]]:
    for rows in file.iter_batches(batch):
        yield [_from_row(row) for row in rows.to_pylist()]


def _planes(planes: Planes | None) -> Item:
    return {name: None if planes is None else getattr(planes, name) for name, _ in _PLANES}


def _join(item: Item, join: Callable[[Planes], bytes]) -> bytes | None:
    """Return packed records or sequences; None where the file leaves them out."""
    if item["index"] is None:
        return None
    return join(Planes(*(item[name] for name, _ in _PLANES)))


def _to_row(neuron: PackedNeuron) -> Item:
    return {
        "layer": neuron.neuron_id.layer,
        "index": neuron.neuron_id.index,
        "activations": _activations_to_item(neuron.activations),
        "explanations": None if neuron.explanations is None else [_explanation_to_item(e) for e in neuron.explanations],
        "related": neuron.related,
        "excerpts": [{"key": key, "tokens": tokens} for key, tokens in neuron.excerpts.items()],
    }


def _from_row(row: Item) -> PackedNeuron:
    return PackedNeuron(
        NeuronId(row["layer"], row["index"]),
        activations=_activations_from_item(row["activations"]),
        explanations=None if row["explanations"] is None else tuple(map(_explanation_from_item, row["explanations"])),
        related=row["related"],
        excerpts={item["key"]: item["tokens"] for item in row["excerpts"]},
    )


_MOMENTS = ("mean", "variance", "skewness", "kurtosis")


def _activations_to_item(activations: PackedActivations | None) -> Item | None:
    if activations is None:
        return None
    return {
        **_planes(None if activations.data is None else packing.split_records(activations.data)),
        **dict(zip(_MOMENTS, activations.moments, strict=True)),
        "max_activation": activations.max_activation,
        "peak": activations.peak,
    }


def _activations_from_item(item: Item | None) -> PackedActivations | None:
    if item is None:
        return None
    mean, variance, skewness, kurtosis = (item[name] for name in _MOMENTS)
    return PackedActivations(
        _join(item, packing.join_records), (mean, variance, skewness, kurtosis), item["max_activation"], item["peak"]
    )


def _explanation_to_item(explanation: PackedExplanation | None) -> Item | None:
    if explanation is None:
        return None
    text = explanation.text.encode("utf-8", "surrogatepass")
    simulation = explanation.simulation
    if simulation is None:
        return {"text": text, "simulation": None}
    item = {
        **_planes(None if simulation.data == _NO_SEQUENCES else packing.split_sequences(simulation.data)),
        "excerpts": simulation.excerpts,
        "scale": simulation.scale,
        **{name: getattr(simulation.scores, name) for name in packing.SCORES},
        "top_only": simulation.top_only,
        "random_only": simulation.random_only,
    }
    return {"text": text, "simulation": item}


def _explanation_from_item(item: Item | None) -> PackedExplanation | None:
    if item is None:
        return None
    text = item["text"].decode("utf-8", "surrogatepass")
    given = item["simulation"]
    if given is None:
        return PackedExplanation(text, None)
    scores = Scores(*(given[name] for name in packing.SCORES))
    simulation = PackedSimulation(
        _join(given, packing.join_sequences) or _NO_SEQUENCES,
        given["excerpts"],
        given["scale"],
        scores,
        given["top_only"],
        given["random_only"],
    )
    return PackedExplanation(text, simulation)
