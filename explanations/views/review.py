"""Flags: filing one, the queue of those who review them, and each one's history."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.http import HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.utils.html import format_html
from django.views.decorators.http import require_http_methods, require_POST, require_safe
from django_htmx.http import HttpResponseClientRedirect, reswap, retarget

from explanations import review as reviewing
from explanations.access import next_address, permission_first, safe_address, sign_in_first
from explanations.forms.review import STATES, DecisionForm, FlagForm, QueueFilter, RestoreForm, SeenForm
from explanations.http import HtmxHttpRequest, render_page, wants_fragment
from explanations.models import Explanation, Flag
from explanations.paging import Order, paginate
from explanations.review import ReviewError

REVIEW = "explanations.review_flag"
reviewers_only = permission_first(REVIEW, "Reviewing flags needs a permission that your account does not have.")

OLDEST_FIRST, NEWEST_FIRST = Order(None, "id", descending=False), Order(None, "id", descending=True)
WAITING = frozenset({"undecided", "open", "claimed", "mine"})
"""States in which the oldest flag comes first: who waits longest is next."""


def person_of(request: HtmxHttpRequest) -> User:
    """Return who is signed in, behind a guard that lets nobody else pass."""
    assert isinstance(request.user, User)
    return request.user


# Filing


@sign_in_first
@require_http_methods(["GET", "HEAD", "POST"])
def flag(request: HtmxHttpRequest, pk: int) -> HttpResponse:
    """Flag an explanation: a page of its own, or in place where htmx asks for it."""
    explanation = get_object_or_404(Explanation.objects.select_related("neuron__model"), pk=pk)
    form = FlagForm(request.POST if request.method == "POST" else None)
    onward = next_address(request, "") or _address_of_opener(request) or explanation.neuron.get_absolute_url()
    if request.method == "POST" and form.is_valid():
        try:
            filed = reviewing.file_flag(explanation=explanation, reporter=person_of(request), **form.cleaned_data)
        except ReviewError:
            pass  # The page below says what stands in the way: the earlier flag, or that it was retired.
        else:
            return _leave_after_filing(request, filed, onward)
        explanation.refresh_from_db(fields=["state"])
    own = explanation.flags.filter(reporter=person_of(request)).order_by("-id")[:20]
    context = {
        "explanation": explanation,
        "form": form,
        "own_flags": own,
        "waiting": next((f for f in own if f.is_undecided), None),
        "next": onward,
    }
    return render_page(request, "flag", context)


def _address_of_opener(request: HtmxHttpRequest) -> str:
    """Return the page on which htmx opened the form, as its reader sees it."""
    return safe_address(request, request.htmx.current_url_abs_path or "") if wants_fragment(request) else ""


def _leave_after_filing(request: HtmxHttpRequest, filed: Flag, onward: str) -> HttpResponse:
    done = 'The explanation is flagged, and waits for a reviewer. <a href="{}">Follow your flag</a>.'
    messages.success(request, format_html(done, filed.get_absolute_url()))
    return HttpResponseClientRedirect(onward) if wants_fragment(request) else HttpResponseRedirect(onward)


# The queue


@reviewers_only
@require_safe
def review(request: HtmxHttpRequest) -> HttpResponse:
    person = person_of(request)
    form = QueueFilter(request.GET)
    state = form.state_in_effect
    narrowed = form.narrow(Flag.objects.all())
    counts = narrowed.count_states(person)
    # The ids alone first: two states at once have to be sorted, and only a page of them needs all the rest.
    rows = narrowed.in_state(state, person).only("pk")
    page = paginate(rows, OLDEST_FIRST if state in WAITING else NEWEST_FIRST, request.GET.get("page", ""))
    flags = Flag.objects.for_review().in_bulk([row.pk for row in page.rows])
    context = {
        "nav": "review",
        "form": form,
        "state": state,
        "states": [(name, words, counts[name]) for name, words in STATES.items()],
        "sentence": form.sentence(counts[state]),
        "page": page,
        "entries": [_entry(flags[row.pk], person) for row in page.rows if row.pk in flags],
        "next": request.get_full_path(),
        "is_fragment": wants_fragment(request),
    }
    return render_page(request, "review", context)


def _entry(
    flag: Flag, person: User, form: DecisionForm | None = None, restoring: RestoreForm | None = None
) -> dict[str, Any]:
    """Return a flag with what this person can do about it. No query: `flag` comes from `for_review`."""
    claimed = flag.state == Flag.State.CLAIMED
    mine = claimed and flag.reviewer_id == person.pk
    may_review = person.has_perm(REVIEW)
    retired = flag.state in reviewing.RETIRING and not flag.explanation.is_current
    return {
        "may_withdraw": flag.state == Flag.State.OPEN and flag.reporter_id == person.pk,
        "restoring": (restoring or RestoreForm(flag=flag)) if may_review and retired else None,
        "flag": flag,
        "state_words": reviewing.describe_state(flag, person),
        "may_claim": may_review and (flag.state == Flag.State.OPEN or (claimed and flag.reviewer_id is None)),
        "may_release": may_review and claimed and (mine or (person.is_superuser and flag.reviewer_id is not None)),
        "form": (form or DecisionForm(flag=flag, reviewer=person)) if may_review and mine else None,
    }


@sign_in_first
@require_safe
def flag_history(request: HtmxHttpRequest, pk: int) -> HttpResponse:
    """Show what became of a flag, to reviewers and to the person who filed it."""
    flag, person = _get_flag(pk), person_of(request)
    if flag.reporter_id != person.pk and not person.has_perm(REVIEW):
        raise PermissionDenied("The history of a flag is for reviewers and for the person who filed it.")
    context = {
        "nav": "review",
        "entry": _entry(flag, person),
        "events": flag.events.select_related("actor"),
        "next": request.get_full_path(),
        "is_fragment": wants_fragment(request),
    }
    return render_page(request, "flag_history", context)


def _get_flag(pk: int) -> Flag:
    return get_object_or_404(Flag.objects.for_review(), pk=pk)


# A step. Each answers with a redirect to the page that it was taken on. htmx follows that by itself and keeps its
# headers, so that it gets the fragment of the page with the step's message in it.


@reviewers_only
@require_POST
def claim(request: HtmxHttpRequest, pk: int) -> HttpResponse:
    flag = get_object_or_404(Flag, pk=pk)
    try:
        reviewing.claim_flag(flag=flag, reviewer=person_of(request))
    except ReviewError as error:
        messages.error(request, str(error))
    else:
        messages.success(request, _with_link("You have claimed {}: decide, or release it.", flag))
    return _go_back(request, flag)


@reviewers_only
@require_POST
def release(request: HtmxHttpRequest, pk: int) -> HttpResponse:
    flag, form = get_object_or_404(Flag, pk=pk), SeenForm(request.POST)
    try:
        if not form.is_valid():
            raise ReviewError("The form is incomplete, so nothing was done. Try again from this page.")
        reviewing.release_flag(flag=flag, person=person_of(request), **form.cleaned_data)
    except ReviewError as error:
        messages.error(request, str(error))
    else:
        messages.success(request, _with_link("You have released {}: it is open for any reviewer.", flag))
    return _go_back(request, flag)


@reviewers_only
@require_POST
def decide(request: HtmxHttpRequest, pk: int) -> HttpResponse:
    flag, person = _get_flag(pk), person_of(request)
    form = DecisionForm(request.POST, flag=flag, reviewer=person)
    if not form.is_valid():
        return _ask_again(request, flag, person, form)
    try:
        closed = reviewing.decide_flag(flag=flag, reviewer=person, **form.cleaned_data)
    except ReviewError as error:
        messages.error(request, str(error))
    else:
        done = reviewing.describe_decision(form.cleaned_data["decision"], len(closed) - 1)
        messages.success(request, _with_link(f"You have decided {{}}: {done}", flag))
    return _go_back(request, flag)


@sign_in_first
@require_POST
def withdraw(request: HtmxHttpRequest, pk: int) -> HttpResponse:
    """Take back a flag of one's own. Whose it is, is for `reviewing` to look at."""
    flag, form = get_object_or_404(Flag, pk=pk), SeenForm(request.POST)
    if flag.reporter_id != request.user.pk:
        raise PermissionDenied("Only the person who filed a flag can withdraw it.")
    try:
        if not form.is_valid():
            raise ReviewError("The form is incomplete, so nothing was done. Try again from this page.")
        reviewing.withdraw_flag(flag=flag, person=person_of(request), **form.cleaned_data)
    except ReviewError as error:
        messages.error(request, str(error))
    else:
        messages.success(request, _with_link("You have withdrawn {}: no reviewer will be asked.", flag))
    return _go_back(request, flag)


