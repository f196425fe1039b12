"""`manage.py explain`: bulk, resumable, within a budget."""

from __future__ import annotations

import threading
from collections.abc import Callable
from decimal import Decimal
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from explanations import budgets, jobs
from explanations.management import bulk
from explanations.models import Explanation, Job
from explanations.pipeline.language_models import LanguageModelError
from tests.web.test_job_states import run as run_job
from tests.web.toy_model import SUMMARY, WRITTEN, ToyModel, offer
from tests.world import World

NEURONS = 5
"""of the world, with records"""


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> ToyModel:
    return offer(monkeypatch, ToyModel())


def explain(**options: Any) -> str:
    out = StringIO()
    call_command("explain", model="tiny", stdout=out, **options)
    return out.getvalue()


def explain_by_model(**options: Any) -> str:
    return explain(explainer=SUMMARY, simulator=WRITTEN, **options)


def status_of(act: Callable[[], object]) -> tuple[int, str]:
    with pytest.raises(CommandError) as error:
        act()
    return error.value.returncode, str(error.value)


def made() -> list[tuple[int, int]]:
    found = Explanation.objects.filter(explainer=SUMMARY).order_by("neuron__layer", "neuron__index")
    return list(found.values_list("neuron__layer", "neuron__index"))


# Doing


def test_every_neuron_is_explained_and_told(world: World, model: ToyModel) -> None:
    out = explain_by_model()
    assert f"toy, summary, scored by toy, written: {NEURONS} neurons\n" in out
    assert f"{NEURONS} of {NEURONS}" in out
    assert f"{NEURONS} explained, 0 failed, " in out
    assert made() == [(0, 0), (0, 1), (0, 2), (0, 3), (1, 0)]
    explanation = Explanation.objects.filter(explainer=SUMMARY)[0]
    assert (explanation.source, explanation.job, explanation.author) == ("model", None, None)
    assert explanation.simulations.get().provenance["simulator"] == WRITTEN


def test_layers_and_neurons_are_chosen(world: World, model: ToyModel) -> None:
    explain_by_model(layers="0", neurons="1-2")
    assert made() == [(0, 1), (0, 2)]


def test_the_baseline_costs_nothing_and_needs_no_model(world: World) -> None:
    out = explain(layers="0", neurons="2")
    assert "token lookup, scored by token lookup: 1 neuron\n" in out
    assert "1 explained, 0 failed\n" in out
    assert Explanation.objects.get(neuron__layer=0, neuron__index=2).source == "baseline"


def test_run_again_it_redoes_nothing(world: World, model: ToyModel) -> None:
    explain_by_model(neurons="0")
    asked = len(model.asked)
    out = explain_by_model(neurons="0")
    assert "0 neurons; 2 are done or under way already" in out
    assert len(model.asked) == asked
    out = explain_by_model()
    assert "3 neurons; 2 are done" in out
    assert len(made()) == NEURONS


def test_what_was_retired_is_not_redone_but_another_prompt_is(world: World, model: ToyModel) -> None:
    explain_by_model(neurons="0")
    Explanation.objects.filter(explainer=SUMMARY).update(state="retired")
    assert "0 neurons" in explain_by_model(neurons="0")
    Explanation.objects.filter(explainer=SUMMARY).update(prompt_version="summary-0")
    assert "2 explained" in explain_by_model(neurons="0")


def test_several_neurons_are_under_way_at_a_time(world: World, model: ToyModel) -> None:
    together = threading.Barrier(3)
    first = threading.local()

    def meet() -> None:
        if not getattr(first, "met", False):
            first.met = True
            together.wait(timeout=30)

    model.before = meet
    explain_by_model(concurrency=3, layers="0", neurons="0-2")
    assert len(made()) == 3


