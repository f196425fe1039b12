"""The base address of a dataset: what may be asked for files, and what may not."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit


class AddressError(ValueError):
    """An address that no dataset is read from, with the reason in words."""


def check_address(text: str) -> str:
    """Return a base address with a slash at its end. AddressError where it is none."""
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname or "", parts.port
    except ValueError as error:
        raise AddressError(f"{text} is not an address: {error}") from None
    if parts.username is not None or parts.password is not None:
        # Not repeated: it holds a password.
        raise AddressError("a dataset's address holds no name or password")
    if parts.scheme not in {"http", "https"} or not host or any(not "!" <= c <= "~" for c in text):
        raise AddressError(f"{text} is not an address such as https://example.org/neurons/")
    if parts.query or parts.fragment:
        raise AddressError(
            f"{text.split('?')[0]}: a dataset's address holds no “?” or “#”; files are asked for below it"
        )
    if parts.scheme == "http" and not is_loopback(host):
        raise AddressError(f"{text} is not encrypted: use https:// (http:// is for this machine alone)")
    return text.rstrip("/") + "/"


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
