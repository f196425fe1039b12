"""`manage.py copy_database`: every row from SQLite to PostgreSQL, compared, or none at all."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.core.management import CommandError, call_command
from django.db import connection

from explanations.management.copying.copier import Copier
from explanations.management.copying.tables import Digest, Table, list_tables, read_rows
from explanations.models import Explanation, Flag, Job, LayerGaps, Neuron, Simulation, SubjectModel
from explanations.results import find_explanations
from explanations.search import Criteria
from explanations.search_query import parse_query

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.skipif("sqlite" in settings.DATABASES["default"]["ENGINE"], reason="copies to PostgreSQL"),
]

_FILL = """
import django
django.setup()
from datetime import timedelta
from django.contrib.sessions.models import Session
from django.core.management import call_command
from django.utils import timezone
from explanations import review
from explanations.models import Explanation, Flag, Job, LayerGaps, Neuron, Simulation
from explanations.statistics import refresh_statistics
from tests.world import make_world
call_command("migrate", verbosity=0)
world = make_world()
refresh_statistics(world.model.pk)
Flag.objects.create(explanation=world.explanation, reporter=world.reader, reason="vague", note="two\\nlines")
Job.objects.create(neuron=world.neuron, explainer="a", simulator="b", requested_by=world.explainer,
                   options={"b": [1, -0.0, 1e-7], "a": None}, cost_usd="0.000123")
Session.objects.create(session_key="b" * 32, session_data="x", expire_date=timezone.now() + timedelta(days=1))
Session.objects.create(session_key="A" * 32, session_data="y", expire_date=timezone.now() + timedelta(days=1))
LayerGaps.objects.create(model=world.model, layer=1, kind="explanations", ranges=[[1, 3]])
Explanation.objects.create(neuron=world.neuron, text="gone", source="human").delete()
"""


@pytest.fixture(scope="session")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an SQLite database with something of everything."""
    folder = tmp_path_factory.mktemp("source")
    path = folder / "source.sqlite3"
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "neuronviewer.settings",
        "NEURONVIEWER_DATA": str(folder),
        "DATABASE_URL": f"sqlite:///{path}",
    }
    subprocess.run([sys.executable, "-c", _FILL], check=True, env=environment, cwd=settings.BASE_DIR)
    return path


@pytest.fixture
def source(filled: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(filled, tmp_path / "source.sqlite3"))


def copy(source: Path) -> str:
    out = StringIO()
    call_command("copy_database", source=f"sqlite:///{source}", stdout=out)
    return out.getvalue()


def change(source: Path, *statements: str) -> None:
    with closing(sqlite3.connect(source)) as database:
        for statement in statements:
            database.execute(statement)
        database.commit()


def fetch(source: Path, statement: str) -> list[Any]:
    with closing(sqlite3.connect(source)) as database:
        return database.execute(statement).fetchall()


def indexes() -> set[tuple[str, str]]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = current_schema()")
        return set(cursor.fetchall())


def test_every_row_of_every_table_is_copied(source: Path) -> None:
    said = copy(source)
    for table in list_tables():
        ((count,),) = fetch(source, f'SELECT count(*) FROM "{table.name}"')
        with connection.cursor() as cursor:
            cursor.execute(f'SELECT count(*) FROM "{table.name}"')
            assert cursor.fetchone() == (count,), table.name
        assert f"{table.name:<40}{count:>12,} rows the same" in said
    assert "the same in both databases" in said
    # Something of everything was there.
    for model in (User, Session, Flag, Job, LayerGaps, Neuron, Explanation, Simulation):
        assert model.objects.exists()


