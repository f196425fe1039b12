"""What the base template puts around a neuron's page, which is kept for those who have no session."""

from __future__ import annotations

import re

import pytest
from django.conf import settings
from django.test import Client

from explanations.models import SubjectModel
from tests.world import HOSTILE, World

URL = "/tiny/layers/0/neurons/0/"


def read(client: Client, url: str = URL) -> str:
    response = client.get(url)
    assert response.status_code == 200
    assert "Cookie" in response["Vary"]
    return response.content.decode()


def client_with_a_session() -> Client:
    """Return a visitor whose session nobody knows: their page is Django's own work."""
    client = Client()
    client.cookies[settings.SESSION_COOKIE_NAME] = "x" * 32
    return client


@pytest.mark.parametrize(
    ("address", "in_link"),
    [
        ("/tiny/layers/0/neurons/0/", "/tiny/layers/0/neurons/0/"),
        ("/tiny/layers/0/neurons/1/?view=overlay&shown=20", "/tiny/layers/0/neurons/1/%3Fview%3Doverlay%26shown%3D20"),
        ('/tiny/layers/0/neurons/2/?"><script>', "/tiny/layers/0/neurons/2/%3F%2522%253E%253Cscript%253E"),
    ],
)
def test_a_page_is_what_django_makes_of_its_template(client: Client, world: World, address: str, in_link: str) -> None:
    page = read(client, address)

    assert page == read(client_with_a_session(), address)
    assert f'href="/accounts/sign-in/?next={in_link}"' in page
    assert "of-the-frame" not in page


def test_the_title_names_the_neuron_and_what_it_is_said_to_do(client: Client, world: World) -> None:
    assert "<title>Neuron 0:0 – days of the week, especially Tuesday – Tiny</title>" in read(client)


def test_a_kept_frame_knows_nobody(client: Client, world: World) -> None:
    client.force_login(world.reader)
    own = read(client)
    public = read(Client())

    for secret in (world.reader.get_username(), "csrf", "Sign out"):
        assert secret in own
        assert secret not in public


def test_what_comes_from_outside_is_escaped_in_the_title(client: Client, world: World) -> None:
    SubjectModel.objects.update(name="</title><b>")

    for visitor in (client, client_with_a_session()):
        page = read(visitor, "/tiny/layers/1/neurons/0/")
        title = re.search(r"<title>(.*?)</title>", page)
        assert title
        assert title[1].startswith("Neuron 1:0 – &lt;script&gt;")
        assert title[1].endswith("– &lt;/title&gt;&lt;b&gt;")
        assert HOSTILE not in page
