"""Querysets whose SQL is written once: a query of several joins takes Django longer to write than databases to answer.

A prepared query is built by a function of its parameters, as any queryset is, and gives ordinary instances:

    of_neuron = Prepared(lambda neuron: Explanation.objects.filter(neuron=neuron), int)
    rows = of_neuron(neuron.pk)

A parameter is compared with a column as it is: a whole number or a text.

PostgreSQL too plans such a query once, and not each time it comes: `fetch_prepared`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from django.db import DEFAULT_DB_ALIAS, connections, models
from django.db.models.base import ModelState
from django.db.models.query import get_related_populators

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.backends.utils import CursorWrapper

Row = TypeVar("Row", bound=models.Model)

LARGEST = 2**63 - 1
"""A whole number above it is in no column, and an error to both databases."""
_FIRST_MARK = 31_900
"""Stands for the first parameter while the SQL is written: the smallest column holds it, and no query has it."""


def fetch_prepared(
    connection: BaseDatabaseWrapper, sql: str, parameters: Sequence[Any], *, has_json: bool = False
) -> list[Any]:
    """Return the rows of SQL that is the same each time but for its parameters; `has_json`: a column of it is JSON."""
    is_watched = connection.queries_logged or connection.execute_wrappers
    if not is_watched and connection.vendor in _QUICKEST:
        return _fetch_without_django(connection, sql, parameters, has_json)
    with _prepared_cursor(connection) as cursor:
        cursor.execute(sql, parameters)
        found: list[Any] = cursor.fetchall()
        return found


def _fetch_without_django(
    connection: BaseDatabaseWrapper, sql: str, parameters: Sequence[Any], has_json: bool
) -> list[Any]:
    """Return the rows without a cursor of Django's, but for what is checked before one is made."""
    connection.close_if_health_check_failed()
    connection.ensure_connection()
    connection.validate_thread_sharing()
    connection.validate_no_broken_transaction()
    with connection.wrap_database_errors:
        return _QUICKEST[connection.vendor](connection, sql, parameters, has_json)


def _fetch_from_sqlite(
    connection: BaseDatabaseWrapper, sql: str, parameters: Sequence[Any], _has_json: bool
) -> list[Any]:
    # Django rewrites SQL each time, which takes longer than the answer.
    found: list[Any] = connection.connection.execute(_sqlite_form(sql), parameters).fetchall()
    return found


def _fetch_from_postgresql(
    connection: BaseDatabaseWrapper, sql: str, parameters: Sequence[Any], has_json: bool
) -> list[Any]:
    with connection.Database.Cursor(connection.connection) as cursor:  # type: ignore[attr-defined]
        # As text, packed data would be twice as long. Django wants JSON as text.
        found: list[Any] = cursor.execute(sql, parameters, binary=not has_json).fetchall()
        return found


_QUICKEST = {"sqlite": _fetch_from_sqlite, "postgresql": _fetch_from_postgresql}


@lru_cache(maxsize=64)
def _sqlite_form(sql: str) -> str:
    return sql.replace("%s", "?").replace("%%", "%")


def _prepared_cursor(connection: BaseDatabaseWrapper) -> CursorWrapper:
    """Return a cursor that sends parameters apart from the SQL.

    So PostgreSQL plans it once a connection, where the settings have statements prepared: planning takes longer than
    what a neuron's page asks for. Django's own cursors write parameters into the SQL.
    """
    if connection.vendor == "postgresql":
        connection.ensure_connection()
        psycopg_connection, usual = connection.connection, connection.connection.cursor_factory
        psycopg_connection.cursor_factory = connection.Database.Cursor  # type: ignore[attr-defined]
        try:
            return connection.cursor()
        finally:
            psycopg_connection.cursor_factory = usual
    return connection.cursor()


