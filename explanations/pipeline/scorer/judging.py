"""Detection and fuzzing with a language model as the judge."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from explanations.pipeline.language_models import NO_USAGE, Completion, LanguageModel, LanguageModelError, Usage
from explanations.pipeline.prompts import (
    DETECTION_VERSION,
    FUZZING_VERSION,
    detection_prompt,
    fits,
    fuzzing_prompt,
    mark,
    yes_or_no_prompt,
)
from explanations.pipeline.records import LEVELS, ActivationRecord, Failure
from explanations.pipeline.scorer.telling_apart import (
    Item,
    TellingApart,
    detection_items,
    fuzzing_items,
    tell_apart,
)

DETECTION, FUZZING = "detection", "fuzzing"
JUDGING = "asked about excerpts"
AT_ONCE = 5
"""Items that one written answer rates."""
LIKELIEST = 15


class JudgingError(Exception):
    """An item could not be rated; the message says why."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """How well an explanation let a judge tell excerpts, or marks, apart."""

    task: str
    """`DETECTION` or `FUZZING`"""
    judge: str
    prompt_version: str
    told: TellingApart
    excerpts_asked: int
    excerpts_rated: int
    """excerpts all of whose items were rated: "8 of 10 excerpts" """
    failures: tuple[Failure, ...]
    """for each excerpt with an item that could not be rated, or that had no strong tokens to mark"""
    usage: Usage


def judge_name(model: LanguageModel) -> str:
    """Return the name under which a language model judges."""
    return f"{model.name}, {JUDGING}"


def judge_detection(
    model: LanguageModel, explanation: str, records: Sequence[ActivationRecord], *, seed: int = 0
) -> Judgement:
    """Return how well the explanation tells which excerpts make the neuron active."""
    return _judge(model, explanation, records, detection_items(records), DETECTION, seed)


def judge_fuzzing(
    model: LanguageModel, explanation: str, records: Sequence[ActivationRecord], *, seed: int = 0
) -> Judgement:
    """Return how well the explanation tells rightly marked excerpts from wrongly marked ones."""
    return _judge(model, explanation, records, fuzzing_items(records, seed=seed), FUZZING, seed)


def _judge(
    model: LanguageModel,
    explanation: str,
    records: Sequence[ActivationRecord],
    items: list[Item],
    task: str,
    seed: int,
) -> Judgement:
    # The true ones come first in every list of excerpts; a judge must not be able to guess by the order.
    random.Random(seed).shuffle(items)  # noqa: S311
    rate = rate_by_log_probabilities if model.has_prompt_log_probabilities else rate_in_writing
    ratings, usage = rate(model, explanation, items)
    rated = [(item.is_true, r) for item, r in zip(items, ratings, strict=True) if isinstance(r, float)]
    reasons = {item.excerpt: str(r) for item, r in zip(items, ratings, strict=True) if not isinstance(r, float)}
    for place in set(range(len(records))) - {item.excerpt for item in items}:
        reasons[place] = "it has no strong tokens, or too few others" if task == FUZZING else "it has no tokens"
    return Judgement(
        task=task,
        judge=model.name,
        prompt_version=DETECTION_VERSION if task == DETECTION else FUZZING_VERSION,
        told=tell_apart([truth for truth, _ in rated], [r for _, r in rated]),
        excerpts_asked=len(records),
        excerpts_rated=len(records) - len(reasons),
        failures=tuple(Failure(place, reasons[place]) for place in sorted(reasons)),
        usage=usage,
    )


Ratings = list[float | JudgingError]


def rate_by_log_probabilities(model: LanguageModel, explanation: str, items: Sequence[Item]) -> tuple[Ratings, Usage]:
    """Return p(yes) / (p(yes) + p(no)) for each item, as the model expects them after its question."""
    prompts = [yes_or_no_prompt(explanation, _document(item), marked=bool(item.marked)) for item in items]
    answers = model.prompt_log_probabilities_batch(
        [text for text, _ in prompts], top=LIKELIEST, places=[(place,) for _, place in prompts]
    )
    ratings: Ratings = []
    usage = NO_USAGE
    for (_, place), answer in zip(prompts, answers, strict=True):
        if isinstance(answer, LanguageModelError):
            ratings.append(JudgingError(str(answer)))
            continue
        usage += answer.usage
        ratings.append(_share_of_yes(answer.alternatives_at(place)))
    return ratings, usage


def _share_of_yes(alternatives: Mapping[str, float]) -> float | JudgingError:
    found = {"yes": 0.0, "no": 0.0}
    for text, value in alternatives.items():
        word = text.strip().lower()
        if word in found:
            found[word] += math.exp(value)
    if not sum(found.values()) > 0:
        return JudgingError("the model expected neither yes nor no")
    return found["yes"] / sum(found.values())


def rate_in_writing(model: LanguageModel, explanation: str, items: Sequence[Item]) -> tuple[Ratings, Usage]:
    """Return a tenth of the number from 0 to 10 that the model writes for each item, several at once."""
    batches = [items[start : start + AT_ONCE] for start in range(0, len(items), AT_ONCE)]
    ratings: Ratings = []
    usage = NO_USAGE
    prompts = []
    for batch in batches:
        ask = fuzzing_prompt if batch[0].marked else detection_prompt
        prompts.append(ask(explanation, [_document(item) for item in batch]).for_model(model))
    room = 8 * AT_ONCE + 20
    fitting = [fits(model, prompt, room) for prompt in prompts]
    answers = iter(
        model.complete_batch(
            [prompt for prompt, ok in zip(prompts, fitting, strict=True) if ok],
            max_tokens=room,
            temperature=0.0,
            stop=() if model.can_chat else ("\n",),
        )
    )
    for batch, ok in zip(batches, fitting, strict=True):
        answer = next(answers) if ok else JudgingError(f"the prompt is longer than {model.name} reads")
        if isinstance(answer, Completion):
            usage += answer.usage
        ratings += _read_ratings(answer, len(batch))
    return ratings, usage


def _read_ratings(answer: Completion | LanguageModelError | JudgingError, count: int) -> Ratings:
    if not isinstance(answer, Completion):
        return [JudgingError(str(answer))] * count
    text = answer.text.rpartition("</think>")[2].strip().removeprefix("```json").removeprefix("```").removesuffix("```")
    try:
        numbers = msgspec.json.decode(text, type=list[float], strict=True)
    except (ValueError, RecursionError):
        return [JudgingError("the answer is not a JSON list of numbers")] * count
    if len(numbers) != count:
        return [JudgingError(f"the answer has {len(numbers)} numbers for {count} documents")] * count
    return [n / LEVELS if 0 <= n <= LEVELS else JudgingError(f"{n:g} is not from 0 to {LEVELS}") for n in numbers]


def _document(item: Item) -> str:
    return mark(item.tokens, item.marked)
