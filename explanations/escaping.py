"""Text escaped for HTML: by markupsafe's C, which takes a quarter of the time of `html.escape`, where it is built."""

from __future__ import annotations

from collections.abc import Sequence

try:
    from markupsafe._speedups import _escape_inner as escape
except ImportError:
    from html import escape

__all__ = ["escape", "escape_all", "in_ascii"]


def escape_all(texts: Sequence[str]) -> list[str]:
    """Return each text escaped and in ASCII, all at once: a page has forty of other neurons."""
    escaped = in_ascii(escape("\0".join(texts))).split("\0")
    return escaped if len(escaped) == len(texts) else [in_ascii(escape(text)) for text in texts]


def in_ascii(markup: str) -> str:
    """Return markup with what is beyond ASCII as references: `&#8217;`.

    One other letter makes Python keep all text that it is joined with in two bytes a letter, or four, which takes
    longer to join and to encode.
    """
    return markup if markup.isascii() else markup.encode("ascii", "xmlcharrefreplace").decode("ascii")
