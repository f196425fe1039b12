from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.db import connections
from django.db.models.signals import post_migrate


class ExplanationsConfig(AppConfig):
    name = "explanations"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        post_migrate.connect(_after_migrations, sender=self)


def _after_migrations(using: str, **_: Any) -> None:
    from explanations.version_triggers import create_triggers  # models are not loaded when this module is

    create_triggers(connections[using])
