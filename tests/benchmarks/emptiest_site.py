"""The site with the page `/emptiest/`, as an application for a web server in a process of its own."""

from __future__ import annotations

from django.conf import settings

import tests.benchmarks  # noqa: F401  it sets Django up

settings.ROOT_URLCONF = "tests.benchmarks.pages"

from neuronviewer.wsgi import application  # noqa: E402  it reads the settings

__all__ = ["application"]
