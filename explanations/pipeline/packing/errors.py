"""What packing cannot keep or read."""

from __future__ import annotations


class PackingError(ValueError):
    """Bytes that this module did not write, or wrote in a form that it no longer reads."""
