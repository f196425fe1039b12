"""Real activations beside simulated ones: the excerpts that a simulation was scored on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec
import numpy as np
from django.utils.safestring import SafeString

from explanations import tokens as markup
from explanations.forms.neuron import PageState
from explanations.models import Simulation
from explanations.neuron_page import elements
from explanations.neuron_page.drawing import Drawn, Strip
from explanations.neuron_page.excerpts import Recorded, extremes_of
from explanations.neuron_page.verdict import meaning_of, why_undefined
from explanations.pipeline import packing
from explanations.pipeline.packing import PackedSequence
from explanations.pipeline.records import LEVELS, NEURON_SCALE, Floats, Kind
from explanations.pipeline.scorer import correlation
from explanations.store import Tokens

_GROUPS = (
    (Kind.TOP, "Top excerpts", "where the neuron was most active"),
    (Kind.RANDOM, "Random excerpts", "ordinary text, where it should mostly be quiet"),
    (Kind.OTHER, "Other excerpts", "scored for another reason"),
)


class FoundExcerpt(msgspec.Struct, frozen=True):
    """A simulated excerpt with its real values and tokens found; None where they are not stored."""

    packed: PackedSequence
    real: Floats | None
    maximum: float | None
    """of the real values"""
    tokens: Tokens | None
    title: str

    @property
    def is_whole(self) -> bool:
        return self.real is not None and self.tokens is not None


class ScoredExcerpt(msgspec.Struct, frozen=True):
    """One scored excerpt on the page."""

    title: str
    missing: str
    """what of it is not stored, in a sentence"""
    element: SafeString
    rows: Sequence[tuple[SafeString, str, SafeString, str]] = ()
    """real token and value, simulated token and value, for the plain table"""


class ScoredGroup(msgspec.Struct, frozen=True):
    """Top or random excerpts of a simulation."""

    title: str
    about: str
    score: float | None
    excerpts: Sequence[ScoredExcerpt]


class Comparison(msgspec.Struct, frozen=True):
    """A simulation beside what the neuron did."""

    row: Simulation
    groups: Sequence[ScoredGroup]
    top_only: float | None
    random_only: float | None
    asked: int
    """excerpts that were to be simulated, failures included"""
    meaning: str
    is_calibrated: bool
    real_maximum: float
    simulated_maximum: float


class _Scale(msgspec.Struct, frozen=True):
    """What the shades of both sides are relative to."""

    real: float
    simulated: float
    is_calibrated: bool
    """whether simulated values are in the neuron's own units"""


class FoundExcerpts(msgspec.Struct, frozen=True):
    """A simulation's excerpts, and what they are shaded by."""

    row: Simulation
    excerpts: Sequence[FoundExcerpt]
    scale: _Scale


def simulated_keys(sequences: Iterable[PackedSequence]) -> set[int]:
    return {s.key for s in sequences}


def read_sequences(row: Simulation | None) -> list[PackedSequence]:
    """Return a simulation's excerpts; none where there is no simulation."""
    return [] if row is None else packing.unpack_sequences(row.data)


def find_excerpts(
    row: Simulation, sequences: Sequence[PackedSequence], recorded: Recorded, tokens: Mapping[int, Tokens]
) -> FoundExcerpts:
    """Return a simulation's excerpts with what is stored of them."""
    found = list(_find(sequences, recorded, tokens))
    return FoundExcerpts(row, found, _scale_of(row, found))


def strips_of(found: FoundExcerpts, state: PageState) -> list[Strip]:
    """Return what is to be drawn: the real and the simulated side of each excerpt of which all is stored.

    The markup of the state's view alone: the other would double the page.
    """
    is_side = state.view == "side"
    return [
        Strip(excerpt.tokens if is_side else None, values, maximum)
        for excerpt in found.excerpts
        if excerpt.is_whole and excerpt.real is not None
        for values, maximum in ((excerpt.real, found.scale.real), (excerpt.packed.simulated, found.scale.simulated))
    ]


def build_comparison(given: FoundExcerpts, strips: Sequence[Drawn], state: PageState) -> Comparison:
    """Return what the page shows of a simulation; excerpts that are not stored are named, never left out.

    `strips` are those of `strips_of`, drawn.
    """
    row, found, scale = given.row, given.excerpts, given.scale
    top_only = row.top_only if row.top_only is not None else _correlation_of(found, Kind.TOP)
    random_only = row.random_only if row.random_only is not None else _correlation_of(found, Kind.RANDOM)
    group_scores = {Kind.TOP: top_only, Kind.RANDOM: random_only, Kind.OTHER: _correlation_of(found, Kind.OTHER)}
    # Where nothing of a simulation is stored, one sentence says so.
    listed = found if any(s.is_whole for s in found) else []
    sides = zip(strips[::2], strips[1::2], strict=True)
    scored = [(s.packed.kind, _scored(s, *next(sides), scale, state) if s.is_whole else _missing(s)) for s in listed]
    groups = [
        ScoredGroup(title, about, group_scores[kind], [excerpt for k, excerpt in scored if k == kind])
        for kind, title, about in _GROUPS
    ]
    return Comparison(
        row=row,
        groups=[g for g in groups if g.excerpts],
        top_only=top_only,
        random_only=random_only,
        asked=row.excerpt_count + len(row.failures),
        meaning=_meaning(row, found),
        is_calibrated=scale.is_calibrated,
        real_maximum=scale.real,
        simulated_maximum=scale.simulated,
    )


