"""A text that a person tries on a subject model: what one neuron does on it, and which neurons fire on it most.

Results are plain structs, kept as bytes (`encode`), so that they can be shown again after the explanations changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt

from explanations.pipeline.language_models import LanguageModelError
from explanations.pipeline.packing import pack_tokens, unpack_texts
from explanations.pipeline.records import ActivationRecord, Floats, NeuronId, normalise
from explanations.pipeline.run.simulation import check_values
from explanations.pipeline.simulator import Simulate, SimulationError
from explanations.pipeline.subject import SubjectModel, Tokenised

PER_LAYER = 5
"""Neurons that are listed of each layer."""
STRONGEST = 20
"""Neurons that are listed of the whole model."""
BEFORE, AFTER = 11, 5
"""Tokens around the strongest one that a list shows, as a layer's page does."""

Tell: TypeAlias = Callable[[str], None]
Maxima: TypeAlias = Sequence[Floats]
"""each layer's highest recorded activations [d_mlp]; NaN where none is known"""


class TextRefusedError(ValueError):
    """A text that cannot be tried, with the reason in words."""


class TriedExplanation(msgspec.Struct, frozen=True, array_like=True):
    """One explanation's simulation on the text, as it was when the text was tried."""

    explanation: int
    """its row"""
    text: str
    simulator: str
    simulated: bytes
    """single precision [pos], 0 to 10; empty where the simulation failed"""
    failure: str = ""


class TriedNeuron(msgspec.Struct, frozen=True, array_like=True):
    """What one neuron does on the text, and what its explanations expect of it."""

    tokens: bytes
    real: bytes
    """single precision [pos], in the subject model's own units"""
    explanations: list[TriedExplanation]
    left_out: int = 0
    """current explanations beyond those that are simulated"""


class Fired(msgspec.Struct, frozen=True, array_like=True):
    """A neuron that fires on the text."""

    layer: int
    index: int
    value: float
    """its highest activation on the text"""
    relative: float
    """that as a part of its highest recorded one; above 1 where the text exceeds it"""
    at: int
    """the token where it is highest"""
    start: int
    """the first token of `levels`"""
    levels: bytes
    """0 to 10 around that token, relative to its highest recorded activation"""

    @property
    def neuron_id(self) -> NeuronId:
        return NeuronId(self.layer, self.index)


class Firing(msgspec.Struct, frozen=True, array_like=True):
    """Which neurons of a model fire most on the text."""

    tokens: bytes
    strongest: list[Fired]
    """of the whole model, by their relative activation"""
    by_layer: list[list[Fired]]
    """of each layer, first layer first; empty where no neuron of it is active"""
    ranked: int
    """neurons with a known positive maximum: those that can be compared"""
    unknown: int
    """neurons without"""
    beyond: int
    """ranked neurons that exceed their recorded maximum on this text"""


R = TypeVar("R", TriedNeuron, Firing)


def encode(result: TriedNeuron | Firing) -> bytes:
    return msgspec.msgpack.encode(result)


def decode(data: bytes | memoryview, kind: type[R]) -> R:
    """Return what `encode` made of a result of this kind."""
    return msgspec.msgpack.decode(data, type=kind)


def tokens_of(result: TriedNeuron | Firing) -> tuple[str, ...]:
    return unpack_texts(result.tokens)


def values_of(data: bytes) -> npt.NDArray[np.float64]:
    """Return the values [pos] of a result's field."""
    return np.frombuffer(data, "<f4").astype(np.float64)


def _packed(values: Floats) -> bytes:
    return np.asarray(values, dtype="<f4").tobytes()


@dataclass(frozen=True, slots=True)
class Simulating:
    """An explanation that is to be simulated on the text."""

    explanation: int
    text: str
    simulator: str
    simulate: Simulate | None
    """None where it cannot be simulated"""
    why_not: str = ""


@dataclass(frozen=True, slots=True)
class SimulationPlan:
    """The explanations that are to be simulated on the text."""

    explanations: Sequence[Simulating]
    left_out: int = 0
    """further ones that are not"""


def tokenise(subject: SubjectModel, text: str, limit: int) -> Tokenised:
    """Return the text's tokens. TextRefusedError where it has none, or more than the limit or the model takes."""
    found = subject.tokenise(text)
    # The token in front takes a place of the context too.
    most = limit if subject.context_window is None else min(limit, subject.context_window - 1)
    if len(found.ids) > most:
        raise TextRefusedError(
            f"The text is {len(found.ids):,} tokens long for {subject.name}; at most {most:,} can be tried."
        )
    if not found.ids:
        raise TextRefusedError("The text has no tokens.")
    return found


