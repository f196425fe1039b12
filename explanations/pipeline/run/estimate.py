"""What a run is going to take, told before it is spent. Asks no language model anything."""

from __future__ import annotations

from dataclasses import replace

from explanations.pipeline.explainer import Explainer, ExplanationError, SamplingExplainer
from explanations.pipeline.language_models import NO_USAGE, Usage
from explanations.pipeline.prompts import Mistake, levels_of
from explanations.pipeline.records import NeuronRecord, Split, split_records, split_top
from explanations.pipeline.run.composition import DEFAULT_PLAN
from explanations.pipeline.run.mistakes import SHOWN
from explanations.pipeline.run.plan import PipelineError, Plan, check_excerpts
from explanations.pipeline.simulator import EstimatingSimulator, Simulator


def estimate(
    record: NeuronRecord,
    explainer: Explainer | None,
    simulator: Simulator,
    *,
    plan: Plan = DEFAULT_PLAN,
    text: str = "",
) -> Usage:
    """Return what `explain_simulate_score` is expected to take at most; without an explainer, `simulate_and_score`.

    Retries are not in it. PipelineError where the run would refuse the neuron.
    """
    check_excerpts(record.neuron_id, len(record.top), len(record.random), plan)
    # As long an explanation as may come, where it is not known yet.
    text = text or "word " * plan.sampling.max_tokens
    usage = _simulating(record, simulator, plan, text, plan.scored_on)
    calibration = _simulating(record, simulator, plan, text, Split.CALIBRATION) if plan.used_before[1:] else NO_USAGE
    if isinstance(explainer, SamplingExplainer):
        usage += _explaining(record, explainer, plan)
    if plan.compares:
        usage += _times(calibration, plan.sampling.n + plan.revisions)
        usage += _times(
            _simulating(record, simulator, plan, text, Split.TEST) if plan.revisions else NO_USAGE, plan.revisions
        )
    elif plan.calibrate:
        usage += calibration
    return usage


def _explaining(record: NeuronRecord, explainer: SamplingExplainer, plan: Plan) -> Usage:
    train = split_top(record, Split.TRAIN, plan.per_split)
    try:
        usage = explainer.estimate(train, plan.sampling)
        if plan.revisions:
            test = [excerpt for _, excerpt in split_records(record, Split.TEST, plan.per_split)][:SHOWN]
            mistakes = [Mistake(e.tokens, levels, levels) for e, levels in zip(test, levels_of(test), strict=True)]
            revising = explainer.estimate_revision(train, mistakes, replace(plan.sampling, n=1))
            usage += _times(revising, plan.revisions)
    except ExplanationError as error:
        raise PipelineError(str(error)) from error
    return usage


def _simulating(record: NeuronRecord, simulator: Simulator, plan: Plan, text: str, split: Split) -> Usage:
    if not isinstance(simulator, EstimatingSimulator):
        return NO_USAGE
    return simulator.estimate(text, [excerpt.tokens for _, excerpt in split_records(record, split, plan.per_split)])


def _times(usage: Usage, count: int) -> Usage:
    return sum([usage] * count, NO_USAGE)
