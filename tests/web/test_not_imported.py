"""An installation that holds a part of a model: pages say what is not imported, with the command for it."""

from __future__ import annotations

import html
import re

import pytest
from django.test import Client
from django.urls import reverse

from explanations.import_commands import describe_numbers, import_command, source_of
from explanations.models import Neuron, RelatedSet, SubjectModel
from explanations.pipeline import packing
from explanations.pipeline.records import NeuronId, NeuronWeights, Related, RelatedNeurons
from explanations.statistics import refresh_statistics
from tests.world import add_explanation, add_neuron

pytestmark = pytest.mark.django_db


@pytest.fixture
def xl() -> SubjectModel:
    """GPT-2 XL with one neuron, 21:5, which is related to others."""
    model = SubjectModel.objects.create(slug="gpt2-xl", name="GPT-2 XL", layers=48, neurons_per_layer=6400)
    neuron = add_neuron(model, 21, 5)
    add_explanation(neuron, "days of the week", 0.4)
    side = NeuronWeights((NeuronId(20, 3), NeuronId(21, 5), NeuronId(23, 9), NeuronId(24, 0)), (0.5, 0.4, 0.3, 0.2))
    related = Related(neurons=RelatedNeurons(side, None, None, None))
    RelatedSet.objects.create(neuron=neuron, data=packing.pack_related(related))
    refresh_statistics(model.pk)
    return model


def commands(client: Client, address: str, status: int = 200) -> list[str]:
    """Return the commands that a page shows to be copied."""
    response = client.get(address)
    assert response.status_code == status
    page = response.content.decode()
    found = re.findall(r'<code class="copyable">(.*?)</code>|<pre class="command"><code>(.*?)</code>', page)
    return [html.unescape(one or other) for one, other in found]


PUBLIC = "python manage.py import_dataset public --model gpt2-xl --layers "


def test_the_model_page_names_every_missing_layer(client: Client, xl: SubjectModel) -> None:
    assert commands(client, "/gpt2-xl/") == [PUBLIC + "0-20", PUBLIC + "22-47"]


def test_a_layer_that_is_not_imported_says_so(client: Client, xl: SubjectModel) -> None:
    assert commands(client, "/gpt2-xl/layers/20/") == [PUBLIC + "20"]


def test_a_layer_that_is_imported_in_part_says_so(client: Client, xl: SubjectModel) -> None:
    assert commands(client, "/gpt2-xl/layers/21/") == [PUBLIC + "21"]


def test_a_layer_that_is_complete_shows_no_command(client: Client, xl: SubjectModel) -> None:
    SubjectModel.objects.update(neurons_per_layer=1)
    assert commands(client, "/gpt2-xl/layers/21/") == []


def test_a_neuron_that_is_not_imported_says_so(client: Client, xl: SubjectModel) -> None:
    found = commands(client, "/gpt2-xl/layers/20/neurons/3/", 404)
    assert found == [PUBLIC + "20 --neurons 3", PUBLIC + "20"]


def test_a_jump_leads_to_the_command(client: Client, xl: SubjectModel) -> None:
    response = client.get(reverse("go"), {"model": "gpt2-xl", "neuron": "47:6399"})
    assert commands(client, response["Location"], 404)[0] == PUBLIC + "47 --neurons 6399"


def test_related_neurons_that_are_not_imported_say_so(client: Client, xl: SubjectModel) -> None:
    address = "/gpt2-xl/layers/21/neurons/5/"
    assert commands(client, address) == [PUBLIC + "20,23-24"]
    page = client.get(address).content.decode()
    assert "3 of these neurons are not imported" in page
    assert page.count("not imported</td>") == 3


@pytest.mark.parametrize("query", ["layer=20-22", "q=days&layer=20-22", "model=gpt2-xl&layer=20-22"])
def test_a_search_of_layers_that_are_not_imported_says_so(client: Client, xl: SubjectModel, query: str) -> None:
    assert commands(client, f"/search/?{query}") == [PUBLIC + "20,22"]
    assert "Nothing of layers 20,22 of GPT-2 XL is imported" in client.get(f"/search/?{query}").content.decode()


@pytest.mark.parametrize("query", ["layer=21", "q=days", "model=gpt2-xl", "layer=nonsense"])
def test_a_search_of_what_is_imported_shows_no_command(client: Client, xl: SubjectModel, query: str) -> None:
    assert commands(client, f"/search/?{query}") == []


def test_a_search_of_two_models_names_no_layer(client: Client, xl: SubjectModel) -> None:
    SubjectModel.objects.create(slug="other", name="Other", layers=48, neurons_per_layer=4)
    assert commands(client, "/search/?layer=20") == []


def test_a_model_from_the_web_names_its_address(client: Client, xl: SubjectModel) -> None:
    SubjectModel.objects.update(slug="mine", data_address="https://example.org/n/")
    assert commands(client, "/mine/layers/3/")[0].endswith(
        "import_dataset https://example.org/n/ --model mine --layers 3"
    )


def test_a_model_from_a_folder_names_no_folder(client: Client, xl: SubjectModel) -> None:
    SubjectModel.objects.update(slug="mine")
    assert "import_dataset SOURCE --model mine" in commands(client, "/mine/layers/3/")[0]
    # Nobody knows whether there is more of layer 21 anywhere.
    assert commands(client, "/mine/layers/21/") == []
    page = client.get("/mine/layers/3/neurons/1/").content.decode()
    assert "where SOURCE is the folder or address that holds its data" in page


def test_numbers_are_told_as_the_commands_take_them(xl: SubjectModel) -> None:
    assert describe_numbers([7, 0, 1, 3, 2, 3]) == "0-3,7"
    assert import_command(xl, [3], 4) == PUBLIC + "3 --neurons 4"
    assert source_of(xl) == "public"
    assert Neuron.objects.count() == 1
