"""The demo on the tests' shared world instead of the sample: `python -m tests.browser.world_site`.

Everything else is the real thing: migrations, collected static files, gunicorn, a worker, the one-time link. To the
world it adds a flag that waits, a job, and a superuser who signs in by password.
"""

from __future__ import annotations

import os

import django
from django.core.management import call_command


def main() -> None:
    from django.contrib.auth.models import User

    from explanations.jobs import request_job
    from explanations.management.commands import demo
    from explanations.management.static_files import collect_changed_static_files
    from explanations.review import file_flag
    from explanations.statistics import refresh_statistics
    from tests.world import make_world

    class WorldDemo(demo.Command):
        def prepare(self) -> None:
            call_command("migrate", interactive=False, verbosity=0)
            world = make_world()
            refresh_statistics(world.model.pk)
            file_flag(explanation=world.baseline, reporter=world.explainer, reason="vague", note="Of what?")
            request_job(neuron=world.hostile, parent=world.hostile.headline, requested_by=world.explainer)
            User.objects.create_superuser("admin", password="a-long-password")
            collect_changed_static_files()

    call_command(WorldDemo(), port=0)


if __name__ == "__main__":
    os.environ["DJANGO_SETTINGS_MODULE"] = "neuronviewer.settings"
    django.setup()
    main()
