"""The endpoint model, against a real HTTP server that does what a script says."""

from __future__ import annotations

import base64
import json
import logging
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from explanations.model_server import ModelRequest, ModelServer, Reply, Rule, Script
from explanations.model_server.replies import json_reply
from explanations.pipeline.language_models import LanguageModelError, Message, ScoredPrompt
from explanations.pipeline.language_models.answers import align
from explanations.pipeline.language_models.endpoint import EndpointModel, Price
from explanations.pipeline.language_models.secret import Secret
from explanations.pipeline.language_models.transport import ATTEMPTS, Transport
from explanations.pipeline.retry_after import retry_after

KEY = "sk-sentinel-0123456789abcdef-ZYXW"
TALK = [Message("system", "Be brief."), Message("user", "What does it find?")]
PRICE = Price(tokens_in=2.0, tokens_out=10.0)


class Site:
    """A scripted server, and a model that asks it without ever sleeping."""

    def __init__(self, server: ModelServer, concurrency: int, timeout: float) -> None:
        self.server = server
        self.slept: list[float] = []
        self.transport = Transport(server.url, Secret(KEY), concurrency, timeout, sleep=self.slept.append)
        self.model = EndpointModel(self.transport, "scripted", price=PRICE)

    @property
    def bodies(self) -> list[dict[str, Any]]:
        return [json.loads(request.body) for request in self.server.received]

    @property
    def routes(self) -> list[str]:
        return [request.route for request in self.server.received]


@contextmanager
def site(*rules: Rule, concurrency: int = 4, timeout: float = 5.0, responder: Any = None) -> Iterator[Site]:
    with ModelServer(responder or Script(rules)) as server:
        found = Site(server, concurrency, timeout)
        try:
            yield found
        finally:
            found.model.close()


def refusal(*rules: Rule, timeout: float = 5.0, prompt: Any = TALK) -> str:
    """Return what the person is told."""
    with site(*rules, timeout=timeout) as there, pytest.raises(LanguageModelError) as error:
        there.model.complete(prompt, max_tokens=5)
    return str(error.value)


def test_a_conversation_is_answered_with_its_tokens_and_cost() -> None:
    body = {
        "choices": [{"message": {"role": "assistant", "content": "cats"}, "finish_reason": "length"}],
        "usage": {"prompt_tokens": 1000, "completion_tokens": 50},
    }
    with site(Rule(body=json.dumps(body))) as there:
        found = there.model.complete(TALK, max_tokens=50, temperature=0.5, seed=7, stop=["\n"])
    assert (found.text, found.is_cut_off, found.others) == ("cats", True, ())
    assert (found.usage.tokens_in, found.usage.tokens_out, found.usage.is_estimate) == (1000, 50, False)
    assert found.usage.cost_usd == pytest.approx((1000 * 2 + 50 * 10) / 1e6)
    assert there.routes == ["chat/completions"]
    assert there.bodies == [
        {
            "model": "scripted",
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "What does it find?"},
            ],
            "max_tokens": 50,
            "temperature": 0.5,
            "seed": 7,
            "stop": ["\n"],
        }
    ]
    assert there.server.received[0].authorization == f"Bearer {KEY}"


def test_without_usage_the_tokens_are_estimated_and_said_to_be() -> None:
    with site(Rule(answer="cats and dogs", counts_tokens=False)) as there:
        usage = there.model.complete(TALK, max_tokens=50).usage
    assert usage.is_estimate
    assert usage.tokens_in > 4
    assert usage.tokens_out == 3
    assert usage.cost_usd > 0


@pytest.mark.parametrize("usage", [[], "12", {"prompt_tokens": "9"}, {"prompt_tokens": -4}, {"prompt_tokens": True}])
def test_usage_that_is_no_number_counts_as_missing(usage: object) -> None:
    body = {"choices": [{"text": "cats"}], "usage": usage}
    with site(Rule(body=json.dumps(body))) as there:
        assert there.model.complete("Raw", max_tokens=5).usage.is_estimate


def test_a_raw_text_goes_to_completions() -> None:
    with site(Rule(answer="cats")) as there:
        assert there.model.complete("It finds", max_tokens=5).text == "cats"
    assert there.routes == ["completions"]
    assert there.bodies[0]["prompt"] == "It finds"


