"""Questions that are asked together, and answered while Python works.

A neuron's page asks four, and PostgreSQL's answers are longer on their way than in the making. SQLite answers in this
process, and is asked one after another.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from django.db import DEFAULT_DB_ALIAS, connections

from explanations.statements import Question, is_watched


@contextmanager
def asked_together(*questions: Question[Any], using: str = DEFAULT_DB_ALIAS) -> Iterator[None]:
    """Ask questions, each of which has its `answer` after the block; the block is what Python does meanwhile.

    The block must not ask the database for anything (RuntimeError), since the connection is in use.
    """
    database = connections[using]
    asked = [question for question in questions if question.is_open]
    sent = None
    if asked and database.vendor == "postgresql" and not is_watched(database):
        from explanations import pipelined

        sent = pipelined.send(database, asked)
    try:
        with database.execute_wrapper(_refuse):
            yield
    finally:
        if sent is not None:
            sent.receive()
    for question in asked:
        question.ask(database)


def _refuse(*_: Any) -> NoReturn:
    raise RuntimeError("A query in the block of asked_together: ask it together with the others, or after them.")
