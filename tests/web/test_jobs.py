from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from explanations import jobs, leases, store
from explanations.models import ActivationSet, Explanation, Job, Neuron, Source
from explanations.pipeline import packing
from explanations.pipeline.explainer import EXPLAINERS
from explanations.pipeline.run import explain_simulate_score
from explanations.pipeline.simulator import SIMULATORS
from explanations.pipeline.token_lookup import TOKEN_LOOKUP
from tests.world import HOSTILE, World, person

HTMX = {"HX-Request": "true"}
FORM_URL = "/tiny/layers/0/neurons/0/re-explain/"
LOOKUP = {"explainer": TOKEN_LOOKUP, "simulator": TOKEN_LOOKUP}


@pytest.fixture
def signed_in(client: Client, world: World) -> Client:
    client.force_login(world.explainer)
    return client


@pytest.fixture
def job(world: World) -> Job:
    return ask(world)


def ask(world: World, neuron: Neuron | None = None, parent: Explanation | None = None, by: User | None = None) -> Job:
    neuron = neuron or world.neuron
    return jobs.request_job(neuron=neuron, parent=parent or neuron.headline, requested_by=by or world.explainer)


def finish(job: Job) -> Explanation:
    """Run the job as a worker would."""
    claimed = leases.claim(job.pk, "tested")
    assert claimed is not None
    record = store.read_neuron_record(job.neuron)
    assert record is not None
    result = explain_simulate_score(record, EXPLAINERS[TOKEN_LOOKUP], SIMULATORS[TOKEN_LOOKUP])
    return leases.finish(claimed, "tested", result, Source.BASELINE)


def get(client: Client, url: str, **options: Any) -> str:
    response = client.get(url, **options)
    assert response.status_code == 200
    return response.content.decode()


def text_of(html: str) -> str:
    """Return what a reader sees, with white space folded."""
    return " ".join(re.sub(r"<[^>]*>", " ", html).split())


# Asking


def test_the_form_offers_the_headline_what_is_installed_and_says_what_happens(signed_in: Client, world: World) -> None:
    page = get(signed_in, FORM_URL)
    assert re.search(rf'name="parent" value="{world.explanation.pk}"[^>]*checked', page)
    assert re.search(rf'name="parent" value="{world.baseline.pk}"(?![^>]*checked)', page)
    assert "days of the week, especially Tuesday (score 0.40 by toy-simulator)" in page
    seen = text_of(page)
    assert "token lookup Lists the three tokens" in seen
    assert "reads 5 of the neuron's top excerpts, the train ones" in seen
    assert "5 other top excerpts and 5 random ones, the valid ones" in seen


def test_the_address_may_choose_the_explanation_beforehand(signed_in: Client, world: World) -> None:
    page = get(signed_in, f"{FORM_URL}?parent={world.baseline.pk}")
    assert re.search(rf'name="parent" value="{world.baseline.pk}"[^>]*checked', page)
    for nonsense in ("x", "-1", "9" * 30, "²", ""):
        get(signed_in, FORM_URL, data={"parent": nonsense})


def test_the_form_alone_is_its_fragment(signed_in: Client) -> None:
    fragment = get(signed_in, FORM_URL, headers=HTMX)
    assert fragment.lstrip().startswith("<section")
    assert f'action="{FORM_URL}"' in fragment


def test_asking_queues_a_job_and_leads_to_its_page(signed_in: Client, world: World) -> None:
    response = signed_in.post(FORM_URL, LOOKUP | {"parent": world.baseline.pk})
    made = Job.objects.get()
    assert (response.status_code, response["Location"]) == (302, made.get_absolute_url())
    assert (made.neuron, made.parent, made.requested_by) == (world.neuron, world.baseline, world.explainer)
    assert (made.explainer, made.simulator, made.state) == (TOKEN_LOOKUP, TOKEN_LOOKUP, "queued")


