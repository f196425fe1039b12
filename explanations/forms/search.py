"""What the search page can be asked, as its address holds it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from django import forms

from explanations.forms.page_form import PageForm
from explanations.forms.scores import score_field
from explanations.models import Explanation, Source, SubjectModel
from explanations.search import Criteria
from explanations.search_query import MAX_LENGTH, Query, parse_query

SORTS = {"relevance": "best match first", "score": "best score first", "lowest": "lowest score first"}
"""What `sort` may be, in words."""
STATES = {"": "current", "retired": "retired", "any": "current and retired"}

_LAYERS = re.compile(r"\s*(\d{1,4})\s*(?:[-–]\s*(\d{1,4})\s*)?", re.ASCII)


class SearchForm(PageForm):
    """Every field may be absent. What is wrong is named and left out; the rest still holds."""

    q = forms.CharField(
        label="Words",
        required=False,
        error_messages={"null_characters_not_allowed": "A null character is in no explanation."},
        widget=forms.TextInput(attrs={"type": "search", "maxlength": MAX_LENGTH, "autocomplete": "off"}),
    )
    model = forms.ChoiceField(
        label="Model",
        required=False,
        error_messages={"invalid_choice": "There is no model “%(value)s” here; all are searched."},
    )
    layer = forms.CharField(
        label="Layers",
        required=False,
        max_length=20,
        error_messages={
            "max_length": "Layers are one number, or two such as 3-7.",
            "null_characters_not_allowed": "Layers are one number, or two such as 3-7.",
        },
        widget=forms.TextInput(attrs={"size": 8, "placeholder": "3 or 3-7", "autocomplete": "off"}),
    )
    min_score = score_field("Lowest score")
    max_score = score_field("Highest score")
    source = forms.ChoiceField(
        label="Written by",
        required=False,
        choices=[("", "any source"), *Source.choices],
        error_messages={"invalid_choice": "There is no source “%(value)s”; all are searched."},
    )
    state = forms.ChoiceField(
        label="State",
        required=False,
        choices=list(STATES.items()),
        error_messages={"invalid_choice": "There is no state “%(value)s”; current explanations are searched."},
    )
    sort = forms.ChoiceField(
        label="Order",
        required=False,
        choices=[("", "best first"), *SORTS.items()],
        error_messages={"invalid_choice": "There is no order “%(value)s”."},
    )

    def __init__(self, data: Any, models: Sequence[SubjectModel]) -> None:
        super().__init__(data, label_suffix="")
        self.models = {model.slug: model for model in models}
        names = [("", "all models"), *((model.slug, model.name) for model in models)]
        self.fields["model"].choices = names  # type: ignore[attr-defined]
        self.query = Query()

    def clean_q(self) -> str:
        text: str = self.cleaned_data["q"]
        self.query = parse_query(text)
        if self.query.problems:
            raise forms.ValidationError(list(self.query.problems))
        return text

    def clean_model(self) -> SubjectModel | None:
        return self.models.get(self.cleaned_data["model"])

    def clean_layer(self) -> tuple[int, int] | None:
        text = self.cleaned_data["layer"]
        if not text:
            return None
        match = _LAYERS.fullmatch(text)
        if match is None:
            raise forms.ValidationError("Layers are one number, or two such as 3-7.")
        first, last = int(match[1]), int(match[2] or match[1])
        if first > last:
            raise forms.ValidationError(f"The range runs backwards; write {last}-{first}.")
        return first, last

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = self.cleaned_data
        lowest, highest = cleaned.get("min_score"), cleaned.get("max_score")
        if lowest is not None and highest is not None and lowest > highest:
            self.add_error("min_score", "The lowest score is above the highest.")
        model, layers = cleaned.get("model"), cleaned.get("layer")
        if model and layers and layers[1] >= model.layers:
            self.add_error("layer", f"{model.name} has layers 0 to {model.layers - 1}.")
        if cleaned.get("sort") == "relevance" and not self.query.terms:
            # Nothing is the best match for no words.
            cleaned["sort"] = "score"
        return cleaned

    @property
    def has_words_problem(self) -> bool:
        return "q" in self.errors

    @property
    def is_asked(self) -> bool:
        """Return whether there is anything to look for: words, a filter or an order."""
        return bool(self.query.terms) or any(self._wanted(name) for name in self.fields if name != "q")

    @property
    def is_filtered(self) -> bool:
        return any(self._wanted(name) for name in self.fields if name not in ("q", "sort"))

    def _wanted(self, name: str) -> bool:
        return self.cleaned_data.get(name) not in (None, "")

    def criteria(self) -> Criteria:
        """Return what is looked for, once the form is cleaned."""
        wanted = self.cleaned_data
        return Criteria(
            query=self.query,
            model=wanted.get("model"),
            layers=wanted.get("layer"),
            min_score=wanted.get("min_score"),
            max_score=wanted.get("max_score"),
            source=wanted.get("source", ""),
            state=wanted.get("state") or Explanation.State.CURRENT,
            sort=wanted.get("sort") or ("relevance" if self.query.terms else "score"),
        )

    @property
    def typed(self) -> Iterable[forms.BoundField]:
        return [self["layer"], self["min_score"], self["max_score"]]

    @property
    def chosen(self) -> Iterable[forms.BoundField]:
        return [self["model"], self["source"], self["state"], self["sort"]]

    def describe(self) -> str:
        """Return the filters and the order in words, to follow what the words match."""
        criteria = self.criteria()
        state = f", {STATES[criteria.state]}" if criteria.state in STATES else ""
        parts = [_of(criteria), _layers(criteria), _scores(criteria), _source(criteria), state]
        return f"{''.join(parts)}, {SORTS[criteria.sort]}"


def _of(criteria: Criteria) -> str:
    return f", of {criteria.model.name}" if criteria.model else ""


def _layers(criteria: Criteria) -> str:
    if criteria.layers is None:
        return ""
    first, last = criteria.layers
    return f", in layer {first}" if first == last else f", in layers {first} to {last}"


def _scores(criteria: Criteria) -> str:
    lowest, highest = criteria.min_score, criteria.max_score
    if lowest is not None and highest is not None:
        return f", with score from {_signed(lowest)} to {_signed(highest)}"
    if lowest is not None:
        return f", with score at least {_signed(lowest)}"
    return f", with score at most {_signed(highest)}" if highest is not None else ""


_SOURCES = {
    Source.PUBLISHED: ", published",
    Source.MODEL: ", written by a language model",
    Source.HUMAN: ", written by a person",
    Source.BASELINE: ", of the baseline",
}


def _source(criteria: Criteria) -> str:
    return _SOURCES[Source(criteria.source)] if criteria.source else ""


def _signed(number: float) -> str:
    return f"{number:g}".replace("-", "\u2212")
