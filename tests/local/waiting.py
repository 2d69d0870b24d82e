"""Waiting for what no event tells of: threads, files and processes that are about to go."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

SECONDS = 20.0


def eventually(condition: Callable[[], bool]) -> bool:
    """Wait until it holds; False if it does not within a generous time."""
    deadline = time.monotonic() + SECONDS
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def threads() -> frozenset[threading.Thread]:
    """The threads of this process that may be the endpoint's.

    Not those of our client, which come and go on their own: awscrt ends an attempt that an earlier test gave up when
    a limit of its own says so, and tells that on a thread of its own; then a worker looks after the sockets, and
    rests for 5 s. The endpoint uses neither.
    """
    return frozenset(
        thread
        for thread in threading.enumerate()
        if not thread.name.startswith("iot-customauth-worker-") and type(thread).__name__ != "_DummyThread"
    )
