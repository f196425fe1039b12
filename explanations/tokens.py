"""How tokens and their values are drawn: what the eye would miss made visible, and a shade by value.

A page shows thousands of tokens, so each is one short element, made here and not in a template loop:
`<b class=p7>token</b>`. The class is the value's shade (`records.shade`); the exact values stand once an excerpt, in a
data attribute. A token that is not shown as it is carries its escaped form (`data-e`).
"""

from __future__ import annotations

import json
import re
import unicodedata
from binascii import b2a_base64
from collections.abc import Iterable, Iterator, Sequence, Sized
from functools import lru_cache
from itertools import accumulate, chain, pairwise
from typing import TypeAlias, TypeVar

import numpy as np
from django.utils.safestring import SafeString

from explanations.escaping import escape, in_ascii
from explanations.pipeline.records import LEVELS, Floats

EMPTY = "∅"
_MARKS = {"\n": "↵", "\t": "⇥", "\r": "␍", "\u00a0": "⍽", "\u007f": "␡"}
_BLANK_LETTERS = frozenset("\u115f\u1160\u2800\u3164\uffa0")
"""Characters that count as printable and show nothing."""
_CARRIER = "◌"
_BETWEEN = "\0"
"""Stands between tokens that are escaped together: hardly any holds it."""
_PLAIN = bytes(range(ord(" "), ord("~") + 1))
"""What shows itself; of the rest, not all does not."""
_ODD = re.compile(rb"[^\0]+")

Pieces: TypeAlias = list[str]
"""Safe markup that is still to be joined, with what it will stand in: so a page's excerpts are not copied thrice."""
_Together = TypeVar("_Together", list[str], Floats)

DIFFERS = 3
"""Levels between real and simulated from which a page makes the difference stand out."""


def is_plain(character: str) -> bool:
    """Return whether a character shows itself: no control, no blank but the space, no half of a surrogate pair."""
    return character.isprintable() and character not in _BLANK_LETTERS


def mark_of(character: str) -> str:
    """Return what stands for a character that does not show itself: a sign, or its escape."""
    if character in _MARKS:
        return _MARKS[character]
    code = ord(character)
    if code < 0x20:
        return chr(0x2400 + code)
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def carrier_for(token: str) -> str:
    """Return a dotted circle for a token that begins with a combining mark: it would sit on the token before."""
    return _CARRIER if unicodedata.category(token[0]).startswith("M") else ""


def visible_token(token: str) -> str:
    """Return the token with what the eye would miss made visible: line breaks, tabs, control and odd characters.

    A space stays a space, since the line is set with its white space kept. The text never breaks the line, never turns
    its direction, and can always be encoded.
    """
    if not token:
        return EMPTY
    return carrier_for(token) + "".join(c if is_plain(c) else mark_of(c) for c in token)


def escaped_token(token: str) -> str:
    """Return the token as a string literal writes it, in ASCII, without the quotes."""
    return json.dumps(token)[1:-1]


@lru_cache(maxsize=1 << 16)
def _rest_of_element(token: str) -> str:
    """Return a token's element from the end of its class on: `>text</b>`, with the escaped form where they differ."""
    if token and token.isprintable() and _BLANK_LETTERS.isdisjoint(token) and not carrier_for(token):
        return in_ascii(f">{escape(token)}</b>")
    shown = "".join(escape(c) if is_plain(c) else f"<i>{escape(mark_of(c))}</i>" for c in token)
    text = carrier_for(token) + shown if token else f"<i>{EMPTY}</i>"
    return in_ascii(f' data-e="{escape(escaped_token(token))}">{text}</b>')


def rests(tokens: Sequence[str]) -> list[str]:
    """Return each token's element from the end of its class on.

    All are escaped at once, and those that may not show themselves are made anew: a page has a thousand tokens, and
    even looking each up takes as long.
    """
    together = _BETWEEN.join(tokens)
    rests = f">{in_ascii(escape(together))}</b>".replace(_BETWEEN, f"</b>{_BETWEEN}>").split(_BETWEEN)
    if len(rests) != len(tokens):
        return list(map(_rest_of_element, tokens))
    for place in _odd_places(together):
        rests[place] = _rest_of_element(tokens[place])
    return rests


def _rests_of(texts: Sequence[Sequence[str]]) -> list[list[str]]:
    """Return what `rests` does for each of these texts, all at once."""
    return _cut(rests(list(chain.from_iterable(texts))), texts)


def _odd_places(together: str) -> Iterator[int]:
    """Yield the places of those among joined tokens that may not show themselves: empty ones, and others than ASCII."""
    if _BETWEEN * 2 in f"{_BETWEEN}{together}{_BETWEEN}":
        yield from (place for place, token in enumerate(together.split(_BETWEEN)) if not token)
    odd = together.encode("utf-8", "surrogatepass").translate(None, _PLAIN)
    for found in _ODD.finditer(odd):
        yield odd.count(_BETWEEN.encode(), 0, found.start())


def scale_of(values: Iterable[Floats]) -> float:
    """Return what shades are relative to: the highest value; where none is positive, the largest magnitude."""
    filled = [v for v in values if len(v)]
    highest = max((float(v.max()) for v in filled), default=0.0)
    return highest if highest > 0 else max((-float(v.min()) for v in filled), default=0.0)


def signed_shades(values: Floats, maximum: float) -> np.ndarray:
    """Return shades as integers [same shape]: 0 for zero, k + 1 for "p{k}", -(k + 1) for "n{k}" of `records.shade`."""
    if not maximum > 0:
        return np.zeros(values.shape, dtype=np.int64)
    return _shades(values, maximum)


