"""Trials kept in a file of JSON lines as they are made, so that a long evaluation can be done in pieces."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from explanations.pipeline.evaluation.contestants import TextScores
from explanations.pipeline.evaluation.right_and_wrong import Trial


class TrialsFileError(ValueError):
    """The file holds something else than trials; the message says where."""


class KeptTrial(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A line of the file: what a contestant made of a neuron, or of a puzzle."""

    contestant: str
    version: str
    """of its prompts"""
    subject: str
    texts: list[str]
    """the right explanation and the wrong ones"""
    scores: list[dict[str, float | None]]
    failures: list[int]

    @property
    def key(self) -> tuple[str, str, str, tuple[str, ...]]:
        return self.contestant, self.version, self.subject, tuple(self.texts)

    @property
    def trial(self) -> Trial:
        return Trial(tuple(TextScores(s, f) for s, f in zip(self.scores, self.failures, strict=True)))


@dataclass
class Trials:
    """The trials that were made: in memory, and in a file where there is one."""

    file: Path | None = None
    _kept: dict[tuple[str, str, str, tuple[str, ...]], Trial] = field(default_factory=dict)

    @classmethod
    def read(cls, file: Path | None) -> Trials:
        """Return what a file holds; nothing where it is not there yet. TrialsFileError, or OSError.

        A last line that was cut off, as by a kill, is dropped: what it was to say is tried again.
        """
        trials = cls(file)
        if file is None or not file.exists():
            return trials
        whole, _, cut_off = file.read_bytes().rpartition(b"\n")
        for number, line in enumerate(whole.splitlines(), start=1):
            try:
                kept = msgspec.json.decode(line, type=KeptTrial)
                trials._kept[kept.key] = kept.trial
            except ValueError as error:
                raise TrialsFileError(f"{file}, line {number}: {error}") from None
        if cut_off:
            file.write_bytes(whole + b"\n" if whole else b"")
        return trials

    def of(self, contestant: str, version: str, subject: str, texts: tuple[str, ...]) -> Trial | None:
        """Return the trial that was made with just these explanations; None where there is none."""
        return self._kept.get((contestant, version, subject, texts))

    def make(
        self, contestant: str, version: str, subject: str, texts: tuple[str, ...], do: Callable[[], Trial]
    ) -> Trial:
        """Return the trial that was made, else make it now and keep it."""
        key = (contestant, version, subject, texts)
        if key not in self._kept:
            trial = do()
            scores = [dict(text.measures) for text in trial.texts]
            kept = KeptTrial(contestant, version, subject, list(texts), scores, [t.failures for t in trial.texts])
            if self.file is not None:
                with self.file.open("ab") as lines:
                    lines.write(msgspec.json.encode(kept) + b"\n")
            self._kept[key] = trial
        return self._kept[key]
