"""A collection in a folder: begun, gone on with, put together from shards, and read."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from explanations.pipeline.collecting import kernels
from explanations.pipeline.collecting.collector import Collector
from explanations.pipeline.collecting.corpus import Corpus, build_corpus, choose_order, read_documents
from explanations.pipeline.collecting.merging import Collection, MergeError, Part
from explanations.pipeline.collecting.result import Results
from explanations.pipeline.collecting.settings import Settings
from explanations.pipeline.collecting.state import load_state, save_state, saved_end
from explanations.pipeline.subject.points import same_width
from explanations.pipeline.subject.transformer import TransformerSubject

ABOUT, TOKENS = "collection.json", "tokens.bin"
SHOWN_DIFFERENCES = 5


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be collected, and where the work is kept."""

    corpus: tuple[Path, ...]
    folder: Path
    settings: Settings = field(default_factory=Settings)
    layers: tuple[int, ...] | None = None
    shard: tuple[int, int] = (1, 1)
    """which of how many, counted from 1"""


class Collecting:
    """A collection under way or done."""

    def __init__(
        self,
        subject: TransformerSubject,
        corpus: Corpus,
        settings: Settings,
        layers: Sequence[int] | None,
        folder: Path,
        shard: tuple[int, int] = (1, 1),
    ) -> None:
        self.subject, self.corpus, self.settings, self._folder = subject, corpus, settings, folder
        self.order = choose_order(len(corpus.rows), settings.excerpts, settings.seed)
        self.collector = Collector(subject, corpus, self.order, settings, folder, layers)
        self.layers = tuple(self.collector.points)
        number, count = shard
        chunks = self.collector.chunks
        self._first, self._end = chunks * (number - 1) // count, chunks * number // count
        self._parts: list[Part] = []

    @property
    def excerpts(self) -> int:
        """How many excerpts the whole collection has."""
        return len(self.order)

    @property
    def points(self) -> Sequence[Any]:
        return list(self.collector.points.values())

    def count_tokens(self) -> tuple[int, int]:
        """Return how many tokens this shard has collected, and how many are left."""
        done = max(self._first, saved_end(self._folder))
        return self.collector.tokens_in(self._first, done), self.collector.tokens_in(done, self._end)

    @property
    def is_complete(self) -> bool:
        return bool(self._parts)

    def run(self, advance: Callable[[int], None], stopping: Callable[[], bool], *, keep: bool = True) -> None:
        """Collect what this shard still lacks. `keep`: write the finished state to disk, for merging."""
        state = self.collector.run(self._first, self._end, advance, stopping)
        if state is not None:
            if keep:
                save_state(self._folder, state)
            self._parts = [Part(self._folder, state)]

    def results(self) -> Results:
        """Return what was found. MergeError where this is a shard of several."""
        tokens = self.collector.tokens
        collection = Collection(self._parts, self.collector.shape, self.settings)
        return Results(collection, self.order, tokens.ids, tokens.counts, tokens.weights)

    @classmethod
    def open(cls, subject: TransformerSubject, folders: Sequence[Path]) -> Collecting:
        """Return the collection that these shards are together. MergeError where they are not one."""
        abouts = [_read_about(folder) for folder in folders]
        for folder, about in zip(folders, abouts, strict=True):
            _same_kernels(folder, about, abouts[0].get("kernels"))
            _compare(abouts[0], about, f"{folders[0]} and {folder} are shards of different collections")
        settings = Settings(**abouts[0]["settings"])
        rows = np.memmap(folders[0] / TOKENS, np.uint32, "r").reshape(-1, settings.excerpt_tokens)
        corpus = Corpus(rows, abouts[0]["documents"], abouts[0]["tokens"], abouts[0]["corpus"])
        found = cls(subject, corpus, settings, abouts[0]["layers"], folders[0])
        _compare(abouts[0], _about(found), "the shards were collected with another model")
        for folder in folders:
            state = load_state(folder, lazily=True)
            if state is None:
                raise MergeError(f"{folder} holds no collected shard: it was stopped before it kept anything")
            found._parts.append(Part(folder, state))
        found.results()
        return found


def begin(subject: TransformerSubject, plan: Plan) -> Collecting:
    """Return the collection of a plan, gone on with where its folder holds the beginning. MergeError, CorpusError."""
    plan.folder.mkdir(parents=True, exist_ok=True)
    same_width([p for p in subject.points if plan.layers is None or p.layer in plan.layers])
    corpus = build_corpus(
        read_documents(plan.corpus),
        subject.texts.encode,
        vocabulary=subject.texts.vocabulary,
        excerpt_tokens=plan.settings.excerpt_tokens,
        target=plan.folder / TOKENS,
    )
    collecting = Collecting(subject, corpus, plan.settings, plan.layers, plan.folder, plan.shard)
    about = {**_about(collecting), "shard": list(plan.shard), "kernels": kernels.VERSION}
    file = plan.folder / ABOUT
    if file.exists():
        before = _read_about(plan.folder)
        _same_kernels(plan.folder, before, kernels.VERSION)
        _compare(before, about, f"{plan.folder} holds a collection begun otherwise", shard=True)
    file.write_text(json.dumps(about, indent=1))
    return collecting


def _about(collecting: Collecting) -> dict[str, Any]:
    """Return what must be equal for two runs to be parts of one."""
    subject, corpus = collecting.subject, collecting.corpus
    return {
        "model": subject.name,
        "precision": subject.precision,
        "sink": subject.texts.sink_name,
        "points": [point.name for point in collecting.points],
        "layers": list(collecting.layers),
        "corpus": corpus.digest,
        "documents": corpus.documents,
        "tokens": corpus.tokens,
        "settings": collecting.settings.as_json(),
    }


def _read_about(folder: Path) -> dict[str, Any]:
    try:
        about: dict[str, Any] = json.loads((folder / ABOUT).read_text())
    except (OSError, ValueError):
        raise MergeError(f"{folder} holds no collection (no {ABOUT} that can be read)") from None
    return about


def _same_kernels(folder: Path, about: dict[str, Any], version: int | None) -> None:
    """Raise MergeError where a folder's work was done by another version of `kernels`; None is that before all."""
    if (found := about.get("kernels")) != version:
        raise MergeError(
            f"{folder} was collected by another version of this program, whose sums differ in the last bits (kernels:"
            f" {found} and {version})"
        )


def _compare(one: dict[str, Any], other: dict[str, Any], what: str, *, shard: bool = False) -> None:
    def flat(about: dict[str, Any]) -> dict[str, Any]:
        apart = {"settings", "kernels"} if shard else {"settings", "kernels", "shard"}
        plain = {name: value for name, value in about.items() if name not in apart}
        return {**plain, **about["settings"]}

    a, b = flat(one), flat(other)
    differing = [f"{name}: {a.get(name)} and {b.get(name)}" for name in a | b if a.get(name) != b.get(name)]
    if differing:
        raise MergeError(f"{what} ({'; '.join(differing[:SHOWN_DIFFERENCES])})")
