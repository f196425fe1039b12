"""Forms of re-explanations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib.auth.models import AnonymousUser, User
from django.utils.text import Truncator

from explanations.models import Explanation, Job, Neuron
from explanations.pipeline.explainer import EXPLAINERS, Explainer
from explanations.pipeline.simulator import SIMULATORS, Simulator
from explanations.querysets import JobQuerySet
from explanations.templatetags.neurons import correlation

if TYPE_CHECKING:
    _ModelChoiceField = forms.ModelChoiceField[Explanation]
else:
    # Django's own class takes no parameter outside of the type checker.
    _ModelChoiceField = forms.ModelChoiceField

STATES = {
    "": "all",
    "queued": "queued",
    "running": "running",
    "done": "done",
    "failed": "failed",
    "cancelled": "cancelled",
}


class JobFilter(forms.Form):
    """Which jobs the list shows. What does not make sense is reported, and filters nothing."""

    state = forms.ChoiceField(
        choices=list(STATES.items()),
        required=False,
        error_messages={"invalid_choice": "There is no state “%(value)s”; here are jobs in all states."},
    )
    mine = forms.BooleanField(required=False)

    def __init__(self, data: Mapping[str, Any], person: User | AnonymousUser) -> None:
        super().__init__(data)
        self.person = person
        self.is_valid()

    @property
    def state_in_effect(self) -> str:
        return str(self.cleaned_data.get("state") or "")

    @property
    def only_mine(self) -> bool:
        return bool(self.cleaned_data.get("mine")) and self.person.is_authenticated

    @property
    def problems(self) -> list[str]:
        """Return in sentences what was asked for and could not be followed."""
        problems = [str(error) for errors in self.errors.values() for error in errors]
        if self.cleaned_data.get("mine") and not self.person.is_authenticated:
            problems.append("You are not signed in, so here are everybody's jobs.")
        return problems

    def narrow(self, jobs: JobQuerySet) -> JobQuerySet:
        if self.state_in_effect:
            jobs = jobs.filter(state=self.state_in_effect)
        return jobs.filter(requested_by=self.person.pk) if self.only_mine else jobs

    @property
    def sentence(self) -> str:
        """Return the filter in words."""
        kind = f"{self.state_in_effect.capitalize()} jobs" if self.state_in_effect else "All jobs"
        return f"{kind}{' that you asked for' if self.only_mine else ''}, newest first."


class ExplanationChoice(_ModelChoiceField):
    """A choice of a neuron's current explanations, with their scores."""

    def label_from_instance(self, explanation: Explanation) -> str:
        by = f" by {explanation.simulator}" if explanation.simulator else ""
        return f"{Truncator(explanation.text).chars(160)} (score {correlation(explanation.score)}{by})"


class ReexplainForm(forms.Form):
    """How a neuron is to be explained anew, and which explanation that is to better."""

    parent = ExplanationChoice(
        Explanation.objects.none(),
        label="Which explanation is it to better?",
        required=False,
        widget=forms.RadioSelect,
        error_messages={"invalid_choice": "That is not a current explanation of this neuron."},
    )
    explainer = forms.ChoiceField(
        label="Explainer",
        widget=forms.RadioSelect,
        error_messages={
            "required": "Choose an explainer.",
            "invalid_choice": "There is no explainer “%(value)s” here.",
        },
    )
    simulator = forms.ChoiceField(
        label="Simulator",
        widget=forms.RadioSelect,
        error_messages={
            "required": "Choose a simulator.",
            "invalid_choice": "There is no simulator “%(value)s” here.",
        },
    )

    def __init__(self, data: Mapping[str, Any] | None, *, neuron: Neuron, asked: Mapping[str, Any]) -> None:
        """Offer what there is. `asked` is the address's query, which may choose beforehand."""
        initial = {
            "parent": _number(asked.get("parent")) or neuron.headline_id,
            "explainer": asked.get("explainer") or next(iter(EXPLAINERS)),
            "simulator": asked.get("simulator") or next(iter(SIMULATORS)),
        }
        super().__init__(data, initial=initial)
        parent = self.fields["parent"]
        assert isinstance(parent, ExplanationChoice)
        parent.empty_label = None
        parent.queryset = neuron.explanations.current().order_by("id")
        for name, registry in (("explainer", EXPLAINERS), ("simulator", SIMULATORS)):
            field = self.fields[name]
            assert isinstance(field, forms.ChoiceField)
            field.choices = [(key, _describe(method)) for key, method in registry.items()]


def _describe(method: Explainer | Simulator) -> str:
    return f"{method.name.capitalize()} ({method.cost}). {method.description}"


def _number(text: object) -> int | None:
    """Return a row's number as an address names it; None for anything else."""
    text = str(text or "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None


def job_states() -> list[tuple[str, str]]:
    """Return the states that the list can be filtered by, with their names."""
    assert set(STATES) - {""} == set(Job.State.values)
    return [(state, words.capitalize()) for state, words in STATES.items()]
