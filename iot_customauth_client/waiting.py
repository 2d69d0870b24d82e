"""Waiting for something that a lock guards, without a condition for as long as nobody waits.

A `threading.Condition` costs a kilobyte, and a thousand idle connections have thousands of them. This one is made by
the first who waits, and gone with the last.
"""

from __future__ import annotations

import threading
from collections.abc import Callable


class Waiting:
    """The waits for what one lock guards."""

    __slots__ = ("_lock", "_many", "condition")

    def __init__(self, lock: threading.Lock) -> None:
        self._lock = lock
        self._many = 0
        self.condition: threading.Condition | None = None
        """There while somebody waits: to be told by `notify_all()`, with the lock held, of every change."""

    def wait_for(self, fulfilled: Callable[[], bool], timeout: float | None) -> bool:
        """Wait until `fulfilled`; `False` if `timeout` seconds were not enough. The lock must not be held."""
        with self._lock:
            if fulfilled():
                return True
            if self.condition is None:
                self.condition = threading.Condition(self._lock)
            condition = self.condition
            self._many += 1
            try:
                return condition.wait_for(fulfilled, timeout)
            finally:
                self._many -= 1
                if not self._many:
                    self.condition = None

    def tell(self) -> None:
        """Have everybody look again. The lock must be held."""
        if self.condition is not None:
            self.condition.notify_all()
