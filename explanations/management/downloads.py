"""The folder that files from the web pass through, and what is left of those of runs that were killed."""

from __future__ import annotations

import fcntl
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from django.conf import settings

_LOCK = "lock"


@contextmanager
def downloads_folder() -> Iterator[Path]:
    """Yield a new folder for this process; it is removed at the end, and others' whose process is gone with it."""
    root: Path = settings.DATA_DIR / "downloads"
    root.mkdir(exist_ok=True)
    _remove_abandoned(root)
    folder = Path(tempfile.mkdtemp(dir=root))
    with (folder / _LOCK).open("w") as lock:
        # Held for as long as this process lives, however it ends.
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _remove_abandoned(root: Path) -> None:
    for folder in root.iterdir():
        try:
            with (folder / _LOCK).open("r+") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
        except OSError:
            # In use, or not ours.
            continue
