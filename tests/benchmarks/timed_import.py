"""`python -m tests.benchmarks.timed_import FOLDER`: import a folder into the configured database; print JSON.

`seconds` from the command's start to its end.
"""

from __future__ import annotations

import io
import json
import sys
import time

from django.core.management import call_command

import tests.benchmarks  # noqa: F401  it sets Django up


def main(folder: str) -> None:
    start = time.perf_counter()
    call_command("import_dataset", folder, model="imported", stdout=io.StringIO())
    print(json.dumps({"seconds": time.perf_counter() - start}))


if __name__ == "__main__":
    main(sys.argv[1])
