"""A cap on the bytes a second that all connections take together."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable

_SIZE = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,6})?)\s*([KMG]?)B?", re.IGNORECASE | re.ASCII)
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9}
LEAST = 1000


def parse_bandwidth(text: str) -> float:
    """Return bytes a second of e.g. "10M" (10,000,000). ValueError where it says no such thing."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"“{text}” is not a number of bytes a second such as 500K or 10M")
    rate = float(match[1]) * _UNITS[match[2].upper()]
    if rate < LEAST:
        raise ValueError(f"“{text}” is below {LEAST:,} bytes a second")
    return rate


class Bandwidth:
    """Says how long to wait after each piece of data, so that on average no more than `rate` bytes a second come."""

    def __init__(self, rate: float | None, now: Callable[[], float] = time.monotonic) -> None:
        """Without a rate nobody waits."""
        self._rate = rate
        self._now = now
        self._lock = threading.Lock()
        self._paid_until = 0.0

    def take(self, count: int) -> float:
        """Return the seconds to wait, now that `count` bytes have come."""
        if self._rate is None:
            return 0.0
        with self._lock:
            now = self._now()
            self._paid_until = max(now, self._paid_until) + count / self._rate
            return self._paid_until - now
