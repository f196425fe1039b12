"""A subject model, its neurons, and what is stored of each."""

from __future__ import annotations

from typing import ClassVar

from django.core.exceptions import ValidationError
from django.core.validators import RegexValidator
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from explanations import querysets
from explanations.addresses import address
from explanations.pipeline.layout import ALL_KINDS
from explanations.pipeline.records import NeuronId

RESERVED_SLUGS = frozenset(
    {"accounts", "admin", "api", "explanations", "go", "jobs", "random", "review", "search", "static", "tries"}
)
"""First parts of our own addresses: no model may be called so, since models live at `/<slug>/`."""


def validate_slug_is_free(slug: str) -> None:
    if slug in RESERVED_SLUGS:
        raise ValidationError(f"“{slug}” is an address of this site; choose another name for the model.")


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
        return address("model", self.slug)

    def layer_url(self, layer: int) -> str:
        return address("layer", self.slug, layer)

    def neuron_url(self, layer: int, index: int) -> str:
        """Return the address of a neuron of this model, whether it has been imported or not."""
        return address("neuron", self.slug, layer, index)

    def holds(self, neuron_id: NeuronId) -> bool:
        """Return whether the model has such a neuron at all."""
        return 0 <= neuron_id.layer < self.layers and 0 <= neuron_id.index < self.neurons_per_layer


class Neuron(models.Model):
    """One neuron, with its headline explanation beside it so that a layer's page is one index scan.

    The headline is the current explanation that `headlines` chooses.
    `store.refresh_headlines` keeps it, and the counts.
    """

    # The constraint's index begins with it.
    model = models.ForeignKey(SubjectModel, on_delete=models.CASCADE, related_name="neurons", db_index=False)
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

    # The constraint's index begins with it.
    model = models.ForeignKey(SubjectModel, on_delete=models.CASCADE, related_name="excerpts", db_index=False)
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
