"""The tables of an installation, their rows as plain values, and digests to compare them by."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from django.apps import apps
from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models.expressions import Col

Row = tuple[Any, ...]
_BATCH = 500


@dataclass(frozen=True)
class Table:
    """A model's table, with the columns that are stored and not computed."""

    name: str
    fields: Sequence[models.Field[Any, Any]]

    @property
    def columns(self) -> list[str]:
        return [str(field.column) for field in self.fields]

    @property
    def sequence_column(self) -> str | None:
        """The column whose numbers the database gives out; None where there is none."""
        return next((str(field.column) for field in self.fields if isinstance(field, models.AutoField)), None)


def list_tables() -> list[Table]:
    """Return the tables of all installed apps, by name, those between models included."""
    found = {
        model._meta.db_table: [field for field in model._meta.concrete_fields if not field.generated]
        for model in apps.get_models(include_auto_created=True)
        if model._meta.managed and not model._meta.proxy
    }
    return [Table(name, fields) for name, fields in sorted(found.items())]


def count_rows(connection: BaseDatabaseWrapper, table: Table) -> int:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM {connection.ops.quote_name(table.name)}")  # noqa: S608
        (count,) = cursor.fetchone()
    return int(count)


def read_rows(connection: BaseDatabaseWrapper, table: Table) -> Iterator[Row]:
    """Yield a table's rows as Python values, whichever database they are in; JSON stays text, so that null is not NULL.

    Must run in a transaction: PostgreSQL sends the rows piece by piece only there.
    """
    quote = connection.ops.quote_name
    columns = ", ".join(quote(column) for column in table.columns)
    converters = [_converters(connection, field) for field in table.fields]
    with connection.chunked_cursor() as cursor:
        cursor.execute(f"SELECT {columns} FROM {quote(table.name)}")  # noqa: S608
        while rows := cursor.fetchmany(_BATCH):
            for row in rows:
                yield tuple([_convert(value, chain) for value, chain in zip(row, converters, strict=True)])


_Converter = Callable[[Any], Any]


def _converters(connection: BaseDatabaseWrapper, field: models.Field[Any, Any]) -> list[_Converter]:
    """Return what turns the driver's values of a column into Python's."""
    if isinstance(field, models.BinaryField):
        return [_bytes]
    if isinstance(field, models.JSONField):
        return []
    column = Col("", field)
    chain = [*connection.ops.get_db_converters(column), *field.get_db_converters(connection)]
    return [_bound(convert, column, connection) for convert in chain]


def _bound(convert: Callable[..., Any], column: Col, connection: BaseDatabaseWrapper) -> _Converter:
    return lambda value: convert(value, column, connection)


def _bytes(value: Any) -> bytes | None:
    return None if value is None else bytes(value)


def _convert(value: Any, chain: Sequence[_Converter]) -> Any:
    for convert in chain:
        value = convert(value)
    return value


@dataclass
class Digest:
    """What a table's rows come to, in whatever order they were read: databases sort texts differently."""

    table: Table
    count: int = 0
    sum: int = 0
    _json: list[bool] = field(init=False)

    def __post_init__(self) -> None:
        self._json = [isinstance(field, models.JSONField) for field in self.table.fields]

    def add(self, row: Row) -> None:
        whole = hashlib.blake2b(digest_size=16)
        for value, is_json in zip(row, self._json, strict=True):
            part = _canonical_json(value) if is_json and value is not None else _encoded(value)
            whole.update(len(part).to_bytes(8, "big"))
            whole.update(part)
        self.count += 1
        # Added, and not xored: a row that is there twice must not cancel itself out.
        self.sum = (self.sum + int.from_bytes(whole.digest(), "big")) % 2**128

    @property
    def text(self) -> str:
        return f"{self.sum:032x}"


def _encoded(value: Any) -> bytes:
    """Return a value as bytes that are the same from whichever database it came."""
    if isinstance(value, bytes):
        return b"b" + value
    if isinstance(value, datetime):
        value = value.astimezone(UTC).isoformat()
    elif isinstance(value, Decimal):
        value = f"{value.normalize():f}"
    return f"{type(value).__name__} {value!r}".encode()


def _canonical_json(text: str) -> bytes:
    """Return a JSON text's meaning: PostgreSQL keeps neither the order of keys, nor blanks, nor a minus before 0."""
    return b"j" + json.dumps(json.loads(text, parse_float=lambda digits: float(digits) + 0.0), sort_keys=True).encode()
