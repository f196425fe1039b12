"""The review queue: who may do what, and what becomes of flags."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from explanations import review
from explanations.models import Explanation, Flag, Job, ReviewEvent
from explanations.review import ReviewError
from tests.world import HOSTILE, World, make_world, person

HTMX = {"HX-Request": "true"}
QUEUE = "/review/"


@pytest.fixture
def reviewer(client: Client, world: World) -> Client:
    client.force_login(world.reviewer)
    return client


@pytest.fixture
def flag(world: World) -> Flag:
    return file(world.explanation, world.reader)


def file(explanation: Explanation, reporter: User, reason: str = "too_broad", note: str = "any day") -> Flag:
    return review.file_flag(explanation=explanation, reporter=reporter, reason=reason, note=note)


def seen(flag: Flag) -> int:
    event = flag.events.last()
    return event.pk if event else 0


def claim(flag: Flag, reviewer: User) -> Flag:
    review.claim_flag(flag=flag, reviewer=reviewer)
    flag.refresh_from_db()
    return flag


def decide(flag: Flag, reviewer: User, decision: str = "kept", reason: str = "because") -> list[Flag]:
    return review.decide_flag(flag=flag, reviewer=reviewer, decision=decision, reason=reason, seen=seen(flag))


def allow(user: User, codename: str) -> User:
    user.user_permissions.add(Permission.objects.get(codename=codename))
    return User.objects.get(pk=user.pk)  # without the permissions that were read before


def post(client: Client, flag: Flag, step: str, data: dict[str, Any] | None = None, **extra: Any) -> str:
    """Take a step, follow it to the page it ends on, and return that page."""
    response = client.post(f"/review/{flag.pk}/{step}/", data or {}, follow=True, **extra)
    assert response.status_code == 200
    return response.content.decode()


def link_to(flag: Flag) -> str:
    return f'<a href="{flag.get_absolute_url()}">flag {flag.pk}</a>'


def steps(flag: Flag) -> list[tuple[str, str]]:
    return [(e.action, e.actor.get_username() if e.actor else "") for e in flag.events.select_related("actor")]


# The queue


def test_the_queue_shows_all_that_a_reviewer_needs(reviewer: Client, world: World, flag: Flag) -> None:
    file(world.explanation, world.explainer, "wrong", "")
    page = reviewer.get(QUEUE).content.decode()
    for words in (world.explanation.text, "toy-simulator", "0.40", "Too broad", "any day", "by reader", "1 other flag"):
        assert words in page
    assert f'href="{world.neuron.get_absolute_url()}"' in page
    assert f'href="{flag.get_absolute_url()}"' in page
    assert "2 undecided flags." in page
    assert page.index(f'id="flag-{flag.pk}"') < page.index(f'id="flag-{flag.pk + 1}"')


def test_htmx_gets_the_queue_alone(reviewer: Client, flag: Flag) -> None:
    response = reviewer.get(QUEUE, headers=HTMX)
    page = response.content.decode()
    assert page.lstrip().startswith('<section id="review"')
    assert "<html" not in page
    assert "HX-Request" in response["Vary"]


def test_an_empty_queue_says_so(reviewer: Client) -> None:
    assert "Nothing waits for a decision." in reviewer.get(QUEUE).content.decode()
    assert "No flag matches." in reviewer.get(QUEUE, {"layer": "1"}).content.decode()


def make_one_of_each(world: World) -> dict[str, Flag]:
    """Return a flag in each state, by state; "mine" is the reviewer's."""
    done: dict[str, Any] = {"reviewer": world.reviewer, "decided_at": timezone.now(), "decision_reason": "because"}
    fields: dict[str, dict[str, Any]] = {
        "open": {"reason": "wrong"},
        "claimed": {"reason": "vague", "reviewer": world.explainer, "reporter": world.reviewer},
        "mine": {"state": "claimed", "reviewer": world.reviewer, "explanation": world.baseline},
        "kept": {**done, "explanation": world.hostile.explanations.get()},
        "retired": done,
        "reexplained": done,
    }
    base = {"explanation": world.explanation, "reporter": world.reader, "reason": "too_broad"}
    return {name: Flag.objects.create(**{**base, "state": name, **more}) for name, more in fields.items()}


@pytest.mark.parametrize(
    ("query", "expected", "sentence"),
    [
        ("", "open claimed mine", "3 undecided flags."),
        ("state=open", "open", "1 open flag."),
        ("state=claimed", "claimed mine", "2 claimed flags."),
        ("state=mine", "mine", "1 flag claimed by you."),
        ("state=decided", "reexplained retired kept", "3 decided flags."),
        ("state=kept", "kept", "1 kept flag."),
        ("state=retired", "retired", "1 retired flag."),
        ("state=reexplained", "reexplained", "1 retired and re-explained flag."),
        ("state=all", "reexplained retired kept mine claimed open", "6 flags."),
        ("reason=wrong", "open", "1 undecided flag for “wrong”."),
        ("state=all&model=tiny&layer=1", "kept", "1 flag in Tiny in layer 1."),
        ("reporter=reviewer", "claimed", "1 undecided flag reported by reviewer."),
        ("reporter=nobody", "", "0 undecided flags reported by nobody."),
    ],
)
def test_the_queue_filters(reviewer: Client, world: World, query: str, expected: str, sentence: str) -> None:
    flags = make_one_of_each(world)
    response = reviewer.get(f"{QUEUE}?{query}")
    assert [entry["flag"] for entry in response.context["entries"]] == [flags[name] for name in expected.split()]
    assert f'<p class="sentence">{sentence}</p>' in response.content.decode()


