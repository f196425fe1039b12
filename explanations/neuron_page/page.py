"""Everything that a neuron's page shows, put together from its sections in a fixed number of queries.

All of it is structs: a page is made of eighty, and a frozen dataclass takes ten times as long to make.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from django.db.models import Exists, OuterRef

from explanations import store
from explanations.asking import asked_together
from explanations.forms.neuron import PageState
from explanations.models import Job, Neuron, SubjectModel, Trial
from explanations.neuron_page import comparison, excerpts
from explanations.neuron_page.comparison import Comparison
from explanations.neuron_page.drawing import draw
from explanations.neuron_page.excerpts import ExcerptsSection
from explanations.neuron_page.explanations import (
    ListedExplanation,
    choose_shown,
    choose_simulation,
    explanations_of,
    list_explanations,
    simulations_of,
)
from explanations.neuron_page.histogram import Histogram, histogram_of
from explanations.neuron_page.related import (
    RelatedSection,
    build_related,
    draw_related_tokens,
    headline_cells_of,
    read_related,
)
from explanations.neuron_page.verdict import meaning_of
from explanations.pipeline.records import NeuronId
from explanations.prepared import Prepared
from explanations.querysets import NeuronQuerySet


class SimulationPart(msgspec.Struct, frozen=True):
    """The section of real and simulated activations."""

    state: PageState
    listed: Sequence[ListedExplanation]
    shown: ListedExplanation | None
    """the explanation whose simulation is shown"""
    comparison: Comparison | None


class ExcerptsPart(msgspec.Struct, frozen=True):
    """The section of recorded excerpts."""

    state: PageState
    excerpts: ExcerptsSection


class NeuronPage(msgspec.Struct, frozen=True):
    """The page of an imported neuron."""

    state: PageState
    listed: Sequence[ListedExplanation]
    shown: ListedExplanation | None
    comparison: Comparison | None
    headline: ListedExplanation | None
    meaning: str
    """what the headline's score means; empty without a headline"""
    excerpts: ExcerptsSection
    moments: Sequence[tuple[str, float | None]]
    """the neuron's statistics by name; None is unknown"""
    record_count: int
    histogram: Histogram | None
    related: RelatedSection | None
    jobs: Sequence[Job]
    """those that are not finished"""


def _with_all(slug: str, layer: int, index: int) -> NeuronQuerySet:
    neurons = Neuron.objects.filter(model__slug=slug, layer=layer, index=index)
    # Without what this page does not show: the model's long JSON, and times, which are to be read.
    unseen = ("model__statistics", "model__highlights", "model__statistics_at", "model__created_at", "peak")
    # Mostly there is neither, and two index seeks here cost less than two queries that find nothing.
    more = {
        "has_jobs": Exists(Job.objects.unfinished().filter(neuron=OuterRef("pk"))),
        "has_kept": Exists(Trial.objects.kept().filter(neuron=OuterRef("pk"))),
    }
    rows = neurons.select_related("model", "activation_set", "related_set").defer(*unseen)
    return rows.with_neighbours().annotate(**more)


_find_with_all = Prepared(_with_all, str, int, int)
_find_unfinished = Prepared(lambda neuron: Job.objects.unfinished().filter(neuron=neuron).order_by("id"), int)


def find_neuron(slug: str, neuron_id: NeuronId) -> Neuron | None:
    """Return a neuron with its model, packed data, neighbours' indices, and whether there are unfinished jobs
    (`has_jobs`) and kept texts (`has_kept`); None where it is not there. One query.
    """
    return next(iter(_find_with_all(slug, neuron_id.layer, neuron_id.index)), None)


def find_neighbours(model: SubjectModel, neuron_id: NeuronId) -> tuple[int | None, int | None]:
    """Return the indices of the imported neurons before and after a place in a layer. Two queries."""
    indices = Neuron.objects.filter(model=model, layer=neuron_id.layer).values_list("index", flat=True)
    before = indices.filter(index__lt=neuron_id.index).order_by("-index").first()
    return before, indices.filter(index__gt=neuron_id.index).order_by("index").first()


