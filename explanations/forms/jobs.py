"""Forms of re-explanations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from django import forms
from django.contrib.auth.models import AnonymousUser, User
from django.forms.boundfield import BoundWidget
from django.utils.text import Truncator

from explanations.forms.page_form import PageForm
from explanations.methods import (
    DEAF,
    MOST_CANDIDATES,
    MOST_REVISIONS,
    Estimate,
    estimate_explainer,
    estimate_job,
    estimate_simulator,
    is_free,
    plan_options,
    planned_explainers,
    planned_simulators,
    read_plan,
)
from explanations.models import Explanation, Job, Neuron, Source
from explanations.pipeline.explainer import Explainer
from explanations.pipeline.records import NeuronRecord
from explanations.pipeline.run import PipelineError
from explanations.pipeline.simulator import Simulator
from explanations.querysets import JobQuerySet
from explanations.templatetags.neurons import correlation

if TYPE_CHECKING:
    _ModelChoiceField = forms.ModelChoiceField[Explanation]
else:
    # Django's own class takes no parameter outside of the type checker.
    _ModelChoiceField = forms.ModelChoiceField

M = TypeVar("M", Explainer, Simulator)

STATES = {
    "": "all",
    "queued": "queued",
    "running": "running",
    "done": "done",
    "failed": "failed",
    "cancelled": "cancelled",
}


class JobFilter(PageForm):
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


def _method_field(label: str) -> forms.ChoiceField:
    name = label.lower()
    return forms.ChoiceField(
        label=label,
        widget=forms.RadioSelect,
        error_messages={
            "required": f"Choose {'an' if name[0] == 'e' else 'a'} {name}.",
            "invalid_choice": f"There is no {name} “%(value)s” here.",
        },
    )


def _count_field(label: str, least: int, most: int) -> forms.IntegerField:
    message = f"{label}: a whole number from {least} to {most}."
    return forms.IntegerField(
        label=label,
        required=False,
        min_value=least,
        max_value=most,
        error_messages=dict.fromkeys(("invalid", "min_value", "max_value"), message),
    )


class ReexplainForm(PageForm):
    """How a neuron is to be explained anew, and which explanation that is to better."""

    parent = ExplanationChoice(
        Explanation.objects.none(),
        label="Which explanation is it to better?",
        required=False,
        widget=forms.RadioSelect,
        error_messages={"invalid_choice": "That is not a current explanation of this neuron."},
    )
    explainer = _method_field("Explainer")
    simulator = _method_field("Simulator")
    candidates = _count_field("Candidates", 1, MOST_CANDIDATES)
    revisions = _count_field("Revisions", 0, MOST_REVISIONS)

    def __init__(self, data: Mapping[str, Any] | None, *, neuron: Neuron, asked: Mapping[str, Any]) -> None:
        """Offer what there is. `asked` is the address's query, which may choose beforehand."""
        self.explainers, self.simulators = planned_explainers(), planned_simulators()
        initial = {
            "parent": _number(asked.get("parent")) or neuron.headline_id,
            "explainer": _known(asked.get("explainer"), self.explainers),
            "simulator": _known(asked.get("simulator"), self.simulators),
            "candidates": _between(asked.get("candidates"), 1, MOST_CANDIDATES),
            "revisions": _between(asked.get("revisions"), 0, MOST_REVISIONS),
        }
        super().__init__(data, initial=initial)
        parent = self.fields["parent"]
        assert isinstance(parent, ExplanationChoice)
        parent.empty_label = None
        parent.queryset = neuron.explanations.current().order_by("id")
        _offer(self.fields["explainer"], self.explainers)
        _offer(self.fields["simulator"], self.simulators)

    @property
    def offers_language_model(self) -> bool:
        return not all(is_free(explainer) for explainer in self.explainers.values())

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = self.cleaned_data
        explainer, simulator = cleaned.get("explainer"), cleaned.get("simulator")
        if simulator in DEAF and explainer and explainer != simulator:
            self.add_error(
                "simulator",
                f"“{simulator}” never reads the explanation, so its score would say nothing about it. Choose another "
                f"simulator, or “{simulator}” as the explainer too.",
            )
        cleaned["candidates"] = cleaned.get("candidates") or 1
        cleaned["revisions"] = cleaned.get("revisions") or 0
        if explainer and is_free(self.explainers[explainer]):
            for name, least in (("candidates", 1), ("revisions", 0)):
                if cleaned[name] > least:
                    self.add_error(name, f"“{explainer}” always says the same: leave this at {least}.")
        return cleaned


