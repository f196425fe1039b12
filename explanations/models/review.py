"""People's doubts about explanations, and what came of them."""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now
from django.urls import reverse

from explanations import querysets
from explanations.models.explanation import Explanation


class Flag(models.Model):
    """A person's doubt about an explanation, and what came of it."""

    class Reason(models.TextChoices):
        WRONG = "wrong", "wrong"
        TOO_BROAD = "too_broad", "too broad"
        TOO_NARROW = "too_narrow", "too narrow"
        VAGUE = "vague", "vague"
        OTHER = "other", "other"

    class State(models.TextChoices):
        OPEN = "open", "open"
        CLAIMED = "claimed", "claimed"
        KEPT = "kept", "kept"
        RETIRED = "retired", "retired"
        REEXPLAINED = "reexplained", "retired and re-explained"
        WITHDRAWN = "withdrawn", "withdrawn"

    UNDECIDED: ClassVar = [State.OPEN, State.CLAIMED]

    explanation = models.ForeignKey(Explanation, on_delete=models.CASCADE, related_name="flags")
    reporter = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="flags_reported"
    )
    reason = models.CharField(max_length=12, choices=Reason)
    note = models.TextField(blank=True, max_length=2000)
    state = models.CharField(max_length=12, choices=State, default=State.OPEN)
    reviewer = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="flags_reviewed"
    )
    decision_reason = models.TextField(blank=True, max_length=2000)
    job = models.ForeignKey(
        "Job",
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="flags",
        help_text="The re-explanation that the decision asked for.",
    )
    created_at = models.DateTimeField(db_default=Now())
    claimed_at = models.DateTimeField(null=True)
    decided_at = models.DateTimeField(null=True)

    objects = querysets.FlagQuerySet.as_manager()

    class Meta:
        permissions: ClassVar = [("review_flag", "Can decide on flagged explanations")]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["explanation", "reporter"], condition=Q(state__in=["open", "claimed"]), name="flag_open_once"
            ),
            models.CheckConstraint(
                condition=Q(reason__in=["wrong", "too_broad", "too_narrow", "vague", "other"]),
                name="flag_reason_is_known",
            ),
            models.CheckConstraint(
                condition=Q(state__in=["open", "claimed"], decided_at__isnull=True)
                | Q(state__in=["kept", "retired", "reexplained", "withdrawn"], decided_at__isnull=False),
                name="flag_decided_has_time",
            ),
            models.CheckConstraint(
                condition=Q(state__in=["open", "claimed", "withdrawn"]) | ~Q(decision_reason=""),
                name="flag_decided_has_reason",
            ),
            models.CheckConstraint(
                condition=~Q(state="open") | Q(reviewer__isnull=True), name="flag_open_has_no_reviewer"
            ),
            models.CheckConstraint(condition=~Q(reason="other") | ~Q(note=""), name="flag_other_has_note"),
        ]
        indexes: ClassVar = [
            models.Index(F("state"), F("id"), name="flag_by_state"),
        ]

    def __str__(self) -> str:
        return f"{self.get_reason_display()}: {self.explanation_id}"

    def get_absolute_url(self) -> str:
        return reverse("flag_history", args=[self.pk])

    @property
    def is_undecided(self) -> bool:
        return self.state in self.UNDECIDED


class ReviewEvent(models.Model):
    """One step in a flag's history. Rows are only ever added."""

    class Action(models.TextChoices):
        FLAGGED = "flagged", "flagged"
        CLAIMED = "claimed", "claimed"
        RELEASED = "released", "released"
        KEPT = "kept", "kept"
        RETIRED = "retired", "retired"
        REEXPLAINED = "reexplained", "retired and sent to be re-explained"
        WITHDRAWN = "withdrawn", "withdrawn"
        RESTORED = "restored", "explanation restored"

    flag = models.ForeignKey(Flag, on_delete=models.CASCADE, related_name="events")
    actor = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    action = models.CharField(max_length=12, choices=Action)
    reason = models.TextField(blank=True)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering: ClassVar = ["id"]
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(
                    action__in=[
                        "flagged",
                        "claimed",
                        "released",
                        "kept",
                        "retired",
                        "reexplained",
                        "withdrawn",
                        "restored",
                    ]
                ),
                name="review_event_action_is_known",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.action} flag {self.flag_id}"
