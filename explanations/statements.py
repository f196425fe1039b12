"""SQL that is the same each time but for its parameters: databases plan it once, and Django does not write it anew."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.backends.utils import CursorWrapper

Answer = TypeVar("Answer")

LARGEST = 2**63 - 1
"""A whole number above it is in no column, and an error to both databases."""


class Question(Generic[Answer]):
    """A statement and what is made of its rows: `answer`, once it is asked."""

    answer: Answer

    def __init__(
        self,
        sql: str,
        parameters: Sequence[int | str],
        read: Callable[[list[Any]], Answer],
        *,
        has_json: bool = False,
    ) -> None:
        """`has_json`: a column of it is JSON."""
        self.sql = sql
        self.parameters = parameters
        self.has_json = has_json
        self._read = read

    @classmethod
    def known(cls, answer: Answer) -> Question[Answer]:
        """Return a question whose answer is known, so that it is never asked."""
        question = cls("", (), lambda _: answer)
        question.answer = answer
        return question

    @property
    def is_open(self) -> bool:
        """Whether there is no answer yet."""
        return not hasattr(self, "answer")

    def ask(self, database: BaseDatabaseWrapper) -> Answer:
        """Return the answer. One query, if it is open; `asking.asked_together` asks several at once."""
        if self.is_open:
            self.take(fetch_prepared(database, self.sql, self.parameters, has_json=self.has_json))
        return self.answer

    def take(self, rows: list[Any]) -> None:
        """Make the answer of the rows."""
        self.answer = self._read(rows)


def fetch_prepared(
    connection: BaseDatabaseWrapper, sql: str, parameters: Sequence[Any], *, has_json: bool = False
) -> list[Any]:
    """Return the rows of SQL that is the same each time but for its parameters; `has_json`: a column of it is JSON."""
    if not is_watched(connection) and connection.vendor in _QUICKEST:
        return _fetch_without_django(connection, sql, parameters, has_json)
    with _prepared_cursor(connection) as cursor:
        cursor.execute(sql, parameters)
        found: list[Any] = cursor.fetchall()
        return found


def is_watched(connection: BaseDatabaseWrapper) -> bool:
    """Return whether queries are logged or wrapped, and so must go through a cursor of Django's."""
    return bool(connection.queries_logged or connection.execute_wrappers)


def check_ready(connection: BaseDatabaseWrapper) -> None:
    """Connect, and raise what a cursor of Django's raises before it is used."""
    connection.close_if_health_check_failed()
    connection.ensure_connection()
    connection.validate_thread_sharing()
    connection.validate_no_broken_transaction()


def _fetch_without_django(
    connection: BaseDatabaseWrapper, sql: str, parameters: Sequence[Any], has_json: bool
) -> list[Any]:
    """Return the rows without a cursor of Django's."""
    check_ready(connection)
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
