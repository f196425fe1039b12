"""The JSON API: read-only, in the nouns of the pages, with /api/docs for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any

from django.db.models import F, Prefetch
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.urls import URLPattern
from ninja import NinjaAPI, P, PathEx, Query, QueryEx, Router
from ninja.errors import ValidationError
from ninja.renderers import JSONRenderer

from explanations import store
from explanations.api_schemas import (
    MAX_PAGE_SIZE,
    PAGE_SIZE,
    ActivationsOut,
    ModelOut,
    ModelsOut,
    NeuronDetail,
    NeuronsOut,
    Problem,
    SearchIn,
    SearchOut,
    SimulationDetail,
)
from explanations.forms.search import SearchForm
from explanations.models import Explanation, Neuron, Simulation, SubjectModel
from explanations.paging import MAX_INTEGER, Order, paginate
from explanations.pipeline import packing
from explanations.pipeline.packing import PackedRecord
from explanations.pipeline.records import Kind
from explanations.results import find_explanations
from explanations.search_query import find_marks
from explanations.unchanged import answer_unchanged

MAX_EXPLANATIONS = 200
"""Explanations in a neuron's answer."""

FROM_LINKS = "from next or previous"
BY_INDEX = Order(None, "index", descending=False)


class StrictRenderer(JSONRenderer):
    """JSON as the standard has it: a NaN would be an error here, not a surprise there."""

    json_dumps_params: Mapping[str, Any] = {"allow_nan": False}


class RefusedError(Exception):
    """A request that cannot be answered, and why."""

    def __init__(self, error: str, fields: Mapping[str, Sequence[str]] | None = None) -> None:
        super().__init__(error)
        self.fields = fields or {}


api = NinjaAPI(
    title="neuronviewer",
    version="1",
    description="Neurons of language models: explanations, scores and activations. Read-only.",
    docs_url=None,
    urls_namespace="api",
    renderer=StrictRenderer(),
)
router = Router()
Errors = {404: Problem, 422: Problem}


@router.get("/models", response=ModelsOut, summary="All subject models")
def models(request: HttpRequest) -> Any:
    return {"models": SubjectModel.objects.all()}


@router.get("/models/{slug}", response={200: ModelOut, **Errors}, summary="A subject model")
def model(request: HttpRequest, slug: str) -> Any:
    return _find_model(slug)


@router.get(
    "/models/{slug}/layers/{layer}/neurons",
    response={200: NeuronsOut, **Errors},
    summary="The imported neurons of a layer, by index",
)
def neurons(
    request: HttpRequest,
    slug: str,
    layer: int,
    page: QueryEx[str, P(description=FROM_LINKS)] = "",
    limit: QueryEx[int, P(ge=1, le=MAX_PAGE_SIZE)] = PAGE_SIZE,
) -> Any:
    found = _find_model(slug)
    _check_layer(found, layer)
    rows = Neuron.objects.filter(model=found, layer=layer).select_related("model").defer("peak")
    shown = paginate(rows, BY_INDEX, page, limit)
    if shown.problem:
        raise RefusedError(shown.problem, {"page": [shown.problem]})
    return {"neurons": shown.rows, **_links(request, shown.previous, shown.next)}


@router.get(
    "/models/{slug}/layers/{layer}/neurons/{index}",
    response={200: NeuronDetail, **Errors},
    summary="A neuron with its explanations and their scores",
)
def neuron(request: HttpRequest, slug: str, layer: int, index: int) -> Any:
    found = _find_neuron(slug, layer, index)
    simulations = Prefetch("simulations", Simulation.objects.defer("data", "failures").order_by("-id"))
    rows = Explanation.objects.filter(neuron=found).prefetch_related(simulations)
    explanations = rows.order_by("state", F("score").desc(nulls_last=True), "id")[:MAX_EXPLANATIONS]
    for explanation in explanations:
        explanation.neuron = found
    return _Beside(found, explanations=explanations)


