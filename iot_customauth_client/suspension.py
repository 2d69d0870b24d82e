"""Noticing that the device slept: timers stood still, and the world went on.

On Linux the monotonic clock stops while the machine is suspended, and so do all timers; a second clock counts on. The
difference of the two is the time slept. Where there is no second clock, the wall clock serves, which also jumps when
it is set: then a needless check follows, no more. A process that was stopped (SIGSTOP, a frozen container) finds its
timers late instead; that counts too.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

CHECK_SECONDS: Final = 30.0
_JUMP_SECONDS: Final = 10.0


def _counts_on() -> float:
    boot_time = getattr(time, "CLOCK_BOOTTIME", None)
    return time.time() if boot_time is None else time.clock_gettime(boot_time)


class SuspensionWatch:
    """Compares two clocks from time to time. `check` is to be called about every `CHECK_SECONDS`."""

    def __init__(
        self, monotonic: Callable[[], float] = time.monotonic, counts_on: Callable[[], float] = _counts_on
    ) -> None:
        self._monotonic = monotonic
        self._counts_on = counts_on
        self._difference = counts_on() - monotonic()
        self._due = monotonic() + CHECK_SECONDS

    def check(self) -> tuple[float, float]:
        """Return by how many seconds timers stood still, and by how many they were late; 0 for less than 10 s."""
        now = self._monotonic()
        difference = self._counts_on() - now
        slept, late = difference - self._difference, now - self._due
        self._difference, self._due = difference, now + CHECK_SECONDS
        return (slept if slept > _JUMP_SECONDS else 0.0, late if late > _JUMP_SECONDS else 0.0)
