"""From a neuron's train excerpts to an explanation in words.

`EXPLAINERS` holds those that need nothing but the excerpts, by name; `language_model_explainers` those that a
language model can be used as.
"""

from __future__ import annotations

from collections.abc import Mapping

from explanations.pipeline.explainer.language_model import LanguageModelExplainer
from explanations.pipeline.explainer.lookup import TokenLookupExplainer
from explanations.pipeline.explainer.protocol import (
    Candidates,
    Explained,
    Explainer,
    ExplanationError,
    Sampling,
    SamplingExplainer,
)
from explanations.pipeline.language_models import LanguageModel
from explanations.pipeline.prompts import PAIRS, STYLES, SUMMARY, TOKEN_LIST, ExplanationStyle, readable_token
from explanations.pipeline.token_lookup import TOKEN_LOOKUP

EXPLAINERS: Mapping[str, Explainer] = {TOKEN_LOOKUP: TokenLookupExplainer()}


def language_model_explainers(model: LanguageModel) -> dict[str, SamplingExplainer]:
    """Return the explainers that this model can be used as, by the name of what they read."""
    return {style.name: LanguageModelExplainer(model, style) for style in STYLES}


__all__ = [
    "EXPLAINERS",
    "PAIRS",
    "SUMMARY",
    "TOKEN_LIST",
    "Candidates",
    "Explained",
    "Explainer",
    "ExplanationError",
    "ExplanationStyle",
    "LanguageModelExplainer",
    "Sampling",
    "SamplingExplainer",
    "TokenLookupExplainer",
    "language_model_explainers",
    "readable_token",
]
