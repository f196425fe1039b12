"""The form in which a person types a text to try."""

from __future__ import annotations

from django import forms

from explanations.forms.page_form import PageForm

MOST_CHARACTERS = 2000
"""Characters of a text; what counts in the end are its tokens, which only the worker can tell."""


class TrialForm(PageForm):
    """A text, as it stands: blanks in front matter to a model."""

    text = forms.CharField(
        label="Text",
        max_length=MOST_CHARACTERS,
        strip=False,
        widget=forms.Textarea(attrs={"rows": 3, "spellcheck": "false"}),
        error_messages={
            "required": "Type a text first.",
            "max_length": "At most %(limit_value)d characters; these are %(show_value)d.",
            "null_characters_not_allowed": "A null character cannot be part of a text.",
        },
    )

    def clean_text(self) -> str:
        # Browsers send line breaks as two characters; models have read them as one.
        return str(self.cleaned_data["text"]).replace("\r\n", "\n")