def test_values_arrive_as_they_were(source: Path) -> None:
    copy(source)
    job = Job.objects.get()
    assert (job.options, job.cost_usd, job.requested_by.username) == (
        {"a": None, "b": [1, 0.0, 1e-7]},
        Decimal("0.000123"),
        "explainer",
    )
    assert Flag.objects.get().note == "two\nlines"
    (created,) = fetch(source, "SELECT created_at FROM explanations_job")[0]
    assert job.created_at == datetime.fromisoformat(created).replace(tzinfo=UTC)
    (password,) = fetch(source, "SELECT password FROM auth_user WHERE username = 'reader'")[0]
    assert User.objects.get(username="reader").password == password
    assert User.objects.get(username="reviewer").has_perm("explanations.review_flag")
    (data,) = fetch(source, "SELECT data FROM explanations_activationset WHERE neuron_id = 1")[0]
    assert bytes(Neuron.objects.get(pk=1).activation_set.data) == data


def test_null_in_json_is_not_null(source: Path) -> None:
    first, second = (pk for (pk,) in fetch(source, "SELECT id FROM explanations_simulation ORDER BY id LIMIT 2"))
    change(source, f"UPDATE explanations_simulation SET provenance = 'null' WHERE id = {first}")
    copy(source)
    with connection.cursor() as cursor:
        cursor.execute("SELECT id FROM explanations_simulation WHERE provenance IS NOT NULL")
        assert cursor.fetchall() == [(first,)]
    assert second != first


def test_what_was_copied_is_found_by_its_words(source: Path) -> None:
    copy(source)
    found = find_explanations(Criteria(query=parse_query("Tuesday week*")), "")
    assert [row.text for row in found.page.rows] == ["days of the week, especially Tuesday"]


def test_new_rows_get_numbers_that_no_row_ever_had(source: Path) -> None:
    ((last,),) = fetch(source, "SELECT seq FROM sqlite_sequence WHERE name = 'explanations_explanation'")
    ((most,),) = fetch(source, "SELECT max(id) FROM explanations_explanation")
    copy(source)
    made = Explanation.objects.create(neuron=Neuron.objects.get(pk=1), text="new", source="human")
    assert made.pk == last + 1 == most + 2
    assert SubjectModel.objects.create(slug="new", name="New", layers=1, neurons_per_layer=1).pk == 2


def test_indexes_are_as_before(source: Path) -> None:
    before = indexes()
    copy(source)
    assert indexes() == before


# What is refused, and leaves the target as it was


def assert_empty() -> None:
    assert not Neuron.objects.exists()
    assert not User.objects.exists()
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM auth_permission")
        assert cursor.fetchone()[0] > 0


def test_a_target_with_rows_is_refused(source: Path) -> None:
    SubjectModel.objects.create(slug="mine", name="Mine", layers=1, neurons_per_layer=1)
    with pytest.raises(CommandError, match=r"not empty: it has rows in explanations_subjectmodel \(1\)\. Nothing was"):
        copy(source)
    assert SubjectModel.objects.get().slug == "mine"


def test_a_source_of_another_version_is_refused(source: Path) -> None:
    change(source, "DELETE FROM django_migrations WHERE app = 'explanations' AND name LIKE '0005%'")
    with pytest.raises(
        CommandError, match=r"the source lacks migrations \(explanations\.0005_.*run migrate on it first"
    ):
        copy(source)


def test_a_newer_source_is_refused(source: Path) -> None:
    change(source, "INSERT INTO django_migrations (app, name, applied) VALUES ('explanations', '9999_x', '2026-01-01')")
    with pytest.raises(CommandError, match=r"does not know: explanations\.9999_x"):
        copy(source)


def test_a_table_that_would_be_lost_is_named(source: Path) -> None:
    change(source, "CREATE TABLE notes (text)")
    with pytest.raises(CommandError, match="tables that this program does not know, and that would be lost: notes"):
        copy(source)


def test_a_value_that_postgresql_refuses_is_named(source: Path) -> None:
    change(source, "UPDATE explanations_explanation SET explainer = printf('%.*c', 200, 'x') WHERE id = 2")
    with pytest.raises(
        CommandError, match=r"copying explanations_explanation: value too long.*line 2, column explainer"
    ):
        copy(source)


def test_a_reference_to_nothing_is_refused(source: Path) -> None:
    change(source, "UPDATE explanations_flag SET reporter_id = 999")
    with pytest.raises(CommandError, match=r"checking references.*explanations_flag.*Nothing was kept"):
        copy(source)
    assert_empty()


