"""Flags of every state on a synthetic model, each with its history, as people and reviewers would leave them."""

from __future__ import annotations

import random
from datetime import datetime, timedelta

from django.contrib.auth.models import Permission, User
from django.db import transaction
from django.utils import timezone

from explanations import store
from explanations.models import Explanation, Flag, ReviewEvent, SubjectModel

REPORTERS, REVIEWERS = 25, 4
STATES = {"open": 8, "claimed": 3, "kept": 5, "retired": 4}
"""How often flags are in each state, of 20. None re-explained: that would take jobs."""
NOTES = ("", "The excerpts show something else.", "It names one of two patterns.", "Only true of the first excerpt.")


@transaction.atomic
def build_flags(model: SubjectModel, count: int) -> None:
    """Flag `count` explanations of the model, spread over all its layers."""
    rng = random.Random(0)
    reporters = [_person(f"reporter-{number:02}") for number in range(REPORTERS)]
    reviewers = [_person(f"reviewer-{number}", may_review=True) for number in range(REVIEWERS)]
    written = Explanation.objects.filter(neuron__model=model, dataset_position=0).order_by("pk")
    ids = list(written.values_list("pk", "neuron_id"))
    chosen = sorted(rng.sample(ids, min(count, len(ids))))
    states = rng.choices(list(STATES), list(STATES.values()), k=len(chosen))
    now = timezone.now()
    flags = []
    for place, ((pk, _), state) in enumerate(zip(chosen, states, strict=True)):
        created = now - timedelta(minutes=10 * (len(chosen) - place))
        flags.append(_make_flag(pk, state, rng.choice(reporters), rng.choice(reviewers), created, rng))
    Flag.objects.bulk_create(flags, batch_size=500)
    ReviewEvent.objects.bulk_create([event for flag in flags for event in _history(flag)], batch_size=500)
    retired = [pk for (pk, _), state in zip(chosen, states, strict=True) if state == "retired"]
    for first in range(0, len(retired), 500):
        Explanation.objects.filter(pk__in=retired[first : first + 500]).update(state=Explanation.State.RETIRED)
    neurons = [neuron for _, neuron in chosen]
    for first in range(0, len(neurons), 1000):
        store.refresh_headlines(neurons[first : first + 1000])


def _person(name: str, *, may_review: bool = False) -> User:
    person, _ = User.objects.get_or_create(username=name)
    if may_review:
        review = Permission.objects.get(content_type__app_label="explanations", codename="review_flag")
        person.user_permissions.add(review)
    return person


def _make_flag(
    explanation_id: int, state: str, reporter: User, reviewer: User, created: datetime, rng: random.Random
) -> Flag:
    flag = Flag(
        explanation_id=explanation_id,
        reporter=reporter,
        reason=rng.choice(["wrong", "too_broad", "too_narrow", "vague"]),
        note=rng.choice(NOTES),
        state=state,
        created_at=created,
    )
    if state != "open":
        claimed = created + timedelta(minutes=rng.randint(1, 500))
        flag.reviewer, flag.claimed_at = reviewer, claimed
    if state in {"kept", "retired"}:
        flag.decided_at = claimed + timedelta(minutes=rng.randint(1, 60))
        flag.decision_reason = "The excerpts bear it out." if state == "kept" else "The excerpts show something else."
    return flag


def _history(flag: Flag) -> list[ReviewEvent]:
    events = [ReviewEvent(flag=flag, actor=flag.reporter, action="flagged", reason=flag.note)]
    if flag.claimed_at:
        events.append(ReviewEvent(flag=flag, actor=flag.reviewer, action="claimed", created_at=flag.claimed_at))
    if flag.decided_at:
        events.append(
            ReviewEvent(
                flag=flag,
                actor=flag.reviewer,
                action=flag.state,
                reason=flag.decision_reason,
                created_at=flag.decided_at,
            )
        )
    events[0].created_at = flag.created_at
    return events