def test_the_next_neuron_is_read_while_a_model_is_asked(
    world: World, model: ToyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[object] = []
    is_read = threading.Event()
    read_neuron_record = bulk.store.read_neuron_record

    def reading(*args: Any) -> Any:
        read.append(args)
        if len(read) == 2:
            is_read.set()
        return read_neuron_record(*args)

    def wait() -> None:
        assert is_read.wait(timeout=30)

    monkeypatch.setattr(bulk.store, "read_neuron_record", reading)
    model.before = wait
    explain_by_model(concurrency=1)
    assert len(made()) == NEURONS


# Scoring again


def test_explanations_that_are_there_are_scored_by_another_simulator(world: World, model: ToyModel) -> None:
    out = explain(simulator=WRITTEN, rescore=True)
    current = Explanation.objects.current().exclude(source="baseline")
    assert f"Explanations that are there, scored by toy, written: {current.count()} explanations\n" in out
    assert f"{current.count()} scored, 0 failed, " in out
    for explanation in current:
        assert explanation.simulations.filter(simulator=WRITTEN).count() == 1
    assert not Explanation.objects.filter(explainer=SUMMARY).exists()
    kept = world.explanation.simulations.order_by("pk")
    assert [row.simulator for row in kept] == ["toy-simulator", WRITTEN]
    assert kept[1].provenance["simulator"] == WRITTEN


def test_scoring_again_skips_what_is_scored_and_stays_within_the_budget(world: World, model: ToyModel) -> None:
    assert "1 scored" in explain(simulator=WRITTEN, rescore=True, layers="0", neurons="0")
    asked = len(model.asked)
    assert "0 explanations; 1 are done" in explain(simulator=WRITTEN, rescore=True, layers="0", neurons="0")
    status, message = status_of(lambda: explain(simulator=WRITTEN, rescore=True, budget_usd="0"))
    assert (status, "the next explanation may cost" in message) == (3, True)
    assert len(model.asked) == asked


def test_scoring_again_can_be_queued(world: World, model: ToyModel) -> None:
    assert "1 jobs are queued" in explain(simulator=WRITTEN, rescore=True, layers="0", neurons="0", tasks=True)
    job = Job.objects.get()
    assert (job.parent, job.rescores, job.explainer) == (
        world.explanation,
        True,
        f"explanation {world.explanation.pk}",
    )
    assert "0 explanations; 1 are done or under way" in explain(
        simulator=WRITTEN, rescore=True, layers="0", neurons="0", tasks=True
    )
    run_job(job)
    assert world.explanation.simulations.filter(simulator=WRITTEN).count() == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"simulator": "token lookup"}, "never reads the explanation"),
        ({"simulator": WRITTEN, "explainer": SUMMARY}, "--rescore explains nothing"),
        ({"simulator": WRITTEN, "revisions": 1}, "--rescore explains nothing"),
        ({"simulator": "gpt-9"}, "there is no simulator “gpt-9” here"),
    ],
)
def test_scoring_again_refuses_what_makes_no_sense(
    world: World, model: ToyModel, options: dict[str, Any], message: str
) -> None:
    assert message in status_of(lambda: explain(rescore=True, **options))[1]


# Failing and stopping


def test_failures_are_named_and_counted_and_the_others_done(world: World, model: ToyModel) -> None:
    world.neuron.activation_set.delete()
    out = StringIO()
    status, message = status_of(
        lambda: call_command("explain", model="tiny", explainer=SUMMARY, simulator=WRITTEN, stdout=out)
    )
    assert (status, message) == (1, "1 neuron failed")
    assert "4 explained, 1 failed" in out.getvalue()
    assert "  0:0: Neuron 0:0 has no activation records, so there is nothing to explain.\n" in out.getvalue()
    assert (0, 0) not in made()


