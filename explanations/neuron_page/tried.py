"""Texts that people tried, as pages show them: a neuron's real beside its simulated activations; neurons that fire."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
from django.utils.safestring import SafeString

from explanations import tokens as markup
from explanations.models import Neuron, SubjectModel, Trial, TrialQuerySet
from explanations.neuron_page import elements
from explanations.neuron_page.verdict import why_undefined
from explanations.pipeline.records import LEVELS, Floats, NeuronId
from explanations.pipeline.scorer import correlation
from explanations.pipeline.trying import (
    Fired,
    Firing,
    TriedExplanation,
    TriedNeuron,
    decode,
    shaded_tokens,
    tokens_of,
    values_of,
)
from explanations.prepared import Prepared
from explanations.store import Tokens

NEWEST_KEPT = 3
"""Kept texts that a neuron's page shows."""


class ShownSimulation(msgspec.Struct, frozen=True):
    """An explanation's simulation beside what the neuron did."""

    explanation: TriedExplanation
    score: float | None
    element: SafeString


class NeuronResult(msgspec.Struct, frozen=True):
    """What a neuron did on a text, for the page."""

    row: Trial
    real: SafeString
    real_values: str
    maximum: float
    """the highest activation on the text"""
    at: str
    """the token where it is"""
    relative: float | None
    """that as a part of the highest recorded one; None where that is not known, or not positive"""
    scale: float
    """what shades are relative to"""
    simulations: Sequence[ShownSimulation]
    left_out: int

    @property
    def real_shown(self) -> bool:
        """Whether the real activations stand beside a simulation."""
        return any(not simulation.explanation.failure for simulation in self.simulations)


def read_result(trial: Trial, neuron: Neuron, view: str = "side") -> NeuronResult:
    """Return what came of a text on a neuron."""
    result = decode(trial.result, TriedNeuron)
    tokens, real = tokens_of(result), values_of(result.real)
    recorded = neuron.max_activation
    is_known = recorded is not None and recorded > 0
    scale = float(recorded) if recorded is not None and recorded > 0 else markup.scale_of([real])
    at = int(real.argmax())
    return NeuronResult(
        row=trial,
        real=markup.shaded(tokens, real, scale),
        real_values=markup.written_values(real),
        maximum=float(real[at]),
        at=tokens[at],
        relative=float(real[at]) / scale if is_known else None,
        scale=scale,
        simulations=[_shown_simulation(e, tokens, real, scale, view) for e in result.explanations],
        left_out=result.left_out,
    )


def _shown_simulation(
    tried: TriedExplanation, tokens: Tokens, real: Floats, scale: float, view: str
) -> ShownSimulation:
    if tried.failure:
        failed = elements.missing_excerpt("This text", None, f"It could not be simulated: {tried.failure}")
        return ShownSimulation(tried, None, failed)
    simulated = values_of(tried.simulated)
    score = correlation(real, simulated)
    element = elements.scored_excerpt(
        "This text",
        score=score,
        why_undefined="" if score is not None else why_undefined(real, simulated),
        maximum=float(real.max()),
        real_values=markup.written_values(real),
        simulated_values=markup.written_values(simulated),
        is_calibrated=False,
        body=_body(tokens, real, simulated, scale, view),
    )
    return ShownSimulation(tried, score, element)


def _body(tokens: Tokens, real: Floats, simulated: Floats, scale: float, view: str) -> markup.Pieces:
    most = float(LEVELS)
    if view == "overlay":
        return elements.overlaid(markup.overlaid(tokens, real, simulated, real_maximum=scale, simulated_maximum=most))
    return elements.side_by_side(*markup.shaded_texts([tokens] * 2, [real, simulated], [scale, most]))


def _newest_kept(neuron: int) -> TrialQuerySet:
    kept = Trial.objects.kept().filter(neuron=neuron)
    return kept.select_related("author").defer("text", "error").order_by("-id")[: NEWEST_KEPT + 1]


_find_newest_kept = Prepared(_newest_kept, int)


def newest_kept(neuron: Neuron) -> tuple[list[NeuronResult], bool]:
    """Return the newest texts that people kept of a neuron, and whether there are more.

    One query, none where the neuron was found with `has_kept` and has none.
    """
    if not getattr(neuron, "has_kept", True):
        return [], False
    rows = _find_newest_kept(neuron.pk)
    return [read_result(row, neuron) for row in rows[:NEWEST_KEPT]], len(rows) > NEWEST_KEPT


# Which neurons fire


class ShownNeuron(msgspec.Struct, frozen=True):
    """A neuron that fires on a text, with what it is said to do now."""

    fired: Fired
    url: str
    row: Neuron | None
    """None where it is not imported any more"""
    strip: list[tuple[str, int]]


class FiringResult(msgspec.Struct, frozen=True):
    """Which neurons of a model fire on a text, for the page."""

    tokens: SafeString
    token_count: int
    strongest: Sequence[ShownNeuron]
    by_layer: Sequence[tuple[int, Sequence[ShownNeuron]]]
    firing: Firing


def read_firing(trial: Trial, model: SubjectModel) -> FiringResult:
    """Return which neurons fire on a text, with their headlines. One query."""
    firing = decode(trial.result, Firing)
    tokens = tokens_of(firing)
    listed = {f.neuron_id for f in firing.strongest} | {f.neuron_id for layer in firing.by_layer for f in layer}
    rows = _find_rows(model, listed)

    def shown(fired: Fired) -> ShownNeuron:
        url = model.neuron_url(fired.layer, fired.index)
        return ShownNeuron(fired, url, rows.get(fired.neuron_id), list(shaded_tokens(tokens, fired)))

    return FiringResult(
        tokens=markup.shaded_by_level([(token, 0) for token in tokens]),
        token_count=len(tokens),
        strongest=[shown(fired) for fired in firing.strongest],
        by_layer=[(layer, [shown(f) for f in fired]) for layer, fired in enumerate(firing.by_layer)],
        firing=firing,
    )


def _find_rows(model: SubjectModel, places: set[NeuronId]) -> Mapping[NeuronId, Neuron]:
    rows = Neuron.objects.at_places({model.pk: places}).only(
        "layer", "index", "headline_text", "headline_score", "headline_simulator"
    )
    return {row.neuron_id: row for row in rows}
