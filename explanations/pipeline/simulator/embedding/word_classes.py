"""Classes of tokens that explanations name in plain words ("digits", "late pieces of names"), found without a model.

A class is a pattern for the explanation's words and a test of one token in its excerpt.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeAlias

from explanations.pipeline.simulator.embedding import english
from explanations.pipeline.simulator.embedding.spots import Spot, is_punctuation

Test: TypeAlias = Callable[[Spot], bool]


def _in(words: frozenset[str]) -> Test:
    return lambda s: s.word in words


def _mark(characters: str) -> Test:
    return lambda s: bool(s.word) and all(c in characters for c in s.word)


def _ends(*endings: str) -> Test:
    return lambda s: len(s.word) > 4 and s.word.endswith(endings)


def _any_of(*tests: Test) -> Test:
    return lambda s: any(test(s) for test in tests)


def _is_number(s: Spot) -> bool:
    return s.word.isdigit()


def _is_year(s: Spot) -> bool:
    return len(s.word) == 4 and s.word.isdigit() and s.word[0] in "12"


def _is_function_word(s: Spot) -> bool:
    return s.word in english.FUNCTION_WORDS


def _is_name(s: Spot) -> bool:
    return s.shape[:1].isupper() and (not s.opening or not _is_function_word(s))


def _is_plural(s: Spot) -> bool:
    return len(s.word) > 3 and s.word.endswith("s") and not s.word.endswith("ss")


def _is_later_piece(s: Spot) -> bool:
    return not s.first and s.word[:1].isalpha()


def _is_repeated(s: Spot) -> bool:
    return s.repeated and not _is_function_word(s) and s.word.isalpha()


PIECES = "(?:sub-?word )?(?:pieces?|fragments?|parts?|syllables?|letters?)"
OF_A_TEXT = "(?:of (?:the|a) (?:text|excerpt|document|passage|sequence))"

CLASSES: tuple[tuple[str, Test], ...] = (
    # Numbers and times
    (
        r"digits?|numbers?|numerals?|figures|numeric\w*|amounts?|quantit\w+|percentages?|measurements?",
        _is_number,
    ),
    (r"years?|decades?|dates?|centur\w+", _is_year),
    (r"dates?|clock times?|times of day|identifiers|statistics|populations?", _is_number),
    (r"(?:first|leading|opening) digits?", lambda s: _is_number(s) and s.first),
    (r"(?:last|final|ending|later) digits?|digits ending", lambda s: _is_number(s) and s.last),
    (r"number words?|counting words?|spelled-out numbers?|counts?|cardinal\w*", _in(english.NUMBER_WORDS)),
    (
        r"ordinals?|ordinal numbers?",
        _any_of(_in(english.ORDINALS), lambda s: bool(re.fullmatch(r"\d+(st|nd|rd|th)", s.word))),
    ),
    (r"months?|dates?", _in(english.MONTHS)),
    (r"days? of the week|weekdays?", _in(english.DAYS)),
    # Blanks and marks
    (r"spaces?|whitespace|blanks?", lambda s: s.token.strip(" ") == ""),
    (r"newlines?|line breaks?|paragraph breaks?", lambda s: "\n" in s.token),
    (r"commas?", _mark(",")),
    (r"periods?|full stops?", _mark(".")),
    (r"hyphens?|dashes|dash", _mark("-–—")),
    (r"colons?", _mark(":")),
    (r"semicolons?", _mark(";")),
    (r"apostrophes?|possessive(?: endings?| markers?)?", lambda s: s.word in ("'", "’", "'s", "’s")),
    (r"slashe?s?", _mark("/\\")),
    (r"percent(?:age)? signs?|percentages?", _mark("%")),
    (r"question marks?", _mark("?")),
    (r"quotation marks?|(?:opening |closing )?quotes|quote marks?", _mark("\"'“”‘’`")),
    (r"(?:opening |left )?(?:parenthes[ie]s|brackets?|braces)", _mark("([{<")),
    (r"(?:closing |right |and )?(?:parenthes[ie]s|brackets?|braces)", _mark(")]}>")),
    (r"(?:currency|money|dollar|pound) (?:signs?|symbols?|amounts?)|money|prices?", _mark("$£€¥")),
    (r"punctuation(?: marks?)?|symbols?", is_punctuation),
    (r"operators?|equals signs?", _mark("=+-*/<>!&|%^")),
    (r"keywords?", _in(english.KEYWORDS)),
    # Closed classes of words
    (r"prepositions?|linking words?|connecting words?|function words?|short words?", _in(english.PREPOSITIONS)),
    (r"articles?|function words?|determiners?", _in(english.ARTICLES)),
    (r"determiners?", _in(english.DETERMINERS)),
    (
        r"conjunctions?|connectors?|connectives?|linking words?|connecting words?|function words?",
        _in(english.CONJUNCTIONS),
    ),
    (r"possessives?|possessive pronouns?|pronouns?", _in(english.POSSESSIVES)),
    (r"pronouns?|function words?", _in(english.PRONOUNS)),
    (r"relative (?:pronouns?|words?|clauses?)", _in(english.RELATIVES)),
    (r"question words?|interrogatives?", _in(english.QUESTIONS)),
    (r"forms? of (?:the verb )?['\"]?(?:to )?be\b|copulas?|auxiliar\w+|linking verbs?", _in(english.BE)),
    (r"auxiliar\w+|helping verbs?|function words?", _in(english.AUXILIARIES)),
    (r"modals?(?: verbs?)?", _in(english.MODALS)),
    (r"negations?|negative words?|negat\w+ words?", _in(english.NEGATIONS)),
    (r"quantifiers?|quantity words?|words? of (?:partial )?quantity", _in(english.QUANTITIES)),
    (r"titles of (?:people|respect)|honorifics?", _in(english.TITLES)),
    (r"function words?", _in(english.FUNCTION_WORDS)),
    # Forms of words
    (r"superlatives?", _any_of(_in(english.SUPERLATIVES), _ends("est", "iest"))),
    (r"comparatives?", _any_of(_in(english.COMPARATIVES), _ends("er"))),
    (r"adverbs?", _ends("ly")),
    (r"past[- ]tense(?: verbs?)?|past participles?|participles?|past forms?", _ends("ed")),
    (r"gerunds?|present participles?|participles?|progressive", _ends("ing")),
    (r"plurals?(?: nouns?)?", _is_plural),
    (r"abstract nouns?", _ends("ness", "ity", "tion", "sion", "ment", "ism", "ance", "ence", "ship")),
    (
        r"acronyms?|abbreviations?|initialisms?|initials|upper-?case|all[- ]caps",
        lambda s: len(s.shape) > 1 and s.shape.isupper(),
    ),
    (r"capitali[sz]ed|proper (?:nouns?|names?)|names?|surnames?|capital letters?|initials", _is_name),
    (r"single letters?|letters?|initials|variables?", lambda s: len(s.word) == 1 and s.word.isalpha()),
    (
        r"greek (?:letters?|words?)|non-latin|accented|foreign letters?"
        r"|chinese|japanese|arabic|cyrillic|unicode|script",
        lambda s: any(ord(c) > 127 for c in s.word),
    ),
    (r"urls?|web ?addresses|links", lambda s: bool(re.search(r"https?|www|\.com|\.org", s.word))),
    # Pieces of words
    (
        r"(?:middle|inner|inside|interior) (?:\w+ )?(?:pieces?|fragments?|parts?|syllables?|letters?)",
        lambda s: _is_later_piece(s) and not s.last,
    ),
    (
        rf"(?:late|later|final|last|closing|end|ending|second) {PIECES}"
        r"|endings?|suffix(?:es)?|pieces? ending|word ends",
        lambda s: _is_later_piece(s) and s.last,
    ),
    (r"pieces?|fragments?|sub-?words?|syllables?|suffix(?:es)?|continu\w+|stems?", _is_later_piece),
    (
        rf"(?:first|early|opening|beginning|initial|starting) {PIECES}|prefix(?:es)?"
        r"|beginnings? of|word beginnings?|starting (?:words?|names?)",
        lambda s: s.first and not s.last and s.word[:1].isalpha(),
    ),
    # Places
    (
        rf"(?:start|beginning) {OF_A_TEXT}|first (?:word|token)s? of (?:the|a) (?:text|excerpt)",
        lambda s: s.pos == 0,
    ),
    (
        r"(?:first|opening|initial) words?"
        r"|(?:start|beginning|opening)s? (?:of )?(?:a |the )?(?:new )?(?:sentences?|paragraph|line)"
        r"|sentence[- ](?:start|opening|initial)\w*|beginning a sentence",
        lambda s: s.opening and not is_punctuation(s),
    ),
    (r"repeated|repeats?|repetition\w*|echoed|repeating", _is_repeated),
    (
        r"inside quot\w+(?: marks?)?|within quot\w+(?: marks?)?|quoted (?:words?|speech|text|phrases?)|direct speech",
        lambda s: s.quoted and not is_punctuation(s),
    ),
)

_PATTERNS = tuple((re.compile(rf"\b(?:{pattern})(?!\w)", re.IGNORECASE), test) for pattern, test in CLASSES)


def named_classes(text: str) -> tuple[Test, ...]:
    """Return the tests of the classes that a piece of an explanation names."""
    return tuple(test for pattern, test in _PATTERNS if pattern.search(text))
