"""What an explainer is asked: from what a neuron did on its best excerpts to one sentence on what it looks for."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from explanations.pipeline.prompts.conversation import Dialogue, Exchange
from explanations.pipeline.prompts.examples import EXAMPLES, Example
from explanations.pipeline.prompts.listing import (
    levels_of,
    list_active,
    list_levels,
    mark,
    readable_token,
    strong_places,
)
from explanations.pipeline.records import ActivationRecord, Levels
from explanations.pipeline.token_lookup import fit_table

ANSWER_BEGINS = "the main thing this neuron does is find"
"""The last words of every explainer's prompt: the answer completes the sentence."""
REPEAT_BELOW = 0.2
"""Where a smaller part of the levels than this is above 0, the active tokens are listed once more by themselves."""
LISTED_OF, LISTED = 100, 50
"""The token list: so many tokens are drawn of so many with the highest mean activation."""
REVISION_VERSION = "revision-1"

_LOOKS_FOR = (
    "We study the neurons of a language model. Each neuron looks for one particular thing in a short document. "
    "From the places at which a neuron is active, work out what it looks for, and say it in one sentence. "
    "Describe what the places have in common; do not list examples of words."
)
_PAIRS_SYSTEM = (
    f"{_LOOKS_FOR}\n\n"
    "Each document is given as a token a line: token<tab>activation. An activation is a whole number from 0 to 10. "
    "Above 0 the neuron has found what it looks for, and the higher the number, the better the match."
)
_SUMMARY_SYSTEM = (
    f"{_LOOKS_FOR}\n\n"
    "Each document is a line of text. The words at which the neuron is most active stand between << and >>. "
    "In a document without such marks it is not strongly active."
)
_TOKEN_LIST_SYSTEM = (
    f"{_LOOKS_FOR}\n\n"
    "Of each neuron you are given the tokens at which it is most active on average, strongest first, a token a line. "
    "Tokens may be parts of words."
)
_REVISION_SYSTEM = (
    f"{_LOOKS_FOR}\n\n"
    "Each document is a line of text. The words at which the neuron is most active stand between << and >>. "
    "You are also given an explanation that is not good enough, with documents on which it predicts the wrong "
    "activations (whole numbers from 0 to 10). Write a better explanation that fits all documents, the first as well."
)

Build: TypeAlias = Callable[[Sequence[ActivationRecord], int], Dialogue]


@dataclass(frozen=True, slots=True)
class ExplanationStyle:
    """A way to show a neuron to an explainer."""

    name: str
    version: str
    description: str
    build: Build
    """from the excerpts, best first, and a seed (for what it draws at random) to the prompt"""


@dataclass(frozen=True, slots=True)
class Mistake:
    """An excerpt on which an explanation predicts what the neuron does not do."""

    tokens: tuple[str, ...]
    """[pos]"""
    real: Levels
    """[pos], 0 to 10"""
    predicted: Levels
    """[pos], 0 to 10"""


def build_pairs(records: Sequence[ActivationRecord], _seed: int = 0) -> Dialogue:
    """Return the prompt that lists every token with its level, and the active ones again where they are few."""
    shown = [([(e.tokens, e.as_levels()) for e in example.excerpts], example.explanation) for example in EXAMPLES]
    solved = [Exchange(_pairs(n, excerpts), answer) for n, (excerpts, answer) in enumerate(shown, start=1)]
    asked = list(zip([record.tokens for record in records], levels_of(records), strict=True))
    return Dialogue(_PAIRS_SYSTEM, tuple(solved), _pairs(len(solved) + 1, asked))


def _pairs(number: int, excerpts: Sequence[tuple[tuple[str, ...], Levels]]) -> str:
    parts = [f"Neuron {number}", "Activations:", *(list_levels(tokens, levels.tolist()) for tokens, levels in excerpts)]
    total = sum(len(levels) for _, levels in excerpts)
    if sum(np.count_nonzero(levels) for _, levels in excerpts) < REPEAT_BELOW * total:
        parts.append("The same activations without the zeros:")
        parts += [list_active(tokens, levels) for tokens, levels in excerpts]
    return "\n".join([*parts, _ending(number)])


