"""What `collect` and `merge_shards` have in common: where work is kept, and where what was collected goes."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser, OutputWrapper

from explanations.importing.importer import Importer
from explanations.importing.subject import ImportRefusedError, prepare_model
from explanations.management.imports import BATCH, run_import
from explanations.management.progress import show_progress
from explanations.models import SubjectModel
from explanations.pipeline import dataset_encoding
from explanations.pipeline.card import Card
from explanations.pipeline.ingest import PackedNeuron
from explanations.pipeline.layout import DataKind
from explanations.pipeline.records import NeuronId
from explanations.pipeline.subject.threads import load_torch

if TYPE_CHECKING:
    from explanations.pipeline.collecting.collecting import Collecting
    from explanations.pipeline.collecting.neurons import CollectedNeuron, Neurons

LIBRARIES = ("torch", "transformers", "safetensors", "numba")


def add_subject_arguments(parser: CommandParser) -> None:
    """Add what names the subject model and where results go."""
    parser.add_argument("--subject", type=Path, required=True, metavar="FOLDER", help="transformers folder or .gguf")
    parser.add_argument("--model", required=True, metavar="SLUG", help="the model's address on this site")
    parser.add_argument("--name", default="", help="the model's name; its folder's unless told")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write the public format there, not the database")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 ...")
    parser.add_argument("--precision", default="auto", choices=["auto", "float32", "bfloat16", "float16"])
    parser.add_argument("--points", default="", metavar="NAME", help="the MLPs' last projections, {layer} in the name")
    parser.add_argument("--sink", default="", metavar="TOKEN", help="the token fed in front; `none` for none")


def open_subject(options: dict[str, Any]) -> Any:
    """Return the subject model. CommandError where it cannot be opened."""
    from explanations.pipeline.subject import SubjectModelError
    from explanations.pipeline.subject import open_subject as open_model

    if absent := [name for name in LIBRARIES if find_spec(name) is None]:
        raise CommandError(f"collecting needs {', '.join(absent)}: pip install 'neuronviewer[models]'")
    load_torch()
    try:
        return open_model(
            options["subject"],
            device=options["device"],
            precision=options["precision"],
            points=options["points"],
            sink=options["sink"],
        )
    except SubjectModelError as error:
        raise CommandError(f"--subject: {error}") from None


def work_folder(given: Path | None, slug: str, shard: tuple[int, int] = (1, 1)) -> Path:
    """Return where a run keeps what it has, so that it can be gone on with."""
    name = slug if shard[1] == 1 else f"{slug}-{shard[0]}-of-{shard[1]}"
    return given or Path(settings.DATA_DIR) / "collecting" / name


@contextmanager
def stopping_on_signals() -> Iterator[Callable[[], bool]]:
    """Yield whether Ctrl-C or SIGTERM has come; a second one stops at once."""
    caught: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        if caught:
            raise KeyboardInterrupt
        caught.append(number)

    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, note) for number in numbers]
    try:
        yield lambda: bool(caught)
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def write_collected(out: OutputWrapper, collecting: Collecting, options: dict[str, Any]) -> None:
    """Write what was collected to the folder or database that the options name."""
    module = import_module("explanations.pipeline.collecting.neurons")
    neurons: Neurons = module.Neurons(collecting)
    if not neurons.weights.has_norms:
        out.write("note: not every norm before an MLP was found; related tokens and neurons are without its gain")
    if options["out"]:
        _write_folder(out, neurons, options["out"])
    else:
        _write_database(out, neurons, collecting, module.Packer(), options)
    if neurons.missed:
        out.write(f"note: {neurons.missed:,} sums by token were too large to keep; their means are too small")


def _write_folder(out: OutputWrapper, neurons: Neurons, folder: Path) -> None:
    try:
        with show_progress(out, len(neurons), "neurons") as advance:
            for layer in neurons.layers():
                for neuron in layer:
                    for path, data in encode_neuron(neuron).items():
                        target = folder / path
                        target.parent.mkdir(parents=True, exist_ok=True)
                        target.write_bytes(data)
                    advance(1)
    except OSError as error:
        raise CommandError(f"{error.filename or folder}: cannot be written: {error.strerror or error}") from None
    out.write(f"{folder}: {len(neurons):,} neurons in the public format")


def encode_neuron(neuron: CollectedNeuron) -> dict[str, bytes]:
    """Return a neuron's files by their path."""
    neuron_id, related = neuron.record.neuron_id, neuron.related
    assert related.tokens_by_activation is not None
    assert related.tokens_by_weight is not None
    assert related.neurons is not None
    files = {
        DataKind.ACTIVATIONS: dataset_encoding.encode_record(neuron.record),
        DataKind.TOKENS_BY_ACTIVATION: dataset_encoding.encode_tokens_by_activation(related.tokens_by_activation),
        DataKind.TOKENS_BY_WEIGHT: dataset_encoding.encode_tokens_by_weight(related.tokens_by_weight),
        DataKind.RELATED_NEURONS: dataset_encoding.encode_related_neurons(related.neurons),
    }
    return {kind.path(neuron_id): data for kind, data in files.items()}


def _write_database(
    out: OutputWrapper, neurons: Neurons, collecting: Collecting, packer: Any, options: dict[str, Any]
) -> None:
    last = collecting.subject.points[-1]
    is_new = not SubjectModel.objects.filter(slug=options["model"]).exists()
    card = describe(collecting, neurons.weights.is_gated, last.layer + 1, last.width)
    try:
        model, _ = prepare_model(
            options["model"],
            neurons=[NeuronId(point.layer, point.width - 1) for point in collecting.points],
            # What is said of a model that is there already stays as people wrote it.
            card=card if is_new else None,
            name=options["name"],
        )
    except ImportRefusedError as error:
        raise CommandError(f"model “{options['model']}”: {error}") from None
    if model.is_gated != neurons.weights.is_gated:
        model.is_gated = neurons.weights.is_gated
        model.save(update_fields=["is_gated"])

    def batches() -> Iterator[list[PackedNeuron]]:
        for layer in neurons.layers():
            for start in range(0, len(layer), BATCH):
                yield packer.pack(layer[start : start + BATCH])

    run_import(out, Importer(model, None), batches(), len(neurons))


def describe(collecting: Collecting, is_gated: bool, layers: int, width: int) -> Card:
    """Return what the model's page says of a collection."""
    subject, chosen = collecting.subject, collecting.settings
    place = collecting.points[0].name.replace(f".{collecting.points[0].layer}.", ".{layer}.")
    gated = (
        " The MLP is gated, so activations are signed: each neuron has its lowest excerpts beside its highest. In"
        " related tokens and neurons the gate's weights stand for the MLP's first projection (c_fc)."
        if is_gated
        else ""
    )
    fed = f" {subject.texts.sink_name} was fed in front of each and not recorded." if subject.texts.sink_name else ""
    pool, ranked = chosen.pool(collecting.excerpts), chosen.ranked(collecting.excerpts)
    return Card(
        name=subject.name,
        layers=layers,
        neurons_per_layer=width,
        is_gated=is_gated,
        tokenizer=f"{subject.texts.vocabulary:,} tokens",
        description=f"A neuron is one input of {place}. Related weights have the norms' gains folded in.{gated}",
        source=(
            f"Computed from the model in {subject.precision} over {collecting.excerpts:,} excerpts of"
            f" {chosen.excerpt_tokens} tokens, shuffled by seed {chosen.seed}; none crosses from one document into the"
            f" next.{fed} Quantile ranges are those of the maximum activation in {ranked:,} excerpts; the lower ones"
            f" are sampled from {pool:,} of them."
        ),
    )
