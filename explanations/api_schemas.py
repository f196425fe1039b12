"""What the JSON API answers with. A number that is null is undefined or not known, never zero."""

from __future__ import annotations

import math
from datetime import datetime
from typing import Annotated, Any

from ninja import Field, Schema
from pydantic import BeforeValidator, WithJsonSchema

from explanations.models import Explanation, Neuron, SubjectModel

PAGE_SIZE, MAX_PAGE_SIZE = 50, 100


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)


Figure = Annotated[float | None, BeforeValidator(_finite)]
"""A number that JSON can hold; null where it is not known."""
# Not str: pydantic refuses the lone surrogates that real tokens hold. JSON writes them as escapes ("\ud800").
Token = Annotated[Any, WithJsonSchema({"type": "string"})]


class Problem(Schema):
    """Why there is no answer."""

    error: str = Field(description="in words")
    fields: dict[str, list[str]] = Field(default={}, description="what is wrong with each parameter, by its name")


class ModelOut(Schema):
    """A subject model."""

    slug: str
    name: str
    layers: int
    neurons_per_layer: int
    tokenizer: str
    description: str
    source: str
    license: str
    is_synthetic: bool = Field(description="whether its data is made up")
    is_gated: bool = Field(description="whether its MLPs are gated: the gate's weights then stand for c_fc")
    page: str = Field(description="address of its page for people")

    @staticmethod
    def resolve_page(row: SubjectModel) -> str:
        return row.get_absolute_url()


class ModelsOut(Schema):
    """All subject models."""

    models: list[ModelOut]


class Statistics(Schema):
    """A neuron's activations over the whole corpus."""

    mean: Figure
    variance: Figure
    skewness: Figure
    kurtosis: Figure
    max_activation: Figure


class NeuronOut(Statistics):
    """A neuron with its headline explanation."""

    model: str = Field(description="slug of its model")
    layer: int
    index: int
    explanation: str | None = Field(description="text of its headline explanation; null where it has none")
    score: Figure = Field(description="correlation of simulated with real activations; null is undefined")
    simulator: str | None = Field(description="that gave the score; null where there is none, empty where unnamed")
    explanation_count: int = Field(description="current explanations")
    open_flag_count: int
    page: str

    @staticmethod
    def resolve_model(row: Neuron) -> str:
        return row.model.slug

    @staticmethod
    def resolve_explanation(row: Neuron) -> str | None:
        return row.headline_text or None

    @staticmethod
    def resolve_score(row: Neuron) -> float | None:
        return row.headline_score

    @staticmethod
    def resolve_simulator(row: Neuron) -> str | None:
        return row.headline_simulator if row.headline_score is not None else None

    @staticmethod
    def resolve_page(row: Neuron) -> str:
        return row.get_absolute_url()


class Paged(Schema):
    """A page of a longer list."""

    next: str | None = Field(description="address of the next page; null on the last")
    previous: str | None = Field(description="address of the page before; null on the first")


class NeuronsOut(Paged):
    """Some neurons of a layer, by index."""

    neurons: list[NeuronOut]


class ScoresOut(Schema):
    """How well simulated activations match the real ones. Null is undefined."""

    ev_correlation: Figure
    rsquared: Figure
    absolute_dev_explained: Figure


class SimulationOut(ScoresOut):
    """A simulation of an explanation, without its excerpts."""

    simulator: str
    method: str
    scale: str
    excerpt_count: int
    top_only: Figure = Field(description="ev_correlation over the top excerpts alone")
    random_only: Figure = Field(description="ev_correlation over the random excerpts alone")
    created_at: datetime


class ExplanationOut(Schema):
    """An explanation."""

    id: int
    text: str
    source: str = Field(description="published, model, human or baseline")
    explainer: str
    state: str = Field(description="current or retired")
    score: Figure = Field(
        description="correlation by the simulator that ranks the neuron, else by the newest; null is undefined"
    )
    simulator: str = Field(description="of that simulation")


class NeuronExplanation(ExplanationOut):
    """An explanation of a neuron, with its simulations, newest first."""

    prompt_version: str
    parent: int | None = Field(description="id of the explanation that it revises")
    is_headline: bool
    created_at: datetime
    simulations: list[SimulationOut]

    @staticmethod
    def resolve_parent(row: Explanation) -> int | None:
        return row.parent_id

    @staticmethod
    def resolve_is_headline(row: Explanation) -> bool:
        return row.pk == row.neuron.headline_id


class NeuronDetail(NeuronOut):
    """A neuron with its explanations, best first: current ones before retired ones."""

    explanations: list[NeuronExplanation]


class RecordOut(Schema):
    """One excerpt and the neuron's activation at each of its tokens."""

    kind: str = Field(description="top, random, bottom, other, or q0, q1, ... for the quantile ranges")
    tokens: list[Token] | None = Field(description="null where the excerpt is not stored")
    activations: list[float]


class ActivationsOut(Paged):
    """A neuron's activation records, by kind, best first among the top ones."""

    kinds: dict[str, int] = Field(description="how many records there are of each kind")
    quantile_boundaries: list[float] | None
    records: list[RecordOut]


class SequenceOut(ScoresOut):
    """One simulated excerpt, with its own scores."""

    kind: str
    tokens: list[Token] | None
    real: list[float] | None = Field(description="in the model's units; null where it is not stored")
    simulated: list[float] = Field(description="on the simulation's scale")


class FailureOut(Schema):
    """An excerpt that could not be simulated."""

    excerpt: int
    reason: str


class SimulationDetail(SimulationOut):
    """The newest simulation of an explanation."""

    explanation: int
    sequences: list[SequenceOut]
    failures: list[FailureOut]


class HitOut(ExplanationOut):
    """An explanation that was found."""

    model: str
    layer: int
    neuron: int
    page: str
    marks: list[tuple[int, int]] = Field(description="start and end of each match in the text, in characters")


class SearchOut(Paged):
    """What a search found."""

    count: int
    count_is_exact: bool = Field(description="false: there are more than count")
    is_cut: bool = Field(description="true: only the first count matches were ranked and are listed")
    notes: list[str] = Field(description="what was taken otherwise than it was written")
    explanations: list[HitOut]


class SearchIn(Schema):
    """The parameters of the search page; docs/searching.md tells the syntax of `q`."""

    q: str = Field("", description='words, "phrases", prefix*, -exclusion')
    model: str = Field("", description="slug of a model")
    layer: str = Field("", description="a layer, or a range such as 3-7")
    min_score: str = Field("", description="lowest score, -1 to 1")
    max_score: str = Field("", description="highest score, -1 to 1")
    source: str = Field("", description="published, model, human or baseline")
    state: str = Field("", description="retired or any; current explanations where absent")
    sort: str = Field("", description="relevance, score or lowest")
    page: str = Field("", description="from next or previous")
    limit: int = Field(PAGE_SIZE, ge=1, le=MAX_PAGE_SIZE)
