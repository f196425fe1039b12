"""What a score means, in plain words."""

from __future__ import annotations

import numpy as np

from explanations.pipeline.records import Floats

_DEGREES = (
    (0.8, "very closely"),
    (0.6, "closely"),
    (0.4, "moderately"),
    (0.2, "loosely"),
    (0.1, "only very loosely"),
)


def meaning_of(score: float) -> str:
    """Return a sentence on what a correlation says about the simulated activations."""
    for least, degree in _DEGREES:
        if score >= least:
            return f"The simulated activations follow the real ones {degree}: {_shared(score)}."
    if score > -_DEGREES[-1][0]:
        return f"The simulated activations have next to nothing to do with the real ones: {_shared(score)}."
    return (
        "The simulated activations run against the real ones: "
        "where the explanation expects activity, the neuron tends to be less active."
    )


def _shared(score: float) -> str:
    percent = score * score * 100
    amount = "less than 1 %" if percent < 1 else f"{percent:.0f} %"
    return f"they share {amount} of their variation"


def why_undefined(real: Floats, simulated: Floats) -> str:
    """Return why a correlation of these values has no value, as the rest of a sentence."""
    if not len(real):
        return "there are no values"
    constant = [name for name, values in (("real", real), ("simulated", simulated)) if np.ptp(values) == 0]
    if len(constant) == 2:
        return "neither the real nor the simulated activations vary"
    if constant:
        return f"the {constant[0]} activations do not vary"
    return "the source gives none"