def test_the_queue_filters_by_explanation(reviewer: Client, world: World) -> None:
    make_one_of_each(world)
    response = reviewer.get(QUEUE, {"state": "all", "explanation": world.baseline.pk})
    assert len(response.context["entries"]) == 1
    assert f'name="explanation" value="{world.baseline.pk}"' in response.content.decode()


def test_each_state_says_how_many_it_holds_under_the_filter(reviewer: Client, world: World) -> None:
    make_one_of_each(world)
    response = reviewer.get(QUEUE, {"layer": "0"})
    counts = {name: count for name, _, count in response.context["states"]}
    assert counts == {
        "undecided": 3,
        "open": 1,
        "claimed": 2,
        "mine": 1,
        "decided": 2,
        "kept": 0,
        "retired": 1,
        "reexplained": 1,
        "withdrawn": 0,
        "all": 5,
    }
    assert "?layer=0&amp;state=kept" in response.content.decode()


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("state=lost", "lost is not one of the available choices"),
        ("reason=ugly", "ugly is not one of the available choices"),
        ("model=gpt9", "There is no such model."),
        ("model=a%00b", "Null characters are not allowed."),
        ("layer=-1", "greater than or equal to 0"),
        ("layer=99999999999999999999", "less than or equal to 32767"),
        ("layer=one", "Enter a whole number."),
        ("reporter=a%00b", "Null characters are not allowed."),
        ("explanation=99999999999999999999", "less than or equal to"),
        ("page=rubbish", "This page address is damaged"),
    ],
)
def test_a_filter_that_makes_no_sense_is_named_and_ignored(
    reviewer: Client, flag: Flag, query: str, words: str
) -> None:
    response = reviewer.get(f"{QUEUE}?{query}")
    assert words in response.content.decode()
    assert "1 undecided flag." in response.content.decode()
    assert len(response.context["entries"]) == 1


def test_hostile_text_stays_text(reviewer: Client, world: World) -> None:
    flag = file(world.hostile.explanations.get(), world.reader, "other", HOSTILE)
    claim(flag, world.reviewer)
    Flag.objects.filter(pk=flag.pk).update(decision_reason=HOSTILE)
    for address in (QUEUE, f"{QUEUE}?reporter=<script>alert(1)</script>", flag.get_absolute_url()):
        page = reviewer.get(address).content.decode()
        assert "<script>alert" not in page
        assert "{{ 7|add:7 }}" in page or "reporter" in address


def test_the_queue_turns_pages(reviewer: Client, world: World) -> None:
    done = {"state": "kept", "decided_at": timezone.now(), "decision_reason": "because"}
    flags = Flag.objects.bulk_create(Flag(explanation=world.explanation, reason="wrong", **done) for _ in range(60))
    first = reviewer.get(QUEUE, {"state": "kept"})
    assert [entry["flag"] for entry in first.context["entries"]] == flags[:-51:-1]
    token = first.context["page"].next
    assert f"page={token.replace(':', '%3A')}" in first.content.decode()
    second = reviewer.get(QUEUE, {"state": "kept", "page": token})
    assert [entry["flag"] for entry in second.context["entries"]] == flags[9::-1]
    assert "60 kept flags." in second.content.decode()


