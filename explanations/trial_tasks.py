"""Trying a text, as a Django Task: what one neuron does on it, or which neurons of a model fire on it.

The subject model stays warm between tasks (`subjects`). Nothing heavy is imported here: the web process imports it to
queue work.
"""

from __future__ import annotations

import logging
import threading

import numpy as np
from django.conf import settings
from django.db import OperationalError, connection, transaction
from django.db.models import Case, F, IntegerField, Value, When
from django_tasks import TaskContext, task

from explanations import configured_models, store, subjects, trial_leases
from explanations.leases import LeaseLost
from explanations.methods import free_simulators
from explanations.models import Explanation, Neuron, Source, SubjectModel, Trial
from explanations.pipeline import trying
from explanations.pipeline.records import Floats, NeuronRecord, Split, split_top
from explanations.pipeline.simulator import Simulate, Simulator
from explanations.pipeline.simulator.embedding import EMBEDDING_SIMULATOR
from explanations.pipeline.subject import SubjectModelError
from explanations.pipeline.subject.threads import at_most_threads
from explanations.pipeline.token_lookup import TOKEN_LOOKUP
from explanations.pipeline.trying import Simulating, SimulationPlan, TextRefusedError
from explanations.tasks import heartbeat

logger = logging.getLogger(__name__)

MOST_EXPLANATIONS = 12
"""Current explanations that are simulated on a text: the headline, then by score."""
BEFORE_JOBS = 50
"""Priority: somebody waits for a text in front of the page, and it takes a second."""


@task(takes_context=True, priority=BEFORE_JOBS)
def run_trial(context: TaskContext, trial_id: int) -> str:
    """Try a text, if it waits for a worker, and return what came of it. A second task for the same does nothing."""
    owner = str(context.task_result.id)
    trial = trial_leases.claim(trial_id, owner)
    if trial is None:
        return "nothing to do"
    try:
        return _work(trial, Reporter(trial.pk, owner))
    except LeaseLost:
        logger.warning("Text %d was deleted or taken over; its result was dropped", trial_id)
        return "lease lost"


def enqueue(trial_id: int) -> None:
    run_trial.enqueue(trial_id)


def _work(trial: Trial, reporter: Reporter) -> str:
    try:
        with heartbeat(reporter):
            result = compute(trial, reporter)
        trial_leases.finish(trial.pk, reporter.owner, result)
    except (TextRefusedError, SubjectModelError) as error:
        trial_leases.fail(trial.pk, reporter.owner, str(error))
        return "failed"
    except (KeyboardInterrupt, SystemExit):
        with transaction.atomic():
            trial_leases.release(trial.pk, reporter.owner)
            transaction.on_commit(lambda: enqueue(trial.pk))
        raise
    except (LeaseLost, OperationalError):
        # A database that is away or locked cannot be told; the lease lapses, and the text is tried again.
        raise
    except Exception as error:
        logger.exception("Text %d failed", trial.pk)
        reason = f"An error of the program ({type(error).__name__}). The worker's log says more."
        trial_leases.fail(trial.pk, reporter.owner, reason)
        return "failed"
    return "done"


def compute(trial: Trial, reporter: Reporter) -> bytes:
    """Return the result, encoded. TextRefusedError or SubjectModelError say in words why there is none."""
    model, limit = trial.model, settings.TRY_MAX_TOKENS
    reporter.tell("opening the model")
    subject = subjects.warm_subject(model.slug, layers=model.layers, neurons_per_layer=model.neurons_per_layer)
    with at_most_threads(settings.TRY_THREADS):
        if trial.neuron is None:
            maxima = read_maxima(model)
            return trying.encode(trying.find_firing(subject, trial.text, maxima, limit=limit, tell=reporter.tell))
        place, plan = trial.neuron.neuron_id, plan_simulations(trial.neuron)
        return trying.encode(trying.try_on_neuron(subject, place, trial.text, plan, limit=limit, tell=reporter.tell))


def read_maxima(model: SubjectModel) -> list[Floats]:
    """Return the highest recorded activation of every neuron: each layer's [d_mlp], NaN where unknown. One query."""
    maxima = np.full((model.layers, model.neurons_per_layer), np.nan)
    rows = Neuron.objects.filter(model=model, max_activation__isnull=False)
    found = np.array(list(rows.values_list("layer", "index", "max_activation")), dtype=np.float64).reshape(-1, 3)
    maxima[found[:, 0].astype(int), found[:, 1].astype(int)] = found[:, 2]
    return list(maxima)


def plan_simulations(neuron: Neuron) -> SimulationPlan:
    """Return the current explanations to simulate, the headline first. At most three queries."""
    is_headline = Case(When(pk=neuron.headline_id, then=Value(0)), default=Value(1), output_field=IntegerField())
    rows = list(
        Explanation.objects.filter(neuron=neuron)
        .current()
        .order_by(is_headline, F("score").desc(nulls_last=True), "pk")
    )
    shown = rows[:MOST_EXPLANATIONS]
    simulators = _Simulators(neuron)
    return SimulationPlan([simulators.plan(explanation) for explanation in shown], len(rows) - len(shown))


class _Simulators:
    """What simulates a neuron's explanations on a text: the embedding simulator; for baselines the token lookup."""

    def __init__(self, neuron: Neuron) -> None:
        self._neuron = neuron
        self._fitted: dict[str, tuple[Simulate | None, str]] = {}

    def plan(self, explanation: Explanation) -> Simulating:
        is_baseline = explanation.source == Source.BASELINE
        name = TOKEN_LOOKUP if is_baseline else EMBEDDING_SIMULATOR
        if name not in self._fitted:
            self._fitted[name] = self._fit(name, free_simulators().get(name))
        return Simulating(explanation.pk, explanation.text, name, *self._fitted[name])

    def _fit(self, name: str, simulator: Simulator | None) -> tuple[Simulate | None, str]:
        """Return the function that simulates; None with the reason where there is none."""
        if simulator is None:
            return None, configured_models.why_no_embedding_model()
        if name != TOKEN_LOOKUP:
            return simulator.fit(()), ""
        record = store.read_neuron_record(self._neuron) or NeuronRecord(self._neuron.neuron_id, top=(), random=())
        train = split_top(record, Split.TRAIN)
        if not train:
            return None, "No excerpts of this neuron are stored, so there is no token to look up."
        return simulator.fit(train), ""


class Reporter:
    """Tells the database what is being done with a text, and holds its lease."""

    def __init__(self, trial_id: int, owner: str) -> None:
        self.trial_id = trial_id
        self.owner = owner
        self.lost = threading.Event()

    def tell(self, stage: str) -> None:
        """Store what is being done. LeaseLost where the text is no longer ours."""
        self._renew(stage=stage)
        if self.lost.is_set():
            raise LeaseLost(f"text {self.trial_id} is no longer {self.owner}'s")

    def renew(self) -> None:
        self._renew()

    def _renew(self, **stage: str) -> None:
        try:
            trial_leases.renew(self.trial_id, self.owner, **stage)
        except LeaseLost:
            self.lost.set()
        except OperationalError:
            logger.warning("Text %d: the lease could not be renewed; trying again", self.trial_id, exc_info=True)
            connection.close()
