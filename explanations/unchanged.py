"""Pages that have not changed since a browser saw them: answered in one query, without building them again.

An ETag stands for all that a page is made of: the address and how htmx asks for it, who asks, the program, whether
texts can be tried, and the version of the data. That version changes with every write to the database, whoever makes
it, so nothing has to be kept in step by hand: PostgreSQL's own snapshot, or on SQLite a random number that triggers
renew (`version_triggers`). It is read before the page's data, so that a write in between makes the page look older than
it is, never newer.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import lru_cache, wraps
from pathlib import Path
from typing import Any

import django
from django.conf import settings
from django.contrib.messages import get_messages
from django.db import DEFAULT_DB_ALIAS, connection, connections
from django.http import HttpRequest, HttpResponse
from django.utils.cache import get_conditional_response, patch_cache_control, patch_vary_headers
from django.utils.crypto import salted_hmac

from explanations import subjects
from explanations.statements import fetch_prepared

View = Callable[..., HttpResponse]

VARYING = ("HX-Request", "HX-History-Restore-Request", "HX-Boosted", "HX-Current-URL")
"""Headers of the request that a page may depend on."""
_PROGRAM = ("explanations", "neuronviewer", "templates", "static")


def answer_unchanged(view: View) -> View:
    """Make a view that only reads answer 304 where the browser has the page as it is now."""

    @wraps(view)
    def answered(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        tag = page_tag(request)
        if tag is None:
            return view(request, *args, **kwargs)
        response = get_conditional_response(request, etag=tag)
        if response is None:
            response = view(request, *args, **kwargs)
        if response.status_code in (200, 304):
            response["ETag"] = tag
            # One person's page is nobody else's, and nobody's without asking whether it is still so.
            patch_cache_control(response, private=True, no_cache=True)
            patch_vary_headers(response, ("Cookie", *VARYING))
        return response

    return answered


def page_tag(request: HttpRequest) -> str | None:
    """Return what stands for the page as it is now; None where it must be built. One query, more for who is signed in.

    It must be built where it says something that it says once, and where templates may change as it runs.
    """
    if request.method not in ("GET", "HEAD") or settings.DEBUG or connection.in_atomic_block:
        return None
    version = data_version()
    if version is None or len(get_messages(request)):
        return None
    parts = [
        version,
        program_version(),
        subjects.describe(),
        request.get_host(),
        request.get_full_path(),
        *_who(request),
    ]
    parts += [request.headers.get(name, "") for name in VARYING]
    return f'W/"{hashlib.blake2b(repr(parts).encode(), digest_size=16, key=_key(settings.SECRET_KEY)).hexdigest()}"'


@lru_cache(maxsize=1)
def _key(secret: str) -> bytes:
    """Return the key of the tags, so that nobody can tell from one what of its page they cannot see."""
    return salted_hmac("explanations.unchanged", "", secret=secret, algorithm="sha256").digest()


def _who(request: HttpRequest) -> list[str]:
    """Return what tells people apart, and the secret that the forms on their pages are bound to."""
    if settings.SESSION_COOKIE_NAME not in request.COOKIES or not request.user.is_authenticated:
        return ["nobody"]
    return [
        str(request.user.pk),
        request.user.get_session_auth_hash(),
        request.COOKIES.get(settings.CSRF_COOKIE_NAME, ""),
    ]


def data_version() -> str | None:
    """Return what changes with every write to the database; None where that is not known. One query."""
    database = connections[DEFAULT_DB_ALIAS]
    if database.vendor == "postgresql":
        # Equal snapshots see equal data. The time of the start tells servers apart that count alike.
        sql = "SELECT pg_current_snapshot()::text, pg_postmaster_start_time()::text, current_database()"
    else:
        sql = "SELECT number FROM explanations_version"
    found = fetch_prepared(database, sql, [])
    return repr(found[0]) if found else None


@lru_cache(maxsize=1)
def program_version() -> str:
    """Return what changes with the program, its templates and its static files. Reads them all, once a process."""
    digest = hashlib.blake2b(django.get_version().encode(), digest_size=16)
    for folder in _PROGRAM:
        for path in sorted(Path(settings.BASE_DIR, folder).rglob("*")):
            if path.suffix in {".py", ".html", ".css", ".js", ".svg", ".json"}:
                digest.update(f"{path.relative_to(settings.BASE_DIR)}\0".encode() + path.read_bytes())
    return digest.hexdigest()
