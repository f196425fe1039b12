"""Questions that are asked together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import DatabaseError, OperationalError, connection, transaction
from django.test.utils import CaptureQueriesContext

from explanations.asking import asked_together
from explanations.models import Explanation, Simulation
from explanations.neuron_page.explanations import explanations_of, simulations_of
from explanations.statements import Question, number_list
from tests.world import World, make_world

only_postgresql = pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite answers in this process")


@pytest.fixture
def lasting_world(transactional_db: None) -> Iterator[World]:
    """Return the world in a database whose transactions end: within one, PostgreSQL is asked one by one."""
    yield make_world()
    connection.close()


def number(value: int) -> Question[int]:
    return Question("SELECT CAST(%s AS integer) %% 100", [value], lambda rows: rows[0][0])


def broken() -> Question[list[Any]]:
    return Question("SELECT missing FROM nowhere WHERE 1 = %s", [1], list)


def prepared_names() -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT name FROM pg_prepared_statements WHERE name LIKE 'pipelined%'")
        return sorted(name for (name,) in cursor.fetchall())


def check_connection() -> None:
    """Check that questions and cursors are answered as ever."""
    asked = number(1), number(2)
    with asked_together(*asked):
        pass
    assert [question.answer for question in asked] == [1, 2]
    assert Explanation.objects.count() > 0


def test_answers_are_those_of_asking_one_by_one(lasting_world: World) -> None:
    neuron = lasting_world.hostile.pk
    explanations, simulations = explanations_of.question(neuron), simulations_of.question(neuron)
    done = []
    with asked_together(explanations, simulations):
        done.append("while they were answered")
    assert done
    assert explanations.answer == list(Explanation.objects.filter(neuron=neuron))
    (made,), (expected,) = simulations.answer, Simulation.objects.filter(explanation__neuron=neuron)
    for field in Simulation._meta.concrete_fields:
        assert getattr(made, field.attname) == getattr(expected, field.attname), field.name
        assert type(getattr(made, field.attname)) is type(getattr(expected, field.attname)), field.name


def test_sql_is_read_as_djangos_cursors_read_it(lasting_world: World) -> None:
    asked = Question("SELECT 7 %% 4, %s, '100 %%'", ["a % and %s"], list)
    with asked_together(asked):
        pass
    assert asked.answer == [(3, "a % and %s", "100 %")]


def test_what_is_known_is_not_asked(lasting_world: World) -> None:
    known = Question.known("this")
    with CaptureQueriesContext(connection) as queries, asked_together(known):
        pass
    assert not queries
    with asked_together(known):
        pass
    assert known.answer == "this"


def test_queries_are_counted_where_somebody_counts(lasting_world: World) -> None:
    asked = number(1), number(2)
    with CaptureQueriesContext(connection) as queries, asked_together(*asked):
        pass
    assert len(queries) == 2
    assert [question.answer for question in asked] == [1, 2]


def test_a_transaction_sees_what_it_has_written(lasting_world: World) -> None:
    neuron = lasting_world.hostile.pk
    with transaction.atomic():
        Explanation.objects.filter(neuron=neuron).update(text="written")
        asked = explanations_of.question(neuron)
        with asked_together(asked):
            pass
        transaction.set_rollback(True)
    assert {row.text for row in asked.answer} == {"written"}
    assert not Explanation.objects.filter(text="written")


def test_the_block_may_not_ask_for_itself(lasting_world: World) -> None:
    with pytest.raises(RuntimeError, match="asked_together"), asked_together(number(1)):
        Explanation.objects.count()
    with pytest.raises(RuntimeError, match="asked_together"), asked_together(number(1)):
        number(2).ask(connection)
    check_connection()


def test_the_blocks_error_is_raised(lasting_world: World) -> None:
    with pytest.raises(KeyError), asked_together(number(1), number(2)):
        raise KeyError
    check_connection()


@pytest.mark.parametrize("place", [0, 1, 2])
def test_errors_are_djangos(lasting_world: World, place: int) -> None:
    asked: list[Question[Any]] = [number(1), number(2)]
    asked.insert(place, broken())
    with pytest.raises(DatabaseError, match="nowhere"), asked_together(*asked):
        pass
    check_connection()


def test_an_error_of_the_data_is_djangos(lasting_world: World) -> None:
    asked = number(1), Question("SELECT 1 / (%s - 1)", [1], list)
    if connection.vendor == "postgresql":
        with pytest.raises(DatabaseError, match="zero"), asked_together(*asked):
            pass
    check_connection()


def test_a_long_question_has_a_long_answer(lasting_world: World) -> None:
    numbers = range(300_000)
    source, listed = number_list(connection.vendor, numbers)
    asked = [Question(f"SELECT value FROM {source} ORDER BY value", [listed], len) for _ in range(3)]
    with asked_together(*asked):
        pass
    assert [question.answer for question in asked] == [300_000] * 3


@only_postgresql
def test_postgresql_answers_while_python_works(lasting_world: World) -> None:
    from psycopg.pq import TransactionStatus

    check_connection()
    with asked_together(number(1), number(2)):
        assert connection.connection.pgconn.transaction_status == TransactionStatus.ACTIVE
    assert connection.connection.pgconn.transaction_status == TransactionStatus.IDLE


@only_postgresql
def test_postgresql_plans_a_question_once_a_connection(lasting_world: World) -> None:
    check_connection()
    before = prepared_names()
    check_connection()
    assert before == prepared_names() != []


@only_postgresql
def test_what_was_prepared_may_be_gone(lasting_world: World) -> None:
    check_connection()
    before = prepared_names()
    with connection.cursor() as cursor:
        cursor.execute("DEALLOCATE ALL")
    check_connection()
    check_connection()
    assert prepared_names() not in ([], before)


@only_postgresql
def test_a_table_may_change(lasting_world: World) -> None:
    asked = [Question("SELECT * FROM changing WHERE number = %s", [1], list) for _ in range(2)]
    with connection.cursor() as cursor:
        cursor.execute("CREATE TEMPORARY TABLE changing AS SELECT 1 AS number")
        with asked_together(asked[0]):
            pass
        cursor.execute("ALTER TABLE changing ADD COLUMN more integer DEFAULT 2")
        with asked_together(asked[1]):
            pass
        cursor.execute("DROP TABLE changing")
    assert [question.answer for question in asked] == [[(1,)], [(1, 2)]]


@pytest.fixture
def other_connection(lasting_world: World) -> Iterator[Any]:
    """Give a connection to the same database, which the pool does not know."""
    import psycopg

    with psycopg.connect(connection.connection.info.dsn, autocommit=True) as other:
        yield other


@only_postgresql
def test_a_connection_that_is_lost_meanwhile_is_said_and_made_anew(other_connection: Any) -> None:
    check_connection()
    other_connection.execute("SELECT pg_advisory_lock(7)")
    waiting = Question("SELECT pg_advisory_lock(%s)", [7], list)
    with pytest.raises(OperationalError), asked_together(number(1), waiting, number(2)):
        other_connection.execute("SELECT pg_terminate_backend(%s, 5000)", [connection.connection.info.backend_pid])
    connection.close()
    check_connection()


@only_postgresql
def test_a_connection_that_was_lost_before_is_said_and_made_anew(other_connection: Any) -> None:
    check_connection()
    other_connection.execute("SELECT pg_terminate_backend(%s, 5000)", [connection.connection.info.backend_pid])
    with pytest.raises(OperationalError), asked_together(number(1), number(2)):
        pass
    connection.close()
    check_connection()


@only_postgresql
def test_nothing_is_prepared_where_a_pooler_may_be_between(lasting_world: World) -> None:
    usual, connection.connection.prepare_threshold = connection.connection.prepare_threshold, None
    try:
        before = prepared_names()
        asked = Question("SELECT %s + 0", [1], list)
        with asked_together(asked):
            pass
        assert asked.answer == [(1,)]
        assert prepared_names() == before
    finally:
        connection.connection.prepare_threshold = usual
