"""`manage.py merge_shards`: parts of a collection, put together. docs/collecting.md explains it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from explanations.management.collections import add_subject_arguments, open_subject, write_collected
from explanations.management.commands.collect import check_slug


class Command(BaseCommand):
    help = "Put together what `collect --shard` made in several runs: the same, bit for bit, as one run makes."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("folders", type=Path, nargs="+", metavar="DIR", help="the shards' folders (collect --work)")
        add_subject_arguments(parser)

    def handle(self, **options: Any) -> None:
        check_slug(options["model"])
        subject = open_subject(options)
        from explanations.pipeline.collecting.collecting import Collecting
        from explanations.pipeline.collecting.merging import MergeError

        try:
            collecting = Collecting.open(subject, options["folders"])
        except MergeError as error:
            raise CommandError(str(error)) from None
        write_collected(self.stdout, collecting, options)
