"""A transformer's computations on rows of token ids: batched, with what rows share at their beginning computed once.

Rows of different lengths are padded on the right: attention looks back only, so no token sees padding before it; what
is written after the padding is masked from it, and positions are given explicitly.
"""

from __future__ import annotations

import inspect
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from transformers import DynamicCache

if TYPE_CHECKING:
    from torch import Tensor

Ids: TypeAlias = list[int]
KeysAndValues: TypeAlias = "list[tuple[Tensor | None, Tensor | None]]"

SHORTEST_PREFIX = 24
"""tokens below which sharing a beginning is not worth a pass of its own"""
KEPT_ROWS, KEPT_ROW_BYTES = 8, 2**28
"""scored rows that are remembered at most, and what their keys and values may take"""
SHORT_REST, MUCH_KNOWN = 16, 64
"""a row goes through alone where at most so many tokens of it are new, and so many more are known than of its batch"""
SEGMENT = 1024
"""tokens that one pass takes, so that a long prompt's logits do not fill the memory"""
BATCH_LOGITS = 2**27
"""logits that one pass may return: half a gigabyte in single precision"""


@dataclass(slots=True)
class Prefix:
    """The beginning of some rows, with the attention's keys and values there."""

    ids: Ids
    keys_and_values: KeysAndValues
    """a layer: [1, head, pos, d_head] each; None where a layer uses another's"""

    def cut(self, length: int) -> Prefix:
        kept = [
            (None, None) if keys is None or values is None else (keys[:, :, :length], values[:, :, :length])
            for keys, values in self.keys_and_values
        ]
        return Prefix(self.ids[:length], kept)

    def cache(self, rows: int) -> Any:
        """Return a cache that begins with this for so many rows, and can be written to."""
        return DynamicCache(
            [
                (None, None) if keys is None or values is None else (repeated(keys, rows), repeated(values, rows))
                for keys, values in self.keys_and_values
            ]
            or None
        )


def repeated(tensor: Tensor, rows: int) -> Tensor:
    return tensor.expand(rows, -1, -1, -1)  # [rows, head, pos, d_head], no copy: the cache copies when it grows


def one(tensor: Tensor | None, row: int) -> Tensor | None:
    return None if tensor is None else tensor[row : row + 1]


NO_PREFIX = Prefix([], [])


