"""Language models behind one small protocol: on this machine (`loading`), or at an endpoint (`endpoint`)."""

from __future__ import annotations

from explanations.pipeline.language_models.protocol import (
    NO_USAGE,
    Completion,
    LanguageModel,
    LanguageModelError,
    Message,
    Prompt,
    PromptToken,
    Sample,
    ScoredPrompt,
    Usage,
)

__all__ = [
    "NO_USAGE",
    "Completion",
    "LanguageModel",
    "LanguageModelError",
    "Message",
    "Prompt",
    "PromptToken",
    "Sample",
    "ScoredPrompt",
    "Usage",
]
