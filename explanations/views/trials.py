"""Trying texts: on one neuron, on a whole model; what came of one, keeping it and deleting it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from explanations import subjects, trials
from explanations.access import sign_in_first
from explanations.addresses import address
from explanations.forms.neuron import VIEWS, read_state
from explanations.forms.trial import MOST_CHARACTERS, TrialForm
from explanations.http import HtmxHttpRequest, render_page, wants_fragment
from explanations.models import Neuron, SubjectModel, Trial
from explanations.neuron_page.tried import NeuronResult, newest_kept, read_firing, read_result
from explanations.paging import Order, paginate
from explanations.pipeline.trying import PER_LAYER
from explanations.views.model import find_model

NEWEST_FIRST = Order(None, "id", descending=True)
KEPT_A_PAGE = 10
SOON = 20
"""Seconds within which an answer is expected, and asked for often."""


@dataclass(frozen=True)
class Trying:
    """The section of a page in which a text is typed, and on a neuron's page the texts that people kept."""

    form: TrialForm | None
    """None where no text can be typed"""
    url: str
    is_configured: bool
    problem: str
    """why no text can be tried, in words; empty where one can"""
    most_tokens: int
    most_characters: int
    an_hour: int
    kept: Sequence[NeuronResult] = ()
    has_more: bool = False


def offer_trying(neuron: Neuron) -> Trying:
    """Return what a neuron's page shows of trying texts. One query where texts were kept."""
    kept, has_more = newest_kept(neuron)
    form = TrialForm() if subjects.is_configured(neuron.model.slug) else None
    return replace(_trying(neuron.model, neuron, form), kept=kept, has_more=has_more)


def _trying(model: SubjectModel, neuron: Neuron | None, form: TrialForm | None) -> Trying:
    is_configured = subjects.is_configured(model.slug)
    return Trying(
        form=form,
        url=_form_url(model, neuron),
        is_configured=is_configured,
        problem=subjects.why_not(model.slug) if is_configured else "",
        most_tokens=settings.TRY_MAX_TOKENS,
        most_characters=MOST_CHARACTERS,
        an_hour=settings.TRIES_PER_HOUR,
    )


def _form_url(model: SubjectModel, neuron: Neuron | None) -> str:
    if neuron is None:
        return address("fire", model.slug)
    return address("try_neuron", model.slug, neuron.layer, neuron.index)


# Asking


@require_http_methods(["GET", "HEAD", "POST"])
def try_neuron(request: HtmxHttpRequest, slug: str, layer: int, index: int) -> HttpResponse:
    """Type a text for a neuron, and see those that people kept."""
    neurons = Neuron.objects.select_related("model").defer("peak", "model__statistics")
    neuron = get_object_or_404(neurons, model__slug=slug, layer=layer, index=index)
    return _try(request, neuron.model, neuron)


@require_http_methods(["GET", "HEAD", "POST"])
def fire(request: HtmxHttpRequest, slug: str) -> HttpResponse:
    """Type a text for a whole model, to see which neurons fire on it."""
    return _try(request, find_model(slug), None)


def _try(request: HtmxHttpRequest, model: SubjectModel, neuron: Neuron | None) -> HttpResponse:
    if request.method == "POST":
        return _ask(request, model, neuron)
    return _show_form(request, model, neuron, TrialForm(initial={"text": _text_of_other(request)}))


@sign_in_first
def _ask(request: HtmxHttpRequest, model: SubjectModel, neuron: Neuron | None) -> HttpResponse:
    """Queue the text, and lead to it; for htmx show it where the form is."""
    assert isinstance(request.user, User)
    form = TrialForm(request.POST)
    if not subjects.is_configured(model.slug) or subjects.why_not(model.slug) or not form.is_valid():
        return _show_form(request, model, neuron, form)
    try:
        trial = trials.request_trial(model=model, neuron=neuron, text=form.cleaned_data["text"], author=request.user)
    except trials.TriedTooOften as error:
        form.add_error("text", str(error))
        return _show_form(request, model, neuron, form)
    if not wants_fragment(request):
        return HttpResponseRedirect(trial.get_absolute_url())
    return _show_form(request, model, neuron, form, trial)


