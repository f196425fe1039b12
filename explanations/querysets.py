"""Questions about many rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import models

if TYPE_CHECKING:
    from explanations.models import Explanation, Flag, Job, Neuron


class NeuronQuerySet(models.QuerySet["Neuron"]):
    """Questions about neurons."""


class ExplanationQuerySet(models.QuerySet["Explanation"]):
    """Questions about explanations."""

    def current(self) -> ExplanationQuerySet:
        return self.filter(state="current")


class FlagQuerySet(models.QuerySet["Flag"]):
    """Questions about flags."""

    def undecided(self) -> FlagQuerySet:
        return self.filter(state__in=["open", "claimed"])


class JobQuerySet(models.QuerySet["Job"]):
    """Questions about jobs."""

    def unfinished(self) -> JobQuerySet:
        return self.filter(state__in=["queued", "running"])
