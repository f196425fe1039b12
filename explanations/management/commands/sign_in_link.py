from __future__ import annotations

from argparse import ArgumentParser
from typing import Any
from urllib.parse import urlsplit

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError

from explanations.sign_in_links import make_link


def find_person(username: str | None) -> User:
    """Return the active account of this name; without a name the only active superuser."""
    if username is None:
        return the_superuser()
    person = User.objects.filter(username=username).first()
    if person is None:
        raise CommandError(f"There is no account called {username!r}. `manage.py createsuperuser` makes one.")
    if not person.is_active:
        raise CommandError(f"The account {username!r} is switched off, so no link can sign it in.")
    return person


def the_superuser() -> User:
    found = list(User.objects.filter(is_superuser=True, is_active=True).order_by("username")[:10])
    if not found:
        raise CommandError("There is no active superuser. `manage.py createsuperuser` makes one; or name an account.")
    if len(found) > 1:
        names = ", ".join(person.get_username() for person in found)
        raise CommandError(f"There are several superusers ({names}): name the one who is to sign in.")
    return found[0]


class Command(BaseCommand):
    help = "Print a link that signs a person in once. It ends when it is used, and after three days."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("username", nargs="?", help="whom to sign in; the only superuser unless given")
        parser.add_argument(
            "--base-url", default="http://127.0.0.1:8000", help="the site's address (default: %(default)s)"
        )

    def handle(self, *, username: str | None, base_url: str, **_options: Any) -> None:
        parts = urlsplit(base_url)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise CommandError(f"--base-url {base_url!r} is not an address such as https://neurons.example.org")
        self.stdout.write(make_link(find_person(username), base_url))
