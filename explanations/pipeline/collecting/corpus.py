"""Texts to excerpts: documents are read, tokenised, and cut; no excerpt crosses from one document into the next."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

TEXT_FIELDS = ("text", "content", "document")
"""names of the column that holds a document's text, first come first taken"""
TOKEN_FIELD = "tokens"  # noqa: S105
"""in JSONL and Parquet, ids of one excerpt's tokens: it is taken as it is"""
PARQUET_ROWS = 256

Document: TypeAlias = "str | list[int]"
"""a text, or the token ids of one excerpt"""
Rows: TypeAlias = npt.NDArray[np.uint32]


class CorpusError(ValueError):
    """A corpus that cannot be read, with the file and the reason in words."""


@dataclass(frozen=True, slots=True)
class Corpus:
    """Excerpts of equal length, in the order of the files."""

    rows: Rows
    """[excerpt, pos] token ids, on disk"""
    documents: int
    tokens: int
    """in all documents"""
    digest: str
    """of all excerpts: equal exactly where they are"""


def read_documents(paths: Iterable[Path]) -> Iterator[tuple[Path, Document]]:
    """Yield the documents of files: a text file is one, JSONL has one a line, Parquet one a row. CorpusError."""
    for path in paths:
        try:
            for document in _reader(path)(path):
                yield path, document
        except UnicodeDecodeError as error:
            raise CorpusError(f"{path}: not text in UTF-8 (byte {error.start})") from None
        except OSError as error:
            raise CorpusError(f"{path}: cannot be read: {error.strerror or error}") from None


def _reader(path: Path) -> Callable[[Path], Iterator[Document]]:
    readers = {".jsonl": _read_jsonl, ".ndjson": _read_jsonl, ".parquet": _read_parquet}
    return readers.get(path.suffix.lower(), _read_text)


def _read_text(path: Path) -> Iterator[Document]:
    yield path.read_text(encoding="utf-8")


def _read_jsonl(path: Path) -> Iterator[Document]:
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                try:
                    yield _document_of(json.loads(line))
                except (ValueError, RecursionError) as error:
                    raise CorpusError(f"{path}: line {number}: {error}") from None


def _document_of(item: object) -> Document:
    if isinstance(item, str):
        return item
    if isinstance(item, dict):
        ids = item.get(TOKEN_FIELD)
        if isinstance(ids, list) and all(type(token) is int and token >= 0 for token in ids):
            return ids
        for name in TEXT_FIELDS:
            if isinstance(text := item.get(name), str):
                return text
    raise ValueError(f"neither a text nor an object with one under {', '.join(TEXT_FIELDS)}, or ids in {TOKEN_FIELD}")


def _read_parquet(path: Path) -> Iterator[Document]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
    except pa.ArrowInvalid as error:
        raise CorpusError(f"{path}: not a Parquet file: {error}") from None
    name = next((name for name in (TOKEN_FIELD, *TEXT_FIELDS) if name in file.schema_arrow.names), None)
    if name is None:
        columns = ", ".join(file.schema_arrow.names)
        raise CorpusError(f"{path}: no column {' or '.join((*TEXT_FIELDS, TOKEN_FIELD))}; its columns are {columns}")
    for batch in file.iter_batches(PARQUET_ROWS, columns=[name]):
        yield from (item for item in batch.column(0).to_pylist() if isinstance(item, str | list))


def build_corpus(
    documents: Iterable[tuple[Path, Document]],
    encode: Callable[[str], Sequence[int]],
    *,
    vocabulary: int,
    excerpt_tokens: int,
    target: Path,
) -> Corpus:
    """Write all excerpts to a file and return them; what is left at a document's end is left out. CorpusError."""
    digest, documents_read, tokens, count = hashlib.blake2b(digest_size=16), 0, 0, 0
    with target.open("wb") as file:
        for path, document in documents:
            ids = np.asarray(encode(document) if isinstance(document, str) else document, dtype=np.uint32)
            if not isinstance(document, str):
                _check_excerpt(path, ids, excerpt_tokens, vocabulary)
            documents_read, tokens = documents_read + 1, tokens + len(ids)
            kept = len(ids) // excerpt_tokens
            data = ids[: kept * excerpt_tokens].tobytes()
            file.write(data)
            digest.update(data)
            count += kept
    if not count:
        raise CorpusError(
            f"the corpus has no document of {excerpt_tokens} tokens or more ({documents_read:,} documents,"
            f" {tokens:,} tokens); --excerpt-tokens makes excerpts shorter"
        )
    rows = np.memmap(target, np.uint32, "r", shape=(count, excerpt_tokens))
    return Corpus(rows, documents_read, tokens, digest.hexdigest())


def _check_excerpt(path: Path, ids: Rows, excerpt_tokens: int, vocabulary: int) -> None:
    if len(ids) != excerpt_tokens:
        raise CorpusError(f"{path}: an excerpt of {len(ids)} tokens; --excerpt-tokens says {excerpt_tokens}")
    if ids.max() >= vocabulary:
        raise CorpusError(f"{path}: token {ids.max()} is beyond the model's vocabulary of {vocabulary:,}")


def choose_order(excerpts: int, wanted: int | None, seed: int) -> npt.NDArray[np.int64]:
    """Return the numbers of the chosen excerpts in the order in which they are read."""
    order = np.random.default_rng([seed, 0]).permutation(excerpts)
    return order if wanted is None else order[:wanted]


def count_tokens(rows: Rows, order: npt.NDArray[np.int64], vocabulary: int) -> npt.NDArray[np.int64]:
    """Return how often each token occurs in the chosen excerpts [vocabulary]."""
    counts = np.zeros(vocabulary, np.int64)
    for start in range(0, len(order), 4096):
        counts += np.bincount(rows[np.sort(order[start : start + 4096])].ravel(), minlength=vocabulary)
    return counts
