"""A layer's page: all its neurons, filtered and in order."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlencode

from django.http import Http404, HttpResponse, QueryDict
from django.views.decorators.http import require_safe
from django_htmx.http import push_url

from explanations import store
from explanations.forms.layer import ORDERS, LayerForm
from explanations.http import HtmxHttpRequest, render_page, wants_fragment
from explanations.import_commands import import_command, source_of
from explanations.models import Neuron
from explanations.paging import paginate
from explanations.statistics import read_statistics
from explanations.unchanged import answer_unchanged
from explanations.views.model import find_model

SHOWN_FIELDS = (
    "index",
    "headline_text",
    "headline_score",
    "headline_simulator",
    "max_activation",
    "kurtosis",
    "explanation_count",
    "open_flag_count",
    "peak",
)


@dataclass(frozen=True)
class Column:
    """A column that the table can be ordered by."""

    label: str
    query: str
    """the address's query that orders by it; the other way round where it orders already"""
    direction: str
    """"ascending", "descending", or "" where the table is ordered by another"""
    is_number: bool


@require_safe
@answer_unchanged
def layer(request: HtmxHttpRequest, slug: str, layer: int) -> HttpResponse:
    model = find_model(slug)
    if layer >= model.layers:
        raise Http404(f"{model.name} has no layer {layer}. Its layers are 0 to {model.layers - 1}.")
    form = LayerForm(request.GET, label_suffix="")
    form.is_valid()
    rows = form.apply(Neuron.objects.filter(model=model, layer=layer))
    page = paginate(rows.only(*SHOWN_FIELDS), form.order, request.GET.get("page", ""))
    context = {
        "model": model,
        "layer": layer,
        "statistics": (found := read_statistics(model).layer(layer)),
        "is_partly_imported": 0 < found.neurons < model.neurons_per_layer and bool(source_of(model)),
        "command": import_command(model, [layer]),
        "previous_layer": layer - 1 if layer else None,
        "next_layer": layer + 1 if layer + 1 < model.layers else None,
        "form": form,
        "page": page,
        "count": rows.count(),
        "neurons": [(neuron, store.unpack_peak(neuron.peak)) for neuron in page.rows],
        "simulator": _shared_simulator(page.rows),
        "columns": _columns(form, request.GET),
    }
    response = render_page(request, "layer", context, fragment="layer_results")
    if wants_fragment(request):
        # The address as a person would write it, without the form's empty fields.
        push_url(response, request.path + _query(_filled_in(request.GET)))
    return response


def _shared_simulator(neurons: Iterable[Neuron]) -> str | None:
    """Return the simulator that scored all of these neurons that have a score; None where they differ."""
    simulators = {neuron.headline_simulator for neuron in neurons if neuron.headline_score is not None}
    return simulators.pop() if len(simulators) == 1 else None


def _columns(form: LayerForm, asked: QueryDict) -> dict[str, Column]:
    # A page token belongs to its order.
    kept = _filled_in(asked, "sort", "page")
    return {name: _column(name, label, form.sort_name, kept) for name, label in form.ORDERED_COLUMNS.items()}


def _column(name: str, label: str, sort: str, kept: dict[str, str]) -> Column:
    """Return a column whose link orders by it: numbers of neurons from the first, all others from the highest."""
    following = f"-{name}" if sort == name else name
    direction = "" if sort.lstrip("-") != name else "descending" if ORDERS[sort][0].descending else "ascending"
    return Column(label, _query({**kept, "sort": following}), direction, is_number=name != "index")


def _filled_in(asked: QueryDict, *but: str) -> dict[str, str]:
    return {name: value for name in asked if name not in but and (value := asked.get(name, ""))}


def _query(parameters: dict[str, str]) -> str:
    return f"?{urlencode(parameters)}" if parameters else ""
