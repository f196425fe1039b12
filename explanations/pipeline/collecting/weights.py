"""What a neuron's weights join it to: the tokens it reads and writes, and the neurons before and after it.

Neuron to neuron, from an earlier layer to a later one: the last projection times the later norm's gain times the first
projection. A token's input weight takes its embedding for the last projection, its output weight the final norm and the
head for the rest. Of a gated MLP the gate stands for the first projection: it decides whether a neuron is
on. Norms are told by what they write: the norm before an MLP is the one whose output the MLP reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from explanations.pipeline.subject.points import Point, matrix_shape
from explanations.pipeline.subject.transformer import TransformerSubject

TOKENS, NEURONS = 30, 10
"""strongest of each sign that are kept"""
GATES = ("gate", "w1", "wi_0")
ROWS = 8192
"""tokens whose weights are computed at once"""


@dataclass(frozen=True, slots=True)
class Ranked:
    """Of each neuron of a layer, the strongest of one sign."""

    places: Tensor
    """[neuron, place]: token ids, or neurons counted through all layers that were asked for"""
    strengths: Tensor
    """[neuron, place]"""


@dataclass(frozen=True, slots=True)
class LayerWeights:
    """One layer's; positive and negative each."""

    input_tokens: tuple[Ranked, Ranked]
    output_tokens: tuple[Ranked, Ranked]
    upstream: tuple[Ranked, Ranked] | None
    """None in the first layer"""
    downstream: tuple[Ranked, Ranked] | None


@dataclass(frozen=True, slots=True)
class Reading:
    """How an MLP reads: its first projection with the norm's gain folded in."""

    weight: Tensor
    """[d_model, d_mlp]"""
    is_gated: bool


def is_gated(subject: TransformerSubject, point: Point) -> bool:
    """Return whether an MLP has a gate, so that its neurons' activations have both signs."""
    return len(_readers(subject.model, point)) > 1 or _is_fused(subject.model, point)


def _readers(model: Any, point: Point) -> list[tuple[str, Any]]:
    """Return the MLP's first projections: those from d_model to d_mlp, or to twice that where two are one."""
    parent = point.name.rpartition(".")[0]
    found = []
    for name, module in model.get_submodule(parent).named_modules():
        shape = matrix_shape(module)
        inside = f"{parent}.{name}" != point.name and "attn" not in name
        if inside and shape in ((point.d_model, point.width), (point.d_model, 2 * point.width)):
            found.append((name, module))
    return found


def _is_fused(model: Any, point: Point) -> bool:
    return any(matrix_shape(module) == (point.d_model, 2 * point.width) for _, module in _readers(model, point))


def matrix_of(module: Any) -> Tensor:
    """Return a linear module's weight [inputs, outputs] in single precision."""
    weight = module.weight.detach().float()
    return weight if hasattr(module, "nf") else weight.T


def gain_of(norm: Any, d_model: int) -> Tensor:
    """Return what a norm multiplies each component by [d_model], measured: some keep it as its distance from 1."""
    dtype, device = norm.weight.dtype, norm.weight.device
    pattern = torch.ones(d_model, device=device)
    pattern[1::2] = -1.0  # mean 0 (where d_model is even) and mean square 1: a norm leaves it as it is
    both = torch.stack([pattern, -pattern]).to(dtype)
    with torch.inference_mode():
        out = norm(both).float()
    measured = (out[0] - out[1]) / 2 * pattern
    weight = norm.weight.detach().float()
    exact = [
        candidate for candidate in (weight, weight + 1) if torch.allclose(candidate, measured, rtol=0.02, atol=0.02)
    ]
    return (exact or [measured])[0].clone()


