"""One neuron's activation records from a file of the public dataset, for notebooks and scripts."""

from __future__ import annotations

from pathlib import Path

from explanations.pipeline.dataset import decode_record
from explanations.pipeline.excerpts import Excerpts
from explanations.pipeline.json_reading import BrokenFileError
from explanations.pipeline.records import NeuronId, NeuronRecord


def read_neuron(path: str | Path) -> NeuronRecord:
    """Return the records in `.../{layer}/{neuron}.json`. BrokenFileError, with the path, where it holds none."""
    file = Path(path)
    layer, index = file.parent.name, file.stem
    if not all(name.isascii() and name.isdigit() for name in (layer, index)):
        raise BrokenFileError(f"{file}: a neuron's file is named layer/neuron.json, as 12/345.json")
    try:
        return decode_record(file.read_bytes(), NeuronId(int(layer), int(index)), Excerpts()).to_record()
    except BrokenFileError as error:
        raise BrokenFileError(f"{file}: {error}") from error