def test_a_server_that_only_chats_is_asked_by_chat_from_then_on() -> None:
    with site(Rule(route="completions", status=404), Rule(answer="cats")) as there:
        for _ in range(2):
            assert there.model.complete("It finds", max_tokens=5).text == "cats"
        assert there.model.can_chat
    assert there.routes == ["completions", "chat/completions", "chat/completions"]
    assert there.bodies[1]["messages"] == [{"role": "user", "content": "It finds"}]


def test_a_server_that_cannot_chat_reads_the_conversation_as_one_text() -> None:
    with site(Rule(route="chat/completions", status=404), Rule(answer="cats")) as there:
        assert there.model.complete(TALK, max_tokens=5).text == "cats"
        assert not there.model.can_chat
    assert there.bodies[1]["prompt"] == "Be brief.\n\nWhat does it find?"


def test_a_model_that_is_not_there_is_no_missing_route() -> None:
    with site(Rule(status=404, message="no such model")) as there:
        with pytest.raises(LanguageModelError, match=r"chat/completions answered 404 \(no such model\).*LLM_MODEL"):
            there.model.complete(TALK, max_tokens=5)
        assert there.model.can_chat


def test_newer_models_get_their_limit_by_its_newer_name() -> None:
    message = "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."
    with site(Rule(times=1, status=400, message=message), Rule(answer="cats")) as there:
        for _ in range(2):
            assert there.model.complete(TALK, max_tokens=5).text == "cats"
    assert ["max_tokens" in body for body in there.bodies] == [True, False, False]
    assert there.bodies[1]["max_completion_tokens"] == 5


def test_several_samples_are_one_request() -> None:
    with site(Rule(answer=["one", "two", "three"])) as there:
        found = there.model.complete(TALK, max_tokens=5, n=3)
    assert [sample.text for sample in found.samples] == ["one", "two", "three"]
    assert [body["n"] for body in there.bodies] == [3]


def test_a_server_that_gives_fewer_samples_is_asked_again_with_another_seed() -> None:
    def one(_request: ModelRequest) -> Reply:
        return json_reply({"choices": [{"message": {"content": "one"}}]})

    one.name = "one"  # type: ignore[attr-defined]
    with site(responder=one) as there:
        found = there.model.complete(TALK, max_tokens=5, n=2, seed=40)
    assert len(found.samples) == 2
    assert [body["seed"] for body in there.bodies] == [40, 41]


def test_more_stop_strings_than_servers_take_all_stop() -> None:
    with site(Rule(body='{"choices": [{"text": "one f two"}]}')) as there:
        assert there.model.complete("Raw", max_tokens=5, stop=list("abcdf")).text == "one "
    assert there.bodies[0]["stop"] == list("abcd")


def test_a_batch_keeps_its_order_and_its_errors_in_their_places() -> None:
    rules = [Rule(contains=f"number {i}.", answer=str(i)) for i in range(20) if i != 7]
    with site(*rules, Rule(status=400, message="seven is too long")) as there:
        found = there.model.complete_batch([f"number {i}." for i in range(20)], max_tokens=5)
    texts = [str(one) if isinstance(one, LanguageModelError) else one.text for one in found]
    assert texts[:7] + texts[8:] == [str(i) for i in range(20) if i != 7]
    assert "answered 400 (seven is too long)" in texts[7]


def test_no_more_requests_are_under_way_than_allowed() -> None:
    under_way, most, lock, two = 0, 0, threading.Lock(), threading.Barrier(2, timeout=10)

    def count(_request: ModelRequest) -> Reply:
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)
        two.wait()  # which needs two at once
        with lock:
            under_way -= 1
        return json_reply({"choices": [{"text": "cats"}]})

    count.name = "counting"  # type: ignore[attr-defined]
    with site(responder=count, concurrency=2) as there:
        threads = [
            threading.Thread(target=there.model.complete, args=("Raw",), kwargs={"max_tokens": 1}) for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert most == 2
    assert len(there.bodies) == 8


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503])
def test_what_may_pass_is_tried_again(status: int) -> None:
    with site(Rule(times=2, status=status), Rule(answer="cats")) as there:
        assert there.model.complete(TALK, max_tokens=5).text == "cats"
    assert len(there.bodies) == 3
    assert len(there.slept) == 2


