"""Related tokens and neurons of a neuron, with what is known of those neurons."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate, islice, pairwise
from typing import cast

import msgspec
import numpy as np
from django.db import DEFAULT_DB_ALIAS, connections
from django.utils.safestring import SafeString

from explanations import tokens as markup
from explanations.addresses import pattern
from explanations.escaping import escape, escape_all
from explanations.import_commands import import_command
from explanations.models import Neuron, SubjectModel
from explanations.pipeline import packing
from explanations.pipeline.packing import NeuronColumns, RelatedColumns, TokenColumns
from explanations.pipeline.records import NeuronId
from explanations.statements import LARGEST, Question, number_list
from explanations.templatetags.neurons import score_bar

FIRST_TOKENS = 20
"""Tokens of a list that are seen before it is opened."""


class TokenGroup(msgspec.Struct, frozen=True):
    """A list of tokens with their strengths, strongest first."""

    title: str
    first: SafeString
    rest: SafeString
    rest_count: int


class NeuronGroup(msgspec.Struct, frozen=True):
    """Related neurons on one side with one sign."""

    title: str
    rows: SafeString
    """of a table: place, strength, and what is known of each; empty where there is none"""
    missing: frozenset[NeuronId]
    """those that are not imported"""


class MissingNeurons(msgspec.Struct, frozen=True):
    """Related neurons that are not imported."""

    count: int
    command: str
    """what imports their layers"""


class RelatedTokens(msgspec.Struct, frozen=True):
    """A neuron's related tokens, drawn; None is a kind that was not imported."""

    by_activation: TokenGroup | None
    by_weight: Sequence[TokenGroup] | None


class RelatedSection(msgspec.Struct, frozen=True):
    """All that is known of a neuron's surroundings; None is a kind that was not imported."""

    by_activation: TokenGroup | None
    by_weight: Sequence[TokenGroup] | None
    neurons: Sequence[NeuronGroup] | None
    missing: MissingNeurons | None = None
    """those of the related neurons that are not imported"""


def read_related(neuron: Neuron) -> RelatedColumns | None:
    """Return what is stored; None where nothing was imported. One query where `related_set` was not fetched."""
    return packing.read_related(neuron.related_set.data) if hasattr(neuron, "related_set") else None


def build_related(
    model: SubjectModel, related: RelatedColumns | None, tokens: RelatedTokens, cells: Mapping[int, str]
) -> RelatedSection | None:
    """Return the section of what `draw_related_tokens` drew and `headline_cells_of` asked for; None of nothing."""
    if related is None:
        return None
    neurons = None if related.neurons is None else _neurons(model, related.neurons, cells)
    return RelatedSection(
        by_activation=tokens.by_activation,
        by_weight=tokens.by_weight,
        neurons=neurons,
        missing=_find_missing(model, neurons or ()),
    )


def _find_missing(model: SubjectModel, groups: Iterable[NeuronGroup]) -> MissingNeurons | None:
    missing = {neuron_id for group in groups for neuron_id in group.missing}
    if not missing:
        return None
    return MissingNeurons(len(missing), import_command(model, (neuron_id.layer for neuron_id in missing)))


# Tokens

_BY_WEIGHT = ("Input, positive", "Input, negative", "Output, positive", "Output, negative")


def draw_related_tokens(related: RelatedColumns | None) -> RelatedTokens:
    """Return the tokens by activation and by weight; all are drawn at once."""
    if related is None:
        return RelatedTokens(None, None)
    by_activation, by_weight = related.tokens_by_activation, related.tokens_by_weight
    titled = [] if by_activation is None else [("Highest mean activation", by_activation)]
    if by_weight is not None:
        titled += zip(_BY_WEIGHT, by_weight, strict=True)
    groups = iter(_draw_tokens(titled))
    return RelatedTokens(
        by_activation=None if by_activation is None else next(groups),
        by_weight=None if by_weight is None else list(groups),
    )


def _draw_tokens(titled: Sequence[tuple[str, TokenColumns]]) -> list[TokenGroup]:
    if not titled:
        return []
    tokens = [token for _, columns in titled for token in columns.tokens]
    values = np.concatenate([columns.values for _, columns in titled]).astype(np.float64)
    if None in tokens or np.isnan(values).any():
        return _draw_tokens([(title, _known(columns)) for title, columns in titled])
    numbers, ends = values.tolist(), list(accumulate(len(columns.tokens) for _, columns in titled))
    strongest = [max(map(abs, numbers[start:end]), default=0.0) or 1.0 for start, end in pairwise([0, *ends])]
    scales = np.repeat(strongest, [len(columns.tokens) for _, columns in titled])
    opens = markup.opened(values, scales, before="<span>")
    drawn = markup.weave(opens, markup.rests(cast(list[str], tokens)), _strengths(numbers, " {}</span> "))
    return [
        _group(title, drawn[start * _PIECES : end * _PIECES])
        for (title, _), (start, end) in zip(titled, pairwise([0, *ends]), strict=True)
    ]


