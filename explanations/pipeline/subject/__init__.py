"""Subject models: the models whose neurons are looked at. `loading` opens one; importing this loads no torch."""

from __future__ import annotations

from explanations.pipeline.subject.loading import SubjectModel, open_subject
from explanations.pipeline.subject.points import Point, SubjectModelError
from explanations.pipeline.subject.texts import Tokenised

__all__ = ["Point", "SubjectModel", "SubjectModelError", "Tokenised", "open_subject"]
