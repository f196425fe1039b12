"""Related tokens and neurons of a neuron, with what is known of those neurons."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import chain
from typing import NamedTuple, TypeAlias, cast

import numpy as np
from django.db import connection
from django.utils.safestring import SafeString

from explanations import tokens as markup
from explanations.addresses import pattern
from explanations.import_commands import import_command
from explanations.models import Neuron, SubjectModel
from explanations.pipeline import packing
from explanations.pipeline.records import NeuronId, NeuronWeights, Related, TokenValues
from explanations.templatetags.neurons import score_bar

FIRST_TOKENS = 20
"""Tokens of a list that are seen before it is opened."""
Place: TypeAlias = tuple[int, int]
"""Layer and index: of a hundred, plain pairs are found in less time than `NeuronId`s."""


@dataclass(frozen=True, slots=True)
class TokenGroup:
    """A list of tokens with their strengths, strongest first."""

    title: str
    first: SafeString
    rest: SafeString
    rest_count: int


class Headline(NamedTuple):
    """What a related neuron is said to do."""

    text: str
    """empty where nothing is"""
    score: float | None


@dataclass(frozen=True, slots=True)
class NeuronGroup:
    """Related neurons on one side with one sign."""

    title: str
    rows: SafeString
    """of a table: place, strength, and what is known of each; empty where there is none"""
    missing: frozenset[NeuronId]
    """those that are not imported"""


@dataclass(frozen=True, slots=True)
class MissingNeurons:
    """Related neurons that are not imported."""

    count: int
    command: str
    """what imports their layers"""


@dataclass(frozen=True, slots=True)
class RelatedSection:
    """All that is known of a neuron's surroundings; None is a kind that was not imported."""

    by_activation: TokenGroup | None
    by_weight: Sequence[TokenGroup] | None
    neurons: Sequence[NeuronGroup] | None
    missing: MissingNeurons | None = None
    """those of the related neurons that are not imported"""


def build_related(neuron: Neuron) -> RelatedSection | None:
    """Return the section; None where nothing was imported.

    One query for all related neurons, another where `related_set` was not fetched.
    """
    if not hasattr(neuron, "related_set"):
        return None
    related = packing.unpack_related(neuron.related_set.data)
    neurons = _neurons(neuron.model, related)
    return RelatedSection(
        by_activation=_by_activation(related),
        by_weight=_by_weight(related),
        neurons=neurons,
        missing=_find_missing(neuron.model, neurons or ()),
    )


def _find_missing(model: SubjectModel, groups: Iterable[NeuronGroup]) -> MissingNeurons | None:
    missing = {neuron_id for group in groups for neuron_id in group.missing}
    if not missing:
        return None
    return MissingNeurons(len(missing), import_command(model, (neuron_id.layer for neuron_id in missing)))


def _by_activation(related: Related) -> TokenGroup | None:
    tokens = related.tokens_by_activation
    return None if tokens is None else _token_group("Highest mean activation", tokens)


def _by_weight(related: Related) -> list[TokenGroup] | None:
    tokens = related.tokens_by_weight
    if tokens is None:
        return None
    return [
        _token_group("Input, positive", tokens.input_positive),
        _token_group("Input, negative", tokens.input_negative),
        _token_group("Output, positive", tokens.output_positive),
        _token_group("Output, negative", tokens.output_negative),
    ]


def _token_group(title: str, pairs: TokenValues) -> TokenGroup:
    tokens, values = _known(pairs)
    strongest = max(map(abs, values), default=0.0)
    opens, rests = markup.halves_of_elements(tokens, np.array(values), strongest)
    columns = (["<span>"] * len(values), opens, rests, _strengths(values, " {}</span> "))
    parts, first = markup.weave(*columns), FIRST_TOKENS * len(columns)
    # Safe: the markup of tokens is escaped, and the rest is numbers.
    return TokenGroup(
        title,
        SafeString("".join(parts[:first])),
        SafeString("".join(parts[first:])),
        max(0, len(values) - FIRST_TOKENS),
    )