@reviewers_only
@require_POST
def restore(request: HtmxHttpRequest, pk: int) -> HttpResponse:
    """Make a retired explanation current again."""
    flag, person = _get_flag(pk), person_of(request)
    form = RestoreForm(request.POST, flag=flag)
    if not form.is_valid():
        return _show_again(request, flag, _entry(flag, person, restoring=form))
    try:
        reviewing.restore_explanation(flag=flag, reviewer=person, **form.cleaned_data)
    except ReviewError as error:
        messages.error(request, str(error))
    else:
        messages.success(request, _with_link("The explanation of {} is current again.", flag))
    return _go_back(request, flag)


def _ask_again(request: HtmxHttpRequest, flag: Flag, person: User, form: DecisionForm) -> HttpResponse:
    entry = _entry(flag, person, form)
    if entry["form"] is None:
        messages.error(request, f"Flag {flag.pk} is {entry['state_words']}. Claim it before you decide.")
        return _go_back(request, flag)
    return _show_again(request, flag, entry)


def _show_again(request: HtmxHttpRequest, flag: Flag, entry: dict[str, Any]) -> HttpResponse:
    """Return the form with what is wrong in it: in its place on the page for htmx, else on the flag's own page."""
    context = {"nav": "review", "entry": entry, "events": flag.events.select_related("actor")}
    context["next"] = next_address(request, flag.get_absolute_url())
    response = render_page(request, "flag_history", context, fragment="review_actions")
    return reswap(retarget(response, f"#actions-{flag.pk}"), "outerHTML") if wants_fragment(request) else response


def _with_link(sentence: str, flag: Flag) -> str:
    """Return a sentence of ours with a link to the flag: after a step the queue's filter may not show it any more."""
    return format_html(sentence, format_html('<a href="{}">flag {}</a>', flag.get_absolute_url(), flag.pk))


def _go_back(request: HtmxHttpRequest, flag: Flag) -> HttpResponse:
    onward = next_address(request, flag.get_absolute_url())
    # Without htmx the whole page comes anew: the anchor brings the reader back to the flag.
    anchor = "" if wants_fragment(request) or "#" in onward else f"#flag-{flag.pk}"
    return HttpResponseRedirect(onward + anchor)
