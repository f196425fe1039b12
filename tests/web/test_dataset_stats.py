"""`manage.py dataset_stats`: what is stored, what is missing, and the room it takes."""

from __future__ import annotations

import json
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from explanations.importing.gaps import Gaps
from explanations.management.inventory.sizes import count_tokens, measure_database
from explanations.models import Flag, Job, SubjectModel
from explanations.pipeline.layout import DataKind
from explanations.pipeline.records import NeuronId
from tests.world import EXCERPT_TOKENS, World

pytestmark = pytest.mark.django_db


def run(**options: Any) -> str:
    out = StringIO()
    call_command("dataset_stats", stdout=out, **options)
    return out.getvalue()


def model_of(**options: Any) -> dict[str, Any]:
    (found,) = json.loads(run(json=True, no_sizes=True, **options))["models"]
    return dict(found)


def test_counts_are_those_of_the_rows(world: World) -> None:
    Flag.objects.create(explanation=world.explanation, reporter=world.reader, reason="vague")
    Job.objects.create(neuron=world.neuron, explainer="a", simulator="b")
    SubjectModel.objects.update(layers=5)
    found = model_of()
    assert (found["neurons"], found["neurons_by_layer"]) == (5, {"0": 4, "1": 1})
    assert (found["with_activations"], found["with_related"]) == (5, 0)
    assert found["explanations"] == {"baseline": {"current": 1}, "published": {"current": 3, "retired": 1}}
    assert found["simulations"] == {"token lookup": 1, "toy-simulator": 3}
    assert found["excerpts"] == world.model.excerpts.count()
    assert (found["flags"], found["jobs"]) == ({"open": 1}, {"queued": 1})
    assert (found["gaps"], found["missing_layers"]) == ({}, [2, 3, 4])
    assert found["import_command"].endswith("import_dataset SOURCE --model tiny --layers 2-4")


def test_one_layer_is_one(db: None) -> None:
    SubjectModel.objects.create(slug="small", name="Small", layers=1, neurons_per_layer=1_536)
    assert "small (Small): 1 layer of 1,536 neurons" in run()


def test_it_reads_well(world: World) -> None:
    said = run()
    assert "tiny (Tiny): 2 layers of 4 neurons" in said
    assert "5 of 8 imported" in said
    assert "whole layers    0\n" in said
    assert "layers in part  1 (1)" in said
    assert "published: 3, published, retired: 1" in said
    assert "gaps            none" in said
    assert "explanations_activationset" in said


def test_gaps_are_what_came_from_no_source(world: World) -> None:
    gap = (NeuronId(1, 2), DataKind.ACTIVATIONS)
    # 0:0 has activations, whatever that source says.
    Gaps(world.model, "https://example.org/").record(missing=[gap, (NeuronId(0, 0), gap[1])], found=[])
    Gaps(world.model, "").record(missing=[gap], found=[])
    assert model_of()["gaps"] == {"activations": {"1": 1}}
    assert "activations: 1 in layer 1" in run(no_sizes=True)


def test_sizes_are_by_part_and_add_up(world: World) -> None:
    sizes = measure_database()
    assert 0 < sum(size.total for size in sizes.tables.values()) <= sizes.total
    explanations = sizes.tables["explanations_explanation"]
    assert min(explanations.table, explanations.indexes, explanations.full_text) > 0
    assert sizes.tables["explanations_activationset"].full_text == 0
    assert not any(name.startswith("explanations_stems") for name in sizes.tables)


def test_tokens_are_counted(world: World) -> None:
    # Five neurons of 60 records, four explanations that were simulated on ten.
    assert count_tokens() == ((5 * 60 + 4 * 10) * EXCERPT_TOKENS, True)
    sizes = measure_database()
    assert sizes.bytes_per_64_tokens == pytest.approx(sizes.total / (340 * EXCERPT_TOKENS / 64))
    assert sizes.activation_bytes_per_64_tokens is not None
    assert sizes.activation_bytes_per_64_tokens < sizes.bytes_per_64_tokens


def test_many_rows_are_estimated_from_some_and_said_to_be(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("explanations.management.inventory.sizes.SAMPLE", 2)
    assert count_tokens() == ((5 * 60 + 4 * 10) * EXCERPT_TOKENS, False)
    assert "among about 4,080 real and simulated values" in run()


def test_sizes_come_as_json_too(world: World) -> None:
    sizes = json.loads(run(json=True))["sizes"]
    assert sizes["vendor"] == connection.vendor
    assert sizes["tables"]["explanations_neuron"]["total"] > 0
    assert sizes["bytes_per_64_tokens"] > 0


def test_an_empty_installation_says_so() -> None:
    said = run()
    assert "No model is stored here." in said
    assert "No activations are stored." in said
    assert json.loads(run(json=True))["sizes"]["bytes_per_64_tokens"] is None


def test_one_model_can_be_chosen(world: World) -> None:
    SubjectModel.objects.create(slug="gpt2-xl", name="GPT-2 XL", layers=48, neurons_per_layer=6400)
    assert model_of(model="gpt2-xl")["import_command"].endswith("import_dataset public --model gpt2-xl --layers 0-47")
    with pytest.raises(CommandError, match="--model: there is no model “other” here"):
        run(model="other")
