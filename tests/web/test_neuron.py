"""The page of a neuron."""

from __future__ import annotations

import re
from collections.abc import Callable
from html import unescape

import numpy as np
import pytest
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from explanations import store
from explanations.models import Excerpt, Explanation, Job, Neuron, RelatedSet, Simulation, Source
from explanations.pipeline import packing
from explanations.pipeline.records import (
    NEURON_SCALE,
    Kind,
    NeuronId,
    NeuronWeights,
    Related,
    RelatedNeurons,
    Scores,
    TokenValues,
    WeightTokens,
)
from explanations.review import file_flag
from tests.web.attributes import read_values
from tests.world import HOSTILE, World, add_explanation, make_simulation

URL = "/tiny/layers/0/neurons/0/"
HTMX = {"HX-Request": "true", "HX-Current-URL": f"http://testserver{URL}"}
QUERIES = 8
"""the neuron, its explanations, their simulations, their flags, tokens, jobs, related neurons"""


def read(client: Client, url: str = URL, status: int = 200, **headers: str) -> str:
    response = client.get(url, headers=headers or None)
    assert response.status_code == status
    return response.content.decode()


def words(page: str) -> str:
    """Return the text of a page, without its marks and with single spaces."""
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", page)).split())


def section(page: str, name: str) -> str:
    found = re.search(rf'<section id="{name}".*?</section>', page, re.S)
    assert found, name
    return found[0]


def relate(neuron: Neuron) -> None:
    tokens = TokenValues((" cat", None, "<b>"), (0.5, None, 0.25))
    weights = NeuronWeights((NeuronId(1, 0), NeuronId(1, 3)), (0.75, 0.5))
    none = NeuronWeights((), ())
    related = Related(tokens, WeightTokens(tokens, tokens, tokens, tokens), RelatedNeurons(None, None, weights, none))
    RelatedSet.objects.create(neuron=neuron, data=packing.pack_related(related))


def test_it_shows_explanation_score_and_what_the_score_means(client: Client, world: World) -> None:
    text = words(read(client))

    assert "days of the week, especially Tuesday 0.40 correlation, simulated by toy-simulator" in text
    assert "follow the real ones moderately: they share 16 % of their variation" in text
    assert "Published: toy-explainer" in text
    assert "10 of 10" in text


def test_it_links_to_its_layer_its_neighbours_and_what_can_be_done(client: Client, world: World) -> None:
    page = read(client, "/tiny/layers/0/neurons/1/")

    for link in ("/tiny/", "/tiny/layers/0/", "/random/?model=tiny", "/tiny/layers/0/neurons/1/re-explain/"):
        assert f'href="{link}"' in page
    assert re.search(r'rel="prev" href="/tiny/layers/0/neurons/0/"', page)
    assert re.search(r'rel="next" href="/tiny/layers/0/neurons/2/"', page)
    assert re.search(r'href="/explanations/\d+/flag/\?next=/tiny/layers/0/neurons/1/"', page)


def test_the_ends_of_a_layer_have_one_neighbour(client: Client, world: World) -> None:
    assert 'rel="prev"' not in read(client)
    page = read(client, "/tiny/layers/1/neurons/0/")
    assert 'rel="prev"' not in page
    assert 'rel="next"' not in page


def test_side_by_side_shows_every_scored_excerpt_twice(client: Client, world: World) -> None:
    part = section(read(client), "simulation")

    assert part.count('class="excerpt"') == part.count('class="pair"') == 10
    assert part.count('<p class="tokens">') == 20
    assert part.count("Top excerpt, rank") == 2 * part.count("Random excerpt ") / 2 == 10


def test_overlaid_shows_every_scored_excerpt_once_with_both_shades(client: Client, world: World) -> None:
    part = section(read(client, URL + "?view=overlay"), "simulation")

    assert part.count('class="excerpt"') == part.count('<div class="overlay"><p class="tokens">') == 10
    assert re.search(r'<b class="[pn]\d+ s\d+', part)
    assert 'class="pair"' not in part


def test_top_and_random_excerpts_stand_apart_with_their_scores(client: Client, world: World) -> None:
    text = words(section(read(client), "simulation"))

    assert text.index("Top excerpts where") < text.index("Random excerpts ordinary")
    assert "correlation 0.40 over 5 together" in text


def test_values_stand_once_an_excerpt_and_are_what_was_kept(client: Client, world: World) -> None:
    record = store.read_neuron_record(world.neuron)
    assert record is not None
    part = section(read(client), "simulation")

    values = re.findall(r'data-real="([^"]*)" data-simulated="([^"]*)"', part)

    assert len(values) == 10
    kept = record.top[2].activations
    assert np.array_equal(read_values(values[0][0], len(kept)), kept)
    assert read_values(values[0][1], len(kept)).max() <= 10


