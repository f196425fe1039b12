"""Records to rows and back: every read and write that joins the pipeline and the database."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from django.db import DEFAULT_DB_ALIAS, connections, transaction

from explanations.headlines import choose_headline as choose_headline  # imports call it here
from explanations.headlines import show_scores
from explanations.models import ActivationSet, Excerpt, Explanation, Flag, Neuron, Simulation, Source
from explanations.pipeline import packing
from explanations.pipeline.packing import PackedRecord, PackedSequence
from explanations.pipeline.records import (
    ActivationRecord,
    Failure,
    Kind,
    NeuronRecord,
    ScoredExplanation,
    Scores,
    SequenceSimulation,
)
from explanations.pipeline.records import Simulation as SimulationRecord
from explanations.pipeline.run import Provenance
from explanations.statements import Question, number_list
from explanations.statistics import refresh_statistics

if TYPE_CHECKING:
    from django.contrib.auth.models import User

    from explanations.models import Job

Tokens = tuple[str, ...]


def storable_text(text: str) -> str:
    """Return text that every database takes: NUL (PostgreSQL refuses it) and lone surrogates are made visible."""
    return text.replace("\0", "\u2400").encode("utf-8", "replace").decode()


def storable_json(value: Any) -> Any:
    """Return JSON whose every text is storable; PostgreSQL takes no NUL inside it either."""
    if isinstance(value, dict):
        return {key: storable_json(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [storable_json(part) for part in value]
    return storable_text(value) if isinstance(value, str) else value


# Reading


def read_packed_records(neuron: Neuron) -> tuple[list[PackedRecord], tuple[float, ...] | None]:
    """Return a neuron's records by excerpt key, and its quantile boundaries; empty where it has none. One query."""
    data = ActivationSet.objects.filter(pk=neuron.pk).values_list("data", flat=True).first()
    return packing.unpack_records(data) if data is not None else ([], None)


def tokens_of(model_id: int, keys: Iterable[int]) -> Question[dict[int, Tokens]]:
    """Return the question for the tokens of a model's excerpts by key.

    In SQL, which the ORM writes slower than it runs.
    """
    wanted = set(keys)
    if not wanted:
        return Question.known({})
    database = connections[DEFAULT_DB_ALIAS]
    table = database.ops.quote_name(Excerpt._meta.db_table)
    source, listed = number_list(database.vendor, wanted)
    sql = f"SELECT key, tokens FROM {table} WHERE model_id = %s AND key IN (SELECT value FROM {source})"  # noqa: S608
    return Question(sql, [model_id, listed], lambda rows: {key: packing.unpack_texts(data) for key, data in rows})


def read_tokens(model_id: int, keys: Iterable[int]) -> dict[int, Tokens]:
    """Return the tokens of a model's excerpts by key. One query; none for no keys."""
    return tokens_of(model_id, keys).ask(connections[DEFAULT_DB_ALIAS])


def join_records(
    neuron: Neuron,
    packed: Sequence[PackedRecord],
    boundaries: tuple[float, ...] | None,
    tokens: Mapping[int, Tokens],
) -> NeuronRecord:
    """Return the neuron's record from its parts. KeyError where an excerpt's tokens are missing."""
    top: list[ActivationRecord] = []
    random: list[ActivationRecord] = []
    bottom: list[ActivationRecord] = []
    quantiles: dict[int, list[ActivationRecord]] = {}
    for part in packed:
        record = ActivationRecord(tokens[part.key], part.activations)
        if part.kind == Kind.TOP:
            top.append(record)
        elif part.kind == Kind.RANDOM:
            random.append(record)
        elif part.kind == Kind.BOTTOM:
            bottom.append(record)
        elif part.kind >= Kind.QUANTILE:
            quantiles.setdefault(part.kind - Kind.QUANTILE, []).append(record)
    ranges = range(max(quantiles, default=-1) + 1)
    return NeuronRecord(
        neuron_id=neuron.neuron_id,
        top=tuple(top),
        random=tuple(random),
        by_quantile=tuple(tuple(quantiles.get(q, ())) for q in ranges),
        quantile_boundaries=boundaries,
        mean=neuron.mean,
        variance=neuron.variance,
        skewness=neuron.skewness,
        kurtosis=neuron.kurtosis,
        bottom=tuple(bottom),
    )


def read_neuron_record(neuron: Neuron) -> NeuronRecord | None:
    """Return all that was recorded of a neuron; None where it has no activations. Two queries."""
    packed, boundaries = read_packed_records(neuron)
    if not packed:
        return None
    return join_records(neuron, packed, boundaries, read_tokens(neuron.model_id, (p.key for p in packed)))


