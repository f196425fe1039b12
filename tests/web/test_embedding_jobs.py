"""The embedding simulator in the product: offered first where it is installed, said to be missing where it is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from explanations import configured_models, methods
from explanations.models import Explanation, Job
from explanations.pipeline.metering import Meter
from explanations.pipeline.simulator.embedding import EMBEDDING, EMBEDDING_SIMULATOR
from explanations.pipeline.token_lookup import TOKEN_LOOKUP
from tests.pipeline.embedding import hashed_simulator, needs_model
from tests.web.test_job_states import run
from tests.web.test_jobs import FORM_URL, get, text_of
from tests.world import World

WRITE_URL = "/tiny/layers/0/neurons/0/explain/"


@pytest.fixture
def signed_in(client: Client, world: World) -> Client:
    client.force_login(world.explainer)
    return client


@pytest.fixture
def _installed(monkeypatch: pytest.MonkeyPatch) -> None:
    simulator = hashed_simulator()
    monkeypatch.setattr(configured_models, "simulator_by_embedding", lambda: simulator)
    monkeypatch.setattr(configured_models, "why_no_embedding_model", lambda: "")


@pytest.fixture
def _missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(configured_models, "why_no_embedding_model", lambda: "It needs x: pip install <b>.")


@pytest.mark.usefixtures("_installed")
@pytest.mark.parametrize("url", [FORM_URL, WRITE_URL])
def test_it_is_the_simulator_that_is_chosen_beforehand(signed_in: Client, url: str) -> None:
    page = get(signed_in, url)
    choice = page[page.index(f'value="{EMBEDDING_SIMULATOR}"') :]
    assert " checked" in choice[: choice.index(">")]
    assert "Predicts from the meaning of words" in text_of(page)


@pytest.mark.usefixtures("_missing")
def test_where_it_is_missing_the_page_says_why_and_the_lookup_is_chosen(signed_in: Client) -> None:
    page = get(signed_in, FORM_URL)
    assert EMBEDDING_SIMULATOR not in page
    assert "It needs x: pip install &lt;b&gt;." in page
    assert list(methods.planned_simulators()) == [TOKEN_LOOKUP]


@pytest.mark.usefixtures("_installed")
def test_what_a_person_writes_is_scored_and_shown_with_the_simulators_name(signed_in: Client, world: World) -> None:
    signed_in.post(WRITE_URL, {"text": "the word 'Tuesday'", "simulator": EMBEDDING_SIMULATOR})
    job = Job.objects.get()
    run(job)
    made = Explanation.objects.get(text="the word 'Tuesday'")
    assert (made.source, made.simulator) == ("human", EMBEDDING_SIMULATOR)
    assert made.simulations.get().method == EMBEDDING
    assert made.score is not None
    assert EMBEDDING_SIMULATOR in text_of(get(signed_in, job.get_absolute_url()))
    assert EMBEDDING_SIMULATOR in text_of(get(signed_in, world.neuron.get_absolute_url()))


@pytest.mark.usefixtures("_installed")
def test_it_asks_no_language_model(world: World) -> None:
    simulator = methods.open_simulator(EMBEDDING_SIMULATOR, Meter(0.0))
    assert methods.is_free(simulator)


@needs_model
def test_the_model_may_lie_elsewhere(settings: Any, tmp_path: Path) -> None:
    settings.EMBEDDING_MODEL = tmp_path / "model.onnx"
    assert f"{tmp_path / 'model.onnx'} is not there" in configured_models.why_no_embedding_model()
    (tmp_path / "model.onnx").write_bytes(b"x")
    assert configured_models.why_no_embedding_model() == ""
    simulator = configured_models.simulator_by_embedding()
    assert simulator is not None
    assert simulator is configured_models.simulator_by_embedding()
