"""Texts to excerpts: which files are read, and that no excerpt crosses from one document into the next."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from explanations.pipeline.collecting.corpus import (
    CorpusError,
    build_corpus,
    choose_order,
    count_tokens,
    read_documents,
)


def encode(text: str) -> list[int]:
    return [ord(character) for character in text]


def build(tmp_path: Path, *files: Path, tokens: int = 3) -> Any:
    return build_corpus(
        read_documents(files), encode, vocabulary=1000, excerpt_tokens=tokens, target=tmp_path / "tokens.bin"
    )


def texts(corpus: Any) -> list[str]:
    return ["".join(map(chr, row)) for row in corpus.rows.tolist()]


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_excerpts_never_cross_documents_and_ends_are_left_out(tmp_path: Path) -> None:
    corpus = build(tmp_path, write(tmp_path / "a.txt", "abcdefgh"), write(tmp_path / "b.txt", "xyz"))
    assert texts(corpus) == ["abc", "def", "xyz"]
    assert (corpus.documents, corpus.tokens) == (2, 11)


def test_jsonl_has_a_document_a_line(tmp_path: Path) -> None:
    lines = ['"abcd"', '{"text": "efg"}', "", '{"content": "hij"}', '{"tokens": [120, 121, 122]}']
    assert texts(build(tmp_path, write(tmp_path / "a.jsonl", "\n".join(lines)))) == ["abc", "efg", "hij", "xyz"]


@pytest.mark.parametrize("column", ["text", "content"])
def test_parquet_has_a_document_a_row(tmp_path: Path, column: str) -> None:
    pq.write_table(pa.table({"id": [1, 2, 3], column: ["abcd", None, "efg"]}), tmp_path / "a.parquet")
    assert texts(build(tmp_path, tmp_path / "a.parquet")) == ["abc", "efg"]


def test_parquet_may_hold_token_ids(tmp_path: Path) -> None:
    pq.write_table(pa.table({"tokens": pa.array([[97, 98, 99]], pa.list_(pa.uint16()))}), tmp_path / "a.parquet")
    assert texts(build(tmp_path, tmp_path / "a.parquet")) == ["abc"]


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.txt", b"ab\xff", "a.txt: not text in UTF-8 (byte 2)"),
        ("a.jsonl", '"abc"\n{"text": 1}', "a.jsonl: line 2: neither a text nor an object with one under text"),
        ("a.jsonl", "{", "a.jsonl: line 1: Expecting"),
        ("a.jsonl", "[" * 100_000, "a.jsonl: line 1: maximum recursion depth"),
        ("a.jsonl", json.dumps({"tokens": [1, 2]}), "a.jsonl: an excerpt of 2 tokens; --excerpt-tokens says 3"),
        ("a.jsonl", json.dumps({"tokens": [1, 2, 1000]}), "token 1000 is beyond the model's vocabulary of 1,000"),
        ("a.jsonl", json.dumps({"tokens": [1, 2, -1]}), "neither a text"),
        ("a.parquet", b"nothing", "a.parquet: not a Parquet file"),
        ("a.txt", "ab", "no document of 3 tokens or more (1 documents, 2 tokens)"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, name: str, content: str | bytes, reason: str) -> None:
    with pytest.raises(CorpusError) as caught:
        build(tmp_path, write(tmp_path / name, content))
    assert reason in str(caught.value)


def test_a_parquet_file_without_texts_names_its_columns(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1], "b": [2]}), tmp_path / "x.parquet")
    with pytest.raises(CorpusError, match="no column text or content or document or tokens; its columns are a, b"):
        build(tmp_path, tmp_path / "x.parquet")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"absent.txt: cannot be read: No such file"):
        build(tmp_path, tmp_path / "absent.txt")


def test_the_order_follows_from_the_seed() -> None:
    assert sorted(choose_order(10, None, 0)) == list(range(10))
    assert choose_order(10, 4, 0).tolist() == choose_order(10, None, 0)[:4].tolist()
    assert choose_order(10, None, 0).tolist() != choose_order(10, None, 1).tolist()


def test_only_chosen_excerpts_tokens_are_counted(tmp_path: Path) -> None:
    corpus = build(tmp_path, write(tmp_path / "a.txt", "aabccc"))
    assert count_tokens(corpus.rows, np.array([1]), 1000)[ord("a") : ord("d")].tolist() == [0, 0, 3]
