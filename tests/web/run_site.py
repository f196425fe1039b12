"""A site on a database file of its own, for the test of a killed run: `python -m tests.web.run_site hang|work`.

`hang` makes the world and begins a run whose language model never answers. `work` waits until the lease of such a run
has lapsed, runs the same, and prints what was held before, how many neurons are explained, and what is held after.
"""

from __future__ import annotations

import os
import sys
import time

import django
from django.core.management import call_command


def main(mode: str) -> None:
    import pytest
    from django.db.models.functions import Now

    from explanations import budgets
    from explanations.models import Explanation, RunHold
    from tests.web.toy_model import SUMMARY, WRITTEN, ToyModel, offer
    from tests.world import make_world

    def hang() -> None:
        print("asked", flush=True)
        time.sleep(600)

    call_command("migrate", verbosity=0)
    with pytest.MonkeyPatch.context() as patch:
        model = offer(patch, ToyModel())
        if mode == "hang":
            make_world()
            model.before = hang
        while RunHold.objects.filter(lease_until__gte=Now()).exists():
            time.sleep(0.1)
        before = budgets.read_day(None).held
        call_command("explain", model="tiny", explainer=SUMMARY, simulator=WRITTEN, layers="0", neurons="0-1")
    print(before, Explanation.objects.filter(explainer=SUMMARY).count(), budgets.read_day(None).held)


if __name__ == "__main__":
    os.environ["DJANGO_SETTINGS_MODULE"] = "neuronviewer.settings"
    django.setup()
    main(sys.argv[1])
