"""SQL that is the same each time but for its parameters. What prepared queries and questions have of it, they test."""

from __future__ import annotations

import pytest
from django.db import DatabaseError, connection, connections, transaction
from django.test.utils import CaptureQueriesContext

from explanations.statements import fetch_prepared, number_list


def test_a_list_of_numbers_is_one_parameter(db: None) -> None:
    numbers = [-(2**63), 7, 2**63 - 1]
    source, listed = number_list(connection.vendor, numbers)
    found = fetch_prepared(connections["default"], f"SELECT value FROM {source} ORDER BY value", [listed])
    assert [value for (value,) in found] == numbers


def test_sql_is_read_as_djangos_cursors_read_it(db: None) -> None:
    sql, parameters = "SELECT 7 %% 4, %s, '100 %%'", ["a % and %s"]
    expected = [(3, "a % and %s", "100 %")]

    assert fetch_prepared(connections["default"], sql, parameters) == expected
    with CaptureQueriesContext(connection) as queries:
        assert fetch_prepared(connections["default"], sql, parameters) == expected
    assert len(queries) == 1


def test_errors_are_djangos(db: None) -> None:
    with pytest.raises(DatabaseError), transaction.atomic():
        fetch_prepared(connections["default"], "SELECT nothing FROM nowhere WHERE 1 = %s", [1])
    assert fetch_prepared(connections["default"], "SELECT 1", [])
