"""What a collection is to keep, and how excerpts are chosen."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

QUANTILES = (0.0, 0.5, 0.9, 0.99, 0.999)
"""boundaries of the quantile ranges of an excerpt's maximum activation, as the released protocol has them"""
MAX_EXCERPT_TOKENS = 4096
RANKED_EXCERPTS = 8192
"""excerpts, the first of the shuffled order, by which quantile ranges are told"""
POOL_EXCERPTS = 320
"""excerpts, the first of the shuffled order, from which all but the highest quantile range are sampled"""


@dataclass(frozen=True, slots=True)
class Settings:
    """Frozen with the first excerpt: a run that goes on, and all shards of a collection, have the same."""

    excerpt_tokens: int = 64
    excerpts: int | None = None
    """how many, chosen by the seed; None takes all"""
    top: int = 50
    bottom: int = 50
    """the lowest excerpts to keep; 0 for neurons that are not signed"""
    random: int = 50
    per_quantile: int = 10
    seed: int = 0
    chunk: int = 32
    """excerpts that go through the model together; a power of two, and part of what makes runs equal"""
    times_seen: int = 3
    """how often a token occurs at least, to have a mean activation of its own"""
    token_bytes: int = 3 << 30
    """memory for mean activations by token; the most frequent tokens have them"""

    def __post_init__(self) -> None:
        least = {"excerpt_tokens": 1, "top": 1, "chunk": 1, "times_seen": 1, "bottom": 0, "random": 0, "seed": 0}
        for name, lowest in {**least, "per_quantile": 0, "token_bytes": 0}.items():
            if getattr(self, name) < lowest:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least {lowest}")
        if self.excerpts is not None and self.excerpts < 1:
            raise ValueError(f"excerpts is {self.excerpts}; it must be at least 1")
        if self.excerpt_tokens > MAX_EXCERPT_TOKENS:
            raise ValueError(f"excerpt_tokens is {self.excerpt_tokens}; it must be at most {MAX_EXCERPT_TOKENS}")
        if self.chunk & (self.chunk - 1) or self.chunk > RANKED_EXCERPTS:
            raise ValueError(f"chunk is {self.chunk}; it must be a power of two, at most {RANKED_EXCERPTS}")

    def ranked(self, excerpts: int) -> int:
        """Return by how many excerpts quantile ranges are told, of a collection of so many."""
        return min(RANKED_EXCERPTS, excerpts)

    def pool(self, excerpts: int) -> int:
        """Return how many excerpts are kept whole for sampling quantile ranges."""
        return min(POOL_EXCERPTS, excerpts) if self.per_quantile else 0

    def high_places(self, excerpts: int) -> int:
        """Return how many of the highest ranked excerpts are kept: those of the highest range among them."""
        ranked = self.ranked(excerpts)
        in_ranges = ranked - math.floor(QUANTILES[-2] * ranked) if self.per_quantile else 0
        return min(max(self.top, in_ranges), ranked)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def range_of_ranks(quantile: int, ranked: int) -> range:
    """Return the ranks, 0 the lowest maximum, of the excerpts in a quantile range."""
    return range(math.floor(QUANTILES[quantile] * ranked), math.floor(QUANTILES[quantile + 1] * ranked))
