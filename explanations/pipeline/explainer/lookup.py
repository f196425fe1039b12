"""The baseline explainer: no language model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from explanations.pipeline.explainer.protocol import Explained, ExplanationError
from explanations.pipeline.prompts import readable_token
from explanations.pipeline.records import ActivationRecord
from explanations.pipeline.token_lookup import TOKEN_LOOKUP, fit_table


@dataclass(frozen=True, slots=True)
class TokenLookupExplainer:
    """The baseline: names the tokens at which the neuron was strongest on average."""

    name: str = TOKEN_LOOKUP
    description: str = "Lists the three tokens with the highest mean activation over the train excerpts."
    cost: str = "no cost: no language model"
    prompt_version: str = ""
    is_baseline: bool = True
    listed: int = 3
    """tokens that the explanation names, as the published baseline does"""

    def explain(self, records: Sequence[ActivationRecord]) -> Explained:
        tokens = fit_table(records).strongest(self.listed)
        if not tokens:
            raise ExplanationError(
                f"The neuron is not positive at any token of the {len(records)} train excerpts, so there is no "
                "strongest token to name."
            )
        return Explained("tokens such as " + ", ".join(f"'{readable_token(token)}'" for token in tokens))
