"""How records become bytes: tokens, activations, simulations, related tokens and neurons."""

from explanations.pipeline.packing.errors import PackingError
from explanations.pipeline.packing.halves import MAX_TOKENS, Doubles, Lengths, excerpt_maxima, round_trip
from explanations.pipeline.packing.peak import pack_peak, unpack_peak
from explanations.pipeline.packing.planes import Planes, join_records, join_sequences, split_records, split_sequences
from explanations.pipeline.packing.records import (
    PackedRecord,
    RecordBatch,
    RecordTable,
    pack_record_batch,
    pack_record_table,
    pack_records,
    unpack_records,
)
from explanations.pipeline.packing.related import (
    NeuronColumns,
    RelatedColumns,
    TokenColumns,
    merge_related,
    pack_related,
    place_of,
    read_related,
    unpack_related,
)
from explanations.pipeline.packing.sequences import (
    SCORES,
    PackedSequence,
    SequenceTable,
    pack_sequence_table,
    pack_sequences,
    unpack_sequences,
)
from explanations.pipeline.packing.tokens import excerpt_key, pack_tokens, unpack_texts, unpack_tokens

__all__ = [
    "MAX_TOKENS",
    "SCORES",
    "Doubles",
    "Lengths",
    "NeuronColumns",
    "PackedRecord",
    "PackedSequence",
    "PackingError",
    "Planes",
    "RecordBatch",
    "RecordTable",
    "RelatedColumns",
    "SequenceTable",
    "TokenColumns",
    "excerpt_key",
    "excerpt_maxima",
    "join_records",
    "join_sequences",
    "merge_related",
    "pack_peak",
    "pack_record_batch",
    "pack_record_table",
    "pack_records",
    "pack_related",
    "pack_sequence_table",
    "pack_sequences",
    "pack_tokens",
    "place_of",
    "read_related",
    "round_trip",
    "split_records",
    "split_sequences",
    "unpack_peak",
    "unpack_records",
    "unpack_related",
    "unpack_sequences",
    "unpack_texts",
    "unpack_tokens",
]
