from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from explanations.pipeline import trying
from explanations.pipeline.language_models import LanguageModelError
from explanations.pipeline.records import Floats, NeuronId
from explanations.pipeline.simulator import Simulated, SimulationError
from explanations.pipeline.trying import Firing, Simulating, SimulationPlan, TextRefusedError, TriedNeuron
from tests.pipeline.fake_subject import FakeSubject

TEXT = "See you on Tuesday, or Paris."
NOTHING = SimulationPlan([])


def tell(_stage: str) -> None:
    pass


def simulate_length(_explanation: str, tokens: Sequence[str]) -> Simulated:
    return Simulated(np.array([len(token) for token in tokens], dtype=np.float32))


def try_it(text: str = TEXT, plan: SimulationPlan = NOTHING, limit: int = 100) -> TriedNeuron:
    return trying.try_on_neuron(FakeSubject(), NeuronId(0, 0), text, plan, limit=limit, tell=tell)


def test_a_neuron_does_on_the_text_what_the_model_computes() -> None:
    found = try_it()
    tokens = trying.tokens_of(found)
    assert "".join(tokens) == TEXT
    assert trying.values_of(found.real).tolist() == [3.0 if token == " Tuesday" else 0.0 for token in tokens]


def test_each_explanation_is_simulated_on_the_texts_own_tokens() -> None:
    plan = SimulationPlan([Simulating(7, "long words", "by length", simulate_length)], left_out=2)
    found = try_it(plan=plan)
    [explained] = found.explanations
    assert (explained.explanation, explained.text, explained.simulator) == (7, "long words", "by length")
    assert trying.values_of(explained.simulated).tolist() == [len(token) for token in trying.tokens_of(found)]
    assert (explained.failure, found.left_out) == ("", 2)


def fail(error: Exception) -> Any:
    def simulate(_explanation: str, _tokens: Sequence[str]) -> Simulated:
        raise error

    return simulate


@pytest.mark.parametrize(
    ("simulate", "reason"),
    [
        (fail(SimulationError("no sense")), "no sense"),
        (fail(LanguageModelError("away")), "away"),
        (lambda _e, _t: Simulated(np.zeros(1)), "simulated values of shape (1,)"),
        (lambda _e, t: Simulated(np.full(len(t), np.nan)), "not finite"),
        (None, "not installed"),
    ],
)
def test_a_failed_simulation_is_kept_with_its_reason_and_never_as_zeros(simulate: Any, reason: str) -> None:
    failing = Simulating(1, "a", "b", simulate, "it is not installed")
    found = try_it(plan=SimulationPlan([failing, Simulating(2, "c", "d", simulate_length)]))
    assert reason in found.explanations[0].failure
    assert found.explanations[0].simulated == b""
    assert found.explanations[1].failure == ""


def test_a_text_that_is_too_long_is_refused_with_both_numbers() -> None:
    with pytest.raises(TextRefusedError, match="7 tokens long for fake; at most 5 can be tried"):
        try_it("a " * 6, limit=5)
    with pytest.raises(TextRefusedError, match="at most 39 can be tried"):
        try_it("a " * 100, limit=1000)
    assert len(trying.tokens_of(try_it("a " * 2, limit=4))) == 3


def test_a_text_without_tokens_is_refused() -> None:
    with pytest.raises(TextRefusedError, match="no tokens"):
        try_it("")


def test_activations_that_are_no_numbers_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = [np.full((1, 2, 4), np.inf, np.float32)] * 2
    monkeypatch.setattr(FakeSubject, "activations", lambda _self, _rows: broken)
    with pytest.raises(TextRefusedError, match="not finite numbers"):
        try_it("a b")


@pytest.mark.parametrize("text", [TEXT, "\n\t\u202e<script>\ud7ff é", "日本"])
def test_a_result_survives_being_kept(text: str) -> None:
    found = try_it(text, SimulationPlan([Simulating(1, text, "s", simulate_length)]))
    assert trying.decode(trying.encode(found), TriedNeuron) == found
    firing = trying.find_firing(FakeSubject(), text, [np.ones(4), np.ones(4)], limit=99, tell=tell)
    assert trying.decode(trying.encode(firing), Firing) == firing


def made_up(seed: int, pos: int = 9, layers: int = 3, width: int = 40) -> tuple[list[Floats], list[Floats]]:
    rng = np.random.default_rng(seed)
    activations = [rng.normal(size=(pos, width)).astype(np.float32) for _ in range(layers)]
    maxima = [rng.uniform(-0.5, 3, width) for _ in range(layers)]
    maxima[0][3] = np.nan
    return activations, maxima


@pytest.mark.parametrize("seed", range(3))
def test_the_ranking_is_what_comparing_neuron_by_neuron_gives(seed: int) -> None:
    activations, maxima = made_up(seed)
    firing = trying.rank_neurons([f"t{i}" for i in range(9)], activations, maxima)
    by_hand = sorted(
        (-float(activations[layer][:, n].max() / maxima[layer][n]), layer, n)
        for layer in range(3)
        for n in range(40)
        if maxima[layer][n] > 0 and activations[layer][:, n].max() > 0
    )
    assert [(f.layer, f.index) for f in firing.strongest] == [(layer, n) for _, layer, n in by_hand[:20]]
    for layer, fired in enumerate(firing.by_layer):
        assert [f.index for f in fired] == [n for _, at, n in by_hand if at == layer][:5]
    known = sum(int((m > 0).sum()) for m in maxima)
    assert (firing.ranked, firing.unknown) == (known, 120 - known)
    assert firing.beyond == sum(-relative > 1 for relative, _, _ in by_hand)


def test_a_fired_neuron_knows_its_token_and_its_surroundings() -> None:
    values = np.zeros((30, 1), np.float32)
    values[20], values[21] = 4, 2
    firing = trying.rank_neurons([f"t{i}" for i in range(30)], [values], [np.array([8.0])])
    [fired] = firing.strongest
    assert (fired.value, fired.relative, fired.at, fired.start) == (4, 0.5, 20, 9)
    shown = list(trying.shaded_tokens([f"t{i}" for i in range(30)], fired))
    assert shown[0] == ("t9", 0)
    assert shown[-1] == ("t25", 0)
    assert dict(shown)["t20"] == 5
    assert dict(shown)["t21"] == 2


def test_what_is_not_active_or_not_known_is_not_listed() -> None:
    values = np.array([[-1.0, 5.0, 5.0, 5.0]], np.float32)
    firing = trying.rank_neurons(["a"], [values], [np.array([1.0, np.nan, 0.0, -2.0])])
    assert (firing.strongest, firing.by_layer) == ([], [[]])
    assert (firing.ranked, firing.unknown, firing.beyond) == (1, 3, 0)
