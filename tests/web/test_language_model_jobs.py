"""Jobs that ask a language model: what is offered, estimated, held, spent and kept."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from explanations import budgets, jobs, leases, methods, store, tasks
from explanations.methods import ModelSource
from explanations.models import Explanation, Job, Neuron, SpendingDay
from explanations.pipeline.language_models import LanguageModelError
from explanations.pipeline.token_lookup import TOKEN_LOOKUP
from tests.web.test_job_states import lapse, run
from tests.web.test_jobs import FORM_URL, get, text_of
from tests.web.toy_model import SUMMARY, WRITTEN, ToyModel, offer
from tests.world import HOSTILE, World, add_explanation

WRITE_URL = "/tiny/layers/0/neurons/0/explain/"


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> ToyModel:
    return offer(monkeypatch, ToyModel())


@pytest.fixture
def signed_in(client: Client, world: World) -> Client:
    client.force_login(world.explainer)
    return client


def ask(world: World, **options: Any) -> Job:
    given = {"parent": world.explanation, "explainer": SUMMARY, "simulator": WRITTEN} | options
    return jobs.request_job(neuron=world.neuron, requested_by=world.explainer, **given)


def dollars_in(text: str) -> float:
    found = re.search(r"about \$([0-9.]*[0-9])", text)
    assert found is not None
    return float(found[1])


def books(world: World) -> tuple[budgets.DaySpending, budgets.DaySpending]:
    return budgets.read_day(world.explainer.pk), budgets.read_day(None)


# Offering


def test_a_model_is_offered_with_what_it_takes(signed_in: Client, model: ToyModel) -> None:
    seen = text_of(get(signed_in, FORM_URL))
    assert "toy, summary Reads the train excerpts as text with the strong tokens marked. About " in seen
    assert "toy, written Has a language model write the activation of each token" in seen
    assert "What this choice takes: No cost: no language model." in seen
    assert model.asked == []


def test_what_is_not_there_is_named_with_the_reason(signed_in: Client) -> None:
    seen = text_of(get(signed_in, FORM_URL))
    assert "An endpoint's language model: No LLM_BASE_URL and LLM_MODEL are set." in seen.replace("&#x27;", "'")
    assert "A local language model: LOCAL_MODEL names no folder or GGUF file." in seen
    assert "Candidates" not in seen


def test_the_address_chooses_and_the_estimate_follows(signed_in: Client, model: ToyModel) -> None:
    chosen = {"explainer": SUMMARY, "simulator": WRITTEN}
    page = get(signed_in, FORM_URL, data=chosen)
    one = text_of(page[page.index('id="estimate"') :])
    several = get(signed_in, FORM_URL, data=chosen | {"candidates": "5", "revisions": "1"})
    many = text_of(several[several.index('id="estimate"') :])
    assert "tokens read" in one
    assert "about $" in one
    assert dollars_in(many) > 5 * dollars_in(one)
    mixed = get(signed_in, FORM_URL, data={"explainer": SUMMARY, "simulator": TOKEN_LOOKUP})
    assert "these two do not go together" in mixed


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"simulator": TOKEN_LOOKUP}, "“token lookup” never reads the explanation"),
        ({"candidates": "11"}, "Candidates: a whole number from 1 to 10."),
        ({"revisions": "x"}, "Revisions: a whole number from 0 to 3."),
        ({"explainer": TOKEN_LOOKUP, "candidates": "2"}, "“token lookup” always says the same: leave this at 1."),
    ],
)
def test_choices_that_make_no_sense_are_explained(
    signed_in: Client, model: ToyModel, change: dict[str, str], message: str
) -> None:
    page = signed_in.post(FORM_URL, {"explainer": SUMMARY, "simulator": WRITTEN} | change).content.decode()
    assert message in page
    assert not Job.objects.exists()


def test_asking_stores_estimate_and_plan_and_holds_the_most_it_may_cost(
    signed_in: Client, world: World, model: ToyModel
) -> None:
    chosen = {"explainer": SUMMARY, "simulator": WRITTEN, "candidates": "2", "revisions": "1"}
    signed_in.post(FORM_URL, chosen)
    job = Job.objects.get()
    assert (job.options["candidates"], job.options["revisions"]) == (2, 1)
    assert job.options["seed"] >= 0
    assert job.held_usd == budgets.dollars(job.estimate["most_usd"]) > 0
    assert job.budget_day == timezone.localdate()
    assert [day.held for day in books(world)] == [job.held_usd] * 2
    assert "are held for it" in text_of(get(signed_in, job.get_absolute_url()))
    assert model.asked == []


# Running


def test_a_job_spends_less_than_was_held_and_settles(world: World, model: ToyModel) -> None:
    job = ask(world)
    held = job.held_usd
    assert run(job) == "done"
    job.refresh_from_db()
    assert (job.state, job.held_usd) == ("done", 0)
    assert 0 < job.cost_usd < held
    assert [(day.held, day.spent) for day in books(world)] == [(0, job.cost_usd)] * 2
    explanation = job.explanation
    assert (explanation.text, explanation.source, explanation.explainer) == (model.says, "model", SUMMARY)
    assert (explanation.simulator, explanation.prompt_version) == (WRITTEN, "summary-1")
    simulation = explanation.simulations.get()
    assert (simulation.tokens_in, simulation.tokens_out) == (job.tokens_in, job.tokens_out)
    assert float(simulation.cost_usd) == pytest.approx(float(job.cost_usd), abs=2e-6)
    # The estimate is an honest one.
    assert job.tokens_in == pytest.approx(job.estimate["tokens_in"], rel=0.1)


def test_its_provenance_is_kept_and_shown(client: Client, world: World, model: ToyModel) -> None:
    job = ask(world, candidates=2, revisions=1)
    assert run(job) == "done"
    made = job.explanation.simulations.get().provenance
    assert (made["explainer"], made["explainer_prompt"], made["simulator"]) == (SUMMARY, "summary-1", WRITTEN)
    assert made["sampling"]["seed"] == job.options["seed"]
    assert [split["split"] for split in made["excerpts"]] == ["train", "calibration", "test", "valid"]
    found = client.get(f"/explanations/{job.explanation.pk}/provenance.json").json()
    assert found["text"] == model.says
    assert found["simulations"][0]["provenance"] == made
    seen = text_of(get(client, "/tiny/layers/0/neurons/0/"))
    assert f"2 candidates, temperature 1.0, at most 60 tokens, seed {job.options['seed']}" in seen
    assert "Train to explain: top 0, 4, 8, 12, 16" in seen


def test_progress_and_cost_show_while_it_runs(
    client: Client, world: World, model: ToyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "PROGRESS_SECONDS", 0)
    job = ask(world)
    seen: list[str] = []
    model.before = lambda: seen.append(text_of(get(client, job.get_absolute_url())))
    run(job)
    assert any("Running 5 of 10 excerpts" in page and "Cost so far" in page for page in seen)


def test_a_failed_excerpt_is_kept_with_its_reason(client: Client, world: World, model: ToyModel) -> None:
    answers = iter(range(100))

    def fail_once() -> None:
        if next(answers) == 3:
            raise LanguageModelError("The server hung up.")

    model.before = fail_once
    job = ask(world)
    assert run(job) == "done"
    simulation = job.explanation.simulations.get()
    assert simulation.failures == [[2, "The server hung up."]]
    assert "9 of 10 excerpts, 1 failed" in text_of(get(client, "/tiny/layers/0/neurons/0/"))


def test_a_model_that_cannot_be_opened_fails_the_job_in_its_words(
    world: World, model: ToyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def open_it() -> None:
        raise LanguageModelError("There is no folder /models/x.")

    job = ask(world)
    [source] = methods.SOURCES
    broken = ModelSource(source.label, source.plan, source.why_not, open_it)  # type: ignore[arg-type]
    monkeypatch.setattr(methods, "SOURCES", [broken])
    assert run(job) == "failed"
    job.refresh_from_db()
    assert job.error == "There is no folder /models/x."
    assert books(world)[1].taken == 0


def test_a_simulator_that_the_model_turns_out_not_to_be_is_named(world: World, model: ToyModel) -> None:
    job = ask(world, simulator="toy, all at once")
    assert run(job) == "failed"
    job.refresh_from_db()
    assert job.error == (
        "toy does not tell the log-probabilities inside a prompt, which “toy, all at once” needs. "
        "There is “toy, written”."
    )


# Budgets


def test_a_job_that_would_break_a_cap_is_refused_with_words(
    signed_in: Client, world: World, model: ToyModel, settings: Any
) -> None:
    settings.BUDGET_USD_PER_PERSON_PER_DAY = Decimal("0.01")
    page = signed_in.post(FORM_URL, {"explainer": SUMMARY, "simulator": WRITTEN}).content.decode()
    assert "What you ask for may cost at most $0.01 a day, of which $0.00 are spent or held for jobs." in page
    assert not Job.objects.exists()
    assert not SpendingDay.objects.filter(held__gt=0).exists()
    assert "What you ask for may cost at most $0.01 a day; $0.00 of today&#x27;s are spent or held." in page
    signed_in.post(FORM_URL, {"explainer": TOKEN_LOOKUP, "simulator": TOKEN_LOOKUP})
    assert Job.objects.count() == 1, "what is free is asked for all the same"


def test_a_running_job_stops_at_its_cap_and_what_it_spent_stays_on_the_books(
    client: Client, world: World, model: ToyModel, settings: Any
) -> None:
    job = ask(world)
    expected = Decimal(str(job.estimate["usd"]))
    jobs.cancel_job(job.pk)
    settings.BUDGET_USD_PER_JOB = expected.quantize(Decimal("0.000001")) + Decimal("0.000001")
    job = ask(world)
    assert job.held_usd == settings.BUDGET_USD_PER_JOB
    # Its answers are dearer than was estimated.
    model.says = "cats " * 4000
    assert run(job) == "failed"
    job.refresh_from_db()
    assert job.error.startswith("It stopped at its budget: $")
    assert job.cost_usd > 0
    assert [(day.held, day.spent) for day in books(world)] == [(0, job.cost_usd)] * 2
    assert not Explanation.objects.filter(job=job).exists()
    assert "Cost " in text_of(get(client, job.get_absolute_url()))


def test_a_cancelled_job_gives_back_what_was_held(world: World, model: ToyModel) -> None:
    job = ask(world)
    jobs.cancel_job(job.pk)
    assert books(world)[0].taken == books(world)[1].taken == 0


def test_a_job_cancelled_while_it_runs_keeps_what_it_spent(
    world: World, model: ToyModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "PROGRESS_SECONDS", 0)
    job = ask(world)
    model.before = lambda: jobs.cancel_job(job.pk)  # type: ignore[assignment]
    assert run(job) == "cancelled"
    job.refresh_from_db()
    assert [(day.held, day.spent) for day in books(world)] == [(0, job.cost_usd)] * 2
    assert job.cost_usd > 0


def test_a_job_whose_worker_died_holds_as_much_again_and_counts_both_tries(
    world: World, model: ToyModel, settings: Any, django_capture_on_commit_callbacks: Any
) -> None:
    settings.BUDGET_USD_PER_DAY = Decimal(1)
    job = ask(world)
    held, spent = job.held_usd, Decimal("0.01")
    lapse(job, cost_usd=spent, attempts=1)
    jobs.requeue_lapsed()
    assert books(world)[1] == budgets.DaySpending(held, Decimal(0)), "what it spent is still within what is held"
    seen: list[Decimal] = []
    model.before = lambda: seen.append(books(world)[1].held)
    assert run(job) == "done"
    assert seen[0] == held + spent
    job.refresh_from_db()
    assert job.cost_usd > spent
    assert [(day.held, day.spent) for day in books(world)] == [(0, job.cost_usd)] * 2


def test_a_second_try_that_the_day_has_no_room_for_fails_with_words(
    world: World, model: ToyModel, settings: Any
) -> None:
    job = ask(world)
    settings.BUDGET_USD_PER_DAY = job.held_usd
    lapse(job, cost_usd=Decimal("0.01"), attempts=1)
    jobs.requeue_lapsed()
    assert run(job) == "failed"
    job.refresh_from_db()
    assert "All that is asked for here may cost at most" in job.error
    assert books(world)[1] == budgets.DaySpending(Decimal(0), Decimal("0.01"))


def test_what_a_worker_spent_that_lost_its_job_is_entered_all_the_same(world: World, model: ToyModel) -> None:
    job = ask(world)

    def lose() -> None:
        if len(model.asked) == 1:
            lapse(job)
            jobs.cancel_job(job.pk)

    model.before = lose
    assert run(job) == "lease lost"
    job.refresh_from_db()
    assert job.state == "cancelled"
    assert job.cost_usd > 0
    assert [(day.held, day.spent) for day in books(world)] == [(0, job.cost_usd)] * 2


def test_spending_written_in_parts_adds_up(world: World, model: ToyModel, monkeypatch: pytest.MonkeyPatch) -> None:
    job = ask(world)
    monkeypatch.setattr(tasks, "PROGRESS_SECONDS", 0)
    in_parts = run(job) and Job.objects.get(pk=job.pk)
    monkeypatch.setattr(tasks, "PROGRESS_SECONDS", 1e9)
    again = ask(world)
    at_once = run(again) and Job.objects.get(pk=again.pk)
    assert (in_parts.cost_usd, in_parts.tokens_in) == (at_once.cost_usd, at_once.tokens_in)  # type: ignore[union-attr]


# Written by a person


def test_a_person_writes_an_explanation_and_it_is_scored_like_any_other(
    signed_in: Client, world: World, model: ToyModel
) -> None:
    page = get(signed_in, WRITE_URL)
    assert 'value="token lookup"' not in page, "it would not read the explanation"
    response = signed_in.post(WRITE_URL, {"text": "  the word\n Tuesday ", "simulator": WRITTEN})
    job = Job.objects.get()
    assert response["Location"] == job.get_absolute_url()
    assert (job.text, job.explainer, job.requested_by) == ("the word Tuesday", "a person", world.explainer)
    assert job.held_usd > 0
    assert run(job) == "done"
    explanation = job.explanation
    assert (explanation.text, explanation.source, explanation.author) == (
        "the word Tuesday",
        "human",
        world.explainer,
    )
    assert (explanation.explainer, explanation.simulator) == ("", WRITTEN)
    assert explanation.score is not None
    seen = text_of(get(signed_in, job.get_absolute_url()))
    assert f"Job {job.pk}: score an explanation of neuron 0:0" in seen
    assert "Written by a person, explainer" in text_of(get(signed_in, "/tiny/layers/0/neurons/0/"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"text": ""}, "Write what the neuron looks for."),
        ({"text": " \n"}, "Write what the neuron looks for."),
        ({"text": "... !"}, "An explanation has words."),
        ({"text": "x" * 501}, "At most 500 characters; these are 501."),
        ({"text": "a\0b"}, "A null character cannot be part of an explanation."),
        ({"simulator": TOKEN_LOOKUP}, "There is no simulator “token lookup” here."),
        ({"simulator": ""}, "Choose a simulator."),
    ],
)
def test_what_cannot_be_scored_is_explained(
    signed_in: Client, model: ToyModel, change: dict[str, str], message: str
) -> None:
    page = signed_in.post(WRITE_URL, {"text": "cats", "simulator": WRITTEN} | change).content.decode()
    assert message in page
    assert not Job.objects.exists()


def test_hostile_words_are_escaped_everywhere(signed_in: Client, model: ToyModel) -> None:
    signed_in.post(WRITE_URL, {"text": HOSTILE, "simulator": WRITTEN})
    job = Job.objects.get()
    run(job)
    for url in (job.get_absolute_url(), "/jobs/", "/tiny/layers/0/neurons/0/", WRITE_URL):
        assert "<script>alert" not in get(signed_in, url)
    made = signed_in.get(f"/explanations/{job.explanation.pk}/provenance.json")
    assert made["Content-Type"] == "application/json"


def test_the_same_words_are_scored_once_and_two_peoples_words_at_the_same_time(
    signed_in: Client, world: World, model: ToyModel
) -> None:
    for text in ("cats", "dogs", "cats"):
        signed_in.post(WRITE_URL, {"text": text, "simulator": WRITTEN})
    assert sorted(Job.objects.values_list("text", flat=True)) == ["cats", "dogs"]
    for job in Job.objects.all():
        run(job)
    page = signed_in.post(WRITE_URL, {"text": "cats", "simulator": WRITTEN}).content.decode()
    assert "The neuron has this very explanation already, scored by this simulator." in page


def test_without_a_simulator_that_reads_explanations_the_form_says_so(signed_in: Client) -> None:
    seen = text_of(get(signed_in, WRITE_URL))
    if "no simulator that reads explanations" in seen:
        assert "Score this explanation" not in seen
        signed_in.post(WRITE_URL, {"text": "cats", "simulator": TOKEN_LOOKUP})
        assert not Job.objects.exists()


def test_who_may_not_explain_is_told_so(client: Client, world: World) -> None:
    assert client.get(WRITE_URL).status_code == 302
    client.force_login(world.reader)
    for response in (client.get(WRITE_URL), client.post(WRITE_URL, {"text": "cats"})):
        assert response.status_code == 403


def test_the_forms_take_few_queries(
    signed_in: Client, model: ToyModel, settings: Any, django_assert_num_queries: Any
) -> None:
    settings.BUDGET_USD_PER_JOB = settings.BUDGET_USD_PER_PERSON_PER_DAY = settings.BUDGET_USD_PER_DAY = Decimal(1)
    # As without a model, and the two days' books.
    with django_assert_num_queries(11):
        signed_in.get(FORM_URL)
    # Neither explanations nor unfinished jobs.
    with django_assert_num_queries(9):
        signed_in.get(WRITE_URL)


def test_provenance_takes_two_queries_and_no_other_method(
    client: Client, world: World, django_assert_num_queries: Any
) -> None:
    url = f"/explanations/{world.explanation.pk}/provenance.json"
    with django_assert_num_queries(2):
        found = client.get(url).json()
    assert found["simulations"][0]["provenance"] is None
    assert client.post(url).status_code == 405
    assert client.get("/explanations/999999/provenance.json").status_code == 404


def test_a_finished_lease_is_settled_once(world: World, model: ToyModel) -> None:
    job = ask(world)
    leases.claim(job.pk, "one")
    leases.fail(job.pk, "one", "no")
    with pytest.raises(leases.LeaseLost):
        leases.fail(job.pk, "one", "no")
    assert jobs.cancel_job(job.pk) is jobs.Cancelling.FINISHED
    assert [(day.held, day.spent) for day in books(world)] == [(0, 0)] * 2


def test_a_layer_and_a_neuron_say_that_scores_of_different_simulators_do_not_compare(
    client: Client, world: World, model: ToyModel
) -> None:
    layer = "/tiny/layers/0/?sort=score"
    assert "by different simulators" not in get(client, layer)
    run(jobs.request_scoring(neuron=world.neuron, text="cat", requested_by=world.explainer, simulator=WRITTEN))
    Explanation.objects.filter(pk=world.explanation.pk).update(state="retired")
    store.refresh_headlines([world.neuron.pk])
    scored = Neuron.objects.get(layer=0, index=1)
    add_explanation(scored, "Paris and other cities", 0.3)
    assert "scores are by different simulators, and those do not compare" in get(client, layer)
    assert "ranked by the simulator that scored most of these" in get(client, "/tiny/layers/0/neurons/0/")
