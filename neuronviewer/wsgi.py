"""The WSGI application, for gunicorn or any other server."""

from __future__ import annotations

import os
import sys

from django.contrib.staticfiles.storage import staticfiles_storage
from django.core.exceptions import ImproperlyConfigured
from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "neuronviewer.settings")
application = get_wsgi_application()

CANNOT_BOOT = 3
"""The status of a worker that gunicorn does not start again."""


def check_static_files() -> None:
    """Stop the start where the static files were never collected: every page would fail."""
    try:
        staticfiles_storage.url("favicon.svg")
    except ImproperlyConfigured as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(CANNOT_BOOT)


check_static_files()