def test_asking_twice_leads_to_the_job_that_runs_already(signed_in: Client, job: Job) -> None:
    response = signed_in.post(FORM_URL, LOOKUP, follow=True)
    assert response.redirect_chain == [(job.get_absolute_url(), 302)]
    assert "The same was asked for and is not finished" in response.content.decode()
    assert Job.objects.count() == 1


def test_the_form_tells_of_a_job_that_is_not_finished(signed_in: Client, job: Job) -> None:
    assert f"is queued: job {job.pk}" in text_of(get(signed_in, FORM_URL))


def test_a_neuron_without_explanation_can_be_explained(signed_in: Client, world: World) -> None:
    url = "/tiny/layers/0/neurons/2/re-explain/"
    assert "has no current explanation yet" in get(signed_in, url)
    signed_in.post(url, LOOKUP)
    assert Job.objects.get().parent is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"explainer": "gpt-9"}, "There is no explainer “gpt-9” here."),
        ({"simulator": HOSTILE}, "There is no simulator “&lt;script&gt;"),
        ({"explainer": ""}, "Choose an explainer."),
        ({"simulator": ""}, "Choose a simulator."),
        ({"parent": "999999"}, "That is not a current explanation of this neuron."),
        ({"parent": "x"}, "That is not a current explanation of this neuron."),
        ({"parent": "9" * 40}, "That is not a current explanation of this neuron."),
    ],
)
def test_bad_choices_are_explained_and_queue_nothing(signed_in: Client, change: dict[str, str], message: str) -> None:
    page = signed_in.post(FORM_URL, LOOKUP | change)
    assert message in page.content.decode()
    assert not Job.objects.exists()


def test_another_neurons_or_a_retired_explanation_cannot_be_chosen(signed_in: Client, world: World) -> None:
    other = world.hostile.headline
    assert other is not None
    Explanation.objects.filter(pk=world.baseline.pk).update(state="retired")
    for parent in (other, world.baseline):
        signed_in.post(FORM_URL, LOOKUP | {"parent": parent.pk})
    assert not Job.objects.exists()


def test_a_neuron_with_too_few_excerpts_is_refused_before_asking(signed_in: Client, world: World) -> None:
    packed, boundaries = store.read_packed_records(world.neuron)
    data = packing.pack_records(packed[:6], boundaries)
    ActivationSet.objects.filter(pk=world.neuron.pk).update(data=data)
    page = get(signed_in, FORM_URL)
    assert "Neuron 0:0 has 6 top and 0 random excerpts" in page
    assert "Re-explain this neuron</button>" not in page
    assert "Neuron 0:0 has 6 top" in signed_in.post(FORM_URL, LOOKUP).content.decode()
    ActivationSet.objects.filter(pk=world.neuron.pk).delete()
    assert "Neuron 0:0 has no activation records" in get(signed_in, FORM_URL)
    assert not Job.objects.exists()


def test_who_is_not_signed_in_is_sent_to_sign_in_and_back(client: Client, world: World) -> None:
    response = client.get(FORM_URL)
    assert (response.status_code, response["Location"]) == (
        302,
        f"/accounts/sign-in/?next={FORM_URL.replace('/', '%2F')}",
    )
    assert client.post(FORM_URL, LOOKUP).status_code == 302
    assert not Job.objects.exists()


def test_who_has_no_permission_is_told_so(client: Client, world: World) -> None:
    client.force_login(world.reader)
    for response in (client.get(FORM_URL), client.post(FORM_URL, LOOKUP)):
        assert response.status_code == 403
        assert "Re-explaining neurons needs a permission" in response.content.decode()
    assert not Job.objects.exists()


@pytest.mark.parametrize(
    "place", ["tiny/layers/1/neurons/1", "none/layers/0/neurons/0", f"tiny/layers/0/neurons/{10**30}"]
)
def test_a_neuron_that_is_not_there_is_not_found(signed_in: Client, place: str) -> None:
    assert signed_in.get(f"/{place}/re-explain/").status_code == 404


def test_the_form_takes_few_queries(signed_in: Client, django_assert_num_queries: Any) -> None:
    # Session, person, their permissions and their groups', neuron, records, tokens, explanations, unfinished jobs.
    with django_assert_num_queries(9):
        signed_in.get(FORM_URL)


