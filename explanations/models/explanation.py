"""What somebody or something says a neuron does, and what simulators make of it."""

from __future__ import annotations

from typing import Any, ClassVar

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from explanations import querysets
from explanations.models.subject import Neuron, SubjectModel


class Source(models.TextChoices):
    """Who or what wrote an explanation."""

    PUBLISHED = "published", "published"
    MODEL = "model", "language model"
    HUMAN = "human", "a person"
    BASELINE = "baseline", "baseline"


class Explanation(models.Model):
    """What somebody or something says a neuron does.

    It holds the model and layer of its neuron too, which never change, so that an index narrows searches to them.
    """

    class State(models.TextChoices):
        CURRENT = "current", "current"
        RETIRED = "retired", "retired"

    # The index of `explanation_is_imported_once` begins with it.
    neuron = models.ForeignKey(Neuron, on_delete=models.CASCADE, related_name="explanations", db_index=False)
    # The neuron's own key guards it, and is what a deleted model's explanations are found by.
    model = models.ForeignKey(
        SubjectModel, on_delete=models.DO_NOTHING, related_name="+", db_constraint=False, db_index=False, editable=False
    )
    layer = models.PositiveSmallIntegerField(editable=False)
    text = models.TextField()
    source = models.CharField(max_length=12, choices=Source)
    explainer = models.CharField(max_length=120, blank=True, help_text="Empty where the source does not say.")
    prompt_version = models.CharField(max_length=60, blank=True)
    dataset_position = models.PositiveSmallIntegerField(
        null=True, help_text="Its place in the imported file; empty for explanations made here."
    )
    # Imported explanations have neither: the indexes below are of the others alone.
    parent = models.ForeignKey(
        "self", null=True, blank=True, db_index=False, on_delete=models.SET_NULL, related_name="revisions"
    )
    author = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        blank=True,
        db_index=False,
        on_delete=models.SET_NULL,
        related_name="explanations",
    )
    job = models.OneToOneField("Job", null=True, blank=True, on_delete=models.SET_NULL, related_name="explanation")
    state = models.CharField(max_length=8, choices=State, default=State.CURRENT)
    score = models.FloatField(
        null=True, help_text="ev_correlation of the simulation that `headlines` chooses; NULL is undefined."
    )
    simulator = models.CharField(max_length=120, blank=True, help_text="The simulator of that simulation.")
    created_at = models.DateTimeField(db_default=Now())

    objects = querysets.ExplanationQuerySet.as_manager()

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(condition=~Q(text=""), name="explanation_has_text"),
            models.CheckConstraint(condition=Q(source__in=Source.values), name="explanation_source_is_known"),
            models.CheckConstraint(condition=Q(state__in=["current", "retired"]), name="explanation_state_is_known"),
            # Explanations made here have no position, and NULL equals nothing.
            models.UniqueConstraint(fields=["neuron", "dataset_position"], name="explanation_is_imported_once"),
        ]
        indexes: ClassVar = [
            models.Index(F("score").desc(), F("id"), name="explanation_by_score"),
            models.Index(F("state"), F("score").desc(), F("id"), name="explanation_by_state"),
            models.Index(F("source"), F("state"), F("score").desc(), F("id"), name="explanation_by_source"),
            models.Index(F("model"), F("layer"), F("score").desc(), F("id"), name="explanation_by_layer"),
            models.Index(fields=["parent"], condition=Q(parent__isnull=False), name="explanation_by_parent"),
            models.Index(fields=["author"], condition=Q(author__isnull=False), name="explanation_by_author"),
        ]

    def __str__(self) -> str:
        return self.text

    def save(self, *args: Any, **kwargs: Any) -> None:
        if self._state.adding:
            self.copy_place()
        super().save(*args, **kwargs)

    def copy_place(self) -> None:
        """Take over the neuron's model and layer. A query where the neuron was not fetched."""
        self.model_id, self.layer = self.neuron.model_id, self.neuron.layer

    @property
    def is_current(self) -> bool:
        return self.state == self.State.CURRENT


class Simulation(models.Model):
    """What a simulator made of an explanation, and how well it matches; NULL scores are undefined, never zero."""

    explanation = models.ForeignKey(Explanation, on_delete=models.CASCADE, related_name="simulations")
    simulator = models.CharField(max_length=120, blank=True, help_text="Empty where the source does not say.")
    method = models.CharField(max_length=60, blank=True)
    scale = models.CharField(max_length=40)
    excerpt_count = models.PositiveSmallIntegerField(help_text="Excerpts that were simulated, without failures.")
    data = models.BinaryField(help_text="pipeline.packing.pack_sequences of its excerpts.")
    ev_correlation = models.FloatField(null=True)
    rsquared = models.FloatField(null=True)
    absolute_dev_explained = models.FloatField(null=True)
    top_only = models.FloatField(null=True, help_text="ev_correlation over the top excerpts alone.")
    random_only = models.FloatField(null=True, help_text="ev_correlation over the random excerpts alone.")
    failures = models.JSONField(default=list, help_text="Excerpts that failed: [place, reason].")
    tokens_in = models.PositiveBigIntegerField(default=0)
    tokens_out = models.PositiveBigIntegerField(default=0)
    cost_usd = models.DecimalField(max_digits=12, decimal_places=6, default=0)
    # NULL where it is not known: SQLite adds such a column without rewriting the table.
    provenance = models.JSONField(
        null=True, blank=True, help_text="How it and the explanation came about: pipeline.run.Provenance; NULL unknown."
    )
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints: ClassVar = [
            # A little slack: published correlations were computed in floating point.
            models.CheckConstraint(
                condition=Q(ev_correlation__isnull=True)
                | Q(ev_correlation__gte=-1.000001, ev_correlation__lte=1.000001),
                name="simulation_correlation_in_range",
            ),
        ]

    def __str__(self) -> str:
        return f"simulation of explanation {self.explanation_id} by {self.simulator or 'an unnamed simulator'}"