def _known(pairs: TokenValues) -> tuple[Sequence[str], Sequence[float]]:
    """Return the tokens and values of those pairs that have both."""
    tokens, values = pairs.tokens, pairs.values
    if None in tokens or None in values:
        known = [(t, v) for t, v in zip(tokens, values, strict=True) if t is not None and v is not None]
        return [t for t, _ in known], [v for _, v in known]
    return cast(Sequence[str], tokens), cast(Sequence[float], values)


def _strengths(values: Sequence[float], around: str = "{}") -> list[str]:
    """Return strengths with three significant digits, noughts at the end kept, so that a list reads evenly."""
    if not values:
        return []
    if max(map(abs, values)) >= 100:
        lines = "\n".join(around.format(f"{v:#.3g}" if abs(v) < 100 else f"{v:,.0f}") for v in values)
    else:
        # All in one go: a page shows three hundred.
        lines = "\n".join([around.format("%#.3g")] * len(values)) % tuple(values)
    return lines.replace("-", "\u2212").split("\n")


_SIDES = (
    ("upstream_positive", "Upstream, positive"),
    ("upstream_negative", "Upstream, negative"),
    ("downstream_positive", "Downstream, positive"),
    ("downstream_negative", "Downstream, negative"),
)


def _neurons(model: SubjectModel, related: Related) -> list[NeuronGroup] | None:
    if related.neurons is None:
        return None
    sides = [(title, getattr(related.neurons, name)) for name, title in _SIDES]
    places = {(n.layer, n.index) for _, side in sides if side is not None for n in side.neurons}
    known = _find_headlines(model, places)
    return [
        NeuronGroup(
            title,
            _rows(model, side, known),
            frozenset(n for n in side.neurons if (n.layer, n.index) not in known),
        )
        for title, side in sides
        if side is not None
    ]


def _rows(model: SubjectModel, side: NeuronWeights, known: Mapping[Place, Headline]) -> SafeString:
    """Return a table's rows, made here and not in a template's loop: a page has forty of them."""
    address = escape(pattern("neuron", model.slug, numbers=2))
    row = f'<tr><td><a href="{address}">%d:%d</a></td><td class="number weight">%s</td>%s</tr>\n'
    places = [(n.layer, n.index) for n in side.neurons]
    rows = [
        row % (*place, *place, strength, _headline_cells(known.get(place)))
        for place, strength in zip(places, _strengths(side.weights), strict=True)
    ]
    return SafeString("".join(rows))  # addresses and texts are escaped, the rest is numbers


def _headline_cells(known: Headline | None) -> str:
    if known is None:
        return '<td class="muted" colspan="2">not imported</td>'
    if not known.text:
        return '<td class="muted" colspan="2">no explanation</td>'
    return f'<td class="text">{escape(known.text)}</td><td class="number">{score_bar(known.score)}</td>'


def _find_headlines(model: SubjectModel, wanted: Iterable[Place]) -> dict[Place, Headline]:
    """Return the headlines of those of these neurons that are imported. One query, of an index seek a neuron.

    In SQL, since the ORM takes longer to build this condition of forty neurons than databases take to answer it. The
    list comes first in a CROSS JOIN, since SQLite would else read the whole model and look each neuron up in the list.
    """
    places = sorted(wanted)
    if not places:
        return {}
    table = connection.ops.quote_name(Neuron._meta.db_table)
    sql = (
        f"WITH wanted(layer, place) AS (VALUES {', '.join(['(%s, %s)'] * len(places))})"  # noqa: S608
        f' SELECT n.layer, n."index", n.headline_text, n.headline_score FROM wanted CROSS JOIN {table} n'
        ' WHERE n.model_id = %s AND n.layer = wanted.layer AND n."index" = wanted.place'
    )
    with connection.cursor() as cursor:
        cursor.execute(sql, [*chain.from_iterable(places), model.pk])
        return {(layer, index): Headline(text, score) for layer, index, text, score in cursor.fetchall()}
