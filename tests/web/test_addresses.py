"""Addresses without the resolver."""

from __future__ import annotations

import pytest
from django.urls import NoReverseMatch, reverse, set_script_prefix

from explanations.addresses import address


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("overview", []),
        ("model", ["gpt2-xl"]),
        ("layer", ["gpt2-xl", 47]),
        ("neuron", ["gpt2-xl", 0, 6399]),
        ("neuron", ["1000000000000001", 1000000000000001, 7]),
        ("excerpts", ["a.0-0_0", 0, 0]),
        ("try_neuron", ["a", 10**12, 3]),
        ("flag", [12]),
        ("job", [1]),
    ],
)
def test_an_address_is_what_reverse_says(name: str, parts: list[str | int]) -> None:
    for _ in range(2):
        assert address(name, *parts) == reverse(name, args=parts)


def test_it_follows_the_prefix_of_the_site() -> None:
    before = address("neuron", "gpt2-xl", 1, 2)
    try:
        set_script_prefix("/100%/here/")
        assert address("neuron", "gpt2-xl", 1, 2) == reverse("neuron", args=["gpt2-xl", 1, 2]) != before
    finally:
        set_script_prefix("/")


@pytest.mark.parametrize(("name", "parts"), [("neuron", ["gpt2-xl", 1]), ("nowhere", [1]), ("model", ["No Slug"])])
def test_what_is_no_address_is_an_error(name: str, parts: list[str | int]) -> None:
    with pytest.raises(NoReverseMatch):
        address(name, *parts)
