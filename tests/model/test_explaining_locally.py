"""Explaining, simulating and scoring with a local model: a tiny random one, which knows nothing, but is a real one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed: pip install -e '.[models]'")
pytest.importorskip("transformers", reason="transformers is not installed: pip install -e '.[models]'")

from explanations.pipeline.explainer import Sampling, language_model_explainers
from explanations.pipeline.language_models import LanguageModel
from explanations.pipeline.language_models.loading import load_local
from explanations.pipeline.records import NeuronId
from explanations.pipeline.run import PipelineError, Plan, explain_simulate_score, judge_explanation, simulate_and_score
from explanations.pipeline.simulator import (
    ALL_AT_ONCE,
    LIKELIHOOD_RATIO,
    ONE_AT_A_TIME,
    WRITTEN,
    Simulated,
    language_model_simulators,
)
from tests.model import tiny
from tests.world import make_record

pytestmark = pytest.mark.slow

RECORD = make_record(NeuronId(0, 0))
TOKENS = ("the", " cat", " sat")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tokenizer = tiny.byte_tokenizer()
    place = tmp_path_factory.mktemp("local") / "model"
    return tiny.save(place, tiny.tiny_llama(len(tokenizer), window=16_384), tokenizer)


@pytest.fixture(scope="module")
def model(folder: Path) -> LanguageModel:
    return load_local(folder, precision="float32")


def test_one_at_a_time_gives_what_all_at_once_gives(model: LanguageModel) -> None:
    # Among enough strings that every number is among them: a random model expects any.
    simulators = language_model_simulators(model, likeliest=400)
    each = [simulators[name].fit(())("the cat", TOKENS) for name in (ALL_AT_ONCE, ONE_AT_A_TIME)]
    assert all(isinstance(one, Simulated) for one in each)
    assert np.allclose(each[0].values, each[1].values, atol=1e-4)
    assert np.ptp(each[0].values) > 0
    assert each[1].usage.tokens_in > 2 * each[0].usage.tokens_in


def test_what_is_no_json_is_a_failure_in_words(model: LanguageModel) -> None:
    simulator = language_model_simulators(model)[WRITTEN]
    with pytest.raises(PipelineError, match=r"No excerpt could be simulated. The first one: the answer"):
        simulate_and_score(RECORD, "the cat", simulator)


def test_the_best_of_several_is_kept_and_revised(model: LanguageModel) -> None:
    explainer = language_model_explainers(model)["summary"]
    simulator = language_model_simulators(model)[LIKELIHOOD_RATIO]
    plan = Plan(Sampling(n=3, seed=1, max_tokens=8), revisions=1)
    found, again = (explain_simulate_score(RECORD, explainer, simulator, plan=plan) for _ in range(2))
    assert found.scored.text == again.scored.text
    made = found.provenance
    assert 1 <= len(made.candidates) <= 3
    assert len(made.candidates) + len(made.rejected) <= 3
    assert len(made.revisions) == 1
    assert made.usage.tokens_in > 0
    kept = max(made.candidates, key=lambda c: -2 if c.calibration_score is None else c.calibration_score)
    assert found.scored.text == (made.revisions[0].text if made.revisions[0].kept else kept.text)


@pytest.mark.parametrize("task", ["detection", "fuzzing"])
def test_it_is_asked_about_excerpts(model: LanguageModel, task: str) -> None:
    found = judge_explanation(RECORD, "the cat", model, task)
    assert (found.judge, found.excerpts_asked) == (model.name, 10)
    assert found.excerpts_rated + len(found.failures) == 10