def build_page(neuron: Neuron, state: PageState) -> NeuronPage:
    """Return the whole page of a found neuron. At most six queries, for any number of explanations and excerpts."""
    explanations, simulations = explanations_of.question(neuron.pk), simulations_of.question(neuron.pk)
    with asked_together(explanations, simulations):
        stored = read_related(neuron)
        recorded = excerpts.read_recorded(neuron)
        groups = excerpts.groups_of(recorded)
        group, state = excerpts.choose_group(groups, state)
        histogram = histogram_of(recorded.records)
    listed = list_explanations(neuron, explanations.answer, simulations.answer)
    shown, state = choose_shown(listed, state)
    row, state = choose_simulation(shown, state)
    sequences = comparison.read_sequences(row)
    tokens = store.tokens_of(neuron.model_id, {s.key for s in sequences} | excerpts.shown_keys(group, state))
    cells = headline_cells_of(neuron.model, stored)
    with asked_together(tokens):
        related_tokens = draw_related_tokens(stored)
    found = comparison.find_excerpts(row, sequences, recorded, tokens.answer) if row else None
    scored = comparison.strips_of(found, state) if found else []
    maximum = excerpts.scale_of(neuron, groups, group)
    strips = excerpts.strips_of(group, tokens.answer, maximum, state)
    with asked_together(cells):
        drawn = draw([*scored, *strips])
    compared = comparison.build_comparison(found, drawn[: len(scored)], state) if found else None
    of_group = list(zip(strips, drawn[len(scored) :], strict=True))
    headline = next((e for e in listed if e.is_headline), None)
    return NeuronPage(
        state=state,
        listed=listed,
        shown=shown,
        comparison=compared,
        headline=headline,
        meaning=_meaning(headline, compared),
        excerpts=excerpts.build_section(neuron, groups, group, maximum, of_group, state),
        moments=_moments(neuron),
        record_count=len(recorded.records),
        histogram=histogram,
        related=build_related(neuron.model, stored, related_tokens, cells.answer),
        jobs=_find_unfinished(neuron.pk) if getattr(neuron, "has_jobs", True) else (),
    )


def build_simulation_part(neuron: Neuron, state: PageState) -> SimulationPart:
    """Return the section of real and simulated activations alone. At most four queries."""
    explanations, simulations = explanations_of.question(neuron.pk), simulations_of.question(neuron.pk)
    with asked_together(explanations, simulations):
        recorded = excerpts.read_recorded(neuron)
    listed = list_explanations(neuron, explanations.answer, simulations.answer)
    shown, state = choose_shown(listed, state)
    row, state = choose_simulation(shown, state)
    sequences = comparison.read_sequences(row)
    tokens = store.read_tokens(neuron.model_id, {s.key for s in sequences})
    found = comparison.find_excerpts(row, sequences, recorded, tokens) if row else None
    drawn = draw(comparison.strips_of(found, state)) if found else []
    compared = comparison.build_comparison(found, drawn, state) if found else None
    return SimulationPart(state, listed, shown, compared)


def build_excerpts_part(neuron: Neuron, state: PageState) -> ExcerptsPart:
    """Return the section of recorded excerpts alone. One query."""
    groups = excerpts.groups_of(excerpts.read_recorded(neuron))
    group, state = excerpts.choose_group(groups, state)
    tokens = store.read_tokens(neuron.model_id, excerpts.shown_keys(group, state))
    maximum = excerpts.scale_of(neuron, groups, group)
    strips = excerpts.strips_of(group, tokens, maximum, state)
    of_group = list(zip(strips, draw(strips), strict=True))
    return ExcerptsPart(state, excerpts.build_section(neuron, groups, group, maximum, of_group, state))


def _moments(neuron: Neuron) -> list[tuple[str, float | None]]:
    return [
        ("Maximum", neuron.max_activation),
        ("Mean", neuron.mean),
        ("Variance", neuron.variance),
        ("Skewness", neuron.skewness),
        ("Kurtosis", neuron.kurtosis),
    ]


def _meaning(headline: ListedExplanation | None, compared: Comparison | None) -> str:
    """Return what the headline's score means; why it is undefined is known where its simulation is the one shown."""
    if headline is None:
        return ""
    if headline.scored is None:
        return "It has not been simulated, so nothing is known of how well it predicts the neuron."
    if headline.row.score is not None:
        return meaning_of(headline.row.score)
    if compared is not None and compared.row is headline.scored:
        return compared.meaning
    return "The score is undefined: its simulation shows why."
