"""The rows. Facts about one row are methods here; questions about many are in `querysets`; writes are in `store`.

Activations are never a row each: a neuron's records are one packed row (`ActivationSet`), whose bytes
`pipeline.packing` writes and reads.
"""

from explanations.models.explanation import Explanation, Simulation, Source
from explanations.models.job import Job, RunHold, SpendingDay
from explanations.models.review import Flag, ReviewEvent
from explanations.models.subject import (
    RESERVED_SLUGS,
    ActivationSet,
    Excerpt,
    LayerGaps,
    Neuron,
    RelatedSet,
    SubjectModel,
    validate_slug_is_free,
)
from explanations.models.trial import Trial, TrialQuerySet

__all__ = [
    "RESERVED_SLUGS",
    "ActivationSet",
    "Excerpt",
    "Explanation",
    "Flag",
    "Job",
    "LayerGaps",
    "Neuron",
    "RelatedSet",
    "ReviewEvent",
    "RunHold",
    "Simulation",
    "Source",
    "SpendingDay",
    "SubjectModel",
    "Trial",
    "TrialQuerySet",
    "validate_slug_is_free",
]
