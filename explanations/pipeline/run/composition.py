"""Explain, simulate, score.

Explains from *train* and scores on *valid*, so that no score is had by remembering what was explained.
"""

from __future__ import annotations

import time

from explanations.pipeline.explainer import Explainer, SamplingExplainer
from explanations.pipeline.language_models import LanguageModel
from explanations.pipeline.records import (
    NeuronRecord,
    ScoredExplanation,
    Split,
    random_ranks,
    split_records,
    top_ranks,
)
from explanations.pipeline.run.plan import PipelineError, Plan, Progress, check_excerpts, no_progress
from explanations.pipeline.run.provenance import Provenance, Result, UsedExcerpts
from explanations.pipeline.run.simulation import SimulationRun, calibrated
from explanations.pipeline.run.work import Work
from explanations.pipeline.scorer import (
    DETECTION,
    Calibration,
    Judgement,
    bootstrap_interval,
    fit_calibration,
    judge_detection,
    judge_fuzzing,
)
from explanations.pipeline.simulator import EstimatingSimulator, Simulator

DEFAULT_PLAN = Plan()


def reexplain(
    record: NeuronRecord, explainer: Explainer, simulator: Simulator, progress: Progress = no_progress
) -> ScoredExplanation:
    """Return a new explanation of a neuron with the simulation that scores it; its usage is that of both steps.

    PipelineError where the neuron has too few excerpts, cannot be explained, or no excerpt could be simulated.
    """
    return explain_simulate_score(record, explainer, simulator, progress=progress).scored


def explain_simulate_score(
    record: NeuronRecord,
    explainer: Explainer,
    simulator: Simulator,
    *,
    plan: Plan = DEFAULT_PLAN,
    progress: Progress = no_progress,
) -> Result:
    """Return the explanation that the plan leads to, scored, with how it came about. PipelineError as `reexplain`."""
    check_excerpts(record.neuron_id, len(record.top), len(record.random), plan)
    work = Work(record, simulator, plan, progress)
    return _score(work, work.explain(explainer), explainer)


def simulate_and_score(
    record: NeuronRecord,
    text: str,
    simulator: Simulator,
    *,
    plan: Plan = DEFAULT_PLAN,
    progress: Progress = no_progress,
) -> Result:
    """Return an explanation that a person wrote, simulated and scored like any other. PipelineError as `reexplain`."""
    explanation = " ".join(text.split())
    if not explanation:
        raise PipelineError("There is no explanation to score: the text is empty.")
    if plan.compares:
        raise PipelineError("A written explanation is scored as it is: it has no candidates and no revisions.")
    check_excerpts(record.neuron_id, len(record.top), len(record.random), plan)
    return _score(Work(record, simulator, plan, progress), explanation, None)


def judge_explanation(
    record: NeuronRecord, text: str, model: LanguageModel, task: str = DETECTION, *, plan: Plan = DEFAULT_PLAN
) -> Judgement:
    """Return how well the explanation lets a judge do a task, over the excerpts that its simulation is scored on."""
    check_excerpts(record.neuron_id, len(record.top), len(record.random), plan)
    excerpts = [excerpt for _, excerpt in split_records(record, plan.scored_on, plan.per_split)]
    judge = judge_detection if task == DETECTION else judge_fuzzing
    return judge(model, text, excerpts, seed=plan.sampling.seed or 0)


def _score(work: Work, text: str, explainer: Explainer | None) -> Result:
    calibration = _calibrate(work, text) if work.plan.calibrate else None
    run = work.simulate_split(text, work.plan.scored_on)
    work.tell("scoring")
    simulation = run.score(calibration, work.usage)
    name, version = (explainer.name, explainer.prompt_version) if explainer else ("", "")
    scored = ScoredExplanation(text, simulation, name, version)
    return Result(scored, _provenance(work, run, explainer, calibration))


def _calibrate(work: Work, text: str) -> Calibration:
    run = work.simulate_split(text, Split.CALIBRATION, " to calibrate")
    calibration = fit_calibration(run.pairs)
    if calibration is None:
        why = f" The first one: {run.failures[0].reason}" if run.failures else ""
        raise PipelineError(f"No calibration excerpt could be simulated.{why}")
    return calibration


def _provenance(
    work: Work, run: SimulationRun, explainer: Explainer | None, calibration: Calibration | None
) -> Provenance:
    plan, simulator = work.plan, work.simulator
    sampling = plan.sampling if isinstance(explainer, SamplingExplainer) else None
    revised = isinstance(explainer, SamplingExplainer) and bool(work.revisions)
    seed = plan.sampling.seed or 0
    return Provenance(
        explainer=explainer.name if explainer else "",
        explainer_prompt=explainer.prompt_version if explainer else "",
        revision_prompt=explainer.revision_version if revised and isinstance(explainer, SamplingExplainer) else "",
        simulator=simulator.name,
        simulator_prompt=simulator.prompt_version if isinstance(simulator, EstimatingSimulator) else "",
        method=simulator.method,
        excerpts=_used_excerpts(plan),
        dropped=work.dropped,
        sampling=sampling,
        candidates=tuple(work.candidates),
        rejected=work.rejected,
        revisions=tuple(work.revisions),
        calibration=calibration,
        interval=bootstrap_interval(calibrated(run.pairs, calibration) if calibration else run.pairs, seed=seed),
        interval_seed=seed,
        excerpts_asked=len(run.done) + len(run.failures),
        excerpts_simulated=len(run.done),
        failures=tuple(run.failures),
        usage=work.usage,
        seconds=time.monotonic() - work.began,
    )


def _used_excerpts(plan: Plan) -> tuple[UsedExcerpts, ...]:
    chosen = [purpose for purpose, is_so in (("choose", plan.compares), ("calibrate", plan.calibrate)) if is_so]
    purposes = {
        Split.TRAIN: "explain",
        Split.CALIBRATION: " and ".join(chosen),
        Split.TEST: "find mistakes",
        plan.scored_on: "score",
    }
    return tuple(
        UsedExcerpts(
            split.value,
            purposes[split],
            tuple(top_ranks(split, plan.per_split)),
            tuple(random_ranks(split, plan.per_split)),
        )
        for split in plan.splits
    )