def _show_form(
    request: HtmxHttpRequest, model: SubjectModel, neuron: Neuron | None, form: TrialForm, trial: Trial | None = None
) -> HttpResponse:
    context = {"trying": _trying(model, neuron, form), **_place(model, neuron)}
    if trial is not None:
        context |= _about(request, trial)
    if wants_fragment(request):
        return render_page(request, "try", context)
    kept = Trial.objects.kept().filter(model=model, neuron=neuron).select_related("author").defer("error")
    page = paginate(kept if neuron else kept.defer("result"), NEWEST_FIRST, request.GET.get("page", ""), KEPT_A_PAGE)
    results = [read_result(row, neuron) for row in page.rows] if neuron else []
    return render_page(request, "try" if neuron else "fire", context | {"page": page, "results": results})


def _text_of_other(request: HttpRequest) -> str:
    """Return the text of the trial that the address names, where the person may see it."""
    number = request.GET.get("text_of", "")
    if not (number.isascii() and number.isdigit() and len(number) < 19):
        return ""
    visible = Trial.objects.visible_to(request.user.pk).filter(pk=int(number))
    return visible.values_list("text", flat=True).first() or ""


def _place(model: SubjectModel, neuron: Neuron | None) -> dict[str, Any]:
    return {
        "model": model,
        "neuron": neuron,
        "neuron_url": neuron.get_absolute_url() if neuron else "",
        "model_url": model.get_absolute_url(),
    }


# Following


@never_cache
@require_safe
def trial(request: HtmxHttpRequest, pk: int) -> HttpResponse:
    """Show what came of a text; its part is asked for again and again while it is not finished."""
    row = _find_trial(request, pk)
    return render_page(request, "trial", _place(row.model, row.neuron) | _about(request, row))


def _find_trial(request: HttpRequest, pk: int) -> Trial:
    rows = Trial.objects.visible_to(request.user.pk).select_related("neuron__model", "model", "author")
    row = rows.defer("neuron__peak", "neuron__model__statistics", "model__statistics").filter(pk=pk).first()
    if row is None:
        raise Http404("There is no such text here. Its author has not kept it, or has deleted it.")
    return row


def _about(request: HttpRequest, row: Trial) -> dict[str, Any]:
    """Return what a text's part shows. A query where it is done, and was tried on a whole model."""
    state = read_state({"view": request.GET.get("view", "")})
    is_done = row.state == Trial.State.DONE
    return {
        "trial": row,
        "state": state,
        "views": VIEWS,
        "result": read_result(row, row.neuron, state.view) if is_done and row.neuron else None,
        "firing": read_firing(row, row.model) if is_done and not row.neuron else None,
        "is_own": request.user.is_authenticated and row.author_id == request.user.pk,
        "may_delete": trials.may_delete(request.user, row),
        "is_soon": (timezone.now() - row.created_at).total_seconds() < SOON,
        "per_layer": PER_LAYER,
        "again_url": _form_url(row.model, row.neuron),
    }


@sign_in_first
@require_POST
def keep(request: HtmxHttpRequest, pk: int) -> HttpResponse:
    """Let anybody open a text of one's own."""
    row = _find_trial(request, pk)
    if row.author_id != request.user.pk:
        raise PermissionDenied("A text is kept by the person who tried it.")
    if trials.keep_trial(pk):
        messages.success(request, "The text is kept. Anybody can open this address, and deleting it takes it back.")
    else:
        messages.error(request, "Only a text with a result can be kept.")
    return HttpResponseRedirect(row.get_absolute_url())


@sign_in_first
@require_POST
def delete(request: HtmxHttpRequest, pk: int) -> HttpResponse:
    """Delete a text and its result."""
    row = _find_trial(request, pk)
    if not trials.may_delete(request.user, row):
        raise PermissionDenied("A text is deleted by the person who tried it, or with a permission to delete texts.")
    trials.delete_trial(pk)
    messages.success(request, "The text and its result are deleted.")
    return HttpResponseRedirect(row.neuron.get_absolute_url() if row.neuron else _form_url(row.model, None))
