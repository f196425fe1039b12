"""What pages carry in attributes, read as their scripts do."""

from __future__ import annotations

from base64 import b64decode

import numpy as np
import numpy.typing as npt


def read_values(attribute: str, count: int) -> npt.NDArray[np.floating]:
    """Return an excerpt's values from its `data-real` or `data-simulated`, `count` of them."""
    data = b64decode(attribute)
    values = np.frombuffer(data, "<f4" if len(data) < 8 * count else "<f8")
    assert len(values) == count
    return values
