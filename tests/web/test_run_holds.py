"""What a run of the command line holds on the day's books, while it lives and when it was killed."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from explanations import budgets, jobs, run_holds
from explanations.budgets import DaySpending, OverBudget
from explanations.management import bulk
from explanations.models import RunHold
from explanations.run_holds import RunBooks
from tests.web.test_explain import explain_by_model, model  # noqa: F401  a fixture
from tests.web.toy_model import SUMMARY, WRITTEN, ToyModel
from tests.world import World

ROOT = Path(__file__).parent.parent.parent
THREE, ONE, NONE = Decimal(3), Decimal(1), Decimal(0)


def lapse() -> None:
    """Let the runs look as if they had been killed a while ago."""
    RunHold.objects.update(lease_until=timezone.now() - timedelta(seconds=1))


def test_a_living_runs_hold_stays(db: None) -> None:
    RunBooks(lambda: NONE).hold(THREE)
    assert run_holds.release_lapsed() == 0
    assert budgets.read_day(None) == DaySpending(THREE, NONE)


def test_what_a_killed_run_held_comes_free_once_and_what_it_spent_is_entered(db: None) -> None:
    books = RunBooks(lambda: Decimal("0.25"))
    books.hold(THREE)
    books.hold(ONE)
    books.renew()
    lapse()
    assert run_holds.release_lapsed() == 1
    assert run_holds.release_lapsed() == 0
    assert budgets.read_day(None) == DaySpending(NONE, Decimal("0.25"))


def test_settled_holds_leave_nothing_behind(db: None) -> None:
    books = RunBooks(lambda: NONE)
    first, second = books.hold(THREE), books.hold(ONE)
    books.settle(first, ONE)
    assert budgets.read_day(None) == DaySpending(ONE, ONE)
    books.settle(second, NONE)
    assert budgets.read_day(None) == DaySpending(NONE, ONE)
    assert not RunHold.objects.exists()


def test_a_run_that_was_only_slow_gives_nothing_back_twice(db: None) -> None:
    other = budgets.hold(ONE, None)
    books = RunBooks(lambda: NONE)
    held = books.hold(THREE)
    lapse()
    run_holds.release_lapsed()
    books.settle(held, Decimal("0.5"))
    assert budgets.read_day(None) == DaySpending(other.usd, Decimal("0.5"))


def test_what_is_refused_leaves_no_hold(db: None, settings: Any) -> None:
    settings.BUDGET_USD_PER_DAY = ONE
    with pytest.raises(OverBudget):
        RunBooks(lambda: NONE).hold(THREE)
    assert not RunHold.objects.exists()


def test_what_costs_nothing_holds_nothing(db: None) -> None:
    books = RunBooks(lambda: NONE)
    books.settle(books.hold(NONE), NONE)
    assert not RunHold.objects.exists()


def test_the_next_run_a_worker_and_a_person_take_it_up(world: World, model: ToyModel, settings: Any) -> None:  # noqa: F811
    settings.BUDGET_USD_PER_DAY = THREE

    def killed() -> None:
        RunBooks(lambda: NONE).hold(THREE - budgets.read_day(None).taken)
        lapse()

    killed()
    assert "1 explained" in explain_by_model(layers="0", neurons="1")
    killed()
    jobs.requeue_lapsed()
    assert budgets.read_day(None).held == 0
    killed()
    job = jobs.request_job(
        neuron=world.neuron, parent=None, requested_by=world.explainer, explainer=SUMMARY, simulator=WRITTEN
    )
    assert budgets.read_day(None).held == job.held_usd > 0


def test_a_run_keeps_its_books_while_it_works(world: World, model: ToyModel, settings: Any) -> None:  # noqa: F811
    settings.BUDGET_USD_PER_DAY = THREE
    seen: list[tuple[int, int]] = []
    settle = RunBooks.settle

    def look(books: RunBooks, held: budgets.Hold, spent: Decimal) -> None:
        seen.append((RunHold.objects.count(), RunHold.objects.get().held))
        settle(books, held, spent)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bulk.RunBooks, "settle", look)
        explain_by_model(layers="0", neurons="0-2", concurrency=1)
    assert [count for count, _ in seen] == [1, 1, 1]
    assert all(held > 0 for _, held in seen)
    assert not RunHold.objects.exists()


@pytest.mark.parametrize("amount", [{"held": -1}, {"spent": -1}])
def test_the_database_guards_them(db: None, amount: dict[str, int]) -> None:
    fields: dict[str, Any] = {"owner": "a", "day": timezone.localdate(), "lease_until": timezone.now()}
    with pytest.raises(IntegrityError), transaction.atomic():
        RunHold.objects.create(**fields | amount)
    RunHold.objects.create(**fields)
    with pytest.raises(IntegrityError), transaction.atomic():
        RunHold.objects.create(**fields)


@pytest.mark.slow
def test_killed_without_a_word_it_is_taken_up_by_the_same_command(tmp_path: Path) -> None:
    environment = os.environ | {
        "DATABASE_URL": f"sqlite:///{tmp_path}/runs.sqlite3",
        "NEURONVIEWER_DATA": str(tmp_path),
        "PYTHONPATH": str(ROOT),
        "JOB_LEASE_SECONDS": "2",
        "BUDGET_USD_PER_DAY": "1",
    }

    def start(*arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "tests.web.run_site", *arguments]
        return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)

    with start("hang") as first:
        try:
            assert first.stdout is not None
            assert any(line.startswith("asked") for line in first.stdout)
        finally:
            first.kill()
    with start("work") as second:
        out, _ = second.communicate(timeout=120)
    assert second.returncode == 0, out
    held_before, explained, held_after = out.split()[-3:]
    assert float(held_before) > 0
    assert int(explained) == 2
    assert float(held_after) == 0
