"""A dataset on the web: files come whole or not at all, whatever the server does."""

from __future__ import annotations

import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest

from explanations.pipeline.known_models import describe_known_models, known_models
from explanations.pipeline.layout import PREFIXES, DataKind, FolderSource
from explanations.pipeline.records import NeuronId
from explanations.pipeline.remote.address import AddressError, check_address
from explanations.pipeline.remote.bandwidth import Bandwidth, parse_bandwidth
from explanations.pipeline.remote.fetching import FetchError, RemoteSource, SourceError
from explanations.pipeline.remote.probing import neurons_to_probe, probe
from explanations.pipeline.remote.spool import Traffic, Wanted, describe_bytes, download
from tests import dataset_server
from tests.dataset_server import DatasetServer, serve

FILE = "explanations/0/0.jsonl"
BODY = b'{"a": "}", "b": NaN, "padding": "' + b"x" * 5000 + b'"}\n'


class Waits(threading.Event):
    """An event that nobody waits for: what would have been waited is noted."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.seconds.append(timeout or 0.0)
        return self.is_set()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[DatasetServer]:
    path = tmp_path / "served" / FILE
    path.parent.mkdir(parents=True)
    path.write_bytes(BODY)
    with serve(tmp_path / "served") as running:
        yield running


_opened: list[RemoteSource] = []


@pytest.fixture(autouse=True)
def _close_what_was_opened() -> Iterator[None]:
    yield
    while _opened:
        _opened.pop().close()


def opened(base: str, **options: object) -> RemoteSource:
    there = RemoteSource(base, **{"stopping": Waits(), "timeout": 2.0, **options})  # type: ignore[arg-type]
    _opened.append(there)
    return there


def source(server: DatasetServer, **options: object) -> RemoteSource:
    return opened(server.url, **options)


def waits(source: RemoteSource) -> list[float]:
    assert isinstance(source.stopping, Waits)
    return source.stopping.seconds


# Addresses


@pytest.mark.parametrize(
    ("given", "base"),
    [
        ("https://example.org/neurons", "https://example.org/neurons/"),
        ("https://example.org/neurons/", "https://example.org/neurons/"),
        ("https://example.org:8443", "https://example.org:8443/"),
        ("http://127.0.0.1:8000/x", "http://127.0.0.1:8000/x/"),
        ("http://localhost", "http://localhost/"),
        ("http://[::1]:9", "http://[::1]:9/"),
    ],
)
def test_an_address_is_taken(given: str, base: str) -> None:
    assert check_address(given) == base


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("http://example.org/", "not encrypted: use https://"),
        ("ftp://example.org/", "not an address such as"),
        ("https://", "not an address such as"),
        ("https://example.org/a b", "not an address such as"),
        ("https://example.org:99999/", "not an address: Port out of range"),
        ("https://example.org/?sig=1", "holds no “\\?” or “#”"),
        ("https://ada:secret@example.org/", "holds no name or password"),
    ],
)
def test_an_address_that_is_none_is_refused(given: str, reason: str) -> None:
    with pytest.raises(AddressError, match=reason) as caught:
        check_address(given)
    assert "secret" not in str(caught.value)
    assert "sig" not in str(caught.value)


# One file


def test_a_file_comes_as_it_is(server: DatasetServer) -> None:
    assert source(server).fetch(FILE) == BODY


def test_a_file_that_is_not_there_is_none(server: DatasetServer) -> None:
    assert source(server).fetch("explanations/0/1.jsonl") is None
    assert server.asked["explanations/0/1.jsonl"] == 1


def test_a_connection_is_used_again(server: DatasetServer) -> None:
    there = source(server)
    for path in [FILE, "absent", FILE, FILE]:
        there.fetch(path)
    assert server.connections == 1


@pytest.mark.parametrize(
    "fault",
    [
        dataset_server.status(500),
        dataset_server.status(503),
        dataset_server.status(429),
        dataset_server.break_off,
        dataset_server.truncate,
        dataset_server.end_without_length(3),
        dataset_server.end_without_length(len(BODY) - 10),
        dataset_server.hang_up,
        dataset_server.web_page,
    ],
)
def test_a_fault_that_passes_is_survived(server: DatasetServer, fault: dataset_server.Action) -> None:
    server.actions[FILE] += [fault, fault]
    assert source(server).fetch(FILE) == BODY
    assert server.asked[FILE] == 3


def test_a_whole_file_without_its_length_is_taken(server: DatasetServer) -> None:
    server.actions[FILE].append(dataset_server.end_without_length(0))
    assert source(server).fetch(FILE) == BODY
    assert server.asked[FILE] == 1


def test_a_silent_server_is_not_waited_for_for_ever(server: DatasetServer) -> None:
    over = threading.Event()
    server.actions[FILE].append(lambda _handler, _body: over.wait(10) and None)
    assert source(server, timeout=0.1).fetch(FILE) == BODY
    over.set()


def test_the_server_says_how_long_to_wait(server: DatasetServer) -> None:
    server.actions[FILE].append(dataset_server.status(429, {"Retry-After": "7"}))
    there = source(server)
    there.fetch(FILE)
    assert any(7 <= seconds <= 8 for seconds in waits(there))


def test_the_server_may_say_it_as_a_date(server: DatasetServer) -> None:
    then = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    server.actions[FILE].append(dataset_server.status(503, {"Retry-After": then}))
    there = source(server)
    there.fetch(FILE)
    assert any(55 <= seconds <= 61 for seconds in waits(there))


def test_a_pause_holds_for_every_thread(server: DatasetServer) -> None:
    server.actions[FILE].append(dataset_server.status(429, {"Retry-After": "30"}))
    there = source(server)
    there.fetch(FILE)
    waits(there).clear()
    there.fetch("other")
    assert waits(there)[0] == pytest.approx(30, abs=2)


def test_a_pause_of_an_hour_ends_the_import(server: DatasetServer) -> None:
    server.actions[FILE].append(dataset_server.status(429, {"Retry-After": "3600"}))
    with pytest.raises(SourceError, match=r"answered 429 Too Many Requests and asks to wait 3,600 seconds"):
        source(server).fetch(FILE)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (dataset_server.status(500), r"answered 500 Internal Server Error \(tried 3 times\)"),
        (dataset_server.break_off, r"broke the connection off .* \(tried 3 times\)"),
        (dataset_server.truncate, r"sent a file that breaks off \(2,\d+ bytes\) \(tried 3 times\)"),
        (dataset_server.web_page, r"sent a web page where a JSON file was expected \(tried 3 times\)"),
        (dataset_server.status(403), r"answered 403 Forbidden$"),
    ],
)
def test_a_fault_that_stays_is_named(server: DatasetServer, fault: dataset_server.Action, reason: str) -> None:
    server.actions[FILE] += [fault] * 9
    with pytest.raises(FetchError, match=reason):
        source(server, attempts=3).fetch(FILE)


def test_a_redirect_is_named_and_not_followed(server: DatasetServer) -> None:
    server.actions[FILE].append(dataset_server.status(301, {"Location": "https://example.org/new/"}))
    with pytest.raises(SourceError, match=r"sends elsewhere \(301\), to https://example\.org/new/: use the address"):
        source(server).fetch(FILE)


def test_nobody_listening_is_named() -> None:
    closed = opened("http://127.0.0.1:9/", attempts=2)
    with pytest.raises(FetchError, match=r"cannot be reached \(.*refused\) \(tried 2 times\)"):
        closed.fetch(FILE)


def test_a_source_that_fails_for_every_file_is_given_up(server: DatasetServer) -> None:
    server.actions["*"] += [dataset_server.status(500)] * 100
    there = source(server, attempts=2, connections=4)
    for _ in range(3):
        with pytest.raises(FetchError):
            there.fetch(FILE)
    with pytest.raises(SourceError, match="4 files in a row did not come"):
        there.fetch(FILE)


def test_a_file_that_comes_between_keeps_it_going(server: DatasetServer) -> None:
    there = source(server, attempts=1, connections=4)
    for _ in range(4):
        server.actions[FILE] += [dataset_server.status(500)] * 2
        for _ in range(2):
            with pytest.raises(FetchError):
                there.fetch(FILE)
        there.fetch(FILE)


def test_broken_files_say_little_about_the_source(server: DatasetServer) -> None:
    server.actions["*"] += [dataset_server.truncate] * 100
    there = source(server, attempts=1, connections=4)
    for _ in range(15):
        with pytest.raises(FetchError):
            there.fetch(FILE)
    with pytest.raises(SourceError, match=r"breaks off .* 16 files in a row did not come"):
        there.fetch(FILE)


def test_a_certificate_that_nobody_signed_is_named(server: DatasetServer, tmp_path: Path) -> None:
    key = tmp_path / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    try:
        subprocess.run(
            [*command, "-keyout", key, "-out", key.with_name("cert.pem"), "-subj", "/CN=localhost"],
            check=True,
            capture_output=True,
        )
    except FileNotFoundError:
        pytest.skip("openssl is not installed")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(key.with_name("cert.pem"), key)
    secure = ThreadingHTTPServer(("127.0.0.1", 0), dataset_server.Handler)
    secure.handle_error = lambda *_args: None  # type: ignore[method-assign]
    secure.socket = context.wrap_socket(secure.socket, server_side=True)
    thread = threading.Thread(target=lambda: secure.serve_forever(poll_interval=0.01))
    thread.start()
    try:
        there = opened(f"https://127.0.0.1:{secure.server_address[1]}/")
        with pytest.raises(SourceError, match=r"no secure connection \(.*CERTIFICATE_VERIFY_FAILED"):
            there.fetch(FILE)
    finally:
        secure.shutdown()
        secure.server_close()
        thread.join()


# Bandwidth


@pytest.mark.parametrize(
    ("text", "rate"), [("10M", 1e7), ("500k", 5e5), ("1.5 MB", 1.5e6), ("2G", 2e9), ("4096", 4096)]
)
def test_a_bandwidth_is_read(text: str, rate: float) -> None:
    assert parse_bandwidth(text) == rate


@pytest.mark.parametrize("text", ["", "fast", "10T", "-1M", "0", "999", "1e9", "10Mbit", "٣M"])
def test_a_malformed_bandwidth_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="bytes a second"):
        parse_bandwidth(text)


def test_bandwidth_is_shared_by_all_who_take() -> None:
    clock = [0.0]
    limit = Bandwidth(1000, now=lambda: clock[0])
    assert [limit.take(500), limit.take(500), limit.take(1000)] == [0.5, 1.0, 2.0]
    clock[0] = 10.0
    assert limit.take(500) == 0.5
    assert Bandwidth(None).take(10**9) == 0


def test_a_slow_line_takes_its_time(server: DatasetServer) -> None:
    there = source(server, bandwidth=Bandwidth(1000))
    there.fetch(FILE)
    assert max(waits(there)) == pytest.approx(len(BODY) / 1000, rel=0.1)


# Where the files lie

NEURONS = [NeuronId(0, n) for n in range(8)]


def put(root: Path, prefix: str, kind: DataKind, neuron_id: NeuronId) -> None:
    path = root / prefix / kind.path(neuron_id)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"{}")


@pytest.mark.parametrize("prefix", PREFIXES)
def test_the_layout_is_found_with_the_kinds_that_are_there(tmp_path: Path, prefix: str) -> None:
    put(tmp_path, prefix, DataKind.ACTIVATIONS, NEURONS[0])
    put(tmp_path, prefix, DataKind.RELATED_NEURONS, NEURONS[7])
    with serve(tmp_path) as running:
        found = probe(source(running), list(DataKind), NEURONS, PREFIXES, is_first_meant=False)
    assert found == (prefix, [DataKind.ACTIVATIONS, DataKind.RELATED_NEURONS])


def test_two_datasets_at_one_address_are_refused(tmp_path: Path) -> None:
    for prefix in PREFIXES[1:]:
        put(tmp_path, prefix, DataKind.ACTIVATIONS, NEURONS[0])
    with serve(tmp_path) as running:
        with pytest.raises(
            SourceError, match=r"more than one dataset; name the one you mean: .*/data/ or .*/gpt2_small"
        ):
            probe(source(running), list(DataKind), NEURONS, PREFIXES, is_first_meant=False)
        assert probe(source(running), list(DataKind), NEURONS, PREFIXES, is_first_meant=True)[0] == "data/"


def test_an_address_with_nothing_below_is_refused(server: DatasetServer) -> None:
    with pytest.raises(
        SourceError, match=r"has none of the files that were looked for \(404\), neither .*/0/0\.json nor"
    ):
        probe(source(server), [DataKind.ACTIVATIONS], NEURONS, PREFIXES, is_first_meant=False)


def test_a_broken_file_shows_that_the_dataset_is_there(server: DatasetServer) -> None:
    server.actions[FILE] += [dataset_server.truncate] * 9
    assert probe(source(server), [DataKind.EXPLANATIONS], NEURONS, [""], is_first_meant=False)[0] == ""


def test_an_address_that_answers_with_web_pages_is_refused(server: DatasetServer) -> None:
    server.actions["*"] += [dataset_server.web_page] * 100
    with pytest.raises(SourceError, match=r"0/0\.json sent a web page where a JSON file was expected"):
        probe(source(server), [DataKind.ACTIVATIONS], NEURONS, PREFIXES, is_first_meant=False)


def test_neurons_to_probe_come_from_all_over() -> None:
    probed = neurons_to_probe({21: range(6400)}, 48, 6400)
    assert probed[:3] == [NeuronId(21, 0), NeuronId(21, 6399), NeuronId(0, 0)]
    assert {NeuronId(24, 3200), NeuronId(47, 6399)} < set(probed)
    assert len(probed) == len(set(probed)) == 43
    assert neurons_to_probe({3: [5]}, 4, 6)[0] == NeuronId(3, 5)


# Many files


def wanted(count: int) -> list[Wanted]:
    return [Wanted(NeuronId(0, n), (DataKind.EXPLANATIONS, DataKind.ACTIVATIONS)) for n in range(count)]


@pytest.fixture
def many(tmp_path: Path) -> Iterator[DatasetServer]:
    for n in range(20):
        put(tmp_path / "many", "", DataKind.EXPLANATIONS, NeuronId(0, n))
    with serve(tmp_path / "many") as running:
        yield running


def test_batches_come_in_order_with_their_files(many: DatasetServer, tmp_path: Path) -> None:
    batches, traffic = [wanted(20)[n : n + 5] for n in range(0, 20, 5)], Traffic()
    many.actions[DataKind.EXPLANATIONS.path(NeuronId(0, 7))] += [dataset_server.break_off] * 3
    there = FolderSource(tmp_path / "here")
    for given, delivery in zip(
        batches, download(source(many, attempts=2), "", batches, there.root, traffic=traffic), strict=True
    ):
        assert delivery.wanted == given
        assert delivery.missing == {(neuron_id, DataKind.ACTIVATIONS) for neuron_id, _ in given}
        for neuron_id, _ in given:
            failed = neuron_id == NeuronId(0, 7)
            assert there.read(DataKind.EXPLANATIONS.path(neuron_id)) == (None if failed else b"{}")
            assert ((neuron_id, DataKind.EXPLANATIONS) in delivery.failed) == failed
        delivery.remove_files(there.root)
    assert [path for path in there.root.rglob("*") if path.is_file()] == []
    assert (traffic.files, traffic.bytes) == (39, 38)


def test_no_more_is_fetched_ahead_than_was_allowed(many: DatasetServer, tmp_path: Path) -> None:
    deliveries = download(source(many), "", [[one] for one in wanted(20)], tmp_path / "here", ahead=2)
    next(deliveries)
    deliveries.close()
    assert sum(many.asked.values()) <= 3 * 2


def test_stopping_wakes_up_whoever_waits(many: DatasetServer, tmp_path: Path) -> None:
    many.actions["*"] += [dataset_server.status(503, {"Retry-After": "100"})] * 5
    there = opened(many.url, stopping=threading.Event())
    deliveries = download(there, "", [[one] for one in wanted(3)], tmp_path / "here", ahead=1)
    timer = threading.Timer(0.05, there.stopping.set)
    timer.start()
    for delivery in deliveries:
        assert "stopped" in " ".join(delivery.failed.values())
        break
    deliveries.close()
    timer.join()


def test_a_dead_source_ends_the_batches(many: DatasetServer, tmp_path: Path) -> None:
    many.actions["*"] += [dataset_server.hang_up] * 1000
    with pytest.raises(SourceError, match="files in a row did not come"):
        list(download(source(many, attempts=2, connections=2), "", [wanted(20)], tmp_path / "here"))


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 bytes"), (999, "999 bytes"), (1500, "1.5 KB"), (2.5e6, "2.5 MB"), (1.2e12, "1,200.0 GB")]
)
def test_bytes_are_told_in_units(count: float, text: str) -> None:
    assert describe_bytes(count) == text


# Models that are known by name


def test_gpt2_is_known() -> None:
    models = known_models()
    assert list(models) == ["gpt2-xl", "gpt2-small"]
    xl, small = models.values()
    assert (xl.layers, xl.neurons_per_layer, xl.prefix, len(xl.kinds)) == (48, 6400, "data/", 5)
    assert (small.layers, small.neurons_per_layer, small.prefix) == (12, 3072, "gpt2_small_data/")
    assert small.kinds == (DataKind.ACTIVATIONS, DataKind.EXPLANATIONS)
    assert xl.address == small.address == check_address(xl.address)
    assert describe_known_models().startswith("gpt2-xl (48 layers of 6,400 neurons)")


def test_what_is_known_fits_together() -> None:
    for model in known_models().values():
        card = model.card
        assert card.name
        assert card.license
        assert card.tokenizer
        assert card.explanations is not None
        assert [origin.explainer for origin in card.explanations] == ["GPT-4"]
        assert all(h.layer < model.layers and h.neuron < model.neurons_per_layer for h in card.highlights)
    places = [(h.layer, h.neuron) for h in known_models()["gpt2-xl"].card.highlights]
    assert len(places) == len(set(places)) == 36


def test_checking_an_address_loads_no_client() -> None:
    program = "import sys, explanations.pipeline.remote.address as _; print('httpx' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