@router.get(
    "/models/{slug}/layers/{layer}/neurons/{index}/activations",
    response={200: ActivationsOut, **Errors},
    summary="A neuron's activation records: tokens and values",
)
def activations(
    request: HttpRequest,
    slug: str,
    layer: int,
    index: int,
    kind: QueryEx[str, P(description="top, random, bottom, other, q0, q1, ...; all where absent")] = "",
    page: QueryEx[int, P(ge=0, le=MAX_INTEGER, description=FROM_LINKS)] = 0,
    limit: QueryEx[int, P(ge=1, le=MAX_PAGE_SIZE)] = 20,
) -> Any:
    found = _find_neuron(slug, layer, index)
    packed, boundaries = store.read_packed_records(found)
    kinds = Counter(_kind_name(record.kind) for record in packed)
    if kind and kind not in kinds:
        known = ", ".join(kinds) or "none"
        raise RefusedError(f"The neuron has no records of kind “{kind}”. It has: {known}.", {"kind": ["not recorded"]})
    wanted = [record for record in packed if not kind or _kind_name(record.kind) == kind]
    shown = wanted[page : page + limit]
    tokens = store.read_tokens(found.model_id, (record.key for record in shown))
    return {
        "kinds": kinds,
        "quantile_boundaries": boundaries,
        "records": [_record(record, tokens) for record in shown],
        **_links(
            request,
            str(max(0, page - limit)) if page else None,
            str(page + limit) if page + limit < len(wanted) else None,
        ),
    }


@router.get(
    "/explanations/{explanation_id}/simulation",
    response={200: SimulationDetail, **Errors},
    summary="An explanation's newest simulation: simulated and real values",
)
def simulation(request: HttpRequest, explanation_id: PathEx[int, P(ge=1, le=MAX_INTEGER)]) -> Any:
    rows = Simulation.objects.select_related("explanation__neuron").filter(explanation=explanation_id)
    row = rows.order_by("-id").first()
    if row is None:
        is_known = Explanation.objects.filter(pk=explanation_id).exists()
        raise Http404(
            f"{'Explanation' if is_known else 'There is no explanation'} {explanation_id}"
            f"{' has not been simulated' if is_known else ''}."
        )
    sequences = packing.unpack_sequences(row.data)
    neuron = row.explanation.neuron
    real = {record.key: record.activations for record in store.read_packed_records(neuron)[0]}
    tokens = store.read_tokens(neuron.model_id, (sequence.key for sequence in sequences))
    answer = {
        "sequences": [
            {
                "kind": _kind_name(sequence.kind),
                "tokens": tokens.get(sequence.key),
                "real": _values(sequence.real if sequence.real is not None else real.get(sequence.key)),
                "simulated": _values(sequence.simulated),
                "ev_correlation": sequence.scores.ev_correlation,
                "rsquared": sequence.scores.rsquared,
                "absolute_dev_explained": sequence.scores.absolute_dev_explained,
            }
            for sequence in sequences
        ],
        "failures": [{"excerpt": excerpt, "reason": reason} for excerpt, reason in row.failures],
        "explanation": explanation_id,
    }
    return _Beside(row, **answer)


@router.get("/search", response={200: SearchOut, **Errors}, summary="Explanations by their words")
def search(request: HttpRequest, asked: Query[SearchIn]) -> Any:
    form = SearchForm(asked.dict(), list(SubjectModel.objects.only("slug", "name", "layers")))
    if not form.is_valid():
        fields = {name: [str(error) for error in errors] for name, errors in form.errors.items()}
        raise RefusedError(" ".join(f"{name}: {' '.join(errors)}" for name, errors in fields.items()), fields)
    if not form.is_asked:
        raise RefusedError("Nothing is asked for: give q, a filter or sort.")
    results = find_explanations(form.criteria(), asked.page, asked.limit)
    if results.page.problem:
        raise RefusedError(results.page.problem, {"page": [results.page.problem]})
    return {
        "count": results.count,
        "count_is_exact": results.is_counted,
        "is_cut": results.is_cut,
        "notes": form.query.notes,
        "explanations": [
            _Beside(
                row,
                model=row.neuron.model.slug,
                layer=row.neuron.layer,
                neuron=row.neuron.index,
                page=row.neuron.get_absolute_url(),
                marks=find_marks(row.text, form.query),
            )
            for row in results.page.rows
        ],
        **_links(request, results.page.previous, results.page.next),
    }


