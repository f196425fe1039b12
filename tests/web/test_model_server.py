"""The server that speaks OpenAI's protocol, and the command that starts it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from django.core.management import CommandError, call_command

from explanations.model_server import LocalResponder, ModelServer, Rule, Script, ScriptError, read_script
from explanations.pipeline.language_models import (
    Completion,
    LanguageModelError,
    Message,
    Prompt,
    PromptToken,
    Sample,
    ScoredPrompt,
    Usage,
)
from explanations.pipeline.language_models.endpoint import EndpointModel
from explanations.pipeline.language_models.secret import Secret
from explanations.pipeline.language_models.transport import Transport
from neuronviewer.settings import BASE_DIR

TALK = {"messages": [{"role": "user", "content": "What does it find?"}]}


class EchoModel:
    """A language model that says what it was asked."""

    name = "echo"
    context_window = 100
    can_chat = True
    has_prompt_log_probabilities = True
    counts_exactly = True

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []

    def complete(self, prompt: Prompt, **options: Any) -> Completion:
        self.asked.append(options)
        said = prompt if isinstance(prompt, str) else "|".join(f"{m.role}: {m.content}" for m in prompt)
        if "too long" in said:
            raise LanguageModelError("The prompt takes 900 tokens, but echo reads 100 in all.")
        return Completion(said, Usage(7, 3), is_cut_off=True, others=(Sample("another"),) * (options["n"] - 1))

    def complete_batch(self, prompts: Any, **options: Any) -> Any:
        raise NotImplementedError

    def prompt_log_probabilities(self, prompt: str, *, top: int, places: Any = None) -> ScoredPrompt:
        first, rest = prompt[:3], prompt[3:]
        return ScoredPrompt(
            [
                PromptToken(first, {}, 0),
                PromptToken("😀", {"😀": -0.5, "\t": -1.0}, 3, -0.5),
                PromptToken("", {}, 4, -1.0),
                PromptToken(rest[1:], {"x": -2.0}, 4, -3.0),
            ],
            Usage(9),
        )

    def prompt_log_probabilities_batch(self, prompts: Any, *, top: int, places: Any = None) -> Any:
        raise NotImplementedError

    def count_tokens(self, prompt: Prompt) -> int:
        return 1

    def cost_usd(self, tokens_in: int, tokens_out: int) -> float:
        return 0.0


@pytest.fixture
def scripted() -> Iterator[ModelServer]:
    with ModelServer(Script([Rule(answer=["cats", "dogs"])])) as server:
        yield server


def test_it_names_its_model(scripted: ModelServer) -> None:
    found = httpx.get(f"{scripted.url}/models").json()
    assert [model["id"] for model in found["data"]] == ["scripted"]


def test_it_answers_conversations_in_the_protocols_form(scripted: ModelServer) -> None:
    found = httpx.post(f"{scripted.url}/chat/completions", json=TALK).json()
    assert found["object"] == "chat.completion"
    assert found["choices"] == [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "cats"},
            "logprobs": None,
            "finish_reason": "stop",
        }
    ]
    assert found["usage"]["total_tokens"] == found["usage"]["prompt_tokens"] + found["usage"]["completion_tokens"]
    again = httpx.post(f"{scripted.url}/chat/completions", json=TALK).json()
    assert again["choices"][0]["message"]["content"] == "dogs"


def test_it_answers_raw_texts_in_the_protocols_form(scripted: ModelServer) -> None:
    found = httpx.post(f"{scripted.url}/completions", json={"prompt": ["It finds"], "n": 2, "stop": "s"}).json()
    assert [choice["text"] for choice in found["choices"]] == ["cat", "dog"]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"{", "not JSON"),
        (b"[]", "not a JSON object"),
        (b"{}", "messages must be a list"),
        (b'{"messages": [{}]}', "every message needs a role"),
        (b'{"messages": [{"role": ["user"], "content": "a"}]}', "every message needs a role"),
        (b'{"messages": [{"role": "user", "content": "a"}], "stream": true}', "does not stream"),
        (b'{"messages": [{"role": "user", "content": "a"}], "n": 0}', "n must be a number from 1"),
        (b'{"messages": [{"role": "user", "content": "a"}], "stop": [1]}', "stop must be"),
    ],
)
def test_it_refuses_what_is_not_in_the_protocols_form(content: bytes, complaint: str, scripted: ModelServer) -> None:
    found = httpx.post(f"{scripted.url}/chat/completions", content=content)
    assert found.status_code == 400
    assert complaint in found.json()["error"]["message"]


def test_it_refuses_other_addresses_and_methods(scripted: ModelServer) -> None:
    assert httpx.get(f"{scripted.url}/chat/completions").status_code == 405
    assert httpx.post(f"{scripted.url}/embeddings", json={}).status_code == 404
    assert httpx.get(f"http://127.0.0.1:{scripted.port}/").status_code == 404


def test_rules_answer_in_their_order_as_often_as_they_may() -> None:
    rules = [
        Rule(contains="cat", times=1, status=429, retry_after=3, message="slow down"),
        Rule(route="completions", answer="raw"),
        Rule(contains="cat", answer="meow"),
    ]
    with ModelServer(Script(rules)) as server:
        cat = {"messages": [{"role": "user", "content": "a cat"}]}
        first = httpx.post(f"{server.url}/chat/completions", json=cat)
        assert (first.status_code, first.headers["Retry-After"]) == (429, "3")
        assert first.json()["error"]["message"] == "slow down"
        second = httpx.post(f"{server.url}/chat/completions", json=cat).json()
        assert second["choices"][0]["message"]["content"] == "meow"
        assert httpx.post(f"{server.url}/completions", json={"prompt": "a"}).json()["choices"][0]["text"] == "raw"
        assert "no rule" in httpx.post(f"{server.url}/chat/completions", json=TALK).json()["error"]["message"]


def test_a_local_model_answers_with_what_the_request_asks() -> None:
    model = EchoModel()
    with ModelServer(LocalResponder(model)) as server:
        body = {**TALK, "max_tokens": 5, "temperature": 0, "seed": 3, "stop": ["."], "n": 2}
        found = httpx.post(f"{server.url}/chat/completions", json=body).json()
        refused = httpx.post(f"{server.url}/completions", json={"prompt": "too long"})
    assert [choice["message"]["content"] for choice in found["choices"]] == ["user: What does it find?", "another"]
    assert found["choices"][0]["finish_reason"] == "length"
    assert found["usage"] == {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
    assert model.asked[0] == {"max_tokens": 5, "temperature": 0, "n": 2, "seed": 3, "stop": ["."]}
    assert refused.status_code == 400
    assert "reads 100 in all" in refused.json()["error"]["message"]


def test_the_endpoint_model_gets_from_it_what_the_local_model_knows() -> None:
    model, prompt = EchoModel(), "abc😀def"
    with ModelServer(LocalResponder(model)) as server:
        transport = Transport(server.url, Secret(""))
        there = EndpointModel(transport, "echo")
        # The probe of its abilities is another prompt, which this model does not cut into the same tokens.
        there._echoes = True
        found = there.prompt_log_probabilities(prompt, top=5)
        said = there.complete([Message("user", "hello")], max_tokens=4)
        transport.close()
    assert list(found.tokens) == list(model.prompt_log_probabilities(prompt, top=5).tokens)
    assert found.usage == Usage(9)
    assert (said.text, said.usage) == ("user: hello", Usage(7, 3))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "is no script"),
        ("[]", "is no script"),
        ('{"rules": [{"asnwer": "cats"}]}', "unknown field `asnwer`"),
        ('{"rules": [{"fault": "explode"}]}', "explode"),
        ('{"rules": [{"answer": []}]}', "empty list of answers"),
    ],
)
def test_a_script_that_is_none_is_told_in_words(text: str, complaint: str, tmp_path: Path) -> None:
    path = tmp_path / "script.json"
    path.write_text(text)
    with pytest.raises(ScriptError, match=complaint):
        read_script(path)
    with pytest.raises(CommandError, match=complaint):
        call_command("model_server", script=path, port=0)


def test_a_script_that_is_not_there_is_told_in_words(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="cannot be read: No such file"):
        call_command("model_server", script=tmp_path / "none.json")


def test_it_asks_for_something_to_serve(settings: Any) -> None:
    settings.LOCAL_MODEL = None
    with pytest.raises(CommandError, match="give --model FOLDER, --script FILE, or set LOCAL_MODEL"):
        call_command("model_server")


def test_a_port_that_is_taken_is_told_in_words(scripted: ModelServer, tmp_path: Path) -> None:
    path = tmp_path / "script.json"
    path.write_text('{"rules": [{"answer": "cats"}]}')
    with pytest.raises(CommandError, match=f"{scripted.port} cannot be used: Address already in use"):
        call_command("model_server", script=path, port=scripted.port)
    with pytest.raises(CommandError, match="99999 is not a port"):
        call_command("model_server", script=path, port=99999)


def test_the_command_serves_until_it_is_interrupted(tmp_path: Path) -> None:
    path = tmp_path / "script.json"
    path.write_text(json.dumps({"model": "try-me", "rules": [{"answer": "cats"}]}))
    process = subprocess.Popen(
        [sys.executable, "manage.py", "model_server", "--script", str(path), "--port", "0"],
        cwd=BASE_DIR,
        env={"NEURONVIEWER_DATA": str(tmp_path), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        text=True,
        # Programs in the background of a script ignore it, and so would theirs.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    with process:
        assert process.stdout is not None
        first, second = process.stdout.readline(), process.stdout.readline()
        url = first.partition(" answers at ")[2].partition(". ")[0]
        found = httpx.post(f"{url}/chat/completions", json=TALK).json()
        process.send_signal(signal.SIGINT)
    assert second.strip() == f"LLM_BASE_URL={url} LLM_MODEL=try-me"
    assert found["choices"][0]["message"]["content"] == "cats"
    assert process.returncode == 130
