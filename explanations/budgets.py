"""What language models may cost: caps for a job, for a person's day and for everybody's day, and the day's books.

Before anything is spent, the most that it may cost is *held* on the books; when it is over, what was held is taken
back and what was spent is entered. Held and spent together never exceed a cap, however many ask at once: each hold is
one conditional update of the day's row, which waits for the others. The day is the one on which it was asked for, in
the site's time zone, and holds what is still waiting from that day.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import ROUND_CEILING, Decimal
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import F, Q, QuerySet
from django.utils import timezone

from explanations.models import Job, SpendingDay
from explanations.pipeline.language_models import NO_USAGE, Usage

MICRO = 1_000_000
"""Millionths of a dollar in a dollar: the unit of the books."""


class OverBudget(Exception):  # noqa: N818  it is a decision, not a mistake
    """A cap does not allow it; the message says which, in words for the person who asked."""


@dataclass(frozen=True, slots=True)
class Hold:
    """Money set aside on a day's books. Zero where it costs nothing."""

    day: date
    person_id: int | None
    usd: Decimal


@dataclass(frozen=True, slots=True)
class DaySpending:
    """What a day's books say."""

    held: Decimal
    spent: Decimal

    @property
    def taken(self) -> Decimal:
        return self.held + self.spent


def are_capped() -> bool:
    """Return whether this installation caps spending at all."""
    caps = (settings.BUDGET_USD_PER_JOB, settings.BUDGET_USD_PER_PERSON_PER_DAY, settings.BUDGET_USD_PER_DAY)
    return any(cap is not None for cap in caps)


def most_for_job(expected_usd: float, most_usd: float) -> Decimal:
    """Return what one job may spend: the most it is estimated to, within the cap for a job.

    OverBudget where already what is expected goes above that cap.
    """
    cap = settings.BUDGET_USD_PER_JOB
    expected, most = dollars(expected_usd), dollars(most_usd)
    if cap is None:
        return most
    if expected > cap:
        raise OverBudget(f"It would cost about {written(expected)}. One job may cost at most {written(cap)} here.")
    return min(most, cap)


@transaction.atomic
def hold(usd: Decimal, person_id: int | None) -> Hold:
    """Set money aside today for a person (None: for nobody in particular). OverBudget where a day's cap forbids it."""
    held = Hold(timezone.localdate(), person_id, usd)
    add_to(held, usd)
    return held


def add_to(held: Hold, usd: Decimal) -> None:
    """Set more money aside for the same. OverBudget where a day's cap forbids it; then the transaction is to end."""
    if not usd:
        return
    # The same order everywhere, or two could wait for each other: the person's row, then everybody's.
    if held.person_id is not None:
        cap = settings.BUDGET_USD_PER_PERSON_PER_DAY
        _take(held.day, held.person_id, usd, cap, "What you ask for may cost at most {cap} a day")
    _take(held.day, None, usd, settings.BUDGET_USD_PER_DAY, "All that is asked for here may cost at most {cap} a day")


def _take(day: date, person_id: int | None, usd: Decimal, cap: Decimal | None, rule: str) -> None:
    row = _row(day, person_id)
    room = Q() if cap is None else Q(held__lte=micros(cap) - micros(usd) - F("spent"))
    if not row.filter(room).update(held=F("held") + micros(usd)):
        assert cap is not None
        taken = read_day(person_id, day).taken
        raise OverBudget(
            f"{rule.format(cap=written(cap))}, of which {written(taken)} are spent or held for jobs. "
            f"This may cost up to {written(usd)}. Try again tomorrow, or choose what costs less."
        )


def _row(day: date, person_id: int | None) -> QuerySet[SpendingDay]:
    """Return a row of the books, made where it is missing."""
    row = SpendingDay.objects.filter(day=day, person=person_id)
    if not row.exists():
        # Not get_or_create: two that make the row at once must both go on.
        SpendingDay.objects.bulk_create([SpendingDay(day=day, person_id=person_id)], ignore_conflicts=True)
    return row


@transaction.atomic
def settle(held: Hold, spent_usd: Decimal) -> None:
    """Enter what was spent in the place of what was held, whatever the caps say: it is spent."""
    if not held.usd and not spent_usd:
        return
    people = [None] if held.person_id is None else [held.person_id, None]
    for person_id in people:
        # A person's row is there since the hold, or gone with the person.
        row = _row(held.day, None) if person_id is None else SpendingDay.objects.filter(day=held.day, person=person_id)
        row.update(held=F("held") - micros(held.usd), spent=F("spent") + micros(spent_usd))


# Jobs. Their rows are always locked before the books', or two transactions could wait for each other.


