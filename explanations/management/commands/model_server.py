"""`manage.py model_server`: an OpenAI-compatible server, for trying without a key. See docs/language-models.md."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from explanations.model_server import LocalResponder, ModelServer, ScriptError, read_script
from explanations.model_server.server import Responder
from explanations.pipeline.language_models import LanguageModelError
from explanations.pipeline.language_models.loading import load_local


class Command(BaseCommand):
    help = (
        "Serve a language model of this machine, or a script of answers and faults, by OpenAI's protocol on 127.0.0.1."
        " For trying and testing: there is no key, and nobody from outside reaches it."
    )
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        source = parser.add_mutually_exclusive_group()
        source.add_argument("--model", type=Path, metavar="FOLDER", help="a folder or GGUF file (LOCAL_MODEL)")
        source.add_argument("--script", type=Path, metavar="FILE", help="JSON with rules: what to answer, and when")
        parser.add_argument("--port", type=int, default=8089, help="0 takes any free one (8089)")

    def handle(self, *, port: int, **options: Any) -> None:
        if not 0 <= port < 2**16:
            raise CommandError(f"--port: {port} is not a port; use 0 to 65535")
        responder = self.responder(options["model"], options["script"])
        try:
            server = ModelServer(responder, port)
        except OSError as error:
            raise CommandError(f"--port: {port} cannot be used: {error.strerror}") from None
        self.stdout.write(f"{responder.name} answers at {server.url}. To use it, start the site and its workers with")
        self.stdout.write(f"  LLM_BASE_URL={server.url} LLM_MODEL={responder.name}")
        self.stdout.write("Ctrl-C stops it.")
        self.stdout.flush()
        try:
            server.serve()
        finally:
            server.stop()

    def responder(self, model: Path | None, script: Path | None) -> Responder:
        try:
            if script is not None:
                return read_script(script)
            if folder := model or settings.LOCAL_MODEL:
                self.stdout.write(f"Loading {folder} ...")
                return LocalResponder(load_local(folder))
        except (ScriptError, LanguageModelError) as error:
            raise CommandError(str(error)) from None
        raise CommandError("give --model FOLDER, --script FILE, or set LOCAL_MODEL")
