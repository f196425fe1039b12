"""A site whose language model is a folder, for tests that kill workers: `python -m tests.model.worker_site COMMAND`.

seed SIMULATOR     migrate, store the shared world, have a person's explanation scored; print the job's id
hold REACHED LOCK  work like `manage.py db_worker`, but before the model simulates the second batch of excerpts,
                   create the file REACHED and wait until the file LOCK is not locked
"""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import django
from django.core.management import call_command

HELD_AT = 2
"""the batch of excerpts that waits"""


def seed(simulator: str) -> None:
    from explanations.jobs import request_scoring
    from tests.world import make_world

    call_command("migrate", verbosity=0)
    world = make_world()
    job = request_scoring(
        neuron=world.neuron, text="words about cats", requested_by=world.explainer, simulator=simulator
    )
    print(job.pk)


def hold(reached: Path, lock: Path) -> None:
    from explanations.pipeline.simulator.log_probabilities import ReadLevels

    asked: list[int] = []
    simulate = ReadLevels.many

    def simulate_or_wait(simulator: ReadLevels, explanation: str, excerpts: Sequence[Sequence[str]]) -> Any:
        asked.append(len(excerpts))
        if len(asked) == HELD_AT:
            reached.touch()
            with lock.open() as file:
                fcntl.flock(file, fcntl.LOCK_EX)
        return simulate(simulator, explanation, excerpts)

    ReadLevels.many = simulate_or_wait  # type: ignore[method-assign]
    call_command("db_worker", interval=0.1, startup_delay=False, reload=False)


if __name__ == "__main__":
    os.environ["DJANGO_SETTINGS_MODULE"] = "neuronviewer.settings"
    django.setup()
    if sys.argv[1] == "seed":
        seed(sys.argv[2])
    else:
        hold(Path(sys.argv[2]), Path(sys.argv[3]))
