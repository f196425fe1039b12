"""Re-explanations: asking for one, and what became of those that were asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.auth.models import AnonymousUser, User
from django.core.exceptions import PermissionDenied
from django.http import HttpResponse, HttpResponseRedirect, JsonResponse
from django.shortcuts import get_object_or_404
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from explanations import budgets, store
from explanations import jobs as jobbing
from explanations.access import permission_first, sign_in_first
from explanations.forms.jobs import (
    JobFilter,
    ReexplainForm,
    RescoreForm,
    WrittenForm,
    estimate_chosen,
    is_what_is_there,
    job_states,
    offer_explainers,
    offer_simulators,
)
from explanations.http import HtmxHttpRequest, render_page
from explanations.import_commands import excerpts_command
from explanations.jobs import Cancelling, request_job, request_rescoring, request_scoring
from explanations.methods import missing
from explanations.models import Explanation, Job, Neuron, Simulation
from explanations.paging import Order, paginate
from explanations.pipeline.records import EXCERPTS_PER_SPLIT, NeuronRecord
from explanations.pipeline.run import PipelineError, check_excerpts
from explanations.provenance import provenance_of

NEWEST_FIRST = Order(None, "id", descending=True)

CANCEL_WORDS = {
    Cancelling.CANCELLED: "The job is cancelled.",
    Cancelling.REQUESTED: "The job was asked to stop. It does so at its next step.",
    Cancelling.FINISHED: "The job was finished already, so there was nothing to cancel.",
}


# Asking


@permission_first("explanations.add_job", "Re-explaining neurons needs a permission that your account does not have.")
@require_http_methods(["GET", "HEAD", "POST"])
def reexplain(request: HtmxHttpRequest, slug: str, layer: int, index: int) -> HttpResponse:
    """Ask how to explain a neuron anew, say what that would take, and queue it."""
    neuron, record, problem = _find_neuron(slug, layer, index)
    form = ReexplainForm(request.POST if request.method == "POST" else None, neuron=neuron, asked=request.GET)
    if request.method == "POST" and not problem and form.is_valid():
        queued = _queue(request, form, lambda person, chosen: request_job(neuron=neuron, requested_by=person, **chosen))
        if queued is not None:
            return queued
    context = {
        "form": form,
        "unfinished": Job.objects.unfinished().filter(neuron=neuron).order_by("id"),
        "excerpts": EXCERPTS_PER_SPLIT,
        "explainers": offer_explainers(form, record),
        "simulators": offer_simulators(form, record),
        "estimate": estimate_chosen(form, record),
        "is_there": is_what_is_there(form, neuron),
    }
    return render_page(request, "reexplain", context | _about(request, neuron, problem))


@permission_first("explanations.add_job", "Explaining neurons needs a permission that your account does not have.")
@require_http_methods(["GET", "HEAD", "POST"])
def explain(request: HtmxHttpRequest, slug: str, layer: int, index: int) -> HttpResponse:
    """Take an explanation that a person wrote, and queue its scoring."""
    neuron, record, problem = _find_neuron(slug, layer, index)
    form = WrittenForm(request.POST if request.method == "POST" else None, neuron=neuron, asked=request.GET)
    if request.method == "POST" and not problem and form.simulators and form.is_valid():
        queued = _queue(
            request, form, lambda person, chosen: request_scoring(neuron=neuron, requested_by=person, **chosen)
        )
        if queued is not None:
            return queued
    context = {"form": form, "excerpts": EXCERPTS_PER_SPLIT, "simulators": offer_simulators(form, record)}
    return render_page(request, "explain", context | _about(request, neuron, problem))


@permission_first("explanations.add_job", "Scoring explanations needs a permission that your account does not have.")
@require_http_methods(["GET", "HEAD", "POST"])
def rescore(request: HtmxHttpRequest, pk: int) -> HttpResponse:
    """Ask which simulator is to score an explanation once more, and queue that."""
    found = Explanation.objects.select_related("neuron__model", "author").defer("neuron__peak")
    explanation = get_object_or_404(found, pk=pk)
    neuron = explanation.neuron
    record, problem = _read_record(neuron)
    form = RescoreForm(request.POST if request.method == "POST" else None, asked=request.GET)
    if request.method == "POST" and not problem and form.simulators and form.is_valid():
        queued = _queue(
            request,
            form,
            lambda person, chosen: request_rescoring(explanation=explanation, requested_by=person, **chosen),
        )
        if queued is not None:
            return queued
    context = {
        "form": form,
        "excerpts": EXCERPTS_PER_SPLIT,
        "simulators": offer_simulators(form, record),
        "explanation": explanation,
        "simulations": explanation.simulations.defer("data").order_by("-id"),
    }
    return render_page(request, "rescore", context | _about(request, neuron, problem))


def _find_neuron(slug: str, layer: int, index: int) -> tuple[Neuron, NeuronRecord, str]:
    """Return a neuron, its record and why it cannot be explained, in words; empty where it can. Three queries."""
    neurons = Neuron.objects.select_related("model").defer("peak", "model__statistics")
    neuron = get_object_or_404(neurons, model__slug=slug, layer=layer, index=index)
    return neuron, *_read_record(neuron)


def _read_record(neuron: Neuron) -> tuple[NeuronRecord, str]:
    """Return a neuron's record and why it cannot be scored, in words; empty where it can. Two queries."""
    record = store.read_neuron_record(neuron) or NeuronRecord(neuron.neuron_id, top=(), random=())
    try:
        check_excerpts(neuron.neuron_id, len(record.top), len(record.random))
    except PipelineError as error:
        return record, str(error)
    return record, ""