def join_simulation(
    row: Simulation,
    sequences: Sequence[PackedSequence],
    packed: Sequence[PackedRecord],
    tokens: Mapping[int, Tokens],
) -> SimulationRecord:
    """Return a simulation from its row, its unpacked sequences, the neuron's records and the excerpts' tokens."""
    real = {record.key: record.activations for record in packed}
    return SimulationRecord(
        sequences=tuple(
            SequenceSimulation(
                tokens=tokens[s.key],
                simulated=s.simulated,
                real=s.real if s.real is not None else real[s.key],
                kind=s.kind,
                scores=s.scores,
            )
            for s in sequences
        ),
        scores=Scores(row.ev_correlation, row.rsquared, row.absolute_dev_explained),
        simulator=row.simulator,
        method=row.method,
        scale=row.scale,
        top_only=row.top_only,
        random_only=row.random_only,
        failures=tuple(Failure(place, reason) for place, reason in row.failures),
        tokens_in=row.tokens_in,
        tokens_out=row.tokens_out,
        cost_usd=float(row.cost_usd),
    )


def pack_peak(record: ActivationRecord) -> bytes:
    """Return a neuron's `peak`: the tokens around this record's maximum with their levels."""
    return packing.pack_peak(record.tokens, record.activations)


def unpack_peak(data: bytes | memoryview) -> list[tuple[str, int]]:
    """Return (token, level 0 to 10) pairs of a neuron's `peak`; empty where it has none."""
    return packing.unpack_peak(data)


# Writing


def pack_simulation(simulation: SimulationRecord, real: Mapping[int, np.ndarray], keys: Sequence[int]) -> bytes:
    """Return a simulation's excerpts packed; real values that equal the neuron's records `real` are not kept twice."""
    return packing.pack_sequences(
        [
            PackedSequence(
                key=key,
                kind=s.kind,
                simulated=s.simulated,
                real=None if key in real and np.array_equal(real[key], s.real) else s.real,
                scores=s.scores,
            )
            for key, s in zip(keys, simulation.sequences, strict=True)
        ]
    )


def build_simulation(
    simulation: SimulationRecord, *, explanation: Explanation, real: Mapping[int, np.ndarray], keys: Sequence[int]
) -> Simulation:
    """Return an unsaved row of a simulation of `explanation`."""
    return Simulation(
        explanation=explanation,
        simulator=simulation.simulator,
        method=simulation.method,
        scale=simulation.scale,
        excerpt_count=len(simulation.sequences),
        data=pack_simulation(simulation, real, keys),
        ev_correlation=simulation.scores.ev_correlation,
        rsquared=simulation.scores.rsquared,
        absolute_dev_explained=simulation.scores.absolute_dev_explained,
        top_only=simulation.top_only,
        random_only=simulation.random_only,
        failures=[[f.excerpt, f.reason] for f in simulation.failures],
        tokens_in=simulation.tokens_in,
        tokens_out=simulation.tokens_out,
        cost_usd=round(simulation.cost_usd, 6),
    )


def excerpt_rows(model_id: int, sequences: Iterable[Tokens]) -> list[Excerpt]:
    """Return unsaved rows of excerpts, in order."""
    packed = [packing.pack_tokens(tokens) for tokens in sequences]
    return [Excerpt(model_id=model_id, key=packing.excerpt_key(data), tokens=data) for data in packed]


@transaction.atomic
def save_explanation(
    *,
    neuron: Neuron,
    scored: ScoredExplanation,
    source: Source,
    parent: Explanation | None = None,
    author: User | None = None,
    job: Job | None = None,
    provenance: Provenance | None = None,
) -> Explanation:
    """Store a new explanation with its simulation, and bring the neuron's headline up to date.

    `provenance` is of both, and kept with the simulation.
    """
    simulation = scored.simulation
    explanation = Explanation.objects.create(
        neuron=neuron,
        text=storable_text(scored.text),
        source=source,
        explainer=scored.explainer,
        prompt_version=scored.prompt_version,
        parent=parent,
        author=author,
        job=job,
        score=simulation.scores.ev_correlation if simulation else None,
        simulator=simulation.simulator if simulation else "",
    )
    if simulation is not None:
        _insert_simulation(explanation, simulation, provenance)
    refresh_headlines([neuron.pk])
    return explanation


