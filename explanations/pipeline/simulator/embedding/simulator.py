"""The simulator that goes by the meaning of words and by what the explanation quotes or names; no language model.

For every token some twenty features say how well it fits each part of the explanation: is it quoted there, of a class
that it names ("digits", "late pieces of names"), after what it must stand after, near in meaning. Their weights are
the same for every neuron and explanation; nothing is fitted to the neuron that is simulated. docs/simulators.md has
the figures, and what did not help.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from explanations.pipeline.records import LEVELS, NORMALISED_SCALE, ActivationRecord
from explanations.pipeline.simulator.embedding.excerpt_vectors import CentredEmbedder, ExcerptVectors
from explanations.pipeline.simulator.embedding.explanation_reading import Part, read_explanation
from explanations.pipeline.simulator.embedding.literal_features import Singles, literal_features
from explanations.pipeline.simulator.embedding.model_file import ModelFileError
from explanations.pipeline.simulator.embedding.sentence_embedder import Embedder
from explanations.pipeline.simulator.protocol import Simulate, Simulated, SimulationError

EMBEDDING = "embedding"
"""The method's name."""
EMBEDDING_SIMULATOR = "embedding-1 (all-MiniLM-L6-v2)"
"""The simulator's name. Whatever changes its values changes the number."""

NEAR = 0.1
"""Cosines below this say nothing: centred cosines of unrelated words reach it."""
NEAR_EXAMPLE = 0.2
FULL_SCORE = 6.0
"""The weighted sum, in standard deviations of a neuron's activation, that counts as 10."""

WEIGHTS: Mapping[str, float] = {
    "token_quoted": 1.20,
    "stem_quoted": 1.15,
    "affix_quoted": 0.31,
    "in_phrase": 2.29,
    "word_of_phrase": 0.53,
    "example_named": 0.31,
    "class_named": 0.21,
    "class_of_examples": 0.20,
    "after_named": 0.17,
    "near_squared": 1.21,
    "near_head_only_meaning": 1.17,
    "near_example": 2.92,
    "trail": 2.15,
    "trail_only_meaning": 1.27,
    "focus_trail": 2.18,
    "focus_after_meaning": 2.43,
    "near_common": -0.60,
    "example_common": -3.10,
    "focus_after": 2.32,
    "focus_within": 0.41,
}
"""Ridge regression (penalty 20) to the standardised activations of 600 development neurons on *calibration*."""


class EmbeddingSimulator:
    """Explanation and tokens in, simulated activations from 0 to 10 out. Loads nothing before the first excerpt."""

    name = EMBEDDING_SIMULATOR
    description = "Predicts from the meaning of words, and from what the explanation quotes, names or places."
    cost = "no cost: a 23 MB embedding model on this machine"
    method = EMBEDDING
    scale = NORMALISED_SCALE

    def __init__(self, embedder: Embedder) -> None:
        self._vectors = CentredEmbedder(embedder)

    def fit(self, _train: Sequence[ActivationRecord]) -> Simulate:
        return self._simulate

    def _simulate(self, explanation: str, tokens: Sequence[str]) -> Simulated:
        try:
            return Simulated(self.simulate(explanation, tokens))
        except ModelFileError as error:
            raise SimulationError(str(error)) from error

    def simulate(self, explanation: str, tokens: Sequence[str]) -> Singles:
        """Return one simulated activation a token [pos]. An empty explanation predicts nothing. ModelFileError."""
        values = np.zeros(len(tokens), dtype=np.float32)
        if len(tokens) and explanation.strip():
            features = self.features(explanation, tokens)
            for name, weight in WEIGHTS.items():
                values += np.float32(weight) * features[name]
        levels: Singles = np.clip(values * np.float32(LEVELS / FULL_SCORE), 0, LEVELS)
        return levels

    def features(self, explanation: str, tokens: Sequence[str]) -> dict[str, Singles]:
        """Return every feature's value at every token, the highest over the explanation's parts: [pos] each."""
        excerpt = self._vectors.excerpt(tuple(tokens))
        parts = [self._part_features(part, excerpt) for part in read_explanation(explanation)]
        return {name: np.max([p[name] for p in parts], axis=0) for name in parts[0]}

    def _part_features(self, part: Part, excerpt: ExcerptVectors) -> dict[str, Singles]:
        literal = literal_features(part, excerpt.spots)
        return literal | self._nearness(part, excerpt, literal["focus"])

    def _nearness(self, part: Part, excerpt: ExcerptVectors, focus: Singles) -> dict[str, Singles]:
        whole = self._vectors.explanation(part.text)  # [d_embedding]
        both = (excerpt.word + excerpt.token) * np.float32(0.5)  # [pos, d_embedding]
        near = _above(both @ whole, NEAR)  # [pos]
        trail = _above(excerpt.trail @ whole, NEAR)  # [pos]
        head = _above(both @ self._vectors.explanation(part.focus.text), NEAR)  # [pos]
        example = self._nearest_example(part, excerpt)  # [pos]
        # A part that quotes nothing and names no class has only its meaning to go by.
        only_meaning = np.float32(not (part.focus.quotes or part.like.quotes or part.focus.classes))
        return {
            "near_squared": near**2,
            "near_head_only_meaning": head * only_meaning,
            "near_example": example,
            "trail": trail,
            "trail_only_meaning": trail * only_meaning,
            "focus_trail": focus * trail,
            "focus_after_meaning": focus * self._after_meaning(part, excerpt),
            "near_common": near * excerpt.common,
            "example_common": example * excerpt.common,
        }

    def _nearest_example(self, part: Part, excerpt: ExcerptVectors) -> Singles:
        """Return how near each token and its word are to the nearest example: [pos]."""
        examples = _examples(part)
        if not examples:
            return np.zeros(len(excerpt.spots), dtype=np.float32)
        vectors = self._vectors.words(examples)  # [example, d_embedding]
        nearest = (excerpt.word @ vectors.T).max(axis=1) + (excerpt.token @ vectors.T).max(axis=1)  # [pos]
        return _above(nearest * np.float32(0.5), NEAR_EXAMPLE)

    def _after_meaning(self, part: Part, excerpt: ExcerptVectors) -> Singles:
        """Return how near the words before each token are to what it must stand after: [pos]."""
        values = np.zeros(len(excerpt.spots), dtype=np.float32)
        if part.after.text:
            values[1:] = _above(excerpt.trail @ self._vectors.explanation(part.after.text), NEAR)[:-1]
        return values


def _examples(part: Part) -> list[str]:
    """Return what the part quotes; else what it lists after "such as"."""
    quoted = part.focus.quoted | part.like.quoted
    phrases = {" ".join(words) for words in part.focus.phrases + part.like.phrases}
    listed = re.split(r",| and | or ", part.like.text)
    return sorted(quoted | phrases) or [example for example in listed if example.strip()]


def _above(cosines: npt.NDArray[np.floating], threshold: float) -> Singles:
    excess: Singles = np.maximum(cosines - threshold, 0).astype(np.float32)
    return excess
