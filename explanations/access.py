"""Who may open a page: signed-in people, or people with a permission."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any
from urllib.parse import urlencode, urlsplit

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django_htmx.http import HttpResponseClientRedirect

View = Callable[..., HttpResponse]


def safe_address(request: HttpRequest, address: str) -> str:
    """Return an address if it is one of this site, else nothing: other sites must not send people on through us."""
    ours = url_has_allowed_host_and_scheme(
        address, allowed_hosts={request.get_host()}, require_https=request.is_secure()
    )
    return address if ours else ""


def next_address(request: HttpRequest, default: str) -> str:
    """Return where the request says to go on to (`next`), if that is on this site."""
    return safe_address(request, request.POST.get("next") or request.GET.get("next") or "") or default


def sign_in_address(request: HttpRequest) -> str:
    """Return the sign-in page that leads back here; for a POST, back to the page that its form was on."""
    here = request.get_full_path()
    if request.method not in ("GET", "HEAD"):
        referer = urlsplit(safe_address(request, request.headers.get("Referer", "")))
        here = referer.path + (f"?{referer.query}" if referer.query else "")
    return reverse("sign_in") + (f"?{urlencode({'next': here})}" if here else "")


def sign_in_first(view: View) -> View:
    """Send people who are not signed in to the sign-in page, and back afterwards."""

    @wraps(view)
    def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if request.user.is_authenticated:
            return view(request, *args, **kwargs)
        # htmx would put the sign-in page into a corner of this one; it has to leave.
        redirect = HttpResponseClientRedirect if request.headers.get("HX-Request") else HttpResponseRedirect
        return redirect(sign_in_address(request))

    return guarded


def permission_first(permission: str, refusal: str) -> Callable[[View], View]:
    """Refuse signed-in people without the permission, with the words `refusal`; send others to sign in."""

    def decorate(view: View) -> View:
        @wraps(view)
        def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            if not request.user.has_perm(permission):
                raise PermissionDenied(refusal)
            return view(request, *args, **kwargs)

        return sign_in_first(guarded)

    return decorate
