"""Counts in what commands print."""

from __future__ import annotations


def counted(count: int, unit: str) -> str:
    """Return a count with its unit: “1 layer”, “6,400 neurons”."""
    return f"{count:,} {unit}{'' if count == 1 else 's'}"
