"""Forms of flags and their review."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib.auth.models import User

from explanations.forms.page_form import PageForm
from explanations.models import Flag, SubjectModel
from explanations.querysets import FlagQuerySet

NOTE_LENGTH = 2000
MAX_ID = 2**63 - 1

STATES = {
    "undecided": "undecided",
    "open": "open",
    "claimed": "claimed",
    "mine": "claimed by you",
    "decided": "decided",
    "kept": "kept",
    "retired": "retired",
    "reexplained": "retired and re-explained",
    "withdrawn": "withdrawn",
    "all": "all",
}
"""The states of the queue's filter, in words. `querysets.review_states` says what they mean."""


class Prose(forms.CharField):
    """Some lines by a person. A line break counts as one character, as in the browser's own limit."""

    def __init__(self, **kwargs: Any) -> None:
        widget = forms.Textarea(attrs={"rows": 3})
        super().__init__(max_length=NOTE_LENGTH, widget=widget, **kwargs)

    def to_python(self, value: object) -> str:
        return str(super().to_python(value)).replace("\r\n", "\n")


class FlagForm(PageForm):
    """What is wrong with an explanation."""

    reason = forms.ChoiceField(
        label="What is wrong with it?",
        choices=[
            (Flag.Reason.WRONG, "Wrong: the neuron does something else"),
            (Flag.Reason.TOO_BROAD, "Too broad: it promises activations that are not there"),
            (Flag.Reason.TOO_NARROW, "Too narrow: it leaves out part of what activates the neuron"),
            (Flag.Reason.VAGUE, "Vague: one cannot tell what it predicts"),
            (Flag.Reason.OTHER, "Other: say what in the note"),
        ],
        widget=forms.RadioSelect,
        error_messages={"required": "Choose what is wrong with it."},
    )
    note = Prose(
        label="Note",
        required=False,
        help_text="What should a reviewer look at? Needed for “other”; at most 2,000 characters.",
    )

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if cleaned.get("reason") == Flag.Reason.OTHER and "note" in cleaned and not cleaned["note"]:
            self.add_error("note", "Say in a few words what is wrong with it.")
        return cleaned


class SeenForm(PageForm):
    """A step that is refused where the flag has changed since the person saw it."""

    seen = forms.IntegerField(
        min_value=0,
        max_value=MAX_ID,
        widget=forms.HiddenInput,
        error_messages={"required": "The form is incomplete. Open the page again."},
    )


class DecisionForm(SeenForm):
    """A reviewer's decision on a flag they claimed."""

    decision = forms.ChoiceField(
        label="Decision", widget=forms.RadioSelect, error_messages={"required": "Choose a decision."}
    )
    reason = Prose(label="Reason", error_messages={"required": "Give the reason: it is kept with the decision."})

    def __init__(self, data: Any = None, *, flag: Flag, reviewer: User) -> None:
        """Offer what this reviewer may decide. `flag` comes from `FlagQuerySet.for_review`."""
        # Several of these stand on one page, so ids carry the flag's.
        super().__init__(data, auto_id=f"id_%s_{flag.pk}", initial={"seen": flag.last_event or 0})  # type: ignore[attr-defined]
        choices = [(Flag.State.RETIRED, "Retire it")]
        if flag.explanation.is_current:
            choices.insert(0, (Flag.State.KEPT, "Keep the explanation"))
        if reviewer.has_perm("explanations.add_job"):
            choices.append((Flag.State.REEXPLAINED, "Retire it and re-explain the neuron"))
        decision = self.fields["decision"]
        assert isinstance(decision, forms.ChoiceField)
        decision.choices = choices


class RestoreForm(SeenForm):
    """Why a retired explanation is to be current again."""

    reason = Prose(label="Why restore it?", error_messages={"required": "Give the reason: it is kept in the history."})

    def __init__(self, data: Any = None, *, flag: Flag) -> None:
        """`flag` comes from `FlagQuerySet.for_review`."""
        super().__init__(data, auto_id=f"id_restore_%s_{flag.pk}", initial={"seen": flag.last_event or 0})  # type: ignore[attr-defined]


class QueueFilter(PageForm):
    """Which flags the queue shows. Fields that do not make sense are reported, and filter nothing."""

    state = forms.ChoiceField(choices=list(STATES.items()), required=False, widget=forms.HiddenInput)
    reason = forms.ChoiceField(choices=[("", "any"), *Flag.Reason.choices], required=False)
    model = forms.ModelChoiceField(
        SubjectModel.objects.defer("statistics", "highlights"),
        to_field_name="slug",
        required=False,
        empty_label="any",
        error_messages={"invalid_choice": "There is no such model."},
    )
    layer = forms.IntegerField(min_value=0, max_value=32767, required=False)
    reporter = forms.CharField(max_length=150, required=False, label="Reported by")
    explanation = forms.IntegerField(min_value=1, max_value=MAX_ID, required=False, widget=forms.HiddenInput)

    LOOKUPS = {
        "reason": "reason",
        "model": "explanation__neuron__model",
        "layer": "explanation__neuron__layer",
        "reporter": "reporter__username",
        "explanation": "explanation",
    }

    @property
    def state_in_effect(self) -> str:
        self.is_valid()
        return self.cleaned_data.get("state") or "undecided"

    def narrow(self, flags: FlagQuerySet) -> FlagQuerySet:
        """Return the flags that pass all but the state."""
        self.is_valid()
        given = {lookup: self.cleaned_data.get(name) for name, lookup in self.LOOKUPS.items()}
        return flags.filter(**{lookup: value for lookup, value in given.items() if value not in (None, "")})

    @property
    def is_narrowed(self) -> bool:
        self.is_valid()
        return any(self.cleaned_data.get(name) not in (None, "") for name in self.LOOKUPS)

    def sentence(self, count: int) -> str:
        """Return the filter in words, with how many flags it finds."""
        self.is_valid()
        chosen = self.cleaned_data
        state = self.state_in_effect
        words = [f"{count:,}"]
        if state not in ("all", "mine"):
            words.append(STATES[state])
        words.append("flag" if count == 1 else "flags")
        if state == "mine":
            words.append("claimed by you")
        if reason := chosen.get("reason"):
            words.append(f"for “{Flag.Reason(reason).label}”")
        if explanation := chosen.get("explanation"):
            words.append(f"of explanation {explanation}")
        if model := chosen.get("model"):
            words.append(f"in {model.name}")
        if (layer := chosen.get("layer")) is not None:
            words.append(f"in layer {layer}")
        if reporter := chosen.get("reporter"):
            words.append(f"reported by {reporter}")
        return " ".join(words) + "."
