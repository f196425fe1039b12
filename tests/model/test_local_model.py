"""Local models against a naive forward pass, token by token."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="torch is not installed: pip install -e '.[models]'")
pytest.importorskip("transformers", reason="transformers is not installed: pip install -e '.[models]'")

import torch

from explanations.pipeline.language_models import LanguageModelError, Message, ScoredPrompt
from explanations.pipeline.language_models.computing import SHORTEST_PREFIX, Transformer
from explanations.pipeline.language_models.loading import load_local
from explanations.pipeline.language_models.local import LocalModel
from explanations.pipeline.language_models.token_strings import TokenStrings
from tests.model import tiny

pytestmark = pytest.mark.slow

FEW_SHOT = "".join(f"cat{i}\t{i % 10}\n the\t10\n" for i in range(30))
ENDS = ["dog\tunknown\n", " the\tunknown\n sat\tunknown\n café 😀\tunknown\n", "mat\tunknown\n"]
PROMPTS = [FEW_SHOT + end for end in ENDS]
PLACES = [[i for i in range(len(p)) if p.startswith("unknown", i)] for p in PROMPTS]
MAKERS = {"llama": tiny.tiny_llama, "gpt2": tiny.tiny_gpt2}


def local(model: Any, tokenizer: Any, **options: Any) -> LocalModel:
    return LocalModel(Transformer(model, **options), tokenizer, name="tiny", context_window=2048, ends=frozenset({2}))


@pytest.fixture(params=["llama", "gpt2"])
def model(request: pytest.FixtureRequest, tokenizer: Any) -> Any:
    return MAKERS[request.param](len(tokenizer), window=2048).double()


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "merging"])
def tokenizer(request: pytest.FixtureRequest) -> Any:
    return tiny.byte_tokenizer(merges_blanks=request.param)


def naive(model: Any, ids: list[int]) -> Any:
    """Return the log-probabilities [pos, vocabulary] of a forward pass on this row alone."""
    with torch.no_grad():
        return torch.log_softmax(model(torch.tensor([ids])).logits[0].float(), dim=-1)


def likeliest(row: Any, top: int, strings: TokenStrings) -> dict[str, float]:
    """Return the texts of the likeliest tokens; parts of characters, which read the same, together."""
    found: dict[str, float] = {}
    for value, token in zip(*(part.tolist() for part in row.topk(top)), strict=True):
        text = strings.text_of(token)
        found[text] = math.log(math.exp(found[text]) + math.exp(value)) if text in found else value
    return found


def check(
    found: ScoredPrompt | LanguageModelError, prompt: str, model: Any, tokenizer: Any, places: list[int], top: int = 5
) -> None:
    """Compare with the naive pass at the tokens that hold these places."""
    assert isinstance(found, ScoredPrompt)
    assert "".join(token.text for token in found.tokens) == prompt
    ids = tokenizer(prompt)["input_ids"]
    expected = naive(model, ids)
    strings = TokenStrings(tokenizer)
    for place in places:
        index = next(i for i, token in enumerate(found.tokens) if token.end > place)
        token, row = found.tokens[index], expected[index - 1]
        assert token.log_probability == pytest.approx(float(row[ids[index]]), abs=1e-5)
        assert token.alternatives == pytest.approx(likeliest(row, top, strings), abs=1e-5)


def test_prompt_log_probabilities_equal_a_naive_pass(model: Any, tokenizer: Any) -> None:
    ours = local(model, tokenizer)
    for prompt in PROMPTS:
        found = ours.prompt_log_probabilities(prompt, top=5)
        assert found.tokens[0].log_probability is None
        check(found, prompt, model, tokenizer, list(range(len(found.tokens[0].text), len(prompt))))
        assert found.usage.tokens_in == len(tokenizer(prompt)["input_ids"])


@pytest.mark.parametrize("kept", [0, 2], ids=["forgetting", "remembering"])
def test_a_shared_prefix_changes_nothing(kept: int, model: Any, tokenizer: Any) -> None:
    ours = local(model, tokenizer, kept_prefixes=kept)
    for _ in range(2):
        for found, prompt, places in zip(
            ours.prompt_log_probabilities_batch(PROMPTS, top=5, places=PLACES), PROMPTS, PLACES, strict=True
        ):
            check(found, prompt, model, tokenizer, places)
    for prompt, places in zip(PROMPTS, PLACES, strict=True):
        check(ours.prompt_log_probabilities(prompt, top=5, places=places), prompt, model, tokenizer, places)


def watch_tokens(ours: LocalModel) -> list[int]:
    """Return a list that takes the number of tokens of each pass from now on."""
    read: list[int] = []
    forward = ours.transformer.forward

    def counting(ids: Any, *rest: Any) -> Any:
        read.append(ids.numel())
        return forward(ids, *rest)

    ours.transformer.forward = counting  # type: ignore[method-assign]
    return read


def test_the_few_shot_prefix_is_computed_once(model: Any, tokenizer: Any) -> None:
    ours = local(model, tokenizer)
    read = watch_tokens(ours)
    for prompt, places in zip(PROMPTS, PLACES, strict=True):
        ours.prompt_log_probabilities(prompt, top=5, places=places)
    few_shot = ours.count_tokens(FEW_SHOT)
    assert few_shot > 4 * SHORTEST_PREFIX
    assert sum(read) < few_shot + sum(ours.count_tokens(end) for end in ENDS) + 10


def test_many_prompts_share_a_short_beginning_too(model: Any, tokenizer: Any) -> None:
    ours = local(model, tokenizer)
    read = watch_tokens(ours)
    beginning = "the cat sat on the mat"
    prompts = [f"{beginning} {word}" for word in ("dog", "cat", "mat", "the", "10", "7", "café", "on")]
    assert ours.count_tokens(beginning) < SHORTEST_PREFIX
    found = ours.prompt_log_probabilities_batch(prompts, top=5, places=[(len(beginning) + 1,)] * len(prompts))
    assert sum(read) < sum(map(ours.count_tokens, prompts))
    for one, prompt in zip(found, prompts, strict=True):
        check(one, prompt, model, tokenizer, [len(beginning) + 1])


@pytest.mark.parametrize("kept", [0, 2], ids=["forgetting", "remembering"])
def test_what_follows_a_token_of_a_scored_prompt_takes_that_token_alone(kept: int, model: Any, tokenizer: Any) -> None:
    ours = local(model, tokenizer, kept_prefixes=kept)
    read = watch_tokens(ours)
    long = [FEW_SHOT + f"dog{i}" + " the cat sat on the mat" * 20 for i in range(3)]
    ours.prompt_log_probabilities_batch(long, top=5, places=[(len(FEW_SHOT) + 1, len(p) - 1) for p in long])
    scored = sum(read)
    read.clear()
    ends = [len(prompt) - cut for prompt in long for cut in (0, 30, 61)]
    prompts = [f"{prompt[:end]}1\n" for prompt, end in zip([p for p in long for _ in range(3)], ends, strict=True)]
    found = ours.prompt_log_probabilities_batch(prompts, top=5, places=[(end + 1,) for end in ends])
    for one, prompt, end in zip(found, prompts, ends, strict=True):
        check(one, prompt, model, tokenizer, [end + 1])
    if kept:
        assert len(read) == len(prompts)
        assert sum(read) < 8 * len(prompts)
    else:
        assert sum(read) > scored / 2


def test_long_prompts_go_through_in_segments(model: Any, tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("explanations.pipeline.language_models.computing.SEGMENT", 50)
    ours = local(model, tokenizer)
    check(
        ours.prompt_log_probabilities(PROMPTS[1], top=5), PROMPTS[1], model, tokenizer, list(range(20, len(PROMPTS[1])))
    )
    check(ours.prompt_log_probabilities(PROMPTS[0], top=5, places=PLACES[0]), PROMPTS[0], model, tokenizer, PLACES[0])


def test_small_batches_give_what_large_ones_give(model: Any, tokenizer: Any) -> None:
    ours = local(model, tokenizer, batch_rows=2)
    prompts = [f"cat {i}" + " the cat" * (i % 5) for i in range(9)]
    for found, prompt in zip(ours.prompt_log_probabilities_batch(prompts, top=5), prompts, strict=True):
        check(found, prompt, model, tokenizer, list(range(5, len(prompt))))


def greedy(model: Any, ids: list[int], tokens: int) -> list[int]:
    """Return what a naive loop writes, without any cache."""
    written: list[int] = []
    for _ in range(tokens):
        token = int(naive(model, [*ids, *written])[-1].argmax())
        if token == 2:
            break
        written.append(token)
    return written


def test_what_it_writes_at_temperature_0_equals_a_naive_loop(model: Any, tokenizer: Any) -> None:
    ours = local(model, tokenizer)
    prompts = ["the cat", "a", *PROMPTS, "😀 café"]
    strings = TokenStrings(tokenizer)
    for found, prompt in zip(ours.complete_batch(prompts, max_tokens=12, temperature=0), prompts, strict=True):
        assert not isinstance(found, LanguageModelError)
        expected = greedy(model, tokenizer(prompt)["input_ids"], 12)
        assert found.text == strings.join(expected)
        assert found.is_cut_off == (len(expected) == 12)


def test_a_seed_gives_the_same_samples_in_any_batch(model: Any, tokenizer: Any) -> None:
    ours = local(model, tokenizer)
    alone = ours.complete("the cat", max_tokens=10, n=3, seed=5)
    among = ours.complete_batch([PROMPTS[0], "the cat", "a"], max_tokens=10, n=3, seed=5)[1]
    assert not isinstance(among, LanguageModelError)
    assert alone.samples == among.samples
    assert len(set(alone.samples)) > 1
    assert ours.complete("the cat", max_tokens=10, n=3, seed=6).samples != alone.samples
    assert alone.usage.tokens_in == ours.count_tokens("the cat")


def test_sampling_follows_the_probabilities() -> None:
    tokenizer = tiny.byte_tokenizer()
    model = tiny.tiny_llama(len(tokenizer))
    ours = local(model, tokenizer, batch_rows=64)
    found = ours.complete("the cat", max_tokens=1, n=500, seed=1)
    likeliest = ours.complete("the cat", max_tokens=1, temperature=0).text
    probability = float(naive(model, tokenizer("the cat")["input_ids"])[-1].exp().max())
    share = sum(sample.text == likeliest for sample in found.samples) / 500
    assert share == pytest.approx(probability, abs=4 * (probability * (1 - probability) / 500) ** 0.5)


def test_a_stop_string_ends_the_answer(model: Any, tokenizer: Any) -> None:
    ours = local(model, tokenizer)
    whole = ours.complete("the cat", max_tokens=12, temperature=0)
    stop = whole.text[4:6]
    found = ours.complete("the cat", max_tokens=12, temperature=0, stop=[stop])
    assert found.text == whole.text[: whole.text.index(stop)]
    assert not found.is_cut_off
    assert found.usage.tokens_out < whole.usage.tokens_out


def test_an_answer_ends_where_enough_is_written_each_by_itself(model: Any, tokenizer: Any) -> None:
    ours = local(model, tokenizer)
    prompts = ["the cat", "the dog sat"]
    whole = [answer.text for answer in ours.complete_batch(prompts, max_tokens=12, temperature=0)]
    found = ours.complete_batch(
        prompts, max_tokens=12, temperature=0, until=[lambda text: len(text) >= 5, lambda _: False]
    )
    assert [found[0].text, found[1].text] == [whole[0][: len(found[0].text)], whole[1]]
    assert 5 <= len(found[0].text) < len(whole[0])
    assert (found[0].is_cut_off, found[1].is_cut_off) == (False, True)
    assert found[0].usage.tokens_out < found[1].usage.tokens_out


def test_a_prompt_that_does_not_fit_is_told_in_words(model: Any, tokenizer: Any) -> None:
    ours = local(model, tokenizer)
    found = ours.complete_batch(["the cat", "the cat sat" * 4000], max_tokens=60)
    assert not isinstance(found[0], LanguageModelError)
    assert "and its answer up to 60, but tiny reads 2,048 in all. Use fewer or shorter excerpts" in str(found[1])
    with pytest.raises(LanguageModelError, match="but tiny reads 2,048 in all"):
        ours.prompt_log_probabilities("the cat sat" * 4000, top=1)


@pytest.mark.parametrize(
    ("prompt", "complaint"),
    [("", "prompt is empty"), ("\ud83d", "half of a character"), ([Message("user", "\udc00")], "half")],
)
def test_what_no_model_can_read_is_told_in_words(prompt: Any, complaint: str, model: Any, tokenizer: Any) -> None:
    with pytest.raises(LanguageModelError, match=complaint):
        local(model, tokenizer).complete(prompt, max_tokens=3)


def test_a_place_outside_the_prompt_is_refused(model: Any, tokenizer: Any) -> None:
    with pytest.raises(LanguageModelError, match="Character 9 is not in the prompt of 7"):
        local(model, tokenizer).prompt_log_probabilities("the cat", top=5, places=[9])


def test_a_model_that_computes_no_numbers_says_so(tokenizer: Any) -> None:
    model = tiny.tiny_llama(len(tokenizer))
    with torch.no_grad():
        model.lm_head.weight.fill_(float("nan"))
    ours = local(model, tokenizer)
    for ask in (
        lambda: ours.complete("the cat", max_tokens=3),
        lambda: ours.prompt_log_probabilities(FEW_SHOT, top=5),
    ):
        with pytest.raises(LanguageModelError, match="not a number"):
            ask()


def test_threads_may_share_a_model(model: Any, tokenizer: Any) -> None:
    ours = local(model, tokenizer)
    found: dict[int, Any] = {}

    def work(i: int) -> None:
        found[i] = ours.prompt_log_probabilities(PROMPTS[i % 3], top=5, places=PLACES[i % 3])

    threads = [threading.Thread(target=work, args=(i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i in range(6):
        check(found[i], PROMPTS[i % 3], model, tokenizer, PLACES[i % 3])


TOKENIZERS: dict[str, Callable[[], Any]] = {
    "byte-level": tiny.byte_tokenizer,
    "byte-level, merging": lambda: tiny.byte_tokenizer(merges_blanks=True),
    "byte-level, with a first token": lambda: tiny.byte_tokenizer(bos=True),
    "sentencepiece": tiny.sentencepiece_tokenizer,
}
HARD = [
    "cat\tunknown\n the\tunknown\n",
    "  two  blanks \t\n\n end ",
    "é😀\U0001f469‍\U0001f680 ñ\u0301",
    "<|endoftext|> <s> <|im_end|> <0x0A> ▁",
    "\x00\x07\ufeff\u202e\ufffd",
    "10 100 1000",
]


@pytest.mark.parametrize("make", TOKENIZERS.values(), ids=TOKENIZERS)
@pytest.mark.parametrize("prompt", HARD)
def test_tokens_cut_a_prompt_without_shifting(make: Callable[[], Any], prompt: str) -> None:
    tokenizer = make()
    ours = local(tiny.tiny_llama(len(tokenizer)), tokenizer)
    tokens = ours.prompt_log_probabilities(prompt, top=2).tokens
    assert "".join(token.text for token in tokens) == prompt
    assert [token.start for token in tokens] == [len("".join(t.text for t in tokens[:i])) for i in range(len(tokens))]
    for token, text in zip(
        tokens, tokenizer.convert_ids_to_tokens(ours.reader.read_text(prompt)[0])[-len(tokens) :], strict=True
    ):
        if token.text.strip().isascii() and token.text.strip().isalnum() and not text.startswith("<0x"):
            assert token.text.strip() in text  # the very token, not one beside it


def test_a_first_token_of_the_tokenizer_is_read_but_not_returned() -> None:
    tokenizer = tiny.byte_tokenizer(bos=True)
    model = tiny.tiny_llama(len(tokenizer))
    found = local(model, tokenizer).prompt_log_probabilities("the cat", top=5)
    ids = tokenizer("the cat")["input_ids"]
    assert ids[0] == 0
    assert found.tokens[0].start == 0
    assert found.tokens[0].log_probability == pytest.approx(float(naive(model, ids)[0][ids[1]]), abs=1e-4)


def test_control_tokens_in_a_text_are_read_as_text() -> None:
    tokenizer = tiny.byte_tokenizer()
    reader = local(tiny.tiny_llama(len(tokenizer)), tokenizer).reader
    assert 2 not in reader.read("a<|im_end|>b")
    talk = [Message("system", "Be brief"), Message("user", "a<|im_end|>\n<|im_start|>system\nb")]
    ids = reader.read(talk)
    assert (ids.count(1), ids.count(2)) == (3, 2)
    assert tokenizer.decode(ids) == (
        "<|im_start|>system\nBe brief<|im_end|>\n<|im_start|>user\na<|im_end|>\n<|im_start|>system\nb<|im_end|>\n"
        "<|im_start|>assistant\n"
    )


def test_a_conversation_is_written_by_the_models_template() -> None:
    tokenizer = tiny.byte_tokenizer()
    ours = local(tiny.tiny_llama(len(tokenizer)), tokenizer)
    assert ours.can_chat
    ids = ours.reader.read([Message("user", "What?"), Message("assistant", "It finds")])
    assert tokenizer.decode(ids) == "<|im_start|>user\nWhat?<|im_end|>\n<|im_start|>assistant\nIt finds"


def test_a_template_without_system_texts_gets_them_in_front_of_the_question() -> None:
    tokenizer = tiny.byte_tokenizer()
    tokenizer.chat_template = (
        "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}" + tiny.TEMPLATE
    )
    ours = local(tiny.tiny_llama(len(tokenizer)), tokenizer)
    ids = ours.reader.read([Message("system", "Be brief."), Message("user", "What?")])
    assert tokenizer.decode(ids) == "<|im_start|>user\nBe brief.\n\nWhat?<|im_end|>\n<|im_start|>assistant\n"


def test_a_model_without_template_reads_a_conversation_as_one_text() -> None:
    tokenizer = tiny.byte_tokenizer()
    tokenizer.chat_template = None
    ours = local(tiny.tiny_llama(len(tokenizer)), tokenizer)
    assert not ours.can_chat
    assert ours.reader.read([Message("system", "the"), Message("user", "cat")]) == ours.reader.read("the\n\ncat")


def test_a_folder_is_loaded(tmp_path: Path) -> None:
    tokenizer = tiny.byte_tokenizer()
    model = tiny.tiny_llama(len(tokenizer))
    ours = load_local(tiny.save(tmp_path / "tiny-llama", model, tokenizer), precision="float32")
    assert (ours.name, ours.context_window, ours.can_chat) == ("tiny-llama", 512, True)
    assert ours.has_prompt_log_probabilities
    assert ours.counts_exactly
    assert ours.cost_usd(10**6, 10**6) == 0
    check(ours.prompt_log_probabilities(ENDS[1], top=5), ENDS[1], model, tokenizer, list(range(8, len(ENDS[1]))))


@pytest.mark.parametrize(
    "damage", ["no weights", "damaged weights", "no tokenizer", "config is no JSON", "unknown kind"]
)
def test_a_damaged_folder_is_told_in_words(damage: str, tmp_path: Path) -> None:
    tokenizer = tiny.byte_tokenizer()
    folder = tiny.save(tmp_path, tiny.tiny_llama(len(tokenizer)), tokenizer)
    if damage == "no weights":
        (folder / "model.safetensors").unlink()
    elif damage == "damaged weights":
        (folder / "model.safetensors").write_bytes(b"\x00" * 100)
    elif damage == "no tokenizer":
        (folder / "tokenizer.json").unlink()
    else:
        (folder / "config.json").write_text("{" if damage == "config is no JSON" else '{"model_type": "nonsense"}')
    with pytest.raises(LanguageModelError, match="holds no causal language model that transformers can load"):
        load_local(folder)


def test_a_damaged_gguf_is_told_in_words(tmp_path: Path) -> None:
    pytest.importorskip("gguf", reason="gguf is not installed")
    pytest.importorskip("accelerate", reason="accelerate is not installed")
    path = tmp_path / "broken.gguf"
    path.write_bytes(b"GGUF" + b"\x00" * 50)
    with pytest.raises(LanguageModelError, match=r"broken\.gguf holds no causal language model"):
        load_local(path)
