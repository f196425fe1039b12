"""What is read from an explanation and seen of a token, without any model."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from explanations.pipeline.simulator.embedding.explanation_reading import Part, read_explanation, stem
from explanations.pipeline.simulator.embedding.literal_features import literal_features
from explanations.pipeline.simulator.embedding.spots import Spot, excerpt_spots, word_spans
from explanations.pipeline.simulator.embedding.word_classes import CLASSES, named_classes


def only_part(text: str) -> Part:
    [part] = read_explanation(text)
    return part


def fired(text: str, tokens: list[str], feature: str = "focus") -> list[str]:
    """Return the tokens at which a feature of the explanation's only part is above 0."""
    values = literal_features(only_part(text), excerpt_spots(tokens))[feature]
    return [token for token, value in zip(tokens, values, strict=True) if value > 0]


# Spots


def test_a_word_is_put_together_from_its_pieces() -> None:
    tokens = ["The", " un", "like", "ly", " 1", "9", "x", " end"]
    assert word_spans(tokens) == [(0, 1), (1, 4), (1, 4), (1, 4), (4, 6), (4, 6), (6, 7), (7, 8)]
    spots = excerpt_spots(tokens)
    assert [s.word for s in spots] == ["the", "unlikely", "unlikely", "unlikely", "19", "19", "x", "end"]
    assert [(s.first, s.last) for s in spots[1:4]] == [(True, False), (False, False), (False, True)]
    assert (spots[2].before, spots[2].after, spots[2].shape) == ("the", "19", "unlikely")


def test_a_spot_knows_sentences_quotations_and_repetition() -> None:
    tokens = ["Go", ".", ' "', "Come", '"', " he", " said", ".\n", "Go", "."]
    spots = excerpt_spots(tokens)
    assert [s.token for s in spots if s.opening] == ["Go", ' "', "Go"]
    assert [s.token for s in spots if s.quoted] == ["Come", '"']
    assert [s.token for s in spots if s.repeated and s.word.isalpha()] == ["Go"]


def test_blank_tokens_have_no_word_and_are_nobodys_neighbour() -> None:
    spots = excerpt_spots(["a", " ", "\n", "b"])
    assert [s.word for s in spots] == ["a", "", "", "b"]
    assert (spots[0].after, spots[3].before) == ("b", "a")


def test_an_excerpt_without_tokens_has_no_spots() -> None:
    assert excerpt_spots([]) == ()


@given(st.lists(st.text(max_size=4), max_size=12))
def test_every_token_has_its_spot_in_a_span_that_holds_it(tokens: list[str]) -> None:
    spots, spans = excerpt_spots(tokens), word_spans(tokens)
    assert [s.token for s in spots] == tokens
    assert all(start <= pos < end for pos, (start, end) in enumerate(spans))
    assert [s.pos for s in spots] == list(range(len(tokens)))


# Reading


def test_sections_are_what_fires_examples_and_what_stands_before_or_around() -> None:
    part = only_part("nouns such as 'river' and Rhine after the word 'of' in titles")
    assert part.focus.text == "nouns"
    assert (part.like.quoted, part.like.capitals) == ({"river"}, {"rhine"})
    assert part.after.quoted == {"of"}
    assert part.within.text == "titles"
    assert part.before.text == ""


def test_examples_after_a_comma_are_of_what_fires() -> None:
    assert only_part("verbs after names such as 'Bob'").after.quoted == {"bob"}
    assert only_part("verbs after names, such as 'run'").like.quoted == {"run"}


def test_joined_things_are_parts_of_their_own() -> None:
    parts = read_explanation("the word 'left', and names of rivers; years")
    assert [part.text for part in parts] == ["the word left", "names of rivers", "years"]


def test_words_in_quotation_marks_mark_nothing() -> None:
    part = only_part("the phrase 'such as the'")
    assert part.focus.phrases == (("such", "as", "the"),)
    assert part.like.text == ""


@pytest.mark.parametrize("quote", ["'so'", '"so"', "‘so’", "“so”", "`so`"])
def test_every_kind_of_quotation_mark_quotes(quote: str) -> None:
    assert only_part(f"the word {quote}").focus.quoted == {"so"}


