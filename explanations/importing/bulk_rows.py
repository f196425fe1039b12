"""Rows written in bulk, past the ORM: an import writes two million of them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

from django.db import connection, models
from django.db.backends.utils import CursorWrapper

from explanations.models import ActivationSet, Excerpt, Explanation, Neuron, RelatedSet, Simulation

Row = tuple[Any, ...]


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
            with cursor.copy(f"COPY {target} FROM STDIN") as copy:
                for row in rows:
                    copy.write_row(row + rest)
        else:
            _insert_several(cursor, f"INSERT INTO {target}", [row + rest for row in rows])


def _insert_several(cursor: CursorWrapper, insert: str, rows: Sequence[Row]) -> None:
    """Insert rows by statements of many: where there are triggers, SQLite copies each page that a statement changes."""
    size = max(1, (connection.features.max_query_params or 999) // len(rows[0]))
    place = f"({', '.join(['%s'] * len(rows[0]))})"
    for start in range(0, len(rows), size):
        part = rows[start : start + size]
        places = ", ".join([place] * len(part))
        cursor.execute(f"{insert} VALUES {places}", list(chain.from_iterable(part)))


def find_excerpts(model_id: int, keys: Iterable[int]) -> set[int]:
    """Return those keys of a model's excerpts that are stored."""
    with connection.cursor() as cursor:
        # As one parameter: thousands would take longer than the query.
        if connection.vendor == "postgresql":
            sql = "SELECT key FROM explanations_excerpt WHERE model_id = %s AND key = ANY(%s)"
            cursor.execute(sql, [model_id, list(keys)])
        else:
            sql = (
                "SELECT key FROM explanations_excerpt WHERE model_id = %s AND key IN (SELECT value FROM json_each(%s))"
            )
            cursor.execute(sql, [model_id, json.dumps(list(keys))])
        return {key for (key,) in cursor.fetchall()}


def insert_excerpts(model_id: int, tokens: Mapping[int, bytes]) -> None:
    """Insert a model's excerpts, by key; those that are there already, or come from elsewhere meanwhile, are left."""
    if not tokens:
        return
    # By key: whoever inserts the same ones at the same time waits, and no deadlock comes.
    keys = sorted(tokens)
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            _insert_excerpts_as_they_are(cursor, model_id, keys, [tokens[key] for key in keys])
        else:
            insert = "INSERT OR IGNORE INTO explanations_excerpt (model_id, key, tokens)"
            _insert_several(cursor, insert, [(model_id, key, tokens[key]) for key in keys])


def _insert_excerpts_as_they_are(
    cursor: CursorWrapper, model_id: int, keys: Sequence[int], tokens: Sequence[bytes]
) -> None:
    """Insert excerpts past Django's cursor, which would write their bytes as text, twice as long."""
    from psycopg import Cursor

    with Cursor(cursor.connection) as binary:
        binary.execute(
            "INSERT INTO explanations_excerpt (model_id, key, tokens)"
            " SELECT %s, * FROM unnest(%b::bigint[], %b::bytea[]) ON CONFLICT DO NOTHING",
            [model_id, keys, tokens],
        )


def _column(model: type[models.Model], name: str) -> str:
    field = model._meta.get_field(name)
    assert isinstance(field, models.Field)
    assert field.column is not None
    return field.column


def _defaults(model: type[models.Model], given: set[str]) -> dict[str, Any]:
    """Return the defaults of fields that neither rows nor the database fill, as the database's driver takes them."""
    fields = [
        field
        for field in model._meta.concrete_fields
        if field.name not in given and not (field.null or field.primary_key or field.has_db_default())
    ]
    return {field.name: _prepared(field) for field in fields}


def _prepared(field: models.Field[Any, Any]) -> Any:
    default = field.get_default()
    if isinstance(field, models.JSONField):
        # As text: the driver's own wrapper of JSON is for statements, not for COPY.
        return json.dumps(default)
    return field.get_db_prep_save(default, connection)


def reserve_ids(model: type[models.Model], count: int) -> Sequence[int]:
    """Return primary keys that no row has, for rows about to be inserted in this transaction.

    So rows can refer to each other before they are written, and nothing has to be read back.
    """
    table = model._meta.db_table
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(
                "SELECT nextval(pg_get_serial_sequence(%s, 'id')) FROM generate_series(1, %s)", [table, count]
            )
            return [pk for (pk,) in cursor.fetchall()]
        # SQLite: transactions that write are taken in turn, so nobody else can take these.
        cursor.execute("SELECT seq FROM sqlite_sequence WHERE name = %s", [table])
        row = cursor.fetchone()
        first = (row[0] if row else 0) + 1
        return range(first, first + count)


def analyse_tables() -> None:
    """Let PostgreSQL count what the imported tables hold now; SQLite plans without."""
    if connection.vendor != "postgresql":
        return
    tables = (Neuron, ActivationSet, RelatedSet, Excerpt, Explanation, Simulation)
    with connection.cursor() as cursor:
        cursor.execute(f"ANALYZE {', '.join(connection.ops.quote_name(t._meta.db_table) for t in tables)}")
