"""The search page."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlencode

from django.http import HttpResponse
from django.views.decorators.http import require_safe
from django_htmx.http import push_url

from explanations.forms.search import SearchForm
from explanations.http import HtmxHttpRequest, render_page, wants_fragment
from explanations.import_commands import describe_numbers, import_command, missing_layers
from explanations.models import Explanation, SubjectModel
from explanations.results import RANKED, Results, find_explanations
from explanations.search_query import Query, split_marks
from explanations.unchanged import answer_unchanged

EXAMPLES = {
    "days week": "both words, in any form: “day” and “weeks” too",
    '"days of the week"': "these words, one after another",
    "univers*": "words that begin so: “universe”, “university”",
    "city -French": "the first word, but not the second",
    '-"such as" animal*': "and all of it together",
}


@dataclass(frozen=True)
class Hit:
    """An explanation that was found."""

    explanation: Explanation
    pieces: list[tuple[str, bool]]
    """its text, each piece with whether it matches"""

    @property
    def url(self) -> str:
        """Return the address that shows this explanation on its neuron's page."""
        explanation, address = self.explanation, self.explanation.neuron.get_absolute_url()
        if explanation.pk == explanation.neuron.headline_id:
            return address
        is_simulated = explanation.score is not None or explanation.simulator
        return f"{address}?explanation={explanation.pk}" if is_simulated else f"{address}#explanation-{explanation.pk}"


@require_safe
@answer_unchanged
def search(request: HtmxHttpRequest) -> HttpResponse:
    form = SearchForm(
        request.GET, list(SubjectModel.objects.only("slug", "name", "layers", "is_synthetic", "data_address"))
    )
    form.is_valid()
    results = None
    if form.is_asked and not form.has_words_problem:
        results = find_explanations(form.criteria(), request.GET.get("page", ""))
    context = {
        "nav": "search",
        "form": form,
        "results": results,
        "page": results.page if results else None,
        "hits": _hits(results, form.query) if results else [],
        "shared_model": _shared_model(results) if results else None,
        "simulator": results.simulators[0] if results and len(results.simulators) == 1 else None,
        "ranked": RANKED,
        "examples": [(text, urlencode({"q": text}), words) for text, words in EXAMPLES.items()],
        "models": form.models.values(),
        "as_fragment": wants_fragment(request),
        "missing": _missing_layers(form),
        "without_filters": urlencode({"q": form.data["q"]}) if form.query.terms else "",
    }
    response = render_page(request, "search", context, fragment="search_results")
    if wants_fragment(request):
        # The address as a person would write it, without the form's empty fields.
        filled = {name: value for name in request.GET if (value := request.GET.get(name, ""))}
        push_url(response, request.path + (f"?{urlencode(filled)}" if filled else ""))
    return response


@dataclass(frozen=True)
class MissingLayers:
    """Layers that the search was narrowed to and of which nothing is imported."""

    model: SubjectModel
    layers: str
    count: int
    command: str


def _missing_layers(form: SearchForm) -> MissingLayers | None:
    """Return those; one query where layers of one model are chosen, none else."""
    layers = form.cleaned_data.get("layer")
    model = form.cleaned_data.get("model") or (next(iter(form.models.values())) if len(form.models) == 1 else None)
    if not layers or model is None:
        return None
    # The statistics are fetched only now: they are longer than all else of a model.
    chosen = range(layers[0], min(layers[1] + 1, model.layers))
    if not (missing := missing_layers(model, chosen)):
        return None
    return MissingLayers(model, describe_numbers(missing), len(missing), import_command(model, missing))


def _hits(results: Results, query: Query) -> list[Hit]:
    return [Hit(row, split_marks(row.text, query)) for row in results.page.rows]


def _shared_model(results: Results) -> SubjectModel | None:
    """Return the model of all these hits; None where they differ."""
    models = {row.neuron.model for row in results.page.rows}
    return models.pop() if len(models) == 1 else None