def test_an_apostrophe_quotes_nothing() -> None:
    assert not only_part("a person's or the king's name").focus.quotes


@pytest.mark.parametrize("text", ["", "   ", ";", ", and ", "'", "\x01", "\x015\x02", "x\x0199\x02 and '\x010\x02'"])
def test_strange_explanations_have_a_part_all_the_same(text: str) -> None:
    assert len(read_explanation(text)) >= 1


@given(st.text(max_size=80))
def test_any_text_can_be_read_and_seen_in_an_excerpt(text: str) -> None:
    spots = excerpt_spots([" a", "b", "\n", text])
    for part in read_explanation(text):
        features = literal_features(part, spots)
        assert {len(values) for values in features.values()} == {4}
        assert all(values.min() >= 0 and values.max() <= 1 for values in features.values())


@pytest.mark.parametrize(
    ("one", "other"), [("painted", "paints"), ("cities", "city"), ("running", "run"), ("Larger", "large")]
)
def test_forms_of_a_word_share_a_stem(one: str, other: str) -> None:
    assert stem(one) == stem(other)


def test_short_words_keep_their_letters() -> None:
    assert [stem(w) for w in ("is", "red", "bus", "")] == ["is", "red", "bus", ""]


# Features


def test_a_quoted_word_is_found_in_whatever_case() -> None:
    assert fired("the word 'left'", ["Left", " of", " left", " leaf"], "token_quoted") == ["Left", " left"]


def test_a_phrase_counts_by_the_neighbours_that_are_there() -> None:
    tokens = [" on", " top", " of", " top", " hats"]
    values = literal_features(only_part("the phrase 'on top of'"), excerpt_spots(tokens))["in_phrase"]
    assert values.tolist() == [1.0, 1.0, 1.0, 0.0, 0.0]
    values = literal_features(only_part("the phrase 'on top of'"), excerpt_spots([" a", " top", " of"]))["in_phrase"]
    assert values.tolist() == [0.0, 0.5, 1.0]


def test_prefixes_and_endings_are_pieces_at_their_end_of_the_word() -> None:
    tokens = [" un", "happy", " pain", "ter", " un"]
    assert fired("the prefix 'un-'", tokens, "affix_quoted") == [" un"]
    assert fired("the ending '-ter'", tokens, "affix_quoted") == ["ter"]


def test_what_stands_after_a_quoted_word_is_found() -> None:
    tokens = [" def", " total", "(", "items"]
    assert fired("the name right after 'def'", tokens, "after_named")[0] == " total"
    assert " def" not in fired("the name right after 'def'", tokens, "after_named")


def test_named_classes_pick_their_tokens() -> None:
    tokens = ["In", " May", " 1", "9", "1", "2", ",", " she", " (", "not", ")"]
    assert fired("digits", tokens) == [" 1", "9", "1", "2"]
    assert fired("four-digit years", tokens) == [" 1", "9", "1", "2"]
    assert fired("months", tokens) == [" May"]
    assert fired("commas", tokens) == [","]
    assert fired("negation words", tokens) == ["not"]
    assert fired("brackets", tokens) == [" (", ")"]
    assert fired("pronouns", tokens) == [" she"]


def test_a_class_beside_a_quotation_counts_little() -> None:
    spots = excerpt_spots(["Bob", " met", " Ann"])
    alone = literal_features(only_part("names"), spots)["class_named"]
    beside = literal_features(only_part("the name 'Bob'"), spots)["class_named"]
    assert alone.max() == 1
    assert beside.max() == pytest.approx(0.2)


def test_every_class_answers_for_every_kind_of_token() -> None:
    tokens = ["", " ", "\n", "\0", "\ud800", "\ufffd", "a", " Z", "9", "…", "'s", "(", "%", "http", "1st", "ß", "naïve"]
    for pattern, test in CLASSES:
        for spot in excerpt_spots(tokens):
            assert isinstance(test(spot), bool), (pattern, spot)


def test_a_class_is_named_by_a_whole_word_only() -> None:
    spot = Spot("5", "5", "5", True, True, 0, "", "", False, False, False)
    assert any(test(spot) for test in named_classes("DIGITS of years"))
    assert not named_classes("digital")
