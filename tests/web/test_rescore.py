"""Scoring an explanation that is there by another simulator: the form, the job, and what becomes of the scores."""

from __future__ import annotations

import pytest
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from explanations import budgets, jobs, leases
from explanations.models import Explanation, Job
from explanations.pipeline.token_lookup import TOKEN_LOOKUP
from tests.web.test_job_states import lapse, run
from tests.web.test_jobs import FORM_URL, get, text_of
from tests.web.toy_model import WRITTEN, ToyModel, offer
from tests.world import HOSTILE, World, add_explanation


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> ToyModel:
    return offer(monkeypatch, ToyModel())


@pytest.fixture
def signed_in(client: Client, world: World) -> Client:
    client.force_login(world.explainer)
    return client


def address(explanation: Explanation) -> str:
    return f"/explanations/{explanation.pk}/score/"


def ask(world: World) -> Job:
    return jobs.request_rescoring(explanation=world.explanation, requested_by=world.explainer, simulator=WRITTEN)


def test_the_form_shows_the_scores_there_are_and_what_simulators_take(
    signed_in: Client, world: World, model: ToyModel, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    with django_assert_max_num_queries(12):
        seen = text_of(get(signed_in, address(world.explanation)))
    assert world.explanation.text in seen
    assert "0.40 by toy-simulator" in seen
    assert "toy, written Has a language model write the activation of each token" in seen
    assert "about $" in seen
    assert TOKEN_LOOKUP not in seen.partition("Simulator")[2].partition("The simulator predicts")[0]
    assert model.asked == []


def test_it_is_asked_for_and_done(signed_in: Client, world: World, model: ToyModel) -> None:
    answer = signed_in.post(address(world.explanation), {"simulator": WRITTEN})
    job = Job.objects.get()
    assert answer.headers["Location"] == job.get_absolute_url()
    assert (job.parent, job.text, job.requested_by) == (world.explanation, "", world.explainer)
    assert job.held_usd == budgets.dollars(job.estimate["most_usd"]) > 0
    waiting = text_of(get(signed_in, job.get_absolute_url()))
    assert f"Job {job.pk}: score an explanation of neuron 0:0 of Tiny again" in waiting
    assert "The new score" not in waiting
    assert "The scoring of an explanation by toy, written is queued" in text_of(get(signed_in, FORM_URL))
    assert run(job) == "done"
    added = world.explanation.simulations.get(simulator=WRITTEN)
    assert added.provenance["simulator"] == WRITTEN
    assert added.cost_usd > 0
    assert Explanation.objects.filter(neuron=world.neuron).count() == 2
    done = text_of(get(signed_in, job.get_absolute_url()))
    assert "The new score" in done
    assert "Simulator toy, written" in done
    assert f"explanation {world.explanation.pk}, toy, written" in text_of(get(signed_in, "/jobs/"))
    job.refresh_from_db()
    assert (job.held_usd, job.cost_usd) == (0, added.cost_usd)


def test_the_same_is_asked_for_once_and_two_explanations_at_once(world: World, model: ToyModel) -> None:
    first = ask(world)
    with pytest.raises(jobs.JobExists) as exists:
        ask(world)
    assert exists.value.job == first
    other = add_explanation(world.neuron, "mats", 0.1)
    jobs.request_rescoring(explanation=other, requested_by=world.explainer, simulator=WRITTEN)
    assert Job.objects.unfinished().count() == 2


@pytest.mark.parametrize("simulator", ["", "gpt-9", TOKEN_LOOKUP])
def test_what_cannot_score_it_is_refused(signed_in: Client, world: World, model: ToyModel, simulator: str) -> None:
    answer = signed_in.post(address(world.explanation), {"simulator": simulator})
    assert answer.status_code == 200
    assert 'class="errorlist"' in answer.content.decode()
    assert not Job.objects.exists()


def test_it_needs_the_permission(client: Client, world: World, model: ToyModel) -> None:
    client.force_login(world.reader)
    assert client.post(address(world.explanation), {"simulator": WRITTEN}).status_code == 403
    assert client.get("/explanations/999999/score/").status_code == 403
    client.force_login(world.explainer)
    assert client.get("/explanations/999999/score/").status_code == 404
    assert client.put(address(world.explanation)).status_code == 405
    assert not Job.objects.exists()


def test_a_neuron_without_excerpts_is_explained_in_words(signed_in: Client, world: World, model: ToyModel) -> None:
    world.neuron.activation_set.delete()
    assert "has no activation records" in get(signed_in, address(world.explanation))


def test_what_the_explanation_says_is_escaped(signed_in: Client, world: World, model: ToyModel) -> None:
    Explanation.objects.filter(pk=world.explanation.pk).update(text=HOSTILE)
    page = get(signed_in, address(world.explanation))
    assert HOSTILE not in page
    assert HOSTILE not in get(signed_in, ask(world).get_absolute_url())


def test_an_explanation_that_is_gone_fails_the_job(world: World, model: ToyModel) -> None:
    job = ask(world)
    world.explanation.delete()
    assert run(job) == "failed"
    job.refresh_from_db()
    assert job.error == leases.GONE


def test_an_explanation_that_was_reworded_meanwhile_gets_no_score(world: World, model: ToyModel) -> None:
    job = ask(world)

    def reword() -> None:
        Explanation.objects.filter(pk=world.explanation.pk).update(text="something else")

    model.before = reword
    run(job)
    job.refresh_from_db()
    assert (job.state, job.error) == ("failed", leases.REWORDED)
    assert not world.explanation.simulations.filter(simulator=WRITTEN).exists()
    assert job.cost_usd > 0


def test_when_its_worker_died_another_does_it_once(world: World, model: ToyModel) -> None:
    job = ask(world)
    lapse(job, attempts=1)
    assert jobs.requeue_lapsed() >= 1
    assert run(job) == "done"
    assert run(job) == "nothing to do"
    assert world.explanation.simulations.filter(simulator=WRITTEN).count() == 1


def test_the_form_says_that_the_baseline_is_there(signed_in: Client, world: World) -> None:
    chosen = {"explainer": TOKEN_LOOKUP, "simulator": TOKEN_LOOKUP}
    says = "The neuron has this baseline already"
    assert says in get(signed_in, FORM_URL, data=chosen)
    world.baseline.delete()
    assert says not in get(signed_in, FORM_URL, data=chosen)
