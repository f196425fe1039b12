"""How tokens, values and scores are written."""

from __future__ import annotations

import re
from base64 import b64decode
from html import unescape
from pathlib import Path

import numpy as np
import pytest

from explanations import tokens
from explanations.escaping import escape_all
from explanations.pipeline.records import shade
from explanations.templatetags.neurons import correlation, score_bar, signed, strip
from explanations.tokens import visible_token
from tests.web.attributes import read_values

VARIABLES = (Path(__file__).parents[2] / "static" / "css" / "variables.css").read_text()


@pytest.mark.parametrize(
    ("token", "expected"),
    [
        (" the", " the"),
        ("", "∅"),
        ("\n", "↵"),
        ("\r\n\t", "␍↵⇥"),
        ("\0", "␀"),
        ("\x1b[0m", "␛[0m"),
        ("\x7f", "␡"),
        ("\x85", "\\u0085"),
        ("\u00a0", "⍽"),
        ("\ufffd", "\ufffd"),
        ("\ud800", "\\ud800"),
        ("\u202eabc", "\\u202eabc"),
        ("\u2028", "\\u2028"),
        ("\u200b", "\\u200b"),
        ("\u3164", "\\u3164"),
        ("\U000e0001", "\\U000e0001"),
        ("\u0301", "◌\u0301"),
        ("e\u0301", "e\u0301"),
        ("é", "é"),
    ],
)
def test_what_the_eye_would_miss_is_made_visible(token: str, expected: str) -> None:
    assert visible_token(token) == expected
    visible_token(token).encode()


def test_a_token_that_is_not_shown_as_it_is_carries_its_escaped_form() -> None:
    markup = tokens.shaded(["a", "\n", '"\ud800'], np.array([0.0, 1.0, -1.0]), 1.0)

    assert markup == (
        '<b>a</b><b class=p10 data-e="\\n"><i>&#8629;</i></b>'
        '<b class=n10 data-e="\\&#34;\\ud800">&#34;<i>\\ud800</i></b>'
    )
    markup.encode()


def test_markup_in_tokens_is_escaped() -> None:
    hostile = ["<script>", "</b>", "&amp;", '"', "'"]
    values = np.ones(len(hostile))
    for markup in (
        tokens.shaded(hostile, values, 1.0),
        "".join(tokens.overlaid(hostile, values, values, real_maximum=1.0, simulated_maximum=1.0)),
        strip([(token, 3) for token in hostile]),
    ):
        assert re.findall(r"</?(\w+)", markup) == ["b"] * 2 * len(hostile)
        assert "&amp;amp;" in markup


@pytest.mark.parametrize(
    "odd", ["", "\n", "\0", "a\0b", "é", "\u0301x", "\ud800", "\u00a0", "\x7f", "\u3164", "<b>", "&amp;", "'\""]
)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_token_is_the_same_beside_others_and_alone(odd: str, place: int) -> None:
    text = [" the", "<i>"]
    text.insert(place, odd)
    values = np.array([0.0, 0.5, -1.0])

    together = tokens.shaded(text, values, 1.0)

    assert together == "".join(tokens.shaded([t], values[i : i + 1], 1.0) for i, t in enumerate(text))
    assert together.isascii()
    shown = unescape("".join(re.findall(r"<b[^>]*>(.*?)</b>", together)).replace("<i>", "").replace("</i>", ""))
    assert shown == "".join(map(visible_token, text))


@pytest.mark.parametrize("texts", [[], ["a<b", "", "é ’ 語 \U0001f600", "'\"&amp;"], ["a\0<b", "é"]])
def test_texts_are_escaped_in_ascii(texts: list[str]) -> None:
    escaped = escape_all(texts)

    assert list(map(unescape, escaped)) == texts
    assert "".join(escaped).isascii()
    assert "<" not in "".join(escaped)


def test_many_texts_are_what_each_is_alone() -> None:
    texts, real = [["a", "<"], [], ["\n"]], [np.array([1.0, -0.5]), np.zeros(0), np.array([0.0])]
    simulated = [values * 2 for values in real]

    drawn = ["".join(d) for d in tokens.shaded_texts([*texts, *texts], [*real, *simulated], [1.0] * 3 + [2.0] * 3)]

    assert drawn[:3] == [tokens.shaded(t, v, 1.0) for t, v in zip(texts, real, strict=True)]
    assert drawn[3:] == [tokens.shaded(t, v, 2.0) for t, v in zip(texts, simulated, strict=True)]
    for values in (real, [*real, np.array([0.1])]):
        assert tokens.written_parts(values) == [tokens.written_values(part) for part in values]
    assert tokens.shaded_texts([], [], []) == tokens.written_parts([]) == []


