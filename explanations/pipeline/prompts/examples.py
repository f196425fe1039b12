"""Solved neurons that show a model what is asked of it. They are made up, by us; no subject model has them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from explanations.pipeline.records import Levels


@dataclass(frozen=True, slots=True)
class ExampleExcerpt:
    """An excerpt of a made-up neuron."""

    tokens: tuple[str, ...]
    """[pos]"""
    levels: tuple[int, ...]
    """[pos], 0 to 10"""

    def as_levels(self) -> Levels:
        return np.array(self.levels, dtype=np.int8)


@dataclass(frozen=True, slots=True)
class Example:
    """A made-up neuron with its explanation."""

    explanation: str
    excerpts: tuple[ExampleExcerpt, ...]
    words: tuple[str, ...]
    """tokens that it is strongest at on average, strongest first"""
    too_broad: str
    """an explanation that could be better"""
    mistake: ExampleExcerpt
    """an excerpt on which that one errs: the neuron does this"""
    mistaken: tuple[int, ...]
    """the levels that the broad explanation predicts there"""


def excerpt(text: str) -> ExampleExcerpt:
    """Return the excerpt that `text` spells: tokens parted by "|", each with its level after "=" where it is not 0."""
    tokens, levels = [], []
    for part in text.split("|"):
        token, _, level = part.partition("=")
        tokens.append(token)
        levels.append(int(level or 0))
    return ExampleExcerpt(tuple(tokens), tuple(levels))


EXAMPLES: tuple[Example, ...] = (
    Example(
        explanation="words for rain, snow, wind and other weather",
        excerpts=(
            excerpt("The| harbour| was| closed| all| day| by| fog=9| and| heavy=2| rain=10|,| so| we| played| cards|."),
            excerpt("A| light| breeze=8| came| in| from| the| lake| as| the| guests| sat| down|."),
            excerpt("Her| talk| on| medieval| guilds| drew| a| crowd| of| sixty|."),
        ),
        words=(" rain", " snow", " fog", " storm", " breeze", " hail", " drizzle", " sleet", " thunder", " cloudy"),
        too_broad="words about nature",
        mistake=excerpt("Snow=10| fell| on| the| pine| forest| and| the| river| below|."),
        mistaken=(8, 0, 0, 0, 7, 9, 0, 0, 10, 0, 0),
    ),
    Example(
        explanation="numbers that are years",
        excerpts=(
            excerpt("The| bridge| opened| in| 1932=10| after| 6| years| of| work| by| 400| men|."),
            excerpt("Between| 1848=9| and| 1851=9| the| village| lost| 70| of| its| families|."),
            excerpt("Bake| for| 25| minutes| at| 180| degrees|,| then| let| it| cool| for| 10|."),
        ),
        words=(" 1932", " 1848", " 1914", " 1995", " 2004", " 1776", " 1066", " 1889"),
        too_broad="numbers",
        mistake=excerpt("In| 1967=10| all| 38| members| paid| 12| pounds| each|."),
        mistaken=(0, 10, 0, 9, 0, 0, 9, 0, 0, 0),
    ),
    Example(
        explanation="verbs of saying that introduce a quotation",
        excerpts=(
            excerpt('"|It| will| not| hold|,"| he| muttered=10|,| and| put| down| the| hammer|.'),
            excerpt('The| mayor| replied=9|:=3| "|Nobody| asked| me|."| Then| the| meeting| ended|.'),
            excerpt("She| said| nothing| for| a| while| and| watched| the| boats| come| in|."),
        ),
        words=(" muttered", " replied", " shouted", " whispered", " answered", " exclaimed", " added", " insisted"),
        too_broad="verbs in the past tense",
        mistake=excerpt('"|Wait|!"| she| shouted=10|,| then| ran| down| and| opened| the| gate|.'),
        mistaken=(0, 0, 0, 0, 9, 0, 0, 9, 0, 0, 9, 0, 0, 0),
    ),
)
