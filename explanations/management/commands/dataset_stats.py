"""`manage.py dataset_stats`: what is stored, what is missing, and the room it takes. docs/importing.md explains it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connection

from explanations.import_commands import describe_numbers
from explanations.management.counting import counted
from explanations.management.inventory.counts import ModelCounts, count_model
from explanations.management.inventory.sizes import DatabaseSizes, measure_database
from explanations.models import Source, SubjectModel
from explanations.pipeline.remote.spool import describe_bytes


class Command(BaseCommand):
    help = (
        "Print what is stored of each model, what is missing with the command that imports it, and the room that the"
        " database takes by part. SQLite reads its whole file for the sizes."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--model", metavar="SLUG", help="only this model's counts; sizes are the whole database's")
        parser.add_argument("--json", action="store_true", help="as one JSON object, for programs")
        parser.add_argument("--no-sizes", action="store_true", help="counts alone")

    def handle(self, **options: Any) -> None:
        models = list(SubjectModel.objects.all())
        if options["model"]:
            models = [model for model in models if model.slug == options["model"]]
            if not models:
                raise CommandError(f"--model: there is no model “{options['model']}” here")
        counts = [count_model(model) for model in models]
        sizes = None if options["no_sizes"] else measure_database()
        if options["json"]:
            self.stdout.write(json.dumps(as_json(counts, sizes), indent=2))
            return
        for line in describe(counts, sizes):
            self.stdout.write(line)


def as_json(counts: Iterable[ModelCounts], sizes: DatabaseSizes | None) -> dict[str, Any]:
    found: dict[str, Any] = {"models": [{**asdict(part), "neurons": part.neurons} for part in counts]}
    if sizes is not None:
        tables = {name: {**asdict(size), "total": size.total} for name, size in sizes.tables.items()}
        found["sizes"] = {
            **asdict(sizes),
            "vendor": connection.vendor,
            "tables": tables,
            "bytes_per_64_tokens": sizes.bytes_per_64_tokens,
            "activation_bytes_per_64_tokens": sizes.activation_bytes_per_64_tokens,
        }
    return found


def describe(counts: list[ModelCounts], sizes: DatabaseSizes | None) -> Iterable[str]:
    for part in counts:
        yield from _describe_model(part)
        yield ""
    if not counts:
        yield "No model is stored here.\n"
    if sizes is not None:
        yield from _describe_sizes(sizes)


def _describe_model(part: ModelCounts) -> Iterable[str]:
    known = part.layers * part.neurons_per_layer
    full = [layer for layer, count in part.neurons_by_layer.items() if count == part.neurons_per_layer]
    partly = [layer for layer, count in part.neurons_by_layer.items() if count < part.neurons_per_layer]
    yield f"{part.model} ({part.name}): {counted(part.layers, 'layer')} of {counted(part.neurons_per_layer, 'neuron')}"
    yield _line("neurons", f"{part.neurons:,} of {known:,} imported")
    yield _line("", f"{part.with_activations:,} with activations, {part.with_related:,} with related tokens or neurons")
    if full:
        yield _line("whole layers", describe_numbers(full))
    if partly:
        yield _line("layers in part", ", ".join(f"{layer} ({part.neurons_by_layer[layer]:,})" for layer in partly))
    if part.missing_layers:
        yield _line("missing layers", describe_numbers(part.missing_layers))
        yield _line("", part.import_command)
    yield _line("explanations", _join(_explanations(part)) or "none")
    yield _line("simulations", _join({name or "by nobody named": n for name, n in part.simulations.items()}) or "none")
    yield _line("excerpts", f"{part.excerpts:,}")
    yield _line("flags", _join(part.flags) or "none")
    yield _line("jobs", _join(part.jobs) or "none")
    yield _line("gaps", "none" if not part.gaps else f"{sum(sum(g.values()) for g in part.gaps.values()):,} files")
    for kind, layers in part.gaps.items():
        yield _line("", f"{kind}: " + ", ".join(f"{n:,} in layer {layer}" for layer, n in layers.items()))


def _explanations(part: ModelCounts) -> dict[str, int]:
    return {
        str(Source(source).label) + ("" if state == "current" else f", {state}"): count
        for source, states in part.explanations.items()
        for state, count in states.items()
    }


def _describe_sizes(sizes: DatabaseSizes) -> Iterable[str]:
    yield f"{connection.display_name} {sizes.database}: {describe_bytes(sizes.total)}"
    yield f"  {'table':<40}{'rows':>12}{'indexes':>12}{'full text':>12}{'all':>12}"
    for name, size in sizes.tables.items():
        if size.total >= sizes.total / 1000:
            parts = (size.table, size.indexes, size.full_text, size.total)
            yield f"  {name:<40}" + "".join(f"{describe_bytes(part) if part else '-':>12}" for part in parts)
    yield f"  {'smaller tables, catalogues, free pages':<40}" + f"{describe_bytes(_rest(sizes)):>48}"
    if sizes.bytes_per_64_tokens is None:
        yield "No activations are stored."
        return
    about = "" if sizes.is_counted else "about "
    yield (
        f"64 tokens of activations take {about}{sizes.bytes_per_64_tokens:,.1f} bytes: the whole database, shared out"
        f" among {about}{sizes.tokens:,} real and simulated values"
        f" ({sizes.activation_bytes_per_64_tokens:,.1f} of them in the tables of activations and simulations)"
    )


def _rest(sizes: DatabaseSizes) -> int:
    listed = sum(size.total for size in sizes.tables.values() if size.total >= sizes.total / 1000)
    return max(sizes.total - listed, 0)


def _line(name: str, text: str) -> str:
    return f"  {name:<16}{text}"


def _join(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name}: {count:,}" for name, count in counts.items())
