"""Questions about many rows."""

from __future__ import annotations

import secrets
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from django.db import connections, models
from django.db.models import Count, F, Max, OuterRef, Q, Subquery
from django.db.models.functions import Coalesce

if TYPE_CHECKING:
    from django.contrib.auth.models import User

    from explanations.models import Explanation, Flag, Job, Neuron, SubjectModel  # noqa: F401  the classes' parameters
    from explanations.pipeline.records import NeuronId
    from explanations.search import Criteria


class SubjectModelQuerySet(models.QuerySet["SubjectModel"]):
    """Questions about subject models."""

    def named(self, slug: str) -> SubjectModelQuerySet:
        """Return the model of this slug, whatever text an address holds."""
        # PostgreSQL refuses NUL in a text that it compares.
        return self.none() if "\0" in slug else self.filter(slug=slug)


class NeuronQuerySet(models.QuerySet["Neuron"]):
    """Questions about neurons."""

    def with_neighbours(self) -> NeuronQuerySet:
        """Annotate the indices of the nearest imported neurons of the layer. Two index seeks a row."""
        layer = self.model._default_manager.filter(model=OuterRef("model"), layer=OuterRef("layer"))
        before = layer.filter(index__lt=OuterRef("index")).order_by("-index").values("index")[:1]
        after = layer.filter(index__gt=OuterRef("index")).order_by("index").values("index")[:1]
        return self.annotate(previous_index=Subquery(before), next_index=Subquery(after))

    def explained(self) -> NeuronQuerySet:
        """Return the neurons that have a current explanation. The index `neuron_explained` serves it."""
        return self.filter(explanation_count__gt=0)

    def at_random(self) -> Neuron | None:
        """Return one of a model's explained neurons; None where there is none. Three queries.

        Seeks a random id in an index, since ORDER BY RANDOM would read them all; a neuron that follows a gap in the
        ids comes up a little more often.
        """
        explained = self.explained().order_by("id")
        first = explained.values_list("id", flat=True).first()
        if first is None:
            return None
        last = explained.reverse().values_list("id", flat=True).first() or first
        return explained.filter(id__gte=first + secrets.randbelow(last - first + 1)).first()

    def at_places(self, places: Mapping[int, Iterable[NeuronId]]) -> NeuronQuerySet:
        """Return the neurons at these places, by model id."""
        wanted: defaultdict[tuple[int, int], set[int]] = defaultdict(set)
        for model_id, neuron_ids in places.items():
            for neuron_id in neuron_ids:
                wanted[model_id, neuron_id.layer].add(neuron_id.index)
        if not wanted:
            return self.none()
        either = Q()
        for (model_id, layer), indices in wanted.items():
            either |= Q(model=model_id, layer=layer, index__in=indices)
        return self.filter(either)

    def with_score(self, lowest: float | None, highest: float | None) -> NeuronQuerySet:
        """Return the neurons whose headline score lies between these, both included; None sets no bound."""
        rows = self
        if lowest is not None:
            rows = rows.filter(headline_score__gte=lowest)
        if highest is not None:
            rows = rows.filter(headline_score__lte=highest)
        return rows

    def saying(self, text: str) -> NeuronQuerySet:
        """Return the neurons whose headline contains this text, letter case aside. Reads every row: bound it first."""
        return self.filter(headline_text__icontains=text)

    def flagged(self) -> NeuronQuerySet:
        return self.filter(open_flag_count__gt=0)

    def unexplained(self) -> NeuronQuerySet:
        return self.filter(explanation_count=0)


class ExplanationQuerySet(models.QuerySet["Explanation"]):
    """Questions about explanations."""

    def bulk_create(self, objs: Iterable[Explanation], *args: Any, **kwargs: Any) -> list[Explanation]:
        rows = list(objs)
        for row in rows:
            row.copy_place()
        return super().bulk_create(rows, *args, **kwargs)

    def current(self) -> ExplanationQuerySet:
        return self.filter(state="current")

    def narrowed(self, criteria: Criteria, *, are_many: bool = False) -> ExplanationQuerySet:
        """Return the explanations that pass the filters of a search; its words are `search.match`'s to look for.

        `are_many` tells how best to find them, and changes nothing else: see `_at_hidden_place`.
        """
        rows = self if criteria.state == "any" else self.filter(state=criteria.state)
        model, layers = criteria.model, criteria.layers
        has_order = model is not None and layers is not None and layers[0] == layers[1]
        if are_many and not has_order and connections[self.db].vendor == "sqlite":
            rows = rows._at_hidden_place(model, layers)
        else:
            rows = rows.at_place(model, layers)
        if criteria.source:
            rows = rows.filter(source=criteria.source)
        return rows.with_score(criteria.min_score, criteria.max_score)

    def at_place(self, model: SubjectModel | None, layers: tuple[int, int] | None) -> ExplanationQuerySet:
        """Return the explanations of neurons of this model, and of these layers; None does not matter.

        The index `explanation_by_layer` serves it, and of one layer of one model in order of scores.
        """
        if layers is None:
            return self if model is None else self.filter(model=model)
        # The index begins with the model.
        models = {"model__in": _all_models(self)} if model is None else {"model": model}
        place = {"layer": layers[0]} if layers[0] == layers[1] else {"layer__range": layers}
        return self.filter(**models, **place)

    def _at_hidden_place(self, model: SubjectModel | None, layers: tuple[int, int] | None) -> ExplanationQuerySet:
        """Return the same, found otherwise.

        SQLite would read all explanations of a model, or of some layers, to sort them. Sums hide the place from its
        planner, so that it walks the index of scores and stops when the page is full.
        """
        rows = self
        if model is not None:
            rows = rows.alias(hidden_model=F("model_id") + 0).filter(hidden_model=model.pk)
        if layers is not None:
            rows = rows.alias(hidden_layer=F("layer") + 0).filter(hidden_layer__range=layers)
        return rows

    def with_score(self, lowest: float | None, highest: float | None) -> ExplanationQuerySet:
        """Return the explanations whose score lies between these, both included; None sets no bound."""
        rows = self if lowest is None else self.filter(score__gte=lowest)
        return rows if highest is None else rows.filter(score__lte=highest)

    def with_neurons(self) -> ExplanationQuerySet:
        """Return the explanations with their neurons and models, but without what a list does not show."""
        return self.select_related("neuron__model").only(
            "text",
            "source",
            "explainer",
            "state",
            "score",
            "simulator",
            "neuron__layer",
            "neuron__index",
            "neuron__headline_id",
            "neuron__model__slug",
            "neuron__model__name",
        )


