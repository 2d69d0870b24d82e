"""Waiting for what no event tells of: threads, files and processes that are about to go."""

from __future__ import annotations

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
