"""A text that a person tries on a neuron, or on all of a model's."""

from __future__ import annotations

from datetime import timedelta
from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.urls import reverse
from django.utils import timezone


class TrialQuerySet(models.QuerySet["Trial"]):
    """Questions about texts that people tried."""

    def unfinished(self) -> TrialQuerySet:
        return self.filter(state__in=["queued", "running"])

    def kept(self) -> TrialQuerySet:
        """Return those that anybody may open."""
        return self.filter(is_kept=True)

    def visible_to(self, person_id: int | None) -> TrialQuerySet:
        """Return those that a person may open: the kept ones, and one's own that are not deleted."""
        own = Q(author=person_id) & ~Q(state="deleted") if person_id is not None else Q(pk=None)
        return self.filter(Q(is_kept=True) | own)

    def forgettable(self) -> TrialQuerySet:
        """Return those that nobody kept, a day after they were asked for; the index `trial_not_kept` serves it."""
        return self.filter(is_kept=False, created_at__lt=timezone.now() - timedelta(days=1))


class Trial(models.Model):
    """A text that a person tries on one neuron, or on a whole model, with what came of it.

    The worker that runs it holds a lease and renews it while it works, as with jobs. One that is not kept is forgotten
    after a day; a deleted one loses text and result at once, and still counts in its author's hour.
    """

    class State(models.TextChoices):
        QUEUED = "queued", "queued"
        RUNNING = "running", "running"
        DONE = "done", "done"
        FAILED = "failed", "failed"
        DELETED = "deleted", "deleted"

    UNFINISHED: ClassVar = [State.QUEUED, State.RUNNING]

    model = models.ForeignKey("SubjectModel", on_delete=models.CASCADE, related_name="trials")
    neuron = models.ForeignKey(
        "Neuron",
        null=True,
        blank=True,
        on_delete=models.CASCADE,
        related_name="trials",
        help_text="Empty where all neurons of the model are asked for.",
    )
    author = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="trials", db_index=False
    )
    text = models.TextField(blank=True)
    state = models.CharField(max_length=8, choices=State, default=State.QUEUED)
    stage = models.CharField(max_length=120, blank=True, help_text="What its worker is doing, in words.")
    attempts = models.PositiveSmallIntegerField(default=0)
    lease_owner = models.CharField(max_length=80, blank=True)
    lease_until = models.DateTimeField(null=True)
    error = models.TextField(blank=True)
    result = models.BinaryField(default=b"", help_text="pipeline.trying.encode of what came of it.")
    is_kept = models.BooleanField(default=False, help_text="Its author keeps it: anybody may open it.")
    created_at = models.DateTimeField(db_default=Now())
    finished_at = models.DateTimeField(null=True)

    objects = TrialQuerySet.as_manager()

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(state__in=["queued", "running"], finished_at__isnull=True)
                | Q(state__in=["done", "failed", "deleted"], finished_at__isnull=False),
                name="trial_finished_has_time",
            ),
            models.CheckConstraint(
                condition=~Q(state="running") | Q(lease_until__isnull=False), name="trial_running_has_lease"
            ),
            models.CheckConstraint(condition=Q(is_kept=False) | Q(state="done"), name="trial_kept_is_done"),
            models.CheckConstraint(condition=~Q(state="deleted") | Q(text=""), name="trial_deleted_has_no_text"),
        ]
        indexes: ClassVar = [
            models.Index(fields=["neuron", "-id"], condition=Q(is_kept=True), name="trial_kept_of_neuron"),
            models.Index(
                fields=["model", "-id"], condition=Q(is_kept=True, neuron__isnull=True), name="trial_kept_of_model"
            ),
            models.Index(fields=["author", "created_at"], name="trial_of_author"),
            models.Index(fields=["created_at"], condition=Q(is_kept=False), name="trial_not_kept"),
            models.Index(fields=["id"], condition=Q(state__in=["queued", "running"]), name="trial_unfinished"),
        ]

    def __str__(self) -> str:
        return f"text {self.pk}"

    def get_absolute_url(self) -> str:
        return reverse("trial", args=[self.pk])

    @property
    def is_finished(self) -> bool:
        return self.state not in self.UNFINISHED
