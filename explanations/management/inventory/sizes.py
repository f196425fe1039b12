"""The room that an installation takes on the disk, by part."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from django.db import connection
from django.db.models import F

from explanations.models import ActivationSet, Simulation
from explanations.pipeline import packing

SAMPLE = 2000
"""Rows whose tokens are counted, spread over the table; all where there are no more."""
FULL_TEXT = ("explanations_stems", "explanations_words", "explanations_search_")
"""How the names of full-text tables (SQLite) and indexes (PostgreSQL) begin."""


@dataclass
class TableSize:
    """Bytes of one table."""

    table: int = 0
    indexes: int = 0
    full_text: int = 0

    @property
    def total(self) -> int:
        return self.table + self.indexes + self.full_text


@dataclass(frozen=True)
class DatabaseSizes:
    """Bytes of a database."""

    database: str
    total: int
    """of its file with its journal, or as PostgreSQL says; with what belongs to no table"""
    tables: dict[str, TableSize]
    """by name, the largest first"""
    tokens: int
    """of real and simulated activations, each as often as it is kept"""
    is_counted: bool
    """whether the tokens are counted, and not estimated from a sample"""

    @property
    def bytes_per_64_tokens(self) -> float | None:
        """All that the database takes, shared out among its activations; None without any."""
        return self.total * 64 / self.tokens if self.tokens else None

    @property
    def activation_bytes_per_64_tokens(self) -> float | None:
        """What the tables that hold activations take, with their indexes; None without any."""
        tables = (ActivationSet._meta.db_table, Simulation._meta.db_table)
        size = sum(self.tables[name].total for name in tables if name in self.tables)
        return size * 64 / self.tokens if self.tokens else None


def measure_database() -> DatabaseSizes:
    """Measure the configured database. SQLite reads its whole file for this, some seconds for each GB."""
    tables = _measure_sqlite() if connection.vendor == "sqlite" else _measure_postgresql()
    by_size = sorted(tables.items(), key=lambda item: (-item[1].total, item[0]))
    tokens, is_counted = count_tokens()
    return DatabaseSizes(
        database=str(connection.settings_dict["NAME"]),
        total=_total(),
        tables=dict(by_size),
        tokens=tokens,
        is_counted=is_counted,
    )


def _total() -> int:
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute("SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()")
            pages = int(cursor.fetchone()[0])
        journal = Path(f"{connection.settings_dict['NAME']}-wal")
        return pages + (journal.stat().st_size if journal.is_file() else 0)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_database_size(current_database())")
        return int(cursor.fetchone()[0])


def _measure_sqlite() -> dict[str, TableSize]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT s.name, coalesce(m.tbl_name, s.name), s.pgsize FROM dbstat s"
            " LEFT JOIN sqlite_master m ON m.name = s.name WHERE s.aggregate = TRUE"
        )
        return _gather(cursor.fetchall())


def _measure_postgresql() -> dict[str, TableSize]:
    with connection.cursor() as cursor:
        # A table with what it keeps out of line; its indexes by themselves.
        cursor.execute(
            "SELECT c.relname, c.relname, pg_table_size(c.oid) FROM pg_class c"
            " WHERE c.relkind = 'r' AND c.relnamespace = current_schema()::regnamespace"
            " UNION ALL SELECT i.relname, t.relname, pg_relation_size(i.oid) FROM pg_index x"
            " JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_class t ON t.oid = x.indrelid"
            " WHERE t.relnamespace = current_schema()::regnamespace"
        )
        tables = _gather(cursor.fetchall())
        # The search columns lie in the explanations' table.
        cursor.execute(
            "SELECT coalesce(sum(pg_column_size(search_stems) + pg_column_size(search_words)), 0)"
            " FROM explanations_explanation"
        )
        columns = int(cursor.fetchone()[0])
    explanations = tables["explanations_explanation"]
    explanations.table -= columns
    explanations.full_text += columns
    return tables


def _gather(rows: Iterable[tuple[str, str, int]]) -> dict[str, TableSize]:
    """Return sizes by table of rows (name, table, bytes): of a table, or of one of its indexes."""
    tables: defaultdict[str, TableSize] = defaultdict(TableSize)
    for name, table, size in rows:
        if name.startswith(FULL_TEXT):
            tables["explanations_explanation"].full_text += size
        elif name == table:
            tables[table].table += size
        else:
            tables[table].indexes += size
    return dict(tables)


def count_tokens() -> tuple[int, bool]:
    """Return the tokens of all real and simulated activations, and whether they are counted or estimated."""
    real, all_real = _sum_tokens(ActivationSet)
    simulated, all_simulated = _sum_tokens(Simulation)
    return real + simulated, all_real and all_simulated


def _sum_tokens(model: type[ActivationSet] | type[Simulation]) -> tuple[int, bool]:
    count = model.objects.count()
    step = max(1, count // SAMPLE)
    rows = model.objects.annotate(place=F("pk") % step).filter(place=0) if step > 1 else model.objects.all()
    counted = tokens = 0
    for data in rows.values_list("data", flat=True).iterator(200):
        counted += 1
        tokens += _tokens_of(model, data)
    if step == 1 or not counted:
        return tokens, step == 1
    return round(tokens / counted * count), False


def _tokens_of(model: type[ActivationSet] | type[Simulation], data: bytes | memoryview) -> int:
    if model is ActivationSet:
        return sum(len(record.activations) for record in packing.unpack_records(data)[0])
    # A simulation keeps its excerpts' real values itself where they are not among the neuron's records.
    return sum(
        len(sequence.simulated) + (0 if sequence.real is None else len(sequence.real))
        for sequence in packing.unpack_sequences(data)
    )
