"""Which explainers and simulators this installation has, what they would take, and why others are not there.

Pages ask for the *planned* methods: they tell their names and estimates, load nothing and ask no server. Workers and
commands *open* a method: its language model is loaded at the first call and kept for the life of the process.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from django.conf import settings

from explanations import configured_models
from explanations.pipeline.explainer import (
    EXPLAINERS,
    Explainer,
    Sampling,
    SamplingExplainer,
    language_model_explainers,
)
from explanations.pipeline.language_models import LanguageModel, LanguageModelError, Prompt, Usage
from explanations.pipeline.language_models.endpoint import Price
from explanations.pipeline.language_models.estimating import estimate_tokens
from explanations.pipeline.language_models.loading import is_gguf
from explanations.pipeline.metering import Meter, MeteredModel
from explanations.pipeline.records import EXCERPTS_PER_SPLIT, NeuronRecord
from explanations.pipeline.run import Plan, estimate
from explanations.pipeline.scorer import judge_name
from explanations.pipeline.simulator import (
    LIKELIEST,
    SIMULATORS,
    EstimatingSimulator,
    Simulator,
    language_model_simulators,
)
from explanations.pipeline.token_lookup import TOKEN_LOOKUP

DEAF = frozenset({TOKEN_LOOKUP})
"""Simulators that never read the explanation: their score says nothing about one that they did not write themselves."""


AT_MOST = 2.0
"""How many times its estimate a job may cost at most: a call is only made where its longest answer is within that,
and simulators allow answers of 1.5 times the length that is needed."""


class PlannedModel:
    """What is known of a language model before it is opened: its name and price, and about how it counts."""

    counts_exactly = False
    has_prompt_log_probabilities = True
    """as far as is known: only asking tells"""

    def __init__(self, name: str, *, price: Price, context_window: int | None = None, can_chat: bool = True) -> None:
        self.name = name
        self.price = price
        self.context_window = context_window
        self.can_chat = can_chat

    def count_tokens(self, prompt: Prompt) -> int:
        return estimate_tokens(prompt)

    def cost_usd(self, tokens_in: int, tokens_out: int) -> float:
        return self.price.of(tokens_in, tokens_out)

    def _not_opened(self, *_arguments: object, **_options: object) -> NoReturn:
        raise LanguageModelError(f"{self.name} is planned with here, not asked.")

    complete = complete_batch = prompt_log_probabilities = prompt_log_probabilities_batch = _not_opened


@dataclass(frozen=True, slots=True)
class ModelSource:
    """A place that a language model may come from."""

    label: str
    plan: Callable[[], LanguageModel | None]
    """the model as far as it is known without opening it; None where there is none"""
    why_not: Callable[[], str]
    """why there is none, in words; empty where there is"""
    open: Callable[[], LanguageModel | None]
    """may take long. LanguageModelError"""
    likeliest: int = LIKELIEST
    """strings of those that it expects that it tells at each place"""

    def simulators(self, model: LanguageModel) -> dict[str, EstimatingSimulator]:
        """Return the simulators that the source's model, planned or opened, can be used as."""
        return language_model_simulators(model, likeliest=self.likeliest)


def plan_endpoint() -> LanguageModel | None:
    if not settings.LLM_BASE_URL:
        return None
    price = Price(settings.LLM_PRICE_IN, settings.LLM_PRICE_OUT)
    return PlannedModel(settings.LLM_MODEL, price=price, context_window=settings.LLM_CONTEXT_WINDOW or None)


def why_no_endpoint() -> str:
    return "" if settings.LLM_BASE_URL else "No LLM_BASE_URL and LLM_MODEL are set."


def plan_local() -> LanguageModel | None:
    path = settings.LOCAL_MODEL
    if path is None or configured_models.why_no_local_model():
        return None
    return PlannedModel(path.stem if is_gguf(path) else path.name, price=Price(), can_chat=False)


SOURCES: list[ModelSource] = [
    ModelSource("An endpoint's language model", plan_endpoint, why_no_endpoint, configured_models.endpoint_model),
    ModelSource(
        "A local language model",
        plan_local,
        configured_models.why_no_local_model,
        configured_models.local_model,
        # Small models expect "unknown" far above any number, and a local one tells as much as is asked for.
        likeliest=1000,
    ),
]


# Planned


def planned_explainers() -> dict[str, Explainer]:
    """Return what there is to explain with, by name, without language model first."""
    found: dict[str, Explainer] = dict(EXPLAINERS)
    for model in _planned_models():
        for explainer in language_model_explainers(model).values():
            found.setdefault(explainer.name, explainer)
    return found


def planned_simulators() -> dict[str, Simulator]:
    """Return what there is to simulate with, by name, without language model first."""
    found = free_simulators()
    for source in SOURCES:
        model = source.plan()
        for simulator in source.simulators(model).values() if model else ():
            found.setdefault(simulator.name, simulator)
    return found


def planned_judges() -> list[str]:
    """Return the names of the language models that can be asked about excerpts."""
    return [judge_name(model) for model in _planned_models()]


def free_simulators() -> dict[str, Simulator]:
    """Return the simulators that ask no language model, by name; first the one to take unless there is a reason."""
    embedding = configured_models.simulator_by_embedding()
    first: dict[str, Simulator] = {} if embedding is None else {embedding.name: embedding}
    return first | dict(SIMULATORS)


