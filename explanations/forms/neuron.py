"""The state of a neuron's page, as its address holds it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import quote

from django import forms

from explanations.forms.page_form import PageForm
from explanations.tokens import visible_token

FIRST_SHOWN = 5
SHOWN_STEPS = (20, 50, 100, 200)
"""How many excerpts "show more" goes to."""
VIEWS = {"side": "Side by side", "overlay": "Overlaid"}
SECTIONS = {"simulation": "simulated excerpts", "excerpts": "recorded excerpts"}


class NeuronPageForm(PageForm):
    """What the page's links may ask for. Every field may be absent; a bad value is named and its default taken."""

    view = forms.ChoiceField(
        choices=VIEWS.items(), required=False, error_messages={"invalid_choice": "A view is side or overlay."}
    )
    explanation = forms.IntegerField(
        min_value=1, required=False, error_messages={"invalid": "An explanation is named by its number."}
    )
    simulation = forms.IntegerField(
        min_value=1, required=False, error_messages={"invalid": "A simulation is named by its number."}
    )
    excerpts = forms.RegexField(
        r"^(top|random|bottom|other|q\d{1,2})\Z",
        required=False,
        error_messages={"invalid": "Excerpts are top, random, or a quantile range such as q0."},
    )
    shown = forms.IntegerField(
        min_value=1,
        max_value=SHOWN_STEPS[-1],
        required=False,
        error_messages={"invalid": "The number of excerpts to show is a whole number."},
    )
    values = forms.ChoiceField(
        choices=SECTIONS.items(),
        required=False,
        error_messages={"invalid_choice": "Values are those of simulation or of excerpts."},
    )


@dataclass(frozen=True)
class PageState:
    """What a neuron's page shows. None and "" stand for what the page chooses by itself."""

    view: str = "side"
    explanation: int | None = None
    simulation: int | None = None
    excerpts: str = ""
    shown: int = FIRST_SHOWN
    values: str = ""
    problems: tuple[str, ...] = field(default=(), compare=False)
    """what was asked for and could not be followed, in sentences"""

    @property
    def first_shown(self) -> int:
        return FIRST_SHOWN

    def query(self, **changes: Any) -> str:
        """Return the query string of this state with changes, "?" in front; empty where all is default."""
        asked = {**self.__dict__, **changes}
        pairs = [f"{name}={quote(str(asked[name]))}" for name, default in _DEFAULTS.items() if asked[name] != default]
        return f"?{'&'.join(pairs)}" if pairs else ""

    def with_problem(self, problem: str, **changes: Any) -> PageState:
        return replace(self, problems=(*self.problems, problem), **changes)


_DEFAULTS = {
    "view": "side",
    "explanation": None,
    "simulation": None,
    "excerpts": "",
    "shown": FIRST_SHOWN,
    "values": "",
}
"""What a query string leaves out, in the order in which it names the rest."""


def read_state(data: Mapping[str, Any]) -> PageState:
    """Return the state that a query asks for; what is malformed is dropped and named in `problems`."""
    if not data:
        # Most visits ask for nothing: no form is made for them.
        return PageState()
    form = NeuronPageForm(data)
    if not form.is_valid():
        problems = tuple(_sentence(name, form[name].value(), text) for name, text in _errors(form))
        return replace(_state_of(form.cleaned_data), problems=problems)
    return _state_of(form.cleaned_data)


def _state_of(cleaned: Mapping[str, Any]) -> PageState:
    return PageState(**{name: value for name, value in cleaned.items() if value not in (None, "")})


def _errors(form: NeuronPageForm) -> list[tuple[str, str]]:
    return [(name, str(text)) for name, texts in form.errors.items() for text in texts]


def _sentence(name: str, value: object, text: str) -> str:
    return f"{name}={visible_token(str(value)[:40])} was not followed. {text}"
