"""The science: excerpts of a neuron, explanations of it, simulations of these, and their scores. Never Django.

What a notebook needs is here; docs/pipeline.md uses it.
"""

from __future__ import annotations

from explanations.pipeline.explainer import (
    EXPLAINERS,
    PAIRS,
    SUMMARY,
    TOKEN_LIST,
    LanguageModelExplainer,
    Sampling,
    language_model_explainers,
)
from explanations.pipeline.language_models.loading import load_local
from explanations.pipeline.neuron_file import read_neuron
from explanations.pipeline.records import ActivationRecord, NeuronId, NeuronRecord
from explanations.pipeline.run import (
    PipelineError,
    Plan,
    Provenance,
    Result,
    estimate,
    explain_simulate_score,
    judge_explanation,
    reexplain,
    simulate_and_score,
)
from explanations.pipeline.simulator import SIMULATORS, language_model_simulators
from explanations.pipeline.simulator.embedding import embedding_simulator

__all__ = [
    "EXPLAINERS",
    "PAIRS",
    "SIMULATORS",
    "SUMMARY",
    "TOKEN_LIST",
    "ActivationRecord",
    "LanguageModelExplainer",
    "NeuronId",
    "NeuronRecord",
    "PipelineError",
    "Plan",
    "Provenance",
    "Result",
    "Sampling",
    "embedding_simulator",
    "estimate",
    "explain_simulate_score",
    "judge_explanation",
    "language_model_explainers",
    "language_model_simulators",
    "load_local",
    "read_neuron",
    "reexplain",
    "simulate_and_score",
]