def missing() -> list[tuple[str, str]]:
    """Return what this installation could have and has not, each with the reason in words."""
    reasons = [("The embedding simulator", configured_models.why_no_embedding_model())]
    reasons += [(source.label, source.why_not()) for source in SOURCES]
    return [(label, why) for label, why in reasons if why]


def _planned_models() -> list[LanguageModel]:
    return [model for source in SOURCES if (model := source.plan()) is not None]


# Opened


def open_explainer(name: str, meter: Meter) -> Explainer | None:
    """Return the explainer of this name, its spending told to `meter`; None where there is none. LanguageModelError."""
    if name in EXPLAINERS:
        return EXPLAINERS[name]
    source = _source_of(name, lambda _source, model: language_model_explainers(model))
    if source is None:
        return None
    found = language_model_explainers(_opened(source, meter)).values()
    return next((explainer for explainer in found if explainer.name == name), None)


def open_simulator(name: str, meter: Meter) -> Simulator | None:
    """Return the simulator of this name, its spending told to `meter`; None where there is none. LanguageModelError."""
    if free := free_simulators().get(name):
        return free
    source = _source_of(name, lambda source, model: source.simulators(model))
    if source is None:
        return None
    model = _opened(source, meter)
    found = list(source.simulators(model).values())
    for simulator in found:
        if simulator.name == name:
            return simulator
    # It was planned with, so what it needs is what only asking tells.
    others = ", ".join(f"“{simulator.name}”" for simulator in found)
    raise LanguageModelError(
        f"{model.name} does not tell the log-probabilities inside a prompt, which “{name}” needs. There is {others}."
    )


def open_judge(name: str, meter: Meter) -> LanguageModel | None:
    """Return the language model that is asked about excerpts under this name, its spending told to `meter`.

    None where there is none. LanguageModelError.
    """
    for source in SOURCES:
        plan = source.plan()
        if plan is not None and judge_name(plan) == name:
            return _opened(source, meter)
    return None


def is_free(method: Explainer | Simulator | None) -> bool:
    """Return whether the method asks no language model."""
    return not isinstance(method, SamplingExplainer | EstimatingSimulator)


def _source_of(
    name: str, methods_of: Callable[[ModelSource, LanguageModel], Mapping[str, Explainer | Simulator]]
) -> ModelSource | None:
    """Return the first source with a method of this name, as far as is known without opening it."""
    for source in SOURCES:
        plan = source.plan()
        if plan is not None and any(method.name == name for method in methods_of(source, plan).values()):
            return source
    return None


def _opened(source: ModelSource, meter: Meter) -> LanguageModel:
    model = source.open()
    if model is None:
        raise LanguageModelError(source.why_not() or f"{source.label} is not there any more.")
    return MeteredModel(model, meter)


# Estimated


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a job is expected to take, without a language model asked."""

    tokens_in: int = 0
    tokens_out: int = 0
    usd: float = 0.0
    most_usd: float = 0.0
    """what it may take at most, should the estimate of tokens be too low"""

    @property
    def is_nothing(self) -> bool:
        """Return whether no language model is asked at all."""
        return not (self.tokens_in or self.tokens_out)

    @classmethod
    def of(cls, usage: Usage, times: int = 1) -> Estimate:
        usd = usage.cost_usd * times
        return cls(usage.tokens_in * times, usage.tokens_out * times, usd, usd * AT_MOST)


def estimate_job(
    record: NeuronRecord, explainer: Explainer | None, simulator: Simulator, plan: Plan, text: str = ""
) -> Estimate:
    """Return what explaining (where there is an explainer) and scoring is expected to take. PipelineError."""
    return Estimate.of(estimate(record, explainer, simulator, plan=plan, text=text))


def estimate_explainer(record: NeuronRecord, explainer: Explainer) -> Estimate:
    """Return what one explanation by this is expected to take. PipelineError."""
    return Estimate.of(estimate(record, explainer, SIMULATORS[TOKEN_LOOKUP]))


def estimate_simulator(record: NeuronRecord, simulator: Simulator) -> Estimate:
    """Return about what one simulation by this takes, from a few excerpts. PipelineError.

    From all of them, "one token at a time" takes 0.4 s to count.
    """
    return Estimate.of(estimate(record, None, simulator, plan=Plan(per_split=1)), times=EXCERPTS_PER_SPLIT)


# Planned in detail

MOST_CANDIDATES = 10
MOST_REVISIONS = 3


def plan_options(explainer: Explainer | None, candidates: int, revisions: int) -> dict[str, int]:
    """Return what a job stores of its plan; nothing where nothing is drawn at random. Draws the seed."""
    if not isinstance(explainer, SamplingExplainer):
        return {}
    return {"candidates": candidates, "revisions": revisions, "seed": secrets.randbelow(2**31)}


def read_plan(options: Mapping[str, Any]) -> Plan:
    """Return the plan that a job's options describe."""
    sampling = Sampling(n=options.get("candidates", 1), seed=options.get("seed"))
    return Plan(sampling=sampling, revisions=options.get("revisions", 0))