def test_the_queue_takes_a_bounded_number_of_queries(
    reviewer: Client, world: World, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    make_one_of_each(world)
    # session, account, two of permissions, two of counts, flags, models for the filter's choice
    with django_assert_num_queries(9):
        reviewer.get(QUEUE, {"state": "all"})
    for explanation in Explanation.objects.current():
        file(explanation, world.explainer)
    with django_assert_num_queries(9):
        reviewer.get(QUEUE, {"state": "all"})


# Who may


@pytest.mark.parametrize("address", [QUEUE, "/review/1/claim/", "/review/1/release/", "/review/1/decide/"])
def test_it_is_for_reviewers(client: Client, world: World, flag: Flag, address: str) -> None:
    method = client.get if address == QUEUE else client.post
    assert method(address)["Location"].startswith("/accounts/sign-in/")
    client.force_login(world.explainer)
    response = method(address)
    assert response.status_code == 403
    assert "needs a permission that your account does not have" in response.content.decode()


@pytest.mark.parametrize("step", ["claim", "release", "decide"])
@pytest.mark.parametrize("method", ["get", "head", "put", "delete"])
def test_a_step_is_a_post(reviewer: Client, world: World, flag: Flag, step: str, method: str) -> None:
    claim(flag, world.reviewer)
    assert getattr(reviewer, method)(f"/review/{flag.pk}/{step}/").status_code == 405
    flag.refresh_from_db()
    assert flag.state == "claimed"


@pytest.mark.parametrize("address", [QUEUE, "/review/{}/"])
def test_a_page_is_a_get(reviewer: Client, flag: Flag, address: str) -> None:
    assert reviewer.post(address.format(flag.pk)).status_code == 405


@pytest.mark.parametrize("step", ["", "claim/", "release/", "decide/"])
@pytest.mark.parametrize("pk", [999_999, 2**63, 10**30])
def test_an_unknown_flag_is_not_found(reviewer: Client, step: str, pk: int) -> None:
    method = reviewer.post if step else reviewer.get
    assert method(f"/review/{pk}/{step}").status_code == 404


# Claim and release


def test_a_reviewer_claims_a_flag(reviewer: Client, world: World, flag: Flag) -> None:
    page = post(reviewer, flag, "claim", {"next": f"{QUEUE}?reason=too_broad"})
    assert f"You have claimed {link_to(flag)}" in page
    assert "1 undecided flag for “too broad”." in page
    flag.refresh_from_db()
    assert (flag.state, flag.reviewer, flag.claimed_at is not None) == ("claimed", world.reviewer, True)
    assert steps(flag) == [("flagged", "reader"), ("claimed", "reviewer")]


def test_a_step_with_htmx_ends_on_the_fragment_with_its_message(reviewer: Client, flag: Flag) -> None:
    page = post(reviewer, flag, "claim", {"next": QUEUE}, headers=HTMX)
    assert page.lstrip().startswith('<section id="review"')
    assert f"You have claimed {link_to(flag)}" in page
    assert f'action="/review/{flag.pk}/decide/"' in page


def test_a_step_goes_back_to_no_other_site(reviewer: Client, flag: Flag) -> None:
    response = reviewer.post(f"/review/{flag.pk}/claim/", {"next": "https://evil.example/"})
    assert response["Location"] == f"/review/{flag.pk}/#flag-{flag.pk}"


def test_the_second_to_claim_is_told_who_was_first(reviewer: Client, world: World, flag: Flag) -> None:
    claim(flag, world.explainer)
    assert f"Flag {flag.pk} is already claimed by explainer." in post(reviewer, flag, "claim")
    flag.refresh_from_db()
    assert flag.reviewer == world.explainer
    assert steps(flag)[1:] == [("claimed", "explainer")]


def test_a_decided_flag_is_not_claimed_again(reviewer: Client, world: World, flag: Flag) -> None:
    decide(claim(flag, world.explainer), world.explainer)
    assert f"Flag {flag.pk} is already kept by explainer." in post(reviewer, flag, "claim")


def test_a_claim_whose_account_is_gone_can_be_taken_over(reviewer: Client, world: World, flag: Flag) -> None:
    claim(flag, world.explainer)
    world.explainer.delete()
    assert "Claimed by a former user" in reviewer.get(QUEUE).content.decode()
    post(reviewer, flag, "claim")
    flag.refresh_from_db()
    assert flag.reviewer == world.reviewer


def test_the_claimer_releases_a_flag(reviewer: Client, world: World, flag: Flag) -> None:
    claim(flag, world.reviewer)
    assert "You have released" in post(reviewer, flag, "release", {"seen": seen(flag)})
    flag.refresh_from_db()
    assert (flag.state, flag.reviewer, flag.claimed_at) == ("open", None, None)
    assert steps(flag)[-1] == ("released", "reviewer")


def test_another_reviewer_does_not_release_it(reviewer: Client, world: World, flag: Flag) -> None:
    claim(flag, world.explainer)
    assert "only they can release it" in post(reviewer, flag, "release", {"seen": seen(flag)})
    flag.refresh_from_db()
    assert flag.state == "claimed"


def test_a_superuser_releases_it_for_somebody_away(client: Client, world: World, flag: Flag) -> None:
    claim(flag, world.reviewer)
    client.force_login(User.objects.create_superuser("root"))
    assert "Release for reviewer" in client.get(QUEUE).content.decode()
    post(client, flag, "release", {"seen": seen(flag)})
    flag.refresh_from_db()
    assert flag.state == "open"
    assert steps(flag)[-1] == ("released", "root")


def test_a_stale_release_does_not_hit_the_next_claim(client: Client, world: World, flag: Flag) -> None:
    claim(flag, world.reviewer)
    old = seen(flag)
    review.release_flag(flag=flag, person=world.reviewer, seen=old)
    claim(flag, world.explainer)
    client.force_login(User.objects.create_superuser("root"))
    assert "has changed since you opened the page: it is claimed by explainer" in post(
        client, flag, "release", {"seen": old}
    )
    flag.refresh_from_db()
    assert flag.reviewer == world.explainer


def test_an_open_flag_has_no_claim_to_release(reviewer: Client, flag: Flag) -> None:
    assert "there is no claim to release" in post(reviewer, flag, "release", {"seen": seen(flag)})
    assert steps(flag) == [("flagged", "reader")]


@pytest.mark.parametrize("data", [{}, {"seen": "x"}, {"seen": "-1"}, {"seen": str(2**63)}])
def test_a_release_says_what_it_saw(reviewer: Client, world: World, flag: Flag, data: dict[str, str]) -> None:
    claim(flag, world.reviewer)
    assert "The form is incomplete" in post(reviewer, flag, "release", data)
    flag.refresh_from_db()
    assert flag.state == "claimed"


# Deciding


def decision(flag: Flag, choice: str = "kept", **more: Any) -> dict[str, Any]:
    return {"decision": choice, "reason": "it is right", "seen": seen(flag), **more}


def test_keeping_closes_the_flag_alone(reviewer: Client, world: World, flag: Flag) -> None:
    other = file(world.explanation, world.explainer)
    claim(flag, world.reviewer)
    assert f"You have decided {link_to(flag)}: the explanation is kept." in post(
        reviewer, flag, "decide", decision(flag)
    )
    flag.refresh_from_db()
    other.refresh_from_db()
    world.neuron.refresh_from_db()
    world.explanation.refresh_from_db()
    assert (flag.state, flag.reviewer, flag.decision_reason) == ("kept", world.reviewer, "it is right")
    assert flag.decided_at is not None
    assert (other.state, world.explanation.state, world.neuron.open_flag_count) == ("open", "current", 1)
    event = flag.events.last()
    assert event is not None
    assert (event.action, event.actor, event.reason) == ("kept", world.reviewer, "it is right")


def test_retiring_takes_the_explanation_out_of_the_headline(reviewer: Client, world: World, flag: Flag) -> None:
    claim(flag, world.reviewer)
    page = post(reviewer, flag, "decide", decision(flag, "retired"))
    assert "the explanation is retired." in page
    world.explanation.refresh_from_db()
    world.neuron.refresh_from_db()
    assert world.explanation.state == "retired"
    # Only the baseline is left.
    assert (world.neuron.headline, world.neuron.headline_text) == (world.baseline, world.baseline.text)
    assert (world.neuron.open_flag_count, world.neuron.explanation_count) == (0, 1)
    assert not Job.objects.exists()


def test_retiring_settles_the_explanations_other_flags(reviewer: Client, world: World, flag: Flag) -> None:
    open_one, mine = file(world.explanation, world.explainer), file(world.explanation, person("third"))
    elsewhere = file(world.baseline, world.reader)
    claim(flag, world.reviewer)
    claim(mine, world.reviewer)
    page = post(reviewer, flag, "decide", decision(flag, "retired"))
    assert "2 other flags of it closed with it." in page
    for other in (open_one, mine):
        other.refresh_from_db()
        event = other.events.last()
        assert event is not None
        assert (other.state, other.reviewer, other.decision_reason) == ("retired", world.reviewer, "it is right")
        assert (event.action, event.reason) == ("retired", f"Decided together with flag {flag.pk}: it is right")
    elsewhere.refresh_from_db()
    world.neuron.refresh_from_db()
    assert (elsewhere.state, world.neuron.open_flag_count) == ("open", 1)


def test_retiring_waits_for_a_reviewer_who_claimed_another_flag(reviewer: Client, world: World, flag: Flag) -> None:
    other = claim(file(world.explanation, world.explainer), world.explainer)
    claim(flag, world.reviewer)
    page = post(reviewer, flag, "decide", decision(flag, "retired"))
    assert f"Flag {other.pk} of the same explanation is claimed by explainer" in page
    flag.refresh_from_db()
    world.explanation.refresh_from_db()
    assert (flag.state, world.explanation.state) == ("claimed", "current")
    assert steps(flag)[-1] == ("claimed", "reviewer")
    # Keeping decides nothing for others.
    post(reviewer, flag, "decide", decision(flag))
    flag.refresh_from_db()
    assert flag.state == "kept"


def test_re_explaining_retires_and_asks_for_a_job(client: Client, world: World, flag: Flag) -> None:
    client.force_login(allow(world.reviewer, "add_job"))
    claim(flag, world.reviewer)
    page = post(client, flag, "decide", decision(flag, "reexplained"))
    job = Job.objects.get()
    assert (job.neuron, job.parent, job.requested_by) == (world.neuron, world.explanation, world.reviewer)
    assert f'<a href="{job.get_absolute_url()}">job {job.pk}</a>' in page
    flag.refresh_from_db()
    world.explanation.refresh_from_db()
    assert (flag.state, flag.job, world.explanation.state) == ("reexplained", job, "retired")


def test_re_explaining_uses_a_job_that_is_under_way(client: Client, world: World, flag: Flag) -> None:
    reviewer = allow(world.reviewer, "add_job")
    job = review.jobs.request_job(neuron=world.neuron, parent=None, requested_by=world.explainer)
    decide(claim(flag, reviewer), reviewer, "reexplained")
    flag.refresh_from_db()
    assert (flag.job, Job.objects.count()) == (job, 1)


def test_re_explaining_is_offered_to_those_who_may(client: Client, world: World, flag: Flag) -> None:
    claim(flag, world.reviewer)
    client.force_login(world.reviewer)
    assert 'value="reexplained"' not in client.get(QUEUE).content.decode()
    assert "reexplained is not one of the available choices" in post(
        client, flag, "decide", decision(flag, "reexplained")
    )
    with pytest.raises(ReviewError, match="not start re-explanations"):
        decide(flag, world.reviewer, "reexplained")
    allow(world.reviewer, "add_job")
    assert 'value="reexplained"' in client.get(QUEUE).content.decode()
    world.explanation.refresh_from_db()
    assert (world.explanation.state, Job.objects.count()) == ("current", 0)


def test_an_explanation_retired_meanwhile_cannot_be_kept(reviewer: Client, world: World, flag: Flag) -> None:
    claim(flag, world.reviewer)
    Explanation.objects.filter(pk=world.explanation.pk).update(state="retired")
    assert 'value="kept"' not in reviewer.get(QUEUE).content.decode()
    with pytest.raises(ReviewError, match="cannot be kept"):
        decide(flag, world.reviewer)
    decide(flag, world.reviewer, "retired")
    flag.refresh_from_db()
    assert flag.state == "retired"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"reason": ""}, "Give the reason"),
        ({"reason": " \n"}, "Give the reason"),
        ({"reason": "x" * 2001}, "at most 2000 characters"),
        ({"reason": "a\0b"}, "Null characters are not allowed"),
        ({"decision": ""}, "Choose a decision."),
        ({"decision": "open"}, "open is not one of the available choices"),
        ({"seen": ""}, "The form is incomplete."),
        ({"seen": "x"}, "Enter a whole number."),
    ],
)
def test_a_decision_says_what_is_wrong_with_the_form(
    reviewer: Client, world: World, flag: Flag, change: dict[str, str], words: str
) -> None:
    claim(flag, world.reviewer)
    data = {**decision(flag), **change, "next": QUEUE}
    page = post(reviewer, flag, "decide", data)
    assert words in page
    assert "<html" in page
    response = reviewer.post(f"/review/{flag.pk}/decide/", data, headers=HTMX)
    assert words in response.content.decode()
    assert response.content.decode().lstrip().startswith(f'<div id="actions-{flag.pk}"')
    assert (response["HX-Retarget"], response["HX-Reswap"]) == (f"#actions-{flag.pk}", "outerHTML")
    flag.refresh_from_db()
    assert flag.state == "claimed"


