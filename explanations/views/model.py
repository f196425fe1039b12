"""A model's page: what it is, its layers, its scores."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from urllib.parse import urlencode

from django.http import Http404, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_safe

from explanations import subjects
from explanations.charts import Chart, layer_chart, score_chart
from explanations.forms.go import GoForm
from explanations.highlights import read_highlights
from explanations.http import HtmxHttpRequest
from explanations.import_commands import import_command
from explanations.models import SubjectModel
from explanations.statistics import LayerStatistics, ModelStatistics, Scores, read_statistics
from explanations.unchanged import answer_unchanged


def find_model(slug: str) -> SubjectModel:
    """Return the model of this address; a page that says so where there is none. One query."""
    model = SubjectModel.objects.named(slug).first()
    if model is None:
        raise Http404(f"There is no model “{slug}” here.")
    return model


@dataclass(frozen=True)
class LayerRow:
    """A layer of the table, or a run of layers that are not imported."""

    first: int
    last: int
    statistics: LayerStatistics
    scores: Scores | None
    address: str
    command: str
    """what imports them, where nothing of them is imported"""


@require_safe
@answer_unchanged
def model(request: HtmxHttpRequest, slug: str) -> HttpResponse:
    subject = find_model(slug)
    statistics = read_statistics(subject)
    simulator, problem = _choose_simulator(request, statistics)
    context = {
        "model": subject,
        "statistics": statistics,
        "simulator": simulator,
        "problem": problem,
        "scores": statistics.scores.get(simulator) if simulator is not None else None,
        "simulators": [
            (name, scores, f"?{urlencode({'simulator': name})}") for name, scores in statistics.scores.items()
        ],
        "layers": list(_list_layers(subject, statistics, simulator)),
        "charts": chart_model(subject, statistics, simulator) if simulator is not None else [],
        "highlights": read_highlights([subject])[subject.pk],
        "models": [subject],
        "can_fire": subjects.is_configured(slug),
        "go": GoForm(request.GET if "neuron" in request.GET else None, [subject]),
    }
    return render(request, "explanations/model.html", context)


def _choose_simulator(request: HtmxHttpRequest, statistics: ModelStatistics) -> tuple[str | None, str]:
    """Return the simulator whose scores to show (None where nothing is scored) and what was wrong with the request."""
    main = next(iter(statistics.scores), None)
    asked = request.GET.get("simulator")
    if asked is None or asked in statistics.scores:
        return (main if asked is None else asked), ""
    return main, f"No headline score of this model is by “{asked}”."


def chart_model(subject: SubjectModel, statistics: ModelStatistics, simulator: str) -> list[Chart]:
    """Return the model's charts for one simulator that has scores."""
    search = f"{reverse('search')}?{urlencode({'model': subject.slug, 'sort': 'score'})}"
    addresses = [subject.layer_url(layer) for layer in range(subject.layers)]
    return [
        score_chart(subject.slug, statistics.scores[simulator], simulator, search),
        layer_chart(subject.slug, statistics, simulator, subject.layers, addresses),
    ]


def _list_layers(subject: SubjectModel, statistics: ModelStatistics, simulator: str | None) -> Iterator[LayerRow]:
    """Yield a row for each layer with data and for each run of layers without."""
    numbered = range(subject.layers)
    for has_data, run in groupby(numbered, key=lambda layer: statistics.layer(layer).neurons > 0):
        layers = list(run)
        for first, last in [(n, n) for n in layers] if has_data else [(layers[0], layers[-1])]:
            found = statistics.layer(first)
            scores = found.scores.get(simulator) if simulator is not None else None
            command = "" if has_data else import_command(subject, layers)
            yield LayerRow(first, last, found, scores, subject.layer_url(first), command)