def test_a_simulation_on_its_own_scale_says_so_and_a_calibrated_one_is_shaded_like_the_real(
    client: Client, world: World
) -> None:
    part = section(read(client), "simulation")
    assert 'data-of="10"' in part
    assert "not calibrated" in part

    Simulation.objects.update(scale=NEURON_SCALE)
    part = section(read(client), "simulation")
    assert "data-of" not in part
    assert "not calibrated" not in part


def test_the_switch_keeps_the_rest_of_the_state(client: Client, world: World) -> None:
    page = read(client, URL + f"?explanation={world.baseline.pk}&excerpts=q1&shown=20")

    link = re.search(r'id="view-overlay" href="([^"]*)"', page)
    assert link
    assert unescape(link[1]) == f"{URL}?view=overlay&explanation={world.baseline.pk}&excerpts=q1&shown=20#simulation"


def test_htmx_gets_the_section_and_the_address_that_holds_all_state(client: Client, world: World) -> None:
    current = f"http://testserver{URL}?excerpts=q1&view=side"
    response = client.get(URL + "?view=overlay", headers={**HTMX, "HX-Current-URL": current})
    part = response.content.decode()

    assert part.lstrip().startswith('<section id="simulation"')
    assert "<html" not in part
    assert 'id="excerpts"' not in part
    assert response["HX-Push-Url"] == f"{URL}?view=overlay&excerpts=q1"
    assert {"HX-Request", "HX-Current-URL"} <= set(response["Vary"].split(", "))


def test_history_restores_get_the_whole_page(client: Client, world: World) -> None:
    assert "<html" in read(client, URL, **HTMX, **{"HX-History-Restore-Request": "true"})


def test_another_explanation_can_be_shown(client: Client, world: World) -> None:
    part = words(section(read(client, URL + f"?explanation={world.baseline.pk}"), "simulation"))

    assert "For the explanation tokens such as ' Tuesday', ' cat' , by " in part
    assert " 0.70 back to the headline" in part


def test_every_simulation_of_an_explanation_can_be_opened(client: Client, world: World) -> None:
    record = store.read_neuron_record(world.neuron)
    assert record is not None
    earlier = world.explanation.simulations.get()
    again = store.save_simulation(explanation=world.explanation, simulation=make_simulation(record, 0.25, "another"))
    page = read(client, URL)
    assert "0.25 by another" in words(section(page, "explanations"))
    assert f"?explanation={world.explanation.pk}&amp;simulation={again.pk}#simulation" in page
    part = words(section(read(client, f"{URL}?explanation={world.explanation.pk}&simulation={again.pk}"), "simulation"))
    assert ", by another, " in part
    assert " 0.25 back to the headline" in part
    # Without an explanation it is the headline's.
    assert ", by another, " in words(section(read(client, f"{URL}?simulation={again.pk}"), "simulation"))
    assert f"What {earlier.simulator} expects" in words(section(read(client, URL), "simulation"))


def test_a_simulation_of_another_explanation_is_not_shown(client: Client, world: World) -> None:
    other = world.baseline.simulations.get()
    page = words(read(client, f"{URL}?explanation={world.explanation.pk}&simulation={other.pk}"))
    assert "The simulation that was asked for is not one of this explanation." in page


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("?view=x", "view=x was not followed"),
        ("?explanation=abc", "explanation=abc was not followed"),
        ("?explanation=999999999999999999999999", "is not one of this neuron"),
        ("?shown=-1", "shown=-1 was not followed"),
        ("?shown=100000", "shown=100000 was not followed"),
        ("?excerpts=q9", "No excerpts called q9 were recorded"),
        ("?excerpts=../x", "excerpts=../x was not followed"),
        ("?view=%00%ED%A0%80", "was not followed"),
        ("?view=%3Cscript%3E", "view=<script> was not followed"),
    ],
)
def test_bad_queries_are_named_and_the_page_is_shown(client: Client, world: World, query: str, sentence: str) -> None:
    page = read(client, URL + query)

    assert sentence in words(page)
    assert "<script>" not in page
    assert section(page, "simulation").count('class="excerpt"') == 10
    assert section(page, "excerpts").count('class="excerpt"') == 5


def test_the_explanation_of_another_neuron_is_refused(client: Client, world: World) -> None:
    other = Explanation.objects.get(text="French cities")

    assert "is not one of this neuron" in read(client, URL + f"?explanation={other.pk}")


def test_htmx_hears_of_bad_queries_too(client: Client, world: World) -> None:
    assert "view=x was not followed" in read(client, URL + "?view=x", **HTMX)


