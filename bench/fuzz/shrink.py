"""The smallest input that still fails in the same way: pieces are left out, then bytes made plain."""

from __future__ import annotations

import time
from collections.abc import Callable

_PLAIN = (0x00, 0x61)


def shrink(data: bytes, fails: Callable[[bytes], bool], *, seconds: float = 10.0) -> bytes:
    """Return an input that is no longer than `data` and for which `fails` holds, as small as the time allows."""
    deadline = time.monotonic() + seconds
    size = max(1, len(data) // 2)
    while size and time.monotonic() < deadline:
        at, shorter = 0, False
        while at < len(data) and time.monotonic() < deadline:
            tried = data[:at] + data[at + size :]
            if tried and fails(tried):
                data, shorter = tried, True
            else:
                at += size
        if not shorter:
            size //= 2
    for at in range(len(data)):
        for plain in _PLAIN:
            if time.monotonic() >= deadline or data[at] == plain:
                break
            tried = data[:at] + bytes((plain,)) + data[at + 1 :]
            if fails(tried):
                data = tried
                break
    return data
