"""Pages compressed as they are sent: by Brotli where the browser takes it, else by gzip, both quickly."""

from __future__ import annotations

import re

import brotli
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.middleware.gzip import GZipMiddleware
from django.utils.cache import patch_vary_headers
from isal import igzip_lib

BROTLI_QUALITY = 3
GZIP_LEVEL = 2
"""Of ISA-L. A neuron's page of 93 KB: Brotli 0.43 ms to 18.5 KB, gzip 0.08 ms to 22.8 KB; zlib's quickest level 0.56 ms
to 23.6 KB."""
SMALLEST = 200
"""Bytes below which compressing gains nothing."""

_BROTLI = re.compile(r"\bbr\b(?!\s*;\s*q=0(\.0*)?\s*(,|$))")
_GZIP = re.compile(r"\bgzip\b(?!\s*;\s*q=0(\.0*)?\s*(,|$))")


class CompressionMiddleware(GZipMiddleware):
    """Django's, for whole responses quicker and with Brotli.

    No random bytes against BREACH, as Django adds to gzip's header: the one secret on pages, the CSRF token, is masked
    anew in each response.
    """

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        if response.streaming or response.has_header("Content-Encoding"):
            return super().process_response(request, response)
        content = response.content  # type: ignore[attr-defined]
        if len(content) < SMALLEST:
            return response
        patch_vary_headers(response, ("Accept-Encoding",))
        accepted = request.headers.get("Accept-Encoding", "")
        if _BROTLI.search(accepted):
            encoding, compressed = "br", brotli.compress(content, quality=BROTLI_QUALITY)
        elif _GZIP.search(accepted):
            compressed = igzip_lib.compress(content, GZIP_LEVEL, flag=igzip_lib.COMP_GZIP)
            encoding = "gzip"
        else:
            return response
        if len(compressed) >= len(content):
            return response
        response.content = compressed  # type: ignore[attr-defined]
        response["Content-Encoding"], response["Content-Length"] = encoding, str(len(compressed))
        etag = response.get("ETag")
        if etag and etag.startswith('"'):
            response["ETag"] = f"W/{etag}"
        return response
