"""How pages are compressed."""

from __future__ import annotations

import gzip

import brotli
import pytest
from django.http import HttpResponse, StreamingHttpResponse
from django.test import Client, RequestFactory

from neuronviewer.compression import CompressionMiddleware
from tests.world import World

TEXT = b"a line of text\n" * 100


def answer(accepted: str, response: HttpResponse | StreamingHttpResponse) -> HttpResponse:
    request = RequestFactory().get("/", headers={"accept-encoding": accepted} if accepted else {})
    return CompressionMiddleware(lambda _: response)(request)


@pytest.mark.parametrize(
    ("accepted", "encoding"),
    [
        ("gzip, deflate, br, zstd", "br"),
        ("br;q=1.0, gzip;q=0.5", "br"),
        ("gzip", "gzip"),
        ("gzip, br;q=0", "gzip"),
        ("gzip;q=0, br;q=0.0", None),
        ("identity", None),
        ("brick", None),
        ("", None),
    ],
)
def test_the_encoding_is_one_that_the_browser_takes(accepted: str, encoding: str | None) -> None:
    response = answer(accepted, HttpResponse(TEXT))
    assert response.get("Content-Encoding") == encoding
    decode = {"br": brotli.decompress, "gzip": gzip.decompress, None: bytes}[encoding]
    assert decode(response.content) == TEXT
    assert response["Vary"] == "Accept-Encoding"
    if encoding:
        assert response["Content-Length"] == str(len(response.content))


def test_a_short_answer_stays_as_it_is() -> None:
    assert not answer("gzip, br", HttpResponse(b"short")).has_header("Content-Encoding")


def test_what_is_compressed_already_stays_as_it_is() -> None:
    response = answer("br", HttpResponse(TEXT, headers={"Content-Encoding": "gzip"}))
    assert response["Content-Encoding"] == "gzip"
    assert response.content == TEXT


def test_a_stream_is_compressed_as_it_goes() -> None:
    response = answer("gzip, br", StreamingHttpResponse([TEXT, TEXT]))
    assert gzip.decompress(b"".join(response.streaming_content)) == TEXT * 2  # type: ignore[attr-defined]


def test_a_strong_etag_becomes_weak() -> None:
    assert answer("br", HttpResponse(TEXT, headers={"ETag": '"x"'}))["ETag"] == 'W/"x"'
    assert answer("br", HttpResponse(TEXT, headers={"ETag": 'W/"x"'}))["ETag"] == 'W/"x"'


def test_pages_are_compressed(world: World, client: Client) -> None:
    response = client.get(world.neuron.get_absolute_url(), headers={"accept-encoding": "br"})
    assert response["Content-Encoding"] == "br"
    assert "Neuron 0:0" in brotli.decompress(response.content).decode()
