"""Text escaped for HTML: by markupsafe's C, which takes a quarter of the time of `html.escape`, where it is built."""

from __future__ import annotations

try:
    from markupsafe._speedups import _escape_inner as escape
except ImportError:
    from html import escape

__all__ = ["escape"]