def build_summary(records: Sequence[ActivationRecord], _seed: int = 0) -> Dialogue:
    """Return the prompt that shows plain excerpts with the strong tokens marked."""
    solved = [
        Exchange(_summary(n, _marked_example(example)), example.explanation)
        for n, example in enumerate(EXAMPLES, start=1)
    ]
    return Dialogue(_SUMMARY_SYSTEM, tuple(solved), _summary(len(solved) + 1, _marked(records)))


def _summary(number: int, documents: Sequence[str]) -> str:
    return "\n".join([f"Neuron {number}", *_numbered(documents), _ending(number)])


def build_token_list(records: Sequence[ActivationRecord], seed: int = 0) -> Dialogue:
    """Return the prompt that lists 50 of the 100 tokens with the highest mean activation; all where they are fewer."""
    strongest = fit_table(records).strongest(LISTED_OF)
    drawn = random.Random(seed).sample(range(len(strongest)), min(LISTED, len(strongest)))  # noqa: S311
    words = [strongest[place] for place in sorted(drawn)]
    solved = [Exchange(_tokens(n, example.words), example.explanation) for n, example in enumerate(EXAMPLES, start=1)]
    return Dialogue(_TOKEN_LIST_SYSTEM, tuple(solved), _tokens(len(solved) + 1, words))


def _tokens(number: int, tokens: Sequence[str]) -> str:
    return "\n".join([f"Neuron {number}", "Tokens:", *map(readable_token, tokens), _ending(number)])


PAIRS = ExplanationStyle(
    "token-activation pairs", "pairs-1", "Reads every token of the train excerpts with its activation.", build_pairs
)
SUMMARY = ExplanationStyle(
    "summary", "summary-1", "Reads the train excerpts as text with the strong tokens marked.", build_summary
)
TOKEN_LIST = ExplanationStyle(
    "token list",
    "token-list-1",
    "Reads 50 of the 100 tokens with the highest mean activation in the train excerpts.",
    build_token_list,
)
STYLES: tuple[ExplanationStyle, ...] = (PAIRS, SUMMARY, TOKEN_LIST)


def revision_prompt(records: Sequence[ActivationRecord], explanation: str, mistakes: Sequence[Mistake]) -> Dialogue:
    """Return the prompt that asks for a better explanation of the same neuron, given what this one gets wrong."""
    solved = [
        Exchange(_revision(n, _marked_example(example), example.too_broad, [_mistake(example)]), example.explanation)
        for n, example in enumerate(EXAMPLES, start=1)
    ]
    question = _revision(len(solved) + 1, _marked(records), explanation, mistakes)
    return Dialogue(_REVISION_SYSTEM, tuple(solved), question)


def _mistake(example: Example) -> Mistake:
    predicted = np.array(example.mistaken, dtype=np.int8)
    return Mistake(example.mistake.tokens, example.mistake.as_levels(), predicted)


def _revision(number: int, documents: Sequence[str], explanation: str, mistakes: Sequence[Mistake]) -> str:
    parts = [f"Neuron {number}", *_numbered(documents), f"The explanation so far: {ANSWER_BEGINS} {explanation}"]
    parts.append("Where it is wrong:")
    for place, mistake in enumerate(mistakes, start=len(documents) + 1):
        parts += [
            f"{place}. {mark(mistake.tokens, strong_places(mistake.real))}",
            f"The neuron is active at: {_strong(mistake.tokens, mistake.real)}",
            f"The explanation predicts: {_strong(mistake.tokens, mistake.predicted)}",
        ]
    return "\n".join([*parts, f"A better explanation of neuron {number} behavior: {ANSWER_BEGINS}"])


def _strong(tokens: Sequence[str], levels: Levels) -> str:
    found = [f'"{readable_token(tokens[place])}" {levels[place]}' for place in strong_places(levels)]
    return ", ".join(found) or "nothing strongly"


def _ending(number: int) -> str:
    return f"Explanation of neuron {number} behavior: {ANSWER_BEGINS}"


def _numbered(documents: Sequence[str]) -> list[str]:
    return [f"{place}. {document}" for place, document in enumerate(documents, start=1)]


def _marked(records: Sequence[ActivationRecord]) -> list[str]:
    return [
        mark(record.tokens, strong_places(levels)) for record, levels in zip(records, levels_of(records), strict=True)
    ]


def _marked_example(example: Example) -> list[str]:
    return [mark(excerpt.tokens, strong_places(excerpt.as_levels())) for excerpt in example.excerpts]
