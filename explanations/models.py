"""The rows. Facts about one row are methods here; questions about many are in `querysets`; writes are in `store`.

Activations are never a row each: a neuron's records are one packed row (`ActivationSet`), whose bytes
`pipeline.packing` writes and reads.
"""

from __future__ import annotations

from functools import lru_cache
from typing import ClassVar

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import RegexValidator
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now
from django.urls import get_script_prefix, reverse

from explanations import querysets
from explanations.pipeline.layout import ALL_KINDS
from explanations.pipeline.records import NeuronId
from explanations.trial_row import Trial

__all__ = [
    "RESERVED_SLUGS",
    "ActivationSet",
    "Excerpt",
    "Explanation",
    "Flag",
    "Job",
    "Neuron",
    "RelatedSet",
    "ReviewEvent",
    "Simulation",
    "Source",
    "SpendingDay",
    "SubjectModel",
    "Trial",
    "validate_slug_is_free",
]

RESERVED_SLUGS = frozenset(
    {"accounts", "admin", "api", "explanations", "go", "jobs", "random", "review", "search", "static", "tries"}
)
"""First parts of our own addresses: no model may be called so, since models live at `/<slug>/`."""


def validate_slug_is_free(slug: str) -> None:
    if slug in RESERVED_SLUGS:
        raise ValidationError(f"“{slug}” is an address of this site; choose another name for the model.")


@lru_cache(maxsize=256)
def _neuron_address(slug: str, prefix: str) -> tuple[str, str, str]:  # noqa: ARG001  the prefix is in what is kept
    """Return what stands before, between and after the two numbers in the address of a neuron.

    Kept, since a page links to sixty neurons and `reverse` takes 30 microseconds for each.
    """
    rest, _, after = reverse("neuron", args=[slug, 0, 0]).rpartition("0")
    before, _, between = rest.rpartition("0")
    return before, between, after


class SubjectModel(models.Model):
    """A language model whose neurons are explained."""

    slug = models.CharField(
        max_length=60,
        unique=True,
        validators=[
            RegexValidator(r"^[a-z0-9][a-z0-9._-]*\Z", "Use a-z, 0-9, '.', '_' and '-'."),
            validate_slug_is_free,
        ],
    )
    name = models.CharField(max_length=200)
    layers = models.PositiveSmallIntegerField()
    neurons_per_layer = models.PositiveIntegerField()
    tokenizer = models.CharField(max_length=200, blank=True)
    description = models.TextField(blank=True)
    source = models.TextField(blank=True, help_text="Where the data comes from.")
    license = models.TextField(blank=True, help_text="The licences of model, corpus and data.")
    data_address = models.CharField(
        max_length=500,
        blank=True,
        help_text="The web address that its data was last imported from; empty for a folder.",
    )
    is_synthetic = models.BooleanField(default=False, help_text="The data is made up; every page says so.")
    is_gated = models.BooleanField(
        default=False, help_text="Its MLPs are gated: where weights are spoken of, the gate's stand for c_fc."
    )
    highlights = models.JSONField(default=list, blank=True, help_text="Interesting neurons: layer, neuron, label.")
    statistics = models.JSONField(default=dict, blank=True, help_text="Counts and scores, as statistics.py lays out.")
    statistics_at = models.DateTimeField(null=True, blank=True, help_text="When the statistics were computed.")
    created_at = models.DateTimeField(db_default=Now())

    objects = querysets.SubjectModelQuerySet.as_manager()

    class Meta:
        ordering: ClassVar = ["slug"]
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(layers__gte=1, neurons_per_layer__gte=1), name="subject_model_has_neurons"
            ),
            models.CheckConstraint(condition=~Q(slug__in=sorted(RESERVED_SLUGS)), name="subject_model_slug_is_free"),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def neuron_count(self) -> int:
        """How many neurons the model has, imported or not."""
        return self.layers * self.neurons_per_layer

    def get_absolute_url(self) -> str:
        return reverse("model", args=[self.slug])

    def layer_url(self, layer: int) -> str:
        return reverse("layer", args=[self.slug, layer])

    def neuron_url(self, layer: int, index: int) -> str:
        """Return the address of a neuron of this model, whether it has been imported or not."""
        before, between, after = _neuron_address(self.slug, get_script_prefix())
        return f"{before}{layer}{between}{index}{after}"

    def holds(self, neuron_id: NeuronId) -> bool:
        """Return whether the model has such a neuron at all."""
        return 0 <= neuron_id.layer < self.layers and 0 <= neuron_id.index < self.neurons_per_layer


