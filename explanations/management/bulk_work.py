"""What a bulk run does to one thing after the other: explain neurons anew, or score explanations once more."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol

from explanations import store
from explanations.jobs import request_job, request_rescoring, rescoring_of
from explanations.methods import Estimate, estimate_job, is_free, open_explainer, open_simulator, read_plan
from explanations.models import Explanation, Job, Neuron, Source, SubjectModel
from explanations.pipeline.explainer import Explainer
from explanations.pipeline.metering import Meter
from explanations.pipeline.records import NeuronRecord
from explanations.pipeline.run import Plan, Progress, Result, explain_simulate_score, simulate_and_score
from explanations.pipeline.simulator import Simulator


@dataclass(frozen=True, slots=True)
class Item:
    """One thing to do."""

    neuron: Neuron
    explanation: Explanation | None = None
    """what is to be scored again"""

    @property
    def name(self) -> str:
        place = str(self.neuron.neuron_id)
        return place if self.explanation is None else f"{place}, explanation {self.explanation.pk}"


class Work(Protocol):
    """What is to be done to each of the things that are left."""

    @property
    def unit(self) -> str:
        """Return what is counted, in the singular."""

    @property
    def done(self) -> str:
        """Return in a word what becomes of those that are done."""

    @property
    def title(self) -> str:
        """Return in words what is done by what."""

    @property
    def is_free(self) -> bool:
        """Return whether no language model is asked."""

    def choose(self, neurons: Sequence[int], model: SubjectModel) -> list[int]:
        """Return the primary keys of all things that there are to do, of these neurons. At most one query."""

    def left(self, chosen: Sequence[int], model: SubjectModel) -> list[int]:
        """Return those of them that are not done yet. One query."""

    def under_way(self, model: SubjectModel) -> set[int]:
        """Return those for which the same is queued, or runs, as a job. One query."""

    def read(self, pks: Sequence[int]) -> Iterator[Item]:
        """Yield these things in order. A query a batch."""

    def open(self) -> None:
        """Load what is needed, so that what cannot be loaded is said once. LanguageModelError."""

    def estimate(self, item: Item, record: NeuronRecord) -> Estimate:
        """Return what it is expected to take. PipelineError."""

    def compute(self, item: Item, record: NeuronRecord, meter: Meter, progress: Progress) -> Result:
        """Do it. Runs in a thread and touches no row."""

    def store(self, item: Item, result: Result) -> None:
        """Store what came of it."""

    def request(self, item: Item, within: Decimal | None) -> Job:
        """Queue it as a job instead. Raises what `jobs` does."""


@dataclass(frozen=True)
class Explaining:
    """Neurons explained anew and scored. Done is what has such an explanation, current or retired."""

    explainer: Explainer
    simulator: Simulator
    options: dict[str, int]
    """of the plan, as jobs store them"""
    unit: str = "neuron"
    done: str = "explained"

    @property
    def title(self) -> str:
        return f"{self.explainer.name}, scored by {self.simulator.name}"

    @property
    def plan(self) -> Plan:
        return read_plan(self.options)

    @property
    def is_free(self) -> bool:
        return is_free(self.explainer) and is_free(self.simulator)

    def choose(self, neurons: Sequence[int], model: SubjectModel) -> list[int]:  # noqa: ARG002
        return list(neurons)

    def left(self, chosen: Sequence[int], model: SubjectModel) -> list[int]:
        rows = Explanation.objects.filter(
            neuron__model=model,
            explainer=self.explainer.name,
            prompt_version=self.explainer.prompt_version,
            simulations__simulator=self.simulator.name,
        )
        done = set(rows.values_list("neuron", flat=True))
        return [pk for pk in chosen if pk not in done]

    def under_way(self, model: SubjectModel) -> set[int]:
        jobs = Job.objects.unfinished().filter(neuron__model=model, text="")
        same = jobs.filter(explainer=self.explainer.name, simulator=self.simulator.name)
        return set(same.values_list("neuron", flat=True))

    def read(self, pks: Sequence[int], batch: int = 100) -> Iterator[Item]:
        for start in range(0, len(pks), batch):
            rows = Neuron.objects.select_related("model").defer("peak", "model__statistics")
            found = rows.in_bulk(pks[start : start + batch])
            yield from (Item(found[pk]) for pk in pks[start : start + batch] if pk in found)

    def open(self) -> None:
        open_explainer(self.explainer.name, Meter())
        open_simulator(self.simulator.name, Meter())

    def estimate(self, item: Item, record: NeuronRecord) -> Estimate:  # noqa: ARG002
        return estimate_job(record, self.explainer, self.simulator, self.plan)

    def compute(self, item: Item, record: NeuronRecord, meter: Meter, progress: Progress) -> Result:  # noqa: ARG002
        explainer, simulator = open_explainer(self.explainer.name, meter), open_simulator(self.simulator.name, meter)
        assert explainer is not None
        assert simulator is not None
        return explain_simulate_score(record, explainer, simulator, plan=self.plan, progress=progress)

    def store(self, item: Item, result: Result) -> None:
        source = Source.BASELINE if self.explainer.is_baseline else Source.MODEL
        store.save_explanation(neuron=item.neuron, scored=result.scored, source=source, provenance=result.provenance)

    def request(self, item: Item, within: Decimal | None) -> Job:
        return request_job(
            neuron=item.neuron,
            parent=item.neuron.headline,
            requested_by=None,
            explainer=self.explainer.name,
            simulator=self.simulator.name,
            candidates=self.options.get("candidates", 1),
            revisions=self.options.get("revisions", 0),
            within=within,
        )


@dataclass(frozen=True)
class Rescoring:
    """Current explanations in words scored by one more simulator. Done is what it has scored."""

    simulator: Simulator
    unit: str = "explanation"
    done: str = "scored"

    @property
    def title(self) -> str:
        return f"Explanations that are there, scored by {self.simulator.name}"

    @property
    def is_free(self) -> bool:
        return is_free(self.simulator)

    def choose(self, neurons: Sequence[int], model: SubjectModel) -> list[int]:
        rows = Explanation.objects.current().filter(neuron__model=model).exclude(source=Source.BASELINE)
        wanted = set(neurons)
        found = rows.order_by("neuron__layer", "neuron__index", "pk").values_list("pk", "neuron")
        return [pk for pk, neuron in found if neuron in wanted]

    def left(self, chosen: Sequence[int], model: SubjectModel) -> list[int]:
        rows = Explanation.objects.filter(neuron__model=model, simulations__simulator=self.simulator.name)
        done = set(rows.values_list("pk", flat=True))
        return [pk for pk in chosen if pk not in done]

    def under_way(self, model: SubjectModel) -> set[int]:
        jobs = Job.objects.unfinished().filter(neuron__model=model, simulator=self.simulator.name)
        labels = jobs.values_list("parent", "explainer")
        return {parent for parent, explainer in labels if parent and explainer == rescoring_of(parent)}

    def read(self, pks: Sequence[int], batch: int = 100) -> Iterator[Item]:
        for start in range(0, len(pks), batch):
            rows = Explanation.objects.select_related("neuron__model").defer(
                "neuron__peak", "neuron__model__statistics"
            )
            found = rows.in_bulk(pks[start : start + batch])
            some = (found[pk] for pk in pks[start : start + batch] if pk in found)
            yield from (Item(explanation.neuron, explanation) for explanation in some)

    def open(self) -> None:
        open_simulator(self.simulator.name, Meter())

    def estimate(self, item: Item, record: NeuronRecord) -> Estimate:
        return estimate_job(record, None, self.simulator, Plan(), _text(item))

    def compute(self, item: Item, record: NeuronRecord, meter: Meter, progress: Progress) -> Result:
        simulator = open_simulator(self.simulator.name, meter)
        assert simulator is not None
        return simulate_and_score(record, _text(item), simulator, progress=progress)

    def store(self, item: Item, result: Result) -> None:
        assert item.explanation is not None
        simulation = result.scored.simulation
        assert simulation is not None
        store.save_simulation(explanation=item.explanation, simulation=simulation, provenance=result.provenance)

    def request(self, item: Item, within: Decimal | None) -> Job:
        assert item.explanation is not None
        return request_rescoring(
            explanation=item.explanation, requested_by=None, simulator=self.simulator.name, within=within
        )


def _text(item: Item) -> str:
    assert item.explanation is not None
    return item.explanation.text
