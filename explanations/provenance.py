"""How explanations and their simulations came about, as their addresses give it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from explanations.models import Explanation, Simulation


def provenance_of(explanation: Explanation, simulations: Iterable[Simulation]) -> dict[str, Any]:
    """Return all that is known of an explanation and its simulations, newest first.

    `provenance` is `pipeline.run.Provenance`, or null where nobody noted it, as for what was imported.
    """
    neuron = explanation.neuron
    return {
        "explanation": explanation.pk,
        "model": neuron.model.slug,
        "layer": neuron.layer,
        "neuron": neuron.index,
        "text": explanation.text,
        "source": explanation.source,
        "explainer": explanation.explainer,
        "prompt_version": explanation.prompt_version,
        "author": explanation.author.get_username() if explanation.author else None,
        "revises": explanation.parent_id,
        "job": explanation.job_id,
        "made_at": explanation.created_at,
        "simulations": [_simulation(simulation) for simulation in simulations],
    }


def _simulation(simulation: Simulation) -> dict[str, Any]:
    return {
        "simulator": simulation.simulator,
        "method": simulation.method,
        "scale": simulation.scale,
        "ev_correlation": simulation.ev_correlation,
        "rsquared": simulation.rsquared,
        "absolute_dev_explained": simulation.absolute_dev_explained,
        "top_only": simulation.top_only,
        "random_only": simulation.random_only,
        "excerpts_simulated": simulation.excerpt_count,
        "failures": [{"excerpt": place, "reason": reason} for place, reason in simulation.failures],
        "tokens_in": simulation.tokens_in,
        "tokens_out": simulation.tokens_out,
        "cost_usd": simulation.cost_usd,
        "made_at": simulation.created_at,
        "provenance": simulation.provenance,
    }
