from __future__ import annotations

import os
import subprocess
import sys
import threading
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from explanations import budgets
from explanations.budgets import Hold, OverBudget
from explanations.models import SpendingDay
from tests.world import person

ROOT = Path(__file__).parent.parent.parent


def hold_at_once(person_id: int, threads: int) -> int:
    """Let threads hold a dollar each at the same time, on connections of their own; return how many may."""
    allowed: list[Hold] = []
    others: list[BaseException] = []
    start = threading.Barrier(threads)

    def run() -> None:
        try:
            start.wait(timeout=30)
            allowed.append(budgets.hold(Decimal(1), person_id))
        except OverBudget:
            pass
        except BaseException as error:
            others.append(error)
        finally:
            connection.close()

    running = [threading.Thread(target=run) for _ in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join(timeout=60)
    assert not others, others
    return len(allowed)


# Caps


def test_without_caps_everything_is_held_and_entered(db: None) -> None:
    held = budgets.hold(Decimal(5), None)
    assert budgets.read_day(None) == budgets.DaySpending(Decimal(5), Decimal(0))
    budgets.settle(held, Decimal("1.234567"))
    assert budgets.read_day(None) == budgets.DaySpending(Decimal(0), Decimal("1.234567"))
    assert not budgets.are_capped()


def test_what_is_held_and_what_is_spent_both_count_against_a_day(db: None, settings: Any) -> None:
    settings.BUDGET_USD_PER_DAY = Decimal("1.00")
    first = budgets.hold(Decimal("0.6"), None)
    with pytest.raises(OverBudget, match=r"at most \$1\.00 a day, of which \$0\.60 are spent or held"):
        budgets.hold(Decimal("0.400001"), None)
    budgets.settle(first, Decimal("0.3"))
    second = budgets.hold(Decimal("0.7"), None)
    with pytest.raises(OverBudget):
        budgets.hold(Decimal("0.000001"), None)
    budgets.settle(second, Decimal(0))
    assert budgets.read_day(None).taken == Decimal("0.3")


def test_a_person_has_a_day_of_their_own_within_everybodys(db: None, settings: Any) -> None:
    settings.BUDGET_USD_PER_PERSON_PER_DAY = Decimal(1)
    settings.BUDGET_USD_PER_DAY = Decimal("1.5")
    one, two = person("one"), person("two")
    budgets.hold(Decimal(1), one.pk)
    with pytest.raises(OverBudget, match="What you ask for may cost at most"):
        budgets.hold(Decimal("0.01"), one.pk)
    with pytest.raises(OverBudget, match="All that is asked for here"):
        budgets.hold(Decimal("0.6"), two.pk)
    assert budgets.read_day(two.pk).taken == 0, "what everybody's cap refuses is not held for the person either"
    budgets.hold(Decimal("0.5"), two.pk)


def test_a_new_day_begins_at_nothing(db: None, settings: Any) -> None:
    settings.BUDGET_USD_PER_DAY = Decimal(1)
    yesterday = timezone.localdate() - timedelta(days=1)
    SpendingDay.objects.create(day=yesterday, held=5, spent=budgets.MICRO)
    budgets.hold(Decimal(1), None)
    assert budgets.read_day(None, yesterday).spent == 1


def test_what_is_free_is_never_refused_and_leaves_the_books_alone(db: None, settings: Any) -> None:
    settings.BUDGET_USD_PER_JOB = settings.BUDGET_USD_PER_DAY = Decimal(0)
    assert budgets.most_for_job(0, 0) == 0
    budgets.settle(budgets.hold(Decimal(0), None), Decimal(0))
    assert not SpendingDay.objects.exists()


@pytest.mark.parametrize(
    ("expected", "most", "allowed"), [(0.01, 0.02, "0.02"), (0.01, 0.08, "0.05"), (0.05, 0.05, "0.05")]
)
def test_a_job_may_spend_the_most_it_can_take_within_its_cap(
    settings: Any, expected: float, most: float, allowed: str
) -> None:
    settings.BUDGET_USD_PER_JOB = Decimal("0.05")
    assert budgets.most_for_job(expected, most) == Decimal(allowed)


def test_a_job_that_is_expected_to_go_above_its_cap_is_refused(settings: Any) -> None:
    settings.BUDGET_USD_PER_JOB = Decimal("0.05")
    with pytest.raises(OverBudget, match=r"It would cost about \$0\.051\. One job may cost at most \$0\.05 here\."):
        budgets.most_for_job(0.051, 0.1)


def test_what_was_spent_above_what_was_held_is_entered_all_the_same(db: None, settings: Any) -> None:
    settings.BUDGET_USD_PER_DAY = Decimal(1)
    budgets.settle(budgets.hold(Decimal(1), None), Decimal("1.25"))
    assert budgets.read_day(None) == budgets.DaySpending(Decimal(0), Decimal("1.25"))


def test_a_person_who_is_deleted_leaves_everybodys_books(db: None) -> None:
    somebody = person("somebody")
    held = budgets.hold(Decimal(1), somebody.pk)
    somebody.delete()
    budgets.settle(held, Decimal("0.5"))
    assert budgets.read_day(None) == budgets.DaySpending(Decimal(0), Decimal("0.5"))


@pytest.mark.parametrize(
    ("usd", "expected"),
    [(0.1 + 0.2, "0.300000"), (0.0000001, "0.000001"), (1e-12, "0.000000"), (0, "0.000000"), (1234.5, "1234.500000")],
)
def test_amounts_are_rounded_up_to_millionths(usd: float, expected: str) -> None:
    assert str(budgets.dollars(usd)) == expected


@pytest.mark.parametrize(
    ("usd", "expected"), [("0", "$0.00"), ("2.5", "$2.50"), ("0.000123", "$0.000123"), ("1234", "$1,234.00")]
)
def test_amounts_are_written_in_cents_or_finer(usd: str, expected: str) -> None:
    assert budgets.written(Decimal(usd)) == expected


# At once


def test_of_many_who_ask_at_once_as_many_get_it_as_the_cap_allows(transactional_db: None, settings: Any) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite in memory is locked, not waited for; the test below asks a database file")
    settings.BUDGET_USD_PER_DAY = Decimal("4.5")
    somebody = person("somebody")
    assert hold_at_once(somebody.pk, 12) == 4
    assert budgets.read_day(None).held == budgets.read_day(somebody.pk).held == 4


@pytest.mark.slow
@pytest.mark.parametrize("cap", ["BUDGET_USD_PER_DAY", "BUDGET_USD_PER_PERSON_PER_DAY"])
def test_many_who_ask_at_once_of_a_sqlite_file_too(tmp_path: Path, cap: str) -> None:
    environment = os.environ | {
        "DATABASE_URL": f"sqlite:///{tmp_path}/books.sqlite3",
        "NEURONVIEWER_DATA": str(tmp_path),
        "PYTHONPATH": str(ROOT),
        cap: "4.5",
    }
    command = [sys.executable, "-m", "tests.web.budget_site", "12"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["4", "4", "4"], done.stderr


# What the database guards


@pytest.mark.parametrize("somebodys", [True, False])
def test_a_day_has_one_row_a_person_and_one_in_all(db: None, somebodys: bool) -> None:
    fields = {"day": timezone.localdate(), "person": person("somebody") if somebodys else None}
    SpendingDay.objects.create(**fields)
    with pytest.raises(IntegrityError), transaction.atomic():
        SpendingDay.objects.create(**fields)


@pytest.mark.parametrize("amount", [{"held": -1}, {"spent": -1}])
def test_the_books_are_never_below_nothing(db: None, amount: dict[str, int]) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        SpendingDay.objects.create(day=timezone.localdate(), **amount)
