"""Closed classes of English words, in lower case. Nothing here comes from a neuron."""

from __future__ import annotations


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


PREPOSITIONS = _words(
    """
    of in to for on with at by from into over under after before between through during against among
    within without about across behind beyond near toward towards upon until since along around beside
    besides despite except inside outside onto off per via throughout than like as above below
    """
)
ARTICLES = _words("a an the")
DETERMINERS = ARTICLES | _words(
    """
    this that these those some any each every no all both either neither another such
    """
)
POSSESSIVES = _words("my your his her its our their whose")
PRONOUNS = POSSESSIVES | _words(
    """
    i you he she it we they me him us them mine yours hers ours theirs himself herself itself themselves
    who whom
    """
)
CONJUNCTIONS = _words(
    """
    and or but nor so yet because although though while if unless whereas since that when as
    """
)
RELATIVES = _words("which that who whom whose where when")
QUESTIONS = _words("what who why how when where which whom whose")
BE = _words("be is are was were been being am 's")
HAVE = _words("have has had having")
MODALS = _words("can could may might must shall should will would")
AUXILIARIES = BE | HAVE | MODALS | _words("do does did")
NEGATIONS = _words("not no never none nobody nothing nor neither nowhere without cannot n't t")
NUMBER_WORDS = _words(
    """
    one two three four five six seven eight nine ten eleven twelve twenty thirty forty fifty sixty
    seventy eighty ninety hundred thousand million billion dozen half
    """
)
ORDINALS = _words("first second third fourth fifth sixth seventh eighth ninth tenth last next")
MONTHS = _words(
    """
    january february march april may june july august september october november december jan feb mar
    apr jun jul aug sep oct nov dec
    """
)
DAYS = _words("monday tuesday wednesday thursday friday saturday sunday")
QUANTITIES = _words(
    """
    some many much most more several few all any every each both none half lot number less
    """
)
FUNCTION_WORDS = PREPOSITIONS | DETERMINERS | PRONOUNS | CONJUNCTIONS | RELATIVES | AUXILIARIES | NEGATIONS
TITLES = _words(
    """
    mr mrs ms dr sir king queen prince saint st president professor general lord lady captain
    """
)
SUPERLATIVES = _words("best worst most least")
COMPARATIVES = _words("more less better worse than further")
KEYWORDS = _words(
    """
    def return if else elif for while import from class try except lambda function var let const int
    void
    """
)
GENERIC = _words(
    """
    word words term terms phrase phrases token tokens noun nouns verb verbs adjective adjectives thing
    things form forms reference references mention mentions related relating describing expressing
    whatever means mean meaning text texts context contexts sentence sentences passage passages instance
    instances other similar various certain often usually particular neuron fires activates activation
    kind kinds type types names name pieces piece part parts followed preceded digit digits number
    numbers letter letters inside right just giving used themselves itself people who named very like
    also language fragments late middle final first second
    """
)
"""Words with which explanations say what they are about, without being about these words."""
