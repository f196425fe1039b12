"""What collecting adds to the model's own work: all neurons of SmolLM2-135M, everything that is kept of them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from itertools import count
from pathlib import Path

from django.conf import settings

from explanations.pipeline.collecting.settings import Settings
from explanations.pipeline.subject.threads import load_torch
from tests.benchmarks.protocol import Bench, Pair, Skipped, ratio
from tests.model.smollm2 import converted, missing

CORPUS = Path(settings.BASE_DIR) / "fixtures" / "smollm2-135m.corpus.parquet"
CHUNKS_BEFORE = 45
"""collected before the clock starts: at first every excerpt enters every list; by then as many do as in the mean over
the bundled corpus"""


@ratio(
    "collecting",
    subject="a chunk of 32 excerpts collected: lists, samples, moments, means by token of all 46,080 neurons",
    floor="the same chunk through the bare model, without its head",
    on="nothing",
    at_most=1 / 0.85,
)
def collecting(bench: Bench) -> Iterator[Pair]:
    if reason := missing():
        raise Skipped(reason)
    if bench.is_quick:
        raise Skipped(f"it means something only after {CHUNKS_BEFORE} chunks, which take a minute")
    try:
        import numba  # noqa: F401
    except ImportError:
        raise Skipped("numba not installed: pip install -e '.[models]'") from None
    # As the command does.
    load_torch()
    from explanations.pipeline.collecting.collecting import Plan, begin
    from explanations.pipeline.subject.transformer import open_transformer

    subject = open_transformer(converted(), device="cpu", precision="auto", points="", sink="")
    with tempfile.TemporaryDirectory() as folder:
        found = begin(subject, Plan((CORPUS,), Path(folder), Settings()))
        collector = found.collector
        state = collector.begin(0)
        for chunk in range(CHUNKS_BEFORE):
            collector.collect(state, chunk)
        chunks, bare = count(CHUNKS_BEFORE), count(CHUNKS_BEFORE)
        yield Pair(
            floor=lambda: collector.run_bare(next(bare) % collector.chunks),
            subject=lambda: collector.collect(state, next(chunks) % collector.chunks),
        )