def test_the_other_explanations_are_listed_with_scores_and_sources(client: Client, world: World) -> None:
    text = words(section(read(client), "explanations"))

    assert "especially Tuesday headline 0.40 toy-simulator" in text
    assert "' cat' 0.70 token lookup other simulator Baseline: toy-explainer" in text


def test_a_difference_is_shown_only_between_scores_of_the_same_simulator(client: Client, world: World) -> None:
    revision = add_explanation(world.neuron, "days", 0.25, "toy-simulator", Source.MODEL)
    Explanation.objects.filter(pk=revision.pk).update(parent=world.explanation)

    text = words(section(read(client), "explanations"))

    assert "days revises days of the week, especially Tuesday 0.25 toy-simulator \u22120.15" in text
    assert text.count("other simulator") == 1


def test_retired_explanations_are_told_apart(client: Client, world: World) -> None:
    page = read(client, "/tiny/layers/0/neurons/3/")

    assert "No current explanation" in page
    assert '<span class="tag">retired</span>' in section(page, "explanations")
    assert "For the retired explanation" in words(section(page, "simulation"))


def test_open_flags_are_named(client: Client, world: World) -> None:
    file_flag(explanation=world.explanation, reporter=world.reader, reason="too_broad", note="")

    page = read(client)

    assert "Flagged as too broad ; waiting for a decision" in words(page)
    assert "flagged: too broad" in words(section(page, "explanations"))


def test_unfinished_jobs_are_linked(client: Client, world: World) -> None:
    job = Job.objects.create(neuron=world.neuron, explainer="a", simulator="b")

    page = read(client)

    assert "A re-explanation is queued" in words(page)
    assert f'href="/jobs/{job.pk}/"' in page


def test_undefined_scores_are_undefined_with_the_reason(client: Client, world: World) -> None:
    Explanation.objects.filter(pk=world.explanation.pk).update(score=None)
    simulation = Simulation.objects.get(explanation=world.explanation)
    sequences = packing.unpack_sequences(simulation.data)
    flat = [packing.PackedSequence(s.key, s.kind, np.zeros(len(s.simulated)), s.real, Scores(None)) for s in sequences]
    Simulation.objects.filter(pk=simulation.pk).update(
        data=packing.pack_sequences(flat), ev_correlation=None, top_only=None, rsquared=None
    )

    page = read(client)
    text = words(page)

    assert "undefined correlation, simulated by toy-simulator" in text
    assert "The score is undefined: the simulated activations do not vary" in text
    assert text.count("correlation undefined: the simulated activations do not vary") == 10
    assert "Correlation, top only undefined" in text
    assert "0.00" not in section(page, "simulation")


def test_failed_excerpts_are_counted_with_their_reasons(client: Client, world: World) -> None:
    Simulation.objects.update(excerpt_count=8, failures=[[3, "too short"], [9, "<b>other</b> tokens"]])

    text = words(section(read(client), "simulation"))

    assert "8 of 10" in text
    assert "2 excerpts could not be simulated Excerpt 4: too short Excerpt 10: <b>other</b> tokens" in text


def test_scored_excerpts_that_are_not_stored_are_named(client: Client, world: World) -> None:
    sequence = packing.unpack_sequences(Simulation.objects.get(explanation=world.explanation).data)[0]
    Excerpt.objects.filter(key=sequence.key).delete()

    assert "The text of this excerpt is not stored" in words(section(read(client), "simulation"))

    records, _ = packing.unpack_records(world.neuron.activation_set.data)
    world.neuron.activation_set.data = packing.pack_records([r for r in records if r.kind == Kind.RANDOM])
    world.neuron.activation_set.save()
    text = words(section(read(client), "simulation"))
    assert text.count("The real activations of this excerpt are not stored") == 4


def test_statistics_and_histogram_say_what_they_are_of(client: Client, world: World) -> None:
    Neuron.objects.filter(pk=world.neuron.pk).update(skewness=None)

    page = read(client)
    text = words(page)

    assert "Variance 1 Skewness unknown Kurtosis 3" in text
    assert "Activations at the 720 tokens of 60 different recorded excerpts" in text
    assert re.search(r'<path class="negative" d="M[\d.]+ 110v-[\d.]+h', page)


@pytest.mark.parametrize(
    ("url", "sentences"),
    [
        ("/tiny/layers/0/neurons/1/", ["It has not been simulated", "This explanation has not been simulated"]),
        ("/tiny/layers/0/neurons/2/", ["No explanation yet", "There is no explanation to simulate yet"]),
    ],
)
def test_what_is_not_there_is_said(client: Client, world: World, url: str, sentences: list[str]) -> None:
    text = words(read(client, url))

    for sentence in [*sentences, "No related tokens are stored", "No related neurons are stored"]:
        assert sentence in text


