"""The constraints that guard the rows."""

from __future__ import annotations

import pytest
from django.db import IntegrityError

from explanations.models import Neuron
from tests.world import World


def test_a_neuron_exists_once(world: World) -> None:
    with pytest.raises(IntegrityError):
        Neuron.objects.create(model=world.model, layer=0, index=0)


def test_the_headline_is_the_best_explanation_in_words(world: World) -> None:
    assert world.neuron.headline_text == world.explanation.text
    assert world.neuron.headline_score == 0.4
