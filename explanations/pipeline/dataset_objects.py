"""The objects of the public files as they stand in JSON. Those with many arrays are read in pieces."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Generic, Literal, TypeAlias, TypeVar

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from explanations.pipeline.array_cutting import Arrays, Cutter
from explanations.pipeline.json_reading import BrokenFileError, decode

Scale: TypeAlias = Literal["neuron_activations", "simulated_normalized_activations"]
T = TypeVar("T")
Place: TypeAlias = Annotated[int, Meta(ge=0)]
"""of an array that was cut out of the file"""
Tokens = TypeVar("Tokens")
"""`Raw`, or `Place`"""
Numbers = TypeVar("Numbers")
"""`list[float]`, or `Place`"""
Built = TypeVar("Built")


# The files' objects. Both names of a field that was renamed; unknown fields are left aside.


class NeuronId(Struct):
    layer_index: int | str | UnsetType = UNSET
    neuron_index: int | UnsetType = UNSET
    layer: int | str | UnsetType = UNSET
    idx: int | UnsetType = UNSET


class ActivationRecord(Struct, Generic[Tokens, Numbers]):
    tokens: Tokens
    activations: Numbers


class NeuronRecord(Struct, Generic[Tokens, Numbers]):
    neuron_id: NeuronId
    random_sample: list[ActivationRecord[Tokens, Numbers]]
    most_positive_activation_records: list[ActivationRecord[Tokens, Numbers]]
    random_sample_by_quantile: list[list[ActivationRecord[Tokens, Numbers]]] | None = None
    quantile_boundaries: list[float] | None = None
    mean: float | None = None
    variance: float | None = None
    skewness: float | None = None
    kurtosis: float | None = None
    most_negative_activation_records: list[ActivationRecord[Tokens, Numbers]] | None = None
    """of signed neurons; the public files do not have it"""


class SequenceSimulation(Struct, Generic[Tokens, Numbers]):
    tokens: Tokens
    expected_activations: Numbers
    activation_scale: Scale | UnsetType = UNSET
    unit: Scale | UnsetType = UNSET


class ScoredSequence(Struct, Generic[Tokens, Numbers]):
    true_activations: Numbers
    simulation: SequenceSimulation[Tokens, Numbers] | UnsetType = UNSET
    sequence_simulation: SequenceSimulation[Tokens, Numbers] | UnsetType = UNSET
    ev_correlation_score: float | None = None
    rsquared_score: float | None = None
    absolute_dev_explained_score: float | None = None


class ScoredSimulation(Struct, Generic[Tokens, Numbers]):
    scored_sequence_simulations: list[ScoredSequence[Tokens, Numbers]]
    ev_correlation_score: float | None = None
    rsquared_score: float | None = None
    absolute_dev_explained_score: float | None = None


class ScoredExplanation(Struct, Generic[Tokens, Numbers]):
    scored_simulation: ScoredSimulation[Tokens, Numbers] | None
    explanation: Raw | UnsetType = UNSET
    explanation_or_baseline: Raw | UnsetType = UNSET


class SimulationResults(Struct, Generic[Tokens, Numbers]):
    neuron_id: NeuronId
    scored_explanations: list[ScoredExplanation[Tokens, Numbers]] | UnsetType = UNSET
    scored_explanation_or_baseline_list: list[ScoredExplanation[Tokens, Numbers]] | UnsetType = UNSET


class TokenAverages(Struct):
    tokens: Raw
    average_activations: list[float | None]


class TokenStrengths(Struct):
    tokens: Raw
    strengths: list[float | None]


class WeightTokens(Struct):
    input_positive: TokenStrengths
    input_negative: TokenStrengths
    output_positive: TokenStrengths
    output_negative: TokenStrengths


class NeuronSide(Struct):
    top_positive_neurons: list[str]
    top_positive_weights: list[float]
    top_negative_neurons: list[str]
    top_negative_weights: list[float]


class RelatedNeurons(Struct):
    c_fc: NeuronSide | None = None
    c_proj: NeuronSide | None = None


averages_decoder = msgspec.json.Decoder(TokenAverages)
weights_decoder = msgspec.json.Decoder(WeightTokens)
neurons_decoder = msgspec.json.Decoder(RelatedNeurons)


# Files that are read in pieces


class CutFile(Generic[T]):
    """A kind of file that is read in pieces: its skeleton, and its arrays."""

    def __init__(self, whole: Any, skeleton: type[T], cutter: Cutter) -> None:
        self._whole = msgspec.json.Decoder(whole)
        self._skeleton = msgspec.json.Decoder(skeleton)
        self._cutter = cutter

    def read(self, data: bytes, build: Callable[[T, Arrays], Built]) -> Built:
        """Return what `build` makes of a file. BrokenFileError where the file does not fit, or from `build`."""
        try:
            skeleton, arrays = self._cutter.cut(data)
            return self._build(self._skeleton.decode(skeleton), arrays, build)
        except (ValueError, RecursionError):
            # It is broken, or written in an unusual way. Read as a whole, it tells which.
            file = decode(self._whole, data)
        skeleton, arrays = self._cutter.cut(msgspec.json.encode(file))
        try:
            places = self._skeleton.decode(skeleton)
        except msgspec.ValidationError:
            # All but the tokens' form is known to be right.
            raise BrokenFileError("tokens are not a list of texts") from None
        return self._build(places, arrays, build)

    def _build(self, skeleton: T, arrays: Arrays, build: Callable[[T, Arrays], Built]) -> Built:
        built = build(skeleton, arrays)
        arrays.check_taken()
        return built


RECORD_FILE = CutFile(NeuronRecord[Raw, list[float]], NeuronRecord[Place, Place], Cutter("activations"))
RESULTS_FILE = CutFile(
    SimulationResults[Raw, list[float]],
    SimulationResults[Place, Place],
    Cutter("expected_activations", alone="true_activations"),
)
