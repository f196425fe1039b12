"""The site's back office: reading the rows, and describing a model. Everything else is done on the pages, which keep
the history and the headlines right; accounts and groups have Django's own admin.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, ClassVar

from django.contrib import admin
from django.db.models import Model, QuerySet
from django.http import HttpRequest

from explanations.models import Explanation, Flag, Job, Neuron, ReviewEvent, Simulation, SubjectModel, Trial

if TYPE_CHECKING:
    # Generic for the type checker alone.
    ModelAdmin = admin.ModelAdmin[Any]
    TabularInline = admin.TabularInline[Any, Any]
else:
    ModelAdmin, TabularInline = admin.ModelAdmin, admin.TabularInline

admin.site.site_header = admin.site.site_title = "neuronviewer administration"


class ReadOnlyAdmin(ModelAdmin):
    """Shows rows and changes none."""

    show_full_result_count = False
    list_per_page = 50

    def has_add_permission(self, request: HttpRequest, *args: Any) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


@admin.register(SubjectModel)
class SubjectModelAdmin(ReadOnlyAdmin):
    """What is said about a model may be changed; its name in addresses and its size belong to its data."""

    list_display = ["slug", "name", "layers", "neurons_per_layer", "is_synthetic", "created_at"]
    fields = [
        *["slug", "name", "layers", "neurons_per_layer", "tokenizer"],
        *["description", "source", "license", "is_synthetic", "is_gated", "highlights", "created_at"],
    ]
    readonly_fields = ["slug", "layers", "neurons_per_layer", "tokenizer", "created_at"]

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return ModelAdmin.has_change_permission(self, request, obj)


@admin.register(Neuron)
class NeuronAdmin(ReadOnlyAdmin):
    list_display = ["__str__", "headline_text", "headline_score", "explanation_count", "open_flag_count"]
    list_select_related = ["model"]
    exclude = ["peak"]
    raw_id_fields = ["model", "headline"]
    ordering = ["pk"]
    # The words are read below; Django shows the box only where it finds fields here.
    search_fields = ["pk"]
    search_help_text = "LAYER:NEURON, for one model MODEL LAYER:NEURON"

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Return the neurons at this place: an index seek a model, never a scan of the texts."""
        if not search_term.strip():
            return queryset, False
        place = re.fullmatch(r"(?:(\S+)\s+)?(\d{1,5}):(\d{1,9})", search_term.strip(), re.ASCII)
        if place is None:
            return queryset.none(), False
        slug, layer, index = place.groups()
        models = SubjectModel.objects.named(slug) if slug else SubjectModel.objects.all()
        return queryset.filter(model__in=models, layer=int(layer), index=int(index)), False


@admin.register(Explanation)
class ExplanationAdmin(ReadOnlyAdmin):
    list_display = ["id", "neuron", "text", "source", "explainer", "score", "state", "created_at"]
    list_select_related = ["neuron__model"]
    raw_id_fields = ["neuron", "parent", "author", "job"]
    ordering = ["-pk"]
    search_fields = ["=pk"]
    search_help_text = "An explanation's number. To search in words, use the site's own search."


@admin.register(Simulation)
class SimulationAdmin(ReadOnlyAdmin):
    list_display = ["id", "explanation_id", "simulator", "excerpt_count", "ev_correlation", "cost_usd", "created_at"]
    exclude = ["data"]
    raw_id_fields = ["explanation"]
    ordering = ["-pk"]
    search_fields = ["=pk", "=explanation__pk"]
    search_help_text = "The number of a simulation or of its explanation"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).defer("data")


class EventInline(TabularInline):
    """A flag's history, under it."""

    model = ReviewEvent
    fields: ClassVar = ["created_at", "actor", "action", "reason"]
    readonly_fields: ClassVar = ["created_at", "actor", "action", "reason"]
    can_delete = False
    extra = 0

    def has_add_permission(self, request: HttpRequest, *args: Any) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).select_related("actor")


@admin.register(Flag)
class FlagAdmin(ReadOnlyAdmin):
    list_display = ["id", "explanation", "reason", "reporter", "state", "reviewer", "created_at", "decided_at"]
    list_select_related = ["explanation", "reporter", "reviewer"]
    list_filter = ["state", "reason"]
    raw_id_fields = ["explanation", "reporter", "reviewer", "job"]
    inlines: ClassVar = [EventInline]
    ordering = ["-pk"]
    search_fields = ["=pk", "=reporter__username"]
    search_help_text = "A flag's number or its reporter's name"


@admin.register(Job)
class JobAdmin(ReadOnlyAdmin):
    list_display = ["id", "neuron", "explainer", "simulator", "state", "requested_by", "created_at", "cost_usd"]
    list_select_related = ["neuron__model", "requested_by"]
    list_filter = ["state"]
    raw_id_fields = ["neuron", "parent", "requested_by"]
    ordering = ["-pk"]
    search_fields = ["=pk", "=requested_by__username"]
    search_help_text = "A job's number or the name of who asked for it"


@admin.register(Trial)
class TrialAdmin(ReadOnlyAdmin):
    """Texts that people tried. What others kept is deleted on its own page, with the permission to."""

    list_display = ["id", "model", "neuron", "author", "state", "is_kept", "created_at"]
    list_select_related = ["model", "neuron__model", "author"]
    list_filter = ["state", "is_kept"]
    exclude = ["result"]
    raw_id_fields = ["model", "neuron", "author"]
    ordering = ["-pk"]
    search_fields = ["=pk", "=author__username"]
    search_help_text = "A text's number or its author's name"