# The list


def make_jobs(world: World, count: int) -> None:
    Job.objects.bulk_create(
        Job(
            neuron=world.neuron,
            requested_by=world.reader,
            explainer=TOKEN_LOOKUP,
            simulator=TOKEN_LOOKUP,
            state="failed",
            error="no",
            finished_at=timezone.now(),
        )
        for _ in range(count)
    )


def test_the_empty_list_says_how_to_start(client: Client, world: World) -> None:
    assert "Nobody has asked for a re-explanation yet." in get(client, "/jobs/")


def test_anybody_sees_the_list_with_results_and_reasons(client: Client, world: World, job: Job) -> None:
    finish(job)
    other = ask(world, world.hostile)
    leases.claim(other.pk, "one")
    leases.fail(other.pk, "one", HOSTILE)
    page = get(client, "/jobs/")
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    seen = text_of(page)
    assert "All jobs, newest first." in seen
    assert seen.index(f"Job {other.pk}") < seen.index(f"Job {job.pk}")
    assert "Done tokens such as" in seen
    assert "by explainer" in seen


@pytest.mark.parametrize("state", ["queued", "running", "done", "failed", "cancelled"])
def test_the_list_is_filtered_by_state(client: Client, world: World, job: Job, state: str) -> None:
    make_jobs(world, 1)
    if state == "done":
        finish(job)
    if state == "running":
        leases.claim(job.pk, "one")
    if state == "cancelled":
        jobs.cancel_job(job.pk)
    page = get(client, f"/jobs/?state={state}")
    expected = Job.objects.filter(state=state)
    assert expected.count() == 1
    assert re.findall(r">Job (\d+)</a>", page) == [str(expected.get().pk)]
    assert f"{state.capitalize()} jobs, newest first." in page


def test_the_list_is_filtered_to_ones_own(signed_in: Client, world: World, job: Job) -> None:
    make_jobs(world, 2)
    page = get(signed_in, "/jobs/?mine=1&state=queued")
    assert re.findall(r">Job (\d+)</a>", page) == [str(job.pk)]
    assert "Queued jobs that you asked for, newest first." in page
    assert 'href="/jobs/?state=queued"' in page
    assert "There are no failed jobs that you asked for." in get(signed_in, "/jobs/?mine=1&state=failed")


def test_filters_that_make_no_sense_are_named(client: Client, world: World, job: Job) -> None:
    page = get(client, f"/jobs/?state={HOSTILE}&mine=1&page=%00")
    assert "There is no state “&lt;script&gt;" in page
    assert "You are not signed in, so here are everybody&#x27;s jobs." in page
    assert "This page address is damaged" in page
    assert f">Job {job.pk}</a>" in page


def test_the_list_is_paged_and_a_changed_filter_starts_over(client: Client, world: World) -> None:
    make_jobs(world, 60)
    first = get(client, "/jobs/?state=failed")
    assert first.count(">Job ") == 50
    following = re.search(r'rel="next" href="([^"]*)"', first)
    assert following is not None
    second = get(client, following.group(1).replace("&amp;", "&"))
    assert second.count(">Job ") == 10
    assert 'href="/jobs/?state=queued"' in second
    assert set(re.findall(r">Job (\d+)<", first)).isdisjoint(re.findall(r">Job (\d+)<", second))


def test_the_fragment_is_the_list_alone_and_caches_keep_them_apart(client: Client, world: World, job: Job) -> None:
    response = client.get("/jobs/", headers=HTMX)
    assert response.content.decode().lstrip().startswith("<section")
    assert "HX-Request" in response["Vary"]


@pytest.mark.parametrize("count", [1, 40])
def test_the_list_takes_one_query_however_long(
    client: Client, world: World, count: int, django_assert_num_queries: Any
) -> None:
    make_jobs(world, count)
    with django_assert_num_queries(1):
        client.get("/jobs/")


# A job


