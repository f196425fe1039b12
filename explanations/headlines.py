"""Which explanation leads a neuron, and by which simulator. Scores of different simulators are never ranked together.

- A neuron is ranked by one simulator: the one that scored most of its current explanations in words; of equals, the
  one that scored the earliest explanation (of one explanation's, the one that scored it first).
- An explanation shows that simulator's newest score of it; where it has none, its newest simulation's.
- The headline is the best by the ranking simulator, of equals the earliest. What only others scored, or nobody,
  comes after, earliest first. A baseline is what an explanation has to beat: it leads only where it stands alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol, TypeVar

from explanations.models import Explanation, Source

Scores = Mapping[str, float | None]
"""Each simulator's newest score of an explanation, in the order in which they first simulated it; None is undefined."""


class Rankable(Protocol):
    """As much of an explanation as choosing a headline needs."""

    @property
    def pk(self) -> int: ...
    @property
    def source(self) -> str: ...
    @property
    def score(self) -> float | None: ...
    @property
    def simulator(self) -> str: ...
    @property
    def is_current(self) -> bool: ...


R = TypeVar("R", bound=Rankable)


def choose_headline(explanations: Iterable[R]) -> R | None:
    """Return the explanation that leads, by the score that each of them shows; None where none is current."""
    current = [e for e in explanations if e.is_current]
    in_words = [e for e in current if e.source != Source.BASELINE] or current
    if len(in_words) < 2:
        return in_words[0] if in_words else None
    ranking = choose_simulator((e.pk, e.simulator) for e in in_words if e.score is not None)

    def rank(explanation: R) -> tuple[bool, float, int]:
        score = explanation.score if explanation.simulator == ranking else None
        return (score is None, -(score or 0.0), explanation.pk)

    return min(in_words, key=rank)


def choose_simulator(scored: Iterable[tuple[int, str]]) -> str | None:
    """Return the simulator that ranks, from (explanation, simulator) of each defined score; None where there is none.

    An explanation's simulators come in the order in which they simulated it.
    """
    found: dict[str, tuple[int, int]] = {}
    for pk, simulator in scored:
        count, first = found.get(simulator, (0, -pk))
        found[simulator] = (count + 1, max(first, -pk))
    return max(found, key=lambda simulator: found[simulator], default=None)


def show_scores(
    explanations: Sequence[Explanation], simulated: Mapping[int, Scores], newest: Mapping[int, str]
) -> None:
    """Set on unsaved rows the score that each explanation of one neuron shows.

    `simulated` are the scores by explanation, `newest` the simulator of each one's newest simulation. An explanation
    that was never simulated stays as it is.
    """
    in_words = [e for e in explanations if e.is_current and e.source != Source.BASELINE]
    ranking = choose_simulator(
        (e.pk, simulator)
        for e in in_words
        for simulator, score in simulated.get(e.pk, {e.simulator: e.score}).items()
        if score is not None
    )
    for explanation in explanations:
        scores = simulated.get(explanation.pk)
        if scores:
            chosen = ranking if ranking is not None and ranking in scores else newest[explanation.pk]
            explanation.simulator, explanation.score = chosen, scores[chosen]