def test_what_was_written_stays_in_a_form_that_is_asked_again(reviewer: Client, world: World, flag: Flag) -> None:
    claim(flag, world.reviewer)
    data = decision(flag, "", next=f"{QUEUE}?state=mine")
    page = post(reviewer, flag, "decide", data)
    assert ">\nit is right</textarea>" in page
    assert f'name="next" value="{QUEUE}?state=mine"' in page


def test_only_the_claimer_decides(reviewer: Client, world: World, flag: Flag) -> None:
    assert "Claim it before you decide" in post(reviewer, flag, "decide", decision(flag))
    claim(flag, world.explainer)
    assert "is claimed by explainer. Claim it before" in post(reviewer, flag, "decide", decision(flag))
    assert "Claim it before you decide" in post(reviewer, flag, "decide", {})
    flag.refresh_from_db()
    assert (flag.state, flag.reviewer) == ("claimed", world.explainer)


def test_a_stale_decision_changes_nothing(reviewer: Client, world: World, flag: Flag) -> None:
    """The form saw the reviewer's claim; since then it went through other hands and came back."""
    claim(flag, world.reviewer)
    old = decision(flag, "retired")
    review.release_flag(flag=flag, person=world.reviewer, seen=seen(flag))
    claim(flag, world.explainer)
    review.release_flag(flag=flag, person=world.explainer, seen=seen(flag))
    claim(flag, world.reviewer)
    assert "has changed since you opened the page: it is claimed by you. Nothing was done." in post(
        reviewer, flag, "decide", old
    )
    flag.refresh_from_db()
    world.explanation.refresh_from_db()
    assert (flag.state, world.explanation.state) == ("claimed", "current")


