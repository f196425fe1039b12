"""What people ask of workers, and what that costs."""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now
from django.urls import reverse

from explanations import querysets
from explanations.models.explanation import Explanation
from explanations.models.subject import Neuron


class Job(models.Model):
    """A re-explanation that somebody asked for, or the scoring of an explanation that a person wrote.

    The worker that runs it holds a lease and renews it while it works. What it may still spend is held on the
    books of the day on which it was asked for: see `budgets`.
    """

    class State(models.TextChoices):
        QUEUED = "queued", "queued"
        RUNNING = "running", "running"
        DONE = "done", "done"
        FAILED = "failed", "failed"
        CANCELLED = "cancelled", "cancelled"

    UNFINISHED: ClassVar = [State.QUEUED, State.RUNNING]

    neuron = models.ForeignKey(Neuron, on_delete=models.CASCADE, related_name="jobs")
    parent = models.ForeignKey(
        Explanation,
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="jobs",
        help_text="What it is to better.",
    )
    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="jobs_requested"
    )
    explainer = models.CharField(max_length=120)
    simulator = models.CharField(max_length=120)
    text = models.TextField(blank=True, help_text="An explanation that a person wrote; empty where one is to be made.")
    options = models.JSONField(default=dict, blank=True)
    estimate = models.JSONField(default=dict, blank=True, help_text="What it was expected to take: Estimate's fields.")
    state = models.CharField(max_length=10, choices=State, default=State.QUEUED)
    cancel_requested = models.BooleanField(default=False)
    stage = models.CharField(max_length=120, blank=True, help_text="What it is doing, in words.")
    progress_done = models.PositiveIntegerField(default=0)
    progress_total = models.PositiveIntegerField(default=0)
    attempts = models.PositiveSmallIntegerField(default=0)
    lease_owner = models.CharField(max_length=80, blank=True)
    lease_until = models.DateTimeField(null=True)
    error = models.TextField(blank=True)
    tokens_in = models.PositiveBigIntegerField(default=0)
    tokens_out = models.PositiveBigIntegerField(default=0)
    cost_usd = models.DecimalField(max_digits=12, decimal_places=6, default=0)
    held_usd = models.DecimalField(
        max_digits=12, decimal_places=6, default=0, help_text="Held for it until it is finished: the most it may cost."
    )
    budget_day = models.DateField(null=True, help_text="The day whose budget it is held from; empty where it is free.")
    created_at = models.DateTimeField(db_default=Now())
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)

    objects = querysets.JobQuerySet.as_manager()

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(state__in=["queued", "running"], finished_at__isnull=True)
                | Q(state__in=["done", "failed", "cancelled"], finished_at__isnull=False),
                name="job_finished_has_time",
            ),
            models.CheckConstraint(
                condition=~Q(state="running") | Q(lease_until__isnull=False), name="job_running_has_lease"
            ),
            models.UniqueConstraint(
                fields=["neuron", "explainer", "simulator", "text"],
                condition=Q(state__in=["queued", "running"]),
                name="job_unfinished_once",
            ),
        ]
        indexes: ClassVar = [
            models.Index(F("state"), F("id"), name="job_by_state"),
        ]

    def __str__(self) -> str:
        return f"job {self.pk}"

    def get_absolute_url(self) -> str:
        return reverse("job", args=[self.pk])

    @property
    def is_finished(self) -> bool:
        return self.state not in self.UNFINISHED

    @property
    def rescores(self) -> bool:
        """Return whether it scores `parent` once more, by another simulator, rather than explaining anything."""
        return bool(self.options.get("rescores"))


class SpendingDay(models.Model):
    """What language models cost on a day, in all (without a person) or for one person. In millionths of a dollar.

    Whole numbers, because SQLite adds decimals as floating point. Only `budgets` writes here.
    """

    day = models.DateField()
    person = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.CASCADE, related_name="+")
    held = models.BigIntegerField(default=0, help_text="For jobs that are not finished.")
    spent = models.BigIntegerField(default=0)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["day", "person"], name="spending_once_a_person"),
            models.UniqueConstraint(fields=["day"], condition=Q(person=None), name="spending_once_in_all"),
            models.CheckConstraint(condition=Q(held__gte=0, spent__gte=0), name="spending_not_negative"),
        ]

    def __str__(self) -> str:
        return f"spending on {self.day}"


class RunHold(models.Model):
    """What a run of the command line holds on a day's books while it lives: see `run_holds`. Millionths of a dollar."""

    owner = models.CharField(max_length=32)
    day = models.DateField()
    held = models.BigIntegerField(default=0)
    spent = models.BigIntegerField(default=0, help_text="Of what is held, by those under way.")
    lease_until = models.DateTimeField()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["owner", "day"], name="run_hold_once_a_day"),
            models.CheckConstraint(condition=Q(held__gte=0, spent__gte=0), name="run_hold_not_negative"),
        ]

    def __str__(self) -> str:
        return f"hold of a run on {self.day}"
