"""The field that takes a score, for every form that filters by one."""

from __future__ import annotations

from django import forms


def score_field(label: str) -> forms.FloatField:
    """Return an optional field for a score, -1 to 1, whose messages say what a score may be."""
    return forms.FloatField(
        label=label,
        required=False,
        min_value=-1,
        max_value=1,
        error_messages={
            "invalid": "A score is a number from -1 to 1.",
            "min_value": "A score is never below -1.",
            "max_value": "A score is never above 1.",
        },
        widget=forms.NumberInput(attrs={"step": "any", "min": "-1", "max": "1"}),
    )