def test_the_same_form_sent_twice_decides_once(reviewer: Client, world: World, flag: Flag) -> None:
    claim(flag, world.reviewer)
    data = decision(flag)
    post(reviewer, flag, "decide", data)
    page = post(reviewer, flag, "decide", {**data, "decision": "retired"})
    assert "it is kept by you" in page
    world.explanation.refresh_from_db()
    assert world.explanation.state == "current"
    assert [action for action, _ in steps(flag)] == ["flagged", "claimed", "kept"]


def test_a_failed_decision_leaves_nothing_behind(world: World, flag: Flag, monkeypatch: pytest.MonkeyPatch) -> None:
    claim(flag, world.reviewer)

    def fail(_: object) -> None:
        raise RuntimeError("the last step fails")

    monkeypatch.setattr(review.store, "refresh_headlines", fail)
    with pytest.raises(RuntimeError):
        decide(flag, world.reviewer, "retired")
    flag.refresh_from_db()
    world.explanation.refresh_from_db()
    assert (flag.state, world.explanation.state, len(steps(flag))) == ("claimed", "current", 2)


def test_a_decision_takes_the_same_queries_for_any_number_of_flags(world: World) -> None:
    counts = []
    for explanation, others in ((world.explanation, 0), (world.baseline, 5)):
        flag = claim(file(explanation, world.reader), world.reviewer)
        for number in range(others):
            file(explanation, person(f"p{number}"))
        last = seen(flag)
        with CaptureQueriesContext(connection) as queries:
            review.decide_flag(flag=flag, reviewer=world.reviewer, decision="retired", reason="x", seen=last)
        counts.append(len(queries))
    assert counts[0] == counts[1] <= 21