def test_an_unfinished_job_is_asked_for_again_and_a_finished_one_is_not(client: Client, job: Job) -> None:
    url = job.get_absolute_url()
    queued = get(client, url)
    assert f'hx-get="{url}" hx-trigger="every 2s"' in queued
    assert "It waits for a worker" in queued
    assert f'href="{url}">Refresh</a>' in queued
    jobs.cancel_job(job.pk)
    cancelled = get(client, url, headers=HTMX)
    assert "hx-trigger" not in cancelled
    assert "Refresh" not in cancelled
    assert "Cancelled" in cancelled


def test_a_running_job_shows_how_far_it_is(client: Client, job: Job) -> None:
    leases.claim(job.pk, "one")
    leases.renew(job.pk, "one", stage="simulating excerpt 4 of 10", progress_done=3, progress_total=10)
    page = get(client, job.get_absolute_url(), headers=HTMX)
    assert '<progress value="3" max="10"' in page
    seen = text_of(page)
    assert "Running 3 of 10 excerpts simulating excerpt 4 of 10" in seen
    assert "attempts" not in seen


def test_a_job_whose_worker_died_says_how_often_it_was_tried(client: Client, job: Job) -> None:
    leases.claim(job.pk, "one")
    Job.objects.filter(pk=job.pk).update(lease_until=timezone.now() - timedelta(minutes=1))
    leases.claim(job.pk, "two")
    assert "2 attempts: an earlier worker stopped" in get(client, job.get_absolute_url())


def test_a_failed_job_gives_its_reason_escaped(client: Client, job: Job) -> None:
    leases.claim(job.pk, "one")
    leases.fail(job.pk, "one", HOSTILE)
    page = get(client, job.get_absolute_url())
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page


def test_a_done_job_shows_before_and_after_and_that_the_scores_do_not_compare(client: Client, job: Job) -> None:
    new = finish(job)
    assert new.score is not None
    seen = text_of(get(client, job.get_absolute_url()))
    assert "Before and after" in seen
    assert "days of the week, especially Tuesday" in seen
    assert new.text.replace("'", "&#x27;").replace("<", "&lt;").replace(">", "&gt;") in seen
    difference = f"{new.score - 0.4:+.2f}".replace("-", "−")
    assert f"Difference in score: {difference}." in seen
    assert "scored by different simulators" in seen
    assert "a baseline leads only where nothing else explains the neuron" in seen
    assert "Cost none: no language model" in seen


def test_scores_by_the_same_simulator_compare(client: Client, world: World) -> None:
    job = ask(world, parent=world.baseline)
    new = finish(job)
    world.baseline.simulations.update(simulator=TOKEN_LOOKUP, ev_correlation=new.score)
    seen = text_of(get(client, job.get_absolute_url()))
    assert "Difference in score: 0.00. Both were scored by the same simulator." in seen
    assert "different simulators" not in seen


def test_a_score_by_nobody_named_does_not_compare(client: Client, world: World, job: Job) -> None:
    Explanation.objects.filter(pk=world.explanation.pk).update(simulator="")
    finish(job)
    assert "or by one that is not named" in get(client, job.get_absolute_url())


def test_an_undefined_score_has_no_difference(client: Client, world: World) -> None:
    parent = Explanation.objects.get(neuron__index=1, neuron__layer=0)
    job = ask(world, parent.neuron, parent)
    finish(job)
    seen = text_of(get(client, job.get_absolute_url()))
    assert "No difference in score: one of the two scores is undefined." in seen
    assert "not simulated" in seen


def test_the_first_explanation_of_a_neuron_stands_alone_and_leads(client: Client, world: World) -> None:
    job = ask(world, Neuron.objects.get(layer=0, index=2))
    finish(job)
    seen = text_of(get(client, job.get_absolute_url()))
    assert "The new explanation Explanation tokens such as" in seen
    assert "Difference" not in seen
    assert "The new explanation leads the neuron's page." in seen


def test_a_done_job_whose_explanation_was_deleted_says_so(client: Client, job: Job) -> None:
    finish(job).delete()
    assert "has been deleted" in get(client, job.get_absolute_url())


