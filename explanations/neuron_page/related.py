"""Related tokens and neurons of a neuron, with what is known of those neurons."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from html import escape
from itertools import chain, islice
from typing import cast

import msgspec
import numpy as np
from django.db import connection
from django.utils.safestring import SafeString

from explanations import tokens as markup
from explanations.addresses import pattern
from explanations.import_commands import import_command
from explanations.models import Neuron, SubjectModel
from explanations.neuron_page.elements import escape_all
from explanations.pipeline import packing
from explanations.pipeline.records import NeuronId, NeuronWeights, Related, TokenValues
from explanations.prepared import number_list, prepared_cursor
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


class RelatedSection(msgspec.Struct, frozen=True):
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
    by_activation, by_weight = _token_groups(related)
    neurons = _neurons(neuron.model, related)
    return RelatedSection(
        by_activation=by_activation,
        by_weight=by_weight,
        neurons=neurons,
        missing=_find_missing(neuron.model, neurons or ()),
    )


def _find_missing(model: SubjectModel, groups: Iterable[NeuronGroup]) -> MissingNeurons | None:
    missing = {neuron_id for group in groups for neuron_id in group.missing}
    if not missing:
        return None
    return MissingNeurons(len(missing), import_command(model, (neuron_id.layer for neuron_id in missing)))


def _token_groups(related: Related) -> tuple[TokenGroup | None, Sequence[TokenGroup] | None]:
    """Return the tokens by activation and by weight; all are drawn at once."""
    by_activation, by_weight = related.tokens_by_activation, related.tokens_by_weight
    titled = [] if by_activation is None else [("Highest mean activation", by_activation)]
    if by_weight is not None:
        titled += [
            ("Input, positive", by_weight.input_positive),
            ("Input, negative", by_weight.input_negative),
            ("Output, positive", by_weight.output_positive),
            ("Output, negative", by_weight.output_negative),
        ]
    groups = _draw_tokens(titled)
    return None if by_activation is None else next(groups), None if by_weight is None else list(groups)


def _draw_tokens(titled: Sequence[tuple[str, TokenValues]]) -> Iterator[TokenGroup]:
    known = [_known(pairs) for _, pairs in titled]
    strongest = [max(map(abs, values), default=0.0) for _, values in known]
    opened = markup.opened_parts([np.array(values) for _, values in known], strongest)
    strengths = iter(_strengths([value for _, values in known for value in values], " {}</span> "))
    for (title, _), (tokens, _), opens in zip(titled, known, opened, strict=True):
        written = list(islice(strengths, len(tokens)))
        first, rest = (_draw(tokens[part], opens[part], written[part]) for part in (_FIRST, _REST))
        yield TokenGroup(title, first, rest, max(0, len(tokens) - FIRST_TOKENS))


_FIRST, _REST = slice(FIRST_TOKENS), slice(FIRST_TOKENS, None)


def _draw(tokens: Sequence[str], opens: Sequence[str], strengths: Sequence[str]) -> SafeString:
    columns = markup.weave(["<span>"] * len(tokens), opens, markup.rests(tokens), strengths)
    return SafeString("".join(columns))  # the markup of tokens is escaped, and the rest is numbers


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
    sides = [(title, side) for name, title in _SIDES if (side := getattr(related.neurons, name)) is not None]
    known = _find_headline_cells(model, {_number(n) for _, side in sides for n in side.neurons})
    rows = iter(_rows(model, [side for _, side in sides], known))
    return [
        NeuronGroup(
            title,
            # Safe: addresses and texts are escaped, the rest is numbers.
            SafeString("".join(islice(rows, len(side.neurons)))),
            frozenset(n for n in side.neurons if _number(n) not in known),
        )
        for title, side in sides
    ]


def _rows(model: SubjectModel, sides: Sequence[NeuronWeights], cells: Mapping[int, str]) -> list[str]:
    """Return the tables' rows, made here and not in a template's loop: a page has forty of them."""
    address = escape(pattern("neuron", model.slug, numbers=2))
    row = f'<tr><td><a href="{address}">%d:%d</a></td><td class="number weight">%s</td>%s</tr>\n'
    strengths = _strengths([weight for side in sides for weight in side.weights])
    return [
        row % (n.layer, n.index, n.layer, n.index, strength, cells.get(_number(n), _NOT_IMPORTED))
        for n, strength in zip(chain.from_iterable(side.neurons for side in sides), strengths, strict=True)
    ]


def _number(neuron_id: NeuronId) -> int:
    """Return a place as one number, in the order of the index."""
    return neuron_id.layer << 32 | neuron_id.index


_NOT_IMPORTED = '<td class="muted" colspan="2">not imported</td>'
_NO_EXPLANATION = '<td class="muted" colspan="2">no explanation</td>'


def _find_headline_cells(model: SubjectModel, wanted: Collection[int]) -> dict[int, str]:
    """Return the cells that tell what each of these neurons is said to do, without those that are not imported.

    One query, of an index seek a neuron. In SQL, since the ORM takes longer to build this condition of forty neurons
    than databases take to answer it. Their list comes first in a CROSS JOIN, since SQLite would else read the whole
    model and look each neuron up in the list.
    """
    if not wanted:
        return {}
    table = connection.ops.quote_name(Neuron._meta.db_table)
    source, listed = number_list(connection.vendor, sorted(wanted))
    sql = (
        f"SELECT wanted.value, n.headline_text, n.headline_score FROM {source} CROSS JOIN {table} n"  # noqa: S608
        ' WHERE n.model_id = %s AND n.layer = wanted.value >> 32 AND n."index" = wanted.value & 4294967295'
    )
    with prepared_cursor(connection) as cursor:
        cursor.execute(sql, [listed, model.pk])
        found = cursor.fetchall()
    texts = escape_all([text for _, text, _ in found])
    return {
        number: f'<td class="text">{text}</td><td class="number">{score_bar(score)}</td>' if text else _NO_EXPLANATION
        for (number, _, score), text in zip(found, texts, strict=True)
    }
