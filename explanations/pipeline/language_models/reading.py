"""From a prompt to the tokens that a local model reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from explanations.pipeline.language_models.protocol import LanguageModelError, Message, Prompt
from explanations.pipeline.language_models.token_strings import TokenStrings


class Reader:
    """A tokenizer, with the model's chat template where it has one."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.strings = TokenStrings(tokenizer)
        self.can_chat = bool(tokenizer.chat_template)
        self._special = sorted(set(tokenizer.all_special_tokens) | set(_special_added(tokenizer)), key=len)

    def read(self, prompt: Prompt) -> list[int]:
        """Return the tokens of a prompt. What looks like a control token in a text is read as the text it is."""
        if isinstance(prompt, str):
            ids = self.read_text(prompt)[0]
        elif self.can_chat:
            ids = self._read_conversation(prompt)
        else:
            ids = self.read_text(join_messages(prompt))[0]
        if not ids:
            raise LanguageModelError("The prompt is empty, so there is nothing to go on with.")
        return ids

    def read_text(self, text: str) -> tuple[list[int], list[int]]:
        """Return the tokens, and where each begins in the text; a token put in front of all texts begins at -1."""
        check_text(text)
        encoded = self.tokenizer(text, split_special_tokens=True, return_offsets_mapping=True)
        ids, offsets = encoded["input_ids"], encoded["offset_mapping"]
        front, back = self._added_around(ids, text)
        own = ids[front : len(ids) - back]
        starts = self.strings.starts(text, own, offsets[front : len(ids) - back])
        return ids[: len(ids) - back], [*[-1] * front, *starts]

    def _added_around(self, ids: list[int], text: str) -> tuple[int, int]:
        """Return how many tokens the tokenizer put before and after the text's own."""
        bare = self.tokenizer(text, split_special_tokens=True, add_special_tokens=False)["input_ids"]
        for front in range(len(ids) - len(bare) + 1):
            if ids[front : front + len(bare)] == bare:
                return front, len(ids) - len(bare) - front
        return 0, 0

    def _read_conversation(self, messages: Sequence[Message]) -> list[int]:
        for message in messages:
            check_text(message.content)
        written = [{"role": message.role, "content": message.content} for message in messages]
        if not any(mark in message.content for message in messages for mark in self._special):
            return self._tokens(self._render(written))
        # Only the template's own control tokens may be read as such: its parts are read apart from the contents.
        marks = [f"\ue000{place}\ue001" for place in range(len(messages))]
        rendered = self._render([m | {"content": mark} for m, mark in zip(written, marks, strict=True)])
        ids: list[int] = []
        for mark, message in zip(marks, messages, strict=True):
            before, found, rendered = rendered.partition(mark)
            if not found:
                raise LanguageModelError("The model's chat template leaves a message out.")
            text = self.tokenizer(message.content, split_special_tokens=True, add_special_tokens=False)
            ids += self._tokens(before) + text["input_ids"]
        return ids + self._tokens(rendered)

    def _tokens(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def _render(self, messages: list[dict[str, str]]) -> str:
        try:
            return self._apply(messages)
        except Exception as error:  # whatever the template raises
            first, *rest = messages or [{"role": ""}]
            problem = str(error)
        if first["role"] == "system" and rest:
            # Some templates know no system text; it goes in front of the person's first one.
            merged = {"role": "user", "content": f"{first['content']}\n\n{rest[0]['content']}"}
            return self._render([merged, *rest[1:]])
        raise LanguageModelError(f"The model's chat template does not take this conversation: {problem}")

    def _apply(self, messages: list[dict[str, str]]) -> str:
        goes_on = messages[-1]["role"] == "assistant"
        rendered: str = self.tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=not goes_on, continue_final_message=goes_on
        )
        return rendered


def join_messages(messages: Sequence[Message]) -> str:
    """Return a conversation as one text, for models that only go on with texts."""
    return "\n\n".join(message.content for message in messages)


def check_text(text: str) -> None:
    """Raise LanguageModelError where the text cannot be written as bytes."""
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise LanguageModelError("The prompt contains half of a character (a lone surrogate), which no model can read.")


def _special_added(tokenizer: Any) -> list[str]:
    return [str(token) for token in tokenizer.added_tokens_decoder.values() if token.special]
