"""Simulators that read what a language model expects where a level stands "unknown", without its writing a word."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from explanations.pipeline.language_models import NO_USAGE, LanguageModel, LanguageModelError, ScoredPrompt, Usage
from explanations.pipeline.prompts import (
    ALL_AT_ONCE_VERSION,
    ONE_AT_A_TIME_VERSION,
    SimulationPrompt,
    all_at_once_prompt,
    fits,
    one_at_a_time_prompts,
    price_in_words,
    readable_token,
)
from explanations.pipeline.records import LEVELS, NORMALISED_SCALE, ActivationRecord
from explanations.pipeline.simulator.protocol import BatchSimulate, Outcome, Simulated, SimulationError, only_outcome

ALL_AT_ONCE = "all at once"
ONE_AT_A_TIME = "one at a time"
LIKELIEST = 15
"""How many of the strings that the model expects are looked at, at every place, as in the released code."""
NUMBERS = {str(level): level for level in range(LEVELS + 1)}


@dataclass(frozen=True, slots=True)
class LogProbabilitySimulator:
    """Takes the expected value of the level that the model expects at every token."""

    model: LanguageModel
    one_at_a_time: bool = False
    """a prompt a token; otherwise one for the whole excerpt"""
    likeliest: int = LIKELIEST
    """strings that are looked at; a small model that expects "unknown" for ever needs more, which local ones tell"""
    batch_size: int = 5
    scale: str = NORMALISED_SCALE

    @property
    def name(self) -> str:
        return f"{self.model.name}, {self.method}"

    @property
    def description(self) -> str:
        how = "one token at a time" if self.one_at_a_time else "the whole excerpt at once"
        return f"Takes the activation that a language model told the explanation expects at each token, {how}."

    @property
    def cost(self) -> str:
        return price_in_words(self.model)

    @property
    def method(self) -> str:
        return ONE_AT_A_TIME if self.one_at_a_time else ALL_AT_ONCE

    @property
    def prompt_version(self) -> str:
        version = ONE_AT_A_TIME_VERSION if self.one_at_a_time else ALL_AT_ONCE_VERSION
        return version if self.likeliest == LIKELIEST else f"{version}, {self.likeliest} likeliest"

    def fit(self, _train: Sequence[ActivationRecord]) -> BatchSimulate:
        return ReadLevels(self)

    def prompts(self, explanation: str, tokens: Sequence[str]) -> list[SimulationPrompt]:
        if self.one_at_a_time:
            return one_at_a_time_prompts(explanation, tokens)
        return [all_at_once_prompt(explanation, tokens)]

    def estimate(self, explanation: str, excerpts: Sequence[Sequence[str]]) -> Usage:
        whole = [self.model.count_tokens(all_at_once_prompt(explanation, tokens).text) for tokens in excerpts]
        count, tokens_in = len(excerpts), sum(whole)
        if self.one_at_a_time:
            # Prompts grow from the shortest to the whole: half of what these differ in, on average.
            shortest = self.model.count_tokens(all_at_once_prompt(explanation, ()).text)
            count = sum(map(len, excerpts))
            tokens_in = sum(len(t) * (shortest + w) // 2 for t, w in zip(excerpts, whole, strict=True))
        if self.model.counts_exactly and self.model.count_tokens("\t10\n") > self.model.count_tokens("\t1\n"):
            # It writes 10 as two tokens: see `_tell_tens`. Of another server's model only asking tells.
            count, tokens_in = count + TENS_ASKED * len(excerpts), tokens_in + TENS_ASKED * sum(whole)
        # An endpoint tells what it expects inside a prompt by writing one token after it.
        return Usage(tokens_in, count, self.model.cost_usd(tokens_in, count), is_estimate=True)


@dataclass(frozen=True, slots=True)
class ReadLevels:
    """Simulates excerpts with the prompts of a `LogProbabilitySimulator`."""

    simulator: LogProbabilitySimulator

    @property
    def batch_size(self) -> int:
        return self.simulator.batch_size

    def __call__(self, explanation: str, tokens: Sequence[str]) -> Simulated:
        return only_outcome(self.many(explanation, [tokens]))

    def many(self, explanation: str, excerpts: Sequence[Sequence[str]]) -> list[Outcome]:
        model = self.simulator.model
        if not model.has_prompt_log_probabilities:
            raise LanguageModelError(
                f"{model.name} does not tell what it expects inside a prompt, which the method "
                f"“{self.simulator.method}” reads. Use the method “written” with it."
            )
        prompts = [self.simulator.prompts(explanation, tokens) for tokens in excerpts]
        too_long = [[self._too_long(prompt) for prompt in of_excerpt] for of_excerpt in prompts]
        asked = [
            prompt
            for of_excerpt, reasons in zip(prompts, too_long, strict=True)
            for prompt, reason in zip(of_excerpt, reasons, strict=True)
            if reason is None
        ]
        answers = iter(
            model.prompt_log_probabilities_batch(
                [prompt.text for prompt in asked],
                top=self.simulator.likeliest,
                places=[prompt.places for prompt in asked],
            )
        )
        found: list[Outcome] = []
        for tokens, of_excerpt, reasons in zip(excerpts, prompts, too_long, strict=True):
            scored = [reason or next(answers) for reason in reasons]
            found.append(self._read(tokens, of_excerpt, scored))
        return found

    def _too_long(self, prompt: SimulationPrompt) -> SimulationError | None:
        model = self.simulator.model
        if fits(model, prompt.text, 1):
            return None
        return SimulationError(
            f"the prompt is {model.count_tokens(prompt.text):,} tokens, more than the {model.context_window:,} that "
            f"{model.name} reads"
        )

    def _read(
        self,
        tokens: Sequence[str],
        prompts: Sequence[SimulationPrompt],
        scored: Sequence[ScoredPrompt | LanguageModelError | SimulationError],
    ) -> Outcome:
        """Return the excerpt's levels, or why there are none; either with what all its prompts took."""
        usage = sum((one.usage for one in scored if isinstance(one, ScoredPrompt)), NO_USAGE)
        try:
            expected = _expected_levels(tokens, prompts, scored)
            if splits_ten(prompts, scored):
                extra, expected = self._tell_tens(prompts, expected)
                usage += extra
        except (SimulationError, LanguageModelError) as error:
            return SimulationError(str(error), usage + getattr(error, "usage", NO_USAGE))
        return Simulated(np.array([expected_value(levels) for levels in expected]), usage)

    def _tell_tens(
        self, prompts: Sequence[SimulationPrompt], expected: Sequence[dict[int, float]]
    ) -> tuple[Usage, list[dict[int, float]]]:
        """Share out the probability of "1" between 1 and 10, for a model that writes 10 as "1" and "0".

        Asks what follows a "1" where it is likeliest, and takes the mean of these shares everywhere else: asking at
        every place would be a prompt a token.
        """
        every = [(prompt.text, place) for prompt in prompts for place in prompt.places]
        by_weight = sorted(range(len(expected)), key=lambda i: -expected[i].get(1, 0.0))
        asked = [i for i in by_weight[:TENS_ASKED] if expected[i].get(1, 0.0) >= ONE_MATTERS]
        if not asked:
            return NO_USAGE, list(expected)
        answers = self.simulator.model.prompt_log_probabilities_batch(
            [f"{every[i][0][: every[i][1]]}1\n" for i in asked],
            top=self.simulator.likeliest,
            places=[(every[i][1] + 1,) for i in asked],
        )
        shares, usage = {}, NO_USAGE
        for i, answer in zip(asked, answers, strict=True):
            if isinstance(answer, LanguageModelError):
                raise SimulationError(str(answer), usage)
            usage += answer.usage
            shares[i] = share_of_ten(answer.alternatives_at(every[i][1] + 1))
        mean = sum(shares.values()) / len(shares)
        return usage, [split_ten(levels, shares.get(i, mean)) for i, levels in enumerate(expected)]


