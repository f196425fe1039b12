"""The site with the page `/emptiest/`, as an application for a web server in a process of its own.

Not among the benchmarks, which are all imported to be found: this one changes the settings.
"""

from __future__ import annotations

import os

from django.conf import settings

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "neuronviewer.settings")
settings.ROOT_URLCONF = "tests.benchmarks.pages"

from neuronviewer.wsgi import application  # noqa: E402  it reads the settings

__all__ = ["application"]
