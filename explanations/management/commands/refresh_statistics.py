from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from explanations.models import SubjectModel
from explanations.statistics import read_statistics, refresh_statistics


class Command(BaseCommand):
    help = "Recompute the counts and scores that the overview and the model pages show."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--model", metavar="SLUG", help="only this model")

    def handle(self, *_: Any, **options: Any) -> None:
        models = SubjectModel.objects.all()
        if options["model"]:
            models = models.filter(slug=options["model"])
            if not models:
                raise CommandError(f"There is no model “{options['model']}”.")
        for model in models:
            refresh_statistics(model.pk)
            model.refresh_from_db()
            statistics = read_statistics(model)
            self.stdout.write(f"{model.slug}: {statistics.neurons:,} neurons, {statistics.explanations:,} explanations")
