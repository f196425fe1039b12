"""The command `neuronviewer`, which is also `python manage.py`: `demo` starts the site, `help` lists the others."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management import execute_from_command_line


def main() -> None:
    """Run the command that the arguments name; exit with one line where a setting is malformed."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "neuronviewer.settings")
    try:
        _ = settings.INSTALLED_APPS
    except ImproperlyConfigured as error:
        sys.exit(f"neuronviewer cannot start: {error}")
    try:
        execute_from_command_line([program_name(), *sys.argv[1:]])
    except KeyboardInterrupt:
        sys.exit(130)


def program_name() -> str:
    """Return what people typed, for usage messages; `python -m neuronviewer.cli` counts as neuronviewer."""
    return "manage.py" if Path(sys.argv[0]).name == "manage.py" else "neuronviewer"


if __name__ == "__main__":
    main()