def test_as_many_values_as_tokens_are_needed() -> None:
    with pytest.raises(ValueError, match="size"):
        tokens.shaded(["a", "b"], np.ones(1), 1.0)


@pytest.mark.parametrize("value", [0.0, -2.5, 9.0, 0.1, 65504.0 * 2.0**120, -(2.0**-149), -7.6e-23, 1e-300, 1.7e308])
def test_values_of_any_size_are_written_exactly(value: float) -> None:
    assert read_values(tokens.written_values(np.array([value, 1.0])), 2).tolist() == [value, 1.0]


def test_values_that_were_kept_in_half_precision_take_four_bytes() -> None:
    assert b64decode(tokens.written_values(np.array([1.5, -0.25]))) == np.array([1.5, -0.25], "<f4").tobytes()


@pytest.mark.parametrize(
    ("value", "written"), [(0.0, "0"), (-2.5, "-2.5"), (1 / 3, "0.33333"), (-123456.0, "-1.2346e+05")]
)
def test_tables_give_five_digits(value: float, written: str) -> None:
    assert tokens.written_value(value) == written


def test_shades_of_an_array_are_those_of_its_values() -> None:
    values = np.random.default_rng(0).normal(0, 1, 2000)
    values[::50] = 0
    values[1::50] = 1.5
    names = [name or "none" for name in (shade(float(v), 1.5) for v in values)]

    markup = tokens.shaded(["x"] * len(values), values, 1.5)

    drawn = [re.search(r"class=(\w+)", part) for part in re.findall(r"<b[^>]*>", markup)]
    assert [found[1] if found else "none" for found in drawn] == names


def test_small_positive_zero_and_negative_values_are_told_apart() -> None:
    assert tokens.shaded(["a", "b", "c"], np.array([1e-6, 0.0, -1e-6]), 5.0) == (
        "<b class=p0>a</b><b>b</b><b class=n0>c</b>"
    )


def test_values_of_a_neuron_that_is_never_positive_are_shaded_by_magnitude() -> None:
    values = [np.array([-2.0, -1.0]), np.array([0.0])]

    assert tokens.scale_of(values) == 2.0
    assert tokens.scale_of([np.array([-2.0, 0.5])]) == 0.5
    assert tokens.scale_of([]) == 0.0


@pytest.mark.parametrize(
    ("real", "simulated", "expected"),
    [
        (10.0, 10.0, '<b class="p10 s10">'),
        (10.0, 0.0, '<b class="p10 d">'),
        (0.5, 3.9, '<b class="p0 s3 d">'),
        (1.5, 3.9, '<b class="p1 s3">'),
        (-10.0, 0.0, '<b class="n10">'),
        (-10.0, -1.0, '<b class="n10 t1">'),
        (0.0, 0.0, "<b>"),
    ],
)
def test_overlaid_tokens_are_marked_where_real_and_simulated_differ(
    real: float, simulated: float, expected: str
) -> None:
    pieces = tokens.overlaid(["x"], np.array([real]), np.array([simulated]), real_maximum=10.0, simulated_maximum=10.0)

    assert "".join(pieces) == f"{expected}x</b>"


def test_five_digits_tell_any_two_half_precision_numbers_apart() -> None:
    halves = np.arange(2**16, dtype=np.uint16).view(np.float16)
    values = halves[np.isfinite(halves) & (np.abs(halves) >= np.finfo(np.float16).tiny)].astype(np.float64)

    written = [tokens.written_value(value) for value in values.tolist()]

    assert np.array_equal(np.array(written, dtype=np.float64).astype(np.float16), values.astype(np.float16))


@pytest.mark.parametrize(
    ("value", "expected"), [(None, "undefined"), (0.416, "0.42"), (-0.5, "\u22120.50"), (-0.001, "0.00"), (0.0, "0.00")]
)
def test_a_correlation_has_two_decimals_and_undefined_is_not_zero(value: float | None, expected: str) -> None:
    assert correlation(value) == expected
    assert expected in score_bar(value)


@pytest.mark.parametrize(("value", "expected"), [(0.125, "+0.12"), (-0.3, "\u22120.30"), (-0.001, "0.00")])
def test_a_difference_has_its_sign(value: float, expected: str) -> None:
    assert signed(value) == expected


def luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_text_keeps_its_contrast_on_every_step_of_heat(scheme: int) -> None:
    part = VARIABLES.split("@media (prefers-color-scheme: dark)")[scheme]
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", part))
    for name in [*(f"p{k}" for k in range(11)), "differs", "ground"]:
        text = colours["on-heat"] if name in {f"p{k}" for k in range(6, 11)} else colours["text"]
        dark, light = sorted((luminance(colours[name]), luminance(text)))
        assert (light + 0.05) / (dark + 0.05) >= 4.5, name
