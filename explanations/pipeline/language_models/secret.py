"""A key that nothing shows."""

from __future__ import annotations

from typing import NoReturn


class Secret:
    """A text that appears in no repr, no format and no pickle. `reveal` gives it to whoever sends it."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        return self._text

    def __bool__(self) -> bool:
        return bool(self._text)

    def __repr__(self) -> str:
        return "Secret(set)" if self._text else "Secret(not set)"

    __str__ = __repr__

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not stored")

    def remove_from(self, text: str) -> str:
        """Return the text with the secret blacked out, for words that others said."""
        return text.replace(self._text, "[key]") if self._text else text
