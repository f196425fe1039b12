"""`manage.py copy_database`: an installation from SQLite to PostgreSQL. docs/deploying.md explains it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError, connection
from django.db.backends.sqlite3.base import DatabaseWrapper

from explanations.management.copying.checks import describe
from explanations.management.copying.copier import Copier
from explanations.management.imports import INTERRUPTED
from explanations.management.progress import show_progress


class Command(BaseCommand):
    help = (
        "Copy a whole SQLite database into the empty PostgreSQL database that DATABASE_URL names: every row of every"
        " table, accounts, sessions, flags, jobs and queued work included, compared afterwards. All of it or nothing."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--from", dest="source", required=True, metavar="sqlite:////path/to/neuronviewer.sqlite3")

    def handle(self, **options: Any) -> None:
        path = source_path(options["source"])
        source = DatabaseWrapper(source_settings(path), "copy_source")
        copier = Copier(source, connection)
        try:
            self.copy(copier, path)
        except KeyboardInterrupt:
            raise CommandError("stopped. Nothing was kept: the target is empty", returncode=INTERRUPTED) from None
        except DatabaseError as error:
            raise CommandError(f"{copier.stage}: {describe(error)}. Nothing was kept: the target is empty") from error
        finally:
            source.close()

    def copy(self, copier: Copier, path: Path) -> None:
        counts = copier.count()
        total = sum(counts.values())
        self.stdout.write(
            f"{path}: {total:,} rows in {len(counts)} tables, {path.stat().st_size / 1e6:,.0f} MB\n"
            "One transaction: until the last line says that it is done, the target stays empty. Where this is killed,"
            " start it again."
        )
        # Each row is copied, and then read back.
        with show_progress(self.stdout, 2 * total, "rows copied and compared", lambda: copier.stage) as advance:
            same = copier.copy(advance)
        for digest in same:
            self.stdout.write(f"{digest.table.name:<40}{digest.count:>12,} rows the same  {digest.text}")
        self.stdout.write(f"Done: {total:,} rows, the same in both databases. The source was left as it is.")


def source_path(address: str) -> Path:
    """Return the file of a sqlite: address. CommandError where there is none."""
    prefix = "sqlite:///"
    if not address.startswith(prefix):
        raise CommandError(f"--from: “{address}” is not the address of an SQLite database, sqlite:////path/to/file")
    path = Path(address.removeprefix(prefix))
    if not path.is_file():
        raise CommandError(f"--from: there is no file {path}")
    return path.resolve()


def source_settings(path: Path) -> dict[str, Any]:
    """Return Django's settings of a database that is only read."""
    return {
        **settings.DATABASES["default"],
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": str(path),
        "HOST": "",
        "PORT": "",
        "USER": "",
        "PASSWORD": "",
        "OPTIONS": {"timeout": 30, "init_command": "PRAGMA query_only=ON; PRAGMA mmap_size=268435456"},
    }
