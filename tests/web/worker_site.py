"""A site in processes of its own, for tests that kill workers: `python -m tests.web.worker_site COMMAND ...`.

seed               migrate, store the shared world, queue a job for every neuron with records; print the jobs' ids
ask_text           queue a text on neuron 0:0 of the shared world's model
hold_texts REACHED LOCK  work like `manage.py db_worker`, with a fake for a subject model, that waits as below on a text
migrated           migrate and store the shared world alone
explain N REACHED LOCK  run `manage.py explain` with the baseline, and wait like below in the N-th neuron
hold REACHED LOCK  work like `manage.py db_worker`, but in every simulation create the file REACHED and wait until the
                   file LOCK is not locked, so that a test can stop the worker in the middle of a job
"""

from __future__ import annotations

import fcntl
import os
import sys
from pathlib import Path

import django
from django.core.management import call_command


def seed() -> None:
    from explanations.jobs import request_job
    from explanations.models import ActivationSet
    from tests.world import make_world

    call_command("migrate", verbosity=0)
    person = make_world().explainer
    neurons = [s.neuron for s in ActivationSet.objects.select_related("neuron").order_by("pk")]
    print(*(request_job(neuron=n, parent=n.headline, requested_by=person).pk for n in neurons))


def migrated() -> None:
    from tests.web.test_explain import NEURONS
    from tests.world import make_world

    call_command("migrate", verbosity=0)
    make_world()
    print(NEURONS)


def hold_simulations(reached: Path, lock: Path, first: int = 1) -> None:
    """Let simulations wait for the lock, from the `first` on."""
    from explanations.pipeline import simulator
    from explanations.pipeline.token_lookup import TOKEN_LOOKUP

    class Held(simulator.TokenLookupSimulator):
        def fit(self, train):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
            fitted.append(train)
            if len(fitted) >= first:
                reached.touch()
                with lock.open() as file:
                    fcntl.flock(file, fcntl.LOCK_EX)
            return super().fit(train)

    fitted: list[object] = []
    simulator.SIMULATORS[TOKEN_LOOKUP] = Held()  # type: ignore[index]


def hold(reached: Path, lock: Path) -> None:
    hold_simulations(reached, lock)
    call_command("db_worker", interval=0.1, startup_delay=False, reload=False)


def ask_text() -> None:
    from django.contrib.auth.models import User

    from explanations.models import Neuron
    from explanations.trials import request_trial

    neuron = Neuron.objects.select_related("model").get(layer=0, index=0)
    author = User.objects.get(username="reader")
    print(request_trial(model=neuron.model, neuron=neuron, text="See you on Tuesday.", author=author).pk)


def hold_texts(reached: Path, lock: Path) -> None:
    from explanations import subjects
    from tests.pipeline.fake_subject import FakeSubject

    class Held(FakeSubject):
        def tokenise(self, text):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
            reached.touch()
            with lock.open() as file:
                fcntl.flock(file, fcntl.LOCK_EX)
            return super().tokenise(text)

    subjects.warm_subject = lambda _slug, **_shape: Held()
    call_command("db_worker", interval=0.1, startup_delay=False, reload=False)


def explain(number: int, reached: Path, lock: Path) -> None:
    hold_simulations(reached, lock, number)
    call_command("explain", model="tiny", concurrency=1)


if __name__ == "__main__":
    os.environ["DJANGO_SETTINGS_MODULE"] = "neuronviewer.settings"
    django.setup()
    if sys.argv[1] == "seed":
        seed()
    elif sys.argv[1] == "migrated":
        migrated()
    elif sys.argv[1] == "ask_text":
        ask_text()
    elif sys.argv[1] == "hold_texts":
        hold_texts(Path(sys.argv[2]), Path(sys.argv[3]))
    elif sys.argv[1] == "explain":
        explain(int(sys.argv[2]), Path(sys.argv[3]), Path(sys.argv[4]))
    else:
        hold(Path(sys.argv[2]), Path(sys.argv[3]))
