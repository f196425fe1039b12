"""Collecting: equal to a naive collection of everything in memory; interrupted, or in shards, equal bit for bit."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

if any(importlib.util.find_spec(name) is None for name in ("torch", "transformers", "numba")):
    pytest.skip("torch, transformers or numba not installed: pip install -e '.[models]'", allow_module_level=True)

from explanations.pipeline.collecting import kernels
from explanations.pipeline.collecting import settings as settings_module
from explanations.pipeline.collecting.collecting import Collecting, Plan, begin
from explanations.pipeline.collecting.corpus import choose_order
from explanations.pipeline.collecting.merging import MergeError
from explanations.pipeline.collecting.result import LayerResult
from explanations.pipeline.collecting.settings import QUANTILES, Settings
from explanations.pipeline.records import Kind
from explanations.pipeline.subject.transformer import TransformerSubject
from tests.model.tiny import byte_tokenizer, tiny_family

WORDS = ["the", "cat", "sat", "on", "the", "mat", "dog", "unknown", "café", "10", "100", "numbers", *"0123456789"]
SMALL = Settings(excerpt_tokens=8, top=6, bottom=5, random=4, per_quantile=3, chunk=4, times_seen=2)


@pytest.fixture(autouse=True)
def small_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings_module, "POOL_EXCERPTS", 24)
    monkeypatch.setattr(settings_module, "RANKED_EXCERPTS", 64)


@pytest.fixture(scope="module")
def subject() -> TransformerSubject:
    tokenizer = byte_tokenizer()
    return TransformerSubject(tiny_family("Llama", len(tokenizer)), tokenizer, name="tiny")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(7)
    file = tmp_path_factory.mktemp("corpus") / "texts.jsonl"
    texts = [" ".join(rng.choice(WORDS, size=rng.integers(3, 60))) for _ in range(45)]
    file.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return file


def plan_of(folder: Path, corpus: Path, **options: Any) -> Plan:
    return Plan(corpus=(corpus,), folder=folder, **{"settings": SMALL, **options})


def collect(subject: TransformerSubject, plan: Plan, stop_after: int | None = None) -> Collecting:
    collecting = begin(subject, plan)
    left = [stop_after if stop_after is not None else -1]

    def stopping() -> bool:
        left[0] -= 1
        return left[0] == 0

    collecting.run(lambda _tokens: None, stopping)
    return collecting


def layers_of(collecting: Collecting) -> list[LayerResult]:
    results = collecting.results()
    return [results.layer(layer) for layer in collecting.layers]


@dataclass
class Naive:
    """Everything in memory: [excerpt, pos, neuron] of one layer, with the excerpts in the order of the corpus."""

    ids: np.ndarray
    values: np.ndarray


def naive(subject: TransformerSubject, corpus: Path, layer: int) -> Naive:
    """Return all activations, computed in the batches that a collection has, so that nothing differs by rounding."""
    rows = []
    for line in corpus.read_text().splitlines():
        ids = subject.texts.encode(json.loads(line)["text"])
        rows += [ids[start : start + 8] for start in range(0, len(ids) - 7, 8)]
    values = np.empty((len(rows), 8, 48), np.float32)
    order = choose_order(len(rows), None, 0)
    for start in range(0, len(order), 4):
        batch = order[start : start + 4]
        values[batch] = subject.activations([rows[excerpt] for excerpt in batch])[layer]
    return Naive(np.array(rows), values)


def group(result: LayerResult, kind: int) -> Any:
    return next(g for g in result.groups if g.kind == kind)


@pytest.fixture(scope="module")
def collected(
    subject: TransformerSubject, corpus: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[list[LayerResult], list[Naive]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(settings_module, "POOL_EXCERPTS", 24)
        patch.setattr(settings_module, "RANKED_EXCERPTS", 64)
        results = layers_of(collect(subject, plan_of(tmp_path_factory.mktemp("run"), corpus)))
    return results, [naive(subject, corpus, layer) for layer in range(2)]


def test_there_are_more_excerpts_than_those_that_are_ranked(collected: Any) -> None:
    assert len(collected[1][0].ids) > 90


@pytest.mark.parametrize("layer", [0, 1])
def test_top_and_lowest_excerpts_are_those_of_all(collected: Any, layer: int) -> None:
    result, everything = collected[0][layer], collected[1][layer]
    highest, lowest = everything.values.max(axis=1), everything.values.min(axis=1)  # [excerpt, neuron]
    top, bottom = group(result, Kind.TOP), group(result, Kind.BOTTOM)
    for neuron in range(48):
        best = sorted(range(len(highest)), key=lambda e: (-highest[e, neuron], e))[:6]
        worst = sorted(range(len(lowest)), key=lambda e: (lowest[e, neuron], e))[:5]
        assert top.numbers[neuron].tolist() == best
        assert bottom.numbers[neuron].tolist() == worst


@pytest.mark.parametrize("layer", [0, 1])
def test_every_record_has_its_excerpts_activations(collected: Any, layer: int) -> None:
    result, everything = collected[0][layer], collected[1][layer]
    for found in result.groups:
        for neuron, places in enumerate(found.numbers):
            for place, number in enumerate(places):
                if number >= 0:
                    assert np.array_equal(found.activations[neuron, place], everything.values[number, :, neuron])


def test_equal_maxima_come_by_the_excerpts_number(subject: TransformerSubject, tmp_path: Path) -> None:
    file = tmp_path / "same.jsonl"
    file.write_text('{"text": "the cat sat on the mat the cat sat on the mat"}\n' * 20)
    # One excerpt a batch: rows of a batch are computed by different threads, and equal ones differ in the last bit.
    settings = replace(SMALL, chunk=1)
    [result, _] = layers_of(collect(subject, plan_of(tmp_path / "run", file, settings=settings)))
    assert (group(result, Kind.TOP).numbers == np.arange(6)).all()
    assert (group(result, Kind.BOTTOM).numbers == np.arange(5)).all()


@pytest.mark.parametrize("layer", [0, 1])
def test_moments_are_those_of_all_tokens(collected: Any, layer: int) -> None:
    result, everything = collected[0][layer], collected[1][layer]
    values = everything.values.astype(np.float64).reshape(-1, 48)
    off = values - values.mean(axis=0)
    variance = (off**2).mean(axis=0)
    expected = [
        values.mean(axis=0),
        variance,
        (off**3).mean(axis=0) / variance**1.5,
        (off**4).mean(axis=0) / variance**2,
    ]
    np.testing.assert_allclose(result.moments, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("layer", [0, 1])
def test_mean_activations_by_token_are_those_of_all_occurrences(collected: Any, layer: int) -> None:
    result, everything = collected[0][layer], collected[1][layer]
    tokens, counts = np.unique(everything.ids, return_counts=True)
    seen = tokens[counts >= 2]
    means = np.stack([everything.values[everything.ids == token].mean(axis=0) for token in seen])  # [token, neuron]
    assert result.tokens.shape == (48, min(100, len(seen)))
    step = np.abs(everything.values).max() * 2**-12
    for neuron in range(48):
        by_token = dict(zip(seen.tolist(), means[:, neuron], strict=True))
        found = [by_token[token] for token in result.tokens[neuron]]
        np.testing.assert_allclose(result.token_means[neuron], found, atol=step)
        assert (np.diff(result.token_means[neuron]) <= 0).all()
        np.testing.assert_allclose(found, sorted(by_token.values(), reverse=True)[: len(found)], atol=step)
    assert result.missed == 0


@pytest.mark.parametrize("layer", [0, 1])
def test_quantile_samples_lie_in_their_ranges(
    subject: TransformerSubject, corpus: Path, tmp_path: Path, layer: int
) -> None:
    # All excerpts are ranked, and all are in the pool: then ranges are full where the corpus has enough.
    settings_module.POOL_EXCERPTS, settings_module.RANKED_EXCERPTS = 512, 512
    result = layers_of(collect(subject, plan_of(tmp_path, corpus)))[layer]
    highest = naive(subject, corpus, layer).values.max(axis=1)  # [excerpt, neuron]
    excerpts = len(highest)
    # Of equal maxima the lower number counts as the higher rank, as it comes first in the top list.
    lowest_first = np.stack([np.lexsort((-np.arange(excerpts), column)) for column in highest.T], axis=1)
    ranks = np.argsort(lowest_first, axis=0)
    for quantile, (low, high) in enumerate(pairwise(QUANTILES)):
        numbers = group(result, Kind.QUANTILE + quantile).numbers
        in_range = int(high * excerpts) - int(low * excerpts)
        assert numbers.shape == (48, min(3, in_range))
        for neuron in range(48):
            assert len(set(numbers[neuron])) == numbers.shape[1]
            found = ranks[numbers[neuron], neuron]
            assert ((found >= int(low * excerpts)) & (found < int(high * excerpts))).all()


def test_quantile_ranges_are_sampled_evenly(collected: Any) -> None:
    numbers = np.concatenate([group(r, Kind.QUANTILE).numbers for r in collected[0]])
    assert len(np.unique(numbers)) > 12
    assert len({tuple(row) for row in numbers}) > 80


def test_random_samples_are_independent_of_activations(collected: Any) -> None:
    numbers = np.concatenate([group(r, Kind.RANDOM).numbers for r in collected[0]])  # [neuron, draw]
    assert all(len(set(row)) == 4 for row in numbers)
    excerpts = len(collected[1][0].ids)
    drawn = np.bincount(numbers.ravel(), minlength=excerpts)
    assert (drawn > 0).mean() > 0.8
    assert drawn.max() < 16
    assert len({tuple(row) for row in numbers}) == len(numbers)


def assert_equal(one: list[LayerResult], other: list[LayerResult]) -> None:
    for a, b in zip(one, other, strict=True):
        assert [g.kind for g in a.groups] == [g.kind for g in b.groups]
        pairs = [
            (x, y) for g, h in zip(a.groups, b.groups, strict=True) for x, y in zip(parts(g), parts(h), strict=True)
        ]
        for x, y in [*pairs, (a.moments, b.moments), (a.tokens, b.tokens), (a.token_means, b.token_means)]:
            assert x.dtype == y.dtype
            assert x.tobytes() == y.tobytes()


def parts(found: Any) -> tuple[Any, Any]:
    return found.numbers, found.activations


@pytest.mark.parametrize("stop_after", [1, 5, 17])
def test_an_interrupted_run_goes_on_to_the_same(
    subject: TransformerSubject, corpus: Path, tmp_path: Path, collected: Any, stop_after: int
) -> None:
    plan = plan_of(tmp_path, corpus)
    stopped = collect(subject, plan, stop_after)
    assert not stopped.is_complete
    done = collect(subject, plan)
    assert done.is_complete
    assert_equal(layers_of(done), collected[0])


@pytest.mark.parametrize("count", [2, 3, 7])
def test_shards_are_together_what_one_run_is(
    subject: TransformerSubject, corpus: Path, tmp_path: Path, collected: Any, count: int
) -> None:
    folders = [tmp_path / str(number) for number in range(1, count + 1)]
    for number, folder in enumerate(folders, 1):
        collect(subject, plan_of(folder, corpus, shard=(number, count)))
    merged = Collecting.open(subject, folders[::-1])
    assert_equal(layers_of(merged), collected[0])


def test_a_shard_that_is_missing_is_named(subject: TransformerSubject, corpus: Path, tmp_path: Path) -> None:
    for number in (1, 3):
        collect(subject, plan_of(tmp_path / str(number), corpus, shard=(number, 3)))
    with pytest.raises(MergeError, match="collected by none of the shards"):
        Collecting.open(subject, [tmp_path / "1", tmp_path / "3"])
    with pytest.raises(MergeError, match="collected twice"):
        Collecting.open(subject, [tmp_path / "1", tmp_path / "1"])


def test_shards_of_different_collections_are_refused(subject: TransformerSubject, corpus: Path, tmp_path: Path) -> None:
    collect(subject, plan_of(tmp_path / "1", corpus, shard=(1, 2)))
    collect(subject, plan_of(tmp_path / "2", corpus, shard=(2, 2), settings=replace(SMALL, seed=1)))
    with pytest.raises(MergeError, match="seed: 0 and 1"):
        Collecting.open(subject, [tmp_path / "1", tmp_path / "2"])


def test_a_run_begun_with_other_settings_is_not_gone_on_with(
    subject: TransformerSubject, corpus: Path, tmp_path: Path
) -> None:
    collect(subject, plan_of(tmp_path, corpus), 3)
    with pytest.raises(MergeError, match="top: 6 and 5"):
        begin(subject, plan_of(tmp_path, corpus, settings=replace(SMALL, top=5)))


def test_what_another_version_of_the_kernels_collected_is_not_gone_on_with(
    subject: TransformerSubject, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    collect(subject, plan_of(tmp_path, corpus), 3)
    monkeypatch.setattr(kernels, "VERSION", kernels.VERSION + 1)
    with pytest.raises(MergeError, match="collected by another version of this program"):
        begin(subject, plan_of(tmp_path, corpus))


def test_shards_of_different_versions_of_the_kernels_are_refused(
    subject: TransformerSubject, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    collect(subject, plan_of(tmp_path / "1", corpus, shard=(1, 2)))
    monkeypatch.setattr(kernels, "VERSION", kernels.VERSION + 1)
    collect(subject, plan_of(tmp_path / "2", corpus, shard=(2, 2)))
    with pytest.raises(MergeError, match="2 was collected by another version of this program"):
        Collecting.open(subject, [tmp_path / "1", tmp_path / "2"])
    # Of one version, even if it is not today's.
    collect(subject, plan_of(tmp_path / "3", corpus, shard=(1, 2)))
    monkeypatch.setattr(kernels, "VERSION", kernels.VERSION + 1)
    assert Collecting.open(subject, [tmp_path / "2", tmp_path / "3"]).is_complete


def test_fewer_excerpts_and_layers_can_be_chosen(subject: TransformerSubject, corpus: Path, tmp_path: Path) -> None:
    settings = replace(SMALL, excerpts=10, bottom=0)
    [result] = layers_of(collect(subject, plan_of(tmp_path, corpus, settings=settings, layers=(1,))))
    assert result.layer == 1
    assert [g.kind for g in result.groups][:2] == [Kind.TOP, Kind.RANDOM]
    assert len(set(np.concatenate([g.numbers.ravel() for g in result.groups])) - {-1}) <= 10
