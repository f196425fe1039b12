"""A site on a database file of its own, for the test of holds at once: `python -m tests.web.budget_site THREADS`.

Migrates, lets so many threads hold a dollar each on the same day, and prints how many may, and what the books say.
"""

from __future__ import annotations

import os
import sys

import django
from django.core.management import call_command


def main(threads: int) -> None:
    from django.contrib.auth.models import User

    from explanations import budgets
    from tests.web.test_budgets import hold_at_once

    call_command("migrate", verbosity=0)
    person = User.objects.create_user("somebody")
    allowed = hold_at_once(person.pk, threads)
    print(allowed, budgets.read_day(None).held, budgets.read_day(person.pk).held)


if __name__ == "__main__":
    os.environ["DJANGO_SETTINGS_MODULE"] = "neuronviewer.settings"
    django.setup()
    main(int(sys.argv[1]))
