"""From a neuron's train excerpts to an explanation in words.

`EXPLAINERS` holds those that need nothing but the excerpts, by name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from explanations.pipeline.language_models import NO_USAGE, Usage
from explanations.pipeline.records import ActivationRecord
from explanations.pipeline.token_lookup import TOKEN_LOOKUP, fit_table


class ExplanationError(Exception):
    """No explanation could be made; the message says why, in words for the person who asked."""


@dataclass(frozen=True, slots=True)
class Explained:
    """An explanation, and what it took to make it."""

    text: str
    usage: Usage = NO_USAGE


class Explainer(Protocol):
    """Something that explains a neuron from its excerpts."""

    @property
    def name(self) -> str:
        """Return the name that is stored with its explanations."""

    @property
    def description(self) -> str:
        """Return one line that says what it does, for the person who chooses."""

    @property
    def cost(self) -> str:
        """Return in words what one explanation costs."""

    @property
    def prompt_version(self) -> str:
        """Return which prompt it uses; empty where it uses none."""

    @property
    def is_baseline(self) -> bool:
        """Return whether its explanations are only what others have to beat."""

    def explain(self, records: Sequence[ActivationRecord]) -> Explained:
        """Return an explanation of the neuron that did this. ExplanationError where there is none to make."""


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


def readable_token(token: str) -> str:
    r"""Return the token with line breaks, tabs and other invisible characters escaped (\n, \t, \xa0, \u202e)."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in token)


EXPLAINERS: Mapping[str, Explainer] = {TOKEN_LOOKUP: TokenLookupExplainer()}