class Weights:
    """The weights of a model's chosen layers, in single precision."""

    def __init__(self, subject: TransformerSubject, points: Sequence[Point]) -> None:
        model = subject.model
        self._points = list(points)
        norms, final = _find_norms(subject, self._points)
        self.is_gated = is_gated(subject, self._points[0])
        self._reads: list[Tensor] = []
        for point in self._points:
            gain = (
                torch.ones(point.d_model)
                if norms.get(point.layer) is None
                else gain_of(norms[point.layer], point.d_model)
            )
            self._reads.append(gain.to(model.device)[:, None] * _first_projection(model, point))
        self._writes = [matrix_of(model.get_submodule(point.name)) for point in self._points]  # [d_mlp, d_model]
        embedding = model.get_input_embeddings().weight.detach()
        head = model.get_output_embeddings()
        self._embedding = embedding
        self._head = embedding if head is None else head.weight.detach()
        self._final = gain_of(final, self._points[0].d_model) if final is not None else None
        self._vocabulary = min(subject.texts.vocabulary, len(self._embedding), len(self._head))
        self.has_norms = all(norms.get(point.layer) is not None for point in self._points) and final is not None

    def layer(self, place: int) -> LayerWeights:
        """Return what is found of the layer at this place among those that were asked for."""
        with torch.inference_mode():
            return self._layer(place)

    def _layer(self, place: int) -> LayerWeights:
        reads, writes = self._reads[place], self._writes[place]
        wide = self._embedding.shape[1] == reads.shape[0] and self._head.shape[1] == writes.shape[1]
        final = writes if self._final is None else writes * self._final
        nothing = (Ranked(torch.zeros(reads.shape[1], 0), torch.zeros(reads.shape[1], 0)),) * 2
        earlier = [self._writes[p] @ reads for p in range(place)]  # [neuron there, neuron here] each
        later = [self._reads[p].T @ writes.T for p in range(place + 1, len(self._points))]
        first = sum(w.shape[0] for w in self._writes[: place + 1])
        return LayerWeights(
            input_tokens=self._rank_tokens(self._embedding, reads) if wide else nothing,
            output_tokens=self._rank_tokens(self._head, final.T) if wide else nothing,
            upstream=rank(torch.cat(earlier).T, NEURONS) if earlier else None,
            downstream=rank(torch.cat(later).T, NEURONS, first) if later else None,
        )

    def _rank_tokens(self, rows: Tensor, columns: Tensor) -> tuple[Ranked, Ranked]:
        """Return the strongest tokens of `rows` [token, d_model] times `columns` [d_model, neuron]."""
        best: tuple[Ranked, Ranked] | None = None
        for start in range(0, self._vocabulary, ROWS):
            part = rows[start : min(start + ROWS, self._vocabulary)].float()
            found = rank((part @ columns).T, TOKENS, start)
            best = found if best is None else (_better(best[0], found[0], 1), _better(best[1], found[1], -1))
        assert best is not None
        return best

    def neuron_at(self, place: int) -> tuple[int, int]:
        """Return layer and index of a neuron that is counted through all layers."""
        for point in self._points:
            if place < point.width:
                return point.layer, place
            place -= point.width
        raise IndexError(place)


def rank(strengths: Tensor, wanted: int, first: int = 0) -> tuple[Ranked, Ranked]:
    """Return the most positive and the most negative of `strengths` [neuron, other]; places count from `first`."""
    wanted = min(wanted, strengths.shape[1])
    high, low = strengths.topk(wanted, dim=1), strengths.topk(wanted, dim=1, largest=False)
    return Ranked(high.indices + first, high.values), Ranked(low.indices + first, low.values)


def _better(a: Ranked, b: Ranked, sign: int) -> Ranked:
    strengths, places = torch.cat([a.strengths, b.strengths], dim=1), torch.cat([a.places, b.places], dim=1)
    order = (sign * strengths).argsort(dim=1, descending=True, stable=True)[:, :TOKENS]
    return Ranked(places.gather(1, order), strengths.gather(1, order))


def _first_projection(model: Any, point: Point) -> Tensor:
    """Return the first projection's weight, the gate's where there is one [d_model, d_mlp]."""
    readers = _readers(model, point)
    if not readers:
        return torch.zeros(point.d_model, point.width, device=model.device)
    gates = [module for name, module in readers if any(part in name for part in GATES)]
    weight = matrix_of((gates or [module for _, module in readers])[0])
    return weight[:, : point.width]  # where gate and other are one, the gate comes first


def _find_norms(subject: TransformerSubject, points: Sequence[Point]) -> tuple[dict[int, Any], Any]:
    """Return the norm before each layer's MLP, and the final one; None for one that is not there."""
    model = subject.model
    written: list[tuple[Any, Tensor]] = []
    read: dict[int, Tensor] = {}
    handles = []
    for _, module in model.named_modules():
        weight = getattr(module, "weight", None)
        if weight is not None and weight.ndim == 1:
            handles.append(module.register_forward_hook(lambda module, _given, out: written.append((module, out))))
    for point in points:
        for _, module in _readers(model, point)[:1]:
            handles.append(
                module.register_forward_pre_hook(
                    lambda _module, given, layer=point.layer: read.__setitem__(layer, given[0])
                )
            )
    try:
        with torch.inference_mode():
            out = subject.body(torch.tensor([[0, 1, 2, 3]], device=model.device), use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    last = getattr(out, "last_hidden_state", None)

    def norm_of(values: Tensor | None) -> Any:
        if values is None:
            return None
        same = (m for m, w in written if w.numel() == values.numel() and torch.equal(w.reshape(-1), values.reshape(-1)))
        return next(same, None)

    return {point.layer: norm_of(read.get(point.layer)) for point in points}, norm_of(last)