# Withdrawing and restoring


def test_the_reporter_withdraws_an_open_flag(client: Client, world: World, flag: Flag) -> None:
    client.force_login(world.reader)
    page = client.get(flag.get_absolute_url()).content.decode()
    assert f'action="/review/{flag.pk}/withdraw/"' in page
    page = post(client, flag, "withdraw", {"seen": seen(flag)})
    assert f"You have withdrawn {link_to(flag)}" in page
    assert "Withdrawn by you" in page
    flag.refresh_from_db()
    assert (flag.state, flag.reviewer, flag.decision_reason) == ("withdrawn", None, "")
    assert steps(flag) == [("flagged", "reader"), ("withdrawn", "reader")]
    world.neuron.refresh_from_db()
    assert world.neuron.open_flag_count == 0


def test_after_withdrawing_it_may_be_flagged_again(world: World, flag: Flag) -> None:
    review.withdraw_flag(flag=flag, person=world.reader, seen=seen(flag))
    assert file(world.explanation, world.reader).is_undecided


def test_a_withdrawn_flag_is_listed_apart(reviewer: Client, world: World, flag: Flag) -> None:
    review.withdraw_flag(flag=flag, person=world.reader, seen=seen(flag))
    listed = {s: reviewer.get(QUEUE, {"state": s}).content.decode() for s in ("withdrawn", "decided", "undecided")}
    assert [s for s, page in listed.items() if flag.get_absolute_url() in page] == ["withdrawn"]
    assert "Withdrawn by whoever filed it" in listed["withdrawn"]
    assert "1 withdrawn flag." in listed["withdrawn"]


def test_a_claimed_flag_is_not_withdrawn(client: Client, world: World, flag: Flag) -> None:
    claim(flag, world.reviewer)
    client.force_login(world.reader)
    assert "/withdraw/" not in client.get(flag.get_absolute_url()).content.decode()
    page = post(client, flag, "withdraw", {"seen": seen(flag)})
    assert "claimed by reviewer, so it is theirs to decide now" in page
    assert steps(flag)[-1] == ("claimed", "reviewer")


def test_nobody_else_withdraws_it(reviewer: Client, flag: Flag) -> None:
    assert "/withdraw/" not in reviewer.get(flag.get_absolute_url()).content.decode()
    assert reviewer.post(f"/review/{flag.pk}/withdraw/", {"seen": seen(flag)}).status_code == 403
    flag.refresh_from_db()
    assert flag.state == "open"


def test_a_stale_withdrawal_changes_nothing(client: Client, world: World, flag: Flag) -> None:
    old = seen(flag)
    claim(flag, world.reviewer)
    review.release_flag(flag=flag, person=world.reviewer, seen=seen(flag))
    with pytest.raises(ReviewError, match="has changed since you opened the page"):
        review.withdraw_flag(flag=flag, person=world.reader, seen=old)


def test_a_reviewer_restores_what_was_retired(reviewer: Client, world: World, flag: Flag) -> None:
    before = world.neuron.explanations.get(pk=world.explanation.pk).score
    decide(claim(flag, world.reviewer), world.reviewer, "retired")
    world.neuron.refresh_from_db()
    assert world.neuron.headline_id != world.explanation.pk
    assert f'action="/review/{flag.pk}/restore/"' in reviewer.get(flag.get_absolute_url()).content.decode()
    page = post(reviewer, flag, "restore", {"seen": seen(flag), "reason": "it was right after all"})
    assert f"The explanation of {link_to(flag)} is current again." in page
    assert "it was right after all" in page
    assert "/restore/" not in page
    world.explanation.refresh_from_db()
    world.neuron.refresh_from_db()
    assert (world.explanation.state, world.explanation.score) == ("current", before)
    assert world.neuron.headline_id == world.explanation.pk
    flag.refresh_from_db()
    assert flag.state == "retired"
    assert steps(flag)[-1] == ("restored", "reviewer")


