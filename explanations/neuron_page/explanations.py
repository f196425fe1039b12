"""A neuron's explanations as the page lists them, with their simulations, flags and differences."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec
from django.db import models

from explanations.forms.neuron import PageState
from explanations.models import Explanation, Flag, Neuron, Simulation
from explanations.prepared import Prepared


class ListedExplanation(msgspec.Struct, frozen=True):
    """One explanation in the list."""

    row: Explanation
    scored: Simulation | None
    """the simulation whose score is shown; None where there is none"""
    others: Sequence[Simulation]
    """the other ones, newest first"""
    flags: Sequence[Flag]
    """those that wait for a decision"""
    parent: Explanation | None
    """what it revises, where that is an explanation of this neuron"""
    difference: float | None
    """its score less the headline's; None unless both are defined and by the same, named simulator"""
    why_no_difference: str
    is_headline: bool


_SHOWN = ("text", "source", "explainer", "dataset_position", "state", "score", "simulator", "created_at")


def _with_authors(neuron: int) -> models.QuerySet[Explanation]:
    # Of the author the name alone, not the password.
    rows = Explanation.objects.filter(neuron=neuron).select_related("author")
    return rows.only(*_SHOWN, "neuron", "parent", "job", "author__username")


explanations_of = Prepared(_with_authors, int)
simulations_of = Prepared(lambda neuron: Simulation.objects.filter(explanation__neuron=neuron).order_by("-id"), int)
"""All of a neuron's, the newest first."""
_find_flags = Prepared(lambda neuron: Flag.objects.undecided().filter(explanation__neuron=neuron).order_by("id"), int)


def list_explanations(
    neuron: Neuron, explanations: Iterable[Explanation], simulations: Iterable[Simulation]
) -> list[ListedExplanation]:
    """Return all of a neuron's explanations: headline, current, retired. One query where there are flags."""
    rows = {e.pk: e for e in explanations}
    if not rows:
        return []
    # Some may be of explanations that came since those were read.
    of_row: dict[int, list[Simulation]] = {pk: [] for pk in rows}
    for simulation in simulations:
        of_row.setdefault(simulation.explanation_id, []).append(simulation)
    flags: dict[int, list[Flag]] = {pk: [] for pk in rows}
    for flag in _find_undecided(neuron):
        flags.setdefault(flag.explanation_id, []).append(flag)
    headline = rows.get(neuron.headline_id or 0)
    scored = {pk: _scored(row, of_row[pk]) for pk, row in rows.items()}
    listed = [
        ListedExplanation(
            row=row,
            scored=scored[pk],
            others=[simulation for simulation in of_row[pk] if simulation is not scored[pk]],
            flags=flags[pk],
            parent=rows.get(row.parent_id or 0),
            difference=difference(row, headline),
            why_no_difference=why_no_difference(row, headline),
            is_headline=row is headline,
        )
        for pk, row in rows.items()
    ]
    by = headline.simulator if headline else ""
    return sorted(listed, key=lambda item: _place(item, by))


def _find_undecided(neuron: Neuron) -> Iterable[Flag]:
    """Return the flags that wait for a decision. The neuron counts them: mostly there is nothing to ask for."""
    if not neuron.open_flag_count:
        return ()
    return _find_flags(neuron.pk)


def _scored(row: Explanation, simulations: Sequence[Simulation]) -> Simulation | None:
    """Return the simulation that gave the score which `headlines` chose: the newest one by its simulator."""
    by_simulator = (simulation for simulation in simulations if simulation.simulator == row.simulator)
    return next(by_simulator, next(iter(simulations), None))


def _place(listed: ListedExplanation, headlines_simulator: str) -> tuple[bool, bool, bool, str, bool, float, int]:
    """Return the place in the list: by score, but among those of one simulator alone, the headline's first."""
    row = listed.row
    by_other = row.simulator != headlines_simulator
    score = row.score
    order = (by_other, row.simulator, score is None, -(score or 0.0), row.pk)
    return (not listed.is_headline, not row.is_current, *order)


def difference(explanation: Explanation, headline: Explanation | None) -> float | None:
    """Return the explanation's score less the headline's; None where they cannot be compared."""
    if headline is None or explanation is headline or explanation.score is None or headline.score is None:
        return None
    return None if why_no_difference(explanation, headline) else explanation.score - headline.score


def why_no_difference(explanation: Explanation, headline: Explanation | None) -> str:
    """Return why two scores cannot be compared, in two words; empty where they can, or there is nothing to compare."""
    if headline is None or explanation is headline:
        return ""
    if explanation.score is None or headline.score is None:
        return "undefined"
    if not explanation.simulator:
        return "simulator unknown"
    return "" if explanation.simulator == headline.simulator else "other simulator"


def choose_shown(listed: Sequence[ListedExplanation], state: PageState) -> tuple[ListedExplanation | None, PageState]:
    """Return the explanation whose simulation is shown, with the state as it was followed.

    It is the one that the state asks for, else the headline, else the first that has a simulation.
    """
    if state.explanation is not None:
        asked = next((e for e in listed if e.row.pk == state.explanation), None)
        if asked is not None:
            return asked, state
        problem = "The explanation that was asked for is not one of this neuron."
        state = state.with_problem(problem, explanation=None)
    headline = next((e for e in listed if e.is_headline), None)
    return headline or next((e for e in listed if e.scored), None), state


def choose_simulation(shown: ListedExplanation | None, state: PageState) -> tuple[Simulation | None, PageState]:
    """Return the simulation of the shown explanation that the state asks for, else the one that scores it."""
    if shown is None or state.simulation is None:
        return (shown.scored if shown else None), state
    every = (shown.scored, *shown.others)
    asked = next((simulation for simulation in every if simulation and simulation.pk == state.simulation), None)
    if asked is None:
        problem = "The simulation that was asked for is not one of this explanation."
        return shown.scored, state.with_problem(problem, simulation=None)
    return asked, state
