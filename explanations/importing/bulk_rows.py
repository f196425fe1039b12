"""Rows written in bulk, past the ORM: an import writes two million of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import chain
from typing import Any

from django.db import IntegrityError, connection, models, transaction
from django.db.backends.utils import CursorWrapper

from explanations.models import ActivationSet, Excerpt, Explanation, Neuron, RelatedSet, Simulation

Row = tuple[Any, ...]

_WORTH_COPYING = 1_000
"""Excerpts of a model that has none, as its first neurons bring: PostgreSQL copies them in half the time that it takes
where it looks for each of them first."""


def insert_rows(model: type[models.Model], fields: Sequence[str], rows: Sequence[Row]) -> None:
    """Insert rows of values of these fields (a foreign key by its `_id` name); the other fields get their defaults."""
    if not rows:
        return
    defaults = _defaults(model, {model._meta.get_field(name).name for name in fields})
    quote = connection.ops.quote_name
    columns = ", ".join(quote(_column(model, name)) for name in (*fields, *defaults))
    target = f"{quote(model._meta.db_table)} ({columns})"
    rest = tuple(defaults.values())
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            with connection.wrap_database_errors, cursor.copy(f"COPY {target} FROM STDIN (FORMAT BINARY)") as copy:
                copy.set_types([_binary_type(model, name) for name in (*fields, *defaults)])
                for row in rows:
                    copy.write_row(row + rest)
        else:
            _insert_several(cursor, target, [row + rest for row in rows])


def _insert_several(cursor: CursorWrapper, target: str, rows: Sequence[Row], insert: str = "INSERT") -> int:
    """Insert rows by statements of many, and return how many came in.

    Where there are triggers, SQLite copies each page that a statement changes.
    """
    width, inserted = len(rows[0]) if rows else 1, 0
    size = max(1, (connection.features.max_query_params or 999) // width)
    place = f"({', '.join(['%s'] * width)})"
    for start in range(0, len(rows), size):
        part = rows[start : start + size]
        places = ", ".join([place] * len(part))
        cursor.execute(f"{insert} INTO {target} VALUES {places}", list(chain.from_iterable(part)))
        inserted += cursor.rowcount
    return inserted


def insert_excerpts(model_id: int, tokens: Mapping[int, bytes]) -> int:
    """Insert a model's excerpts, by key, and return how many were new.

    Those that are there already, or come from elsewhere meanwhile, are left.
    """
    # By key: whoever inserts the same ones at the same time waits, and no deadlock comes.
    keys = sorted(tokens)
    if connection.vendor == "postgresql":
        if len(keys) >= _WORTH_COPYING and not _has_excerpts(model_id):
            # Others may insert the same meanwhile.
            with suppress(IntegrityError), transaction.atomic():
                insert_rows(Excerpt, ("model_id", "key", "tokens"), [(model_id, key, tokens[key]) for key in keys])
                return len(keys)
        return _insert_excerpts_as_arrays(model_id, keys, [tokens[key] for key in keys])
    rows = [(model_id, key, tokens[key]) for key in keys]
    with connection.cursor() as cursor:
        return _insert_several(cursor, "explanations_excerpt (model_id, key, tokens)", rows, "INSERT OR IGNORE")


def _has_excerpts(model_id: int) -> bool:
    return Excerpt.objects.filter(model_id=model_id).exists()


def _insert_excerpts_as_arrays(model_id: int, keys: Sequence[int], tokens: Sequence[bytes]) -> int:
    connection.ensure_connection()
    # Not Django's cursor: that one writes values as text into the statement.
    driver = connection.Database  # type: ignore[attr-defined]  # each vendor has it
    with connection.wrap_database_errors, driver.Cursor(connection.connection) as cursor:
        cursor.execute(
            "INSERT INTO explanations_excerpt (model_id, key, tokens)"
            " SELECT %s, * FROM unnest(%b::bigint[], %b::bytea[]) ON CONFLICT DO NOTHING",
            [model_id, keys, tokens],
        )
        inserted: int = cursor.rowcount
        return inserted


def _field(model: type[models.Model], name: str) -> models.Field[Any, Any]:
    field = model._meta.get_field(name)
    assert isinstance(field, models.Field)
    return field


def _column(model: type[models.Model], name: str) -> str:
    column = _field(model, name).column
    assert column is not None
    return column


def _binary_type(model: type[models.Model], name: str) -> str:
    """Return the name of a field's type in PostgreSQL, without its length."""
    declared = _field(model, name).db_type(connection)
    assert declared is not None
    return declared.partition("(")[0]


def _defaults(model: type[models.Model], given: set[str]) -> dict[str, Any]:
    """Return the defaults of fields that neither rows nor the database fill, as the database's driver takes them."""
    fields = [
        field
        for field in model._meta.concrete_fields
        if field.name not in given and not (field.null or field.primary_key or field.has_db_default())
    ]
    return {field.name: field.get_db_prep_save(field.get_default(), connection) for field in fields}


def reserve_ids(model: type[models.Model], count: int) -> Sequence[int]:
    """Return primary keys that no row has, for rows about to be inserted in this transaction.

    So rows can refer to each other before they are written, and nothing has to be read back.
    """
    table = model._meta.db_table
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(
                # OFFSET 0: the sequence is looked up once, and not for every row.
                "SELECT nextval(name) FROM (SELECT pg_get_serial_sequence(%s, 'id')::regclass AS name OFFSET 0) AS its"
                ", generate_series(1, %s)",
                [table, count],
            )
            return [pk for (pk,) in cursor.fetchall()]
        # SQLite: transactions that write are taken in turn, so nobody else can take these.
        cursor.execute("SELECT seq FROM sqlite_sequence WHERE name = %s", [table])
        row = cursor.fetchone()
        first = (row[0] if row else 0) + 1
        return range(first, first + count)


_LOOKED_FOR: dict[type[models.Model], tuple[str, ...]] = {
    Neuron: (
        *("id", "model_id", "layer", "index", "max_activation", "kurtosis", "headline_id", "headline_score"),
        *("explanation_count", "open_flag_count"),
    ),
    ActivationSet: ("neuron_id",),
    RelatedSet: ("neuron_id",),
    Excerpt: ("model_id", "key"),
    Explanation: (
        *("id", "neuron_id", "model_id", "layer", "source", "state", "score", "dataset_position"),
        *("parent_id", "author_id", "job_id", "search_stems", "search_words"),
    ),
    Simulation: ("explanation_id", "simulator"),
}
"""The columns of imported tables that queries compare, join or sort by: plans depend on no others."""


def analyse_tables() -> None:
    """Let PostgreSQL count what the imported tables hold now; SQLite plans without.

    A third of the time goes to columns that no plan asks about; they are left out.
    """
    if connection.vendor != "postgresql":
        return
    quote = connection.ops.quote_name
    tables = [f"{quote(table._meta.db_table)} ({', '.join(map(quote, names))})" for table, names in _LOOKED_FOR.items()]
    with connection.cursor() as cursor:
        cursor.execute(f"ANALYZE {', '.join(tables)}")
