"""One run in progress: what is simulated already, how far it is, and what it took."""

from __future__ import annotations

import time
from dataclasses import replace

from explanations.pipeline.explainer import Explained, Explainer, ExplanationError, SamplingExplainer
from explanations.pipeline.language_models import NO_USAGE, LanguageModelError
from explanations.pipeline.prompts import Mistake
from explanations.pipeline.records import NeuronRecord, Split, split_records, split_top, top_ranks
from explanations.pipeline.run.mistakes import worst_mistakes
from explanations.pipeline.run.plan import PipelineError, Plan, Progress
from explanations.pipeline.run.provenance import Candidate, Revision
from explanations.pipeline.run.simulation import SimulationRun
from explanations.pipeline.scorer import correlation
from explanations.pipeline.scorer.formulas import concatenated
from explanations.pipeline.simulator import Simulator


class Work:
    """A neuron being explained and scored by a plan."""

    def __init__(self, record: NeuronRecord, simulator: Simulator, plan: Plan, progress: Progress) -> None:
        self.record = record
        self.simulator = simulator
        self.plan = plan
        self.progress = progress
        self.began = time.monotonic()
        self.train = split_top(record, Split.TRAIN, plan.per_split)
        self.simulate = simulator.fit(self.train)
        self.usage = NO_USAGE
        self.dropped: tuple[int, ...] = ()
        self.candidates: list[Candidate] = []
        self.rejected: tuple[str, ...] = ()
        self.revisions: list[Revision] = []
        self._runs: dict[tuple[str, Split], SimulationRun] = {}
        self._done = 0
        self._total = 2 * plan.per_split
        if plan.calibrate:
            self.expect(1)

    def expect(self, splits: int) -> None:
        """Count so many more splits, or fewer, among what is to be simulated."""
        self._total += splits * 2 * self.plan.per_split

    def tell(self, stage: str) -> None:
        self.progress(stage, self._done, self._total)

    def simulate_split(self, text: str, split: Split, why: str = "") -> SimulationRun:
        """Return the explanation's simulation over a split, made at most once."""
        run = self._runs.get((text, split))
        if run is not None:
            self.expect(-1)
            return run
        excerpts = split_records(self.record, split, self.plan.per_split)
        run = SimulationRun(text, self.simulator, self.simulate)
        before = self._done

        def tell(stage: str, done: int) -> None:
            self._done = before + done
            self.tell(f"{stage}{why}")

        try:
            run.add_all(excerpts, tell)
        finally:
            self.usage += run.usage
        self._done = before + len(excerpts)
        self._runs[text, split] = run
        return run

    def explain(self, explainer: Explainer) -> str:
        """Return the explanation: the only one, or the best of several on *calibration*, revised if planned."""
        if self.plan.compares:
            return self._best(explainer)
        self.tell(f"explaining from {len(self.train)} train excerpts")
        if not isinstance(explainer, SamplingExplainer):
            return self._take(self._explain(explainer)).text
        return self._draw(explainer)[0]

    def _explain(self, explainer: Explainer) -> Explained:
        try:
            return explainer.explain(self.train)
        except (ExplanationError, LanguageModelError) as error:
            raise PipelineError(str(error)) from error

    def _take(self, explained: Explained) -> Explained:
        self.usage += explained.usage
        self._drop(len(self.train) if explained.shown is None else explained.shown)
        return explained

    def _drop(self, shown: int) -> None:
        """Note which train excerpts were not shown, by their ranks among the top ones."""
        self.dropped = tuple(top_ranks(Split.TRAIN, self.plan.per_split)[shown:])

    def _draw(self, explainer: SamplingExplainer) -> tuple[str, ...]:
        try:
            found = explainer.candidates(self.train, self.plan.sampling)
        except (ExplanationError, LanguageModelError) as error:
            raise PipelineError(str(error)) from error
        self.usage += found.usage
        self.rejected = found.rejected
        self._drop(found.shown)
        return found.texts

    def _best(self, explainer: Explainer) -> str:
        if not isinstance(explainer, SamplingExplainer):
            raise PipelineError(
                f"The explainer “{explainer.name}” always says the same. It can be asked for one explanation, without "
                "revisions."
            )
        splits = self.plan.sampling.n + 2 * self.plan.revisions
        self.expect(splits)
        self.tell(f"explaining from {len(self.train)} train excerpts")
        texts = self._draw(explainer)
        self.expect(len(texts) - self.plan.sampling.n)
        best = self._choose(texts)
        for place in range(self.plan.revisions):
            best = self._revise(explainer, best, place)
        return best

    def _choose(self, texts: tuple[str, ...]) -> str:
        """Return the text with the highest correlation on *calibration*, the first of equals; undefined is lowest."""
        many = len(texts) > 1
        runs = [
            self.simulate_split(
                text, Split.CALIBRATION, f" for candidate {n} of {len(texts)}" if many else " to compare"
            )
            for n, text in enumerate(texts, start=1)
        ]
        found = [run_score(run) for run in runs]
        best = max(range(len(texts)), key=lambda i: _rank(found[i]))
        self.candidates = [
            Candidate(text, score, len(run.done), place == best)
            for place, (text, score, run) in enumerate(zip(texts, found, runs, strict=True))
        ]
        return texts[best]

    def _revise(self, explainer: SamplingExplainer, text: str, place: int) -> str:
        """Return a better explanation, where the explainer has one when shown its mistakes on *test*; else the same.

        Better is a higher correlation on *calibration*, of which a revision shows nothing.
        """
        nth = f"revision {place + 1} of {self.plan.revisions}"
        looked = self.simulate_split(text, Split.TEST, f" to find mistakes for {nth}")
        worst = worst_mistakes(looked.done)
        shown = tuple(looked.places[at] for at, _ in worst)
        self.tell(f"{nth}: asking for a better explanation")
        try:
            if not worst:
                raise ExplanationError("there is no mistake to show")
            revised = self._ask_revision(explainer, text, [mistake for _, mistake in worst], place)
        except (ExplanationError, LanguageModelError) as error:
            self.expect(-1)
            self.revisions.append(Revision("", shown, None, False, str(error)))
            return text
        score = run_score(self.simulate_split(revised, Split.CALIBRATION, f" for {nth}"))
        kept = _rank(score) > _rank(run_score(self._runs[text, Split.CALIBRATION]))
        self.revisions.append(Revision(revised, shown, score, kept))
        return revised if kept else text

    def _ask_revision(self, explainer: SamplingExplainer, text: str, mistakes: list[Mistake], place: int) -> str:
        sampling = self.plan.sampling
        # Another seed each time: the same question would get the same answer again.
        seed = None if sampling.seed is None else sampling.seed + 1 + place
        explained = explainer.revise(self.train, text, mistakes, replace(sampling, n=1, seed=seed))
        self.usage += explained.usage
        return explained.text


def run_score(run: SimulationRun) -> float | None:
    """Return the uncalibrated ev_correlation of what was simulated; None where it has none."""
    return correlation(*concatenated(run.pairs))


def _rank(score: float | None) -> float:
    return -2.0 if score is None else score
