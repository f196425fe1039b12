"""Open a subject model from this machine's disk, where the extra [models] is installed."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

from explanations.pipeline.language_models.loading import Precision, why_not_loadable
from explanations.pipeline.records import Floats
from explanations.pipeline.subject.points import Point, SubjectModelError
from explanations.pipeline.subject.texts import Tokenised


class SubjectModel(Protocol):
    """A model whose neurons can be looked at."""

    name: str
    points: tuple[Point, ...]
    """a layer each, first layer first"""
    context_window: int | None
    """tokens, the one in front included; None where the model does not say"""

    def tokenise(self, text: str) -> Tokenised:
        """Return a text's tokens, without the one in front."""

    def activations(self, rows: Sequence[Sequence[int]]) -> list[Floats]:
        """Return each layer's activations [batch, pos, d_mlp] in single precision, without the token in front.

        Shorter rows are NaN behind their end.
        """


def open_subject(
    path: Path,
    *,
    device: str = "auto",
    precision: Precision = "auto",
    points: str = "",
    sink: str = "",
) -> SubjectModel:
    """Return the model in a transformers folder or GGUF file. Nothing is downloaded. SubjectModelError.

    `auto` takes a GPU where there is one, and half the precision where the processor computes it as fast. `points`
    names the last projections by hand (`points.find_points`), `sink` the token fed in front (`texts.Texts`).
    """
    path = Path(path).expanduser()
    if problem := why_not_loadable(path):
        raise SubjectModelError(problem)
    # By its name: what imports this must not reach torch.
    transformer = import_module("explanations.pipeline.subject.transformer")
    return cast(
        SubjectModel, transformer.open_transformer(path, device=device, precision=precision, points=points, sink=sink)
    )