def test_a_difference_is_found_and_nothing_kept(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(database: Any, table: Table) -> Iterator[tuple[Any, ...]]:
        for row in read_rows(database, table):
            is_changed = database.vendor == "postgresql" and table.name == "explanations_flag"
            yield (*row[:-1], "other") if is_changed else row

    monkeypatch.setattr("explanations.management.copying.copier.read_rows", read)
    with pytest.raises(CommandError, match=r"explanations_flag is not the same in both: 1 rows .* the target is empty"):
        copy(source)
    assert_empty()


def test_a_source_that_somebody_writes_to_is_refused(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy_table = Copier._copy_table

    def write_meanwhile(copier: Copier, table: Table, advance: Any) -> Digest:
        if table.name == "explanations_neuron":
            change(source, "UPDATE explanations_flag SET note = 'later'")
        return copy_table(copier, table, advance)

    monkeypatch.setattr(Copier, "_copy_table", write_meanwhile)
    with pytest.raises(CommandError, match=r"wrote to the source while it was copied.*the target is empty"):
        copy(source)
    assert_empty()


def test_a_source_that_was_analysed_is_copied(source: Path) -> None:
    change(source, "ANALYZE")
    assert fetch(source, "SELECT count(*) FROM sqlite_stat1") != [(0,)]
    assert "the same in both databases" in copy(source)


def test_stopping_keeps_nothing(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_args: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Copier, "_compare_table", stop)
    with pytest.raises(CommandError, match=r"stopped\. Nothing was kept") as caught:
        copy(source)
    assert caught.value.returncode == 130
    assert_empty()


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("postgres://127.0.0.1/x", "is not the address of an SQLite database"),
        ("/tmp/file", "is not the address of an SQLite database"),
        ("sqlite:////nowhere/at/all.sqlite3", "there is no file /nowhere/at/all"),
    ],
)
def test_a_source_that_is_none_is_refused(address: str, reason: str) -> None:
    with pytest.raises(CommandError, match=reason):
        call_command("copy_database", source=address)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no database " * 100)
    with pytest.raises(CommandError, match=r"the source has no tables of this program \(file is not a database\)"):
        copy(tmp_path / "file")


def test_a_target_that_was_never_migrated_is_refused(source: Path) -> None:
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE django_migrations RENAME TO elsewhere")
    reason = r'the target has no tables of this program \(relation "django_migrations" does not exist\): run '
    with pytest.raises(CommandError, match=reason):
        copy(source)


# Digests


def digest(table: str, *rows: tuple[Any, ...]) -> str:
    found = Digest(next(t for t in list_tables() if t.name == table))
    for row in rows:
        found.add(row)
    return found.text


def test_a_digest_knows_neither_order_nor_notation() -> None:
    one, other = ("k", "data", datetime(2026, 1, 1, 12, tzinfo=UTC)), ("l", "data", None)
    assert digest("django_session", one, other) == digest("django_session", other, one)
    later = datetime(2026, 1, 1, 14, tzinfo=timezone(timedelta(hours=2)))
    assert digest("django_session", one) == digest("django_session", ("k", "data", later))
    columns = next(t for t in list_tables() if t.name == "explanations_layergaps").columns
    assert columns[-1] == "model_id" or "ranges" in columns
    rows = [
        tuple(text if column == "ranges" else 1 for column in columns)
        for text in ('{"b":1,"a":-0.0}', '{"a": 0.0, "b": 1}')
    ]
    assert digest("explanations_layergaps", rows[0]) == digest("explanations_layergaps", rows[1])


@pytest.mark.parametrize("other", [(), (("k", "data", None),) * 2, (("k", "dat", "a"),), (("k", None, "data"),)])
def test_a_digest_tells_rows_apart(other: tuple[tuple[Any, ...], ...]) -> None:
    assert digest("django_session", *other) != digest("django_session", ("k", "data", None))
