"""Re-explanations: asking for one, and what became of those that were asked for."""

from __future__ import annotations

from dataclasses import dataclass

from django.contrib import messages
from django.contrib.auth.models import AnonymousUser, User
from django.core.exceptions import PermissionDenied
from django.http import HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from explanations import jobs as jobbing
from explanations.access import permission_first, sign_in_first
from explanations.forms.jobs import JobFilter, ReexplainForm, job_states
from explanations.http import HtmxHttpRequest, render_page
from explanations.jobs import Cancelling
from explanations.models import Explanation, Job, Neuron, Simulation
from explanations.paging import Order, paginate
from explanations.pipeline.records import EXCERPTS_PER_SPLIT
from explanations.pipeline.run import PipelineError

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
    """Ask how to explain a neuron anew, and queue it."""
    neurons = Neuron.objects.select_related("model").defer("peak")
    neuron = get_object_or_404(neurons, model__slug=slug, layer=layer, index=index)
    form = ReexplainForm(request.POST if request.method == "POST" else None, neuron=neuron, asked=request.GET)
    problem = _problem_of(neuron)
    if request.method == "POST" and not problem and form.is_valid():
        return _request(request, neuron, form)
    context = {
        "neuron": neuron,
        "model": neuron.model,
        "neuron_url": neuron.get_absolute_url(),
        "form": form,
        "problem": problem,
        "unfinished": Job.objects.unfinished().filter(neuron=neuron).order_by("id"),
        "excerpts": EXCERPTS_PER_SPLIT,
    }
    return render_page(request, "reexplain", context)


def _problem_of(neuron: Neuron) -> str:
    """Return why the neuron cannot be explained, in words; empty where it can."""
    try:
        jobbing.check_neuron(neuron)
    except PipelineError as error:
        return str(error)
    return ""


def _request(request: HtmxHttpRequest, neuron: Neuron, form: ReexplainForm) -> HttpResponse:
    assert isinstance(request.user, User)
    try:
        job = jobbing.request_job(neuron=neuron, requested_by=request.user, **form.cleaned_data)
    except jobbing.JobExists as exists:
        job = exists.job
        messages.info(request, "This neuron is being re-explained in the same way already. This is that job.")
    return HttpResponseRedirect(job.get_absolute_url())


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
        "comparison": _compare(row.parent, getattr(row, "explanation", None)),
    }
    return render_page(request, "job", context)


def may_cancel(person: User | AnonymousUser, job: Job) -> bool:
    """Return whether a person asked for the job, or may change everybody's."""
    return person.is_authenticated and (job.requested_by_id == person.pk or person.has_perm("explanations.change_job"))


@dataclass(frozen=True)
class Compared:
    """A job's explanation beside the one that it was to better."""

    columns: list[tuple[Explanation, Simulation | None]]
    """the earlier one, if there is one, and the new one, each with its newest simulation"""
    old: Explanation | None
    new: Explanation

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


def _compare(old: Explanation | None, new: Explanation | None) -> Compared | None:
    """Return what the job's page shows of its result; None where it has none. One query."""
    if new is None:
        return None
    pair = [explanation for explanation in (old, new) if explanation is not None]
    simulations = Simulation.objects.filter(explanation__in=pair).defer("data").order_by("id")
    newest = {simulation.explanation_id: simulation for simulation in simulations}
    return Compared([(e, newest.get(e.pk)) for e in pair], old, new)


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
