"""The constraints that guard the rows, each in the database itself, and facts about one row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, models, transaction
from django.utils import timezone

from explanations.models import (
    RESERVED_SLUGS,
    ActivationSet,
    Excerpt,
    Explanation,
    Flag,
    Job,
    Neuron,
    RelatedSet,
    ReviewEvent,
    Simulation,
    Source,
    SubjectModel,
    validate_slug_is_free,
)
from explanations.pipeline.records import NeuronId
from tests.world import World


def refuses(constraint: str, table: type[models.Model], /, **fields: Any) -> None:
    """Assert that the database refuses such a row, and by which constraint."""
    with pytest.raises(IntegrityError) as error, transaction.atomic():
        table._default_manager.create(**fields)
    message = str(error.value)
    # SQLite names the columns of a unique index, not the index.
    columns = next((c.fields for c in table._meta.constraints if c.name == constraint and hasattr(c, "fields")), ())
    assert constraint in message or all(column in message for column in columns or [constraint]), message


def job_fields(world: World, **fields: Any) -> dict[str, Any]:
    return {"neuron": world.neuron, "explainer": "e", "simulator": "s", **fields}


def flag_fields(world: World, **fields: Any) -> dict[str, Any]:
    return {"explanation": world.explanation, "reporter": world.reader, "reason": "wrong", **fields}


# Models


def test_a_model_has_an_address_of_its_own(world: World) -> None:
    refuses("slug", SubjectModel, slug="tiny", name="Another", layers=1, neurons_per_layer=1)


@pytest.mark.parametrize("size", [{"layers": 0, "neurons_per_layer": 1}, {"layers": 1, "neurons_per_layer": 0}])
def test_a_model_has_neurons(db: None, size: dict[str, int]) -> None:
    refuses("subject_model_has_neurons", SubjectModel, slug="empty", name="Empty", **size)


@pytest.mark.parametrize("slug", sorted(RESERVED_SLUGS))
def test_no_model_takes_an_address_of_the_site(db: None, slug: str) -> None:
    refuses("subject_model_slug_is_free", SubjectModel, slug=slug, name="Thief", layers=1, neurons_per_layer=1)
    with pytest.raises(ValidationError):
        validate_slug_is_free(slug)


@pytest.mark.parametrize("slug", ["", "GPT2", "a b", "../x", "a\n", "é", ".hidden"])
def test_a_slug_fits_an_address(slug: str) -> None:
    with pytest.raises(ValidationError):
        SubjectModel(slug=slug, name="Name", layers=1, neurons_per_layer=1).clean_fields()


def test_a_model_knows_which_neurons_it_holds(world: World) -> None:
    inside, outside = [(0, 0), (1, 3)], [(2, 0), (0, 4), (-1, 0), (0, -1)]
    assert all(world.model.holds(NeuronId(*place)) for place in inside)
    assert not any(world.model.holds(NeuronId(*place)) for place in outside)


# Neurons and their data


def test_a_neuron_exists_once(world: World) -> None:
    refuses("neuron_is_unique", Neuron, model=world.model, layer=0, index=0)


def test_two_models_may_have_the_same_neuron(world: World) -> None:
    other = SubjectModel.objects.create(slug="other", name="Other", layers=1, neurons_per_layer=1)
    assert Neuron.objects.create(model=other, layer=0, index=0).pk != world.neuron.pk


def test_an_excerpt_is_stored_once_a_model(world: World) -> None:
    excerpt = Excerpt.objects.first()
    assert excerpt is not None
    refuses("excerpt_is_unique", Excerpt, model=world.model, key=excerpt.key, tokens=b"other")


def test_a_neuron_has_one_set_of_activations(world: World) -> None:
    refuses("neuron_id", ActivationSet, neuron=world.neuron, data=b"")


def test_a_neuron_has_one_set_of_relations(world: World) -> None:
    RelatedSet.objects.create(neuron=world.neuron, data=b"")
    refuses("neuron_id", RelatedSet, neuron=world.neuron, data=b"")


def test_the_headline_is_the_best_explanation_in_words(world: World) -> None:
    assert world.neuron.headline_text == world.explanation.text
    assert world.neuron.headline_score == 0.4


# Explanations and simulations


def test_an_explanation_says_something(world: World) -> None:
    refuses("explanation_has_text", Explanation, neuron=world.neuron, text="", source=Source.HUMAN)


def test_an_explanation_has_a_known_source(world: World) -> None:
    refuses("explanation_source_is_known", Explanation, neuron=world.neuron, text="x", source="oracle")


def test_an_explanation_is_current_or_retired(world: World) -> None:
    refuses("explanation_state_is_known", Explanation, neuron=world.neuron, text="x", source="human", state="lost")


def test_a_place_in_a_dataset_is_imported_once(world: World) -> None:
    fields: dict[str, Any] = {"neuron": world.neuron, "source": Source.PUBLISHED}
    Explanation.objects.create(text="first", dataset_position=0, **fields)
    refuses("explanation_is_imported_once", Explanation, text="again", dataset_position=0, **fields)
    Explanation.objects.create(text="second", dataset_position=1, **fields)


def test_explanations_made_here_have_no_place_in_a_dataset(world: World) -> None:
    for text in ("one", "two"):
        Explanation.objects.create(neuron=world.neuron, text=text, source=Source.HUMAN)
    assert world.neuron.explanations.filter(source=Source.HUMAN, dataset_position=None).count() == 2


def test_a_job_makes_one_explanation(world: World) -> None:
    job = Job.objects.create(**job_fields(world))
    Explanation.objects.create(neuron=world.neuron, text="one", source=Source.MODEL, job=job)
    refuses("job_id", Explanation, neuron=world.neuron, text="two", source=Source.MODEL, job=job)


@pytest.mark.parametrize("score", [1.01, -1.01, 7.0])
def test_a_correlation_lies_between_minus_one_and_one(world: World, score: float) -> None:
    fields = {"explanation": world.explanation, "scale": "normalised", "excerpt_count": 0, "data": b""}
    refuses("simulation_correlation_in_range", Simulation, ev_correlation=score, **fields)


@pytest.mark.parametrize("score", [None, 1.0, -1.0, 0.0])
def test_a_correlation_may_be_undefined(world: World, score: float | None) -> None:
    fields: dict[str, Any] = {"explanation": world.explanation, "scale": "normalised", "excerpt_count": 0, "data": b""}
    row = Simulation.objects.create(ev_correlation=score, **fields)
    row.refresh_from_db()
    assert row.ev_correlation == score


# Flags


@pytest.mark.parametrize("state", ["open", "claimed"])
def test_a_person_has_one_undecided_flag_of_an_explanation(world: World, state: str) -> None:
    Flag.objects.create(**flag_fields(world, state=state))
    refuses("flag_open_once", Flag, **flag_fields(world))


def test_others_and_later_flags_are_free(world: World) -> None:
    done = {"state": "kept", "decided_at": timezone.now(), "decision_reason": "right as it is"}
    Flag.objects.create(**flag_fields(world, **done))
    Flag.objects.create(**flag_fields(world, **done))
    Flag.objects.create(**flag_fields(world))
    Flag.objects.create(**flag_fields(world, reporter=world.explainer))
    Flag.objects.create(**flag_fields(world, explanation=world.baseline))
    assert Flag.objects.count() == 5


def test_a_flag_has_a_known_reason(world: World) -> None:
    refuses("flag_reason_is_known", Flag, **flag_fields(world, reason="ugly"))


@pytest.mark.parametrize(
    "fields",
    [
        {"state": "lost", "decision_reason": "why"},
        {"state": "kept", "decision_reason": "why"},
        {"state": "retired", "decision_reason": "why"},
        {"state": "reexplained", "decision_reason": "why"},
        {"state": "open", "decided_at": timezone.now()},
        {"state": "claimed", "decided_at": timezone.now()},
    ],
)
def test_a_flag_is_decided_when_it_has_a_time(world: World, fields: dict[str, Any]) -> None:
    refuses("flag_decided_has_time", Flag, **flag_fields(world, **fields))


@pytest.mark.parametrize("state", ["kept", "retired", "reexplained"])
def test_a_decision_has_a_reason(world: World, state: str) -> None:
    refuses("flag_decided_has_reason", Flag, **flag_fields(world, state=state, decided_at=timezone.now()))


def test_an_open_flag_is_nobodys(world: World) -> None:
    refuses("flag_open_has_no_reviewer", Flag, **flag_fields(world, reviewer=world.reviewer))


def test_another_reason_needs_a_note(world: World) -> None:
    refuses("flag_other_has_note", Flag, **flag_fields(world, reason="other"))
    Flag.objects.create(**flag_fields(world, reason="other", note="it is in French"))


def test_flags_outlive_the_people(world: World) -> None:
    row = Flag.objects.create(**flag_fields(world, state="claimed", reviewer=world.reviewer))
    world.reader.delete()
    world.reviewer.delete()
    row.refresh_from_db()
    assert (row.reporter, row.reviewer, row.state) == (None, None, "claimed")


def test_an_event_is_a_known_step(world: World) -> None:
    row = Flag.objects.create(**flag_fields(world))
    refuses("review_event_action_is_known", ReviewEvent, flag=row, action="eaten")


# Jobs


@pytest.mark.parametrize(
    "fields",
    [
        {"state": "lost"},
        {"state": "done"},
        {"state": "failed"},
        {"state": "cancelled"},
        {"state": "queued", "finished_at": timezone.now()},
        {"state": "running", "finished_at": timezone.now(), "lease_until": timezone.now()},
    ],
)
def test_a_job_is_finished_when_it_has_a_time(world: World, fields: dict[str, Any]) -> None:
    refuses("job_finished_has_time", Job, **job_fields(world, **fields))


def test_a_running_job_has_a_lease(world: World) -> None:
    refuses("job_running_has_lease", Job, **job_fields(world, state="running"))


@pytest.mark.parametrize("state", ["queued", "running"])
def test_a_neuron_is_explained_by_one_job_of_a_kind_at_a_time(world: World, state: str) -> None:
    Job.objects.create(**job_fields(world, state=state, lease_until=timezone.now()))
    refuses("job_unfinished_once", Job, **job_fields(world))
    Job.objects.create(**job_fields(world, explainer="another"))


def test_a_finished_job_may_be_asked_for_again(world: World) -> None:
    Job.objects.create(**job_fields(world, state="failed", finished_at=timezone.now()))
    assert Job.objects.create(**job_fields(world)).is_finished is False


def test_every_constraint_is_tested_here() -> None:
    """A new constraint without a test fails this one."""
    named = Path(__file__).read_text()
    tables = [SubjectModel, Neuron, Excerpt, ActivationSet, RelatedSet, Explanation, Simulation, Flag, ReviewEvent, Job]
    missing = [c.name for table in tables for c in table._meta.constraints if f'"{c.name}"' not in named]
    assert not missing


def test_an_explanation_knows_the_place_of_its_neuron_however_it_is_written(world: World) -> None:
    neuron = Neuron.objects.get(model=world.model, layer=1, index=0)
    fields = {"neuron_id": neuron.pk, "text": "one", "source": Source.HUMAN}
    saved = Explanation.objects.create(**fields)
    (bulk,) = Explanation.objects.bulk_create([Explanation(**fields)])
    for pk in (saved.pk, bulk.pk):
        row = Explanation.objects.get(pk=pk)
        assert (row.model_id, row.layer) == (world.model.pk, 1)
