"""A real small model, end to end: loaded from a folder and from GGUF, scored, continued, and served by the protocol."""

from __future__ import annotations

from typing import Any

import pytest

from tests.model.smollm2 import converted, gguf_file, missing

if reason := missing():
    pytest.skip(reason, allow_module_level=True)

from explanations.model_server import LocalResponder, ModelServer
from explanations.pipeline.language_models import LanguageModel, Message
from explanations.pipeline.language_models.endpoint import EndpointModel
from explanations.pipeline.language_models.loading import load_local
from explanations.pipeline.language_models.secret import Secret
from explanations.pipeline.language_models.transport import Transport

pytestmark = pytest.mark.slow

QUESTION = [Message("user", "What is the capital of France? Answer in one word.")]
EXCERPT = "<start>\nParis\tunknown\n is\tunknown\n the\tunknown\n<end>"


@pytest.fixture(scope="module")
def smollm2() -> LanguageModel:
    return load_local(converted(), precision="float32")


def test_it_knows_the_capital_of_france(smollm2: LanguageModel) -> None:
    assert smollm2.can_chat
    assert smollm2.context_window == 8192
    found = smollm2.complete(QUESTION, max_tokens=10, temperature=0)
    assert "Paris" in found.text
    assert not found.is_cut_off


def test_a_familiar_text_is_likelier_than_its_words_in_another_order(smollm2: LanguageModel) -> None:
    def total(text: str) -> float:
        found = smollm2.prompt_log_probabilities(text, top=0)
        return sum(token.log_probability or 0.0 for token in found.tokens)

    assert total("The cat sat on the mat.") > total("The mat on sat cat the.") + 10


def test_digits_are_split_as_in_the_original(smollm2: LanguageModel) -> None:
    texts = [token.text for token in smollm2.prompt_log_probabilities("cat\t10\n", top=0).tokens]
    assert texts == ["cat", "\t", "1", "0", "\n"]


def test_the_gguf_file_gives_what_the_converted_model_gives(smollm2: LanguageModel) -> None:
    from_gguf = load_local(gguf_file(), precision="float32")
    assert from_gguf.name == "SmolLM2-135M-Instruct.Q4_1"
    one, other = (m.prompt_log_probabilities(EXCERPT, top=5) for m in (from_gguf, smollm2))
    assert [token.text for token in one.tokens] == [token.text for token in other.tokens]
    # The converted weights are rounded to bfloat16.
    for a, b in zip(one.tokens[1:], other.tokens[1:], strict=True):
        assert a.log_probability == pytest.approx(b.log_probability, abs=0.3)


def test_the_server_gives_what_the_model_gives(smollm2: LanguageModel) -> None:
    with ModelServer(LocalResponder(smollm2)) as server:
        transport = Transport(server.url, Secret(""), timeout=120)
        there = EndpointModel(transport, smollm2.name)
        assert there.has_prompt_log_probabilities
        found: Any = there.prompt_log_probabilities(EXCERPT, top=15)
        said = there.complete(QUESTION, max_tokens=10, temperature=0)
        transport.close()
    here = smollm2.prompt_log_probabilities(EXCERPT, top=15)
    assert [token.text for token in found.tokens] == [token.text for token in here.tokens]
    for far, near in zip(found.tokens, here.tokens, strict=True):
        assert far.alternatives == pytest.approx(near.alternatives, abs=1e-3)
    assert said == smollm2.complete(QUESTION, max_tokens=10, temperature=0)