def activate(subject: SubjectModel, tokenised: Tokenised) -> list[Floats]:
    """Return each layer's activations [pos, d_mlp]. TextRefusedError where they are not finite."""
    layers = [layer[0] for layer in subject.activations([tokenised.ids])]
    if not all(np.isfinite(layer).all() for layer in layers):
        raise TextRefusedError(f"{subject.name} computed activations that are not finite numbers on this text.")
    return layers


def try_on_neuron(
    subject: SubjectModel, neuron_id: NeuronId, text: str, plan: SimulationPlan, *, limit: int, tell: Tell
) -> TriedNeuron:
    """Return what a neuron does on the text, beside what its explanations expect. TextRefusedError."""
    tell("reading the text")
    tokenised = tokenise(subject, text, limit)
    tell("running the model")
    real = activate(subject, tokenised)[neuron_id.layer][:, neuron_id.index]  # [pos]
    record = ActivationRecord(tokenised.tokens, real)
    explained = []
    for number, wanted in enumerate(plan.explanations, 1):
        tell(f"simulating explanation {number} of {len(plan.explanations)}")
        explained.append(_simulate(wanted, record))
    return TriedNeuron(pack_tokens(tokenised.tokens), _packed(real), explained, plan.left_out)


def _simulate(wanted: Simulating, record: ActivationRecord) -> TriedExplanation:
    """Return the explanation's simulation. A failed one is kept with its reason, never as zeros."""

    def found(simulated: bytes, failure: str = "") -> TriedExplanation:
        return TriedExplanation(wanted.explanation, wanted.text, wanted.simulator, simulated, failure)

    if wanted.simulate is None:
        return found(b"", wanted.why_not)
    try:
        values = wanted.simulate(wanted.text, record.tokens).values
        check_values(values, record)
    except (SimulationError, LanguageModelError) as error:
        return found(b"", str(error))
    return found(_packed(values))


def find_firing(subject: SubjectModel, text: str, maxima: Maxima, *, limit: int, tell: Tell) -> Firing:
    """Return which neurons of the whole model fire most on the text. TextRefusedError."""
    tell("reading the text")
    tokenised = tokenise(subject, text, limit)
    tell("running the model")
    layers = activate(subject, tokenised)
    tell("ranking the neurons")
    return rank_neurons(tokenised.tokens, layers, maxima)


def rank_neurons(tokens: Sequence[str], layers: Sequence[Floats], maxima: Maxima) -> Firing:
    """Return the strongest neurons, of the model and of each layer, from activations [layer] of [pos, d_mlp].

    A neuron whose maximum is unknown or not positive has nothing to be compared with, and is counted as unknown.
    """
    by_layer, candidates = [], []
    ranked = beyond = 0
    for layer, (values, maximum) in enumerate(zip(layers, maxima, strict=True)):
        known = maximum > 0  # [d_mlp]; False for NaN
        highest = values.max(axis=0)  # [d_mlp]
        relative = np.divide(highest, maximum, out=np.full(len(maximum), -np.inf), where=known)  # [d_mlp]
        order = np.argsort(-relative, kind="stable")[:STRONGEST]
        fired = [_fired(layer, int(index), values, maximum) for index in order if relative[index] > 0]
        by_layer.append(fired[:PER_LAYER])
        candidates += fired
        ranked += int(known.sum())
        beyond += int((relative > 1).sum())
    strongest = sorted(candidates, key=lambda neuron: (-neuron.relative, neuron.layer, neuron.index))[:STRONGEST]
    unknown = sum(len(maximum) for maximum in maxima) - ranked
    return Firing(pack_tokens(tokens), strongest, by_layer, ranked, unknown, beyond)


def _fired(layer: int, index: int, values: Floats, maximum: Floats) -> Fired:
    own = values[:, index]  # [pos]
    at = int(own.argmax())
    start = max(0, at - BEFORE)
    levels = normalise(own[start : at + AFTER + 1], float(maximum[index]))
    return Fired(
        layer=layer,
        index=index,
        value=float(own[at]),
        relative=float(own[at] / maximum[index]),
        at=at,
        start=start,
        levels=levels.astype("u1").tobytes(),
    )


def shaded_tokens(tokens: Sequence[str], fired: Fired) -> Iterator[tuple[str, int]]:
    """Yield (token, level 0 to 10) around where a neuron is strongest."""
    return zip(tokens[fired.start : fired.start + len(fired.levels)], fired.levels, strict=True)
