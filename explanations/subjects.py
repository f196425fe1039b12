"""The subject models whose folders are configured, for texts that people try: `NEURONVIEWER_SUBJECTS`.

Pages ask whether there is one; workers open it, and keep the last one warm.
"""

from __future__ import annotations

import threading
from functools import lru_cache
from pathlib import Path

from django.conf import settings

from explanations.pipeline.language_models.loading import why_not_loadable
from explanations.pipeline.subject import SubjectModel, SubjectModelError, open_subject

WARM = 1
"""Models that a worker keeps in memory: one, since each may take much of it."""
_opening = threading.Lock()


def is_configured(slug: str) -> bool:
    """Return whether the settings name a folder for this model, be it there or not."""
    return slug in settings.NEURONVIEWER_SUBJECTS


def why_not(slug: str) -> str:
    """Return why texts cannot be tried on this model, looking at nothing but names; empty where they can.

    Anybody may read it, so it does not say where the folder is.
    """
    path = settings.NEURONVIEWER_SUBJECTS.get(slug)
    if path is None:
        return "NEURONVIEWER_SUBJECTS names no folder for this model."
    if not path.exists():
        return "The folder that NEURONVIEWER_SUBJECTS names for this model is not there."
    return why_not_loadable(path).replace(str(path), "of this model")


def describe() -> str:
    """Return what changes with all that pages say of trying texts beside the data: settings, and folders that go."""
    limits = settings.TRIES_PER_HOUR, settings.TRY_MAX_TOKENS
    return repr((limits, [(slug, why_not(slug)) for slug in settings.NEURONVIEWER_SUBJECTS]))


def warm_subject(slug: str, *, layers: int, neurons_per_layer: int) -> SubjectModel:
    """Return the model, opened if it is not the one that was last asked for. SubjectModelError in words for anybody."""
    if problem := why_not(slug):
        raise SubjectModelError(problem)
    path = settings.NEURONVIEWER_SUBJECTS[slug]
    try:
        with _opening:  # two threads must not load it twice
            subject = _open(path, path.stat().st_mtime_ns)
    except SubjectModelError as error:
        raise SubjectModelError(str(error).replace(str(path), "The configured folder")) from None
    shape = len(subject.points), {point.width for point in subject.points}
    if shape != (layers, {neurons_per_layer}):
        raise SubjectModelError(
            f"The configured folder holds {shape[0]} layers of {', '.join(map(str, sorted(shape[1])))} neurons, but"
            f" this model has {layers} of {neurons_per_layer}: NEURONVIEWER_SUBJECTS names another model's folder."
        )
    return subject


@lru_cache(maxsize=WARM)
def _open(path: Path, _changed: int) -> SubjectModel:
    """Return the model in the folder as it was last changed."""
    return open_subject(path)
