"""What a run is to do, and which excerpts that takes."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import TypeAlias

from explanations.pipeline.explainer import Sampling
from explanations.pipeline.records import EXCERPTS_PER_SPLIT, NeuronId, Split, random_ranks, top_ranks

Progress: TypeAlias = Callable[[str, int, int], None]
"""Told (what happens next, excerpts simulated, excerpts in all) before each step. What it raises stops the run."""


class PipelineError(Exception):
    """The neuron could not be explained or scored; the message says why, in words for the person who asked."""


def no_progress(_stage: str, _done: int, _total: int) -> None:
    """Tell nobody."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do beyond one explanation, simulated once.

    *train* is explained from, *calibration* chooses and calibrates, *test* is where revising looks for mistakes, and
    `scored_on` (*valid*, unless a person says otherwise) is looked at only once, at the end.
    """

    sampling: Sampling = field(default_factory=Sampling)
    revisions: int = 0
    """how often to show the explainer its mistakes and ask again"""
    calibrate: bool = False
    """bring the simulated values to the neuron's own units, by a line fitted on *calibration*"""
    scored_on: Split = Split.VALID
    per_split: int = EXCERPTS_PER_SPLIT
    """top excerpts, and random ones, in each split"""

    def __post_init__(self) -> None:
        if self.revisions < 0 or self.per_split < 1:
            raise ValueError(f"Cannot revise {self.revisions} times with {self.per_split} excerpts a split")
        if self.scored_on in self.used_before:
            raise ValueError(f"Cannot score on {self.scored_on.value}: it is used to make the explanation")

    @property
    def compares(self) -> bool:
        """Return whether explanations are chosen from, on *calibration*."""
        return self.sampling.n > 1 or self.revisions > 0

    @property
    def used_before(self) -> tuple[Split, ...]:
        """Return the splits that are used before the scored one is."""
        used = [Split.TRAIN]
        if self.compares or self.calibrate:
            used.append(Split.CALIBRATION)
        if self.revisions:
            used.append(Split.TEST)
        return tuple(used)

    @property
    def splits(self) -> tuple[Split, ...]:
        return (*self.used_before, self.scored_on)


def needed_excerpts(splits: Collection[Split], per_split: int = EXCERPTS_PER_SPLIT) -> tuple[int, int]:
    """Return how many top and random excerpts a neuron must have for these splits to be complete."""
    top = max(top_ranks(split, per_split)[-1] + 1 for split in splits)
    random = max((ranks[-1] + 1 for split in splits if (ranks := random_ranks(split, per_split))), default=0)
    return top, random


TOP_NEEDED, RANDOM_NEEDED = needed_excerpts(Plan().splits)
"""Excerpts without which *train* and *valid* are not complete."""


def check_excerpts(neuron_id: NeuronId, top: int, random: int, plan: Plan | None = None) -> None:
    """Raise PipelineError where a split that the plan uses would not be complete: scores could not be compared."""
    if top == random == 0:
        raise PipelineError(f"Neuron {neuron_id} has no activation records, so there is nothing to explain.")
    plan = plan or Plan()
    top_needed, random_needed = needed_excerpts(plan.splits, plan.per_split)
    if top < top_needed or random < random_needed:
        raise PipelineError(
            f"Neuron {neuron_id} has {top} top and {random} random excerpts. Explaining and scoring it takes at least "
            f"{top_needed} top and {random_needed} random ones."
        )