def _known(columns: TokenColumns) -> TokenColumns:
    """Return the tokens and values of those pairs that have both."""
    places = [place for place, token in enumerate(columns.tokens) if token is not None]
    places = [place for place in places if not np.isnan(columns.values[place])]
    return TokenColumns([columns.tokens[place] for place in places], columns.values[places])


_PIECES = 3
"""A token is drawn in so many."""
_FIRST, _REST = slice(FIRST_TOKENS * _PIECES), slice(FIRST_TOKENS * _PIECES, None)


def _group(title: str, drawn: Sequence[str]) -> TokenGroup:
    # Safe: the markup of tokens is escaped, and the rest is numbers.
    first, rest = (SafeString("".join(drawn[part])) for part in (_FIRST, _REST))
    return TokenGroup(title, first, rest, max(0, len(drawn) // _PIECES - FIRST_TOKENS))


def _strengths(values: Sequence[float], around: str = "{}") -> list[str]:
    """Return strengths as markup, with three significant digits, noughts at the end kept: so a list reads evenly."""
    if not values:
        return []
    if max(map(abs, values)) >= 100:
        lines = "\n".join(around.format(f"{v:#.3g}" if abs(v) < 100 else f"{v:,.0f}") for v in values)
    else:
        # All in one go: a page shows three hundred.
        lines = "\n".join([around.format("%#.3g")] * len(values)) % tuple(values)
    # The minus by its name: as itself it would make the text around it wide, which is slower to join and to encode.
    return lines.replace("-", "&minus;").split("\n")


# Neurons

_SIDES = ("Upstream, positive", "Upstream, negative", "Downstream, positive", "Downstream, negative")


def _neurons(model: SubjectModel, sides: Sequence[NeuronColumns | None], cells: Mapping[int, str]) -> list[NeuronGroup]:
    titled = [(title, side) for title, side in zip(_SIDES, sides, strict=True) if side is not None]
    rows = iter(_rows(model, [side for _, side in titled], cells))
    return [
        NeuronGroup(
            title,
            # Safe: addresses and texts are escaped, the rest is numbers.
            SafeString("".join(islice(rows, len(side.places)))),
            frozenset(packing.place_of(place) for place in side.places if place not in cells),
        )
        for title, side in titled
    ]


def _rows(model: SubjectModel, sides: Sequence[NeuronColumns], cells: Mapping[int, str]) -> list[str]:
    """Return the tables' rows, made here and not in a template's loop: a page has forty of them."""
    address = escape(pattern("neuron", model.slug, numbers=2))
    row = f'<tr><td><a href="{address}">%d:%d</a></td><td class="number weight">%s</td>%s</tr>\n'
    places = [place for side in sides for place in side.places]
    strengths = _strengths([weight for side in sides for weight in side.weights])
    return [
        row % (layer := place & _LAYER, index := place >> 32, layer, index, strength, cells.get(place, _NOT_IMPORTED))
        for place, strength in zip(places, strengths, strict=True)
    ]


_LAYER = 0xFFFFFFFF
"""The bits of a place that are the neuron's layer."""
_NOT_IMPORTED = '<td class="muted" colspan="2">not imported</td>'
_NO_EXPLANATION = '<td class="muted" colspan="2">no explanation</td>'


def headline_cells_of(model: SubjectModel, related: RelatedColumns | None) -> Question[dict[int, str]]:
    """Return the question for the cells that tell what related neurons are said to do, by place, without those that are
    not imported.

    One index seek a neuron. In SQL, since the ORM takes longer to build this condition of forty neurons than databases
    take to answer it. Their list comes first in a CROSS JOIN, since SQLite would else read the whole model and look
    each neuron up in the list.
    """
    sides = (related.neurons if related else None) or ()
    wanted = {place for side in sides if side is not None for place in side.places if place <= LARGEST}
    if not wanted:
        return Question.known({})
    database = connections[DEFAULT_DB_ALIAS]
    table = database.ops.quote_name(Neuron._meta.db_table)
    source, listed = number_list(database.vendor, wanted)
    sql = (
        f"SELECT wanted.value, n.headline_text, n.headline_score FROM {source} CROSS JOIN {table} n"  # noqa: S608
        f' WHERE n.model_id = %s AND n.layer = wanted.value & {_LAYER} AND n."index" = wanted.value >> 32'
    )
    return Question(sql, [listed, model.pk], _headline_cells)


def _headline_cells(found: Sequence[tuple[int, str, float | None]]) -> dict[int, str]:
    texts = escape_all([text for _, text, _ in found])
    return {
        place: f'<td class="text">{text}</td><td class="number">{score_bar(score)}</td>' if text else _NO_EXPLANATION
        for (place, _, score), text in zip(found, texts, strict=True)
    }