@transaction.atomic
def hold_for_job(job: Job, usd: Decimal) -> None:
    """Hold the most that a new job may cost. OverBudget; then the transaction that made the job is to end."""
    if usd:
        job.held_usd, job.budget_day = usd, timezone.localdate()
        job.save(update_fields=["held_usd", "budget_day"])
        hold(usd, job.requested_by_id)


def settle_job(job_id: int) -> None:
    """Settle a job that just came to its end. To be called once, in the transaction that ends it."""
    job = Job.objects.only("budget_day", "requested_by", "held_usd", "cost_usd").get(pk=job_id)
    if job.budget_day is None:
        return
    Job.objects.filter(pk=job_id).update(held_usd=0)
    settle(Hold(job.budget_day, job.requested_by_id, job.held_usd), job.cost_usd)


@transaction.atomic
def hold_for_another_try(job: Job) -> None:
    """Hold, for a job whose earlier try was cut off after spending something, as much again. OverBudget."""
    if job.budget_day is None or not job.cost_usd:
        return
    wanted = job.cost_usd + Decimal(str(job.estimate.get("most_usd", 0)))
    if settings.BUDGET_USD_PER_JOB is not None:
        wanted = min(wanted, settings.BUDGET_USD_PER_JOB)
    more = wanted - job.held_usd
    if more > 0:
        Job.objects.filter(pk=job.pk).update(held_usd=wanted)
        add_to(Hold(job.budget_day, job.requested_by_id, job.held_usd), more)
        job.held_usd = wanted


@transaction.atomic
def enter_late(job_id: int, spent: Usage) -> None:
    """Enter what a worker spent on a job that is no longer its own: on the job, and on the books if it is settled."""
    job = Job.objects.select_for_update().filter(pk=job_id).first()
    if job is None or spent == NO_USAGE:
        return
    Job.objects.filter(pk=job_id).update(**spending(spent))
    if job.is_finished and job.budget_day is not None:
        settle(Hold(job.budget_day, job.requested_by_id, Decimal(0)), dollars(spent.cost_usd))


def spending(spent: Usage) -> dict[str, Any]:
    """Return the update that adds to what a job has spent."""
    if spent == NO_USAGE:
        return {}
    return {
        "tokens_in": F("tokens_in") + spent.tokens_in,
        "tokens_out": F("tokens_out") + spent.tokens_out,
        "cost_usd": F("cost_usd") + dollars(spent.cost_usd),
    }


def spendable(job: Job) -> Decimal | None:
    """Return how much a job may still spend; None where nothing is capped, or it was expected to be free."""
    return job.held_usd - job.cost_usd if are_capped() and job.budget_day is not None else None


# Reading


def read_day(person_id: int | None, day: date | None = None) -> DaySpending:
    """Return a day's books (today's unless told), a person's or everybody's. One query."""
    row = SpendingDay.objects.filter(day=day or timezone.localdate(), person=person_id).first()
    return DaySpending(amount(row.held), amount(row.spent)) if row else DaySpending(Decimal(0), Decimal(0))


def describe_caps(person_id: int | None) -> list[str]:
    """Return in sentences what a person may still spend. A query for each cap on a day."""
    sentences = []
    if settings.BUDGET_USD_PER_JOB is not None:
        sentences.append(f"One job may cost at most {written(settings.BUDGET_USD_PER_JOB)}.")
    for cap, who, asked in (
        (settings.BUDGET_USD_PER_PERSON_PER_DAY, person_id, "What you ask for"),
        (settings.BUDGET_USD_PER_DAY, None, "What everybody asks for"),
    ):
        if cap is not None:
            taken = read_day(who).taken
            sentences.append(
                f"{asked} may cost at most {written(cap)} a day; {written(taken)} of today's are spent or held."
            )
    return sentences


def dollars(usd: float) -> Decimal:
    """Return an amount in whole millionths of a dollar, rounded up: a cap is never exceeded by rounding."""
    # To nine digits first: 0.1 + 0.2 is 0.30000000000000004.
    return Decimal(f"{usd:.9f}").quantize(Decimal(1) / MICRO, rounding=ROUND_CEILING)


def micros(usd: Decimal) -> int:
    return int((usd * MICRO).to_integral_value(rounding=ROUND_CEILING))


def amount(micro_dollars: int) -> Decimal:
    return Decimal(micro_dollars) / MICRO


def written(usd: Decimal) -> str:
    """Return an amount for people: cents, and as many more digits as it has, at most six."""
    text = f"{usd:,.6f}".rstrip("0")
    whole, _, digits = text.partition(".")
    return f"${whole}.{digits:0<2}"
