"""What a judge is asked: whether whole excerpts, or marked tokens, are what an explanation says.

Cheaper than simulating: an excerpt takes one number, not one a token.
"""

from __future__ import annotations

from collections.abc import Sequence

from explanations.pipeline.prompts.conversation import Dialogue, Exchange
from explanations.pipeline.prompts.examples import EXAMPLES
from explanations.pipeline.prompts.listing import mark, strong_places

DETECTION_VERSION = "detection-1"
FUZZING_VERSION = "fuzzing-1"

_TASK = "We study the neurons of a language model. Each neuron looks for one particular thing in short documents. "
_DETECTION = "From an explanation of what a neuron looks for, say in which documents the neuron is active."
_FUZZING = (
    "From an explanation of what a neuron looks for, say in which documents the right words are marked: words between "
    "<< and >> are claimed to be what makes the neuron active."
)
_RATINGS = (
    " Answer with JSON alone: a list with a whole number for each document, in order, from 0 (surely not) "
    "to 10 (surely)."
)


def detection_prompt(explanation: str, documents: Sequence[str]) -> Dialogue:
    """Return the prompt that asks how surely each document makes the neuron active."""
    return _ratings_prompt(_DETECTION, explanation, documents, marked=False)


def fuzzing_prompt(explanation: str, documents: Sequence[str]) -> Dialogue:
    """Return the prompt that asks how surely each document's marks are right."""
    return _ratings_prompt(_FUZZING, explanation, documents, marked=True)


def yes_or_no_prompt(explanation: str, document: str, *, marked: bool) -> tuple[str, int]:
    """Return the text that asks about one document, and the place at which "yes" or "no" is to be predicted."""
    task, question = (_FUZZING, "Are the right words marked") if marked else (_DETECTION, "Is the neuron active")
    parts = [f"{_TASK}{task} Answer yes or no."]
    for number, example in enumerate(EXAMPLES):
        for shown, right in _solved(number, marked):
            parts.append(_single(example.explanation, shown, question) + (" yes" if right else " no"))
    text = "\n\n".join([*parts, _single(explanation, document, question)])
    return f"{text} yes", len(text)


def _single(explanation: str, document: str, question: str) -> str:
    return f"Explanation: {_line(explanation)}\nDocument: {document}\n{question}? Answer:"


def _ratings_prompt(task: str, explanation: str, documents: Sequence[str], *, marked: bool) -> Dialogue:
    examples = []
    for number, example in enumerate(EXAMPLES):
        shown = _solved(number, marked)
        answer = "[" + ", ".join("10" if right else "0" for _, right in shown) + "]"
        examples.append(Exchange(_question(example.explanation, [document for document, _ in shown]), answer))
    return Dialogue(_TASK + task + _RATINGS, tuple(examples), _question(explanation, documents))


def _question(explanation: str, documents: Sequence[str]) -> str:
    numbered = [f"{place}. {document}" for place, document in enumerate(documents, start=1)]
    return "\n".join([f"Explanation: {_line(explanation)}", *numbered, "Answer:"])


def _solved(number: int, marked: bool) -> list[tuple[str, bool]]:
    """Return an example's excerpts with their answers, in another order for each example, so that none is a pattern.

    Where marks are asked for, the first one's are right and the second one's wrong.
    """
    found = [(excerpt, strong_places(excerpt.as_levels())) for excerpt in EXAMPLES[number].excerpts]
    if marked:
        (right, strong), (wrong, others) = found[:2]
        inactive = [place for place, level in enumerate(wrong.levels) if not level]
        third = len(inactive) // 3
        moved = inactive[third : third + len(others)]
        solved = [(mark(right.tokens, strong), True), (mark(wrong.tokens, moved), False)]
    else:
        solved = [(mark(excerpt.tokens, ()), bool(strong)) for excerpt, strong in found]
    first = number % len(solved)
    return solved[first:] + solved[:first]


def _line(explanation: str) -> str:
    return " ".join(explanation.split())