def test_the_page_links_back_to_the_neuron_and_is_never_cached(client: Client, job: Job) -> None:
    response = client.get(job.get_absolute_url())
    assert 'href="/tiny/layers/0/neurons/0/"' in response.content.decode()
    assert "no-store" in response["Cache-Control"]


def test_hostile_explanations_are_escaped_on_the_job_page(client: Client, world: World) -> None:
    job = ask(world, world.hostile)
    finish(job)
    page = get(client, job.get_absolute_url())
    assert "<script>alert" not in page
    assert "\u202e" not in page


@pytest.mark.parametrize("number", [999, 10**30])
def test_a_job_that_is_not_there_is_not_found(client: Client, world: World, number: int) -> None:
    assert client.get(f"/jobs/{number}/").status_code == 404


def test_a_done_job_takes_two_queries(client: Client, job: Job, django_assert_num_queries: Any) -> None:
    finish(job)
    with django_assert_num_queries(2):
        client.get(job.get_absolute_url())


def test_an_unfinished_job_takes_one_query(client: Client, job: Job, django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(1):
        client.get(job.get_absolute_url(), headers=HTMX)


# Cancelling


def test_who_asked_cancels_by_a_button(signed_in: Client, job: Job) -> None:
    assert f'action="/jobs/{job.pk}/cancel/"' in get(signed_in, job.get_absolute_url())
    response = signed_in.post(f"/jobs/{job.pk}/cancel/", follow=True)
    assert "The job is cancelled." in response.content.decode()
    job.refresh_from_db()
    assert job.state == "cancelled"


def test_a_running_job_is_shown_to_be_stopping(signed_in: Client, job: Job) -> None:
    leases.claim(job.pk, "one")
    response = signed_in.post(f"/jobs/{job.pk}/cancel/", follow=True)
    seen = text_of(response.content.decode())
    assert "The job was asked to stop." in seen
    assert "Stopping" in seen
    assert "Cancel the job" not in seen


def test_a_finished_job_says_that_there_is_nothing_to_cancel(signed_in: Client, job: Job) -> None:
    finish(job)
    response = signed_in.post(f"/jobs/{job.pk}/cancel/", follow=True)
    assert "there was nothing to cancel" in response.content.decode()


def test_others_cancel_only_with_the_permission(client: Client, world: World, job: Job) -> None:
    client.force_login(world.reader)
    assert "Cancel the job" not in get(client, job.get_absolute_url())
    response = client.post(f"/jobs/{job.pk}/cancel/")
    assert response.status_code == 403
    assert "by the person who asked for it" in response.content.decode()
    job.refresh_from_db()
    assert job.state == "queued"
    client.force_login(person("operator", "change_job"))
    assert "Cancel the job" in get(client, job.get_absolute_url())
    client.post(f"/jobs/{job.pk}/cancel/")
    job.refresh_from_db()
    assert job.state == "cancelled"


def test_a_stranger_is_sent_to_sign_in(client: Client, job: Job) -> None:
    response = client.post(f"/jobs/{job.pk}/cancel/")
    assert response.status_code == 302
    assert response["Location"].startswith("/accounts/sign-in/")


def test_a_form_from_another_site_cancels_nothing(world: World, job: Job) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(world.explainer)
    assert strict.post(f"/jobs/{job.pk}/cancel/").status_code == 403
    assert strict.post(FORM_URL, LOOKUP).status_code == 403
    job.refresh_from_db()
    assert job.state == "queued"


@pytest.mark.parametrize(
    ("method", "url"),
    [
        ("get", "/jobs/{}/cancel/"),
        ("post", "/jobs/{}/"),
        ("post", "/jobs/"),
        ("put", FORM_URL),
        ("delete", "/jobs/{}/"),
    ],
)
def test_other_methods_are_refused(signed_in: Client, job: Job, method: str, url: str) -> None:
    assert getattr(signed_in, method)(url.format(job.pk)).status_code == 405
    job.refresh_from_db()
    assert job.state == "queued"
