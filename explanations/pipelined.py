"""Several statements on their way to PostgreSQL at once, by libpq's pipeline.

psycopg has pipelines too, but its cursors prepare, wait and convert each for itself there: four statements take hardly
less time in one than one after another.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from itertools import count
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import psycopg
from psycopg.adapt import Transformer
from psycopg.pq import ConnStatus, ExecStatus, Format
from psycopg.waiting import Wait

from explanations.statements import Question, check_ready

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper
    from psycopg.pq.abc import PGconn, PGresult

_NAMES: WeakKeyDictionary[psycopg.Connection[Any], dict[str, bytes]] = WeakKeyDictionary()
"""Of the statements that each connection has prepared for pipelines, by their SQL."""


def send(database: BaseDatabaseWrapper, questions: Sequence[Question[Any]]) -> Sent | None:
    """Send questions; None where they are to be asked one by one.

    That is so in a transaction, which psycopg begins with its first statement, where the settings have no statements
    prepared (a pooler between may not allow it), and where something fails, which then says so itself.
    """
    check_ready(database)
    connection: psycopg.Connection[Any] = database.connection
    if connection.prepare_threshold is None or not connection.autocommit or not psycopg.Pipeline.is_supported():
        return None
    parameters = [[str(value).encode() for value in question.parameters] for question in questions]
    # As a cursor that asks one by one has them.
    forms = [Format.TEXT if question.has_json else Format.BINARY for question in questions]
    try:
        names = [_prepared_name(connection, question.sql) for question in questions]
        connection.pgconn.enter_pipeline_mode()
        for name, values, form in zip(names, parameters, forms, strict=True):
            connection.pgconn.send_query_prepared(name, values, result_format=form)
        connection.pgconn.pipeline_sync()
        if connection.pgconn.flush():
            connection.wait(_flush(connection.pgconn))
    except psycopg.Error:
        _forget(connection)
        return None
    return Sent(connection, questions)


class Sent:
    """Questions on their way."""

    def __init__(self, connection: psycopg.Connection[Any], questions: Sequence[Question[Any]]) -> None:
        self._connection = connection
        self._questions = questions

    def receive(self) -> None:
        """Give the questions their rows; where something failed they stay open, and are to be asked one by one."""
        connection = self._connection
        try:
            results = connection.wait(_receive(connection.pgconn))
            connection.pgconn.exit_pipeline_mode()
        except psycopg.Error:
            # The connection is lost, which who asks next is told.
            return
        if [result.status for result in results] != [ExecStatus.TUPLES_OK] * len(self._questions):
            _forget(connection)
            return
        for question, result in zip(self._questions, results, strict=True):
            question.take(_rows(connection, result))


def _rows(connection: psycopg.Connection[Any], result: PGresult) -> list[tuple[Any, ...]]:
    transformer = Transformer(connection)
    transformer.set_pgresult(result)
    return transformer.load_rows(0, result.ntuples, tuple)


def _flush(pgconn: PGconn) -> Generator[Wait, Any, None]:
    while pgconn.flush():
        # Reading too: PostgreSQL takes no more while nobody takes its answers.
        if (yield Wait.RW) & Wait.R:
            pgconn.consume_input()


def _receive(pgconn: PGconn) -> Generator[Wait, Any, list[PGresult]]:
    """Return the results of all statements up to the end of what was sent."""
    results: list[PGresult] = []
    while True:
        while pgconn.is_busy():
            yield Wait.R
            pgconn.consume_input()
        result = pgconn.get_result()
        # None parts the statements' results, and stays where the connection is lost.
        if result is not None:
            if result.status == ExecStatus.PIPELINE_SYNC:
                return results
            results.append(result)
        elif pgconn.status != ConnStatus.OK:
            return results


# Statements that are prepared

_numbers = count()


def _prepared_name(connection: psycopg.Connection[Any], sql: str) -> bytes:
    """Return the name of a statement that this connection has prepared; it does so at its first use."""
    names = _NAMES.setdefault(connection, {})
    name = names.get(sql)
    if name is None:
        # Never a name again: one that was forgotten may still be there.
        name = b"pipelined_%d" % next(_numbers)
        result = connection.pgconn.prepare(name, _numbered(sql))
        if result.status != ExecStatus.COMMAND_OK:
            raise psycopg.DatabaseError(result.get_error_message())
        names[sql] = name
    return name


def _forget(connection: psycopg.Connection[Any]) -> None:
    """Prepare anew: what was prepared may be gone, or not fit the tables any more."""
    _NAMES.pop(connection, None)


def _numbered(sql: str) -> bytes:
    """Return SQL with its parameters as PostgreSQL writes them: $1, $2."""
    first, *rest = sql.split("%s")
    numbered = first + "".join(f"${number}{part}" for number, part in enumerate(rest, 1))
    return numbered.replace("%%", "%").encode()