@transaction.atomic
def save_simulation(
    *, explanation: Explanation, simulation: SimulationRecord, provenance: Provenance | None = None
) -> Simulation:
    """Store one more simulation of a stored explanation, and bring its score and the headline up to date.

    The earlier ones stay. Which one's score is shown, `headlines` says.
    """
    row = _insert_simulation(explanation, simulation, provenance)
    refresh_headlines([explanation.neuron_id])
    return row


def _insert_simulation(
    explanation: Explanation, simulation: SimulationRecord, provenance: Provenance | None
) -> Simulation:
    neuron = explanation.neuron
    excerpts = excerpt_rows(neuron.model_id, (s.tokens for s in simulation.sequences))
    # By key, as imports insert them: whoever inserts the same ones at the same time waits, and no deadlock comes.
    Excerpt.objects.bulk_create(sorted(excerpts, key=lambda row: row.key), ignore_conflicts=True)
    real = {r.key: r.activations for r in read_packed_records(neuron)[0]}
    keys = [excerpt.key for excerpt in excerpts]
    row = build_simulation(simulation, explanation=explanation, real=real, keys=keys)
    row.provenance = storable_json(provenance.as_json()) if provenance else None
    row.save()
    return row


_HEADLINE_FIELDS = (
    "headline",
    "headline_text",
    "headline_score",
    "headline_simulator",
    "explanation_count",
    "open_flag_count",
)


@transaction.atomic
def refresh_headlines(neuron_ids: Sequence[int]) -> None:
    """Bring the headline, the counts and the scores shown of these neurons up to date. Five queries for any number.

    One more where explanations show another score than before. Where a headline or a number of explanations changed,
    the layer's statistics follow: four queries more a model.
    """
    of_neuron = _read_explanations(neuron_ids)
    flags: dict[int, int] = dict.fromkeys(neuron_ids, 0)
    undecided = Flag.objects.undecided().filter(explanation__neuron__in=neuron_ids)
    for neuron_id in undecided.values_list("explanation__neuron", flat=True):
        flags[neuron_id] += 1
    locked = Neuron.objects.select_for_update().filter(pk__in=neuron_ids)
    neurons = list(locked.only("model", "layer", *_HEADLINE_FIELDS))
    changed: dict[int, set[int]] = {}
    for neuron in neurons:
        counted = _counted_facts(neuron)
        apply_headline(neuron, of_neuron[neuron.pk])
        neuron.open_flag_count = flags[neuron.pk]
        if _counted_facts(neuron) != counted:
            changed.setdefault(neuron.model_id, set()).add(neuron.layer)
    Neuron.objects.bulk_update(neurons, _HEADLINE_FIELDS, batch_size=500)
    for model_id, layers in changed.items():
        refresh_statistics(model_id, layers)


def _read_explanations(neuron_ids: Sequence[int]) -> dict[int, list[Explanation]]:
    """Return all explanations of these neurons, with the score that each is to show: stored where it is another."""
    of_neuron: dict[int, list[Explanation]] = {pk: [] for pk in neuron_ids}
    for explanation in Explanation.objects.filter(neuron__in=neuron_ids).order_by("pk"):
        of_neuron[explanation.neuron_id].append(explanation)
    simulated: dict[int, dict[str, float | None]] = {}
    newest: dict[int, str] = {}
    rows = Simulation.objects.filter(explanation__neuron__in=neuron_ids).order_by("pk")
    for explanation_id, simulator, score in rows.values_list("explanation", "simulator", "ev_correlation"):
        simulated.setdefault(explanation_id, {})[simulator] = score
        newest[explanation_id] = simulator
    changed = []
    for explanations in of_neuron.values():
        before = [(e.simulator, e.score) for e in explanations]
        show_scores(explanations, simulated, newest)
        changed += [e for e, old in zip(explanations, before, strict=True) if (e.simulator, e.score) != old]
    Explanation.objects.bulk_update(changed, ["simulator", "score"], batch_size=500)
    return of_neuron


def _counted_facts(neuron: Neuron) -> tuple[int, str, float | None]:
    """Return what statistics add up of a neuron."""
    return neuron.explanation_count, neuron.headline_simulator, neuron.headline_score


def apply_headline(neuron: Neuron, explanations: Sequence[Explanation]) -> None:
    """Set an unsaved neuron's headline fields from all its explanations."""
    headline = choose_headline(explanations)
    neuron.headline = headline
    neuron.headline_text = headline.text if headline else ""
    neuron.headline_score = headline.score if headline else None
    neuron.headline_simulator = headline.simulator if headline else ""
    neuron.explanation_count = sum(e.is_current for e in explanations)