def test_a_run_in_which_all_fails_stops(world: World, model: ToyModel, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise LanguageModelError("The server does not take the key.")

    model.before = refuse
    monkeypatch.setattr(bulk, "FAILURES_IN_A_ROW", 3)
    monkeypatch.setattr("explanations.management.commands.explain.FAILURES_IN_A_ROW", 3)
    status, message = status_of(lambda: explain_by_model(concurrency=1))
    assert status == 1
    assert message.startswith("The last 3 neurons all failed.")
    assert len(model.asked) == 0


def test_it_stops_cleanly_at_its_budget_and_goes_on_with_another(world: World, model: ToyModel) -> None:
    job = jobs.request_job(
        neuron=world.neuron, parent=None, requested_by=world.explainer, explainer=SUMMARY, simulator=WRITTEN
    )
    most = job.held_usd
    jobs.cancel_job(job.pk)
    status, message = status_of(lambda: explain_by_model(budget_usd=str(most * 2), concurrency=2))
    assert status == 3
    assert message.startswith(f"The budget of {budgets.written(most * 2)} is reached: ")
    done = len(made())
    assert 2 <= done < NEURONS
    spent = budgets.read_day(None)
    assert spent.held == 0
    assert 0 < spent.spent <= most * 2
    explain_by_model(budget_usd="10")
    assert len(made()) == NEURONS


def test_the_days_budget_holds_for_it_too(world: World, model: ToyModel, settings: Any) -> None:
    settings.BUDGET_USD_PER_DAY = Decimal("0.01")
    status, message = status_of(explain_by_model)
    assert status == 3
    assert "All that is asked for here may cost at most $0.01 a day" in message
    assert budgets.read_day(None).taken == 0


def test_interrupted_it_stops_at_the_next_step_and_keeps_what_is_done(world: World, model: ToyModel) -> None:
    def interrupt() -> None:
        if len(model.asked) >= 15:
            raise KeyboardInterrupt

    model.before = interrupt
    status, message = status_of(lambda: explain_by_model(concurrency=1))
    assert (status, message) == (130, "stopped; the same command goes on from there")
    assert made() == [(0, 0)]
    assert budgets.read_day(None).held == 0
    assert budgets.read_day(None).spent > 0
    model.before = lambda: None
    explain_by_model()
    assert len(made()) == NEURONS


# As tasks


def test_the_same_work_is_spread_as_jobs(
    world: World, model: ToyModel, django_capture_on_commit_callbacks: Any, client: Any
) -> None:
    out = explain_by_model(tasks=True, layers="0")
    assert "4 jobs are queued" in out
    assert model.asked == []
    assert "0 neurons; 4 are done or under way already" in explain_by_model(tasks=True, layers="0")
    for job in Job.objects.order_by("pk"):
        assert run_job(job) == "done"
    assert len(made()) == 4
    assert "by the explain command" in client.get("/jobs/").content.decode()
    assert "1 neuron; 4 are done" in explain_by_model()


def test_tasks_are_queued_within_the_budget(world: World, model: ToyModel) -> None:
    status, message = status_of(lambda: explain_by_model(tasks=True, budget_usd="0.2"))
    assert status == 3
    held = sum(job.held_usd for job in Job.objects.all())
    assert 0 < held <= Decimal("0.2")
    assert "are left, and this may cost up to" in message


# Asking for what is not there


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"explainer": "gpt-9"}, "there is no explainer “gpt-9” here; there is “token lookup”, “toy, token-activation"),
        ({"simulator": "x"}, "there is no simulator “x” here"),
        ({"explainer": SUMMARY}, "“token lookup” never reads the explanation"),
        ({"candidates": 0}, "--candidates: 0 is not from 1 to 10"),
        ({"candidates": 2}, "“token lookup” always says the same"),
        ({"concurrency": 0}, "--concurrency: 0 is not from 1 to 256"),
        ({"budget_usd": "much"}, "--budget-usd: “much” is not an amount"),
        ({"budget_usd": "-1"}, "--budget-usd: -1 is not an amount"),
        ({"layers": "7-"}, "--layers: “7-”"),
        ({"layers": "9"}, "nothing to do: the model has no neuron"),
    ],
)
def test_what_cannot_be_had_is_said(world: World, model: ToyModel, options: dict[str, Any], complaint: str) -> None:
    status, message = status_of(lambda: explain(**options))
    assert status == 1
    assert complaint in message


def test_a_model_that_is_not_there_is_said(world: World) -> None:
    with pytest.raises(CommandError, match="there is no model “none”"):
        call_command("explain", model="none")
