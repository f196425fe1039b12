"""The front page, and the two short ways from it to a neuron: by its place, and by chance."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from urllib.parse import urlencode, urlsplit

from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from explanations.charts import Chart
from explanations.forms.go import GoForm
from explanations.highlights import read_highlights
from explanations.http import HtmxHttpRequest
from explanations.models import Neuron, SubjectModel
from explanations.statistics import ModelStatistics, Scores, read_statistics
from explanations.unchanged import answer_unchanged
from explanations.views.model import chart_model

MAX_CHARTED = 4
"""Models whose charts the overview draws; those of others are on their own pages."""
MAX_LISTED = 12
"""Interesting neurons of one model on the overview; its own page lists them all."""


@dataclass(frozen=True)
class ModelSummary:
    """A model with what its statistics say."""

    model: SubjectModel
    is_charted: bool

    @cached_property
    def statistics(self) -> ModelStatistics:
        return read_statistics(self.model)

    @cached_property
    def scores(self) -> tuple[str, Scores] | None:
        """The simulator that scored most neurons, with its scores; None where nothing is scored."""
        return next(iter(self.statistics.scores.items()), None)

    @cached_property
    def charts(self) -> list[Chart]:
        if self.scores is None or not self.is_charted:
            return []
        return chart_model(self.model, self.statistics, self.scores[0])


@require_safe
@answer_unchanged
def overview(request: HtmxHttpRequest) -> HttpResponse:
    models = list(SubjectModel.objects.all())
    summaries = [ModelSummary(model, is_charted=place < MAX_CHARTED) for place, model in enumerate(models)]
    highlights = read_highlights(models)
    context = {
        "summaries": summaries,
        "highlights": [(model, highlights[model.pk][:MAX_LISTED]) for model in models if highlights[model.pk]],
        "max_listed": MAX_LISTED,
        "charted": [summary for summary in summaries if summary.charts],
        "models": models,
        "go": GoForm(request.GET if "neuron" in request.GET else None, models),
    }
    return render(request, "explanations/overview.html", context)


@require_safe
def go(request: HttpRequest) -> HttpResponse:
    """Redirect to a neuron's page; where there is no such neuron, back with what was typed, to be told why."""
    models = list(SubjectModel.objects.all())
    form = GoForm(request.GET, models)
    if form.is_valid():
        return redirect(form.address)
    typed = {name: request.GET.get(name, "")[:200] for name in ("model", "neuron")}
    return redirect(f"{_page_of_origin(request, models)}?{urlencode(typed)}#go")


def _page_of_origin(request: HttpRequest, models: Sequence[SubjectModel]) -> str:
    """Return the page with a jump form that is nearest to where the request came from: a model's, or the overview."""
    origin = request.headers.get("Referer", "")
    if url_has_allowed_host_and_scheme(origin, {request.get_host()}):
        path = urlsplit(origin).path
        for model in models:
            if path.startswith(model.get_absolute_url()):
                return model.get_absolute_url()
    return reverse("overview")


@require_safe
@never_cache
def random_neuron(request: HttpRequest) -> HttpResponse:
    """Redirect to some neuron that has an explanation, of the model that is named or of any."""
    slug = request.GET.get("model", "")
    models = list(SubjectModel.objects.named(slug) if slug else SubjectModel.objects.all())
    if slug and not models:
        raise Http404(f"There is no model “{slug}” here.")
    secrets.SystemRandom().shuffle(models)
    for model in models:
        neuron = Neuron.objects.filter(model=model).at_random()
        if neuron is not None:
            return HttpResponseRedirect(model.neuron_url(neuron.layer, neuron.index))
    raise Http404("No neuron has an explanation yet." if not slug else f"No neuron of {slug} has an explanation yet.")
