"""What a simulator is asked: from an explanation to what the neuron does at every token of an excerpt."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from explanations.pipeline.prompts.conversation import Dialogue, Exchange
from explanations.pipeline.prompts.examples import EXAMPLES, ExampleExcerpt
from explanations.pipeline.prompts.explaining import ANSWER_BEGINS
from explanations.pipeline.prompts.listing import END, START, list_levels, readable_token

UNKNOWN = "unknown"
"""Stands in a prompt for a level that is to be predicted."""
ALL_AT_ONCE_VERSION = "simulate-all-1"
ONE_AT_A_TIME_VERSION = "simulate-one-1"
JSON_VERSION = "simulate-json-1"
LIKELIHOOD_VERSION = "likelihood-1"

REVEALED_FROM = (4, 0, 4)
"""From which token on the examples' excerpts show their levels. Before it they show "unknown", as the excerpt that
is asked about does, so that the model has seen a level follow an unknown one."""

_SURROGATE = re.compile(r"[\ud800-\udfff]")
_TASK = (
    "We study the neurons of a language model. Each neuron looks for one particular thing in a short document. "
    "From an explanation of what a neuron looks for, predict how active it is at each token of a document.\n\n"
)
_SYSTEM = (
    f"{_TASK}Documents are given as a token a line: token<tab>activation. An activation is a whole number from 0 to "
    f'10; most are 0. "{UNKNOWN}" stands for an activation that is not told.'
)
_JSON_SYSTEM = (
    f"{_TASK}An activation is a whole number from 0 to 10; most are 0. You are given an explanation and the document's "
    "tokens as a JSON list. Answer with JSON alone: "
    '{"activations": [[token, activation], ...]}, with every token of the document, in the same order.'
)


@dataclass(frozen=True, slots=True)
class SimulationPrompt:
    """A text with the places at which a level is to be predicted."""

    text: str
    places: tuple[int, ...]
    """in characters: where the level of each asked token begins"""


def all_at_once_prompt(explanation: str, tokens: Sequence[str]) -> SimulationPrompt:
    """Return one prompt for the whole excerpt: every token with "unknown" as its level."""
    parts, places = [_beginning(explanation)], []
    length = len(parts[0])
    for token in tokens:
        line = f"{readable_token(token)}\t"
        places.append(length + len(line))
        parts.append(f"{line}{UNKNOWN}\n")
        length += len(parts[-1])
    return SimulationPrompt("".join([*parts, END]), tuple(places))


def one_at_a_time_prompts(explanation: str, tokens: Sequence[str]) -> list[SimulationPrompt]:
    """Return a prompt a token: those before it with "unknown" as their levels, those after it not there."""
    whole = all_at_once_prompt(explanation, tokens)
    return [SimulationPrompt(whole.text[: place + len(UNKNOWN)], (place,)) for place in whole.places]


def _beginning(explanation: str) -> str:
    solved = [
        "\n".join(
            [*_explained(number, example.explanation), "Activations:", *map(_revealed, example.excerpts, REVEALED_FROM)]
        )
        for number, example in enumerate(EXAMPLES, start=1)
    ]
    asked = "\n".join([*_explained(len(solved) + 1, explanation), "Activations:", START, ""])
    return "\n\n".join([_SYSTEM, *solved, asked])


def _revealed(excerpt: ExampleExcerpt, start: int) -> str:
    return list_levels(excerpt.tokens, [UNKNOWN] * start + list(excerpt.levels[start:]))


def _explained(number: int, explanation: str) -> list[str]:
    text = " ".join(explanation.split())
    return [f"Neuron {number}", f"Explanation of neuron {number} behavior: {ANSWER_BEGINS} {text}"]


def json_prompt(explanation: str, tokens: Sequence[str]) -> Dialogue:
    """Return the prompt that asks for the levels in writing, for models that do not tell what they expect."""
    solved = [
        Exchange(
            _json_question(number, example.explanation, excerpt.tokens), json_answer(excerpt.tokens, excerpt.levels)
        )
        for number, example in enumerate(EXAMPLES, start=1)
        for excerpt in example.excerpts[:1]
    ]
    return Dialogue(_JSON_SYSTEM, tuple(solved), _json_question(len(solved) + 1, explanation, tokens))


def _json_question(number: int, explanation: str, tokens: Sequence[str]) -> str:
    return "\n".join([*_explained(number, explanation), f"Tokens: {_json(written(tokens))}", "Answer:"])


def json_answer(tokens: Sequence[str], levels: Sequence[int]) -> str:
    """Return the answer that `json_prompt` asks for."""
    return _json({"activations": [list(pair) for pair in zip(written(tokens), levels, strict=True)]})


def written(tokens: Sequence[str]) -> list[str]:
    """Return the tokens as JSON can carry them: a lone surrogate becomes U+FFFD."""
    return [_SURROGATE.sub("\ufffd", token) for token in tokens]


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def likelihood_contexts(explanation: str) -> tuple[str, str]:
    """Return what stands before a token: once as the explanation has it, once without one."""
    return f"A list of {' '.join(explanation.split())}:", "A list of words:"
