"""`manage.py collect`: a model and a corpus to neurons. docs/collecting.md explains it."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.core.validators import validate_slug

from explanations.management.collections import (
    add_subject_arguments,
    open_subject,
    stopping_on_signals,
    work_folder,
    write_collected,
)
from explanations.management.counting import counted
from explanations.management.imports import INTERRUPTED
from explanations.management.progress import show_progress
from explanations.management.selection import Numbers
from explanations.pipeline.collecting.corpus import CorpusError
from explanations.pipeline.collecting.settings import Settings

if TYPE_CHECKING:
    from explanations.pipeline.collecting.collecting import Collecting

CHUNK, GPU_CHUNK = 32, 128
"""excerpts that go through the model together, on a processor and on a GPU"""


class Command(BaseCommand):
    help = (
        "Run a language model over a corpus and keep, for every MLP neuron, the excerpts in which it is most active,"
        " random ones, statistics and related tokens and neurons. A run that was stopped goes on where it was."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        add_subject_arguments(parser)
        parser.add_argument(
            "--corpus", type=Path, nargs="+", required=True, metavar="FILE", help=".txt .jsonl .parquet"
        )
        parser.add_argument("--layers", metavar="0-3,7", help="only these layers, counted from 0")
        parser.add_argument("--excerpt-tokens", type=int, default=64, metavar="N", help="tokens an excerpt (64)")
        parser.add_argument("--excerpts", type=int, metavar="N", help="so many, chosen by the seed; all unless told")
        parser.add_argument("--top", type=int, default=50, metavar="N", help="top excerpts a neuron (50)")
        parser.add_argument("--bottom", type=int, metavar="N", help="lowest excerpts; as --top where MLPs are gated")
        parser.add_argument("--random", type=int, default=50, metavar="N", help="random excerpts a neuron (50)")
        parser.add_argument("--per-quantile", type=int, default=10, metavar="N", help="excerpts a quantile range (10)")
        parser.add_argument("--seed", type=int, default=0, metavar="N", help="shuffles the excerpts and draws (0)")
        parser.add_argument(
            "--chunk", type=int, metavar="N", help="excerpts in a batch, a power of two; 32, on GPUs 128"
        )
        parser.add_argument("--token-memory", type=float, default=3.0, metavar="GB", help="for means by token (3)")
        parser.add_argument("--shard", default="1/1", metavar="I/N", help="only the I-th of N parts, for merge_shards")
        parser.add_argument(
            "--work", type=Path, metavar="DIR", help="where to keep what is done; below the data folder"
        )
        parser.add_argument("--keep", action="store_true", help="keep the work when done, as merge_shards reads it")
        parser.add_argument("--restart", action="store_true", help="forget what an earlier run did")

    def handle(self, **options: Any) -> None:
        shard = parse_shard(options["shard"])
        layers = parse_layers(options["layers"])
        folder = work_folder(options["work"], options["model"], shard)
        check_slug(options["model"])
        if missing := [path for path in options["corpus"] if not path.is_file()]:
            raise CommandError(f"--corpus: there is no file {missing[0]}")
        if options["restart"]:
            shutil.rmtree(folder, ignore_errors=True)
        self.stdout.write(f"Opening {options['subject']} ...")
        self.stdout.flush()
        subject = open_subject(options)
        collecting = self.begin(subject, options, layers, shard, folder)
        is_whole = shard[1] == 1
        done, left = collecting.count_tokens()
        if done:
            self.stdout.write(f"{folder} has {done:,} tokens of this collection already.")
        with stopping_on_signals() as stopping, show_progress(self.stdout, left, "tokens") as advance:
            collecting.run(advance, stopping, keep=not is_whole or options["keep"])
        if not collecting.is_complete:
            raise CommandError(
                f"stopped; {folder} keeps what is done, and the same command goes on", returncode=INTERRUPTED
            )
        if not is_whole:
            self.stdout.write(f"Shard {shard[0]} of {shard[1]} is in {folder}; merge_shards puts all together.")
            return
        write_collected(self.stdout, collecting, options)
        if options["keep"]:
            self.stdout.write(f"{folder} keeps the collection.")
        else:
            shutil.rmtree(folder, ignore_errors=True)

    def begin(
        self,
        subject: Any,
        options: dict[str, Any],
        layers: Numbers,
        shard: tuple[int, int],
        folder: Path,
    ) -> Collecting:
        from explanations.pipeline.collecting.collecting import Plan, begin
        from explanations.pipeline.collecting.merging import MergeError
        from explanations.pipeline.subject import SubjectModelError

        chosen = tuple(point.layer for point in subject.points if point.layer in layers)
        if not chosen:
            raise CommandError(f"--layers: the model has layers 0 to {len(subject.points) - 1}")
        settings = read_settings(options, subject)
        try:
            collecting = begin(subject, Plan(tuple(options["corpus"]), folder, settings, chosen, shard))
        except MergeError as error:
            raise CommandError(f"{error}; --restart begins anew, --work begins elsewhere") from None
        except (CorpusError, SubjectModelError) as error:
            raise CommandError(str(error)) from None
        except OSError as error:
            raise CommandError(f"{error.filename or folder}: cannot be written: {error.strerror or error}") from None
        corpus = collecting.corpus
        left = corpus.tokens - len(corpus.rows) * settings.excerpt_tokens
        self.stdout.write(
            f"{subject.name} in {subject.precision}, {counted(len(chosen), 'layer')} of"
            f" {collecting.points[0].width:,} neurons. {collecting.excerpts:,} excerpts from"
            f" {corpus.documents:,} documents; {left:,} tokens at documents' ends left out. Seed {settings.seed}."
        )
        return collecting


def parse_shard(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"([1-9][0-9]{0,4})/([1-9][0-9]{0,4})", text, re.ASCII)
    if match is None or int(match[1]) > int(match[2]):
        raise CommandError(f"--shard: “{text}” is not a part such as 2/8")
    return int(match[1]), int(match[2])


def check_slug(slug: str) -> None:
    """Raise CommandError where a model cannot be called so: before hours of work, not after."""
    try:
        validate_slug(slug)
    except ValidationError:
        raise CommandError(f"model “{slug}”: an address has letters, digits, hyphens and underscores alone") from None


def parse_layers(text: str | None) -> Numbers:
    return Numbers.parse("--layers", text)


def read_settings(options: dict[str, Any], subject: Any) -> Settings:
    """Return what is to be kept. CommandError where a number cannot be."""
    from explanations.pipeline.collecting.weights import is_gated

    bottom = options["bottom"]
    if bottom is None:
        bottom = options["top"] if is_gated(subject, subject.points[0]) else 0
    on_gpu = str(subject.model.device) != "cpu"
    try:
        settings = Settings(
            excerpt_tokens=options["excerpt_tokens"],
            excerpts=options["excerpts"],
            top=options["top"],
            bottom=bottom,
            random=options["random"],
            per_quantile=options["per_quantile"],
            seed=options["seed"],
            chunk=options["chunk"] or (GPU_CHUNK if on_gpu else CHUNK),
            token_bytes=int(options["token_memory"] * (1 << 30)),
        )
    except ValueError as error:
        raise CommandError(f"--{str(error).replace('_', '-', 1)}") from None
    window = subject.context_window
    if window is not None and settings.excerpt_tokens + subject.recorded > window:
        raise CommandError(f"--excerpt-tokens: {settings.excerpt_tokens} is beyond the model's context of {window}")
    return settings
