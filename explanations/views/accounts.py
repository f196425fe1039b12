"""Signing in and out."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth import login, logout
from django.http import HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST

from explanations import sign_in_links
from explanations.access import next_address
from explanations.forms.accounts import SignInForm
from explanations.http import HtmxHttpRequest

BACKEND = "django.contrib.auth.backends.ModelBackend"


@never_cache
@sensitive_post_parameters("password")
@require_http_methods(["GET", "HEAD", "POST"])
def sign_in(request: HtmxHttpRequest) -> HttpResponse:
    """Sign in with name and password, and go on to `next` where that is on this site."""
    onward = next_address(request, reverse("overview"))
    if onward.startswith("/accounts/"):
        # The header's link on this very page, or on that of a link that is used up then.
        onward = reverse("overview")
    form = SignInForm(request, request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        login(request, form.get_user())
        return HttpResponseRedirect(onward)
    return render(request, "explanations/sign_in.html", {"form": form, "next": onward})


@require_POST
def sign_out(request: HtmxHttpRequest) -> HttpResponse:
    if request.user.is_authenticated:
        logout(request)
        messages.success(request, "You are signed out.")
    return redirect("overview")


@never_cache
@sensitive_post_parameters()
@require_http_methods(["GET", "HEAD", "POST"])
def sign_in_link(request: HtmxHttpRequest, uid: str, token: str) -> HttpResponse:
    """Offer to sign in by a one-time link, and do so on POST alone: the preview of a link must not use it up."""
    person = sign_in_links.find_user(uid, token)
    if person is not None and request.method == "POST" and sign_in_links.use_up_link(person):
        login(request, person, backend=BACKEND)
        messages.success(request, f"You are signed in as {person.get_username()}.")
        return redirect("overview")
    used_up = person is None or request.method == "POST"
    context = {"person": None if used_up else person}
    response = render(request, "explanations/sign_in_link.html", context, status=410 if used_up else 200)
    # The address is a secret until it is used; "same-origin" keeps it from other sites. (Not "no-referrer": browsers
    # then send "Origin: null" with the form, which the CSRF check refuses.)
    response["Referrer-Policy"] = "same-origin"
    return response
