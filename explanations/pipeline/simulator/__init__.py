"""From an explanation to what the neuron would do, token by token.

`SIMULATORS` holds those that need nothing but the excerpts, by name; `language_model_simulators` those that a language
model can be used as.
"""

from __future__ import annotations

from collections.abc import Mapping

from explanations.pipeline.language_models import LanguageModel
from explanations.pipeline.simulator.likelihood import LIKELIHOOD_RATIO, LikelihoodSimulator
from explanations.pipeline.simulator.log_probabilities import (
    ALL_AT_ONCE,
    LIKELIEST,
    ONE_AT_A_TIME,
    LogProbabilitySimulator,
)
from explanations.pipeline.simulator.lookup import TokenLookupSimulator
from explanations.pipeline.simulator.protocol import (
    BatchSimulate,
    EstimatingSimulator,
    Outcome,
    Simulate,
    Simulated,
    SimulationError,
    Simulator,
)
from explanations.pipeline.simulator.written import WRITTEN, WritingSimulator
from explanations.pipeline.token_lookup import TOKEN_LOOKUP

SIMULATORS: Mapping[str, Simulator] = {TOKEN_LOOKUP: TokenLookupSimulator()}


def language_model_simulators(model: LanguageModel, *, likeliest: int = LIKELIEST) -> dict[str, EstimatingSimulator]:
    """Return the simulators that this model can be used as, by method. May ask a server, once. LanguageModelError.

    `likeliest` is how many strings those that read levels look at; servers seldom tell more than 20.
    """
    writing: dict[str, EstimatingSimulator] = {WRITTEN: WritingSimulator(model)}
    if not model.has_prompt_log_probabilities:
        return writing
    return {
        ALL_AT_ONCE: LogProbabilitySimulator(model, likeliest=likeliest),
        ONE_AT_A_TIME: LogProbabilitySimulator(model, one_at_a_time=True, likeliest=likeliest),
        LIKELIHOOD_RATIO: LikelihoodSimulator(model),
        **writing,
    }


__all__ = [
    "ALL_AT_ONCE",
    "LIKELIEST",
    "LIKELIHOOD_RATIO",
    "ONE_AT_A_TIME",
    "SIMULATORS",
    "WRITTEN",
    "BatchSimulate",
    "EstimatingSimulator",
    "LikelihoodSimulator",
    "LogProbabilitySimulator",
    "Outcome",
    "Simulate",
    "Simulated",
    "SimulationError",
    "Simulator",
    "TokenLookupSimulator",
    "WritingSimulator",
    "language_model_simulators",
]
