"""A neuron's page, and its excerpts as a part of it or as plain tables."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from django.http import HttpResponse, HttpResponseRedirect, QueryDict
from django.shortcuts import render
from django.template.loader import render_to_string
from django.utils.cache import patch_vary_headers
from django.views.decorators.http import require_safe
from msgspec import structs

from explanations import subjects
from explanations.addresses import address
from explanations.escaping import escape
from explanations.forms.neuron import VIEWS, PageState, read_state
from explanations.frames import render_framed
from explanations.http import FRAGMENT_HEADERS, HtmxHttpRequest, render_page, wants_fragment
from explanations.import_commands import import_command, source_of
from explanations.models import Neuron
from explanations.neuron_page.page import (
    ExcerptsPart,
    NeuronPage,
    SimulationPart,
    build_excerpts_part,
    build_page,
    build_simulation_part,
    find_neighbours,
    find_neuron,
)
from explanations.pipeline.records import NeuronId
from explanations.sections import write_section
from explanations.templatetags.neurons import shortened
from explanations.unchanged import answer_unchanged
from explanations.views.model import find_model
from explanations.views.trials import offer_trying


@require_safe
@answer_unchanged
def neuron(request: HtmxHttpRequest, slug: str, layer: int, index: int) -> HttpResponse:
    """Show a neuron; for htmx only its real and simulated activations."""
    row = find_neuron(slug, NeuronId(layer, index))
    if row is None:
        return _not_imported(request, slug, NeuronId(layer, index))
    state = _read_state(request)
    if wants_fragment(request):
        part = build_simulation_part(row, state)
        response = render_page(request, "neuron", _context(row, part, is_part=True), fragment="neuron_simulation")
        return _push_state(response, row, part.state)
    return _page(request, row, build_page(row, state))


def _page(request: HtmxHttpRequest, row: Neuron, page: NeuronPage) -> HttpResponse:
    """Show the whole page."""
    context = {"request": request, **_context(row, page), **_tried(request, row)}
    slots = {
        "title": (_title(row, page),),
        "breadcrumbs": write_section("explanations/_neuron_breadcrumbs.html", context),
        "content": write_section("explanations/_neuron_content.html", context),
    }
    return render_framed(request, "explanations/neuron.html", slots, varying=FRAGMENT_HEADERS)


def _title(row: Neuron, page: NeuronPage) -> str:
    says = f" – {shortened(page.headline.row.text, 70)}" if page.headline else ""
    return escape(f"Neuron {row.layer}:{row.index}{says} – {row.model.name}")


def _tried(request: HtmxHttpRequest, row: Neuron) -> dict[str, Any]:
    """Return what the page shows of texts that people try on this neuron: mostly none can be, and none were kept."""
    if not subjects.is_configured(row.model.slug) and not getattr(row, "has_kept", True):
        return {}
    context = {"neuron": row, "model": row.model, "trying": offer_trying(row)}
    return {**context, "tried": render_to_string("explanations/_neuron_tried.html", context, request)}


@require_safe
@answer_unchanged
def excerpts(request: HtmxHttpRequest, slug: str, layer: int, index: int) -> HttpResponse:
    """Show a neuron's excerpts: a part of its page for htmx, plain tables of values where `values` asks for them."""
    row = find_neuron(slug, NeuronId(layer, index))
    if row is None:
        return _not_imported(request, slug, NeuronId(layer, index))
    state = _read_state(request)
    if not wants_fragment(request):
        return _values(request, row, state)
    part = build_excerpts_part(row, state)
    response = render_page(request, "excerpts", _context(row, part, is_part=True))
    return _push_state(response, row, part.state)


def _values(request: HtmxHttpRequest, row: Neuron, state: PageState) -> HttpResponse:
    """Show exact values in tables; without `values` the address is only a part of the neuron's page."""
    if state.values == "simulation":
        return render_page(request, "excerpts", _context(row, build_simulation_part(row, state)))
    if state.values == "excerpts":
        return render_page(request, "excerpts", _context(row, build_excerpts_part(row, state)))
    return HttpResponseRedirect(f"{row.get_absolute_url()}{state.query()}#excerpts")


def _context(row: Neuron, page: NeuronPage | SimulationPart | ExcerptsPart, *, is_part: bool = False) -> dict[str, Any]:
    """Return what the templates of a neuron need: its addresses and a page's sections by name."""
    return {
        "neuron": row,
        "model": row.model,
        "neuron_url": row.get_absolute_url(),
        "excerpts_url": address("excerpts", row.model.slug, row.layer, row.index),
        "views": VIEWS,
        "is_part": is_part,
        **structs.asdict(page),
    }


def _read_state(request: HtmxHttpRequest) -> PageState:
    """Return the state that the request asks for; a part's request only names what changes of the page's address."""
    if not wants_fragment(request):
        return read_state(request.GET)
    query = QueryDict(urlsplit(request.htmx.current_url or "").query, mutable=True)
    for name in request.GET:
        query[name] = request.GET[name]
    query.pop("values", None)
    return read_state(query)


def _push_state(response: HttpResponse, row: Neuron, state: PageState) -> HttpResponse:
    """Tell htmx the address of the page as it now is: its other parts keep their state."""
    response["HX-Push-Url"] = f"{row.get_absolute_url()}{state.query()}"
    patch_vary_headers(response, ["HX-Current-URL"])
    return response


def _not_imported(request: HtmxHttpRequest, slug: str, neuron_id: NeuronId) -> HttpResponse:
    """Say that a neuron is not there: not imported, or not in the model at all."""
    model = find_model(slug)
    exists = model.holds(neuron_id)
    before, after = find_neighbours(model, neuron_id) if exists else (None, None)
    context = {
        "model": model,
        "neuron_id": neuron_id,
        "exists": exists,
        "has_layer": neuron_id.layer < model.layers,
        "last_layer": model.layers - 1,
        "last_index": model.neurons_per_layer - 1,
        "command": import_command(model, [neuron_id.layer], neuron_id.index),
        "layer_command": import_command(model, [neuron_id.layer]),
        "is_source_known": bool(source_of(model)),
        "previous_index": before,
        "next_index": after,
    }
    return render(request, "explanations/neuron_missing.html", context, status=404)