api.add_router("/v1", router)


class _Beside:
    """A row with values beside it that it does not have, for a schema to read."""

    def __init__(self, row: Any, **values: Any) -> None:
        self._row = row
        self.__dict__.update(values)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._row, name)


def _find_model(slug: str) -> SubjectModel:
    found = SubjectModel.objects.named(slug).first()
    if found is None:
        raise Http404(f"There is no model “{slug}” here.")
    return found


def _check_layer(found: SubjectModel, layer: int) -> None:
    if not 0 <= layer < found.layers:
        raise Http404(f"{found.name} has no layer {layer}. Its layers are 0 to {found.layers - 1}.")


def _find_neuron(slug: str, layer: int, index: int) -> Neuron:
    model = _find_model(slug)
    _check_layer(model, layer)
    if not 0 <= index < model.neurons_per_layer:
        raise Http404(f"{model.name} has no neuron {index} in a layer: they are 0 to {model.neurons_per_layer - 1}.")
    found = Neuron.objects.filter(model=model, layer=layer, index=index).defer("peak").first()
    if found is None:
        raise Http404(f"Neuron {layer}:{index} of {model.name} has not been imported.")
    found.model = model
    return found


def _kind_name(kind: int) -> str:
    return f"q{kind - Kind.QUANTILE}" if kind >= Kind.QUANTILE else Kind(kind).name.lower()


def _values(values: Any) -> list[float] | None:
    return None if values is None else [float(value) for value in values]


def _record(record: PackedRecord, tokens: Mapping[int, store.Tokens]) -> dict[str, Any]:
    return {
        "kind": _kind_name(record.kind),
        "tokens": tokens.get(record.key),
        "activations": _values(record.activations),
    }


def _links(request: HttpRequest, previous: str | None, following: str | None) -> dict[str, str | None]:
    return {"previous": _link(request, previous), "next": _link(request, following)}


def _link(request: HttpRequest, page: str | None) -> str | None:
    if page is None:
        return None
    query = request.GET.copy()
    query["page"] = page
    return f"{request.path}?{query.urlencode()}"


# Errors


def _problem(request: HttpRequest, status: int, error: str, fields: Mapping[str, Any] | None = None) -> HttpResponse:
    return api.create_response(request, {"error": error, "fields": fields or {}}, status=status)


@api.exception_handler(Http404)
def _not_found(request: HttpRequest, error: Http404) -> HttpResponse:
    return _problem(request, 404, str(error))


@api.exception_handler(RefusedError)
def _refused(request: HttpRequest, error: RefusedError) -> HttpResponse:
    return _problem(request, 422, str(error), error.fields)


@api.exception_handler(ValidationError)
def _invalid(request: HttpRequest, error: ValidationError) -> HttpResponse:
    fields: dict[str, list[str]] = {}
    for part in error.errors:
        fields.setdefault(str(part["loc"][-1]), []).append(part["msg"])
    words = " ".join(f"{name}: {'; '.join(problems)}." for name, problems in fields.items())
    return _problem(request, 422, words, fields)


def unknown(request: HttpRequest, rest: str) -> HttpResponse:
    """Answer an address below /api/ that is none of ours."""
    return JsonResponse(
        {"error": f"There is no “{rest}” here; /api/docs lists what there is.", "fields": {}}, status=404
    )


def read_only(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """Return the view so that it refuses, in JSON, whatever would change something, and answers HEAD as GET."""

    @wraps(view)
    def answer(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if request.method == "HEAD":
            request.method = "GET"
        if request.method != "GET":
            error = {"error": "The API only reads: use GET.", "fields": {}}
            return JsonResponse(error, status=405, headers={"Allow": "GET, HEAD"})
        return view(request, *args, **kwargs)

    return answer


def urls() -> tuple[list[URLPattern], str, str]:
    """Return the API's addresses, to mount below /api/."""
    mounted, application, namespace = api.urls
    patterns = [pattern for pattern in mounted if isinstance(pattern, URLPattern)]
    for pattern in patterns:
        pattern.callback = read_only(answer_unchanged(pattern.callback))
    return patterns, application, namespace