@pytest.mark.parametrize("status", [400, 401, 402, 403, 422])
def test_what_stays_is_not_tried_again(status: int) -> None:
    with site(Rule(status=status)) as there, pytest.raises(LanguageModelError, match=f"answered {status}"):
        there.model.complete(TALK, max_tokens=5)
    assert len(there.bodies) == 1
    assert there.slept == []


def test_an_empty_account_is_not_waited_for() -> None:
    body = '{"error": {"message": "You exceeded your quota", "code": "insufficient_quota"}}'
    with site(Rule(status=429, body=body)) as there, pytest.raises(LanguageModelError, match="exceeded your quota"):
        there.model.complete(TALK, max_tokens=5)
    assert len(there.bodies) == 1


def test_it_waits_as_long_as_the_server_asks() -> None:
    with site(Rule(times=1, status=429, retry_after=7), Rule(answer="cats")) as there:
        there.model.complete(TALK, max_tokens=5)
    assert 7 <= there.slept[0] <= 8


def test_it_waits_until_the_date_that_the_server_names() -> None:
    then = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    with site(Rule(times=1, status=503, retry_after=then), Rule(answer="cats")) as there:
        there.model.complete(TALK, max_tokens=5)
    assert 25 <= there.slept[0] <= 31


def test_others_wait_too_when_one_is_told_to() -> None:
    with site(Rule(times=1, status=429, retry_after=50), Rule(answer="cats")) as there:
        there.model.complete(TALK, max_tokens=5)
        there.slept.clear()
        there.model.complete(TALK, max_tokens=5)
    assert 45 <= there.slept[0] <= 50


def test_a_server_that_asks_for_an_hour_is_not_waited_for() -> None:
    told = pytest.raises(LanguageModelError, match=r"asks to wait 3,600 seconds")
    with site(Rule(status=429, retry_after=3600)) as there, told:
        there.model.complete(TALK, max_tokens=5)
    assert there.slept == []


def test_it_gives_up_after_some_tries_with_growing_random_pauses() -> None:
    told = pytest.raises(LanguageModelError, match=rf"500 \(overloaded\)\. Tried {ATTEMPTS} times\.")
    with site(Rule(status=500, message="overloaded")) as there, told:
        there.model.complete(TALK, max_tokens=5)
    assert len(there.bodies) == ATTEMPTS
    assert all(0 <= pause <= 0.5 * 2**place for place, pause in enumerate(there.slept, 1))
    assert len(set(there.slept)) == ATTEMPTS - 1


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("3", 3.0), ("0.5", 0.5), (" 10 ", 10.0), ("", None), ("soon", None), ("-4", None), ("nan", None), ("²", None)],
)
def test_a_pause_is_read(value: str, seconds: float | None) -> None:
    assert retry_after(value) == seconds


def test_a_date_that_has_passed_is_no_pause() -> None:
    assert retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0
    assert retry_after("Wed, 21 Oct 2015 07:28:00 -0000") == 0


BROKEN = [
    (Rule(body='{"choices": [{"mess'), "not a JSON object"),
    (Rule(body="[1, 2]"), "not a JSON object"),
    (Rule(body="[" * 100_000), "not a JSON object"),
    (Rule(body=""), "sent nothing"),
    (Rule(body="\x00\x01", content_type="application/octet-stream"), r"\(application/octet-stream\)"),
    (Rule(body="<html>Sign in</html>", content_type="text/html"), r"sent a page \(text/html\).*LLM_BASE_URL"),
    (Rule(body="<html>Bad gateway</html>", content_type="text/html", status=502), "answered 502"),
    (Rule(body='{"choices": []}'), "without any choice"),
    (Rule(body="{}"), "without any choice"),
    (Rule(body='{"choices": [null]}'), "without any choice"),
    (Rule(body='{"choices": {"0": {}}}'), "without any choice"),
    (Rule(body='{"choices": [{}]}'), "holds no text"),
    (Rule(body='{"choices": [{"message": {"content": 5}}]}'), "holds no text"),
    (
        Rule(body='{"choices": [{"message": {"content": null, "refusal": "I will not"}}]}'),
        "refused to answer: I will not",
    ),
    (Rule(body='{"choices": [{"message": {"content": null}, "finish_reason": "content_filter"}]}'), "content filter"),
    (Rule(answer="cats", fault="cut_off"), r"cut the connection before.*Tried"),
    (Rule(fault="drop"), r"cut the connection before.*Tried"),
    (Rule(status=301, body=""), r"answered 301.*LLM_BASE_URL"),
    (
        Rule(status=401, message=f"Incorrect API key: {KEY}"),
        "answered 401. It does not accept the key: see LLM_API_KEY.",
    ),
    (Rule(status=400, message=f"Bad: {KEY}"), r"answered 400 \(Bad: \[key\]\)"),
    (Rule(status=400, body=f'{{"detail": "{KEY}"}}'), r"answered 400 \(\[key\]\)"),
    (Rule(status=400, body='{"error": {"message": ["not", "a", "text"]}}'), "answered 400."),
]


