"""A transformers model whose neurons are looked at. Imports torch: `loading.open_subject` is the way in."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from explanations.pipeline.language_models.loading import Precision, is_gguf
from explanations.pipeline.language_models.opening import check_model, context_window, read_on_device
from explanations.pipeline.language_models.protocol import LanguageModelError
from explanations.pipeline.records import Floats
from explanations.pipeline.subject.hooks import Receive, hooked
from explanations.pipeline.subject.points import Point, SubjectModelError, find_points
from explanations.pipeline.subject.texts import Texts, Tokenised


class TransformerSubject:
    """A causal transformer from this machine's disk."""

    def __init__(
        self, model: Any, tokenizer: Any, *, name: str = "", points: str = "", sink: str = "", precision: str = ""
    ) -> None:
        self.model = model
        self.name = name or type(model).__name__
        self.points: tuple[Point, ...] = find_points(model, points)
        self.texts = Texts(tokenizer, sink)
        self.context_window = context_window(model.config, tokenizer)
        self.precision = precision or str(next(model.parameters()).dtype).removeprefix("torch.")
        # Without the head over the vocabulary, which costs a quarter of a small model's time.
        self.body = body_of(model, self.points)

    def tokenise(self, text: str) -> Tokenised:
        return self.texts.tokenise(text)

    def with_sink(self, rows: Tensor) -> Tensor:
        """Return token ids [batch, pos] with the token in front [batch, 1 + pos]; unchanged where there is none."""
        if self.texts.sink is None:
            return rows
        return torch.nn.functional.pad(rows, (1, 0), value=self.texts.sink)

    @property
    def recorded(self) -> int:
        """The first position that is recorded."""
        return 0 if self.texts.sink is None else 1

    def run(self, rows: Tensor, receive: Receive, points: Sequence[Point] | None = None) -> None:
        """Feed token ids [batch, pos], those in front included, and hand on each layer's activations."""

        def in_rows(point: Point, values: Tensor) -> None:
            # OPT's MLPs take all rows as one.
            receive(point, values.view(*rows.shape, point.width))  # [batch, pos, d_mlp]

        with torch.inference_mode(), hooked(self.model, self.points if points is None else points, in_rows):
            self.body(rows.to(self.model.device), use_cache=False)

    def activations(self, rows: Sequence[Sequence[int]]) -> list[Floats]:
        """Return each layer's activations [batch, pos, d_mlp], as `SubjectModel` says."""
        lengths = [len(row) for row in rows]
        longest = max(lengths, default=0)
        if not longest:
            return [np.zeros((len(rows), 0, point.width), np.float32) for point in self.points]
        found: dict[int, Floats] = {}
        first = self.recorded

        def keep(point: Point, values: Tensor) -> None:
            found[point.layer] = values[:, first:].float().cpu().numpy().copy()  # [batch, pos, d_mlp]

        # Padded on the right, where attention, which looks back only, does not see it.
        padded = torch.tensor([[*row, *[0] * (longest - len(row))] for row in rows])  # [batch, pos]
        self.run(self.with_sink(padded), keep)
        for values in found.values():
            for row, length in enumerate(lengths):
                values[row, length:] = np.nan
        return [found[point.layer] for point in self.points]


def body_of(model: Any, points: Sequence[Point]) -> Any:
    """Return the model without its head, where that holds all points and runs alone; else the whole model."""
    body = getattr(model, model.base_model_prefix, model)
    inside = all(name.startswith(f"{model.base_model_prefix}.") for name in (point.name for point in points))
    takes_cache = "use_cache" in inspect.signature(body.forward).parameters
    return body if inside and takes_cache else model


def open_transformer(path: Path, *, device: str, precision: Precision, points: str, sink: str) -> TransformerSubject:
    """Return the subject model in a folder or GGUF file. SubjectModelError where there is none."""
    try:
        model, tokenizer = read_on_device(path, device=device, precision=precision)
        check_model(model, tokenizer, path)
    except LanguageModelError as error:
        raise SubjectModelError(str(error)) from None
    name = path.resolve().stem if is_gguf(path) else path.resolve().name
    return TransformerSubject(model, tokenizer, name=name, points=points, sink=sink)
