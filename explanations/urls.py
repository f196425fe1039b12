"""The site's addresses. `<slug>` is a model's; models.RESERVED_SLUGS keeps the others free of it."""

from __future__ import annotations

from django.urls import path, register_converter
from django.urls.converters import StringConverter
from django.views.generic import RedirectView

from explanations import api, api_docs
from explanations.views import accounts, jobs, layer, model, neuron, overview, review, search, trials


class ModelSlugConverter(StringConverter):
    """What may be a model's slug; anything else in its place is no address of this site."""

    regex = r"[a-z0-9][a-z0-9._-]*"


register_converter(ModelSlugConverter, "model")

NEURON = "<model:slug>/layers/<int:layer>/neurons/<int:index>/"

urlpatterns = [
    # First, since most visits are to neurons, and Django tries one pattern after the other.
    path(NEURON, neuron.neuron, name="neuron"),
    path("", overview.overview, name="overview"),
    path("go/", overview.go, name="go"),
    path("random/", overview.random_neuron, name="random"),
    path("search/", search.search, name="search"),
    path("explanations/<int:pk>/flag/", review.flag, name="flag"),
    path("explanations/<int:pk>/score/", jobs.rescore, name="rescore"),
    path("explanations/<int:pk>/provenance.json", jobs.provenance, name="provenance"),
    path("review/", review.review, name="review"),
    path("review/<int:pk>/", review.flag_history, name="flag_history"),
    path("review/<int:pk>/claim/", review.claim, name="claim"),
    path("review/<int:pk>/release/", review.release, name="release"),
    path("review/<int:pk>/decide/", review.decide, name="decide"),
    path("review/<int:pk>/withdraw/", review.withdraw, name="withdraw"),
    path("review/<int:pk>/restore/", review.restore, name="restore"),
    path("jobs/", jobs.jobs, name="jobs"),
    path("jobs/<int:pk>/", jobs.job, name="job"),
    path("jobs/<int:pk>/cancel/", jobs.cancel, name="cancel"),
    path("accounts/sign-in/", accounts.sign_in, name="sign_in"),
    path("accounts/sign-out/", accounts.sign_out, name="sign_out"),
    path("accounts/link/<str:uid>/<str:token>/", accounts.sign_in_link, name="sign_in_link"),
    path("api/", RedirectView.as_view(pattern_name="api_docs")),
    path("api/docs", api_docs.docs, name="api_docs"),
    path("api/", api.urls()),
    path("api/<path:rest>", api.unknown),
    path("tries/<int:pk>/", trials.trial, name="trial"),
    path("tries/<int:pk>/keep/", trials.keep, name="keep_trial"),
    path("tries/<int:pk>/delete/", trials.delete, name="delete_trial"),
    path("<model:slug>/", model.model, name="model"),
    path("<model:slug>/layers/<int:layer>/", layer.layer, name="layer"),
    path("<model:slug>/fire/", trials.fire, name="fire"),
    path(NEURON + "excerpts/", neuron.excerpts, name="excerpts"),
    path(NEURON + "re-explain/", jobs.reexplain, name="reexplain"),
    path(NEURON + "explain/", jobs.explain, name="explain"),
    path(NEURON + "try/", trials.try_neuron, name="try_neuron"),
]
