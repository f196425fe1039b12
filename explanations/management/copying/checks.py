"""What must hold before a database is copied into another; each reason names what to do."""

from __future__ import annotations

from django.core.management.base import CommandError
from django.db import DatabaseError
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.loader import MigrationLoader

from explanations.management.copying.tables import Table, count_rows, list_tables

MADE_BY_MIGRATE = frozenset({"auth_group", "auth_group_permissions", "auth_permission", "django_content_type"})
"""Tables that `migrate` fills; their rows are replaced by the source's."""
KEPT_BY_DATABASES = ("django_migrations", "explanations_stems", "explanations_words", "explanations_version", "sqlite_")
"""Not copied: the state of migrations, compared instead; SQLite's full-text tables (and those whose names begin so),
since PostgreSQL computes its own from the explanations; SQLite's version of the data, for which PostgreSQL has its own
too; what SQLite keeps for itself, such as the statistics of an `ANALYZE`."""


def describe(error: DatabaseError) -> str:
    """Return a database's complaint in one line, with the row and column where it tells them."""
    diagnosis = getattr(error.__cause__, "diag", None)
    # What comes after the first line shows where in the SQL it was.
    reason, *_ = str(error).strip().splitlines() or ["unknown error"]
    context = diagnosis.context if diagnosis is not None else None
    return f"{reason}, {context.splitlines()[0]}" if context else reason


def check_source(source: BaseDatabaseWrapper) -> None:
    """CommandError unless the source holds this program's tables, all of them in their present form."""
    _check_migrations(source, "the source", "run migrate on it first, with DATABASE_URL set to its address")
    with source.cursor() as cursor:
        present = set(source.introspection.table_names(cursor))
    strange = sorted(present - {table.name for table in list_tables()} - set(_kept(present)))
    if strange:
        raise CommandError(
            f"the source has tables that this program does not know, and that would be lost: {', '.join(strange)}."
            " Drop them there, or move them yourself"
        )


def _kept(names: set[str]) -> list[str]:
    return [name for name in names if name.startswith(KEPT_BY_DATABASES)]


def check_target(target: BaseDatabaseWrapper) -> None:
    """CommandError unless the target has this program's tables, and nothing in them."""
    if target.vendor != "postgresql":
        raise CommandError("the target is the database that DATABASE_URL names, and it has to be PostgreSQL")
    _check_migrations(target, "the target", "run manage.py migrate first")
    filled = {table.name: count_rows(target, table) for table in list_tables() if table.name not in MADE_BY_MIGRATE}
    if found := [f"{name} ({count:,})" for name, count in filled.items() if count]:
        raise CommandError(
            f"the target is not empty: it has rows in {', '.join(found)}. Nothing was copied."
            " Take a new database, or empty this one"
        )


def _check_migrations(connection: BaseDatabaseWrapper, which: str, advice: str) -> None:
    known = set(MigrationLoader(None).graph.nodes)
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT app, name FROM django_migrations")
            applied = set(cursor.fetchall())
    except DatabaseError as error:
        raise CommandError(f"{which} has no tables of this program ({describe(error)}): {advice}") from None
    if missing := sorted(".".join(key) for key in known - applied):
        raise CommandError(f"{which} lacks migrations ({', '.join(missing[:5])}): {advice}")
    if newer := sorted(".".join(key) for key in applied - known if key[0] in {app for app, _ in known}):
        raise CommandError(f"{which} has migrations that this program does not know: {', '.join(newer[:5])}")


def lock_tables(target: BaseDatabaseWrapper, tables: list[Table]) -> None:
    """Keep everybody else from writing until the transaction ends."""
    names = ", ".join(target.ops.quote_name(table.name) for table in tables)
    with target.cursor() as cursor:
        # Not at once: PostgreSQL's own cleaning may hold a table for a moment, and gives way.
        cursor.execute("SET LOCAL lock_timeout = '30s'")
        cursor.execute(f"LOCK TABLE {names} IN SHARE ROW EXCLUSIVE MODE")
        cursor.execute("SET LOCAL lock_timeout = 0")
