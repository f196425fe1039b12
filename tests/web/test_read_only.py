"""What visitors who are not signed in read comes from a database that cannot be written, such as a replica."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.db import DatabaseError, connection, transaction
from django.test import Client

from explanations.models import Explanation
from tests.world import World


@pytest.fixture
def read_only(world: World) -> Iterator[World]:
    """Let the database refuse every write from now on."""
    with transaction.atomic(), connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute("PRAGMA query_only = ON")
            yield world
            cursor.execute("PRAGMA query_only = OFF")
        else:
            cursor.execute("SET TRANSACTION READ ONLY")
            yield world
            # Going back to before makes it writable again.
            transaction.set_rollback(True)


@pytest.mark.parametrize(
    "address",
    [
        "/",
        "/tiny/",
        "/tiny/layers/0/",
        "/tiny/layers/0/?sort=score&text=days",
        "/tiny/layers/0/neurons/0/",
        "/tiny/layers/0/neurons/0/excerpts/?values=excerpts",
        "/search/?q=days",
        "/jobs/",
        "/accounts/sign-in/",
        "/api/docs",
        "/api/v1/models",
        "/api/v1/models/tiny/layers/0/neurons",
        "/api/v1/models/tiny/layers/0/neurons/0",
        "/api/v1/search?q=days",
    ],
)
def test_a_visitor_reads_from_a_database_that_refuses_writes(address: str, client: Client, read_only: World) -> None:
    assert client.get(address).status_code == 200
    assert client.get(address, headers={"HX-Request": "true"}).status_code == 200


def test_the_database_does_refuse_writes(read_only: World) -> None:
    with pytest.raises(DatabaseError), transaction.atomic():
        Explanation.objects.filter(pk=read_only.explanation.pk).update(text="written")