class WrittenForm(PageForm):
    """An explanation that a person writes, and what is to score it."""

    text = forms.CharField(
        label="What does this neuron look for?",
        max_length=500,
        widget=forms.Textarea(attrs={"rows": 3}),
        error_messages={
            "required": "Write what the neuron looks for.",
            "max_length": "At most %(limit_value)d characters; these are %(show_value)d.",
            "null_characters_not_allowed": "A null character cannot be part of an explanation.",
        },
    )
    simulator = _method_field("Simulator")

    def __init__(self, data: Mapping[str, Any] | None, *, neuron: Neuron, asked: Mapping[str, Any]) -> None:
        self.neuron = neuron
        self.simulators = {name: method for name, method in planned_simulators().items() if name not in DEAF}
        super().__init__(data, initial={"simulator": _known(asked.get("simulator"), self.simulators)})
        _offer(self.fields["simulator"], self.simulators)

    def clean_text(self) -> str:
        text = " ".join(self.cleaned_data["text"].split())
        if not any(character.isalnum() for character in text):
            raise forms.ValidationError("An explanation has words.")
        return text

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = self.cleaned_data
        same = self.neuron.explanations.current().filter(
            text=cleaned.get("text", ""), simulator=cleaned.get("simulator", "")
        )
        if cleaned.get("text") and same.exists():
            self.add_error("text", "The neuron has this very explanation already, scored by this simulator.")
        return cleaned


class RescoreForm(PageForm):
    """What is to score an explanation that is there."""

    simulator = _method_field("Simulator")

    def __init__(self, data: Mapping[str, Any] | None, *, asked: Mapping[str, Any]) -> None:
        self.simulators = {name: method for name, method in planned_simulators().items() if name not in DEAF}
        super().__init__(data, initial={"simulator": _known(asked.get("simulator"), self.simulators)})
        _offer(self.fields["simulator"], self.simulators)


@dataclass(frozen=True, slots=True)
class OfferedMethod:
    """An explainer or a simulator as a form offers it."""

    choice: BoundWidget
    method: Explainer | Simulator
    estimate: Estimate | None
    """what it takes once; None where that cannot be told"""


def offer_explainers(form: ReexplainForm, record: NeuronRecord) -> list[OfferedMethod]:
    """Return what the form offers as explainer, each with what it takes for this neuron."""
    offered = ((choice, form.explainers[str(choice.data["value"])]) for choice in form["explainer"])
    return [OfferedMethod(choice, method, _told(estimate_explainer, record, method)) for choice, method in offered]


def offer_simulators(form: ReexplainForm | WrittenForm | RescoreForm, record: NeuronRecord) -> list[OfferedMethod]:
    """Return what the form offers as simulator, each with what it takes for this neuron."""
    offered = ((choice, form.simulators[str(choice.data["value"])]) for choice in form["simulator"])
    return [OfferedMethod(choice, method, _told(estimate_simulator, record, method)) for choice, method in offered]


def _told(estimate: Callable[[NeuronRecord, M], Estimate], record: NeuronRecord, method: M) -> Estimate | None:
    try:
        return estimate(record, method)
    except PipelineError:
        return None


def estimate_chosen(form: ReexplainForm, record: NeuronRecord) -> Estimate | None:
    """Return what the choice takes that the form holds now; None where it is not one, or that cannot be told."""
    explainer = form.explainers.get(str(form["explainer"].value()))
    simulator = form.simulators.get(str(form["simulator"].value()))
    if explainer is None or simulator is None or (simulator.name in DEAF and explainer.name != simulator.name):
        return None
    candidates = _between(form["candidates"].value(), 1, MOST_CANDIDATES)
    revisions = _between(form["revisions"].value(), 0, MOST_REVISIONS)
    try:
        plan = read_plan(plan_options(explainer, candidates, revisions))
        return estimate_job(record, explainer, simulator, plan)
    except PipelineError:
        return None


def is_what_is_there(form: ReexplainForm, neuron: Neuron) -> bool:
    """Return whether the choice that the form holds makes the baseline that the neuron has already. One query."""
    chosen = str(form["explainer"].value())
    explainer = form.explainers.get(chosen)
    if explainer is None or not explainer.is_baseline or str(form["simulator"].value()) != chosen:
        return False
    return neuron.explanations.filter(source=Source.BASELINE).exists()


def _offer(field: forms.Field, methods: Mapping[str, Explainer | Simulator]) -> None:
    assert isinstance(field, forms.ChoiceField)
    field.choices = [(name, _describe(method)) for name, method in methods.items()]


def _describe(method: Explainer | Simulator) -> str:
    return f"{method.name} ({method.cost}). {method.description}"


def _known(asked: object, methods: Mapping[str, object]) -> str:
    """Return the method that an address asks for, else the first there is."""
    return str(asked) if asked in methods else next(iter(methods), "")


def _between(asked: object, least: int, most: int) -> int:
    number = _number(asked)
    return least if number is None else min(max(number, least), most)


def _number(text: object) -> int | None:
    """Return a row's number as an address names it; None for anything else."""
    text = str(text or "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None


def job_states() -> list[tuple[str, str]]:
    """Return the states that the list can be filtered by, with their names."""
    assert set(STATES) - {""} == set(Job.State.values)
    return [(state, words.capitalize()) for state, words in STATES.items()]
