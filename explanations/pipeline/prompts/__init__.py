"""What language models are asked, word for word. Each has a version: a changed word is a new one."""

from __future__ import annotations

from explanations.pipeline.prompts.conversation import (
    Dialogue,
    Exchange,
    Fitted,
    PromptTooLongError,
    fit,
    fits,
    price_in_words,
)
from explanations.pipeline.prompts.examples import EXAMPLES, Example
from explanations.pipeline.prompts.explaining import (
    ANSWER_BEGINS,
    PAIRS,
    REVISION_VERSION,
    STYLES,
    SUMMARY,
    TOKEN_LIST,
    ExplanationStyle,
    Mistake,
    revision_prompt,
)
from explanations.pipeline.prompts.judging import (
    DETECTION_VERSION,
    FUZZING_VERSION,
    detection_prompt,
    fuzzing_prompt,
    yes_or_no_prompt,
)
from explanations.pipeline.prompts.listing import STRONG, levels_of, mark, readable_token
from explanations.pipeline.prompts.simulating import (
    ALL_AT_ONCE_VERSION,
    JSON_VERSION,
    LIKELIHOOD_VERSION,
    ONE_AT_A_TIME_VERSION,
    UNKNOWN,
    SimulationPrompt,
    all_at_once_prompt,
    json_answer,
    json_prompt,
    likelihood_contexts,
    one_at_a_time_prompts,
)

__all__ = [
    "ALL_AT_ONCE_VERSION",
    "ANSWER_BEGINS",
    "DETECTION_VERSION",
    "EXAMPLES",
    "FUZZING_VERSION",
    "JSON_VERSION",
    "LIKELIHOOD_VERSION",
    "ONE_AT_A_TIME_VERSION",
    "PAIRS",
    "REVISION_VERSION",
    "STRONG",
    "STYLES",
    "SUMMARY",
    "TOKEN_LIST",
    "UNKNOWN",
    "Dialogue",
    "Example",
    "Exchange",
    "ExplanationStyle",
    "Fitted",
    "Mistake",
    "PromptTooLongError",
    "SimulationPrompt",
    "all_at_once_prompt",
    "detection_prompt",
    "fit",
    "fits",
    "fuzzing_prompt",
    "json_answer",
    "json_prompt",
    "levels_of",
    "likelihood_contexts",
    "mark",
    "one_at_a_time_prompts",
    "price_in_words",
    "readable_token",
    "revision_prompt",
    "yes_or_no_prompt",
]