def test_restoring_needs_a_reason(reviewer: Client, world: World, flag: Flag) -> None:
    decide(claim(flag, world.reviewer), world.reviewer, "retired")
    page = post(reviewer, flag, "restore", {"seen": seen(flag), "reason": " "})
    assert "Give the reason: it is kept in the history." in page
    world.explanation.refresh_from_db()
    assert world.explanation.state == "retired"


@pytest.mark.parametrize("decision", ["kept", "retired"])
def test_what_is_current_is_not_restored(world: World, flag: Flag, decision: str) -> None:
    decide(claim(flag, world.reviewer), world.reviewer, decision)
    world.explanation.state = "current"
    world.explanation.save(update_fields=["state"])
    with pytest.raises(ReviewError, match="current already"):
        review.restore_explanation(flag=flag, reviewer=world.reviewer, reason="because", seen=seen(flag))


def test_a_flag_that_retired_nothing_restores_nothing(world: World, flag: Flag) -> None:
    other = file(world.explanation, world.explainer)
    decide(claim(other, world.reviewer), world.reviewer, "kept")
    decide(claim(flag, world.reviewer), world.reviewer, "retired")
    with pytest.raises(ReviewError, match="it did not retire the explanation"):
        review.restore_explanation(flag=other, reviewer=world.reviewer, reason="because", seen=seen(other))


def test_restoring_is_for_reviewers(client: Client, world: World, flag: Flag) -> None:
    decide(claim(flag, world.reviewer), world.reviewer, "retired")
    client.force_login(world.reader)
    assert "/restore/" not in client.get(flag.get_absolute_url()).content.decode()
    assert client.post(f"/review/{flag.pk}/restore/", {"seen": seen(flag), "reason": "x"}).status_code == 403


# A flag's history


def test_the_history_shows_every_step(reviewer: Client, world: World, flag: Flag) -> None:
    claim(flag, world.reviewer)
    post(reviewer, flag, "decide", decision(flag))
    page = reviewer.get(flag.get_absolute_url()).content.decode()
    places = [page.index(f"<strong>{step}</strong> by") for step in ("Flagged", "Claimed", "Kept")]
    assert places == sorted(places)
    assert world.explanation.text in page
    assert "Kept by you" in page
    assert "it is right" in page


def test_the_history_offers_what_can_be_done(reviewer: Client, world: World, flag: Flag) -> None:
    assert f'action="/review/{flag.pk}/claim/"' in reviewer.get(flag.get_absolute_url()).content.decode()
    claim(flag, world.reviewer)
    page = reviewer.get(flag.get_absolute_url(), headers=HTMX).content.decode()
    assert page.lstrip().startswith('<article id="history"')
    assert f'action="/review/{flag.pk}/decide/"' in page
    assert f'action="/review/{flag.pk}/claim/"' not in page


def test_the_reporter_sees_what_became_of_their_flag(client: Client, world: World, flag: Flag) -> None:
    claim(flag, world.reviewer)
    client.force_login(world.reader)
    page = client.get(flag.get_absolute_url()).content.decode()
    assert "Claimed by reviewer" in page
    assert "<form method" not in page.split("<main")[1]


def test_the_reporter_does_not_decide_without_the_permission(client: Client, world: World, flag: Flag) -> None:
    client.force_login(world.reader)
    assert client.post(f"/review/{flag.pk}/claim/").status_code == 403


def test_the_history_is_for_nobody_else(client: Client, world: World, flag: Flag) -> None:
    assert client.get(flag.get_absolute_url())["Location"].startswith("/accounts/sign-in/")
    client.force_login(world.explainer)
    response = client.get(flag.get_absolute_url())
    assert response.status_code == 403
    assert "for reviewers and for the person who filed it" in response.content.decode()


def test_the_history_survives_the_people(client: Client, world: World, flag: Flag) -> None:
    claim(flag, world.reviewer)
    world.reader.delete()
    world.reviewer.delete()
    client.force_login(allow(world.explainer, "review_flag"))
    assert client.get(flag.get_absolute_url()).content.decode().count("by a former user") == 4