def _shades(values: Floats, maxima: Floats | float) -> np.ndarray:
    # What becomes whole loses its fraction towards zero: magnitudes are floored.
    levels: np.ndarray = np.clip(values / maxima * LEVELS, -LEVELS, LEVELS).astype(np.int64)
    return levels + np.sign(values).astype(np.int64)


def _names(positive: str, negative: str) -> list[str]:
    """Return the class names for shades 0 to 11, then -11 to -1, so that a negative shade indexes from the end."""
    levels = range(LEVELS + 1)
    return ["", *(f"{positive}{k}" for k in levels), *(f"{negative}{k}" for k in reversed(levels))]


def _open_with(*names: str) -> str:
    classes = " ".join(filter(None, names))
    return f'<b class="{classes}"' if classes else "<b"


_SHADE_NAMES = _names("p", "n")
_OPEN = [f"<b class={name}" if name else "<b" for name in _SHADE_NAMES]
_SHADES = [*range(LEVELS + 2), *range(-LEVELS - 1, 0)]
_OPEN_PAIR = {
    (real, simulated, differs): _open_with(real_name, simulated_name, "d" if differs else "")
    for real, real_name in zip(_SHADES, _SHADE_NAMES, strict=True)
    for simulated, simulated_name in zip(_SHADES, _names("s", "t"), strict=True)
    for differs in (False, True)
}


def shaded(tokens: Sequence[str], values: Floats, maximum: float) -> SafeString:
    """Return tokens as elements, each shaded by its value relative to `maximum`."""
    return _joined(*shaded_texts([tokens], [values], [maximum]))


def shaded_texts(texts: Sequence[Sequence[str]], values: Sequence[Floats], maxima: Sequence[float]) -> list[Pieces]:
    """Return what `shaded` does for each of these texts, all at once. One that is there twice is escaped once."""
    distinct = {id(text): text for text in texts}
    rests = dict(zip(distinct, _rests_of(list(distinct.values())), strict=True))
    opened = opened_parts(values, maxima)
    return [weave(opens, rests[id(text)]) for text, opens in zip(texts, opened, strict=True)]


def overlaid(
    tokens: Sequence[str], real: Floats, simulated: Floats, *, real_maximum: float, simulated_maximum: float
) -> Pieces:
    """Return tokens as elements that carry both shades: real ("p", "n") and simulated ("s", "t").

    Those whose levels, both floored at zero, differ by `DIFFERS` or more carry "d".
    """
    shades = signed_shades(real, real_maximum), signed_shades(simulated, simulated_maximum)
    apart = np.abs(np.maximum(shades[0] - 1, 0) - np.maximum(shades[1] - 1, 0)) >= DIFFERS
    keys = zip(shades[0].tolist(), shades[1].tolist(), apart.tolist(), strict=True)
    return weave(list(map(_OPEN_PAIR.__getitem__, keys)), rests(tokens))


def shaded_by_level(pairs: Iterable[tuple[str, int]]) -> SafeString:
    """Return (token, level 0 to 10) pairs as elements; level 0 has no shade."""
    pairs = list(pairs)
    opens = [_OPEN[level + 1] if level else _OPEN[0] for _, level in pairs]
    return _joined(weave(opens, rests([token for token, _ in pairs])))


def opened_parts(parts: Sequence[Floats], maxima: Sequence[float]) -> list[list[str]]:
    """Return the beginnings of elements, by each part's values relative to its maximum.

    All at once: numpy's cost a call is more than that of an excerpt's numbers.
    """
    if not parts:
        return []
    values = np.concatenate([v if most > 0 else np.zeros(len(v)) for v, most in zip(parts, maxima, strict=True)])
    scales = np.repeat([most if most > 0 else 1.0 for most in maxima], list(map(len, parts)))
    return _cut(opened(values, scales), parts)


def opened(values: Floats, scales: Floats | float, before: str = "") -> list[str]:
    """Return the beginnings of elements by values relative to positive `scales`, with `before` before each."""
    found: list[str] = _opens(before)[_shades(values, scales)].tolist()
    return found


@lru_cache(maxsize=8)
def _opens(before: str) -> np.ndarray:
    return np.array([before + opening for opening in _OPEN], dtype=object)


def _cut(together: _Together, parts: Sequence[Sized]) -> list[_Together]:
    """Return what belongs to each of the parts that were concatenated."""
    ends = list(accumulate(map(len, parts), initial=0))
    return [together[start:end] for start, end in pairwise(ends)]


def _joined(pieces: Pieces) -> SafeString:
    return SafeString("".join(pieces))  # every token was escaped in `rests`


def weave(*columns: Sequence[str]) -> Pieces:
    """Return the columns' first entries, then their second ones, ... ValueError where they are not equally long."""
    parts = [""] * (len(columns) * len(columns[0]))
    for place, column in enumerate(columns):
        parts[place :: len(columns)] = column
    return parts


def written_values(values: Floats) -> str:
    """Return values as an attribute holds them, in base64: as single-precision numbers where these are exactly the
    values, as what was kept in half precision is, else as double-precision ones.
    """
    return written_parts([values])[0]


def written_parts(parts: Sequence[Floats]) -> list[str]:
    """Return what `written_values` does for each part, all at once: a page writes two thousand numbers."""
    if not parts:
        return []
    values = np.concatenate(parts)
    with np.errstate(over="ignore"):
        singles = values.astype("<f4")
    if np.array_equal(singles, values):
        return list(map(_in_base64, _cut(singles, parts)))
    if len(parts) == 1:
        return [_in_base64(values.astype("<f8"))]
    return list(map(written_values, parts))


def _in_base64(numbers: Floats) -> str:
    return b2a_base64(numbers.tobytes(), newline=False).decode()


def written_value(value: float) -> str:
    """Return a value with five digits, which tell any two half-precision numbers apart."""
    return f"{value:.5g}"