def _all_models(rows: ExplanationQuerySet) -> models.QuerySet[Any, Any]:
    related: Any = rows.model._meta.get_field("model").related_model
    found: models.QuerySet[Any, Any] = related._default_manager.using(rows.db).order_by().values("pk")
    return found


def review_states(reviewer: User) -> dict[str, Q]:
    """Return what the review queue's states mean to this reviewer."""
    undecided = ["open", "claimed"]
    return {
        "undecided": Q(state__in=undecided),
        "open": Q(state="open"),
        "claimed": Q(state="claimed"),
        "mine": Q(state="claimed", reviewer=reviewer),
        "decided": Q(state__in=["kept", "retired", "reexplained"]),
        "kept": Q(state="kept"),
        "retired": Q(state="retired"),
        "reexplained": Q(state="reexplained"),
        "withdrawn": Q(state="withdrawn"),
        "all": Q(),
    }


FLAG_STATES = ("open", "claimed", "kept", "retired", "reexplained", "withdrawn")


class FlagQuerySet(models.QuerySet["Flag"]):
    """Questions about flags."""

    def undecided(self) -> FlagQuerySet:
        return self.filter(state__in=["open", "claimed"])

    def claimable(self) -> FlagQuerySet:
        """Return the flags that a reviewer may claim: the open ones, and those whose claimer's account is gone."""
        return self.filter(Q(state="open") | Q(state="claimed", reviewer__isnull=True))

    def in_state(self, state: str, reviewer: User) -> FlagQuerySet:
        """Return the flags in a state of the review queue; "mine" are those that `reviewer` has claimed."""
        return self.filter(review_states(reviewer)[state])

    def count_states(self, reviewer: User) -> dict[str, int]:
        """Return the number of flags in each state of the review queue. Two queries, the first from an index alone."""
        found = dict(self.order_by().values_list("state").annotate(Count("pk")))
        counts = {state: found.get(state, 0) for state in FLAG_STATES}
        undecided = counts["open"] + counts["claimed"]
        every = sum(counts.values())
        mine = self.in_state("mine", reviewer).count()
        return {
            **counts,
            "undecided": undecided,
            "mine": mine,
            "decided": every - undecided - counts["withdrawn"],
            "all": every,
        }

    def for_review(self) -> FlagQuerySet:
        """Return flags with all that the queue shows of them.

        `last_event` is what a form says it has seen; `other_flags` and `other_undecided` count those of the same
        explanation.
        """
        this = self.model._default_manager.order_by().filter(pk=OuterRef("pk"))
        others = self.model._default_manager.filter(explanation=OuterRef("explanation")).exclude(pk=OuterRef("pk"))
        rows = self.select_related("explanation__neuron__model", "reporter", "reviewer", "job").defer(
            # Longer than all else together, and shown by other pages.
            "explanation__neuron__peak",
            *(f"explanation__neuron__model__{name}" for name in ("statistics", "highlights", "description", "source")),
        )
        return rows.annotate(
            last_event=Subquery(this.values("pk").annotate(last=Max("events")).values("last")),
            other_flags=_count(others),
            other_undecided=_count(others.filter(state__in=["open", "claimed"])),
        )


def _count(flags: models.QuerySet[Flag]) -> Coalesce:
    """Return the number of these flags, all of one explanation, as a column."""
    return Coalesce(Subquery(flags.order_by().values("explanation").annotate(n=Count("pk")).values("n")), 0)


class JobQuerySet(models.QuerySet["Job"]):
    """Questions about jobs."""

    def unfinished(self) -> JobQuerySet:
        return self.filter(state__in=["queued", "running"])

    def with_pages(self) -> JobQuerySet:
        """Return jobs with all that their pages show of them, results aside. One query."""
        return self.select_related("neuron__model", "requested_by", "parent", "explanation").defer("neuron__peak")