class Transformer:
    """A causal transformer, with the beginnings of the last rows remembered."""

    def __init__(self, model: Any, *, batch_tokens: int = 16_384, batch_rows: int = 32, kept_prefixes: int = 2) -> None:
        self.model = model
        self.batch_tokens = batch_tokens
        self.batch_rows = batch_rows
        self.kept_prefixes = kept_prefixes
        self.vocabulary = int(model.get_output_embeddings().weight.shape[0])
        self._prefixes: list[Prefix] = []  # the one used last comes last
        self._rows: list[Prefix] = []  # those scored last: what would follow some token of one takes that token alone
        arguments = inspect.signature(model.forward).parameters
        self._takes_positions = "position_ids" in arguments
        self._chooses_logits = "logits_to_keep" in arguments
        # Newer releases of transformers call it so, and warn of the old name.
        self._cache_name = "cache" if "cache" in arguments else "past_key_values"

    def batches(self, rows: Sequence[Ids], firsts: Sequence[int] | None = None) -> Iterator[list[int]]:
        """Yield places of rows that go through the model together: of like lengths, and not too much at once.

        `firsts`, of rows to be scored: the first position of each whose logits are wanted.
        """
        batch: list[int] = []
        for place in sorted(range(len(rows)), key=lambda place: len(rows[place])):
            if firsts is not None and self._scored_before(rows[place], firsts[place]):
                yield [place]
                continue
            length = len(rows[place])
            too_much = (len(batch) + 1) * length > self.batch_tokens or len(batch) == self.batch_rows
            if batch and (too_much or not (self._takes_positions or length == len(rows[batch[0]]))):
                yield batch
                batch = []
            batch.append(place)
        if batch:
            yield batch

    def logits(self, rows: Sequence[Ids], wanted: Sequence[Sequence[int]]) -> Iterator[tuple[int, list[int], Tensor]]:
        """Yield (row, positions, logits there [position, vocabulary]) until all that are wanted have been.

        The logits at a position are what the model expects next.
        """
        first = min(positions[0] for positions in wanted if positions)
        known = self._scored_before(rows[0], first) if len(rows) == 1 else None
        prefix = known or self.prefix(rows, limit=first)
        cache, start = prefix.cache(len(rows)), len(prefix.ids)
        padded = pad(rows, self.model.device)  # [batch, pos]
        longest = max(positions[-1] for positions in wanted if positions) + 1
        step = max(1, min(SEGMENT, BATCH_LOGITS // (len(rows) * self.vocabulary)))
        for begin in range(start, longest, step):
            end = min(begin + step, longest)
            here = [[position for position in positions if begin <= position < end] for positions in wanted]
            kept = sorted({position for positions in here for position in positions})
            out = self.forward(padded[:, begin:end], cache, [position - begin for position in kept] or [0])
            for row, positions in enumerate(here):
                if positions:
                    columns = [bisect_left(kept, position) for position in positions]
                    yield row, positions, out[row, columns].float()  # [position, vocabulary]
        if longest - start >= MUCH_KNOWN:
            self._remember_rows(rows, cache, longest)

    def generate(self, rows: Sequence[Ids], choose: Sequence[Callable[[Tensor], int | None]]) -> None:
        """Write on after each row: its own `choose(logits)` returns the next token, or None when the row is done."""
        prefix = self.prefix(rows, limit=min(map(len, rows)) - 1)
        cache, start = prefix.cache(len(rows)), len(prefix.ids)
        padded = pad(rows, self.model.device)  # [batch, pos]
        lengths = torch.tensor([len(row) for row in rows], device=self.model.device)
        mask = (torch.arange(padded.shape[1], device=self.model.device) < lengths[:, None]).long()  # [batch, pos]
        last = sorted({len(row) - 1 - start for row in rows})
        out = self.forward(padded[:, start:], cache, last)  # [batch, last, vocabulary]
        logits = [out[i, last.index(len(row) - 1 - start)].float() for i, row in enumerate(rows)]
        going = dict.fromkeys(range(len(rows)))
        written = 0
        while True:
            tokens = [choose[i](logits[i]) if i in going else None for i in range(len(rows))]
            going = {i: None for i in going if tokens[i] is not None}
            if not going:
                return
            mask = torch.cat([mask, torch.ones_like(mask[:, :1])], dim=1)  # [batch, pos + 1]
            ids = torch.tensor([[token or 0] for token in tokens], device=self.model.device)  # [batch, 1]
            logits = list(self.forward(ids, cache, [0], mask, lengths[:, None] + written)[:, 0].float())
            written += 1

    def prefix(self, rows: Sequence[Ids], limit: int) -> Prefix:
        """Return what all rows begin with, up to `limit` tokens, remembered or computed now. It may be empty."""
        length = min(common_length(rows), limit)
        ids = rows[0][:length]
        known = max(self._prefixes, key=lambda prefix: common_length([prefix.ids, ids]), default=NO_PREFIX)
        shared = common_length([known.ids, ids])
        if shared * len(rows) < SHORTEST_PREFIX:
            known, shared = NO_PREFIX, 0
        # Many rows are worth a pass for a short beginning too: each is spared it.
        if (length - shared) * max(1, len(rows) - 1) < SHORTEST_PREFIX:
            self._remember(known, known)
            return known.cut(shared)
        longer = self.extended(known.cut(shared), ids)
        # A beginning that only goes on elsewhere replaces the one it was made from; another is kept beside it.
        self._remember(longer, known if shared * 2 >= len(known.ids) else NO_PREFIX)
        return longer

    def extended(self, prefix: Prefix, ids: Ids) -> Prefix:
        """Return the prefix of these tokens, of which `prefix` is the beginning."""
        cache = prefix.cache(1)
        row = torch.tensor([ids], device=self.model.device)  # [1, pos]
        for begin in range(len(prefix.ids), len(ids), SEGMENT):
            self.forward(row[:, begin : begin + SEGMENT], cache, [0])
        return Prefix(ids, [(layer.keys, layer.values) for layer in cache.layers])

    def _scored_before(self, row: Ids, first: int) -> Prefix | None:
        """Return the row's beginning up to `first`, where a remembered row spares it nearly all work; None if not."""
        kept = max(self._rows, key=lambda kept: common_length([kept.ids, row]), default=NO_PREFIX)
        known = min(common_length([kept.ids, row]), first)
        shared = max((common_length([prefix.ids, row]) for prefix in self._prefixes), default=0)
        return kept.cut(known) if len(row) - known <= SHORT_REST and known - shared >= MUCH_KNOWN else None

    def _remember_rows(self, rows: Sequence[Ids], cache: Any, computed: int) -> None:
        """Remember the rows, of which `computed` tokens are in the cache, in the place of those before."""
        layers = [(layer.keys, layer.values) for layer in cache.layers]  # [row, head, pos, d_head] each
        size = sum(part.element_size() * part.nelement() for layer in layers for part in layer if part is not None)
        is_kept = self.kept_prefixes and len(rows) <= KEPT_ROWS and size <= KEPT_ROW_BYTES
        self._rows = [
            Prefix(row[:computed], [(one(keys, i), one(values, i)) for keys, values in layers])
            for i, row in enumerate(rows if is_kept else ())
        ]

    def _remember(self, prefix: Prefix, instead_of: Prefix) -> None:
        if self.kept_prefixes and prefix.ids:
            self._prefixes = [kept for kept in self._prefixes if kept is not prefix and kept is not instead_of]
            self._prefixes = [*self._prefixes, prefix][-self.kept_prefixes :]

    def forward(
        self, ids: Tensor, cache: Any, kept: list[int], mask: Tensor | None = None, positions: Tensor | None = None
    ) -> Tensor:
        """Return the logits [batch, kept, vocabulary] of `ids` [batch, pos], and write them into the cache."""
        options: dict[str, Any] = {self._cache_name: cache}
        if mask is not None:
            options["attention_mask"] = mask
        if positions is not None and self._takes_positions:
            options["position_ids"] = positions
        if self._chooses_logits:
            options["logits_to_keep"] = torch.tensor(kept, device=ids.device)
        with torch.inference_mode():
            out = self.model(ids, use_cache=True, **options).logits
        return out if self._chooses_logits else out[:, kept]


def common_length(rows: Sequence[Ids]) -> int:
    """Return how many tokens all rows begin with."""
    shortest, longest = min(rows), max(rows)  # in the order of lists: what these two share, all share
    pairs = enumerate(zip(shortest, longest, strict=False))
    return next((place for place, (a, b) in pairs if a != b), min(len(shortest), len(longest)))


def pad(rows: Sequence[Ids], device: Any) -> Tensor:
    """Return the rows, filled up on the right with token 0."""
    length = max(map(len, rows))
    return torch.tensor([[*row, *[0] * (length - len(row))] for row in rows], device=device)  # [batch, pos]
