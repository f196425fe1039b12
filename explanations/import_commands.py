"""The command that brings what is not imported, as pages and commands show it, to be copied."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from explanations.models import Neuron, SubjectModel
from explanations.pipeline.known_models import known_models
from explanations.pipeline.number_ranges import gather

UNKNOWN = "SOURCE"
"""What stands for a source that nobody here knows: a folder, whose name is nobody else's business."""
BUNDLED = "smollm2-135m"
"""the address of the bundled model"""
BUNDLED_CORPUS = "fixtures/smollm2-135m.corpus.parquet"
BUNDLED_NUMBERS = "--top 20 --bottom 20 --random 20 --per-quantile 5"
"""how many excerpts the bundled model's neurons have"""


def source_of(model: SubjectModel) -> str:
    """Return what `import_dataset` reads this model's data from; empty where that is not known."""
    return "public" if model.slug in known_models() else model.data_address


def import_command(model: SubjectModel, layers: Iterable[int], neuron: int | None = None) -> str:
    """Return the command that imports these layers, or one neuron of them."""
    chosen = f"--layers {describe_numbers(layers)}"
    if neuron is not None:
        chosen += f" --neurons {neuron}"
    return f"python manage.py import_dataset {source_of(model) or UNKNOWN} --model {model.slug} {chosen}"


def excerpts_command(neuron: Neuron) -> tuple[str, bool]:
    """Return the command that brings a neuron's excerpts, and whether it imports them, from where its source is known.

    Else it collects them, with those of the neuron's whole layer.
    """
    if source_of(neuron.model):
        return import_command(neuron.model, [neuron.layer], neuron.index), True
    return collect_command(neuron.model, [neuron.layer]), False


def collect_command(model: SubjectModel, layers: Iterable[int]) -> str:
    """Return the command that runs a model over a corpus and stores the excerpts of these layers' neurons.

    FOLDER holds the model and FILE the corpus; where they are is nobody else's business. The bundled model's corpus
    is known, and how many excerpts of it its other neurons have.
    """
    is_bundled = model.slug == BUNDLED
    corpus = BUNDLED_CORPUS if is_bundled else "FILE"
    command = f"python manage.py collect --subject FOLDER --corpus {corpus} --model {model.slug}"
    chosen = f"--layers {describe_numbers(layers)}"
    return f"{command} {chosen} {BUNDLED_NUMBERS}" if is_bundled else f"{command} {chosen}"


def describe_numbers(numbers: Iterable[int]) -> str:
    """Return numbers as `--layers` takes them: 0-3,7."""
    ranges = gather(set(numbers))
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in ranges)


def missing_layers(model: SubjectModel, layers: Iterable[int]) -> list[int]:
    """Return those of these layers of which nothing is imported, as the statistics know. No query."""
    known: Collection[str] = model.statistics.get("layers", {})
    return [layer for layer in layers if str(layer) not in known]
