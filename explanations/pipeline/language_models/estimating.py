"""About how many tokens a text is, where nobody tells which tokenizer reads it."""

from __future__ import annotations

import re

from explanations.pipeline.language_models.protocol import Prompt

PIECE = re.compile(r" ?[^\W\d_]+|\d|[^\S\n\t]*[\n\t]| ?[^\w\s]|_|\s")
"""what byte-level tokenizers cut a text into before they merge, digits and punctuation one by one"""
BYTES_PER_TOKEN = 7
"""bytes of a word that are one token"""
TOKENS_PER_MESSAGE = 4
"""tokens that mark where a message begins and ends"""


def estimate_tokens(prompt: Prompt) -> int:
    """Return about how many tokens a model reads the prompt as."""
    if isinstance(prompt, str):
        return sum(-(-len(piece.strip().encode()) // BYTES_PER_TOKEN) or 1 for piece in PIECE.findall(prompt))
    return sum(estimate_tokens(message.content) + TOKENS_PER_MESSAGE for message in prompt)