@pytest.mark.parametrize(("rule", "said"), BROKEN, ids=lambda value: str(value)[:40])
def test_a_broken_answer_is_told_in_words(rule: Rule, said: str) -> None:
    with site(rule) as there, pytest.raises(LanguageModelError, match=said):
        there.model.complete(TALK, max_tokens=5)


@pytest.mark.parametrize("fault", ["hang", "drip"])
def test_a_server_that_does_not_finish_is_given_up(fault: Any) -> None:
    with ModelServer(Script([Rule(answer="cats " * 100, fault=fault)])) as server:
        transport = Transport(server.url, Secret(KEY), timeout=0.2, attempts=2, sleep=lambda _: None)
        with pytest.raises(LanguageModelError, match=r"0\.2 seconds \(LLM_TIMEOUT\)\. Tried 2 times"):
            EndpointModel(transport, "scripted").complete(TALK, max_tokens=5)
        transport.close()


def test_a_server_that_is_not_there_is_told_in_words() -> None:
    with ModelServer(Script([])) as server:
        url = server.url
    transport = Transport(url, Secret(KEY), sleep=lambda _: None)
    with pytest.raises(LanguageModelError, match=r"cannot be reached \(.*refused.*\): see LLM_BASE_URL\."):
        EndpointModel(transport, "scripted").complete(TALK, max_tokens=5)
    transport.close()


def test_an_empty_prompt_is_not_sent() -> None:
    with site(Rule(answer="cats")) as there:
        for prompt in ("", []):
            with pytest.raises(LanguageModelError, match="prompt is empty"):
                there.model.complete(prompt, max_tokens=5)  # type: ignore[arg-type]
    assert there.bodies == []


def everything_of(error: BaseException) -> str:
    """Return the error's traceback with all variables, but for those of this file, and that of what it comes from."""
    before = everything_of(error.__context__) if error.__context__ is not None else ""
    told = traceback.TracebackException.from_exception(error, capture_locals=True)
    frames = [frame for frame in told.stack if frame.filename != __file__]
    assert frames
    return before + "".join([*told.format_exception_only(), *(f"{frame.line} {frame.locals}" for frame in frames)])