def test_a_neuron_without_records_says_so(client: Client, world: World) -> None:
    Neuron.objects.create(model=world.model, layer=1, index=2)

    text = words(read(client, "/tiny/layers/1/neurons/2/"))

    assert "No activation records of this neuron are stored, so there is no histogram." in text
    assert "No excerpts of this neuron are stored. This command runs the model" in text
    assert "Maximum unknown Mean unknown" in text


def test_related_tokens_and_neurons_are_shown_with_what_is_known_of_them(client: Client, world: World) -> None:
    relate(world.neuron)

    text = words(section(read(client), "related"))

    assert "Highest mean activation cat 0.500 <b> 0.250" in text
    assert "Downstream, positive 1:0 0.750 " + HOSTILE in text
    assert "1:3 0.500 not imported" in text
    assert "Upstream" not in text


def test_a_related_neuron_that_no_model_has_is_not_imported(client: Client, world: World) -> None:
    far = NeuronWeights((NeuronId(2**32 - 1, 2**32 - 1),), (0.5,))
    related = Related(neurons=RelatedNeurons(far, None, None, None))
    RelatedSet.objects.create(neuron=world.neuron, data=packing.pack_related(related))

    text = words(section(read(client), "related"))

    assert "Upstream, positive 4294967295:4294967295 0.500 not imported" in text
    assert "No related tokens are stored" in text


def test_everything_hostile_is_escaped(client: Client, world: World) -> None:
    relate(world.hostile)
    for url in ("", "?view=overlay", "?excerpts=q1", f"?explanation={world.baseline.pk}"):
        page = read(client, f"/tiny/layers/1/neurons/0/{url}")
        assert "<script>alert" not in page
        assert "&lt;script&gt;alert" in page
        assert "{{ 7|add:7 }}" in page
        assert "\0" not in page
        assert "\u202e" not in page


def test_lone_surrogates_are_shown_as_escapes(client: Client, world: World) -> None:
    assert r'data-e="\ud800"><i>\ud800</i>' in read(client, "/tiny/layers/1/neurons/0/")


def test_nothing_needs_inline_script_or_style(client: Client, world: World) -> None:
    for query in ("", "?view=overlay"):
        page = read(client, URL + query)
        assert not re.search(r"<[^>]* (style|on\w+)=", page)
        assert not re.search(r"<script(?![^>]* src=)|<style", page)


def test_a_neuron_that_was_not_imported_says_how_to_get_it(client: Client, world: World) -> None:
    Neuron.objects.create(model=world.model, layer=1, index=3)

    page = read(client, "/tiny/layers/1/neurons/2/", 404)

    assert "Neuron 1:2 has not been imported" in page
    assert "import_dataset SOURCE --model tiny --layers 1 --neurons 2" in page
    assert 'rel="prev" href="/tiny/layers/1/neurons/0/"' in page
    assert 'rel="next" href="/tiny/layers/1/neurons/3/"' in page


@pytest.mark.parametrize(("layer", "index"), [(2, 0), (0, 4), (10**30, 0), (0, 10**30)])
def test_a_neuron_out_of_range_gets_the_range(client: Client, world: World, layer: int, index: int) -> None:
    page = read(client, f"/tiny/layers/{layer}/neurons/{index}/", 404)

    assert "Tiny has layers 0 to 1, each with neurons 0 to 3" in page


def test_an_unknown_model_is_not_found(client: Client, world: World) -> None:
    read(client, "/nobody/layers/0/neurons/0/", 404)


def test_it_only_reads(client: Client, world: World) -> None:
    assert client.post(URL).status_code == 405
    assert client.head(URL).status_code == 200


def test_a_neuron_without_jobs_and_kept_texts_costs_no_query_for_them(
    client: Client, world: World, django_assert_num_queries: Callable[..., DjangoAssertNumQueries]
) -> None:
    with django_assert_num_queries(4):  # type: ignore[operator]
        page = read(client)
    assert "A re-explanation is" not in page
    Job.objects.create(neuron=world.neuron, explainer="e", simulator="s", requested_by=world.reader)
    with django_assert_num_queries(5):  # type: ignore[operator]
        assert "A re-explanation is" in read(client)


@pytest.mark.parametrize("grow", [0, 6])
def test_queries_do_not_grow_with_what_is_shown(
    client: Client, world: World, django_assert_max_num_queries: Callable[..., DjangoAssertNumQueries], grow: int
) -> None:
    relate(world.neuron)
    for number in range(grow):
        explanation = add_explanation(world.neuron, f"another {number}", 0.1)
        file_flag(explanation=explanation, reporter=world.reader, reason="vague", note="")

    with django_assert_max_num_queries(QUERIES):  # type: ignore[operator]
        read(client, URL + "?shown=20")
    with django_assert_max_num_queries(5):  # type: ignore[operator]
        read(client, URL + "?view=overlay", **HTMX)