def number_list(vendor: str, numbers: Iterable[int]) -> tuple[str, str]:
    """Return whole numbers as a source of rows with a column `value`, and its parameter: of any number of them one, so
    that the SQL is the same.
    """
    listed = ",".join(map(str, numbers))
    if vendor == "postgresql":
        return "unnest(%s::bigint[]) AS wanted(value)", f"{{{listed}}}"
    return "json_each(%s) AS wanted", f"[{listed}]"


class Prepared(Generic[Row]):
    """A query that is written at its first use, and run with other parameters from then on."""

    def __init__(self, build: Callable[..., models.QuerySet[Row]], *kinds: type[int] | type[str]) -> None:
        """`kinds` are those of the parameters that `build` takes."""
        self._build = build
        self._kinds = kinds
        self._written: dict[str, _Written[Row]] = {}

    def __call__(self, *given: int | str, using: str = DEFAULT_DB_ALIAS) -> list[Row]:
        """Return the rows. One query."""
        if any(isinstance(value, int) and abs(value) > LARGEST for value in given):
            return []
        if using not in self._written:
            marks = [_FIRST_MARK + n if kind is int else f"mark {n}" for n, kind in enumerate(self._kinds)]
            self._written[using] = _Written(self._build(*marks), marks, using)
        return self._written[using].run(given)


class _Written(Generic[Row]):
    """A query's SQL, and how its rows become instances: what Django's ModelIterable makes anew each time."""

    def __init__(self, rows: models.QuerySet[Row], marks: list[int | str], using: str) -> None:
        compiler = rows.query.get_compiler(using)
        self.using = using
        self.sql, parameters = compiler.as_sql()
        self.parameters = [(marks.index(p) if p in marks else None, p) for p in parameters]
        assert {place for place, _ in self.parameters if place is not None} == set(range(len(marks))), self.sql
        select, found = compiler.select, compiler.klass_info
        assert select is not None
        assert found is not None
        self.model: type[Row] = found["model"]
        self.columns = slice(found["select_fields"][0], found["select_fields"][-1] + 1)
        self.names = [column.target.attname for column, *_ in select[self.columns]]
        self.maker = _Maker(self.model)
        populators: Any = get_related_populators(found, select, using)  # type: ignore[call-arg]  # stubs of Django 6
        self.related = _quickened(populators)
        self.annotations = dict(compiler.annotation_col_map or {})
        self.converters = compiler.get_converters([column for column, *_ in select])
        self.convert = compiler.apply_converters
        self.has_json = any(isinstance(getattr(column, "target", None), models.JSONField) for column, *_ in select)

    def run(self, given: tuple[int | str, ...]) -> list[Row]:
        parameters = [value if place is None else given[place] for place, value in self.parameters]
        found: Any = fetch_prepared(connections[self.using], self.sql, parameters, has_json=self.has_json)
        return [self._instance(row) for row in (self.convert(found, self.converters) if self.converters else found)]

    def _instance(self, row: Any) -> Row:
        instance: Row = self.maker.from_db(self.using, self.names, row[self.columns])
        for part in self.related:
            part.populate(row, instance)
        for name, place in self.annotations.items():
            setattr(instance, name, row[place])
        return instance


class _Maker(Generic[Row]):
    """Makes a model's instances as `Model.from_db` does, in less time: without `__init__` and its signals.

    What an instance has after it is the same: the values of the fields that were read, and where they came from.
    """

    def __init__(self, model: type[Row]) -> None:
        self._model = model

    def from_db(self, using: str, names: Sequence[str], values: Iterable[Any]) -> Row:
        instance = self._model.__new__(self._model)
        instance._state = state = ModelState()
        state.adding, state.db = False, using
        instance.__dict__.update(zip(names, values, strict=True))
        return instance


def _quickened(populators: list[Any]) -> list[Any]:
    """Return what reads related rows, with makers in place of the models."""
    for populator in populators:
        populator.model_cls = _Maker(populator.model_cls)
        _quickened(populator.related_populators)
    return populators
