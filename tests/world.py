"""One tiny world that tests share: a model of 2 layers x 4 neurons, with records, explanations and people.

tiny 0:0  a written explanation (0.4) and the baseline (0.7), with simulations of ten excerpts each
tiny 0:1  an explanation that nobody simulated: its score is undefined
tiny 0:2  records, but no explanation
tiny 0:3  a retired explanation only
tiny 1:0  a written explanation (0.9), full of hostile text and tokens
tiny 1:1 .. 1:3  not imported
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from django.contrib.auth.models import Permission, User

from explanations import store
from explanations.models import ActivationSet, Excerpt, Explanation, Neuron, Source, SubjectModel
from explanations.pipeline import packing
from explanations.pipeline.records import (
    ActivationRecord,
    NeuronId,
    NeuronRecord,
    ScoredExplanation,
    Scores,
    SequenceSimulation,
    Simulation,
    Split,
    split_records,
)

HOSTILE = "<script>alert(1)</script> & \"quotes\" 'here' {{ 7|add:7 }}"
WORDS = [
    " the",
    " cat",
    " sat",
    "\n",
    " on",
    " Tuesday",
    "\t",
    "<b>",
    " mat",
    ".",
    "\ufffd",
    "é",
    " 42",
    " blue",
    " Paris",
    "ly",
]
EXCERPT_TOKENS = 12


def make_excerpt(number: int, vocabulary: list[str] = WORDS) -> tuple[str, ...]:
    """Return the number-th excerpt: always the same tokens for the same number."""
    rng = np.random.default_rng(number)
    return tuple(vocabulary[i] for i in rng.integers(0, len(vocabulary), EXCERPT_TOKENS))


def make_record(neuron_id: NeuronId, vocabulary: list[str] = WORDS) -> NeuronRecord:
    """Return a record with 20 top, 20 random and 4 x 5 quantile excerpts, signed values, top ones best first."""
    rng = np.random.default_rng([neuron_id.layer, neuron_id.index])

    def records(count: int, first: int) -> list[ActivationRecord]:
        return [
            ActivationRecord(
                make_excerpt(first + i, vocabulary), np.float16(rng.normal(0, 1, EXCERPT_TOKENS)).astype(float)
            )
            for i in range(count)
        ]

    top = sorted(records(20, 0), key=lambda r: -float(r.activations.max()))
    return NeuronRecord(
        neuron_id=neuron_id,
        top=tuple(top),
        random=tuple(records(20, 100)),
        by_quantile=tuple(tuple(records(5, 200 + 10 * q)) for q in range(4)),
        quantile_boundaries=(0.0, 0.5, 0.9, 0.99, 0.999),
        mean=0.01,
        variance=1.0,
        skewness=0.2,
        kurtosis=3.0 + neuron_id.index,
    )


def make_simulation(record: NeuronRecord, score: float | None, simulator: str) -> Simulation:
    """Return a simulation of the valid split whose values are made up and whose score is `score`."""
    rng = np.random.default_rng(7)
    sequences = tuple(
        SequenceSimulation(
            r.tokens, np.float16(rng.uniform(0, 10, len(r.tokens))).astype(float), r.activations, kind, Scores(score)
        )
        for kind, r in split_records(record, Split.VALID)
    )
    return Simulation(sequences, Scores(score, 0.1, 0.2), simulator=simulator, top_only=score, random_only=None)


def add_neuron(model: SubjectModel, layer: int, index: int, vocabulary: list[str] = WORDS) -> Neuron:
    """Store a neuron with its records."""
    record = make_record(NeuronId(layer, index), vocabulary)
    neuron = Neuron.objects.create(
        model=model,
        layer=layer,
        index=index,
        mean=record.mean,
        variance=record.variance,
        skewness=record.skewness,
        kurtosis=record.kurtosis,
        max_activation=record.max_activation,
        peak=store.pack_peak(record.top[0]),
    )
    labelled = record.labelled()
    excerpts = store.excerpt_rows(model.pk, (r.tokens for _, r in labelled))
    Excerpt.objects.bulk_create(excerpts, ignore_conflicts=True)
    packed = [
        packing.PackedRecord(excerpt.key, kind, r.activations)
        for excerpt, (kind, r) in zip(excerpts, labelled, strict=True)
    ]
    ActivationSet.objects.create(neuron=neuron, data=packing.pack_records(packed, record.quantile_boundaries))
    return neuron


def add_explanation(
    neuron: Neuron, text: str, score: float | None, simulator: str = "toy-simulator", source: Source = Source.PUBLISHED
) -> Explanation:
    """Store an explanation with a simulation (none where simulator is empty)."""
    record = store.read_neuron_record(neuron)
    assert record is not None
    simulation = make_simulation(record, score, simulator) if simulator else None
    return store.save_explanation(
        neuron=neuron, scored=ScoredExplanation(text, simulation, explainer="toy-explainer"), source=source
    )


def person(name: str, *permissions: str) -> User:
    """Return a person with these permissions of the app, by codename."""
    user = User.objects.create_user(name, password="a-long-password")
    user.user_permissions.set(
        Permission.objects.filter(content_type__app_label="explanations", codename__in=permissions)
    )
    return user


@dataclass
class World:
    model: SubjectModel
    neuron: Neuron
    """tiny 0:0"""
    explanation: Explanation
    """the headline of tiny 0:0"""
    baseline: Explanation
    hostile: Neuron
    """tiny 1:0"""
    reader: User
    """signed in, without permissions"""
    reviewer: User
    """may review flags"""
    explainer: User
    """may start re-explanations"""


def make_world() -> World:
    model = SubjectModel.objects.create(
        slug="tiny", name="Tiny", layers=2, neurons_per_layer=4, source="made for tests", license="none"
    )
    neuron = add_neuron(model, 0, 0)
    explanation = add_explanation(neuron, "days of the week, especially Tuesday", 0.4)
    baseline = add_explanation(neuron, "tokens such as ' Tuesday', ' cat'", 0.7, "token lookup", Source.BASELINE)
    add_explanation(add_neuron(model, 0, 1), "French cities", None, simulator="")
    add_neuron(model, 0, 2)
    retired = add_explanation(add_neuron(model, 0, 3), "something vague about words", 0.2)
    Explanation.objects.filter(pk=retired.pk).update(state=Explanation.State.RETIRED)
    store.refresh_headlines([retired.neuron_id])
    hostile = add_neuron(model, 1, 0, [HOSTILE, "\0", "\ud800", "", "\r\n", "</span>", "\u202e", " ok"])
    add_explanation(hostile, HOSTILE, 0.9)
    for row in (neuron, explanation, baseline, hostile):
        row.refresh_from_db()
    return World(
        model=model,
        neuron=neuron,
        explanation=explanation,
        baseline=baseline,
        hostile=hostile,
        reader=person("reader"),
        reviewer=person("reviewer", "review_flag"),
        explainer=person("explainer", "add_job"),
    )