def _find(
    sequences: Sequence[PackedSequence], recorded: Recorded, tokens: Mapping[int, Tokens]
) -> Iterable[FoundExcerpt]:
    by_key = {r.key: r.activations for r in recorded.records}
    top_ranks = {r.key: place for place, r in enumerate(recorded.of_kind(Kind.TOP), 1)}
    counts: dict[int, int] = {}
    reals = [packed.real if packed.real is not None else by_key.get(packed.key) for packed in sequences]
    for packed, real, maximum in zip(sequences, reals, extremes_of(reals), strict=True):
        counts[packed.kind] = number = counts.get(packed.kind, 0) + 1
        yield FoundExcerpt(packed, real, maximum, tokens.get(packed.key), _title(packed, number, top_ranks))


def _title(packed: PackedSequence, number: int, top_ranks: Mapping[int, int]) -> str:
    if packed.kind == Kind.TOP:
        rank = top_ranks.get(packed.key)
        return f"Top excerpt, rank {rank}" if rank else f"Top excerpt {number}"
    return f"Random excerpt {number}" if packed.kind == Kind.RANDOM else f"Excerpt {number}"


def _scale_of(row: Simulation, found: Sequence[FoundExcerpt]) -> _Scale:
    """Return the scored excerpts' highest real value, and what the simulated values are shaded by: 10, or the same."""
    real = max((s.maximum for s in found if s.maximum is not None), default=0.0)
    if not real > 0:
        real = markup.scale_of(s.real for s in found if s.real is not None)
    is_calibrated = row.scale == NEURON_SCALE
    return _Scale(real, real if is_calibrated else float(LEVELS), is_calibrated)


def _missing(found: FoundExcerpt) -> ScoredExcerpt:
    lacking = "The text of this excerpt is" if found.tokens is None else "The real activations of this excerpt are"
    missing = f"{lacking} not stored; import the neuron's activations again."
    element = elements.missing_excerpt(found.title, found.packed.scores.ev_correlation, missing)
    return ScoredExcerpt(found.title, missing, element)


def _scored(found: FoundExcerpt, real: Drawn, simulated: Drawn, scale: _Scale, state: PageState) -> ScoredExcerpt:
    assert found.real is not None
    assert found.tokens is not None
    values, score = (found.real, found.packed.simulated), found.packed.scores.ev_correlation
    if state.view == "side":
        body = elements.side_by_side(real.pieces, simulated.pieces)
    else:
        both = markup.overlaid(found.tokens, *values, real_maximum=scale.real, simulated_maximum=scale.simulated)
        body = elements.overlaid(both)
    element = elements.scored_excerpt(
        found.title,
        score=score,
        why_undefined="" if score is not None else why_undefined(*values),
        maximum=found.maximum,
        real_values=real.values,
        simulated_values=simulated.values,
        is_calibrated=scale.is_calibrated,
        body=body,
    )
    return ScoredExcerpt(found.title, "", element, _rows(found.tokens, *values, scale) if state.values else ())


def _rows(
    tokens: Tokens, real: Floats, simulated: Floats, scale: _Scale
) -> list[tuple[SafeString, str, SafeString, str]]:
    return [
        (
            markup.shaded([token], real[i : i + 1], scale.real),
            markup.written_value(float(real[i])),
            markup.shaded([token], simulated[i : i + 1], scale.simulated),
            markup.written_value(float(simulated[i])),
        )
        for i, token in enumerate(tokens[: min(len(real), len(simulated))])
    ]


def _both(found: Iterable[FoundExcerpt]) -> tuple[Floats, Floats]:
    """Return all real and all simulated values, concatenated, of excerpts whose real values are stored."""
    pairs = [(s.real, s.packed.simulated) for s in found if s.real is not None]
    if not pairs:
        return np.zeros(0), np.zeros(0)
    return np.concatenate([a for a, _ in pairs]), np.concatenate([s for _, s in pairs])


def _correlation_of(found: Iterable[FoundExcerpt], kind: Kind) -> float | None:
    of_kind = [s for s in found if s.packed.kind == kind]
    return correlation(*_both(of_kind)) if of_kind else None


def _meaning(row: Simulation, found: Sequence[FoundExcerpt]) -> str:
    if row.ev_correlation is not None:
        return meaning_of(row.ev_correlation)
    if not any(s.real is not None for s in found):
        reason = "the excerpts that would tell why are not stored" if row.excerpt_count else "no excerpt was simulated"
        return f"The score is undefined: {reason}."
    return f"The score is undefined: {why_undefined(*_both(found))}."