TENS_ASKED = 3
"""Places at which a model that writes 10 as two tokens is asked again, in each excerpt."""
ONE_MATTERS = 0.05
"""A "1" less likely than this is not asked about: the expected value errs by less than 0.45 of a level."""


def _expected_levels(
    tokens: Sequence[str],
    prompts: Sequence[SimulationPrompt],
    scored: Sequence[ScoredPrompt | LanguageModelError | SimulationError],
) -> list[dict[int, float]]:
    found: list[dict[int, float]] = []
    for prompt, one in zip(prompts, scored, strict=True):
        if isinstance(one, Exception):
            raise one
        check_reading(prompt, one)
        for place in prompt.places:
            levels = level_probabilities(one.alternatives_at(place))
            if not levels:
                token = readable_token(tokens[len(found)])
                raise SimulationError(
                    f"at token {len(found) + 1} (“{token}”) none of the numbers 0 to {LEVELS} is among what the model "
                    "finds likeliest"
                )
            found.append(levels)
    return found


def splits_ten(
    prompts: Sequence[SimulationPrompt], scored: Sequence[ScoredPrompt | LanguageModelError | SimulationError]
) -> bool:
    """Return whether the model read "10", where an example has it for a level, as more than one token."""
    if not prompts or not isinstance(scored[0], ScoredPrompt):
        return False
    zero = prompts[0].text.find("\t10\n") + 2
    return any(token.text and token.start == zero for token in scored[0].tokens)


def check_reading(prompt: SimulationPrompt, scored: ScoredPrompt) -> None:
    """Raise SimulationError where the model did not read, character for character, what it was sent."""
    read = "".join(token.text for token in scored.tokens)
    if read != prompt.text:
        at = next((i for i, (a, b) in enumerate(zip(read, prompt.text, strict=False)) if a != b), len(read))
        raise SimulationError(f"the model read another text than it was sent, from character {at + 1} on")
    place = 0
    for token in scored.tokens:
        if token.text and token.start != place:
            raise SimulationError(f"the model says that a token begins at character {token.start + 1}, not {place + 1}")
        place += len(token.text)


def level_probabilities(alternatives: Mapping[str, float]) -> dict[int, float]:
    """Return the probability of each level among those present, together 1; empty where none is present.

    What follows a line break in the same token is the next line's: "7" and "7\\n" are both 7.
    """
    found: dict[int, float] = {}
    for text, log_probability in alternatives.items():
        level = NUMBERS.get(text.partition("\n")[0])
        if level is not None:
            found[level] = found.get(level, 0.0) + math.exp(log_probability)
    total = sum(found.values())
    if not total > 0:
        return {}
    return {level: probability / total for level, probability in found.items()}


def share_of_ten(after_one: Mapping[str, float]) -> float:
    """Return the probability that a "1" goes on to be a 10."""
    return min(1.0, sum(math.exp(value) for text, value in after_one.items() if text.partition("\n")[0] == "0"))


def split_ten(levels: Mapping[int, float], share: float) -> dict[int, float]:
    """Return the levels with this share of the probability of 1 given to 10."""
    one = levels.get(1, 0.0)
    if not one:
        return dict(levels)
    return {**levels, 1: one * (1 - share), LEVELS: levels.get(LEVELS, 0.0) + one * share}


def expected_value(levels: Mapping[int, float]) -> float:
    return sum(level * probability for level, probability in levels.items())
