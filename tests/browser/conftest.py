from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.browser.chromium import Browser, missing_browser, open_chromium
from tests.model.tiny import byte_tokenizer, save
from tests.site import Site, fresh_database, run_site


@pytest.fixture(scope="session")
def chromium() -> None:
    """Skip where there is no Chromium, or fail where there must be one."""
    if not (reason := missing_browser()):
        return
    if os.environ.get("REQUIRE_CHROMIUM") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def subject_folder(tmp_path_factory: pytest.TempPathFactory) -> Path | None:
    """Return a folder with a tiny random model of the world's shape; None where torch is not installed."""
    if find_spec("torch") is None or find_spec("transformers") is None:
        return None
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    tokenizer = byte_tokenizer()
    sizes = {"hidden_size": 16, "intermediate_size": 4, "num_hidden_layers": 2, "num_attention_heads": 2}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **sizes))
    return save(tmp_path_factory.mktemp("subject") / "tiny", model, tokenizer)


@pytest.fixture(scope="session")
def site(chromium: None, subject_folder: Path | None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The world's site. Tests that change it each use a neuron of their own."""
    data = tmp_path_factory.mktemp("site")
    if subject_folder:
        os.environ["NEURONVIEWER_SUBJECTS"] = f"tiny={subject_folder}"
    with fresh_database() as url, run_site("tests.browser.world_site", data=data, database_url=url) as site:
        os.environ.pop("NEURONVIEWER_SUBJECTS", None)
        yield site


@pytest.fixture
def start_browser(site: Site, tmp_path: Path) -> Iterator[Callable[..., Browser]]:
    """Start browsers that are stopped at the end; what their consoles complain of fails the test."""
    with ExitStack() as stack:
        browsers: list[Browser] = []

        def start(*, javascript: bool = True) -> Browser:
            profile = tmp_path / f"profile{len(browsers)}"
            browsers.append(Browser(stack.enter_context(open_chromium(profile, javascript=javascript)), site.url))
            return browsers[-1]

        yield start
        for browser in browsers:
            assert browser.complaints() == []


@pytest.fixture
def browser(start_browser: Callable[..., Browser]) -> Browser:
    return start_browser()