class Neuron(models.Model):
    """One neuron, with its headline explanation beside it so that a layer's page is one index scan.

    The headline is the current explanation that `headlines` chooses.
    `store.refresh_headlines` keeps it, and the counts.
    """

    model = models.ForeignKey(SubjectModel, on_delete=models.CASCADE, related_name="neurons")
    layer = models.PositiveSmallIntegerField()
    index = models.PositiveIntegerField()
    mean = models.FloatField(null=True)
    variance = models.FloatField(null=True)
    skewness = models.FloatField(null=True)
    kurtosis = models.FloatField(null=True)
    max_activation = models.FloatField(null=True)
    peak = models.BinaryField(default=b"", help_text="The tokens around the maximum, packed: store.unpack_peak.")
    headline = models.ForeignKey("Explanation", null=True, on_delete=models.SET_NULL, related_name="+")
    headline_text = models.TextField(blank=True)
    headline_score = models.FloatField(null=True)
    headline_simulator = models.CharField(max_length=120, blank=True)
    explanation_count = models.PositiveIntegerField(default=0, help_text="Current explanations.")
    open_flag_count = models.PositiveIntegerField(default=0, help_text="Flags that wait for a decision.")

    objects = querysets.NeuronQuerySet.as_manager()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["model", "layer", "index"], name="neuron_is_unique"),
        ]
        indexes: ClassVar = [
            models.Index(F("model"), F("layer"), F("headline_score").desc(), F("index"), name="neuron_by_score"),
            models.Index(F("model"), F("layer"), F("max_activation").desc(), F("index"), name="neuron_by_max"),
            models.Index(F("model"), F("layer"), F("kurtosis").desc(), F("index"), name="neuron_by_kurtosis"),
            models.Index(F("model"), F("layer"), F("open_flag_count").desc(), F("index"), name="neuron_by_flags"),
            models.Index(F("model"), F("headline_score").desc(), name="neuron_by_model_score"),
            models.Index(fields=["model", "id"], condition=Q(explanation_count__gt=0), name="neuron_explained"),
        ]

    def __str__(self) -> str:
        return f"{self.model.slug} {self.layer}:{self.index}"

    @property
    def neuron_id(self) -> NeuronId:
        return NeuronId(self.layer, self.index)

    def get_absolute_url(self) -> str:
        """Return the neuron's page. Costs a query where `model` was not fetched with it."""
        return self.model.neuron_url(self.layer, self.index)


class Excerpt(models.Model):
    """A tokenised text, stored once a model."""

    model = models.ForeignKey(SubjectModel, on_delete=models.CASCADE, related_name="excerpts")
    key = models.BigIntegerField(help_text="pipeline.packing.excerpt_key of its tokens.")
    tokens = models.BinaryField(help_text="pipeline.packing.pack_tokens of its tokens.")

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=["model", "key"], name="excerpt_is_unique")]

    def __str__(self) -> str:
        return f"excerpt {self.key} of {self.model.slug}"


class ActivationSet(models.Model):
    """All activation records of a neuron, packed: pipeline.packing.pack_records."""

    neuron = models.OneToOneField(Neuron, primary_key=True, on_delete=models.CASCADE, related_name="activation_set")
    data = models.BinaryField()

    def __str__(self) -> str:
        return f"activations of {self.neuron}"


class RelatedSet(models.Model):
    """A neuron's related tokens and neurons, packed: pipeline.packing.pack_related."""

    neuron = models.OneToOneField(Neuron, primary_key=True, on_delete=models.CASCADE, related_name="related_set")
    data = models.BinaryField()

    def __str__(self) -> str:
        return f"related tokens and neurons of {self.neuron}"


class LayerGaps(models.Model):
    """The files of one kind that a source did not have for a layer's neurons. Only `importing.gaps` writes here.

    Neurons as ranges, since a source may lack whole layers.
    """

    model = models.ForeignKey(SubjectModel, on_delete=models.CASCADE, related_name="gaps")
    source = models.CharField(max_length=500, blank=True, help_text="The source's web address; empty for folders.")
    layer = models.PositiveSmallIntegerField()
    kind = models.CharField(max_length=40, help_text="pipeline.layout.DataKind")
    ranges = models.JSONField(default=list, help_text="Neurons without such a file: [first, last], ...")

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["model", "source", "layer", "kind"], name="layer_gaps_once_a_source"),
            models.CheckConstraint(
                condition=Q(kind__in=[kind.value for kind in ALL_KINDS]), name="layer_gaps_kind_is_known"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} of layer {self.layer} missing at {self.source or 'a folder'}"


class Source(models.TextChoices):
    """Who or what wrote an explanation."""

    PUBLISHED = "published", "published"
    MODEL = "model", "language model"
    HUMAN = "human", "a person"
    BASELINE = "baseline", "baseline"


class Explanation(models.Model):
    """What somebody or something says a neuron does."""

    class State(models.TextChoices):
        CURRENT = "current", "current"
        RETIRED = "retired", "retired"

    neuron = models.ForeignKey(Neuron, on_delete=models.CASCADE, related_name="explanations")
    text = models.TextField()
    source = models.CharField(max_length=12, choices=Source)
    explainer = models.CharField(max_length=120, blank=True, help_text="Empty where the source does not say.")
    prompt_version = models.CharField(max_length=60, blank=True)
    dataset_position = models.PositiveSmallIntegerField(
        null=True, help_text="Its place in the imported file; empty for explanations made here."
    )
    parent = models.ForeignKey("self", null=True, blank=True, on_delete=models.SET_NULL, related_name="revisions")
    author = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="explanations"
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
            models.UniqueConstraint(
                fields=["neuron", "dataset_position"],
                condition=Q(dataset_position__isnull=False),
                name="explanation_is_imported_once",
            ),
        ]
        indexes: ClassVar = [
            models.Index(F("score").desc(), F("id"), name="explanation_by_score"),
            models.Index(F("state"), F("score").desc(), F("id"), name="explanation_by_state"),
            models.Index(F("source"), F("state"), F("score").desc(), F("id"), name="explanation_by_source"),
        ]

    def __str__(self) -> str:
        return self.text

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