@pytest.mark.parametrize(("rule", "said"), [*BROKEN, (Rule(status=500), "500"), (Rule(fault="drop"), "cut")])
def test_the_key_appears_nowhere(
    rule: Rule, said: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    with site(rule) as there:
        caught = None
        try:
            there.model.complete(TALK, max_tokens=5)
        except LanguageModelError as error:
            caught = error
        assert caught is not None
        shown = (
            everything_of(caught) + repr(caught) + repr(there.model) + repr(there.transport) + repr(vars(there.model))
        )
    ours = [r for r in caplog.records if not r.name.startswith("explanations.model_server")]
    shown += "".join(f"{r.getMessage()} {r.args!r} {r.__dict__!r}" for r in ours) + "".join(capfd.readouterr())
    for form in (KEY, base64.b64encode(KEY.encode()).decode(), KEY[3:20]):
        assert form not in shown


def test_the_key_appears_nowhere_when_nothing_answers(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    transport = Transport("http://127.0.0.1:1/v1", Secret(KEY), sleep=lambda _: None)
    caught = None
    try:
        EndpointModel(transport, "scripted").complete(TALK, max_tokens=5)
    except LanguageModelError as error:
        caught = error
    transport.close()
    assert caught is not None
    assert KEY not in everything_of(caught) + caplog.text


def test_without_a_key_none_is_sent() -> None:
    with ModelServer(Script([Rule(answer="cats")])) as server:
        transport = Transport(server.url, Secret(""))
        EndpointModel(transport, "scripted").complete(TALK, max_tokens=5)
        transport.close()
    assert server.received[0].authorization == ""


LISTED = "cat\tunknown\ndog\tunknown\n"
EXPECTED = {"unknown": {"0": -0.1, "10": -2.5}}


def test_an_echoed_prompt_is_scored_token_by_token() -> None:
    with site(Rule(log_probabilities=EXPECTED)) as there:
        found = there.model.prompt_log_probabilities(LISTED, top=15)
    assert "".join(token.text for token in found.tokens) == LISTED
    assert found.tokens[0].log_probability is None
    assert found.alternatives_at(4) == EXPECTED["unknown"]
    assert found.alternatives_at(LISTED.rindex("unknown")) == EXPECTED["unknown"]
    assert found.usage.tokens_in > 0
    echo = there.bodies[1]
    assert (echo["echo"], echo["logprobs"], echo["temperature"], echo["max_tokens"]) == (True, 15, 0, 1)


def test_a_server_is_asked_once_whether_it_echoes() -> None:
    with site(Rule(log_probabilities={})) as there:
        batch = there.model.prompt_log_probabilities_batch([LISTED] * 5, top=5)
        assert there.model.has_prompt_log_probabilities
    assert all(isinstance(one, ScoredPrompt) for one in batch)
    assert len(there.bodies) == 6


def test_a_server_without_log_probabilities_is_asked_once() -> None:
    with site(Rule(answer="cats")) as there:
        for _ in range(2):
            with pytest.raises(LanguageModelError, match="tells no log-probabilities of prompts"):
                there.model.prompt_log_probabilities(LISTED, top=5)
        assert not there.model.has_prompt_log_probabilities
    assert len(there.bodies) == 1


@pytest.mark.parametrize(
    "body",
    [
        {"choices": [{"text": "cats", "logprobs": None}]},
        {"choices": [{"text": "cats", "logprobs": {"tokens": ["cats"], "token_logprobs": [-1], "top_logprobs": [{}]}}]},
        {"choices": [{"text": "one\ttwo\n", "logprobs": {"content": []}}]},
    ],
)
def test_a_server_that_ignores_echo_has_none(body: object) -> None:
    with site(Rule(body=json.dumps(body))) as there:
        assert not there.model.has_prompt_log_probabilities


def test_a_failure_is_not_taken_for_a_missing_ability() -> None:
    with site(Rule(times=ATTEMPTS, status=500), Rule(log_probabilities={})) as there:
        with pytest.raises(LanguageModelError, match="answered 500"):
            _ = there.model.has_prompt_log_probabilities
        assert there.model.has_prompt_log_probabilities


def test_an_impossible_place_is_refused() -> None:
    with site(Rule(log_probabilities={})) as there, pytest.raises(LanguageModelError, match="Character 99"):
        there.model.prompt_log_probabilities(LISTED, top=5, places=[99])


@pytest.mark.parametrize(
    ("prompt", "texts", "placed"),
    [
        ("ab c", ["ab", " c"], [(0, 0, 2), (1, 2, 4)]),
        ("ab c", ["<s>", "ab", " c", " more"], [(1, 0, 2), (2, 2, 4)]),
        ("ab c", ["", "ab", " c"], [(1, 0, 2), (2, 2, 4)]),
        ("a 😀b", ["a", " \ufffd", "\ufffd", "\ufffd", "b"], [(0, 0, 1), (1, 1, 3), (2, 3, 3), (3, 3, 3), (4, 3, 4)]),
        ("😀", ["\ufffd", "\ufffd", "x"], [(0, 0, 1), (1, 1, 1)]),
        (
            "é.é.",
            ["\ufffd", "\ufffd.", "\ufffd", "\ufffd", "."],
            [(0, 0, 1), (1, 1, 2), (2, 2, 3), (3, 3, 3), (4, 3, 4)],
        ),
    ],
)
def test_echoed_tokens_are_found_in_the_prompt(
    prompt: str, texts: list[str], placed: list[tuple[int, int, int]]
) -> None:
    assert align(prompt, texts) == placed


@pytest.mark.parametrize("texts", [[], ["x"], ["ab"], ["ab", "d"], ["ab", "\ufffdd"]])
def test_another_prompt_than_was_sent_is_refused(texts: list[str]) -> None:
    with pytest.raises(LanguageModelError, match="echoes another prompt"):
        align("ab c", texts)
