"""The copy itself, in one transaction of the target: all of it, or nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from django.core.management.base import CommandError
from django.db import transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from explanations.management.copying.checks import MADE_BY_MIGRATE, check_source, check_target, lock_tables
from explanations.management.copying.tables import Digest, Table, count_rows, list_tables, read_rows

Advance = Callable[[int], None]
_STEP = 1000


@dataclass
class Copier:
    """Copies every row of a SQLite database into an empty PostgreSQL one. `stage` says what it is doing."""

    source: BaseDatabaseWrapper
    target: BaseDatabaseWrapper
    tables: list[Table] = field(default_factory=list_tables)
    stage: str = ""

    def count(self) -> dict[str, int]:
        """Check both databases and return the source's rows by table. CommandError where one cannot be taken."""
        check_source(self.source)
        check_target(self.target)
        return {table.name: count_rows(self.source, table) for table in self.tables}

    def copy(self, advance: Advance) -> list[Digest]:
        """Copy all rows, read them back and compare; return what was found the same in both.

        `advance` is told of each row twice: once copied, once compared.
        """
        with transaction.atomic(using=self.target.alias):
            self.stage = "locking the target's tables"
            lock_tables(self.target, self.tables)
            check_target(self.target)
            copied = self._copy_all(advance)
            self._set_sequences()
            compared = [self._compare_table(digest, advance) for digest in copied]
            self.stage = "keeping what was copied"
        self._analyse()
        return compared

    def _copy_all(self, advance: Advance) -> list[Digest]:
        version = self._source_version()
        with without_indexes(self.target, self.tables):
            self._empty_what_migrate_made()
            with one_moment(self.source):
                copied = [self._copy_table(table, advance) for table in self.tables]
            if self._source_version() != version:
                raise CommandError(
                    "somebody wrote to the source while it was copied: stop its web server and workers, and start"
                    " again. Nothing was kept: the target is empty"
                )
            self.stage = "checking references, building indexes"
            self._check_references()
        return copied

    def _copy_table(self, table: Table, advance: Advance) -> Digest:
        self.stage = f"copying {table.name}"
        quote = self.target.ops.quote_name
        columns = ", ".join(quote(column) for column in table.columns)
        digest = Digest(table)
        statement = f"COPY {quote(table.name)} ({columns}) FROM STDIN"
        # Django does not wrap what COPY raises.
        with self.target.wrap_database_errors, self.target.cursor() as cursor, cursor.copy(statement) as sink:
            for row in _counted(read_rows(self.source, table), advance):
                sink.write_row(row)
                digest.add(row)
        return digest

    def _compare_table(self, copied: Digest, advance: Advance) -> Digest:
        self.stage = f"comparing {copied.table.name}"
        found = Digest(copied.table)
        for row in _counted(read_rows(self.target, copied.table), advance):
            found.add(row)
        if (found.count, found.sum) != (copied.count, copied.sum):
            raise CommandError(
                f"{copied.table.name} is not the same in both: {copied.count:,} rows ({copied.text}) in the source,"
                f" {found.count:,} ({found.text}) in the target. Nothing was kept: the target is empty"
            )
        return found

    def _empty_what_migrate_made(self) -> None:
        names = ", ".join(self.target.ops.quote_name(name) for name in sorted(MADE_BY_MIGRATE))
        with self.target.cursor() as cursor:
            # CASCADE reaches tables that are empty: check_target has seen to it.
            cursor.execute(f"TRUNCATE {names} CASCADE")

    def _check_references(self) -> None:
        with self.target.cursor() as cursor:
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")

    def _set_sequences(self) -> None:
        """Let new rows get numbers that no row of the source ever had, deleted ones included."""
        quote = self.target.ops.quote_name
        with self.source.cursor() as cursor:
            cursor.execute("SELECT name, seq FROM sqlite_sequence")
            given = dict(cursor.fetchall())
        with self.target.cursor() as cursor:
            for table in self.tables:
                if (column := table.sequence_column) is None:
                    continue
                cursor.execute(f"SELECT coalesce(max({quote(column)}), 0) FROM {quote(table.name)}")  # noqa: S608
                last = max(cursor.fetchone()[0], given.get(table.name, 0))
                if last:
                    cursor.execute("SELECT setval(pg_get_serial_sequence(%s, %s), %s)", [table.name, column, last])

    def _source_version(self) -> int:
        """Return a number that changes when another connection writes to the source."""
        with self.source.cursor() as cursor:
            cursor.execute("PRAGMA data_version")
            return int(cursor.fetchone()[0])

    def _analyse(self) -> None:
        """Let PostgreSQL's planner know what it now holds."""
        self.stage = "analysing"
        with self.target.cursor() as cursor:
            for table in self.tables:
                cursor.execute(f"ANALYZE {self.target.ops.quote_name(table.name)}")


def _counted(rows: Iterator[tuple[object, ...]], advance: Advance) -> Iterator[tuple[object, ...]]:
    done = 0
    for row in rows:
        yield row
        done += 1
        if done % _STEP == 0:
            advance(_STEP)
    if done % _STEP:
        advance(done % _STEP)


@contextmanager
def one_moment(source: BaseDatabaseWrapper) -> Iterator[None]:
    """Read all tables as they are now: one transaction. By hand, since Django does not know this connection by name."""
    with source.cursor() as cursor:
        cursor.execute("BEGIN")
        try:
            yield
        finally:
            cursor.execute("ROLLBACK")


@contextmanager
def without_indexes(target: BaseDatabaseWrapper, tables: list[Table]) -> Iterator[None]:
    """Drop the indexes that guard nothing, and build them again at the end: faster than keeping them row by row."""
    with target.cursor() as cursor:
        cursor.execute(
            "SELECT i.relname, pg_get_indexdef(x.indexrelid) FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid"
            " JOIN pg_class t ON t.oid = x.indrelid WHERE t.relname = ANY(%s) AND NOT x.indisunique"
            # Those with a condition are small, and PostgreSQL writes some conditions otherwise than it read them.
            " AND x.indpred IS NULL"
            " AND t.relnamespace = current_schema()::regnamespace",
            [[table.name for table in tables]],
        )
        found = cursor.fetchall()
        for name, _ in found:
            cursor.execute(f"DROP INDEX {target.ops.quote_name(name)}")
        yield
        cursor.execute("SET LOCAL maintenance_work_mem = '256MB'")
        for _, definition in found:
            cursor.execute(definition)