def _about(request: HtmxHttpRequest, neuron: Neuron, problem: str) -> dict[str, Any]:
    """Return what both forms show beside their fields. A query for each cap on a day."""
    command, is_import = excerpts_command(neuron) if problem else ("", False)
    return {
        "neuron": neuron,
        "model": neuron.model,
        "neuron_url": neuron.get_absolute_url(),
        "problem": problem,
        "command": command,
        "is_import": is_import,
        "missing": missing(),
        "caps": budgets.describe_caps(request.user.pk),
    }


def _queue(
    request: HtmxHttpRequest, form: forms.Form, ask: Callable[[User, dict[str, Any]], Job]
) -> HttpResponse | None:
    """Ask for a job and lead to it, or to the same that runs already; None where the form says why not."""
    assert isinstance(request.user, User)
    try:
        job = ask(request.user, form.cleaned_data)
    except jobbing.JobExists as exists:
        job = exists.job
        messages.info(request, "The same was asked for and is not finished. This is that job.")
    except (budgets.OverBudget, PipelineError) as error:
        form.add_error(None, str(error))
        return None
    return HttpResponseRedirect(job.get_absolute_url())


# How it came about


@require_safe
def provenance(request: HtmxHttpRequest, pk: int) -> JsonResponse:  # noqa: ARG001
    """Return how an explanation and its simulations came about, as JSON. Two queries."""
    explanation = get_object_or_404(Explanation.objects.select_related("neuron__model", "author"), pk=pk)
    simulations = explanation.simulations.defer("data").order_by("-id")
    return JsonResponse(provenance_of(explanation, simulations), json_dumps_params={"ensure_ascii": False, "indent": 1})


# Following


@require_safe
def jobs(request: HtmxHttpRequest) -> HttpResponse:
    """List the jobs, newest first."""
    form = JobFilter(request.GET, request.user)
    context = {
        "nav": "jobs",
        "form": form,
        "states": job_states(),
        "page": paginate(form.narrow(Job.objects.with_pages()), NEWEST_FIRST, request.GET.get("page", "")),
    }
    return render_page(request, "jobs", context)


@never_cache
@require_safe
def job(request: HtmxHttpRequest, pk: int) -> HttpResponse:
    """Show a job; its part is asked for again and again while it is not finished."""
    row = get_object_or_404(Job.objects.with_pages(), pk=pk)
    context = {
        "nav": "jobs",
        "job": row,
        "model": row.neuron.model,
        "neuron": row.neuron,
        "neuron_url": row.neuron.get_absolute_url(),
        "may_cancel": not row.is_finished and may_cancel(request.user, row),
        "comparison": _compare(row, _result_of(row)),
    }
    return render_page(request, "job", context)


def _result_of(job: Job) -> Explanation | None:
    """Return the explanation that a job made, or scored once more; None where it is not done, or that is gone."""
    if job.rescores:
        return job.parent if job.state == Job.State.DONE else None
    return getattr(job, "explanation", None)


def may_cancel(person: User | AnonymousUser, job: Job) -> bool:
    """Return whether a person asked for the job, or may change everybody's."""
    return person.is_authenticated and (job.requested_by_id == person.pk or person.has_perm("explanations.change_job"))


@dataclass(frozen=True)
class Column:
    """An explanation on a job's page, and the simulation that it is compared by."""

    explanation: Explanation
    simulation: Simulation | None

    @property
    def score(self) -> float | None:
        return self.simulation.ev_correlation if self.simulation else self.explanation.score

    @property
    def simulator(self) -> str:
        return self.simulation.simulator if self.simulation else self.explanation.simulator


@dataclass(frozen=True)
class Compared:
    """A job's explanation beside the one that it was to better."""

    old: Column | None
    new: Column

    @property
    def columns(self) -> list[Column]:
        return [column for column in (self.old, self.new) if column is not None]

    @property
    def difference(self) -> float | None:
        """Return how much higher the new one scores; None where a score is undefined, or there is one only."""
        if self.old is None or self.old.score is None or self.new.score is None:
            return None
        return self.new.score - self.old.score

    @property
    def same_simulator(self) -> bool:
        """Return whether the two scores compare: simulators that nobody named may differ."""
        return self.old is not None and bool(self.new.simulator) and self.old.simulator == self.new.simulator


def _compare(job: Job, new: Explanation | None) -> Compared | None:
    """Return what the job's page shows of its result; None where it has none. One query.

    Both are compared by the job's simulator where it has simulated them, else by what scores them.
    """
    if new is None:
        return None
    parent = None if job.rescores else job.parent
    pair = [explanation for explanation in (parent, new) if explanation is not None]
    found: dict[tuple[int, str], Simulation] = {}
    for simulation in Simulation.objects.filter(explanation__in=pair).defer("data").order_by("id"):
        found[simulation.explanation_id, simulation.simulator] = simulation

    def column(explanation: Explanation) -> Column:
        own = found.get((explanation.pk, explanation.simulator))
        return Column(explanation, found.get((explanation.pk, job.simulator), own))

    return Compared(column(parent) if parent else None, column(new))


@sign_in_first
@require_POST
def cancel(request: HtmxHttpRequest, pk: int) -> HttpResponse:
    row = get_object_or_404(Job, pk=pk)
    if not may_cancel(request.user, row):
        raise PermissionDenied(
            "A job is cancelled by the person who asked for it, or with a permission to change jobs."
        )
    messages.info(request, CANCEL_WORDS[jobbing.cancel_job(pk)])
    return HttpResponseRedirect(row.get_absolute_url())