def test_the_history_takes_a_bounded_number_of_queries(
    reviewer: Client, world: World, flag: Flag, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    claim(flag, world.reviewer)
    # session, account, two of permissions, flag, events
    with django_assert_num_queries(6):
        reviewer.get(flag.get_absolute_url())


# Two at once, on connections of their own. SQLite's writers take turns; PostgreSQL's wait for each other's rows.


def both(*acts: Callable[[], object]) -> list[object]:
    """Run these at the same time, each on a connection of its own; return what each gave or raised."""
    results: list[object] = [None] * len(acts)
    start = threading.Barrier(len(acts))

    def run(number: int, act: Callable[[], object]) -> None:
        try:
            start.wait(timeout=10)
            results[number] = act()
        except Exception as error:
            results[number] = error
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(acts)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    return results


@pytest.fixture
def shared(transactional_db: None) -> World:
    """A world that other connections see. SQLite in memory is shared too, but locks whole tables without waiting."""
    if connection.vendor != "postgresql":
        pytest.skip("row locks are PostgreSQL's")
    return make_world()


def test_of_two_who_claim_at_once_one_wins(shared: World) -> None:
    flag = file(shared.explanation, shared.reader)
    people = [shared.reviewer, shared.explainer]
    results = both(*(lambda who=who: review.claim_flag(flag=flag, reviewer=who) for who in people))
    flag.refresh_from_db()
    assert flag.reviewer in people
    loser = results[1 - people.index(flag.reviewer)]
    assert str(loser) == f"Flag {flag.pk} is already claimed by {flag.reviewer.get_username()}."
    assert results.count(None) == 1
    assert len(steps(flag)) == 2


def test_a_flag_filed_twice_at_once_is_one(shared: World) -> None:
    results = both(*(lambda: file(shared.explanation, shared.reader) for _ in range(2)))
    assert sorted(type(result).__name__ for result in results) == ["AlreadyFlagged", "Flag"]
    shared.neuron.refresh_from_db()
    assert (Flag.objects.count(), ReviewEvent.objects.count(), shared.neuron.open_flag_count) == (1, 1, 1)


def test_of_two_who_retire_for_different_flags_at_once_none_overwrites_the_other(shared: World) -> None:
    flags = [file(shared.explanation, shared.reader), file(shared.explanation, shared.explainer)]
    people = [shared.reviewer, shared.explainer]
    for flag, who in zip(flags, people, strict=True):
        claim(flag, who)
    results = both(*(lambda f=f, who=who: decide(f, who, "retired") for f, who in zip(flags, people, strict=True)))
    # Each sees that the other has claimed a flag of the same explanation.
    assert all(isinstance(result, ReviewError) for result in results), results
    assert set(Flag.objects.values_list("state", flat=True)) == {"claimed"}


def during(first: Callable[[], object], second: Callable[[], object]) -> object:
    """Do `first`, let `second` run into its locks on another connection, commit; return what `second` came to."""
    results: list[object] = []
    thread = threading.Thread(target=lambda: results.extend(both(second)))
    with transaction.atomic():
        first()
        thread.start()
        wait_until_somebody_waits_for_a_lock()
    thread.join(timeout=30)
    return results[0]


def test_a_claim_during_a_decision_waits_and_loses(shared: World) -> None:
    decided, other = file(shared.explanation, shared.reader), file(shared.explanation, shared.explainer)
    claim(decided, shared.reviewer)
    result = during(
        lambda: decide(decided, shared.reviewer, "retired"),
        lambda: review.claim_flag(flag=other, reviewer=shared.explainer),
    )
    assert str(result) == f"Flag {other.pk} is already retired by reviewer."
    other.refresh_from_db()
    assert (other.state, other.reviewer) == ("retired", shared.reviewer)


def test_a_decision_during_a_release_waits_and_is_refused(shared: World) -> None:
    flag = claim(file(shared.explanation, shared.reader), shared.reviewer)
    last = seen(flag)
    root = User.objects.create_superuser("root")
    result = during(
        lambda: review.release_flag(flag=flag, person=root, seen=last),
        lambda: review.decide_flag(flag=flag, reviewer=shared.reviewer, decision="retired", reason="x", seen=last),
    )
    assert "has changed since you opened the page: it is open" in str(result)
    shared.explanation.refresh_from_db()
    assert shared.explanation.state == "current"


def test_a_flag_filed_during_a_retirement_is_refused(shared: World) -> None:
    flag = claim(file(shared.explanation, shared.reader), shared.reviewer)
    result = during(
        lambda: decide(flag, shared.reviewer, "retired"), lambda: file(shared.explanation, shared.explainer)
    )
    assert str(result) == "This explanation has been retired, so there is nothing left to flag."
    assert Flag.objects.count() == 1


def wait_until_somebody_waits_for_a_lock() -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with connection.cursor() as cursor:
            # Within a transaction the view would show for ever what it showed first.
            cursor.execute("SELECT pg_stat_clear_snapshot()")
            cursor.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
            )
            if cursor.fetchone() != (0,):
                return
    raise AssertionError("nobody came to wait")


def test_the_queue_does_not_read_what_it_does_not_show(reviewer: Client, world: World, flag: Flag) -> None:
    with CaptureQueriesContext(connection) as queries:
        assert world.explanation.text in reviewer.get(f"{QUEUE}?state=all").content.decode()
    assert not [q["sql"] for q in queries if re.search(r'"(statistics|highlights|peak)"', q["sql"])]
