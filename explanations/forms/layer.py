"""The filters and orders of a layer's page, as its address holds them."""

from __future__ import annotations

from typing import Any, ClassVar

from django import forms

from explanations.forms.page_form import PageForm
from explanations.forms.scores import score_field
from explanations.paging import Order
from explanations.querysets import NeuronQuerySet

ORDERS = {
    "index": (Order(None, "index", descending=False), "by index"),
    "-index": (Order(None, "index"), "by index, last first"),
    "score": (Order("headline_score", "index"), "best score first"),
    "-score": (Order("headline_score", "index", descending=False), "lowest score first"),
    "max": (Order("max_activation", "index"), "largest maximum activation first"),
    "-max": (Order("max_activation", "index", descending=False), "smallest maximum activation first"),
    "kurtosis": (Order("kurtosis", "index"), "highest kurtosis first"),
    "-kurtosis": (Order("kurtosis", "index", descending=False), "lowest kurtosis first"),
    "flags": (Order("open_flag_count", "index", nullable=False), "most open flags first"),
    "-flags": (Order("open_flag_count", "index", descending=False, nullable=False), "fewest open flags first"),
}
"""What `sort` may be, the rows' order, and the order in words; a minus turns an order round. Each has its index."""

DEFAULT_SORT = "index"


class LayerForm(PageForm):
    """Every field may be absent. What is wrong is named and left out; the rest still holds."""

    text = forms.CharField(
        label="Explanation contains",
        required=False,
        max_length=200,
        error_messages={
            "max_length": "At most 200 characters.",
            "null_characters_not_allowed": "A null character is in no explanation.",
        },
        widget=forms.TextInput(attrs={"type": "search"}),
    )
    min_score = score_field("Lowest score")
    max_score = score_field("Highest score")
    flagged = forms.BooleanField(label="has an open flag", required=False)
    unexplained = forms.BooleanField(label="has no explanation", required=False)
    sort = forms.ChoiceField(
        label="Order",
        required=False,
        choices=[(name, words) for name, (_, words) in ORDERS.items()],
        error_messages={"invalid_choice": "There is no order “%(value)s”; the list is by index."},
    )

    ORDERED_COLUMNS: ClassVar = {
        "index": "Neuron",
        "score": "Score",
        "max": "Max activation",
        "kurtosis": "Kurtosis",
        "flags": "Flags",
    }

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = self.cleaned_data
        lowest, highest = cleaned.get("min_score"), cleaned.get("max_score")
        if lowest is not None and highest is not None and lowest > highest:
            self.add_error("min_score", "The lowest score is above the highest.")
        return cleaned

    @property
    def entries(self) -> list[forms.BoundField]:
        return [self["text"], self["min_score"], self["max_score"]]

    @property
    def boxes(self) -> list[forms.BoundField]:
        return [self["flagged"], self["unexplained"]]

    @property
    def sort_name(self) -> str:
        return self.cleaned_data.get("sort") or DEFAULT_SORT

    @property
    def order(self) -> Order:
        return ORDERS[self.sort_name][0]

    @property
    def is_filtered(self) -> bool:
        return any(value not in (None, "", False) for name, value in self.cleaned_data.items() if name != "sort")

    def apply(self, rows: NeuronQuerySet) -> NeuronQuerySet:
        """Return the rows that pass the filters."""
        wanted = self.cleaned_data
        rows = rows.with_score(wanted.get("min_score"), wanted.get("max_score"))
        if wanted.get("text"):
            rows = rows.saying(wanted["text"])
        if wanted.get("flagged"):
            rows = rows.flagged()
        if wanted.get("unexplained"):
            rows = rows.unexplained()
        return rows

    def describe(self) -> str:
        """Return the filters and the order in words, to follow "neurons of layer 12"."""
        wanted = self.cleaned_data
        lowest, highest = wanted.get("min_score"), wanted.get("max_score")
        parts = []
        if lowest is not None and highest is not None:
            parts.append(f"with score from {_signed(lowest)} to {_signed(highest)}")
        elif lowest is not None:
            parts.append(f"with score at least {_signed(lowest)}")
        elif highest is not None:
            parts.append(f"with score at most {_signed(highest)}")
        if wanted.get("text"):
            parts.append(f"whose explanation contains “{wanted['text']}”")
        if wanted.get("flagged"):
            parts.append("with an open flag")
        if wanted.get("unexplained"):
            parts.append("without an explanation")
        filters = " " + " and ".join(parts) if parts else ""
        return f"{filters}, {ORDERS[self.sort_name][1]}"


def _signed(number: float) -> str:
    return f"{number:g}".replace("-", "\u2212")
